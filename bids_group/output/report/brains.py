"""Pictures of maps: mosaics, views at a peak, projections, one tile per person."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from bids_group.output.report.canvas import AXES, Box
from bids_group.output.report.palette import effect_colours, positive_colours, signed_colours

BACKDROP = "#07090d"
MAX_COLUMNS = 24
LINE = "#ffffff"
_WORDS = 0.16
"""Share of the width that words beside rows of slices take."""
UNTESTED = 0.3
"""Opacity, at most, of the sign that a one-sided test does not ask about."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """What is drawn, from below: anatomy (or the mask), statistic, outline of what is significant.

    Opacity of the statistic rises with its square and is full from ``opaque_at`` on (Taylor et al. 2023:
    highlight, do not hide). ``limit`` is the end of the colour scale. Where the test is one-sided, negative
    values are no evidence and stay faint. ``is_thresholded``: only what is significant is drawn.
    """

    mask: Box
    statistic: Box
    significant: Box
    anatomy: Box | None
    limit: float
    opaque_at: float
    is_signed: bool
    name: str
    is_one_sided: bool = False
    is_thresholded: bool = False

    @property
    def colours(self) -> Colormap:
        """Colour map of the statistic."""
        return signed_colours() if self.is_signed else positive_colours()

    @property
    def norm(self) -> Normalize:
        """Colour scale of the statistic."""
        return Normalize(-self.limit if self.is_signed else 0.0, self.limit)

    def opacity(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
        """Opacity of values of the statistic, 0 to 1."""
        opacity = np.clip(np.abs(values) / self.opaque_at, 0, 1) ** 2
        return np.where(values < 0, UNTESTED * opacity, opacity) if self.is_one_sided else opacity


def draw_mosaic(layers: Layers, cuts: Sequence[Sequence[float]]) -> Figure:
    """Draw a row of cuts for each of z, y and x (``cuts`` in the order x, y, z), with the colour scale."""
    rows = (2, 1, 0)
    shapes = [_shape_mm(layers, axis) for axis in rows]
    heights = [height / width for width, height in shapes]
    n_columns = max(len(row) for row in cuts)
    figure = Figure(figsize=(12.0, 12.0 * 0.92 * sum(heights) / n_columns), facecolor=BACKDROP)
    grid = figure.add_gridspec(
        3,
        n_columns,
        height_ratios=heights,
        left=0.005,
        right=0.925,
        top=0.995,
        bottom=0.005,
        wspace=0,
        hspace=0,
    )
    for row, axis in enumerate(rows):
        for column, at_mm in enumerate(cuts[axis]):
            axes = figure.add_subplot(grid[row, column])
            _draw_cut(axes, layers, axis, at_mm)
            if column == 0 and axis != 0:
                _mark_sides(axes)
    _draw_scale(figure, layers)
    return figure


def _shape_mm(layers: Layers, axis: int) -> tuple[float, float]:
    """Width and height in mm of a cut across ``axis``."""
    left, right, bottom, top = (layers.anatomy or layers.mask).extent(axis)
    return right - left, top - bottom


def draw_views(layers: Layers, at_mm: Sequence[float]) -> Figure:
    """Draw three cuts through one point, with a cross at it."""
    shapes = [_shape_mm(layers, axis) for axis in range(3)]
    widths, height = [width for width, _ in shapes], max(height for _, height in shapes)
    figure = Figure(figsize=(5.6, 5.6 * height / sum(widths)), facecolor=BACKDROP)
    grid = figure.add_gridspec(1, 3, width_ratios=widths, left=0, right=1, top=1, bottom=0, wspace=0)
    for axis in range(3):
        axes = figure.add_subplot(grid[0, axis])
        _draw_cut(axes, layers, axis, at_mm[axis])
        across, up = (other for other in range(3) if other != axis)
        axes.axvline(at_mm[across], color=LINE, linewidth=0.5, alpha=0.6)
        axes.axhline(at_mm[up], color=LINE, linewidth=0.5, alpha=0.6)
        if axis != 0:
            _mark_sides(axes)
    return figure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """What is significant under one correction, and the lines of text beside it."""

    words: tuple[str, ...]
    significant: Box


def draw_rows(layers: Layers, rows: Sequence[Row], cuts: Sequence[float]) -> Figure:
    """Draw a row of axial cuts for each correction: only what is significant under it."""
    width, height = _shape_mm(layers, 2)
    share = 0.925 - _WORDS
    row_height = 12.0 * share / len(cuts) * height / width
    figure = Figure(figsize=(12.0, row_height * len(rows)), facecolor=BACKDROP)
    grid = figure.add_gridspec(
        len(rows), len(cuts), left=_WORDS, right=0.925, top=1, bottom=0, wspace=0, hspace=0
    )
    for at, row in enumerate(rows):
        shown = replace(layers, significant=row.significant, is_thresholded=True)
        for column, at_mm in enumerate(cuts):
            axes = figure.add_subplot(grid[at, column])
            _draw_cut(axes, shown, 2, at_mm)
        middle = 1 - (at + 0.5) / len(rows)
        lines = [line for words in row.words for line in textwrap.wrap(words, 24)]
        text = figure.text(0.008, middle, "\n".join(lines), va="center", color="#cfd6e0", fontsize=9)
        text.set_parse_math(False)
    _draw_scale(figure, replace(layers, is_thresholded=True))
    return figure


def draw_projection(layers: Layers) -> Figure:
    """Project the largest significant values along each axis onto the silhouette of the brain."""
    shapes = [_shape_mm(layers, axis) for axis in range(3)]
    widths, height = [width for width, _ in shapes], max(height for _, height in shapes)
    figure = Figure(figsize=(12.0, 12.0 * 0.92 * height / sum(widths)), facecolor=BACKDROP)
    grid = figure.add_gridspec(
        1, 3, width_ratios=widths, left=0.005, right=0.925, top=1, bottom=0, wspace=0.02
    )
    shown = layers.statistic.data * (layers.significant.data > 0)
    for axis in range(3):
        axes = figure.add_subplot(grid[0, axis])
        _draw_silhouette(axes, layers, axis)
        _draw_projected(axes, layers, shown, axis)
        if axis != 0:
            _mark_sides(axes)
    _draw_scale(figure, layers)
    return figure


def draw_coverage(counts: Box, mask: Box, anatomy: Box | None, cuts: Sequence[float], n_rows: int) -> Figure:
    """Draw how many rows are observed at each element, and the outline of the analysed elements."""
    figure = Figure(figsize=(12.0, 2.1), facecolor=BACKDROP)
    grid = figure.add_gridspec(1, len(cuts), left=0.005, right=0.925, top=0.99, bottom=0.01, wspace=0.02)
    norm = Normalize(0, max(n_rows, 1))
    for column, at_mm in enumerate(cuts):
        axes = figure.add_subplot(grid[0, column])
        _draw_anatomy(axes, anatomy, 2, at_mm)
        _draw_counts(axes, counts, at_mm, n_rows)
        _draw_outline(axes, mask, 2, at_mm)
        _finish(axes, mask, 2, at_mm)
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), cax=figure.add_axes((0.945, 0.15, 0.012, 0.7)))
    _style_scale(bar.ax, "rows")
    return figure


def _draw_counts(axes: Axes, counts: Box, at_mm: float, n_rows: int) -> None:
    """Draw an axial cut of counts; where everybody is observed the anatomy shows through."""
    values = counts.cut(2, at_mm)
    if values is not None:
        opacity = np.where(values <= 0, 0.0, np.where(values >= n_rows, 0.3, 0.9))
        axes.imshow(
            values,
            cmap="viridis",
            norm=Normalize(0, n_rows),
            alpha=opacity,
            extent=counts.extent(2),
            origin="lower",
            interpolation="nearest",
        )


def draw_people(
    tiles: Sequence[npt.NDArray[np.float32]], titles: Sequence[str], marked: Sequence[bool], limit: float
) -> Figure:
    """Draw one tile per observation on one scale; NaN is not observed; ``marked`` titles stand out.

    ``tiles``: arrays of one shape, rows running up the page.
    """
    n_columns = min(len(tiles), max(4, int(np.ceil(np.sqrt(len(tiles) * 1.1)))), MAX_COLUMNS)
    n_rows = -(-len(tiles) // n_columns)
    height, width = tiles[0].shape
    caption = int(np.ceil(height * 0.16))
    sheet = np.full((n_rows * (height + caption), n_columns * width), np.nan, dtype=np.float32)
    figure = Figure(figsize=(12.0, 12.0 / 1.08 * sheet.shape[0] / sheet.shape[1]), facecolor=BACKDROP)
    axes = figure.add_axes((0.0, 0.0, 0.925, 1.0))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, n_columns)
        top = row * (height + caption) + caption
        sheet[top : top + height, column * width : (column + 1) * width] = tile[::-1]
        title = axes.text(column * width + width / 2, top - caption * 0.25, titles[index], ha="center")
        title.set(fontsize=7 * min(1, 11 / n_columns), color="#cfd6e0", parse_math=False)
        if marked[index]:
            title.set(color="#ffb454", text=f"▲ {titles[index]}")
    norm = Normalize(-limit, limit)
    axes.imshow(sheet, cmap=effect_colours(), norm=norm, interpolation="nearest", aspect="equal")
    axes.set_axis_off()
    bar = figure.colorbar(
        ScalarMappable(norm, effect_colours()), cax=figure.add_axes((0.94, 0.3, 0.012, 0.4))
    )
    _style_scale(bar.ax, "effect")
    return figure


def _draw_cut(axes: Axes, layers: Layers, axis: int, at_mm: float) -> None:
    """One cut: anatomy or mask below, the statistic over it, the outline of what is significant on top."""
    if layers.anatomy is None:
        _draw_values(axes, layers.mask, axis, at_mm, "gray", Normalize(0, 4))
    _draw_anatomy(axes, layers.anatomy, axis, at_mm)
    values = layers.statistic.cut(axis, at_mm)
    if values is not None:
        axes.imshow(
            values,
            cmap=layers.colours,
            norm=layers.norm,
            alpha=layers.opacity(values) if not layers.is_thresholded else _is_in(layers, axis, at_mm),
            extent=layers.statistic.extent(axis),
            origin="lower",
            interpolation="nearest",
        )
    _draw_outline(axes, layers.significant, axis, at_mm)
    _finish(axes, layers.anatomy or layers.mask, axis, at_mm)


def _is_in(layers: Layers, axis: int, at_mm: float) -> npt.NDArray[np.floating]:
    """1 where a cut is significant, else 0."""
    inside = layers.significant.cut(axis, at_mm)
    assert inside is not None  # it lies on the grid of the statistic
    return (inside > 0).astype(np.float32)


def _draw_anatomy(axes: Axes, anatomy: Box | None, axis: int, at_mm: float) -> None:
    if anatomy is not None:
        _draw_values(axes, anatomy, axis, at_mm, "gray", Normalize(0, 1.15))


def _draw_values(axes: Axes, box: Box, axis: int, at_mm: float, colours: str, norm: Normalize) -> None:
    values = box.cut(axis, at_mm)
    if values is not None:
        shown = np.where(values > 0, values, np.nan)
        axes.imshow(
            shown, cmap=colours, norm=norm, extent=box.extent(axis), origin="lower", interpolation="nearest"
        )


def _draw_outline(axes: Axes, box: Box, axis: int, at_mm: float) -> None:
    inside = box.cut(axis, at_mm)
    if inside is None or not (inside > 0).any():
        return
    fine = np.pad(np.kron(inside > 0, np.ones((5, 5))), 1)
    left, right, bottom, top = box.extent(axis)
    edge_x, edge_y = (
        (high - low) / (5 * size)
        for low, high, size in ((left, right, inside.shape[1]), (bottom, top, inside.shape[0]))
    )
    x = np.linspace(left - edge_x / 2, right + edge_x / 2, fine.shape[1])
    y = np.linspace(bottom - edge_y / 2, top + edge_y / 2, fine.shape[0])
    axes.contour(x, y, fine, levels=[0.5], colors=LINE, linewidths=0.7)


def _draw_silhouette(axes: Axes, layers: Layers, axis: int) -> None:
    """Draw the shadow of the anatomy, where there is one, and of the analysed elements."""
    for box, shade in ((layers.anatomy, 0.2), (layers.mask, 0.3)):
        if box is None:
            continue
        shadow = (box.data > 0).any(axis=axis).T
        axes.imshow(
            np.where(shadow, shade, np.nan),
            cmap="gray",
            vmin=0,
            vmax=1,
            extent=box.extent(axis),
            origin="lower",
        )
    _frame(axes, layers.anatomy or layers.mask, axis)


def _draw_projected(axes: Axes, layers: Layers, shown: npt.NDArray[np.float32], axis: int) -> None:
    largest = (
        np.take_along_axis(shown, np.abs(shown).argmax(axis=axis, keepdims=True), axis=axis).squeeze(axis).T
    )
    axes.imshow(
        np.where(largest != 0, largest, np.nan),
        cmap=layers.colours,
        norm=layers.norm,
        extent=layers.statistic.extent(axis),
        origin="lower",
        interpolation="nearest",
    )


def _finish(axes: Axes, box: Box, axis: int, at_mm: float) -> None:
    _frame(axes, box, axis)
    axes.text(
        0.03,
        0.03,
        f"{AXES[axis]} = {at_mm:.0f}".replace("-", "−"),
        transform=axes.transAxes,
        color="#cfd6e0",
        fontsize=8,
    )


def _frame(axes: Axes, box: Box, axis: int) -> None:
    left, right, bottom, top = box.extent(axis)
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.set_axis_off()


def _mark_sides(axes: Axes) -> None:
    for x, side in ((0.03, "L"), (0.93, "R")):
        axes.text(x, 0.93, side, transform=axes.transAxes, color="#cfd6e0", fontsize=8, va="top")


def _draw_scale(figure: Figure, layers: Layers) -> None:
    place = figure.add_axes((0.945, 0.15, 0.012, 0.7))
    bar = figure.colorbar(ScalarMappable(layers.norm, layers.colours), cax=place)
    is_mirrored = layers.is_signed and not layers.is_one_sided
    lines = (layers.opaque_at, -layers.opaque_at) if is_mirrored else (layers.opaque_at,)
    for at in () if layers.is_thresholded else lines:
        bar.ax.axhline(at, color=LINE, linewidth=0.8)
    _style_scale(bar.ax, layers.name)


def _style_scale(axes: Axes, name: str) -> None:
    axes.set_title(name, color=LINE, fontsize=9, parse_math=False)
    axes.tick_params(colors=LINE, labelsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)
