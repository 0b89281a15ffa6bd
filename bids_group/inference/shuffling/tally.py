"""How often shuffled data reach what was observed, each element for itself: the uncorrected permutation p."""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import numpy.typing as npt

from bids_group.inference.shuffling.statistic import Statistic

Single = npt.NDArray[np.float32]
Counts = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """What each element's shuffled values are held against; ``limits`` float32 ``(n_elements,)``."""

    limits: Single
    is_two_sided: bool

    @classmethod
    def against(cls, observed: Single, statistic: Statistic) -> Tally:
        """Hold shuffled values (their size, when two-sided) against the unshuffled ones; ties count."""
        sizes = np.abs(observed) if statistic.is_two_sided else observed
        limits = sizes - statistic.tolerance(sizes)
        return cls(limits=limits.astype(np.float32), is_two_sided=statistic.is_two_sided)

    def zeros(self, n_shuffles: int) -> Counts:
        """Start counting up to ``n_shuffles``, in as few bytes as they need: finished batches are kept."""
        n_elements = self.limits.size
        return np.zeros(n_elements, np.uint8) if n_shuffles < 2**8 else np.zeros(n_elements, np.uint16)

    def count(self, values: Single, elements: slice, counts: Counts) -> None:
        """Add to ``counts`` ``(n_elements,)`` how many rows of ``values`` ``(n_shuffles, n)`` reach."""
        _count_reaching(values, self.limits[elements], self.is_two_sided, counts[elements])


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count_reaching(values: Single, limits: Single, is_two_sided: bool, counts: Counts) -> None:
    for k in range(values.shape[0]):
        row = values[k]
        if is_two_sided:
            for j in range(limits.size):
                counts[j] += abs(row[j]) >= limits[j]
        else:
            for j in range(limits.size):
                counts[j] += row[j] >= limits[j]
