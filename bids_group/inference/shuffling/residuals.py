"""The maps without their nuisance part, of unit length at every element, in tiles of one fixed shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.inference.shuffling.partition import Doubles, Partition
from bids_group.inference.shuffling.shuffles import Codes

Single = npt.NDArray[np.float32]

TILE = 1024
"""Elements of a tile. Floating-point sums depend on the shape of the work: this shape never changes."""

_NO_VARIANCE = 1e-26
"""Share of the sum of squares below which what is left can only be rounding of this computation.

Below the fit's own share for residuals of the whole model (1e-24), so that no element that the fit tests is 0
here: float32 maps that differ at all differ by more than either.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residuals:
    """Residuals on the nuisance part: ``tiles`` float32 ``(n_tiles, n_obs, TILE)``, padded with zeros.

    Each element's residuals (those of each variance group, where there are any) have unit sum of squares,
    or are 0 where the maps do not vary beyond the nuisance part or are not tested. ``group_squares``
    float32 ``(n_tiles, n_groups, TILE)``: the part of that sum in each variance group.
    """

    tiles: Single
    n_elements: int
    group_squares: Single

    def elements_of(self, tile: int) -> slice:
        """Elements that a tile holds, padding left out."""
        return slice(tile * TILE, min((tile + 1) * TILE, self.n_elements))


def build_residuals(
    maps: Single,
    partition: Partition,
    groups: Codes | None = None,
    *,
    is_tested: npt.NDArray[np.bool_] | None = None,
    backing: Path | None = None,
) -> Residuals:
    """Take the nuisance part out of maps ``(n_obs, n_elements)``, which must be finite.

    ``is_tested`` ``(n_elements,)``: the others are 0, so that they take no part in any maximum.
    ``backing``: a file to keep the tiles in (memory-mapped) where the maps themselves are too big for memory.
    """
    n_obs, n_elements = maps.shape
    shape = (-(-n_elements // TILE), n_obs, TILE)
    n_groups = 0 if groups is None else int(groups.max()) + 1
    tiles = (
        np.zeros(shape, np.float32)
        if backing is None
        else np.lib.format.open_memmap(backing, mode="w+", dtype=np.float32, shape=shape)
    )
    squares = np.zeros((shape[0], n_groups, TILE), np.float32)
    found = Residuals(tiles=tiles, n_elements=n_elements, group_squares=squares)
    for number in range(shape[0]):
        columns = found.elements_of(number)
        unit = _unit_residuals(maps[:, columns].astype(np.float64), partition.nuisance)
        if is_tested is not None:
            unit[:, ~is_tested[columns]] = 0.0
        width = unit.shape[1]
        for group in range(n_groups):
            squares[number, group, :width] = (unit[groups == group] ** 2).sum(axis=0)
            unit[groups == group] = _unit_columns(unit[groups == group])
        tiles[number, :, :width] = unit
    return found


def _unit_residuals(maps: Doubles, nuisance: Doubles) -> Doubles:
    whole = (maps**2).sum(axis=0)
    rest = maps - nuisance @ (nuisance.T @ maps)
    rest -= nuisance @ (nuisance.T @ rest)
    squares = (rest**2).sum(axis=0)
    return _unit_columns(np.where(squares > _NO_VARIANCE * whole, rest, 0.0))


def _unit_columns(columns: Doubles) -> Doubles:
    """Bring columns to unit length; those of zeros stay."""
    lengths = np.sqrt((columns**2).sum(axis=0))
    return np.asarray(columns / np.where(lengths > 0, lengths, 1.0))
