"""Rank of a design and estimability of contrasts, from one decomposition with one tolerance.

Columns are brought to unit norm first: a volume in mm³ beside its square would otherwise look dependent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TOLERANCE = 1e-8
"""Relative to the largest singular value (rank) or to the length of the weights (estimability)."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowSpace:
    """Row space of a design X of shape ``(n_rows, n_regressors)``.

    ``norms``: length of each column (1 for an empty column); ``basis``: orthonormal,
    ``(n_regressors, rank)``, in scaled coordinates; ``null``: its complement; ``singular_values``: of the
    scaled X, descending.
    """

    norms: Array
    basis: Array
    null: Array
    singular_values: Array

    @classmethod
    def of(cls, X: Array) -> RowSpace:
        """Decompose X, which must be finite."""
        norms = np.linalg.norm(X, axis=0)
        norms = np.where(norms == 0, 1.0, norms)
        n_missing = max(X.shape[1] - X.shape[0], 0)
        square = np.vstack(
            [X / norms, np.zeros((n_missing, X.shape[1]))]
        )  # so that the null space is complete
        _, values, rows = np.linalg.svd(square, full_matrices=False)
        rank = int((values > TOLERANCE * values.max(initial=0.0)).sum())
        return cls(norms=norms, basis=rows[:rank].T, null=rows[rank:].T, singular_values=values)

    @property
    def rank(self) -> int:
        """Number of independent columns."""
        return int(self.basis.shape[1])

    @property
    def condition_number(self) -> float:
        """Ratio of the extreme singular values of the scaled columns; infinite for deficient rank."""
        if self.null.shape[1]:
            return float("inf")
        return float(self.singular_values[0] / self.singular_values[-1])

    def dependent_columns(self) -> list[int]:
        """Positions of the columns that take part in a linear dependency."""
        if not self.null.shape[1]:
            return []
        moved = np.abs(self.null).max(axis=1)
        return [int(index) for index in np.flatnonzero(moved > TOLERANCE)]

    def is_estimable(self, weights: Array) -> npt.NDArray[np.bool_]:
        """Say of each row of ``weights`` ``(q, n_regressors)`` whether C = C X⁺ X."""
        scaled = np.atleast_2d(weights) / self.norms
        outside = np.linalg.norm(scaled @ self.null, axis=1)
        return np.asarray(outside <= TOLERANCE * np.linalg.norm(scaled, axis=1), dtype=np.bool_)

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


def row_leverage(X: Array) -> Array:
    """Diagonal of the hat matrix, ``(n_rows,)``, each in [0, 1]."""
    norms = np.linalg.norm(X, axis=0)
    left, values, _ = np.linalg.svd(X / np.where(norms == 0, 1.0, norms), full_matrices=False)
    left = left[:, values > TOLERANCE * values.max(initial=0.0)]
    leverage: Array = np.clip((left**2).sum(axis=1), 0.0, 1.0)
    return leverage
