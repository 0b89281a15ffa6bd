"""Welch's v and G against scipy and statsmodels, and against every shuffle done by hand."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import f as f_distribution
from scipy.stats import norm, t, ttest_ind
from statsmodels.stats.oneway import anova_oneway

from bids_group.config import InferenceSpec
from bids_group.distributions import t_to_z
from bids_group.inference import correct_group
from bids_group.inference.shuffling.engine import build_job, observed_map
from bids_group.inference.shuffling.group_variances import look_up, tabulate_dof
from tests.inference.witnesses import scheme_of

GROUP = np.repeat([0, 1], (6, 9))


def unshuffled_z(data, test):
    scheme = scheme_of(data, InferenceSpec())
    return observed_map(build_job(scheme, test, data.stack.data, is_two_sided=True))


@pytest.fixture
def uneven_maps(make_maps):
    maps = make_maps(15, (8, 7, 6), 4)
    maps[GROUP == 0] *= 3
    maps[:, :40] += 2 * GROUP[:, None].astype(np.float32)
    return maps


@pytest.mark.parametrize("coding", ["treatment", "means"])
def test_v_is_welch_s_t(make_problem, uneven_maps, coding):
    means = np.column_stack([1 - GROUP, GROUP])
    matrix, weights = {
        "treatment": (np.column_stack([np.ones(15), GROUP]), [0, 1]), "means": (means, [-1, 1])
    }[coding]  # fmt: skip
    data, _ = make_problem(matrix, [("t", weights)], maps=uneven_maps, groups=GROUP)
    theirs = ttest_ind(uneven_maps[GROUP == 1], uneven_maps[GROUP == 0], equal_var=False)
    np.testing.assert_allclose(unshuffled_z(data, "t"), t_to_z(theirs.statistic, theirs.df), atol=3e-5)


def test_g_is_welch_s_analysis_of_variance(make_problem, make_maps):
    three = np.repeat([0, 1, 2], (5, 7, 8))
    maps = make_maps(20, (6, 5, 4), 4) * np.array([1, 2, 4], np.float32)[three][:, None]
    maps[:, :30] += three[:, None]
    data, _ = make_problem(
        np.eye(3)[three], [("F", [[1, -1, 0], [0, 1, -1]])], maps=maps, shape=(6, 5, 4), groups=three
    )
    ours = unshuffled_z(data, "F")
    for element in range(0, 120, 7):
        column = maps[:, element].astype(float)
        theirs = anova_oneway([column[three == g] for g in range(3)], use_var="unequal")
        z = norm.isf(f_distribution.sf(theirs.statistic, 2, theirs.df[1]))
        assert ours[element] == pytest.approx(z, abs=1e-4)


def test_with_equal_weights_groups_of_one_variance_are_close_to_the_pooled_test(make_problem, make_maps):
    half = np.repeat([0, 1], (40, 40))
    maps = make_maps(80, (6, 5, 4), 1)
    data, results = make_problem(
        np.column_stack([np.ones(80), half]), [("t", [0, 1])], maps=maps, shape=(6, 5, 4), groups=half
    )
    np.testing.assert_allclose(unshuffled_z(data, "t"), results[0].maps["z"], atol=0.05)


def test_p_with_variance_groups_equals_every_flip_done_by_hand(make_problem, make_maps):
    group = np.repeat([0, 1], (3, 5))
    maps = make_maps(8, (5, 4, 3), 6) * np.where(group == 0, 3, 1).astype(np.float32)[:, None]
    maps[:, :9] += 2 * group[:, None]
    data, results = make_problem(
        np.column_stack([np.ones(8), group]), [("t", [0, 1])], maps=maps, shape=(5, 4, 3), groups=group
    )
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=500, variance_groups="scanner")
    (verdict,) = correct_group(data, results, spec)

    rest = maps - maps.mean(axis=0, dtype=float)
    maxima = []
    for signs in product((1, -1), repeat=8):
        flipped = rest * np.array(signs)[:, None]
        theirs = ttest_ind(flipped[group == 1], flipped[group == 0], equal_var=False)
        maxima.append(norm.isf(t.sf(np.abs(theirs.statistic), theirs.df)))
    observed, largest = maxima[0], np.array(maxima).max(axis=1)
    expected = (largest[:, None] >= observed * (1 - 1e-5)).mean(axis=0)
    np.testing.assert_allclose(verdict.p_corrected, expected, atol=1 / 256 + 1e-6)
    assert (np.abs(verdict.p_corrected - expected) > 1e-6).sum() <= 2  # near ties at the limit of float32
    assert verdict.threshold_stat == "z"
    assert any(notice.topic == "variance" for notice in verdict.notices)


def test_tables_keep_the_fits_t_and_say_the_z_that_was_judged(make_problem, make_maps):
    group = np.repeat([0, 1], (6, 14))
    maps = make_maps(20, (6, 5, 4), 6) * np.where(group == 0, 3, 1).astype(np.float32)[:, None]
    maps[:, :20] += 6 * group[:, None]
    data, results = make_problem(
        np.column_stack([np.ones(20), group]), [("t", [0, 1])], maps=maps, shape=(6, 5, 4), groups=group
    )
    spec = InferenceSpec(
        corrections=("fwe-voxel", "fwe-mass", "fdr"), n_permutations=199, cluster_forming_p=0.01
    )
    voxel, mass, fdr = correct_group(data, results, spec)
    assert fdr.z is None
    for verdict in (voxel, mass):
        np.testing.assert_allclose(verdict.z, unshuffled_z(data, "t"), atol=1e-5)
        peaks = [peak for cluster in verdict.clusters for peak in cluster.peaks]
        assert peaks
        for peak in peaks:
            assert peak.statistic == results[0].maps["t"][peak.element]
            assert peak.z == verdict.z[peak.element]
            assert peak.p_uncorrected == results[0].maps["p"][peak.element]
    significant = np.abs(voxel.z) > voxel.threshold
    np.testing.assert_array_equal(significant, voxel.is_significant)


def test_one_variance_group_is_no_variance_group(make_problem, make_maps):
    maps = make_maps(10, (6, 5, 4), 2)
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=99)
    with_one = make_problem(np.ones((10, 1)), [("t", [1])], maps=maps, shape=(6, 5, 4), groups=["a"] * 10)
    without = make_problem(np.ones((10, 1)), [("t", [1])], maps=maps, shape=(6, 5, 4))
    np.testing.assert_array_equal(
        correct_group(*with_one, spec)[0].p_corrected, correct_group(*without, spec)[0].p_corrected
    )


RANGES = [(0.05, 40), (1, 5), (3, 30), (7, 26), (1, 200), (50, 500), (2, 5000)]


@pytest.mark.parametrize("smallest, largest", RANGES)
@pytest.mark.parametrize("q", [1, 2, 3, 4, 9])
def test_z_of_f_has_the_tails_of_scipy_from_0_to_far_out(q, smallest, largest):
    table = tabulate_dof(q, smallest, largest, is_signed=False)
    random = np.random.default_rng(q)
    dofs = np.exp(random.uniform(np.log(smallest), np.log(largest), 900))
    dofs[:2] = smallest, largest
    values = np.exp(
        np.r_[random.uniform(-70, -5, 300), random.uniform(-5, 2, 300), random.uniform(2, 9, 300)]
    )
    z = np.array([look_up(f, q, dof, *table) for f, dof in zip(values, dofs, strict=True)])
    upper, lower = f_distribution.sf(values, q, dofs), f_distribution.cdf(values, q, dofs)
    np.testing.assert_allclose(norm.sf(z), upper, atol=1e-6)
    np.testing.assert_allclose(norm.cdf(z), lower, atol=1e-6)
    exact = np.where(upper < 0.5, norm.isf(upper), norm.ppf(lower))
    within = (exact > -7.5) & (upper > 1e-300)
    np.testing.assert_allclose(z[within], exact[within], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("smallest, largest", RANGES)
def test_z_of_t_has_the_tail_of_scipy(smallest, largest):
    table = tabulate_dof(1, smallest, largest, is_signed=True)
    random = np.random.default_rng(0)
    for _ in range(400):
        dof, size = np.exp(random.uniform(np.log(smallest), np.log(largest))), np.exp(random.uniform(-9, 4))
        z = look_up(size**2, 1, dof, *table)
        if t.sf(size, dof) > 1e-300:
            assert z == pytest.approx(norm.isf(t.sf(size, dof)), rel=1e-6, abs=3e-7)


def test_t_of_a_square_is_the_two_sided_f():
    table = tabulate_dof(1, 2, 40, is_signed=True)
    assert look_up(4.0, 1, 10.0, *table) == pytest.approx(norm.isf(t.sf(2.0, 10)), abs=1e-7)


def test_f_of_one_row_has_the_two_sided_p_of_its_t(make_problem, uneven_maps):
    matrix = np.column_stack([np.ones(15), GROUP])
    data, _ = make_problem(matrix, [("t", [0, 1])], maps=uneven_maps, groups=GROUP)
    same, _ = make_problem(matrix, [("F", [[0, 1]])], maps=uneven_maps, groups=GROUP)
    two_sided = 2 * norm.sf(np.abs(unshuffled_z(data, "t").astype(float)))
    p = norm.sf(unshuffled_z(same, "F").astype(float))
    assert two_sided.max() > 0.95
    np.testing.assert_allclose(p, two_sided, atol=1e-6)


@pytest.mark.parametrize("correction", ["fdr", "fwe-voxel"])
def test_that_p_by_shuffling_is_of_another_statistic_is_said(make_problem, make_maps, correction):
    """Also where no correction shuffles: the p map then stands beside a t of pooled variance."""
    matrix = np.column_stack([np.ones(16), np.repeat([0.0, 1.0], 8)])
    maps = make_maps(16, (4, 4, 4), 0)
    problem = make_problem(matrix, [("t", [0, 1])], maps=maps, shape=(4, 4, 4), groups=["a"] * 8 + ["b"] * 8)
    spec = InferenceSpec(corrections=(correction,), n_permutations=40, has_permutation_p=True)
    (verdict,) = correct_group(*problem, spec)
    assert [one.topic for one in verdict.notices] == ["variance"]
