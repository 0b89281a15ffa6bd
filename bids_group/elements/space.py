"""Spaces: what the elements of a map are (voxels, vertices, regions), in a fixed order.

A plain volume is a `Grid`, whose maps are arrays of three axes. Anything else are `Structures`: parts one
behind the other, whose maps are rows ``(n_elements,)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bids_group.errors import BidsGroupError
from bids_group.words import counted, list_some

Places = npt.NDArray[np.intp]
Form = Literal["volume", "gifti", "dscalar", "pscalar", "table"]
"""What the files of a space are: volumes, GIFTI by hemisphere, CIFTI of elements or parcels, a table."""

HEMISPHERES = {"CORTEX_LEFT": "L", "CORTEX_RIGHT": "R"}
BY_LETTER = {letter: structure for structure, letter in HEMISPHERES.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Voxels:
    """Voxels of a ``grid``: ``indices`` are flat C-order positions in it, ascending, ``(n,)``.

    ``structure`` as CIFTI names it (``THALAMUS_LEFT``); None in a plain volume.
    """

    grid: Grid
    indices: Places
    structure: str | None = None

    @property
    def n_elements(self) -> int:
        """Number of voxels."""
        return int(self.indices.size)

    def describe(self) -> str:
        """Say how many voxels there are, and their size."""
        sizes = " × ".join(f"{size:.4g}" for size in self.grid.element_sizes_mm)
        return f"{self.structure}: {counted(self.n_elements, 'voxel')} of {sizes} mm"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vertices:
    """Vertices of a mesh of ``n_vertices``: ``indices`` are their numbers in it, ascending, ``(n,)``.

    ``structure`` as CIFTI names it: ``CORTEX_LEFT``, ``CORTEX_RIGHT``.
    """

    structure: str
    n_vertices: int
    indices: Places

    @property
    def n_elements(self) -> int:
        """Number of vertices in this space; the whole mesh may have more."""
        return int(self.indices.size)

    @property
    def hemi(self) -> str | None:
        """``L`` or ``R``; None of a structure that is no half of the cortex."""
        return HEMISPHERES.get(self.structure)

    def describe(self) -> str:
        """Say how many vertices there are here and in the whole mesh."""
        return f"{self.structure}: {self.n_elements} of {counted(self.n_vertices, 'vertex', 'vertices')}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parcels:
    """Regions, known by their names, in the order of the first file.

    ``axis``: nibabel's ``ParcelsAxis`` with the voxels and vertices of each region, which writing needs.
    """

    names: tuple[str, ...]
    structure: str | None = None
    axis: Any = None

    @property
    def n_elements(self) -> int:
        """Number of regions."""
        return len(self.names)

    def describe(self) -> str:
        """Say how many regions there are, and name the first."""
        return f"{counted(self.n_elements, 'region')} ({list_some(self.names, 3)})"


Part = Voxels | Vertices | Parcels


class Space:
    """What the elements of a map are: a `Grid`, or `Structures`. Parts come in a fixed order."""

    __slots__ = ()

    @property
    def form(self) -> Form:
        """Format of the files of its maps."""
        return "volume"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts, whose elements stand one behind the other."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the arrays of numbers: three axes of a volume, else ``(n_elements,)``."""
        return (self.n_elements,)

    @property
    def n_elements(self) -> int:
        """Number of elements of all parts."""
        return sum(part.n_elements for part in self.parts)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where the elements of each part stand in a row over all."""
        ends = np.cumsum([0, *(part.n_elements for part in self.parts)]).tolist()
        return tuple(map(slice, ends[:-1], ends[1:]))

    @property
    def grid(self) -> Grid:
        """Grid of a plain volume; to ask any other space for it is a bug."""
        raise BidsGroupError("What needs a grid of voxels was asked of other elements.")

    def is_same(self, other: Space) -> bool:
        """Whether the elements are the same, in the same order."""
        raise NotImplementedError

    def describe(self) -> str:
        """Say in words what the elements are."""
        raise NotImplementedError

    def restrict(self, is_kept: npt.NDArray[np.bool_]) -> Structures:
        """Keep the elements where ``is_kept`` ``(n_elements,)`` holds; parts stay, even if left empty."""
        flat = is_kept.reshape(-1)
        cut = zip(self.parts, self.slices, strict=True)
        return Structures(parts=tuple(_cut(part, flat[own]) for part, own in cut), form=self.form)


_SMALLEST_MM, _LARGEST_MM, _LEAST_VOLUME = 1e-9, 1e9, 1e-6
"""Of a voxel: its edges, and its volume as a share of that of a box with these edges."""


@lru_cache(maxsize=1000)
def _is_sound(affine: bytes) -> bool:
    """Judge an affine (float64), once for the many maps of a dataset that have it."""
    matrix = np.frombuffer(affine).reshape(4, 4)
    edges = matrix[:3, :3]
    with np.errstate(all="ignore"):
        sizes = np.linalg.norm(edges, axis=0)
        is_possible = (sizes > _SMALLEST_MM).all() and (sizes < _LARGEST_MM).all()
        if not (np.isfinite(matrix).all() and is_possible):
            return False
        return bool(abs(np.linalg.det(edges / sizes)) > _LEAST_VOLUME)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid(Space):
    """A voxel grid: ``shape`` (3 ints) and ``affine`` (4 × 4, voxel indices to mm)."""

    shape: tuple[int, int, int] = field()  # no default: not the property that it overrides
    affine: npt.NDArray[np.float64]

    @property
    def grid(self) -> Grid:
        """The grid itself."""
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """All voxels, in C order."""
        return (Voxels(grid=self, indices=np.arange(self.n_elements)),)

    @property
    def n_elements(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    @property
    def element_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def element_sizes_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def is_sound(self) -> bool:
        """Whether the affine is finite, has an inverse, and gives voxels of a possible size."""
        return _is_sound(self.affine.tobytes())

    def is_same(self, other: Space) -> bool:
        """Whether shape is equal and affine equal to 1e-3 mm (writers round differently)."""
        if self is other:  # which headers of equal bytes share
            return True
        if not isinstance(other, Grid) or self.shape != other.shape:
            return False
        return bool(np.allclose(self.affine, other.affine, rtol=0, atol=1e-3))

    def describe(self) -> str:
        """Shape, voxel size and origin in words."""
        sizes = " × ".join(f"{size:.4g}" for size in self.element_sizes_mm)
        origin = ", ".join(f"{value:.4g}" for value in self.affine[:3, 3])
        return f"{' × '.join(map(str, self.shape))} voxels of {sizes} mm, origin ({origin})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structures(Space):
    """Parts one behind the other: hemispheres first, then by name. ``form``: what their files are."""

    parts: tuple[Part, ...] = field()
    form: Form = field()

    def is_same(self, other: Space) -> bool:
        """Whether parts are of the same meshes, grids and names, with the same elements in the same order."""
        if self is other:
            return True
        if not isinstance(other, Structures) or len(self.parts) != len(other.parts):
            return False
        pairs = list(zip(self.parts, other.parts, strict=True))
        return all(fits(one, two) and _has_same_elements(one, two) for one, two in pairs)

    def describe(self) -> str:
        """List the parts."""
        return list_some((part.describe() for part in self.parts), 4)


def fits(one: Part, two: Part) -> bool:
    """Whether two parts are of one structure and one mesh (or grid), whichever elements of it they have."""
    if type(one) is not type(two) or one.structure != two.structure:
        return False
    if isinstance(one, Vertices) and isinstance(two, Vertices):
        return one.n_vertices == two.n_vertices
    return not (isinstance(one, Voxels) and isinstance(two, Voxels)) or one.grid.is_same(two.grid)


def structures(parts: Iterable[Part], form: Form) -> Structures:
    """Put parts into their fixed order: hemispheres (left, right), then by name."""
    order = [*HEMISPHERES]

    def place(part: Part) -> tuple[int, str]:
        name = part.structure or ""
        return (order.index(name) if name in order else len(order), name)

    return Structures(parts=tuple(sorted(parts, key=place)), form=form)


def join(spaces: Sequence[Space]) -> Space:
    """Unite spaces of the same structures (`fits`): every element that at least one of them has.

    Vertices and voxels in ascending order of their numbers, regions in the order in which they come.
    """
    first, *others = spaces
    if all(first.is_same(other) for other in others):
        return first
    assert isinstance(first, Structures)
    joined: list[Part] = []
    for at, part in enumerate(first.parts):
        those = [one.parts[at] for one in spaces]
        if isinstance(part, Parcels):
            names = dict.fromkeys(name for one in those if isinstance(one, Parcels) for name in one.names)
            joined.append(replace(part, names=tuple(names), axis=_join_axes(those)))
        else:
            numbers = [one.indices for one in those if not isinstance(one, Parcels)]
            joined.append(replace(part, indices=np.unique(np.concatenate(numbers))))
    return Structures(parts=tuple(joined), form=first.form)


def align(values: npt.NDArray[Any], own: Space, target: Space, fill: Any) -> npt.NDArray[Any]:
    """Bring numbers from the order of one space into that of another of the same structures.

    Elements are matched by structure and number (or name), never by their place in a file. What the target
    lacks is left out; ``fill`` stands where ``own`` lacks an element of the target.
    """
    if own is target or own.is_same(target):
        return values
    aligned = np.full((target.n_elements, *values.shape[1:]), fill, dtype=values.dtype)
    those = {part.structure: (part, place) for part, place in zip(own.parts, own.slices, strict=True)}
    for part, there in zip(target.parts, target.slices, strict=True):
        if part.structure in those:
            one, here = those[part.structure]
            places = _places(one, part)
            has = places >= 0
            aligned[there][has] = values[here][places[has]]
    return aligned


def select(space: Space, names: Sequence[str]) -> Space:
    """Keep the structures of some names, all where none is given; a plain volume has none to choose from."""
    if not names or not isinstance(space, Structures):
        return space
    return replace(space, parts=tuple(part for part in space.parts if part.structure in names))


def name_elements(space: Space) -> str:
    """Name what a space is made of: ``voxels``, ``vertices``, ``regions``, or both in ``grayordinates``."""
    if isinstance(space, Grid):
        return "voxels"
    kinds = {type(part) for part in space.parts}
    return "regions" if kinds == {Parcels} else "vertices" if kinds == {Vertices} else "grayordinates"


def _places(own: Part, target: Part) -> Places:
    """Position in ``own`` of each element of ``target``; −1 where ``own`` lacks it."""
    if isinstance(own, Parcels) and isinstance(target, Parcels):
        known = {name: place for place, name in enumerate(own.names)}
        return np.array([known.get(name, -1) for name in target.names], dtype=np.intp)
    assert not isinstance(own, Parcels)
    assert not isinstance(target, Parcels)
    if own.n_elements == 0:
        return np.full(target.n_elements, -1, dtype=np.intp)
    places = np.minimum(np.searchsorted(own.indices, target.indices), own.n_elements - 1)
    return np.where(own.indices[places] == target.indices, places, -1)


def _has_same_elements(one: Part, other: Part) -> bool:
    if isinstance(one, Parcels) and isinstance(other, Parcels):
        return one.names == other.names
    assert not isinstance(one, Parcels)
    assert not isinstance(other, Parcels)
    return one.indices is other.indices or np.array_equal(one.indices, other.indices)


def _join_axes(those: Sequence[Part]) -> Any:
    """Join nibabel's axes of regions, each region once; None where no part has one."""
    axes = {part.names: part.axis for part in those if isinstance(part, Parcels) and part.axis is not None}
    if not axes:
        return None
    first, *others = axes.values()
    known = set(first.name)
    for axis in others:
        new = [at for at, name in enumerate(axis.name) if name not in known]
        first = first + axis[new] if new else first
        known |= {axis.name[at] for at in new}
    return first


def _cut(part: Part, is_kept: npt.NDArray[np.bool_]) -> Part:
    """Keep some elements of a part."""
    if isinstance(part, Parcels):
        names = tuple(name for name, kept in zip(part.names, is_kept, strict=True) if kept)
        return replace(part, names=names, axis=None if part.axis is None else part.axis[is_kept])
    return replace(part, indices=part.indices[is_kept])
