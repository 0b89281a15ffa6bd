"""Quality of maps and influence of rows, against plain refits and numpy."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from bids_group.model.fitting.diagnostics import tabulate_quality
from bids_group.model.fitting.influence import tabulate_peaks
from bids_group.records import MapStack
from tests.groups import make_contrast, make_design, make_group

N_OBS, N_ELEMENTS = 14, 60


def make_data(*, missing=False, seed=3):
    rng = np.random.default_rng(seed)
    labels = tuple(f"sub-{k:02d}" for k in range(N_OBS))
    group, age, dose = np.repeat([0.0, 1.0], 7), rng.normal(40, 9, N_OBS), rng.normal(10, 3, N_OBS)
    matrix = pd.DataFrame(
        {
            "Intercept": 1.0,
            "group[T.b]": group,
            "dose": dose - dose.mean(),
            "group[T.b]:dose": group * (dose - dose.mean()),
            "age": age - age.mean(),
        },
        index=labels,
    )
    variables = pd.DataFrame({"group": np.where(group, "b", "a"), "dose": dose, "age": age}, index=labels)
    terms = {
        "1": ("Intercept",),
        "group": ("group[T.b]",),
        "dose": ("dose",),
        "group:dose": ("group[T.b]:dose",),
        "age": ("age",),
    }
    maps = rng.normal(size=(N_OBS, N_ELEMENTS))
    if missing:
        maps[2, 5] = np.nan
    return make_group(make_design(matrix, terms=terms, variables=variables, centering="grand"), maps)


SLOPES = make_contrast([0, 0, 0, 1, 0])


@pytest.mark.parametrize("asked", [SLOPES, make_contrast([0, 1, 0, 0, 0], [0, 0, 0, 1, 0])], ids=["t", "F"])
@pytest.mark.parametrize("missing", [False, True])
def test_the_statistic_without_a_row_is_that_of_a_refit(asked, missing):
    data = make_data(missing=missing)
    table = tabulate_peaks(data, asked, [5])
    values, matrix = data.stack.data[:, 5].astype(float), data.design.matrix
    here = np.isfinite(values)
    for label, found in zip(table["label"], table["statistic_without_row"], strict=True):
        keep = here & (matrix.index != label)
        fit = sm.OLS(values[keep], matrix.to_numpy()[keep]).fit()
        if asked.test == "t":
            expected = fit.t_test(asked.weights).tvalue.item()
        else:
            expected = fit.f_test(asked.weights).fvalue
        assert found == pytest.approx(float(expected), rel=1e-8)


def test_there_is_no_statistic_without_a_row_where_the_people_observed_do_not_determine_the_contrast():
    data = make_data()
    data.stack.data[7:, 5] = np.nan
    table = tabulate_peaks(data, make_contrast([0, 1, 0, 0, 0]), [5])
    assert len(table) == 7
    assert table["statistic_without_row"].isna().all()
    assert tabulate_peaks(data, make_contrast([0, 0, 0, 0, 1]), [5])["statistic_without_row"].notna().any()


def test_cooks_distance_and_fit_are_those_of_statsmodels():
    data = make_data()
    table = tabulate_peaks(data, SLOPES, [0])
    fit = sm.OLS(data.stack.data[:, 0].astype(float), data.design.matrix.to_numpy()).fit()
    np.testing.assert_allclose(table["cooks_distance"], fit.get_influence().cooks_distance[0], rtol=1e-9)
    np.testing.assert_allclose(table["fitted"], fit.fittedvalues, rtol=1e-9)


def test_the_interval_of_the_fitted_line_is_that_of_statsmodels_where_the_rest_is_at_its_mean():
    data = make_data()
    X = data.design.matrix.to_numpy()
    fit = sm.OLS(data.stack.data[:, 0].astype(float), X).fit()
    rows = np.where(data.design.matrix.columns == "age", X.mean(axis=0), X)
    line = fit.get_prediction(rows)
    table = tabulate_peaks(data, SLOPES, [0])
    np.testing.assert_allclose(table[["line_lower", "line_upper"]], line.conf_int(alpha=0.05), rtol=1e-8)
    drawn = table["partial_residual"] - table["effect"] + table["fitted"]
    np.testing.assert_allclose(drawn, line.predicted_mean, rtol=1e-8)


def test_a_slope_difference_keeps_group_and_dose_in_its_points_and_sets_only_age_aside():
    data = make_data()
    table = tabulate_peaks(data, SLOPES, [0])
    fit = sm.OLS(data.stack.data[:, 0].astype(float), data.design.matrix.to_numpy()).fit()
    age = data.design.matrix["age"].to_numpy() * fit.params[4]
    np.testing.assert_allclose(
        table["partial_residual"], data.stack.data[:, 0] - (age - age.mean()), rtol=1e-6
    )


def test_leave_one_out_correlation_is_the_plain_one_over_elements_seen_in_all():
    data = make_data(missing=True)
    quality = tabulate_quality(data, {"sub-02": 1})
    maps = np.delete(data.stack.data.astype(float), 5, axis=1)
    for row in range(N_OBS):
        others = np.delete(maps, row, axis=0).mean(axis=0)
        assert quality["correlation_loo"].iloc[row] == pytest.approx(
            np.corrcoef(maps[row], others)[0, 1], abs=1e-9
        )
    assert quality.loc["sub-02", "n_elements_lost_only_by_this_row"] == 1
    assert quality.loc["sub-02", "n_elements_observed"] == N_ELEMENTS - 1


def test_a_shifted_map_is_marked_with_its_reason_and_the_others_are_not():
    data = make_data()
    data.stack.data[4] += 8
    quality = tabulate_quality(data, {})
    assert list(quality.index[quality["is_outlier"]]) == ["sub-04"]
    assert "mean effect" in quality.loc["sub-04", "outlier_reasons"]


def test_nearly_collinear_columns_give_the_influence_of_the_centred_ones():
    data = make_data()
    year = np.linspace(2015, 2020, N_OBS)
    age = year - year.mean()
    plain = data.design.matrix[["Intercept"]].assign(year=year, squared=year**2)
    centred = data.design.matrix[["Intercept"]].assign(year=age, squared=age**2)
    tables = []
    for matrix in (plain, centred):
        terms = {name: (name,) for name in matrix.columns}
        design = replace(data.design, matrix=matrix, terms=terms, rank=3)
        tables.append(tabulate_peaks(replace(data, design=design), make_contrast([0, 0, 1]), [0]))
    for name in ("fitted", "cooks_distance", "statistic_without_row"):
        np.testing.assert_allclose(tables[0][name], tables[1][name], rtol=1e-4)


def test_the_mahalanobis_distance_does_not_depend_on_units():
    data = make_data()
    data.stack.data[4] += 3
    before = tabulate_quality(data, {})["mahalanobis"].to_numpy()
    data.stack.data[:] *= np.float32(1e7)
    np.testing.assert_allclose(tabulate_quality(data, {})["mahalanobis"], before, rtol=1e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_shared", [0, 1])
def test_without_elements_seen_in_all_nobody_is_marked_and_nothing_is_warned(n_shared):
    data = make_data()
    values = data.stack.data.copy()
    lacked = np.arange(N_ELEMENTS - n_shared)  # each by one row
    values[lacked % N_OBS, lacked] = np.nan
    stack = MapStack(labels=data.stack.labels, data=values)
    table = tabulate_quality(replace(data, stack=stack, is_complete=False), {})
    assert not table["is_outlier"].any()
    assert table["correlation_loo"].isna().all()
