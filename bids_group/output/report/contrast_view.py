"""One group contrast as it stands on the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_group.output.report import brains, charts
from bids_group.output.report.brains import Layers
from bids_group.output.report.canvas import place
from bids_group.output.report.folder import (
    AnalysisFiles,
    ContrastFiles,
    read_numbers,
    read_table,
    sidecar_of,
    weights_of,
)
from bids_group.output.report.pictures import Album, Picture
from bids_group.output.report.points import Focus, draw_peaks, find_focus
from bids_group.output.report.tables import TableView, show_number, view_table
from bids_group.output.report.viewer import pack_flags, pack_statistic
from bids_group.output.report.volumes import (
    ContrastMaps,
    Stage,
    alpha_of,
    layers_of,
    outlined_correction,
    read_contrast,
    strongest_mm,
)

CORRECTION_TITLES: Mapping[str, str] = {
    "none": "uncorrected",
    "fdr": "false discovery rate",
    "bonferroni": "Bonferroni",
    "ari": "all-resolutions inference",
    "fweVoxel": "family-wise error, voxel (permutation)",
    "fweSize": "family-wise error, cluster size (permutation)",
    "fweMass": "family-wise error, cluster mass (permutation)",
    "fweTfce": "family-wise error, TFCE (permutation)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one correction says of a contrast; ``short`` is for one glance."""

    sentence: str
    short: str
    is_found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPart:
    """Clusters under one correction; ``empty`` says why there is no table."""

    title: str
    table: TableView | None
    empty: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastView:
    """Everything the page shows of a contrast."""

    id: str
    name: str
    words: str
    test: str
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Desk:
    """What is at hand while one contrast is drawn."""

    root: Path
    album: Album
    analysis: AnalysisFiles
    contrast: ContrastFiles
    stage: Stage
    maps: ContrastMaps
    layers: Layers

    @property
    def stem(self) -> str:
        """Beginning of the names of this contrast's figures."""
        return "_".join(Path(self.contrast.stem).parts[1:])


def view_contrast(
    root: Path, album: Album, analysis: AnalysisFiles, contrast: ContrastFiles, stage: Stage
) -> ContrastView:
    """Draw the figures of a contrast and prepare its tables."""
    maps = read_contrast(contrast, stage)
    desk = Desk(
        root=root,
        album=album,
        analysis=analysis,
        contrast=contrast,
        stage=stage,
        maps=maps,
        layers=layers_of(contrast, maps, stage),
    )
    peaks, leave_one_out = _what_drives_it(desk)
    return ContrastView(
        id=f"contrast-{desk.stem}",
        name=contrast.name,
        words=contrast.words,
        test=contrast.test,
        answers=tuple(_answer(desk, name) for name in contrast.corrections),
        thumbnail=_thumbnail(desk),
        mosaic=_mosaic(desk),
        projection=_projection(desk),
        distributions=_distributions(desk),
        nulls=tuple(_nulls(desk)),
        side_by_side=_side_by_side(desk),
        clusters=tuple(
            _cluster_part(desk, name) for name in contrast.corrections if name in contrast.clusters
        ),
        peaks=peaks,
        leave_one_out=leave_one_out,
        volume=_volume(desk),
        files=tuple(
            sorted(
                str(path.relative_to(root))
                for path in (root / contrast.stem).parent.glob(f"{Path(contrast.stem).name}_*")
            )
        ),
    )


def title_of(correction: str) -> str:
    """Say a correction in words."""
    return CORRECTION_TITLES.get(correction, correction)


# ------------------------------------------------------------------------------------- answers


def _answer(desk: Desk, correction: str) -> Answer:
    clusters = _significant_clusters(desk, correction)
    alpha = alpha_of(sidecar_of(desk.contrast.clusters[correction]))
    n_clusters = clusters["cluster"].nunique()
    short = f"{title_of(correction)}: {n_clusters}"
    head = f"{title_of(correction)}, α = {alpha:g}: "
    if not n_clusters:
        return Answer(sentence=f"{head}nothing is significant.", short=short, is_found=False)
    noun = "cluster" if n_clusters == 1 else "clusters"
    with_discoveries = " with true discoveries" if correction == "ari" else ""
    sentence = f"{head}{n_clusters} {noun}{with_discoveries}; the strongest {_describe_peak(desk, clusters)}."
    return Answer(sentence=sentence, short=short, is_found=True)


def _significant_clusters(desk: Desk, correction: str) -> pd.DataFrame:
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


def _describe_peak(desk: Desk, clusters: pd.DataFrame) -> str:
    test = desk.contrast.test
    if test not in clusters:
        return "is in the table below"
    row = clusters.loc[pd.to_numeric(clusters[test]).abs().idxmax()]
    where = ", ".join(show_number(row[axis]) for axis in ("x", "y", "z"))
    region = f", {row['region']}" if pd.notna(row.get("region")) else ""
    return f"at ({where}) mm{region}, {test} = {show_number(row[test])}"


# ------------------------------------------------------------------------------------ pictures


def _thumbnail(desk: Desk) -> Picture:
    at_mm = strongest_mm(desk.maps, desk.stage.grid)
    where = ", ".join(f"{value:.0f}" for value in at_mm)
    return desk.album.add(
        brains.draw_views(desk.layers, at_mm),
        f"{desk.stem}_desc-views_statmap.png",
        alt=f"Three slices through the strongest {desk.contrast.test}, at {where} mm.",
    )


def _mosaic(desk: Desk) -> Picture:
    correction = outlined_correction(desk.contrast)
    n_significant = int((desk.layers.significant.data > 0).sum())
    outlined = (
        f"{n_significant} voxels outlined ({title_of(correction)})"
        if correction and n_significant
        else "nothing outlined: nothing is significant"
    )
    return desk.album.add(
        brains.draw_mosaic(desk.layers, desk.stage.cuts),
        f"{desk.stem}_desc-mosaic_statmap.png",
        alt=f"Slices of the {desk.contrast.test} map of {desk.contrast.name}; {outlined}.",
        caption=(
            f"The whole {desk.contrast.test} map; {outlined}. Opacity grows with the square of the statistic and is full from "
            f"{desk.layers.opaque_at:.2f} on (line in the colour scale), so that weak evidence is faint, not hidden. "
            f"Colours end at {desk.layers.limit:.1f}; cuts and scale are the same for all {desk.contrast.test} contrasts of this analysis. "
            f"Left is left.{_ground_note(desk.stage)}"
        ),
    )


def _ground_note(stage: Stage) -> str:
    if stage.anatomy is None:
        return " The space of these maps is not one of MNI's by its name, so no anatomy is drawn behind them, only the analysis mask."
    return " Behind it: the MNI152 template."


def _projection(desk: Desk) -> Picture | None:
    if not (desk.layers.significant.data > 0).any():
        return None
    return desk.album.add(
        brains.draw_projection(desk.layers),
        f"{desk.stem}_desc-projection_statmap.png",
        alt=f"Significant {desk.contrast.test} values projected through the brain from the right, the front and above.",
        caption=f"Glass brain: of the significant voxels ({title_of(str(outlined_correction(desk.contrast)))}) the strongest along each line of sight.",
    )


def _distributions(desk: Desk) -> Picture:
    z, p = (
        np.zeros(1) if volume is None else volume[desk.stage.inside] for volume in (desk.maps.z, desk.maps.p)
    )
    return desk.album.add(
        charts.draw_distributions(z, p),
        f"{desk.stem}_desc-distributions_statmap.svg",
        alt=f"Histograms of z (mean {z.mean():.2f}, SD {z.std():.2f}) and of p over {z.size} voxels beside the null.",
        caption="Without any effect z would follow the curve and p the line.",
    )


def _nulls(desk: Desk) -> list[Picture]:
    pictures = []
    for correction, path in desk.contrast.nulls.items():
        sidecar = (
            sidecar_of(desk.contrast.clusters[correction]) if correction in desk.contrast.corrections else {}
        )
        threshold = sidecar.get("Threshold")
        table = read_numbers(path)
        for column in table.columns:
            values = table[column].to_numpy(dtype=float)
            name = f"maximum of {column} over the brain"
            figure = charts.draw_null(
                values[1:], values[0], float(threshold) if isinstance(threshold, (int, float)) else None, name
            )
            pictures.append(
                desk.album.add(
                    figure,
                    f"{desk.stem}_desc-{correction}Null{''.join(filter(str.isalnum, str(column))).capitalize()}_statmap.svg",
                    alt=f"Histogram of the {name} in {len(values) - 1} shuffles; observed {values[0]:.4g}.",
                    caption=f"{title_of(correction)}: the {name} in the shuffled data.",
                )
            )
    return pictures


# -------------------------------------------------------------------------------------- tables


def _side_by_side(desk: Desk) -> TableView | None:
    rows = []
    for correction in desk.contrast.corrections:
        sidecar = sidecar_of(desk.contrast.clusters[correction])
        clusters = _significant_clusters(desk, correction)
        n_voxels = desk.maps.significant.get(correction)
        rows.append(
            {
                "correction": title_of(correction),
                "α": str(alpha_of(sidecar)),
                "threshold": _threshold_text(sidecar),
                "significant voxels": None if n_voxels is None else str(int(n_voxels.sum())),
                "clusters": None
                if clusters is None
                else str(clusters["cluster"].nunique() if len(clusters) else 0),
                "shuffles": None
                if sidecar.get("NumberOfPermutations") is None
                else str(sidecar["NumberOfPermutations"]),
            }
        )
    if len(rows) < 2:
        return None
    return view_table(
        pd.DataFrame(rows), name=f"{desk.stem}_corrections.tsv", caption="What each correction finds."
    )


def _threshold_text(sidecar: Mapping[str, Any]) -> str | None:
    threshold = sidecar.get("Threshold")
    if threshold is None:
        return "none passes"
    stat = sidecar.get("ThresholdStatistic")
    shown = f"{threshold:.4g}" if isinstance(threshold, (int, float)) else str(threshold)
    return f"{stat} {shown}" if stat else shown


def _cluster_part(desk: Desk, correction: str) -> ClusterPart:
    path = desk.contrast.clusters[correction]
    table = read_table(path)
    view = None
    if len(table):
        caption = "Clusters with their peaks and sub-peaks (paler rows); exact values are in the file."
        view = view_table(table, name=path.name, caption=caption)
    return ClusterPart(title=title_of(correction), table=view, empty="No cluster.")


# ------------------------------------------------------------------------------- what drives it


def _what_drives_it(desk: Desk) -> tuple[Picture | None, TableView | None]:
    if desk.contrast.peaks is None:
        return None, None
    points = read_numbers(desk.contrast.peaks, text_columns=("label",))
    if points.empty:
        return None, None
    titles = _peak_titles(points)
    focus = _focus(desk)
    picture = desk.album.add(
        draw_peaks(points, titles, focus, desk.analysis.variables),
        f"{desk.stem}_desc-peaks_statmap.svg",
        alt=f"Values of {points['label'].nunique()} rows at {len(titles)} peaks: {'; '.join(titles.values())}.",
        caption=_peaks_caption(points, focus),
    )
    return picture, _leave_one_out(desk, points, titles)


def _peak_titles(points: pd.DataFrame) -> dict[int, str]:
    firsts = points.drop_duplicates("peak").set_index("peak")
    return {
        int(peak): f"({row['x']:.0f}, {row['y']:.0f}, {row['z']:.0f}) mm".replace("-", "−")
        for peak, row in firsts.iterrows()
    }


def _focus(desk: Desk) -> Focus:
    weights = weights_of(desk.contrast, desk.analysis.matrix.shape[1])
    if weights is None:
        return Focus(numeric=None, factors=())
    return find_focus(
        weights, list(desk.analysis.matrix.columns), desk.analysis.terms, desk.analysis.variables
    )


def _peaks_caption(points: pd.DataFrame, focus: Focus) -> str:
    is_significant = bool(points["is_significant"].all()) if "is_significant" in points else True
    which = (
        "Raw points at the peaks of the significant clusters."
        if is_significant
        else "Nothing is significant; raw points at the strongest voxel."
    )
    how = (
        f" Lines are the fitted model against {focus.numeric}."
        if focus.numeric
        else " Black: mean and 95 % interval of the points shown."
    )
    return f"{which}{how} A peak is chosen because it is extreme, so what it shows is larger than what a new sample would show."


def _leave_one_out(desk: Desk, points: pd.DataFrame, titles: Mapping[int, str]) -> TableView | None:
    if "statistic_without_row" not in points:
        return None
    rows = []
    for peak, values in points.groupby("peak"):
        without = values.set_index("label")["statistic_without_row"].astype(float).dropna()
        if without.empty:
            continue
        low, high = without.abs().idxmin(), without.abs().idxmax()
        rows.append(
            {
                "peak": titles[int(peak)],  # type: ignore[call-overload]
                f"weakest {desk.contrast.test} without one row": str(without[low]),
                "that row": str(low),
                f"strongest {desk.contrast.test} without one row": str(without[high]),
                "that row ": str(high),
            }
        )
    caption = f"Range of {desk.contrast.test} at each peak when one row is left out."
    return (
        view_table(pd.DataFrame(rows), name=f"{desk.stem}_leave_one_out.tsv", caption=caption)
        if rows
        else None
    )


# -------------------------------------------------------------------------------------- viewer


def _volume(desk: Desk) -> Mapping[str, Any]:
    correction = outlined_correction(desk.contrast)
    return {
        "name": desk.contrast.test,
        "is_signed": desk.layers.is_signed,
        "limit": desk.layers.limit,
        "opaque_at": desk.layers.opaque_at,
        "strongest": list(strongest_mm(desk.maps, desk.stage.grid)),
        "correction": title_of(correction) if correction else "",
        "statistic": pack_statistic(desk.layers.statistic),
        "mask": pack_flags(place(desk.stage.inside.astype(np.float32), desk.stage.grid)),
        "significant": pack_flags(desk.layers.significant),
    }
