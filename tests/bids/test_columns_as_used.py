"""Columns as people write them: numbers, categories, what is missing, and what is told of odd cells."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.bids.columns import is_nearly_numbers, look_of, type_column
from bids_group.bids.covariates import read_study
from bids_group.bids.tables import describe_column
from bids_group.config import Inputs
from bids_group.errors import DataError, UsageError

SOURCE = Path("participants.tsv")
LABELS = [f"{n:02d}" for n in range(1, 13)]
numbers = st.one_of(
    st.integers(-50, 120).map(str), st.floats(0, 100, allow_nan=False).map(lambda x: f"{x:.1f}")
)
ODD = ("-", ".", "NA", "NaN", "nan", "N/A", "None", "null", "unknown", "?", "#N/A", "--", "\N{EN DASH}")
ODD += ("89+", ">89", "<18", "31,5", "1,234.5", "023Y", "25y", "1e999", "0x10", "inf")
odd = st.sampled_from(ODD)
words = st.sampled_from(("control", "patient", "siteA", "left", "right", "3T", "7T", "10mg", "20mg"))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["Levels", "Units", "1", "F"]), inner)
    ),
    max_leaves=8,
)


def judge(cells, entry=None, **said):
    series = pd.Series(cells, index=LABELS[: len(cells)], name="x", dtype=object)
    return type_column(series, describe_column("x", SOURCE, entry), dict(zip("x", said, strict=False)))


def sentences(column, severity="warning"):
    return [notice.sentence for notice in column.notices if notice.severity == severity]


@settings(max_examples=100, deadline=None)
@given(cells=st.lists(numbers, min_size=4, max_size=8), strange=st.lists(odd, min_size=1, max_size=4))
def test_numbers_with_odd_cells_among_them_are_never_a_factor_in_silence(cells, strange):
    _, column = judge([*strange, *cells])
    assert column.problem is not None
    assert column.problem.exit_code == 65
    said = f"{column.problem.sentence} {column.problem.found}"
    assert repr(strange[0]) in said
    assert "sub-01" in column.problem.found
    assert "--categorical x" in column.problem.fix


@settings(max_examples=60, deadline=None)
@given(cells=st.lists(numbers, min_size=4, max_size=8), strange=st.lists(odd, min_size=1, max_size=4))
def test_whoever_says_that_it_is_categories_gets_categories(cells, strange):
    typed, column = judge([*strange, *cells], categorical=True)
    assert column.problem is None
    assert typed.notna().all()
    _, described = judge([*strange, *cells], {"Levels": dict.fromkeys([*strange, *cells], "")})
    assert (described.kind, described.problem) == ("categorical", None)


@settings(max_examples=60, deadline=None)
@given(cells=st.lists(numbers, min_size=1, max_size=12), gaps=st.sets(st.integers(0, 11)))
def test_numbers_are_numbers_whatever_is_missing(cells, gaps):
    written = [None if n in gaps else cell for n, cell in enumerate(cells)]
    typed, column = judge(written)
    assert (column.kind, column.problem) == ("numeric", None)
    expected = [float("nan") if cell is None else float(cell) for cell in written]
    pd.testing.assert_series_equal(typed, pd.Series(expected, index=typed.index, name="x"))


@settings(max_examples=60, deadline=None)
@given(cells=st.lists(words, min_size=2, max_size=12))
def test_words_are_categories_without_a_problem(cells):
    _, column = judge(cells)
    assert (column.kind, column.problem) == ("categorical", None)
    assert set(column.levels) == set(cells)


@settings(max_examples=150, deadline=None)
@given(entry=JSON, cells=st.lists(st.one_of(numbers, odd, words), min_size=1, max_size=8))
def test_no_dictionary_breaks_the_reading_of_a_table(entry, cells):
    typed, column = judge(cells, entry)
    assert len(typed) == len(cells)
    assert column.problem is None or column.problem.fix


@pytest.mark.parametrize(
    "cells",
    [
        *(["023Y", "031Y"], ["98,5", "99,5"], ["25 years", "31 yrs"], ["30+", "40+"], ["8;3", "9;11"]),
        *(["1\u00a0000", "1\u00a0200"], ["=A2/12", "=A3/12"]),
        *(["8;3.15", "10;0"], ["8y3m", "12 y 11 mo"], ["8 years, 3 months", "9 yrs 4 mths"]),
    ],
)
def test_ages_of_the_scanner_and_decimal_commas_are_refused_though_all_are_alike(cells):
    _, column = judge(cells * 3)
    with pytest.raises(DataError, match="would be read as categories"):
        column.check_usable()


@pytest.mark.parametrize(
    "cells",
    [
        *(["2001-01-31", "2001-02-28"], ["1.2.2001", "31.1.2001"], ["09:30", "14:05"]),
        *(["1/2/03", "1/15/03"], ["5.3.98", "12.11.97"]),
    ],
)
def test_dates_and_times_are_categories_with_a_warning(cells):
    _, column = judge(cells * 3)
    assert (column.kind, column.problem) == ("categorical", None)
    (said,) = sentences(column)
    assert f"Column 'x' of participants.tsv is read as categories ({cells[0]}, {cells[1]})" in said
    assert judge(cells * 3, categorical=True)[1].notices == ()


@pytest.mark.parametrize(
    "cells",
    [
        *(["3T", "7T"], ["10mg", "20mg"], ["2D", "3D"], ["5 %", "10 %"]),
        *(["28/30", "29/30"], ["36.5°", "37°"], ["5 €", "10 €"], ["$5", "$10"]),
    ],
)
def test_numbers_with_a_unit_are_categories_with_a_note(cells):
    _, column = judge(cells * 3)
    assert (column.kind, column.problem, column.levels) == ("categorical", None, tuple(cells))
    (note,) = sentences(column, "note")
    assert "read as categories" in note
    assert is_nearly_numbers("age_at_scan", ["18mo", "20mo"])
    assert not is_nearly_numbers("dosage", ["10mg", "20mg"])


@pytest.mark.parametrize(
    "cells",
    [
        *(["3/3", "3/4", "4/4"], ["1.2.3", "1.2.4"], ["1-2-3", "1-2-4"]),
        *(["stable", "declined", "improved"], ["1/4", "3/4"]),
    ],
)
def test_alleles_versions_and_outcomes_are_categories_without_a_notice(cells):
    assert judge(cells * 3)[1].notices == ()


@pytest.mark.parametrize("levels", [{"1": "a", "2": "b", "n/a": ""}, [1, 2], [1.0, 2.0], ["1.0", "2"]])
def test_whole_numbers_as_floats_are_the_levels(levels):
    typed, column = judge(["1.0", "2.0", None, "1"], {"Levels": levels})
    assert (column.levels, column.problem) == (("1", "2"), None)
    assert typed.tolist()[:2] == ["1", "2"]
    assert typed.isna().tolist() == [False, False, True, False]
    typed, _ = judge(["1.0", "2.0", "1"], categorical=True)
    assert list(typed.cat.categories) == ["1", "2"]


@pytest.mark.parametrize("levels", [{}, [], None, ""])
def test_empty_levels_say_nothing(levels):
    _, column = judge(["F", "M", "F"], {"Levels": levels, "Units": ""})
    assert (column.levels, column.problem, column.notices) == (("F", "M"), None, ())


@pytest.mark.parametrize("entry", [{"Levels": "F, M"}, {"Levels": 2}, "sex", ["F"], {"levels": {"F": ""}}])
def test_a_description_that_cannot_be_read_is_told(entry):
    _, column = judge(["F", "M", "F"], entry)
    assert column.problem is None
    (said,) = sentences(column)
    assert "describes 'x' in a way that is not used" in said


@pytest.mark.parametrize("units", ["M/F", "string", "category"])
def test_units_of_a_column_of_text_do_not_refuse_it(units):
    _, column = judge(["F", "M", "F"], {"Units": units})
    assert (column.kind, column.problem) == ("categorical", None)
    assert f"Units ({units}) are not used" in sentences(column)[0]


@pytest.mark.parametrize(
    "cells, twins", [(["f", "F", "M"], "'F' (1), 'f' (1)"), (["old man", "Old  man"], ""), (["01", "1"], "")]
)
def test_twins_of_a_level_are_told(cells, twins):
    _, column = judge(cells, categorical=True)
    (said,) = sentences(column)
    assert "differ only in case, blanks or zeros" in said
    assert twins in said


@pytest.mark.parametrize(
    "twin, told",
    [
        ("control\u200b", "'control' (1), 'control\\u200b' (1)"),
        ("\ufeffcontrol", "'control' (1), '\\ufeffcontrol' (1)"),
        ("ｃontrol", "'control' (1), '\\uff43ontrol' (1)"),
    ],
)
def test_levels_that_only_look_the_same_are_told_with_their_codes(twin, told):
    _, column = judge(["control", twin, "patient"])
    (said,) = sentences(column)
    assert told in said
    assert "differ only in characters that look alike or are not seen: each is a group of its own" in said


def test_letters_with_their_accent_apart_are_twins():
    _, column = judge(["caf\xe9", "cafe\u0301", "tea"])
    (said,) = sentences(column)
    assert "'cafe\\u0301' (1), 'caf\\xe9' (1)" in said


@pytest.mark.parametrize("code", ["9999", "-999", "999", "-1", "99", "88888"])
@pytest.mark.parametrize("n_codes", [1, 4])
def test_codes_for_missing_values_are_told_with_their_rows(code, n_codes):
    cells = ["20", "23.5", "31", "45", "52", "38", "29", "41"]
    _, column = judge([code] * n_codes + cells)
    (said,) = sentences(column)
    assert f"{code} in {n_codes} of {n_codes + 8} (sub-01" in said
    assert "from 20 to 52" in said


@pytest.mark.parametrize(
    "cells",
    [
        ["0", "0", "0", "5", "20", "12", "0", "3"],
        ["-1", "1", "-1", "1"],
        ["-1", "0", "1", "0"],
        ["60", "71", "77", "88", "95", "99", "66"],
        ["-1.2", "0.3", "0.8", "-0.4", "1.9", "-1"],
        ["9", "8", "7", "9"],
        ["0", "1", "2", "-1"],
        ["0", "5", "-3", "12", "20", "-1"],
        ["-7", "0", "3", "5", "8", "11", "14", "19", "25"],
    ],
)
def test_ordinary_numbers_are_not_called_codes(cells):
    assert judge(cells)[1].notices == ()


@pytest.mark.parametrize("code", ["-1", "-9"])
def test_a_negative_code_in_a_scale_from_0_is_told(code):
    (said,) = sentences(judge(["0", "3", code, "17", "9", "1", "22", "0", "5", "11", "2", "8"])[1])
    assert f"values below 0, unlike all others, which run from 0 to 22: {code} in 1 of 12 (sub-03)" in said


@pytest.mark.parametrize(
    "code, meaning, told",
    [
        *(("-9", "missing", True), ("3", "Not reported", True), ("U", "sex unknown to us", True)),
        *(("9", {"Description": "prefer not to say"}, True), ("-9", "", True), ("99", None, True)),
        *(("9", "Participant refused to answer", True), ("9", "Unknown or not reported", True)),
        *(("9", "declined to answer", True), ("9", "data were not collected", True)),
        *(("9", "Not applicable, no partner", True), ("9", "Not applicable - control", True)),
        *(("9", "No answer given", True), ("9", "I don't know", True), ("9", "no data available", True)),
        ("9", "Value is missing because of scanner failure", True),
        *(("3", "generalised epilepsy, cause unknown", False), ("3", "MMSE declined over 2 years", False)),
        *(("3", "controls not known to have any disorder", False), ("3", "declined", False)),
        *(("3", "no known family history; not reported by any relative", False),),
        *(("3", "diverse", False), ("99", "other", False), ("3", "", False), ("U", "", False)),
    ],
)
def test_levels_that_stand_for_missing_values_are_told(code, meaning, told):
    cells = ["1", "2", "1", code, "2"]
    _, column = judge(cells, {"Levels": {"1": "female", "2": "male", code: meaning}})
    assert column.levels == ("1", "2", code)
    said = f", which stands for '{meaning if isinstance(meaning, str) else 'prefer not to say'}'" * bool(
        meaning
    )
    assert (
        sentences(column) == [f"'{code}' is a level of column 'x' of participants.tsv{said}: sub-04."] * told
    )


@pytest.mark.parametrize("code, told", [("99", True), ("-1", True), ("3", False)])
def test_codes_among_categories_that_a_user_named_are_told(code, told):
    _, column = judge(["1", "2", "1", code, "2"], categorical=True)
    assert [said.partition(" is a level")[0] for said in sentences(column)] == [f"'{code}'"] * told


def test_numbers_of_which_the_levels_name_the_ends_are_pointed_to_numeric():
    _, column = judge(["0", "3", "10", "7"], {"Levels": {"0": "no pain", "10": "worst pain"}})
    assert column.problem.fix.startswith(
        "If it is a number of which the Levels name a few values, say --numeric x;"
    )
    _, column = judge(["1", "2", "1", "4"], {"Levels": {"1": "", "2": "", "3": ""}})
    assert "--numeric" not in column.problem.fix


def test_a_value_far_from_all_others_is_told():
    (said,) = sentences(judge(["31", "42", "420", "38", "35", "40"])[1])
    assert "420 in 1 of 6 (sub-03)" in said


@pytest.mark.parametrize(
    "cells, told",
    [
        (["987", "1.234", "905", "1.102"], "'1.234' in sub-02, '1.102' in sub-04; the others are 987, 905."),
        (["1.234", "1.102", "1.015", "2.500"], None),
        (["1.234", "0.987", "1.102", "2"], None),
        (["987", "1.23", "905", "1.102"], None),
        (["512", "498.333", "530", "487.667", "601"], None),
    ],
)
def test_points_that_part_thousands_are_told(cells, told):
    said = [one for one in sentences(judge(cells)[1]) if "points seem to part thousands" in one]
    assert [one.partition("thousands: ")[2] for one in said] == ([told] if told else [])


def test_an_empty_cell_is_missing_and_told():
    typed, column = judge(["20", "", "40", None])
    assert typed.isna().tolist() == [False, True, False, True]
    assert column.empty == ("sub-02",)
    assert "has an empty cell for sub-02" in sentences(column)[0]


def test_words_for_missing_values_among_categories_are_told():
    _, column = judge(["F", "M", "NA", "-", "#REF!", "Prefer not to say", "refused"])
    assert column.problem is None
    told = [re.findall(r"'(.*?)' is a level", said) for said in sentences(column)]
    assert told == [["#REF!"], ["-"], ["NA"], ["Prefer not to say"], ["refused"]]


@pytest.mark.parametrize(
    "cell, look",
    [
        ("12", "number"),
        ("-1.5e3", "number"),
        ("N/A", "missing"),
        ("not available", "missing"),
        ("1 234,5", "odd number"),
        ("\N{MINUS SIGN}5", "odd number"),
        ("3T", "unit"),
        ("1.5 mg", "unit"),
        ("1a", "unit"),
        ("sub-01_gm.nii.gz", "text"),
        ("1.2.3", "text"),
        ("2001-01-31", "text"),
        ("8;3", "odd number"),
    ],
)
def test_what_a_cell_looks_like(cell, look):
    assert look_of(cell) == look


def test_a_description_of_a_list_of_objects_is_read():
    assert describe_column("x", SOURCE, {"Levels": [{"F": "female"}, {"M": "male"}]}).levels == ("F", "M")


cell_texts = st.sampled_from(("sub-01", "02", "n/a", "", "-", "20", "31,5", "F", "f", '"x"', "ses-1", "1.0"))
heads = st.sampled_from(("participant_id", "age", "age", "Age", "session_id", "subject", "", "sub-01", "20"))


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(cell_texts, min_size=1, max_size=4), max_size=6),
    names=st.lists(heads, min_size=1, max_size=4),
    entry=JSON,
    has_sessions=st.booleans(),
)
def test_whatever_stands_in_a_table_is_read_or_refused(tmp_path_factory, rows, names, entry, has_sessions):
    raw = tmp_path_factory.mktemp("raw")
    text = "\n".join("\t".join(row) for row in (["participant_id", *names], *rows))
    for name in ("participants", "other"):
        (raw / f"{name}.tsv").write_text(text)
        (raw / f"{name}.json").write_text(json.dumps({"age": entry}))
    inputs = Inputs(bids_dir=raw, phenotype=(raw / "other.tsv",))
    try:
        study = read_study(inputs, ["01", "02"], has_sessions=has_sessions)
        (people,) = study.type_rows("subject", ["01", "02"])
        visits = study.type_rows("session", [("01", "1"), ("02", "1")])
    except (DataError, UsageError):
        return
    assert people.frame.index.tolist() == ["01", "02"]
    for table in (people, *visits):
        assert sorted(table.columns) == sorted(map(str, table.frame.columns))
