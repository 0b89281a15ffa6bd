"""Quality of the maps: what stands out is marked, nothing is removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.elements import Grid, read_map
from bids_group.output.report import brains, charts
from bids_group.output.report.canvas import place
from bids_group.output.report.folder import read_table
from bids_group.output.report.inputs import AnalysisInputs
from bids_group.output.report.sections import Details, Part, Picture, Report, Section, Shown
from bids_group.output.report.tables import PageTable, page_table
from bids_group.words import counted, list_some, own_file

NOTHING_REMOVED = (
    "Nothing is removed here: what stands out is marked, and the decision stays with the reader."
)
_METRICS = {
    "correlation_loo": "correlation with the others' mean",
    "mean_effect": "mean effect over {what}",
    "mahalanobis": "Mahalanobis distance",
    "cooks_at_peak": "Cook's distance at the peak",
}
MAX_PEOPLE = 96
"""Rows whose maps are drawn: each costs a file to be read, and a page of thousands shows nobody."""
_LOST = "n_elements_lost_only_by_this_row"


def quality(report: Report) -> Section:
    """Show where rows are observed, who costs the mask, and each row's map beside the others."""
    parts = report.of_analyses(_coverage, _costs, _people, _metrics)
    return Section("quality", "Data quality", [Part("text", NOTHING_REMOVED), *parts])


def _coverage(inputs: AnalysisInputs) -> Iterator[Picture]:
    """Draw how many rows are missing where others are observed."""
    if inputs.files.coverage is None or (brain := inputs.brain) is None:
        return
    loaded, n_rows = read_map(inputs.files.coverage), len(inputs.labels)
    losses = np.where(loaded.data > 0, n_rows - loaded.data, 0).clip(0)
    n_full, n_partly = int((loaded.data >= n_rows).sum()), int((losses > 0).sum())
    n_outside = int((losses[~inputs.inside] > 0).sum())
    amounts, limit = place(losses.astype(np.float32), loaded.grid), float(losses.max()) or 1.0
    yield inputs.picture(
        brains.draw_amounts(
            amounts, brain.mask, brain.anatomy, brain.cuts[2], limit, "missing", brains.LOSSES
        ),
        "desc-coverage_statmap.png",
        alt=f"Number of rows missing at each voxel; {n_full} voxels are observed in all {n_rows} rows.",
        caption=(
            f"Losses: how many of the {n_rows} rows are missing at each voxel that others observe "
            f"({counted(n_partly, 'voxel')}, {n_outside} of them outside the analysed ones). "
            f"White: outline of the {inputs.inside.sum()} analysed voxels; "
            "where nothing is coloured inside it, every row is observed."
        ),
    )


def _costs(inputs: AnalysisInputs) -> list[PageTable]:
    """List who costs the mask most: rows without which it would be larger."""
    table = inputs.quality
    if table is None or _LOST not in table:
        return []
    worst = table[table[_LOST] > 0].sort_values(_LOST, ascending=False, kind="stable").head(20)
    return inputs.table(worst[["label", _LOST]].astype(str), "mask_costs", "Who costs the mask most.")


def _people(inputs: AnalysisInputs) -> Iterator[Picture]:
    """Draw one tile per row from the pooled maps in OUTPUT_DIR; nothing where they are not there.

    Of more than `MAX_PEOPLE` rows those that stand out and those furthest from the others are drawn.
    """
    sources, n_rows = inputs.files.info.sources or [], len(inputs.labels)
    if len(sources) != n_rows or (brain := inputs.brain) is None:
        return
    outliers, which = inputs.marked, _choose_people(inputs)
    paths = [own_file(sources[row], inputs.folder.root) for row in which]
    paths = [path if path and path.is_file() else None for path in paths]
    if not any(paths):
        return
    x, _, z = (row[len(row) // 2] for row in brain.cuts)
    n_bytes, labels = 32 * brain.layout.grid.n_elements, [inputs.labels[row] for row in which]
    tiles = list(
        inputs.executor.map(lambda path: _tile(path, brain.layout.grid, x, z), paths, item_bytes=n_bytes)
    )
    seen = np.abs(np.concatenate([tile[np.isfinite(tile)] for tile in tiles]))
    limit = float(np.percentile(seen, 98)) if seen.any() else 1.0
    n_missing, is_marked = sum(path is None for path in paths), [label in outliers for label in labels]
    gaps = f" {n_missing} maps are not in this output." if n_missing else ""
    some = f"{len(tiles)} of {n_rows} rows, those that stand out and then those furthest from the others: "
    yield inputs.picture(
        brains.draw_people(tiles, labels, is_marked, limit),
        "desc-people_statmap.png",
        alt=f"Effect maps of {len(tiles)} rows as tiles on one scale; {sum(is_marked)} marked as unusual.",
        caption=(
            f"{some if len(tiles) < n_rows else ''}The pooled, unsmoothed effect of each row at "
            f"z = {z:.0f} and x = {x:.0f} mm, all on one scale; black is not observed. "
            f"▲ marks rows that stand out in the table below; they come first.{gaps}"
        ).replace("= -", "= −"),
    )


def _choose_people(inputs: AnalysisInputs) -> list[int]:
    """Choose rows whose maps are drawn: those that stand out first, else in the order of the rows."""
    n_rows, table, outliers = len(inputs.labels), inputs.quality, inputs.marked
    distances = pd.Series(0.0, index=inputs.labels)
    if table is not None and "mahalanobis" in table:
        distances = table.set_index("label")["mahalanobis"].reindex(inputs.labels).fillna(0.0)
    is_quiet = np.array([label not in outliers for label in inputs.labels])
    order = np.lexsort((np.arange(n_rows), -distances.to_numpy(), is_quiet))
    return sorted(order[:MAX_PEOPLE].tolist(), key=lambda row: (is_quiet[row], row))


def _tile(path: Path | None, grid: Grid, x: float, z: float) -> npt.NDArray[np.float32]:
    """Put an axial and a sagittal cut of the effect side by side, NaN where not observed; else a blank."""
    if path is None:
        box = place(np.full(grid.shape, np.nan, dtype=np.float32), grid, fill=np.nan)
    else:
        loaded, counts = read_map(path), path.with_name(path.name.replace("_stat-effect_", "_stat-n_"))
        is_missing = read_map(counts).data == 0 if counts.is_file() else loaded.data == 0
        box = place(np.where(is_missing, np.nan, loaded.data).astype(np.float32), loaded.grid, fill=np.nan)
    cuts = [cut for cut in (box.cut(2, z), box.cut(0, x)) if cut is not None]
    if len(cuts) < 2:
        return np.full((2, 2), np.nan, dtype=np.float32)
    height = max(len(cut) for cut in cuts)
    gaps = [((below := (height - len(cut)) // 2, height - len(cut) - below), (0, 0)) for cut in cuts]
    padded = [np.pad(cut, gap, constant_values=np.nan) for cut, gap in zip(cuts, gaps, strict=True)]
    return np.pad(np.concatenate(padded, axis=1), ((0, 0), (0, 2)), constant_values=np.nan)


def _metrics(inputs: AnalysisInputs) -> Iterator[Shown]:
    """Draw the measures of the quality table, and show it."""
    table, path = inputs.quality, inputs.files.quality
    if table is None or path is None:
        return
    metrics = {
        name: words.format(what=inputs.elements_word)
        for name, words in _METRICS.items()
        if name in table and table[name].notna().any()
    }
    outliers = inputs.marked
    marked = list_some(label for label in inputs.labels if label in outliers)
    if metrics:
        yield inputs.picture(
            charts.draw_quality(table, metrics),
            "desc-quality_participants.svg",
            alt=f"{', '.join(metrics.values())} of each row; marked: {marked}.",
            caption="Each row's map beside the others. Triangles are unusual; the table has the reasons.",
        )
    caption, file = (
        "Each row's map beside the others, those that are marked first.",
        str(path.relative_to(inputs.folder.root)),
    )
    is_first = table["is_outlier"].astype(bool)
    rows = read_table(path).loc[[*table.index[is_first], *table.index[~is_first]]]
    shown = page_table(rows, name=path.name, caption=caption, file=file)
    yield Details(f"Quality of each row's map ({len(table)} rows)", shown)
