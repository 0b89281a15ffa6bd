"""Mixed models of groups within groups, visits of people of families, against R and dense matrices."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from bids_group.model import fit_group
from bids_group.model.fitting import mixed
from bids_group.records import RandomTerm
from tests.model.mixed_models import CONTRASTS, as_data, compare_with_r, contrast, matrix_of

ANSWERS = Path(__file__).parents[2] / "validation" / "r"
VISITS = pd.read_csv(ANSWERS / "families.csv")
MAPS = [f"y{number}" for number in range(1, 10)]
NAMES = ("stat-variance_desc-familyIntercept", "stat-variance_desc-personIntercept")
RESIDUAL = "stat-variance_desc-residual"


def make_data(values, variant="satterthwaite", rows=VISITS, contrasts=CONTRASTS, matrix=None):
    labels = [f"row-{number:03d}" for number in range(len(rows))]
    term = RandomTerm(
        text="(1 | family/person)",
        group="person",
        groups=pd.Series(list(rows["person"]), index=labels),
        effects=pd.DataFrame({"Intercept": 1.0}, index=labels),
        outer="family",
        outer_groups=pd.Series(list(rows["family"]), index=labels),
    )
    return as_data(values, term, matrix_of(rows) if matrix is None else matrix, contrasts, variant)


def fit(values, *args, **more):
    return mixed.prepare(make_data(values, *args, **more))(slice(0, np.shape(values)[1]))


def random_rows(n_families=16, seed=3, most_people=4, most_visits=4):
    """Families of one to three people, in two groups, with one to three visits each."""
    rng = np.random.default_rng(seed)
    people = rng.integers(1, most_people, n_families)
    visits = rng.integers(1, most_visits, people.sum())
    person = np.repeat(np.arange(len(visits)), visits)
    return pd.DataFrame(
        {
            "family": np.repeat(np.arange(n_families), people)[person],
            "person": person,
            "group": np.where(rng.random(len(visits)) < 0.5, "patient", "control")[person],
            "month": np.concatenate([6.0 * np.arange(k) for k in visits]) + rng.integers(0, 2, len(person)),
            "age": rng.normal(40, 9, len(visits))[person],
        }
    )


def random_values(rows, n=40, seed=4):
    """Elements whose families and people differ from not at all to much, some less than by chance."""
    rng = np.random.default_rng(seed)
    family, person = rows["family"].to_numpy(), rows["person"].to_numpy()
    outer, inner = rng.uniform(0, 1.5, (2, n)) * (rng.random((2, n)) < 0.7)
    values = outer * rng.normal(size=(family.max() + 1, n))[family]
    values += inner * rng.normal(size=(person.max() + 1, n))[person] + rng.normal(size=(len(rows), n))
    return values.astype(np.float32)


@pytest.mark.parametrize("spread", [(300, 0), (0, 300), (300, 300)])
def test_families_or_people_that_differ_hundreds_of_times_as_much_as_visits_are_fitted(spread):
    rows, rng = random_rows(), np.random.default_rng(6)
    family, person = rows["family"].to_numpy(), rows["person"].to_numpy()
    values = spread[0] * rng.normal(size=(family.max() + 1, 60))[family] + rng.normal(size=(len(rows), 60))
    values += spread[1] * rng.normal(size=(person.max() + 1, 60))[person]
    fitted = fit(values.astype(np.float32), rows=rows)
    assert fitted.estimates[0].has_converged.all()
    assert (np.median(fitted.maps[NAMES[0]]) > 1e4) == (spread[0] > 0)
    assert (np.median(fitted.maps[NAMES[1]]) > 1e4) == (spread[1] > 0)
    assert np.median(fitted.maps[RESIDUAL]) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("variant", ["satterthwaite", "kenward-roger"])
def test_people_of_families_are_those_of_r(variant):
    fitted = fit(VISITS[MAPS], variant)
    compare_with_r(fitted, pd.read_csv(ANSWERS / "nested.csv"), variant, t=1e-6, dof=1e-5, p=1e-5)


def test_variances_and_correlations_are_those_of_lme4_with_the_same_elements_at_the_boundary():
    maps, theirs = fit(VISITS[MAPS]).maps, pd.read_csv(ANSWERS / "nested_variances.csv")
    family, person, residual = (theirs[name].to_numpy() for name in ("family", "person", "residual"))
    for name, values in zip((*NAMES, RESIDUAL), (family, person, residual), strict=True):
        np.testing.assert_allclose(maps[name], values, rtol=1e-5, atol=1e-8)
        assert list(maps[name] == 0) == list(values < 1e-8)
    assert [int((one < 1e-8).sum()) for one in (family, person)] == [3, 3]
    total = family + person + residual
    np.testing.assert_allclose(maps["stat-icc_desc-family"], family / total, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(maps["stat-icc_desc-person"], (family + person) / total, rtol=1e-5, atol=1e-8)


def dense(ratios, y, X, groups):
    """−2 log of the profiled restricted likelihood, β, its covariance but for σ², and the residual square."""
    H = np.eye(len(y)) + sum(ratio * (of[:, None] == of) for ratio, of in zip(ratios, groups, strict=True))
    inverse = np.linalg.inv(H)
    A = X.T @ inverse @ X
    beta = np.linalg.solve(A, X.T @ inverse @ y)
    square = (y - X @ beta) @ inverse @ (y - X @ beta)
    free = len(y) - X.shape[1]
    deviance = np.linalg.slogdet(H)[1] + np.linalg.slogdet(A)[1] + free * np.log(square)
    return deviance, beta, np.linalg.inv(A), square / free


def test_each_element_minimises_the_deviance_of_dense_matrices_over_the_rows_observed_there():
    rows = random_rows()
    values, rng = random_values(rows), np.random.default_rng(5)
    values[(rng.random(values.shape) < 0.1) & (np.arange(values.shape[1]) % 3 == 0)] = np.nan
    fitted, matrix = fit(values, rows=rows), matrix_of(rows)
    n_at_zero = np.zeros(2)
    for at in range(values.shape[1]):
        here = np.isfinite(values[:, at])
        y, X = values[here, at].astype(float), matrix[here]
        groups = [rows[name].to_numpy()[here] for name in ("family", "person")]
        residual = fitted.maps[RESIDUAL][at]
        own = np.array([fitted.maps[name][at] for name in NAMES]) / residual
        n_at_zero += own == 0
        deviance, beta, covariance, sigma2 = dense(own, y, X, groups)
        best = min(
            optimize.minimize(
                lambda roots: dense(roots**2, y, X, groups)[0],  # noqa: B023
                start, method="L-BFGS-B",
            ).fun
            for start in ([0.7, 0.7], [1.5, 0.1], [0.1, 1.5])
        )  # fmt: skip
        assert deviance <= best + 1e-7
        assert residual == pytest.approx(sigma2, rel=1e-8)
        weights, one = CONTRASTS[4].weights[0], fitted.estimates[4]
        t = weights @ beta / np.sqrt(sigma2 * weights @ covariance @ weights)
        assert one.statistic[at] == pytest.approx(t, rel=1e-7, abs=1e-7)
        assert one.n_observed[at] == here.sum()
        assert one.is_estimable[at]
    assert (n_at_zero > 5).all()


def dense_kenward_roger(variances, X, groups, weights):
    """Kenward & Roger's (1997) standard error and dof of one row, from matrices of rows × rows."""
    G = [(of[:, None] == of).astype(float) for of in groups] + [np.eye(len(X))]
    inverse = np.linalg.inv(sum(v * one for v, one in zip(variances, G, strict=True)))
    phi = np.linalg.inv(X.T @ inverse @ X)
    P = [-X.T @ inverse @ one @ inverse @ X for one in G]
    Q = [[X.T @ inverse @ one @ inverse @ other @ inverse @ X for other in G] for one in G]
    information = np.array(
        [
            [
                0.5 * np.trace(inverse @ G[r] @ inverse @ G[s])
                - np.trace(phi @ Q[r][s])
                + 0.5 * np.trace(phi @ P[r] @ phi @ P[s])
                for s in range(3)
            ]
            for r in range(3)
        ]
    )
    W = np.linalg.inv(information)
    lost = sum(W[r, s] * (Q[r][s] - P[r] @ phi @ P[s]) for r in range(3) for s in range(3))
    adjusted = phi + 2 * phi @ lost @ phi
    pulls = np.array([weights @ phi @ one @ phi @ weights for one in P]) / (weights @ phi @ weights)
    return np.sqrt(weights @ adjusted @ weights), 2 / (pulls @ W @ pulls)


def test_kenward_and_roger_is_that_of_dense_matrices():
    rows = random_rows(seed=7)
    values = random_values(rows, 12)
    fitted, X = fit(values, "kenward-roger", rows=rows), matrix_of(rows)
    groups = [rows[name].to_numpy() for name in ("family", "person")]
    for at in range(12):
        variances = [fitted.maps[name][at] for name in (*NAMES, RESIDUAL)]
        for one, of in zip(fitted.estimates[:5], CONTRASTS, strict=False):
            error, dof = dense_kenward_roger(variances, X, groups, of.weights[0])
            assert one.dof[at] == pytest.approx(dof, rel=1e-7)
            assert np.sqrt(one.variance[0, at]) == pytest.approx(error, rel=1e-8)


def test_balanced_families_have_a_closed_form():
    """Equal families and visits: t of what differs between families, people and visits, from their means."""
    n_families, n_people, n_visits = 12, 4, 3
    family, person, visit = (
        one.ravel() for one in np.meshgrid(range(n_families), range(n_people), range(n_visits), indexing="ij")
    )
    rows = pd.DataFrame({"family": family, "person": family * n_people + person})
    treated, old = (family % 2).astype(float), (person % 2).astype(float)
    X = np.column_stack([np.ones(len(rows)), treated, old, visit - 1.0])
    tests = [contrast(name, row) for name, row in zip("fpv", np.eye(4)[1:], strict=True)]
    values = random_values(rows, 40)
    fitted = fit(values, rows=rows, matrix=X, contrasts=tests)
    y = values.astype(float).reshape(n_families, n_people, n_visits, -1)
    inside = (fitted.maps[NAMES[0]] > 0) & (fitted.maps[NAMES[1]] > 0)
    assert 10 < inside.sum() < 40

    def square(rest, dof):
        return (rest**2).reshape(-1, rest.shape[-1]).sum(axis=0) / dof

    of_family, of_person = y.mean(axis=(1, 2)), y.mean(axis=2)
    is_treated, is_old = np.arange(n_families) % 2 == 1, np.arange(n_people) % 2 == 1
    effect = of_family[is_treated].mean(axis=0) - of_family[~is_treated].mean(axis=0)
    rest = of_family - np.where(
        is_treated[:, None], of_family[is_treated].mean(0), of_family[~is_treated].mean(0)
    )
    t_family = effect / np.sqrt(square(rest, n_families - 2) * 4 / n_families)
    own = of_person - of_family[:, None]
    effect = own[:, is_old].mean(axis=(0, 1)) - own[:, ~is_old].mean(axis=(0, 1))
    rest = own - np.where(is_old[:, None], effect / 2, -effect / 2)
    dof_person = n_families * (n_people - 1) - 1
    t_person = effect / np.sqrt(square(rest, dof_person) * 4 / (n_families * n_people))
    own = y - of_person[:, :, None]
    slope = (own * np.array([-1, 0, 1])[:, None]).sum(axis=2).mean(axis=(0, 1)) / 2
    dof_visit = n_families * n_people * (n_visits - 1) - 1
    rest = own - slope * np.array([-1, 0, 1])[:, None]
    t_visit = slope / np.sqrt(square(rest, dof_visit) / (2 * n_families * n_people))
    dofs = (n_families - 2, dof_person, dof_visit)
    for one, t, dof in zip(fitted.estimates, (t_family, t_person, t_visit), dofs, strict=True):
        np.testing.assert_allclose(one.statistic[inside], t[inside], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(one.dof[inside], dof, rtol=1e-6)
        assert one.total_sd is None  # in what units would it be, people's or families'?


def test_an_element_is_the_same_to_the_last_bit_in_any_company():
    rows = random_rows()
    values = random_values(rows, 150)
    values[3, ::5] = np.nan
    values[7:9, 10:20] = np.nan
    fit_tile = mixed.prepare(make_data(values, "kenward-roger", rows=rows))
    whole = fit_tile(slice(0, 150))
    for part in (slice(0, 1), slice(5, 6), slice(11, 97), slice(149, 150)):
        alone = fit_tile(part)
        for one, other in zip(whole.estimates, alone.estimates, strict=True):
            for name in ("effect", "variance", "statistic", "dof"):
                assert (getattr(one, name)[..., part] == getattr(other, name)).all()
        for name in whole.maps:
            assert (whole.maps[name][part] == alone.maps[name]).all()


def test_where_nothing_can_be_fitted_nothing_is_tested_and_nothing_is_nan():
    rows = random_rows()
    family, person = rows["family"].to_numpy(), rows["person"].to_numpy()
    values = random_values(rows, 12).astype(float)
    values[:, 0] = 3.7  # constant
    values[:, 1] = rows["month"] * 0.5  # fitted exactly
    values[:, 2] = (
        np.random.default_rng(0).normal(size=60).astype(np.float32)[person]
    )  # nothing within people
    values[rows["person"].duplicated(), 3] = np.nan  # one row of each person
    values[family > 4, 4] = np.nan  # five families
    first = rows.groupby("family")["person"].transform("min") == rows["person"]
    values[~first, 5] = np.nan  # one person of each family
    values[:, 6] = np.nan  # nobody
    values[:, 7] *= 1e-12  # tiny, but a number
    values[:, 8] += 1e5
    values[rows["group"] == "patient", 9] = np.nan  # no patients
    made = fit_group(make_data(values, rows=rows), is_two_sided=True)
    for number, result in enumerate(made.results):
        for name, numbers in result.maps.items():
            assert np.isfinite(numbers).all(), (number, name)
        of_patients = set() if number in (0, 3) else {9}
        assert {at for at in range(12) if result.maps["p"][at] == 1} == {0, 1, 2, 3, 4, 5, 6} | of_patients
    for numbers in made.maps.values():
        assert np.isfinite(numbers).all()


def test_the_order_of_rows_and_the_names_of_groups_do_not_matter():
    rows = random_rows()
    values = random_values(rows, 20)
    order = np.random.default_rng(1).permutation(len(rows))
    mixed_up = rows.iloc[order].reset_index(drop=True)
    mixed_up["person"] = [f"p{99 - person}" for person in mixed_up["person"]]
    mixed_up["family"] = [f"f{99 - family}" for family in mixed_up["family"]]
    pairs = zip(fit(values, rows=rows).estimates, fit(values[order], rows=mixed_up).estimates, strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one.statistic, other.statistic, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(one.dof, other.dof, rtol=1e-6)


def test_where_families_do_not_differ_the_model_is_that_of_people():
    """At a variance of 0 of one level the tests are those of the other level alone."""
    rows = random_rows()
    values = random_values(rows, 60)
    data = make_data(values, rows=rows)
    both = mixed.prepare(data)(slice(0, 60))
    alone = replace(data.design.random, outer=None, outer_groups=None)
    inner = mixed.prepare(replace(data, design=replace(data.design, random=alone)))(slice(0, 60))
    zero = both.maps[NAMES[0]] == 0
    assert 5 < zero.sum() < 50
    for one, other in zip(both.estimates[:5], inner.estimates[:5], strict=True):
        np.testing.assert_allclose(one.statistic[zero], other.statistic[zero], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(one.dof[zero], other.dof[zero], rtol=1e-5)
