"""What people bring from other programs, and the way on that the refusal shows."""

import pandas as pd
import pytest

from bids_group.errors import BidsGroupError, ContrastError
from bids_group.model import build_design


@pytest.mark.parametrize(
    ("formula", "text", "words"),
    [
        ("~ age + I(age**2)", "test(age)", "slope of age at {} against zero"),
        ("~ age + I(age**2)", "slope(age)", "slope of age at {}"),
        ("~ bs(age, df=4)", "slope(age)", "slope of age at {}"),
        ("~ age + I(age**2)", "slope(age, age=30)", "slope of age at 30"),
        ("~ group + age", "slope(age)", "slope of age, averaged over group"),
    ],
)
def test_the_words_say_where_on_a_curve_a_slope_is(formula, text, words, people, analyse):
    [contrast] = build_design(analyse(people, formula, text)).contrasts
    assert contrast.words == words.format(f"{people['age'].mean():.4g}")


def test_error_terms_of_an_analysis_of_variance_are_named(pairs, analyse):
    with pytest.raises(BidsGroupError, match="random term") as caught:
        build_design(analyse(pairs, "~ session + Error(subject)"))
    assert "+ subject" in caught.value.fix


@pytest.mark.parametrize(
    ("formula", "text", "instead"),
    [
        ("~ group + sex", "patient > control", "mean(group=patient) - mean(group=control)"),
        ("~ group + sex", "patient < control", "mean(group=control) - mean(group=patient)"),
        ("~ group + sex", "control > 0.5*patient + 0.5*relative", None),
        ("~ 0 + group", "patient-control", "mean(group=patient)-mean(group=control)"),
        ("~ group + sex", "mean(patient)", "mean(group=patient)"),
        ("~ group + sex", "mean(patient, F) - mean(control, F)", None),
        ("~ group * age", "slope(age, patient) - slope(age, control)", None),
        ("~ group * age", "slope(age, patient) > slope(age, control)", None),
        ("~ group + age", "group.patient - group.control", "mean(group=patient) - mean(group=control)"),
        (
            "~ arm + age",
            "mean(arm=post-op (6 m)) - mean(arm=drug+placebo)",
            'mean(arm="post-op (6 m)") - mean(arm=drug+placebo)',
        ),
    ],
)
def test_levels_by_themselves_are_shown_as_the_grammar_has_them(formula, text, instead, people, analyse):
    rows = people.assign(arm=pd.Categorical(["post-op (6 m)", "drug+placebo"] * (len(people) // 2)))
    with pytest.raises(ContrastError) as caught:
        build_design(analyse(rows, formula, text))
    shown = caught.value.fix.split("'")[1]
    assert instead in (None, shown)
    build_design(analyse(rows, formula, shown))


def test_a_comparison_is_the_difference_with_the_sign_that_was_meant(people, analyse):
    for text, sign in (
        ("control > 0.5*patient + 0.5*relative", 1),
        ("control < 0.5*patient + 0.5*relative", -1),
    ):
        with pytest.raises(ContrastError) as caught:
            build_design(analyse(people, "~ 0 + group", text))
        [contrast] = build_design(analyse(people, "~ 0 + group", caught.value.fix.split("'")[1])).contrasts
        assert contrast.weights[0].tolist() == [sign, -sign / 2, -sign / 2]


def test_what_cannot_be_told_keeps_its_own_advice(people, analyse):
    with pytest.raises(ContrastError) as caught:
        build_design(analyse(people, "~ group + age", "patiens - control"))
    assert "mean(group=patient)" not in str(caught.value.fix)
