"""Tables on the page: what a cell shows, the exact value it stands for, and the TSV behind it."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import pandas as pd

from bids_group.elements import HEMISPHERES

MAX_ROWS, MAX_COLUMNS = 1000, 60
"""What a table shows at most: a page of tens of thousands of rows would not open."""
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")


class Cell(NamedTuple):
    """``raw`` is the text in the TSV, ``shown`` what the reader sees."""

    raw: str
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """A table ready to print: ``points`` are the x, y, z of each row, or its hemisphere and vertex.

    ``download`` is its TSV as a data URI; where it is empty, ``file`` of OUTPUT_DIR holds all rows, if any.
    ``viewer``: anchor of the viewer that shows the points; none where empty.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    download: str
    file: str
    is_number: Sequence[bool]
    points: Sequence[str | None]
    minor: Sequence[bool]
    viewer: str = ""
    kind: ClassVar[str] = "table"


def page_table(
    table: pd.DataFrame,
    *,
    name: str,
    caption: str,
    max_rows: int = MAX_ROWS,
    viewer: str = "",
    file: str = "",
    first: pd.Series[bool] | None = None,
) -> PageTable:
    """Prepare a table of text (as `read_table` gives it); columns without any value are not shown.

    Of more than ``max_rows`` rows or `MAX_COLUMNS` columns the first are shown, and the caption says so: the
    download holds all, or the page leads to the ``file`` of OUTPUT_DIR that does. ``first`` marks rows that
    come before the others if not all are shown.
    """
    shown, caption = _cut(table.loc[:, table.notna().any()], caption, max_rows, file, first)
    columns = {}  # whether every value is spelled as a number; labels such as 01 are not
    listed = [values.tolist() for _, values in shown.items()]
    for column, values in zip(shown, listed, strict=True):
        present = [str(value) for value in values if not _is_missing(value)]
        columns[str(column)] = bool(present) and all(map(_NUMBER.fullmatch, present))
    points: list[str | None] = [None] * len(shown)
    if {"structure", "vertex"} <= set(shown.columns):
        places = zip(shown["structure"].map(HEMISPHERES), shown["vertex"], strict=True)
        points = [
            f"{hemi} {vertex}" if pd.notna(hemi) and pd.notna(vertex) else None for hemi, vertex in places
        ]
    elif {"x", "y", "z"} <= set(shown.columns):
        places = zip(*(shown[axis].fillna("") for axis in ("x", "y", "z")), strict=True)
        points = [",".join(place) if all(place) else None for place in places]
    has_peaks, is_all = {"peak", "cluster"} <= set(shown.columns), len(shown) == len(table)
    return PageTable(
        name=name,
        caption=caption,
        columns=list(columns),
        rows=[
            [_cell(value, *column) for value, column in zip(row, columns.items(), strict=True)]
            for row in (zip(*listed, strict=True) if listed else [()] * len(shown))
        ],
        download=_spell_uri(table) if is_all or not file else "",
        file=file,
        is_number=list(columns.values()),
        points=points,
        minor=list(shown["cluster"].duplicated()) if has_peaks else [False] * len(shown),
        viewer=viewer if any(points) else "",
    )


def _cut(
    table: pd.DataFrame, caption: str, max_rows: int, file: str, first: pd.Series[bool] | None
) -> tuple[pd.DataFrame, str]:
    """Keep what the page has room for, and say in the caption what is left out and where it is."""
    (n_rows, n_columns), where = table.shape, file or "the download"
    if n_rows > max_rows:
        order = "" if first is None else " (what stands out before the rest)"
        caption += f" The first {max_rows} of {n_rows} rows{order}; {where} holds all."
        if first is not None:
            table = table.loc[[*table.index[first], *table.index[~first]]]
    if n_columns > MAX_COLUMNS:
        caption += f" The first {MAX_COLUMNS} of {n_columns} columns; {where} holds all."
    return table.iloc[:max_rows, :MAX_COLUMNS], caption


def _spell_uri(table: pd.DataFrame) -> str:
    tsv = table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n").encode(
        "utf-8", "backslashreplace"
    )
    return f"data:text/tab-separated-values;base64,{base64.b64encode(tsv).decode('ascii')}"


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


def _is_missing(value: object) -> bool:
    return value is None or value != value


def _cell(value: object, column: str, is_number: bool) -> Cell:
    if _is_missing(value):
        return Cell("n/a", "–")
    text = str(value)
    return Cell(text, show_number(text, is_mm=column in ("x", "y", "z")) if is_number else text)
