"""Charts of numbers: distributions, designs, quality. Every figure has a transparent ground."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from bids_group.output.report.tables import show_number

CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F6A00", "#555555")
"""Colours that people with any colour vision tell apart (Okabe & Ito 2008)."""
INK, FAINT, ABOVE, BELOW = "#1c2430", "#8a94a3", "#D55E00", "#0072B2"
MAX_NUMBERED = 14
"""Columns up to which numbers are written into pictures of matrices."""

_ROOM = 0.72, 0.46, 0.1, 0.28
"""Inches at the left, bottom, right and top of a panel for numbers, names of axes and a title."""

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


def draw_distributions(z: Floats, p: Floats | None) -> Figure:
    """Histograms of z and, where there is one, of p over the analysed elements, each with the null's.

    ``z`` and ``p`` have shape ``(n_elements,)``.
    """
    n_panels, finite = 1 if p is None else 2, z[np.isfinite(z)]
    figure, panels = draw_panels(n_panels, (4.0 * n_panels, 2.5))
    edges = np.linspace(min(-5.0, float(finite.min())), max(5.0, float(finite.max())), 81)
    _fill(panels[0], finite, edges, "observed", color=BELOW, alpha=0.75, density=True)
    panels[0].plot(edges, stats.norm.pdf(edges), color=ABOVE, label="null: N(0, 1)")
    panels[0].set(xlabel="z", ylabel="density over elements")
    if p is not None:
        _fill(panels[1], p, np.linspace(0, 1, 41), "observed", color=BELOW, alpha=0.75, density=True)
        panels[1].axhline(1.0, color=ABOVE, label="null: uniform")
        panels[1].set_ylim(top=1.3 * panels[1].get_ylim()[1])
        panels[1].set(xlabel="p (uncorrected)", ylabel="density over elements")
    for axes in panels:
        axes.legend(frameon=False, fontsize=8, loc="upper right")
    return figure


def draw_null(null: Floats, observed: float, threshold: float | None, name: str) -> Figure:
    """Histogram of the maxima of the shuffled data with the observed maximum and the threshold."""
    figure, (axes,) = draw_panels(1, (5.2, 2.4))
    finite = null[np.isfinite(null)]
    n_bins = min(60, max(10, int(np.sqrt(finite.size))))
    _fill(axes, finite, np.histogram_bin_edges(finite, n_bins), "shuffled data", color=FAINT)
    axes.axvline(observed, color=ABOVE, label=f"observed: {show_number(str(observed))}")
    if threshold is not None:
        words = f"threshold: {show_number(str(threshold))}"
        axes.axvline(threshold, color=BELOW, linestyle="--", label=words)
    axes.set(xlabel=_short(name, 48), ylabel="number of shuffles")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _fill(
    axes: Axes, values: Floats, edges: Floats, label: str, *, density: bool = False, **style: Any
) -> None:
    """Draw a histogram as one shape."""
    heights, edges = np.histogram(values, edges, density=density)
    axes.stairs(heights, edges, fill=True, label=label, linewidth=0, **style)


def draw_design(matrix: pd.DataFrame, contrasts: Mapping[str, Floats]) -> Figure:
    """Draw the design matrix (columns scaled to their largest magnitude) above the weights of each contrast.

    ``contrasts``: name to weights of shape ``(q, n_regressors)``.
    """
    weights = np.vstack([np.atleast_2d(rows) for rows in contrasts.values()])
    width = max(2.6 + min(0.62 * matrix.shape[1], 10.0), 4.5)
    figure = Figure(figsize=(width, 5.0 + 0.28 * len(weights)), facecolor="none", layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(4.0, max(0.3 * len(weights), 0.35)))
    scaled = matrix.to_numpy(dtype=float)
    scaled = scaled / np.maximum(np.abs(scaled).max(axis=0), 1e-300)
    top.imshow(scaled, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    top.xaxis.tick_top()
    _name_columns(top, matrix.columns, "left")
    if len(matrix) <= 40:
        labels = [_short(str(label), 22) for label in matrix.index]
        top.set_yticks(range(len(labels)), labels, fontsize=6)
    else:
        top.set_ylabel(f"{len(matrix)} rows", color=INK)
    _draw_numbers(bottom, weights, max(float(np.abs(weights).max()), 1e-12), ".3g", aspect="auto")
    names = [_short(name, 24) for name, rows in contrasts.items() for _ in np.atleast_2d(rows)]
    bottom.set_yticks(range(len(names)), names, fontsize=7)
    bottom.set_xticks([])
    return figure


def _name_columns(axes: Axes, columns: Iterable[object], side: str) -> float:
    """Write names along an axis, at the size (returned) at which that many fit beside each other."""
    names = [_short(str(name), 26) for name in columns]
    size = min(9.0, max(2.5, 9.0 * 24 / len(names)))
    axes.set_xticks(range(len(names)), names, rotation=40, ha=side, fontsize=size)
    return size


def _draw_numbers(axes: Axes, values: Floats, limit: float, spelling: str, **style: Any) -> None:
    """Draw a matrix, with its numbers where there are few."""
    axes.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, **style)
    for (row, column), value in np.ndenumerate(values if values.shape[1] <= MAX_NUMBERED else values[:0]):
        ink = "white" if abs(value) > 0.6 * limit else INK
        axes.text(column, row, format(value, spelling), ha="center", va="center", fontsize=7, color=ink)


def draw_correlations(matrix: pd.DataFrame) -> Figure | None:
    """Correlations between the regressors that vary; None where fewer than two do."""
    varying = matrix.loc[:, matrix.std() > 0]
    if varying.shape[1] < 2:
        return None
    side = 2.2 + min(0.5 * varying.shape[1], 8.0)
    figure, (axes,) = draw_panels(1, (side, side * 0.85), is_fitted=True)
    _draw_numbers(axes, varying.corr().to_numpy(), 1.0, "z.2f")
    size = _name_columns(axes, varying.columns, "right")
    names = [label.get_text() for label in axes.get_xticklabels()]
    axes.set_yticks(range(len(names)), names, fontsize=size)
    return figure


def draw_covariates(variables: pd.DataFrame, numeric: Sequence[str], factor: str | None) -> Figure:
    """Draw each numeric covariate, one strip per level of ``factor`` (all together where None)."""
    size = (min(3.0 * len(numeric) + 0.5, 12.0), 2.4)
    figure, panels = draw_panels(len(numeric), size, is_fitted=True)
    groups = {"all": variables}
    if factor is not None:
        groups = {str(level): rows for level, rows in variables.groupby(factor, observed=True, sort=True)}
    for axes, name in zip(panels, numeric, strict=True):
        for index, rows in enumerate(groups.values()):
            values, colour = rows[name].astype(float), CATEGORIES[index % len(CATEGORIES)]
            axes.scatter(values, index + spread(len(values)), s=14, color=colour, alpha=0.75, linewidths=0)
            axes.plot([values.mean()] * 2, [index - 0.35, index + 0.35], color=INK, linewidth=1.4)
        axes.set_yticks(range(len(groups)), [_short(level, 18) for level in groups])
        axes.set_ylim(len(groups) - 0.4, -0.6)
        axes.set_xlabel(_short(name, 30))
    return figure


def draw_quality(quality: pd.DataFrame, metrics: Mapping[str, str]) -> Figure:
    """Draw each metric of the quality table, rows in order of value; outliers are marked and named.

    ``metrics``: column to name on the axis.
    """
    figure, panels = draw_panels(len(metrics), (min(3.1 * len(metrics), 12.5), 2.6))
    for axes, (column, name) in zip(panels, metrics.items(), strict=True):
        rows = quality.sort_values(column, kind="stable")
        values = rows[column].to_numpy(dtype=float)
        axes.scatter(np.arange(len(values)), values, s=12, color=BELOW, linewidths=0)
        for rank in np.flatnonzero(rows["is_outlier"].to_numpy(dtype=bool)):
            axes.scatter([rank], [values[rank]], s=34, marker="^", color=ABOVE, zorder=3)
            label, at = _short(str(rows["label"].iloc[rank]), 18), (rank, values[rank])
            words = axes.annotate(label, at, (0, 5), textcoords="offset points", fontsize=7, color=INK)
            words.set(ha="right" if rank > len(rows) / 2 else "left")
        axes.margins(y=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("rows in order of value")
        axes.set_title(name, fontsize=9, color=INK)
    return figure


def draw_panels(
    n_columns: int, size_inches: tuple[float, float], n_rows: int = 1, *, is_fitted: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a transparent figure with quiet axes, row by row.

    ``is_fitted``: room is measured for names of any length, which takes as long as to draw; else it is that
    for numbers.
    """
    figure = Figure(figsize=size_inches, facecolor="none", layout="constrained" if is_fitted else None)
    if not is_fitted:
        (width, height), (left, bottom, right, top) = size_inches, _ROOM
        across, up = left + right, bottom + top
        gaps = across / (width / n_columns - across), up / (height / n_rows - up)
        figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, *gaps)
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).ravel())
    for axes in panels:
        axes.set_facecolor("none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, panels


def _short(text: str, n_characters: int) -> str:
    return text if len(text) <= n_characters else f"{text[: n_characters - 1]}…"


def spread(n_values: int, width: float = 0.22) -> Floats:
    """Return fixed offsets in (−width, width): points do not hide each other, and pictures repeat."""
    return width * (2 * ((np.arange(n_values) * 0.618033988749895) % 1.0) - 1)
