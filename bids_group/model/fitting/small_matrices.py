"""Small matrices inside compiled loops: sums run in the same order on every processor."""

from __future__ import annotations

import numpy as np

from bids_group.compiled import compiled
from bids_group.model.fitting.least_squares import Doubles


@compiled()
def invert_positive(matrix: Doubles, factor: Doubles, inverse: Doubles) -> float:
    """Invert a positive definite matrix by its Cholesky factor, and give log|matrix|; NaN where it is not.

    ``factor`` and ``inverse`` are written, each ``(p, p)``; of ``matrix`` the lower half is read.
    """
    size, log = matrix.shape[0], 0.0
    for j in range(size):
        for i in range(j, size):
            value = matrix[i, j]
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            if i == j:
                factor[j, j] = np.sqrt(value) if value > 0 else np.nan
                log += 2 * np.log(factor[j, j])
            else:
                factor[i, j] = value / factor[j, j]
    for j in range(size):  # the inverse of the factor, over its place
        factor[j, j] = 1 / factor[j, j]
    for j in range(size):
        for i in range(j + 1, size):
            value = 0.0
            for k in range(j, i):
                value -= factor[i, k] * factor[k, j]
            factor[i, j] = value * factor[i, i]
    for i in range(size):
        for j in range(i + 1):
            value = 0.0
            for k in range(i, size):
                value += factor[k, i] * factor[k, j]
            inverse[i, j] = inverse[j, i] = value
    return log


@compiled()
def copy(source: Doubles, target: Doubles) -> None:
    """Copy a matrix (what ``target[:] = source`` does takes seconds to compile)."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j]


@compiled()
def multiply(left: Doubles, right: Doubles, product: Doubles) -> None:
    """Write the product of two matrices, which must not overlap it."""
    for i in range(left.shape[0]):
        for j in range(right.shape[1]):
            product[i, j] = 0
        for k in range(right.shape[0]):
            for j in range(right.shape[1]):
                product[i, j] += left[i, k] * right[k, j]


@compiled()
def unpack(packed: Doubles, matrix: Doubles) -> None:
    """Write a symmetric matrix from its packed lower half."""
    place = 0
    for a in range(matrix.shape[0]):
        for b in range(a + 1):
            matrix[a, b] = matrix[b, a] = packed[place]
            place += 1


@compiled()
def subtract_form(total: float, matrix: Doubles, vector: Doubles) -> float:
    """Take v'Mv of a symmetric matrix from a number, term by term; of the matrix the lower half is read."""
    for a in range(vector.size):
        half = 0.5 * matrix[a, a] * vector[a]
        for b in range(a):
            half += matrix[a, b] * vector[b]
        total -= 2 * vector[a] * half
    return total


@compiled()
def trace(matrix: Doubles) -> float:
    """Sum of the diagonal."""
    total = 0.0
    for i in range(matrix.shape[0]):
        total += matrix[i, i]
    return total


@compiled()
def trace_of_product(left: Doubles, right: Doubles) -> float:
    """tr(left × right)."""
    total = 0.0
    for i in range(left.shape[0]):
        for j in range(left.shape[1]):
            total += left[i, j] * right[j, i]
    return total
