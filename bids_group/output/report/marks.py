"""What stands in a chart, in the numbers of its axes: dots, lines, histograms, matrices, notes."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from bids_group.output.report.sheet import Sheet, measure

INK, FAINT, FRAME = "#1c2430", "#8a94a3", "#5b6675"
SMALL, MEDIUM = 11, 12
"""Sizes of text in pixels: numbers and legends; names of axes and titles."""
SWATCH = 16
"""Pixels across of what stands beside a name in a legend."""
FEW_DOTS, MANY_DOTS = 300, 2000
"""More dots than a few are smaller; many stand on whole pixels, so that the file stays small."""
_OUTLINES = {
    "o": "m{0} 0a{0} {0} 0 1 0 -{1} 0a{0} {0} 0 1 0 {1} 0z",
    "s": "m-{0} -{0}h{1}v{1}h-{1}z",
    "^": "m-{0} {0}h{1}l-{0} -{1}z",
    "D": "m0 -{0}l{0} {0}l-{0} {0}l-{0} -{0}z",
}
"""Around a place, by half of their size and their size."""

Numbers: TypeAlias = npt.NDArray[Any] | Sequence[float]
Span: TypeAlias = tuple[float, float]


class Shape(NamedTuple):
    """A path of SVG; ``title`` is what is told where the pointer rests on it."""

    d: str
    fill: str = "none"
    stroke: str = "none"
    width: float = 1.0
    dash: str = ""
    opacity: float = 1.0
    title: str = ""
    kind: str = "shape"


class Text(NamedTuple):
    """A line of text, turned by ``turn`` degrees about its anchor."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    size: float = SMALL
    turn: float = 0
    colour: str = INK
    kind: str = "text"

    @property
    def corners(self) -> npt.NDArray[np.float64]:
        """Places of the four corners, ``(4, 2)``."""
        width, angle = measure(self.text, 100) * self.size / 100, math.radians(self.turn)
        left = width * {"start": 0, "middle": -0.5, "end": -1}[self.anchor]
        right, ends = left + width, (-0.8 * self.size, 0.25 * self.size)
        cos, sin = math.cos(angle), math.sin(angle)
        return np.array(
            [(self.x + x * cos - y * sin, self.y + x * sin + y * cos) for y in ends for x in (left, right)]
        )


class Bitmap(NamedTuple):
    """A picture inside of a chart."""

    x: float
    y: float
    width: float
    height: float
    source: str
    kind: str = "bitmap"


Part: TypeAlias = Shape | Text | Bitmap


class Field(NamedTuple):
    """What lies between the axes: its size in pixels, and the numbers at its edges."""

    width: float
    height: float
    x: Span
    y: Span

    def place(self, x: Numbers, y: Numbers) -> npt.NDArray[np.float64]:
        """Pixels from the left and from above, ``(n, 2)``; what lies beyond an edge lies on it."""
        across, up = (
            np.clip((np.asarray(at, dtype=float) - low) / (high - low), 0, 1)
            for at, (low, high) in ((x, self.x), (y, self.y))
        )
        places: npt.NDArray[np.float64] = np.column_stack([self.width * across, self.height * (1 - up)])
        return places.round(1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dots:
    """A mark of ``size`` pixels at each point that is finite; dots at the same place are drawn once.

    A few dots can carry a name each, told where the pointer rests on them.
    """

    x: Numbers
    y: Numbers
    colour: str
    shape: str = "o"
    size: float = 5.0
    opacity: float = 0.8
    label: str = ""
    names: Sequence[str] = ()

    def draw(self, field: Field) -> Iterator[Part]:
        """Draw all dots as one shape, or one each where they have names."""
        places = field.place(self.x, self.y)
        if 0 < len(self.names) <= FEW_DOTS:
            for name, place in zip(self.names, places.tolist(), strict=True):
                if np.isfinite(place).all():
                    yield self._outline([place], self.size)._replace(title=name)
            return
        places = places.round() if len(places) > MANY_DOTS else places
        size = self.size if len(places) <= FEW_DOTS else 0.6 * self.size
        there = places[np.isfinite(places).all(axis=1)].tolist()
        yield self._outline(dict.fromkeys(map(tuple, there)), size)

    def swatch(self, x: float, y: float) -> Part:
        """Draw a dot beside its name."""
        return self._outline([(x + SWATCH / 2, y)], self.size)

    def _outline(self, places: Iterable[Sequence[float]], size: float) -> Shape:
        outline = _OUTLINES[self.shape].format(f"{size / 2:g}", f"{size:g}")
        path = "".join(f"M{x:g} {y:g}{outline}" for x, y in places)
        return Shape(path, self.colour, opacity=self.opacity)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """A line through points; an infinite end lies at the edge, and at NaN there is a gap."""

    x: Numbers
    y: Numbers
    colour: str
    width: float = 1.6
    dash: str = ""
    opacity: float = 1.0
    label: str = ""

    def draw(self, field: Field) -> Iterator[Part]:
        """Draw it."""
        yield self._stroke(field.place(self.x, self.y))

    def swatch(self, x: float, y: float) -> Part:
        """Draw a piece of it beside its name."""
        return self._stroke(np.array([(x, y), (x + SWATCH, y)]))

    def _stroke(self, places: npt.NDArray[np.float64]) -> Shape:
        is_there = np.asarray(np.isfinite(places).all(axis=1))
        pens = np.array(["M", *np.where(is_there[:-1], "L", "M")])[is_there]
        steps = zip(pens, places[is_there].tolist(), strict=True)
        path = "".join(f"{pen}{x:g} {y:g}" for pen, (x, y) in steps)
        return Shape(path, "none", self.colour, self.width, self.dash, self.opacity)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """A histogram as one shape that stands on zero; ``edges`` are one more than ``heights``."""

    edges: Numbers
    heights: Numbers
    colour: str
    opacity: float = 0.75
    label: str = ""

    @property
    def x(self) -> Numbers:
        """Each edge twice."""
        return np.repeat(self.edges, 2)

    @property
    def y(self) -> Numbers:
        """The outline, which begins and ends at zero."""
        return np.concatenate([[0.0], np.repeat(self.heights, 2), [0.0]])

    def draw(self, field: Field) -> Iterator[Part]:
        """Draw it."""
        path = "L".join(f"{x:g} {y:g}" for x, y in field.place(self.x, self.y).tolist())
        yield Shape(f"M{path}z", self.colour, opacity=self.opacity)

    def swatch(self, x: float, y: float) -> Part:
        """Draw a piece of it beside its name."""
        return Shape(f"M{x:g} {y - 4:g}h{SWATCH}v8h-{SWATCH}z", self.colour, opacity=self.opacity)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """A matrix of colours, ``(rows, columns, 3 or 4)``, the first row above, between edges along x and y."""

    colours: npt.NDArray[np.uint8]
    x: Span
    y: Span
    label: ClassVar[str] = ""

    def draw(self, field: Field) -> Iterator[Part]:
        """Draw it as a bitmap of two pixels per pixel, which is sharp in every viewer."""
        (left, bottom), (right, top) = field.place(self.x, self.y).tolist()
        sizes = np.maximum([2 * (bottom - top), 2 * (right - left)], 1).astype(int)
        which = [np.arange(size) * n // size for size, n in zip(sizes, self.colours.shape, strict=False)]
        payload = Sheet(pixels=self.colours[np.ix_(*which)], words=()).render()
        source = f"data:image/png;base64,{base64.b64encode(payload).decode('ascii')}"
        yield Bitmap(left, top, right - left, bottom - top, source)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Note:
    """Text beside a point, ``up`` pixels above it."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    up: float = -4
    size: float = 10
    colour: str = INK
    label: ClassVar[str] = ""

    def draw(self, field: Field) -> Iterator[Part]:
        """Draw it."""
        ((x, y),) = field.place([self.x], [self.y]).tolist()
        yield Text(x, y - self.up, self.text, self.anchor, self.size, colour=self.colour)


Mark: TypeAlias = Dots | Line | Steps | Cells | Note
