"""What must be on the disk itself before the next step: files, and the names in folders."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, takewhile
from pathlib import Path

_SYNCED_AT_ONCE = 8
_CANNOT = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES)
"""File systems that do not sync a folder, and folders that may be written but not read."""


def sync_file(path: Path) -> None:
    """Wait until the disk holds the content of a file."""
    _sync(path, os.O_RDONLY)


def sync_files(paths: Collection[Path], sync: Callable[[Path], None] = sync_file) -> None:
    """Wait until the disk holds the content of each file: many at once take little longer than one."""
    if len(paths) < 2:
        for path in paths:
            sync(path)
    else:
        with ThreadPoolExecutor(min(_SYNCED_AT_ONCE, len(paths))) as threads:
            list(threads.map(sync, paths))


def sync_folder(path: Path) -> None:
    """Wait until the disk holds the names in a folder, as far as it can be told to."""
    try:
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def _sync(path: Path, flags: int) -> None:
    opened = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def make_folder(path: Path) -> set[Path]:
    """Make a folder where there is none; tell the folders in which a name is new then."""
    missing = list(takewhile(lambda one: not one.is_dir(), chain([path], path.parents)))
    if missing:
        path.mkdir(parents=True, exist_ok=True)
    return {one.parent for one in missing}
