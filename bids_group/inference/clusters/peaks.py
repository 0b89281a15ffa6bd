"""Local maxima of a cluster, and the numbers that stand beside them in a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_group.elements import Elements
from bids_group.elements.adjacency import Adjacency
from bids_group.records import ContrastResult, Peak

MIN_DISTANCE_MM = 8.0
MAX_SUB_PEAKS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeakNumbers:
    """Maps ``(n_elements,)`` that a peak is described with; ``p_corrected`` None where there is none."""

    statistic: npt.NDArray[np.float32]
    z: npt.NDArray[np.float32]
    p_uncorrected: npt.NDArray[np.float32]
    p_corrected: npt.NDArray[np.float32] | None
    result: ContrastResult


def local_maxima(
    heights: npt.NDArray[np.float32], members: npt.NDArray[np.intp], neighbours: Adjacency
) -> npt.NDArray[np.intp]:
    """Members of a cluster that no neighbour within the cluster exceeds, highest first.

    Of equal neighbours (a plateau) only the first element counts.

    Parameters
    ----------
    heights
        Values by element, positive within the cluster, shape ``(n_elements,)``.
    members
        The cluster's elements, ascending.
    neighbours
        Adjacency with corners (26), so that ridges do not count as rows of peaks.
    """
    starts, stops = neighbours.indptr[members], neighbours.indptr[members + 1]
    counts = stops - starts
    owners = np.repeat(np.arange(members.size), counts)
    positions = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
    others = neighbours.indices[positions].astype(np.intp)
    slots = np.minimum(np.searchsorted(members, others), members.size - 1)
    is_member = members[slots] == others
    own, other = heights[members[owners]], heights[others]
    is_beaten = is_member & ((other > own) | ((other == own) & (others < members[owners])))
    is_peak = np.ones(members.size, dtype=bool)
    is_peak[owners[is_beaten]] = False
    found = members[is_peak]
    return found[np.argsort(-heights[found], kind="stable")]


def spaced_peaks(candidates: npt.NDArray[np.intp], elements: Elements) -> list[int]:
    """Keep the highest candidate, and up to three at least `MIN_DISTANCE_MM` from every one kept."""
    points = elements.coordinates_mm(candidates)
    kept: list[int] = []
    for number in range(candidates.size):
        gaps = np.linalg.norm(points[kept] - points[number], axis=1)
        if np.all(gaps >= MIN_DISTANCE_MM):
            kept.append(number)
        if len(kept) > MAX_SUB_PEAKS:
            break
    return [int(candidates[number]) for number in kept]


def describe_peak(element: int, numbers: PeakNumbers, elements: Elements, *, is_sub_peak: bool) -> Peak:
    """Collect what is known at one element; effect sizes where the fit has them."""
    x, y, z = (float(value) for value in elements.coordinates_mm(np.array([element]))[0])
    maps = numbers.result.maps
    extras = {stat: _value(maps.get(stat), element) for stat in ("effect", "g", "gLower", "gUpper")}
    return Peak(
        element=element,
        xyz_mm=(x, y, z),
        statistic=float(numbers.statistic[element]),
        z=float(numbers.z[element]),
        p_uncorrected=float(numbers.p_uncorrected[element]),
        p_corrected=_value(numbers.p_corrected, element),
        is_sub_peak=is_sub_peak,
        effect=extras["effect"],
        g=extras["g"],
        g_lower=extras["gLower"],
        g_upper=extras["gUpper"],
    )


def _value(row: npt.NDArray[np.float32] | None, element: int) -> float | None:
    if row is None or row.ndim != 1:
        return None
    return float(row[element])
