"""Mixed models with one random effect, such as an intercept for each person: exact REML at every element.

λ is the variance of the random effect over the residual variance, g_k = Z_i'Z_i of class k (for an intercept:
the rows of a group), d_k = 1/(1 + g_k λ). Then A = A_w + Σ d_k B_k is X'H⁻¹X; c and q are X'H⁻¹y and y'H⁻¹y,
of the same form; and −2 log of the profiled restricted likelihood is, but for a constant,

    Σ m_k log(1 + g_k λ) + log|A| + (N − p) log(q − c'A⁻¹c).

It is searched on a grid of λ, where A⁻¹ is common to all elements, then by Newton's steps within brackets on
log(1 + λ). λ = 0 where the deviance rises from there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bids_group.compiled import compiled, written_out
from bids_group.model.fitting.least_squares import Doubles
from bids_group.model.fitting.mixed_plan import Classes, Sums
from bids_group.model.fitting.small_matrices import copy, invert_positive, subtract_form

_CORRELATIONS = (0, 0.01, 0.03, 0.07, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.83, 0.9, 0.95, 0.98, 0.995)
_GRID = np.array([*(share / (1 - share) for share in _CORRELATIONS), 2e3, 1e5, 1e7, 1e10, 1e13, 1e16])
_LARGEST = 1e20
_N_STEPS = 100
_CLOSE = 1e-12


class Fitted(NamedTuple):
    """REML at elements; parameters are those of the relative covariance Λ, and last the log of σ².

    ``coefficients``: added to those of least squares ``(n, p)``; ``covariance``: Φ = (X'H⁻¹X)⁻¹
    ``(n, p, p)``, of the coefficients but for σ²; ``variance``: σ² ``(n,)``; ``relative``: Λ ``(n, r, r)``;
    ``slopes``: derivatives of Φ⁻¹ by the parameters of Λ ``(n, s, p, p)``; ``hessian``: of the deviance
    ``(n, s + 1, s + 1)``; a parameter at its boundary has slope 0, and 1 in the Hessian.
    ``deviance``: −2 log of the restricted likelihood but for a constant; ``has_converged``: ``(n,)``.
    """

    coefficients: Doubles
    covariance: Doubles
    variance: Doubles
    relative: Doubles
    slopes: Doubles
    hessian: Doubles
    deviance: Doubles
    has_converged: Doubles


class _Shared(NamedTuple):
    """Classes with products divided by g_k, and the tables of the grid; ``n_free`` is N − p."""

    sizes: Doubles
    counts: Doubles
    within: Doubles
    between: Doubles
    grid: Doubles
    inverses: Doubles
    logs: Doubles
    n_free: int


class _Work(NamedTuple):
    """Scratch arrays, used again for every element."""

    matrix: Doubles
    factor: Doubles
    inverse: Doubles
    first: Doubles
    second: Doubles
    product: Doubles
    sum: Doubles
    solution: Doubles


def empty_fit(n_elements: int, n_effects: int, n_parameters: int, rank: int) -> Fitted:
    """Allocate the fit of elements, zeros throughout."""
    return Fitted(
        coefficients=np.zeros((n_elements, rank)),
        covariance=np.zeros((n_elements, rank, rank)),
        variance=np.zeros(n_elements),
        relative=np.zeros((n_elements, n_effects, n_effects)),
        slopes=np.zeros((n_elements, n_parameters, rank, rank)),
        hessian=np.zeros((n_elements, n_parameters + 1, n_parameters + 1)),
        deviance=np.zeros(n_elements),
        has_converged=np.zeros(n_elements),
    )


def fit_single(classes: Classes, sums: Sums) -> Fitted:
    """Fit one random effect at each element; those without residual variance must not be among them."""
    sizes, rank = classes.gram[:, 0, 0], classes.rank
    inverse = classes.inverse[:, 0, 0]
    between = classes.products[:, 0, 0] * inverse[:, None, None]
    shrunk = 1 / (1 + _GRID[:, None] * sizes)
    matrices = classes.within + np.einsum("gk,kab->gab", shrunk, between)
    logs = np.linalg.slogdet(matrices)[1] - np.log(shrunk) @ classes.counts
    n_free = classes.n_rows - rank
    shared = _Shared(
        sizes, classes.counts, classes.within, between, _GRID, np.linalg.inv(matrices), logs, n_free
    )
    fitted = empty_fit(len(sums.scale), 1, 1, rank)
    products = np.ascontiguousarray(sums.products[:, :, 0, 0] * inverse[:, None])
    _fit(shared, sums.within, products, sums.square_within, sums.squares[:, :, 0, 0] * inverse, fitted)
    return fitted


@compiled()
def _fit(
    shared: _Shared, within: Doubles, products: Doubles, square: Doubles, squares: Doubles, fitted: Fitted
) -> None:
    """Find λ of each element, and write what follows from it."""
    rank, n_free = within.shape[1], shared.n_free
    table = (rank, rank)
    work = _Work(
        np.zeros(table), np.zeros(table), np.zeros(table), np.zeros(table), np.zeros(table), np.zeros(table),
        np.zeros(rank), np.zeros(rank),
    )  # fmt: skip
    for v in range(square.size):
        own = (within[v], products[v], square[v], squares[v])
        ratio, converged, numbers = _optimum(shared, own, work)
        deviance, _, second, total, rise = numbers
        for a in range(rank):
            fitted.coefficients[v, a] = work.solution[a]
        copy(work.inverse, fitted.covariance[v])
        fitted.variance[v] = total / n_free
        fitted.relative[v, 0, 0] = ratio
        fitted.deviance[v] = deviance
        fitted.has_converged[v] = converged
        fitted.hessian[v, 1, 1] = n_free
        if ratio == 0:
            fitted.hessian[v, 0, 0] = 1
        else:
            copy(work.first, fitted.slopes[v, 0])
            fitted.hessian[v, 0, 0] = second + n_free * (rise / total) ** 2
            fitted.hessian[v, 0, 1] = fitted.hessian[v, 1, 0] = -n_free * rise / total


@written_out()
def _optimum(
    shared: _Shared, own: tuple[Doubles, Doubles, float, Doubles], work: _Work
) -> tuple[float, bool, tuple[float, float, float, float, float]]:
    """λ, whether the search converged, and the numbers of `_evaluate` there."""
    best = _best_of_grid(shared, own, work.sum)
    lower = np.log1p(shared.grid[max(best - 1, 0)])
    upper = np.log1p(shared.grid[best + 1] if best + 1 < shared.grid.size else _LARGEST)
    at = np.log1p(shared.grid[best])
    for _ in range(_N_STEPS):
        ratio = np.expm1(at)
        numbers = _evaluate(ratio, shared, own, work)
        rise = numbers[1] * (1 + ratio)
        bend = numbers[2] * (1 + ratio) ** 2 + rise
        if not np.isfinite(numbers[0]) or not np.isfinite(rise):
            return ratio, False, numbers
        if at == 0 and rise >= 0:
            return 0.0, True, numbers
        if rise > 0:
            upper = at
        else:
            lower = at
        if lower == 0 and upper < 1e-10:  # closer to 0 than any minimum that numbers can tell apart
            at = 0.0
            lower = upper = 0.0
            continue
        new = at - rise / bend if bend > 0 else lower - 1
        if not lower <= new <= upper:
            new = 0.5 * (lower + upper)
        if abs(new - at) <= _CLOSE * (at + 1e-3):
            return ratio, True, numbers
        at = new
    return np.expm1(at), False, numbers


@written_out()
def _best_of_grid(shared: _Shared, own: tuple[Doubles, Doubles, float, Doubles], sums: Doubles) -> int:
    """Index of the grid point with the smallest deviance."""
    within, products, square, squares = own
    best, smallest = 0, np.inf
    for place in range(shared.grid.size):
        total = square
        for a in range(sums.size):
            sums[a] = within[a]
        for k in range(shared.sizes.size):
            shrunk = 1 / (1 + shared.sizes[k] * shared.grid[place])
            total += shrunk * squares[k]
            for a in range(sums.size):
                sums[a] += shrunk * products[k, a]
        total = subtract_form(total, shared.inverses[place], sums)
        deviance = shared.logs[place] + shared.n_free * np.log(total) if total > 0 else np.inf
        if deviance < smallest:
            best, smallest = place, deviance
    return best


@written_out()
def _evaluate(
    ratio: float, shared: _Shared, own: tuple[Doubles, Doubles, float, Doubles], work: _Work
) -> tuple[float, float, float, float, float]:
    """Deviance with its first and second derivative by λ, the residual square s, and its derivative.

    Leaves Φ, the derivative of Φ⁻¹, and the coefficients in ``work``.
    """
    within, products, square, squares = own
    total, deviance, first, second = square, 0.0, 0.0, 0.0
    copy(shared.within, work.matrix)
    work.first[:] = 0
    work.second[:] = 0
    for a in range(within.size):
        work.sum[a] = within[a]
    for k in range(shared.sizes.size):
        shrunk = 1 / (1 + shared.sizes[k] * ratio)
        pull = shared.sizes[k] * shrunk
        deviance -= shared.counts[k] * np.log(shrunk)
        first += shared.counts[k] * pull
        second -= shared.counts[k] * pull * pull
        total += shrunk * squares[k]
        for a in range(work.sum.size):
            work.sum[a] += shrunk * products[k, a]
            for b in range(work.sum.size):
                part = shrunk * shared.between[k, a, b]
                work.matrix[a, b] += part
                work.first[a, b] -= pull * part
                work.second[a, b] += 2 * pull * pull * part
    deviance += invert_positive(work.matrix, work.factor, work.inverse)
    for a in range(work.sum.size):
        work.solution[a] = 0
        for b in range(work.sum.size):
            work.solution[a] += work.inverse[a, b] * work.sum[b]
        total -= work.solution[a] * work.sum[a]
    by_matrix = _trace_terms(work)
    rise, bend = _square_terms(ratio, shared, products, squares, work)
    free = shared.n_free
    return (
        deviance + free * np.log(total) if total > 0 else np.inf,
        first + by_matrix[0] + free * rise / total,
        second + by_matrix[1] + free * (bend / total - (rise / total) ** 2),
        total,
        rise,
    )


@written_out()
def _trace_terms(work: _Work) -> tuple[float, float]:
    """First and second derivative of log|A|, A' and A'' in ``work``."""
    first, second, rank = 0.0, 0.0, work.sum.size
    for a in range(rank):
        for b in range(rank):
            first += work.inverse[a, b] * work.first[a, b]
            second += work.inverse[a, b] * work.second[a, b]
            work.product[a, b] = 0
            for c in range(rank):
                work.product[a, b] += work.inverse[a, c] * work.first[c, b]
    for a in range(rank):
        for b in range(rank):
            second -= work.product[a, b] * work.product[b, a]
    return first, second


@written_out()
def _square_terms(
    ratio: float, shared: _Shared, products: Doubles, squares: Doubles, work: _Work
) -> tuple[float, float]:
    """First and second derivative of the residual square q − c'A⁻¹c."""
    rise, bend, beta, pulled = 0.0, 0.0, work.solution, work.sum
    pulled[:] = 0
    for k in range(shared.sizes.size):
        shrunk = 1 / (1 + shared.sizes[k] * ratio)
        first = -shared.sizes[k] * shrunk * shrunk
        rest = squares[k]
        for a in range(beta.size):
            fit = 0.0
            for b in range(beta.size):
                fit += shared.between[k, a, b] * beta[b]
            rest += beta[a] * (fit - 2 * products[k, a])
            pulled[a] += first * (products[k, a] - fit)
        rise += first * rest
        bend -= 2 * shared.sizes[k] * shrunk * first * rest
    for a in range(beta.size):
        for b in range(beta.size):
            bend -= 2 * pulled[a] * work.inverse[a, b] * pulled[b]
    return rise, bend
