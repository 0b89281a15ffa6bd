"""From a model file to rows: groups, filters, transformations, settings, the traps of pybids' own graph."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_group.bids import keep_complete
from bids_group.config import ContrastRequest
from bids_group.errors import ContrastError, DataError, SelectionError, UsageError
from bids_group.model import build_design, needed_variables, plan_analyses, plan_pooling, restrict
from bids_group.records import warn
from tests.model.plan.models import cohort_of, dataset_node, model_of, node_contrast, run_node, subject_node

DUMMY = {"DummyContrasts": {"Test": "t"}}


def complete(analysis):
    """Leave out who lacks a value, as a run with --missing drop does."""
    needed = needed_variables(analysis.formula, analysis.rows.columns, centering=analysis.centering)
    return restrict(analysis, keep_complete(analysis.rows, needed, "drop")[0])


# --------------------------------------------------------------------------------------------
# Where pybids' own graph goes wrong


def plan_group(bench, cohort, dataset, **analysis):
    subject = subject_node(GroupBy=["subject", "contrast"])
    return bench.plan(model_of(subject, dataset), cohort, **analysis)


def test_a_missing_value_is_not_zero(bench, people):
    people["sex"] = people["sex"].astype(object)
    people.loc["02", "sex"] = np.nan
    people.loc["03", "age"] = np.nan
    steps = [
        {"Name": "Factor", "Input": ["sex"]},
        {"Name": "Threshold", "Input": ["age"], "Threshold": 30, "Binarize": True, "Output": ["old"]},
    ]
    dataset = dataset_node(["sex.M", "sex.F", "age", "old"], steps=steps, **DUMMY)
    (analysis,) = plan_group(bench, cohort_of(people), dataset)
    assert analysis.rows.loc["sub-02", ["sex.M", "sex.F"]].isna().all()
    assert analysis.rows.loc["sub-03", ["age", "old"]].isna().all()
    assert list(complete(analysis).rows.index) == [f"sub-{n:02d}" for n in (1, 4, 5, 6, 7, 8)]


def test_demeaning_is_over_the_analysed_people_alone(bench, people):
    people.loc["01", "age"] = 1000.0  # has no maps
    people.loc["08", "patient_grp"] = np.nan  # lacks another value that the model needs
    without = [("01", None, run) for run in "123"]
    steps = [{"Name": "Demean", "Input": ["age"]}]
    dataset = dataset_node([1, "age", "patient_grp"], steps=steps, **DUMMY)
    (analysis,) = plan_group(bench, cohort_of(people, without=without), dataset)
    ages = np.array([22.0, 31, 35, 40, 44, 47])
    np.testing.assert_allclose(complete(analysis).rows["age"], ages - ages.mean())


def test_a_filter_on_a_participants_column_is_kept_to(bench):
    dataset = dataset_node([1], **DUMMY)
    edges = [
        {
            "Source": "subject",
            "Destination": "group",
            "Filter": {"group": ["indifference"], "patient_grp": [2, 3]},
        }
    ]
    subject = subject_node(GroupBy=["subject", "contrast"])
    (analysis,) = bench.plan(model_of(subject, dataset, edges=edges), cohort_of())
    assert [row.subject for row in analysis.observations] == ["03", "05"]
    left_out = {one.subject: one.reason for one in analysis.exclusions}
    assert sorted(left_out) == ["01", "02", "04", "06", "07", "08"]
    assert left_out["01"].startswith("group is range: not let through by the Filter of the edge")
    assert len(analysis.exclusions) == 18  # every map is named
    assert left_out["08"].startswith("patient_grp is 4")


def test_what_is_odd_about_the_column_of_a_filter_is_told(bench):
    edges = [{"Source": "subject", "Destination": "group", "Filter": {"group": ["range"]}}]
    cohort = cohort_of()
    (table,) = cohort.tables
    odd = warn("columns", "The levels 'Range' and 'range' differ only in case.")
    columns = {**table.columns, "group": replace(table.columns["group"], notices=(odd,))}
    cohort = replace(cohort, tables=(replace(table, columns=columns),))
    subject = subject_node(GroupBy=["subject", "contrast"])
    model = model_of(subject, dataset_node([1], **DUMMY), edges=edges)
    assert odd in bench.plan(model, cohort)[0].notices


def test_a_contrast_of_an_unknown_condition_is_refused(bench):
    dataset = dataset_node([1, "age"], Contrasts=[node_contrast("x", ["agee"], [1])])
    with pytest.raises(
        ContrastError, match="'x' of the node 'group' names 'agee', which is not in X"
    ) as error:
        plan_group(bench, cohort_of(), dataset)
    assert error.value.fix == "Did you mean 'age'?"


def test_contrasts_are_not_mixed_in_one_model(bench):
    cohort = cohort_of(contrasts=("gain", "loss"))
    with pytest.raises(UsageError, match="'subject' would mix 2 first-level contrasts"):
        bench.plan(model_of(subject_node(), dataset_node([1], **DUMMY)), cohort)
    with pytest.raises(UsageError, match="'group' would mix 2 first-level contrasts"):
        plan_group(bench, cohort, dataset_node([1], GroupBy=[], **DUMMY))


@pytest.mark.parametrize("number", ["0", "1"])  # a column of that name is not the constant
def test_a_formula_is_read(number, bench, people):
    contrasts = [node_contrast("differs", ["sex[T.M]:age"], ["-1/3"])]
    dataset = dataset_node([1, "sex", "age"], formula="1 + sex * age - 0", Contrasts=contrasts)
    (analysis,) = plan_group(bench, cohort_of(people.assign(**{number: people["age"]})), dataset)
    design = build_design(analysis)
    assert list(design.matrix.columns) == ["Intercept", "sex[T.M]", "age", "sex[T.M]:age"]
    np.testing.assert_allclose(design.matrix["age"], [20.0, 22, 31, 35, 40, 44, 47, 61])  # not centred
    np.testing.assert_allclose(design.contrasts[0].weights, [[0, 0, 0, -1 / 3]])


def test_entities_are_variables(bench):
    session = subject_node(Level="Session", Name="session", GroupBy=["subject", "session", "contrast"])
    steps = [
        {"Name": "Factor", "Input": ["session"]},
        {"Name": "Factor", "Input": "subject", "Constraint": "drop_one"},
    ]
    people = [f"subject.{number:02d}" for number in range(2, 9)]
    dataset = dataset_node(
        ["session.a", "session.b", *people],
        steps=steps,
        Contrasts=[node_contrast("change", ["session.b", "session.a"], [1, -1])],
    )
    (analysis,) = bench.plan(model_of(session, dataset), cohort_of(sessions=("a", "b")))
    design = build_design(analysis)
    assert design.matrix["session.b"].tolist() == [0.0, 1] * 8
    assert design.contrasts[0].weights.tolist() == [[-1.0, 1] + [0] * 7]


# --------------------------------------------------------------------------------------------
# The participant level


def test_the_job_of_one_person_does_not_need_the_others(bench, people):
    subject = subject_node(GroupBy=["subject", "contrast"])
    steps = [{"Name": "Scale", "Input": ["age"]}]
    dataset = dataset_node([1, "age"], steps=steps, GroupBy=["contrast", "group"], **DUMMY)
    edges = [{"Source": "subject", "Destination": "group", "Filter": {"group": ["range"]}}]
    settled, config = bench.read(model_of(subject, dataset, edges=edges))
    (whole,) = plan_analyses(cohort_of(), settled, config.analysis)
    for number in people.index:
        alone = plan_pooling(cohort_of(people.loc[[number]]), settled, config.analysis)
        pooled = [row for one in alone for row in one.observations]
        assert pooled == [row for row in whole.observations if row.subject == number]


# --------------------------------------------------------------------------------------------
# Groups, filters, settings


def test_a_missing_value_of_a_groupby_column_is_named_or_leaves_the_row_out(bench, people):
    people["group"] = people["group"].astype(object)
    people.loc["06", "group"] = np.nan
    dataset = dataset_node([1], GroupBy=["contrast", "group"], **DUMMY)
    with pytest.raises(DataError, match="a model for each group, but sub-06 has no value of it"):
        plan_group(bench, cohort_of(people), dataset)
    first, second = plan_group(bench, cohort_of(people), dataset, missing="drop")
    assert [dict(one.group_labels) for one in (first, second)] == [
        {"group": "indifference"},
        {"group": "range"},
    ]
    assert [row.subject for row in second.observations] == ["01", "02", "04", "07"]
    assert {one.subject for one in second.exclusions} == {"06"}


def test_groupby_session_makes_a_model_per_session(bench):
    session = subject_node(Level="Session", GroupBy=["subject", "session", "contrast"])
    dataset = dataset_node([1], GroupBy=["contrast", "session"], **DUMMY)
    analyses = bench.plan(model_of(session, dataset), cohort_of(sessions=("a", "b")))
    assert [dict(one.group_labels) for one in analyses] == [{"session": "a"}, {"session": "b"}]
    assert {row.session for row in analyses[1].observations} == {"b"}


def test_runs_that_reach_the_group_are_not_rows(bench):
    model = model_of(run_node(), dataset_node([1], **DUMMY))
    with pytest.raises(DataError, match="'group' has two maps for the row sub-01"):
        bench.plan(model, cohort_of())
    (analysis,) = bench.plan(model, cohort_of(runs=("1",)))
    assert analysis.observations[0].sources[0].run == "1"


@pytest.mark.parametrize(
    ("filter_", "kind", "sentence"),
    [
        ({"contrast": ["gian"]}, SelectionError, "lets no map through"),
        ({"grup": ["range"]}, UsageError, "There is no column 'grup', which the Filter of the edge"),
        ({"run": ["7"]}, SelectionError, "lets no map through"),
    ],
)
def test_a_filter_that_fits_nothing_is_refused(bench, filter_, kind, sentence):
    edges = [{"Source": "run", "Destination": "group", "Filter": filter_}]
    model = model_of(run_node(), dataset_node([1], **DUMMY), edges=edges)
    with pytest.raises(kind, match=sentence):
        bench.plan(model, cohort_of(contrasts=("gain", "loss")))


def test_a_filter_names_what_it_does_not_find(bench):
    edges = [{"Source": "run", "Destination": "group", "Filter": {"contrast": ["gain", "gian"]}}]
    model = model_of(run_node(), dataset_node([1], **DUMMY), edges=edges)
    (analysis,) = bench.plan(model, cohort_of(contrasts=("gain", "loss"), runs=("1",)))
    assert [one.sentence for one in analysis.notices if "'gian'" in one.sentence]
    assert {one.contrast for one in analysis.exclusions} == {"loss"}


@pytest.mark.parametrize(
    "filter_",
    [{"run": ["1"]}, {"run": ["01"]}, {"run": ["run-1"]}, {"subject": ["sub-01", "02"], "run": [1]}],
)
def test_a_filter_takes_labels_as_options_do(bench, filter_):
    edges = [{"Source": "run", "Destination": "group", "Filter": filter_}]
    model = model_of(run_node(), dataset_node([1], **DUMMY), edges=edges)
    cohort = cohort_of()
    maps = tuple(replace(m, run=f"0{m.run}") if m.subject == "02" else m for m in cohort.maps)
    (analysis,) = bench.plan(model, replace(cohort, maps=maps))
    people = [f"sub-0{number}" for number in range(1, 9)]
    assert [row.label for row in analysis.observations] == people[: 2 if "subject" in filter_ else 8]
    assert {row.sources[0].run for row in analysis.observations} == {"1", "01"}
    assert not analysis.notices


@pytest.mark.parametrize(
    ("node", "filter_"),
    [("subject", {"run": ["1"]}), ("subject", {"subject": ["01"]}), ("group", {"contrast": ["gain"]})],
)
def test_a_map_that_two_edges_hand_on_is_refused(bench, node, filter_):
    """It would count twice in the mean of its person, or as two people."""
    edges = [{"Source": "run", "Destination": "subject"}, {"Source": "subject", "Destination": "group"}]
    edges.append({**next(edge for edge in edges if edge["Destination"] == node), "Filter": filter_})
    subject = subject_node(GroupBy=["subject", "contrast"])
    model = model_of(run_node(), subject, dataset_node([1], **DUMMY), edges=edges)
    with pytest.raises(UsageError, match=f"hand the same maps to the node '{node}'"):
        bench.plan(model, cohort_of(contrasts=("gain", "loss")))


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        ({"GroupBy": ["contrast", "participant_id"]}, "Write subject."),
        ({"X": [1, "sub"]}, "Write subject."),
        ({"X": [1, "age", "age:patient_grp"]}, '"Name": "Product", "Input": ["age", "patient_grp"]'),
    ],
)
def test_names_that_people_write_are_answered_with_those_there_are(bench, change, fix):
    group = dataset_node(change.pop("X", [1]), **DUMMY) | change
    model = model_of(run_node(), group)
    with pytest.raises(UsageError, match="There is no column") as caught:
        bench.plan(model, cohort_of(runs=("1",)))
    assert fix in caught.value.fix


def test_a_level_that_lacks_in_x_is_to_be_added(bench):
    steps = [{"Name": "Factor", "Input": ["sex"]}]
    fixes = {"sex.F": 'Add "sex.F" to X.', "sex.m": "Did you mean 'sex.M'?", "intercept": "Add 1 to X."}
    for condition, fix in fixes.items():
        contrasts = [node_contrast("d", ["sex.M", condition], [1, -1])]
        group = dataset_node(["sex.M"], steps=steps, Contrasts=contrasts)
        with pytest.raises(ContrastError, match="which is not in X") as caught:
            plan_group(bench, cohort_of(), group)
        assert caught.value.fix == fix


@pytest.mark.parametrize("name", ["trial_type.*", "trial_type.fac*", "trialType*", "*faces"])
def test_wildcards_of_a_run_node_find_the_names_in_files(bench, name):
    run = run_node() | {"Model": {"X": [name, 1], "Type": "glm"}, **DUMMY}
    model = model_of(run, dataset_node([1], **DUMMY))
    analyses = bench.plan(model, cohort_of(contrasts=("trialTypeFaces", "other"), runs=("1",)))
    assert [one.first_level_contrast for one in analyses] == ["trialTypeFaces"]


def test_a_query_for_what_nobody_has_is_warned_of(bench):
    steps = [{"Name": "Filter", "Input": ["age"], "Query": "sex != 'female'"}]
    (analysis,) = plan_group(bench, cohort_of(), dataset_node([1], steps=steps, **DUMMY))
    assert [one.sentence for one in analysis.notices] == [
        "The query \"sex != 'female'\" of the node 'group' names 'female', which no row has as sex: F, M."
    ]


def test_a_run_node_hands_on_what_it_declares(bench):
    model = model_of(run_node("gain_loss", "nothing"), dataset_node([1], **DUMMY))
    (analysis,) = bench.plan(model, cohort_of(contrasts=("gainLoss", "other"), runs=("1",)))
    assert analysis.first_level_contrast == "gainLoss"
    assert {one.reason for one in analysis.exclusions} == {"not a contrast that the node 'run' hands on"}
    assert [one.sentence for one in analysis.notices] == [
        "The node 'run' declares the contrast 'nothing', of which there is no map."
    ]
    with pytest.raises(SelectionError, match="No map is of a contrast of the node 'run'"):
        bench.plan(model_of(run_node("x"), dataset_node([1], **DUMMY)), cohort_of(runs=("1",)))


def test_rows_left_out_by_transformations_are_named(bench, people):
    people.loc["04", "age"] = np.nan
    steps = [
        {"Name": "DropNA", "Input": ["age"]},
        {"Name": "Filter", "Input": ["age"], "Query": "age < 60 and sex == 'F'"},
        {"Name": "Demean", "Input": ["age"]},
    ]
    dataset = dataset_node([1, "age"], steps=steps, **DUMMY)
    (analysis,) = plan_group(bench, cohort_of(people), dataset)
    assert [row.label for row in analysis.observations] == ["sub-02", "sub-06"]
    np.testing.assert_allclose(analysis.rows["age"], [-11.0, 11])
    reasons = {one.subject: one.reason for one in analysis.exclusions}
    assert reasons["04"] == "no value (n/a) of age (DropNA), node group"
    assert reasons["08"].startswith("left out by the Filter \"age < 60 and sex == 'F'\"")
    assert len(analysis.exclusions) == 18
    np.testing.assert_allclose(restrict(analysis, ["sub-06"]).rows["age"], [0.0])


def test_a_meta_node_of_the_group_is_weighted_by_known_variances(bench):
    dataset = dataset_node([1, "age"], **DUMMY)
    dataset["Model"]["Type"] = "meta"
    (analysis,) = plan_group(bench, cohort_of(), dataset)
    assert analysis.estimator.name == "meta"


def test_contrasts_by_meaning_stand_in_the_settings(bench):
    dataset = dataset_node([1, "sex", "age"], formula="~ sex * age")
    meaning = "slopes = slope(age, sex=M) - slope(age, sex=F)"
    dataset["Model"]["Software"] = {"bids_group": {"contrast": meaning, "center": "grand"}}
    (analysis,) = plan_group(bench, cohort_of(), dataset)
    assert analysis.contrasts == (
        ContrastRequest(name="slopes", expression="slope(age, sex=M) - slope(age, sex=F)"),
    )
    (contrast,) = build_design(analysis).contrasts
    np.testing.assert_allclose(contrast.weights, [[0, 0, 0, 1]], atol=1e-9)
    assert analysis.centering == "grand"


def test_a_node_without_contrasts_gets_the_default_ones_with_a_warning(bench):
    (analysis,) = plan_group(bench, cohort_of(), dataset_node([1, "age"]))
    assert analysis.has_default_contrasts
    assert "has no contrasts" in analysis.notices[0].sentence


def test_two_nodes_may_not_make_different_maps_of_one_name(bench):
    by = {"GroupBy": ["subject", "contrast"]}
    nodes = [
        run_node(),
        subject_node(**by, Name="all"),
        subject_node(**by, Name="late"),
        dataset_node([1], Name="one", **DUMMY),
        dataset_node([1], Name="two", **DUMMY),
    ]
    edges = [
        {"Source": "run", "Destination": "all"},
        {"Source": "run", "Destination": "late", "Filter": {"run": ["3"]}},
        {"Source": "all", "Destination": "one"},
        {"Source": "late", "Destination": "two"},
    ]
    with pytest.raises(UsageError, match="Two different maps of sub-01 would have the same name"):
        bench.plan(model_of(*nodes, edges=edges), cohort_of())


def test_remarks_about_the_file_are_warnings(bench):
    dataset = dataset_node([1], **DUMMY)
    del dataset["Model"]["Type"]
    (analysis,) = plan_group(bench, cohort_of(), dataset)
    assert analysis.notices[0].severity == "warning"
    assert "Nodes[1].Model.Type" in analysis.notices[0].sentence
    assert Path("model-x_smdl.json").name in analysis.notices[0].sentence
