"""What a newcomer writes as a contrast: read where it means one thing, else refused with lines to paste."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_group.config.typed import parse_contrast
from bids_group.errors import ContrastError
from bids_group.words import quote_for_shell

MEANS = "mean(group=patient) - mean(group=control)"
SLOPES = "slope(age, group=patient) - slope(age, group=control)"
CELLS = "mean(group=patient, sex=F) - mean(group=control, sex=F)"

READ = [
    *(
        ("~ group + age", text, MEANS)
        for text in (
            "patient - control",
            "patient > control",
            "control < patient",
            "patient >= control",
            "patient vs control",
            "patient vs. control",
            "patient versus control",
            "patient minus control",
            "patient − control",  # the minus of a word processor
            "Patient - CONTROL",
            "'patient' - \"control\"",
            "patient == control",
            "patient != control",
            "group[patient] - group[control]",
            "group[T.patient] - group[T.control]",
            "C(group)[T.patient] - C(group)[T.control]",
            "grouppatient - groupcontrol",
            "group.patient - group.control",
            "group:patient - group:control",
            "(group == patient) - (group == control)",
            "(group=patient) - (group=control)",
            "mean(patient) - mean(control)",
            "mean(patient - control)",
            "Mean(Group=Patient) - mean(Group = Control)",
            "mean(group == 'patient') - mean(group == 'control')",
            "mean(patient=group) - mean(control=group)",
            "average(patient) - average(control)",
            "mean(group=patient) > mean(group=control)",
        )
    ),
    ("~ group + age", "2*patient - 2*control", "2*mean(group=patient) - 2*mean(group=control)"),
    ("~ group + age", "-control + patient", "-mean(group=control) + mean(group=patient)"),
    ("~ group + age", "mean(patient)", "mean(group=patient)"),
    ("~ group + age", "control", "mean(group=control)"),
    ("~ group + age", "0.5*patient + 0.5*control", "0.5*mean(group=patient) + 0.5*mean(group=control)"),
    ("~ 0 + group", "group:patient", "mean(group=patient)"),
    ("~ 0 + group", "patient-control", "mean(group=patient)-mean(group=control)"),
    ("~ 0 + group", "1 -1", "[1, -1]"),
    ("~ group + age", "0 0 1", "[0, 0, 1]"),
    ("~ group + age", "grouppatient", "group[T.patient]"),
    ("~ group + age", "intercept", "Intercept"),
    ("~ group + age", "AGE", "age"),
    ("~ group + age", "age > 0", "age"),
    ("~ group + age", "slope(age) < 0", "-slope(age)"),
    ("~ group + age", "Slope(Age)", "slope(age)"),
    ("~ group + age", "slope", "slope(age)"),
    ("~ group + age", "mean", "mean()"),
    ("~ group + age", "group", "test(group)"),
    ("~ group + age", "F(group)", "test(group)"),
    ("~ group * age", "group:age", "test(group:age)"),
    ("~ group * age", "group x age", "test(group:age)"),
    ("~ group * age", "interaction(group, age)", "test(group:age)"),
    *(
        ("~ group * age", text, SLOPES)
        for text in (
            "patient:age - control:age",
            "slope(age, patient) - slope(age, control)",
            "slope(patient, age) > slope(control, age)",
            "slope(group=patient, age) - slope(group=control, age)",
            "slope(age | patient) - slope(age | control)",
            "slope(age, patient - control)",
        )
    ),
    *(
        ("~ session + age", text, "mean(session=2) - mean(session=1)")
        for text in (
            "ses-2 - ses-1",
            "mean(ses-2) - mean(session=ses-1)",
            "ses-2 > ses-1",
        )
    ),
    (
        "~ group * session",
        "(patient:ses-2 - patient:ses-1) - (control:ses-2 - control:ses-1)",
        "(mean(group=patient, session=2) - mean(group=patient, session=1)) - "
        "(mean(group=control, session=2) - mean(group=control, session=1))",
    ),
    ("~ group * sex", "patient:F - control:F", CELLS),
    ("~ group * sex", "mean(patient, F) - mean(control, F)", CELLS),
    ("~ group * sex", "patient_F - control_F", CELLS),
    (
        "~ group + arm",
        'mean("post-op (6 m)") - drug+placebo',
        'mean(arm="post-op (6 m)") - mean(arm=drug+placebo)',
    ),
]

INTERACTION = (
    "(mean(sex=F, group=patient) - mean(sex=M, group=patient)) - "
    "(mean(sex=F, group=control) - mean(sex=M, group=control))"
)
IN_WOMEN = "mean(group=patient, sex=F) - mean(group=control, sex=F)"
REFUSED = [
    *(
        ("~ group + age", text, ["(mean(group=patient) + mean(group=control)) / 2"])
        for text in (
            "mean(group=patient+control)",
            "mean(group=[patient, control])",
            "mean(group=(patient, control))",
            "mean(patient, control)",
            "mean(group=patient, group=control)",
        )
    ),
    ("~ group * age", "F(group, group:age)", ["test(group:age)"]),
    ("~ group * age", "anova(group + age)", ["test(group:age)"]),
    ("~ group * sex", "test(group, sex)", ["test(group:sex)"]),
    ("~ group + age", "patient", ["mean(group=patient)", "group[T.patient]"]),
    ("~ group + age", "group:patient", ["mean(group=patient)", "group[T.patient]"]),
    ("~ group + age", "group[control]", ["mean(group=control)"]),
    ("~ group + age", "group[T.control]", ["-group[T.patient]", "mean(group=control)"]),
    ("~ C(group)*age", "C(group)[T.control]", ["-C(group)[T.patient]", "mean(group=control)"]),
    ("~ group * age", "patient:age", ["slope(age, group=patient)", "group[T.patient]:age"]),
    ("~ group", "1 -1", ["mean(group=control) - mean(group=patient)", "[1, -1]"]),
    ("~ group + age", "[1 -1]", ["mean(group=control) - mean(group=patient)"]),
    ("~ a + b", "yes - no", ["mean(a=yes) - mean(a=no)", "mean(b=yes) - mean(b=no)"]),
    ("~ a + b", "mean(yes)", ["mean(a=yes)", "mean(b=yes)"]),
    ("~ group + age", "patiens - control", [MEANS]),
    ("~ group + age", "mean(group=patients)", ["mean(group=patient)"]),
    ("~ group + age", "mean(grp=patient)", ["mean(group=patient)"]),
    ("~ group + age", "mean(group)", [MEANS]),
    ("~ group + age", "mean(age)", ["slope(age)"]),
    ("~ group + age", "slope(group)", [MEANS]),
    ("~ group + age", "slop(age)", ["slope(age)"]),
    ("~ group + age", "patient control", [MEANS]),
    ("~ group + age", "diff(patient, control)", [MEANS]),
    ("~ group + age", "patient, control", ["[mean(group=patient), mean(group=control)]", MEANS]),
    ("~ group + age", "patient = control", [MEANS]),
    ("~ group + age", "mean(group=patient) = mean(group=control)", [MEANS]),
    ("~ group + age", "slope(age) = 0", ["slope(age)"]),
    ("~ group + age", "group = patient", ["group = mean(group=patient)", "group = group[T.patient]"]),
    ("~ group * age", "group*age", ["test(group:age)"]),
    ("~ group * age", "test(group*age)", ["test(group:age)"]),
    ("~ group * age", "slope(age, group)", [SLOPES]),
    ("~ poly(age, 2)", "age", ["slope(age)"]),
    ("~ group + age", "test(patient - control)", [MEANS]),
    ("~ group + age", "group[patient] > control", [MEANS]),
    ("~ group + age", "group[patient] - control", [MEANS]),
    ("~ group + age", "control < group[T.patient]", [MEANS]),
    ("~ group * age", "group[patient] vs control", [MEANS]),
    ("~ group + age", "name = patiens - control", [f"name = {MEANS}"]),
]


@pytest.fixture
def rows(people):
    """Patients and controls, with two factors that have the same levels."""
    rows = people[people["group"] != "relative"].reset_index(drop=True)
    order = np.arange(len(rows))
    return rows.assign(
        group=rows["group"].cat.remove_unused_categories(),
        a=pd.Categorical(np.where(order % 2, "yes", "no")),
        session=pd.Categorical(np.where(order % 4 < 2, "1", "2")),
        b=pd.Categorical(np.where(order % 3, "yes", "no")),
        arm=pd.Categorical(np.where(order % 2, "post-op (6 m)", "drug+placebo")),
    )


@pytest.mark.parametrize(("formula", "typed", "line"), READ)
def test_what_can_mean_one_thing_is_read_so_and_told(formula, typed, line, rows, design_of):
    [right] = design_of(rows, formula, line).contrasts
    design = design_of(rows, formula, typed)
    [read] = design.contrasts
    np.testing.assert_array_equal(read.weights, right.weights)
    assert (read.expression, read.words, read.test, read.name) == (line, right.words, right.test, typed)
    assert any(
        one.sentence.startswith(f"The contrast '{typed}' is read as '{line}'") for one in design.notices
    )


@pytest.mark.parametrize(("formula", "typed", "lines"), REFUSED)
def test_what_may_mean_more_or_is_guessed_is_refused_with_the_lines_to_paste(
    formula, typed, lines, rows, design_of
):
    with pytest.raises(ContrastError) as caught:
        design_of(rows, formula, parse_contrast(typed))
    pasted = re.findall(r"--contrast[ =](\"[^\"]*\"|'[^']*')", caught.value.fix)
    assert [shlex.split(one)[0] for one in pasted] == lines
    for line in lines:  # each is read as it stands
        [contrast] = design_of(rows, formula, parse_contrast(line)).contrasts
        assert contrast.expression == parse_contrast(line).expression


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("patient - control in F", IN_WOMEN),
        ("patient vs control within F", IN_WOMEN),
        ("patient > control for F", IN_WOMEN),
        ("patient - control:F", IN_WOMEN),
        ("patient - control in sex=F", IN_WOMEN),
        ("patient F - control F", IN_WOMEN),
        ("patient_F - mean(control)", IN_WOMEN),
        (
            "mean(patient, F+M) - mean(control, M)",
            "(mean(group=patient, sex=F) + mean(group=patient, sex=M)) / 2 - mean(group=control, sex=M)",
        ),
        ("[patient - control in F, F - M]", f"[{IN_WOMEN}, mean(sex=F) - mean(sex=M)]"),
        (
            "slope(age, patient) - 2*slope(age, control, F)",
            "slope(age, group=patient, sex=F) - 2*slope(age, group=control, sex=F)",
        ),
    ],
)
def test_what_is_held_at_one_side_of_a_sum_alone_is_asked_about(typed, line, rows, design_of):
    with pytest.raises(ContrastError) as caught:
        design_of(rows, "~ group * sex * age", parse_contrast(typed))
    assert caught.value.fix.startswith(f"Write --contrast {quote_for_shell(line)}")
    assert design_of(rows, "~ group * sex * age", line).contrasts[0].expression == line


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("effect of sex = F - M", "mean(sex=F) - mean(sex=M)"),
        ("linear.group = patient > control", MEANS),
        ("patient vs control group = patient - control", MEANS),
        ("nice sex = F", "mean(sex=F)"),
    ],
)
def test_a_name_may_end_in_a_factor(typed, line, rows, design_of):
    [contrast] = design_of(rows, "~ group * sex", parse_contrast(typed)).contrasts
    assert (contrast.name, contrast.expression) == (typed.partition(" = ")[0], line)


def test_differences_of_two_factors_in_one_mean_are_their_interaction(rows, design_of):
    contrasts = "mean(group=patient - control, sex=F - M)", INTERACTION
    read, wanted = design_of(rows, "~ group * sex", *contrasts).contrasts
    np.testing.assert_allclose(read.weights, wanted.weights)
    assert read.expression == INTERACTION


def test_a_coefficient_in_a_level_is_not_the_mean_there(rows, design_of):
    with pytest.raises(ContrastError):
        design_of(rows, "~ group * sex", "group[T.patient] in F")


def test_a_sign_says_that_both_directions_are_tested(rows, design_of):
    [told] = [one for one in design_of(rows, "~ group", "patient > control").notices if one.topic == "names"]
    assert told.sentence.endswith("; both directions are tested, unless --one-sided.")


def test_columns_that_differ_from_means_where_a_covariate_is_zero_are_not_guessed(rows, design_of):
    """``group[T.patient]`` is the difference at age 0 there; words for groups mean the groups."""
    with pytest.raises(ContrastError) as caught:
        design_of(rows, "~ group * age", "group[patient] - group[control]", centering="none")
    assert MEANS in caught.value.fix
    assert '"group[T.patient]"' in caught.value.fix
    [contrast] = design_of(rows, "~ group * age", "patient - control", centering="none").contrasts
    assert contrast.expression == MEANS


@pytest.mark.parametrize("typed", ["test(group + age)", "test(group, age)", "test(group and age)"])
def test_a_test_of_two_terms_is_never_that_of_one(typed, rows, design_of):
    with pytest.raises(ContrastError, match="names a term that the formula does not have") as caught:
        design_of(rows, "~ group + age", typed)
    assert "[DIFFERENCE, SLOPE]" in caught.value.fix


@pytest.mark.parametrize(
    ("contrast", "said"),
    [
        ("2*mean(group=patient) - mean(group=control)", "weights of the means in"),
        ("mean(group=patient) - 0.5*mean(group=control)", "sum to 0.5, not 0"),
        ("slope(age, group=patient) - 2*slope(age, group=control)", "weights of the slopes in"),
        ("mean(group=patient) - mean(group=control)", None),
        ("2*mean(group=patient) + mean(group=control)", None),
        ("mean() + slope(age)", None),
        ("slope(age) - 2*mean()", None),
        ("(mean(group=patient) - mean(group=control)) / 3", None),
        ("0.666667*mean(site=a) - 0.333333*mean(site=b) - 0.333333*mean(site=c)", None),
        ("0.67*mean(site=a) - 0.33*mean(site=b) - 0.33*mean(site=c)", "sum to 0.01, not 0"),
        ("1e-7*mean(group=patient) - 2e-7*mean(group=control)", "weights of the means in"),
    ],
)
def test_a_difference_whose_weights_do_not_sum_to_zero_is_warned_of(contrast, said, rows, design_of):
    notices = design_of(rows, "~ group * age + site", contrast).notices
    told = [one.sentence for one in notices if "both signs" in one.sentence]
    assert len(told) == (said is not None)
    assert said is None or said in told[0]


def test_a_vector_that_takes_the_constant_for_a_group_is_warned_of(rows, design_of):
    """The first weight is of controls' mean, the second of the difference."""
    design = design_of(rows, "~ group", "[1, -1]")
    [told] = [one for one in design.notices if one.topic == "names"]
    assert told.severity == "warning"
    assert "Intercept, group[T.patient], in this order" in told.sentence
    for formula, vector in (("~ group", "[0, 1]"), ("~ 0 + group", "[1, -1]"), ("~ age", "[1, -1]")):
        assert not [one for one in design_of(rows, formula, vector).notices if one.topic == "names"]


def test_a_vector_of_the_wrong_length_tells_the_columns(rows, design_of):
    with pytest.raises(ContrastError, match="one weight per column") as caught:
        design_of(rows, "~ group + age", "0 0 1 -1")
    assert "Intercept, group[T.patient], age" in caught.value.expected
    with pytest.raises(ContrastError, match="divides by zero"):
        design_of(rows, "~ group + age", "1/0 0 -1")


def test_parts_of_other_contrasts_are_read_too(rows, design_of):
    design = design_of(rows, "~ group + age", "equivalent(patient - control, 0.3)")
    assert design.contrasts[0].expression == f"equivalent({MEANS}, 0.3)"
    assert [one.sentence for one in design.notices if one.topic == "names"] == [
        f"The contrast 'patient - control' is read as '{MEANS}'."
    ]
    design = design_of(rows, "~ group + age", "conjunction(patient > control, Age)")
    assert [one.expression for one in design.contrasts] == [MEANS, "age"]


def test_a_design_of_ones_own_has_columns_only(people, design_of):
    matrix = people[["age", "n_cigs"]].assign(one=1.0)
    rows = people[["subject"]].join(matrix)
    asked = {"design_matrix": Path("design.tsv"), "centering": "none"}
    design = design_of(rows, "~ 0 + one + age + n_cigs", "Age > N_cigs", **asked)
    assert design.contrasts[0].expression == "age - n_cigs"
    with pytest.raises(ContrastError, match="not a column"):
        design_of(rows, "~ 0 + one + age + n_cigs", "patient - control", **asked)


PAGE = (Path(__file__).parents[2] / "docs" / "contrasts.md").read_text(encoding="utf-8")


def rows_of_page(heading):
    section = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    return [re.findall(r"`([^`]+)`", line) for line in section.splitlines() if line.startswith("| `")]


def test_the_page_of_what_is_understood_is_true(rows, design_of):
    for *typed, line in rows_of_page("What is understood"):
        for text in (one for one in typed if one != "(Intercept)"):  # which is the column, in brackets
            [contrast] = design_of(rows, "~ group * age", text).contrasts
            assert contrast.expression == line, text


def test_the_page_of_what_is_refused_is_true(rows, design_of):
    pages = {
        typed: [line for line in lines if "(" in line or "[" in line]
        for typed, *lines in rows_of_page("What is refused")
    }
    for typed in ("patient", "patient:age", "patient = control", "mean(age)", "patiens - control"):
        with pytest.raises(ContrastError) as caught:
            design_of(rows, "~ group * age", parse_contrast(typed))
        assert all(f'"{line}"' in caught.value.fix for line in pages[typed])
    with pytest.raises(ContrastError) as caught:
        design_of(rows, "~ group", "1 -1")
    assert all(f'"{line}"' in caught.value.fix for line in pages["1 -1"])
