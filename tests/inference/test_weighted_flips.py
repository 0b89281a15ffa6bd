"""Sign flips of rows with known variances: each element alone, by numpy, is the witness."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.stats import binom

from bids_group.config import InferenceSpec
from bids_group.config.estimators import WEIGHTED
from bids_group.errors import UsageError
from bids_group.inference import check_inference, correct_group, forecast_seconds
from bids_group.model import fit_group
from bids_group.records import MapStack
from bids_group.variance_between import variance_between
from tests.inference.witnesses import check_bits, z_by_hand

SHAPE = (4, 3, 3)
N = 10
RANDOM = np.random.default_rng(1)
COVARIATE = RANDOM.normal(size=N)
GROUP = np.repeat([0.0, 1], 5)
CASES = {
    "one sample": (np.ones((N, 1)), "t", [[1.0]], {}),
    "one sample, one-sided": (np.ones((N, 1)), "t", [[1.0]], {"is_two_sided": False}),
    "mean beside a covariate": (np.column_stack([np.ones(N), COVARIATE]), "t", [[1.0, 0]], {}),
    "difference of groups": (np.column_stack([np.ones(N), GROUP, COVARIATE]), "t", [[0, 1.0, 0]], {}),
    "F of two slopes": (np.column_stack([np.ones(N), GROUP, COVARIATE]), "F", [[0, 1.0, 0], [0, 0, 1]], {}),
}


def build(make_problem, matrix, contrasts, *, seed=0, share=0.0, shape=SHAPE, **more):
    """Maps of effects with variances that differ, some not observed."""
    random, n = np.random.default_rng(seed), int(np.prod(shape))
    variances = random.gamma(3, 0.5, (len(matrix), n)) * random.lognormal(0, 0.5, (len(matrix), 1))
    maps = random.normal(0, np.sqrt(variances + 0.5))
    gone = random.random(maps.shape) < share
    gone[:, : n // 3] = False
    maps[gone], variances[gone] = np.nan, np.nan
    data, _ = make_problem(matrix, contrasts, maps=maps, shape=shape, **more)
    stack = MapStack(labels=data.stack.labels, data=data.stack.data, variance=variances.astype(np.float32))
    return replace(data, stack=stack, estimator=WEIGHTED, is_complete=share == 0)


def z_alone(matrix, weights, y, v, test, signs):
    """Weighted least squares with the weights of the null model, of its residuals with each set of signs."""
    here = np.isfinite(y)
    X, y, v, signs = matrix[here], y[here].astype(float), v[here].astype(float), signs[:, here].T
    nuisance = X @ null_space(weights)
    basis = np.linalg.qr(nuisance)[0] if nuisance.shape[1] else nuisance
    tau2 = variance_between(y[:, None], v[:, None], basis)[0][0]
    w = np.sqrt(1 / (v + tau2))[:, None]
    fitted = 0 * y
    if nuisance.shape[1]:
        fitted = nuisance @ np.linalg.lstsq(w * nuisance, w[:, 0] * y, rcond=None)[0]
    shuffled = w * (fitted[:, None] + signs * (y - fitted)[:, None])  # (n_rows, n_flips)
    return z_by_hand(w * X, weights, shuffled, test)


@pytest.mark.parametrize("share", [0.0, 0.2])
@pytest.mark.parametrize("case", CASES)
def test_p_is_the_share_of_flips_that_reach_it_each_element_alone(case, share, make_problem):
    matrix, test, weights, options = CASES[case]
    data = build(make_problem, matrix, [(test, weights)], share=share)
    spec = InferenceSpec(
        corrections=("fwe-voxel",), n_permutations=30, alpha=0.5, has_permutation_p=True, **options
    )
    results = fit_group(data, is_two_sided=spec.is_two_sided).results
    (verdict,) = correct_group(data, results, spec)
    (scheme,) = check_inference(data.design, spec, estimator=WEIGHTED, is_complete=share == 0)[1]
    batch = scheme.shuffles.batch(0, 31)
    assert (batch.sources == np.arange(N)).all()
    maps, variances, weights = data.stack.data, data.stack.variance, np.array(weights)
    is_tested = results[0].maps.get("dof", np.ones(36)) > 0
    there = np.flatnonzero(is_tested)
    z = np.stack(
        [z_alone(matrix, weights, maps[:, v], variances[:, v], test, batch.signs) for v in there], axis=1
    )
    np.testing.assert_allclose(verdict.z[is_tested], z[0], atol=2e-5)
    sizes = np.abs(z) if verdict.is_two_sided else z
    reached = sizes[0] - 1e-4
    np.testing.assert_allclose(verdict.by_shuffling.p[is_tested], (sizes >= reached).mean(axis=0), atol=1e-6)
    corrected = (sizes.max(axis=1)[:, None] >= reached).mean(axis=0)
    np.testing.assert_allclose(verdict.p_corrected[is_tested], corrected, atol=1e-6)
    np.testing.assert_allclose(verdict.null["voxel"], sizes.max(axis=1), rtol=5e-5, atol=3e-5)
    assert verdict.threshold_stat == "z"


def test_the_notice_names_the_statistic_and_says_what_is_exact(make_problem):
    spec = InferenceSpec(corrections=("fwe-voxel", "fwe-tfce"), n_permutations=60, alpha=0.1)
    for case, kind in (("one sample", "exact"), ("difference of groups", "approximate")):
        matrix, test, weights, _ = CASES[case]
        data = build(make_problem, matrix, [(test, weights)])
        for one in correct_group(data, fit_group(data).results, spec):
            (notice,) = [each for each in one.notices if each.topic == "variance"]
            assert "Knapp-Hartung" in notice.sentence
            assert f"sign flips are {kind}" in notice.sentence
            assert ("approximate" in one.details.shuffling) == (kind == "approximate")


def test_one_sample_flips_are_exact_whatever_the_variances(make_problem):
    """All 2^8 flips: under symmetry p is uniform on its steps, element by element."""
    data = build(make_problem, np.ones((8, 1)), [("t", [1.0])], shape=(20, 10, 10), seed=5)
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=255, has_permutation_p=True)
    (verdict,) = correct_group(data, fit_group(data).results, spec)
    p = verdict.by_shuffling.p
    for alpha in (0.0625, 0.25, 0.5):
        low, high = binom.interval(0.999, p.size, alpha)
        assert low <= (p <= np.float32(alpha + 1e-6)).sum() <= high


def test_flips_of_residuals_err_about_as_often_as_alpha_says(make_problem):
    matrix = np.column_stack([np.ones(16), np.repeat([0.0, 1], 8)])
    data = build(make_problem, matrix, [("t", [0, 1.0])], shape=(20, 10, 10), seed=6)
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=499, has_permutation_p=True)
    (verdict,) = correct_group(data, fit_group(data).results, spec)
    assert 0.035 <= (verdict.by_shuffling.p <= 0.05).mean() <= 0.07


def test_neither_threads_nor_the_work_folder_change_a_bit(make_problem, tmp_path):
    matrix, test, weights, _ = CASES["difference of groups"]
    data = build(make_problem, matrix, [(test, weights)], share=0.2)
    spec = InferenceSpec(corrections=("fwe-voxel", "fwe-mass"), n_permutations=60, alpha=0.1)
    check_bits(data, fit_group(data).results, spec, tmp_path)


def test_what_was_kept_for_other_variances_is_not_taken(make_problem, tmp_path):
    matrix, test, weights, _ = CASES["one sample"]
    data = build(make_problem, matrix, [(test, weights)])
    more = replace(data, stack=replace(data.stack, variance=data.stack.variance * np.float32(9)))
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=60)
    for each in (data, more):
        correct_group(each, fit_group(each).results, spec, work_dir=tmp_path)
    assert len(list(tmp_path.glob("shuffles-*"))) == 2


def test_weighted_rows_do_not_change_places(make_problem):
    data = build(make_problem, CASES["difference of groups"][0], [("t", [0, 1.0, 0])])
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=60, shuffle="permutations")
    with pytest.raises(UsageError, match="cannot change places"):
        check_inference(data.design, spec, estimator=WEIGHTED)


def test_whole_blocks_change_signs_together_and_the_time_is_forecast(make_problem):
    blocks = np.repeat(np.arange(5), 2)
    data = build(make_problem, np.ones((N, 1)), [("t", [1.0])], blocks=blocks)
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=60, alpha=0.1)
    _, (scheme,) = check_inference(data.design, spec, blocks=data.blocks, estimator=WEIGHTED)
    signs = scheme.shuffles.batch(0, 32).signs
    assert sorted(map(tuple, signs[:, ::2])) == sorted(product((-1.0, 1.0), repeat=5))
    assert (signs[:, ::2] == signs[:, 1::2]).all()
    assert forecast_seconds(data.design, [scheme], spec, 1000) > 0
