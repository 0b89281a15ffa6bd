"""The group fit against nilearn by hand, statsmodels and closed forms."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.glm.second_level import SecondLevelModel
from scipy import stats

from bids_group.errors import DataError
from bids_group.executor import Threads
from bids_group.model import fit_group
from tests.groups import make_contrast, make_design, make_group


def make_data(matrix, values, contrasts, *, variances=None, **settings):
    return make_group(make_design(matrix, contrasts), values, variance=variances, **settings)


def random_design(n_obs=20, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([np.ones(n_obs), rng.normal(size=n_obs), rng.integers(0, 2, n_obs)]), rng


CONTRASTS = (
    make_contrast([1, 0, 0]),
    make_contrast([0, 1, -2]),
    make_contrast([0, 1, 0], [0, 0, 1]),
    make_contrast([0, 0, 1], test="F"),
)


def by_nilearn(values, matrix, weights, test):
    """Call ``SecondLevelModel`` the usual way, on a list of volumes."""
    shape = (values.shape[1] // 10, 10, 1)
    images = [nib.Nifti1Image(row.reshape(shape), np.eye(4)) for row in values.astype(np.float32)]
    mask = nib.Nifti1Image(np.ones(shape, dtype=np.int8), np.eye(4))
    model = SecondLevelModel(mask_img=mask).fit(images, design_matrix=pd.DataFrame(matrix))
    weights = weights[0] if test == "t" else weights
    maps = model.compute_contrast(weights, second_level_stat_type=test, output_type="all")
    return {name: image.get_fdata().reshape(-1) for name, image in maps.items() if image.ndim == 3}


@pytest.mark.parametrize("contrast", CONTRASTS, ids=["mean", "combination", "joint", "single F"])
def test_numbers_equal_second_level_model_by_hand(contrast):
    matrix, rng = random_design()
    values = rng.normal(0.5, 1, (20, 300)).astype(np.float32)
    (result,) = fit_group(make_data(matrix, values, [contrast])).results
    nilearn = by_nilearn(values, matrix, contrast.weights, contrast.test)
    np.testing.assert_allclose(result.maps[contrast.test], nilearn["stat"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.maps["z"], nilearn["z_score"], rtol=1e-5, atol=1e-5)
    one_sided = nilearn["p_value"]
    expected = 2 * np.minimum(one_sided, 1 - one_sided) if contrast.test == "t" else one_sided
    np.testing.assert_allclose(result.maps["p"], expected, rtol=1e-5)
    if contrast.test == "t":
        np.testing.assert_allclose(result.maps["effect"], nilearn["effect_size"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result.maps["variance"], nilearn["effect_variance"], rtol=1e-5)
    assert result.dof == 17
    assert result.dof_numerator == len(contrast.weights)


def test_every_tile_is_fitted_by_second_level_model_as_on_image_files(tmp_path, monkeypatch):
    matrix, rng = random_design()
    values = rng.normal(0.5, 1, (20, 300)).astype(np.float32)
    paths = [tmp_path / f"map{row}.nii.gz" for row in range(20)]
    for path, row in zip(paths, values, strict=True):
        nib.save(nib.Nifti1Image(row.reshape(10, 10, 3), np.eye(4)), path)
    mask = nib.Nifti1Image(np.ones((10, 10, 3), np.uint8), np.eye(4))
    theirs = SecondLevelModel(mask_img=mask).fit(
        [str(path) for path in paths], design_matrix=pd.DataFrame(matrix)
    )
    expected = theirs.compute_contrast(np.array([0, 1, -2]), output_type="all")
    shapes, compute = [], SecondLevelModel.compute_contrast

    def counted(model, *args, **settings):
        made = compute(model, *args, **settings)
        shapes.append((len(model.labels_), next(iter(model.results_.values())).theta.shape[0]))
        return made

    monkeypatch.setattr(SecondLevelModel, "compute_contrast", counted)
    monkeypatch.setattr("bids_group.model.fitting.group_fit._SMALLEST_TILE", 64)
    monkeypatch.setattr("bids_group.model.fitting.group_fit._LARGEST_TILE", 64)
    results = fit_group(make_data(matrix, values, CONTRASTS), executor=Threads(n_procs=2)).results
    assert sorted(shapes) == [(44, 3), *[(64, 3)] * 4]
    ours = results[1].maps
    for name, stat in {"t": "stat", "effect": "effect_size", "variance": "effect_variance"}.items():
        np.testing.assert_allclose(ours[name], expected[stat].get_fdata().reshape(-1), rtol=1e-5, atol=1e-6)


def test_numbers_equal_statsmodels_on_single_elements():
    matrix, rng = random_design()
    values = rng.normal(0.5, 1, (20, 30)).astype(np.float32)
    results = fit_group(make_data(matrix, values, CONTRASTS)).results
    for element in range(30):
        fitted = sm.OLS(values[:, element].astype(float), matrix).fit()
        for contrast, result in zip(CONTRASTS, results, strict=True):
            if contrast.test == "t":
                tested = fitted.t_test(contrast.weights)
                assert result.maps["t"][element] == pytest.approx(tested.tvalue.item(), rel=1e-5)
                assert result.maps["variance"][element] == pytest.approx(tested.sd.item() ** 2, rel=1e-5)
            else:
                tested = fitted.f_test(contrast.weights)
                assert result.maps["F"][element] == pytest.approx(tested.fvalue, rel=1e-5)
            assert result.maps["p"][element] == pytest.approx(float(np.squeeze(tested.pvalue)), rel=1e-5)


def test_a_joint_test_gives_effects_and_variances_by_row():
    matrix, rng = random_design()
    values = rng.normal(0.5, 1, (20, 5)).astype(np.float32)
    result = fit_group(make_data(matrix, values, [CONTRASTS[2]])).results[0]
    assert result.maps["effect"].shape == result.maps["variance"].shape == (2, 5)
    fitted = sm.OLS(values[:, 3].astype(float), matrix).fit()
    np.testing.assert_allclose(result.maps["effect"][:, 3], fitted.params[1:], rtol=1e-5)
    np.testing.assert_allclose(result.maps["variance"][:, 3], np.diag(fitted.cov_params())[1:], rtol=1e-5)


def test_badly_scaled_columns_do_not_disturb_the_numbers():
    rng = np.random.default_rng(4)
    volume = rng.normal(1.4e6, 1e5, 40)
    raw = np.column_stack([np.ones(40), volume, volume**2])
    unit = (volume - volume.mean()) / volume.std()
    well = np.column_stack([np.ones(40), unit, unit**2])
    values = rng.normal(size=(40, 50)) + unit[:, None] ** 2
    bad, good = (fit_group(make_data(m, values, [make_contrast([0, 0, 1])])).results[0] for m in (raw, well))
    np.testing.assert_allclose(bad.maps["t"], good.maps["t"], rtol=1e-5, atol=1e-5)
    assert np.abs(good.maps["t"]).max() > 4


@pytest.mark.parametrize("is_complete", [True, False])
def test_regressors_on_very_different_scales_do_not_disturb_any_test(is_complete):
    rng = np.random.default_rng(14)
    unit, age = rng.normal(size=40), rng.normal(size=40)
    raw = np.column_stack([np.ones(40), unit * 1e24, age + 0.5 * unit])
    well = np.column_stack([np.ones(40), unit, age + 0.5 * unit])
    values = rng.normal(size=(40, 50)) * 1e-4 + (age + unit)[:, None] * 3e-5
    asked = [make_contrast([0, 1, 0], [0, 0, 1]), make_contrast([0, 1, 0])]
    of_raw = fit_group(make_data(raw, values, asked, is_complete=is_complete)).results
    of_well = fit_group(make_data(well, values, asked, is_complete=is_complete)).results
    for left, right in zip(of_raw, of_well, strict=True):
        name = left.contrast.test
        np.testing.assert_allclose(left.maps[name], right.maps[name], rtol=1e-5, atol=1e-6)
        assert "float32) at 50 of 50 elements" in left.notices[0].sentence
        assert right.notices == ()
    np.testing.assert_allclose(of_raw[1].maps["effect"], of_well[1].maps["effect"] / 1e24, rtol=1e-5)


def test_a_rank_deficient_design_gives_the_numbers_of_its_full_rank_form():
    rng = np.random.default_rng(5)
    group, age = np.repeat([1.0, 0.0], [8, 12]), rng.normal(size=20)
    redundant = np.column_stack([np.ones(20), group, 1 - group, age])
    plain = np.column_stack([group, 1 - group, age])
    values = rng.normal(size=(20, 40)) + group[:, None]
    asked = (make_contrast([0, 1, -1, 0]), make_contrast([0, 1, -1, 0], [0, 0, 0, 1]))
    same = (make_contrast([1, -1, 0]), make_contrast([1, -1, 0], [0, 0, 1]))
    for left, right in zip(
        fit_group(make_data(redundant, values, asked)).results,
        fit_group(make_data(plain, values, same)).results,
        strict=True,
    ):
        assert left.dof == right.dof == 17
        for name, values_of in right.maps.items():
            np.testing.assert_allclose(left.maps[name], values_of, rtol=1e-4, atol=1e-6, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rank=st.integers(1, 4),
    n_redundant=st.integers(0, 2),
    q=st.integers(1, 3),
    magnitude=st.sampled_from([1e-6, 1.0, 1e6]),
    is_complete=st.booleans(),
)
def test_random_designs_and_estimable_contrasts_equal_the_pseudoinverse_form(
    seed, rank, n_redundant, q, magnitude, is_complete
):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(14, rank))
    matrix = np.hstack([columns, columns @ rng.normal(size=(rank, n_redundant))])
    matrix *= magnitude ** rng.integers(0, 2, matrix.shape[1])
    q = min(q, rank)
    weights = rng.normal(size=(q, 14)) @ matrix  # rows of the row space: estimable
    values = rng.normal(1, 1, (14, 6)).astype(np.float32)
    data = make_data(matrix, values, [make_contrast(*weights)], is_complete=is_complete)
    (result,) = fit_group(data).results

    basis = np.linalg.svd(columns, full_matrices=False)[0]
    residuals = values - basis @ (basis.T @ values.astype(float))
    variance = (residuals**2).sum(axis=0) / (14 - rank)
    scale = np.where(np.linalg.norm(matrix, axis=0) > 0, np.linalg.norm(matrix, axis=0), 1)
    inverse = np.linalg.pinv(matrix / scale, rcond=1e-10)
    effect = (weights / scale) @ inverse @ values
    spread = (weights / scale) @ inverse @ inverse.T @ (weights / scale).T
    if q == 1:
        expected = effect[0] / np.sqrt(variance * spread[0, 0])
        np.testing.assert_allclose(result.maps["t"], expected, rtol=1e-4, atol=1e-5)
    else:
        expected = np.einsum("qn,qr,rn->n", effect, np.linalg.inv(spread), effect) / (q * variance)
        np.testing.assert_allclose(result.maps["F"], expected, rtol=1e-3, atol=1e-5)


def test_rows_in_another_order_give_the_same_numbers():
    matrix, rng = random_design()
    values, order = rng.normal(size=(20, 50)).astype(np.float32), rng.permutation(20)
    first = fit_group(make_data(matrix, values, CONTRASTS)).results
    second = fit_group(make_data(matrix[order], values[order], CONTRASTS)).results
    for left, right in zip(first, second, strict=True):
        for name in left.maps:
            np.testing.assert_allclose(left.maps[name], right.maps[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_one_sample_t_over_several_tiles_equals_scipy():
    values = np.random.default_rng(6).normal(0.3, 1, (6, 70_000)).astype(np.float32)
    (result,) = fit_group(make_data(np.ones((6, 1)), values, [make_contrast([1])])).results
    reference = stats.ttest_1samp(values.astype(float), 0)
    np.testing.assert_allclose(result.maps["t"], reference.statistic, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.maps["p"], reference.pvalue, rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"is_complete": False}])
def test_the_number_of_processes_and_the_memory_do_not_change_a_bit(settings):
    matrix, rng = random_design()
    data = make_data(matrix, rng.normal(size=(20, 70_000)), CONTRASTS, **settings)
    one = fit_group(data).results
    for other in (
        fit_group(data, executor=Threads(n_procs=3)).results,
        fit_group(data, executor=Threads(n_procs=2, mem_gb=0.01)).results,
    ):
        for left, right in zip(one, other, strict=True):
            for name in left.maps:
                assert left.maps[name].tobytes() == right.maps[name].tobytes()


def test_one_sided_p_is_the_upper_tail_and_z_does_not_change():
    matrix, rng = random_design()
    data = make_data(matrix, rng.normal(size=(20, 50)), CONTRASTS[:1])
    (two,), (one,) = (fit_group(data, is_two_sided=sided).results for sided in (True, False))
    np.testing.assert_allclose(one.maps["p"], stats.t.sf(one.maps["t"].astype(float), 17), rtol=1e-5)
    np.testing.assert_allclose(two.maps["p"], 2 * np.minimum(one.maps["p"], 1 - one.maps["p"]), rtol=1e-4)
    np.testing.assert_array_equal(one.maps["z"], two.maps["z"])


def test_p_is_uniform_under_the_null():
    matrix, rng = random_design(12, seed=8)
    n = 20_000
    results = fit_group(make_data(matrix, rng.normal(size=(12, n)), CONTRASTS)).results
    low, high = stats.binom.interval(0.999, n, 0.05)
    for result in results:
        assert low <= (result.maps["p"] < 0.05).sum() <= high


def test_a_constant_element_has_no_statistic_and_a_notice():
    matrix, rng = random_design()
    values = rng.normal(size=(20, 10)).astype(np.float32)
    values[:, 3], values[:, 7] = 2.7, 0.0
    (result,) = fit_group(make_data(matrix, values, CONTRASTS[:1])).results
    assert result.maps["t"][[3, 7]].tolist() == [0, 0]
    assert result.maps["p"][[3, 7]].tolist() == [1, 1]
    assert result.maps["effect"][3] == pytest.approx(2.7)
    assert "2 of 10 elements" in result.notices[0].sentence
    assert all(np.isfinite(values).all() for values in result.maps.values())


def test_a_nearly_constant_element_is_still_tested():
    values = np.full((20, 1), 1.0, dtype=np.float32)
    values[::2] = np.nextafter(np.float32(1), np.float32(2))
    (result,) = fit_group(make_data(np.ones((20, 1)), values, [make_contrast([1])])).results
    assert result.notices == ()
    assert result.maps["t"][0] > 1e6
    assert result.maps["p"][0] > 0
    assert np.isfinite(result.maps["z"]).all()


@pytest.mark.parametrize("is_complete", [True, False])
@pytest.mark.parametrize("scale", [1e-40, 1e-26, 1e-15, 1e15])
def test_the_units_of_the_maps_do_not_change_a_statistic(is_complete, scale):
    matrix, rng = random_design()
    values = (rng.normal(0.5, 1, (20, 50)) * scale).astype(np.float32)
    data = make_data(matrix, values, CONTRASTS, is_complete=is_complete)
    plain = make_data(matrix, np.ldexp(values.astype(float), -np.frexp(scale)[1]), CONTRASTS)
    for found, expected in zip(fit_group(data).results, fit_group(plain).results, strict=True):
        for name in set(expected.maps) - {"effect", "variance"}:
            np.testing.assert_allclose(found.maps[name], expected.maps[name], rtol=1e-5, atol=1e-6)
        assert [notice.topic for notice in found.notices] == (["units"] if scale < 1e-20 else [])


@pytest.mark.parametrize("is_complete", [True, False])
def test_effects_whose_variance_no_map_can_hold_are_refused(is_complete):
    matrix, rng = random_design()
    values = rng.normal(0.5, 1, (20, 10)).astype(np.float32)
    values[7, 3] = 1e30
    message = (
        r"variance of the contrast 'c' is too large(.|\n)*1 of 10 elements; .*sub-007 there reach 1e\+30"
    )
    with pytest.raises(DataError, match=message):
        fit_group(make_data(matrix, values, CONTRASTS, is_complete=is_complete))


def test_effect_sizes_are_left_out_where_nobody_asks():
    matrix, rng = random_design()
    data = make_data(matrix, rng.normal(size=(20, 5)), CONTRASTS)
    for result in fit_group(data, has_effect_sizes=False).results:
        assert set(result.maps) == {"effect", "variance", result.contrast.test, "z", "p"}
