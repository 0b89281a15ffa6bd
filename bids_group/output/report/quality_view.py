"""Quality of the maps, as it stands on the page: what stands out is marked, nothing is removed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.elements import read_map
from bids_group.output.report import brains, charts
from bids_group.output.report.canvas import Box, place
from bids_group.output.report.figures import Picture
from bids_group.output.report.folder import read_table
from bids_group.output.report.inputs import AnalysisInputs
from bids_group.output.report.tables import PageTable, page_table
from bids_group.output.report.volumes import Stage
from bids_group.words import own_file

_METRICS = {
    "correlation_loo": "correlation with the others' mean",
    "mean_effect": "mean effect over voxels",
    "mahalanobis": "Mahalanobis distance",
    "cooks_at_peak": "Cook's distance at the peak",
}
_LOST = "n_elements_lost_only_by_this_row"


def view_coverage(desk: AnalysisInputs) -> Picture | None:
    """Draw how many rows are observed where."""
    if desk.analysis.coverage is None:
        return None
    loaded, stage = read_map(desk.analysis.coverage), desk.stage
    n_rows, n_full = len(desk.labels), int((loaded.data >= len(desk.labels)).sum())
    counts = place(loaded.data, loaded.grid)
    return desk.figures.add(
        brains.draw_coverage(counts, stage.mask, stage.anatomy, stage.cuts[2], n_rows),
        f"{desk.stem}_desc-coverage_statmap.png",
        alt=f"Number of rows observed at each voxel; {n_full} voxels are observed in all {n_rows} rows.",
        caption=(
            f"How many of the {n_rows} rows are observed at each voxel. "
            f"White: outline of the {stage.n_elements} analysed voxels. Pale: observed in every row."
        ),
    )


def view_costs(desk: AnalysisInputs) -> PageTable | None:
    """List who costs the mask most: rows without which it would be larger."""
    quality = desk.quality
    if quality is None or _LOST not in quality or not (quality[_LOST] > 0).any():
        return None
    worst = quality[quality[_LOST] > 0].sort_values(_LOST, ascending=False, kind="stable").head(20)
    table = worst[["label", _LOST]].astype(str)
    return page_table(table, name=f"{desk.stem}_mask_costs.tsv", caption="Who costs the mask most.")


def view_metrics(desk: AnalysisInputs) -> Picture | None:
    """Draw the measures of the quality table."""
    quality = desk.quality
    if quality is None:
        return None
    metrics = {
        name: title for name, title in _METRICS.items() if name in quality and quality[name].notna().any()
    }
    if not metrics:
        return None
    outliers = ", ".join(label for label in desk.labels if label in _outliers(desk)) or "none"
    return desk.figures.add(
        charts.draw_quality(quality, metrics),
        f"{desk.stem}_desc-quality_participants.svg",
        alt=f"{', '.join(metrics.values())} of each row; marked: {outliers}.",
        caption="Each row's map beside the others. Triangles are unusual; the table has the reasons.",
    )


def view_quality_table(desk: AnalysisInputs) -> PageTable | None:
    """Show the quality table."""
    path = desk.analysis.quality
    if path is None:
        return None
    return page_table(read_table(path), name=path.name, caption="Each row's map beside the others.")


def _outliers(desk: AnalysisInputs) -> set[str]:
    if desk.quality is None:
        return set()
    return set(desk.quality.loc[desk.quality["is_outlier"].astype(bool), "label"])


def view_tiles(desk: AnalysisInputs) -> Picture | None:
    """Draw one tile per row from the pooled maps in OUTPUT_DIR; None where they are not there."""
    paths = [path if path and path.is_file() else None for path in _pooled_maps(desk)]
    if not any(paths):
        return None
    at_mm = [row[len(row) // 2] for row in desk.stage.cuts]
    tiles = [_tile(path, desk.stage, at_mm) for path in paths]
    seen = np.abs(np.concatenate([tile[np.isfinite(tile)] for tile in tiles]))
    limit = float(np.percentile(seen, 98)) if seen.any() else 1.0
    outliers, n_missing = _outliers(desk), sum(path is None for path in paths)
    gaps = f" {n_missing} maps are not in this output." if n_missing else ""
    return desk.figures.add(
        brains.draw_people(tiles, desk.labels, [label in outliers for label in desk.labels], limit),
        f"{desk.stem}_desc-people_statmap.png",
        alt=f"Effect maps of {len(tiles)} rows as tiles on one scale; {len(outliers)} marked as unusual.",
        caption=(
            f"The pooled, unsmoothed effect of each row at z = {at_mm[2]:.0f} and x = {at_mm[0]:.0f} mm, "
            f"all on one scale; black is not observed. ▲ marks rows that stand out in the table below.{gaps}"
        ).replace("= -", "= −"),
    )


def _pooled_maps(desk: AnalysisInputs) -> list[Path | None]:
    """Find the pooled effect of each row: the sources of the design, in the order of its rows."""
    sources = desk.analysis.info.sources or []
    if len(sources) != len(desk.labels):
        return [None] * len(desk.labels)
    return [own_file(uri, desk.folder.root) for uri in sources]


def _tile(path: Path | None, stage: Stage, at_mm: Sequence[float]) -> npt.NDArray[np.float32]:
    """Put an axial and a sagittal cut side by side; NaN where not observed."""
    if path is None:
        blank = np.full(stage.grid.shape, np.nan, dtype=np.float32)
        return _join(place(blank, stage.grid, fill=np.nan), at_mm)
    loaded = read_map(path)
    counts = path.with_name(path.name.replace("_stat-effect_", "_stat-n_"))
    is_missing = read_map(counts).data == 0 if counts.is_file() else loaded.data == 0
    effect = np.where(is_missing, np.nan, loaded.data).astype(np.float32)
    return _join(place(effect, loaded.grid, fill=np.nan), at_mm)


def _join(box: Box, at_mm: Sequence[float]) -> npt.NDArray[np.float32]:
    axial, sagittal = box.cut(2, at_mm[2]), box.cut(0, at_mm[0])
    if axial is None or sagittal is None:
        return np.full((2, 2), np.nan, dtype=np.float32)
    height = max(axial.shape[0], sagittal.shape[0])
    gap = np.full((height, 2), np.nan, dtype=np.float32)
    return np.concatenate([_pad(axial, height), _pad(sagittal, height), gap], axis=1)


def _pad(tile: npt.NDArray[np.float32], height: int) -> npt.NDArray[np.float32]:
    below = (height - tile.shape[0]) // 2
    above = height - tile.shape[0] - below
    return np.pad(tile, ((below, above), (0, 0)), constant_values=np.nan)
