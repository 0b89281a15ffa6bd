"""Grids, elements and who is next to whom."""

from itertools import product

import numpy as np
import pytest

from bids_group.elements import Elements, Grid, build_adjacency

AFFINE = np.array([[-2.0, 0.1, 0, 90], [0.1, 3, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
GRID = Grid(shape=(5, 4, 6), affine=AFFINE)


@pytest.fixture
def elements():
    return Elements.from_mask(GRID, np.random.default_rng(0).random(GRID.shape) < 0.6)


@pytest.mark.parametrize(("connectivity", "most_steps"), [(6, 1), (18, 2), (26, 3)])
def test_neighbours_are_those_found_by_comparing_all_pairs(elements, connectivity, most_steps):
    graph = build_adjacency(elements, connectivity)
    voxels = np.argwhere(elements.mask)
    for number, voxel in enumerate(voxels):
        steps = np.abs(voxels - voxel)
        near = (steps.max(axis=1) == 1) & (steps.sum(axis=1) <= most_steps)
        found = graph.indices[graph.indptr[number] : graph.indptr[number + 1]]
        np.testing.assert_array_equal(found, np.flatnonzero(near))


def test_opposite_faces_of_the_grid_are_not_neighbours():
    mask = np.zeros(GRID.shape, dtype=bool)
    for corner in product((0, -1), repeat=3):
        mask[corner] = True
    graph = build_adjacency(Elements.from_mask(GRID, mask), 26)
    assert graph.indices.size == 0


def test_packing_and_unpacking_are_inverse(elements):
    volume = np.random.default_rng(1).normal(size=GRID.shape).astype(np.float32)
    row = elements.pack(volume)
    np.testing.assert_array_equal(row, volume[elements.mask])
    np.testing.assert_array_equal(elements.unpack(row, fill=-1), np.where(elements.mask, volume, -1))


def test_coordinates_are_the_affine_of_the_voxels(elements):
    which = np.array([0, 5, 17])
    voxels = np.argwhere(elements.mask)[which]
    expected = np.column_stack([voxels, np.ones(3)]) @ AFFINE[:3].T
    np.testing.assert_allclose(elements.coordinates_mm(which), expected)


def test_sizes_follow_from_the_affine():
    grid = Grid(shape=(2, 2, 2), affine=np.diag([-2.0, 3, 4, 1]))
    assert grid.element_mm3 == pytest.approx(24)
    assert grid.element_sizes_mm == (2, 3, 4)


def test_grids_are_the_same_up_to_a_thousandth_of_a_millimetre():
    assert GRID.is_same(Grid(shape=GRID.shape, affine=AFFINE + 5e-4))
    assert not GRID.is_same(Grid(shape=GRID.shape, affine=AFFINE + 5e-3))
    assert not GRID.is_same(Grid(shape=(5, 4, 7), affine=AFFINE))
