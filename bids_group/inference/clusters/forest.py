"""Threshold-free enhancement (TFCE) of every element of a map, in one pass from the highest element down.

Elements enter in descending order of |z|; each joins the components of its neighbours of the same sign that
are already in (a union-find forest). An element extends a component by its weight (1, mm³ or mm²). Between
two entries the extent is constant, so the integral of Smith & Nichols (2009), ``∫ extent(h)^E · h² dh``, is a
finite sum of exact pieces ``extent^E · (h₂³ − h₁³) / 3``, with E = 0.5 in volumes and 1 on surfaces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled, written_out
from bids_group.elements.geometry import Geometry

Doubles = npt.NDArray[np.float64]

_SIZE, _SUM, _LAST = 0, 1, 2
"""Of each root: extent, own sum, and last height³."""


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


def tfce_map(z: npt.NDArray[np.float32], heights: Heights, geometry: Geometry) -> npt.NDArray[np.float32]:
    """Enhanced map: positive everywhere, of both signs when two-sided; 0 where nothing entered.

    ``z`` ``(n_elements,)`` must be finite.
    """
    sizes = np.abs(z) if heights.is_two_sided else z
    entering = np.flatnonzero(sizes > heights.lowest)
    # by height, and of equal heights by place: keys that differ have one order, whatever sorts them
    keys = (sizes[entering].view(np.uint32).astype(np.uint64) << np.uint64(32)) | entering.astype(np.uint64)
    keys.sort()
    order = (keys & np.uint64(0xFFFFFFFF)).astype(np.int32)
    enhanced = np.zeros(z.size, np.float32)
    _grow(
        z, order, geometry.adjacency.indptr, geometry.adjacency.indices, geometry.weights,
        geometry.extent_powers[geometry.part_of], np.full(z.size, -1, np.int32), np.zeros(z.size),
        np.zeros((z.size, 3)), enhanced,
    )  # fmt: skip
    return enhanced


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
    state[root, _SUM] += raised(state[root, _SIZE], power) * (state[root, _LAST] - level) / 3.0
    state[root, _LAST] = level


@written_out()
def _join(one: int, other: int, parent: npt.NDArray[np.int32], delta: Doubles, state: Doubles) -> int:
    """Join two components that have come to the same height, the smaller to the larger; return the root."""
    keep, gone = (other, one) if state[other, _SIZE] >= state[one, _SIZE] else (one, other)
    parent[gone] = keep
    delta[gone] = state[gone, _SUM] - state[keep, _SUM]
    state[keep, _SIZE] += state[gone, _SIZE]
    return keep


@compiled()
def _grow(
    z: npt.NDArray[np.float32], order: npt.NDArray[np.int32], indptr: npt.NDArray[np.int32],
    indices: npt.NDArray[np.int32], weights: Doubles, powers: Doubles, parent: npt.NDArray[np.int32],
    delta: Doubles, state: Doubles, enhanced: npt.NDArray[np.float32],
) -> None:  # fmt: skip
    """Let elements in from the highest down, and fill ``enhanced``.

    ``powers``: of the extent, by element; ``parent``: −1 before an element enters; ``delta``: its own sum
    minus that of the parent.
    """
    for rank in range(order.size - 1, -1, -1):
        here = order[rank]
        height = abs(np.float64(z[here]))
        root = parent[here] = here
        state[here, _SIZE], state[here, _LAST] = weights[here], height * height * height
        for edge in range(indptr[here], indptr[here + 1]):
            there = indices[edge]
            if parent[there] < 0 or (z[there] > 0) != (z[here] > 0):
                continue
            other = _root(there, parent, delta)
            if other != root:
                _lower(state, other, state[root, _LAST], powers[here])
                root = _join(root, other, parent, delta, state)
    for i in order:
        if parent[i] == i:
            _lower(state, i, 0.0, powers[i])
    for i in order:
        total, above = 0.0, i
        while parent[above] != above:
            total += delta[above]
            above = parent[above]
        enhanced[i] = total + state[above, _SUM]
