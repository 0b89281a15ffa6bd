"""Who is next to whom and how much each element counts, whatever a map is made of.

A voxel counts by its volume, a vertex by its area (a third of each triangle that it belongs to), a region
by 1. What lies in different structures never touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from bids_group.elements.analysed import Elements
from bids_group.elements.space import Grid

Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.integer]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyPart:
    """Elements whose cluster sizes are on one scale: their name, unit of extent, and power of it in TFCE."""

    name: str
    unit: str
    extent_power: float


VOLUME = FamilyPart(name="volume", unit="mm3", extent_power=0.5)
SUBCORTEX = FamilyPart(name="subcortex", unit="mm3", extent_power=0.5)
CORTEX = FamilyPart(name="cortex", unit="mm2", extent_power=1.0)
REGIONS = FamilyPart(name="regions", unit="regions", extent_power=0.5)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Geometry:
    """Neighbours and weights of the analysed elements, ``n`` of them.

    ``weights`` ``(n,)``: mm², mm³, or 1; a plain volume has 1, and its sizes are in voxels until they are
    shown. ``part_of`` ``(n,)``: number of the element's part in ``parts``. ``unmeshed`` ``(n,)``: number of
    the structure where neighbours are not known (a surface without a mesh: no edges, weights NaN), else −1.
    ``coordinates`` ``(n, 3)``: in mm, NaN where they are not known; none are kept of a plain volume.
    """

    adjacency: Adjacency
    weights: Doubles
    part_of: npt.NDArray[np.int8]
    parts: tuple[FamilyPart, ...]
    unmeshed: npt.NDArray[np.int16]
    coordinates: Doubles | None = None

    @property
    def extent_powers(self) -> Doubles:
        """Power of the extent in TFCE, of each part."""
        return np.array([one.extent_power for one in self.parts])


def points_of(elements: Elements, geometry: Geometry | None, which: npt.NDArray[np.intp]) -> Doubles:
    """Find elements in mm, ``(n, 3)``; NaN where no surface says where they lie."""
    places = None if geometry is None else geometry.coordinates
    return np.asarray(elements.coordinates_mm(which) if places is None else places[which])


def volume_geometry(elements: Elements, connectivity: Connectivity) -> Geometry:
    """Take a plain volume: one part, in which every voxel counts 1."""
    n = elements.n_elements
    return Geometry(
        adjacency=build_adjacency(elements, connectivity),
        weights=np.ones(n),
        part_of=np.zeros(n, dtype=np.int8),
        parts=(VOLUME,),
        unmeshed=np.full(n, -1, dtype=np.int16),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mesh:
    """A surface: ``points`` ``(n_vertices, 3)`` in mm, ``triangles`` ``(n_triangles, 3)`` vertex numbers."""

    points: Doubles
    triangles: npt.NDArray[np.int32]

    @property
    def n_vertices(self) -> int:
        """Number of vertices, used by triangles or not."""
        return len(self.points)

    def edges(self) -> npt.NDArray[np.int32]:
        """Each edge once, ``(n_edges, 2)``, the lower vertex first, in order."""
        sides = np.concatenate(
            [self.triangles[:, [0, 1]], self.triangles[:, [1, 2]], self.triangles[:, [2, 0]]]
        )
        keys = np.unique(sides.min(axis=1).astype(np.int64) * self.n_vertices + sides.max(axis=1))
        return np.stack([keys // self.n_vertices, keys % self.n_vertices], axis=1).astype(np.int32)

    def areas(self) -> Doubles:
        """Area in mm² of each vertex ``(n_vertices,)``: a third of each triangle that it belongs to."""
        first, second, third = (self.points[self.triangles[:, corner]] for corner in range(3))
        thirds = np.linalg.norm(np.cross(second - first, third - first), axis=1) / 6
        areas = np.bincount(self.triangles.ravel(), np.repeat(thirds, 3), minlength=self.n_vertices)
        return areas.astype(np.float64)  # no vertices: integers


Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """The analysed elements of one structure: neighbours by number within it, each edge in both directions.

    ``is_meshed`` is False where neighbours are not known.
    """

    part: FamilyPart
    weights: Doubles
    pairs: Pairs
    coordinates: Doubles
    is_meshed: bool = True


def mesh_patch(mesh: Mesh, which: Numbers, areas: Doubles | None = None) -> Patch:
    """Cut a mesh to the vertices numbered ``which``: an edge stays where both of its ends do.

    ``areas`` ``(n_vertices,)`` are taken in place of those of the mesh: people's mean.
    """
    place = np.full(mesh.n_vertices, -1, dtype=np.intp)
    place[which] = np.arange(len(which))
    ends = place[mesh.edges()]
    one, other = ends[(ends >= 0).all(axis=1)].T
    return Patch(
        part=CORTEX,
        weights=(mesh.areas() if areas is None else areas)[which],
        pairs=(np.concatenate([one, other]), np.concatenate([other, one])),
        coordinates=mesh.points[which],
    )


def bare_patch(n_elements: int, part: FamilyPart) -> Patch:
    """Take elements of which no place is known: vertices without a mesh, or regions, without neighbours."""
    is_meshed, none = part != CORTEX, np.zeros(0, dtype=np.intp)
    return Patch(
        part=part,
        weights=np.full(n_elements, 1.0 if is_meshed else np.nan),
        pairs=(none, none),
        coordinates=np.full((n_elements, 3), np.nan),
        is_meshed=is_meshed,
    )


def voxel_patch(voxels: Numbers, affine: Doubles, connectivity: Connectivity) -> Patch:
    """Connect the voxels ``(n, 3)`` of one structure, given by their indices in the grid of ``affine``.

    They stand in C order.
    """
    voxels = np.asarray(voxels, dtype=np.intp).reshape(-1, 3)
    x, y, z = (voxels.max(axis=0, initial=0) + 1).tolist()
    grid, which = Grid(shape=(x, y, z), affine=affine), np.arange(len(voxels))
    places = np.asarray(np.ravel_multi_index(tuple(voxels.T), grid.shape))
    elements = Elements(space=grid, indices=places)
    graph = build_adjacency(elements, connectivity)
    return Patch(
        part=SUBCORTEX,
        weights=np.full(len(voxels), grid.element_mm3),
        pairs=(np.repeat(which, np.diff(graph.indptr)), graph.indices.astype(np.intp)),
        coordinates=elements.coordinates_mm(which),
    )


def join_patches(patches: Sequence[Patch]) -> Geometry:
    """Put structures beside each other, in order: no edge leads from one to another."""
    parts = tuple(dict.fromkeys(one.part for one in patches))
    sizes = [one.weights.size for one in patches]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    ones, others = (
        np.concatenate([start + one.pairs[end] for start, one in zip(starts, patches, strict=False)])
        for end in (0, 1)
    )
    counts = np.bincount(ones, minlength=int(starts[-1]))
    unmeshed = [-1 if one.is_meshed else number for number, one in enumerate(patches)]
    return Geometry(
        adjacency=Adjacency(
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            indices=others[np.lexsort((others, ones))].astype(np.int32),
        ),
        weights=np.concatenate([one.weights for one in patches]),
        part_of=np.repeat([parts.index(one.part) for one in patches], sizes).astype(np.int8),
        parts=parts,
        unmeshed=np.repeat(unmeshed, sizes).astype(np.int16),
        coordinates=np.concatenate([one.coordinates for one in patches]),
    )
