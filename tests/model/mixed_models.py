"""Elements with visits of people as a mixed model has them, and their comparison with what R says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_group.config.estimators import MIXED
from bids_group.distributions import f_p, t_p
from bids_group.model.fitting import mixed
from bids_group.records import RandomTerm
from tests.groups import make_contrast, make_design, make_group

ANSWERS = Path(__file__).parents[2] / "validation" / "r"
VISITS = pd.read_csv(ANSWERS / "visits.csv")
MAPS = [f"y{number}" for number in range(1, 10)]
EFFECTS = {
    "intercept": ["Intercept"],
    "slope": ["Intercept", "month"],
    "apart": ["Intercept", "month"],
    "alone": ["month"],
}


def contrast(name, *rows):
    return make_contrast(*rows, name=name)


CONTRASTS = (
    contrast("mean", [1, 0, 6, 40, 0]),
    contrast("group", [0, 1, 0, 0, 0]),
    contrast("month", [0, 0, 1, 0, 0.5]),
    contrast("age", [0, 0, 0, 1, 0]),
    contrast("group:month", [0, 0, 0, 0, 1]),
    contrast("joint", [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]),
)


def make_data(
    values, model="intercept", variant="satterthwaite", rows=VISITS, contrasts=CONTRASTS, matrix=None
):
    labels = [f"row-{number:03d}" for number in range(len(rows))]
    month = rows["month"].to_numpy(dtype=float)
    effects = pd.DataFrame({"Intercept": 1.0, "month": month}, index=labels)[EFFECTS[model]]
    term = RandomTerm(
        text="(1 | subject)", group="subject", groups=pd.Series(list(rows["person"]), index=labels),
        effects=effects, is_correlated=model != "apart",
    )  # fmt: skip
    return as_data(values, term, matrix_of(rows) if matrix is None else matrix, contrasts, variant)


def matrix_of(rows):
    patient, month = (rows["group"] == "patient").astype(float), rows["month"].to_numpy(dtype=float)
    return np.column_stack([np.ones(len(rows)), patient, month, rows["age"], patient * month])


def as_data(values, term, matrix, contrasts, variant):
    """Elements in a row, whose rows are those of a random term and a matrix."""
    design = make_design(matrix, contrasts, labels=term.groups.index, random=term)
    is_complete = bool(np.isfinite(np.asarray(values)).all())
    return make_group(design, values, is_complete=is_complete, estimator=replace(MIXED, variant=variant))


def fit(*args, **more):
    data = make_data(*args, **more)
    return mixed.prepare(data)(slice(0, data.elements.n_elements))


def random_rows(n_people=30, seed=3, most=5):
    """People in two groups with one to four visits each."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, most, n_people)
    person = np.repeat(np.arange(n_people), counts)
    return pd.DataFrame(
        {
            "person": person,
            "group": np.where(person % 2, "patient", "control"),
            "month": np.concatenate([6.0 * np.arange(k) for k in counts]) + rng.integers(0, 2, len(person)),
            "age": rng.normal(40, 9, n_people)[person],
        }
    )


def random_values(rows, n=60, seed=4):
    """Elements whose intraclass correlation runs from 0 to 0.9, and some below zero."""
    rng = np.random.default_rng(seed)
    shares = np.linspace(0, 0.9, n)
    between = rng.normal(size=(rows["person"].nunique(), n))[pd.factorize(rows["person"])[0]]
    values = np.sqrt(shares) * between + np.sqrt(1 - shares) * rng.normal(size=(len(rows), n))
    values[:, ::7] -= 0.9 * values[:, ::7].mean(axis=0)
    return values.astype(np.float32)


def compare_with_r(fitted, answers, variant, *, t, dof, p):
    """Compare all nine elements and six contrasts, within these limits, relative where above 1."""
    names = [one.name for one in CONTRASTS]
    ddf = {"satterthwaite": "Satterthwaite", "kenward-roger": "Kenward-Roger"}[variant]
    asked = list(answers[(answers["ddf"] == ddf) | (answers["contrast"] == "joint")].itertuples())
    assert len(asked) == 9 * 6
    for of in asked:
        one, at = fitted.estimates[names.index(of.contrast)], of.element - 1
        assert one.is_estimable[at]
        assert one.dof[at] == pytest.approx(of.df, rel=dof)
        assert one.statistic[at] == pytest.approx(of.statistic, rel=t, abs=t)
        if of.contrast == "joint":
            own_p = f_p(one.statistic[at : at + 1], 2, one.dof[at])
        else:
            own_p = t_p(one.statistic[at : at + 1], one.dof[at], True)
            assert one.effect[0, at] == pytest.approx(of.effect, rel=t, abs=t)
            assert np.sqrt(one.variance[0, at]) == pytest.approx(of.se, rel=t)
        assert own_p == pytest.approx(of.p, rel=p, abs=1e-6)
