"""Mixed models with two random effects, such as an intercept and a slope for each person: exact REML.

The search starts at the best point of a grid of Λ, where A⁻¹ is common to all elements, and takes damped
Newton steps with the exact Hessian (`mixed_pair_deviance`) in the Cholesky factor of Λ. The axes are turned
to those of Λ before each step: the larger variance comes first, so that the factor is never degenerate but
where both are 0. At a variance of 0 the slope of the deviance decides (Karush–Kuhn–Tucker): where it falls
from there, the search goes on.
"""

from __future__ import annotations

import numpy as np

from bids_group.compiled import compiled, written_out
from bids_group.model.fitting.least_squares import Doubles
from bids_group.model.fitting.mixed_pair_deviance import (
    PairOwn,
    PairShared,
    PairWork,
    Point,
    evaluate,
    new_point,
    weigh_classes,
    weigh_data,
)
from bids_group.model.fitting.mixed_plan import Classes, Sums
from bids_group.model.fitting.mixed_single import Fitted, empty_fit
from bids_group.model.fitting.small_matrices import copy, invert_positive, multiply, subtract_form

_LEVELS = (0.02, 0.2, 0.8, 3.0, 15.0, 200.0)
_GRID = np.array([[first, 0.0, second] for first in _LEVELS for second in _LEVELS])
_MOST_STEPS = 300
_NO_GAIN, _ROUNDING = 1e-13, 1e-15
"""Decrease of the deviance, as a Newton step expects it, at which the search ends with that step: this, and
this share of the deviance.
"""
_LITTLE = 1e-6
"""Damping that hardly shortens a step."""
_AT_ZERO = 1e-6
"""Variance over the residual one that is 0 where the deviance is no larger there."""
_LEAVES = 1e-9
"""Decrease of the deviance for which a variance leaves 0."""
_ROUNDED = 1e-13
"""Share of the larger variance below which the smaller one is what turning the axes makes of 0."""


def fit_pair(classes: Classes, sums: Sums, is_correlated: bool) -> Fitted:
    """Fit two random effects at each element; those without residual variance must not be among them."""
    rank = classes.rank
    lower = np.tril_indices(rank)
    joined = classes.products[:, 0, 1] + classes.products[:, 1, 0]
    blocks = np.stack([classes.products[:, 0, 0], joined, classes.products[:, 1, 1]], axis=1)
    shared = PairShared(
        classes.gram,
        classes.inverse,
        classes.counts,
        np.ascontiguousarray(blocks[:, :, lower[0], lower[1]]),
        np.ascontiguousarray(classes.within[lower]),
        is_correlated,
        classes.n_rows - rank,
    )
    products = np.stack(
        [sums.products[:, :, 0, 0], sums.products[:, :, 0, 1] + sums.products[:, :, 1, 0],
         sums.products[:, :, 1, 1]], axis=2,
    )  # fmt: skip
    squares = np.stack(
        [sums.squares[:, :, 0, 0], 2 * sums.squares[:, :, 0, 1], sums.squares[:, :, 1, 1]], axis=2
    )
    fitted = empty_fit(len(sums.scale), 2, 3, rank)
    _fit(shared, sums.within, products, sums.square_within, squares, _GRID, fitted)
    return fitted


@compiled(error_model="numpy")
def _fit(
    shared: PairShared,
    within: Doubles,
    products: Doubles,
    square: Doubles,
    squares: Doubles,
    grid: Doubles,
    fitted: Fitted,
) -> None:
    """Find Λ of each element, and write what follows from it."""
    rank, n_classes = within.shape[1], shared.counts.size
    work = PairWork(
        np.zeros(rank * (rank + 1) // 2), np.zeros(rank), np.zeros((rank, rank)), np.zeros((rank, rank)),
        np.zeros((3, rank)), np.zeros((3, rank, rank)),
        np.zeros((3, rank)), np.zeros((3, 3)), np.zeros((5, 3, 3)),
    )  # fmt: skip
    best, tried = new_point(rank), new_point(rank)
    weights, scratch = np.zeros((grid.shape[0], n_classes, 3)), np.zeros((n_classes, 3))
    inverses, logs = np.zeros((grid.shape[0], rank, rank)), np.zeros(grid.shape[0])
    for place in range(grid.shape[0]):
        logs[place] = weigh_classes(grid[place], shared, weights[place], work)
        logs[place] += invert_positive(work.matrix, work.factor, inverses[place])
    for v in range(square.size):
        own = PairOwn(within[v], products[v], square[v], squares[v])
        place = _best_of_grid(shared, own, weights, inverses, logs, work.sum)
        for a in range(3):
            best.at[a] = grid[place, a]
        fitted.has_converged[v] = _optimise(shared, own, best, tried, scratch, work)
        _write(shared, best, work, v, fitted)


@written_out(error_model="numpy")
def _best_of_grid(
    shared: PairShared, own: PairOwn, weights: Doubles, inverses: Doubles, logs: Doubles, sums: Doubles
) -> int:
    """Index of the grid point with the smallest deviance."""
    best, smallest = 0, np.inf
    for place in range(logs.size):
        total, inverse = weigh_data(weights[place], own, sums), inverses[place]
        total = subtract_form(total, inverse, sums)
        deviance = logs[place] + shared.n_free * np.log(total) if total > 0 else np.inf
        if deviance < smallest:
            best, smallest = place, deviance
    return best


@written_out(error_model="numpy")
def _axes(point: Point, is_correlated: bool, work: PairWork) -> None:
    """Turn to the axes of Λ, or where it is 0 to those of the gradient.

    ``work.turn`` gets the matrix that takes the entries 11, 12 and 22 in these axes to those of Λ.
    """
    first, mixed, second = point.at[0], point.at[1], point.at[2]
    sign = 1.0
    if first == 0 and second == 0:
        first, mixed, second, sign = point.gradient[0], 0.5 * point.gradient[1], point.gradient[2], -1.0
    cosine, sine = 1.0, 0.0
    if is_correlated:
        angle = 0.5 * np.arctan2(sign * 2 * mixed, sign * (first - second))
        cosine, sine = np.cos(angle), np.sin(angle)
    cc, cs, ss = cosine * cosine, cosine * sine, sine * sine
    turn = work.turn
    turn[0, 0], turn[0, 1], turn[0, 2] = cc, -2 * cs, ss
    turn[1, 0], turn[1, 1], turn[1, 2] = cs, cc - ss, -cs
    turn[2, 0], turn[2, 1], turn[2, 2] = ss, 2 * cs, cc


@compiled(error_model="numpy")
def _in_factor(point: Point, is_correlated: bool, work: PairWork) -> None:
    """Give derivatives by the Cholesky factor θ (11, 21, 22) in the axes of Λ.

    ``work.small[0]`` gets θ in row 0 and the gradient by Λ in these axes in row 1; ``work.small[1]`` the
    Hessian by θ; ``work.small[2]`` the derivatives of the entries of Λ, as the user has them, by θ.
    """
    _axes(point, is_correlated, work)
    turn, theta, gradient, hessian, jacobian = (
        work.turn, work.small[0, 0], work.small[0, 1], work.small[1], work.small[2],
    )  # fmt: skip
    at = point.at
    theta[0] = turn[0, 0] * at[0] + 2 * turn[1, 0] * at[1] + turn[2, 0] * at[2]
    theta[2] = turn[0, 2] * at[0] + 2 * turn[1, 2] * at[1] + turn[2, 2] * at[2]
    if theta[2] < _ROUNDED * theta[0]:  # what turning makes of 0
        theta[2] = 0.0
    theta[0], theta[1], theta[2] = np.sqrt(max(theta[0], 0.0)), 0.0, np.sqrt(max(theta[2], 0.0))
    for a in range(3):
        gradient[a] = 0
        for b in range(3):
            gradient[a] += turn[b, a] * point.gradient[b]
        jacobian[a, 0], jacobian[a, 2] = 2 * theta[0] * turn[a, 0], 2 * theta[2] * turn[a, 2]
        jacobian[a, 1] = theta[0] * turn[a, 1] if is_correlated else 0.0
    multiply(point.hessian, jacobian, work.small[3])
    multiply(jacobian.T, work.small[3], hessian)
    hessian[0, 0] += 2 * gradient[0]
    hessian[2, 2] += 2 * gradient[2]
    if is_correlated:
        hessian[0, 1] += gradient[1]
        hessian[1, 0] += gradient[1]
        hessian[1, 1] += 2 * gradient[2]
    else:
        hessian[1, 1] = 1.0


@written_out(error_model="numpy")
def _optimise(
    shared: PairShared, own: PairOwn, best: Point, tried: Point, weights: Doubles, work: PairWork
) -> bool:
    """Bring ``best`` to the minimum; return whether the search converged."""
    evaluate(shared, own, best, weights, work)
    damping = 1e-3
    for _ in range(_MOST_STEPS):
        if not np.isfinite(best.numbers[0]):
            return False
        gain, damping = _propose(best, tried, damping, shared.is_correlated, work)
        limit = _NO_GAIN + _ROUNDING * abs(best.numbers[0])
        if gain < limit and damping > _LITTLE:  # it may be the damping that lets nothing be gained
            gain, damping = _propose(best, tried, _LITTLE, shared.is_correlated, work)
        if gain < limit:
            evaluate(shared, own, tried, weights, work)
            if tried.numbers[0] <= best.numbers[0] + limit:
                _take(tried, best)
            if _settle(shared, own, best, tried, weights, work):
                return True
            damping = 1e-3
            continue
        evaluate(shared, own, tried, weights, work)
        if tried.numbers[0] <= best.numbers[0] + limit:
            _take(tried, best)
            damping *= 0.1
        else:
            damping = max(8 * damping, 1e-3)
            if damping > 1e12:
                return False
    return False


@compiled(error_model="numpy")
def _propose(
    best: Point, tried: Point, damping: float, is_correlated: bool, work: PairWork
) -> tuple[float, float]:
    """Write a damped Newton step in the factor θ to ``tried.at``.

    Returns the decrease of the deviance that the step expects, and the damping used.
    """
    _in_factor(best, is_correlated, work)
    theta, gradient, hessian, jacobian = work.small[0, 0], work.small[0, 2], work.small[1], work.small[2]
    _make_diagonal_positive(theta, hessian)
    size = hessian[0, 0] + hessian[2, 2] + hessian[1, 1] * is_correlated
    for a in range(3):
        gradient[a] = 0
        for b in range(3):
            gradient[a] += jacobian[b, a] * best.gradient[b]
    shifted, factor, inverse = work.small[2], work.small[3], work.small[4]
    while True:
        copy(hessian, shifted)
        for a in range(3):
            shifted[a, a] += damping * size
        if np.isfinite(invert_positive(shifted, factor, inverse)) or not size < np.inf or damping > 1e12:
            break
        damping = max(4 * damping, 1e-6)
    gain = 0.0
    for a in range(3):
        step = 0.0
        for b in range(3):
            step -= inverse[a, b] * gradient[b]
        gain -= step * gradient[a]
        theta[a] += step
    _from_factor(theta, work.turn, tried.at)
    return gain, damping


@written_out(error_model="numpy")
def _make_diagonal_positive(theta: Doubles, hessian: Doubles) -> None:
    """Take parameters that stay at 0 out of the Hessian; make its diagonal positive."""
    for a in range(3):
        if theta[0 if a == 1 else a] == 0:
            for b in range(3):
                hessian[a, b] = hessian[b, a] = 0.0
            hessian[a, a] = 1.0
        hessian[a, a] = abs(hessian[a, a])


@compiled(error_model="numpy")
def _from_factor(theta: Doubles, turn: Doubles, at: Doubles) -> None:
    """Entries of Λ from its factor in turned axes."""
    first, mixed, second = theta[0] ** 2, theta[0] * theta[1], theta[1] ** 2 + theta[2] ** 2
    for a in range(3):
        at[a] = turn[a, 0] * first + turn[a, 1] * mixed + turn[a, 2] * second


@compiled(error_model="numpy")
def _take(source: Point, target: Point) -> None:
    """Copy a point."""
    for a in range(3):
        target.at[a], target.gradient[a], target.rise[a] = source.at[a], source.gradient[a], source.rise[a]
    target.numbers[0], target.numbers[1] = source.numbers[0], source.numbers[1]
    for a in range(source.solution.size):
        target.solution[a] = source.solution[a]
    copy(source.hessian, target.hessian)
    copy(source.inverse, target.inverse)
    copy(source.slopes, target.slopes)


@written_out(error_model="numpy")
def _settle(
    shared: PairShared, own: PairOwn, best: Point, tried: Point, weights: Doubles, work: PairWork
) -> bool:
    """At a stationary point: variances that are as good as 0 become 0; where one should leave 0, leave it.

    Gives whether the point stands.
    """
    for axis in (2, 0):
        _in_factor(best, shared.is_correlated, work)
        theta = work.small[0, 0]
        if 0 < theta[axis] ** 2 < _AT_ZERO:
            theta[axis] = 0
            _from_factor(theta, work.turn, tried.at)
            evaluate(shared, own, tried, weights, work)
            if tried.numbers[0] <= best.numbers[0] + 1e-10 + _ROUNDING * abs(best.numbers[0]):
                _take(tried, best)
    _in_factor(best, shared.is_correlated, work)
    for axis in (2, 0):
        theta, slope = work.small[0, 0], work.small[0, 1, axis]
        if theta[axis] > 0 or slope >= 0:
            continue
        bend = 0.0
        for a in range(3):
            for b in range(3):
                bend += work.turn[a, axis] * best.hessian[a, b] * work.turn[b, axis]
        move = -slope / bend if bend > 0 else 0.1
        while move > _AT_ZERO:
            theta[axis] = np.sqrt(move)
            _from_factor(theta, work.turn, tried.at)
            evaluate(shared, own, tried, weights, work)
            if tried.numbers[0] < best.numbers[0] - _LEAVES:
                _take(tried, best)
                return False
            move *= 0.2
            _in_factor(best, shared.is_correlated, work)
    return True


@written_out(error_model="numpy")
def _write(shared: PairShared, best: Point, work: PairWork, v: int, fitted: Fitted) -> None:
    """Write an element; its parameters are the factor θ in the axes of Λ, those at 0 left out."""
    rank, free = best.solution.size, shared.n_free
    square = best.numbers[1]
    for a in range(rank):
        fitted.coefficients[v, a] = best.solution[a]
    copy(best.inverse, fitted.covariance[v])
    fitted.variance[v] = square / free
    fitted.deviance[v] = best.numbers[0]
    fitted.relative[v, 0, 0], fitted.relative[v, 1, 1] = best.at[0], best.at[2]
    fitted.relative[v, 0, 1] = fitted.relative[v, 1, 0] = best.at[1]
    for a in range(3):
        for b in range(3):  # the residual variance is a parameter of its own here, not profiled out
            best.hessian[a, b] += free * best.rise[a] * best.rise[b] / square**2
    _in_factor(best, shared.is_correlated, work)
    theta, hessian, jacobian, target = work.small[0, 0], work.small[1], work.small[2], fitted.hessian[v]
    target[3, 3] = free
    for row in range(3):
        is_free = theta[row] > 0 if row != 1 else theta[0] > 0 and shared.is_correlated
        target[row, row] = 1.0
        if not is_free:
            continue
        target[row, row] = hessian[row, row]
        for column in range(row):
            is_other = theta[column] > 0 if column != 1 else theta[0] > 0 and shared.is_correlated
            if is_other:
                target[row, column] = target[column, row] = hessian[row, column]
        for a in range(3):
            target[3, row] -= free * jacobian[a, row] * best.rise[a] / square
            place = 0
            for b in range(rank):
                for c in range(b + 1):
                    fitted.slopes[v, row, b, c] += jacobian[a, row] * best.slopes[a, place]
                    place += 1
        target[row, 3] = target[3, row]
        for b in range(rank):
            for c in range(b):
                fitted.slopes[v, row, c, b] = fitted.slopes[v, row, b, c]
