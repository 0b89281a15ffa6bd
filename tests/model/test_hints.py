"""What people bring from other programs, and the way on that the refusal shows."""

import pytest

from bids_group.errors import BidsGroupError, FormulaError
from bids_group.model import build_design


@pytest.mark.parametrize(
    ("formula", "instead"),
    [
        ("~ session + (1|subject)", "'~ session + subject'"),
        ("~ session*group + (1 + session | subject)", "'~ session*group + subject'"),
        ("~ session + (1||subject) + n_cigs", "'~ session + subject + n_cigs'"),
        ("~ session + 1|subject", "'~ session + subject'"),
    ],
)
def test_random_terms_are_named_with_what_there_is_instead(formula, instead, pairs, analyse):
    with pytest.raises(FormulaError, match="no mixed models") as caught:
        build_design(analyse(pairs, formula))
    assert instead in caught.value.fix
    assert "--pooling" in caught.value.fix
    build_design(analyse(pairs, instead.strip("'")))


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
