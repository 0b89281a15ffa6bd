"""Models of the kinds in the public model zoo: their designs and weights, written out by hand."""

import numpy as np
import pandas as pd
import pytest

from bids_group.errors import DesignError, UsageError
from bids_group.model import build_design
from tests.model.plan.models import cohort_of, dataset_node, model_of, node_contrast, run_node, subject_node

FEMALE = np.array([0.0, 1] * 4)
MALE = 1 - FEMALE
AGE = np.array([20.0, 22, 31, 35, 40, 44, 47, 61])
GROUPS = np.array([1, 1, 2, 2, 3, 3, 4, 4])
TASKS = np.array([1, 1, 2, 2, 2, 1, 1, 2])
IN_RANGE = np.array([1.0, 1, 0, 1, 0, 1, 1, 0])
SUBJECTS = [f"sub-{number:02d}" for number in range(1, 9)]

FACTOR_SEX = {"Name": "Factor", "Input": ["sex"]}
FACTOR_GROUP = {"Name": "Factor", "Input": ["patient_grp"]}
DEMEAN_AGE = {"Name": "Demean", "Input": "age", "Output": "age_dm"}


def check(analysis, matrix, weights):
    """Compare a design with the one written by hand; weights by the name of the contrast."""
    design = build_design(analysis)
    assert list(design.matrix.index) == [row.label for row in analysis.observations]
    np.testing.assert_allclose(design.matrix.to_numpy(), np.column_stack(matrix), atol=1e-12)
    assert [contrast.name for contrast in design.contrasts] == list(weights)
    for contrast in design.contrasts:
        np.testing.assert_allclose(contrast.weights, np.atleast_2d(weights[contrast.name]), atol=1e-12)


@pytest.fixture
def plan_one(bench):
    def plan(dataset, lower=None):
        nodes = [run_node("neg_loss_parametric"), lower or subject_node(), dataset]
        (analysis,) = bench.plan(model_of(*nodes), cohort_of())
        assert analysis.first_level_contrast == "negLossParametric"
        return analysis

    return plan


def test_the_average_of_one_group(plan_one):
    analysis = plan_one(dataset_node([1], DummyContrasts={"Test": "t"}))
    check(analysis, [np.ones(8)], {"Intercept": [1]})
    assert build_design(analysis).contrasts[0].label == ""
    assert [row.label for row in analysis.observations] == SUBJECTS
    assert {row.combine for row in analysis.observations} == {"precision"}
    assert [one.run for one in analysis.observations[0].sources] == ["1", "2", "3"]


def test_the_average_of_one_group_beside_a_demeaned_covariate(plan_one):
    contrasts = [
        node_contrast("pos_age", ["age_dm"], [1]),
        node_contrast("neg_age", ["age_dm"], [-1]),
        node_contrast("mean_gt_0", [1], [1]),
        node_contrast("mean_lt_0", [1], [-1]),
    ]
    analysis = plan_one(dataset_node([1, "age_dm"], steps=[DEMEAN_AGE], Contrasts=contrasts))
    weights = {"pos_age": [0, 1], "neg_age": [0, -1], "mean_gt_0": [1, 0], "mean_lt_0": [-1, 0]}
    check(analysis, [np.ones(8), AGE - 37.5], weights)


def test_the_difference_of_two_groups(plan_one):
    contrasts = [
        node_contrast("female_gt_male", ["sex.M", "sex.F"], [-1, 1]),
        node_contrast("male_gt_female", ["sex.M", "sex.F"], [1, -1]),
    ]
    analysis = plan_one(dataset_node(["sex.M", "sex.F"], steps=[FACTOR_SEX], Contrasts=contrasts))
    check(analysis, [MALE, FEMALE], {"female_gt_male": [-1, 1], "male_gt_female": [1, -1]})


def test_the_difference_of_two_groups_adjusted_for_age(plan_one):
    contrasts = [
        node_contrast("female_gt_male", ["sex.M", "sex.F"], [-1, 1]),
        node_contrast("age_lt_0", ["age_dm"], [-1]),
    ]
    dataset = dataset_node(["sex.M", "sex.F", "age_dm"], steps=[FACTOR_SEX, DEMEAN_AGE], Contrasts=contrasts)
    check(
        plan_one(dataset), [MALE, FEMALE, AGE - 37.5], {"female_gt_male": [-1, 1, 0], "age_lt_0": [0, 0, -1]}
    )


def test_the_slope_of_age_in_two_groups(plan_one):
    steps = [
        FACTOR_SEX,
        {"Name": "Product", "Input": ["sex.M", "age"], "Output": "age.M"},
        {"Name": "Product", "Input": ["sex.F", "age"], "Output": "age.F"},
    ]
    dataset = dataset_node(
        ["sex.M", "sex.F", "age.M", "age.F"],
        steps=steps,
        Contrasts=[node_contrast("slope_age.M_gt_slope_age.F", ["age.M", "age.F"], [1, -1])],
    )
    analysis = plan_one(dataset)
    check(analysis, [MALE, FEMALE, MALE * AGE, FEMALE * AGE], {"slope_age.M_gt_slope_age.F": [0, 0, 1, -1]})


def test_one_factor_of_four_levels(plan_one):
    names = [f"patient_grp.{level}" for level in (1, 2, 3, 4)]
    dataset = dataset_node(
        names,
        steps=[FACTOR_GROUP],
        Contrasts=[
            node_contrast("g1 vs g4", [names[0], names[3]], [1, -1]),
            node_contrast("main", names, [[1, 0, 0, -1], [0, 1, 0, -1], [0, 0, 1, -1]], "F"),
        ],
    )
    expected = {"g1 vs g4": [1, 0, 0, -1], "main": [[1, 0, 0, -1], [0, 1, 0, -1], [0, 0, 1, -1]]}
    analysis = plan_one(dataset)
    check(analysis, [level == GROUPS for level in (1, 2, 3, 4)], expected)
    assert [contrast.test for contrast in build_design(analysis).contrasts] == ["t", "F"]


def test_two_by_two_cells_between_people(plan_one):
    cells = [("M", 1), ("M", 2), ("F", 1), ("F", 2)]
    names = [f"{sex.lower()}_task{task}" for sex, task in cells]
    steps = [FACTOR_SEX, {"Name": "Factor", "Input": "task_pres"}]
    steps += [
        {"Name": "Product", "Input": [f"sex.{sex}", f"task_pres.{task}"], "Output": name}
        for (sex, task), name in zip(cells, names, strict=True)
    ]
    rows = {"sex effect f-test": [1, 1, -1, -1], "task effect": [1, -1, 1, -1], "interaction": [1, -1, -1, 1]}
    dataset = dataset_node(
        names, steps=steps, Contrasts=[node_contrast(name, names, [row], "F") for name, row in rows.items()]
    )
    analysis = plan_one(dataset)
    columns = [(MALE if sex == "M" else FEMALE) * (task == TASKS) for sex, task in cells]
    check(analysis, columns, rows)
    assert {contrast.test for contrast in build_design(analysis).contrasts} == {"F"}


def test_eight_cells_by_a_formula_of_dummies(bench, people):
    cells = [f"patient_grp.{group}:sex.{sex}" for group in (1, 2, 3, 4) for sex in "MF"]
    sign = [1, -1] * 4
    groups = [[1, 1, 0, 0, 0, 0, -1, -1], [0, 0, 1, 1, 0, 0, -1, -1], [0, 0, 0, 0, 1, 1, -1, -1]]
    dataset = dataset_node(
        [f"patient_grp.{group}" for group in (1, 2, 3, 4)] + ["sex.M", "sex.F"],
        steps=[FACTOR_GROUP, FACTOR_SEX],
        formula="~ 0 + " + "+ ".join(cells),
        Contrasts=[
            node_contrast("main sex effect f-test", cells, [sign], "F"),
            node_contrast("main group effect f-test", cells, groups, "F"),
        ],
    )
    twice = pd.concat([people, people.set_axis([f"{number:02d}" for number in range(9, 17)])])
    nodes = [run_node("neg_loss_parametric"), subject_node(), dataset]
    (analysis,) = bench.plan(model_of(*nodes), cohort_of(twice))
    columns = [
        np.tile((group == GROUPS) * (MALE if sex == "M" else FEMALE), 2)
        for group in (1, 2, 3, 4)
        for sex in "MF"
    ]
    check(analysis, columns, {"main sex effect f-test": sign, "main group effect f-test": groups})


def run_difference():
    """Runs 1 and 2 against run 3, within people, as a node of Level Session."""
    name = "run3 minus mean(run1_run2)"
    steps = [
        {
            "Name": "Threshold",
            "Input": "run",
            "Threshold": 2,
            "Binarize": True,
            "Above": False,
            "Output": "runs1_2",
        },
        {
            "Name": "Threshold",
            "Input": "run",
            "Threshold": 3,
            "Binarize": True,
            "Above": True,
            "Output": "run3",
        },
    ]
    return {
        "Level": "Session",
        "Name": "within",
        "GroupBy": ["subject", "contrast"],
        "Transformations": {"Transformer": "pybids-transforms-v1", "Instructions": steps},
        "Model": {"X": ["runs1_2", "run3"], "Type": "meta"},
        "Contrasts": [node_contrast(name, ["runs1_2", "run3"], [-1, 1])],
    }


def test_a_paired_difference_made_below_the_group(bench):
    dataset = dataset_node([1], DummyContrasts={"Test": "t"})
    nodes = [run_node("neg_loss_parametric"), run_difference(), dataset]
    (analysis,) = bench.plan(model_of(*nodes), cohort_of())
    assert analysis.first_level_contrast == "run3 minus mean(run1_run2)"
    check(analysis, [np.ones(8)], {"Intercept": [1]})
    for row in analysis.observations:
        assert (row.combine, row.weights) == ("weights", (-1.0, 1.0))
        both, third = row.sources
        assert both.combine == "precision"
        assert [one.run for one in both.sources] == ["1", "2"]
        assert third.run == "3"
        assert {one.subject for one in row.maps} == {row.subject}


def test_two_groups_compared_in_their_paired_difference(bench):
    contrasts = [
        node_contrast("M(run diff)-F(run diff)", ["sex.M", "sex.F"], [1, -1]),
        node_contrast("F(run diff)-M(run diff) ", ["sex.M", "sex.F"], ["-1", "1"]),
    ]
    dataset = dataset_node(["sex.M", "sex.F"], steps=[FACTOR_SEX], Contrasts=contrasts)
    nodes = [run_node("neg_loss_parametric"), run_difference(), dataset]
    (analysis,) = bench.plan(model_of(*nodes), cohort_of())
    weights = {"M(run diff)-F(run diff)": [1, -1], "F(run diff)-M(run diff) ": [-1, 1]}
    check(analysis, [MALE, FEMALE], weights)


def test_three_group_models_on_filtered_contrasts(bench):
    run = {
        **run_node(),
        "Contrasts": [],
        "DummyContrasts": {"Conditions": ["trials", "gain", "loss"], "Test": "t"},
    }
    by_group = {"GroupBy": ["contrast", "group"], "Model": {"X": [1]}}
    positive = dataset_node([1], **by_group, Name="positive", DummyContrasts={"Test": "t"})
    negative = dataset_node(
        [1], **by_group, Name="negative-loss", Contrasts=[node_contrast("negative", [1], [-1])]
    )
    names = ["C(group)[T.range]", "C(group)[T.indifference]"]
    between = dataset_node(
        [1, "group"],
        Name="between-groups",
        formula="0 + C(group)",
        Contrasts=[node_contrast("range_vs_indifference", names, [1, -1])],
    )
    only_loss = {"Filter": {"contrast": ["loss"]}}
    edges = [
        {"Source": "run", "Destination": "subject"},
        {"Source": "subject", "Destination": "positive"},
        {"Source": "subject", "Destination": "negative-loss", **only_loss},
        {"Source": "subject", "Destination": "between-groups", **only_loss},
    ]
    subject = subject_node(GroupBy=["subject", "contrast"])
    model = model_of(run, subject, positive, negative, between, edges=edges)
    analyses = bench.plan(model, cohort_of(contrasts=("gain", "loss", "trials")))
    found = [(one.node, one.first_level_contrast, dict(one.group_labels)) for one in analyses]
    in_both = [{"group": "indifference"}, {"group": "range"}]
    assert found == [
        *[("positive", name, labels) for name in ("gain", "loss", "trials") for labels in in_both],
        *[("negative-loss", "loss", labels) for labels in in_both],
        ("between-groups", "loss", {}),
    ]
    check(analyses[0], [np.ones(3)], {"Intercept": [1]})
    check(analyses[-2], [np.ones(5)], {"negative": [-1]})
    assert [row.subject for row in analyses[-2].observations] == ["01", "02", "04", "06", "07"]
    check(analyses[-1], [1 - IN_RANGE, IN_RANGE], {"range_vs_indifference": [-1, 1]})


def test_a_t_test_per_contrast_beside_a_joint_test_of_two(bench):
    names = ["trial_type.word", "trial_type.pseudoword"]
    run = run_node("word_gt_pseudo", "task_vs_baseline", name="subject")
    run["DummyContrasts"] = {"Contrasts": names, "Test": "t"}
    t_test = dataset_node([1], Name="t-test", DummyContrasts={"Test": "t"})
    f_test = dataset_node(
        names, Name="F-test", GroupBy=[], Contrasts=[node_contrast("any_words", names, [[1, 0], [0, 1]], "F")]
    )
    edges = [
        {
            "Source": "subject",
            "Destination": "t-test",
            "Filter": {"contrast": ["task_vs_baseline", "word_gt_pseudo"]},
        },
        {"Source": "subject", "Destination": "F-test", "Filter": {"contrast": names}},
    ]
    maps = ("trialTypeWord", "trialTypePseudoword", "wordGtPseudo", "taskVsBaseline")
    cohort = cohort_of(contrasts=maps, runs=(None,))
    analyses = bench.plan(model_of(run, t_test, f_test, edges=edges), cohort)
    contrasts = [one.first_level_contrast for one in analyses]
    assert contrasts == ["taskVsBaseline", "wordGtPseudo", "trialTypePseudoword and trialTypeWord"]
    check(analyses[0], [np.ones(8)], {"Intercept": [1]})
    joint = analyses[2]
    assert [row.label for row in joint.observations][:2] == [
        "sub-01_contrast-trialTypePseudoword",
        "sub-01_contrast-trialTypeWord",
    ]
    np.testing.assert_array_equal(joint.rows[names].to_numpy(), np.tile([[0.0, 1], [1, 0]], (8, 1)))
    with pytest.raises(DesignError, match="compares people, but 8 people have several rows"):
        build_design(joint)


def test_categories_in_x_are_refused_and_taken_by_factor_or_formula(plan_one):
    with pytest.raises(UsageError, match="holds categories: X takes numbers") as caught:
        plan_one(dataset_node([1, "sex"], DummyContrasts={"Test": "t"}))
    assert '"Factor", "Input": ["sex"]' in caught.value.fix
    assert '"Formula": "1 + sex"' in caught.value.fix
    plan_one(dataset_node([1, "sex"], formula="1 + sex"))
    plan_one(dataset_node([1, "sex.F"], steps=[FACTOR_SEX]))


def test_a_level_in_a_contrast_without_factor_points_to_factor(plan_one):
    contrasts = [node_contrast("d", ["sex.F", "sex.M"], [1, -1])]
    with pytest.raises(UsageError, match="which is not in X") as caught:
        plan_one(dataset_node([1], Contrasts=contrasts))
    assert 'Factor", "Input": ["sex"]' in caught.value.fix
    assert '"sex.F", "sex.M"' in caught.value.fix
