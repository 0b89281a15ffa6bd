"""Long lists on the page of the dry run: short, and still true."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bids_group.config import AnalysisSpec
from bids_group.config.estimators import FIXED_EFFECTS
from bids_group.output import Preview, print_dry_run
from bids_group.output.preview.page import fold_columns, fold_reasons, fold_weights
from bids_group.records import Exclusion


def page_of(made: Any, exclusions: list[Exclusion], planned: list[Any] | None = None) -> str:
    page = StringIO()
    preview = Preview(
        cohort=made.cohort,
        planned=planned or [(made.analysis, made.data.design)],
        exclusions=exclusions,
        notices=(),
        spec=AnalysisSpec(),
    )
    print_dry_run(preview, console=Console(file=page, width=100))
    return page.getvalue()


@pytest.mark.parametrize(
    "reason, shared",
    [
        ("age is {}: not let through by the Filter of x", "not let through by the Filter of x"),
        ("--exclude-where age > 40: age is {}", "--exclude-where age > 40"),
        ("no value (n/a) of iq (--missing drop)", "no value (n/a) of iq (--missing drop)"),
    ],
)
def test_a_filter_that_stops_a_hundred_people_is_one_line(made: Any, reason: str, shared: str) -> None:
    exclusions = [Exclusion(subject=f"x{k:03d}", reason=reason.format(41 + k % 30)) for k in range(111)]
    page = page_of(made, exclusions)
    short = page_of(made, exclusions[:1])
    assert len(page.splitlines()) <= len(short.splitlines()) + 3
    assert f"111: {shared}: sub-x000" in page
    assert "and 105 more" in " ".join(page.split())


def test_maps_lost_by_people_who_are_in_are_counted(made: Any) -> None:
    exclusions = [
        Exclusion(subject=who, session=ses, reason="not selected", path=Path(f"{who}{ses}.nii.gz"))
        for who in ("01", "02", "99")
        for ses in "abc"
    ]
    page = page_of(made, exclusions)
    assert re.search(r"in, with less +2, 6 maps: not selected: sub-01, sub-02\n", page)
    assert re.search(r"out +1, 3 maps: not selected: sub-99\n", page)


def test_people_come_before_the_design_contrasts_and_settings(made: Any) -> None:
    page = page_of(made, [Exclusion(subject="07", reason="no map")])
    order = ["participants in", "no map", "Design: ", "Contrasts", "Checks", "Images and inference"]
    places = [page.index(text) for text in order]
    assert places == sorted(places)


def test_first_level_contrasts_with_one_model_are_not_told_twice(made: Any) -> None:
    again = replace(made.analysis, first_level_contrast="other")
    design = made.data.design
    page = page_of(made, [], [(made.analysis, design), (again, design)])
    assert page.count("Columns by term") == 1
    told = (
        "Rows, design, contrasts and checks of facesVsHouses; files contrast-other, contrast-otherEitherGroup"
    )
    assert told in " ".join(page.split())
    different = replace(again, estimator=FIXED_EFFECTS)
    assert page_of(made, [], [(made.analysis, design), (different, design)]).count("Columns by term") == 2


def test_long_tables_are_cut_and_the_cut_is_said(made: Any) -> None:
    cells = [{"site": f"s{k}", "n": 3} for k in range(40)]
    design = replace(made.data.design, details={**made.data.design.details, "n_per_cell": cells})
    page = page_of(made, [], [(made.analysis, design)])
    assert "s11" in page
    assert "s12" not in page
    assert "… and 28 more rows" in page


@given(
    st.dictionaries(
        st.sampled_from(["a: x", "a: y", "b: x", "c", "a", "x", "a: b: x"]),
        st.dictionaries(st.sampled_from(["1", "2", "3", "4"]), st.integers(0, 3), min_size=1),
    ),
    st.sets(st.sampled_from(["1", "2", "3", "4"])),
)
def test_nobody_and_no_map_is_lost_or_told_twice(reasons: dict[str, dict[str, int]], whose: set[str]) -> None:
    lines = list(fold_reasons(reasons, whose))
    named = sum(len(re.findall(r"sub-\d", line)) for line in lines)
    more = sum(int(n) for line in lines for n in re.findall(r"and (\d+) more$", line))
    n_maps = sum(int(n) for line in lines for n in re.findall(r"^\d+, (\d+) maps?: ", line))
    told = [(who, n) for concerned in reasons.values() for who, n in concerned.items() if who in whose]
    assert named + more == len(told)
    assert n_maps == sum(n for _, n in told)


def test_weights_of_many_people_are_one_entry_where_they_are_alike() -> None:
    people = [f"subject[T.{k:02d}]" for k in range(2, 14)]
    weights = {"Intercept": 1.0, "age": 0.0, **dict.fromkeys(people, 1 / 13)}
    assert fold_weights(weights, {"subject": people}) == {
        "Intercept": 1.0,
        "each of the 12 columns of subject": 1 / 13,
    }
    weights[people[0]] = -0.5
    assert fold_weights(weights, {"subject": people}) == {
        "Intercept": 1.0,
        people[0]: -0.5,
        "each of 11 of the 12 columns of subject": 1 / 13,
    }
    assert fold_columns(["age", *people[:3]], {"subject": people}) == [
        "age",
        "3 of the 12 columns of subject",
    ]
