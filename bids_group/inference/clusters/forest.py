"""Cluster size, mass and threshold-free enhancement (TFCE) in one pass from the highest element down.

Elements enter in descending order of |z|; each joins the components of its neighbours of the same sign that
are already in (a union-find forest). Between two entries the extent of a component is constant, so the
integral of Smith & Nichols (2009), ``∫ √extent(h) · h² dh``, is a finite sum of exact pieces ``√extent ·
(h₂³ − h₁³) / 3``. `scipy.ndimage.label` takes 16 ms where this takes 0.2 (200,000 voxels,
z above 3.1), as it looks at every voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import numpy.typing as npt

from bids_group.elements.adjacency import Adjacency

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
    """What a pass looks at: both signs or positive ones, the cluster-forming z, and how deep it goes."""

    threshold: float
    is_two_sided: bool
    has_tfce: bool

    @property
    def lowest(self) -> float:
        """Elements at or below this height never enter."""
        return 0.0 if self.has_tfce else self.threshold


def cluster_maxima(
    z: npt.NDArray[np.float32], heights: Heights, adjacency: Adjacency, workspace: Workspace
) -> tuple[float, float, float]:
    """Largest cluster size (elements), mass and TFCE of a map; 0 where there is none.

    ``z`` ``(n_elements,)`` must be finite; clusters consist of elements above ``heights.threshold``.
    """
    return _descend(z, heights, adjacency, workspace, np.empty(0, np.float32))


def tfce_map(z: npt.NDArray[np.float32], heights: Heights, adjacency: Adjacency) -> npt.NDArray[np.float32]:
    """Enhanced map: positive everywhere, of both signs when two-sided; 0 where nothing entered."""
    enhanced = np.zeros(z.size, np.float32)
    _descend(z, heights, adjacency, Workspace(z.size), enhanced)
    return enhanced


def _descend(
    z: npt.NDArray[np.float32],
    heights: Heights,
    adjacency: Adjacency,
    work: Workspace,
    enhanced: npt.NDArray[np.float32],
) -> tuple[float, float, float]:
    sizes = np.abs(z) if heights.is_two_sided else z
    entering = np.flatnonzero(sizes > heights.lowest)
    order = entering[np.argsort(sizes[entering], kind="stable")]  # ascending, equal heights by place
    found: tuple[float, float, float] = _grow(
        z, order, heights.threshold, adjacency.indptr, adjacency.indices, work.parent, work.delta,
        work.state, enhanced,
    )  # fmt: skip
    return found


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _root(i: int, parent: npt.NDArray[np.int32], delta: npt.NDArray[np.float64]) -> int:
    """Find the root of an element, halving the path; the root's own delta is 0."""
    while parent[i] != i:
        above = parent[i]
        delta[i] += delta[above]
        parent[i] = parent[above]
        i = parent[i]
    return i


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _lower(state: npt.NDArray[np.float64], root: int, level: float) -> None:
    """Add the piece of the integral from a component's last height to ``level`` (both as height³)."""
    piece = np.sqrt(state[root, _SIZE]) * (state[root, _LAST] - level) / 3.0
    state[root, _SUM] += piece
    state[root, _BEST] += piece
    state[root, _LAST] = level


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _join(
    one: int, other: int, parent: npt.NDArray[np.int32], delta: npt.NDArray[np.float64],
    state: npt.NDArray[np.float64],
) -> int:  # fmt: skip
    """Join two components that have come to the same height, the smaller to the larger; return the root."""
    keep, gone = (other, one) if state[other, _SIZE] >= state[one, _SIZE] else (one, other)
    parent[gone] = keep
    delta[gone] = state[gone, _SUM] - state[keep, _SUM]
    state[keep, _SIZE] += state[gone, _SIZE]
    state[keep, _MASS] += state[gone, _MASS]
    state[keep, _BEST] = max(state[keep, _BEST], state[gone, _BEST])
    return keep


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _grow(
    z: npt.NDArray[np.float32], order: npt.NDArray[np.intp], threshold: float,
    indptr: npt.NDArray[np.int32], indices: npt.NDArray[np.int32], parent: npt.NDArray[np.int32],
    delta: npt.NDArray[np.float64], state: npt.NDArray[np.float64], enhanced: npt.NDArray[np.float32],
) -> tuple[float, float, float]:  # fmt: skip
    """Let elements in from the highest down; return the largest size, mass and TFCE."""
    parent[:] = -1
    most_size, most_mass, most_tfce = 0.0, 0.0, 0.0
    for rank in range(order.size - 1, -1, -1):
        here = order[rank]
        height = abs(np.float64(z[here]))
        is_positive = z[here] > 0
        level = height * height * height
        is_above = height > threshold
        root = here
        parent[here] = here
        delta[here] = 0.0
        state[here, _SIZE] = 1.0
        state[here, _MASS] = height - threshold if is_above else 0.0
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
            _lower(state, other, level)
            root = _join(root, other, parent, delta, state)
        if is_above:
            most_size = max(most_size, state[root, _SIZE])
            most_mass = max(most_mass, state[root, _MASS])
    for i in order:
        if parent[i] == i:
            _lower(state, i, 0.0)
            most_tfce = max(most_tfce, state[i, _BEST])
    if enhanced.size > 0:
        for i in order:
            total, above = 0.0, i
            while parent[above] != above:
                total += delta[above]
                above = parent[above]
            enhanced[i] = total + state[above, _SUM]
    return most_size, most_mass, most_tfce
