"""Share of independent elements without effect that a mixed model finds, when its model is true."""

import numpy as np
import pandas as pd
import pytest

from bids_group.distributions import f_p, t_p
from bids_group.model.fitting import mixed
from tests.model.mixed_models import contrast, make_data

N_ELEMENTS = 4000
LIMIT = 3.3 * np.sqrt(0.05 * 0.95 / N_ELEMENTS)
"""99.9 % of the shares of that many independent tests at 0.05 lie within."""


def errors(n_people, model, variant):
    """Groups of 5 : 7, three visits, 8 % of the rows missing at random; people differ as the model says."""
    draw = np.random.default_rng(n_people)
    person = np.repeat(np.arange(n_people), 3)
    visit = np.tile([-1.0, 0.0, 1.0], n_people)
    kept = np.sort(draw.choice(len(person), round(0.92 * len(person)), replace=False))
    person, visit = person[kept], visit[kept]
    patient = (person % 12 < 5).astype(float)
    rows = pd.DataFrame({"person": person, "group": "x", "month": visit, "age": 0.0})
    values = np.sqrt(0.7) * draw.normal(size=(n_people, N_ELEMENTS))[person]
    values += draw.normal(size=(len(person), N_ELEMENTS))
    if model == "slope":
        values += 0.8 * draw.normal(size=(n_people, N_ELEMENTS))[person] * visit[:, None]
    tests = [
        contrast("group", [0, 1, 0, 0]),
        contrast("visit", [0, 0, 1, 0]),
        contrast("group:visit", [0, 0, 0, 1]),
        contrast("joint", [0, 1, 0, 0], [0, 0, 0, 1]),
    ]
    X = np.column_stack([np.ones(len(person)), patient, visit, patient * visit])
    data = make_data(values, model, variant, rows=rows, contrasts=tests, matrix=X)
    found = mixed.prepare(data)(slice(0, N_ELEMENTS)).estimates
    p = [t_p(one.statistic, one.dof, True) for one in found[:3]]
    p.append(f_p(found[3].statistic, 2, found[3].dof))
    return [float((each <= 0.05).mean()) for each in p]


@pytest.mark.parametrize("variant", ["satterthwaite", "kenward-roger"])
@pytest.mark.parametrize("n_people", [12, 20, 40])
def test_an_intercept_errs_in_five_of_a_hundred(n_people, variant):
    shares = errors(n_people, "intercept", variant)
    assert max(abs(share - 0.05) for share in shares) <= LIMIT, shares


def test_slopes_err_in_five_of_a_hundred():
    shares = errors(40, "slope", "kenward-roger")
    assert max(abs(share - 0.05) for share in shares) <= LIMIT, shares
