"""t or F with one residual variance for all rows, as the partial correlation R of the tested part.

For residuals of unit length, products b with the q tested columns and g with the nuisance columns that
shuffling moves, ``R² = Σb² / (1 − Σg²)``; for a t contrast R has the sign of b. t and F are monotone in R:
``t = R·sqrt(dof / (1 − R²))`` and ``F = (R²/q) / ((1 − R²)/dof)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from bids_group.compiled import compiled
from bids_group.distributions import log_upper_tail_of_f
from bids_group.inference.shuffling.partition import Doubles, Single
from bids_group.inference.shuffling.statistic import TIE, Statistic

LARGEST = float(np.float32(1) - np.float32(2) ** -24)
"""R never reaches 1: what float32 cannot tell from a perfect fit counts as this."""

_SMALLEST_TIE = 4e-7
"""Difference of partial correlations in single precision that the order of computing can make."""

_KNEE = 0.9
_N_KNOTS = 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PooledVariance(Statistic):
    """R of t or F with ``q`` tested columns (first) and the nuisance columns that shuffling moves."""

    q: int
    dof: float
    largest_value = LARGEST

    def values(self, products: Single, squares: Single, room: Single) -> Single:
        """R; a single product already is R."""
        if self.columns.shape[1] == 1 and self.name == "t":
            return np.asarray(products[0])
        _correlate(products, self.q, self.name == "t", room)
        return room

    def fill_z(self, values: Single, z: Single) -> None:
        """Read z from a table of R."""
        _deviates(values, *_tabulate(self.name, self.q, self.dof), z)

    def z_of(self, values: npt.ArrayLike) -> Doubles:
        """Turn R into the normal deviate with the same tail: signed for t, upper tail for F."""
        return z_of_r(np.asarray(values, dtype=np.float64), self.name, self.q, self.dof)

    def tolerance(self, values: npt.ArrayLike) -> Doubles:
        """Take a relative difference of `TIE` in t or F, but no less than single precision resolves."""
        r = np.asarray(values, dtype=np.float64)
        power = 2 if self.name == "F" else 1
        return np.maximum(TIE / power * np.abs(r) * (1 - r**2), _SMALLEST_TIE)

    def statistic_of(self, values: npt.ArrayLike) -> Doubles:
        """Turn R into t or F."""
        r = np.asarray(values, dtype=np.float64)
        rest = 1 - r**2
        if self.name == "F":
            return np.asarray((r**2 / self.q) / (rest / self.dof))
        return np.asarray(r * np.sqrt(self.dof / rest))

    def expected_values(self, fitted: npt.ArrayLike, dof: npt.ArrayLike | None = None) -> Doubles | None:
        """Turn t or F into R."""
        given = np.asarray(fitted, dtype=np.float64)
        degrees = np.asarray(self.dof if dof is None else dof, dtype=np.float64)
        if self.name == "F":
            return np.sqrt(given * self.q / (given * self.q + degrees))
        return np.asarray(given / np.sqrt(given**2 + degrees))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deviates(Statistic):
    """z of partial correlations whose degrees of freedom may differ between elements.

    ``resolved`` ``(n_elements,)``: difference of z that the smallest difference of R makes at each element.
    """

    resolved: Doubles

    @classmethod
    def of(cls, statistic: Statistic, r: Single, q: int, dof: npt.ArrayLike) -> tuple[Deviates, Single]:
        """Turn R of the elements into z, with its statistic."""
        values = r.astype(np.float64)
        z = z_of_r(values, statistic.name, q, dof)
        nearer = values - np.copysign(statistic.tolerance(values), values)
        resolved = np.abs(z - z_of_r(nearer, statistic.name, q, dof))
        in_z = cls(
            name="z", columns=statistic.columns, is_two_sided=statistic.is_two_sided, resolved=resolved
        )
        return in_z, z.astype(np.float32)

    def at(self, which: npt.NDArray[np.bool_] | None) -> Deviates:
        """Keep what is resolved at some elements; nothing finer than z's own where none is meant."""
        return replace(self, resolved=np.zeros(()) if which is None else self.resolved[which])

    def tolerance(self, values: npt.ArrayLike) -> Doubles:
        """Values of the elements that differ by no more than this are ties."""
        return np.maximum(Statistic.tolerance(self, values), self.resolved)


def z_of_r(r: Doubles, test: str, q: int, dof: npt.ArrayLike) -> Doubles:
    """Turn R into the normal deviate with the same tail: signed for t, upper tail for F."""
    squared, degrees = r**2, np.asarray(dof, dtype=np.float64)
    tails = log_upper_tail_of_f((squared / q) / ((1 - squared) / degrees), q, degrees)
    if test == "F":
        return np.asarray(np.maximum(-special.ndtri_exp(tails), -12.0))
    return np.asarray(np.copysign(-special.ndtri_exp(tails - np.log(2)), r))


@lru_cache(maxsize=16)
def _tabulate(test: str, q: int, dof: float) -> tuple[Doubles, Doubles]:
    """Tabulate z at |R|: even in R up to 0.9, then in −log(1 − R²); linear in between (to 1e-6)."""
    first, last = -np.log(1 - _KNEE**2), -np.log(1 - LARGEST**2)
    logs = np.linspace(first, last, _N_KNOTS + 1)
    low = z_of_r(np.linspace(0, _KNEE, _N_KNOTS + 1), test, q, dof)
    return low, z_of_r(np.sqrt(-np.expm1(-logs)), test, q, dof)


@compiled()
def _correlate(products: Single, q: int, is_signed: bool, r: Single) -> None:
    """Fill ``r`` (n_shuffles, n) from products ``(q + n_moved, n_shuffles, n)``; signed only where q is 1.

    Where the moved nuisance takes (nearly) everything, R is 0.
    """
    n_shuffles, n = r.shape
    largest = np.float32(LARGEST)
    for k in range(n_shuffles):
        for j in range(n):
            explained, rest = np.float32(0), np.float32(1)
            for row in range(q):
                explained += products[row, k, j] * products[row, k, j]
            for row in range(q, products.shape[0]):
                rest -= products[row, k, j] * products[row, k, j]
            size = min(np.sqrt(explained / max(rest, np.float32(1e-6))), largest)
            r[k, j] = -size if is_signed and products[0, k, j] < 0 else size


@compiled()
def _deviates(r: Single, low: Doubles, high: Doubles, z: Single) -> None:
    """Fill ``z`` from ``r`` (both ``(n_shuffles, n)``) by the two halves of `_tabulate`."""
    first, last = -np.log(1 - _KNEE * _KNEE), -np.log(1 - LARGEST * LARGEST)
    per_r, per_log = _N_KNOTS / _KNEE, _N_KNOTS / (last - first)
    for k in range(r.shape[0]):
        for j in range(r.shape[1]):
            size = min(abs(np.float64(r[k, j])), LARGEST)
            if size < _KNEE:
                place = size * per_r
                knot = int(place)
                height = low[knot] + (place - knot) * (low[knot + 1] - low[knot])
            else:
                place = (-np.log(1 - size * size) - first) * per_log
                knot = min(int(place), _N_KNOTS - 1)
                height = high[knot] + (place - knot) * (high[knot + 1] - high[knot])
            z[k, j] = -height if r[k, j] < 0 else height
