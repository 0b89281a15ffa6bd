"""One group contrast as it stands on the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_group.config.corrections import find_correction
from bids_group.output.report import brains, charts
from bids_group.output.report.canvas import place
from bids_group.output.report.corrections_view import (
    Answer,
    Finding,
    answer,
    find,
    view_rows,
    view_verdicts,
)
from bids_group.output.report.figures import Picture
from bids_group.output.report.folder import read_numbers, sidecar_of
from bids_group.output.report.influence_view import view_influence
from bids_group.output.report.inputs import ContrastInputs
from bids_group.output.report.tables import PageTable, page_table
from bids_group.output.report.viewer import pack_flags, pack_statistic
from bids_group.output.report.volumes import Stage, outlined_correction

MAX_PEAKS = 250
"""Rows of a cluster table on the page: uncorrected maps have hundreds of clusters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPart:
    """Clusters under one correction; no table where there is none."""

    title: str
    counted: str
    table: PageTable | None
    n_peaks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastView:
    """Everything the page shows of a contrast."""

    id: str
    name: str
    words: str
    test: str
    is_one_sided: bool
    answers: tuple[Answer, ...]
    thumbnail: Picture
    mosaic: Picture
    projection: Picture | None
    distributions: Picture
    nulls: tuple[Picture, ...]
    corrections: Picture
    side_by_side: PageTable | None
    clusters: tuple[ClusterPart, ...]
    peaks: Picture | None
    leave_one_out: PageTable | None
    volume: Mapping[str, Any]
    files: tuple[str, ...]


def view_contrast(desk: ContrastInputs) -> ContrastView:
    """Draw the figures of a contrast and prepare its tables."""
    contrast = desk.contrast
    findings = {name: find(desk, name) for name in contrast.corrections}
    peaks, leave_one_out = view_influence(desk)
    return ContrastView(
        id=f"contrast-{desk.stem}",
        name=contrast.name,
        words=contrast.words,
        test=contrast.test,
        is_one_sided=contrast.is_one_sided,
        answers=tuple(answer(desk, finding) for finding in findings.values()),
        thumbnail=_thumbnail(desk),
        mosaic=_mosaic(desk),
        projection=_projection(desk),
        distributions=_distributions(desk),
        nulls=tuple(_nulls(desk)),
        corrections=view_rows(desk, findings),
        side_by_side=view_verdicts(desk, findings),
        clusters=tuple(_cluster_part(desk, finding) for finding in findings.values()),
        peaks=peaks,
        leave_one_out=leave_one_out,
        volume=_volume(desk),
        files=_files(desk),
    )


def _files(desk: ContrastInputs) -> tuple[str, ...]:
    root, stem = desk.of_analysis.folder.root, Path(desk.contrast.stem)
    found = (root / stem.parent).glob(f"{stem.name}_*")
    return tuple(sorted(str(path.relative_to(root)) for path in found))


# ------------------------------------------------------------------------------------ pictures


def _thumbnail(desk: ContrastInputs) -> Picture:
    at_mm = desk.focus_mm
    where = ", ".join(f"{value:.0f}" for value in at_mm)
    return desk.figures.add(
        brains.draw_views(desk.layers, at_mm),
        f"{desk.stem}_desc-views_statmap.png",
        alt=f"Three slices through {where} mm, {desk.focus_words}.",
    )


def _mosaic(desk: ContrastInputs) -> Picture:
    test, layers = desk.contrast.test, desk.layers
    correction = outlined_correction(desk.contrast)
    n_significant = int((layers.significant.data > 0).sum())
    outlined = f"{n_significant} voxels outlined ({find_correction(correction).title})"
    outlined = outlined if n_significant else "nothing outlined: nothing is significant"
    return desk.figures.add(
        brains.draw_mosaic(layers, desk.stage.cuts),
        f"{desk.stem}_desc-mosaic_statmap.png",
        alt=f"Slices of the {test} map of {desk.contrast.name}; {outlined}.",
        caption=(
            f"The whole {test} map; {outlined}. Opacity grows with the square of the statistic and is full "
            f"from {layers.opaque_at:.2f} on (line in the colour scale): weak evidence is faint, not hidden. "
            f"{_SIDES if layers.is_one_sided else ''}"
            f"Colours end at {layers.limit:.1f}; cuts and scale are those of all {test} contrasts of this "
            f"analysis. Left is left. {_ground_note(desk.stage)}"
        ),
    )


_SIDES = "The test is one-sided: negative values are no evidence, and stay faint at any size. "


def _ground_note(stage: Stage) -> str:
    if stage.anatomy is None:
        return "No anatomy is drawn: the name of the maps does not say that they are in an adult MNI space."
    return "Behind it: the MNI152 template."


def _projection(desk: ContrastInputs) -> Picture | None:
    if not (desk.layers.significant.data > 0).any():
        return None
    correction = find_correction(outlined_correction(desk.contrast)).title
    return desk.figures.add(
        brains.draw_projection(desk.layers),
        f"{desk.stem}_desc-projection_statmap.png",
        alt=f"Significant {desk.contrast.test} seen through the brain from the right, the back and above.",
        caption=f"Glass brain: the strongest significant voxel ({correction}) along each line of sight.",
    )


def _distributions(desk: ContrastInputs) -> Picture:
    inside = desk.stage.inside
    z, p = desk.maps.z[inside], None if desk.maps.p is None else desk.maps.p[inside]
    of_p = "" if p is None else " and p"
    observed = f"z (mean {z.mean():.2f}, SD {z.std():.2f}){of_p} over {z.size} voxels"
    return desk.figures.add(
        charts.draw_distributions(z, p),
        f"{desk.stem}_desc-distributions_statmap.svg",
        alt=f"Histograms of {observed}, beside the null.",
        caption=f"Without any effect z would follow the curve{' and p the line' if of_p else ''}.",
    )


def _nulls(desk: ContrastInputs) -> Iterator[Picture]:
    """Draw each null distribution, with the observed maximum (its first row) and the threshold."""
    shuffled = [name for name in desk.contrast.corrections if name in desk.contrast.nulls]
    for correction in shuffled:
        rule = find_correction(correction)
        threshold = sidecar_of(desk.contrast.clusters[correction]).threshold
        table = read_numbers(desk.contrast.nulls[correction])
        for column in map(str, table.columns):
            values = table[column].to_numpy(dtype=float)
            name = f"maximum of {rule.measured or desk.contrast.test} over the brain"
            label = f"{correction}Null{''.join(filter(str.isalnum, column)).capitalize()}"
            yield desk.figures.add(
                charts.draw_null(values[1:], values[0], threshold, name),
                f"{desk.stem}_desc-{label}_statmap.svg",
                alt=f"Histogram of the {name} in {len(values) - 1} shuffles; observed {values[0]:.4g}.",
                caption=f"{rule.title}: the {name} in the shuffled data.",
            )


# -------------------------------------------------------------------------------------- tables


def _cluster_part(desk: ContrastInputs, finding: Finding) -> ClusterPart:
    path, table = desk.contrast.clusters[finding.correction], finding.table
    caption = "Clusters with their peaks and sub-peaks (paler rows); exact values are in the file."
    view = page_table(table, name=path.name, caption=caption, max_rows=MAX_PEAKS) if len(table) else None
    return ClusterPart(title=finding.title, counted=finding.counted, table=view, n_peaks=len(table))


# -------------------------------------------------------------------------------------- viewer


def _volume(desk: ContrastInputs) -> Mapping[str, Any]:
    correction = outlined_correction(desk.contrast)
    return {
        "name": desk.contrast.test,
        "is_signed": desk.layers.is_signed,
        "is_one_sided": desk.layers.is_one_sided,
        "limit": desk.layers.limit,
        "opaque_at": desk.layers.opaque_at,
        "strongest": list(desk.strongest_mm),
        "start": list(desk.focus_mm),
        "correction": find_correction(correction).title if correction else "",
        "statistic": pack_statistic(desk.layers.statistic),
        "mask": pack_flags(place(desk.stage.inside.astype(np.float32), desk.stage.grid)),
        "significant": pack_flags(desk.layers.significant),
    }
