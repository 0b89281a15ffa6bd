"""Surfaces that belong to maps, with the areas of people, and the geometry of elements that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_group.elements.analysed import Elements
from bids_group.elements.geometry import (
    CORTEX,
    REGIONS,
    Connectivity,
    Doubles,
    Geometry,
    Mesh,
    Patch,
    bare_patch,
    join_patches,
    mesh_patch,
    voxel_patch,
)
from bids_group.elements.space import Grid, Part, Space, Vertices, Voxels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """The surface of one structure: a mesh, and the area of each vertex ``(n_vertices,)`` in mm².

    ``n_people``: whose mean the areas are; 0 where they are those of the mesh, a template's.
    ``sources``: the files; none of a template that comes with nilearn.
    """

    mesh: Mesh
    areas: Doubles
    n_people: int = 0
    sources: tuple[Path, ...] = ()


Surfaces = Mapping[str, Surface]
"""By structure, as CIFTI names it: ``CORTEX_LEFT``."""


def template_surface(mesh: Mesh, source: Path | None = None) -> Surface:
    """Take a mesh with its own areas."""
    return Surface(mesh=mesh, areas=mesh.areas(), sources=() if source is None else (source,))


def mean_surface(meshes: Sequence[Mesh], sources: Sequence[Path], template: Surface | None = None) -> Surface:
    """Average people's areas, over the mesh of a template or, without one, over their mean mesh.

    The meshes have the same vertices and triangles. Areas are averaged as such: a mean mesh is smoother than
    that of any person, so that its own areas are too small.
    """
    mesh = template.mesh if template is not None else None
    if mesh is None:
        points = np.mean([one.points for one in meshes], axis=0)
        mesh = Mesh(points=points, triangles=meshes[0].triangles)
    areas = np.mean([one.areas() for one in meshes], axis=0)
    own = () if template is None else template.sources
    return Surface(mesh=mesh, areas=areas, n_people=len(meshes), sources=(*own, *sources))


def build_geometry(elements: Elements, surfaces: Surfaces, connectivity: Connectivity) -> Geometry | None:
    """Say who is next to whom among the analysed elements, by part; None of a plain volume."""
    if isinstance(elements.space, Grid):
        return None
    return join_patches([_patch(part, surfaces, connectivity) for part in elements.parts])


def _patch(part: Part, surfaces: Surfaces, connectivity: Connectivity) -> Patch:
    """Find neighbours and weights of the elements of one structure."""
    if isinstance(part, Voxels):
        voxels = np.column_stack(np.unravel_index(part.indices, part.grid.shape))
        return voxel_patch(voxels, part.grid.affine, connectivity)
    if isinstance(part, Vertices):
        surface = surfaces.get(part.structure)
        if surface is None:
            return bare_patch(part.n_elements, CORTEX)
        return mesh_patch(surface.mesh, part.indices, surface.areas)
    return bare_patch(part.n_elements, REGIONS)


def without_surface(space: Space, surfaces: Surfaces) -> tuple[str, ...]:
    """Name the structures of vertices that have no surface."""
    return tuple(
        one.structure for one in space.parts if isinstance(one, Vertices) and one.structure not in surfaces
    )
