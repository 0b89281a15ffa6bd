"""Who is next to whom: the neighbours of every analysed element, as a graph."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from bids_group.elements.analysed import Elements

Connectivity = Literal[6, 18, 26]

MAX_STEPS = {6: 1, 18: 2, 26: 3}
"""Steps along the axes that lead to a neighbour, at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adjacency:
    """Neighbours in compressed rows: those of element i are ``indices[indptr[i]:indptr[i + 1]]``.

    ``indptr`` int32 ``(n_elements + 1,)``; ``indices`` int32, ascending within a row; every edge stands
    twice. ``elements``, ``connectivity``: the voxels whose graph this is; None for graphs that are no grid.
    """

    indptr: npt.NDArray[np.int32]
    indices: npt.NDArray[np.int32]
    elements: Elements | None = None
    connectivity: Connectivity | None = None


def build_adjacency(elements: Elements, connectivity: Connectivity) -> Adjacency:
    """Connect voxels that share a face (6), also an edge (18), also a corner (26)."""
    padded = np.pad(elements.mask, 1)
    places = np.flatnonzero(padded)
    number_at = np.full(padded.size, -1, dtype=np.int32)
    number_at[places] = np.arange(elements.n_elements, dtype=np.int32)
    strides = (padded.shape[1] * padded.shape[2], padded.shape[2], 1)
    steps = sorted(  # between flat positions
        int(np.dot(offset, strides))
        for offset in product((-1, 0, 1), repeat=3)
        if 0 < sum(map(abs, offset)) <= MAX_STEPS[connectivity]
    )
    neighbours = np.empty((elements.n_elements, len(steps)), dtype=np.int32)
    for column, step in enumerate(steps):
        neighbours[:, column] = number_at[places + step]
    is_neighbour = neighbours >= 0
    indptr = np.zeros(elements.n_elements + 1, dtype=np.int32)
    np.cumsum(is_neighbour.sum(axis=1), out=indptr[1:])
    return Adjacency(
        indptr=indptr, indices=neighbours[is_neighbour], elements=elements, connectivity=connectivity
    )
