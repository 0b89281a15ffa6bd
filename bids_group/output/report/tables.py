"""Tables on the page: what a cell shows, the exact value it stands for, and the TSV behind it."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import pandas as pd

_NUMBER = r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?"


class Cell(NamedTuple):
    """``raw`` is the text in the TSV, ``shown`` what the reader sees."""

    raw: str
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """A table ready to print: ``download`` is its TSV as a data URI, ``points`` the x, y, z of each row.

    ``viewer``: anchor of the viewer that shows the points; none where empty.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    download: str
    is_number: Sequence[bool]
    points: Sequence[str | None]
    minor: Sequence[bool]
    viewer: str = ""
    kind: ClassVar[str] = "table"


def page_table(
    table: pd.DataFrame, *, name: str, caption: str, max_rows: int = 5000, viewer: str = ""
) -> PageTable:
    """Prepare a table of text (as `read_table` gives it); columns without any value are not shown.

    Of more than ``max_rows`` rows the first are shown, and the caption says so; the download holds all.
    """
    shown = table.dropna(axis=1, how="all").head(max_rows)
    if len(table) > max_rows:
        caption = f"{caption} The first {max_rows} of {len(table)} rows; the download holds all."
    columns = {}  # whether every value is spelled as a number; labels such as 01 are not
    for column, values in shown.items():
        present = values.dropna().astype(str)
        columns[str(column)] = len(present) > 0 and bool(present.str.fullmatch(_NUMBER).all())
    tsv = table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n").encode()
    points: list[str | None] = [None] * len(table)
    if {"x", "y", "z"} <= set(table.columns):
        places = zip(*(table[axis].fillna("") for axis in ("x", "y", "z")), strict=True)
        points = [",".join(place) if all(place) else None for place in places]
    has_peaks = {"peak", "cluster"} <= set(table.columns)
    return PageTable(
        name=name,
        caption=caption,
        columns=list(columns),
        rows=[
            [_cell(value, *column) for value, column in zip(row, columns.items(), strict=True)]
            for row in shown.itertuples(index=False, name=None)
        ],
        download=f"data:text/tab-separated-values;base64,{base64.b64encode(tsv).decode('ascii')}",
        is_number=list(columns.values()),
        points=points,
        minor=list(table["cluster"].duplicated()) if has_peaks else [False] * len(table),
        viewer=viewer if any(points) else "",
    )


def show_number(text: str, *, is_mm: bool = False) -> str:
    """Shorten a number for reading: four significant digits, whole numbers whole, places to 0.1 mm."""
    value = float(text)
    if not math.isfinite(value) or abs(value) >= 1e15:
        return text
    if is_mm:
        shown = f"{value:.1f}".removesuffix(".0")
    elif value.is_integer() or abs(value) >= 1e4:
        shown = f"{value:,.0f}".replace(",", "\u202f")
    else:
        shown = f"{value:.2e}" if abs(value) < 1e-4 else f"{value:.4g}"
    return shown.replace("-", "−")


def _cell(value: object, column: str, is_number: bool) -> Cell:
    if value is None or value != value:
        return Cell("n/a", "–")
    text = str(value)
    return Cell(text, show_number(text, is_mm=column in ("x", "y", "z")) if is_number else text)
