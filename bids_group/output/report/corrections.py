"""What each correction finds in one contrast, side by side: in a sentence, in numbers and in one picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from bids_group.config.corrections import UNCORRECTED, find_correction, in_order
from bids_group.output.files.contrasts import spell_clusters
from bids_group.output.report.brains import Row, draw_rows
from bids_group.output.report.canvas import cuts_through
from bids_group.output.report.folder import alpha_of
from bids_group.output.report.inputs import ContrastInputs, FoundClusters
from bids_group.output.report.sections import Answer, Details, Part, Shown
from bids_group.output.report.tables import page_table, show_number
from bids_group.words import counted

UNCORRECTED_P = 0.001
"""Height of the uncorrected row of the picture, where no other was asked for."""
MAX_PEAKS = 250
"""Rows of a cluster table on the page: uncorrected maps have hundreds of clusters."""


def answer(inputs: ContrastInputs, correction: str) -> Answer:
    """Say in a sentence what a correction found, and where it is strongest."""
    found, rule = inputs.found[correction], find_correction(correction)
    test, rows = inputs.files.test, found.significant
    n_all = f" of {found.table['cluster'].nunique()}" if rule.bounds_discoveries else ""
    short = f"{rule.title}: {found.n_significant}{n_all}"
    head = f"{found.title[0].upper()}{found.title[1:]}, α = {alpha_of(found.sidecar):g}: "
    if not found.n_significant:
        return Answer(sentence=f"{head}nothing is significant.", short=short, is_found=False)
    peak = rows.iloc[int(pd.to_numeric(rows[test]).abs().to_numpy().argmax())]
    where = ", ".join(show_number(peak[axis], is_mm=True) for axis in ("x", "y", "z"))
    region = f", {peak['region']}" if pd.notna(peak.get("region")) else ""
    strongest = f"the strongest at ({where}) mm{region}, {test} = {show_number(peak[test])}"
    return Answer(sentence=f"{head}{found.counted}; {strongest}.", short=short, is_found=True)


def side_by_side(inputs: ContrastInputs) -> Iterator[Shown]:
    """Draw the same slices under each correction, on one scale, and list voxels and clusters of each."""
    yield Part("subheading", "All corrections side by side")
    rows, (_, _, z) = list(_rows(inputs)), inputs.focus_mm
    said = "; ".join(f"{' '.join(row.words[:-1])}: {row.words[-1]}" for row in rows)
    yield inputs.picture(
        draw_rows(inputs.layers, rows, cuts_through(inputs.analysis.cuts[2], z)),
        "desc-corrections_statmap.png",
        alt=f"The same slices under each correction. {said}.",
        caption=(
            "What is left under each correction: the same slices and the same colours; what is not "
            "significant is not drawn. One of the slices goes through z = "
            f"{z:.0f} mm, {inputs.focus_words}.".replace("-", "−")
        ),
    )
    if len(inputs.found) > 1:
        verdicts = [_verdict(*one) for one in inputs.found.items()]
        yield from inputs.table(verdicts, "corrections", "What each correction finds.")


def _verdict(correction: str, found: FoundClusters) -> dict[str, str | None]:
    sidecar, rule = found.sidecar, find_correction(correction)
    n_shuffles, n_elements = sidecar.number_of_permutations, sidecar.number_of_significant_elements
    threshold = f"{sidecar.threshold_statistic or ''} {sidecar.threshold or 0:.4g}".strip()
    return {
        "correction": found.title,
        "α": str(alpha_of(sidecar)),
        "threshold": "none passes" if sidecar.threshold is None else threshold,
        "significant voxels": "n/a" if n_elements is None else str(n_elements),
        "clusters": found.counted if rule.bounds_discoveries else str(found.n_significant),
        "shuffles": None if n_shuffles is None else str(n_shuffles),
    }


def _rows(inputs: ContrastInputs) -> Iterator[Row]:
    """Mark what is significant under each correction, and what was before any, with its numbers."""

    def row(title: str, is_in: npt.NDArray[np.bool_], n_clusters: str) -> Row:
        numbers = f"{counted(int(is_in.sum()), 'voxel')}, {n_clusters}"
        return Row(words=(title, numbers), significant=inputs.analysis.place(is_in))

    if UNCORRECTED.label not in inputs.found and inputs.p is not None:
        is_in = (inputs.p <= np.float32(UNCORRECTED_P)) & inputs.analysis.inside
        neighbours = next((one.sidecar.connectivity for one in inputs.found.values()), None) or 6
        structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[int(neighbours)])
        signs = inputs.statistic > 0, inputs.statistic < 0
        n_clusters = sum(int(ndimage.label(is_in & is_sign, structure)[1]) for is_sign in signs)
        yield row(f"uncorrected, p ≤ {UNCORRECTED_P:g}", is_in, spell_clusters(n_clusters))
    for correction in in_order(inputs.found):
        found = inputs.found[correction]
        level = f"p ≤ {alpha_of(found.sidecar):g}" if correction == UNCORRECTED.label else None
        title = ", ".join(part for part in (find_correction(correction).title, level, found.extent) if part)
        yield row(title, inputs.significant[correction], found.counted)


def clusters(inputs: ContrastInputs) -> Iterator[Details]:
    """Show the cluster table of each correction, the strictest unfolded."""
    caption = "Clusters with their peaks and sub-peaks (paler rows); exact values are in the file."
    for index, (correction, found) in enumerate(inputs.found.items()):
        name, n_peaks, summary = inputs.files.clusters[correction].name, len(found.table), found.title
        part: Shown = Part("quiet", "No cluster.")
        if n_peaks:
            summary += f" ({found.counted}, {n_peaks} peaks)"
            viewer = f"viewer-contrast-{inputs.stem}"
            part = page_table(found.table, name=name, caption=caption, max_rows=MAX_PEAKS, viewer=viewer)
        yield Details(f"Clusters: {summary}", part, is_open=index == 0)
