"""Weighted least squares with known variances (nodes of type meta)."""

import nibabel as nib
import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from bids_group.config import InferenceSpec
from bids_group.config.estimators import FIXED_EFFECTS
from bids_group.inference import correct_group
from bids_group.model import build_stack, fit_group, pool
from bids_group.records import FirstLevelMap, MapStack, Observation
from tests.groups import make_contrast, make_design, make_group


def make_data(matrix, stack, contrasts, elements=None, is_complete=True):
    design = make_design(matrix, contrasts, labels=stack.labels)
    more = {"elements": elements, "is_complete": is_complete, "estimator": FIXED_EFFECTS}
    return make_group(design, stack.data, variance=stack.variance, **more)


def random_stack(n_obs=15, n=40, seed=0):
    rng = np.random.default_rng(seed)
    variances = 10.0 ** rng.uniform(-3, 3, (n_obs, n))
    values = rng.normal(0.3, np.sqrt(variances))
    labels = tuple(f"sub-{k:02d}" for k in range(n_obs))
    stack = MapStack(labels=labels, data=values.astype(np.float32), variance=variances.astype(np.float32))
    return np.column_stack([np.ones(n_obs), rng.normal(size=n_obs), rng.integers(0, 2, n_obs)]), stack


CONTRASTS = (make_contrast([1, 0, 0]), make_contrast([0, 1, 0]), make_contrast([0, 1, 0], [0, 0, 1]))


def test_a_mean_is_the_precision_weighted_mean():
    _, stack = random_stack()
    (result,) = fit_group(make_data(np.ones((15, 1)), stack, [make_contrast([1])])).results
    e, v = stack.data.astype(float), stack.variance.astype(float)
    effect, variance = (e / v).sum(0) / (1 / v).sum(0), 1 / (1 / v).sum(0)
    np.testing.assert_allclose(result.maps["effect"], effect, rtol=1e-5)
    np.testing.assert_allclose(result.maps["variance"], variance, rtol=1e-5)
    np.testing.assert_allclose(result.maps["t"], effect / np.sqrt(variance), rtol=1e-5)
    np.testing.assert_allclose(result.maps["z"], result.maps["t"], rtol=1e-5)
    expected = 2 * stats.norm.sf(np.abs(effect / np.sqrt(variance)))
    np.testing.assert_allclose(result.maps["p"], np.maximum(expected, np.finfo(np.float32).tiny), rtol=2e-5)
    assert result.dof == np.inf


def test_with_regressors_it_equals_weighted_least_squares_with_known_scale():
    matrix, stack = random_stack()
    results = fit_group(make_data(matrix, stack, CONTRASTS)).results
    for element in range(40):
        weights = 1 / stack.variance[:, element].astype(float)
        fitted = sm.WLS(stack.data[:, element].astype(float), matrix, weights=weights).fit(
            cov_type="fixed scale"
        )
        for contrast, result in zip(CONTRASTS[:2], results[:2], strict=True):
            tested = fitted.t_test(contrast.weights, use_t=False)
            assert result.maps["t"][element] == pytest.approx(tested.tvalue.item(), rel=1e-5, abs=1e-6)
            assert result.maps["p"][element] == pytest.approx(tested.pvalue.item(), rel=1e-5)
        wald = fitted.wald_test(CONTRASTS[2].weights, use_f=False, scalar=True)
        assert 2 * results[2].maps["F"][element] == pytest.approx(wald.statistic, rel=1e-5)
        assert results[2].maps["p"][element] == pytest.approx(wald.pvalue, rel=1e-4)


def test_people_missing_at_an_element_have_no_weight():
    matrix, stack = random_stack()
    values, variances = stack.data.copy(), stack.variance.copy()
    values[4:7, 1] = variances[4:7, 1] = np.nan
    data = make_data(
        matrix, MapStack(labels=stack.labels, data=values, variance=variances), CONTRASTS, is_complete=False
    )
    result = fit_group(data).results[1]
    here = np.isfinite(values[:, 1])
    weights = 1 / variances[here, 1].astype(float)
    fitted = sm.WLS(values[here, 1].astype(float), matrix[here], weights=weights).fit(cov_type="fixed scale")
    assert result.maps["t"][1] == pytest.approx(fitted.tvalues[1], rel=1e-5)
    assert result.maps["n"][1] == 12


def test_people_who_do_not_determine_a_contrast_count_among_no_tests():
    cells = np.kron(np.eye(3), np.ones((5, 1)))
    _, stack = random_stack()
    values, variances = stack.data.copy(), stack.variance.copy()
    values[:5, :8] = variances[:5, :8] = np.nan
    data = make_data(
        cells,
        MapStack(labels=stack.labels, data=values, variance=variances),
        [make_contrast([1, -1, 0]), make_contrast([1, -1, 0], [0, 1, -1]), make_contrast([0, 1, -1])],
        is_complete=False,
    )
    results = fit_group(data).results
    for result in results[:2]:
        for name, one in result.maps.items():
            assert (one[..., :8] == {"p": 1, "n": 10}.get(name, 0)).all(), name
        assert "8 of 40 elements" in result.notices[0].sentence
    here = sm.WLS(values[5:, 0].astype(float), cells[5:, 1:], weights=1 / variances[5:, 0].astype(float))
    expected = here.fit(cov_type="fixed scale").t_test([1, -1], use_t=False)
    assert results[2].maps["t"][0] == pytest.approx(expected.tvalue.item(), rel=1e-5)
    spec = InferenceSpec(corrections=("bonferroni",))
    counts = [one.details.number_of_tests for one in correct_group(data, results, spec)]
    assert counts == [32, 32, 40]


def test_there_are_no_effect_sizes_without_a_residual_standard_deviation():
    matrix, stack = random_stack()
    for result in fit_group(make_data(matrix, stack, CONTRASTS)).results:
        assert not {"g", "partialR2"} & set(result.maps)


def test_the_normal_reference_holds_its_level():
    rng = np.random.default_rng(3)
    variances = rng.uniform(0.1, 10, (10, 20_000)).astype(np.float32)
    values = rng.normal(0, np.sqrt(variances)).astype(np.float32)
    labels = tuple(f"sub-{k}" for k in range(10))
    matrix = np.column_stack([np.ones(10), np.arange(10.0)])
    stack = MapStack(labels=labels, data=values, variance=variances)
    contrasts = [make_contrast([0, 1]), make_contrast([1, 0], [0, 1])]
    low, high = stats.binom.interval(0.999, 20_000, 0.05)
    for result in fit_group(make_data(matrix, stack, contrasts)).results:
        assert low <= (result.maps["p"] < 0.05).sum() <= high


@pytest.mark.parametrize("scale", [1e-15, 1e-19, 1e15])
def test_the_units_of_the_maps_do_not_change_a_statistic(scale):
    matrix, plain = random_stack()
    variances = (plain.variance * scale).astype(np.float32).astype(float) * scale
    stack = MapStack(
        labels=plain.labels,
        data=(plain.data * scale).astype(np.float32),
        variance=variances.astype(np.float32),
    )
    expected = fit_group(make_data(matrix, plain, CONTRASTS)).results
    for found, one in zip(fit_group(make_data(matrix, stack, CONTRASTS)).results, expected, strict=True):
        rtol = 1e-3 if scale == 1e-19 else 1e-5  # such variances are rounded in the files already
        for name in set(one.maps) - {"effect", "variance"}:
            np.testing.assert_allclose(found.maps[name], one.maps[name], rtol=rtol, atol=1e-5)
        words = [f"{notice.topic}: {notice.sentence}" for notice in found.notices]
        assert len(words) == (scale == 1e-19)
        assert all(
            word.startswith("units") and "as exact as the variances of the maps" in word for word in words
        )


def test_real_variances_that_differ_by_orders_of_magnitude(pain21):
    paths = sorted(pain21.root.glob("derivatives/**/*contrast-pain_stat-effect_statmap.nii.gz"))
    labels = tuple(path.name.split("_")[0] for path in paths)
    observations = [
        Observation(
            subject=label[4:],
            contrast="pain",
            sources=(
                FirstLevelMap(
                    subject=label[4:],
                    contrast="pain",
                    dataset=pain21.root,
                    effect=path,
                    variance=path.with_name(path.name.replace("stat-effect", "stat-variance")),
                ),
            ),
        )
        for path, label in zip(paths, labels, strict=True)
    ]
    stacked = build_stack(
        observations, take=pool, labels=labels, mask=None, min_coverage=1.0, fwhm_mm=0, work_dir=None,
        needs_variance=True,
    )  # fmt: skip
    data = make_data(np.ones((len(labels), 1)), stacked.stack, [make_contrast([1])], stacked.elements)
    (result,) = fit_group(data).results
    mask = stacked.elements.mask
    e = np.array([nib.load(path).get_fdata()[mask] for path in paths])
    v = np.array(
        [nib.load(str(path).replace("stat-effect", "stat-variance")).get_fdata()[mask] for path in paths]
    )
    np.testing.assert_allclose(result.maps["effect"], (e / v).sum(0) / (1 / v).sum(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.maps["variance"], 1 / (1 / v).sum(0), rtol=1e-5)
    assert len(paths) == 21
    assert v.max() / v.min() > 100
