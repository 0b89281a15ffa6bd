"""Largest cluster size, mass and TFCE of a map on any graph, exactly, from its basins.

As in `forest`, elements enter from the highest |z| down. A peak (no neighbour of its sign is in) begins a
basin; any other element belongs to a basin of its neighbours, and where neighbours belong to several these
join. So the union-find forest is over basins, of which there are as many as peaks, and stays in the
processor's cache. `scipy.ndimage.label` takes 16 ms where this takes 0.2 (200,000 voxels, z above 3.1), as
it looks at every voxel. The sums are those of `saddles`: ``Σ (E(k) − E(k−1)) · h_k³ / 3`` at the best element
of a component, with E(k) its extent, to the power of its part, when the k-th element enters.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled, written_out
from bids_group.elements.geometry import Doubles, Geometry
from bids_group.inference.clusters.forest import Heights, raised

Labels = npt.NDArray[np.int32]

BYTES_PER_ELEMENT = 4 + 4 + 4 * 8 + 3 * 8 + 4
"""Memory of a `BasinWorkspace` and of the sort per element."""


class BasinWorkspace:
    """Arrays that one worker reuses for every map of ``n`` elements."""

    def __init__(self, n: int) -> None:
        # by element: twice the number of its basin, and 1 more where it is negative; -1 before it enters
        self.labels = np.empty(n, np.int32)
        # by basin: parent; extent, extent to its power, mass, and best sum of each root
        self.parent, self.sums = np.empty(n, np.int32), np.empty((n, 4))


_EXTENT, _RAISED, _MASS, _BEST = 0, 1, 2, 3


def basin_maxima(
    z: npt.NDArray[np.float32], heights: Heights, geometry: Geometry, work: BasinWorkspace
) -> Doubles:
    """Largest cluster size, mass and TFCE in each part, ``(n_parts, 3)``; 0 where there is none.

    ``z`` ``(n_elements,)`` must be finite. Clusters consist of elements above
    ``heights.threshold``; size is the sum of weights, mass Σ weight · (|z| − threshold).
    """
    sizes = np.abs(z) if heights.is_two_sided else z
    entering = np.flatnonzero(sizes > heights.lowest)
    bits = sizes[entering].view(np.uint32).astype(np.uint64) << np.uint64(32)
    keys = bits | (entering.astype(np.uint64) << np.uint64(1)) | (z[entering] < 0)
    keys.sort()  # all differ: one order, whatever sorts them
    words = keys.view(np.uint32).reshape(-1, 2)
    most = np.zeros((len(geometry.parts), 3))
    _climb(
        words[:, 0].copy(), words[:, 1].copy().view(np.float32), heights.threshold,
        geometry.adjacency.indptr, geometry.adjacency.indices, geometry.weights, geometry.part_of,
        geometry.extent_powers, work.labels, work.parent, work.sums, most,
    )  # fmt: skip
    return most


@written_out()
def _root(basin: int, parent: Labels) -> int:
    """Find the root of a basin, halving the path."""
    while parent[basin] != basin:
        parent[basin] = parent[parent[basin]]
        basin = parent[basin]
    return basin


@written_out()
def _join(one: int, other: int, level: float, power: float, parent: Labels, sums: Doubles) -> int:
    """Join two components that meet at ``level`` (height³), the smaller to the larger; return the root."""
    keep, gone = (one, other) if sums[one, _EXTENT] >= sums[other, _EXTENT] else (other, one)
    both = sums[one, _EXTENT] + sums[other, _EXTENT]
    large = raised(both, power)
    sums[keep, _BEST] = max(
        sums[keep, _BEST] + (large - sums[keep, _RAISED]) * level,
        sums[gone, _BEST] + (large - sums[gone, _RAISED]) * level,
    )
    sums[keep, _EXTENT], sums[keep, _RAISED] = both, large
    sums[keep, _MASS] += sums[gone, _MASS]
    parent[gone] = keep
    return keep


@compiled()
def _climb(
    places: npt.NDArray[np.uint32], sizes: npt.NDArray[np.float32], threshold: float, indptr: Labels,
    indices: Labels, weights: Doubles, part_of: npt.NDArray[np.int8], powers: Doubles, labels: Labels,
    parent: Labels, sums: Doubles, most: Doubles,
) -> None:  # fmt: skip
    """Let elements in from the highest down; raise ``most`` to the largest size, mass and TFCE by part."""
    labels[:] = -1
    n_basins = 0
    for rank in range(places.size - 1, -1, -1):
        here, sign = places[rank] >> 1, np.int32(places[rank] & 1)
        height = np.float64(sizes[rank])
        level, part, first, root = height * height * height, part_of[here], np.int32(-1), -1
        for edge in range(indptr[here], indptr[here + 1]):
            label = labels[indices[edge]]
            if label < 0 or label & 1 != sign or label == first:
                continue
            other = _root(label >> 1, parent)
            if root < 0:
                first, root = label, other
            elif other != root:
                root = _join(root, other, level, powers[part], parent, sums)
        if root < 0:
            root = n_basins
            n_basins += 1
            parent[root] = root
            sums[root] = 0.0
        labels[here] = 2 * root + sign
        extent = sums[root, _EXTENT] + weights[here]
        large = raised(extent, powers[part])
        sums[root, _BEST] += (large - sums[root, _RAISED]) * level
        sums[root, _EXTENT], sums[root, _RAISED] = extent, large
        most[part, 2] = max(most[part, 2], sums[root, _BEST])
        if height > threshold:
            sums[root, _MASS] += weights[here] * (height - threshold)
            most[part, 0] = max(most[part, 0], extent)
            most[part, 1] = max(most[part, 1], sums[root, _MASS])
    most[:, 2] /= 3.0
