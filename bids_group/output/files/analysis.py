"""The files of one group analysis: what all its contrasts share, then those of each contrast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.config import AnalysisSpec
from bids_group.output.disk.writing import write_table
from bids_group.output.files.clusters import RegionNamer
from bids_group.output.files.contrasts import draft_contrast, draft_peaks, draft_shuffling, draft_significance
from bids_group.output.files.drafts import Draft, draft_table, draft_volume, write_drafts
from bids_group.output.files.names import contrast_label
from bids_group.output.files.sidecars import STAT_WORDS, Context, analysis_sidecar, contrast_entry
from bids_group.records import (
    Cohort,
    ContrastResult,
    GroupAnalysis,
    GroupData,
    Notice,
    OutputFile,
    Significance,
)


def write_group(
    output_dir: Path,
    analysis: GroupAnalysis,
    data: GroupData,
    results: Sequence[ContrastResult],
    significances: Sequence[Significance],
    *,
    spec: AnalysisSpec,
    cohort: Cohort,
    coverage: npt.NDArray[np.integer[Any]],
    notices: Sequence[Notice] = (),
    quality: pd.DataFrame | None = None,
    peaks: Mapping[str, pd.DataFrame] | None = None,
    regions: pd.DataFrame | None = None,
    atlas: RegionNamer | None = None,
) -> tuple[OutputFile, ...]:
    """Write every file of one group analysis under ``group/``.

    Parameters
    ----------
    coverage
        Number of rows observed at each element of the grid, of the grid's shape.
    notices
        What the user must see; kept in the design's sidecar.
    quality
        One row per observation (index = labels); ``…_desc-quality_table.tsv``.
    peaks
        By group contrast: raw values of each observation at peaks; ``…_desc-peaks_data.tsv``.
    regions
        Mean effect of each observation (index) in each region; ``…_desc-regions_effects.tsv``.
    atlas
        Names clusters and peaks by region.

    Returns
    -------
    tuple of OutputFile
        In the order written; sidecars are not listed.
    """
    context = Context(
        output_dir=output_dir, analysis=analysis, data=data, spec=spec, dataset_names=cohort.dataset_names
    )
    by_name = {result.contrast.name: result for result in results}
    drafts = [
        *_analysis_drafts(context, coverage, notices),
        *_row_tables(context, quality, regions),
        *(draft for result in results for draft in draft_contrast(context, result)),
        *(
            draft
            for one in significances
            for draft in draft_significance(context, by_name[one.contrast], one, atlas)
        ),
        *(draft for result in results for draft in draft_shuffling(context, result, significances)),
        *draft_peaks(context, by_name, peaks or {}),
    ]
    return write_drafts(output_dir, drafts)


def _analysis_drafts(
    context: Context, coverage: npt.NDArray[np.integer[Any]], notices: Sequence[Notice]
) -> Iterator[Draft]:
    elements, stem = context.data.elements, context.stem
    matrix = context.data.design.matrix
    yield Draft(
        path=Path(f"{stem}_design.tsv"),
        write=lambda path: write_table(path, matrix.rename_axis("label").reset_index()),
        sidecar=_design_sidecar(context, notices),
    )
    yield draft_volume(
        context,
        f"{stem}_desc-analysis_mask.nii.gz",
        lambda: elements.mask.astype(np.uint8),
        analysis_sidecar(
            context, "Analysed elements: observed in enough rows and inside the mask that was given"
        )
        | {"Type": "Brain", "NumberOfElements": elements.n_elements},
    )
    yield draft_volume(
        context,
        f"{stem}_stat-n_statmap.nii.gz",
        lambda: np.where(elements.mask, coverage, 0).astype(np.float32),
        analysis_sidecar(context, STAT_WORDS["n"]),
        stat="n",
    )
    yield draft_volume(
        context,
        f"{stem}_desc-coverage_map.nii.gz",
        lambda: np.asarray(coverage, dtype=np.float32),
        analysis_sidecar(context, "Number of rows observed at each element, also outside the analysis mask"),
    )


def _design_sidecar(context: Context, notices: Sequence[Notice]) -> dict[str, Any]:
    design, analysis, cut = context.data.design, context.analysis, context.spec.cut_coords_mm
    return {
        **analysis_sidecar(context, "Design matrix: one row per observation, one column per regressor"),
        "Terms": {term: list(columns) for term, columns in design.terms.items()},
        "Variables": {str(name): column.to_dict() for name, column in design.variables.items()},
        "VariableKinds": _variable_kinds(context),
        "Centers": dict(design.centers),
        "Rank": design.rank,
        "Details": dict(design.details),
        "Contrasts": [contrast_entry(one, contrast_label(analysis, one.label)) for one in design.contrasts],
        "Notices": [_notice(one) for one in dict.fromkeys([*analysis.notices, *design.notices, *notices])],
        "Observations": [
            {
                "label": one.label,
                "participant_id": f"sub-{one.subject}",
                "session": one.session,
                "n_maps": len(one.maps),
                **({"contrast": one.contrast} if one.is_one_of_several else {}),
            }
            for one in analysis.observations
        ],
        "Blocks": _labels_of(context.data.blocks),
        "VarianceGroups": _labels_of(context.data.variance_groups),
        "Node": analysis.node,
        **({} if cut is None else {"CutCoordinates": list(cut)}),
    }


def _variable_kinds(context: Context) -> dict[str, Any]:
    columns, names = context.analysis.columns, context.data.design.variables.columns
    return {
        name: {
            "Kind": columns[name].kind,
            "KindSource": columns[name].kind_source,
            "Levels": list(columns[name].levels),
            "Units": columns[name].units,
            "Description": columns[name].description,
        }
        for name in map(str, names)
        if name in columns
    }


def _labels_of(series: pd.Series | None) -> dict[str, str] | None:
    return None if series is None else {str(row): str(value) for row, value in series.items()}


def _notice(notice: Notice) -> dict[str, Any]:
    return {
        "severity": notice.severity,
        "topic": notice.topic,
        "sentence": notice.sentence,
        "fix": notice.fix,
    }


def _row_tables(
    context: Context, quality: pd.DataFrame | None, regions: pd.DataFrame | None
) -> Iterator[Draft]:
    endings = {"desc-quality_table": quality, "desc-regions_effects": regions}
    words = {
        "desc-quality_table": "Quality of the map of each row",
        "desc-regions_effects": "Mean effect of each row in each region of the atlas",
    }
    for ending, table in endings.items():
        if table is not None:
            named = table if "label" in table.columns else table.rename_axis("label").reset_index()
            own = table.attrs.get("compared_within")
            sidecar = analysis_sidecar(context, words[ending]) | ({"OutliersWithin": own} if own else {})
            yield draft_table(f"{context.stem}_{ending}.tsv", named, sidecar)
