"""Points behind a peak say what the estimator fitted: by dense matrices."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_group.config.estimators import MIXED, SANDWICH, WEIGHTED
from bids_group.model import fit_group
from bids_group.model.fitting.influence import tabulate_peaks
from bids_group.records import RandomTerm
from tests.groups import make_contrast, make_design, make_group

N, ELEMENT = 6, 2


def make_data(estimator):
    """Twelve people with one to four visits; a covariate of people, one of visits, and a repeated column."""
    rng = np.random.default_rng(5)
    people = np.repeat(np.arange(12), rng.integers(1, 5, 12))
    n_rows = len(people)
    labels = [f"row-{k:02d}" for k in range(n_rows)]
    age, time = rng.normal(40, 9, 12)[people], rng.normal(0, 1, n_rows)
    columns = {"Intercept": 1.0, "age": age, "time": time, "again": 1000 * time}
    frame = pd.DataFrame(columns, index=labels)
    terms = {"1": ("Intercept",), "age": ("age",), "time": ("time",), "again": ("again",)}
    groups = pd.Series(people, index=labels)
    one = frame[["Intercept"]]
    term = RandomTerm(text="(1 | subject)", group="subject", groups=groups, effects=one, is_correlated=True)
    design = make_design(
        frame, [make_contrast([0, 0, 1.0, 1000])], terms=terms, variables=frame[["age", "time", "again"]],
        random=term if estimator is MIXED else None,
    )  # fmt: skip
    values = rng.normal(size=(12, N))[people] + 0.02 * age[:, None] + 0.5 * rng.normal(size=(n_rows, N))
    variances = rng.gamma(2, 0.3, (n_rows, N)).astype(np.float32) if estimator is WEIGHTED else None
    return make_group(design, values, variance=variances, estimator=estimator, blocks=people)


def covariance_of_rows(data, maps):
    """What the estimator takes the covariance of the rows for at the element."""
    n_rows = len(data.stack.labels)
    if data.estimator is MIXED:
        people = data.design.random.groups.to_numpy()
        share = float(maps["stat-icc"][ELEMENT])
        assert share > 0.1
        return (1 - share) * np.eye(n_rows) + share * (people[:, None] == people)
    if data.estimator is WEIGHTED:
        return np.diag(data.stack.variance[:, ELEMENT].astype(float) + float(maps["stat-tau2"][ELEMENT]))
    return np.eye(n_rows)


def _check_interval(data, X, table):
    """The line at each row, with age at its mean, is a contrast: its effect, variance and the slope's dof."""
    rows = np.where([False, True, False, False], X.mean(axis=0), X)[:5]
    asked = [make_contrast(row, name=str(k)) for k, row in enumerate(rows)]
    design = replace(data.design, contrasts=(*data.design.contrasts, *asked))
    slope, *lines = fit_group(replace(data, design=design)).results
    dof = slope.maps["dof"][ELEMENT] if "dof" in slope.maps else slope.dof
    effects, variances = (
        np.array([one.maps[name][ELEMENT] for one in lines]) for name in ("effect", "variance")
    )
    half = stats.t.ppf(0.975, dof) * np.sqrt(variances)
    assert table["line_lower"].to_numpy()[:5] == pytest.approx(effects - half, rel=1e-4, abs=1e-5)
    assert table["line_upper"].to_numpy()[:5] == pytest.approx(effects + half, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("estimator", [MIXED, SANDWICH, WEIGHTED], ids=lambda one: one.name)
def test_points_and_lines_are_those_of_the_estimator(estimator):
    data = make_data(estimator)
    fit = fit_group(data)
    table = tabulate_peaks(data, data.design.contrasts[0], [0, ELEMENT]).query("peak == 2")
    X, y = data.design.matrix.to_numpy(), data.stack.data[:, ELEMENT].astype(float)
    weight = np.linalg.inv(covariance_of_rows(data, fit.maps))
    beta = np.linalg.pinv(X.T @ weight @ X, rcond=1e-12) @ X.T @ weight @ y
    assert table["fitted"].to_numpy() == pytest.approx(X @ beta, abs=2e-6)
    aside = X[:, 1] * beta[1]
    assert table["partial_residual"].to_numpy() == pytest.approx(y - (aside - aside.mean()), abs=2e-6)
    _check_interval(data, X, table)
    plain = X @ np.linalg.pinv(X) @ y
    assert (np.abs(plain - X @ beta).max() > 1e-3) == (estimator is not SANDWICH)


@pytest.mark.parametrize("estimator", [MIXED, SANDWICH, WEIGHTED], ids=lambda one: one.name)
def test_no_statistic_without_a_row_is_said_that_is_another_estimators(estimator):
    data = make_data(estimator)
    assert tabulate_peaks(data, data.design.contrasts[0], [ELEMENT])["statistic_without_row"].isna().all()
