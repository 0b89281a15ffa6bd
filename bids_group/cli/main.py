"""The entry point: parse, run, and turn every outcome into an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from bids_group.cli.parser import read_arguments, translate
from bids_group.config.request import check_paths
from bids_group.errors import BidsGroupError, RunError, cut_short, printable
from bids_group.words import os_failure

LOGGER = logging.getLogger("bids_group")
EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141
"""Whoever read standard output went away: what shells say of a program that a closed pipe ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``bids-group`` with the arguments ``argv`` (default: the command line's); return its exit code."""
    typed = list(sys.argv[1:] if argv is None else argv)
    places: list[Path] = []

    def job() -> None:
        arguments = read_arguments(typed)
        places.append(arguments.output_dir)
        config = translate(arguments, typed)
        check_paths(config)
        start_log(config.execution.verbosity)
        by_key = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGTERM, _interrupt)
        if by_key is signal.default_int_handler:  # in the background it is ignored, and stays so
            signal.signal(signal.SIGINT, _interrupt)
        settle_home()
        from bids_group.executor import without_collection  # after the arguments are known to be good

        with without_collection():
            from bids_group.workflow import run  # numpy, pandas …

        try:
            run(config)
        finally:
            if signal.getsignal(signal.SIGINT) is _interrupt:
                signal.signal(signal.SIGINT, by_key)

    return exit_code_of(job, places)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Stop the run once: after a second interrupt Python does not wait for threads, which are writing."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


def exit_code_of(job: Callable[[], None], places: Sequence[Path] = ()) -> int:
    """Do a job and turn its outcome into an exit code; a crash report goes into the first of ``places``."""
    _open_what_is_closed()
    try:
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
        with suppress(ValueError):  # in a thread: nobody interrupts that
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one has nothing left to stop
        _say("Interrupted. The same command goes on from the pooled maps and batches that are finished.")
        return EXIT_INTERRUPTED
    except Exception:  # a bug: say so, keep the traceback
        text = traceback.format_exc()
        kept = _write_crash(places, text)
        where = f" (kept in {kept})" if kept else ""
        bug = f"This is a bug in bids-group; please report it with the traceback above{where}."
        _say(printable(f"{text}\nERROR {bug}"))
        return EXIT_BUG
    return 0


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


def _write_crash(places: Sequence[Path], text: str) -> Path | None:
    try:
        from bids_group.output import write_crash

        return write_crash(places[0], text) if places and places[0].is_dir() else None
    except Exception:  # reporting a bug must not hide it
        return None


class _Terminal(logging.StreamHandler[TextIO]):
    """What is said on standard error: text alone, and not for ever; nothing where nobody reads it."""

    def format(self, record: logging.LogRecord) -> str:
        """Say what can be shown, and end."""
        return printable(cut_short(super().format(record)))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging gave it
        """Go on: a run does not depend on who listens."""


def start_log(verbosity: int) -> None:
    """Say on standard error what happens: 0 stages, -1 warnings only, 1 everything."""
    levels = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
    handler = _Terminal(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(levels[min(max(verbosity, -2), 1) + 2])
    LOGGER.propagate = False


def settle_home(environment: MutableMapping[str, str] | None = None) -> None:
    """Point ``HOME`` and the cache of numba to a private folder, if home cannot be used.

    numba refuses to compile and pybids to start where the home folder is missing, unreadable or read-only, as
    it may be in containers, for strange users and on nodes of clusters; this comes before they are imported.
    ``NUMBA_CACHE_DIR`` stays as the user set it.
    """
    environment = os.environ if environment is None else environment
    own = environment.get("HOME")
    if own and Path(own).is_dir() and os.access(own, os.R_OK | os.W_OK | os.X_OK):
        return
    home = _make_private_folder()
    environment["HOME"] = str(home)
    environment.setdefault("NUMBA_CACHE_DIR", str(home / "numba"))


def _make_private_folder() -> Path:
    """Make or find a folder of this user's own; a folder of somebody else under its name is not used."""
    folder = Path(tempfile.gettempdir()) / f"bids-group-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if found.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink() or found.st_mode & 0o022:
            return Path(tempfile.mkdtemp(prefix="bids-group-"))
    return folder
