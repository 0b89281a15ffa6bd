"""One map file, read once: its numbers, its grid and the hash of its bytes."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from bids_group.elements.grid import Grid
from bids_group.errors import DataError, MissingInputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedMap:
    """Numbers of a map file: ``data`` float32 of the grid's shape (or 4D where the file is)."""

    path: Path
    grid: Grid
    data: npt.NDArray[np.float32]
    sha256: str


def read_map(path: Path) -> LoadedMap:
    """Read a NIfTI file from its bytes, once.

    Trailing axes of length one are dropped. NaN and infinities are kept as they are.

    Raises
    ------
    MissingInputError
        The file is not there (a link that points nowhere is named with ``datalad get``).
    DataError
        The file is truncated or is not NIfTI, or holds a number that float32 does not (beyond 3.4e38, or not
        0 and below 1.4e-45): as infinity or 0 it would count as not observed.
    """
    payload = _read_bytes(path)
    digest = hashlib.sha256(payload).hexdigest()
    try:
        raw = _unzip(payload) if payload[:2] == b"\x1f\x8b" else payload
        image = (
            nib.Nifti2Image.from_bytes(raw) if raw[:4] in _NIFTI2_SIZES else nib.Nifti1Image.from_bytes(raw)
        )
        data = _narrowed(np.asarray(image.dataobj), path)
    except _UNREADABLE as error:
        raise DataError(
            f"The image {path} cannot be read.",
            found=f"{len(payload)} bytes; {str(error) or type(error).__name__}",
            expected="a whole NIfTI image (.nii or .nii.gz)",
            fix="Copy or compute the file again.",
        ) from error
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim < 3:
        data = data.reshape(data.shape + (1,) * (3 - data.ndim))
    grid = Grid(shape=data.shape[:3], affine=np.asarray(image.affine, dtype=np.float64))
    return LoadedMap(path=path, grid=grid, data=np.ascontiguousarray(data), sha256=digest)


def hash_map(path: Path) -> str:
    """Hash the bytes of a map file as `read_map` does, without looking at the numbers."""
    return hashlib.sha256(_read_bytes(path)).hexdigest()


def _narrowed(data: npt.NDArray[Any], path: Path) -> npt.NDArray[np.float32]:
    """Round to float32, which maps are computed in; refuse what is no number there, or 0."""
    if data.dtype.kind not in "biuf":
        raise DataError(
            f"The image {path} holds no real numbers.",
            found=f"complex numbers or colours ({data.dtype})",
            expected="one real number at each voxel",
            fix="Give the map that the question is about, such as the magnitude.",
        )
    with np.errstate(over="ignore", under="ignore"):
        rounded = data.astype(np.float32, copy=False)
    if data.dtype.kind == "f" and data.dtype.itemsize > rounded.dtype.itemsize:
        is_over = np.isinf(rounded)
        if np.count_nonzero(rounded) < np.count_nonzero(data) or is_over.any():
            _check_range(data, is_over & np.isfinite(data), f"beyond {_FLOAT32.max:.1e}", path)
            is_under = (rounded == 0) & (data != 0)
            _check_range(data, is_under, f"not 0 but below {_FLOAT32.smallest_subnormal:.1e}", path)
    return rounded


def _check_range(data: npt.NDArray[Any], is_lost: npt.NDArray[np.bool_], what: str, path: Path) -> None:
    if not is_lost.any():
        return
    first = np.unravel_index(int(np.argmax(is_lost)), data.shape)
    n = int(np.count_nonzero(is_lost))
    numbers = "1 number that is" if n == 1 else f"{n} numbers that are"
    where = ", ".join(str(int(index)) for index in first[:3])
    raise DataError(
        f"The image {path} holds numbers that cannot be kept.",
        found=f"{numbers} {what}, such as {float(data[first]):.4g} at voxel ({where})",
        expected="0, NaN, or numbers that float32 can hold",
        fix="Compute the map in other units, its variance in their square; NaN where there is no value.",
    )


_FLOAT32 = np.finfo(np.float32)


def _unzip(payload: bytes) -> bytes:
    """Inflate in one piece where the file is one gzip member (its last four bytes give the size)."""
    inflate = zlib.decompressobj(wbits=31)
    size = int.from_bytes(payload[-4:], "little")
    raw = inflate.decompress(payload, min(size, _LARGEST_IN_ONE_PIECE) + 1)
    if inflate.eof and not inflate.unused_data.strip(b"\0"):
        return raw
    return gzip.decompress(payload)


_UNREADABLE = (EOFError, OSError, ValueError, zlib.error, ImageFileError, HeaderDataError, WrapStructError)
_LARGEST_IN_ONE_PIECE = 2**31
_NIFTI2_SIZES = (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise MissingInputError(
                f"The file {path} is a link that points nowhere.",
                found=f"a link to {path.readlink()}",
                expected="the file's content (DataLad and git-annex keep it elsewhere until it is fetched)",
                fix=f"datalad get {path}",
            ) from error
        raise MissingInputError(
            f"There is no file {path}.", expected="a NIfTI image", fix="Correct the path."
        ) from error
    except OSError as error:
        raise MissingInputError(f"The file {path} cannot be read.", found=error.strerror) from error
