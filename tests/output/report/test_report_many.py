"""A page of many people stays one that opens: it shows what stands out, and says where the rest is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bids_group.output.report import brains, build_report
from bids_group.output.report.charts import draw_design
from bids_group.output.report.participants import MAX_REASONS, count_flow, lay_out
from bids_group.output.report.quality import MAX_PEOPLE
from bids_group.output.report.tables import MAX_COLUMNS, MAX_ROWS, page_table

N_PEOPLE = MAX_PEOPLE + 14


@pytest.fixture(scope="module")
def many(write_outputs: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of many people, whose ledger is longer than a page shows."""
    root = write_outputs(
        tmp_path_factory.mktemp("many") / "out",
        n_people=N_PEOPLE,
        corrections=("fdr",),
        space="T1w",
        step_mm=24.0,
    )
    ledger = pd.read_csv(root / "ledger.tsv", sep="\t", dtype=str, keep_default_na=False)
    copies = [ledger.assign(participant_id=ledger["participant_id"] + "x" * k) for k in range(8)]
    pd.concat(copies).to_csv(root / "ledger.tsv", sep="\t", index=False)
    return root


@pytest.fixture
def drawn(many: Path, monkeypatch: pytest.MonkeyPatch, placeholders: None) -> tuple[str, list[Any]]:
    """Give the page, and what the picture of people was made of."""
    seen: list[Any] = []
    original = brains.draw_people
    monkeypatch.setattr(brains, "draw_people", lambda *given: seen.append(given) or original(*given))
    return build_report(many).read_text(), seen


def test_maps_are_drawn_of_who_stands_out_and_of_who_is_furthest(
    many: Path, drawn: tuple[str, list[Any]]
) -> None:
    page, ((tiles, titles, is_marked, _),) = drawn
    table = pd.read_csv(next((many / "group").glob("*_desc-quality_table.tsv")), sep="\t").set_index("label")
    assert len(tiles) == len(titles) == MAX_PEOPLE
    outliers = set(table.index[table["is_outlier"]])
    assert outliers
    assert {title for title, mark in zip(titles, is_marked, strict=True) if mark} == outliers
    left_out = set(table.index) - set(titles)
    least = table.loc[[title for title in titles if title not in outliers], "mahalanobis"].min()
    assert table.loc[list(left_out), "mahalanobis"].max() <= least
    order = [label for label in table.index if label in titles]
    assert titles == sorted(order, key=lambda label: label not in outliers)  # marked people first
    assert f"{MAX_PEOPLE} of {N_PEOPLE} rows, those that stand out" in page


def test_a_long_ledger_is_shown_in_part_and_lies_beside_the_page(
    many: Path, drawn: tuple[str, list[Any]]
) -> None:
    page, _ = drawn
    n_rows = len((many / "ledger.tsv").read_text().splitlines()) - 1
    assert n_rows > MAX_ROWS
    assert (
        f"The first {MAX_ROWS} of {n_rows} rows (what stands out before the rest); ledger.tsv holds all."
        in page
    )
    assert "All rows: <code>ledger.tsv</code>" in page
    assert 'download="ledger.tsv"' not in page
    body = page[page.index('data-name="ledger.tsv"') :]
    reasons = [
        row.count("second run is all zero") + row.count("no first-level map") > 0
        for row in body.split("<tr")[2:18]
    ]
    assert reasons == [True] * 16


def test_a_table_is_cut_in_rows_and_columns_what_stands_out_first() -> None:
    table = pd.DataFrame({f"c{k}": [str(row) for row in range(2000)] for k in range(100)})
    is_first = table.index.to_series() % 900 == 7
    view = page_table(table, name="x.tsv", caption="X.", file="group/x.tsv", first=is_first)
    assert [row[0].raw for row in view.rows[:5]] == ["7", "907", "1807", "0", "1"]
    assert (len(view.rows), len(view.columns), view.download) == (MAX_ROWS, MAX_COLUMNS, "")
    assert view.caption == (
        "X. The first 1000 of 2000 rows (what stands out before the rest); group/x.tsv holds all."
        " The first 60 of 100 columns; group/x.tsv holds all."
    )
    short = page_table(
        table.iloc[:10, :5], name="x.tsv", caption="X.", file="group/x.tsv", first=is_first[:10]
    )
    assert [row[0].raw for row in short.rows] == [str(k) for k in range(10)]
    assert short.download
    assert short.caption == "X."


def test_reasons_that_are_many_share_a_box_and_nobody_is_lost() -> None:
    rows = [(f"sub-{k:03d}", None, None, "no", f"{k % 40} of 50 volumes") for k in range(100)]
    columns = ["participant_id", "contrast", "file", "used", "reason"]
    flow = count_flow(pd.DataFrame(rows, columns=columns), ["sub-in"], ["a"])
    assert len(flow.lost) == MAX_REASONS
    assert sum(len(loss.people) for loss in flow.lost) == 100
    assert flow.lost[-1].reason == f"{40 - MAX_REASONS + 1} other reasons (ledger.tsv)"
    assert len(lay_out(flow)) == MAX_REASONS + 3


def test_a_design_of_thousands_stays_a_small_picture() -> None:
    rng = np.random.default_rng(0)
    matrix = pd.DataFrame(rng.normal(size=(5000, 300)), index=[f"sub-{k}" for k in range(5000)])
    picture = draw_design(matrix.rename(columns=str), {"a": rng.normal(size=(1, 300))})
    text = picture.render().decode()
    assert "5000 rows" in text
    assert "300 columns" in text
    assert text.count("<text") < 10
