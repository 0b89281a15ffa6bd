"""Whatever is typed, the answer is a design or an error with an exit code: never a traceback."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.errors import BidsGroupError
from bids_group.model import needed_variables
from bids_group.model.contrast.grammar import read_expression
from bids_group.model.contrast.regressor_names import find_regressor, spellings

COLUMNS = ("age", "group", "my col", "x.y", "log")
REGRESSORS = ("Intercept", "group[T.patient]", "age", "group[T.patient]:age", "poly(age, 2)[1]", "my col")
FORMULA_PIECES = [
    *("age", "group", "`my", "col`", "x.y", "log", "log(", "I(", "C(", "poly(", "np.", "("),
    *(")", "~", "+", "-", "*", "/", ":", "**", "^", "%in%", "0", "1"),
    *("2", ".", ",", "'", '"', "`", "{", "}", "[", "]", "=", "age**2"),
    *("|", "\\"),
]
CONTRAST_PIECES = [
    *("age", "group[T.patient]", "mean(", "slope(", "test(", "group=", "patient", "(", ")", "[", "]", ","),
    *("+", "-", "*", "/", "1", "0", "1/3", "0.5", "`", ":", "=", "'"),
    *("poly(age,2)[1]", "e", ".", "é"),
]


def exit_code(read: Callable[[], object]) -> int:
    try:
        read()
    except BidsGroupError as error:
        return error.exit_code
    return 0


def texts(pieces: list[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.text(max_size=40), st.lists(st.sampled_from([*pieces, " ", "\n"]), max_size=14).map("".join)
    )


@settings(max_examples=400, deadline=None)
@given(texts(FORMULA_PIECES))
def test_any_text_is_a_formula_or_an_error_of_usage(text):
    assert exit_code(lambda: needed_variables(text, COLUMNS)) in (0, 64)


@settings(max_examples=400, deadline=None)
@given(texts(CONTRAST_PIECES))
def test_any_text_is_a_contrast_or_an_error_of_usage(text):
    assert exit_code(lambda: read_expression(text, REGRESSORS)) in (0, 64)


@pytest.mark.parametrize(
    "text",
    ["(" * 4000 + "age", "[" * 4000, "age" + "-" * 9000 + "age", "2*" * 4000 + "age", "(" * 45 + "age"],
)
def test_deep_contrast_is_read_or_refused_without_a_crash(text):
    assert exit_code(lambda: read_expression(text, REGRESSORS)) in (0, 64)


@pytest.mark.parametrize(
    "text",
    ["~ I(" + "-" * 900 + "age)", "~ I(" + "(" * 90 + "age", "~ " + "-" * 900 + "age", "~ I(" + "abs(" * 40],
)
def test_deep_formula_is_refused_without_a_crash(text):
    assert exit_code(lambda: needed_variables(text, COLUMNS)) == 64


@given(st.sampled_from(REGRESSORS), st.data())
def test_every_spelling_of_a_column_finds_it(column, data):
    spelling = data.draw(st.sampled_from(spellings(column)))
    found = find_regressor(spelling + " - Intercept", 0, REGRESSORS)
    assert found is not None
    assert found.column == column
    assert found.end == len(spelling)
