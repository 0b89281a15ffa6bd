"""Pictures of maps: mosaics, views at a peak, projections, one tile per person.

Slices are coloured and put beside each other as one image; matplotlib adds words and the colour scale.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from scipy.ndimage import binary_dilation

from bids_group.output.report.canvas import AXES, Box, Pixels

Image = npt.NDArray[np.floating]

_POSITIVE = ("#8f1d00", "#e4521b", "#ff9a2e", "#ffe68a")
SIGNED = ("#c3f2ff", "#46b4f0", "#1f78d1", "#0b3c8f", *_POSITIVE)
"""Hue says the sign and lightness the size on a dark ground, to people with any colour vision."""
_EFFECTS = ("#08519c", "#6baed6", "#e8e8e8", "#fd8d3c", "#a63603")
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
        return LinearSegmentedColormap.from_list("statistic", SIGNED if self.is_signed else _POSITIVE)

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
    tiles = []
    for axis, width in enumerate(_widths(_spans(layers.frame), 0.0, _NARROW)):
        image, words = _cut(layers, axis, at_mm[axis], width, has_sides=True)
        _, x, y = layers.frame.pixels(axis, width)
        across, up = (at for other, at in enumerate(at_mm) if other != axis)
        for line in (image[:, np.abs(x - across).argmin()], image[np.abs(y - up).argmin()]):
            line[...] = 0.4 * line + 0.6
        tiles.append((image, words))
    return _assemble([tiles], 0.0, _NARROW)


class Row(NamedTuple):
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
        text.set(va="center")
    return _with_scale(figure, replace(layers, is_thresholded=True))


def draw_projection(layers: Layers) -> Figure:
    """Project the largest significant values along each axis onto the silhouette of the brain."""
    shown, tiles = layers.statistic.data * (layers.significant.data > 0), []
    for axis, width in enumerate(_widths(_spans(layers.frame))):
        pixels = layers.frame.pixels(axis, width)
        image = _ground(pixels)
        for box, shade in ((layers.anatomy, 0.2), (layers.mask, 0.3)):
            if box is not None:
                shadow = np.asarray((box.data > 0).any(axis=axis).T)
                _paint(image, np.full(3, shade), box.pick(shadow, pixels))
        strongest = np.abs(shown).argmax(axis=axis, keepdims=True)
        largest = np.take_along_axis(shown, strongest, axis=axis).squeeze(axis).T
        values = layers.statistic.pick(largest, pixels)
        _paint(image, layers.colours(layers.norm(values)), values != 0)
        tiles.append((image, _SIDES if axis else ()))
    return _with_scale(_assemble([tiles]), layers)


def draw_coverage(counts: Box, mask: Box, anatomy: Box | None, cuts: Sequence[float], n_rows: int) -> Figure:
    """Draw how many rows are observed at each element, and the outline of the analysed elements.

    Where everybody is observed the anatomy shows through.
    """
    norm, viridis, tiles = Normalize(0, max(n_rows, 1)), ScalarMappable(cmap="viridis").cmap, []
    pixels = mask.pixels(2, _widths([1.0] * len(cuts))[0])
    for at_mm in cuts:
        image, values = _ground(pixels), counts.sample(pixels, at_mm)
        if anatomy is not None:
            _paint_grey(image, anatomy.sample(pixels, at_mm), 1.15)
        _paint(image, viridis(norm(values)), np.where(values >= n_rows, 0.3, 0.9) * (values > 0))
        _outline(image, mask.sample(pixels, at_mm) > 0)
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
        title.set(fontsize=7 * min(1, 11 / n_columns), color=WORDS)
        if marked[index]:
            title.set(color="#ffb454", text=f"▲ {titles[index]}")
    norm, colours = Normalize(-limit, limit), LinearSegmentedColormap.from_list("effect", _EFFECTS)
    axes.imshow(sheet, cmap=colours.with_extremes(bad=BACKDROP), norm=norm, interpolation="nearest")
    axes.set_axis_off()
    _draw_scale(figure, norm, colours, "effect", (0.94, 0.3, 0.012, 0.4))
    return figure


# ------------------------------------------------------------------------------------- slices

_SIDES = ((0.03, 0.93, "L"), (0.93, 0.93, "R"))


def _place(axis: int, at_mm: float) -> tuple[float, float, str]:
    return 0.03, 0.03, f"{AXES[axis]} = {at_mm:.0f}".replace("-", "−")


def _cut(layers: Layers, axis: int, at_mm: float, width: int, *, has_sides: bool = False) -> Tile:
    """Draw a slice ``width`` pixels wide with its place, and left and right where they are seen."""
    image = paint_slice(layers, layers.frame.pixels(axis, width), at_mm)
    return image, [_place(axis, at_mm), *(_SIDES if has_sides and axis != 0 else ())]


def paint_slice(layers: Layers, pixels: Pixels, at_mm: float) -> Image:
    """Lay anatomy or mask, statistic and outline over each other: RGB from 0 to 1 by row and column."""
    image = _ground(pixels)
    _paint_grey(image, layers.frame.sample(pixels, at_mm), 4.0 if layers.anatomy is None else 1.15)
    values = layers.statistic.sample(pixels, at_mm)
    is_in = layers.significant.sample(pixels, at_mm) > 0
    opacity = is_in if layers.is_thresholded else layers.opacity(values)
    _paint(image, layers.colours(layers.norm(values)), opacity)
    _outline(image, is_in)
    return image


def _spans(frame: Box) -> list[float]:
    """Widths in mm of cuts across each axis."""
    edges = [frame.extent(axis)[:2] for axis in range(3)]
    return [right - left for left, right in edges]


def _widths(spans: Sequence[float], left: float = _MARGIN, width: int = _WIDE) -> list[int]:
    """Share the width of a picture, in pixels, but what is left of it and the scale of a wide one."""
    free = width * ((_END if width == _WIDE else 1.0) - left)
    return [int(free * span / sum(spans)) for span in spans]


def _ground(pixels: Pixels) -> Image:
    return np.tile(np.array(to_rgb(BACKDROP)), (len(pixels.y), len(pixels.x), 1))


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
    axes.set_title(name, color=LINE, fontsize=9)
    axes.tick_params(colors=LINE, labelsize=8)
    axes.spines[:].set_visible(False)
    return axes
