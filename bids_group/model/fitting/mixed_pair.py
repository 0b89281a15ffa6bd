"""Mixed models with two random effects, such as an intercept and a slope for each person: exact REML.

With Λ the covariance of the effects over the residual variance, G = Z_i'Z_i of a class and R = (I + G Λ)⁻¹,
the derivatives of the deviance by the entries of Λ are traces of 2 × 2 matrices of each class. The search
starts at the best point of a grid, where A⁻¹ is common to all elements, and takes damped Newton steps with
the exact Hessian in the Cholesky factor of Λ. The axes are turned to those of Λ before each step: the larger
variance comes first, so that the factor is never degenerate but where both are 0. At a variance of 0 the
slope of the deviance decides (Karush–Kuhn–Tucker): where it falls from there, the search goes on.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from bids_group.model.fitting.least_squares import Doubles
from bids_group.model.fitting.mixed_plan import Classes, Sums
from bids_group.model.fitting.mixed_single import Fitted, empty_fit
from bids_group.model.fitting.small_matrices import copy, invert_positive, multiply

_LEVELS = (0.02, 0.2, 0.8, 3.0, 15.0, 200.0)
_GRID = np.array([[first, 0.0, second] for first in _LEVELS for second in _LEVELS])
_MOST_STEPS = 300
_NO_GAIN = 1e-15
"""Decrease of the deviance, as a Newton step expects it, at which the search ends."""
_AT_ZERO = 1e-9
"""Variance over the residual one that is 0 where the deviance is no larger there."""
_LEAVES = 1e-9


_Matrix = tuple[float, float, float, float]
_Pair = tuple[float, float, float]


class _Shared(NamedTuple):
    """Classes, with the lower halves of Σ (Z'X)_a(Z'X)_b' in rows 11, 12 + 21 and 22 ``(k, 3, P)``."""

    gram: Doubles
    inverse: Doubles
    counts: Doubles
    products: Doubles
    within: Doubles
    is_correlated: bool
    n_free: int


class _Own(NamedTuple):
    """Sums of an element, with products of Z'X and Z'y in rows 11, 12 + 21 and 22 ``(k, 3, p)``."""

    within: Doubles
    products: Doubles
    square: float
    squares: Doubles


class _Point(NamedTuple):
    """What is known at a point (11, 12, 22) of Λ, by these three entries where there are derivatives.

    ``numbers``: deviance and residual square; ``rise``: derivative of the latter; ``slopes``: of A, in packed
    lower halves ``(3, P)``.
    """

    at: Doubles
    numbers: Doubles
    gradient: Doubles
    hessian: Doubles
    rise: Doubles
    solution: Doubles
    inverse: Doubles
    slopes: Doubles


class _Work(NamedTuple):
    packed: Doubles
    sum: Doubles
    matrix: Doubles
    factor: Doubles
    pulled: Doubles
    products: Doubles
    rests: Doubles
    turn: Doubles
    small: Doubles


def fit_pair(classes: Classes, sums: Sums, is_correlated: bool) -> Fitted:
    """Fit two random effects at each element; those without residual variance must not be among them."""
    rank = classes.rank
    lower = np.tril_indices(rank)
    joined = classes.products[:, 0, 1] + classes.products[:, 1, 0]
    blocks = np.stack([classes.products[:, 0, 0], joined, classes.products[:, 1, 1]], axis=1)
    shared = _Shared(
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


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _fit(
    shared: _Shared,
    within: Doubles,
    products: Doubles,
    square: Doubles,
    squares: Doubles,
    grid: Doubles,
    fitted: Fitted,
) -> None:
    """Find Λ of each element, and write what follows from it."""
    rank, n_classes = within.shape[1], shared.counts.size
    work = _Work(
        np.zeros(rank * (rank + 1) // 2), np.zeros(rank), np.zeros((rank, rank)), np.zeros((rank, rank)),
        np.zeros((3, rank)), np.zeros((3, rank, rank)),
        np.zeros((3, rank)), np.zeros((3, 3)), np.zeros((5, 3, 3)),
    )  # fmt: skip
    best, tried = _new_point(rank), _new_point(rank)
    weights, scratch = np.zeros((grid.shape[0], n_classes, 3)), np.zeros((n_classes, 3))
    inverses, logs = np.zeros((grid.shape[0], rank, rank)), np.zeros(grid.shape[0])
    for place in range(grid.shape[0]):
        logs[place] = _matrix(grid[place], shared, weights[place], work)
        logs[place] += invert_positive(work.matrix, work.factor, inverses[place])
    for v in range(square.size):
        own = _Own(within[v], products[v], square[v], squares[v])
        place = _best_of_grid(shared, own, weights, inverses, logs, work.sum)
        for a in range(3):
            best.at[a] = grid[place, a]
        fitted.has_converged[v] = _optimise(shared, own, best, tried, scratch, work)
        _write(shared, best, work, v, fitted)


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _new_point(rank: int) -> _Point:
    return _Point(
        np.zeros(3), np.zeros(2), np.zeros(3), np.zeros((3, 3)), np.zeros(3), np.zeros(rank),
        np.zeros((rank, rank)), np.zeros((3, rank * (rank + 1) // 2)),
    )  # fmt: skip


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _shrink(at: Doubles, gram: Doubles, k: int) -> _Matrix:
    """R of a class: 11, 12, 21 and 22."""
    first, mixed, second = gram[k, 0, 0], gram[k, 0, 1], gram[k, 1, 1]
    r11 = 1 + mixed * at[1] + second * at[2]
    r12 = -first * at[1] - mixed * at[2]
    r21 = -mixed * at[0] - second * at[1]
    r22 = 1 + first * at[0] + mixed * at[1]
    by = 1 / (r11 * r22 - r12 * r21)
    return r11 * by, r12 * by, r21 * by, r22 * by


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _matrix(at: Doubles, shared: _Shared, weights: Doubles, work: _Work) -> float:
    """Write A into ``work.matrix``, and what weighs the classes in it ``(k, 3)``; give Σ m_k log|I + G Λ|.

    The weights are D = R'G⁻, which is (G + GΛG)⁻¹ where there is one.
    """
    deviance, packed, products, inverse = 0.0, work.packed, shared.products, shared.inverse
    for place in range(packed.size):
        packed[place] = shared.within[place]
    for k in range(shared.counts.size):
        r11, r12, r21, r22 = _shrink(at, shared.gram, k)
        deviance -= shared.counts[k] * np.log(r11 * r22 - r12 * r21)
        i11, i12, i22 = inverse[k, 0, 0], inverse[k, 0, 1], inverse[k, 1, 1]
        first, second = r11 * i11 + r21 * i12, r12 * i12 + r22 * i22
        mixed = 0.5 * (r11 * i12 + r21 * i22 + r12 * i11 + r22 * i12)
        weights[k, 0], weights[k, 1], weights[k, 2] = first, mixed, second
        for place in range(packed.size):
            packed[place] += first * products[k, 0, place] + mixed * products[k, 1, place]
            packed[place] += second * products[k, 2, place]
    _unpack(packed, work.matrix)
    return deviance


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _unpack(packed: Doubles, matrix: Doubles) -> None:
    place = 0
    for a in range(matrix.shape[0]):
        for b in range(a + 1):
            matrix[a, b] = matrix[b, a] = packed[place]
            place += 1


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _weigh(weights: Doubles, own: _Own, sums: Doubles) -> float:
    """X'H⁻¹y into ``sums``, and y'H⁻¹y."""
    total = own.square
    for a in range(sums.size):
        sums[a] = own.within[a]
    for k in range(weights.shape[0]):
        for row in range(3):
            weight = weights[k, row]
            total += weight * own.squares[k, row]
            for a in range(sums.size):
                sums[a] += weight * own.products[k, row, a]
    return total


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _best_of_grid(
    shared: _Shared, own: _Own, weights: Doubles, inverses: Doubles, logs: Doubles, sums: Doubles
) -> int:
    """Place of the smallest deviance on the grid."""
    best, smallest = 0, np.inf
    for place in range(logs.size):
        total, inverse = _weigh(weights[place], own, sums), inverses[place]
        for a in range(sums.size):
            half = 0.5 * inverse[a, a] * sums[a]
            for b in range(a):
                half += inverse[a, b] * sums[b]
            total -= 2 * sums[a] * half
        deviance = logs[place] + shared.n_free * np.log(total) if total > 0 else np.inf
        if deviance < smallest:
            best, smallest = place, deviance
    return best


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _evaluate(shared: _Shared, own: _Own, point: _Point, weights: Doubles, work: _Work) -> None:
    """Fill a point: the deviance, its gradient and Hessian, and what they are made of."""
    deviance = _matrix(point.at, shared, weights, work)
    deviance += invert_positive(work.matrix, work.factor, point.inverse)
    square = _weigh(weights, own, work.sum)
    for a in range(work.sum.size):
        point.solution[a] = 0
        for b in range(work.sum.size):
            point.solution[a] += point.inverse[a, b] * work.sum[b]
        square -= point.solution[a] * work.sum[a]
    point.numbers[0] = deviance + shared.n_free * np.log(square) if square > 0 else np.inf
    point.numbers[1] = square
    _differentiate(shared, own, point, work)
    free = shared.n_free / square
    for row in range(3):
        point.gradient[row] += free * point.rise[row]
        _unpack(point.slopes[row], work.matrix)
        multiply(point.inverse, work.matrix, work.products[row])
    for row in range(3):
        for column in range(row + 1):
            value = point.hessian[row, column] - free / square * point.rise[row] * point.rise[column]
            for a in range(work.sum.size):
                for b in range(work.sum.size):
                    value -= work.products[row, a, b] * work.products[column, b, a]
                    value -= 2 * free * work.pulled[row, a] * point.inverse[a, b] * work.pulled[column, b]
            point.hessian[row, column] = point.hessian[column, row] = value


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _differentiate(shared: _Shared, own: _Own, point: _Point, work: _Work) -> None:
    """Sum over the classes what the derivatives are made of.

    With S = Z'e e'Z and N = Z'X Φ X'Z summed over the groups of a class, F = R G and tilde for R · R': the
    derivative by E is m tr(EF) − tr(EÑ) − (N − p)/s tr(ES̃), the second one by E and E' is tr(E F E' Y),
    Y = 2Ñ + 2(N − p)/s S̃ − m F.
    """
    free, gram, gradient, hessian = (
        shared.n_free / point.numbers[1],
        shared.gram,
        point.gradient,
        point.hessian,
    )
    for row in range(3):
        gradient[row] = point.rise[row] = 0
        for a in range(3):
            hessian[row, a] = 0
        for a in range(point.solution.size):
            work.pulled[row, a] = 0
        for place in range(point.slopes.shape[1]):
            point.slopes[row, place] = 0
    _double(point.inverse, work.packed)
    for k in range(shared.counts.size):
        shrink, count = _shrink(point.at, gram, k), shared.counts[k]
        spread, square = _project(shared.products, own, k, point.solution, work)
        n1, n2, n3 = _turn(shrink, spread)
        s1, s2, s3 = _turn(shrink, square)
        f1 = shrink[0] * gram[k, 0, 0] + shrink[1] * gram[k, 1, 0]
        f2 = shrink[0] * gram[k, 0, 1] + shrink[1] * gram[k, 1, 1]
        f3 = shrink[2] * gram[k, 0, 1] + shrink[3] * gram[k, 1, 1]
        gradient[0] += count * f1 - n1
        gradient[1] += 2 * (count * f2 - n2)
        gradient[2] += count * f3 - n3
        point.rise[0] -= s1
        point.rise[1] -= 2 * s2
        point.rise[2] -= s3
        y1, y2 = 2 * (n1 + free * s1) - count * f1, 2 * (n2 + free * s2) - count * f2
        y3 = 2 * (n3 + free * s3) - count * f3
        hessian[0, 0] += f1 * y1
        hessian[1, 0] += f1 * y2 + f2 * y1
        hessian[1, 1] += 2 * f2 * y2 + f1 * y3 + f3 * y1
        hessian[2, 0] += f2 * y2
        hessian[2, 1] += f3 * y2 + f2 * y3
        hessian[2, 2] += f3 * y3
        _pull(shrink, shared.products, k, point.slopes, work)


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _double(matrix: Doubles, packed: Doubles) -> None:
    """Pack a symmetric matrix, entries off the diagonal twice: its products with others are traces."""
    place = 0
    for a in range(matrix.shape[0]):
        for b in range(a):
            packed[place] = 2 * matrix[a, b]
            place += 1
        packed[place] = matrix[a, a]
        place += 1


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _project(products: Doubles, own: _Own, k: int, beta: Doubles, work: _Work) -> tuple[_Pair, _Pair]:
    """N and S of a class (11, 12, 22), and what is left of Z'X × Z'y in ``work.rests``."""
    packed, rests, place = work.packed, work.rests, 0
    n1 = n2 = n3 = 0.0
    for place in range(packed.size):
        n1 += packed[place] * products[k, 0, place]
        n2 += packed[place] * products[k, 1, place]
        n3 += packed[place] * products[k, 2, place]
    for row in range(3):
        place = 0
        for a in range(beta.size):
            fit = 0.0
            for b in range(a):
                fit += products[k, row, place] * beta[b]
                rests[row, b] += products[k, row, place] * beta[a]
                place += 1
            rests[row, a] = fit + products[k, row, place] * beta[a]
            place += 1
    s1, s2, s3 = own.squares[k, 0], own.squares[k, 1], own.squares[k, 2]
    for a in range(beta.size):
        s1 += beta[a] * (rests[0, a] - 2 * own.products[k, 0, a])
        s2 += beta[a] * (rests[1, a] - 2 * own.products[k, 1, a])
        s3 += beta[a] * (rests[2, a] - 2 * own.products[k, 2, a])
        for row in range(3):
            rests[row, a] = own.products[k, row, a] - rests[row, a]
    return (n1, 0.5 * n2, n3), (s1, 0.5 * s2, s3)


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _turn(shrink: _Matrix, pair: _Pair) -> _Pair:
    """R S R' of a symmetric matrix."""
    r11, r12, r21, r22 = shrink
    first, mixed, second = pair
    return (
        r11 * r11 * first + 2 * r11 * r12 * mixed + r12 * r12 * second,
        r11 * r21 * first + (r11 * r22 + r12 * r21) * mixed + r12 * r22 * second,
        r21 * r21 * first + 2 * r21 * r22 * mixed + r22 * r22 * second,
    )


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _pull(shrink: _Matrix, products: Doubles, k: int, slopes: Doubles, work: _Work) -> None:
    """Add R'ER between Z'X and Z'X to the slopes of A, between Z'X and what is left to ``work.pulled``."""
    r11, r12, r21, r22 = shrink
    one1, one2, one3 = r11 * r11, r11 * r12, r12 * r12
    two1, two2, two3 = 2 * r11 * r21, r11 * r22 + r12 * r21, 2 * r12 * r22
    three1, three2, three3 = r21 * r21, r21 * r22, r22 * r22
    for place in range(slopes.shape[1]):
        b1, b2, b3 = products[k, 0, place], products[k, 1, place], products[k, 2, place]
        slopes[0, place] -= one1 * b1 + one2 * b2 + one3 * b3
        slopes[1, place] -= two1 * b1 + two2 * b2 + two3 * b3
        slopes[2, place] -= three1 * b1 + three2 * b2 + three3 * b3
    rests, pulled = work.rests, work.pulled
    for a in range(rests.shape[1]):
        b1, b2, b3 = rests[0, a], rests[1, a], rests[2, a]
        pulled[0, a] -= one1 * b1 + one2 * b2 + one3 * b3
        pulled[1, a] -= two1 * b1 + two2 * b2 + two3 * b3
        pulled[2, a] -= three1 * b1 + three2 * b2 + three3 * b3


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _axes(point: _Point, is_correlated: bool, work: _Work) -> None:
    """Turn to the axes of Λ, or where it is 0 to those of the gradient: the map of entries in ``work.turn``.

    ``work.small[0]``: the turned variances, gradient (11, 12, 22) and, from row 3 of ``products``, nothing.
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


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _in_factor(point: _Point, is_correlated: bool, work: _Work) -> None:
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


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _optimise(shared: _Shared, own: _Own, best: _Point, tried: _Point, weights: Doubles, work: _Work) -> bool:
    """Bring ``best`` to the minimum; say whether the search came to an end."""
    _evaluate(shared, own, best, weights, work)
    damping = 1e-3
    for _ in range(_MOST_STEPS):
        if not np.isfinite(best.numbers[0]):
            return False
        gain, damping = _propose(best, tried, damping, shared.is_correlated, work)
        if gain < _NO_GAIN:
            if _settle(shared, own, best, tried, weights, work):
                return True
            damping = 1e-3
            continue
        _evaluate(shared, own, tried, weights, work)
        if tried.numbers[0] <= best.numbers[0] + 1e-13 * abs(best.numbers[0]):
            _take(tried, best)
            damping *= 0.1
        else:
            damping = max(8 * damping, 1e-3)
            if damping > 1e12:
                return False
    return False


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _propose(
    best: _Point, tried: _Point, damping: float, is_correlated: bool, work: _Work
) -> tuple[float, float]:
    """Take a damped Newton step in the factor, and give the gain that it expects, and the damping used."""
    _in_factor(best, is_correlated, work)
    theta, gradient, hessian, jacobian = work.small[0, 0], work.small[0, 2], work.small[1], work.small[2]
    size = abs(hessian[0, 0]) + abs(hessian[2, 2]) + abs(hessian[1, 1]) * is_correlated
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


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _from_factor(theta: Doubles, turn: Doubles, at: Doubles) -> None:
    """Entries of Λ from its factor in turned axes."""
    first, mixed, second = theta[0] ** 2, theta[0] * theta[1], theta[1] ** 2 + theta[2] ** 2
    for a in range(3):
        at[a] = turn[a, 0] * first + turn[a, 1] * mixed + turn[a, 2] * second


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _take(source: _Point, target: _Point) -> None:
    for a in range(3):
        target.at[a], target.gradient[a], target.rise[a] = source.at[a], source.gradient[a], source.rise[a]
    target.numbers[0], target.numbers[1] = source.numbers[0], source.numbers[1]
    for a in range(source.solution.size):
        target.solution[a] = source.solution[a]
    copy(source.hessian, target.hessian)
    copy(source.inverse, target.inverse)
    copy(source.slopes, target.slopes)


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _settle(shared: _Shared, own: _Own, best: _Point, tried: _Point, weights: Doubles, work: _Work) -> bool:
    """At a stationary point: variances that are as good as 0 become 0; where one should leave 0, leave it.

    Gives whether the point stands.
    """
    for axis in (2, 0):
        _in_factor(best, shared.is_correlated, work)
        theta = work.small[0, 0]
        if 0 < theta[axis] ** 2 < _AT_ZERO:
            theta[axis] = 0
            _from_factor(theta, work.turn, tried.at)
            _evaluate(shared, own, tried, weights, work)
            if tried.numbers[0] <= best.numbers[0] + 1e-9:
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
            _evaluate(shared, own, tried, weights, work)
            if tried.numbers[0] < best.numbers[0] - _LEAVES:
                _take(tried, best)
                return False
            move *= 0.2
            _in_factor(best, shared.is_correlated, work)
    return True


@nb.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _write(shared: _Shared, best: _Point, work: _Work, v: int, fitted: Fitted) -> None:
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
