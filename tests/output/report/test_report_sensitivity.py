"""What the page says of a contrast without single people is what the table of that says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bids_group.output.report import build_report

COLUMNS = ["left_out", "reason", "correction", "p", "n_elements", "holds", "share_of_normal_data", "note"]
MARKED, CARRIES = "marked in the table of quality", "carries this contrast most"
KEPT = [("sub-01", MARKED, "fwe-voxel", 0.001, 2029, "yes", 0.25, None)]
LOST = [*KEPT, ("sub-02", CARRIES, "fwe-voxel", 0.125, 0, "no", 0.4, None)]
SEVERAL = [*KEPT, ("sub-02", CARRIES, "fwe-voxel", 0.002, 1987, "yes", 0.4, None)]
FAILED = [("sub-01", MARKED, "fwe-voxel", None, None, None, 0.25, "too few people")]
LOST_WORDS = (
    "Not significant without sub-02 (p = 0.12; 40 % of normal data with this p lose it without who carries "
    "it most)."
)


@pytest.mark.usefixtures("placeholders")
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (KEPT, "Holds without sub-01."),
        (SEVERAL, "Holds without sub-01 or sub-02, one at a time."),
        (LOST, LOST_WORDS),
        (FAILED, ""),
    ],
)
def test_the_card_and_the_table_say_what_was_found_without_people(
    write_outputs: Callable[..., Path], tmp_path: Path, rows: list[tuple[object, ...]], words: str
) -> None:
    root = write_outputs(tmp_path / "out", n_people=8, corrections=("fweVoxel",), space="T1w", step_mm=16.0)
    table = pd.DataFrame(rows, columns=COLUMNS).assign(p_all=0.001, effect_all=1.5, effect=1.25)
    table["n_elements_all"] = 2591
    stem = str(next((root / "group").glob("*_design.tsv"))).removesuffix("_design.tsv")
    table.to_csv(f"{stem}_desc-sensitivity_table.tsv", sep="\t", index=False, na_rep="n/a")
    page = build_report(root).read_text()
    said = re.findall(r"(?:Holds|Not significant) without [^<]*", page)
    assert said == ([words] if words else [])
    body = page.split('_sensitivity.tsv"')[1].split("</table>")[0].split("<tbody>")[1]
    cells = [re.findall(r">([^<]*)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)]
    assert [row[0] for row in cells] == [row[0] for row in rows]
    for shown, row in zip(cells, rows, strict=True):
        assert shown[3] == (f"n/a: {row[7]}" if row[7] else row[5])
        assert "2\u202f591" in shown
        if row[4]:
            assert f"{row[4]:,}".replace(",", "\u202f") in shown
