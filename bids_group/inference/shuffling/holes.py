"""Elements that are not observed in every row: their residuals, and how these are shuffled.

Only the rows observed at an element take part there. Signs are those of the shuffle. A permutation may bring
a residual to a row that is not observed: it is passed on to where that row's own residual would go, so that
the observed rows are permuted among themselves, within the same cells. Where whole blocks move, a block takes
the place of one that is observed in the same rows.

With U an orthonormal basis of the design, the products of the moved U with the residuals (0 where not
observed) are one matrix product for all elements; `contraction` turns them into those of the rows observed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled
from bids_group.inference.shuffling.contraction import Places, Signs, correlate_observed
from bids_group.inference.shuffling.group_variances import LOWEST_Z, look_up
from bids_group.inference.shuffling.partition import (
    NO_VARIANCE,
    TILE,
    Codes,
    Doubles,
    Partition,
    Residuals,
    Single,
    unit_columns,
    unit_residuals,
)
from bids_group.inference.shuffling.pooled_variance import LARGEST
from bids_group.inference.shuffling.shuffles import Batch, Shuffles, Units
from bids_group.row_space import group_by_pattern, invert_patterns
from bids_group.work_files import make_zeros, read_columns

Flags = npt.NDArray[np.bool_]


class Patterns(NamedTuple):
    """Rows that are observed together, and the design there.

    ``is_observed`` ``(k, n_obs)``. ``mixing`` ``(k, p, p)``: turns the design's basis into orthonormal tested
    directions, followed by nuisance ones (0 where there are fewer, all 0 where the contrast is not
    determined). ``dof`` ``(k,)``.
    """

    is_observed: Flags
    mixing: Doubles
    dof: Doubles


class ByPlace(NamedTuple):
    """Element and degrees of freedom at each place of the tiles, ``(n_elements,)``."""

    order: Codes
    dof: Doubles


class Moves(NamedTuple):
    """A batch of shuffles: what each row's residual is replaced by, where it goes, and with which sign.

    ``rows`` ``(p · batch_size, n_obs)``: the moved basis, for the product; the rest ``(n_obs, n_shuffles)``.
    """

    rows: Single
    sources: Places
    targets: Places
    signs: Signs


@dataclass(frozen=True, kw_only=True, eq=False)
class Holes:
    """Elements that some rows are not observed at, in the order of their degrees of freedom.

    ``pattern``: ``(n,)``. ``kinds`` ``(k, n_obs)``: rows that may take each other's
    places in a pattern have the same number, 0 where their unit is observed whole. ``columns``: basis of the
    design, tested directions first; ``is_observed`` and ``mixing`` as in `Patterns`. Without
    ``has_permutations`` shuffles are signs.
    """

    pattern: Codes
    is_observed: Flags
    residuals: Residuals
    mixing: Doubles
    kinds: Places
    columns: Doubles
    q: int
    is_signed: bool
    has_permutations: bool
    has_own_dof: ClassVar[bool] = False
    """Whether degrees of freedom are as good as different at every element: not so where they are counts."""

    @cached_property
    def _exceptions(self) -> tuple[Codes, Codes]:
        """Rows of units that are not observed whole, one pattern after the other, and where each starts."""
        if not self.has_permutations:
            return np.empty(0, np.intp), np.zeros(len(self.kinds) + 1, np.intp)
        pattern, rows = np.nonzero(self.kinds)
        return rows, np.searchsorted(pattern, np.arange(len(self.kinds) + 1))

    def moves(self, batch: Batch, batch_size: int) -> Moves:
        """Spell out a batch; the missing shuffles of the last one are filled up with zeros."""
        moved = batch.moved(self.columns)
        rows = np.zeros((moved.shape[0], batch_size, moved.shape[2]), np.float32)
        rows[:, : moved.shape[1]] = moved
        targets = np.broadcast_to(np.arange(batch.sources.shape[1]), batch.sources.shape).copy()
        if self.has_permutations:
            np.put_along_axis(targets, batch.sources, targets.copy(), axis=1)
        sources: Places = np.ascontiguousarray(batch.sources.T, dtype=np.uint32)
        goals: Places = np.ascontiguousarray(targets.T, dtype=np.uint32)
        signs = batch.signs.T.astype(np.int8) if (batch.signs < 0).any() else np.empty((0, 0), np.int8)
        return Moves(rows.reshape(-1, moved.shape[2]), sources, goals, signs)

    def make_room(self, batch_size: int) -> tuple[Single, Single]:
        """Make room for the products, and for the values, of a tile."""
        p = self.columns.shape[1]
        return np.empty((p, batch_size, TILE), np.float32), np.zeros((batch_size, TILE), np.float32)

    def tiles(self, moves: Moves, room: tuple[Single, Single]) -> Iterator[tuple[slice, Single]]:
        """Yield places among ``elements`` and the partial correlations there ``(batch_size, n)``."""
        products, values = room
        exceptions, starts = self._exceptions
        for number, tile in enumerate(self.residuals.tiles):
            here = self.residuals.elements_of(number)
            n_here = here.stop - here.start
            np.matmul(moves.rows, tile, out=products.reshape(len(moves.rows), TILE))
            correlate_observed(
                products, np.ascontiguousarray(tile.T), moves.sources, moves.targets, moves.signs,
                self.columns, self.pattern[here], self.mixing, self.kinds, exceptions, starts, self.q,
                self.is_signed, values,
            )  # fmt: skip
            yield here, values[:, :n_here]


def build_holes(
    maps: Single,
    split: Partition,
    shuffles: Shuffles,
    *,
    is_signed: bool,
    is_tested: Flags,
    folder: Path | None = None,
) -> tuple[Residuals, ByPlace | None, Holes | None]:  # fmt: skip
    """Take the nuisance part out of maps ``(n_obs, n_elements)`` in which NaN is not observed.

    Gives the residuals of the elements observed in every row; element and degrees of freedom at each place,
    these first, then the others by their dof; and the others: None where there are none. ``folder``: where
    files hold the residuals, because memory does not.
    """
    n_obs, n_elements = maps.shape
    blocks = [slice(start, start + TILE) for start in range(0, n_elements, TILE)]
    is_complete, is_observed = _find_observed(maps, blocks)
    complete, others = np.flatnonzero(is_complete), np.flatnonzero(~is_complete)
    patterns, pattern = find_patterns(is_observed, split)
    order = np.lexsort((pattern, patterns.dof[pattern]))
    others, pattern = others[order], pattern[order]
    place = np.empty(n_elements, np.intp)
    place[complete], place[others] = np.arange(complete.size), np.arange(others.size)
    whole, partial = (
        make_zeros((-(-places.size // TILE), n_obs, TILE), folder, name)
        for places, name in ((complete, "residuals"), (others, "residuals of holes"))
    )
    for block in blocks:
        values = read_columns(maps, block).astype(np.float64)
        is_whole, here = is_complete[block], place[block]
        rest = unit_residuals(values[:, is_whole], split.nuisance) * is_tested[block][is_whole]
        whole[here[is_whole] // TILE, :, here[is_whole] % TILE] = rest.T
        places = here[~is_whole]
        rest = _residuals(values[:, ~is_whole], split, patterns.mixing[pattern[places]])
        partial[places // TILE, :, places % TILE] = (rest * is_tested[block][~is_whole]).T
    residuals = _joined(whole, complete.size)
    if not others.size:
        return residuals, None, None
    dof = np.concatenate([np.full(complete.size, float(split.dof)), patterns.dof[pattern]])
    return (
        residuals,
        ByPlace(np.concatenate([complete, others]), dof),
        Holes(
            pattern=pattern,
            residuals=_joined(partial, others.size),
            is_observed=patterns.is_observed,
            mixing=patterns.mixing,
            kinds=number_kinds(patterns.is_observed, shuffles.units),
            columns=np.column_stack([split.tested, split.nuisance]),
            q=split.q,
            is_signed=is_signed,
            has_permutations=shuffles.has_permutations,
        ),
    )


def _find_observed(maps: Single, blocks: Sequence[slice]) -> tuple[Flags, Flags]:
    """Find elements observed in every row, ``(n_elements,)``, and the rows of the others, ``(n_obs, n)``."""
    is_complete, is_observed = [], []
    for block in blocks:
        here = np.isfinite(read_columns(maps, block))
        is_complete.append(here.all(axis=0))
        is_observed.append(here[:, ~is_complete[-1]])
    return np.concatenate(is_complete), np.concatenate(is_observed, axis=1)


def _joined(tiles: Single, n_elements: int) -> Residuals:
    squares = np.zeros((len(tiles), 0, TILE), np.float32)
    return Residuals(tiles=tiles, n_elements=n_elements, group_squares=squares)


def _residuals(values: Doubles, split: Partition, mixing: Doubles) -> Doubles:
    """Residuals of unit length on the nuisance part of the rows observed; 0 elsewhere, and where none are."""
    is_observed = np.isfinite(values)
    rest = given = np.where(is_observed, values, 0.0)
    mixed = mixing[:, split.q :, split.q :]
    for _ in range(2):  # once more for what rounding left
        loads = np.einsum("nij,nkj,nk->in", mixed, mixed, rest.T @ split.nuisance, optimize=True)
        rest = (rest - split.nuisance @ loads) * is_observed
    is_left = (rest**2).sum(axis=0) > NO_VARIANCE * (given**2).sum(axis=0)
    return unit_columns(rest * is_left)


def find_patterns(is_observed: Flags, split: Partition) -> tuple[Patterns, Codes]:
    """Split the design for each pattern of rows observed ``(n_obs, n)``; also the pattern of each element."""
    found, pattern = group_by_pattern(is_observed)
    columns, q = np.column_stack([split.tested, split.nuisance]), split.q
    p = columns.shape[1]
    inverses, projectors, ranks = invert_patterns(found, columns)
    is_determined = np.abs(projectors[:, :, :q] - np.eye(p)[:, :q]).max(axis=(1, 2)) < 1e-6
    spreads = np.where(is_determined[:, None, None], inverses[:, :q, :q], np.eye(q))
    mixing = np.zeros((len(found), p, p))
    roots = np.linalg.inv(np.linalg.cholesky(spreads)).transpose(0, 2, 1)
    mixing[:, :, :q] = inverses[:, :, :q] @ roots
    if p > q:
        grams = np.einsum("kn,ni,nj->kij", found, split.nuisance, split.nuisance, optimize=True)
        sizes, vectors = np.linalg.eigh(grams)
        is_there = np.arange(p - q) >= p - ranks[:, None]  # the largest, which come last
        scales = np.where(is_there, 1 / np.sqrt(np.where(is_there, sizes, 1.0)), 0.0)
        mixing[:, q:, q:] = vectors * scales[:, None, :]
    mixing *= is_determined[:, None, None]
    dof = np.maximum(found.sum(axis=1) - ranks, 1.0)
    return Patterns(found > 0, mixing, dof), pattern


def number_kinds(is_observed: Flags, units: Units) -> Places:
    """Give rows of each pattern a number by what is observed of their unit: 0 for all of it."""
    lengths = np.bincount(units.unit_of_row)
    table = np.zeros((units.n_units, int(lengths.max())), np.intp)
    is_row = np.arange(table.shape[1]) < lengths[:, None]
    table[is_row] = np.argsort(units.unit_of_row, kind="stable")
    seen = is_observed[:, table] | ~is_row
    _, kinds = np.unique(~seen.reshape(-1, table.shape[1]), axis=0, return_inverse=True)
    is_whole = seen.all(axis=2)
    numbered = np.where(is_whole, 0, kinds.reshape(is_whole.shape) + 1)
    return np.ascontiguousarray(numbered[:, units.unit_of_row], dtype=np.uint32)


@compiled()
def deviates_by_dof(
    values: Single, dof: Doubles, q: int, is_signed: bool, table: Doubles, first: float, last: float,
    z: Single,
) -> None:  # fmt: skip
    """Fill ``z`` from partial correlations (both ``(n_shuffles, n)``), each by its own dof ``(n,)``."""
    for k in range(values.shape[0]):
        for j in range(dof.size):
            size = min(abs(np.float64(values[k, j])), LARGEST)
            f = size * size / (1 - size * size) * dof[j] / q
            height = look_up(f, q, dof[j], table, first, last) if f > 0 else (0.0 if is_signed else LOWEST_Z)
            z[k, j] = -height if is_signed and values[k, j] < 0 else height
