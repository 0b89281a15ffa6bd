"""Uncorrected p by shuffling: beside the parametric p, without any correction by shuffling, and restarted."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bids_group.config import InferenceSpec
from bids_group.executor import Threads
from bids_group.inference import correct_group
from tests.inference.witnesses import all_bytes

SPEC = InferenceSpec(corrections=("fdr",), n_permutations=1999, has_permutation_p=True)


@pytest.fixture
def problem(make_problem, make_maps):
    age = np.random.default_rng(1).normal(size=30)
    matrix = np.column_stack([np.ones(30), age - age.mean(), (age > 0.3) - (age > 0.3).mean()])
    contrasts = [("t", [1, 0, 0]), ("t", [0, 1, 0]), ("F", [[0, 1, 0], [0, 0, 1]])]
    return make_problem(matrix, contrasts, maps=make_maps(30, (12, 11, 10), 8), shape=(12, 11, 10))


def test_with_normal_errors_p_are_those_of_the_fit_but_for_chance(problem):
    for verdict, result in zip(correct_group(*problem, SPEC), problem[1], strict=True):
        check_closeness(verdict.by_shuffling.p, result.maps["p"])


def check_closeness(by_shuffling, exact):
    """Shuffles are the same at all elements, so errors are alike over the map."""
    assert np.abs(by_shuffling - exact).max() < 0.1
    assert abs((by_shuffling - exact).mean()) < 0.03
    assert np.corrcoef(by_shuffling, exact)[0, 1] > 0.99


def test_one_sided_p_are_those_of_one_tail(problem, fit_by_hand):
    data, _ = problem
    results = fit_by_hand(data, is_two_sided=False)
    verdict, *_ = correct_group(data, results, replace(SPEC, is_two_sided=False))
    check_closeness(verdict.by_shuffling.p, results[0].maps["p"])


def test_p_do_not_depend_on_what_else_is_asked_for(problem):
    """Batches with clusters have another size: shuffle k stays shuffle k."""
    alone = correct_group(*problem, replace(SPEC, n_permutations=99))
    beside = correct_group(*problem, replace(SPEC, n_permutations=99, corrections=("fwe-mass", "fdr")))
    for index, verdict in enumerate(alone):
        for other in beside[2 * index : 2 * index + 2]:
            np.testing.assert_array_equal(verdict.by_shuffling.p, other.by_shuffling.p)


def test_nobody_who_did_not_ask_gets_it(problem):
    spec = InferenceSpec(corrections=("fwe-voxel", "fdr"), n_permutations=99)
    assert all(verdict.by_shuffling is None for verdict in correct_group(*problem, spec))


def test_the_smallest_is_that_of_the_maximum_of_one_element(make_problem, make_maps):
    """With one element the maximum is the element itself: corrected and uncorrected p are equal."""
    maps = make_maps(12, (1, 1, 1), 2, 0.0) + np.float32(0.4)
    data, results = make_problem(np.ones((12, 1)), [("t", [1])], maps=maps, shape=(1, 1, 1))
    spec = replace(SPEC, corrections=("fwe-voxel",))
    (verdict,) = correct_group(data, results, spec)
    assert 1 / 2000 < verdict.by_shuffling.p[0] < 1
    np.testing.assert_array_equal(verdict.by_shuffling.p, verdict.p_corrected)


def test_a_statistic_of_0_has_p_1(make_problem):
    """Integer maps: group means are equal, and other orders of computing leave other roundings of 0."""
    group = np.repeat([0.0, 1.0], 5)
    maps = np.array([[1, 2, 3, 4, 5, 5, 4, 3, 2, 1]] * 6, np.float32).T * np.arange(1, 7, dtype=np.float32)
    data, results = make_problem(
        np.column_stack([np.ones(10), group]), [("t", [0, 1])], maps=maps, shape=(6, 1, 1)
    )
    (verdict,) = correct_group(data, results, SPEC)
    np.testing.assert_array_equal(verdict.by_shuffling.p, 1)


def test_elements_that_are_not_tested_have_p_1(make_problem, make_maps):
    maps = make_maps(10, (5, 4, 3), 4)
    maps[:, 7] = 0
    data, results = make_problem(np.ones((10, 1)), [("t", [1])], maps=maps, shape=(5, 4, 3))
    fitted = {stat: np.where(np.arange(60) == 7, 1 if stat == "p" else 0, row)
              for stat, row in results[0].maps.items()}  # fmt: skip
    fitted["variance"] = np.where(np.arange(60) == 7, 0, 1)
    (verdict,) = correct_group(data, (replace(results[0], maps=fitted),), SPEC)
    assert verdict.by_shuffling.p[7] == 1
    assert (np.delete(verdict.by_shuffling.p, 7) < 1).all()


@pytest.mark.parametrize("executor", [Threads(n_procs=3), Threads(n_procs=2, mem_gb=0.0)])
def test_threads_and_memory_change_no_bit(problem, executor):
    spec = replace(SPEC, n_permutations=599)
    expected = all_bytes(correct_group(*problem, spec))
    assert all_bytes(correct_group(*problem, spec, executor=executor)) == expected


def test_a_batch_of_which_a_part_is_missing_is_done_again(problem, tmp_path):
    """Maxima of an earlier run without counts are no finished batch."""
    spec = replace(SPEC, n_permutations=599)
    expected = correct_group(*problem, spec)
    maxima_only = replace(spec, corrections=("fwe-voxel",), has_permutation_p=False)
    correct_group(*problem, maxima_only, work_dir=tmp_path)
    again = correct_group(*problem, spec, work_dir=tmp_path)
    for path in sorted(tmp_path.rglob("*-tally.npy"))[::2]:
        path.unlink()
    half = correct_group(*problem, spec, work_dir=tmp_path)
    assert all_bytes(expected) == all_bytes(again) == all_bytes(half)


def test_groups_with_their_own_variance_are_judged_by_welchs_statistic(make_problem, make_maps):
    """Every flip by hand: v of two groups as |z|, counted element by element."""
    maps = make_maps(9, (4, 4, 3), 9)
    maps[4:] *= 3
    matrix = np.eye(2)[[0] * 4 + [1] * 5]
    data, results = make_problem(
        matrix, [("t", [1, -1])], maps=maps, shape=(4, 4, 3), groups=["a"] * 4 + ["b"] * 5
    )
    spec = replace(SPEC, corrections=("fwe-voxel",), variance_groups="scanner")
    (verdict,) = correct_group(data, results, spec)
    assert verdict.details.shuffling == "sign flips"
    assert verdict.details.is_exhaustive
    y = maps.astype(float)
    means = y.mean(axis=0)  # the nuisance part of a difference of means is their common mean, weighted
    rest = y - means
    size = []
    for number in range(2**9):
        signs = 1.0 - 2 * ((number >> np.arange(9)) & 1)
        flipped = means + signs[:, None] * rest
        size.append(np.abs(welch(flipped[:4], flipped[4:])))
    expected = (np.array(size) >= size[0] * (1 - 1e-5)).mean(axis=0)
    np.testing.assert_allclose(verdict.by_shuffling.p, expected, atol=2.1 / 512)
    assert np.isclose(verdict.by_shuffling.p, expected, atol=1e-6).mean() > 0.8


def welch(first, second):
    """Welch's v of two groups as a normal deviate with its own dof."""
    found = stats.ttest_ind(first, second, axis=0, equal_var=False)
    return np.copysign(stats.norm.isf(found.pvalue / 2), found.statistic)
