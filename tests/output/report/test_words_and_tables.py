"""What a page is made of: directions in words, tables, and the command that is shown."""

from __future__ import annotations

import base64
import shlex

import pandas as pd
import pytest

from bids_group.config.corrections import find_correction
from bids_group.output.report.corrections import say_direction, sum_up_peaks
from bids_group.output.report.inputs import FoundClusters
from bids_group.output.report.provenance import plain_command
from bids_group.output.report.tables import page_table
from bids_group.records.sidecars import Sidecar


@pytest.mark.parametrize(
    ("words", "positive", "negative"),
    [
        (
            "mean in a minus mean in b, averaged over sex",
            "mean in a above mean in b",
            "mean in a below mean in b",
        ),
        ("mean, at age 30", "above zero", "below zero"),
        ("slope of age against zero", "above zero", "below zero"),
        ("(mean in a minus mean in b) in x minus in y", "above zero", "below zero"),
        ("a minus b minus c", "above zero", "below zero"),
        ("0.5 a plus 0.5 b minus c", "above zero", "below zero"),
    ],
)
def test_a_direction_names_the_side_that_is_larger(words: str, positive: str, negative: str) -> None:
    assert say_direction(words, is_positive=True) == positive
    assert say_direction(words, is_positive=False) == negative


@pytest.mark.parametrize("measure", ["size", "voxel"])
def test_size_and_p_of_a_cluster_stand_in_its_first_row_only(measure: str) -> None:
    table = pd.DataFrame(
        {"cluster": [1, 1, 2], "peak": [1, 2, 1], "x": 1, "y": [2, 3, 4], "z": -5.5, "t": [9, 8, 7]}
        | {"p_uncorrected": 0.001, "p_corrected": [0.01, 0.02, 0.03], "p_size": [0.004, 0.004, 0.04]}
        | {"size_mm3": [640, 640, 64], "effect": -0.5, "effect_lower": -0.75, "effect_upper": -0.25}
    ).astype(str)
    rule = find_correction("fwe-size" if measure == "size" else "fwe-voxel")
    found = FoundClusters(
        rule=rule, p_column="p_size" if measure == "size" else "p_corrected", title="", extent="",
        counted="", table=table, significant=table, n_significant=2, sidecar=Sidecar(alpha=0.01),
    )  # fmt: skip
    peaks = sum_up_peaks(page_table(table, name="x.tsv", caption=""), found)
    rows = [dict(zip(peaks.columns, row, strict=True)) for row in peaks.rows]
    assert [row["size_mm3"].shown for row in rows] == ["640", "", "64"]
    own = "p_size" if measure == "size" else "p_corrected"
    expected = ["0.004", "", "0.04"] if measure == "size" else ["0.01", "0.02", "0.03"]
    assert [row[own].shown for row in rows] == expected
    assert [row["place"].shown for row in rows] == ["1, 2, −5.5", "1, 3, −5.5", "1, 4, −5.5"]
    assert rows[0]["effect"] == ("-0.5", "−0.5 [−0.75, −0.25]")
    assert "99 % confidence limits" in peaks.caption
    assert set(peaks.columns) == {"cluster", "place", "t", own, "effect", "size_mm3"}


def test_labels_that_look_like_numbers_keep_their_zeros() -> None:
    table = pd.DataFrame({"run": ["01", "02"], "t": ["-0.00001", "2.34567"], "x": ["-6.875", "24.0625"]})
    view = page_table(table, name="x.tsv", caption="x")
    assert [[cell.shown for cell in row] for row in view.rows] == [
        ["01", "−1.00e−05", "−6.9"],
        ["02", "2.346", "24.1"],
    ]
    assert view.is_number == [False, True, True]


def test_a_long_table_is_cut_on_the_page_but_not_in_the_download() -> None:
    table = pd.DataFrame({"cluster": [str(k) for k in range(300)]})
    view = page_table(table, name="x.tsv", caption="Clusters.", max_rows=250)
    assert len(view.rows) == 250
    assert view.caption == "Clusters. The first 250 of 300 rows; the download holds all."
    assert (
        base64.b64decode(view.download.split(",")[1]).decode().splitlines()[1:] == table["cluster"].tolist()
    )


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("B O group --formula '~ 1'", "BIDS_DIR OUTPUT_DIR group --formula '~ 1'"),
        ("--formula '~ 1' --nprocs 3 /b /o group", "--formula '~ 1' BIDS_DIR OUTPUT_DIR group"),
        ("--mem_gb=4 -w /scratch B O group -v --random-seed 3", "BIDS_DIR OUTPUT_DIR group --random-seed 3"),
        (
            "-qq B O group --verbose --print-design d.tsv --alpha 0.1 -vvv",
            "BIDS_DIR OUTPUT_DIR group --alpha 0.1",
        ),
        (
            "B O group --mask=/x/gm.nii.gz --maps '/y/spm/sub-{subject}/con_{contrast}.nii'",
            "BIDS_DIR OUTPUT_DIR group --mask=gm.nii.gz --maps 'spm/sub-{subject}/con_{contrast}.nii'",
        ),
        (
            "B O group -d spm=/x/first --phenotype /x/a.tsv b.tsv",
            "BIDS_DIR OUTPUT_DIR group -d spm=first --phenotype a.tsv b.tsv",
        ),
        (
            "B O group --contrast 'a = 1/2*x' --config ../o.toml",
            "BIDS_DIR OUTPUT_DIR group --contrast 'a = 1/2*x' --config o.toml",
        ),
        ("B --formula '~ 1' O group", None),
        ("B O --formula group", None),
    ],
)
def test_a_command_is_shown_as_what_was_asked(words: str, shown: str | None) -> None:
    expected = "" if shown is None else f"bids-group {shown}"
    assert plain_command(["bids-group", *shlex.split(words)]) == expected
