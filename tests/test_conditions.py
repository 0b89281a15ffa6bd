"""Conditions against Python's own evaluation of the same text (in the test only)."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.conditions import parse_condition
from bids_group.errors import UsageError
from bids_group.records import Column

COLUMNS = {
    "x": Column(name="x", kind="numeric", kind_source="", source=Path()),
    "y": Column(name="y", kind="numeric", kind_source="", source=Path()),
    "site": Column(name="site", kind="categorical", kind_source="", source=Path(), levels=("a", "b", "c")),
}
NO_GAPS = (
    "No condition asks for missing values: --missing drop leaves out who lacks what the model needs; name "
    "others with --exclude-participant-label."
)
numbers = st.sampled_from(["-1", "0", "1.5", "2", "x", "y"])
atoms = st.one_of(
    st.builds(
        "{} {} {}".format, st.sampled_from("xy"), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), numbers
    ),
    st.builds("{} < {} <= {}".format, numbers, st.sampled_from("xy"), numbers),
    st.builds("site {} '{}'".format, st.sampled_from(["==", "!="]), st.sampled_from("abc")),
    st.builds("site {} ['a', '{}']".format, st.sampled_from(["in", "not in"]), st.sampled_from("bc")),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=8,
)
VALUES = {"x": (-1.0, 0.0, 1.5, 2.0), "y": (0.0, 2.0), "site": ("a", "b", "c")}


def evaluate(text, row):
    return eval(text, {"__builtins__": {}}, row)


@settings(max_examples=300, deadline=None)
@given(
    text=conditions,
    x=st.sampled_from(VALUES["x"]),
    y=st.sampled_from(VALUES["y"]),
    site=st.sampled_from("abc"),
)
def test_a_complete_row_is_judged_as_python_would(text, x, y, site):
    row = {"x": x, "y": y, "site": site}
    assert parse_condition(text, COLUMNS).holds(row) is evaluate(text, row)


@settings(max_examples=200, deadline=None)
@given(text=conditions, missing=st.sets(st.sampled_from(["x", "y", "site"]), min_size=1))
def test_a_verdict_on_a_row_with_gaps_holds_whatever_stands_in_the_gaps(text, missing):
    row = {"x": 1.5, "y": 2.0, "site": "b"}
    verdict = parse_condition(text, COLUMNS).holds({**row, **dict.fromkeys(missing)})
    fillings = itertools.product(*(VALUES[name] for name in sorted(missing)))
    possible = {
        evaluate(text, {**row, **dict(zip(sorted(missing), values, strict=True))}) for values in fillings
    }
    assert verdict is None or possible == {verdict}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[1, 2] == x", "[1, 2] == x"),
        ("x in [1, 2] == y", "x in [1, 2] == y"),
        ("x in [[1], 2]", "neither a column, a number"),
        ("x > " + "-" * 1900 + "1", "nested more than 100 levels deep"),
        ("~" * 950 + "(x > 1)", "nested more than 100 levels deep"),
        ("~(x > 1)", "no comparison"),
        ("(x > 1) & (y > 1)", "instead of & and |"),
    ],
)
def test_what_is_no_comparison_is_refused(text, found):
    with pytest.raises(UsageError) as error:
        parse_condition(text, COLUMNS)
    assert found in str(error.value)


def test_a_whole_number_beyond_every_float_is_larger_than_all():
    digits = "9" * 400
    row = {"x": 1.0}
    assert parse_condition(f"x > {digits}", COLUMNS).holds(row) is False
    assert parse_condition(f"x > -{digits}", COLUMNS).holds(row) is True


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("x = 1", "Compare with == (two equal signs)."),
        ("x => 1", "Write >= for 'at least'."),
        ("x =< 1", "Write <= for 'at most'."),
        ("x <> 1", "Write != for 'not equal'."),
        ("site == 01", "Put labels in quotes."),
        ("x > 1 AND y > 1", "Write and, or, not, in with small letters."),
        ("x > 1 or < 0", "Name the column on both sides: age > 20 and age < 30."),
        ("x between 1 and 2", "Name the column on both sides: age > 20 and age < 30."),
        ("subject == 's1'", "Write participant_id."),
        ("session == 'a'", "Choose sessions with --session-label."),
        ("site == 4", 'Put the value in quotes: "4"'),
        ("x > 0,5", "Write numbers with a decimal point."),
        ("x > 1 & site == 'a'", "Join comparisons by and, or, not, instead of & and |."),
        ("x.isna()", NO_GAPS),
        ("x == 'n/a'", NO_GAPS),
        ("site == ''", NO_GAPS),
        ("site is None", NO_GAPS),
    ],
)
def test_what_other_languages_write_is_answered_with_what_is_meant(text, fix):
    with pytest.raises(UsageError) as error:
        parse_condition(text, COLUMNS)
    assert error.value.fix == fix


@pytest.mark.parametrize(("name", "fix"), [("participant_id", "Write subject."), ("sub", "Write subject.")])
def test_people_are_called_subject_in_a_model_file(name, fix):
    with pytest.raises(UsageError) as error:
        parse_condition(f"{name} == 's1'", COLUMNS, as_pandas=True)
    assert error.value.fix == fix
