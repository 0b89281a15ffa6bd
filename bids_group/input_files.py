"""The one door to files of others: what is no file (a named pipe, a device, a folder) is told, not read.

To open a named pipe waits for a writer, for ever; to read a device never ends.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader, FileIO
from pathlib import Path

_MOST_BRACKETS = 1000
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: Path) -> BufferedReader:
    """Open a file to read its bytes: as many as are asked for, also where the system gives fewer at once.

    Raises
    ------
    OSError
        There is none, it may not be read, or it is no file: ``strerror`` says what it is.
    """
    try:
        _refuse_others(path, path.stat().st_mode)
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        stream: BufferedReader = BufferedReader(FileIO(opened), _BYTES_AT_ONCE)
    except ValueError as error:  # a NUL in its name
        raise OSError(errno.ENOENT, str(error), str(path)) from error
    try:
        _refuse_others(path, os.fstat(stream.fileno()).st_mode)  # if it was changed since
    except OSError:
        stream.close()
        raise
    return stream


def _refuse_others(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "no file")
        raise OSError(errno.EINVAL, f"{kind}, not a file", str(path))


_BYTES_AT_ONCE = 4096
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)


def has_disk_failed(error: BaseException | None) -> bool:
    """Whether a file may be there and was not read: not because there is none, or because it is no file."""
    return isinstance(error, OSError) and error.errno not in _ABSENT


def check_brackets(text: str) -> None:
    """Refuse (`ValueError`) text that YAML's reader would take minutes for: thousands of opening brackets."""
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise ValueError("nested too deeply")


def read_file(path: Path) -> bytes:
    """Read the bytes of a file, as `open_file` opens it."""
    with open_file(path) as stream:
        try:
            return stream.read()
        except OSError as error:
            error.filename = str(path)
            raise
