"""The group fit where people are missing at some elements."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from bids_group.model import fit_group
from tests.groups import make_contrast, make_design, make_group


def make_data(matrix, values, contrasts, is_complete=False, subjects=None):
    return make_group(make_design(matrix, contrasts), values, is_complete=is_complete, subjects=subjects)


def random_data(n_obs=24, n=400, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    matrix = np.column_stack([np.ones(n_obs), rng.normal(40, 10, n_obs), rng.integers(0, 2, n_obs)])
    values = rng.normal(1, 1, (n_obs, n)).astype(np.float32)
    values[rng.random(values.shape) < share] = np.nan
    return matrix, values


CONTRASTS = (make_contrast([1, 40, 0.5]), make_contrast([0, 1, 0]), make_contrast([0, 1, 0], [0, 0, 1]))


def test_with_everybody_there_it_equals_nilearns_fit():
    matrix, values = random_data(share=0)
    own = fit_group(make_data(matrix, values, CONTRASTS)).results
    nilearn = fit_group(make_data(matrix, values, CONTRASTS, is_complete=True)).results
    for left, right in zip(own, nilearn, strict=True):
        for name in right.maps:
            np.testing.assert_allclose(left.maps[name], right.maps[name], rtol=1e-5, atol=1e-7, err_msg=name)
        assert (left.maps["n"] == 24).all()
        assert (left.maps["dof"] == 21).all()
        assert left.dof is None
        assert right.dof == 21


def test_each_element_is_fitted_to_the_people_observed_there():
    matrix, values = random_data()
    results = fit_group(make_data(matrix, values, CONTRASTS)).results
    for element in range(0, 400, 7):
        here = np.isfinite(values[:, element])
        fitted = sm.OLS(values[here, element].astype(float), matrix[here]).fit()
        for contrast, result in zip(CONTRASTS, results, strict=True):
            assert result.maps["n"][element] == here.sum()
            assert result.maps["dof"][element] == fitted.df_resid
            if contrast.test == "t":
                tested = fitted.t_test(contrast.weights)
                assert result.maps["effect"][element] == pytest.approx(tested.effect.item(), rel=1e-5)
                assert result.maps["t"][element] == pytest.approx(tested.tvalue.item(), rel=1e-5, abs=1e-6)
                spread = tested.sd.item() ** 2 / fitted.scale
                g = (1 - 3 / (4 * fitted.df_resid - 1)) * tested.tvalue.item() * np.sqrt(spread)
                assert result.maps["g"][element] == pytest.approx(g, rel=1e-4)
            else:
                tested = fitted.f_test(contrast.weights)
                assert result.maps["F"][element] == pytest.approx(tested.fvalue, rel=1e-5)
            assert result.maps["p"][element] == pytest.approx(float(np.squeeze(tested.pvalue)), rel=1e-5)


def test_half_the_people_missing_are_not_counted_as_zero():
    rng = np.random.default_rng(1)
    values = rng.normal(1.0, 0.1, (12, 3)).astype(np.float32)
    values[6:, 1] = np.nan
    (result,) = fit_group(make_data(np.ones((12, 1)), values, [make_contrast([1])])).results
    assert result.maps["effect"][1] == pytest.approx(values[:6, 1].mean(), rel=1e-6)
    assert result.maps["n"].tolist() == [12, 6, 12]
    assert result.maps["dof"].tolist() == [11, 5, 11]


def test_a_group_that_is_not_there_makes_its_contrast_untestable_but_not_the_others():
    rng = np.random.default_rng(2)
    matrix = np.column_stack([np.repeat([1.0, 0], 6), np.repeat([0, 1.0], 6)])
    values = rng.normal(1, 1, (12, 4)).astype(np.float32)
    values[6:, 2] = np.nan
    difference, first = fit_group(
        make_data(matrix, values, [make_contrast([1, -1]), make_contrast([1, 0])])
    ).results
    assert difference.maps["t"][2] == 0
    assert difference.maps["effect"][2] == 0
    assert difference.maps["p"][2] == 1
    assert difference.maps["z"][2] == 0
    assert difference.maps["dof"][2] == 0
    assert difference.maps["n"][2] == 6
    assert "1 of 4 elements" in difference.notices[0].sentence
    assert first.notices == ()
    reference = sm.OLS(values[:6, 2].astype(float), np.ones(6)).fit()
    assert first.maps["t"][2] == pytest.approx(reference.tvalues[0], rel=1e-5)
    assert first.maps["dof"][2] == 5


def test_a_joint_test_that_lost_a_row_is_untestable():
    rng = np.random.default_rng(3)
    cells = np.kron(np.eye(3), np.ones((4, 1)))
    values = rng.normal(size=(12, 3)).astype(np.float32)
    values[8:, 0] = np.nan
    (result,) = fit_group(make_data(cells, values, [make_contrast([1, -1, 0], [0, 1, -1])])).results
    assert result.maps["F"][0] == 0
    assert result.maps["p"][0] == 1
    assert result.maps["z"][0] == 0
    assert (result.maps["F"][1:] > 0).all()


def test_no_degree_of_freedom_left_is_untestable():
    matrix, values = random_data(n=4, share=0)
    values[3:, 1] = np.nan
    results = fit_group(make_data(matrix, values, CONTRASTS)).results
    for result in results:
        assert result.maps["dof"][1] == 0
        assert result.maps["p"][1] == 1
        assert [notice.topic for notice in result.notices] == ["coverage"]
        assert all(np.isfinite(one).all() for one in result.maps.values())


def test_rank_is_that_of_the_people_observed():
    rng = np.random.default_rng(4)
    matrix = np.column_stack([np.ones(12), np.repeat([0.0, 1.0], 6), rng.normal(size=12)])
    values = rng.normal(size=(12, 2)).astype(np.float32)
    values[6:, 1] = np.nan
    (result,) = fit_group(make_data(matrix, values, [make_contrast([0, 0, 1])])).results
    reference = sm.OLS(values[:6, 1].astype(float), matrix[:6][:, [0, 2]]).fit()
    assert result.maps["dof"][1] == 4
    assert result.maps["t"][1] == pytest.approx(reference.tvalues[1], rel=1e-5)


def test_nearly_collinear_and_far_from_zero_is_still_exact():
    rng = np.random.default_rng(5)
    age = rng.normal(40, 10, 30)
    matrix = np.column_stack([np.ones(30), age, age + rng.normal(0, 1e-3, 30)])
    values = rng.normal(1000, 1, (30, 20)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    (result,) = fit_group(make_data(matrix, values, [make_contrast([0, 1, 1])])).results
    for element in range(20):
        here = np.isfinite(values[:, element])
        centred = matrix[here] - [0, *matrix[here][:, 1:].mean(axis=0)]
        reference = sm.OLS(values[here, element].astype(float), centred).fit().t_test([0, 1, 1])
        assert result.maps["t"][element] == pytest.approx(reference.tvalue.item(), rel=1e-4, abs=1e-4)


def test_people_whose_absence_leaves_regressors_nearly_collinear():
    rng = np.random.default_rng(6)
    x, apart = rng.normal(size=30), rng.normal(0, 1e-6, 30)
    apart[0] = 1.0
    matrix = np.column_stack([np.ones(30), x, x + apart])
    values = rng.normal(100, 1, (30, 40)).astype(np.float32)
    values[0, :] = np.nan
    (result,) = fit_group(make_data(matrix, values, [make_contrast([0, 0, 1])])).results
    here = np.column_stack([np.ones(29), x[1:], apart[1:] * 1e6])
    for element in range(40):
        reference = sm.OLS(values[1:, element].astype(float), here).fit()
        assert result.maps["t"][element] == pytest.approx(reference.tvalues[2], rel=1e-5, abs=1e-5)


@pytest.fixture
def two_sessions():
    """Eight people, before and after; elements 1 to 3 lack a row, a person, and all pairs."""
    subjects = np.repeat(np.arange(8), 2)
    is_after = np.tile([0.0, 1.0], 8)
    values = np.random.default_rng(7).normal(size=(16, 5)).astype(np.float32)
    values[1, 1] = values[0:2, 2] = np.nan
    values[is_after == np.repeat([0.0, 1.0], 8), 3] = np.nan
    return subjects, is_after, values


def test_a_contrast_within_people_is_not_tested_where_it_would_compare_people(two_sessions):
    subjects, is_after, values = two_sessions
    matrix = np.column_stack([np.ones(16), is_after])
    contrasts = [make_contrast([0, 1]), make_contrast([0, -3])]
    results = fit_group(make_data(matrix, values, contrasts, subjects=subjects)).results
    for result in results:
        assert (result.maps["t"] != 0).tolist() == [True, False, True, False, True]
        for name, value in (("effect", 0), ("z", 0), ("p", 1), ("variance", 0)):
            assert result.maps[name][[1, 3]].tolist() == [value, value]
        (notice,) = result.notices
        assert "2 of 5 elements" in notice.sentence
        assert "compare people" in notice.sentence
        assert "'+ subject'" in notice.fix
    reference = sm.OLS(values[2:, 2].astype(float), matrix[2:]).fit()
    assert results[0].maps["t"][2] == pytest.approx(reference.tvalues[1], rel=1e-5)


def test_with_a_column_for_each_person_all_pairs_that_are_there_are_tested(two_sessions):
    subjects, is_after, values = two_sessions
    matrix = np.column_stack([is_after, subjects[:, None] == np.arange(8)])
    data = make_data(matrix, values, [make_contrast([1, *[0] * 8])], subjects=subjects)
    (result,) = fit_group(data).results
    assert (result.maps["t"] != 0).tolist() == [True, True, True, False, True]
    (notice,) = result.notices
    assert "do not determine it" in notice.sentence
    paired = stats.ttest_rel(values[3::2, 1], values[2::2, 1]).statistic
    assert result.maps["t"][1] == pytest.approx(paired, rel=1e-5)


def test_a_joint_contrast_within_people_needs_all_its_rows_within():
    rng = np.random.default_rng(8)
    subjects = np.repeat(np.arange(6), 3)
    matrix = np.tile(np.eye(3), (6, 1))
    values = rng.normal(size=(18, 2)).astype(np.float32)
    values[4, 1] = np.nan
    contrasts = [make_contrast([1, -1, 0], [0, 1, -1]), make_contrast([1, 0, -1])]
    joint, single = fit_group(make_data(matrix, values, contrasts, subjects=subjects)).results
    assert (joint.maps["F"] != 0).tolist() == [True, False]
    assert (single.maps["t"] != 0).tolist() == [True, True]


@pytest.mark.parametrize("n_rows", [0, 1, 2, 3])
def test_elements_of_a_few_rows_or_none_have_no_partial_r2(n_rows):
    """Three columns leave them no degree of freedom: statistic 0, p 1, and sizes of 0, without a warning."""
    matrix, values = random_data(n=5, share=0)
    values[n_rows:, 2] = np.nan
    (fitted,) = fit_group(make_data(matrix, values, CONTRASTS[2:])).results
    expected = {"F": 0, "z": 0, "p": 1, "partialR2": 0, "partialR2Lower": 0, "partialR2Upper": 0, "n": n_rows}
    assert {name: fitted.maps[name][2] for name in expected} == expected
    assert (fitted.maps["partialR2"][[0, 1, 3, 4]] > 0).all()
