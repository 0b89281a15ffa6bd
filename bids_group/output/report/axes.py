"""Charts as SVG: panels with axes, beside and below each other.

Words around a panel are measured to find its room; a legend stands above it, so that it hides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from bids_group.output.report.marks import (
    FRAME,
    MEDIUM,
    SMALL,
    SWATCH,
    Dots,
    Field,
    Line,
    Mark,
    Part,
    Shape,
    Span,
    Steps,
    Text,
)
from bids_group.output.report.markup import fill_template
from bids_group.output.report.sheet import measure

Limits: TypeAlias = tuple[float | None, float | None]
_LINE, _GAP, _TICK, _SLANT = 16, 8, 4, -40
"""Pixels of a line of text, between words and what they name, of a tick; degrees of slanted names."""


class Room(NamedTuple):
    """Edges of what is drawn, in pixels from the corner of the field."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Marks between axes; ``size``: pixels of the field between them.

    Ticks: place to text; None: round numbers. Limits that are not given hold all marks and some room.
    ``is_boxed``: a frame on four sides. ``slanted``: names along x stand so, below or above the field.
    """

    marks: Sequence[Mark]
    size: tuple[float, float]
    title: str = ""
    x_name: str = ""
    y_name: str = ""
    x_ticks: Mapping[float, str] | None = None
    y_ticks: Mapping[float, str] | None = None
    x_limits: Limits = None, None
    y_limits: Limits = None, None
    is_boxed: bool = False
    slanted: Literal["", "below", "above"] = ""
    tick_sizes: tuple[float, float] = SMALL, SMALL

    @cached_property
    def field(self) -> Field:
        """What lies between the axes."""
        xs, ys = (np.concatenate([np.ravel(getattr(one, axis)) for one in self.marks]) for axis in "xy")
        return Field(*self.size, _span(xs, self.x_limits), _span(ys, self.y_limits))

    @cached_property
    def parts(self) -> list[Part]:
        """Everything, from below, in pixels from the corner of the field."""
        width, height = self.size
        parts = [part for mark in self.marks for part in mark.draw(self.field)]
        outline = f"M0 0V{height:g}H{width:g}" + ("V0z" if self.is_boxed else "")
        x_places, y_places = self._tick_places()
        y, tick = (0.0, -_TICK) if self.slanted == "above" else (height, _TICK)
        outline += "".join(f"M{x:g} {y:g}v{tick}" for x in x_places)
        outline += "".join(f"M0 {y:g}h-{_TICK}" for y in y_places)
        parts.append(Shape(outline, stroke=FRAME))
        parts += [*self._along_x(x_places), *self._along_y(y_places)]
        return [*parts, *self._names(self._around(parts))]

    @cached_property
    def room(self) -> Room:
        """Edges of the field with all its words."""
        return self._around(self.parts)

    def _around(self, parts: Sequence[Part]) -> Room:
        """Find the room of the field and of what is written in it and around it."""
        width, height = self.size
        field = np.array([(-_TICK, -_TICK), (width + _TICK, height + _TICK)])
        corners = np.concatenate([field, *(one.corners for one in parts if isinstance(one, Text))])
        return Room(*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())

    @cached_property
    def ticks(self) -> tuple[Mapping[float, str], Mapping[float, str]]:
        """Places and texts along x and y."""
        x, y = (
            round_ticks(*span, max(int(size / room), 2)) if given is None else given
            for given, span, size, room in (
                (self.x_ticks, self.field.x, self.field.width, 48),
                (self.y_ticks, self.field.y, self.field.height, 26),
            )
        )
        return x, y

    def _tick_places(self) -> tuple[list[float], list[float]]:
        """Pixels from the left of ticks along x, and from above of those along y."""
        x, y = (list(ticks) for ticks in self.ticks)
        across = self.field.place(x, [self.field.y[0]] * len(x))[:, 0]
        return across.tolist(), self.field.place([self.field.x[0]] * len(y), y)[:, 1].tolist()

    def _along_x(self, places: Sequence[float]) -> Iterator[Text]:
        size, height = self.tick_sizes[0], self.size[1]
        for x, text in zip(places, self.ticks[0].values(), strict=True):
            if self.slanted == "above":
                yield Text(x, -_GAP, text, "start", size, _SLANT)
            elif self.slanted:
                yield Text(x + _TICK, height + _GAP + size / 2, text, "end", size, _SLANT)
            else:
                yield Text(x, height + _TICK + size, text, "middle", size)

    def _along_y(self, places: Sequence[float]) -> Iterator[Text]:
        size = self.tick_sizes[1]
        for y, text in zip(places, self.ticks[1].values(), strict=True):
            yield Text(-_TICK - 3, y + 0.36 * size, text, "end", size)

    def _names(self, room: Room) -> Iterator[Part]:
        """Write the names of the axes, the legend and the title around what is written already."""
        width, height = self.size
        if self.x_name:
            yield Text(width / 2, room.bottom + _TICK + MEDIUM, self.x_name, size=MEDIUM)
        if self.y_name:
            yield Text(room.left - _GAP, height / 2, self.y_name, size=MEDIUM, turn=-90)
        lines = self._legend()
        for line, marks in enumerate(lines):
            y = room.top - _LINE * (len(lines) - line - 0.5)
            for x, mark in marks:
                yield mark.swatch(x, y)
                yield Text(x + SWATCH + 5, y + 0.36 * SMALL, mark.label, "start")
        if self.title:
            yield Text(width / 2, room.top - _LINE * len(lines) - _TICK, self.title, size=MEDIUM)

    def _legend(self) -> list[list[tuple[float, Dots | Line | Steps]]]:
        """Lines of marks with a label, each mark with its place from the left."""
        lines: list[list[tuple[float, Dots | Line | Steps]]] = []
        at = np.inf
        for mark in self.marks:
            if isinstance(mark, Dots | Line | Steps) and mark.label:
                width = SWATCH + 5 + measure(mark.label, SMALL)
                if at + width > self.size[0]:
                    lines.append([])
                    at = 0.0
                lines[-1].append((at, mark))
                at += width + 12
        return lines


@dataclass(frozen=True, kw_only=True, eq=False)
class Chart:
    """Panels row by row on a transparent ground."""

    panels: Sequence[Panel]
    n_columns: int = 1

    @cached_property
    def _edges(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Pixels of the corner of each field, ``(n_panels, 2)``, and of the whole."""
        rooms = np.array([one.room for one in self.panels])
        n_columns = min(self.n_columns, len(self.panels))
        row, column = np.divmod(np.arange(len(self.panels)), n_columns)
        corners, whole = np.empty((len(self.panels), 2)), np.empty(2)
        for axis, (line, n_lines) in enumerate([(column, n_columns), (row, int(row[-1]) + 1)]):
            before = np.array([-rooms[line == k, axis].min() for k in range(n_lines)])
            after = np.array([rooms[line == k, axis + 2].max() for k in range(n_lines)])
            ends = np.cumsum(before + after + 2 * _GAP)
            corners[:, axis], whole[axis] = (ends - after - _GAP)[line], ends[-1]
        return np.round(corners), np.ceil(whole)

    @property
    def width(self) -> int:
        """Width in pixels of the page."""
        return int(self._edges[1][0])

    def render(self) -> bytes:
        """Spell it as SVG: equal charts, equal bytes."""
        corners, (width, height) = self._edges
        panels = [(*corner, one.parts) for corner, one in zip(corners.tolist(), self.panels, strict=True)]
        text = fill_template("chart.svg.j2", panels=panels, width=f"{width:g}", height=f"{height:g}")
        return text.encode("utf-8", "backslashreplace")


def round_ticks(low: float, high: float, n_most: int) -> dict[float, str]:
    """Find round numbers from ``low`` to ``high``, about ``n_most`` at most, and spell them alike."""
    rough = (high - low) / n_most
    power = 10.0 ** np.floor(np.log10(rough))
    wider = [factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9)]
    for step in (wider[0], 0.4 * wider[0]):  # five does not reach into every span where two does
        places = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step + 0.0
        if places.size:
            break
    largest = float(np.abs(places).max(initial=step))
    digits = max(-int(np.floor(np.log10(step) + 1e-9)), 0)
    if largest < 1e6 and digits <= 5:
        texts = [f"{at:.{digits}f}" for at in places]
    else:
        texts = [f"{at:.{int(np.ceil(np.log10(largest / step))) + 1}g}" for at in places]
    return {float(at): text.replace("-", "−") for at, text in zip(places, texts, strict=True)}


def _span(values: npt.NDArray[np.float64], limits: Limits) -> Span:
    """Take the limits; where one is not given, the smallest or largest number with a twentieth more."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    first, last = limits
    return low - room if first is None else first, high + room if last is None else last
