"""Smoothing along surfaces and within structures."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from bids_group.elements import Grid, Mesh, Smoother, Structures, StructureSmoother, Vertices, Voxels
from bids_group.elements.geodesic import geodesic_weights
from bids_group.elements.smoothing import SD_PER_FWHM
from bids_group.elements.surfaces import mean_surface, template_surface

FWHM = 12.0


def sphere_space(mesh, which):
    return Structures(
        parts=(Vertices(structure="CORTEX_LEFT", n_vertices=mesh.n_vertices, indices=which),), form="gifti"
    )


def test_a_constant_stays_and_nan_stays_where_it_is(make_sphere):
    mesh = make_sphere(3, bumps=6)
    which = np.arange(40, mesh.n_vertices)
    smoother = StructureSmoother(sphere_space(mesh, which), {"CORTEX_LEFT": template_surface(mesh)}, FWHM)
    row = np.full(which.size, 3.5, np.float32)
    row[::7] = np.nan
    smoothed = smoother.smooth(row)
    np.testing.assert_array_equal(np.isnan(smoothed), np.isnan(row))
    np.testing.assert_allclose(smoothed[np.isfinite(row)], 3.5, rtol=1e-6)


def test_what_is_not_observed_does_not_count(make_sphere):
    """The smoother's weights are taken anew for each map, and the same whatever map came before."""
    mesh = make_sphere(3, bumps=6)
    which = np.arange(mesh.n_vertices)
    surfaces = {"CORTEX_LEFT": template_surface(mesh)}
    smoother = StructureSmoother(sphere_space(mesh, which), surfaces, FWHM)
    random = np.random.default_rng(0)
    row = random.normal(size=which.size).astype(np.float32)
    holed = row.copy()
    holed[random.random(which.size) < 0.3] = np.nan
    seen = np.isfinite(holed)
    alone = StructureSmoother(sphere_space(mesh, which[seen]), surfaces, FWHM).smooth(row[seen])
    for one in (row, holed, row, holed):
        last = smoother.smooth(one)
    np.testing.assert_array_equal(last[seen], alone)


def test_weights_are_those_of_the_formula_over_shortest_ways(make_sphere):
    """Ways along sides and across two triangles that share one, each found here by minimising."""
    mesh = make_sphere(1, radius=20.0, bumps=4)
    sd = 6.0
    n = mesh.n_vertices
    steps = np.full((n, n), np.inf)
    faces = [set(map(int, one)) for one in mesh.triangles]
    for face in faces:
        for i in face:
            for j in face - {i}:
                steps[i, j] = np.linalg.norm(mesh.points[i] - mesh.points[j])
    for one in faces:
        for other in faces:
            common = one & other
            if len(common) == 2:
                (i,), (j,) = one - common, other - common
                a, b = (mesh.points[corner] for corner in common)
                on_side = a + np.linspace(0, 1, 100_001)[:, None] * (b - a)
                bends = np.linalg.norm(on_side - mesh.points[i], axis=1)
                bends += np.linalg.norm(on_side - mesh.points[j], axis=1)
                if 0 < bends.argmin() < 100_000:  # else the way leads over a corner, along two sides
                    steps[i, j] = min(steps[i, j], bends.min())
    distance = dijkstra(csr_array(np.where(np.isfinite(steps), steps, 0)))
    gaussian = np.where(distance <= 3 * sd, np.exp(-0.5 * (distance / sd) ** 2), 0)
    expected = gaussian * (mesh.areas() / (gaussian @ mesh.areas()))
    np.testing.assert_allclose(geodesic_weights(mesh, sd).toarray(), expected, rtol=1e-6, atol=1e-12)


def test_the_width_is_the_one_asked_for(make_sphere):
    """On a sphere the mean squared distance of the weights is 2 SD², but for the cut and curvature."""
    mesh = make_sphere(4, radius=100.0)
    sd = 12.0 * SD_PER_FWHM
    weights = geodesic_weights(mesh, sd)
    row = weights[[500]].toarray()[0]
    cosine = mesh.points @ mesh.points[500] / 100.0**2
    squared = (100.0 * np.arccos(np.clip(cosine, -1, 1))) ** 2
    cut = 1 - 4.5 * np.exp(-4.5) / (1 - np.exp(-4.5))
    assert (row * squared).sum() / row.sum() == pytest.approx(2 * sd**2 * cut, rel=0.05)


def test_people_s_areas_weigh_and_stretch_the_mean_mesh(make_sphere):
    mesh = make_sphere(3, radius=20.0)
    folded = Mesh(points=mesh.points * 1.5, triangles=mesh.triangles)
    people = mean_surface([folded, folded], [])
    assert people.n_people == 2
    np.testing.assert_allclose(people.areas, 2.25 * mesh.areas())
    over_template = mean_surface([folded, folded], [], template_surface(mesh))
    np.testing.assert_array_equal(over_template.mesh.points, mesh.points)
    stretched = geodesic_weights(over_template.mesh, 6.0, over_template.areas)
    np.testing.assert_allclose(stretched.toarray(), geodesic_weights(folded, 6.0).toarray(), atol=1e-12)


def test_voxels_are_smoothed_within_their_structure_as_in_a_volume_of_it_alone():
    grid = Grid(shape=(20, 18, 16), affine=np.diag([-2.0, 2, 3, 1]))
    mask = np.zeros((2, *grid.shape), bool)
    mask[0, 4:9, 5:11, 6:10] = True
    mask[1, 9:13, 5:11, 6:10] = True  # they touch
    parts = tuple(
        Voxels(grid=grid, indices=np.flatnonzero(one), structure=name)
        for one, name in zip(mask, ("CAUDATE_LEFT", "PUTAMEN_LEFT"), strict=True)
    )
    space = Structures(parts=parts, form="dscalar")
    row = np.random.default_rng(0).normal(size=space.n_elements).astype(np.float32)
    row[5] = np.nan
    smoothed = StructureSmoother(space, {}, 6.0).smooth(row)
    for part, place in zip(parts, space.slices, strict=True):
        volume = np.full(grid.n_elements, np.nan, np.float32)
        volume[part.indices] = row[place]
        expected = Smoother(grid, 6.0).smooth(volume.reshape(grid.shape)).reshape(-1)[part.indices]
        np.testing.assert_array_equal(smoothed[place], expected)
