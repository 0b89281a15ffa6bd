"""Charts of numbers: distributions, designs, quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.output.report.axes import Chart, Panel, round_ticks
from bids_group.output.report.marks import FAINT, INK, Cells, Dots, Line, Mark, Note, Steps
from bids_group.output.report.sheet import ramp, tint
from bids_group.output.report.tables import show_number

CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F6A00", "#555555")
"""Colours that people with any colour vision tell apart (Okabe & Ito 2008)."""
ABOVE, BELOW = "#D55E00", "#0072B2"
EDGE = float("inf")
MAX_NUMBERED = 14
"""Columns up to which numbers are written into pictures of matrices."""
MAX_NAMED = 60
"""Rows or columns of a matrix up to which each is named."""
MAX_MARKED = 12
"""Rows that are named in a picture, those furthest from the median first."""
_WEIGHTS = (
    *("#2d004b", "#542788", "#8073ac", "#b2abd2", "#d8daeb", "#f7f7f7"),
    *("#fee0b6", "#fdb863", "#e08214", "#b35806", "#7f3b08"),
)
"""Purple below zero, orange above (ColorBrewer's PuOr)."""

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


def draw_distributions(z: Floats, p: Floats | None) -> Chart:
    """Histograms of z and, where there is one, of p over the analysed elements, each with the null's.

    ``z`` and ``p`` have shape ``(n_elements,)``.
    """
    finite, words = z[np.isfinite(z)], "density over elements"
    edges = np.linspace(min(-5.0, float(finite.min())), max(5.0, float(finite.max())), 81)
    normal = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
    marks = _histogram(finite, edges, BELOW), Line(x=edges, y=normal, colour=ABOVE, label="null: N(0, 1)")
    panels = [Panel(marks=marks, size=(300, 160), x_name="z", y_name=words, y_limits=(0, None))]
    if p is not None:
        uniform = Line(x=(-EDGE, EDGE), y=(1, 1), colour=ABOVE, label="null: uniform")
        marks = _histogram(p, np.linspace(0, 1, 41), BELOW), uniform
        name = "p (uncorrected)"
        panels.append(Panel(marks=marks, size=(300, 160), x_name=name, y_name=words, y_limits=(0, None)))
    return Chart(panels=panels, n_columns=2)


def draw_null(null: Floats, observed: float, threshold: float | None, name: str) -> Chart:
    """Histogram of the maxima of the shuffled data with the observed maximum and the threshold."""
    finite = null[np.isfinite(null)]
    edges = np.histogram_bin_edges(finite, min(60, max(10, int(np.sqrt(finite.size)))))
    heights, _ = np.histogram(finite, edges)
    marks: list[Mark] = [Steps(edges=edges, heights=heights, colour=FAINT, label="shuffled data")]
    told = {"observed": (observed, ABOVE, ""), "threshold": (threshold, BELOW, "5 3")}
    for word, (at, colour, dash) in told.items():
        if at is not None:
            label = f"{word}: {show_number(str(at))}"
            marks.append(Line(x=(at, at), y=(-EDGE, EDGE), colour=colour, dash=dash, label=label))
    name, words = short(name, 48), "number of shuffles"
    return Chart(panels=[Panel(marks=marks, size=(420, 150), x_name=name, y_name=words, y_limits=(0, None))])


def _histogram(values: Floats, edges: Floats, colour: str) -> Steps:
    heights, _ = np.histogram(values, edges, density=True)
    return Steps(edges=edges, heights=heights, colour=colour, label="observed")


def draw_design(matrix: pd.DataFrame, contrasts: Mapping[str, Floats]) -> Chart:
    """Draw the design matrix (columns scaled to their largest magnitude) above the weights of each contrast.

    ``contrasts``: name to weights of shape ``(q, n_regressors)``.
    """
    weights = np.vstack([np.atleast_2d(rows) for rows in contrasts.values()])
    scaled = matrix.to_numpy(dtype=float)
    scaled = scaled / np.maximum(np.abs(scaled).max(axis=0), 1e-300)
    names = [name for name, rows in contrasts.items() for _ in np.atleast_2d(rows)]
    (n_rows, n_columns), limit = matrix.shape, max(float(np.abs(weights).max()), 1e-12)
    width = min(max(62 * n_columns, 180), 960)
    above = _matrix(
        scaled,
        1.0,
        size=(width, min(max(14 * n_rows, 40), 380)),
        x_ticks=_name(matrix.columns, 26),
        y_ticks=_name(matrix.index, 22),
        x_name=f"{n_columns} columns" if n_columns > MAX_NAMED else "",
        y_name=f"{n_rows} rows" if n_rows > MAX_NAMED else "",
        slanted="above",
        tick_sizes=(_size(n_columns), min(10, 380 / n_rows)),
    )
    ticks, size = _name(names, 24), (width, 22 * len(weights))
    below = _matrix(weights, limit, ".3g", size=size, x_ticks={}, y_ticks=ticks, tick_sizes=(10, 10))
    return Chart(panels=[above, below])


def _name(names: Sequence[object] | pd.Index, n_characters: int) -> dict[float, str]:
    """Name each row or column of a matrix; none where they are too many to be read."""
    return {k: short(str(name), n_characters) for k, name in enumerate(names) if len(names) <= MAX_NAMED}


def _size(n_columns: int) -> float:
    """Find the size at which that many names fit beside each other."""
    return min(12.0, max(6.0, 12.0 * 24 / n_columns))


def _matrix(values: Floats, limit: float, spelling: str = "", **panel: Any) -> Panel:
    """Draw a matrix, the first row above, with its numbers where a spelling is given and they are few."""
    colours = np.round(255 * tint(values, -limit, limit, ramp(*_WEIGHTS))).astype(np.uint8)
    x, y = (-0.5, values.shape[1] - 0.5), (len(values) - 0.5, -0.5)
    marks: list[Mark] = [Cells(colours=colours, x=x, y=y)]
    for (row, column), value in np.ndenumerate(values):
        if spelling and values.shape[1] <= MAX_NUMBERED:
            text, ink = (
                format(value, spelling).replace("-", "−"),
                "#ffffff" if abs(value) > 0.6 * limit else INK,
            )
            marks.append(Note(x=column, y=row, text=text, colour=ink))
    return Panel(marks=marks, x_limits=x, y_limits=y, is_boxed=True, **panel)


def draw_correlations(matrix: pd.DataFrame) -> Chart | None:
    """Correlations between the regressors that vary; None where fewer than two do."""
    varying = matrix.loc[:, matrix.std() > 0]
    n_columns = varying.shape[1]
    if n_columns < 2:
        return None
    names, values, side = _name(varying.columns, 26), varying.corr().to_numpy(), min(48 * n_columns, 720)
    sizes = {"size": (side, side), "tick_sizes": (_size(n_columns), _size(n_columns))}
    return Chart(
        panels=[_matrix(values, 1.0, "z.2f", x_ticks=names, y_ticks=names, slanted="below", **sizes)]
    )


def draw_covariates(variables: pd.DataFrame, numeric: Sequence[str], factor: str | None) -> Chart:
    """Draw each numeric covariate, one strip per level of ``factor`` (all together where None)."""
    groups = {"all": variables}
    if factor is not None:
        groups = {str(level): rows for level, rows in variables.groupby(factor, observed=True, sort=True)}
    panels = []
    for name in numeric:
        marks: list[Mark] = []
        for index, rows in enumerate(groups.values()):
            values, colour = rows[name].to_numpy(dtype=float), CATEGORIES[index % len(CATEGORIES)]
            marks.append(Dots(x=values, y=index + spread(len(values)), colour=colour))
            at = [np.nanmean(values)] * 2
            marks.append(Line(x=at, y=(index - 0.35, index + 0.35), colour=INK, width=1.8))
        panels.append(
            Panel(
                marks=marks,
                size=(200, max(55 * len(groups), 110)),
                x_name=short(name, 30),
                y_ticks={k: short(level, 18) for k, level in enumerate(groups)},
                y_limits=(len(groups) - 0.4, -0.6),
            )
        )
    return Chart(panels=panels, n_columns=4)


def draw_quality(quality: pd.DataFrame, metrics: Mapping[str, str]) -> Chart:
    """Draw each metric of the quality table, rows in order of value; outliers are marked and named.

    ``metrics``: column to name on the axis.
    """
    panels = []
    for column, name in metrics.items():
        rows = quality.sort_values(column, kind="stable")
        values, n_rows = rows[column].to_numpy(dtype=float), len(rows)
        ranks, is_out = np.arange(n_rows), rows["is_outlier"].to_numpy(dtype=bool)
        marks: list[Mark] = [Dots(x=ranks, y=values, colour=BELOW, size=4.6, opacity=1)]
        marks.append(Dots(x=ranks[is_out], y=values[is_out], colour=ABOVE, shape="^", size=8, opacity=1))
        distances = np.where(is_out, np.abs(values - np.nanmedian(values)), np.nan)
        for rank in np.argsort(-distances, kind="stable")[: min(np.isfinite(distances).sum(), MAX_MARKED)]:
            label, side = short(str(rows["label"].iloc[rank]), 18), "end" if rank > n_rows / 2 else "start"
            marks.append(Note(x=rank, y=values[rank], text=label, anchor=side, up=8))
        whole = {at: text for at, text in round_ticks(0, max(n_rows - 1, 1), 5).items() if at.is_integer()}
        words = "rows in order of value"
        panels.append(Panel(marks=marks, size=(220, 160), title=name, x_name=words, x_ticks=whole))
    return Chart(panels=panels, n_columns=4)


def short(text: str, n_characters: int) -> str:
    """Cut a text that is longer."""
    return text if len(text) <= n_characters else f"{text[: n_characters - 1]}…"


def spread(n_values: int, width: float = 0.22) -> Floats:
    """Return fixed offsets in (−width, width): points do not hide each other, and pictures repeat."""
    return width * (2 * ((np.arange(n_values) * 0.618033988749895) % 1.0) - 1)
