"""Pictures of a comparison: scatter, limits of agreement, difference map, overlap of what is significant."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from bids_group.compare.agreement import Comparison, Ground
from bids_group.compare.sources import Pair
from bids_group.config.corrections import find_correction
from bids_group.output.report.brains import Layers, draw_mosaic
from bids_group.output.report.canvas import Box, common_cuts, place, read_anatomy
from bids_group.output.report.figures import Picture, render
from bids_group.output.report.palette import ABOVE, BELOW, FAINT
from bids_group.output.report.tables import show_number

N_BINS = 160
N_CUTS = 8
_DENSITY = LinearSegmentedColormap.from_list("density", ("#7fb2de", BELOW, "#00284d"))


@dataclass(frozen=True, eq=False)
class Portfolio:
    """Figures that are drawn and not written yet: bytes by path."""

    payloads: dict[Path, bytes] = field(default_factory=dict)

    def add(self, figure: Figure, name: str, *, alt: str, caption: str) -> Picture:
        """Keep a figure as ``figures/<name>``."""
        path = Path("figures") / name
        self.payloads[path] = render(figure, path)
        inches = figure.get_figwidth()
        return Picture.of(self.payloads[path], path, alt=alt, caption=caption, inches=inches)


@dataclass(frozen=True, eq=False)
class Canvas:
    """What all brain pictures of a pair share."""

    ground: Ground
    mask: Box
    anatomy: Box | None
    cuts: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, pair: Pair, ground: Ground) -> Canvas:
        """Lay out the elements that both have."""
        mask = place(ground.elements.mask.astype(np.float32), ground.elements.grid)
        cuts = tuple(common_cuts(mask, axis, N_CUTS) for axis in range(3))
        return cls(ground, mask, read_anatomy(pair.a.space), cuts)

    def draw(
        self, values: npt.NDArray[np.float32], outlined: npt.NDArray[np.bool_], name: str, opaque_at: float
    ) -> Figure:
        """Draw signed values at the common elements, and an outline."""
        limit = float(np.abs(values).max(initial=0.0)) or 1.0
        layers = Layers(
            mask=self.mask,
            statistic=self._box(values),
            significant=self._box(outlined.astype(np.float32)),
            anatomy=self.anatomy,
            limit=limit,
            opaque_at=min(opaque_at or limit, limit),
            is_signed=True,
            name=name,
        )
        return draw_mosaic(layers, self.cuts)

    def _box(self, values: npt.NDArray[np.float32]) -> Box:
        return place(self.ground.elements.unpack(values), self.ground.elements.grid)


def name_of(one: Comparison) -> str:
    """Say what is compared: ``t``, ``false discovery rate`` …."""
    return str(one.stat) if one.correction is None else find_correction(one.correction).title


def _ending(one: Comparison) -> str:
    return f"stat-{one.stat}" if one.correction is None else f"desc-{one.correction}"


def picture_agreement(one: Comparison, pair: Pair, portfolio: Portfolio) -> Picture | None:
    """Draw the scatter with the line of identity beside the differences with their limits."""
    if one.bias is None:
        return None
    lower, upper = one.limits
    numbers = (
        f"r = {show(one.r)}, mean difference {show(one.bias)}, "
        f"95 % limits of agreement {show(lower)} to {show(upper)}"
    )
    value = f"{'p' if one.stat == 'p' else one.stat} ({name_of(one)})" if one.correction else str(one.stat)
    return portfolio.add(
        _draw_agreement(one, value),
        f"{pair.stem}_{_ending(one)}_agreement.svg",
        alt=f"Scatter of {value} in B against A, and their differences against their means: {numbers}.",
        caption=(
            f"Left: {value} in B against A at each of {one.n} elements, with the line of identity. Right: "
            f"the difference B − A against the mean of both (Bland & Altman, 1986): {numbers}. The "
            "stronger the colour, the more elements."
        ),
    )


def _draw_agreement(one: Comparison, value: str) -> Figure:
    assert one.finite is not None
    assert one.bias is not None
    a, b = one.finite
    figure = Figure(figsize=(8.4, 3.7), facecolor="none", layout="constrained")
    left, right = figure.subplots(1, 2)
    low, high = _widen(float(min(a.min(), b.min())), float(max(a.max(), b.max())))
    _draw_density(left, a, b, (low, high), (low, high))
    left.plot([low, high], [low, high], color=ABOVE, linewidth=1, label="identity")
    left.set_xlabel(f"{value}, A", parse_math=False)
    left.set_ylabel(f"{value}, B", parse_math=False)
    mean, difference = (a + b) / 2, b - a
    lines = [one.bias, *(limit for limit in one.limits if limit is not None)]
    span = _widen(min(float(difference.min()), *lines), max(float(difference.max()), *lines))
    _draw_density(right, mean, difference, _widen(float(mean.min()), float(mean.max())), span)
    for at, dash, words in zip(
        lines, ("-", "--", "--"), ("mean difference", "mean ± 1.96 SD", None), strict=False
    ):
        right.axhline(at, color=ABOVE, linestyle=dash, linewidth=1, label=words)
    right.set_xlabel(f"mean of A and B, {value}", parse_math=False)
    right.set_ylabel("B − A")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
        axes.set_facecolor("none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure


def _widen(low: float, high: float) -> tuple[float, float]:
    margin = 0.04 * (high - low) or max(abs(high), 1e-30) * 1e-3
    return low - margin, high + margin


def _draw_density(
    axes: Axes,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> None:
    counts, _, _ = np.histogram2d(x, y, bins=N_BINS, range=(x_range, y_range))
    shown = np.where(counts > 0, np.log1p(counts), np.nan).T
    axes.imshow(
        shown,
        extent=(*x_range, *y_range),
        origin="lower",
        aspect="auto",
        cmap=_DENSITY,
        interpolation="nearest",
        rasterized=True,
    )
    axes.axhline(0, color=FAINT, linewidth=0.6, zorder=0)


def picture_difference(one: Comparison, pair: Pair, canvas: Canvas, portfolio: Portfolio) -> Picture | None:
    """Draw B − A on slices of the brain; for a correction where only one of both finds something."""
    if one.correction is not None:
        return _picture_overlap(one, pair, canvas, portfolio)
    if one.a is None or one.b is None or one.limits[1] is None:
        return None
    difference = np.nan_to_num(one.b - one.a, posinf=0.0, neginf=0.0)
    limits = max(abs(limit) for limit in one.limits if limit is not None)
    largest = show(float(np.abs(difference).max()))
    nothing = np.zeros(difference.shape, dtype=bool)
    return portfolio.add(
        canvas.draw(difference, nothing, "B − A", limits),
        f"{pair.stem}_{_ending(one)}_difference.png",
        alt=f"Slices of the difference of the {one.stat} maps, B minus A; the largest is {largest}.",
        caption=(
            f"Difference of the {one.stat} maps, B − A: warm where B is larger, cold where A is. Opacity "
            "grows with the square of the difference and is full from the limits of agreement on; the "
            f"largest is {largest}."
        ),
    )


def _picture_overlap(one: Comparison, pair: Pair, canvas: Canvas, portfolio: Portfolio) -> Picture | None:
    if one.counts is None or one.is_a is None or one.is_b is None or not any(one.counts):
        return None
    n_a, n_b, n_both = one.counts
    figure = canvas.draw(one.is_b.astype(np.float32) - one.is_a, one.is_a & one.is_b, "only in", 1.0)
    figure.axes[-1].set_yticks([-1, 1], labels=["A", "B"])
    words = f"{n_both} in both (outlined), {n_a - n_both} only in A (cold), {n_b - n_both} only in B (warm)"
    return portfolio.add(
        figure,
        f"{pair.stem}_{_ending(one)}_overlap.png",
        alt=f"Slices with the elements that are significant by {name_of(one)}: {words}.",
        caption=f"Significant by {name_of(one)}: {words}. Dice {show(one.dice)}.",
    )


def show(value: float | None) -> str:
    """Spell a number as the tables of the page do."""
    return "n/a" if value is None else show_number(str(value))
