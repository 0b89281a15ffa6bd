"""Pictures of a comparison: scatter, limits of agreement, difference map, overlap of what is significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.compare.agreement import Comparison, Ground, Row
from bids_group.compare.sources import Pair
from bids_group.elements import Grid
from bids_group.output.report.axes import Chart, Panel
from bids_group.output.report.brains import Layers, Look, draw_mosaic
from bids_group.output.report.canvas import Box, common_cuts, place, read_anatomy
from bids_group.output.report.charts import ABOVE, BELOW, EDGE
from bids_group.output.report.folder import entities_of
from bids_group.output.report.marks import FAINT, Cells, Line, Mark, Span
from bids_group.output.report.sections import Drawing, FigureStore, Picture
from bids_group.output.report.sheet import Sheet, ramp, tint
from bids_group.output.report.surfaces import Cortex, draw_surfaces, read_cortex
from bids_group.output.report.tables import show_number

N_BINS = 160
N_CUTS = 8
_DENSITY = "#7fb2de", BELOW, "#00284d"


@dataclass(frozen=True, eq=False)
class Canvas:
    """What the pictures of a pair share.

    Volumes are drawn as slices, surfaces where A has the mesh of its maps.
    """

    pair: Pair
    ground: Ground
    store: FigureStore

    @cached_property
    def mask(self) -> Box:
        """The elements that both have."""
        return place(self.ground.elements.mask.astype(np.float32), self.ground.elements.grid)

    @cached_property
    def cortex(self) -> Cortex | None:
        """The surfaces of A."""
        one, space = self.pair.sides[0], self.ground.elements.space
        entities = entities_of(Path(one.contrast.stem).name)
        return None if isinstance(space, Grid) else read_cortex(one.root, space, entities)

    @property
    def can_draw(self) -> bool:
        """Whether maps have a picture: slices of a volume, or a surface."""
        return isinstance(self.ground.elements.space, Grid) or self.cortex is not None

    def draw(
        self,
        values: npt.NDArray[np.float32],
        outlined: npt.NDArray[np.bool_],
        name: str,
        opaque_at: float,
        ticks: Mapping[float, str] | None = None,
    ) -> Sheet:
        """Draw signed values at the common elements, and an outline."""
        limit, elements = float(np.abs(values).max(initial=0.0)) or 1.0, self.ground.elements
        look = Look(limit=limit, opaque_at=min(opaque_at or limit, limit), is_signed=True, name=name)
        if self.cortex is not None:
            rows = (elements.unpack(values), elements.mask, elements.unpack(outlined.astype(np.float32)) > 0)
            return draw_surfaces(self.cortex.lay(*rows), look, ticks=ticks)
        layers = Layers(
            look=look,
            mask=self.mask,
            statistic=place(elements.unpack(values), elements.grid),
            significant=place(elements.unpack(outlined.astype(np.float32)), elements.grid),
            anatomy=read_anatomy(self.pair.sides[0].space),
        )
        return draw_mosaic(layers, [common_cuts(self.mask, axis, N_CUTS) for axis in range(3)], ticks)

    def keep(self, drawn: Drawing, one: Comparison, kind: str, *, alt: str, caption: str) -> Picture:
        """Keep a figure of a map or correction as a file of a ``kind``: ``difference.png``."""
        ending = f"stat-{one.stat}" if one.correction is None else f"desc-{one.correction}"
        return self.store.add(drawn, f"{self.pair.stem}_{ending}_{kind}", alt=alt, caption=caption)


def show(value: float | None) -> str:
    """Spell a number as the tables of the page do."""
    return "n/a" if value is None else show_number(str(value))


def picture_agreement(one: Comparison, canvas: Canvas) -> Picture | None:
    """Draw the scatter with the line of identity beside the differences with their limits."""
    bias, lower, upper = one.limits
    if bias is None or one.finite is None:
        return None
    numbers = (
        f"r = {show(one.r)}, mean difference {show(bias)}, "
        f"95 % limits of agreement {show(lower)} to {show(upper)}"
    )
    value = f"{one.stat} ({one.name})" if one.correction else str(one.stat)
    return canvas.keep(
        _draw_agreement(*one.finite, one.limits, value),
        one,
        "agreement.svg",
        alt=f"Scatter of {value} in B against A, and their differences against their means: {numbers}.",
        caption=f"Left: {value} in B against A at each of {one.n} elements, with the line of identity. "
        f"Right: the difference B − A against the mean of both (Bland & Altman, 1986): {numbers}. The "
        "stronger the colour, the more elements.",
    )


def _draw_agreement(a: Row, b: Row, limits: Sequence[float | None], value: str) -> Chart:
    low, high = _widen(float(min(a.min(), b.min())), float(max(a.max(), b.max())))
    identity = Line(x=(low, high), y=(low, high), colour=ABOVE, width=1.3, label="identity")
    left = _draw_density(a, b, ((low, high), (low, high)), (f"{value}, A", f"{value}, B"), [identity])
    mean, difference = (a + b) / 2, b - a
    lines = [limit for limit in limits if limit is not None]
    spans = (
        _widen(float(mean.min()), float(mean.max())),
        _widen(min(float(difference.min()), *lines), max(float(difference.max()), *lines)),
    )
    dashes = ("", "mean difference"), ("5 3", "mean ± 1.96 SD"), ("5 3", "")
    marks = [
        Line(x=(-EDGE, EDGE), y=(at, at), colour=ABOVE, width=1.3, dash=dash, label=words)
        for at, (dash, words) in zip(lines, dashes, strict=False)
    ]
    right = _draw_density(mean, difference, spans, (f"mean of A and B, {value}", "B − A"), marks)
    return Chart(panels=[left, right], n_columns=2)


def _widen(low: float, high: float) -> Span:
    margin = 0.04 * (high - low) or max(abs(high), 1e-30) * 1e-3
    return low - margin, high + margin


def _draw_density(
    x: Row, y: Row, spans: tuple[Span, Span], names: tuple[str, str], lines: Sequence[Mark]
) -> Panel:
    """Count elements in a grid; it is transparent where there are none."""
    counts, _, _ = np.histogram2d(x, y, bins=N_BINS, range=spans)
    sizes = np.log1p(counts.T[::-1])
    colours = np.dstack([tint(sizes, 0, sizes.max(initial=1), ramp(*_DENSITY)), sizes > 0])
    cells = Cells(colours=np.round(255 * colours).astype(np.uint8), x=spans[0], y=spans[1])
    zero = Line(x=(-EDGE, EDGE), y=(0, 0), colour=FAINT, width=0.8)
    return Panel(
        marks=[zero, cells, *lines],
        size=(320, 280),
        x_name=names[0],
        y_name=names[1],
        x_limits=spans[0],
        y_limits=spans[1],
    )


def picture_difference(one: Comparison, canvas: Canvas) -> Picture | None:
    """Draw B − A in the brain; for a correction where only one of both finds something."""
    if one.correction is not None:
        return _picture_overlap(one, canvas)
    _, lower, upper = one.limits
    if one.a is None or one.b is None or lower is None or upper is None or not canvas.can_draw:
        return None
    difference = np.nan_to_num(one.b - one.a, posinf=0.0, neginf=0.0)
    largest = show(float(np.abs(difference).max()))
    nothing = np.zeros(difference.shape, dtype=bool)
    return canvas.keep(
        canvas.draw(difference, nothing, "B − A", max(abs(lower), abs(upper))),
        one,
        "difference.png",
        alt=f"The difference of the {one.stat} maps, B minus A; the largest is {largest}.",
        caption=f"Difference of the {one.stat} maps, B − A: warm where B is larger, cold where A is. Opacity "
        "grows with the square of the difference and is full from the limits of agreement on; the largest is "
        f"{largest}.",
    )


def _picture_overlap(one: Comparison, canvas: Canvas) -> Picture | None:
    if (
        not canvas.can_draw
        or one.counts is None
        or one.is_a is None
        or one.is_b is None
        or not any(one.counts)
    ):
        return None
    n_a, n_b, n_both = one.counts
    difference, is_both = one.is_b.astype(np.float32) - one.is_a, one.is_a & one.is_b
    words = f"{n_both} in both (outlined), {n_a - n_both} only in A (cold), {n_b - n_both} only in B (warm)"
    return canvas.keep(
        canvas.draw(difference, is_both, "only in", 1.0, {-1: "A", 1: "B"}),
        one,
        "overlap.png",
        alt=f"The elements that are significant by {one.name}: {words}.",
        caption=f"Significant by {one.name}: {words}. Dice {show(one.dice)}.",
    )
