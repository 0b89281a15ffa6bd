"""Exact zeros of maps that are stored as integers: small effects that were rounded away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_fill_holes

from bids_group.bids.entities import name_some
from bids_group.elements import MapHeader, read_map
from bids_group.records import FirstLevelMap, Notice

_LARGE_SHARE = 0.2
"""Of the voxels: a single value in so many is no effect, but what stands outside the brain."""


def tell_zeros(maps: Sequence[FirstLevelMap], headers: Mapping[Path, MapHeader]) -> list[Notice]:
    """Say where maps of integers without a mask of their own are 0 inside the brain: there 0 is missing.

    The brain is where more than half of such maps on one grid are not 0, and what that encloses. Where the
    scale has an intercept, 0 may not be among the numbers: then the background counts as data, which is said.
    """
    integers = [m for m in maps if m.mask is None and headers[m.effect].is_integer]
    by_shape: dict[tuple[int, ...], list[FirstLevelMap]] = {}
    for m in integers:
        by_shape.setdefault(headers[m.effect].shape, []).append(m)
    holes, backgrounds = [], []
    for shape, those in by_shape.items():
        counted, packed = np.zeros(shape, dtype=np.intp), []
        for m in those:
            data = read_map(m.effect).data
            backgrounds += _say_background(m, data)
            counted += data != 0
            packed.append(np.packbits(data != 0))
        brain = np.packbits(binary_fill_holes(2 * counted > len(those)))
        n_holes = [int(np.bitwise_count(brain & ~bits).sum()) for bits in packed]
        holes += [f"{n} in {_name(m)}" for m, n in zip(those, n_holes, strict=True) if n]
    return [*_say_holes(holes), *_say_backgrounds(backgrounds)]


def _say_holes(holes: Sequence[str]) -> list[Notice]:
    if not holes:
        return []
    sentence = (
        f"{len(holes)} of the maps that are stored as integers are exactly 0 at voxels inside the brain, "
        f"where small effects were rounded away; there they count as not observed: {name_some(holes, 5)}."
    )
    return [Notice(severity="warning", topic="maps", sentence=sentence, fix=_FIX)]


def _say_background(m: FirstLevelMap, data: npt.NDArray[np.float32]) -> list[str]:
    values, counts = np.unique(data, return_counts=True)
    at = int(counts.argmax())
    is_background = values[at] != 0 and counts[at] > max(1, _LARGE_SHARE * data.size)
    return [f"{values[at]:.3g} in {_name(m)}"] if is_background else []


def _say_backgrounds(backgrounds: Sequence[str]) -> list[Notice]:
    if not backgrounds:
        return []
    names = name_some(backgrounds, 5)
    sentence = (
        f"{len(backgrounds)} of the maps that are stored as integers have one value other than 0 at many "
        f"voxels, as if the background had been rounded to it, which counts as data: {names}."
    )
    return [Notice(severity="warning", topic="maps", sentence=sentence, fix=_FIX)]


def _name(m: FirstLevelMap) -> str:
    return f"{m.effect.name} of sub-{m.subject}"


_FIX = "Write the maps as float32, or give each its mask, inside which 0 is data."
