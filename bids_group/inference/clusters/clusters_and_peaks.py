"""Clusters: connected elements of one sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numba as nb
import numpy as np
import numpy.typing as npt

from bids_group.elements import Elements
from bids_group.elements.adjacency import Adjacency, build_adjacency
from bids_group.inference.clusters.peaks import PeakNumbers, describe_peak, local_maxima, spaced_peaks
from bids_group.records import Cluster

Labels = npt.NDArray[np.int32]


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def label_components(is_in: npt.NDArray[np.bool_], indptr: Labels, indices: Labels) -> Labels:
    """Label connected components from 0 in the order of their first element; -1 outside."""
    labels = np.full(is_in.size, -1, np.int32)
    stack = np.empty(is_in.size, np.int32)
    n_found = 0
    for seed in range(is_in.size):
        if not is_in[seed] or labels[seed] >= 0:
            continue
        labels[seed] = n_found
        stack[0] = seed
        n_waiting = 1
        while n_waiting > 0:
            n_waiting -= 1
            here = stack[n_waiting]
            for edge in range(indptr[here], indptr[here + 1]):
                there = indices[edge]
                if is_in[there] and labels[there] < 0:
                    labels[there] = n_found
                    stack[n_waiting] = there
                    n_waiting += 1
        n_found += 1
    return labels


def find_clusters(is_in: npt.NDArray[np.bool_], adjacency: Adjacency) -> tuple[npt.NDArray[np.intp], ...]:
    """Elements of each connected component, ascending; components in the order of their first element."""
    labels = label_components(is_in, adjacency.indptr, adjacency.indices)
    inside = np.flatnonzero(labels >= 0)
    order = inside[np.argsort(labels[inside], kind="stable")]
    sizes = np.bincount(labels[inside]) if inside.size else np.zeros(0, dtype=np.intp)
    return tuple(np.split(order, np.cumsum(sizes)[:-1])) if inside.size else ()


Measure = Callable[[npt.NDArray[np.intp], Literal[1, -1]], dict[str, float]]


def build_clusters(
    is_in: npt.NDArray[np.bool_],
    numbers: PeakNumbers,
    elements: Elements,
    adjacency: Adjacency,
    *,
    mass_threshold_z: float | None = None,
    corrected: Measure | None = None,
    bound: Callable[[npt.NDArray[np.intp], Literal[1, -1]], float] | None = None,
) -> tuple[Cluster, ...]:
    """Clusters of the marked elements with their peaks, positive ones first, the highest first.

    Elements of opposite sign never share a cluster.

    Parameters
    ----------
    is_in
        Marked elements, shape ``(n_elements,)``.
    numbers
        What stands at the peaks; ``z`` gives sign and height.
    mass_threshold_z
        Where given, each cluster has the mass Σ(|z| − threshold).
    corrected, bound
        From a cluster's elements and sign: its corrected p-values by measure; its true-discovery proportion.
    """
    signs: tuple[Literal[1, -1], ...] = (1, -1)
    corners = build_adjacency(elements, 26) if is_in.any() else adjacency
    clusters: list[Cluster] = []
    for sign in signs:
        heights = numbers.z * np.float32(sign)
        found = find_clusters(is_in & (heights > 0), adjacency)
        for members in sorted(found, key=lambda members: -float(heights[members].max())):
            chosen = spaced_peaks(local_maxima(heights, members, corners), elements)
            peaks = [
                describe_peak(element, numbers, elements, is_sub_peak=rank > 0)
                for rank, element in enumerate(chosen)
            ]
            cluster = Cluster(
                index=len(clusters) + 1,
                sign=sign,
                elements=members,
                size_mm3=members.size * elements.grid.element_mm3,
                peaks=tuple(peaks),
                mass=_mass(heights[members], mass_threshold_z),
                p_corrected=corrected(members, sign) if corrected else {},
                true_discovery_proportion=bound(members, sign) if bound else None,
            )
            clusters.append(cluster)
    return tuple(clusters)


def _mass(heights: npt.NDArray[np.float32], threshold: float | None) -> float | None:
    return None if threshold is None else float((heights.astype(np.float64) - threshold).sum())
