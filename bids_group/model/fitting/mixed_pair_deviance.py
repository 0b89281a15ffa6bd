"""The restricted likelihood of mixed models with two random effects, at a point of their covariance.

With Λ the covariance of the effects over the residual variance, G = Z_i'Z_i of a class and R = (I + G Λ)⁻¹,
the derivatives of the deviance by the entries of Λ are traces of 2 × 2 matrices of each class.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bids_group.compiled import compiled, written_out
from bids_group.model.fitting.least_squares import Doubles
from bids_group.model.fitting.small_matrices import invert_positive, multiply, unpack

_Matrix = tuple[float, float, float, float]
_Pair = tuple[float, float, float]


class PairShared(NamedTuple):
    """Classes, with the lower halves of Σ (Z'X)_a(Z'X)_b' in rows 11, 12 + 21 and 22 ``(k, 3, P)``."""

    gram: Doubles
    inverse: Doubles
    counts: Doubles
    products: Doubles
    within: Doubles
    is_correlated: bool
    n_free: int


class PairOwn(NamedTuple):
    """Sums of an element, with products of Z'X and Z'y in rows 11, 12 + 21 and 22 ``(k, 3, p)``."""

    within: Doubles
    products: Doubles
    square: float
    squares: Doubles


class Point(NamedTuple):
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


class PairWork(NamedTuple):
    """Scratch arrays, used again for every element."""

    packed: Doubles
    sum: Doubles
    matrix: Doubles
    factor: Doubles
    pulled: Doubles
    products: Doubles
    rests: Doubles
    turn: Doubles
    small: Doubles


@compiled(error_model="numpy")
def new_point(rank: int) -> Point:
    """Allocate a point of a design with ``rank`` columns."""
    return Point(
        np.zeros(3), np.zeros(2), np.zeros(3), np.zeros((3, 3)), np.zeros(3), np.zeros(rank),
        np.zeros((rank, rank)), np.zeros((3, rank * (rank + 1) // 2)),
    )  # fmt: skip


@compiled(error_model="numpy")
def _shrink(at: Doubles, gram: Doubles, k: int) -> _Matrix:
    """R of a class: 11, 12, 21 and 22."""
    first, mixed, second = gram[k, 0, 0], gram[k, 0, 1], gram[k, 1, 1]
    r11 = 1 + mixed * at[1] + second * at[2]
    r12 = -first * at[1] - mixed * at[2]
    r21 = -mixed * at[0] - second * at[1]
    r22 = 1 + first * at[0] + mixed * at[1]
    by = 1 / (r11 * r22 - r12 * r21)
    return r11 * by, r12 * by, r21 * by, r22 * by


@compiled(error_model="numpy")
def weigh_classes(at: Doubles, shared: PairShared, weights: Doubles, work: PairWork) -> float:
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
    unpack(packed, work.matrix)
    return deviance


@compiled(error_model="numpy")
def weigh_data(weights: Doubles, own: PairOwn, sums: Doubles) -> float:
    """Write X'H⁻¹y into ``sums``; return y'H⁻¹y."""
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


@compiled(error_model="numpy")
def evaluate(shared: PairShared, own: PairOwn, point: Point, weights: Doubles, work: PairWork) -> None:
    """Fill a point: the deviance, its gradient and Hessian, and what they are made of."""
    deviance = weigh_classes(point.at, shared, weights, work)
    deviance += invert_positive(work.matrix, work.factor, point.inverse)
    square = weigh_data(weights, own, work.sum)
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
        unpack(point.slopes[row], work.matrix)
        multiply(point.inverse, work.matrix, work.products[row])
    for row in range(3):
        for column in range(row + 1):
            value = point.hessian[row, column] - free / square * point.rise[row] * point.rise[column]
            for a in range(work.sum.size):
                for b in range(work.sum.size):
                    value -= work.products[row, a, b] * work.products[column, b, a]
                    value -= 2 * free * work.pulled[row, a] * point.inverse[a, b] * work.pulled[column, b]
            point.hessian[row, column] = point.hessian[column, row] = value


@written_out(error_model="numpy")
def _differentiate(shared: PairShared, own: PairOwn, point: Point, work: PairWork) -> None:
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


@written_out(error_model="numpy")
def _double(matrix: Doubles, packed: Doubles) -> None:
    """Pack a symmetric matrix, entries off the diagonal twice: its products with others are traces."""
    place = 0
    for a in range(matrix.shape[0]):
        for b in range(a):
            packed[place] = 2 * matrix[a, b]
            place += 1
        packed[place] = matrix[a, a]
        place += 1


@written_out(error_model="numpy")
def _project(products: Doubles, own: PairOwn, k: int, beta: Doubles, work: PairWork) -> tuple[_Pair, _Pair]:
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


@compiled(error_model="numpy")
def _turn(shrink: _Matrix, pair: _Pair) -> _Pair:
    """R S R' of a symmetric matrix."""
    r11, r12, r21, r22 = shrink
    first, mixed, second = pair
    return (
        r11 * r11 * first + 2 * r11 * r12 * mixed + r12 * r12 * second,
        r11 * r21 * first + (r11 * r22 + r12 * r21) * mixed + r12 * r22 * second,
        r21 * r21 * first + 2 * r21 * r22 * mixed + r22 * r22 * second,
    )


@written_out(error_model="numpy")
def _pull(shrink: _Matrix, products: Doubles, k: int, slopes: Doubles, work: PairWork) -> None:
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
