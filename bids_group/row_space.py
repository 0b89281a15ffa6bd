"""Rank of a design and estimability of contrasts, from one decomposition with one tolerance.

Columns are brought to unit norm first: a volume in mm³ beside its square would otherwise look dependent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TOLERANCE = 1e-8
"""Relative to the largest singular value (rank) or to the length of the weights (estimability)."""

NO_DOF = 1e-6
"""Degrees of freedom at or below which nothing is left to judge noise by: 0 but for rounding."""

NO_SHARE = 1e-12
"""Share of a group in the squared weights of the rows below which an estimate does not depend on it."""

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.intp]

_PATTERNS_PER_BATCH = 2048


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowSpace:
    """Singular value decomposition of a design X of shape ``(n_rows, n_regressors)``, columns of unit norm.

    ``norms``: length of each column (1 for an empty one); ``columns``: orthonormal basis of the column space,
    ``(n_rows, rank)``; ``basis``: of the row space, ``(n_regressors, rank)``; ``null``: its complement;
    ``singular_values``: all of them, descending.
    """

    norms: Array
    columns: Array
    basis: Array
    null: Array
    singular_values: Array

    @classmethod
    def of(cls, X: Array) -> RowSpace:
        """Decompose X, which must be finite."""
        n_rows, n_columns = X.shape
        norms = np.linalg.norm(X, axis=0)
        norms = np.where(norms == 0, 1.0, norms)
        missing = np.zeros((max(n_columns - n_rows, 0), n_columns))  # so that the null space is complete
        left, values, rows = np.linalg.svd(np.vstack([X / norms, missing]), full_matrices=False)
        rank = int((values > TOLERANCE * values.max(initial=0.0)).sum())
        return cls(
            norms=norms,
            columns=left[:n_rows, :rank],
            basis=rows[:rank].T,
            null=rows[rank:].T,
            singular_values=values,
        )

    @property
    def rank(self) -> int:
        """Number of independent columns."""
        return int(self.basis.shape[1])

    @property
    def condition_number(self) -> float:
        """Ratio of the extreme singular values; infinite for deficient rank."""
        is_full = not self.null.shape[1]
        return float(self.singular_values[0] / self.singular_values[-1]) if is_full else float("inf")

    @property
    def leverage(self) -> Array:
        """Diagonal of the hat matrix, ``(n_rows,)``, each in [0, 1]."""
        return np.asarray(np.clip((self.columns**2).sum(axis=1), 0.0, 1.0))

    def dependent_columns(self) -> list[int]:
        """Positions of the columns that take part in a linear dependency."""
        moved = np.abs(self.null).max(axis=1, initial=0.0)
        return [int(index) for index in np.flatnonzero(moved > TOLERANCE)]

    def is_estimable(self, weights: Array) -> npt.NDArray[np.bool_]:
        """Say of each row of ``weights`` ``(q, n_regressors)`` whether C = C X⁺ X."""
        scaled = np.atleast_2d(weights) / self.norms
        outside = np.linalg.norm(scaled @ self.null, axis=1)
        return np.asarray(outside <= TOLERANCE * np.linalg.norm(scaled, axis=1), dtype=np.bool_)

    def weights_of_rows(self, weights: Array) -> Array:
        """Weigh the rows of X so that a contrast C ``(q, n_regressors)`` comes out: C X⁺, ``(q, n_rows)``."""
        inverse = self.basis @ (self.columns * (1 / self.singular_values[: self.rank])).T
        return np.asarray((np.atleast_2d(weights) / self.norms) @ inverse)

    def independent_rows(self, weights: Array) -> Array:
        """Keep the rows of ``weights`` that are not combinations of the rows before them."""
        scaled = (np.atleast_2d(weights) / self.norms) @ self.basis
        kept: Array = weights[independent(scaled.T)]
        return kept


def independent(columns: Array) -> list[int]:
    """Find the columns that are not combinations of the columns before them (Gram–Schmidt, twice)."""
    kept: list[int] = []
    basis: Array = np.empty((columns.shape[0], 0))
    for index, column in enumerate(columns.T):
        rest = column.copy()
        for _ in range(2):
            rest -= basis @ (basis.T @ rest)
        length = float(np.linalg.norm(rest))
        if length > TOLERANCE * max(float(np.linalg.norm(column)), np.finfo(float).tiny):
            kept.append(index)
            basis = np.column_stack([basis, rest / length])
    return kept


def inflation(own: Array, others: Array) -> float | None:
    """Compute the generalised variance inflation of columns ``own`` given ``others`` (Fox & Monette 1992).

    It is the squared ratio of the volume that ``own`` span to the volume of their residuals on ``others``.
    Both ``(n_rows, …)``, of centred columns of unit norm; None where a column of ``own`` depends on the rest.
    """
    vectors, values, _ = np.linalg.svd(others, full_matrices=False)
    basis = vectors[:, values > TOLERANCE * values.max(initial=0.0)]
    rest = own - basis @ (basis.T @ own)
    left, whole = np.linalg.svd(rest, compute_uv=False), np.linalg.svd(own, compute_uv=False)
    if not own.shape[1] or left.min() <= TOLERANCE * max(whole.max(), 1e-300):
        return None
    return float(np.exp(2 * (np.log(whole).sum() - np.log(left).sum())))


def group_by_pattern(is_observed: Flags) -> tuple[Array, Codes]:
    """Distinct columns as rows of 0 and 1 ``(k, n_obs)``, and which of them each element has."""
    packed = np.ascontiguousarray(np.packbits(is_observed, axis=0).T)
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).reshape(-1)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return is_observed[:, first].T.astype(np.float64), group.reshape(-1)


def invert_patterns(patterns: Array, columns: Array) -> tuple[Array, Array, Codes]:
    """Invert X'X of each pattern, X being the ``columns`` at its rows; also give projectors and ranks.

    Triangular factors have the same singular values as X.
    """
    parts = []
    for start in range(0, max(len(patterns), 1), _PATTERNS_PER_BATCH):
        designs = patterns[start : start + _PATTERNS_PER_BATCH, :, None] * columns
        _, sizes, right = np.linalg.svd(np.linalg.qr(designs, mode="r"), full_matrices=False)
        exists = sizes > TOLERANCE * np.maximum(sizes[:, :1], np.finfo(np.float64).tiny)
        parts.append(generalised_inverses(right, np.where(exists, sizes, 1.0) ** 2, exists))
    inverses, projectors, ranks = zip(*parts, strict=True)
    return np.concatenate(inverses), np.concatenate(projectors), np.concatenate(ranks)


def generalised_inverses(right: Array, sizes: Array, exists: Flags) -> tuple[Array, Array, Codes]:
    """Make inverses and projectors ``(k, p, p)``, and ranks, of eigenvectors (rows) and eigenvalues."""
    left, inverse = right.transpose(0, 2, 1), np.where(exists, 1 / np.where(exists, sizes, 1.0), 0.0)
    return left @ (inverse[:, :, None] * right), left @ (exists[:, :, None] * right), exists.sum(axis=1)
