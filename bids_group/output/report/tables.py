"""Tables on the page: what a cell shows, the exact value it stands for, and the TSV behind it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

HEADINGS: Mapping[str, str] = {
    "cluster": "cluster",
    "peak": "peak",
    "sign": "sign",
    "x": "x (mm)",
    "y": "y (mm)",
    "z": "z (mm)",
    "t": "t",
    "F": "F",
    "z_score": "z score",
    "p_uncorrected": "p uncorrected",
    "p_corrected": "p corrected",
    "size_mm3": "size (mm³)",
    "n_elements": "voxels",
    "mass": "mass",
    "p_size": "p of size",
    "p_mass": "p of mass",
    "p_tfce": "p of TFCE",
    "p_peak": "p of peak",
    "true_discovery_proportion": "true discoveries, at least",
    "effect": "effect",
    "effect_lower": "lower limit",
    "effect_upper": "upper limit",
    "g": "Hedges' g",
    "g_lower": "g, lower limit",
    "g_upper": "g, upper limit",
    "partial_r2": "partial R²",
    "region": "region at the peak",
    "cluster_regions": "regions of the cluster",
    "participant_id": "participant",
    "label": "row",
    "n_elements_observed": "voxels observed",
    "n_elements_lost_only_by_this_row": "voxels lost by this row alone",
    "mean_effect": "mean effect",
    "sd_effect": "SD over voxels",
    "correlation_loo": "correlation with the others' mean",
    "mahalanobis": "Mahalanobis distance",
    "cooks_at_peak": "Cook's distance at the peak",
    "leverage": "leverage",
    "is_outlier": "marked",
    "outlier_reasons": "why marked",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """``raw`` is the text in the TSV, ``shown`` what the reader sees."""

    raw: str
    shown: str
    is_number: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """A table ready to print: ``download`` is its TSV as a data URI, ``points`` the x, y, z of each row.

    ``viewer``: anchor of the viewer that shows the points; none where empty.
    """

    name: str
    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    download: str
    is_number: tuple[bool, ...]
    points: tuple[str | None, ...]
    minor: tuple[bool, ...]
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
    columns = {str(name): _is_numeric(shown[name]) for name in shown.columns}
    tsv = table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n").encode()
    points: list[str | None] = [None] * len(table)
    if {"x", "y", "z"} <= set(table.columns):
        places = zip(*(table[axis].fillna("") for axis in ("x", "y", "z")), strict=True)
        points = [",".join(place) if all(place) else None for place in places]
    has_peaks = {"peak", "cluster"} <= set(table.columns)
    return PageTable(
        name=name,
        caption=caption,
        headings=tuple(HEADINGS.get(column, column) for column in columns),
        rows=tuple(
            tuple(_cell(value, *column) for value, column in zip(row, columns.items(), strict=True))
            for row in shown.itertuples(index=False, name=None)
        ),
        download=f"data:text/tab-separated-values;base64,{base64.b64encode(tsv).decode('ascii')}",
        is_number=tuple(columns.values()),
        points=tuple(points),
        minor=tuple(table["cluster"].duplicated()) if has_peaks else (False,) * len(table),
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
        return Cell(raw="n/a", shown="–", is_number=is_number)
    text = str(value)
    shown = show_number(text, is_mm=column in ("x", "y", "z")) if is_number else text
    return Cell(raw=text, shown=shown, is_number=is_number)


def _is_numeric(column: pd.Series[str]) -> bool:
    """Whether every value is spelled as a number; labels such as ``01`` are not."""
    present = column.dropna().astype(str)
    return bool(len(present)) and bool(present.str.fullmatch(_NUMBER).all())


_NUMBER = r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?"
