"""Groups that differ in residual variance: a warning, and no group of outliers."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.oneway import anova_oneway

from bids_group.config.estimators import FIXED_EFFECTS, WEIGHTED
from bids_group.model import compare_spread
from bids_group.model.fitting.diagnostics import brown_forsythe_p, tabulate_quality, tell_units
from tests.groups import make_design, make_group

GROUP = np.repeat(["patient", "control"], (6, 24))


def make(sd, *, variables=None, seed=0, n_elements=400, columns=None, **more):
    """Rows whose noise has the given SDs; the design holds a mean of each group."""
    rng = np.random.default_rng(seed)
    n = len(sd)
    labels = [f"sub-{k:02d}" for k in range(n)]
    variables = pd.DataFrame({"group": GROUP} if variables is None else variables)
    variables.index = labels
    if columns is None:
        columns = np.column_stack([np.ones(n), GROUP == "patient"])
    maps = rng.normal(size=(n, n_elements)) * np.asarray(sd)[:, None]
    return make_group(make_design(columns, labels=labels, variables=variables), maps, **more)


UNEVEN = np.where(GROUP == "patient", 3.0, 1.0)


def test_p_is_that_of_statsmodels():
    rng = np.random.default_rng(1)
    groups = [rng.normal(m, s, n) for m, s, n in [(0, 1, 6), (0.5, 3, 9), (1, 1, 14)]]
    theirs = anova_oneway(groups, use_var="bf")
    assert brown_forsythe_p(groups) == pytest.approx(theirs.pvalue2, rel=1e-10)


def test_levels_of_unequal_variance_are_told_with_their_sds_and_the_way_out():
    factor, (told,) = compare_spread(make(UNEVEN))
    assert told.severity == "warning"
    assert "SD 2.98 in patient (6 people) against 0.996 in control (24 people)" in told.sentence
    assert told.fix == "Use --variance-groups group."
    assert factor.name == "group"


def test_leverage_does_not_pass_for_variance():
    """Of 3 people the mean fits a third of each; without the scaling their residual SD would be 0.82."""
    group = np.repeat(["few", "many"], (3, 27))
    columns = np.column_stack([np.ones(30), group == "few"])
    data = make(np.ones(30), variables={"group": group}, columns=columns, n_elements=4000)
    assert compare_spread(data) == (None, ())
    doubled = make(
        np.where(group == "few", 1.3, 1), variables={"group": group}, columns=columns, n_elements=4000
    )
    told = compare_spread(doubled)[1][0].sentence
    assert float(told.split("SD ")[1].split(" ")[0]) == pytest.approx(1.3, abs=0.05)


def test_a_small_ratio_and_variances_that_are_stated_are_not_told():
    assert compare_spread(make(np.where(GROUP == "patient", 1.2, 1.0), n_elements=4000)) == (None, ())
    data = make(UNEVEN)
    groups = pd.Series(GROUP, index=data.design.matrix.index, name="group")
    assert compare_spread(make(UNEVEN, variance_groups=groups)) == (None, ())
    assert compare_spread(make(UNEVEN, estimator=FIXED_EFFECTS)) == (None, ())


def test_equal_variances_are_told_as_rarely_as_p_says():
    told = sum(bool(compare_spread(make(np.ones(30), seed=seed, n_elements=40))[1]) for seed in range(200))
    assert told <= 8  # 2 expected; P(> 8) < 0.001


def test_factors_within_people_are_not_judged_and_people_count_once():
    people = np.repeat(np.arange(15), 2)
    session = np.tile(["a", "b"], 15)
    group = np.repeat(["x", "y"], (12, 18))
    labels = [f"sub-{k:02d}" for k in range(30)]
    more = {
        "variables": {"session": session, "group": group, "subject": people.astype(str)},
        "columns": np.column_stack([np.ones(30), session == "b", group == "x"]),
        "subjects": pd.Series(people.astype(str), index=labels),
    }
    assert compare_spread(make(np.where(session == "a", 3, 1), **more)) == (None, ())
    factor, (told,) = compare_spread(make(np.where(group == "x", 3, 1), **more))
    assert factor.name == "group"
    assert "in x (6 people)" in told.sentence


def test_no_whole_group_is_marked_as_outliers_but_an_odd_person_is():
    is_patient, n_marked = GROUP == "patient", 0
    for seed in range(10):
        data = make(UNEVEN, seed=seed)
        before = tabulate_quality(data, {})
        assert before.loc[is_patient, "is_outlier"].all()  # why the groups must be known
        factor, _ = compare_spread(data)
        after = tabulate_quality(data, {}, factor)
        assert after.loc[is_patient, "is_outlier"].sum() <= 2
        n_marked += after["is_outlier"].sum()
        assert after.attrs["compared_within"] == "group"
        pd.testing.assert_frame_equal(after.iloc[:, :5], before.iloc[:, :5])
    assert n_marked <= 15  # of 300 rows
    data = make(UNEVEN, seed=2)
    already = set(tabulate_quality(data, {}, factor).query("is_outlier").index)
    data.stack.data[2] += 6  # a patient whose map is off
    data.stack.data[20] *= 4  # a control as noisy as patients
    marked = tabulate_quality(data, {}, factor)
    assert set(marked.index[marked["is_outlier"]]) - already >= {"sub-02", "sub-20"} - already
    assert marked["is_outlier"].sum() <= 2 + len(already)


def test_elements_that_somebody_lacks_are_left_out():
    data = make(UNEVEN, is_complete=False)
    data.stack.data[4, :300] = np.nan
    assert compare_spread(data)[1]
    data.stack.data[4] = np.nan
    assert compare_spread(data) == (None, ())


@pytest.mark.parametrize(
    "factors, far", [({5: 1000.0}, "sub-05"), ({5: 0.001, 7: 0.001}, "sub-05, sub-07"), ({5: 0.0}, "sub-05")]
)
def test_maps_in_other_units_are_told_with_their_rows(factors, far):
    data = make(np.ones(30))
    for row, factor in factors.items():
        data.stack.data[row] = 1 + factor * data.stack.data[row]
    (told,) = tell_units(data, tabulate_quality(data, {}))
    assert told.severity == "warning"
    assert f"Far from most: {far}." in told.sentence


def test_half_of_the_maps_in_other_units_are_told():
    sd = np.where(np.arange(30) % 2, 1.0, 100.0)
    data = make(sd)
    (told,) = tell_units(data, tabulate_quality(data, {}))
    assert "in sub-" in told.sentence


@pytest.mark.parametrize("sd", [np.linspace(1, 20, 30), np.zeros(30)], ids=["as people differ", "no spread"])
def test_people_who_differ_are_not_told(sd):
    data = make(sd)
    assert tell_units(data, tabulate_quality(data, {})) == ()


def test_the_spread_of_a_handful_of_elements_says_nothing():
    data = make(np.r_[1000.0, np.ones(29)], n_elements=9)
    assert tell_units(data, tabulate_quality(data, {})) == ()


def test_neither_does_that_of_the_few_elements_that_everybody_has():
    """Each row has 99 of 100 regions: of the ones that all have, two are left."""
    data = make(np.ones(98), variables={"group": ["a"] * 98}, columns=np.ones((98, 1)), n_elements=100)
    np.fill_diagonal(data.stack.data, np.nan)
    data = dataclasses.replace(data, is_complete=False)
    quality = tabulate_quality(data, {})
    assert quality["sd_effect"].max() > 50 * quality["sd_effect"].min()
    assert tell_units(data, quality) == ()


@pytest.mark.parametrize("factor, is_told", [(1e6, True), (1e-6, True), (100.0, False)])
def test_variances_in_other_units_are_told_where_they_weigh(factor, is_told):
    data = make(np.ones(30))
    variance = np.full(data.stack.data.shape, 2.0, dtype=np.float32)
    variance[5] *= factor
    variance[7, 0] = np.nan
    stack = dataclasses.replace(data.stack, variance=variance)
    quality = tabulate_quality(data, {})
    told = tell_units(dataclasses.replace(data, stack=stack, estimator=WEIGHTED), quality)
    assert [one.sentence.endswith("Far from most: sub-05.") for one in told] == [True] * is_told
    assert tell_units(dataclasses.replace(data, stack=stack), quality) == ()
