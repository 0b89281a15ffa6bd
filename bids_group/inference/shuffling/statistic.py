"""What is computed from the products of a batch of shuffles with a tile of elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bids_group.inference.shuffling.correlation import LARGEST, TIE, DeviateTable, Scale, correlate, deviates
from bids_group.inference.shuffling.scheme import Scheme
from bids_group.inference.shuffling.welch import allow_group_variances

Single = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

SMALLEST_TIE = 4e-7
"""Difference of partial correlations in single precision that the order of computing can make."""


class Statistic(Protocol):
    """A statistic of the shuffled residuals, on a scale that is common to all elements.

    ``columns`` ``(n_obs, m)`` meet the shuffled residuals. ``is_two_sided``: maxima are those of the size
    of the values.
    """

    @property
    def columns(self) -> Doubles:
        """Columns that meet the shuffled residuals."""

    @property
    def is_two_sided(self) -> bool:
        """Whether maxima are those of the size of the values."""

    def values(self, products: Single, squares: Single, room: Single) -> Single:
        """Compute values ``(n_shuffles, TILE)`` from products ``(m, n_shuffles, TILE)``, perhaps in ``room``.

        ``squares`` ``(n_groups, TILE)``: each variance group's part of the residual sum of squares.
        """

    def fill_z(self, values: Single, z: Single) -> None:
        """Turn values into normal deviates."""

    def largest_value(self) -> float:
        """Values at or above this one cannot be told apart."""

    def z_of(self, values: npt.ArrayLike) -> Doubles:
        """Exact normal deviates of a few values."""

    def tolerance(self, values: npt.ArrayLike) -> Doubles:
        """Values that differ by up to this are the same value computed in another order: ties."""

    def statistic_of(self, values: npt.ArrayLike) -> Doubles:
        """Values on the scale that people read: t, F, or z."""

    def expected_values(self, fitted: npt.ArrayLike) -> Doubles | None:
        """Turn t or F of the fit into values of this statistic; None where they cannot be compared."""

    def name(self) -> str:
        """Name of the scale that people read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PooledVariance:
    """t or F with one residual variance for all rows, as the partial correlation R.

    The q tested columns come first, then the nuisance columns that shuffling moves.
    """

    columns: Doubles
    is_two_sided: bool
    scale: Scale
    table: DeviateTable

    def values(self, products: Single, squares: Single, room: Single) -> Single:
        """R; a single product already is R."""
        if self.columns.shape[1] == 1 and self.scale.test == "t":
            return np.asarray(products[0])
        correlate(products, self.scale.q, self.scale.test == "t", room)
        return room

    def fill_z(self, values: Single, z: Single) -> None:
        """Read z from the table of R."""
        deviates(values, self.table.low, self.table.high, z)

    def largest_value(self) -> float:
        """R stays below 1."""
        return LARGEST

    def z_of(self, values: npt.ArrayLike) -> Doubles:
        """Turn R into a normal deviate."""
        return self.scale.z(values)

    def tolerance(self, values: npt.ArrayLike) -> Doubles:
        """Take a relative difference of `TIE` in t or F, but no less than single precision resolves."""
        r = np.asarray(values, dtype=np.float64)
        power = 2 if self.scale.test == "F" else 1
        return np.maximum(TIE / power * np.abs(r) * (1 - r**2), SMALLEST_TIE)

    def statistic_of(self, values: npt.ArrayLike) -> Doubles:
        """Turn R into t or F."""
        return self.scale.statistic(values)

    def expected_values(self, fitted: npt.ArrayLike) -> Doubles | None:
        """Turn t or F into R."""
        return self.scale.correlation(fitted)

    def name(self) -> str:
        """``t`` or ``F``."""
        return self.scale.test


def build_statistic(scheme: Scheme, test: str, *, is_two_sided: bool) -> Statistic:
    """Choose the columns whose products a contrast's statistic needs."""
    split = scheme.partition
    if scheme.groups is not None:
        return allow_group_variances(split, scheme.groups, test, is_two_sided=is_two_sided)
    scale = Scale(test=test, q=split.q, dof=split.dof)
    return PooledVariance(
        columns=np.column_stack([split.tested, moved_nuisance(scheme)]),
        is_two_sided=is_two_sided and test == "t",
        scale=scale,
        table=DeviateTable.of(scale),
    )


def moved_nuisance(scheme: Scheme) -> Doubles:
    """Nuisance directions that shuffling moves: the others stay orthogonal to the residuals.

    Permutations leave alone every column that is constant over the rows they exchange.
    """
    nuisance = scheme.partition.nuisance
    if scheme.shuffles.has_flips or nuisance.shape[1] == 0:
        return nuisance
    orbits = scheme.shuffles.units.orbits
    indicators = np.eye(int(orbits.max()) + 1)[orbits]
    indicators /= np.sqrt(indicators.sum(axis=0))
    _, overlap, directions = np.linalg.svd(indicators.T @ nuisance, full_matrices=True)
    overlap = np.pad(overlap, (0, len(directions) - overlap.size))
    return np.asarray(nuisance @ directions[overlap < 1 - 1e-9].T)
