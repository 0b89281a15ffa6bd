"""Numbers as maps are computed in: float32, which must be able to hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.errors import DataError
from bids_group.words import counted

_FLOAT32 = np.finfo(np.float32)


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
