"""The entry point: parse, run, and turn every outcome into an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from types import FrameType

from bids_group.cli.parser import read_arguments, translate
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


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def exit_code_of(job: Callable[[], None], places: Sequence[Path] = ()) -> int:
    """Do a job and turn its outcome into an exit code; a crash report goes into the first of ``places``."""
    try:
        job()
    except (BidsGroupError, OSError) as error:
        said = os_failure(error) if isinstance(error, OSError) else error
        print(f"ERROR {said}", file=sys.stderr)
        return said.exit_code
    except KeyboardInterrupt:
        again = "The same command goes on from the pooled maps and batches that are finished."
        print(f"Interrupted. {again}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception:  # a bug: say so, keep the traceback
        text = traceback.format_exc()
        kept = _write_crash(places, text)
        where = f" (kept in {kept})" if kept else ""
        bug = f"This is a bug in bids-group; please report it with the traceback above{where}."
        print(f"{text}\nERROR {bug}", file=sys.stderr)
        return EXIT_BUG
    return 0


def _write_crash(places: Sequence[Path], text: str) -> Path | None:
    try:
        from bids_group.workflow import write_crash

        return write_crash(places[0], text) if places and places[0].is_dir() else None
    except Exception:  # reporting a bug must not hide it
        return None


def start_log(verbosity: int) -> None:
    """Say on standard error what happens: 0 stages, -1 warnings only, 1 everything."""
    levels = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
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
