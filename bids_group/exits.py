"""How a command ends: every outcome is an exit code and, at most, one message on standard error."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from bids_group.errors import BidsGroupError, RunError, printable
from bids_group.words import os_failure

EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141
"""Whoever read standard output went away: what shells say of a program that a closed pipe ended."""


def exit_code_of(
    job: Callable[[], None], *, after: str = "", keep_crash: Callable[[str], Path | None] = lambda text: None
) -> int:
    """Do a job and turn its outcome into an exit code.

    ``after`` tells what the same command does after an interrupt; ``keep_crash`` keeps a bug's traceback.
    As the command ends, Python does not look for garbage in all its modules again (0.3 s after a report).
    """
    atexit.register(gc.freeze)  # of commands alone: other programs that import this may have files to close
    try:
        _open_what_is_closed()
        with _stopping_once():
            try:
                job()
            finally:
                sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_output()
        return EXIT_UNREAD
    except (BidsGroupError, OSError) as error:
        said = os_failure(error) if isinstance(error, OSError) else error
        _say(f"ERROR {said}")
        return said.exit_code
    except MemoryError:
        fix = "Give the job more memory, fewer --nprocs, or a smaller --mem-gb."
        said = RunError("There is not enough memory.", fix=fix)
        _say(f"ERROR {said}")
        return said.exit_code
    except KeyboardInterrupt:
        _let_nothing_interrupt()  # a second one has nothing left to stop
        _say(f"Interrupted. {after}".rstrip())
        return EXIT_INTERRUPTED
    except Exception:  # a bug: say so, keep the traceback
        text = traceback.format_exc()
        kept = keep_crash(text)
        where = f" (kept in {kept})" if kept else ""
        bug = f"This is a bug in bids-group; please report it with the traceback above{where}."
        _say(printable(f"{text}\nERROR {bug}"))
        return EXIT_BUG
    return 0


@contextmanager
def _stopping_once() -> Iterator[None]:
    """Let Ctrl-C and what ends jobs stop this one, once; where nothing did, signals are as they were.

    What is ignored (of commands in the background) stays so; in a thread no signal arrives.
    """
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    with suppress(ValueError):
        for one, usual in before.items():
            if usual in (signal.default_int_handler, signal.SIG_DFL):
                signal.signal(one, _interrupt)
    try:
        yield
    finally:
        for one, usual in before.items():
            if signal.getsignal(one) is _interrupt:
                with suppress(ValueError):
                    signal.signal(one, usual)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Stop the job once: after a second interrupt Python does not wait for threads, which are writing."""
    _let_nothing_interrupt()
    raise KeyboardInterrupt


@atexit.register
def _let_nothing_interrupt() -> None:
    """Ignore interrupts: what is left to do takes no time, and they would only print where they came."""
    with suppress(ValueError):  # in a thread: nobody interrupts that
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)


def _open_what_is_closed() -> None:
    """Give the standard streams that are closed (``>&-``) to nobody.

    Else the next file that is opened, perhaps one of results, gets what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _say(text: str) -> None:
    """Write to standard error, if anybody still reads it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _let_go_of_output() -> None:
    """Leave standard output to nobody: what is left in it would be tried again at the end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
