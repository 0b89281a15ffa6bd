"""From products to statistics: the partial correlation R of the tested part with the shuffled residuals.

For residuals of unit length, products b with the q tested columns and g with the nuisance columns that
shuffling moves, ``R² = Σb² / (1 − Σg²)``; for a t contrast R has the sign of b. t and F are monotone in R:
``t = R·sqrt(dof / (1 − R²))`` and ``F = (R²/q) / ((1 − R²)/dof)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numba as nb
import numpy as np
import numpy.typing as npt
from scipy import special

from bids_group.distributions import log_upper_tail_of_f

Single = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

LARGEST = float(np.float32(1) - np.float32(2) ** -24)
"""R never reaches 1: what float32 cannot tell from a perfect fit counts as this."""

TIE = 1e-5
"""Values that differ by less than this, relatively, are the same value computed in another order."""

_KNEE = 0.9
_N_KNOTS = 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How R becomes t or F and z: the test, q and dof."""

    test: str
    q: int
    dof: int

    def statistic(self, r: npt.ArrayLike) -> Doubles:
        """Turn R into t, or into F."""
        correlation = np.asarray(r, dtype=np.float64)
        rest = 1 - correlation**2
        if self.test == "F":
            return np.asarray((correlation**2 / self.q) / (rest / self.dof))
        return np.asarray(correlation * np.sqrt(self.dof / rest))

    def correlation(self, statistic: npt.ArrayLike) -> Doubles:
        """Turn t or F into R."""
        given = np.asarray(statistic, dtype=np.float64)
        if self.test == "F":
            return np.sqrt(given * self.q / (given * self.q + self.dof))
        return np.asarray(given / np.sqrt(given**2 + self.dof))

    def z(self, r: npt.ArrayLike) -> Doubles:
        """Turn R into the normal deviate with the same tail: signed for t, upper tail for F."""
        correlation = np.asarray(r, dtype=np.float64)
        squared = correlation**2
        tails = log_upper_tail_of_f((squared / self.q) / ((1 - squared) / self.dof), self.q, self.dof)
        if self.test == "F":
            return np.asarray(np.maximum(-special.ndtri_exp(tails), -12.0))
        return np.asarray(np.copysign(-special.ndtri_exp(tails - np.log(2)), correlation))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviateTable:
    """z at knots of |R|: even in R up to 0.9, then in −log(1 − R²); linear in between (error below 1e-6)."""

    low: Doubles
    high: Doubles

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, scale: Scale) -> DeviateTable:
        """Tabulate a scale."""
        first, last = -np.log(1 - _KNEE**2), -np.log(1 - LARGEST**2)
        logs = np.linspace(first, last, _N_KNOTS + 1)
        return cls(low=scale.z(np.linspace(0, _KNEE, _N_KNOTS + 1)), high=scale.z(np.sqrt(-np.expm1(-logs))))


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def correlate(products: Single, q: int, is_signed: bool, r: Single) -> None:
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


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def deviates(r: Single, low: Doubles, high: Doubles, z: Single) -> None:
    """Fill ``z`` from ``r`` (both ``(n_shuffles, n)``) by the two halves of a `DeviateTable`."""
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


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def raise_maxima(bits: npt.NDArray[np.int32], is_two_sided: bool, maxima: npt.NDArray[np.int32]) -> None:
    """Raise ``maxima`` (n_shuffles,) to the largest value (or size) of each row of ``bits`` (n_shuffles, n).

    ``bits`` are float32 seen as integers: non-negative ones are in order, negative ones once all their bits
    but the sign are turned over (`as_floats` undoes this). Ten times faster than a maximum of floats.
    """
    size_bits = np.int32(0x7FFFFFFF)
    for k in range(bits.shape[0]):
        most = maxima[k]
        row = bits[k]
        if is_two_sided:
            for j in range(row.size):
                most = max(most, row[j] & size_bits)
        else:
            for j in range(row.size):
                most = max(most, row[j] ^ ((row[j] >> np.int32(31)) & size_bits))
        maxima[k] = most


def as_floats(ordered: npt.NDArray[np.int32]) -> Single:
    """Turn the integers of `raise_maxima` back into numbers."""
    return np.asarray((ordered ^ ((ordered >> 31) & np.int32(0x7FFFFFFF))).view(np.float32))
