"""Clusters of marked elements, and the local maxima in each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from bids_group.elements import Connectivity, Elements, Geometry, points_of
from bids_group.elements.geometry import MAX_STEPS

Members = npt.NDArray[np.intp]

MIN_DISTANCE_MM = 8.0
MAX_SUB_PEAKS = 3


def find_clusters(
    is_in: npt.NDArray[np.bool_],
    elements: Elements,
    connectivity: Connectivity,
    geometry: Geometry | None = None,
) -> tuple[Members, ...]:
    """Elements of each connected component, ascending; components in the order of their first element.

    Neighbours are those of ``geometry``, where elements are no plain volume. A structure without a mesh
    counts as one component.
    """
    if geometry is not None:
        return _find_in_graph(is_in, geometry)
    volume = np.zeros(elements.grid.shape, dtype=bool)
    volume.reshape(-1)[elements.indices] = is_in
    structure = ndimage.generate_binary_structure(3, MAX_STEPS[connectivity])
    labels = ndimage.label(volume, structure)[0].reshape(-1)[elements.indices]
    inside = np.flatnonzero(labels)
    order = inside[np.argsort(labels[inside], kind="stable")]
    return tuple(np.split(order, np.cumsum(np.bincount(labels[inside])[1:])[:-1])) if inside.size else ()


def find_peaks(
    heights: npt.NDArray[np.float32],
    clusters: Sequence[Members],
    elements: Elements,
    geometry: Geometry | None = None,
) -> list[list[int]]:
    """Find the highest local maximum of each cluster, and up to three `MIN_DISTANCE_MM` from all kept.

    A local maximum is exceeded by none of its neighbours (of voxels by corners, too) within the cluster; of
    equal neighbours (a plateau) only the first element counts. Where no place is known, the highest one is
    found alone. ``heights`` ``(n_elements,)`` are positive in the
    clusters, whose elements are ascending.
    """
    if not clusters:
        return []
    members, sizes = np.concatenate(clusters), [one.size for one in clusters]
    if geometry is None:
        is_peak = _tops_of_voxels(heights, members, sizes, elements)
    else:
        is_peak = _tops_of_graph(heights, members, geometry)
    found = []
    for cluster, is_top in zip(clusters, np.split(is_peak, np.cumsum(sizes)[:-1]), strict=True):
        candidates = cluster[is_top]
        candidates = candidates[np.argsort(-heights[candidates], kind="stable")]
        points = points_of(elements, geometry, candidates)
        kept: list[int] = []
        for number in range(candidates.size):
            gaps = np.linalg.norm(points[kept] - points[number], axis=1)
            if np.all(gaps >= MIN_DISTANCE_MM):
                kept.append(number)
            if len(kept) > MAX_SUB_PEAKS:
                break
        found.append([int(candidates[number]) for number in kept])
    return found


def _tops_of_voxels(
    heights: npt.NDArray[np.float32], members: Members, sizes: Sequence[int], elements: Elements
) -> npt.NDArray[np.bool_]:
    """Say which members no neighbour in their cluster exceeds; clusters of these sizes come in order."""
    shape = tuple(extent + 2 for extent in elements.grid.shape)
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
    return is_peak


def _tops_of_graph(
    heights: npt.NDArray[np.float32], members: Members, geometry: Geometry
) -> npt.NDArray[np.bool_]:
    """Say which members no neighbour among them exceeds: neighbours are of one cluster."""
    levels = np.full(heights.size, -np.inf, dtype=np.float32)
    levels[members] = heights[members]
    one = np.repeat(np.arange(heights.size), np.diff(geometry.adjacency.indptr))
    other = geometry.adjacency.indices
    is_beaten = (levels[other] > levels[one]) | ((levels[other] == levels[one]) & (other < one))
    is_top = np.ones(heights.size, dtype=bool)
    is_top[one[is_beaten]] = False
    return np.asarray(is_top[members])


def _find_in_graph(is_in: npt.NDArray[np.bool_], geometry: Geometry) -> tuple[Members, ...]:
    """Find the connected components of marked elements on the neighbours of a geometry."""
    inside = np.flatnonzero(is_in)
    if not inside.size:
        return ()
    graph = geometry.adjacency
    edges = (np.ones(graph.indices.size, dtype=np.int8), graph.indices, graph.indptr)
    within = sparse.csr_array(edges, shape=(is_in.size, is_in.size))[inside][:, inside]
    labels = csgraph.connected_components(within, directed=False)[1]
    unmeshed = geometry.unmeshed[inside]
    labels = np.where(unmeshed < 0, labels, labels.size + unmeshed)
    first, labels = np.unique(labels, return_index=True, return_inverse=True)[1:]
    ranks = np.argsort(np.argsort(first))[labels]
    order = np.argsort(ranks, kind="stable")
    return tuple(np.split(inside[order], np.cumsum(np.bincount(ranks))[:-1]))
