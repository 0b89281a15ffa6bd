"""What g is in units of: per unit of the covariate for slopes, people about themselves within people."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bids_group.output.files.contrasts import name_standardiser
from bids_group.output.report.methods import methods_text
from bids_group.records import Contrast, Design

TERMS = {
    "1": ("Intercept",), "group": ("group[T.b]",), "age": ("age",), "group:age": ("group[T.b]:age",),
    "log(n_cigs)": ("log(n_cigs)",),
}  # fmt: skip
COLUMNS = [column for columns in TERMS.values() for column in columns]


def named(weights, subjects=None, **more):
    variables = pd.DataFrame({"group": list("ab") * 4, "age": np.arange(8.0), "n_cigs": np.arange(1.0, 9)})
    design = Design(
        matrix=pd.DataFrame(np.ones((8, 5)), columns=COLUMNS), contrasts=(), formula="",
        terms={**TERMS, **more},
        variables=variables, centering="none", centers={}, rank=5, details={},
    )  # fmt: skip
    contrast = Contrast(
        name="c", label="", weights=np.atleast_2d(np.array(weights, float)), test="t", expression="", words=""
    )
    return name_standardiser(SimpleNamespace(design=design, subjects=subjects), contrast)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1, 0, 0, 0, 0], "residual SD"),
        ([0, 1, 0, 30, 0], "residual SD"),  # a difference of means where covariates are not centred
        ([0, 0, 1, 0, 0], "residual SD per unit of age"),
        ([0, 0, 1, 0.5, 0], "residual SD per unit of age"),
        ([0, 0, 0, 1, 0], "residual SD per unit of age"),
        ([0, 0, 0, 0, 1], "residual SD per unit of n_cigs"),
    ],
)
def test_slopes_are_per_unit_of_their_covariate(weights, expected):
    assert named(weights) == expected


def test_within_people_it_is_their_own_sd():
    several = pd.Series(["1", "1"] * 4)
    assert "within people (of a paired difference g is sqrt(2) * J * d_z)" in named(
        [0, 1, 0, 0, 0], several, subject=()
    )
    assert "within and between people" in named([0, 1, 0, 0, 0], several)


def test_the_methods_name_what_is_not_the_plain_sd():
    facts = {"has_g": True, "standardisers": {"a": "residual SD", "b": "residual SD per unit of age"}}
    assert "(but residual SD per unit of age for b)" in methods_text(facts)
    assert "(but" not in methods_text({"has_g": True, "standardisers": {"a": "residual SD"}})
