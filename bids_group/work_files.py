"""Arrays that lie in a file of the work folder, because memory does not hold them."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bids_group.errors import OutputError
from bids_group.words import os_failure

Number = TypeVar("Number", bound=np.generic)

_BYTES_AT_ONCE = 2**25


def reserve(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Map a new file of float32 zeros into memory; its place on the disk is taken now.

    Raises
    ------
    OutputError
        The disk has no room for it.
    BidsGroupError
        The file cannot be made.
    """
    n_bytes = 4 * int(np.prod(shape))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # else a disk that is full would end the process by a signal
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            else:
                file.truncate(n_bytes)
    except OSError as error:
        with suppress(OSError):  # it may be the folder that cannot be made
            path.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise os_failure(error, path) from error
        raise no_room(path.parent, n_bytes, error.strerror) from error
    return np.memmap(path, dtype=np.float32, mode="r+", shape=shape)


def make_zeros(shape: tuple[int, ...], folder: Path | None, name: str) -> npt.NDArray[np.float32]:
    """Make float32 zeros in memory, or in a file of a folder (`reserve`) where one is named."""
    if folder is None or 0 in shape:  # no file can be mapped that is empty
        return np.zeros(shape, np.float32)
    return reserve(folder / f"{name}.float32", shape)


def no_room(folder: Path, n_bytes: int, problem: str | None = None) -> OutputError:
    """Say that a file of so many bytes cannot be made."""
    return OutputError(
        f"The work folder has no room for the maps of the analysis: {folder}.",
        found=f"{free_bytes(folder) / 1e9:.2f} GB free" + (f" ({problem})" if problem else ""),
        expected=f"{n_bytes / 1e9:.2f} GB for a file of what memory does not hold",
        fix="Free some space, name another place (--work-dir), or give more memory (--mem-gb).",
    )


def free_bytes(folder: Path) -> int:
    """Count what is free on the disk of a folder, which may still have to be made.

    Arrays of an earlier run in the folder count as free: `reserve` takes their place.
    """
    nearest = next(one for one in (folder.absolute(), *folder.absolute().parents) if os.path.exists(one))  # noqa: PTH110 - also of names that cannot be
    earlier = folder.glob("*.float32") if nearest == folder.absolute() else ()
    return shutil.disk_usage(nearest).free + sum(one.stat().st_size for one in earlier)


def drop_pages(values: npt.NDArray[np.generic] | None) -> None:
    """Let go of the memory that a mapped file takes: what is read again comes from the file. Others stay."""
    mapped = getattr(values, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def locate_mapped(values: npt.NDArray[np.generic]) -> tuple[str, str, int, tuple[int, ...]] | None:
    """Say where an array from `reserve`, or a part of it in one piece, stands: what `map_again` takes.

    What was written into it is in the file then. None for every other array.
    """
    mapped, path = getattr(values, "_mmap", None), getattr(values, "filename", None)
    if (
        mapped is None
        or path is None
        or getattr(values, "offset", None) != 0
        or not values.flags.c_contiguous
    ):
        return None
    mapped.flush()
    start = values.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    return str(path), values.dtype.str, start, values.shape


def map_again(path: str, dtype: str, start: int, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """Map an array that another process located; what is written into it here stays here."""
    return np.memmap(path, dtype=dtype, mode="c", offset=start, shape=shape)


def read_columns(values: npt.NDArray[Number], columns: slice) -> npt.NDArray[Number]:
    """Take columns of ``(n_rows, n)``; of a mapped file a copy, made while few of its rows are in memory.

    Wherever a page of a file is touched, the system may map as much as 2 MB around it.
    """
    if getattr(values, "_mmap", None) is None:
        return values[:, columns]
    taken = np.empty((len(values), len(range(values.shape[1])[columns])), values.dtype)
    step = max(1, _BYTES_AT_ONCE // max(values.strides[0], 1))
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        taken[rows] = values[rows, columns]
        drop_pages(values)
    return taken
