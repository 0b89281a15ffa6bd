"""Nodes below the group, by the numbers: pooled maps against least squares written out."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.errors import ContrastError, DataError, UsageError
from bids_group.model import pool
from tests.model.plan.models import cohort_of, dataset_node, model_of, node_contrast

DUMMY = {"DummyContrasts": {"Test": "t"}}
SHAPE = (3, 2, 2)


@pytest.fixture
def numbers(tmp_path):
    """Maps of three people, two sessions of three runs, as files; and a function that looks them up."""
    people = pd.DataFrame({"age": [1.0, 2, 3]}, index=["01", "02", "03"])
    draw = np.random.default_rng(3)
    values = {}

    def write(one):
        effect = draw.normal(size=SHAPE).astype(np.float32)
        variance = draw.gamma(3, size=SHAPE).astype(np.float32)
        values[one.subject, str(one.session), str(one.run)] = (effect, variance)
        paths = {"effect": tmp_path / one.effect, "variance": tmp_path / str(one.variance)}
        nib.save(nib.Nifti1Image(effect, np.eye(4)), paths["effect"])
        nib.save(nib.Nifti1Image(variance, np.eye(4)), paths["variance"])
        return replace(one, **paths)

    cohort = cohort_of(people, sessions=("a", "b"))
    return replace(cohort, maps=tuple(write(one) for one in cohort.maps)), values


def lower(x, contrasts, steps=(), **changes):
    node = dataset_node(x, steps=steps, Name="lower", Level="Subject", Contrasts=contrasts)
    node["GroupBy"] = changes.pop("GroupBy", ["subject", "contrast"])
    node["Model"] |= changes
    return node


def regress(X, effects, weights, inverse_variances=None):
    """Solve the weighted normal equations at every element."""
    flat = np.stack([effect.ravel() for effect in effects]).astype(float)
    out = np.empty(flat.shape[1])
    for element in range(flat.shape[1]):
        W = np.eye(len(X)) if inverse_variances is None else np.diag(inverse_variances[:, element])
        out[element] = weights @ np.linalg.solve(X.T @ W @ X, X.T @ W @ flat[:, element])
    return out.reshape(SHAPE)


LATE = {"Name": "Threshold", "Input": "run", "Threshold": 3, "Binarize": True, "Output": "late"}
EARLY = {"Name": "Not", "Input": "late", "Output": "early"}
SESSION = {"Name": "Factor", "Input": "session"}


def test_a_slope_over_runs_by_ordinary_least_squares(bench, numbers):
    cohort, values = numbers
    steps = [{"Name": "Sum", "Input": ["run"], "Output": "time"}]
    node = lower([1, "time"], [node_contrast("slope", ["time"], [2])], steps, Type="glm")
    (analysis,) = bench.plan(model_of(node, dataset_node([1], **DUMMY)), cohort)
    X = np.column_stack([np.ones(6), np.tile([1.0, 2, 3], 2)])
    for row in analysis.observations:
        effects, variances = zip(*[values[row.subject, s, r] for s in "ab" for r in "123"], strict=True)
        pooled = pool(row)
        np.testing.assert_allclose(
            pooled.effect, regress(X, effects, np.array([0, 2.0])), rtol=1e-5, atol=1e-6
        )
        shares = 2 * np.linalg.pinv(X)[1]
        expected = np.tensordot(shares**2, np.stack(variances), 1)
        np.testing.assert_allclose(pooled.variance, expected, rtol=1e-5)


def test_conditions_by_precision_and_their_difference(bench, numbers):
    cohort, values = numbers
    node = lower(
        ["early", "late"],
        [node_contrast("late-early", ["late", "early"], ["1/2", "-1/2"])],
        [LATE, EARLY],
        Type="meta",
    )
    (analysis,) = bench.plan(model_of(node, dataset_node([1], **DUMMY)), cohort)
    late = np.tile([0.0, 0, 1], 2)
    X = np.column_stack([1 - late, late])
    for row in analysis.observations:
        effects, variances = zip(*[values[row.subject, s, r] for s in "ab" for r in "123"], strict=True)
        inverse = 1 / np.stack([v.ravel() for v in variances]).astype(float)
        expected = regress(X, effects, np.array([-0.5, 0.5]), inverse)
        np.testing.assert_allclose(pool(row).effect, expected, rtol=1e-5, atol=1e-6)
        spread = [0.25 / inverse[late == one].sum(axis=0) for one in (0, 1)]
        np.testing.assert_allclose(pool(row).variance.ravel(), sum(spread), rtol=1e-5)


def test_a_constant_beside_a_condition_gives_the_same_difference(bench, numbers):
    cohort, _ = numbers
    cells = lower(
        ["early", "late"], [node_contrast("d", ["late", "early"], [1, -1])], [LATE, EARLY], Type="meta"
    )
    coded = lower([1, "late"], [node_contrast("d", ["late"], [1])], [LATE], Type="meta")
    by_formula = lower([1, "late"], [node_contrast("d", ["late"], [1])], [LATE], Type="meta", Formula="late")
    maps = []
    for node in (cells, coded, by_formula):
        (analysis,) = bench.plan(model_of(node, dataset_node([1], **DUMMY)), cohort)
        maps.append(pool(analysis.observations[0]).effect)
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(maps[2], maps[1])


def test_sessions_after_runs_then_their_difference(bench, numbers):
    cohort, values = numbers
    runs = lower([1], [], GroupBy=["subject", "session", "contrast"], Type="meta")
    runs |= {"Level": "Session", "Name": "runs", **DUMMY}
    change = lower(
        ["session.a", "session.b"], [node_contrast("change", ["session.b", "session.a"], [1, -1])], [SESSION]
    )
    (analysis,) = bench.plan(model_of(runs, change, dataset_node([1], **DUMMY)), cohort)
    assert [row.label for row in analysis.observations] == ["sub-01", "sub-02", "sub-03"]
    for row in analysis.observations:
        pooled = {}
        for session in "ab":
            effects, variances = zip(*[values[row.subject, session, run] for run in "123"], strict=True)
            weights = 1 / np.stack(variances).astype(float)
            pooled[session] = (weights * np.stack(effects)).sum(axis=0) / weights.sum(axis=0)
        np.testing.assert_allclose(pool(row).effect, pooled["b"] - pooled["a"], rtol=1e-5, atol=1e-6)


def test_the_weight_of_the_constant_scales_the_pooled_map(bench, numbers):
    cohort, _ = numbers
    contrasts = [node_contrast("same", [1], [1]), node_contrast("negative", [1], [-2])]
    node = lower([1], contrasts, Type="meta")
    same, negative = sorted(
        bench.plan(model_of(node, dataset_node([1], **DUMMY)), cohort),
        key=lambda one: one.first_level_contrast == "negative",
    )
    assert same.observations[0].combine == "precision"
    one, other = pool(same.observations[0]), pool(negative.observations[0])
    np.testing.assert_allclose(other.effect, -2 * one.effect, rtol=1e-6)
    np.testing.assert_allclose(other.variance, 4 * one.variance, rtol=1e-6)


def test_contrasts_across_first_level_contrasts(bench):
    node = lower(
        ["gain", "loss"], [node_contrast("gainGtLoss", ["gain", "loss"], [1, -1])], GroupBy=["subject"]
    )
    cohort = cohort_of(contrasts=("gain", "loss"), runs=("1", "2"))
    (analysis,) = bench.plan(model_of(node, dataset_node([1], **DUMMY)), cohort)
    assert analysis.first_level_contrast == "gainGtLoss"
    row = analysis.observations[0]
    shares = {(one.contrast, one.run): weight for one, weight in zip(row.sources, row.weights, strict=True)}
    assert shares == {("gain", "1"): 0.5, ("gain", "2"): 0.5, ("loss", "1"): -0.5, ("loss", "2"): -0.5}


def test_new_contrasts_of_several_first_level_contrasts_keep_apart(bench):
    node = lower(["early", "late"], [node_contrast("d", ["late", "early"], [1, -1])], [LATE, EARLY])
    edges = [{"Source": "lower", "Destination": "group", "Filter": {"contrast": ["d"]}}]
    model = model_of(node, dataset_node([1], **DUMMY), edges=edges)
    analyses = bench.plan(model, cohort_of(contrasts=("gain", "loss")))
    assert [one.first_level_contrast for one in analyses] == ["gain d", "loss d"]
    assert {one.contrast for one in analyses[0].observations[0].maps} == {"gain"}


def test_who_lacks_a_condition_is_named_or_left_out(bench):
    node = lower(["early", "late"], [node_contrast("d", ["late", "early"], [1, -1])], [LATE, EARLY])
    model = model_of(node, dataset_node([1], **DUMMY))
    cohort = cohort_of(without=[("05", None, "3")])
    with pytest.raises(DataError, match="The contrast 'd' cannot be estimated for subject 05"):
        bench.plan(model, cohort)
    (analysis,) = bench.plan(model, cohort, missing="drop")
    assert "sub-05" not in analysis.rows.index
    assert len(analysis.rows) == 7
    assert {one.reason for one in analysis.exclusions} == {
        "the contrast 'd' cannot be estimated from these 2 maps"
    }


def test_who_lacks_a_value_below_the_group_is_named_or_left_out(bench, people):
    index = pd.MultiIndex.from_product([people.index, ["a", "b"]])
    dose = pd.DataFrame({"dose": np.tile([0.0, 2], 8)}, index=index)
    dose.loc[("03", "b"), "dose"] = np.nan
    node = lower([1, "dose"], [node_contrast("slope", ["dose"], [1])])
    model = model_of(node, dataset_node([1], **DUMMY))
    cohort = cohort_of(runs=(None,), sessions=("a", "b"), session_table=dose)
    with pytest.raises(DataError, match="'lower' lacks a value of 'dose' for subject 03"):
        bench.plan(model, cohort)
    (analysis,) = bench.plan(model, cohort, missing="drop")
    assert {row.weights for row in analysis.observations} == {(-0.5, 0.5)}
    assert {(one.subject, one.reason) for one in analysis.exclusions} == {
        ("03", "no value (n/a) of dose in the node lower")
    }


@pytest.mark.parametrize(
    ("x", "contrasts", "changes", "kind", "sentence"),
    [
        (
            [1, "time"],
            [("slope", ["time"], [1], "t")],
            {"Type": "meta"},
            UsageError,
            "regressors that overlap",
        ),
        (
            [1],
            [("all", [1], [1], "F")],
            {},
            ContrastError,
            "has the F contrast 'all', which is not supported",
        ),
        ([1], [], {}, UsageError, "'lower' has no contrasts, so that it hands nothing on"),
        ([1], [("x", ["late"], [1], "t")], {}, ContrastError, "names 'late', which is not in X"),
        (
            ["tme"],
            [("x", ["tme"], [1], "t")],
            {},
            UsageError,
            "There is no column 'tme', which X of the node",
        ),
        (
            [1, "time"],
            [("x", ["tme"], [1], "t")],
            {"Formula": "time"},
            ContrastError,
            "'tme', which is not a column",
        ),
    ],
)
def test_what_cannot_be_done_below_the_group_is_refused(bench, x, contrasts, changes, kind, sentence):
    steps = [{"Name": "Sum", "Input": ["run"], "Output": "time"}]
    node = lower(x, [node_contrast(*one) for one in contrasts], steps, **changes)
    with pytest.raises(kind, match=sentence):
        bench.plan(model_of(node, dataset_node([1], **DUMMY)), cohort_of())


@pytest.mark.parametrize(
    ("x", "fix"),
    [
        ("session", '"X": ["session.a", "session.b"], or add "Formula": "1 + session" to the Model.'),
        ("run", 'Where it is a number, add {"Name": "Sum", "Input": ["run"], "Output": "run_number"}.'),
        ("sex", '"X": ["sex.F", "sex.M"]'),
    ],
)
def test_categories_in_x_are_refused_below_the_group_too(bench, x, fix):
    """The constant beside them would be the mean of their first level, not of all maps."""
    node = lower([1, x], [node_contrast("all", [1], [1])])
    with pytest.raises(UsageError, match=f"column '{x}', which holds categories: X takes numbers") as caught:
        bench.plan(model_of(node, dataset_node([1], **DUMMY)), cohort_of(sessions=("a", "b")))
    assert fix in caught.value.fix


def test_a_contrast_called_1_keeps_its_weight(bench):
    node = lower([1], [node_contrast(1, [1], [-1])])
    group = dataset_node([1, "age"], Contrasts=[node_contrast(1, ["age"], [1])])
    (analysis,) = bench.plan(model_of(node, group), cohort_of())
    assert {row.weights for row in analysis.observations} == {(-1.0,)}
    assert [(one.name, one.expression) for one in analysis.contrasts] == [("1", "age")]


@pytest.mark.parametrize("x", [[1], [1, "age"]])
@pytest.mark.parametrize("level", ["Subject", "Session"])
def test_rows_left_out_below_the_group_are_refused_also_beside_the_constant(bench, numbers, x, level):
    steps = [{"Name": "Filter", "Input": ["run"], "Query": "run == '1'"}]
    node = lower(x, [node_contrast("mean", [1], [1])], steps, Type="glm")
    node |= {"Level": level, "GroupBy": ["subject", *(["session"] * (level == "Session")), "contrast"]}
    with pytest.raises(UsageError, match="leaves out rows below the group"):
        bench.plan(model_of(node, dataset_node([1], **DUMMY)), numbers[0])


def test_a_query_below_the_group_that_finds_nothing_is_told(bench, numbers):
    steps = [{"Name": "Filter", "Input": ["session"], "Query": "session != 'c'"}]
    node = lower([1], [node_contrast("mean", [1], [1])], steps, Type="glm")
    (analysis,) = bench.plan(model_of(node, dataset_node([1], **DUMMY)), numbers[0])
    assert any("'c'" in one.sentence for one in analysis.notices)


def test_other_transformations_beside_the_constant_change_nothing(bench, numbers):
    """Of a person's own rows an age has no SD: they are transformed together, to be judged alone."""
    node = lower([1], [node_contrast("mean", [1], [1])], [{"Name": "Scale", "Input": ["age"]}])
    (analysis,) = bench.plan(model_of(node, dataset_node([1], **DUMMY)), numbers[0])
    plain = lower([1], [node_contrast("mean", [1], [1])])
    (same,) = bench.plan(model_of(plain, dataset_node([1], **DUMMY)), numbers[0])
    assert analysis.observations == same.observations
