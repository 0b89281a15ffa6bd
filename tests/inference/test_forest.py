import numpy as np
import pytest
from scipy.ndimage import generate_binary_structure, label

from bids_group.elements import Elements, Grid
from bids_group.elements.geometry import volume_geometry
from bids_group.inference.clusters.clusters_and_peaks import find_clusters
from bids_group.inference.clusters.forest import Heights, Workspace, cluster_maxima, tfce_map

RANKS = {6: 1, 18: 2, 26: 3}


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
    heights = Heights(threshold=3.0, is_two_sided=True, has_tfce=True)
    exact = tfce_map(z, heights, volume_geometry(elements, connectivity))
    errors = [
        np.abs(stepwise_tfce(z, elements, connectivity, n) - exact).max() / exact.max() for n in (100, 2000)
    ]
    assert errors[1] < 1e-3
    assert errors[1] < errors[0] / 5


def test_doubled_heights_give_eight_times_the_tfce(z, elements):
    heights, geometry = (
        Heights(threshold=3.0, is_two_sided=True, has_tfce=True),
        volume_geometry(elements, 6),
    )
    np.testing.assert_allclose(
        tfce_map(2 * z, heights, geometry), 8 * tfce_map(z, heights, geometry), rtol=1e-5
    )


def test_a_far_stronger_blob_leaves_another_alone():
    grid = Grid(shape=(20, 5, 5), affine=np.eye(4))
    elements = Elements.from_mask(grid, np.ones(grid.shape, dtype=bool))
    volume = np.zeros(grid.shape, np.float32)
    volume[2:5, 1:4, 1:4] = 2.5
    heights, geometry = (
        Heights(threshold=3.0, is_two_sided=True, has_tfce=True),
        volume_geometry(elements, 6),
    )
    alone = tfce_map(volume.reshape(-1), heights, geometry)
    volume[12:16, 1:4, 1:4] = 40.0
    beside = tfce_map(volume.reshape(-1), heights, geometry)
    weak = volume.reshape(-1) == 2.5
    np.testing.assert_array_equal(beside[weak], alone[weak])
    assert alone[weak][0] == pytest.approx(np.sqrt(27) * 2.5**3 / 3)


def test_maxima_equal_those_of_labelled_clusters(z, elements):
    threshold = 2.0
    heights = Heights(threshold=threshold, is_two_sided=True, has_tfce=True)
    geometry, workspace = volume_geometry(elements, 6), Workspace(z.size)
    size, mass, tfce = cluster_maxima(z, heights, geometry, workspace)[0]
    sizes, masses = [], []
    for sign in (1, -1):
        volume = elements.unpack(z * sign)
        numbers, n = label(volume > threshold)
        sizes += [(numbers == number).sum() for number in range(1, n + 1)]
        masses += [(volume[numbers == number] - threshold).sum() for number in range(1, n + 1)]
    assert size == max(sizes)
    assert mass == pytest.approx(max(masses), rel=1e-5)
    assert tfce == pytest.approx(tfce_map(z, heights, geometry).max(), rel=1e-6)


def test_without_tfce_sizes_and_masses_are_the_same(z, elements):
    geometry, workspace = volume_geometry(elements, 6), Workspace(z.size)
    whole = cluster_maxima(z, Heights(threshold=2.0, is_two_sided=True, has_tfce=True), geometry, workspace)[
        0
    ]
    quick = cluster_maxima(z, Heights(threshold=2.0, is_two_sided=True, has_tfce=False), geometry, workspace)[
        0
    ]
    assert quick[0] == whole[0]
    assert quick[1] == pytest.approx(whole[1], rel=1e-12)


def test_two_sided_maxima_are_the_larger_of_both_signs(z, elements):
    geometry, workspace = volume_geometry(elements, 6), Workspace(z.size)
    one = Heights(threshold=2.0, is_two_sided=False, has_tfce=True)
    both = cluster_maxima(z, Heights(threshold=2.0, is_two_sided=True, has_tfce=True), geometry, workspace)[0]
    positive = cluster_maxima(z, one, geometry, workspace)[0]
    negative = cluster_maxima(-z, one, geometry, workspace)[0]
    assert both == pytest.approx(tuple(np.maximum(positive, negative)), rel=1e-12)


def test_elements_of_opposite_sign_never_merge():
    grid = Grid(shape=(4, 1, 1), affine=np.eye(4))
    elements = Elements.from_mask(grid, np.ones(grid.shape, dtype=bool))
    z = np.array([5.0, 5.0, -5.0, -5.0], np.float32)
    heights = Heights(threshold=1.0, is_two_sided=True, has_tfce=True)
    size, mass, _ = cluster_maxima(z, heights, volume_geometry(elements, 6), Workspace(4))[0]
    assert (size, mass) == (2.0, 8.0)


def test_nothing_above_the_threshold_has_no_size(elements):
    z = np.zeros(elements.n_elements, np.float32)
    heights = Heights(threshold=1.0, is_two_sided=True, has_tfce=True)
    assert cluster_maxima(z, heights, volume_geometry(elements, 6), Workspace(z.size)).tolist() == [[0, 0, 0]]


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
