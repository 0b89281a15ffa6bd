"""Charts of numbers: distributions, designs, quality. Every figure has a transparent ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from bids_group.output.report.palette import ABOVE, BELOW, CATEGORIES, FAINT, INK
from bids_group.output.report.tables import show_number

MAX_NUMBERED = 14
"""Columns up to which numbers are written into pictures of matrices."""

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
    _label(panels[0], "z", "density over elements")
    if p is not None:
        _fill(panels[1], p, np.linspace(0, 1, 41), "observed", color=BELOW, alpha=0.75, density=True)
        panels[1].axhline(1.0, color=ABOVE, label="null: uniform")
        panels[1].set_ylim(top=1.3 * panels[1].get_ylim()[1])
        _label(panels[1], "p (uncorrected)", "density over elements")
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
    _label(axes, name, "number of shuffles")
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
    n_weights = sum(len(weights) for weights in contrasts.values())
    columns = [_short(str(name), 26) for name in matrix.columns]
    width = 2.6 + min(0.62 * len(columns), 10.0)
    figure = Figure(figsize=(max(width, 4.5), 5.0 + 0.28 * n_weights), facecolor="none", layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(4.0, max(0.3 * n_weights, 0.35)))
    scaled = matrix.to_numpy(dtype=float)
    top.imshow(
        scaled / np.maximum(np.abs(scaled).max(axis=0), 1e-300),
        cmap="PuOr_r",
        vmin=-1,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
    )
    top.xaxis.tick_top()
    top.set_xticks(
        range(len(columns)), columns, rotation=40, ha="left", parse_math=False, fontsize=_font_size(columns)
    )
    _label_rows(top, [str(label) for label in matrix.index])
    _draw_weights(bottom, contrasts)
    return figure


def _font_size(names: Sequence[str]) -> float:
    """Return a size at which that many names fit beside each other."""
    return min(9.0, max(2.5, 9.0 * 24 / len(names)))


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    if len(labels) <= 40:
        axes.set_yticks(
            range(len(labels)), [_short(label, 22) for label in labels], fontsize=6, parse_math=False
        )
    else:
        axes.set_ylabel(f"{len(labels)} rows", color=INK)


def _draw_weights(axes: Axes, contrasts: Mapping[str, Floats]) -> None:
    rows = np.vstack([np.atleast_2d(weights) for weights in contrasts.values()])
    names = [_short(name, 24) for name, weights in contrasts.items() for _ in np.atleast_2d(weights)]
    limit = max(float(np.abs(rows).max()), 1e-12)
    axes.imshow(rows, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_yticks(range(len(names)), names, fontsize=7, parse_math=False)
    axes.set_xticks([])
    for (row, column), weight in np.ndenumerate(rows):
        ink = "white" if abs(weight) > 0.6 * limit else INK
        if len(rows[0]) <= MAX_NUMBERED:
            axes.text(column, row, f"{weight:.3g}", ha="center", va="center", fontsize=7, color=ink)


def draw_correlations(matrix: pd.DataFrame) -> Figure | None:
    """Correlations between the regressors that vary; None where fewer than two do."""
    varying = matrix.loc[:, matrix.std() > 0]
    if varying.shape[1] < 2:
        return None
    values = varying.corr().to_numpy()
    names = [_short(str(name), 26) for name in varying.columns]
    side = 2.2 + min(0.5 * len(names), 8.0)
    figure, (axes,) = draw_panels(1, (side, side * 0.85), is_fitted=True)
    axes.imshow(values, cmap="PuOr_r", vmin=-1, vmax=1)
    axes.set_xticks(
        range(len(names)), names, rotation=40, ha="right", parse_math=False, fontsize=_font_size(names)
    )
    axes.set_yticks(range(len(names)), names, parse_math=False, fontsize=_font_size(names))
    for (row, column), value in np.ndenumerate(values if len(names) <= MAX_NUMBERED else values[:0]):
        ink = "white" if abs(value) > 0.6 else INK
        shown = f"{value:.2f}".replace("-0.00", "0.00")
        axes.text(column, row, shown, ha="center", va="center", fontsize=7, color=ink)
    return figure


def draw_covariates(variables: pd.DataFrame, numeric: Sequence[str], factor: str | None) -> Figure:
    """Draw each numeric covariate, one strip per level of ``factor`` (all together where None)."""
    size = (min(3.0 * len(numeric) + 0.5, 12.0), 2.4)
    figure, panels = draw_panels(len(numeric), size, is_fitted=True)
    for axes, name in zip(panels, numeric, strict=True):
        groups = _groups(variables, name, factor)
        for index, values in enumerate(groups.values()):
            colour = CATEGORIES[index % len(CATEGORIES)]
            axes.scatter(values, index + spread(len(values)), s=14, color=colour, alpha=0.75, linewidths=0)
            axes.plot([values.mean()] * 2, [index - 0.35, index + 0.35], color=INK, linewidth=1.4)
        axes.set_yticks(range(len(groups)), [_short(level, 18) for level in groups], parse_math=False)
        axes.set_ylim(-0.6, len(groups) - 0.4)
        axes.invert_yaxis()
        axes.set_xlabel(_short(name, 30), parse_math=False)
    return figure


def _groups(variables: pd.DataFrame, name: str, factor: str | None) -> dict[str, pd.Series[float]]:
    values = variables[name].astype(float)
    if factor is None:
        return {"all": values}
    groups = variables.groupby(factor, observed=True, sort=True).groups
    return {str(level): values[list(members)] for level, members in groups.items()}


def draw_quality(quality: pd.DataFrame, metrics: Mapping[str, str]) -> Figure:
    """Draw each metric of the quality table, rows in order of value; outliers are marked and named.

    ``metrics``: column to name on the axis.
    """
    figure, panels = draw_panels(len(metrics), (min(3.1 * len(metrics), 12.5), 2.6))
    outlier = quality["is_outlier"].to_numpy(dtype=bool)
    for axes, (column, name) in zip(panels, metrics.items(), strict=True):
        values = quality[column].to_numpy(dtype=float)
        order = np.argsort(values, kind="stable")
        axes.scatter(np.arange(len(order)), values[order], s=12, color=BELOW, linewidths=0)
        for rank in np.flatnonzero(outlier[order]):
            row = order[rank]
            axes.scatter([rank], [values[row]], s=34, marker="^", color=ABOVE, zorder=3)
            axes.annotate(
                _short(str(quality["label"].iloc[row]), 18),
                (rank, values[row]),
                fontsize=7,
                xytext=(0, 5),
                textcoords="offset points",
                ha="right" if rank > len(order) / 2 else "left",
                color=INK,
                parse_math=False,
            )
        axes.margins(y=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("rows in order of value")
        axes.set_title(name, fontsize=9, color=INK)
    return figure


def draw_panels(
    n_columns: int, size_inches: tuple[float, float], n_rows: int = 1, *, is_fitted: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a transparent figure with quiet axes, row by row.

    ``is_fitted``: room for names of any length is measured, which takes as long as drawing; else it is that
    for numbers.
    """
    width, height = size_inches
    figure = Figure(figsize=size_inches, facecolor="none", layout="constrained" if is_fitted else None)
    if not is_fitted:
        across, up = 0.72 + 0.1, 0.46 + 0.28
        inner = (width / n_columns - across, height / n_rows - up)
        figure.subplots_adjust(
            0.72 / width, 0.46 / height, 1 - 0.1 / width, 1 - 0.28 / height, across / inner[0], up / inner[1]
        )
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).ravel())
    for axes in panels:
        axes.set_facecolor("none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, panels


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(_short(x, 48), parse_math=False)
    axes.set_ylabel(_short(y, 48), parse_math=False)


def _short(text: str, n_characters: int) -> str:
    return text if len(text) <= n_characters else f"{text[: n_characters - 1]}…"


def spread(n_values: int, width: float = 0.22) -> Floats:
    """Return fixed offsets in (−width, width): points do not hide each other, and pictures repeat."""
    return width * (2 * ((np.arange(n_values) * 0.618033988749895) % 1.0) - 1)
