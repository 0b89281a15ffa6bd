from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import generate_binary_structure, label

from bids_group.elements import Elements, Grid
from bids_group.elements.geometry import volume_geometry
from bids_group.inference.clusters.basins import BasinWorkspace, basin_maxima
from bids_group.inference.clusters.clusters_and_peaks import find_clusters
from bids_group.inference.clusters.forest import Heights, tfce_map

RANKS = {6: 1, 18: 2, 26: 3}
BOTH = Heights(threshold=2.0, is_two_sided=True, has_tfce=True)


@pytest.fixture
def elements():
    mask = np.random.default_rng(5).random((12, 10, 9)) < 0.85
    return Elements.from_mask(Grid(shape=(12, 10, 9), affine=np.eye(4)), mask)


@pytest.fixture
def z(elements, make_maps):
    return elements.pack(3 * make_maps(1, (12, 10, 9), 7)[0].reshape(12, 10, 9))


def stepwise_tfce(z, elements, connectivity, n_steps, e=0.5, h=2.0):
    """The integral as a sum over thin slices of both signs."""
    total, step = np.zeros(z.size), np.abs(z).max() / n_steps
    structure = generate_binary_structure(3, RANKS[connectivity])
    for sign in (1, -1):
        volume = elements.unpack(z * sign)
        for slice_number in range(n_steps):
            height = (slice_number + 0.5) * step
            numbers, _ = label(volume > height, structure)
            extents = np.bincount(numbers.reshape(-1)).astype(float)
            extents[0] = 0
            total += elements.pack(extents[numbers]) ** e * height**h * step
    return total


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_tfce_is_the_limit_of_ever_thinner_slices(z, elements, connectivity):
    exact = tfce_map(z, BOTH, volume_geometry(elements, connectivity))
    errors = [
        np.abs(stepwise_tfce(z, elements, connectivity, n) - exact).max() / exact.max() for n in (100, 2000)
    ]
    assert errors[1] < 1e-3
    assert errors[1] < errors[0] / 5


def test_doubled_heights_give_eight_times_the_tfce(z, elements):
    geometry = volume_geometry(elements, 6)
    np.testing.assert_allclose(tfce_map(2 * z, BOTH, geometry), 8 * tfce_map(z, BOTH, geometry), rtol=1e-5)


def test_a_far_stronger_blob_leaves_another_alone():
    grid = Grid(shape=(20, 5, 5), affine=np.eye(4))
    elements = Elements.from_mask(grid, np.ones(grid.shape, dtype=bool))
    volume = np.zeros(grid.shape, np.float32)
    volume[2:5, 1:4, 1:4] = 2.5
    geometry = volume_geometry(elements, 6)
    alone = tfce_map(volume.reshape(-1), BOTH, geometry)
    volume[12:16, 1:4, 1:4] = 40.0
    beside = tfce_map(volume.reshape(-1), BOTH, geometry)
    weak = volume.reshape(-1) == 2.5
    np.testing.assert_array_equal(beside[weak], alone[weak])
    assert alone[weak][0] == pytest.approx(np.sqrt(27) * 2.5**3 / 3)


def maxima(z, elements, heights=BOTH):
    return basin_maxima(z, heights, volume_geometry(elements, 6), BasinWorkspace(z.size))[0]


def test_maxima_equal_those_of_labelled_clusters(z, elements):
    size, mass, tfce = maxima(z, elements)
    sizes, masses = [], []
    for sign in (1, -1):
        volume = elements.unpack(z * sign)
        numbers, n = label(volume > BOTH.threshold)
        sizes += [(numbers == number).sum() for number in range(1, n + 1)]
        masses += [(volume[numbers == number] - BOTH.threshold).sum() for number in range(1, n + 1)]
    assert size == max(sizes)
    assert mass == pytest.approx(max(masses), rel=1e-5)
    assert tfce == pytest.approx(tfce_map(z, BOTH, volume_geometry(elements, 6)).max(), rel=1e-6)


def test_without_tfce_sizes_and_masses_are_the_same(z, elements):
    whole, quick = maxima(z, elements), maxima(z, elements, replace(BOTH, has_tfce=False))
    assert quick[:2].tolist() == whole[:2].tolist()


def test_two_sided_maxima_are_the_larger_of_both_signs(z, elements):
    one = replace(BOTH, is_two_sided=False)
    positive, negative = maxima(z, elements, one), maxima(-z, elements, one)
    assert maxima(z, elements).tolist() == np.maximum(positive, negative).tolist()


def test_elements_of_opposite_sign_never_merge():
    grid = Grid(shape=(4, 1, 1), affine=np.eye(4))
    elements = Elements.from_mask(grid, np.ones(grid.shape, dtype=bool))
    z = np.array([5.0, 5.0, -5.0, -5.0], np.float32)
    size, mass, _ = maxima(z, elements, replace(BOTH, threshold=1.0))
    assert (size, mass) == (2.0, 8.0)


def test_nothing_above_the_threshold_has_no_size(elements):
    assert maxima(np.zeros(elements.n_elements, np.float32), elements).tolist() == [0, 0, 0]


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_components_equal_scipy_s(z, elements, connectivity):
    found = find_clusters(z > 1, elements, connectivity)
    numbers, n = label(elements.unpack(z) > 1, generate_binary_structure(3, RANKS[connectivity]))
    theirs = {frozenset(np.flatnonzero(elements.pack(numbers) == number)) for number in range(1, n + 1)}
    assert {frozenset(members) for members in found} == theirs


def test_nilearn_s_tfce_depends_on_unrelated_blobs():
    """Why the integral is exact here: nilearn's changes a blob's score when another blob grows."""
    from nilearn.mass_univariate._utils import calculate_tfce

    volume = np.zeros((20, 5, 5, 1))
    volume[2:5, 1:4, 1:4] = 2.5
    structure = generate_binary_structure(3, 1)
    alone = calculate_tfce(volume, structure, two_sided_test=False)[3, 2, 2, 0]
    volume[12:16, 1:4, 1:4] = 10.0
    beside = calculate_tfce(volume, structure, two_sided_test=False)[3, 2, 2, 0]
    assert abs(beside / alone - 1) > 0.3
