import numpy as np
import pytest
from scipy.stats import genpareto, gumbel_r

from bids_group.config import InferenceSpec
from bids_group.inference import correct_group
from bids_group.inference.corrections.tail import fit_tail


def test_a_fit_equals_scipy_s_distribution():
    tail = fit_tail(np.random.default_rng(0).gumbel(size=499))
    beyond = np.array([0.1, 0.7, 2.0])
    theirs = genpareto(c=-tail.k, scale=tail.scale).sf(beyond) * tail.share
    np.testing.assert_allclose(tail.p(tail.start + beyond), theirs, rtol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_five_hundred_maxima_give_the_thousandth_as_well_as_ten_thousand(seed):
    drawn = gumbel_r.rvs(loc=4, scale=0.35, size=500, random_state=seed)
    tail = fit_tail(drawn)
    exact = gumbel_r.isf(0.001, loc=4, scale=0.35)
    assert tail.p(exact) == pytest.approx(0.001, abs=0.0025)
    assert tail.p(gumbel_r.isf(0.05, loc=4, scale=0.35)) == pytest.approx(0.05, abs=0.025)


def test_value_and_p_are_inverse():
    tail = fit_tail(np.random.default_rng(3).gumbel(size=499))
    for p in (0.05, 0.01, 0.001):
        assert tail.p(tail.value_at(p)) == pytest.approx(p, rel=1e-9)


def test_p_go_no_further_than_the_shuffles_carry():
    maxima = np.random.default_rng(3).gumbel(size=500)
    assert fit_tail(maxima).p(1e3) == 1 / 10_000
    assert fit_tail(maxima, n_distinct=2**12).p(1e3) == 1 / 2**12


def test_a_discrete_null_is_not_fitted():
    assert fit_tail(np.random.default_rng(0).integers(0, 3, size=500).astype(float)) is None


@pytest.mark.parametrize("n_largest", [25, 125])
def test_a_tail_of_nothing_but_ties_is_not_fitted(n_largest):
    assert fit_tail(np.repeat([0.0, 1.0], [500 - n_largest, n_largest])) is None


def test_a_tail_of_another_kind_is_rejected():
    random = np.random.default_rng(1)
    two_humps = np.r_[random.normal(0, 1, 480), random.normal(30, 0.01, 20)]
    assert fit_tail(two_humps) is None


def test_p_fall_below_what_counting_allows_and_agree_with_many_shuffles(make_problem, make_maps):
    maps = make_maps(20, (8, 7, 6), 9)
    maps[:, :8] += np.linspace(0.4, 2.4, 8, dtype=np.float32)
    data, results = make_problem(np.ones((20, 1)), [("t", [1])], maps=maps)
    few = InferenceSpec(
        corrections=("fwe-voxel", "fwe-tfce"), n_permutations=499, has_tail_approximation=True
    )
    many = InferenceSpec(corrections=("fwe-voxel", "fwe-tfce"), n_permutations=19_999)
    for approximate, counted in zip(
        correct_group(data, results, few), correct_group(data, results, many), strict=True
    ):
        assert approximate.details.tail_approximation["goodness_p"] > 0.05
        assert approximate.p_corrected.min() < 1 / 500
        middle = (counted.p_corrected > 0.002) & (counted.p_corrected < 0.2)
        assert middle.any()
        np.testing.assert_allclose(approximate.p_corrected[middle], counted.p_corrected[middle], atol=0.04)
        is_beyond = approximate.p_corrected <= 0.05
        np.testing.assert_array_equal(approximate.is_significant, is_beyond)


def test_exhaustive_shuffles_need_no_tail(make_problem):
    data, results = make_problem(np.ones((8, 1)), [("t", [1])])
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=999, has_tail_approximation=True)
    (verdict,) = correct_group(data, results, spec)
    assert verdict.details.tail_approximation is None
