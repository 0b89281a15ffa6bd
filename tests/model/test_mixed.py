"""Mixed models at every element: against R, against dense matrices, and where there is nothing to fit."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from bids_group.model import fit_group
from bids_group.model.fitting import mixed, mixed_pair
from bids_group.model.fitting.least_squares import orthonormal_basis
from bids_group.model.fitting.mixed_pair import fit_pair
from bids_group.model.fitting.mixed_plan import plan_rows, sum_up
from tests.model.mixed_models import (
    ANSWERS,
    CONTRASTS,
    MAPS,
    VISITS,
    compare_with_r,
    contrast,
    fit,
    make_data,
    random_rows,
    random_values,
)

SYMMETRIC = np.array([[0, 1], [1, 2]])
"""Where the parameters of two random effects stand in their covariance."""


def answers_of(model):
    return pd.read_csv(ANSWERS / "mixed.csv").query("model == @model")


def variances_of(model):
    return pd.read_csv(ANSWERS / "mixed_variances.csv").query("model == @model")


@pytest.mark.parametrize("variant", ["satterthwaite", "kenward-roger"])
def test_an_intercept_for_each_person_is_that_of_r(variant):
    fitted = fit(VISITS[MAPS], "intercept", variant)
    compare_with_r(fitted, answers_of("intercept"), variant, t=1e-6, dof=1e-5, p=1e-5)


@pytest.mark.parametrize("variant", ["satterthwaite", "kenward-roger"])
@pytest.mark.parametrize("model", ["slope", "apart", "alone"])
def test_slopes_of_each_person_are_those_of_r(model, variant):
    """With and without intercept, correlated or not; slopes of element 6 are known poorly, R's too."""
    fitted = fit(VISITS[MAPS], model, variant)
    compare_with_r(fitted, answers_of(model), variant, t=1e-5, dof=5e-4, p=1e-4)
    theirs = variances_of(model)
    for name, column in (("subjectIntercept", "intercept"), ("subjectMonth", "slope")):
        if f"stat-variance_desc-{name}" in fitted.maps:
            own = fitted.maps[f"stat-variance_desc-{name}"]
            np.testing.assert_allclose(own, theirs[column], rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(fitted.maps["stat-variance_desc-residual"], theirs["residual"], rtol=1e-5)
    assert "stat-icc" not in fitted.maps


@pytest.mark.parametrize("model", ["slope", "apart"])
def test_the_deviance_of_slopes_is_never_above_that_of_lme4(model):
    for at, theirs in enumerate(variances_of(model)["deviance"]):
        here = VISITS[MAPS[at]].notna().to_numpy()
        data = make_data(VISITS[MAPS[at : at + 1]][here], model, rows=VISITS[here])
        X = data.design.matrix.to_numpy()
        effects = data.design.random.effects.to_numpy()
        groups = pd.factorize(VISITS["person"][here])[0]
        plan = plan_rows(np.ones(len(X), dtype=bool), orthonormal_basis(data.design), groups, effects,
                         model == "slope")  # fmt: skip
        found = fit_pair(plan.tables, sum_up(plan, data.stack.data[plan.rows]), model == "slope")
        free = len(X) - X.shape[1]
        constant = free * (1 + np.log(2 * np.pi / free)) + np.linalg.slogdet(X.T @ X)[1]
        assert found.has_converged[0]
        assert theirs - 1e-3 < found.deviance[0] + constant <= theirs + 1e-6


def test_variances_and_the_elements_at_the_boundary_are_those_of_lme4():
    maps, theirs = fit(VISITS[MAPS]).maps, variances_of("intercept")
    between, residual = theirs["intercept"].to_numpy(), theirs["residual"].to_numpy()
    np.testing.assert_allclose(maps["stat-variance_desc-subjectIntercept"], between, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(maps["stat-variance_desc-residual"], residual, rtol=1e-6)
    np.testing.assert_allclose(maps["stat-icc"], between / (between + residual), rtol=1e-5, atol=1e-9)
    assert list(maps["stat-icc"] == 0) == list(between < 1e-9)
    assert (between < 1e-9).sum() == 2


def dense_deviance(ratio, y, X, group):
    """−2 log of the profiled restricted likelihood, from matrices of rows × rows."""
    H = np.eye(len(y)) + ratio * (group[:, None] == group)
    inverse = np.linalg.inv(H)
    A = X.T @ inverse @ X
    rest = y - X @ np.linalg.solve(A, X.T @ inverse @ y)
    square = rest @ inverse @ rest
    return np.linalg.slogdet(H)[1] + np.linalg.slogdet(A)[1] + (len(y) - X.shape[1]) * np.log(square), square


def test_each_element_minimises_the_deviance_of_dense_matrices_over_the_rows_observed_there():
    rows = random_rows()
    values = random_values(rows)
    rng = np.random.default_rng(5)
    values[(rng.random(values.shape) < 0.1) & (np.arange(values.shape[1]) % 3 == 0)] = np.nan
    data = make_data(values, rows=rows)
    fitted = mixed.prepare(data)(slice(0, values.shape[1]))
    X, person = data.design.matrix.to_numpy(), rows["person"].to_numpy()
    for at in range(values.shape[1]):
        here = np.isfinite(values[:, at])
        y, design, group = values[here, at].astype(float), X[here], person[here]
        scaled = design / np.linalg.norm(design, axis=0)
        icc = fitted.maps["stat-icc"][at]
        own, square = dense_deviance(icc / (1 - icc), y, scaled, group)
        grid = np.linspace(0, 0.99, 100)
        around = [dense_deviance(x / (1 - x), y, scaled, group)[0] for x in grid]
        best = grid[int(np.argmin(around))]
        bounds = (max(best - 0.02, 0), best + 0.005)
        found = optimize.minimize_scalar(
            lambda x: dense_deviance(x / (1 - x), y, scaled, group)[0],  # noqa: B023
            bounds=bounds, method="bounded", options={"xatol": 1e-9},
        )  # fmt: skip
        assert own <= min(found.fun, *around) + 1e-9
        sigma2 = square / (here.sum() - 5)
        assert fitted.maps["stat-variance_desc-residual"][at] == pytest.approx(sigma2, rel=1e-8)
        H = np.eye(here.sum()) + icc / (1 - icc) * (group[:, None] == group)
        covariance = sigma2 * np.linalg.inv(design.T @ np.linalg.solve(H, design))
        weights = CONTRASTS[4].weights[0]
        effect = weights @ covariance @ design.T @ np.linalg.solve(H, y) / sigma2
        one = fitted.estimates[4]
        assert one.statistic[at] == pytest.approx(
            effect / np.sqrt(weights @ covariance @ weights), abs=1e-7, rel=1e-7
        )
        assert one.n_observed[at] == here.sum()
        assert one.is_estimable[at]


def test_with_equal_visits_a_contrast_between_people_is_the_test_of_their_means():
    """Balanced data have a closed form: the two-sample t of the people's means, on their dof."""
    rows = random_rows(20, most=2).loc[lambda table: table.index.repeat(3)].reset_index(drop=True)
    rows["month"] = np.tile([0.0, 1.0, 2.0], 20)
    values = random_values(rows, 30)
    X = np.column_stack([np.ones(60), rows["group"] == "patient", rows["month"]]).astype(float)
    fitted = fit(values, rows=rows, matrix=X, contrasts=[contrast("g", [0, 1, 0]), contrast("m", [0, 0, 1])])
    means = values.reshape(20, 3, -1).mean(axis=1, dtype=float)
    patient = np.arange(20) % 2 == 1
    difference = means[patient].mean(axis=0) - means[~patient].mean(axis=0)
    pooled = (means[patient].var(axis=0, ddof=1) + means[~patient].var(axis=0, ddof=1)) / 2
    inside = fitted.maps["stat-icc"] > 0
    assert 15 < inside.sum() < 30
    between, within = fitted.estimates
    t = difference / np.sqrt(pooled / 5)
    np.testing.assert_allclose(between.statistic[inside], t[inside], rtol=1e-7)
    np.testing.assert_allclose(between.dof[inside], 18, rtol=1e-7)
    np.testing.assert_allclose(within.dof[inside], 39, rtol=1e-7)  # people, and the slope
    np.testing.assert_allclose(between.dof[~inside], 57)
    assert between.effect[0] == pytest.approx(difference, rel=1e-6)
    np.testing.assert_allclose(
        between.total_sd[inside] ** 2,
        (fitted.maps["stat-variance_desc-subjectIntercept"] + fitted.maps["stat-variance_desc-residual"])[
            inside
        ],
    )


def dense_deviance_of_slopes(factor, y, X, effects, group):
    """As `dense_deviance`, with the covariance of intercept and slope from its Cholesky factor."""
    lower = np.array([[factor[0], 0], [factor[1], factor[2]]])
    H = np.eye(len(y)) + (effects @ lower @ lower.T @ effects.T) * (group[:, None] == group)
    inverse = np.linalg.inv(H)
    A = X.T @ inverse @ X
    rest = y - X @ np.linalg.solve(A, X.T @ inverse @ y)
    square = rest @ inverse @ rest
    return np.linalg.slogdet(H)[1] + np.linalg.slogdet(A)[1] + (len(y) - X.shape[1]) * np.log(square)


def test_slopes_minimise_the_deviance_of_dense_matrices_from_any_start():
    rows = random_rows(24)
    rng = np.random.default_rng(8)
    values = random_values(rows, 12)
    slopes = rng.normal(size=(24, 12)) * np.linspace(0, 1, 12)
    values += slopes[rows["person"]] * (rows["month"].to_numpy()[:, None] - 8) / 8
    data = make_data(values, "slope", rows=rows)
    effects = data.design.random.effects.to_numpy() * [1, 0.125]
    basis, person = orthonormal_basis(data.design), rows["person"].to_numpy()
    plan = plan_rows(np.ones(len(rows), dtype=bool), basis, person, effects, True)
    found = fit_pair(plan.tables, sum_up(plan, values[plan.rows]), True)
    n_at_zero = 0
    for at in range(12):
        args = (values[:, at].astype(float), basis.columns, effects, person)
        starts = [(0.7, 0.0, 0.3), (0.1, 0.3, 0.0), (1.0, -0.5, 0.5), (0.0, 1.0, 0.0)]
        best = min(
            optimize.minimize(dense_deviance_of_slopes, start, args, method="L-BFGS-B").fun
            for start in starts
        )
        own = plan.to_user @ found.parameters[at][SYMMETRIC] @ plan.to_user.T
        n_at_zero += np.linalg.eigvalsh(own)[0] < 1e-12
        factor = np.linalg.cholesky(own + 1e-15 * np.eye(2))
        dense = dense_deviance_of_slopes((factor[0, 0], factor[1, 0], factor[1, 1]), *args)
        assert found.deviance[at] == pytest.approx(dense, abs=1e-6)
        assert found.deviance[at] <= best + 1e-7
    assert 1 < n_at_zero < 11


@pytest.mark.parametrize("is_correlated", [True, False])
def test_a_search_that_starts_where_a_variance_is_zero_leaves_it(is_correlated, monkeypatch):
    """The deviance is flat there in the factor's entries: only its slope by the variance shows the way."""
    rows = random_rows(24)
    rng = np.random.default_rng(8)
    own = rng.normal(size=(24, 12)) * np.linspace(0.3, 1, 12)
    values = random_values(rows, 12) + own[rows["person"]] * (rows["month"].to_numpy()[:, None] - 8) / 8
    data = make_data(values, "slope", rows=rows)
    effects = data.design.random.effects.to_numpy()
    plan = plan_rows(np.ones(len(rows), dtype=bool), orthonormal_basis(data.design),
                     rows["person"].to_numpy(), effects, is_correlated)  # fmt: skip
    sums = sum_up(plan, values[plan.rows].astype(np.float32))
    usual = fit_pair(plan.tables, sums, is_correlated)
    assert (np.linalg.eigvalsh(usual.parameters[:, SYMMETRIC])[:, 1] > 0).sum() >= 10
    for start in ([0.0, 0, 0], [1.0, 0, 0], [0.0, 0, 1.0]):
        monkeypatch.setattr(mixed_pair, "_GRID", np.array([start]))
        found = fit_pair(plan.tables, sums, is_correlated)
        assert found.has_converged.all()
        np.testing.assert_allclose(found.deviance, usual.deviance, atol=1e-8)
        np.testing.assert_allclose(found.parameters, usual.parameters, rtol=1e-3, atol=1e-4)


def test_a_variance_of_nothing_is_0_to_the_last_bit():
    rows = random_rows(24, seed=1)
    slope = fit(random_values(rows, 40, seed=1), "apart", rows=rows).maps["stat-variance_desc-subjectMonth"]
    assert (slope[slope < 1e-9] == 0).all()
    assert (slope == 0).sum() == 25


@pytest.mark.parametrize("variant", ["satterthwaite", "kenward-roger"])
def test_where_time_starts_changes_no_test_of_a_model_with_slopes(variant):
    rows = random_rows()
    values = random_values(rows, 20) + 0.2 * np.random.default_rng(2).normal(size=30)[rows["person"], None]
    later = rows.assign(month=rows["month"] + 1000)
    kept = [CONTRASTS[3], CONTRASTS[4]]
    one = fit(values, "slope", variant, rows=rows, contrasts=kept)
    other = fit(values, "slope", variant, rows=later, contrasts=kept)
    for left, right in zip(one.estimates, other.estimates, strict=True):
        np.testing.assert_allclose(left.statistic, right.statistic, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(left.dof, right.dof, rtol=1e-5)
    slope = "stat-variance_desc-subjectMonth"
    np.testing.assert_allclose(one.maps[slope], other.maps[slope], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("model", ["intercept", "slope", "apart", "alone"])
def test_an_element_is_the_same_to_the_last_bit_in_any_company(model):
    rows = random_rows()
    values = random_values(rows, 150)
    values[3, ::5] = np.nan
    values[7:9, 10:20] = np.nan
    data = make_data(values, model, "kenward-roger", rows=rows)
    fit_tile = mixed.prepare(data)
    whole = fit_tile(slice(0, 150))
    for part in (slice(0, 1), slice(5, 6), slice(11, 97), slice(149, 150)):
        alone = fit_tile(part)
        for one, other in zip(whole.estimates, alone.estimates, strict=True):
            for name in ("effect", "variance", "statistic", "dof"):
                assert (getattr(one, name)[..., part] == getattr(other, name)).all()
        for name in whole.maps:
            assert (whole.maps[name][part] == alone.maps[name]).all()


@pytest.mark.parametrize("model", ["intercept", "slope", "apart", "alone"])
def test_where_nothing_can_be_fitted_nothing_is_tested_and_nothing_is_nan(model):
    rows = random_rows()
    person, values = rows["person"].to_numpy(), random_values(rows, 12).astype(float)
    first = ~rows["person"].duplicated().to_numpy()
    values[:, 0] = 3.7  # constant
    values[:, 1] = rows["month"] * 0.5  # fitted exactly
    values[:, 2] = np.random.default_rng(0).normal(size=30).astype(np.float32)[person]  # nothing within
    values[~first, 3] = np.nan  # one row each
    values[person > 4, 4] = np.nan  # five people
    values[rows["group"] == "patient", 5] = np.nan  # no patients
    values[:, 6] = np.nan  # nobody
    values[:, 7] *= 1e-12  # tiny, but a number
    values[:, 8] += 1e5
    values[:, 9] = 0
    data = make_data(values, model, rows=rows)
    made = fit_group(data, is_two_sided=True)
    exact = {0, 1, 9} if model == "alone" else {0, 1, 2, 9}
    untested = {3, 4, 6} | exact
    for number, result in enumerate(made.results):
        for name, numbers in result.maps.items():
            assert np.isfinite(numbers).all(), (number, name)
        p = result.maps["p"]
        no_patients = set() if number in (0, 3) else {5}
        assert {at for at in range(12) if p[at] == 1} == untested | no_patients, number
        statistic = result.maps["t" if number < 5 else "F"]
        assert {at for at in range(12) if statistic[at] == 0} == untested | no_patients
        assert (result.maps["dof"][sorted(untested)] == 0).all()
        told = "\n".join(notice.sentence for notice in result.notices)
        assert f"cannot be tested at {len(exact)} of 12 elements: all rows are fitted exactly" in told
        missing = 3 + len(no_patients)
        assert f"cannot be tested at {missing} of 12 elements: the people observed" in told
    for numbers in made.maps.values():
        assert np.isfinite(numbers).all()


def test_far_from_zero_and_in_small_units_the_test_is_the_same():
    rows = random_rows()
    values = np.round(random_values(rows, 40) * 64) / 64
    near = fit(values, rows=rows).estimates
    far = fit(values + 4096, rows=rows).estimates
    small = fit(values * 2.0**-60, rows=rows).estimates
    for one, other, tiny in zip(near[1:], far[1:], small[1:], strict=True):
        np.testing.assert_allclose(one.statistic, other.statistic, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(one.statistic, tiny.statistic, rtol=1e-9)
        np.testing.assert_allclose(one.dof, other.dof, rtol=1e-6)


@pytest.mark.parametrize("model", ["intercept", "slope", "apart"])
def test_people_that_differ_hundreds_of_times_as_much_as_their_visits_are_fitted(model):
    """To a 300th, the test within people is that with a regressor for each of them."""
    rows = random_rows()
    rng = np.random.default_rng(6)
    person, month = rows["person"].to_numpy(), rows["month"].to_numpy(dtype=float)
    values = 300 * rng.normal(size=(30, 60))[person] + rng.normal(size=(len(rows), 60))
    one = fit(values.astype(np.float32), model, rows=rows).estimates
    assert one[0].has_converged.all()
    assert one[0].is_estimable.all()
    if model == "intercept":
        own = np.eye(30)[person]
        X = np.column_stack([month, month * (rows["group"] == "patient"), own])
        beta, square = np.linalg.lstsq(X, values.astype(np.float32), rcond=None)[:2]
        weights = np.array([1, 0.5])
        scale = weights @ np.linalg.inv(X.T @ X)[:2, :2] @ weights * square / (len(X) - 32)
        np.testing.assert_allclose(
            one[2].statistic, weights @ beta[:2] / np.sqrt(scale), rtol=0.01, atol=0.01
        )
        np.testing.assert_allclose(one[2].dof, len(X) - 32, rtol=1e-3)


def test_a_rank_deficient_or_badly_scaled_design_gives_the_same_tests():
    rows = random_rows()
    values = random_values(rows, 40)
    data = make_data(values, rows=rows)
    X = data.design.matrix.to_numpy()
    wide = np.column_stack([X, X[:, 1] + X[:, 2]])
    more = [contrast(one.name, *np.pad(one.weights, ((0, 0), (0, 1)))) for one in CONTRASTS[3:4]]
    one, other = fit(values, rows=rows).estimates[3], fit(values, rows=rows, matrix=wide, contrasts=more)
    np.testing.assert_allclose(one.statistic, other.estimates[0].statistic, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(one.dof, other.estimates[0].dof, rtol=1e-8)
    scaled = fit(values, rows=rows, matrix=X * [1, 1, 1e6, 1e-6, 1e6]).estimates[3]
    np.testing.assert_allclose(one.statistic, scaled.statistic, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(one.effect, scaled.effect * 1e-6, rtol=1e-8, atol=1e-12)


def test_the_order_of_rows_and_the_names_of_people_do_not_matter():
    rows = random_rows()
    values = random_values(rows, 20)
    order = np.random.default_rng(1).permutation(len(rows))
    mixed_up = rows.iloc[order].reset_index(drop=True)
    mixed_up["person"] = [f"p{99 - person}" for person in mixed_up["person"]]
    for one, other in zip(
        fit(values, rows=rows).estimates, fit(values[order], rows=mixed_up).estimates, strict=True
    ):
        np.testing.assert_allclose(one.statistic, other.statistic, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(one.dof, other.dof, rtol=1e-8)
