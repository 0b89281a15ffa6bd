"""Greenhouse and Geisser's ε of a person's rows: car's and a textbook's numbers, simulations, who is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_group.config.estimators import MIXED, SANDWICH
from bids_group.model import measure_sphericity

R = Path(__file__).parents[2] / "validation" / "r"
PAIRS = np.kron(np.eye(2), [[1, 0.9], [0.9, 1]])
"""Sessions correlated in pairs, of equal variance: ε = 0.405."""
ALIKE = np.full((4, 4), 0.6) + 0.4 * np.eye(4)


def draw(n, covariance, n_elements=300, seed=0):
    root = np.linalg.cholesky(covariance)
    noise = np.random.default_rng(seed).normal(size=(n, len(covariance), n_elements))
    return np.einsum("ab,ibj->iaj", root, noise) + np.random.default_rng(1).normal(size=(n, 1, 1))


def epsilon_of(covariance):
    """Box's ε by its eigenvalues, on contrasts that are orthonormal."""
    k = len(covariance)
    contrasts = np.linalg.svd(np.eye(k) - 1 / k)[0][:, :-1]
    values = np.linalg.eigvalsh(contrasts.T @ covariance @ contrasts)
    return values.sum() ** 2 / ((k - 1) * (values**2).sum())


@pytest.mark.parametrize(
    "question, formula",
    [
        ("~ 1", "~ session + subject"),
        ("~ 1", "~ session"),
        ("~ group", "~ group * session"),
        ("~ group", "~ session + group:session + subject"),
        ("~ group * age", "~ group * age * session + subject"),
    ],
)
def test_epsilon_and_covariance_are_those_of_car(make_visits, question, formula):
    """Also of a textbook: ε = 0.61 for the scores of 12 children (Maxwell & Delaney 1990, chapter 11)."""
    rows = pd.read_csv(R / "sphericity_rows.csv")
    told = pd.read_csv(R / "sphericity.csv").set_index("question").loc[question]
    people = rows[["group", "age"]].assign(group=pd.Categorical(rows["group"]))
    scores = rows[["m30", "m36", "m42", "m48"]].to_numpy()[:, :, None]
    found, (notice,) = measure_sphericity(make_visits(scores, formula, people=people))
    assert found.greenhouse_geisser_epsilon == pytest.approx(told["epsilon"], rel=1e-9)
    expected = [[told[f"s{a}{b}"] for b in range(1, 5)] for a in range(1, 5)]
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-9)
    assert (found.degrees_of_freedom, found.number_of_people, found.number_of_elements) == (
        told["dof"],
        12,
        1,
    )
    assert f"is {told['epsilon']:.2f}" in notice.sentence
    if question == "~ 1":
        assert round(found.greenhouse_geisser_epsilon, 2) == 0.61
        change = (scores[:, 1] - scores[:, 0]).var(ddof=1)
        assert found.variances_of_differences["ses-b − ses-a"] == pytest.approx(change)


def test_pooled_over_elements_few_people_are_enough(make_visits):
    """ε of 5 people at single elements is 0.5 to 0.8 where the truth is 1; pooled it is right."""
    alike, none = measure_sphericity(make_visits(draw(5, ALIKE)))
    assert none == ()
    assert alike.greenhouse_geisser_epsilon == pytest.approx(1, abs=0.02)
    pairs, (notice,) = measure_sphericity(make_visits(draw(5, PAIRS)))
    assert pairs.greenhouse_geisser_epsilon == pytest.approx(epsilon_of(PAIRS), abs=0.02)
    assert epsilon_of(PAIRS) == pytest.approx(0.405, abs=5e-4)
    np.testing.assert_allclose(
        np.diag(pairs.covariance), np.trace(pairs.covariance) / 4, rtol=0.05
    )  # equal variances do not show it
    assert notice.severity == "warning"
    assert "0.33 at worst" in notice.sentence
    assert "--estimator sandwich" in notice.fix
    assert "--exchangeability-blocks subject --whole-blocks --shuffle flips" in notice.fix
    low, high = list(pairs.variances_of_differences.values())[::5]
    assert low == pytest.approx(0.2, rel=0.15)
    assert high == pytest.approx(2, rel=0.15)


def test_people_who_lack_a_row_are_left_out_and_counted_and_rare_sessions_too(make_visits):
    values = draw(12, PAIRS)
    whole, _ = measure_sphericity(make_visits(values[2:]))
    found, _ = measure_sphericity(make_visits(values, lost=[0, 5]))
    assert found.number_of_people_left_out == 2
    np.testing.assert_allclose(found.covariance, whole.covariance, rtol=1e-6)
    rare, _ = measure_sphericity(make_visits(values, lost=[4 * person + 3 for person in range(7)]))
    assert rare.measurements == ["ses-a", "ses-b", "ses-c"]
    assert rare.number_of_people == 12


def test_elements_that_someone_lacks_are_left_out(make_visits):
    values = draw(8, PAIRS)
    values[3, 2, 50:] = np.nan
    found, _ = measure_sphericity(make_visits(values))
    assert found.number_of_elements == 50
    whole, _ = measure_sphericity(make_visits(values[:, :, :50]))
    np.testing.assert_allclose(found.covariance, whole.covariance)


def test_what_varies_between_people_and_sessions_is_taken_out_of_each_session(make_visits):
    """A covariate of each row (and its slope) is no covariance of sessions."""
    values, n = draw(40, ALIKE), 40
    motion = np.random.default_rng(5).normal(size=(n, 4))
    data = make_visits(values, "~ session + subject")
    rows = data.design.matrix.assign(motion=motion.reshape(-1))
    moved = make_visits(values + 3 * motion[:, :, None] * [[[1], [0], [0], [0]]], "~ session + subject")
    bad, _ = measure_sphericity(moved)
    good, _ = measure_sphericity(replace(moved, design=replace(moved.design, matrix=rows)))
    assert bad.greenhouse_geisser_epsilon < 0.9
    assert good.greenhouse_geisser_epsilon == pytest.approx(1, abs=0.01)


def test_it_is_told_only_where_one_variance_is_assumed_and_rows_of_a_person_are_compared(make_visits):
    values = draw(9, PAIRS)
    assert measure_sphericity(make_visits(values[:, :2])) == (None, ())
    assert measure_sphericity(make_visits(values[:, :1], "~ 1", "mean()")) == (None, ())
    assert measure_sphericity(make_visits(values, "~ session", estimator=SANDWICH)) == (None, ())
    assert measure_sphericity(make_visits(values, "~ session + (1 | subject)", estimator=MIXED))[1] != ()
    found, notices = measure_sphericity(make_visits(values, "~ 1 + (1 | subject)", "mean()", estimator=MIXED))
    assert found.greenhouse_geisser_epsilon < 0.5
    assert notices == ()


def test_it_is_said_where_it_cannot_be_had(make_visits):
    found, (notice,) = measure_sphericity(make_visits(draw(4, PAIRS), lost=[0, 5, 10]))
    assert found is None
    assert notice.severity == "note"
    assert "1 of 4 people have all of ses-a, ses-b, ses-c, ses-d" in notice.sentence
    constant = make_visits(np.ones((6, 4, 3)))
    assert measure_sphericity(constant)[0] is None
