"""The pass over peaks and saddles against the integral written from its definition, and basins."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, generate_binary_structure, label

from bids_group.config import InferenceSpec
from bids_group.elements import Elements, Grid
from bids_group.elements.geometry import volume_geometry
from bids_group.executor import Threads
from bids_group.inference import correct_group
from bids_group.inference.clusters.basins import BasinWorkspace, basin_maxima
from bids_group.inference.clusters.forest import Heights, tfce_map
from bids_group.inference.clusters.lattice import CHUNK, Lattice, LatticeWorkspace
from bids_group.inference.clusters.saddles import lattice_maxima
from bids_group.inference.shuffling.engine import Job, build_job, run_null
from tests.inference.witnesses import scheme_of

RANKS = {6: 1, 18: 2, 26: 3}
SLABS = ((1, 6, 9), (7, 1, 6), (5, 8, 1), (1, 1, 11), (1, 1, 1), (2, 2, 3), (4, 5, 4))


def elements_of(mask):
    return Elements.from_mask(Grid(shape=mask.shape, affine=np.eye(4)), mask)


def by_definition(z, elements, connectivity, heights):
    """Largest size, mass and TFCE: every height's components are labelled, the integral is summed up."""
    structure = generate_binary_structure(3, RANKS[connectivity])
    size = mass = tfce = 0.0
    for sign in (1, -1) if heights.is_two_sided else (1,):
        volume = elements.unpack(z * np.float32(sign)).astype(np.float64)
        numbers, n = label(volume > heights.threshold, structure)
        if n:
            size = max(size, np.bincount(numbers[numbers > 0]).max())
            mass = max(mass, np.bincount(numbers.ravel(), (volume - heights.threshold).ravel())[1:].max())
        sums, below = np.zeros(volume.shape), 0.0
        for height in np.unique(volume[volume > 0]):
            numbers, _ = label(volume >= height, structure)
            extents = np.bincount(numbers.ravel())[numbers].astype(np.float64)
            piece = np.sqrt(extents) * (height**3 - below**3) / 3
            sums += np.where(numbers > 0, piece, 0)
            below = height
        tfce = max(tfce, sums.max())
    return size, mass, tfce


def by_saddles(z, elements, connectivity, heights, work=None):
    lattice = Lattice.of(elements, connectivity)
    return lattice_maxima(z, heights, lattice, work or LatticeWorkspace(lattice))


def by_basins(z, elements, connectivity, heights):
    return basin_maxima(z, heights, volume_geometry(elements, connectivity), BasinWorkspace(z.size))[0]


def assert_same(found, expected, tolerance=1e-9):
    assert found[0] == expected[0]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=0)


def random_mask(random, shape):
    mask = random.random(shape) < random.choice([0.1, 0.4, 0.7, 1.0])
    mask.flat[random.integers(mask.size)] = True
    return mask


def random_map(random, mask):
    """Noise, smooth or not; perhaps with ties, plateaus, of one sign, sparse, empty, or one voxel."""
    noise = gaussian_filter(random.standard_normal(mask.shape), random.choice([0, 0.5, 1]))
    z = (noise / max(noise.std(), 1e-9))[mask]
    kind = random.choice(
        ["plain", "ties", "coarse", "positive", "negative", "sparse", "level", "empty", "one"]
    )
    if kind == "ties":
        z = np.round(z * 3) / 3
    elif kind == "coarse":
        z = np.round(z)
    elif kind == "positive":
        z = np.abs(z)
    elif kind == "negative":
        z = -np.abs(z) - 0.1
    elif kind == "sparse":
        z = np.where(np.abs(z) > 1, z, -0.0)
    elif kind == "level":
        z = np.full(z.size, random.choice([-2.0, 2.0]))
    elif kind == "empty":
        z = np.zeros(z.size)
    elif kind == "one":
        z = 4.0 * (np.arange(z.size) == random.integers(z.size))
    return z.astype(np.float32)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("seed", range(10))
def test_the_integral_by_its_definition_in_random_masks(connectivity, seed):
    random = np.random.default_rng([seed, connectivity])
    for _ in range(70):
        elements = elements_of(random_mask(random, SLABS[random.integers(len(SLABS))]))
        heights = Heights(
            threshold=random.choice([0.5, 1.0, 2.3]), is_two_sided=bool(random.integers(2)), has_tfce=True
        )
        z = random_map(random, elements.mask)
        expected = by_definition(z, elements, connectivity, heights)
        assert_same(by_saddles(z, elements, connectivity, heights), expected)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_the_integral_by_its_definition_in_maps_that_hypothesis_makes_up(data):
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 1e-38, -1e-42, 3.5, 1e6, None])
    drawn = data.draw(st.lists(values, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    inside = np.array([value is not None for value in drawn]).reshape(shape)
    inside.flat[0] = True
    z = np.array([value or 0.0 for value in drawn], np.float32)[inside.ravel()]
    connectivity = data.draw(st.sampled_from([6, 18, 26]))
    heights = Heights(threshold=1.5, is_two_sided=data.draw(st.booleans()), has_tfce=True)
    elements = elements_of(inside)
    expected = by_definition(z, elements, connectivity, heights)
    assert_same(by_saddles(z, elements, connectivity, heights), expected)


def chequered(shape, of_sign):
    """Neighbours by faces alternate: between signs, or between high and low."""
    parity = np.indices(shape).sum(axis=0) % 2
    height = 1 + np.random.default_rng(0).random(shape)
    return np.where(parity, 1, -1) * height if of_sign else parity + height


def lies_in(place, shape):
    return all(0 <= at < n for at, n in zip(place, shape, strict=True))


def spiral(shape):
    """A path of descending heights that winds inwards in every other plane."""
    z = np.zeros(shape)
    height, steps = 100.0, ((0, 1), (1, 0), (0, -1), (-1, 0))
    x, y, turn = 0, 0, 0
    plane = np.zeros(shape[1:])
    while plane[x, y] == 0:
        plane[x, y] = height
        height -= 0.01
        for _ in range(2):
            ahead, beyond = np.add((x, y), steps[turn]), np.add((x, y), 2 * np.array(steps[turn]))
            is_free = lies_in(ahead, plane.shape) and plane[*ahead] == 0
            is_open = not lies_in(beyond, plane.shape) or plane[*beyond] == 0
            if is_free and is_open:
                x, y = ahead
                break
            turn = (turn + 1) % 4
    z[::2] = plane
    return z


ADVERSARIES = {
    "signs in a chequer": lambda shape: chequered(shape, True),
    "heights in a chequer": lambda shape: chequered(shape, False),
    "spiral": spiral,
    "all equal": lambda shape: np.full(shape, 2.5),
    "white": lambda shape: np.random.default_rng(1).standard_normal(shape),
    "peaks apart": lambda shape: np.where((np.indices(shape) % 2 == 0).all(axis=0), 2, 1)
    + np.random.default_rng(2).random(shape) / 2,
    "saddles everywhere": lambda shape: 1 + (np.indices(shape) % 2).sum(axis=0) % 2
    + np.random.default_rng(3).random(shape) / 9,
}  # fmt: skip


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("name", ADVERSARIES)
def test_adversarial_maps_fit_into_the_memory_and_equal_the_basins(name, connectivity):
    shape = (23, 21, 22)
    elements = elements_of(np.ones(shape, bool))
    z = elements.pack(ADVERSARIES[name](shape).astype(np.float32))
    heights = Heights(threshold=1.6, is_two_sided=True, has_tfce=True)
    lattice = Lattice.of(elements, connectivity)
    guard, work = np.uint32(0xDEADBEEF), LatticeWorkspace(lattice)
    n_listed = work.listed.size
    work.listed = np.full(n_listed + 64, guard, np.uint32)
    found = lattice_maxima(z, heights, lattice, work)
    assert_same(found, by_basins(z, elements, connectivity, heights))
    assert (work.listed[n_listed:] == guard).all()
    assert z.size > 4 * CHUNK


@pytest.mark.parametrize("connectivity", [6, 26])
@pytest.mark.parametrize("sigma", [0.5, 1.5])
def test_larger_maps_equal_the_basins_and_the_enhanced_map(connectivity, sigma):
    """One workspace for all: nothing of one map is left in the next."""
    random, shape = np.random.default_rng(3), (31, 36, 29)
    elements = elements_of(random.random(shape) < 0.9)
    lattice = Lattice.of(elements, connectivity)
    work, graph = LatticeWorkspace(lattice), volume_geometry(elements, connectivity)
    for is_two_sided, threshold in ((True, 2.3), (False, 2.3), (True, 0.5), (True, 9.0)):
        noise = gaussian_filter(random.standard_normal(shape), sigma)
        z = elements.pack((noise / noise.std()).astype(np.float32))
        heights = Heights(threshold=threshold, is_two_sided=is_two_sided, has_tfce=True)
        found = lattice_maxima(z, heights, lattice, work)
        assert_same(found, by_basins(z, elements, connectivity, heights))
        assert found[2] == pytest.approx(tfce_map(z, heights, graph).max(), rel=1e-6)
        assert found == lattice_maxima(z, heights, lattice, LatticeWorkspace(lattice))  # to the last bit


RANDOM = np.random.default_rng(11)
AGE, GROUP = RANDOM.normal(size=16), np.repeat([0, 1], 8)
DESIGNS = {
    "flips": (np.ones((16, 1)), ("t", [1.0]), {}),
    "a covariate": (np.column_stack([np.ones(16), AGE]), ("t", [0.0, 1.0]), {}),
    "F": (np.column_stack([np.ones(16), AGE, GROUP]), ("F", [[0, 1.0, 0], [0, 0, 1.0]]), {}),
    "Welch's v": (np.column_stack([np.ones(16), GROUP]), ("t", [0.0, 1.0]), {"groups": GROUP}),
    "blocks": (np.column_stack([np.ones(16), AGE]), ("t", [0.0, 1.0]), {"blocks": np.arange(16) // 4}),
}


@pytest.mark.parametrize("is_two_sided", [True, False])
@pytest.mark.parametrize("name", DESIGNS)
def test_every_statistic_has_the_same_null_as_by_basins(make_problem, name, is_two_sided):
    matrix, contrast, options = DESIGNS[name]
    data, _ = make_problem(matrix, [contrast], shape=(12, 10, 11), **options)
    job = build_job(
        scheme_of(data, InferenceSpec(n_permutations=60)), contrast[0], data.stack.data,
        is_two_sided=is_two_sided, heights=Heights(threshold=1.5, is_two_sided=is_two_sided, has_tfce=True),
        geometry=volume_geometry(data.elements, 18),
    )  # fmt: skip
    by_graph = replace(
        job,
        geometry=replace(
            job.geometry, adjacency=replace(job.geometry.adjacency, elements=None, connectivity=None)
        ),
    )
    assert (job.lattice() is None, by_graph.lattice() is None) == (False, True)
    found, expected = run_null(job)[0], run_null(by_graph)[0]
    np.testing.assert_array_equal(found[..., :2], expected[..., :2])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)
    assert found.tobytes() == run_null(job, executor=Threads(n_procs=3))[0].tobytes()


def test_without_tfce_basins_are_taken(make_problem):
    data, _ = make_problem(np.ones((8, 1)), [("t", [1.0])])
    scheme = scheme_of(data, InferenceSpec())
    heights = Heights(threshold=1.5, is_two_sided=True, has_tfce=False)
    geometry = volume_geometry(data.elements, 6)
    job = build_job(scheme, "t", data.stack.data, is_two_sided=True, heights=heights, geometry=geometry)
    assert job.lattice() is None


def test_corrected_p_have_the_bytes_that_basins_give(make_problem, monkeypatch):
    matrix = np.column_stack([np.ones(16), AGE, GROUP])
    problem = make_problem(
        matrix, [("t", [0.0, 1, 0]), ("F", [[0, 1.0, 0], [0, 0, 1.0]])], shape=(12, 10, 11)
    )
    spec = InferenceSpec(
        corrections=("fwe-tfce", "fwe-size", "fwe-mass"), n_permutations=120, cluster_forming_p=0.05
    )
    found = correct_group(*problem, spec)
    monkeypatch.setattr(Job, "lattice", lambda self: None)
    for ours, theirs in zip(found, correct_group(*problem, spec), strict=True):
        assert ours.p_corrected.tobytes() == theirs.p_corrected.tobytes()
        assert len(np.unique(ours.p_corrected)) > 1


def test_a_grid_too_large_for_places_of_32_bits_is_left_to_basins():
    ends = np.array([0, 2000**3 - 1])
    elements = Elements(space=Grid(shape=(2000, 2000, 2000), affine=np.eye(4)), indices=ends)
    near = Elements(space=elements.grid, indices=ends[:1])
    assert (Lattice.fits(elements), Lattice.fits(near)) == (False, True)
