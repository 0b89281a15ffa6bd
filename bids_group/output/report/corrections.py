"""What each correction finds in one contrast, side by side: in a sentence, in numbers and in one picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.config.corrections import UNCORRECTED, in_order
from bids_group.elements import read_map
from bids_group.output.files.contrasts import spell_clusters
from bids_group.output.report.brains import Row, draw_rows
from bids_group.output.report.canvas import cuts_through
from bids_group.output.report.folder import alpha_of
from bids_group.output.report.inputs import ContrastInputs, FoundClusters, Slices
from bids_group.output.report.sections import Answer, Details, Part, Picture, Shown
from bids_group.output.report.tables import Cell, PageTable, page_table, show_number
from bids_group.words import counted

UNCORRECTED_P = 0.001
"""Height of the uncorrected row of the picture, where no other was asked for."""
_SIZES = {
    "effect": "effect",
    "g": "Hedges' g",
    "d_av": "d_av",
    "d_z": "d_z",
    "standardised_slope": "standardised slope",
    "partial_r": "partial r",
}
_NUMBERS = ("t", "F", *(f"{name}{end}" for name in _SIZES for end in ("", "_lower", "_upper")))
"""Columns of cluster tables that are told of the strongest peak."""
_OF_CLUSTER = ("size_mm2", "size_mm3", "p_size", "p_mass", "true_discovery_proportion")
"""Columns of cluster tables that say something of the cluster, not of the peak."""
PEAKS = (
    "Clusters with their peaks and sub-peaks (paler rows). A peak is chosen because it is extreme: a new "
    "sample would show less."
)
LIMITS = " In brackets: {:g} % confidence limits of the effect, 95 % limits of g."
WHOLE = "Every column of the file, with its exact values."
MAX_PEAKS = 250
"""Rows of a cluster table on the page: uncorrected maps have hundreds of clusters."""


def answer(inputs: ContrastInputs, correction: str) -> Answer:
    """Say in a sentence what a correction found, and where it is strongest."""
    found = inputs.found[correction]
    rule = found.rule
    test, rows = inputs.files.test, found.significant
    n_all = f" of {found.table['cluster'].nunique()}" if rule.bounds_discoveries else ""
    short = f"{rule.title}: {found.n_significant}{n_all}"
    head = f"{found.title[0].upper()}{found.title[1:]}, α = {alpha_of(found.sidecar):g}: "
    if not found.n_significant:
        verdict = f"{head}nothing is significant."
        if path := inputs.files.corrected.get(correction):
            smallest = float(read_map(path).data[inputs.analysis.inside].min())
            verdict = f"{head}nothing is significant (smallest corrected p: {smallest:.2g})."
        return Answer(sentence=verdict, short=short, is_found=False, verdict=verdict)
    peak = rows.iloc[int(pd.to_numeric(rows[test]).abs().to_numpy().argmax())]
    strongest = f"the strongest {say_place(peak)}, {test} = {show_number(peak[test])}"
    return Answer(
        sentence=f"{head}{found.counted}; {strongest}.",
        short=short,
        is_found=True,
        verdict=f"{head}{found.counted}.",
        strongest=_say_strongest(inputs, found, peak),
    )


def _say_strongest(inputs: ContrastInputs, found: FoundClusters, peak: pd.Series[str]) -> str:
    """Say where the strongest peak is, which way it points, its effect and sizes with limits, and p."""
    contrast, rule = inputs.files, found.rule
    is_there = {str(name) for name, value in peak.items() if pd.notna(value)}
    number = {name: show_number(peak[name]) for name in is_there & set(_NUMBERS)}
    parts = [f"Strongest {say_place(peak, is_region_first=True)}"]
    if contrast.test == "t" and not contrast.sidecar.equivalence_bounds:
        parts.append(say_direction(contrast.words, is_positive=float(peak["t"]) > 0))
    is_slope = (
        "standardised_slope" in number
    )  # its g is per unit of the covariate: no size that can be compared
    for name, title in _SIZES.items():
        if name in number and contrast.test == "t" and not (name == "g" and is_slope):
            limits = ""
            if {f"{name}_lower", f"{name}_upper"} <= is_there:
                limits = f" [{number[f'{name}_lower']} to {number[f'{name}_upper']}]"
            parts.append(f"{title} {number[name]}{limits}")
    parts.append(f"{contrast.test} = {number[contrast.test]}")
    if rule.bounds_discoveries:
        share = 100 * float(peak["true_discovery_proportion"])
        parts.append(f"at least {share:.0f} % of its cluster are true discoveries")
    elif found.p_column in is_there:
        parts.append(f"{'p' if rule == UNCORRECTED else 'corrected p'} = {float(peak[found.p_column]):.2g}")
    return f"{'; '.join(parts)}."


def say_direction(words: str, *, is_positive: bool) -> str:
    """Say which way an effect points: which side of a plain difference is larger, else its sign.

    ``words`` are those of the contrast: ``mean in patient minus mean in control, averaged over sex``.
    """
    sides = words.split(", ")[0].split(" minus ")
    if len(sides) == 2 and not re.search(r"[()]| plus ", words):
        return f"{sides[0]} {'above' if is_positive else 'below'} {sides[1]}"
    return f"{'above' if is_positive else 'below'} zero"


def say_place(peak: pd.Series[Any], *, is_region_first: bool = False) -> str:
    """Say where a row of a table of peaks lies: at a point, a vertex, in a region."""
    region = str(peak["region"]) if pd.notna(peak.get("region")) else ""
    named = [str(peak[name]) for name in ("structure",) if pd.notna(peak.get(name))]
    named += [f"vertex {peak['vertex']}"] if pd.notna(peak.get("vertex")) else []
    if pd.notna(peak["x"]):
        named.append(f"({', '.join(show_number(peak[axis], is_mm=True) for axis in ('x', 'y', 'z'))}) mm")
    if not named:
        return f"in {region}"
    place = " ".join(named)
    if is_region_first:
        return f"in {region} at {place}" if region else f"at {place}"
    return f"at {place}{f', {region}' if region else ''}"


def side_by_side(inputs: ContrastInputs) -> Iterator[Shown]:
    """Draw the same slices under each correction, on one scale, and list voxels and clusters of each."""
    yield Part("subheading", "All corrections side by side")
    if inputs.slices is not None:
        yield _draw_side_by_side(inputs, inputs.slices)
    if len(inputs.found) > 1 or inputs.slices is None:
        what = inputs.analysis.elements_word
        verdicts = [_verdict(one, what) for one in inputs.found.values()]
        yield from inputs.table(verdicts, "corrections", "What each correction finds.")


def _draw_side_by_side(inputs: ContrastInputs, slices: Slices) -> Picture:
    rows, (_, _, z) = list(_rows(inputs, slices)), slices.focus_mm
    said = "; ".join(f"{' '.join(row.words[:-1])}: {row.words[-1]}" for row in rows)
    return inputs.picture(
        draw_rows(slices.layers, rows, cuts_through(slices.brain.cuts[2], z)),
        "desc-corrections_statmap.png",
        alt=f"The same slices under each correction. {said}.",
        caption=(
            "What is left under each correction: the same slices and the same colours; what is not "
            "significant is not drawn. One of the slices goes through z = "
            f"{z:.0f} mm, {slices.focus_words}.".replace("-", "−")
        ),
    )


def _verdict(found: FoundClusters, what: str) -> dict[str, str | None]:
    sidecar, rule = found.sidecar, found.rule
    n_shuffles, n_elements = sidecar.number_of_permutations, sidecar.number_of_significant_elements
    limits = sidecar.threshold_by_part or {"": sidecar.threshold}
    threshold = ", ".join(
        f"{sidecar.threshold_statistic or ''} {limit:.4g}{f' ({part})' if part else ''}".strip()
        for part, limit in limits.items()
        if limit is not None
    )
    return {
        "correction": found.title,
        "α": str(alpha_of(sidecar)),
        "threshold": threshold or "none passes",
        f"significant {what}": "n/a" if n_elements is None else str(n_elements),
        "clusters": found.counted if rule.bounds_discoveries else str(found.n_significant),
        "shuffles": None if n_shuffles is None else str(n_shuffles),
    }


def _rows(inputs: ContrastInputs, slices: Slices) -> Iterator[Row]:
    """Mark what is significant under each correction, and what was before any, with its numbers."""

    def row(title: str, is_in: npt.NDArray[np.bool_], n_clusters: str) -> Row:
        numbers = f"{counted(int(is_in.sum()), 'voxel')}, {n_clusters}"
        return Row(words=(title, numbers), significant=slices.brain.layout.place(is_in))

    if UNCORRECTED.label not in inputs.found and inputs.p is not None:
        from scipy import ndimage

        is_in = (inputs.p <= np.float32(UNCORRECTED_P)) & inputs.analysis.inside
        neighbours = next((one.sidecar.connectivity for one in inputs.found.values()), None) or 6
        structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[int(neighbours)])
        signs = inputs.statistic > 0, inputs.statistic < 0
        n_clusters = sum(int(ndimage.label(is_in & is_sign, structure)[1]) for is_sign in signs)
        yield row(f"uncorrected, p ≤ {UNCORRECTED_P:g}", is_in, spell_clusters(n_clusters))
    for correction in in_order(inputs.found):
        found = inputs.found[correction]
        level = f"p ≤ {alpha_of(found.sidecar):g}" if correction == UNCORRECTED.label else None
        title = ", ".join(part for part in (found.rule.title, level, found.extent) if part)
        yield row(title, inputs.significant[correction], found.counted)


def clusters(inputs: ContrastInputs) -> Iterator[Details]:
    """Show the cluster table of each correction, the strictest unfolded: what is read first, then all."""
    for index, (correction, found) in enumerate(inputs.found.items()):
        name, n_peaks, summary = inputs.files.clusters[correction].name, len(found.table), found.title
        part: Shown = Part("quiet", "No cluster.")
        if n_peaks:
            summary += f" ({found.counted}, {n_peaks} peaks)"
            has_viewer = inputs.slices is not None or inputs.hemispheres
            viewer = f"viewer-contrast-{inputs.stem}" if has_viewer else ""
            whole = page_table(found.table, name=name, caption=WHOLE, max_rows=MAX_PEAKS, viewer=viewer)
            part = Part("parts", [sum_up_peaks(whole, found), Details("All columns of this table", whole)])
        yield Details(f"Clusters: {summary}", part, is_open=index == 0)


def sum_up_peaks(whole: PageTable, found: FoundClusters) -> PageTable:
    """Leave what is read first: place, statistic, p, effects with limits; size and p once per cluster.

    Cells have the exact value of the file, also where limits stand beside it.
    """
    rows = [dict(zip(whole.columns, row, strict=True)) for row in whole.rows]
    own_p = found.p_column if found.p_column in _OF_CLUSTER else "p_corrected"
    own_p = own_p if own_p in whole.columns else "p_uncorrected"
    told = ["cluster", "region", "structure", "x", "t", "F", own_p, "effect", "g"]
    told += ["size_mm2", "size_mm3", "true_discovery_proportion"]
    columns = [name for name in told if name in whole.columns]

    def cell(row: Mapping[str, Cell], name: str, is_minor: bool) -> Cell:
        if name == "x":
            return Cell(row["x"].raw, ", ".join(row[axis].shown for axis in "xyz"))
        if is_minor and name in _OF_CLUSTER:
            return Cell(row[name].raw, "")
        limits = [row[f"{name}_{end}"].shown for end in ("lower", "upper") if f"{name}_{end}" in row]
        return Cell(row[name].raw, f"{row[name].shown} [{', '.join(limits)}]") if limits else row[name]

    has_limits = "effect_lower" in whole.columns
    is_number = dict(zip(whole.columns, whole.is_number, strict=True))
    return replace(
        whole,
        caption=PEAKS + (LIMITS.format(100 * (1 - alpha_of(found.sidecar))) if has_limits else ""),
        columns=["place" if name == "x" else name for name in columns],
        rows=[
            [cell(row, name, is_minor) for name in columns]
            for row, is_minor in zip(rows, whole.minor, strict=True)
        ],
        is_number=[is_number[name] for name in columns],
        download="",
        file="",
    )
