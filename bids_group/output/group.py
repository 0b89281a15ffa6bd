"""The files of one group analysis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.config import AnalysisSpec
from bids_group.errors import BidsGroupError
from bids_group.output.clusters import RegionNamer, label_clusters, tabulate_clusters
from bids_group.output.disk import write_json, write_table, write_volume
from bids_group.output.manifest import record_outputs
from bids_group.output.names import contrast_label, contrast_stem, shared_entities
from bids_group.output.sidecars import (
    STAT_WORDS,
    Context,
    analysis_sidecar,
    contrast_entry,
    contrast_sidecar,
    corrected_sidecar,
    correction_label,
)
from bids_group.output.texts import COLUMNS
from bids_group.records import (
    Cohort,
    ContrastResult,
    GroupAnalysis,
    GroupData,
    Notice,
    OutputFile,
    Significance,
)

_WELCH = "Statistic that allows each variance group its own variance (Welch's v or G), as a normal deviate"
_STATISTIC_INTENTS = {"z": "z score", "p": "p value"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Draft:
    """A file to be written, with its sidecar. ``write`` makes the content when its turn has come."""

    path: Path
    write: Callable[[Path], object]
    sidecar: Mapping[str, Any]
    stat: str | None = None
    contrast: str | None = None

    @property
    def sidecar_path(self) -> Path:
        name = self.path.name.removesuffix(".gz")
        return self.path.with_name(name[: name.rindex(".")] + ".json")


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
        *(draft for result in results for draft in _contrast_drafts(context, result)),
        *(
            draft
            for one in significances
            for draft in _significance_drafts(context, by_name[one.contrast], one, atlas)
        ),
        *(draft for result in results for draft in _shuffling_drafts(context, result, significances)),
        *_peak_tables(context, by_name, peaks or {}),
    ]
    return _write(output_dir, drafts)


def _write(output_dir: Path, drafts: Sequence[_Draft]) -> tuple[OutputFile, ...]:
    """Note every name first: what a killed run wrote is known. Of two drafts of one name the later counts."""
    last = {draft.path: draft for draft in drafts}
    own = (path for draft in last.values() for path in (draft.path, draft.sidecar_path))
    record_outputs(output_dir, (path.relative_to(output_dir) for path in own))
    written = []
    for draft in last.values():
        draft.write(draft.path)
        write_json(draft.sidecar_path, draft.sidecar)
        sources = tuple(draft.sidecar.get("Sources", ()))
        path = draft.path.relative_to(output_dir)
        written.append(OutputFile(path=path, stat=draft.stat, contrast=draft.contrast, sources=sources))
    return tuple(written)


def _analysis_drafts(
    context: Context, coverage: npt.NDArray[np.integer[Any]], notices: Sequence[Notice]
) -> Iterator[_Draft]:
    elements, stem = context.data.elements, context.stem
    matrix = context.data.design.matrix
    yield _Draft(
        path=Path(f"{stem}_design.tsv"),
        write=lambda path: write_table(path, matrix.rename_axis("label").reset_index()),
        sidecar=_design_sidecar(context, notices),
    )
    yield _volume(
        context,
        f"{stem}_desc-analysis_mask.nii.gz",
        lambda: elements.mask.astype(np.uint8),
        analysis_sidecar(
            context, "Analysed elements: observed in enough rows and inside the mask that was given"
        )
        | {"Type": "Brain", "NumberOfElements": elements.n_elements},
    )
    yield _volume(
        context,
        f"{stem}_stat-n_statmap.nii.gz",
        lambda: np.where(elements.mask, coverage, 0).astype(np.float32),
        analysis_sidecar(context, STAT_WORDS["n"]),
        stat="n",
    )
    yield _volume(
        context,
        f"{stem}_desc-coverage_map.nii.gz",
        lambda: np.asarray(coverage, dtype=np.float32),
        analysis_sidecar(context, "Number of rows observed at each element, also outside the analysis mask"),
    )


def _design_sidecar(context: Context, notices: Sequence[Notice]) -> dict[str, Any]:
    design, analysis = context.data.design, context.analysis
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
            }
            for one in analysis.observations
        ],
        "Blocks": _labels_of(context.data.blocks),
        "VarianceGroups": _labels_of(context.data.variance_groups),
        "Node": analysis.node,
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
) -> Iterator[_Draft]:
    endings = {"desc-quality_table": quality, "desc-regions_effects": regions}
    words = {
        "desc-quality_table": "Quality of the map of each row",
        "desc-regions_effects": "Mean effect of each row in each region of the atlas",
    }
    for ending, table in endings.items():
        if table is not None:
            named = table if "label" in table.columns else table.rename_axis("label").reset_index()
            yield _table(f"{context.stem}_{ending}.tsv", named, analysis_sidecar(context, words[ending]))


def _peak_tables(
    context: Context, results: Mapping[str, ContrastResult], peaks: Mapping[str, pd.DataFrame]
) -> Iterator[_Draft]:
    for name, table in peaks.items():
        stem = contrast_stem(context.output_dir, context.analysis, results[name].contrast)
        sidecar = contrast_sidecar(context, results[name], "Values of each row at the peaks")
        yield _table(f"{stem}_desc-peaks_data.tsv", table, sidecar, contrast=name)


def _contrast_drafts(context: Context, result: ContrastResult) -> Iterator[_Draft]:
    stem = contrast_stem(context.output_dir, context.analysis, result.contrast)
    for stat, row in result.maps.items():
        _check_numbers(result, stat, row)
        yield _volume(
            context,
            f"{stem}_stat-{stat}_statmap.nii.gz",
            partial(_unpack, context, row, fill=1.0 if stat == "p" else 0.0),
            contrast_sidecar(context, result, _stat_words(context, result, stat)),
            stat=stat,
            contrast=result.contrast.name,
            intent=_intent(result, stat),
        )


def _stat_words(context: Context, result: ContrastResult, stat: str) -> str:
    if stat != "p":
        return STAT_WORDS.get(stat, stat)
    is_two_sided = context.spec.inference.is_two_sided and result.contrast.test == "t"
    return f"{STAT_WORDS['p']} ({'two-sided' if is_two_sided else 'one-sided, upper tail'})"


def _intent(result: ContrastResult, stat: str) -> tuple[str, tuple[float, ...]] | None:
    """Tell viewers what the numbers are; t and F where their degrees of freedom are the same everywhere."""
    if stat in _STATISTIC_INTENTS:
        return _STATISTIC_INTENTS[stat], ()
    if stat not in ("t", "F") or result.dof is None or not np.isfinite(result.dof):
        return None
    numerator = (float(result.dof_numerator),) if stat == "F" else ()
    return f"{stat.lower()} test", (*numerator, float(result.dof))


def _significance_drafts(
    context: Context, result: ContrastResult, significance: Significance, atlas: RegionNamer | None
) -> Iterator[_Draft]:
    name = correction_label(significance.correction)
    stem = contrast_stem(context.output_dir, context.analysis, result.contrast)
    if significance.p_corrected is not None:
        _check_numbers(result, "p", significance.p_corrected)
        yield _volume(
            context,
            f"{stem}_stat-p_desc-{name}_statmap.nii.gz",
            partial(_unpack, context, significance.p_corrected, fill=1.0),
            corrected_sidecar(
                context, result, significance, f"p-value corrected by {significance.correction}"
            ),
            stat="p",
            intent=("p value", ()),
            contrast=result.contrast.name,
        )
    if significance.z is not None:
        yield _volume(
            context,
            f"{stem}_stat-z_desc-varianceGroups_statmap.nii.gz",
            partial(_unpack, context, significance.z, fill=0.0),
            {**contrast_sidecar(context, result, _WELCH), **significance.details},
            stat="z",
            intent=("z score", ()),
            contrast=result.contrast.name,
        )
    yield _table(
        f"{stem}_desc-{name}_clusters.tsv",
        tabulate_clusters(result, significance, context.data.elements, atlas),
        corrected_sidecar(context, result, significance, "Clusters and their peaks"),
        contrast=result.contrast.name,
    )
    yield _volume(
        context,
        f"{stem}_desc-{name}_dseg.nii.gz",
        partial(label_clusters, significance, context.data.elements),
        corrected_sidecar(
            context, result, significance, "Clusters: each element's number in the cluster table, 0 = none"
        ),
        contrast=result.contrast.name,
    )
    if significance.null:
        words = "Null distribution, one row per shuffle; the first row is the unshuffled data"
        sidecar = corrected_sidecar(context, result, significance, words)
        null = pd.DataFrame({name: pd.Series(values) for name, values in significance.null.items()})
        yield _table(f"{stem}_desc-{name}_null.tsv", null, sidecar, contrast=result.contrast.name)


def _shuffling_drafts(
    context: Context, result: ContrastResult, significances: Sequence[Significance]
) -> Iterator[_Draft]:
    """Draft the uncorrected p by shuffling, which is the same under every correction of the contrast."""
    own = (one.by_shuffling for one in significances if one.contrast == result.contrast.name)
    found = next((one for one in own if one is not None), None)
    if found is None:
        return
    _check_numbers(result, "p", found.p)
    words = "Uncorrected p-value by shuffling: share of the shuffles that reach the element's own statistic"
    yield _volume(
        context,
        f"{contrast_stem(context.output_dir, context.analysis, result.contrast)}"
        "_stat-p_desc-permutation_statmap.nii.gz",
        partial(_unpack, context, found.p, fill=1.0),
        {**contrast_sidecar(context, result, words), "Correction": "none", **found.details},
        stat="p",
        intent=("p value", ()),
        contrast=result.contrast.name,
    )


def _unpack(context: Context, row: npt.NDArray[np.float32], fill: float) -> npt.NDArray[np.float32]:
    """Put a row into a volume; several rows ``(q, n_elements)`` become a fourth axis."""
    elements = context.data.elements
    if row.ndim == 1:
        return elements.unpack(row.astype(np.float32, copy=False), fill)
    return np.stack([elements.unpack(one.astype(np.float32, copy=False), fill) for one in row], axis=-1)


def _check_numbers(result: ContrastResult, stat: str, row: npt.NDArray[np.float32]) -> None:
    """Stop before a map with NaN, infinities or impossible p-values is written."""
    is_wrong = ~np.isfinite(row) if stat != "p" else ~((row > 0) & (row <= 1))
    if is_wrong.any():
        raise BidsGroupError(
            f"The {stat} map of the contrast '{result.contrast.name}' has values that cannot be.",
            found=f"{int(is_wrong.sum())} of {row.size}, the first is {row[is_wrong].flat[0]}",
            fix="This is a bug; please report it.",
        )


def _volume(
    context: Context,
    path: str,
    make: Callable[[], npt.NDArray[Any]],
    sidecar: Mapping[str, Any],
    *,
    stat: str | None = None,
    contrast: str | None = None,
    intent: tuple[str, tuple[float, ...]] | None = None,
) -> _Draft:
    grid, space = context.data.elements.grid, shared_entities(context.maps)["space"]
    return _Draft(
        path=Path(path),
        write=lambda target: write_volume(target, make(), grid, space=space, intent=intent),
        sidecar=sidecar,
        stat=stat,
        contrast=contrast,
    )


def _table(
    path: str, table: pd.DataFrame, sidecar: Mapping[str, Any], *, contrast: str | None = None
) -> _Draft:
    """Draft a table; its sidecar describes the columns that we have words for."""
    meanings = {str(name): COLUMNS[str(name)] for name in table.columns if str(name) in COLUMNS}
    described = {
        name: {"Description": text} if isinstance(text, str) else text for name, text in meanings.items()
    }
    return _Draft(
        path=Path(path),
        write=lambda target: write_table(target, table),
        sidecar={**sidecar, **described},
        contrast=contrast,
    )
