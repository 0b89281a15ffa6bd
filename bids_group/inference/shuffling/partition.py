"""The design split into what a contrast tests and what it must allow for, and maps without the latter.

Beckmann's partition (Winkler et al. 2014, appendix A) in a form that also holds for rank-deficient designs
and redundant contrasts: with D = (X'X)⁺ and C reduced to independent rows, the tested part is X D C' and
the nuisance part X·null(C).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.errors import DesignError
from bids_group.row_space import TOLERANCE, RowSpace
from bids_group.work_files import drop_pages, make_zeros, read_columns

Codes = npt.NDArray[np.intp]
Doubles = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]

TILE = 1024
"""Elements of a tile. Floating-point sums depend on the shape of the work: this shape never changes."""

NO_VARIANCE = 1e-26
"""Share of the sum of squares below which what is left can only be rounding of this computation.

Below the fit's own share for residuals of the whole model (1e-24), so that no element that the fit tests is 0
here: float32 maps that differ at all differ by more than either.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partition:
    """Orthonormal bases of the tested part ``(n_obs, q)`` and of the nuisance part ``(n_obs, r)``.

    For q = 1 the tested column has the sign of the contrast. ``dof`` is N − rank(X).
    """

    tested: Doubles
    nuisance: Doubles
    dof: int

    @property
    def q(self) -> int:
        """Number of independent rows of the contrast."""
        return int(self.tested.shape[1])

    @property
    def n_obs(self) -> int:
        """Number of rows of the design."""
        return int(self.tested.shape[0])


def partition(matrix: npt.ArrayLike, weights: Doubles, *, name: str = "contrast") -> Partition:
    """Split a design ``(n_obs, p)`` for a contrast ``(q, p)``, which it must be able to estimate."""
    X = np.asarray(matrix, dtype=np.float64)
    space = RowSpace.of(X)
    if not space.is_estimable(weights).all():
        raise DesignError(
            f"The contrast '{name}' cannot be estimated from this design.",
            found="weights outside the row space of the design",
            expected="a contrast with the same value for every solution of the normal equations",
        )
    dof = len(X) - space.rank
    if dof < 1:
        raise DesignError(
            "The design leaves no degrees of freedom.",
            found=f"{len(X)} rows and rank {space.rank}",
            expected="more rows than the rank of the design",
        )
    scaled = np.atleast_2d(weights) / space.norms
    sizes = np.linalg.norm(scaled, axis=1, keepdims=True)
    directions = _directed_basis(space.basis.T @ (scaled / np.where(sizes > 0, sizes, 1.0)).T)
    tested = _directed_basis(
        directions / space.singular_values[: space.rank, None]
    )  # X D C' on space.columns
    rest = np.linalg.svd(tested)[0][:, tested.shape[1] :]
    return Partition(tested=space.columns @ tested, nuisance=space.columns @ rest, dof=dof)


def _directed_basis(columns: Doubles) -> Doubles:
    """Orthonormal basis of the span; a single column keeps its direction."""
    if columns.shape[1] == 1:
        return columns / np.linalg.norm(columns)
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.ascontiguousarray(left[:, singular > TOLERANCE * singular[0]])


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
    folder: Path | None = None,
) -> Residuals:
    """Take the nuisance part out of maps ``(n_obs, n_elements)``, which must be finite.

    ``is_tested`` ``(n_elements,)``: the others are 0, so that they take no part in any maximum.
    ``folder``: of the file (memory-mapped) that keeps the tiles, where memory does not hold them.
    """
    n_obs, n_elements = maps.shape
    shape = (-(-n_elements // TILE), n_obs, TILE)
    n_groups = 0 if groups is None else int(groups.max()) + 1
    tiles = make_zeros(shape, folder, "residuals")
    squares = np.zeros((shape[0], n_groups, TILE), np.float32)
    found = Residuals(tiles=tiles, n_elements=n_elements, group_squares=squares)
    for number in range(shape[0]):
        columns = found.elements_of(number)
        unit = unit_residuals(read_columns(maps, columns).astype(np.float64), partition.nuisance)
        if is_tested is not None:
            unit[:, ~is_tested[columns]] = 0.0
        width = unit.shape[1]
        for group in range(n_groups):
            squares[number, group, :width] = (unit[groups == group] ** 2).sum(axis=0)
            unit[groups == group] = unit_columns(unit[groups == group])
        tiles[number, :, :width] = unit
        drop_pages(tiles)
    return found


def unit_residuals(maps: Doubles, nuisance: Doubles) -> Doubles:
    """Take the nuisance part out of maps ``(n_obs, n)``; what is left has unit length, or is 0."""
    room = np.square(maps)  # one for all steps: fresh memory takes as long as the arithmetic
    whole = room.sum(axis=0)
    rest = maps - np.matmul(nuisance, nuisance.T @ maps, out=room)
    rest -= np.matmul(nuisance, nuisance.T @ rest, out=room)
    squares = np.square(rest, out=room).sum(axis=0)
    varies = squares > NO_VARIANCE * whole
    rest[:, ~varies] = 0.0
    rest /= np.where(varies, np.sqrt(squares), 1.0)
    return rest


def unit_columns(columns: Doubles) -> Doubles:
    """Bring columns to unit length; those of zeros stay."""
    lengths = np.sqrt((columns**2).sum(axis=0))
    return np.asarray(columns / np.where(lengths > 0, lengths, 1.0))
