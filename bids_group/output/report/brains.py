"""Pictures of maps: mosaics, views at a peak, projections, one tile per person.

Slices are coloured and put beside each other as one image, with words and a colour scale.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bids_group.output.report.axes import round_ticks
from bids_group.output.report.canvas import AXES, Box, Pixels, draw_outlines
from bids_group.output.report.sheet import BACKDROP, Colours, Sheet, Words, measure, ramp, rgb, tint

_POSITIVE = ("#8f1d00", "#e4521b", "#ff9a2e", "#ffe68a")
SIGNED = ("#c3f2ff", "#46b4f0", "#1f78d1", "#0b3c8f", *_POSITIVE)
"""Hue says the sign and lightness the size on a dark ground, to people with any colour vision."""
_EFFECTS = ("#08519c", "#6baed6", "#e8e8e8", "#fd8d3c", "#a63603")
COUNTS = (
    *("#440154", "#482878", "#3e4989", "#31688e", "#26828e"),
    *("#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"),
)
"""Light is many (matplotlib's viridis)."""
LOSSES = ("#ffe68a", "#ff9a2e", "#ef5a1c", "#e0203a")
"""Yellow is few and red is many, on grey tissue."""
LINE, WORDS = "#ffffff", "#cfd6e0"
MAX_COLUMNS = 24
_SIZE = 14
"""Of numbers beside a colour scale: smaller where they are long, so that they end on the picture."""
_WIDE, _NARROW, _BELOW = 1500, 700, 8
"""Pixels of pictures across, and below the lowest row."""
_MARGIN, _END, _ASIDE = 0.005, 0.925, 0.16
"""Shares of the width: before the slices, where they end, and what words beside rows of them take."""
_MOST_SHARED = 40
"""Slices of the anatomy that are kept, of half a megabyte each: the cuts of a mosaic, and one row more."""
UNTESTED = 0.3
"""Opacity, at most, of the sign that a one-sided test does not ask about."""


class Scale(NamedTuple):
    """What numbers from ``low`` to ``high`` look like, and what they are."""

    low: float
    high: float
    colours: Colours
    name: str

    def tint(self, values: npt.NDArray[np.floating]) -> Colours:
        """Colour numbers; beyond the ends as at them."""
        return tint(values, self.low, self.high, self.colours)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """How a statistic is coloured.

    Opacity rises with its square and is full from ``opaque_at`` on (Taylor et al. 2023: highlight, do not
    hide). ``limit`` is the end of the colour scale. Where the test is one-sided, negative values are no
    evidence and stay faint. ``is_thresholded``: only what is significant is drawn.
    """

    limit: float
    opaque_at: float
    is_signed: bool
    name: str
    is_one_sided: bool = False
    is_thresholded: bool = False

    @property
    def scale(self) -> Scale:
        """Colour scale of the statistic."""
        colours = SIGNED if self.is_signed else _POSITIVE
        return Scale(-self.limit if self.is_signed else 0.0, self.limit, ramp(*colours), self.name)

    @property
    def told(self) -> dict[str, Any]:
        """What the viewers are told of it."""
        names = ("name", "is_signed", "is_one_sided", "limit", "opaque_at")
        return {name: getattr(self, name) for name in names}

    def opacity(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
        """Opacity of values of the statistic, 0 to 1."""
        opacity = np.clip(np.abs(values) / self.opaque_at, 0, 1) ** 2
        return np.where(values < 0, UNTESTED * opacity, opacity) if self.is_one_sided else opacity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """What is drawn of a volume, from below: anatomy (or the mask), statistic, outline of what is found."""

    look: Look
    mask: Box
    statistic: Box
    significant: Box
    anatomy: Box | None

    @property
    def frame(self) -> Box:
        """The volume that slices show from edge to edge."""
        return self.anatomy or self.mask


Tile = tuple[Colours, Sequence[tuple[float, float, str]]]
"""A slice, and words at shares of its width and height (from below)."""


def draw_mosaic(
    layers: Layers, cuts: Sequence[Sequence[float]], ticks: Mapping[float, str] | None = None
) -> Sheet:
    """Draw a row of cuts for each of z, y and x (``cuts`` in the order x, y, z), with the colour scale.

    ``ticks``: places and words on the scale; None: round numbers.
    """
    (width, *_) = _widths([1.0] * max(len(row) for row in cuts))
    rows = [
        [_cut(layers, axis, at_mm, width, has_sides=at_mm == cuts[axis][0]) for at_mm in cuts[axis]]
        for axis in (2, 1, 0)
    ]
    return with_scale(_assemble(rows), layers.look, ticks)


def draw_views(layers: Layers, at_mm: Sequence[float]) -> Sheet:
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


def draw_rows(layers: Layers, rows: Sequence[Row], cuts: Sequence[float]) -> Sheet:
    """Draw a row of axial cuts for each correction: only what is significant under it."""
    (width, *_) = _widths([1.0] * len(cuts), _ASIDE)
    look = replace(layers.look, is_thresholded=True)
    shown = [replace(layers, look=look, significant=row.significant) for row in rows]
    sheet = _assemble([[_cut(one, 2, at_mm, width) for at_mm in cuts] for one in shown], _ASIDE)
    words, height = list(sheet.words), (len(sheet.pixels) - _BELOW) / len(rows)
    for at, row in enumerate(rows):
        lines = [line for text in row.words for line in textwrap.wrap(text, 24)]
        tops = (at + 0.5) * height + 18 * (np.arange(len(lines)) - (len(lines) - 1) / 2)
        words += [
            Words(x=12, y=y, text=line, colour=WORDS, size=15, anchor="lm")
            for y, line in zip(tops, lines, strict=True)
        ]
    return with_scale(replace(sheet, words=words), look)


def draw_projection(layers: Layers) -> Sheet:
    """Project the largest significant values along each axis into outlines of the brain."""
    shown, tiles = layers.statistic.data * (layers.significant.data > 0), []
    frame = layers.frame.widened(5)
    for axis, width in enumerate(_widths(_spans(frame))):
        pixels = frame.pixels(axis, width)
        image = _ground(pixels)
        strongest = np.abs(shown).argmax(axis=axis, keepdims=True)
        largest = np.take_along_axis(shown, strongest, axis=axis).squeeze(axis).T
        values = layers.statistic.pick(largest, pixels)
        image[values != 0] = layers.look.scale.tint(values[values != 0])
        if layers.anatomy is None:
            _outline(image, layers.mask.pick(layers.mask.data.max(axis=axis).T, pixels) > 0, 0.6)
        else:
            draw_outlines(image, pixels)
        tiles.append((image, _SIDES if axis else ()))
    return with_scale(_assemble([tiles]), layers.look)


def draw_amounts(
    amounts: Box,
    mask: Box,
    anatomy: Box | None,
    cuts: Sequence[float],
    limit: float,
    name: str,
    colours: Sequence[str] = COUNTS,
) -> Sheet:
    """Draw amounts from 0 to ``limit`` on axial cuts, and the outline of the analysed elements.

    Where the amount is 0 the anatomy is seen, or the analysed elements where there is none.
    """
    scale, tiles = Scale(0, limit, ramp(*colours), name), []
    pixels = mask.pixels(2, _widths([1.0] * len(cuts))[0])
    for at_mm in cuts:
        image, values = _paint_grey(anatomy, mask, pixels, at_mm), amounts.sample(pixels, at_mm)
        _paint(image, scale.tint(values), np.where(values > 0, np.float32(0.9), np.float32(0)))
        _outline(image, mask.sample(pixels, at_mm) > 0)
        tiles.append((image, [_place(2, at_mm)]))
    return _draw_scale(_assemble([tiles]), scale)


def draw_people(
    tiles: Sequence[npt.NDArray[np.float32]], titles: Sequence[str], marked: Sequence[bool], limit: float
) -> Sheet:
    """Draw one tile per observation on one scale; NaN is not observed; ``marked`` titles stand out.

    ``tiles``: arrays of one shape, rows running up the page.
    """
    n_columns = min(len(tiles), max(4, int(np.ceil(np.sqrt(len(tiles) * 1.1)))), MAX_COLUMNS)
    n_rows, (rows, columns) = -(-len(tiles) // n_columns), tiles[0].shape
    across = int(_WIDE * _END) // n_columns
    height, size = round(across * rows / columns), max(9, min(13, 130 // n_columns))
    pixels = np.full((n_rows * (height + size + 7), _WIDE, 3), 255 * rgb(BACKDROP)).round().astype(np.uint8)
    which = np.ix_(np.arange(height) * rows // height, np.arange(across) * columns // across)
    scale, words = Scale(-limit, limit, ramp(*_EFFECTS), "effect"), []
    for index, tile in enumerate(tiles):
        row, column = divmod(index, n_columns)
        top, left, seen = row * (height + size + 7) + size + 7, column * across, tile[::-1][which]
        here, is_seen = pixels[top : top + height, left : left + across], np.isfinite(seen)
        here[is_seen] = np.round(255 * scale.tint(seen[is_seen]))
        text, colour = (f"▲ {titles[index]}", "#ffb454") if marked[index] else (titles[index], WORDS)
        place = {"x": left + across / 2, "y": top - 4, "anchor": "ms"}
        words.append(Words(text=text, colour=colour, size=size, **place))
    return _draw_scale(Sheet(pixels=pixels, words=words), scale, 0.3)


# ------------------------------------------------------------------------------------- slices

_SIDES = ((0.03, 0.93, "L"), (0.93, 0.93, "R"))


def _place(axis: int, at_mm: float) -> tuple[float, float, str]:
    return 0.03, 0.02, f"{AXES[axis]} = {at_mm:.0f}".replace("-", "−")


def _cut(layers: Layers, axis: int, at_mm: float, width: int, *, has_sides: bool = False) -> Tile:
    """Draw a slice ``width`` pixels wide with its place, and left and right where they are seen."""
    ground = _shared_grey(layers.anatomy, layers.mask, axis, width, at_mm)
    image = _paint_found(ground.copy(), layers, layers.frame.pixels(axis, width), at_mm)
    return image, [_place(axis, at_mm), *(_SIDES if has_sides and axis != 0 else ())]


def _paint_found(image: Colours, layers: Layers, pixels: Pixels, at_mm: float) -> Colours:
    """Lay the statistic and the outline over a slice of the anatomy."""
    is_in = layers.significant.sample(pixels, at_mm) > 0
    look, statistic = layers.look, layers.statistic
    values = statistic.cut(pixels.axis, at_mm)
    if values is not None and (is_in.any() or not look.is_thresholded):
        opacity = np.asarray(look.opacity(values), dtype=np.float32)  # of elements, which have many pixels
        share = is_in if look.is_thresholded else statistic.pick(opacity, pixels)
        _paint(image, statistic.pick(look.scale.tint(values), pixels), share)
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


def _ground(pixels: Pixels) -> Colours:
    return np.tile(rgb(BACKDROP), (len(pixels.y), len(pixels.x), 1))


def _paint(image: Colours, colours: Colours, opacity: npt.NDArray[Any]) -> None:
    """Lay colours over an image."""
    image += opacity[..., None] * (colours - image)


def _paint_grey(anatomy: Box | None, mask: Box, pixels: Pixels, at_mm: float) -> Colours:
    """Paint a slice of the anatomy, else of the mask in dark grey, on the ground."""
    values = (anatomy or mask).sample(pixels, at_mm)
    light = np.clip(values / (4.0 if anatomy is None else 1.15), 0, 1)
    return np.where((values > 0)[..., None], light[..., None], rgb(BACKDROP))


@lru_cache(maxsize=_MOST_SHARED)
def _shared_grey(anatomy: Box | None, mask: Box, axis: int, width: int, at_mm: float) -> Colours:
    """Paint a slice of the anatomy once for all contrasts and corrections, which are drawn on the same."""
    return _paint_grey(anatomy, mask, (anatomy or mask).pixels(axis, width), at_mm)


def _outline(image: Colours, is_in: npt.NDArray[np.bool_], shade: float = 1.0) -> None:
    """Draw a line one pixel wide around what is inside."""
    if not is_in.any():
        return
    beside = np.zeros_like(is_in)
    for ours, theirs in (np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[1:]):
        beside[ours] |= is_in[theirs]
        beside[:, ours] |= is_in[:, theirs]
    image[beside & ~is_in] = shade


def _assemble(rows: Sequence[Sequence[Tile]], left: float = _MARGIN, width: int = _WIDE) -> Sheet:
    """Put rows of tiles onto one dark sheet ``width`` pixels wide, and their words over them."""
    heights, words = [max(len(image) for image, _ in tiles) for tiles in rows], []
    sheet = np.full((sum(heights) + _BELOW, width, 3), [*bytes.fromhex(BACKDROP[1:])], dtype=np.uint8)
    for tiles, height, end in zip(rows, heights, np.cumsum(heights).tolist(), strict=True):
        at = round(width * left)
        for image, own in tiles:
            top = end - height + (height - len(image)) // 2
            sheet[top : top + len(image), at : at + image.shape[1]] = np.rint(255 * image)
            for x, y, text in own:
                place = {"x": at + x * image.shape[1], "y": top + (1 - y) * len(image)}
                words.append(Words(text=text, colour=WORDS, anchor="lt" if y > 0.5 else "ls", **place))
            at += image.shape[1]
    return Sheet(pixels=sheet, words=words)


def with_scale(sheet: Sheet, look: Look, ticks: Mapping[float, str] | None = None) -> Sheet:
    """Add the colour scale, with lines where the statistic is opaque."""
    is_mirrored = look.is_signed and not look.is_one_sided
    lines = (look.opaque_at, -look.opaque_at) if is_mirrored else (look.opaque_at,)
    return _draw_scale(sheet, look.scale, 0.15, () if look.is_thresholded else lines, ticks)


def _draw_scale(
    sheet: Sheet,
    scale: Scale,
    margin: float = 0.15,
    lines: Sequence[float] = (),
    ticks: Mapping[float, str] | None = None,
) -> Sheet:
    """Draw a colour scale at the right; ``margin``: share of the height above and below it."""
    pixels, left, right = sheet.pixels.copy(), round(0.945 * _WIDE), round(0.957 * _WIDE)
    top, bottom = (round(share * len(pixels)) for share in (margin, 1 - margin))
    values = np.linspace(scale.high, scale.low, bottom - top)
    pixels[top:bottom, left:right] = np.round(255 * scale.tint(values))[:, None]
    ticks = round_ticks(scale.low, scale.high, (bottom - top) // 34) if ticks is None else ticks
    where = {
        at: round(top + (scale.high - at) / (scale.high - scale.low) * (bottom - top - 1))
        for at in (*lines, *ticks)
    }
    for at in lines:
        pixels[where[at], left:right] = 255
    for at in ticks:
        pixels[where[at], right : right + 4] = 255
    widest = max((measure(text, _SIZE) for text in ticks.values()), default=1.0)
    size = min(_SIZE, int(_SIZE * (_WIDE - right - 12) / widest))
    words = [
        Words(x=right + 8, y=where[at], text=text, colour=LINE, size=size, anchor="lm")
        for at, text in ticks.items()
    ]
    words.append(Words(x=(left + right) / 2, y=top - 8, text=scale.name, colour=LINE, size=15, anchor="ms"))
    return Sheet(pixels=pixels, words=[*sheet.words, *words])
