"""What is read of a map: its header, or its numbers, in float32, which must be able to hold them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.elements.image_files import ImageFiles
from bids_group.elements.space import Grid, Space
from bids_group.errors import DataError
from bids_group.words import counted

_FLOAT32 = np.finfo(np.float32)


def hash_bytes(payloads: Sequence[bytes]) -> str:
    """SHA-256 of the files of a map, one behind the other."""
    return hashlib.sha256(b"".join(payloads)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedMap:
    """Numbers of a file: ``data`` float32 of the space's shape (or 4D where the file is), x runs fastest."""

    path: Path
    space: Space
    data: npt.NDArray[np.float32]
    sha256: str

    @property
    def grid(self) -> Grid:
        """The grid of a plain volume."""
        return self.space.grid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapHeader:
    """What a map says of itself before its numbers are read.

    ``shape`` is without trailing axes of length one; ``statistic`` is the code of NIfTI's ``intent`` (AFNI's
    are the same numbers), ``texts`` what is written in it: description, name of the intent, label of the
    sub-brick; ``labels`` are those of all sub-bricks. ``is_integer``: numbers are stored as integers.
    ``checksum``: the last 8 bytes of a gzip file (checksum and length of its content), None of other files.
    ``n_bytes``: how long the file of the numbers is, unpacked, by what the header says.
    """

    path: Path
    files: ImageFiles
    checksum: bytes | None
    space: Space
    shape: tuple[int, ...]
    statistic: int
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    is_integer: bool
    n_bytes: int

    @property
    def n_volumes(self) -> int:
        """How many maps are in the file (or were named): one, but for F contrasts and series."""
        return math.prod(self.shape[len(self.space.shape) :])


def narrowed(data: npt.NDArray[Any], path: Path) -> npt.NDArray[np.float32]:
    """Round to float32, in which maps are computed; refuse what would become infinite or 0 there."""
    if data.dtype.kind not in "biuf":
        raise DataError(
            f"The image {path} holds no real numbers.",
            found=f"complex numbers or colours ({data.dtype})",
            expected="one real number at each voxel (vertex, region)",
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
    numbers = counted(int(np.count_nonzero(is_lost)), "number that is", "numbers that are")
    is_volume = data.ndim > 2  # rows of vertices and regions have one axis, or a second one of maps
    where = (
        f"voxel ({', '.join(str(int(index)) for index in first[:3])})" if is_volume else f"number {first[0]}"
    )
    raise DataError(
        f"The image {path} holds numbers that cannot be kept.",
        found=f"{numbers} {what}, such as {float(data[first]):.4g} at {where}",
        expected="0, NaN, or numbers that float32 can hold",
        fix="Compute the map in other units, its variance in their square; NaN where there is no value.",
    )
