"""Contrast expressions: what each form means as weights, and in words."""

import numpy as np
import pandas as pd
import pytest

from bids_group.config import ContrastRequest
from bids_group.errors import ContrastError
from bids_group.model.contrast.regressor_names import find_regressor


def weights(design_of, people, formula, text, **more):
    return design_of(people, formula, text, **more).contrasts[0].weights


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("age", [0, 0, 0, 1]),
        ("Intercept", [1, 0, 0, 0]),
        ("group[T.patient]", [0, 1, 0, 0]),
        ("`group[T.patient]`", [0, 1, 0, 0]),
        ("group[patient]", [0, 1, 0, 0]),
        ("C(group)[T.patient]", [0, 1, 0, 0]),
        ("`group[patient]` - `age`", [0, 1, 0, -1]),
        ("-age", [0, 0, 0, -1]),
        ("+age", [0, 0, 0, 1]),
        ("2*age", [0, 0, 0, 2]),
        ("age*2", [0, 0, 0, 2]),
        ("age/4", [0, 0, 0, 0.25]),
        ("1/3*age", [0, 0, 0, 1 / 3]),
        ("age*1/3", [0, 0, 0, 1 / 3]),
        ("-1/3*age + .5*Intercept", [0.5, 0, 0, -1 / 3]),
        ("1e-1*age", [0, 0, 0, 0.1]),
        ("group[T.patient] - group[T.relative]", [0, 1, -1, 0]),
        ("group[T.patient]-group[T.relative]", [0, 1, -1, 0]),
        ("(group[T.patient] - group[T.relative])/2", [0, 0.5, -0.5, 0]),
        ("0.5*(group[T.patient] + group[T.relative]) - (age - Intercept)", [1, 0.5, 0.5, -1]),
        ("(age - Intercept) - (age - 2*Intercept)", [1, 0, 0, 0]),
        ("-(age - -Intercept)", [-1, 0, 0, -1]),
        ("2*(3/4)*age", [0, 0, 0, 1.5]),
        ("age + age", [0, 0, 0, 2]),
        ("mean(group=patient) - mean(group=control)", [0, 1, 0, 0]),
        ("mean( group = 'patient' ) - mean(group=\"control\")", [0, 1, 0, 0]),
        ("mean()", [1, 1 / 3, 1 / 3, 0]),
        ("slope(age)", [0, 0, 0, 1]),
        ("10*slope(`age`, group=patient)", [0, 0, 0, 10]),
        ("[0, 0, 1, -1]", [0, 0, 1, -1]),
        ("[0, 1/3, -1/3, 0.0]", [0, 1 / 3, -1 / 3, 0]),
        ("[age]", [0, 0, 0, 1]),
        ("[[0, 0, 0, 1]]", [0, 0, 0, 1]),
    ],
)  # fmt: skip
def test_expression_means_these_weights(text, expected, people, design_of):
    assert weights(design_of, people, "~ group + age", text) == pytest.approx(np.array([expected]), abs=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[group[T.patient], group[T.relative]]", [[0, 1, 0, 0], [0, 0, 1, 0]]),
        ("[group[T.patient] - group[T.relative], age/2]", [[0, 1, -1, 0], [0, 0, 0, 0.5]]),
        ("[[0, 1, 0, 0], [0, 0, 1, 0]]", [[0, 1, 0, 0], [0, 0, 1, 0]]),
        ("[[0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 1/3, 0]]", [[0, 1, 0, 0], [0, 0, 1 / 3, 0]]),
        ("[mean(group=patient) - mean(group=control), slope(age)]", [[0, 1, 0, 0], [0, 0, 0, 1]]),
    ],
)
def test_list_is_a_joint_f_test_of_independent_rows(text, expected, people, design_of):
    contrast = design_of(people, "~ group + age", text).contrasts[0]
    assert contrast.test == "F"
    assert contrast.weights == pytest.approx(np.array(expected), abs=1e-9)


@pytest.mark.parametrize(
    ("formula", "text", "column"),
    [
        ("~ group*age", "group[T.patient]:age", "group[T.patient]:age"),
        ("~ group*age", "age:group[T.patient]", "group[T.patient]:age"),
        ("~ group*age", "age:group[patient]", "group[T.patient]:age"),
        ("~ 0 + group", "group[T.patient]", "group[patient]"),
        ("~ C(group, contr.sum)", "group[S.patient]", "C(group, contr.sum)[S.patient]"),
        ("~ C(group, contr.sum)", "C(group,contr.sum)[S.patient]", "C(group, contr.sum)[S.patient]"),
        ("~ C(group, contr.sum)", "C(group)[patient]", "C(group, contr.sum)[S.patient]"),
        (
            '~ C(group, Treatment("patient"))',
            'C(group, Treatment("patient"))[T.control]',
            "C(group, Treatment('patient'))[T.control]",
        ),
        ("~ C(scanner)", "C(scanner)[T.2.0]", "C(scanner)[T.2]"),
        ("~ 0 + C(scanner)", "scanner[2.0]", "C(scanner)[2]"),
        ("~ I(age**2)", "I(age**2)", "I(age ** 2)"),
        ("~ I(age**2)", "I(age ** 2)", "I(age ** 2)"),
        ("~ poly(age, 2)", "poly(age,2)[2]", "poly(age, 2)[2]"),
        ("~ bs(age, df=4)*sex", "sex[T.M]:bs(age, df=4)[3]", "bs(age, df=4)[3]:sex[T.M]"),
        ("~ `odd name`", "`odd name`", "odd name"),
        ("~ `odd name`", "odd name", "odd name"),
        ("~ `pre-post`", "`pre-post`", "pre-post"),
        ("~ `pre-post`", "pre-post", "pre-post"),
        ("~ C(`odd factor`)*age", "C(`odd factor`)[T.b (2)]:age", "C(`odd factor`)[T.b (2)]:age"),
        ("~ C(`odd factor`)*age", "odd factor[b (2)]", "C(`odd factor`)[T.b (2)]"),
        ("~ mean", "mean", "mean"),
        ("~ `slope(age)`", "`slope(age)`", "slope(age)"),
    ],
)
def test_columns_are_found_by_their_printed_name_and_tolerantly(formula, text, column, people, design_of):
    rows = people.assign(**{"odd name": people["age"], "pre-post": people["age"], "mean": people["age"]})
    rows["slope(age)"] = rows["age"]
    rows["odd factor"] = people["sex"].cat.rename_categories({"F": "a: [x]", "M": "b (2)"})
    design = design_of(rows, formula, text)
    assert design.contrasts[0].weights.tolist() == [(design.matrix.columns == column).astype(float).tolist()]


def test_tolerant_reading_of_a_difference_as_a_level_is_said(people, design_of):
    design = design_of(people, "~ group + age", "group[patient]")
    [notice] = [notice for notice in design.notices if notice.topic == "names"]
    assert notice.sentence == (
        "'group[patient]' is read as the column 'group[T.patient]' of the design, "
        "a difference from the reference level."
    )
    design = design_of(people, "~ group + age", "group[T.patient]")
    assert not [notice for notice in design.notices if notice.topic == "names"]


def test_longest_name_wins_and_the_exact_one_before_others():
    columns = ["age", "age_z", "age:sex[T.M]", "sex[T.M]", "sex[M]"]
    assert find_regressor("age_z - age", 0, columns).column == "age_z"
    assert find_regressor("age:sex[T.M]", 0, columns).column == "age:sex[T.M]"
    assert find_regressor("sex[M]", 0, columns).column == "sex[M]"
    assert find_regressor("age:site[T.b]", 0, columns) is None
    assert find_regressor("ages", 0, columns) is None
    assert find_regressor("`age - x`", 0, columns) is None


@pytest.mark.parametrize(
    ("formula", "text", "words"),
    [
        ("~ 1", "mean()", "mean"),
        (
            "~ group*n_cigs + age",
            "slope(n_cigs, group=patient) - slope(n_cigs, group=control)",
            "slope of n_cigs in patient minus slope of n_cigs in control, at age 42.46",
        ),
        (
            "~ group*sex + age",
            "mean(group=patient) - mean(group=control)",
            "mean in patient minus mean in control, at age 42.46, averaged over sex",
        ),
        ("~ group*sex", "mean(group=patient, sex=M)", "mean in patient, M"),
        ("~ group + age", "age", "coefficient age"),
        ("~ group + age", "0.5*age - Intercept", "0.5 times the coefficient age minus coefficient Intercept"),
        (
            "~ group + age",
            "[0, 1, -1, 0]",
            "coefficient group[T.patient] minus coefficient group[T.relative]",
        ),
        (
            "~ group + age",
            "[0, -1, 1, 0]",
            "coefficient group[T.relative] minus coefficient group[T.patient]",
        ),
        ("~ sex*log(age)", "test(sex)", "mean in M minus mean in F, at the mean of log(age)"),
        ("~ sex*log(age)", "test(sex:log(age))", "slope of log(age) in M minus slope of log(age) in F"),
        ("~ poly(age, 2)", "test(poly(age, 2))", "whether the mean depends on poly(age, 2)"),
        ("~ group + age", "[age, Intercept]", "joint test: coefficient age; coefficient Intercept"),
        ("~ age + I(age**2)", "slope(age, age=30)", "slope of age at 30"),
        (
            "~ group + age",
            "test(group)",
            "whether the mean differs between control, patient, relative, at age 42.46",
        ),
        ("~ sex + age", "test(sex)", "mean in M minus mean in F, at age 42.46"),
        ("~ sex*age", "test(sex:age)", "slope of age in M minus slope of age in F"),
        ("~ C(scanner)", "mean(scanner=2)", "mean in scanner 2"),
        ("~ sex*half", "test(sex:half)", "(mean in M minus mean in F) in right minus in left"),
        ("~ sex*half", "test(half:sex)", "(mean in M minus mean in F) in right minus in left"),
    ],
)
def test_words_say_what_is_tested_and_where(formula, text, words, people, design_of):
    people["half"] = pd.Categorical(["left", "right"] * 18)
    people["age"] += 42.46 - people["age"].mean()
    assert design_of(people, formula, text).contrasts[0].words == words


@pytest.mark.parametrize(
    ("request_", "label"),
    [
        (ContrastRequest(name="slopeDiff", expression="age"), "SlopeDiff"),
        (ContrastRequest(name="f-test", expression="age"), "FTest"),
        (ContrastRequest(name="patient > control", expression="age"), "PatientGtControl"),
        (ContrastRequest(name="patient - control", expression="age"), "PatientMinusControl"),
        (ContrastRequest(name="mean", expression="mean()"), "Mean"),
        (ContrastRequest(name="", expression="Intercept"), ""),
        (ContrastRequest(expression="slope(age)"), "SlopeAge"),
        (ContrastRequest(expression="test(age:group)"), "GroupByAge"),
        (ContrastRequest(name="omni", expression="test(group)"), "Omni"),
    ],
)
def test_label_is_the_part_of_the_file_name(request_, label, people, design_of):
    assert design_of(people, "~ group*age", request_).contrasts[0].label == label


def test_requested_test_is_kept(people, design_of):
    one = design_of(people, "~ age", ContrastRequest(expression="age", test="F")).contrasts[0]
    assert (one.test, one.weights.shape) == ("F", (1, 2))
    with pytest.raises(ContrastError, match="which a t test cannot take"):
        design_of(people, "~ age", ContrastRequest(expression="[age, Intercept]", test="t"))


def test_value_beyond_the_analysed_rows_is_warned_about(people, design_of):
    design = design_of(people, "~ age", "mean(age=200)")
    [notice] = [notice for notice in design.notices if notice.topic == "extrapolation"]
    assert notice.severity == "warning"
    assert notice.sentence.startswith("A contrast is evaluated at age = 200, beyond the analysed rows")
