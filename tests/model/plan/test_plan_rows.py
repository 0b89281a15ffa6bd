"""From the options of a command line to rows: who is a row, with which covariates, in which order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_group.config import AnalysisSpec, ContrastRequest, InferenceSpec, Selection
from bids_group.config.stats_model_request import compile_request
from bids_group.errors import DataError
from bids_group.model import build_design, plan_analyses, plan_pooling, restrict
from bids_group.records import Column
from tests.model.plan.models import cohort_of, table_of


def plan_line(cohort, formula="~ 1", pooling=None, **analysis):
    """Plan what a command line asks for."""
    spec = AnalysisSpec(formula=formula, **analysis)
    return plan_analyses(cohort, compile_request(spec, Selection(), pooling), spec)


@pytest.fixture
def sessions(people):
    """A mood that changes, a scanner that does not."""
    index = pd.MultiIndex.from_product([people.index, ["a", "b"]])
    mood = np.arange(16.0)
    return pd.DataFrame({"mood": mood, "scanner": np.repeat(["x", "y"], 8)}, index=index)


def test_each_first_level_contrast_is_an_analysis_with_a_row_per_person():
    first, second = plan_line(cohort_of(contrasts=("b", "a"), sessions=("1", "2")), "~ group")
    assert (first.first_level_contrast, second.first_level_contrast) == ("a", "b")
    assert list(first.rows.index) == [f"sub-{number:02d}" for number in range(1, 9)]
    assert [(one.session, one.run) for one in first.observations[0].sources] == [
        (session, run) for session in "12" for run in "123"
    ]
    assert "session" not in first.rows.columns
    assert (first.node, first.has_default_contrasts, first.centering) == (None, True, "grand")


def test_without_pooling_sessions_are_rows_and_runs_are_pooled_within_them():
    (analysis,) = plan_line(cohort_of(sessions=("2", "10")), "~ session + subject", "none")
    assert list(analysis.rows.index[:3]) == ["sub-01_ses-10", "sub-01_ses-2", "sub-02_ses-10"]
    assert analysis.rows["session"].cat.categories.tolist() == ["2", "10"]
    assert [one.run for one in analysis.observations[0].sources] == ["1", "2", "3"]


def test_sessions_are_in_their_declared_order_else_numbers_within_labels_count():
    cohort = cohort_of(sessions=("pre", "post", "wk10", "wk2"))
    (alphabetical,) = plan_line(cohort, "~ session + subject", "none")
    assert alphabetical.rows["session"].cat.categories.tolist() == ["post", "pre", "wk2", "wk10"]
    order = Column(
        name="session",
        kind="categorical",
        kind_source="Levels in sessions.json",
        source=Path("sessions.json"),
        levels=("pre", "absent", "post", "wk2", "wk10"),
    )
    (analysis,) = plan_line(replace(cohort, sessions=order), "~ session + subject", "none")
    assert analysis.rows["session"].cat.categories.tolist() == ["pre", "post", "wk2", "wk10"]
    assert analysis.columns["session"] is order
    two = replace(cohort, sessions=order, maps=[one for one in cohort.maps if one.session in ("pre", "post")])
    (change,) = build_design(plan_line(two, "~ session + subject", "none")[0]).contrasts
    assert change.words == "mean in post minus mean in pre, averaged over subject"


@pytest.mark.parametrize(
    ("pooling", "has_variance", "combine"),
    [
        ("precision", True, "precision"),
        ("mean", True, "mean"),
        (None, True, "precision"),
        (None, False, "mean"),
        ("none", True, "precision"),
        ("none", False, "mean"),
    ],
)
def test_pooling_is_what_was_asked_for(pooling, has_variance, combine):
    (analysis,) = plan_line(cohort_of(sessions=("a", "b"), has_variance=has_variance), "~ 1", pooling)
    assert {row.combine for row in analysis.observations} == {combine}


def test_the_first_level_contrast_can_be_the_factor_within_people():
    asked = (ContrastRequest(name="gainGtLoss", expression="mean(contrast=gain) - mean(contrast=loss)"),)
    (analysis,) = plan_line(cohort_of(contrasts=("loss", "gain")), "~ contrast + subject", contrasts=asked)
    assert list(analysis.rows.index[:2]) == ["sub-01_contrast-gain", "sub-01_contrast-loss"]
    design = build_design(analysis)
    rows = np.arange(16)
    effect = np.where(rows % 2 == 0, 5.0, 2.0) + np.repeat(np.arange(8.0) ** 2, 2)
    beta = np.linalg.lstsq(design.matrix.to_numpy(), effect, rcond=None)[0]
    np.testing.assert_allclose(design.contrasts[0].weights @ beta, [3.0])


def test_many_contrasts_in_one_model_have_a_short_name():
    (analysis,) = plan_line(cohort_of(contrasts=("a", "b", "c", "d"), runs=("1",)), "~ contrast + subject")
    assert analysis.first_level_contrast == "4 contrasts"
    assert len(analysis.rows) == 32


def test_the_order_of_maps_and_tables_changes_nothing(sessions):
    def plan(seed):
        cohort = cohort_of(
            contrasts=("a", "b"), sessions=("a", "b"), session_table=sessions, shuffled_by=seed
        )
        return plan_line(cohort, "~ session + mood + group", "none")

    reference = plan(None)
    for seed in range(5):
        for one, other in zip(reference, plan(seed), strict=True):
            assert one.observations == other.observations
            pd.testing.assert_frame_equal(one.rows, other.rows)


def test_a_column_of_sessions_joins_rows_that_are_sessions(sessions):
    (analysis,) = plan_line(
        cohort_of(sessions=("a", "b"), session_table=sessions), "~ mood + subject", "none"
    )
    assert analysis.rows.loc["sub-03_ses-b", "mood"] == 5.0


def test_a_column_that_varies_between_pooled_sessions_is_refused_where_it_is_used(sessions):
    cohort = cohort_of(sessions=("a", "b"), session_table=sessions)
    with pytest.raises(DataError, match=r"'mood' of sessions.tsv varies between the sessions of sub-01"):
        plan_line(cohort, "~ mood")
    (analysis,) = plan_line(cohort, "~ scanner")
    assert analysis.rows["scanner"].tolist() == ["x"] * 4 + ["y"] * 4
    blocks = InferenceSpec(exchangeability_blocks="mood")
    with pytest.raises(DataError, match="'mood'"):
        plan_line(cohort, "~ scanner", inference=blocks)


def test_only_the_sessions_that_have_maps_count(sessions):
    (analysis,) = plan_line(cohort_of(sessions=("b",), session_table=sessions), "~ mood")
    assert analysis.rows["mood"].tolist() == [1.0, 3, 5, 7, 9, 11, 13, 15]


def test_a_column_of_two_tables_is_refused_where_it_is_used(sessions):
    twice = sessions.assign(age=1.0)
    cohort = cohort_of(sessions=("a", "b"), session_table=twice)
    with pytest.raises(DataError, match=r"'age' stands in two tables, .*: participants.tsv and") as caught:
        plan_line(cohort, "~ age")
    assert caught.value.fix == "Rename it in one of them, so that the name says which is meant."
    (analysis,) = plan_line(cohort, "~ group")
    assert "age" not in analysis.rows.columns


@pytest.mark.parametrize("pooling", [None, "none"])
def test_a_column_of_two_tables_that_agree_is_one(pooling, people, sessions):
    twice = sessions.assign(age=np.repeat(people["age"].to_numpy(), 2))
    (analysis,) = plan_line(cohort_of(sessions=("a", "b"), session_table=twice), "~ age", pooling)
    assert analysis.rows["age"].tolist() == [
        people.loc[one, "age"] for one in analysis.rows["subject"].astype(str)
    ]


@pytest.mark.parametrize("values", [[1.0, 2.0], ["used", "not used"]])
def test_a_column_called_contrast_is_a_covariate_of_one_first_level_contrast(values, people):
    (analysis,) = plan_line(cohort_of(people.assign(contrast=values * 4)), "~ contrast")
    assert analysis.rows["contrast"].tolist() == values * 4
    assert list(analysis.rows).count("used") == 0


def test_people_without_a_table_row_have_missing_values(people):
    cohort = replace(cohort_of(), tables=(table_of(people.drop(index="04")),))
    (analysis,) = plan_line(cohort, "~ age + group")
    assert analysis.rows.loc["sub-04", ["age", "group"]].isna().all()
    assert analysis.rows["group"].cat.categories.tolist() == ["indifference", "range"]


def test_restricting_keeps_the_own_order_and_refuses_strangers():
    (analysis,) = plan_line(cohort_of())
    smaller = restrict(analysis, ["sub-05", "sub-02"])
    assert [row.label for row in smaller.observations] == ["sub-02", "sub-05"]
    assert list(smaller.rows.index) == ["sub-02", "sub-05"]
    with pytest.raises(DataError, match="no row sub-77"):
        restrict(analysis, ["sub-77"])


def test_values_that_a_group_model_lacks_do_not_stop_the_pooling(people):
    spec = AnalysisSpec(formula="~ age + group")
    people.loc["02", "age"] = np.nan
    first, second = plan_pooling(
        cohort_of(people, contrasts=("b", "a")), compile_request(spec, Selection()), spec
    )
    assert (first.first_level_contrast, second.first_level_contrast) == ("a", "b")
    assert len(first.observations) == 8
