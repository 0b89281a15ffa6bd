from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bids_group.config import AnalysisSpec, InferenceSpec
from bids_group.elements import Grid, Parcels, Structures, Vertices, Voxels
from bids_group.output import Durations, Preview, describe_dry_run, print_dry_run
from bids_group.records import Column, Contrast, Exclusion, Notice

DEFAULT = AnalysisSpec()
WARNING = Notice(
    severity="warning", topic="rank", sentence="Two columns depend on each other.", fix="Drop one."
)


def preview(made: Any, spec: AnalysisSpec = DEFAULT, **changes: Any) -> Preview:
    exclusions = (
        Exclusion(subject="07", reason="no map"),
        Exclusion(subject="02", session="b", reason="zeros only", path=Path("x/map.nii.gz")),
    )
    return Preview(
        cohort=made.cohort,
        planned=[(made.analysis, replace(made.data.design, **changes))],
        exclusions=exclusions,
        notices=(WARNING, WARNING, Notice(severity="note", topic="shuffling", sentence="Signs are flipped.")),
        spec=spec,
    )


def describe(*arguments: Any, **changes: Any) -> dict[str, Any]:
    return describe_dry_run(preview(*arguments, **changes))


def show(shown: Preview, output_format: Any = "text", width: int = 100) -> str:
    page = StringIO()
    print_dry_run(shown, output_format=output_format, console=Console(file=page, width=width))
    return page.getvalue()


def test_people_are_counted_and_nobody_is_out_without_a_reason(made: Any) -> None:
    people = describe(made)["Participants"]
    assert people["In"] == ["01", "02", "03", "04", "05", "06"]
    assert people["Out"] == {"07": ["no map"]}
    assert people["InWithLess"] == {"02": ["ses-b (map.nii.gz): zeros only"]}
    assert (people["Analysed"], people["Listed"]) == (6, 7)
    unexplained = describe_dry_run(replace(preview(made), exclusions=()))
    assert unexplained["Participants"]["Out"] == {"07": ["no map of the selection"]}


def test_maps_are_counted(made: Any) -> None:
    maps = describe(made)["Maps"]
    assert (maps["Found"], maps["Used"], maps["WithVariance"]) == (12, 12, 12)
    assert (maps["Contrasts"], maps["Runs"], maps["Task"]) == (["facesVsHouses"], ["1", "2"], "faces")


def test_the_order_of_sessions_is_told_with_its_source(made: Any) -> None:
    rows = made.analysis.rows.assign(session=pd.Categorical(["pre", "post"] * 3, categories=["pre", "post"]))
    order = Column(
        name="session", kind="categorical", kind_source="Levels in sessions.json", source=Path("s.json")
    )
    told = made.but(analysis=replace(made.analysis, rows=rows, columns={"session": order}))
    assert describe(told)["Analyses"][0]["Sessions"] == {
        "Levels": ["pre", "post"],
        "Order": "Levels in sessions.json",
    }
    assert "Sessions pre, post   (order: Levels in sessions.json)" in show(preview(told))
    untold = made.but(analysis=replace(made.analysis, rows=rows))
    assert "(order: alphabetical, numbers as numbers)" in show(preview(untold))
    assert "Sessions" not in show(preview(made))


def test_the_design_and_its_contrasts_are_given_whole(made: Any) -> None:
    analysis = describe(made)["Analyses"][0]
    assert analysis["Columns"] == ["group[control]", "group[patient]"]
    assert analysis["Matrix"] == made.data.design.matrix.to_numpy().tolist()
    assert (analysis["Rank"], analysis["DegreesOfFreedom"]) == (2, 4)
    assert analysis["NPerCell"] == [{"group": "control", "n": 3}, {"group": "patient", "n": 3}]
    assert [one["Weights"] for one in analysis["Contrasts"]] == [[[0.5, 0.5]], [[1, 0], [0, 1]]]
    assert analysis["MapsPerRow"]["sub-01"] == 2
    assert "Centring grand: age at 41.2" in show(preview(made, centers={"age": 41.2}))
    within = {"age": {"F": 40.123456, "M": 1234567.5}}
    page = show(preview(made, centers=within, centering="within:sex"))
    assert "Centring within:sex: age at 40.12 in F, 1,234,568 in M" in page
    assert "Centring" not in show(preview(made, centers={}))
    assert "Centring none" in show(preview(made, centers={}, centering="none"))


def test_a_notice_is_said_once(made: Any) -> None:
    sentences = [one["Sentence"] for one in describe(made)["Notices"]]
    assert sentences == ["Two columns depend on each other.", "Signs are flipped."]


def test_the_json_is_the_description(made: Any) -> None:
    assert json.loads(show(preview(made), "json", width=40)) == describe(made)


def test_the_page_says_it_all(made: Any) -> None:
    page = show(preview(made))
    for text in (
        "12 effect maps found, 12 with variance; 12 used",
        "6 of 7 participants in",
        "out            1: no map: sub-07",
        "~ 0 + group   6 rows, ordinary least squares",
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
    assert "− 1 · group[control] + 0.3333 · group[patient]" in show(preview(made, contrasts=(difference,)))


def test_long_column_names_are_not_broken(made: Any) -> None:
    name = "group[T.patient]:" + "n_cigs_per_day_in_the_last_year_" * 4
    page = show(preview(made, terms={"group": (name, "b")}), width=60)
    assert f"  group: {name}, b" in page


def test_a_deficient_rank_is_named(made: Any) -> None:
    details = {**made.data.design.details, "dependent_columns": ["a", "b"]}
    page = show(preview(made, rank=1, details=details))
    assert "rank 1 of 2 (deficient: a, b depend on each other)" in page


def test_long_designs_are_cut_and_the_cut_is_said(made: Any) -> None:
    matrix = made.data.design.matrix
    wide = matrix.assign(**{f"extra{i}": 0.0 for i in range(14)})
    page = show(preview(made, matrix=wide, contrasts=()), width=220)
    assert "… not shown: extra10, extra11, extra12, extra13" in page


@pytest.mark.parametrize("name", ["[bold]x[/]", "[/]", "[red", ":smile:", "a\\[b"])
def test_names_that_look_like_markup_are_shown_as_they_are(made: Any, name: str) -> None:
    contrast = Contrast(
        name=name, label="X", weights=np.array([[1.0, 0]]), test="t", expression=name, words=name
    )
    analysis = replace(made.analysis, first_level_contrast=name + "x")
    design = replace(made.data.design, contrasts=(contrast,), formula=name)
    exclusion = Exclusion(subject="07", reason=name)
    notice = Notice(severity="note", topic="t", sentence=f"About {name}.", fix=name)
    page = show(
        replace(preview(made), planned=[(analysis, design)], exclusions=(exclusion,), notices=(notice,))
    )
    assert page.count(name) >= 7


def test_images_and_inference_are_said_as_they_will_be(made: Any) -> None:
    page = show(preview(made))
    for line in (
        "Smoothing    none (beyond that of the first level)",
        "Elements     observed in every row",
        "Tests        two-sided, alpha 0.05",
        "Corrections  fdr, bonferroni",
        "Pooling  fixed effects, weighted by precision (1/variance); 2 maps per row",
    ):
        assert line in page
    assert "Shuffling" not in page
    assert "Clusters" not in page


def test_settings_that_were_asked_for_are_said_too(made: Any) -> None:
    inference = InferenceSpec(
        alpha=0.01,
        is_two_sided=False,
        corrections=("fwe-voxel", "fwe-size"),
        cluster_forming_p=0.01,
        connectivity=26,
        n_permutations=500,
        random_seed=7,
        exchangeability_blocks="family",
        block_scheme="whole",
        variance_groups="group",
        shuffle="flips",
        familywise="across-contrasts",
        has_tail_approximation=True,
    )
    spec = AnalysisSpec(mask=Path("/masks/gm.nii.gz"), smoothing_fwhm_mm=5.0, inference=inference)
    description = describe(made, spec=spec)
    page = show(preview(made, spec=spec), width=200)
    for line in (
        "Smoothing    5 mm (FWHM)",
        "Elements     observed in every row, inside /masks/gm.nii.gz",
        "Tests        one-sided (positive effects only), alpha 0.01",
        "Corrections  fwe-voxel, fwe-size; family-wise errors over all contrasts of the run together",
        "Clusters     formed at p < 0.01, 26 neighbours",
        "Shuffling    500 times, seed 7, flips, whole blocks of family, variance groups of group, "
        "tail approximated",
    ):
        assert line in page
    assert description["Inference"]["NumberOfPermutations"] == 500
    assert description["Inference"]["TwoSided"] is False
    assert description["Images"]["Mask"] == "/masks/gm.nii.gz"
    assert description["Images"]["Smoothing"]["FullWidthAtHalfMaximum"] == 5


def test_a_relaxed_coverage_is_said(made: Any) -> None:
    page = show(preview(made, spec=AnalysisSpec(min_coverage=0.8)))
    assert "Elements     observed in at least 80 % of the rows" in page


def test_nothing_is_said_of_images_and_inference_where_no_group_is_analysed(made: Any) -> None:
    observations = made.analysis.observations
    only_pooled = replace(preview(made), planned=(), pooled=observations)
    assert "Tests" not in show(only_pooled)
    assert "Pooling  fixed effects, weighted by precision (1/variance); 2 maps per row" in show(only_pooled)
    assert describe_dry_run(only_pooled)["Inference"]["Alpha"] == 0.05


def test_one_map_per_row_is_not_called_pooled(made: Any) -> None:
    observations = tuple(replace(one, sources=one.sources[:1]) for one in made.analysis.observations)
    analysis = replace(made.analysis, observations=observations)
    assert "Pooling  nothing to pool: 1 map per row" in show(preview(made.but(analysis=analysis)))


def with_people(made: Any, n: int = 15) -> Preview:
    people = [f"subject[T.{i + 2:02d}]" for i in range(n)]
    matrix = made.data.design.matrix.assign(**dict.fromkeys(people, 0.0))
    terms = {"group": tuple(matrix.columns[:2]), "subject": tuple(people)}
    details = {**made.data.design.details, "dependent_columns": ["group[patient]", *people[:8]]}
    return preview(made, matrix=matrix, terms=terms, details=details, rank=2, contrasts=())


def test_a_column_for_each_person_is_folded_in_the_page_and_whole_in_the_json(made: Any) -> None:
    description = describe_dry_run(with_people(made))
    page = show(with_people(made), width=80)
    assert "subject: 15 columns (subject[T.02] … subject[T.16])" in page
    assert "subject[T.03]" not in page
    assert "(deficient: group[patient], 8 of the 15 columns of subject depend on each other)" in " ".join(
        page.split()
    )
    assert "… not shown: the 15 columns of subject" in page
    assert description["Analyses"][0]["Columns"][-1] == "subject[T.16]"
    assert description["Analyses"][0]["Terms"]["subject"][1] == "subject[T.03]"


def test_titles_are_not_broken_above_narrow_tables_and_a_single_cell_is_not_shown(made: Any) -> None:
    matrix = made.data.design.matrix.iloc[:, :1].set_axis(["Intercept"], axis=1)
    details = {**made.data.design.details, "n_per_cell": [{"n": 6}]}
    page = show(preview(made, matrix=matrix, details=details, rank=1, contrasts=()))
    assert "Design: 6 rows x 1 column\n" in page
    assert "per cell" not in page
    assert "N per cell\n" in show(preview(made))


def test_p_of_each_element_by_shuffling_is_said(made: Any) -> None:
    spec = AnalysisSpec(inference=InferenceSpec(has_permutation_p=True))
    assert "Shuffling    10000 times, seed 0, uncorrected p too" in show(preview(made, spec=spec))
    assert describe(made, spec=spec)["Inference"]["PermutationP"] is True


def test_a_few_people_are_listed(made: Any) -> None:
    assert "subject: subject[T.02], subject[T.03], subject[T.04]" in show(with_people(made, n=3))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_name_in_the_design_table_is_broken(made: Any, width: int) -> None:
    matrix = made.data.design.matrix
    wide = matrix.assign(**{f"a_rather_long_name_{i}": 0.0 for i in range(9)})
    page = show(preview(made, matrix=wide, contrasts=()), width=width)
    table = page.split("Design: ")[1].split("Checks")[0]
    for name in (*wide.columns, *wide.index):
        assert name in table
    assert max(map(len, table.split("  … ")[0].splitlines())) <= max(width, 60)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (41.6, "42 s"),
        (89, "89 s"),
        (91, "2 min"),
        (2400, "40 min"),
        (5401, "2 h"),
        (90000, "25 h"),
    ],
)
def test_how_long_shuffling_will_take_is_said(made: Any, seconds: float, words: str) -> None:
    spec = AnalysisSpec(inference=InferenceSpec(corrections=("fwe-tfce",)))
    timed = replace(preview(made, spec=spec), durations=Durations(shuffling=seconds))
    assert describe_dry_run(timed)["Inference"]["SecondsOfShuffling"] == round(seconds, 1)
    assert f"about {words} on this machine" in " ".join(show(timed).split())


def test_nothing_is_said_of_time_where_nothing_is_shuffled(made: Any) -> None:
    assert describe(made)["Inference"]["SecondsOfShuffling"] is None
    assert "on this machine" not in show(preview(made))


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ("L", "neighbours by the mesh"),
        ("LV", "neighbours by the mesh, 6 neighbours of voxels"),
        ("R", "no neighbours"),
        ("V", "6 neighbours"),
    ],
)
def test_neighbours_are_those_of_the_maps(made: Any, kinds: str, words: str) -> None:
    grid = Grid(shape=(2, 2, 2), affine=np.eye(4))
    every = {
        "L": Vertices(structure="CORTEX_LEFT", n_vertices=4, indices=np.arange(4)),
        "V": Voxels(grid=grid, indices=np.arange(3), structure="THALAMUS_LEFT"),
        "R": Parcels(names=("a", "b")),
    }
    space = Structures(parts=tuple(every[kind] for kind in kinds), form="dscalar")
    shown = preview(made, spec=AnalysisSpec(inference=InferenceSpec(corrections=("fwe-size",))))
    shown = replace(shown, cohort=replace(made.cohort, spaces={Path("x"): space}))
    lines = [line.rstrip() for line in show(shown, width=200).split("\n")]
    assert f"Clusters     formed at p < 0.001, {words}" in lines
