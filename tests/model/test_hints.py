"""What people bring from other programs, and the way on that the refusal shows."""

import pytest

from bids_group.errors import BidsGroupError, ContrastError


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
def test_the_words_say_where_on_a_curve_a_slope_is(formula, text, words, people, design_of):
    [contrast] = design_of(people, formula, text).contrasts
    assert contrast.words == words.format(f"{people['age'].mean():.4g}")


def test_error_terms_of_an_analysis_of_variance_are_named(pairs, design_of):
    with pytest.raises(BidsGroupError, match="random term") as caught:
        design_of(pairs, "~ session + Error(subject)")
    assert "+ subject" in caught.value.fix
    assert "+ (1 | subject)" in caught.value.fix


def test_a_comparison_is_the_difference_with_the_sign_that_was_meant(people, design_of):
    for text, sign in (
        ("control > 0.5*patient + 0.5*relative", 1),
        ("control < 0.5*patient + 0.5*relative", -1),
    ):
        [contrast] = design_of(people, "~ 0 + group", text).contrasts
        assert contrast.weights[0].tolist() == [sign, -sign / 2, -sign / 2]


def test_what_cannot_be_told_keeps_its_own_advice(people, design_of):
    with pytest.raises(ContrastError) as caught:
        design_of(people, "~ group + age", "zzzz - control")
    assert "mean(group=" not in str(caught.value.fix)
