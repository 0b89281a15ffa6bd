"""Mixed models of groups within groups, such as visits of people of families: exact REML at every element.

An intercept for each outer group, and one for each inner group within it: three variances with the residual
one. The inner groups are those of `mixed_plan`; what the outer ones add are sums over pairs of inner groups
of one outer group, sorted by their sizes (`mixed_nested_deviance` has the formulae). The deviance is searched
on a grid of both variances, then by Newton's steps in log(1 + a) and log(1 + b), cut where one would be
negative.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled, written_out
from bids_group.config.estimators import FEWEST_LEVELS
from bids_group.model.fitting.degrees_of_freedom import Adjusted
from bids_group.model.fitting.least_squares import Codes, Doubles
from bids_group.model.fitting.mixed_nested_deviance import (
    BY,
    BY_TWO,
    N_DERIVATIVES,
    VALUE,
    NestOwn,
    NestPoint,
    NestShared,
    NestWork,
    combine,
    evaluate,
    new_point,
    new_work,
    weigh,
)
from bids_group.model.fitting.mixed_plan import LANES, MixedPlan, Sums, take_residuals
from bids_group.model.fitting.mixed_single import Fitted, empty_fit
from bids_group.model.fitting.small_matrices import (
    copy,
    invert_positive,
    multiply,
    subtract_form,
    trace_of_product,
    unpack,
)
from bids_group.row_space import TOLERANCE

_LEVELS = (0.0, 0.15, 0.6, 2.0, 8.0, 60.0, 2e3)
_GRID = np.array([[inner, outer] for inner in _LEVELS for outer in _LEVELS])
_MOST_STEPS, _MOST_HALVINGS = 200, 50
_LONGEST = 3.0
"""Longest step in log(1 + a)."""
_NO_GAIN, _ROUNDING = 1e-13, 1e-15
"""Decrease of the deviance, as a Newton step expects it, at which the search ends with that step: this, and
this share of the deviance.
"""
_STANDS = 1e-8
"""Decrease that a step expects where none is found any more, at which rounding is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NestedPlan(MixedPlan):
    """The plan of the inner groups, and what the outer ones add.

    ``shared``: what the deviance is made of; ``cell_of``: the cell of each inner group, one per outer group
    and size ``(m,)``; ``cells``: Σ Z_i'X_i of each ``(n_cells, p)``; ``joins``: pair of sizes, and two cells
    of one outer group ``(n_joins, 3)``.
    """

    shared: NestShared
    cell_of: Codes
    cells: Doubles
    joins: Codes


class NestedSums(NamedTuple):
    """What an element adds to each table of `NestShared`: X'y ``(n, J, p)`` and y'y ``(n, J)``."""

    products: Doubles
    squares: Doubles


def nest(plan: MixedPlan, outer: Codes) -> NestedPlan:
    """Add the outer groups, by number for each row of the design, to the plan of the inner ones."""
    kept = {field.name: getattr(plan, field.name) for field in fields(MixedPlan)}
    of_inner = outer[plan.rows[plan.starts[:-1]]]
    of_inner = np.unique(of_inner, return_inverse=True)[1].reshape(-1)
    n_outer, n_sizes = int(of_inner.max(initial=-1)) + 1, len(plan.classes.counts)
    members = np.zeros((n_outer, n_sizes))
    np.add.at(members, (of_inner, plan.class_of), 1)
    kinds, kind_of = np.unique(members, axis=0, return_inverse=True)
    places, cell_of = np.unique(of_inner * n_sizes + plan.class_of, return_inverse=True)
    cells = np.zeros((len(places), plan.classes.rank))
    np.add.at(cells, cell_of.reshape(-1), plan.cross[:, 0])
    pairs, joins = _pair_up(kinds, kind_of.reshape(-1), places, n_sizes)
    sizes = plan.classes.gram[:, 0, 0]
    lower = np.tril_indices(plan.classes.rank)
    of_pairs = np.zeros((len(pairs), len(lower[0])))
    for pair, left, right in joins:
        both = np.outer(cells[left], cells[right])
        of_pairs[pair] += (both if left == right else both + both.T)[lower]
    between = plan.classes.products[:, 0, 0] / sizes[:, None, None]
    tables = np.concatenate([plan.classes.within[None], between])[:, lower[0], lower[1]]
    shared = NestShared(
        sizes, plan.classes.counts, kinds, np.bincount(kind_of.reshape(-1)).astype(np.float64), pairs,
        np.ascontiguousarray(np.concatenate([tables, of_pairs])), len(plan.rows) - len(of_inner),
        len(plan.rows) - plan.classes.rank,
    )  # fmt: skip
    can_be_fitted = plan.can_be_fitted and _tells_apart(plan, of_inner, n_outer)
    kept |= {"to_user": np.eye(2), "can_be_fitted": can_be_fitted}
    return NestedPlan(**kept, shared=shared, cell_of=cell_of.reshape(-1), cells=cells, joins=joins)


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
    means = np.zeros((n_outer, plan.classes.rank))
    np.add.at(means, codes, plan.columns)
    rest = plan.columns - (means / np.bincount(codes, minlength=n_outer)[:, None])[codes]
    n_spanned = n_outer + int((np.linalg.svd(rest, compute_uv=False) > TOLERANCE).sum())
    n_varied = len(of_inner) + int((np.diag(plan.classes.within) > 0).sum())
    return n_outer >= FEWEST_LEVELS and plan.classes.rank < n_spanned < n_varied


def sum_nested(plan: NestedPlan, values: npt.NDArray[np.float32], sums: Sums) -> NestedSums:
    """Sum up elements ``(n_obs, n)`` for every table; ``sums`` are those of the inner groups."""
    n, (n_tables, rank), n_sizes = (
        values.shape[1],
        (len(plan.shared.tables), plan.classes.rank),
        sums.squares.shape[1],
    )
    made = NestedSums(np.zeros((n, n_tables, rank)), np.zeros((n, n_tables)))
    inverse = plan.classes.inverse[:, 0, 0]
    made.products[:, 0], made.squares[:, 0] = sums.within, sums.square_within
    made.products[:, 1 : 1 + n_sizes] = sums.products[:, :, 0, 0] * inverse[:, None]
    made.squares[:, 1 : 1 + n_sizes] = sums.squares[:, :, 0, 0] * inverse
    shared = (plan.starts, plan.columns, plan.cell_of, plan.cells, plan.joins)
    _sum_pairs(
        values, sums.coefficients, *shared, made.products[:, 1 + n_sizes :], made.squares[:, 1 + n_sizes :]
    )
    return made


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


def fit_nested(plan: NestedPlan, sums: NestedSums) -> Fitted:
    """Fit both variances at each element; those without residual variance must not be among them."""
    rank, shared = plan.classes.rank, plan.shared
    fitted = empty_fit(len(sums.squares), 2, 2, rank)
    _fit(shared, sums.products, sums.squares, _GRID, fitted)
    return fitted


@compiled(error_model="numpy")
def _fit(shared: NestShared, products: Doubles, squares: Doubles, grid: Doubles, fitted: Fitted) -> None:
    """Find a and b of each element, and write what follows from them."""
    (n, n_tables, rank), n_grid = products.shape, grid.shape[0]
    work, best, tried = new_work(n_tables, rank), new_point(rank), new_point(rank)
    weights, inverses, logs = np.zeros((n_grid, n_tables)), np.zeros((n_grid, rank, rank)), np.zeros(n_grid)
    for place in range(n_grid):
        weigh(grid[place], shared, work)
        weights[place] = work.weights[VALUE]
        combine(work.weights, shared.tables, best.slopes, 1)
        unpack(best.slopes[VALUE], work.matrix)
        logs[place] = work.logs[VALUE] + invert_positive(work.matrix, work.factor, inverses[place])
    for v in range(n):
        own = NestOwn(products[v], squares[v])
        place = _best_of_grid(shared, own, weights, inverses, logs, work.sums[0])
        best.at[0], best.at[1] = grid[place, 0], grid[place, 1]
        evaluate(shared, own, best, work)
        is_end = 0
        for _ in range(_MOST_STEPS):
            is_end = _advance(shared, own, best, tried, work)
            if is_end != 0:
                break
        fitted.has_converged[v] = is_end > 0
        _write(shared, best, v, fitted)


@written_out(error_model="numpy")
def _best_of_grid(
    shared: NestShared, own: NestOwn, weights: Doubles, inverses: Doubles, logs: Doubles, sums: Doubles
) -> int:
    """Index of the grid point with the smallest deviance."""
    best, smallest = 0, np.inf
    for place in range(logs.size):
        total, inverse = 0.0, inverses[place]
        sums[:] = 0
        for j in range(own.squares.size):
            weight = weights[place, j]
            if weight != 0:
                total += weight * own.squares[j]
                for a in range(sums.size):
                    sums[a] += weight * own.products[j, a]
        total = subtract_form(total, inverse, sums)
        deviance = logs[place] + shared.n_free * np.log(total) if total > 0 else np.inf
        if deviance < smallest:
            best, smallest = place, deviance
    return best


@written_out(error_model="numpy")
def _advance(shared: NestShared, own: NestOwn, best: NestPoint, tried: NestPoint, work: NestWork) -> int:
    """Take a step that does not increase the deviance.

    Returns 0 where the search goes on, 1 at its end, and −1 where no such step was found.
    """
    first, second, gain = _propose(best)
    if not np.isfinite(gain):
        return -1
    limit = _NO_GAIN + _ROUNDING * abs(best.numbers[0])
    length = 1.0
    for _ in range(_MOST_HALVINGS):
        tried.at[0] = np.expm1(max(np.log1p(best.at[0]) + length * first, 0.0))
        tried.at[1] = np.expm1(max(np.log1p(best.at[1]) + length * second, 0.0))
        evaluate(shared, own, tried, work)
        if tried.numbers[0] <= best.numbers[0] + (limit if gain < limit else 0.0):
            _take(tried, best)
            return 1 if gain < limit else 0
        if gain < limit:
            return 1
        length *= 0.5
    return 1 if gain < _STANDS else -1


@written_out(error_model="numpy")
def _propose(point: NestPoint) -> tuple[float, float, float]:
    """Newton's step in log(1 + a) and log(1 + b), and the gain that it expects; a variance at 0 stays there
    where the deviance rises from it.
    """  # noqa: D205
    by_a, by_b = 1 + point.at[0], 1 + point.at[1]
    rise_a, rise_b = point.gradient[0] * by_a, point.gradient[1] * by_b
    aa = point.hessian[0, 0] * by_a**2 + rise_a
    bb = point.hessian[1, 1] * by_b**2 + rise_b
    ab = point.hessian[0, 1] * by_a * by_b
    if point.at[0] == 0 and rise_a >= 0:
        rise_a, ab = 0.0, 0.0
    if point.at[1] == 0 and rise_b >= 0:
        rise_b, ab = 0.0, 0.0
    determinant = aa * bb - ab * ab
    if aa > 0 and bb > 0 and determinant > 1e-10 * aa * bb:
        first, second = (ab * rise_b - bb * rise_a) / determinant, (ab * rise_a - aa * rise_b) / determinant
    else:
        first, second = -rise_a / (abs(aa) + abs(ab) + 1e-12), -rise_b / (abs(bb) + abs(ab) + 1e-12)
    longest = max(abs(first), abs(second))
    if longest > _LONGEST:
        first, second = first * _LONGEST / longest, second * _LONGEST / longest
    return first, second, -first * rise_a - second * rise_b


@compiled(error_model="numpy")
def _take(source: NestPoint, target: NestPoint) -> None:
    """Copy a point."""
    for a in range(2):
        target.at[a], target.numbers[a], target.rise[a] = source.at[a], source.numbers[a], source.rise[a]
        target.gradient[a] = source.gradient[a]
    for a in range(source.solution.size):
        target.solution[a] = source.solution[a]
    copy(source.hessian, target.hessian)
    copy(source.inverse, target.inverse)
    copy(source.slopes, target.slopes)


@written_out(error_model="numpy")
def _write(shared: NestShared, best: NestPoint, v: int, fitted: Fitted) -> None:
    """Write an element; the residual variance is a parameter of its own here, not profiled out."""
    free, square = shared.n_free, best.numbers[1]
    for a in range(best.solution.size):
        fitted.coefficients[v, a] = best.solution[a]
    copy(best.inverse, fitted.covariance[v])
    fitted.variance[v], fitted.deviance[v] = square / free, best.numbers[0]
    fitted.hessian[v, 2, 2] = free
    for variable in range(2):
        fitted.relative[v, variable, variable] = best.at[variable]
        fitted.hessian[v, variable, variable] = 1.0
        if best.at[variable] == 0:
            continue
        unpack(best.slopes[BY[variable]], fitted.slopes[v, variable])
        fitted.hessian[v, variable, 2] = fitted.hessian[v, 2, variable] = -free * best.rise[variable] / square
        for other in range(variable + 1):
            if best.at[other] > 0:
                bend = best.hessian[variable, other]
                bend += free * best.rise[variable] * best.rise[other] / square**2
                fitted.hessian[v, variable, other] = fitted.hessian[v, other, variable] = bend


def adjust_nested(plan: NestedPlan, fitted: Fitted) -> Adjusted:
    """Kenward and Roger's covariance, whose parts are derivatives of X'H⁻¹X by the three variances.

    With A = X'H⁻¹X, P_r is its derivative and Q_rs + Q_sr its second one; tr(H⁻¹G_r H⁻¹G_s) is that of
    −log|H|.
    """
    n, rank = fitted.coefficients.shape
    made = Adjusted(np.empty((n, rank, rank)), np.empty((n, 3, rank, rank)), np.empty((n, 3, 3)))
    _adjust(plan.shared, fitted, made)
    return made


@compiled(error_model="numpy")
def _adjust(shared: NestShared, fitted: Fitted, made: Adjusted) -> None:
    """Fill ``made`` element by element."""
    n, rank = fitted.coefficients.shape
    work, at = new_work(shared.tables.shape[0], rank), np.empty(2)
    packed, slopes = np.empty((N_DERIVATIVES, shared.tables.shape[1])), np.empty((N_DERIVATIVES, rank, rank))
    information, factor = np.empty((3, 3)), np.empty((3, 3))
    share, product = np.empty((rank, rank)), np.empty((rank, rank))
    for v in range(n):
        covariance, pulls, uncertainty = fitted.covariance[v], made.pulls[v], made.uncertainty[v]
        at[0], at[1] = fitted.relative[v, 0, 0], fitted.relative[v, 1, 1]
        weigh(at, shared, work)
        combine(work.weights, shared.tables, packed, N_DERIVATIVES)
        for row in range(N_DERIVATIVES):
            unpack(packed[row], slopes[row])
        for r in range(3):
            multiply(covariance, slopes[BY[r]], product)
            multiply(product, covariance, pulls[r])
            for a in range(rank):
                for b in range(rank):
                    pulls[r, a, b] = -pulls[r, a, b]
        for r in range(3):
            for s in range(3):
                second = slopes[BY_TWO[r][s]]
                value = -work.logs[BY_TWO[r][s]] - trace_of_product(pulls[r], slopes[BY[s]])
                information[r, s] = 0.5 * (value - trace_of_product(covariance, second))
        invert_positive(information, factor, uncertainty)
        share[:] = 0
        for r in range(3):
            multiply(slopes[BY[r]], covariance, product)
            for s in range(3):
                weight, second, first = uncertainty[r, s], slopes[BY_TWO[r][s]], slopes[BY[s]]
                for a in range(rank):
                    for b in range(rank):
                        share[a, b] += 0.5 * weight * second[a, b]
                        for c in range(rank):
                            share[a, b] -= weight * product[a, c] * first[c, b]
        multiply(covariance, share, product)
        multiply(product, covariance, share)
        for a in range(rank):
            for b in range(rank):
                made.covariance[v, a, b] = covariance[a, b] + 2 * share[a, b]
