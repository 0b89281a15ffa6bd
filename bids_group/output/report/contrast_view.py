"""One group contrast as it stands on the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_group.output.report import brains, charts
from bids_group.output.report.canvas import place
from bids_group.output.report.desk import ContrastDesk, title_of
from bids_group.output.report.folder import read_numbers, read_table, sidecar_of
from bids_group.output.report.influence_view import view_influence
from bids_group.output.report.pictures import Picture
from bids_group.output.report.tables import TableView, show_number, view_table
from bids_group.output.report.viewer import pack_flags, pack_statistic
from bids_group.output.report.volumes import Stage, alpha_of, outlined_correction, strongest_mm

MAX_PEAKS = 250
"""Rows of a cluster table on the page: uncorrected maps have hundreds of clusters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one correction says of a contrast; ``short`` is for one glance."""

    sentence: str
    short: str
    is_found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPart:
    """Clusters under one correction; no table where there is none."""

    title: str
    table: TableView | None
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
    side_by_side: TableView | None
    clusters: tuple[ClusterPart, ...]
    peaks: Picture | None
    leave_one_out: TableView | None
    volume: Mapping[str, Any]
    files: tuple[str, ...]


def view_contrast(desk: ContrastDesk) -> ContrastView:
    """Draw the figures of a contrast and prepare its tables."""
    contrast = desk.contrast
    peaks, leave_one_out = view_influence(desk)
    return ContrastView(
        id=f"contrast-{desk.stem}",
        name=contrast.name,
        words=contrast.words,
        test=contrast.test,
        is_one_sided=contrast.is_one_sided,
        answers=tuple(_answer(desk, name) for name in contrast.corrections),
        thumbnail=_thumbnail(desk),
        mosaic=_mosaic(desk),
        projection=_projection(desk),
        distributions=_distributions(desk),
        nulls=tuple(_nulls(desk)),
        side_by_side=_side_by_side(desk),
        clusters=tuple(_cluster_part(desk, name) for name in contrast.corrections),
        peaks=peaks,
        leave_one_out=leave_one_out,
        volume=_volume(desk),
        files=_files(desk),
    )


def _files(desk: ContrastDesk) -> tuple[str, ...]:
    root, stem = desk.of_analysis.folder.root, Path(desk.contrast.stem)
    found = (root / stem.parent).glob(f"{stem.name}_*")
    return tuple(sorted(str(path.relative_to(root)) for path in found))


# ------------------------------------------------------------------------------------- answers


def _answer(desk: ContrastDesk, correction: str) -> Answer:
    clusters = _significant_clusters(desk, correction)
    alpha = alpha_of(sidecar_of(desk.contrast.clusters[correction]))
    n_clusters = clusters["cluster"].nunique()
    short = f"{title_of(correction)}: {n_clusters}"
    title = title_of(correction)
    head = f"{title[0].upper()}{title[1:]}, α = {alpha:g}: "
    if not n_clusters:
        return Answer(sentence=f"{head}nothing is significant.", short=short, is_found=False)
    noun = "cluster" if n_clusters == 1 else "clusters"
    with_discoveries = " with true discoveries" if correction == "ari" else ""
    sentence = f"{head}{n_clusters} {noun}{with_discoveries}; the strongest {_describe_peak(desk, clusters)}."
    return Answer(sentence=sentence, short=short, is_found=True)


def _significant_clusters(desk: ContrastDesk, correction: str) -> pd.DataFrame:
    """Return the rows of the significant clusters: for ``ari`` of those with a true discovery."""
    path = desk.contrast.clusters[correction]
    table = read_table(path)
    if correction == "ari":
        return table[pd.to_numeric(table["true_discovery_proportion"]) > 0]
    column = _P_COLUMNS.get(correction, "p_corrected")
    if table.empty or column not in table or table[column].isna().all():
        return table
    best = pd.to_numeric(table[column]).groupby(table["cluster"]).transform("min")
    return table[best <= np.float32(alpha_of(sidecar_of(path)))]


_P_COLUMNS = {"fweSize": "p_size", "fweMass": "p_mass", "fweTfce": "p_tfce"}


def _describe_peak(desk: ContrastDesk, clusters: pd.DataFrame) -> str:
    test = desk.contrast.test
    sizes = pd.to_numeric(clusters[test]).abs().to_numpy()
    row = clusters.iloc[int(sizes.argmax())]
    where = ", ".join(show_number(row[axis], is_mm=True) for axis in ("x", "y", "z"))
    region = f", {row['region']}" if pd.notna(row.get("region")) else ""
    return f"at ({where}) mm{region}, {test} = {show_number(row[test])}"


# ------------------------------------------------------------------------------------ pictures


def _thumbnail(desk: ContrastDesk) -> Picture:
    at_mm = strongest_mm(desk.maps, desk.stage.grid)
    where = ", ".join(f"{value:.0f}" for value in at_mm)
    return desk.album.add(
        brains.draw_views(desk.layers, at_mm),
        f"{desk.stem}_desc-views_statmap.png",
        alt=f"Three slices through the strongest {desk.contrast.test}, at {where} mm.",
    )


def _mosaic(desk: ContrastDesk) -> Picture:
    test, layers = desk.contrast.test, desk.layers
    correction = outlined_correction(desk.contrast)
    n_significant = int((layers.significant.data > 0).sum())
    outlined = f"{n_significant} voxels outlined ({title_of(correction)})"
    outlined = outlined if n_significant else "nothing outlined: nothing is significant"
    return desk.album.add(
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


def _projection(desk: ContrastDesk) -> Picture | None:
    if not (desk.layers.significant.data > 0).any():
        return None
    correction = title_of(outlined_correction(desk.contrast))
    return desk.album.add(
        brains.draw_projection(desk.layers),
        f"{desk.stem}_desc-projection_statmap.png",
        alt=f"Significant {desk.contrast.test} seen through the brain from the right, the back and above.",
        caption=f"Glass brain: the strongest significant voxel ({correction}) along each line of sight.",
    )


def _distributions(desk: ContrastDesk) -> Picture:
    inside = desk.stage.inside
    z, p = desk.maps.z[inside], None if desk.maps.p is None else desk.maps.p[inside]
    of_p = "" if p is None else " and p"
    observed = f"z (mean {z.mean():.2f}, SD {z.std():.2f}){of_p} over {z.size} voxels"
    return desk.album.add(
        charts.draw_distributions(z, p),
        f"{desk.stem}_desc-distributions_statmap.svg",
        alt=f"Histograms of {observed}, beside the null.",
        caption=f"Without any effect z would follow the curve{' and p the line' if of_p else ''}.",
    )


def _nulls(desk: ContrastDesk) -> Iterator[Picture]:
    """Draw each null distribution, with the observed maximum (its first row) and the threshold."""
    shuffled = [name for name in desk.contrast.corrections if name in desk.contrast.nulls]
    for correction in shuffled:
        threshold = sidecar_of(desk.contrast.clusters[correction]).get("Threshold")
        table = read_numbers(desk.contrast.nulls[correction])
        for column in map(str, table.columns):
            values = table[column].to_numpy(dtype=float)
            name = f"maximum of {_measure(column, desk.contrast.test)} over the brain"
            label = f"{correction}Null{''.join(filter(str.isalnum, column)).capitalize()}"
            yield desk.album.add(
                charts.draw_null(values[1:], values[0], threshold, name),
                f"{desk.stem}_desc-{label}_statmap.svg",
                alt=f"Histogram of the {name} in {len(values) - 1} shuffles; observed {values[0]:.4g}.",
                caption=f"{title_of(correction)}: the {name} in the shuffled data.",
            )


def _measure(column: str, test: str) -> str:
    """Say what a null distribution is about."""
    words = {"voxel": test, "size": "cluster size (mm³)", "mass": "cluster mass", "tfce": "TFCE"}
    return words.get(column, column)


# -------------------------------------------------------------------------------------- tables


def _side_by_side(desk: ContrastDesk) -> TableView | None:
    if len(desk.contrast.corrections) < 2:
        return None
    table = pd.DataFrame([_verdict(desk, correction) for correction in desk.contrast.corrections])
    return view_table(table, name=f"{desk.stem}_corrections.tsv", caption="What each correction finds.")


def _verdict(desk: ContrastDesk, correction: str) -> dict[str, str | None]:
    sidecar = sidecar_of(desk.contrast.clusters[correction])
    n_shuffles = sidecar.get("NumberOfPermutations")
    return {
        "correction": title_of(correction),
        "α": str(alpha_of(sidecar)),
        "threshold": _threshold_text(sidecar),
        "significant voxels": str(sidecar.get("NumberOfSignificantElements", "n/a")),
        "clusters": str(_significant_clusters(desk, correction)["cluster"].nunique()),
        "shuffles": None if n_shuffles is None else str(n_shuffles),
    }


def _threshold_text(sidecar: Mapping[str, Any]) -> str:
    threshold = sidecar.get("Threshold")
    if threshold is None:
        return "none passes"
    return f"{sidecar.get('ThresholdStatistic') or ''} {threshold:.4g}".strip()


def _cluster_part(desk: ContrastDesk, correction: str) -> ClusterPart:
    path = desk.contrast.clusters[correction]
    table = read_table(path)
    caption = "Clusters with their peaks and sub-peaks (paler rows); exact values are in the file."
    view = view_table(table, name=path.name, caption=caption, max_rows=MAX_PEAKS) if len(table) else None
    return ClusterPart(title=title_of(correction), table=view, n_peaks=len(table))


# -------------------------------------------------------------------------------------- viewer


def _volume(desk: ContrastDesk) -> Mapping[str, Any]:
    correction = outlined_correction(desk.contrast)
    return {
        "name": desk.contrast.test,
        "is_signed": desk.layers.is_signed,
        "is_one_sided": desk.layers.is_one_sided,
        "limit": desk.layers.limit,
        "opaque_at": desk.layers.opaque_at,
        "strongest": list(strongest_mm(desk.maps, desk.stage.grid)),
        "correction": title_of(correction) if correction else "",
        "statistic": pack_statistic(desk.layers.statistic),
        "mask": pack_flags(place(desk.stage.inside.astype(np.float32), desk.stage.grid)),
        "significant": pack_flags(desk.layers.significant),
    }
