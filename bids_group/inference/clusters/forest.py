"""Cluster size, mass and threshold-free enhancement (TFCE) in one pass from the highest element down.

Elements enter in descending order of |z|; each joins the components of its neighbours of the same sign that
are already in (a union-find forest). An element extends a component by its weight (1, mm³ or mm²). Between
two entries the extent is constant, so the integral of Smith & Nichols (2009), ``∫ extent(h)^E · h² dh``, is a
finite sum of exact pieces ``extent^E · (h₂³ − h₁³) / 3``, with E = 0.5 in volumes and 1 on surfaces.
`scipy.ndimage.label` takes 16 ms where this takes 0.2 (200,000 voxels, z above 3.1), as it looks at every
voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled, written_out
from bids_group.elements.geometry import Geometry

Doubles = npt.NDArray[np.float64]

_SIZE, _MASS, _SUM, _BEST, _LAST, _N_FIELDS = 0, 1, 2, 3, 4, 5

BYTES_PER_ELEMENT = 4 + 8 + 8 * _N_FIELDS + 4 + 3 * 8
"""Memory of a `Workspace` and of the sort per element."""


class Workspace:
    """Arrays that one worker reuses for every map of ``n`` elements."""

    def __init__(self, n: int) -> None:
        self.parent = np.empty(n, np.int32)
        self.delta = np.empty(n)  # own sum minus that of the parent
        self.state = np.empty((n, _N_FIELDS))  # size, mass, sum, best and last height³ of each root


@dataclass(frozen=True, slots=True, kw_only=True)
class Heights:
    """Which elements enter: of both signs or positive ones, and down to which height.

    ``threshold``: the cluster-forming z.
    """

    threshold: float
    is_two_sided: bool
    has_tfce: bool

    @property
    def lowest(self) -> float:
        """Elements at or below this height never enter."""
        return 0.0 if self.has_tfce else self.threshold


def cluster_maxima(
    z: npt.NDArray[np.float32], heights: Heights, geometry: Geometry, workspace: Workspace
) -> Doubles:
    """Largest cluster size, mass and TFCE of a map in each part, ``(n_parts, 3)``; 0 where there is none.

    ``z`` ``(n_elements,)`` must be finite; clusters consist of elements above ``heights.threshold``. Size is
    the sum of weights, mass Σ weight · (|z| − threshold).
    """
    return _descend(z, heights, geometry, workspace, np.empty(0, np.float32))


def tfce_map(z: npt.NDArray[np.float32], heights: Heights, geometry: Geometry) -> npt.NDArray[np.float32]:
    """Enhanced map: positive everywhere, of both signs when two-sided; 0 where nothing entered."""
    enhanced = np.zeros(z.size, np.float32)
    _descend(z, heights, geometry, Workspace(z.size), enhanced)
    return enhanced


def _descend(
    z: npt.NDArray[np.float32],
    heights: Heights,
    geometry: Geometry,
    work: Workspace,
    enhanced: npt.NDArray[np.float32],
) -> Doubles:
    """Sort the elements and let them in; enhanced values go into ``enhanced`` where it has room."""
    sizes = np.abs(z) if heights.is_two_sided else z
    entering = np.flatnonzero(sizes > heights.lowest)
    # by height, and of equal heights by place: keys that differ have one order, whatever sorts them
    keys = (sizes[entering].view(np.uint32).astype(np.uint64) << np.uint64(32)) | entering.astype(np.uint64)
    keys.sort()
    order = (keys & np.uint64(0xFFFFFFFF)).astype(np.int32)
    most = np.zeros((len(geometry.parts), 3))
    _grow(
        z, order, heights.threshold, geometry.adjacency.indptr, geometry.adjacency.indices, geometry.weights,
        geometry.part_of, geometry.extent_powers, work.parent, work.delta, work.state, most, enhanced,
    )  # fmt: skip
    return most


@written_out()
def _root(i: int, parent: npt.NDArray[np.int32], delta: Doubles) -> int:
    """Find the root of an element, halving the path; the root's own delta is 0."""
    while parent[i] != i:
        above = parent[i]
        delta[i] += delta[above]
        parent[i] = parent[above]
        i = parent[i]
    return i


@written_out()
def raised(extent: float, power: float) -> float:
    """Raise an extent to the power of its part: mostly 0.5 or 1."""
    if power == 0.5:
        return float(np.sqrt(extent))
    return extent if power == 1.0 else extent**power


@written_out()
def _lower(state: Doubles, root: int, level: float, power: float) -> None:
    """Add the piece of the integral from a component's last height to ``level`` (both as height³)."""
    piece = raised(state[root, _SIZE], power) * (state[root, _LAST] - level) / 3.0
    state[root, _SUM] += piece
    state[root, _BEST] += piece
    state[root, _LAST] = level


@written_out()
def _join(
    one: int, other: int, parent: npt.NDArray[np.int32], delta: Doubles,
    state: Doubles,
) -> int:  # fmt: skip
    """Join two components that have come to the same height, the smaller to the larger; return the root."""
    keep, gone = (other, one) if state[other, _SIZE] >= state[one, _SIZE] else (one, other)
    parent[gone] = keep
    delta[gone] = state[gone, _SUM] - state[keep, _SUM]
    state[keep, _SIZE] += state[gone, _SIZE]
    state[keep, _MASS] += state[gone, _MASS]
    state[keep, _BEST] = max(state[keep, _BEST], state[gone, _BEST])
    return keep


@compiled()
def _grow(
    z: npt.NDArray[np.float32], order: npt.NDArray[np.int32], threshold: float,
    indptr: npt.NDArray[np.int32], indices: npt.NDArray[np.int32], weights: Doubles,
    part_of: npt.NDArray[np.int8], powers: Doubles, parent: npt.NDArray[np.int32], delta: Doubles,
    state: Doubles, most: Doubles, enhanced: npt.NDArray[np.float32],
) -> None:  # fmt: skip
    """Let elements in from the highest down; raise ``most`` to the largest size, mass and TFCE by part."""
    parent[:] = -1
    for rank in range(order.size - 1, -1, -1):
        here = order[rank]
        height = abs(np.float64(z[here]))
        is_positive = z[here] > 0
        level = height * height * height
        is_above = height > threshold
        part = part_of[here]
        root = here
        parent[here] = here
        delta[here] = 0.0
        state[here, _SIZE] = weights[here]
        state[here, _MASS] = weights[here] * (height - threshold) if is_above else 0.0
        state[here, _SUM] = 0.0
        state[here, _BEST] = 0.0
        state[here, _LAST] = level
        for edge in range(indptr[here], indptr[here + 1]):
            there = indices[edge]
            if parent[there] < 0 or (z[there] > 0) != is_positive:
                continue
            other = _root(there, parent, delta)
            if other == root:
                continue
            _lower(state, other, level, powers[part])
            root = _join(root, other, parent, delta, state)
        if is_above:
            most[part, 0] = max(most[part, 0], state[root, _SIZE])
            most[part, 1] = max(most[part, 1], state[root, _MASS])
    for i in order:
        if parent[i] == i:
            _lower(state, i, 0.0, powers[part_of[i]])
            most[part_of[i], 2] = max(most[part_of[i], 2], state[i, _BEST])
    if enhanced.size > 0:
        for i in order:
            total, above = 0.0, i
            while parent[above] != above:
                total += delta[above]
                above = parent[above]
            enhanced[i] = total + state[above, _SUM]
