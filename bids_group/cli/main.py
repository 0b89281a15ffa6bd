"""The entry point: parse, run, and turn every outcome into an exit code."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from bids_group.cli.parser import read_arguments
from bids_group.cli.surroundings import settle_home
from bids_group.cli.translation import translate
from bids_group.config.request import check_paths
from bids_group.errors import BidsGroupError
from bids_group.words import os_failure

LOGGER = logging.getLogger("bids_group")
EXIT_BUG = 70
EXIT_INTERRUPTED = 130


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
        signal.signal(signal.SIGTERM, _terminate)
        settle_home()
        from bids_group.workflow import run  # numpy, nilearn …: after the arguments are known to be good

        run(config)

    return exit_code_of(job, places)


def exit_code_of(job: Callable[[], None], places: Sequence[Path] = ()) -> int:
    """Do a job and turn its outcome into an exit code; a crash report goes into the first of ``places``."""
    try:
        job()
    except BidsGroupError as error:
        return _refuse(error)
    except OSError as error:
        return _refuse(os_failure(error))
    except KeyboardInterrupt:
        print(
            "Interrupted. The same command goes on from the pooled maps and batches that are finished.",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    except Exception:  # a bug: say so, keep the traceback
        return _report_bug(places[0] if places else None)
    return 0


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def start_log(verbosity: int) -> None:
    """Say on standard error what happens: 0 stages, -1 warnings only, 1 everything."""
    level = {-1: logging.WARNING, 0: logging.INFO}.get(
        verbosity, logging.DEBUG if verbosity > 0 else logging.ERROR
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False


def _refuse(error: BidsGroupError) -> int:
    print(f"ERROR {error}", file=sys.stderr)
    return error.exit_code


def _report_bug(output_dir: Path | None) -> int:
    text = traceback.format_exc()
    print(text, file=sys.stderr)
    place = _write_crash(output_dir, text)
    print(
        "ERROR This is a bug in bids-group; please report it with the traceback above"
        + (f" (kept in {place})." if place else "."),
        file=sys.stderr,
    )
    return EXIT_BUG


def _write_crash(output_dir: Path | None, text: str) -> Path | None:
    try:
        from bids_group.workflow import write_crash

        return write_crash(output_dir, text) if output_dir is not None and output_dir.is_dir() else None
    except Exception:  # reporting a bug must not hide it
        return None
