"""Areas and neighbours of meshes, and structures beside each other."""

import numpy as np
import pytest

from bids_group.elements import (
    CORTEX,
    REGIONS,
    SUBCORTEX,
    Elements,
    Grid,
    bare_patch,
    build_adjacency,
    join_patches,
    mesh_patch,
    voxel_patch,
)

AFFINE = np.array([[-2.0, 0.1, 0, 90], [0.1, 3, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])


def neighbours(geometry, number):
    graph = geometry.adjacency
    return graph.indices[graph.indptr[number] : graph.indptr[number + 1]].tolist()


def test_areas_of_a_sphere_come_ever_closer_to_those_of_the_ball(make_sphere):
    gaps = []
    for order in (2, 3, 4):
        mesh = make_sphere(order, radius=10.0)
        assert mesh.n_vertices == 10 * 4**order + 2
        gaps.append(1 - mesh.areas().sum() / (4 * np.pi * 100))
    assert 0 < gaps[2] < 0.002
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 4, rtol=0.05)  # of the second order


def test_the_area_of_a_vertex_is_a_third_of_its_triangles(make_sphere):
    mesh = make_sphere(1, bumps=9.0)
    expected = np.zeros(mesh.n_vertices)
    for triangle in mesh.triangles:
        a, b, c = mesh.points[triangle]
        first, second, third = np.linalg.norm([a - b, b - c, c - a], axis=1)
        half = (first + second + third) / 2  # Heron
        expected[triangle] += np.sqrt(half * (half - first) * (half - second) * (half - third)) / 3
    np.testing.assert_allclose(mesh.areas(), expected, rtol=1e-10)


def test_neighbours_are_ends_of_sides_of_triangles_that_are_both_analysed(make_sphere):
    mesh, random = make_sphere(2), np.random.default_rng(3)
    which = np.flatnonzero(random.random(mesh.n_vertices) < 0.7)
    geometry = join_patches([mesh_patch(mesh, which)])
    sides = {frozenset((i, j)) for triangle in mesh.triangles for i in triangle for j in triangle if i != j}
    for number, vertex in enumerate(which):
        expected = [place for place, other in enumerate(which) if frozenset((vertex, other)) in sides]
        assert neighbours(geometry, number) == expected
    np.testing.assert_allclose(geometry.weights, mesh.areas()[which])
    np.testing.assert_array_equal(geometry.coordinates, mesh.points[which])


def test_areas_of_people_take_the_place_of_those_of_the_mesh(make_sphere):
    mesh = make_sphere(1)
    areas = np.random.default_rng(0).random(mesh.n_vertices)
    which = np.array([3, 7, 20])
    np.testing.assert_array_equal(mesh_patch(mesh, which, areas).weights, areas[which])


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_voxels_of_a_structure_have_the_neighbours_that_they_have_in_a_volume(connectivity):
    mask = np.random.default_rng(0).random((7, 6, 5)) < 0.5
    elements = Elements.from_mask(Grid(shape=mask.shape, affine=AFFINE), mask)
    geometry = join_patches([voxel_patch(np.argwhere(mask), AFFINE, connectivity)])
    expected = build_adjacency(elements, connectivity)
    np.testing.assert_array_equal(geometry.adjacency.indptr, expected.indptr)
    np.testing.assert_array_equal(geometry.adjacency.indices, expected.indices)
    assert geometry.weights == pytest.approx(np.full(mask.sum(), abs(np.linalg.det(AFFINE[:3, :3]))))
    np.testing.assert_allclose(geometry.coordinates, elements.coordinates_mm(np.arange(mask.sum())))


def test_structures_that_touch_are_no_neighbours(make_sphere):
    mesh, box = make_sphere(0), np.argwhere(np.ones((2, 2, 2), bool))
    left, right = (mesh_patch(mesh, np.arange(12)) for _ in range(2))
    low, high = (voxel_patch(box + np.array([shift, 0, 0]), AFFINE, 26) for shift in (0, 2))
    geometry = join_patches([left, right, low, high])
    assert geometry.parts == (CORTEX, SUBCORTEX)
    assert geometry.part_of.tolist() == [0] * 24 + [1] * 16
    assert neighbours(geometry, 24) == list(range(25, 32))
    assert neighbours(geometry, 31) == list(range(24, 31))
    assert neighbours(geometry, 12) == [12 + one for one in neighbours(geometry, 0)]
    assert (geometry.unmeshed < 0).all()
    assert geometry.extent_powers.tolist() == [1.0, 0.5]


def test_without_a_mesh_areas_neighbours_and_places_are_not_known():
    geometry = join_patches([bare_patch(3, CORTEX), voxel_patch(np.zeros((1, 3)), AFFINE, 6)])
    assert (geometry.unmeshed >= 0).any()
    assert geometry.unmeshed.tolist() == [0, 0, 0, -1]
    assert np.isnan(geometry.weights).tolist() == [True, True, True, False]
    regions = join_patches([bare_patch(4, REGIONS)])
    assert (regions.unmeshed < 0).all()
    assert regions.weights.tolist() == [1, 1, 1, 1]
    assert regions.adjacency.indices.size == 0


def test_a_structure_may_be_empty(make_sphere):
    none = voxel_patch(np.zeros((0, 3), int), AFFINE, 6)
    geometry = join_patches([mesh_patch(make_sphere(0), np.arange(0)), none, bare_patch(2, REGIONS)])
    assert geometry.weights.size == 2
