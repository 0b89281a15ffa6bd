"""Pictures of maps: mosaics, views at a peak, projections, one tile per person.

Slices are coloured and put beside each other as one image; matplotlib adds words and the colour scale.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, to_rgb
from matplotlib.figure import Figure
from scipy.ndimage import binary_dilation

from bids_group.output.report.canvas import AXES, Box
from bids_group.output.report.palette import effect_colours, positive_colours, signed_colours

Image = npt.NDArray[np.floating]

BACKDROP, LINE, WORDS = "#07090d", "#ffffff", "#cfd6e0"
MAX_COLUMNS = 24
_WIDE, _NARROW, DPI = 1500, 700, 125
"""Pixels of pictures across, and per inch."""
_MARGIN, _END, _ASIDE = 0.005, 0.925, 0.16
"""Shares of the width: before the slices, where they end, and what words beside rows of them take."""
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
    def frame(self) -> Box:
        """The volume that slices show from edge to edge."""
        return self.anatomy or self.mask

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


Tile = tuple[Image, Sequence[tuple[float, float, str]]]
"""A slice, and words at shares of its width and height (from below)."""


def draw_mosaic(layers: Layers, cuts: Sequence[Sequence[float]]) -> Figure:
    """Draw a row of cuts for each of z, y and x (``cuts`` in the order x, y, z), with the colour scale."""
    (width, *_) = _widths([1.0] * max(len(row) for row in cuts))
    rows = [
        [_cut(layers, axis, at_mm, width, has_sides=at_mm == cuts[axis][0]) for at_mm in cuts[axis]]
        for axis in (2, 1, 0)
    ]
    return _with_scale(_assemble(rows), layers)


def draw_views(layers: Layers, at_mm: Sequence[float]) -> Figure:
    """Draw three cuts through one point, with a cross at it."""
    widths = _widths([_span(layers.frame, axis) for axis in range(3)], 0.0, _NARROW)
    tiles = [_cut(layers, axis, at_mm[axis], width, has_sides=True) for axis, width in enumerate(widths)]
    for axis, (image, _) in enumerate(tiles):
        across, up = (other for other in range(3) if other != axis)
        x, y = _centres(layers.frame, axis, image.shape[1])
        column, row = np.abs(x - at_mm[across]).argmin(), np.abs(y - at_mm[up]).argmin()
        for line in (image[:, column], image[row]):
            line[...] = 0.4 * line + 0.6
    return _assemble([tiles], 0.0, _NARROW)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """What is significant under one correction, and the lines of text beside it."""

    words: tuple[str, ...]
    significant: Box


def draw_rows(layers: Layers, rows: Sequence[Row], cuts: Sequence[float]) -> Figure:
    """Draw a row of axial cuts for each correction: only what is significant under it."""
    (width, *_) = _widths([1.0] * len(cuts), _ASIDE)
    shown = [replace(layers, significant=row.significant, is_thresholded=True) for row in rows]
    figure = _assemble([[_cut(one, 2, at_mm, width) for at_mm in cuts] for one in shown], _ASIDE)
    for at, row in enumerate(rows):
        lines = [line for words in row.words for line in textwrap.wrap(words, 24)]
        text = figure.text(0.008, 1 - (at + 0.5) / len(rows), "\n".join(lines), color=WORDS, fontsize=9)
        text.set(va="center", parse_math=False)
    return _with_scale(figure, replace(layers, is_thresholded=True))


def draw_projection(layers: Layers) -> Figure:
    """Project the largest significant values along each axis onto the silhouette of the brain."""
    shown, tiles = layers.statistic.data * (layers.significant.data > 0), []
    for axis, width in enumerate(_widths([_span(layers.frame, axis) for axis in range(3)])):
        x, y = _centres(layers.frame, axis, width)
        image = _ground(x, y)
        for box, shade in ((layers.anatomy, 0.2), (layers.mask, 0.3)):
            if box is not None:
                shadow = (box.data > 0).any(axis=axis).T
                _paint(image, np.full(3, shade), box.pick(np.asarray(shadow), axis, x, y))
        strongest = np.abs(shown).argmax(axis=axis, keepdims=True)
        largest = np.take_along_axis(shown, strongest, axis=axis).squeeze(axis).T
        values = layers.statistic.pick(largest, axis, x, y)
        _paint(image, layers.colours(layers.norm(values)), values != 0)
        tiles.append((image, _SIDES if axis else ()))
    return _with_scale(_assemble([tiles]), layers)


def draw_coverage(counts: Box, mask: Box, anatomy: Box | None, cuts: Sequence[float], n_rows: int) -> Figure:
    """Draw how many rows are observed at each element, and the outline of the analysed elements.

    Where everybody is observed the anatomy shows through.
    """
    norm, viridis, tiles = Normalize(0, max(n_rows, 1)), ScalarMappable(cmap="viridis").cmap, []
    for at_mm, width in zip(cuts, _widths([1.0] * len(cuts)), strict=True):
        x, y = _centres(mask, 2, width)
        image = _ground(x, y)
        if anatomy is not None:
            _paint_grey(image, anatomy.sample(2, at_mm, x, y), 1.15)
        values = counts.sample(2, at_mm, x, y)
        _paint(image, viridis(norm(values)), np.where(values >= n_rows, 0.3, 0.9) * (values > 0))
        _outline(image, mask.sample(2, at_mm, x, y) > 0)
        tiles.append((image, [_place(2, at_mm)]))
    figure = _assemble([tiles])
    _draw_scale(figure, norm, viridis, "rows")
    return figure


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
    axes = figure.add_axes((0.0, 0.0, _END, 1.0))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, n_columns)
        top = row * (height + caption) + caption
        sheet[top : top + height, column * width : (column + 1) * width] = tile[::-1]
        title = axes.text(column * width + width / 2, top - caption * 0.25, titles[index], ha="center")
        title.set(fontsize=7 * min(1, 11 / n_columns), color=WORDS, parse_math=False)
        if marked[index]:
            title.set(color="#ffb454", text=f"▲ {titles[index]}")
    norm = Normalize(-limit, limit)
    axes.imshow(sheet, cmap=effect_colours(), norm=norm, interpolation="nearest", aspect="equal")
    axes.set_axis_off()
    _draw_scale(figure, norm, effect_colours(), "effect", (0.94, 0.3, 0.012, 0.4))
    return figure


# ------------------------------------------------------------------------------------- slices

_SIDES = ((0.03, 0.93, "L"), (0.93, 0.93, "R"))


def _place(axis: int, at_mm: float) -> tuple[float, float, str]:
    return 0.03, 0.03, f"{AXES[axis]} = {at_mm:.0f}".replace("-", "−")


def _cut(layers: Layers, axis: int, at_mm: float, width: int, *, has_sides: bool = False) -> Tile:
    """Draw a slice ``width`` pixels wide with its place, and left and right where they are seen."""
    image = paint_slice(layers, axis, at_mm, *_centres(layers.frame, axis, width))
    return image, [_place(axis, at_mm), *(_SIDES if has_sides and axis != 0 else ())]


def paint_slice(
    layers: Layers, axis: int, at_mm: float, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> Image:
    """Lay anatomy or mask, statistic and outline over each other at points of the slice at ``at_mm``.

    Parameters
    ----------
    x, y
        Places in mm, across and down the page.

    Returns
    -------
    ndarray
        Red, green and blue from 0 to 1, of shape ``(len(y), len(x), 3)``.
    """
    image = _ground(x, y)
    _paint_grey(image, layers.frame.sample(axis, at_mm, x, y), 4.0 if layers.anatomy is None else 1.15)
    values = layers.statistic.sample(axis, at_mm, x, y)
    is_in = layers.significant.sample(axis, at_mm, x, y) > 0
    opacity = is_in if layers.is_thresholded else layers.opacity(values)
    _paint(image, layers.colours(layers.norm(values)), opacity)
    _outline(image, is_in)
    return image


def _span(frame: Box, axis: int) -> float:
    """Width in mm of a slice across ``axis``."""
    left, right = frame.extent(axis)[:2]
    return right - left


def _centres(frame: Box, axis: int, width: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Places in mm of the pixels of a slice that is ``width`` pixels wide, from left and from above."""
    left, right, bottom, top = frame.extent(axis)
    height = max(round(width * (top - bottom) / (right - left)), 1)
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    return x, top - (np.arange(height) + 0.5) * (top - bottom) / height


def _widths(spans: Sequence[float], left: float = _MARGIN, width: int = _WIDE) -> list[int]:
    """Share the width of a picture, in pixels, but what is left of it and the scale of a wide one."""
    free = width * ((_END if width == _WIDE else 1.0) - left)
    return [int(free * span / sum(spans)) for span in spans]


def _ground(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Image:
    return np.tile(np.array(to_rgb(BACKDROP)), (len(y), len(x), 1))


def _paint(image: Image, colours: Image, opacity: npt.NDArray[Any]) -> None:
    """Lay colours (RGB or RGBA, whose own opacity does not count) over an image."""
    share = np.asarray(opacity, dtype=float)[..., None]
    image += share * (colours[..., :3] - image)


def _paint_grey(image: Image, values: npt.NDArray[np.float32], white: float) -> None:
    _paint(image, np.repeat(np.clip(values / white, 0, 1)[..., None], 3, axis=-1), values > 0)


def _outline(image: Image, is_in: npt.NDArray[np.bool_]) -> None:
    """Draw a line one pixel wide around what is inside."""
    image[binary_dilation(is_in) & ~is_in] = 1.0


def _assemble(rows: Sequence[Sequence[Tile]], left: float = _MARGIN, width: int = _WIDE) -> Figure:
    """Put rows of tiles onto one dark sheet ``width`` pixels wide, and their words over them."""
    heights = [max(len(image) for image, _ in tiles) for tiles in rows]
    n_pixels = sum(heights)
    figure = Figure(figsize=(width / DPI, n_pixels / DPI), dpi=DPI, facecolor=BACKDROP)
    sheet = np.tile(np.array(to_rgb(BACKDROP)), (n_pixels, width, 1))
    for tiles, height, end in zip(rows, heights, np.cumsum(heights), strict=True):
        at = round(width * left)
        for image, words in tiles:
            top = end - height + (height - len(image)) // 2
            sheet[top : top + len(image), at : at + image.shape[1]] = image
            for x, y, text in words:
                place = (at + x * image.shape[1]) / width, 1 - (top + (1 - y) * len(image)) / n_pixels
                figure.text(*place, text, color=WORDS, fontsize=8, va="top" if y > 0.5 else "baseline")
            at += image.shape[1]
    figure.figimage((255 * sheet).round().astype(np.uint8), zorder=-1)
    return figure


def _with_scale(figure: Figure, layers: Layers) -> Figure:
    """Add the colour scale, with lines where the statistic is opaque."""
    axes = _draw_scale(figure, layers.norm, layers.colours, layers.name)
    is_mirrored = layers.is_signed and not layers.is_one_sided
    lines = (layers.opaque_at, -layers.opaque_at) if is_mirrored else (layers.opaque_at,)
    for at in () if layers.is_thresholded else lines:
        axes.axhline(at, color=LINE, linewidth=0.8)
    return figure


def _draw_scale(
    figure: Figure,
    norm: Normalize,
    colours: Colormap,
    name: str,
    place: tuple[float, float, float, float] = (0.945, 0.15, 0.012, 0.7),
) -> Axes:
    axes = figure.add_axes(place)
    figure.colorbar(ScalarMappable(norm, colours), cax=axes)
    axes.set_title(name, color=LINE, fontsize=9, parse_math=False)
    axes.tick_params(colors=LINE, labelsize=8)
    axes.spines[:].set_visible(False)
    return axes
