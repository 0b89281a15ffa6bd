"""Mixed models with two random effects, such as an intercept and a slope for each person: exact REML.

The search starts at the best point of a grid of Λ, where A⁻¹ is common to all elements, and takes damped
Newton steps with the exact Hessian (`mixed_likelihood`) in the Cholesky factor of Λ. The axes are turned
to those of Λ before each step: the larger variance comes first, so that the factor is never degenerate but
where both are 0. At a variance of 0 the slope of the deviance decides (Karush–Kuhn–Tucker): where it falls
from there, the search goes on.
"""

from __future__ import annotations

import numpy as np

from bids_group.compiled import compiled, written_out
from bids_group.model.fitting.least_squares import Doubles
from bids_group.model.fitting.mixed_likelihood import (
    NO_GAIN,
    STANDS,
    Fitted,
    Grid,
    Point,
    Work,
    empty_fit,
    evaluate,
    new_grid,
    new_point,
    new_work,
    start,
    take,
    write,
)
from bids_group.model.fitting.mixed_plan import Sums, Tables
from bids_group.model.fitting.small_matrices import copy, invert_positive, multiply, unpack

_LEVELS = (0.02, 0.2, 0.8, 3.0, 15.0, 200.0)
_GRID = np.array([[first, 0.0, second] for first in _LEVELS for second in _LEVELS])
_MOST_STEPS = 300
_LITTLE = 1e-6
"""Damping that hardly shortens a step."""
_AT_ZERO = 1e-6
"""Variance over the residual one that is 0 where the deviance is no larger there."""
_LEAVES = 1e-9
"""Decrease of the deviance for which a variance leaves 0."""
_ROUNDED = 1e-13
"""Share of the larger variance below which the smaller one is what turning the axes makes of 0."""


def fit_pair(tables: Tables, sums: Sums, is_correlated: bool) -> Fitted:
    """Fit two random effects at each element; those without residual variance must not be among them."""
    fitted, work = empty_fit(len(sums.scale), 3, tables.rank), new_work(3, tables)
    best, tried = new_point(3, tables.rank), new_point(3, tables.rank)
    _fit(tables, sums, new_grid(_GRID, tables, work), is_correlated, best, tried, work, fitted)
    return fitted


@compiled(error_model="numpy")
def _fit(
    tables: Tables,
    sums: Sums,
    grid: Grid,
    is_correlated: bool,
    best: Point,
    tried: Point,
    work: Work,
    fitted: Fitted,
) -> None:
    """Find Λ of each element, and write what follows from it."""
    n_free = tables.n_rows - tables.rank
    for v in range(sums.scale.size):
        start(grid, tables, sums.products[v], sums.squares[v], best, work)
        fitted.has_converged[v] = _optimise(tables, is_correlated, best, tried, work)
        write(best, n_free, fitted, v)
        _write_factor(is_correlated, best, work, fitted.slopes[v], fitted.hessian[v])
        if work.small[0, 0, 2] == 0:  # to the last bit, whatever the axes were
            _from_factor(work.small[0, 0], work.turn, fitted.parameters[v])


@written_out(error_model="numpy")
def _axes(point: Point, is_correlated: bool, work: Work) -> None:
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
def _in_factor(point: Point, is_correlated: bool, work: Work) -> None:
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
    tables: Tables,
    is_correlated: bool,
    best: Point,
    tried: Point,
    work: Work,
) -> bool:
    """Bring ``best`` to the minimum; return whether the search converged."""
    evaluate(tables, best, work)
    damping = 1e-3
    for _ in range(_MOST_STEPS):
        if not np.isfinite(best.numbers[0]):
            return False
        gain, damping = _propose(best, tried, damping, is_correlated, work)
        limit = NO_GAIN * tables.n_rows
        if gain < limit and damping > _LITTLE:  # it may be the damping that lets nothing be gained
            gain, damping = _propose(best, tried, _LITTLE, is_correlated, work)
        evaluate(tables, tried, work)
        is_end = gain < limit
        if tried.numbers[0] <= best.numbers[0] + (max(gain, limit) if gain < STANDS else limit):
            take(tried, best)
            damping *= 0.1
        elif gain < STANDS and damping <= _LITTLE:
            is_end = True
        else:
            damping = max(8 * damping, 1e-3)
            if damping > 1e12:
                return False
        if is_end:
            if _settle(tables, is_correlated, best, tried, work):
                return True
            damping = 1e-3
    return False


@compiled(error_model="numpy")
def _propose(
    best: Point, tried: Point, damping: float, is_correlated: bool, work: Work
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


@written_out(error_model="numpy")
def _settle(
    tables: Tables,
    is_correlated: bool,
    best: Point,
    tried: Point,
    work: Work,
) -> bool:
    """At a stationary point: variances that are as good as 0 become 0; where one should leave 0, leave it.

    Gives whether the point stands.
    """
    for axis in (2, 0):
        _in_factor(best, is_correlated, work)
        theta = work.small[0, 0]
        if 0 < theta[axis] ** 2 < _AT_ZERO:
            theta[axis] = 0
            _from_factor(theta, work.turn, tried.at)
            evaluate(tables, tried, work)
            if tried.numbers[0] <= best.numbers[0] + 1e-10 + NO_GAIN * tables.n_rows:
                take(tried, best)
    _in_factor(best, is_correlated, work)
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
            evaluate(tables, tried, work)
            if tried.numbers[0] < best.numbers[0] - max(_LEAVES, NO_GAIN * tables.n_rows):
                take(tried, best)
                return False
            move *= 0.2
            _in_factor(best, is_correlated, work)
    return True


@written_out(error_model="numpy")
def _write_factor(is_correlated: bool, best: Point, work: Work, slopes: Doubles, target: Doubles) -> None:
    """Write slopes and Hessian of an element; its parameters are the factor θ, those at 0 left out."""
    free, square = target[3, 3], best.numbers[1]
    _in_factor(best, is_correlated, work)
    theta, hessian, jacobian = work.small[0, 0], work.small[1], work.small[2]
    for row in range(3):
        target[row, row] = 1.0
        if not (theta[row] > 0 if row != 1 else theta[0] > 0 and is_correlated):
            continue
        target[row, row] = hessian[row, row]
        for column in range(row):
            if theta[column] > 0 if column != 1 else theta[0] > 0 and is_correlated:
                target[row, column] = target[column, row] = hessian[row, column]
        for place in range(work.packed.size):
            work.packed[place] = 0
        for a in range(3):
            target[3, row] -= free * jacobian[a, row] * best.rise[a] / square
            for place in range(work.packed.size):
                work.packed[place] += jacobian[a, row] * best.slopes[a, place]
        unpack(work.packed, slopes[row])
        target[row, 3] = target[3, row]
