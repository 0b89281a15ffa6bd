from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bids_group.output import describe_dry_run, print_dry_run
from bids_group.records import Contrast, Exclusion, Notice

WARNING = Notice(
    severity="warning", topic="rank", sentence="Two columns depend on each other.", fix="Drop one."
)


def describe(made: Any, **changes: Any) -> dict[str, Any]:
    design = replace(made.data.design, **changes)
    exclusions = (
        Exclusion(subject="07", reason="no map"),
        Exclusion(subject="02", session="b", reason="zeros only", path=Path("x/map.nii.gz")),
    )
    notices = (WARNING, WARNING, Notice(severity="note", topic="shuffling", sentence="Signs are flipped."))
    return describe_dry_run(made.cohort, [made.analysis], [design], exclusions, notices)


def show(description: dict[str, Any], output_format: Any = "text", width: int = 100) -> str:
    page = StringIO()
    print_dry_run(description, output_format=output_format, console=Console(file=page, width=width))
    return page.getvalue()


def test_people_are_counted_and_nobody_is_out_without_a_reason(made: Any) -> None:
    people = describe(made)["Participants"]
    assert people["In"] == ["01", "02", "03", "04", "05", "06"]
    assert people["Out"] == {"07": ["no map"]}
    assert people["InWithLess"] == {"02": ["ses-b (map.nii.gz): zeros only"]}
    assert (people["Analysed"], people["Listed"]) == (6, 7)
    unexplained = describe_dry_run(made.cohort, [made.analysis], [made.data.design], (), ())
    assert unexplained["Participants"]["Out"] == {"07": ["no map of the selection"]}


def test_maps_are_counted(made: Any) -> None:
    maps = describe(made)["Maps"]
    assert (maps["Found"], maps["Used"], maps["WithVariance"]) == (12, 12, 12)
    assert (maps["Contrasts"], maps["Runs"], maps["Task"]) == (["facesVsHouses"], ["1", "2"], "faces")


def test_the_design_and_its_contrasts_are_given_whole(made: Any) -> None:
    analysis = describe(made)["Analyses"][0]
    assert analysis["Columns"] == ["group[control]", "group[patient]"]
    assert analysis["Matrix"] == made.data.design.matrix.to_numpy().tolist()
    assert (analysis["Rank"], analysis["DegreesOfFreedom"]) == (2, 4)
    assert analysis["NPerCell"] == [{"group": "control", "n": 3}, {"group": "patient", "n": 3}]
    assert [one["Weights"] for one in analysis["Contrasts"]] == [[[0.5, 0.5]], [[1, 0], [0, 1]]]
    assert analysis["MapsPerRow"]["sub-01"] == 2
    assert "Centring grand: age at 41.2" in show(describe(made, centers={"age": 41.2}))


def test_a_notice_is_said_once(made: Any) -> None:
    sentences = [one["Sentence"] for one in describe(made)["Notices"]]
    assert sentences == ["Two columns depend on each other.", "Signs are flipped."]


def test_the_json_is_the_description(made: Any) -> None:
    description = describe(made)
    assert json.loads(show(description, "json", width=40)) == description


def test_the_page_says_it_all(made: Any) -> None:
    page = show(describe(made))
    for text in (
        "12 effect maps found, 12 with variance; 12 used",
        "6 of 7 participants in",
        "sub-07        no map",
        "~ 0 + group",
        "0.5 · group[control] + 0.5 · group[patient]",
        "files contrast-facesVsHousesEitherGroup",
        "rank 2 of 2 (full), 4 degrees of freedom",
        "variance inflation (VIF): group 1",
        "fix: Drop one.",
        "Signs are flipped.",
    ):
        assert text in page
    assert page.index("warning") < page.index("Signs are flipped.")


def test_weights_are_spelled_with_their_signs(made: Any) -> None:
    weights = np.array([[-1.0, 1 / 3]])
    difference = Contrast(name="d", label="D", weights=weights, test="t", expression="", words="")
    assert "− 1 · group[control] + 0.3333 · group[patient]" in show(describe(made, contrasts=(difference,)))


def test_long_column_names_are_not_broken(made: Any) -> None:
    name = "group[T.patient]:" + "n_cigs_per_day_in_the_last_year_" * 4
    page = show(describe(made, terms={"group": (name, "b")}), width=60)
    assert f"  group: {name}, b" in page


def test_a_deficient_rank_is_named(made: Any) -> None:
    details = {**made.data.design.details, "dependent_columns": ["a", "b"]}
    page = show(describe(made, rank=1, details=details))
    assert "rank 1 of 2 (deficient: a, b depend on each other)" in page


def test_long_designs_are_cut_and_the_cut_is_said(made: Any) -> None:
    matrix = made.data.design.matrix
    wide = matrix.assign(**{f"extra{i}": 0.0 for i in range(14)})
    page = show(describe(made, matrix=wide, contrasts=()), width=220)
    assert "… columns extra10, extra11, extra12, extra13" in page


@pytest.mark.parametrize("name", ["[bold]x[/]", "[/]", "[red", ":smile:", "a\\[b"])
def test_names_that_look_like_markup_are_shown_as_they_are(made: Any, name: str) -> None:
    contrast = Contrast(
        name=name, label="X", weights=np.array([[1.0, 0]]), test="t", expression=name, words=name
    )
    analysis = replace(made.analysis, first_level_contrast=name + "x")
    design = replace(made.data.design, contrasts=(contrast,), formula=name)
    exclusion = Exclusion(subject="07", reason=name)
    notice = Notice(severity="note", topic="t", sentence=f"About {name}.", fix=name)
    description = describe_dry_run(made.cohort, [analysis], [design], (exclusion,), (notice,))
    page = show(description)
    assert page.count(name) >= 7
