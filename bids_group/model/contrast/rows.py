"""A row of weights that knows how exact it is, so that rounding is never taken for a contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_group.model.formula.coding import Array

ROUNDING = 64 * np.finfo(float).eps
"""Relative rounding of a few dozen operations, taken generously."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """Weights over the design's columns, ``(n_regressors,)``, and a bound of the error of each.

    The bound follows the sizes of what was added and subtracted in the weight's own column: the weights of
    other columns have other units and say nothing about it.
    """

    weights: Array
    errors: Array

    @property
    def settled(self) -> Array:
        """The weights without noise: what lies within its error is 0, the rest has twelve digits."""
        kept = np.where(np.abs(self.weights) <= self.errors, 0.0, self.weights)
        return np.array([float(f"{weight:.12g}") for weight in kept])


def combine(coefficients: Sequence[float], rows: Sequence[Row]) -> Row:
    """Add rows, each multiplied by its coefficient."""
    factors = np.array(coefficients)
    products = factors[:, None] * np.array([row.weights for row in rows])
    errors = np.abs(factors) @ np.array([row.errors for row in rows])
    rounding = len(rows) * np.finfo(float).eps * np.abs(products).sum(axis=0)
    return Row(weights=products.sum(axis=0), errors=errors + rounding)
