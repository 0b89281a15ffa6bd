"""Clusters of marked voxels, and the local maxima in each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_group.elements import Connectivity, Elements

Members = npt.NDArray[np.intp]

MIN_DISTANCE_MM = 8.0
MAX_SUB_PEAKS = 3


def find_clusters(
    is_in: npt.NDArray[np.bool_], elements: Elements, connectivity: Connectivity
) -> tuple[Members, ...]:
    """Elements of each connected component, ascending; components in the order of their first element."""
    volume = np.zeros(elements.grid.shape, dtype=bool)
    volume.reshape(-1)[elements.indices] = is_in
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    labels = ndimage.label(volume, structure)[0].reshape(-1)[elements.indices]
    inside = np.flatnonzero(labels)
    order = inside[np.argsort(labels[inside], kind="stable")]
    return tuple(np.split(order, np.cumsum(np.bincount(labels[inside])[1:])[:-1])) if inside.size else ()


def find_peaks(
    heights: npt.NDArray[np.float32], clusters: Sequence[Members], elements: Elements
) -> list[list[int]]:
    """Find the highest local maximum of each cluster, and up to three `MIN_DISTANCE_MM` from all kept.

    A local maximum is exceeded by none of its neighbours (by corners, too) within the cluster; of equal
    neighbours (a plateau) only the first element counts. ``heights`` ``(n_elements,)`` are positive in the
    clusters, whose elements are ascending.
    """
    if not clusters:
        return []
    shape = tuple(extent + 2 for extent in elements.grid.shape)
    members, sizes = np.concatenate(clusters), [one.size for one in clusters]
    voxels = np.unravel_index(elements.indices[members], elements.grid.shape)
    here = np.ravel_multi_index([axis + 1 for axis in voxels], shape)
    owners, levels = np.zeros(np.prod(shape), np.int32), np.zeros(np.prod(shape), np.float32)
    owners[here], levels[here] = np.repeat(np.arange(1, len(sizes) + 1), sizes), heights[members]
    is_peak = np.ones(members.size, dtype=bool)
    for offset in product((-1, 0, 1), repeat=3):
        step = int(np.dot(offset, (shape[1] * shape[2], shape[2], 1)))
        there, own = levels[here + step], levels[here]
        is_beaten = (there > own) | ((there == own) & (step < 0))
        is_peak &= ~(is_beaten & (owners[here + step] == owners[here]))
    found = []
    for cluster, is_top in zip(clusters, np.split(is_peak, np.cumsum(sizes)[:-1]), strict=True):
        candidates = cluster[is_top]
        candidates = candidates[np.argsort(-heights[candidates], kind="stable")]
        points = elements.coordinates_mm(candidates)
        kept: list[int] = []
        for number in range(candidates.size):
            gaps = np.linalg.norm(points[kept] - points[number], axis=1)
            if np.all(gaps >= MIN_DISTANCE_MM):
                kept.append(number)
            if len(kept) > MAX_SUB_PEAKS:
                break
        found.append([int(candidates[number]) for number in kept])
    return found
