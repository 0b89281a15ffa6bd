"""Meshes and voxels in one map: weighted clusters and TFCE, and errors over cortex and subcortex together."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csgraph, csr_array

from bids_group.config import InferenceSpec
from bids_group.elements import join_patches, mesh_patch, voxel_patch
from bids_group.elements.geometry import CORTEX, SUBCORTEX, Adjacency, Geometry
from bids_group.inference import correct_group
from bids_group.inference.clusters.basins import BasinWorkspace, basin_maxima
from bids_group.inference.clusters.clusters_and_peaks import find_clusters, find_peaks
from bids_group.inference.clusters.forest import Heights, tfce_map
from bids_group.model import fit_group

BOTH = Heights(threshold=1.2, is_two_sided=True, has_tfce=True)


def line(weights, part=CORTEX):
    """Elements one behind the other."""
    n = len(weights)
    graph = csr_array(np.eye(n, k=1) + np.eye(n, k=-1))
    return Geometry(
        adjacency=Adjacency(indptr=graph.indptr.astype(np.int32), indices=graph.indices.astype(np.int32)),
        weights=np.asarray(weights, dtype=float),
        part_of=np.zeros(n, np.int8),
        parts=(part,),
        unmeshed=np.full(n, -1, np.int16),
    )


@pytest.fixture(scope="module")
def mixed(make_sphere):
    """Two bumpy hemispheres, of which some vertices are not analysed, and a block of voxels."""
    mesh, random = make_sphere(2, bumps=8.0), np.random.default_rng(1)
    left, right = (np.flatnonzero(random.random(mesh.n_vertices) < 0.9) for _ in range(2))
    block = voxel_patch(np.argwhere(random.random((6, 5, 4)) < 0.8), np.diag([2.0, 2, 2, 1]), 6)
    return join_patches([mesh_patch(mesh, left), mesh_patch(mesh, right), block])


@pytest.fixture(scope="module")
def z(mixed):
    random = np.random.default_rng(2)
    noise = random.normal(size=(mixed.weights.size, 1))
    graph = csr_array(
        (np.ones(mixed.adjacency.indices.size), mixed.adjacency.indices, mixed.adjacency.indptr)
    )
    return (1.1 * noise + 0.5 * graph @ noise)[:, 0].astype(np.float32)


def components(geometry, is_in):
    n = is_in.size
    graph = csr_array((np.ones(geometry.adjacency.indices.size), geometry.adjacency.indices,
                       geometry.adjacency.indptr), shape=(n, n))  # fmt: skip
    inside = np.flatnonzero(is_in)
    count, labels = csgraph.connected_components(graph[inside][:, inside], directed=False)
    return [inside[labels == number] for number in range(count)]


def tfce_by_levels(z, geometry):
    """The integral level by level: between two heights that occur the clusters are the same."""
    total = np.zeros(z.size)
    for sign in (1, -1):
        heights = np.unique(np.append(0, (z * sign)[z * sign > 0].astype(float)))
        for low, high in pairwise(heights):
            for members in components(geometry, z * sign > low):
                power = geometry.extent_powers[geometry.part_of[members[0]]]
                total[members] += geometry.weights[members].sum() ** power * (high**3 - low**3) / 3
    return total


def test_tfce_equals_the_integral_over_all_levels(z, mixed):
    np.testing.assert_allclose(tfce_map(z, BOTH, mixed), tfce_by_levels(z, mixed), rtol=2e-6)


def maxima(z, heights, geometry):
    return basin_maxima(z, heights, geometry, BasinWorkspace(z.size))


def maxima_by_labels(z, heights, geometry):
    """Of each part the largest size and mass of its labelled clusters, and its largest enhanced value."""
    found, enhanced = np.zeros((len(geometry.parts), 3)), tfce_map(z, heights, geometry)
    for sign in (1, -1) if heights.is_two_sided else (1,):
        for members in components(geometry, z * sign > heights.threshold):
            weights, most = geometry.weights[members], found[geometry.part_of[members[0]]]
            mass = (weights * (np.abs(z[members]).astype(float) - heights.threshold)).sum()
            most[:2] = np.maximum(most[:2], [weights.sum(), mass])
    for part, most in enumerate(found):
        most[2] = enhanced[geometry.part_of == part].max()
    return found


HEIGHTS = (BOTH, replace(BOTH, is_two_sided=False), replace(BOTH, has_tfce=False))


@pytest.mark.parametrize("heights", HEIGHTS, ids=["both signs", "positive", "without TFCE"])
def test_maxima_of_each_part_are_those_of_its_labelled_clusters(z, mixed, heights):
    """Rough and smooth maps, ties, one part without anything, nothing at all, and without TFCE."""
    random = np.random.default_rng(11)
    n = mixed.weights.size
    maps = [random.normal(size=n) for _ in range(5)]
    maps += [np.round(2 * one) / 2 for one in maps]
    maps += [z, np.where(mixed.part_of == 0, maps[0], 0), np.zeros(n), np.ones(n), -np.ones(n)]
    for values in map(np.float32, maps):
        found, expected = maxima(values, heights, mixed), maxima_by_labels(values, heights, mixed)
        n_measures = 3 if heights.has_tfce else 2
        np.testing.assert_allclose(found[:, :n_measures], expected[:, :n_measures], rtol=1e-6)


def test_tfce_of_a_line_is_known():
    """Heights 1, 2, 1 with areas 4, 3, 2: 9 mm² up to 1 and 3 mm² from 1 to 2."""
    heights, z = replace(BOTH, threshold=0.5), np.array([1, 2, 1], np.float32)
    np.testing.assert_allclose(tfce_map(z, heights, line([4, 3, 2])), np.array([9, 9 + 3 * 7, 9]) / 3)
    np.testing.assert_allclose(
        tfce_map(z, heights, line([4, 3, 2], SUBCORTEX)), np.array([3, 3 + 3**0.5 * 7, 3]) / 3
    )
    found = maxima(z, heights, line([4, 3, 2]))
    np.testing.assert_allclose(found, [[9, 4 * 0.5 + 3 * 1.5 + 2 * 0.5, 10]])


def test_clusters_and_peaks_are_those_of_the_mesh(z, mixed):
    found = find_clusters(z > 1, None, 6, mixed)
    assert {tuple(one) for one in found} == {tuple(one) for one in components(mixed, z > 1)}
    assert [one[0] for one in found] == sorted(one[0] for one in found)
    for members, peaks in zip(found, find_peaks(z, found, None, mixed), strict=True):
        assert peaks[0] == members[z[members].argmax()]
        gaps = np.linalg.norm(mixed.coordinates[peaks][:, None] - mixed.coordinates[peaks], axis=2)
        assert (gaps[~np.eye(len(peaks), dtype=bool)] >= 8).all()
    assert max(len(one) for one in find_peaks(z, found, None, mixed)) > 1


@pytest.fixture
def problem(make_problem, mixed):
    """Twelve people's noise on the mixed elements, and an effect in a corner of the block of voxels."""
    n = mixed.weights.size
    random = np.random.default_rng(5)
    maps = random.normal(size=(12, n))
    near = np.flatnonzero(mixed.part_of == 1)
    maps[:, near[:12]] += 1.6
    data, results = make_problem(np.ones((12, 1)), [("t", [1.0])], maps=maps, shape=(n, 1, 1))
    return replace(data, geometry=mixed), results


def by_hand(judged, alone, parts):
    """Smallest p of each shuffle over parts, and its rank: the corrected p of every part's maxima."""
    nulls = [one.astype(float) for one in judged.null.values()]
    ranks = [[(null >= value * (1 - 1e-5)).mean() for value in null] for null in nulls]
    smallest = np.min(ranks, axis=0)
    p = np.ones(alone.p_corrected.size)
    for part in range(len(nulls)):
        own = parts == part
        p[own] = [(smallest <= value + 1e-6).mean() for value in alone.p_corrected[own].astype(float)]
    return p


@pytest.mark.parametrize("correction", ["fwe-voxel", "fwe-size", "fwe-mass", "fwe-tfce"])
def test_parts_are_joined_by_the_smallest_p_of_either(problem, mixed, correction):
    data, results = problem
    spec = InferenceSpec(corrections=(correction,), n_permutations=599, cluster_forming_p=0.05)
    (joint,) = correct_group(data, results, spec)
    (alone,) = correct_group(data, results, replace(spec, familywise_parts="each"))
    measure = correction.removeprefix("fwe-")
    assert list(joint.null) == [f"{measure}_cortex", f"{measure}_subcortex"]
    for name, null in joint.null.items():
        np.testing.assert_array_equal(null, alone.null[name])
    p = by_hand(joint, alone, mixed.part_of)
    touched = alone.p_corrected < 1
    np.testing.assert_allclose(joint.p_corrected[touched], p[touched], atol=1e-6)
    assert (joint.p_corrected >= alone.p_corrected).all()
    assert (joint.p_corrected <= 2 * alone.p_corrected + 1e-6).all()
    assert joint.is_significant[mixed.part_of == 1].any()
    assert joint.notices == ()


@pytest.mark.parametrize("correction", ["fwe-size", "fwe-tfce"])
def test_thresholds_of_parts_divide_what_is_significant_from_what_is_not(problem, mixed, correction):
    data, results = problem
    spec = InferenceSpec(corrections=(correction,), n_permutations=599, cluster_forming_p=0.05)
    (joint,) = correct_group(data, results, spec)
    limits = joint.details.threshold_by_part
    assert list(limits) == ["cortex", "subcortex"]
    assert joint.details.familywise_parts == "joint"
    assert joint.details.extent == {"cortex": "area in mm2", "subcortex": "volume in mm3"}
    assert joint.threshold is None
    if correction == "fwe-tfce":
        heights = Heights(threshold=1.0, is_two_sided=True, has_tfce=True)
        enhanced = tfce_map(results[0].maps["z"], heights, mixed)
        for part, limit in enumerate(limits.values()):
            own = mixed.part_of == part
            np.testing.assert_array_equal(joint.is_significant[own], enhanced[own] > limit)


def test_an_element_alone_of_its_part_is_judged_by_all(make_problem, mixed):
    """Where one part never has a cluster, the other is judged as if alone."""
    n = mixed.weights.size
    maps = np.random.default_rng(5).normal(size=(12, n))
    data, results = make_problem(np.ones((12, 1)), [("t", [1.0])], maps=maps, shape=(n, 1, 1))
    only = np.zeros(n, bool)
    only[:300] = True
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=599)
    masked = replace(mixed, part_of=np.where(only, 0, 1).astype(np.int8))
    (joint,) = correct_group(replace(data, geometry=masked), results, spec)
    (alone,) = correct_group(replace(data, geometry=masked), results, replace(spec, familywise_parts="each"))
    assert (joint.p_corrected >= alone.p_corrected).all()


def test_few_shuffles_are_warned_of(problem):
    data, results = problem
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=299)
    (judged,) = correct_group(data, results, spec)
    assert [one.topic for one in judged.notices] == ["parts"]
    assert "smallest of their p" in judged.notices[0].sentence
    (alone,) = correct_group(data, results, replace(spec, familywise_parts="each"))
    assert alone.notices == ()


def test_contrasts_judged_together_are_joined_before_parts(make_problem, mixed):
    n, random = mixed.weights.size, np.random.default_rng(8)
    matrix = np.column_stack([np.ones(14), random.normal(size=14), random.normal(size=14)])
    data, results = make_problem(
        matrix, [("t", [0, 1.0, 0]), ("t", [0, 1.0, 0])], maps=random.normal(size=(14, n)), shape=(n, 1, 1)
    )
    data = replace(data, geometry=mixed)
    spec = InferenceSpec(corrections=("fwe-tfce",), n_permutations=599)
    within = correct_group(data, results, spec)
    across = correct_group(data, results, replace(spec, familywise="across-contrasts"))
    for one, other in zip(within, across, strict=True):  # the same contrast twice: nothing is lost
        np.testing.assert_allclose(one.p_corrected, other.p_corrected, atol=1e-6)


def test_tails_over_parts_are_bounded_by_those_of_each_alone(problem, mixed):
    data, results = problem
    spec = InferenceSpec(corrections=("fwe-tfce",), n_permutations=599)
    (counted,) = correct_group(data, results, spec)
    fitted = replace(spec, has_tail_approximation=True)
    (joint,) = correct_group(data, results, fitted)
    (alone,) = correct_group(data, results, replace(fitted, familywise_parts="each"))
    assert set(joint.details.tail_approximation) == {"cortex", "subcortex"}
    assert joint.details.tail_approximation == alone.details.tail_approximation
    assert (joint.p_corrected <= counted.p_corrected).all()
    starts = [one["share"] for one in joint.details.tail_approximation.values()]
    far = alone.p_corrected < min(starts) / 2
    expected = np.minimum(2 * alone.p_corrected[far], counted.p_corrected[far])
    np.testing.assert_allclose(joint.p_corrected[far], expected, rtol=1e-5)
    assert (joint.p_corrected[far] < counted.p_corrected[far]).any()


@pytest.mark.parametrize("correction", ["fwe-voxel", "fwe-tfce"])
@pytest.mark.parametrize("has_holes", [False, True])
def test_a_part_alone_is_judged_as_if_there_were_no_other(make_problem, mixed, correction, has_holes):
    """Also where people are missing at some elements, which then stand in another order."""
    n, random = mixed.weights.size, np.random.default_rng(9)
    maps = random.normal(size=(14, n)).astype(np.float32)
    maps[:, -12:] += 1.2
    if has_holes:
        maps[2, random.random(n) < 0.2] = np.nan
        maps[5, random.random(n) < 0.2] = np.nan
    spec = InferenceSpec(corrections=(correction,), n_permutations=299, familywise_parts="each")
    own = np.flatnonzero(mixed.part_of == 1)

    def judge(columns, geometry, **more):
        data, _ = make_problem(
            np.ones((14, 1)), [("t", [1.0])], maps=maps[:, columns], shape=(columns.size, 1, 1)
        )
        data = replace(data, geometry=geometry, is_complete=not has_holes)
        return correct_group(data, fit_group(data).results, replace(spec, **more))[0]

    whole = judge(np.arange(n), mixed)
    joint = judge(np.arange(n), mixed, familywise_parts="joint")
    assert (joint.p_corrected >= whole.p_corrected - 1e-6).all()
    rows = csr_array(
        (np.ones(mixed.adjacency.indices.size), mixed.adjacency.indices, mixed.adjacency.indptr), shape=(n, n)
    )[own][:, own]
    adjacency = Adjacency(indptr=rows.indptr.astype(np.int32), indices=rows.indices.astype(np.int32))
    alone = judge(
        own,
        replace(
            mixed,
            adjacency=adjacency,
            weights=mixed.weights[own],
            part_of=np.zeros(own.size, np.int8),
            parts=(SUBCORTEX,),
            unmeshed=mixed.unmeshed[own],
            coordinates=mixed.coordinates[own],
        ),
    )
    assert alone.p_corrected.min() < 0.05
    np.testing.assert_allclose(whole.p_corrected[own], alone.p_corrected, atol=1e-6)
