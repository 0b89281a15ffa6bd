"""Random effects with known variances: against R's metafor, brute force, and closed forms."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_group.config.estimators import FIXED_EFFECTS, WEIGHTED
from bids_group.model import fit_group
from bids_group.model.fitting import known_variances
from bids_group.variance_between import variance_between
from tests.groups import make_contrast, make_design, make_group

R = Path(__file__).parents[2] / "validation" / "r"


def make_data(
    matrix, values, variances, contrasts, *, is_complete=True, estimator=WEIGHTED, dtype=np.float32
):
    tests = [make_contrast(*np.atleast_2d(rows), name=f"c{k}") for k, rows in enumerate(contrasts)]
    return make_group(
        make_design(matrix, tests), values, variance=variances, dtype=dtype, is_complete=is_complete,
        estimator=estimator,
    )  # fmt: skip


def random_maps(n_obs=15, n=40, seed=0, between=1.0):
    rng = np.random.default_rng(seed)
    variances = (10.0 ** rng.uniform(-2, 1, (n_obs, n))).astype(np.float32)
    values = rng.normal(0.3, np.sqrt(variances + between)).astype(np.float32)
    matrix = np.column_stack([np.ones(n_obs), rng.normal(size=n_obs), rng.integers(0, 2, n_obs)])
    return matrix, values, variances


def restricted_deviance(tau2, y, v, matrix):
    """Harville's, written from its definition with the whole covariance matrix."""
    sigma = np.diag(v + tau2)
    gram = matrix.T @ np.linalg.inv(sigma) @ matrix
    beta = np.linalg.solve(gram, matrix.T @ np.linalg.solve(sigma, y))
    rest = y - matrix @ beta
    return np.linalg.slogdet(sigma)[1] + np.linalg.slogdet(gram)[1] + rest @ np.linalg.solve(sigma, rest)


@pytest.fixture(scope="module")
def people():
    return pd.read_csv(R / "weighted_maps.csv")


@pytest.mark.parametrize("formula", ["1", "group + age"])
def test_metafor_finds_the_same_numbers(people, formula):
    answers = pd.read_csv(R / "weighted.csv").query("formula == @formula")
    values = people.filter(regex=r"^y\d+$").to_numpy()
    variances = people.filter(regex=r"^v\d+$").to_numpy()
    matrix, contrasts = np.ones((24, 1)), [[1]]
    if formula != "1":
        matrix = np.column_stack([matrix, people["group"], people["age"]])
        contrasts = [*np.eye(3), np.eye(3)[1:]]
    exact = make_data(matrix, values, variances, contrasts, is_complete=False, dtype=np.float64)
    tile = known_variances.prepare(exact)(slice(0, 20))
    rounded = make_data(matrix, values, variances, contrasts, is_complete=False)
    results = fit_group(rounded)
    by_element = answers.drop_duplicates("element")
    np.testing.assert_allclose(tile.maps["stat-tau2"], by_element["tau2"], rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(tile.maps["stat-I2"], by_element["I2"], rtol=1e-7, atol=1e-8)
    assert ((tile.maps["stat-tau2"] == 0) == (by_element["tau2"] < 1e-9)).all()
    np.testing.assert_allclose(results.maps["stat-tau2"], by_element["tau2"], rtol=1e-6, atol=1e-7)
    for number in range(matrix.shape[1]):
        expected = answers.query("coefficient == @number + 1")
        one, maps = tile.estimates[number], results.results[number].maps
        np.testing.assert_allclose(one.effect[0], expected["effect"], rtol=1e-7)
        np.testing.assert_allclose(np.sqrt(one.variance[0]), expected["se"], rtol=1e-7)
        np.testing.assert_allclose(one.statistic, expected["t"], rtol=1e-7)
        np.testing.assert_array_equal(one.dof, expected["dof"])
        np.testing.assert_allclose(maps["t"], expected["t"], rtol=1e-6)
        np.testing.assert_allclose(maps["p"], expected["p"], rtol=1e-6)
    if formula != "1":
        np.testing.assert_allclose(tile.estimates[3].statistic, by_element["F"], rtol=1e-7)
        np.testing.assert_allclose(results.results[3].maps["p"], by_element["p_F"], rtol=1e-6)


def test_it_is_the_least_deviance_of_all():
    """Few people with variances a thousandfold apart have several minima."""
    rng = np.random.default_rng(11)
    variances = 10.0 ** rng.uniform(-2, 2, (6, 100))
    values = rng.normal(0, np.sqrt(variances + rng.choice([0, 0.1, 3], 100)))
    matrix = np.column_stack([np.ones(6), np.arange(6.0)])
    found, _ = variance_between(values, variances, np.linalg.qr(matrix)[0])
    grid = np.concatenate([[0], np.geomspace(1e-3, 1e3, 100)])
    n_several = 0
    for y, v, tau2 in zip(values.T, variances.T, found, strict=True):
        deviances = np.array([restricted_deviance(place, y, v, matrix) for place in grid])
        assert restricted_deviance(tau2, y, v, matrix) <= deviances.min() + 1e-9
        inside = (deviances[1:-1] < deviances[:-2]) & (deviances[1:-1] < deviances[2:])
        n_several += inside.sum() + (deviances[0] < deviances[1]) > 1
    assert n_several >= 2


def test_equal_variances_have_a_closed_form():
    """τ² = max(0, s² − v): the residual variance of least squares less what is known; t is that of OLS."""
    matrix, values, _ = random_maps()
    variances = np.full_like(values, 0.75)
    rest = values - matrix @ np.linalg.lstsq(matrix, values.astype(float), rcond=None)[0]
    s2 = (rest**2).sum(axis=0) / 12
    fit = fit_group(make_data(matrix, values, variances, [[0, 1, 0]]))
    np.testing.assert_allclose(fit.maps["stat-tau2"], np.maximum(s2 - 0.75, 0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        fit.maps["stat-I2"], 100 * np.maximum(s2 - 0.75, 0) / np.maximum(s2, 0.75), rtol=1e-5, atol=1e-5
    )
    assert 0 < (s2 < 0.75).sum() < 40
    spread = np.linalg.inv(matrix.T @ matrix)[1, 1]
    t = np.linalg.lstsq(matrix, values.astype(float), rcond=None)[0][1] / np.sqrt(s2 * spread)
    np.testing.assert_allclose(fit.results[0].maps["t"], t, rtol=1e-5)


def test_where_people_differ_by_nothing_it_weighs_as_fixed_effects_do():
    """The effects are those of known variances; t is judged on N − rank, scaled also below 1."""
    matrix, values, variances = random_maps(between=0)
    values = values * np.float32(0.3)
    fit = fit_group(make_data(matrix, values, variances, [[0, 1, 0]]))
    fixed = fit_group(make_data(matrix, values, variances, [[0, 1, 0]], estimator=FIXED_EFFECTS))
    assert not fit.maps["stat-tau2"].any()
    assert not fit.maps["stat-I2"].any()
    one, other = fit.results[0].maps, fixed.results[0].maps
    np.testing.assert_allclose(one["effect"], other["effect"], rtol=1e-6)
    assert (one["variance"] < other["variance"]).all()
    np.testing.assert_allclose(one["p"], 2 * stats.t.sf(abs(one["t"].astype(float)), 12), rtol=1e-5)
    assert fit.results[0].dof == 12


def test_holes_are_the_people_observed_there():
    matrix, values, variances = random_maps()
    rng = np.random.default_rng(5)
    is_out = rng.random(values.shape) < 0.2
    values[is_out] = np.nan
    variances[is_out] = np.nan
    values[matrix[:, 2] == 1, 7] = np.nan  # the group's difference is not determined
    contrasts = [[0, 1, 0], [0, 0, 1], [[0, 1, 0], [0, 0, 1]]]
    fit = fit_group(make_data(matrix, values, variances, contrasts, is_complete=False))
    for element in range(40):
        here = np.isfinite(values[:, element])
        alone = make_data(
            matrix[here] if element != 7 else matrix[here][:, :2],
            values[here, element : element + 1],
            variances[here, element : element + 1],
            contrasts if element != 7 else [[0, 1]],
        )
        own = fit_group(alone)
        np.testing.assert_allclose(fit.maps["stat-tau2"][element], own.maps["stat-tau2"][0], rtol=1e-6)
        for result, other in zip(fit.results, own.results, strict=False):
            for name in other.maps:
                assert result.maps[name][..., element] == pytest.approx(
                    other.maps[name][..., 0], rel=1e-5, abs=1e-6
                )
            assert result.maps["dof"][element] == other.dof
    assert fit.results[1].maps["p"][7] == 1


def test_a_variance_of_0_or_none_says_that_nothing_was_observed():
    matrix, values, variances = random_maps(n=4)
    variances[3, 0], variances[3, 1], variances[3, 2] = 0, -1, np.inf
    values[3, 3] = np.nan
    fit = fit_group(make_data(matrix, values, variances, [[1, 0, 0]], is_complete=False))
    gone = np.delete(np.arange(15), 3)
    own = fit_group(make_data(matrix[gone], values[gone], variances[gone], [[1, 0, 0]]))
    np.testing.assert_array_equal(fit.results[0].maps["n"], 14)
    np.testing.assert_allclose(fit.results[0].maps["t"], own.results[0].maps["t"], rtol=1e-5)


@pytest.mark.parametrize("ratio", [1e6, 1e12, 1e30])
def test_variances_may_differ_without_bounds(ratio):
    """Who is that uncertain does not count for the effect of the others, but for the degrees of freedom."""
    _, values, variances = random_maps(between=0.5)
    more = np.vstack([variances, np.full((1, 40), ratio, np.float32)])
    fit = fit_group(make_data(np.ones((16, 1)), np.vstack([values, values[:1]]), more, [[1]]))
    own = fit_group(make_data(np.ones((15, 1)), values, variances, [[1]]))
    one, other = fit.results[0].maps, own.results[0].maps
    np.testing.assert_allclose(fit.maps["stat-tau2"], own.maps["stat-tau2"], rtol=2 / ratio**0.5, atol=2e-3)
    np.testing.assert_allclose(one["effect"], other["effect"], atol=2e-3)
    assert all(np.isfinite(each).all() for each in one.values())
    assert fit.results[0].dof == 15


def test_elements_without_variation_are_not_tested_and_nothing_is_nan():
    matrix, values, variances = random_maps()
    values[:, 0], values[:, 1], values[:, 2] = 0, 3.7, matrix[:, 2]
    fit = fit_group(make_data(matrix, values, variances, [[0, 1, 0], [0, 0, 1]]))
    for result in fit.results:
        assert (result.maps["p"][:3] == 1).all()
        assert (result.maps["t"][:3] == 0).all()
        assert all(np.isfinite(one).all() for one in result.maps.values())
        assert "3 of 40 elements" in result.notices[0].sentence
    assert not fit.maps["stat-tau2"][:3].any()


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e12])
def test_the_units_of_the_maps_do_not_change_a_statistic(scale):
    matrix, values, variances = random_maps()
    plain = fit_group(make_data(matrix, values, variances, [[0, 1, 0]]))
    scaled = fit_group(
        make_data(matrix, values.astype(float) * scale, variances.astype(float) * scale**2, [[0, 1, 0]]),
    )
    np.testing.assert_allclose(scaled.results[0].maps["t"], plain.results[0].maps["t"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scaled.maps["stat-I2"], plain.maps["stat-I2"], rtol=1e-4, atol=1e-4)


def test_an_element_does_not_depend_on_its_neighbours():
    matrix, values, variances = random_maps(n=50)
    basis = np.linalg.qr(matrix)[0]
    whole = variance_between(values, variances, basis)
    for k in (0, 17, 49):
        alone = variance_between(values[:, k : k + 1], variances[:, k : k + 1], basis)
        assert (alone[0][0], alone[1][0]) == (whole[0][k], whole[1][k])


def test_without_a_design_signs_change_nothing():
    """What sign flips of one sample stand on: the variance about 0 keeps when effects change their signs."""
    _, values, variances = random_maps()
    nothing = np.empty((15, 0))
    signs = np.random.default_rng(0).choice([-1, 1], values.shape)
    one, other = (variance_between(each, variances, nothing)[0] for each in (values, values * signs))
    np.testing.assert_array_equal(one, other)
    assert (one > 0).mean() > 0.5


def test_p_is_uniform_where_nothing_is_there():
    """Variances differ threefold; where they differ far more, and people little, 5 % can become 8 %."""
    rng = np.random.default_rng(8)
    variances = rng.gamma(20, 0.1, (20, 4000))
    values = rng.normal(0, np.sqrt(variances + 1))
    matrix = np.column_stack([np.ones(20), np.repeat([0, 1], 10)])
    low, high = stats.binom.interval(0.999, 4000, 0.05)
    for result in fit_group(make_data(matrix, values, variances, [[0, 1], np.eye(2)])).results:
        assert low <= (result.maps["p"] < 0.05).sum() <= high
