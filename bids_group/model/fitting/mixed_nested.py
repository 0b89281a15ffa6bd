"""Mixed models of groups within groups, such as visits of people of families: their plan and their sums.

An intercept for each outer group, and one for each inner group within it: three variances with the residual
one. The inner groups are those of `mixed_plan`; what the outer ones add are tables of pairs of inner groups
of one outer group, sorted by their sizes (`mixed_weights` has the formulae).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled
from bids_group.config.estimators import FEWEST_LEVELS
from bids_group.model.fitting.least_squares import Codes, Doubles
from bids_group.model.fitting.mixed_plan import LANES, MixedPlan, Sums, sum_up, take_residuals
from bids_group.row_space import TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NestedPlan(MixedPlan):
    """The plan of the inner groups, and what the outer ones add.

    ``cell_of``: the cell of each inner group, one per outer group and size ``(m,)``; ``cells``: Σ Z_i'X_i of
    each ``(n_cells, p)``; ``joins``: pair of sizes, and two cells of one outer group ``(n_joins, 3)``.
    """

    cell_of: Codes
    cells: Doubles
    joins: Codes


def nest(plan: MixedPlan, outer: Codes) -> NestedPlan:
    """Add the outer groups, by number for each row of the design, to the plan of the inner ones."""
    kept = {field.name: getattr(plan, field.name) for field in fields(MixedPlan)}
    of_inner = outer[plan.rows[plan.starts[:-1]]]
    of_inner = np.unique(of_inner, return_inverse=True)[1].reshape(-1)
    n_outer, n_sizes = int(of_inner.max(initial=-1)) + 1, len(plan.tables.counts)
    members = np.zeros((n_outer, n_sizes))
    np.add.at(members, (of_inner, plan.class_of), 1)
    kinds, kind_of = np.unique(members, axis=0, return_inverse=True)
    places, cell_of = np.unique(of_inner * n_sizes + plan.class_of, return_inverse=True)
    cells = np.zeros((len(places), plan.tables.rank))
    np.add.at(cells, cell_of.reshape(-1), plan.cross[:, 0])
    pairs, joins = _pair_up(kinds, kind_of.reshape(-1), places, n_sizes)
    lower = np.tril_indices(plan.tables.rank)
    of_pairs = np.zeros((len(pairs), len(lower[0])))
    for pair, left, right in joins:
        both = np.outer(cells[left], cells[right])
        of_pairs[pair] += (both if left == right else both + both.T)[lower]
    kept["tables"] = plan.tables._replace(
        products=np.concatenate([plan.tables.products, of_pairs]),
        members=kinds,
        kinds=np.bincount(kind_of.reshape(-1)).astype(np.float64),
        pairs=pairs,
    )
    kept["can_be_fitted"] = plan.can_be_fitted and _tells_apart(plan, of_inner, n_outer)
    return NestedPlan(**kept, cell_of=cell_of.reshape(-1), cells=cells, joins=joins)


def _pair_up(kinds: Doubles, kind_of: Codes, places: Codes, n_sizes: int) -> tuple[Codes, Codes]:
    """List pairs of sizes by kind of outer group ``(n, 3)``, and the pairs of cells that belong to each."""
    pairs: list[tuple[int, int, int]] = []
    joins: list[tuple[int, int, int]] = []
    cell_at = {int(place): number for number, place in enumerate(places)}
    for kind, members in enumerate(kinds):
        here = np.flatnonzero(kind_of == kind)
        for left, right in combinations_with_replacement(np.flatnonzero(members).tolist(), 2):
            joins += [
                (len(pairs), cell_at[group * n_sizes + left], cell_at[group * n_sizes + right])
                for group in here.tolist()
            ]
            pairs.append((kind, left, right))
    return np.array(pairs, np.intp).reshape(-1, 3), np.array(joins, np.intp).reshape(-1, 3)


def _tells_apart(plan: MixedPlan, of_inner: Codes, n_outer: int) -> bool:
    """Whether rows vary between outer groups, and between inner ones of one outer group, beyond the model."""
    codes = np.repeat(of_inner, np.diff(plan.starts))
    means = np.zeros((n_outer, plan.tables.rank))
    np.add.at(means, codes, plan.columns)
    rest = plan.columns - (means / np.bincount(codes, minlength=n_outer)[:, None])[codes]
    n_spanned = n_outer + int((np.linalg.svd(rest, compute_uv=False) > TOLERANCE).sum())
    n_varied = len(of_inner) + int((plan.within != 0).any(axis=0).sum())
    return n_outer >= FEWEST_LEVELS and plan.tables.rank < n_spanned < n_varied


def sum_nested(plan: NestedPlan, values: npt.NDArray[np.float32]) -> Sums:
    """Sum up elements ``(n_obs, n)`` for every table."""
    sums, (n, n_pairs) = sum_up(plan, values), (values.shape[1], len(plan.tables.pairs))
    products, squares = np.zeros((n, n_pairs, plan.tables.rank)), np.zeros((n, n_pairs))
    shared = (plan.starts, plan.columns, plan.cell_of, plan.cells, plan.joins)
    _sum_pairs(values, sums.coefficients, *shared, products, squares)
    return sums._replace(
        products=np.concatenate([sums.products, products], axis=1),
        squares=np.concatenate([sums.squares, squares], axis=1),
    )


@compiled()
def _sum_pairs(
    values: npt.NDArray[np.float32],
    coefficients: Doubles,
    starts: Codes,
    columns: Doubles,
    cell_of: Codes,
    cells: Doubles,
    joins: Codes,
    products: Doubles,
    squares: Doubles,
) -> None:
    """Sum residuals of least squares over the rows of a cell, then products of the cells that are joined."""
    longest, rank = 1, columns.shape[1]
    for group in range(cell_of.size):
        longest = max(longest, starts[group + 1] - starts[group])
    rest, totals, fitted = np.empty((longest, LANES)), np.empty((len(cells), LANES)), np.empty((rank, LANES))
    for first in range(0, values.shape[1], LANES):
        part = values[:, first : first + LANES]
        totals[:] = 0
        for v in range(part.shape[1]):
            for a in range(rank):
                fitted[a, v] = coefficients[first + v, a]
        for group in range(cell_of.size):
            start, n_rows = starts[group], starts[group + 1] - starts[group]
            take_residuals(part, start, n_rows, columns, fitted, rest)
            for row in range(n_rows):
                for v in range(part.shape[1]):
                    totals[cell_of[group], v] += rest[row, v]
        for place in range(joins.shape[0]):
            pair, left, right = joins[place, 0], joins[place, 1], joins[place, 2]
            share = 0.5 if left == right else 1.0
            for v in range(part.shape[1]):
                squares[first + v, pair] += 2 * share * totals[left, v] * totals[right, v]
                for a in range(rank):
                    both = cells[left, a] * totals[right, v] + cells[right, a] * totals[left, v]
                    products[first + v, pair, a] += share * both
