"""The interface of statistics of shuffled residuals, `Statistic`; maxima and counts of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled
from bids_group.inference.shuffling.partition import TILE, Doubles, Single
from bids_group.inference.shuffling.shuffles import Batch

TIE = 1e-5
"""Values that differ by less than this, relatively, are the same value computed in another order."""

_SMALLEST_TIE = 4e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistic:
    """A statistic on a scale that is common to all elements; where a method is not replaced, z itself.

    ``name``: of the scale that people read (t, F, z). ``columns`` ``(n_obs, m)`` meet the shuffled residuals.
    ``is_two_sided``: maxima are those of the size of the values. Values at or above ``largest_value`` cannot
    be told apart. ``precision``: of the sums that make a product, which itself is float32.
    """

    name: str
    columns: Doubles
    is_two_sided: bool
    precision: npt.DTypeLike = np.float32
    largest_value: ClassVar[float] = float(np.finfo(np.float32).max)

    @property
    def n_products(self) -> int:
        """Products that each shuffle and element needs."""
        return int(self.columns.shape[1])

    def make_room(self) -> tuple[Single, ...]:
        """Make the room that `multiply` works in; the products themselves have their own."""
        return ()

    def weigh(self, batch: Batch, n_shuffles: int) -> Single:
        """Make rows for the product, ``(m · n_shuffles, n_obs)``, of zeros for shuffles that are missing."""
        moved = batch.moved(self.columns)
        rows = np.zeros((moved.shape[0], n_shuffles, moved.shape[2]), np.float32)
        rows[:, : moved.shape[1]] = moved
        return rows.reshape(-1, moved.shape[2])

    def multiply(
        self, rows: Single, tile: Single, squares: Single, products: Single, room: tuple[Single, ...]
    ) -> Single:
        """Fill ``products`` from rows of `weigh` and residuals ``(n_obs, TILE)``; give `values` squares."""
        out = products.reshape(rows.shape[0], TILE)
        np.matmul(rows, tile, out=out, dtype=self.precision, casting="same_kind")
        return squares

    def values(self, products: Single, squares: Single, room: Single) -> Single:
        """Compute values ``(n_shuffles, TILE)`` from products ``(m, n_shuffles, TILE)``, perhaps in ``room``.

        ``squares`` ``(n_groups, TILE)``: each variance group's part of the residual sum of squares, or what
        `multiply` gave.
        """
        raise NotImplementedError

    def fill_z(self, values: Single, z: Single) -> None:
        """Turn values into normal deviates."""
        z[:] = values

    def z_of(self, values: npt.ArrayLike) -> Doubles:
        """Exact normal deviates of a few values."""
        return np.asarray(values, dtype=np.float64)

    def tolerance(self, values: npt.ArrayLike) -> Doubles:
        """Values that differ by up to this (relatively `TIE`, or what float32 resolves) are ties."""
        return np.maximum(TIE * np.abs(np.asarray(values, dtype=np.float64)), _SMALLEST_TIE)

    def at(self, which: npt.NDArray[np.bool_] | None) -> Statistic:
        """Give the statistic of some elements; None: of no one in particular, for its tolerance alone."""
        return self

    def statistic_of(self, values: npt.ArrayLike) -> Doubles:
        """Values on the scale that people read."""
        return np.asarray(values, dtype=np.float64)

    def expected_values(self, fitted: npt.ArrayLike, dof: npt.ArrayLike | None = None) -> Doubles | None:
        """Turn t or F of the fit, with its dof, into values of this statistic; None where it is another."""


@compiled()
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


@compiled()
def count_reaching(
    values: Single, limits: Single, is_two_sided: bool, counts: npt.NDArray[np.unsignedinteger]
) -> None:
    """Add to ``counts`` (n,) how many rows of ``values`` (n_shuffles, n) reach ``limits`` (n,), in size."""
    for k in range(values.shape[0]):
        row = values[k]
        if is_two_sided:
            for j in range(limits.size):
                counts[j] += abs(row[j]) >= limits[j]
        else:
            for j in range(limits.size):
                counts[j] += row[j] >= limits[j]
