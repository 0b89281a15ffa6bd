"""The regions of a contrast as a dot plot: effects with their intervals, sorted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from bids_group.elements import Parcels, read_map
from bids_group.output.report.axes import Chart, Panel
from bids_group.output.report.charts import ABOVE, EDGE, MAX_NAMED, short
from bids_group.output.report.folder import alpha_of
from bids_group.output.report.inputs import ContrastInputs
from bids_group.output.report.marks import FAINT, INK, Dots, Line, Mark
from bids_group.output.report.sections import Picture

Doubles = npt.NDArray[np.float64]
_ROW = 18
"""Pixels of a region."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Effects:
    """Regions in ascending order of their effects: names, effects with limits, whether significant ``(n,)``.

    They are all ``n_analysed``, or those with the largest size of t.
    """

    names: list[str]
    effect: Doubles
    half: Doubles
    is_significant: npt.NDArray[np.bool_]
    n_analysed: int


def has_intervals(inputs: ContrastInputs) -> bool:
    """Whether a contrast is one effect of regions, whose interval is known."""
    is_one = inputs.files.test == "t" and {"effect", "variance"} <= set(inputs.files.maps)
    return is_one and inputs.analysis.elements_word == "regions" and bool(inputs.analysis.inside.any())


def sort_regions(inputs: ContrastInputs) -> Effects:
    """Take the effects of a contrast with the half widths of their intervals of confidence 1 − alpha.

    They are two-sided and those of each region by itself: ``t(dof, 1 − alpha / 2)`` standard errors.
    """
    maps, inside = inputs.files.maps, np.flatnonzero(inputs.analysis.inside)
    parts = inputs.analysis.space.parts
    names = np.array([name for one in parts if isinstance(one, Parcels) for name in one.names], dtype=object)
    effect, variance = (
        read_map(maps[stat]).data[inside].astype(np.float64) for stat in ("effect", "variance")
    )
    said = inputs.files.sidecar.degrees_of_freedom
    dof = read_map(maps["dof"]).data[inside] if "dof" in maps else np.float64(str(said))
    half = stdtrit(dof, 1 - _alpha(inputs) / 2) * np.sqrt(variance)
    found = inputs.significant.get(str(inputs.files.outlined), np.zeros_like(inputs.analysis.inside))[inside]
    strongest = np.argsort(-np.abs(inputs.statistic[inside]), kind="stable")[:MAX_NAMED]
    order = strongest[np.argsort(effect[strongest], kind="stable")]
    return Effects(
        names=[str(one) for one in names[inside][order]],
        effect=effect[order],
        half=half[order],
        is_significant=found[order],
        n_analysed=inside.size,
    )


def _alpha(inputs: ContrastInputs) -> float:
    return next((alpha_of(one.sidecar) for one in inputs.found.values()), 0.05)


def draw_regions(regions: Effects, significant: str) -> Chart:
    """Draw a row for each region, the largest effect on top; what is significant (by whom) in colour."""
    rows = np.arange(len(regions.names), dtype=np.float64)
    low, high = regions.effect - regions.half, regions.effect + regions.half
    marks: list[Mark] = [Line(x=(0, 0), y=(-EDGE, EDGE), colour=FAINT, width=0.9)]
    for is_in, colour, label in (
        (~regions.is_significant, INK, ""),
        (regions.is_significant, ABOVE, significant),
    ):
        which = np.flatnonzero(is_in)
        if which.size:
            gaps = np.full(which.size, np.nan)
            x, y = (
                np.column_stack(one).ravel()
                for one in ((low[which], high[which], gaps), (rows[which], rows[which], gaps))
            )
            told = [
                f"{regions.names[at]}: {regions.effect[at]:.4g} [{low[at]:.4g}, {high[at]:.4g}]"
                for at in which
            ]
            marks.append(Line(x=x, y=y, colour=colour))
            dots = Dots(
                x=regions.effect[which], y=rows[which], colour=colour, opacity=1, label=label, names=told
            )
            marks.append(dots)
    panel = Panel(
        marks=marks,
        size=(420, max(_ROW * rows.size, 2 * _ROW)),
        x_name="effect",
        y_ticks=dict(zip(rows.tolist(), (short(name, 40) for name in regions.names), strict=True)),
        y_limits=(-0.7, rows.size - 0.3),
    )
    return Chart(panels=[panel], n_columns=1)


def regions(inputs: ContrastInputs) -> Iterator[Picture]:
    """Show the effect of each region with its interval; nothing where maps are others, or of F tests."""
    if not has_intervals(inputs):
        return
    found = sort_regions(inputs)
    n = len(found.names)
    which = (
        f"the {n} of {found.n_analysed} regions with the largest |t|"
        if n < found.n_analysed
        else "each region"
    )
    colours = (
        f" In colour: significant ({inputs.outlined})."
        if found.is_significant.any()
        else " Nothing is significant."
    )
    yield inputs.picture(
        draw_regions(found, "significant"),
        "desc-regions_statmap.svg",
        alt=f"Effect of {which} in {inputs.files.name}, sorted, with intervals.",
        caption=(
            f"Effect of {which}, sorted, with its {100 * (1 - _alpha(inputs)):g} % confidence interval (of "
            f"each region by itself).{colours}"
        ),
    )
