"""The entry point: parse and run."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import TextIO

from bids_group.cli.parser import read_arguments, translate
from bids_group.config.request import check_paths
from bids_group.errors import cut_short, printable
from bids_group.exits import exit_code_of

LOGGER = logging.getLogger("bids_group")


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
        settle_home()
        from bids_group.executor import without_collection  # after the arguments are known to be good

        with without_collection():
            from bids_group.workflow import run  # numpy, pandas …

        run(config)

    after = "The same command goes on from the pooled maps and batches that are finished."
    return exit_code_of(job, after=after, keep_crash=lambda text: _write_crash(places, text))


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
    import tempfile  # rarely needed

    folder = Path(tempfile.gettempdir()) / f"bids-group-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if found.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink() or found.st_mode & 0o022:
            return Path(tempfile.mkdtemp(prefix="bids-group-"))
    return folder
