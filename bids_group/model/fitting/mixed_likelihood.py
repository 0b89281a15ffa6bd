"""The restricted likelihood of mixed models, at a point of their relative covariance, and its derivatives.

With A, c and q for X'H⁻¹X, X'H⁻¹y and y'H⁻¹y, each Σ_j φ_j M_j (`mixed_plan`, `mixed_weights`), −2 log of the
restricted likelihood with σ² profiled out is, but for a constant,

    log|H| + log|A| + (N − p) log s,  s = q − c'A⁻¹c.

With Φ = A⁻¹, β = Φc, and for each table t_j = tr(Φ M_j) and e_j = q_j − 2β'c_j + β'M_jβ, its derivatives are
those of log|H| and Σ φ_j' (t_j + (N − p)/s e_j), and for the second ones besides −tr(Φ A' Φ A''),
−2 (N − p)/s (c' − A'β)'Φ(c'' − A''β) and −(N − p)/s² s's''.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bids_group.compiled import compiled, written_out
from bids_group.model.fitting.least_squares import Doubles
from bids_group.model.fitting.mixed_plan import Tables
from bids_group.model.fitting.mixed_weights import second, weigh
from bids_group.model.fitting.small_matrices import (
    copy,
    invert_positive,
    multiply,
    subtract_form,
    trace_of_product,
    unpack,
)

_MOSTLY_EXPLAINED, _MOST_TAKEN = 0.25, 3
"""Share of the squares left, below which what X explains is taken from the sums; how often at one point."""

NO_GAIN, STANDS = 1e-12, 1e-8
"""Decreases of the deviance that may be rounding. A search ends with a step that expects no more than the
first for each row: it is then a millionth of a standard error from the minimum, or nearer. A step that
expects no more than the second need not decrease the deviance; where it increases it by more, it is not taken
and the search ends.
"""


class Fitted(NamedTuple):
    """REML at elements; parameters are those of the relative covariance Λ, and last the log of σ².

    ``coefficients``: added to those of least squares ``(n, p)``; ``covariance``: Φ = (X'H⁻¹X)⁻¹
    ``(n, p, p)``, of the coefficients but for σ²; ``variance``: σ² ``(n,)``; ``parameters``: those of
    `mixed_weights` ``(n, s)``; ``slopes``: derivatives of Φ⁻¹ by the parameters of Λ ``(n, s, p, p)``;
    ``hessian``: of the deviance ``(n, s + 1, s + 1)``; a parameter at its boundary has slope 0, and 1 in the
    Hessian. ``deviance``: −2 log of the restricted likelihood but for a constant ``(n,)``.
    """

    coefficients: Doubles
    covariance: Doubles
    variance: Doubles
    parameters: Doubles
    slopes: Doubles
    hessian: Doubles
    deviance: Doubles
    has_converged: Doubles


class Point(NamedTuple):
    """What is known at the parameters ``at`` ``(s,)``.

    ``numbers``: deviance and residual square s; ``rise``: derivatives of s; ``gradient`` and ``hessian``: of
    the deviance; ``solution``: β; ``inverse``: Φ; ``slopes``: derivatives of A, packed ``(s, P)``.
    """

    at: Doubles
    numbers: Doubles
    rise: Doubles
    gradient: Doubles
    hessian: Doubles
    solution: Doubles
    inverse: Doubles
    slopes: Doubles


class Work(NamedTuple):
    """What is used again for every element.

    ``weights`` and ``logs``: of a point; ``products`` and ``squares``: the tables of what is left of the data
    when X times ``taken`` was taken from it; ``beta``: its coefficients. The others are scratch.
    """

    weights: Doubles
    logs: Doubles
    packed: Doubles
    sums: Doubles
    rest: Doubles
    beta: Doubles
    taken: Doubles
    products: Doubles
    squares: Doubles
    matrix: Doubles
    factor: Doubles
    slopes: Doubles
    pulled: Doubles
    small: Doubles
    turn: Doubles


class Grid(NamedTuple):
    """Points at which Φ is common to all elements: φ ``(g, J)``, and in ``logs`` log|H| + log|A| ``(g,)``."""

    at: Doubles
    weights: Doubles
    inverses: Doubles
    logs: Doubles


def empty_fit(n_elements: int, n_parameters: int, rank: int) -> Fitted:
    """Allocate the fit of elements, zeros throughout."""
    return Fitted(
        coefficients=np.zeros((n_elements, rank)),
        covariance=np.zeros((n_elements, rank, rank)),
        variance=np.zeros(n_elements),
        parameters=np.zeros((n_elements, n_parameters)),
        slopes=np.zeros((n_elements, n_parameters, rank, rank)),
        hessian=np.zeros((n_elements, n_parameters + 1, n_parameters + 1)),
        deviance=np.zeros(n_elements),
        has_converged=np.zeros(n_elements),
    )


def new_point(n_parameters: int, rank: int) -> Point:
    """Allocate a point of a design with ``rank`` columns."""
    return Point(
        np.zeros(n_parameters), np.zeros(2), np.zeros(n_parameters), np.zeros(n_parameters),
        np.zeros((n_parameters, n_parameters)), np.zeros(rank), np.zeros((rank, rank)),
        np.zeros((n_parameters, rank * (rank + 1) // 2)),
    )  # fmt: skip


def new_work(n_parameters: int, tables: Tables) -> Work:
    """Allocate what is used again for every element."""
    rank, (n_tables, packed), s = tables.rank, tables.products.shape, n_parameters
    n_rows = 1 + s + s * (s + 1) // 2
    return Work(
        weights=np.zeros((n_rows, n_tables)),
        logs=np.zeros(n_rows),
        packed=np.zeros(packed),
        sums=np.zeros(rank),
        rest=np.zeros(rank),
        beta=np.zeros(rank),
        taken=np.zeros(rank),
        products=np.zeros((n_tables, rank)),
        squares=np.zeros(n_tables),
        matrix=np.zeros((rank, rank)),
        factor=np.zeros((rank, rank)),
        slopes=np.zeros((s, rank, rank)),
        pulled=np.zeros((s, rank)),
        small=np.zeros((5, s, s)),
        turn=np.zeros((3, 3)),
    )


def new_grid(at: Doubles, tables: Tables, work: Work) -> Grid:
    """Invert A at each point ``(g, s)``."""
    n, rank = at.shape[0], tables.rank
    grid = Grid(at, np.zeros((n, len(tables.products))), np.zeros((n, rank, rank)), np.zeros(n))
    _fill(grid, tables, work)
    return grid


@compiled(error_model="numpy")
def _fill(grid: Grid, tables: Tables, work: Work) -> None:
    for place in range(grid.logs.size):
        grid.logs[place] = _weigh_design(grid.at[place], tables, grid.inverses[place], work)
        for j in range(work.squares.size):
            grid.weights[place, j] = work.weights[0, j]


@compiled(error_model="numpy")
def start(grid: Grid, tables: Tables, products: Doubles, squares: Doubles, point: Point, work: Work) -> None:
    """Take up the sums of an element, and go to the point of the grid with the smallest deviance."""
    smallest, n_free = np.inf, tables.n_rows - tables.rank
    copy(products, work.products)
    for j in range(squares.size):
        work.squares[j] = squares[j]
    for a in range(tables.rank):
        work.taken[a] = 0
    for r in range(point.at.size):
        point.at[r] = grid.at[0, r]
    for place in range(grid.logs.size):
        total = _weigh_data(grid.weights[place], work)
        total = subtract_form(total, grid.inverses[place], work.sums)
        deviance = grid.logs[place] + n_free * np.log(total) if total > 0 else np.inf
        if deviance < smallest:
            smallest = deviance
            for r in range(point.at.size):
                point.at[r] = grid.at[place, r]


@compiled(error_model="numpy")
def _weigh_design(at: Doubles, tables: Tables, inverse: Doubles, work: Work) -> float:
    """Write Φ into ``inverse``; give log|H| + log|A|."""
    weigh(at, tables, work.weights, work.logs)
    for place in range(work.packed.size):
        work.packed[place] = 0
    for j in range(tables.products.shape[0]):
        for place in range(work.packed.size):
            work.packed[place] += work.weights[0, j] * tables.products[j, place]
    unpack(work.packed, work.matrix)
    return float(work.logs[0] + invert_positive(work.matrix, work.factor, inverse))


@compiled(error_model="numpy")
def _weigh_data(weights: Doubles, work: Work) -> float:
    """Write X'H⁻¹y into ``work.sums``; give y'H⁻¹y."""
    total = 0.0
    for a in range(work.sums.size):
        work.sums[a] = 0
    for j in range(weights.size):
        total += weights[j] * work.squares[j]
        for a in range(work.sums.size):
            work.sums[a] += weights[j] * work.products[j, a]
    return total


@written_out(error_model="numpy")
def _fit_data(tables: Tables, inverse: Doubles, work: Work) -> float:
    """Write β of what is left of the data into ``work.beta``; give s.

    Where X explains most of that, as it does where groups differ a thousand times as much as the rows within
    them, it is taken from the sums for good, or s would be what rounding leaves of a difference.
    """
    for _ in range(_MOST_TAKEN):
        total = _weigh_data(work.weights[0], work)
        rest = total
        for a in range(work.beta.size):
            work.beta[a] = 0
            for b in range(work.beta.size):
                work.beta[a] += inverse[a, b] * work.sums[b]
            rest -= work.beta[a] * work.sums[a]
        if not rest < _MOSTLY_EXPLAINED * total:
            break
        for a in range(work.beta.size):
            work.taken[a] += work.beta[a]
        for j in range(work.squares.size):
            work.squares[j] = _rest(
                tables.products[j], work.products[j], work.squares[j], work.beta, work.rest
            )
            for a in range(work.rest.size):
                work.products[j, a] = work.rest[a]
        for a in range(work.beta.size):
            work.beta[a] = 0
    return rest


@compiled(error_model="numpy")
def evaluate(tables: Tables, point: Point, work: Work) -> None:
    """Fill a point: the deviance, its gradient and Hessian, and what they are made of."""
    n_free = tables.n_rows - tables.rank
    deviance = _weigh_design(point.at, tables, point.inverse, work)
    square = _fit_data(tables, point.inverse, work)
    for a in range(work.beta.size):
        point.solution[a] = work.taken[a] + work.beta[a]
    point.numbers[0] = deviance + n_free * np.log(square) if square > 0 else np.inf
    point.numbers[1] = square
    free = n_free / square
    _differentiate(tables, point, work)
    for r in range(point.at.size):
        unpack(point.slopes[r], work.matrix)
        multiply(point.inverse, work.matrix, work.slopes[r])
        for s in range(r + 1):
            value = point.hessian[r, s] - free / square * point.rise[r] * point.rise[s]
            value -= trace_of_product(work.slopes[r], work.slopes[s])
            for a in range(work.beta.size):
                for b in range(work.beta.size):
                    value -= 2 * free * work.pulled[r, a] * point.inverse[a, b] * work.pulled[s, b]
            point.hessian[r, s] = point.hessian[s, r] = value


@written_out(error_model="numpy")
def _differentiate(tables: Tables, point: Point, work: Work) -> None:
    """Sum over the tables what the derivatives are made of."""
    n, free = point.at.size, (tables.n_rows - tables.rank) / point.numbers[1]
    for r in range(n):
        point.gradient[r], point.rise[r] = work.logs[1 + r], 0
        for s in range(n):
            point.hessian[r, s] = work.logs[second(r, s, n)]
        for a in range(work.rest.size):
            work.pulled[r, a] = 0
        for place in range(work.packed.size):
            point.slopes[r, place] = 0
    pack_twice(point.inverse, work.packed)
    for j in range(1, work.squares.size):  # what is within groups does not depend on Λ
        trace = 0.0
        for place in range(work.packed.size):
            trace += work.packed[place] * tables.products[j, place]
        square = _rest(tables.products[j], work.products[j], work.squares[j], work.beta, work.rest)
        share = trace + free * square
        for r in range(n):
            weight = work.weights[1 + r, j]
            point.gradient[r] += weight * share
            point.rise[r] += weight * square
            for s in range(r + 1):
                point.hessian[r, s] += work.weights[second(r, s, n), j] * share
            for a in range(work.rest.size):
                work.pulled[r, a] += weight * work.rest[a]
            for place in range(work.packed.size):
                point.slopes[r, place] += weight * tables.products[j, place]


@compiled(error_model="numpy")
def pack_twice(matrix: Doubles, packed: Doubles) -> None:
    """Pack a symmetric matrix, entries off the diagonal twice: its products with others are traces."""
    place = 0
    for a in range(matrix.shape[0]):
        for b in range(a + 1):
            packed[place] = matrix[a, b] if a == b else 2 * matrix[a, b]
            place += 1


@written_out(error_model="numpy")
def _rest(table: Doubles, product: Doubles, square: float, beta: Doubles, rest: Doubles) -> float:
    """e_j of a table, and c_j − M_jβ into ``rest``."""
    place = 0
    for a in range(beta.size):
        fit = 0.0
        for b in range(a):
            fit += table[place] * beta[b]
            rest[b] += table[place] * beta[a]
            place += 1
        rest[a] = fit + table[place] * beta[a]
        place += 1
    for a in range(beta.size):
        square += beta[a] * (rest[a] - 2 * product[a])
        rest[a] = product[a] - rest[a]
    return square


@compiled(error_model="numpy")
def write(point: Point, n_free: int, fitted: Fitted, v: int) -> None:
    """Write what is known of an element but for the slopes and the Hessian of its parameters.

    The residual variance is a parameter of its own there, not profiled out: the Hessian of the point becomes
    that with it.
    """
    square = point.numbers[1]
    for a in range(point.solution.size):
        fitted.coefficients[v, a] = point.solution[a]
    copy(point.inverse, fitted.covariance[v])
    fitted.variance[v], fitted.deviance[v] = square / n_free, point.numbers[0]
    for r in range(point.at.size):
        fitted.parameters[v, r] = point.at[r]
        for s in range(point.at.size):
            point.hessian[r, s] += n_free * point.rise[r] * point.rise[s] / square**2
    fitted.hessian[v, point.at.size, point.at.size] = n_free


@compiled(error_model="numpy")
def take(source: Point, target: Point) -> None:
    """Copy a point."""
    for a in range(source.solution.size):
        target.solution[a] = source.solution[a]
    for a in range(2):
        target.numbers[a] = source.numbers[a]
    for r in range(source.at.size):
        target.at[r], target.rise[r], target.gradient[r] = source.at[r], source.rise[r], source.gradient[r]
    copy(source.hessian, target.hessian)
    copy(source.inverse, target.inverse)
    copy(source.slopes, target.slopes)
