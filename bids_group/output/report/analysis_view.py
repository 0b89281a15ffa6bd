"""One group model as it stands on the page: people, quality, design and its contrasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.elements import read_map
from bids_group.output.report import brains, charts
from bids_group.output.report.canvas import Box, place
from bids_group.output.report.contrast_view import ContrastView, view_contrast
from bids_group.output.report.facts import gather_facts
from bids_group.output.report.flow import count_flow, lay_out
from bids_group.output.report.folder import AnalysisFiles, Folder, read_numbers, read_table, weights_of
from bids_group.output.report.methods import methods_text
from bids_group.output.report.paper import Paper
from bids_group.output.report.pictures import Album, Picture
from bids_group.output.report.tables import TableView, view_table
from bids_group.output.report.volumes import Stage, set_stage

_QUALITY = {
    "correlation_loo": "correlation with the others' mean",
    "mean_effect": "mean effect over voxels",
    "mahalanobis": "Mahalanobis distance",
    "cooks_at_peak": "Cook's distance at the peak",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisView:
    """Everything the page shows of a group model."""

    title: str
    question: str
    flow: Picture | None
    covariates: Picture | None
    covariate_tables: tuple[TableView, ...]
    coverage: Picture | None
    costs: TableView | None
    people: Picture | None
    quality: Picture | None
    quality_table: TableView | None
    design: Picture
    design_facts: tuple[tuple[str, str], ...]
    design_table: TableView
    inflation: TableView | None
    leverage: TableView | None
    contrast_table: TableView | None
    correlations: Picture | None
    contrasts: tuple[ContrastView, ...]
    methods: str
    facts: Mapping[str, Any]
    notices: tuple[Mapping[str, Any], ...]
    remarks: TableView | None


def view_analysis(folder: Folder, analysis: AnalysisFiles, album: Album, paper: Paper) -> AnalysisView:
    """Draw the figures of a group model and prepare its tables."""
    stage = set_stage(analysis)
    facts = gather_facts(folder, analysis, stage.n_elements)
    stem = "_".join(Path(analysis.stem).parts[1:])
    quality = (
        None if analysis.quality is None else read_numbers(analysis.quality, ("label", "outlier_reasons"))
    )
    return AnalysisView(
        title=analysis.title,
        question=_question(facts),
        flow=_flow(folder, analysis, album, paper, stem, facts),
        covariates=_covariates(analysis, album, stem),
        covariate_tables=tuple(_covariate_tables(analysis, stem)),
        coverage=_coverage(analysis, stage, album, stem),
        costs=_costs(quality, stem),
        people=_people(folder, analysis, stage, album, stem, facts, quality),
        quality=_quality(quality, album, stem),
        quality_table=None
        if analysis.quality is None
        else view_table(
            read_table(analysis.quality),
            name=analysis.quality.name,
            caption="Each row's map beside the others.",
        ),
        design=_design(analysis, album, stem),
        design_facts=tuple(_design_facts(analysis, facts)),
        design_table=_design_table(folder, analysis),
        inflation=_detail_table(
            analysis, stem, "vif", ["term", "VIF"], "Generalised variance inflation factor of each term."
        ),
        leverage=_detail_table(
            analysis,
            stem,
            "leverage",
            ["row", "leverage"],
            "How much each row can pull the fit towards itself.",
        ),
        contrast_table=_contrast_table(analysis, stem),
        correlations=_correlations(analysis, album, stem),
        contrasts=tuple(
            view_contrast(folder.root, album, analysis, contrast, stage) for contrast in analysis.contrasts
        ),
        methods=methods_text(facts),
        facts=facts,
        remarks=_remarks(folder, analysis, stem),
        notices=tuple(dict(notice) for notice in analysis.info.get("Notices") or []),
    )


def _question(facts: Mapping[str, Any]) -> str:
    people = f"{facts['n_people']} participants" + (
        f" ({facts['n_rows']} rows)" if facts["n_rows"] != facts["n_people"] else ""
    )
    asked = "; ".join(facts["contrasts"])
    return f"{facts['first_level_contrast'] or 'The effect'} in {people}, model {facts['formula']}. Asked: {asked}."


# ---------------------------------------------------------------------------------------- who


def _flow(
    folder: Folder, analysis: AnalysisFiles, album: Album, paper: Paper, stem: str, facts: Mapping[str, Any]
) -> Picture | None:
    if folder.ledger is None:
        return None
    flow = count_flow(
        folder.ledger, [str(label) for label in analysis.matrix.index], facts["first_level_contrast"]
    )
    boxes, width, height = lay_out(flow)
    out = "; ".join(f"{len(loss.people)} out: {loss.reason}" for loss in flow.lost) or "nobody left out"
    return album.add_svg(
        paper.draw_flow(boxes, width, height),
        f"{stem}_desc-flow_participants.svg",
        alt=f"From {flow.n_everyone} people to {flow.n_people} in the analysis ({flow.n_rows} rows); {out}.",
        caption="From everyone who is known to the rows of the design. Orange: who or what is out, and why.",
        width_inches=width / 96,
    )


def _remarks(folder: Folder, analysis: AnalysisFiles, stem: str) -> TableView | None:
    """List what the ledger notes about people who are in (missing runs and the like)."""
    if folder.ledger is None or "note" not in folder.ledger:
        return None
    rows = folder.ledger[
        folder.ledger["note"].notna() & folder.ledger["participant_id"].isin(analysis.people)
    ]
    noted = rows[["participant_id", "note"]].drop_duplicates()
    if noted.empty:
        return None
    return view_table(
        noted, name=f"{stem}_remarks.tsv", caption="People in the analysis with a remark in the ledger."
    )


def _kinds(variables: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Numeric covariates, and factors with at most twelve levels (``subject`` is not one)."""
    numeric = [str(name) for name in variables if pd.api.types.is_numeric_dtype(variables[name])]
    factors = [
        str(name)
        for name in variables
        if name not in numeric and name != "subject" and variables[name].nunique() <= 12
    ]
    return numeric, factors


def _covariates(analysis: AnalysisFiles, album: Album, stem: str) -> Picture | None:
    numeric, factors = _kinds(analysis.variables)
    if not numeric:
        return None
    factor = factors[0] if factors else None
    by = f" by {factor}" if factor else ""
    return album.add(
        charts.draw_covariates(analysis.variables, numeric[:8], factor),
        f"{stem}_desc-covariates_participants.svg",
        alt=f"Distribution of {', '.join(numeric[:8])}{by}.",
        caption=f"Covariates{by}: a point per row, bars at the means.",
    )


def _covariate_tables(analysis: AnalysisFiles, stem: str) -> list[TableView]:
    """Covariates by group and rows per cell, as the design's sidecar has them."""
    details = dict(analysis.info.get("Details") or {})
    tables = []
    if details.get("covariates"):
        rows = [_covariate_row(dict(entry)) for entry in details["covariates"]]
        caption = "Numeric covariates of the analysed rows."
        tables.append(view_table(pd.DataFrame(rows), name=f"{stem}_covariates.tsv", caption=caption))
    cells = [{name: str(value) for name, value in cell.items()} for cell in details.get("n_per_cell") or []]
    if len(cells) > 1:
        caption = "Number of analysed rows per cell."
        tables.append(view_table(pd.DataFrame(cells), name=f"{stem}_cells.tsv", caption=caption))
    return tables


def _covariate_row(entry: Mapping[str, Any]) -> dict[str, str | None]:
    group = ", ".join(f"{factor} {level}" for factor, level in dict(entry["group"]).items())
    numbers = {
        name: entry[key]
        for name, key in (("n", "n"), ("mean", "mean"), ("SD", "sd"), ("smallest", "min"), ("largest", "max"))
    }
    shown = {name: None if value is None else str(value) for name, value in numbers.items()}
    return {"covariate": str(entry["name"]), "group": group or "all", **shown}


# ------------------------------------------------------------------------------------ quality


def _coverage(analysis: AnalysisFiles, stage: Stage, album: Album, stem: str) -> Picture | None:
    if analysis.coverage is None:
        return None
    loaded = read_map(analysis.coverage)
    n_rows = len(analysis.matrix)
    full = int((loaded.data >= n_rows).sum())
    figure = brains.draw_coverage(
        place(loaded.data, loaded.grid), stage.mask, stage.anatomy, stage.cuts[2], n_rows
    )
    return album.add(
        figure,
        f"{stem}_desc-coverage_statmap.png",
        alt=f"Number of rows observed at each voxel; {full} voxels are observed in all {n_rows} rows.",
        caption=f"How many of the {n_rows} rows are observed at each voxel. White: outline of the {stage.n_elements} analysed voxels.",
    )


def _costs(quality: pd.DataFrame | None, stem: str) -> TableView | None:
    """List who costs the mask most: rows without which it would be larger."""
    column = "n_elements_lost_only_by_this_row"
    if quality is None or column not in quality or not (quality[column] > 0).any():
        return None
    worst = quality[quality[column] > 0].sort_values(column, ascending=False, kind="stable").head(20)
    table = worst[["label", column]].astype(str)
    return view_table(table, name=f"{stem}_mask_costs.tsv", caption="Who costs the mask most.")


def _people(
    folder: Folder,
    analysis: AnalysisFiles,
    stage: Stage,
    album: Album,
    stem: str,
    facts: Mapping[str, Any],
    quality: pd.DataFrame | None,
) -> Picture | None:
    """Draw one tile per row from the pooled maps in OUTPUT_DIR; None where they are not there."""
    labels = [str(label) for label in analysis.matrix.index]
    paths = [_pooled_map(folder.root, label, analysis, facts) for label in labels]
    if not any(paths):
        return None
    at_mm = [row[len(row) // 2] for row in stage.cuts]
    tiles = [_tile(path, stage, at_mm) for path in paths]
    seen = np.concatenate([np.abs(tile[np.isfinite(tile)]) for tile in tiles])
    limit = float(np.percentile(seen, 98)) if seen.size and seen.any() else 1.0
    marked = _marked(quality, labels)
    missing = sum(path is None for path in paths)
    return album.add(
        brains.draw_people(tiles, labels, marked, limit),
        f"{stem}_desc-people_statmap.png",
        alt=f"Effect maps of {len(labels)} rows as small tiles on one scale; {sum(marked)} marked as unusual.",
        caption=(
            f"The pooled, unsmoothed effect of each row at z = {at_mm[2]:.0f} and x = {at_mm[0]:.0f} mm, all on one scale; black is not observed. "
            f"▲ marks rows that stand out in the table below."
            + (f" {missing} maps are not in this output." if missing else "")
        ),
    )


def _marked(quality: pd.DataFrame | None, labels: Sequence[str]) -> list[bool]:
    if quality is None or "is_outlier" not in quality:
        return [False] * len(labels)
    outliers = set(quality.loc[quality["is_outlier"].astype(bool), "label"])
    return [label in outliers for label in labels]


def _pooled_map(root: Path, label: str, analysis: AnalysisFiles, facts: Mapping[str, Any]) -> Path | None:
    """Find the pooled effect of a row by its folder, its first-level contrast and the entities of the design's name."""
    subject, _, session = label.partition("_ses-")
    folder = root / subject / f"ses-{session}" / "func" if session else root / subject / "func"
    shared = [
        part
        for part in Path(analysis.stem).name.split("_")
        if part.split("-")[0] in ("task", "space", "res", "den")
    ]
    name = f"_contrast-{''.join(filter(str.isalnum, str(facts['first_level_contrast'])))}_stat-effect_"
    fitting = [
        path
        for path in sorted(folder.glob("*_stat-effect_statmap.nii.gz"))
        if name.casefold() in path.name.casefold() and all(f"_{part}_" in path.name for part in shared)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _tile(path: Path | None, stage: Stage, at_mm: Sequence[float]) -> npt.NDArray[np.float32]:
    """An axial and a sagittal cut side by side, NaN where not observed."""
    if path is None:
        blank = np.full(stage.grid.shape, np.nan, dtype=np.float32)
        return _join(place(blank, stage.grid), at_mm)
    effect = read_map(path).data.copy()
    counts = path.with_name(path.name.replace("_stat-effect_", "_stat-n_"))
    effect[(read_map(counts).data == 0) if counts.is_file() else (effect == 0)] = np.nan
    return _join(place(effect, stage.grid), at_mm)


def _join(box: Box, at_mm: Sequence[float]) -> npt.NDArray[np.float32]:
    axial, sagittal = box.cut(2, at_mm[2]), box.cut(0, at_mm[0])
    if axial is None or sagittal is None:
        return np.full((2, 2), np.nan, dtype=np.float32)
    height = max(axial.shape[0], sagittal.shape[0])
    parts = [_pad(part, height) for part in (axial, sagittal)]
    return np.concatenate([parts[0], parts[1], np.full((height, 2), np.nan, dtype=np.float32)], axis=1)


def _pad(tile: npt.NDArray[np.float32], height: int) -> npt.NDArray[np.float32]:
    below = (height - tile.shape[0]) // 2
    return np.pad(tile, ((below, height - tile.shape[0] - below), (0, 0)), constant_values=np.nan)


def _quality(quality: pd.DataFrame | None, album: Album, stem: str) -> Picture | None:
    if quality is None or "is_outlier" not in quality:
        return None
    metrics = {
        name: title for name, title in _QUALITY.items() if name in quality and quality[name].notna().any()
    }
    if not metrics:
        return None
    marked = list(quality.loc[quality["is_outlier"].astype(bool), "label"])
    return album.add(
        charts.draw_quality(quality, metrics),
        f"{stem}_desc-quality_participants.svg",
        alt=f"{', '.join(metrics.values())} of each row; marked: {', '.join(marked) or 'none'}.",
        caption="Each row's map beside the others. Triangles are marked as unusual; see the table for the reasons.",
    )


# ------------------------------------------------------------------------------------- design


def _design(analysis: AnalysisFiles, album: Album, stem: str) -> Picture:
    n_columns = analysis.matrix.shape[1]
    weights = {contrast.name: weights_of(contrast, n_columns) for contrast in analysis.contrasts}
    known = {name: rows for name, rows in weights.items() if rows is not None}
    return album.add(
        charts.draw_design(analysis.matrix, known),
        f"{stem}_design.svg",
        alt=f"Design matrix of {len(analysis.matrix)} rows and {n_columns} columns: {', '.join(map(str, analysis.matrix.columns))}.",
        caption="Above: the design matrix, each column scaled to its largest magnitude (orange above zero, purple below). Below: the weights of each contrast.",
    )


def _correlations(analysis: AnalysisFiles, album: Album, stem: str) -> Picture | None:
    figure = charts.draw_correlations(analysis.matrix)
    if figure is None:
        return None
    return album.add(
        figure,
        f"{stem}_desc-correlations_design.svg",
        alt="Correlations between the columns of the design that vary.",
        caption="Correlations between the columns of the design that vary.",
    )


def _design_facts(analysis: AnalysisFiles, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    details = dict(analysis.info.get("Details") or {})
    condition = details.get("condition_number")
    found = [
        ("Formula", facts["formula"]),
        ("Rows", facts["n_rows"]),
        ("Columns", analysis.matrix.shape[1]),
        ("Rank", analysis.info.get("Rank")),
        ("Residual degrees of freedom", analysis.info.get("DegreesOfFreedom")),
        ("Centring", facts["centering"]),
        ("Condition number", f"{condition:.3g}" if isinstance(condition, (int, float)) else None),
    ]
    return [(name, str(value)) for name, value in found if value is not None]


def _design_table(folder: Folder, analysis: AnalysisFiles) -> TableView:
    path = folder.root / f"{analysis.stem}_design.tsv"
    return view_table(read_table(path), name=path.name, caption="The design matrix.")


def _detail_table(
    analysis: AnalysisFiles, stem: str, key: str, columns: list[str], caption: str
) -> TableView | None:
    """Prepare a table of one number per name that the design's sidecar holds."""
    values = dict(analysis.info.get("Details") or {}).get(key)
    if not values:
        return None
    rows = [(str(name), str(value)) for name, value in dict(values).items()]
    return view_table(pd.DataFrame(rows, columns=columns), name=f"{stem}_{key}.tsv", caption=caption)


def _contrast_table(analysis: AnalysisFiles, stem: str) -> TableView | None:
    rows = [
        {
            "contrast": contrast.name,
            "test": contrast.test,
            "in words": contrast.words,
            "as written": contrast.expression,
        }
        for contrast in analysis.contrasts
    ]
    return (
        view_table(pd.DataFrame(rows), name=f"{stem}_contrasts.tsv", caption="The contrasts in words.")
        if rows
        else None
    )
