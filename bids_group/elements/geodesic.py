"""Gaussian weights over distances along a surface."""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bids_group.compiled import compiled
from bids_group.elements.geometry import Doubles, Mesh

REACH_IN_SD = 3.0
"""Weights end here, as in Connectome Workbench, so that results can be compared."""

Lengths = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Doubles]


def geodesic_weights(mesh: Mesh, sd_mm: float, areas: Doubles | None = None) -> sparse.csr_array:
    """Weigh the values around each vertex: sparse ``(n_vertices, n_vertices)``, rows not yet of sum 1.

    Row i holds ``A_j g(d_ij) / Σ_k A_k g(d_jk)``, with A the areas and g a Gaussian that ends after three SD:
    each vertex gives what it has in equal shares per area, so that where vertices lie close together none
    counts too much (GEO_GAUSS_AREA in Connectome Workbench, whose results these are). Distances are shortest
    paths along edges, and across the two triangles beside an edge.

    ``areas`` ``(n_vertices,)`` of people, where the mesh is a mean of them, which is too smooth: then steps
    are as much longer as the square root of areas is larger.
    """
    own = mesh.areas()
    starts, ends, lengths = _steps(mesh)
    if areas is not None:
        stretch = np.sqrt(areas / np.where(own > 0, own, 1))
        lengths = lengths * (stretch[starts] + stretch[ends]) / 2
    graph = sparse.csr_array((lengths, (starts, ends)), shape=(mesh.n_vertices,) * 2)
    counts, near, distances = _reach(
        graph.indptr.astype(np.int32), graph.indices.astype(np.int32), graph.data, REACH_IN_SD * sd_mm
    )
    indptr = np.concatenate([[0], np.cumsum(counts)])
    gaussian = np.exp(-0.5 * (distances / sd_mm) ** 2)
    weights = sparse.csr_array((gaussian, near, indptr), shape=(mesh.n_vertices,) * 2)
    counted = own if areas is None else areas
    given = weights @ counted  # symmetric: what each vertex gives in all
    weights.data *= (counted / np.where(given > 0, given, 1))[weights.indices]
    return weights


def _steps(mesh: Mesh) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Doubles]:
    """List steps from vertex to vertex, in both directions, and their lengths.

    They are sides of triangles, and straight lines over the common side of two triangles laid flat, where
    that side is in their way.
    """
    turns = [mesh.triangles[:, list(corners)] for corners in ((0, 1, 2), (1, 2, 0), (2, 0, 1))]
    sides = np.concatenate(turns).astype(np.int64)  # two ends, and the corner across
    keys = sides[:, :2].min(axis=1) * mesh.n_vertices + sides[:, :2].max(axis=1)
    order = np.argsort(keys, kind="stable")
    unique, first, counts = np.unique(keys[order], return_index=True, return_counts=True)
    one, other = unique // mesh.n_vertices, unique % mesh.n_vertices
    length = np.linalg.norm(mesh.points[other] - mesh.points[one], axis=1)
    shared = counts == 2
    near, far = (sides[order[first[shared] + step], 2] for step in (0, 1))
    base, width = mesh.points[one[shared]], length[shared]
    along = (mesh.points[other[shared]] - base) / np.where(width > 0, width, 1)[:, None]
    at, height = zip(*(_flatten(mesh.points[corner] - base, along) for corner in (near, far)), strict=True)
    total = height[0] + height[1]
    crossing = at[0] + (at[1] - at[0]) * height[0] / np.where(total > 0, total, 1)
    is_in_way = (crossing >= 0) & (crossing <= width) & (total > 0)
    across = np.hypot(at[1] - at[0], total)[is_in_way]
    starts = np.concatenate([one, near[is_in_way], other, far[is_in_way]])
    ends = np.concatenate([other, far[is_in_way], one, near[is_in_way]])
    lengths = np.tile(np.concatenate([length, across]), 2)
    return _shortest(starts, ends, lengths, mesh.n_vertices)


def _flatten(offsets: Doubles, along: Doubles) -> tuple[Doubles, Doubles]:
    """Give the place of corners along a side, and their distance from it."""
    at = np.einsum("ei,ei->e", offsets, along)
    return at, np.linalg.norm(offsets - at[:, None] * along, axis=1)


def _shortest(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], lengths: Doubles, n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Doubles]:
    """Keep the shortest of steps between the same vertices (a side and a way across can join the same)."""
    order = np.lexsort((lengths, starts * n + ends))
    first = np.unique((starts * n + ends)[order], return_index=True)[1]
    kept = order[first]
    return starts[kept], ends[kept], lengths[kept]


@compiled()
def _reach(
    indptr: npt.NDArray[np.int32], indices: npt.NDArray[np.int32], lengths: Doubles, limit: float
) -> Lengths:
    """Find the vertices within ``limit`` of each (itself, too), ascending by number, and their distances."""
    n = indptr.size - 1
    counts = np.zeros(n, np.int32)
    near, far = np.empty(64 * n, np.int32), np.empty(64 * n)
    best = np.full(n, np.inf)
    used = 0
    for source in range(n):
        best[source] = 0.0
        found = [np.int32(source)]
        heap = [(0.0, np.int32(source))]
        while len(heap) > 0:
            distance, here = heapq.heappop(heap)
            if distance > best[here]:
                continue
            for edge in range(indptr[here], indptr[here + 1]):
                there, further = indices[edge], distance + lengths[edge]
                if further <= limit and further < best[there]:
                    if best[there] == np.inf:
                        found.append(there)
                    best[there] = further
                    heapq.heappush(heap, (further, there))
        if used + len(found) > near.size:
            room = 2 * (used + len(found))
            near = np.concatenate((near[:used], np.empty(room - used, np.int32)))
            far = np.concatenate((far[:used], np.empty(room - used)))
        found.sort()
        for there in found:
            near[used], far[used] = there, best[there]
            best[there] = np.inf
            used += 1
        counts[source] = len(found)
    return counts, near[:used].copy(), far[:used].copy()
