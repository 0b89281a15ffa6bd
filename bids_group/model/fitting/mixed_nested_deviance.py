"""The restricted likelihood of groups within groups, such as people within families.

H = I + a (rows of one inner group) + b (rows of one outer group); a and b are the variances of the two
intercepts over the residual one. With n the rows of an inner group, d = 1/(1 + a n) and w = Σ n d over the
inner groups of an outer one, Woodbury's identity twice gives

    X'H⁻¹X = X'X within inner groups + Σ d X̄'X̄ / n − Σ b/(1 + b w) (Σ d X̄)'(Σ d X̄),

X̄ the sums of X over the rows of an inner group, and log|H| = Σ log(1 + a n) + Σ log(1 + b w). So X'H⁻¹X,
and alike X'H⁻¹y and y'H⁻¹y, are Σ φ_j M_j: tables M_j that do not depend on a and b, weighed by functions φ_j
that do not depend on the element. All derivatives are those of φ, by a, b and the residual variance e (1
here).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bids_group.compiled import compiled, written_out
from bids_group.model.fitting.least_squares import Codes, Doubles
from bids_group.model.fitting.small_matrices import invert_positive, multiply, trace_of_product, unpack

VALUE, BY = 0, (1, 2, 6)
"""Rows of a table of derivatives: the function, and its first derivatives by a, b and e."""
_SECOND = ((3, 0, 0), (4, 0, 1), (5, 1, 1), (7, 0, 2), (8, 1, 2), (9, 2, 2))
"""Rows of the second derivatives, each with its two variables: a, b, e = 0, 1, 2."""
N_DERIVATIVES, N_SEARCHED = 10, 6
"""Rows in all, and without those by e, which stand last."""
BY_TWO = ((3, 4, 7), (4, 5, 8), (7, 8, 9))
"""Row of each second derivative."""


class NestShared(NamedTuple):
    """What the elements share; k runs over distinct sizes of inner groups, c over kinds of outer ones.

    ``sizes`` and ``counts``: rows of an inner group, and how many have so many ``(k,)``; ``members``: inner
    groups of each size in an outer one ``(c, k)``; ``kinds``: outer groups of each kind ``(c,)``; ``pairs``:
    kind and two sizes of each of the last tables ``(J − 1 − k, 3)``; ``tables``: packed lower halves of M_j:
    within inner groups, of each size, of each pair ``(J, P)``; ``n_within``: rows − inner groups; ``n_free``:
    rows − columns.
    """

    sizes: Doubles
    counts: Doubles
    members: Doubles
    kinds: Doubles
    pairs: Codes
    tables: Doubles
    n_within: int
    n_free: int


class NestOwn(NamedTuple):
    """Sums of an element: X'y and y'y of each table ``(J, p)`` and ``(J,)``."""

    products: Doubles
    squares: Doubles


class NestPoint(NamedTuple):
    """What is known at a and b (``at``).

    ``numbers``: deviance and residual square s; ``rise``: derivatives of s by a and b; ``gradient`` and
    ``hessian`` of the deviance; ``slopes``: derivatives of A = X'H⁻¹X in packed lower halves ``(10, P)``.
    """

    at: Doubles
    numbers: Doubles
    rise: Doubles
    gradient: Doubles
    hessian: Doubles
    solution: Doubles
    inverse: Doubles
    slopes: Doubles


class NestWork(NamedTuple):
    """Scratch arrays, used again for every element."""

    weights: Doubles
    logs: Doubles
    small: Doubles
    sums: Doubles
    totals: Doubles
    pulled: Doubles
    matrix: Doubles
    factor: Doubles
    products: Doubles


@compiled(error_model="numpy")
def new_point(rank: int) -> NestPoint:
    """Allocate a point of a design with ``rank`` columns."""
    return NestPoint(
        np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2), np.zeros((2, 2)), np.zeros(rank),
        np.zeros((rank, rank)), np.zeros((N_DERIVATIVES, rank * (rank + 1) // 2)),
    )  # fmt: skip


@compiled(error_model="numpy")
def new_work(n_tables: int, rank: int) -> NestWork:
    """Allocate scratch arrays."""
    return NestWork(
        np.zeros((N_DERIVATIVES, n_tables)), np.zeros(N_DERIVATIVES), np.zeros((4, N_DERIVATIVES)),
        np.zeros((N_DERIVATIVES, rank)), np.zeros(N_DERIVATIVES), np.zeros((3, rank)), np.zeros((rank, rank)),
        np.zeros((rank, rank)), np.zeros((2, rank, rank)),
    )  # fmt: skip


@compiled(error_model="numpy")
def weigh(at: Doubles, shared: NestShared, work: NestWork) -> None:
    """Fill ``work.weights`` with φ and its derivatives, and ``work.logs`` with those of log|H|."""
    weights, logs, (outer, spread, both, other) = work.weights, work.logs, work.small
    n_sizes, last = shared.sizes.size, -1
    weights[:] = 0
    logs[:] = 0
    weights[VALUE, 0], weights[BY[2], 0], weights[9, 0] = 1, -1, 2
    logs[BY[2]], logs[9] = shared.n_within, -shared.n_within
    for k in range(n_sizes):
        n, d = shared.sizes[k], 1 / (1 + at[0] * shared.sizes[k])
        _of_inner(n, d, weights[:, 1 + k])
        logs[VALUE] -= shared.counts[k] * np.log(d)
        logs[BY[0]] += shared.counts[k] * n * d
        logs[BY[2]] += shared.counts[k] * d
        logs[3] -= shared.counts[k] * n * n * d * d
        logs[7] -= shared.counts[k] * n * d * d
        logs[9] -= shared.counts[k] * d * d
    for place in range(shared.pairs.shape[0]):
        kind, left, right = shared.pairs[place, 0], shared.pairs[place, 1], shared.pairs[place, 2]
        if kind != last:
            last = kind
            spread[:] = 0
            for k in range(n_sizes):
                for row in range(N_DERIVATIVES):
                    spread[row] += shared.members[kind, k] * shared.sizes[k] * weights[row, 1 + k]
            shrunk = 1 / (1 + at[1] * spread[VALUE])
            pull, own = at[1] * shrunk, spread[VALUE] * shrunk
            _compose(-np.log(shrunk), own, pull, -own * own, shrunk**2, -pull * pull, spread, other)
            for row in range(N_DERIVATIVES):
                logs[row] += shared.kinds[kind] * other[row]
            bend = -2 * pull * shrunk**2
            _compose(pull, shrunk**2, -pull * pull, -2 * own * shrunk**2, bend, 2 * pull**3, spread, outer)
        _multiply(weights[:, 1 + left], weights[:, 1 + right], both)
        _multiply(outer, both, other)
        for row in range(N_DERIVATIVES):
            weights[row, 1 + n_sizes + place] = -other[row]


@written_out(error_model="numpy")
def _of_inner(n: float, d: float, table: Doubles) -> None:
    """Fill a table with d = 1/(e + a n) and its derivatives."""
    table[VALUE], table[BY[0]], table[BY[2]] = d, -n * d * d, -d * d
    table[3], table[7], table[9] = 2 * n * n * d**3, 2 * n * d**3, 2 * d**3


@compiled(error_model="numpy")
def _compose(
    value: float, by_b: float, by_w: float, by_bb: float, by_bw: float, by_ww: float, w: Doubles, to: Doubles
) -> None:
    """Fill a table with a function of b and w, from its partial derivatives and the table of w(a, e)."""
    to[VALUE] = value
    for variable in range(3):
        to[BY[variable]] = by_w * w[BY[variable]] + (by_b if variable == 1 else 0.0)
    for row, first, second in _SECOND:
        to[row] = by_w * w[row] + by_ww * w[BY[first]] * w[BY[second]]
        to[row] += by_bw * ((first == 1) * w[BY[second]] + (second == 1) * w[BY[first]])
        to[row] += by_bb * (first == 1) * (second == 1)


@compiled(error_model="numpy")
def _multiply(f: Doubles, g: Doubles, product: Doubles) -> None:
    """Fill a table with the product of two functions, and its derivatives."""
    product[VALUE] = f[VALUE] * g[VALUE]
    for variable in BY:
        product[variable] = f[variable] * g[VALUE] + f[VALUE] * g[variable]
    for row, first, second in _SECOND:
        product[row] = f[row] * g[VALUE] + f[VALUE] * g[row]
        product[row] += f[BY[first]] * g[BY[second]] + f[BY[second]] * g[BY[first]]


@compiled(error_model="numpy")
def combine(weights: Doubles, tables: Doubles, sums: Doubles, n_rows: int) -> None:
    """Fill the first rows of ``sums`` ``(10, P)`` with Σ_j φ_j M_j and its derivatives."""
    for row in range(n_rows):
        for place in range(tables.shape[1]):
            sums[row, place] = 0
    for j in range(tables.shape[0]):
        for row in range(n_rows):
            weight = weights[row, j]
            if weight != 0:
                for place in range(tables.shape[1]):
                    sums[row, place] += weight * tables[j, place]


@compiled(error_model="numpy")
def evaluate(shared: NestShared, own: NestOwn, point: NestPoint, work: NestWork) -> None:
    """Fill a point: the deviance, its gradient and Hessian by a and b, and what they are made of."""
    weigh(point.at, shared, work)
    combine(work.weights, shared.tables, point.slopes, N_SEARCHED)
    combine(work.weights, own.products, work.sums, N_SEARCHED)
    for row in range(N_SEARCHED):
        work.totals[row] = 0
        for j in range(own.squares.size):
            work.totals[row] += work.weights[row, j] * own.squares[j]
    unpack(point.slopes[VALUE], work.matrix)
    deviance = work.logs[VALUE] + invert_positive(work.matrix, work.factor, point.inverse)
    beta, square = point.solution, work.totals[VALUE]
    for a in range(beta.size):
        beta[a] = 0
        for b in range(beta.size):
            beta[a] += point.inverse[a, b] * work.sums[VALUE, b]
        square -= beta[a] * work.sums[VALUE, a]
    point.numbers[0] = deviance + shared.n_free * np.log(square) if square > 0 else np.inf
    point.numbers[1] = square
    free = shared.n_free / square
    for variable in range(2):
        row = BY[variable]
        unpack(point.slopes[row], work.matrix)
        multiply(point.inverse, work.matrix, work.products[variable])
        trace = 0.0
        for a in range(beta.size):
            trace += work.products[variable, a, a]
        point.rise[variable] = _square(row, beta, work.pulled[variable], work)
        point.gradient[variable] = work.logs[row] + trace + free * point.rise[variable]
    _bend(point, free, work)


@compiled(error_model="numpy")
def _square(row: int, beta: Doubles, pulled: Doubles, work: NestWork) -> float:
    """y'H⁻¹y − 2 y'H⁻¹X β + β'Aβ of a row of derivatives, with A in ``work.matrix``; keep X'H⁻¹y − Aβ."""
    total = float(work.totals[row])
    for a in range(beta.size):
        fit = 0.0
        for b in range(beta.size):
            fit += work.matrix[a, b] * beta[b]
        total += beta[a] * (fit - 2 * work.sums[row, a])
        pulled[a] = work.sums[row, a] - fit
    return total


@written_out(error_model="numpy")
def _bend(point: NestPoint, free: float, work: NestWork) -> None:
    """Fill the Hessian of the deviance by a and b, with σ² profiled out."""
    beta, square = point.solution, point.numbers[1]
    for row, first, second in _SECOND[:3]:
        unpack(point.slopes[row], work.matrix)
        value = work.logs[row] + trace_of_product(point.inverse, work.matrix)
        value -= trace_of_product(work.products[first], work.products[second])
        rest = _square(row, beta, work.pulled[2], work)
        for a in range(beta.size):
            for b in range(beta.size):
                rest -= 2 * work.pulled[first, a] * point.inverse[a, b] * work.pulled[second, b]
        value += free * (rest - point.rise[first] * point.rise[second] / square)
        point.hessian[first, second] = point.hessian[second, first] = value
