"""What a request leaves open is settled by what was found; files beside the maps are read and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bids_group.bids import check_grids
from bids_group.config import AnalysisSpec, InferenceSpec, RunConfig
from bids_group.config.corrections import UNCORRECTED
from bids_group.config.stats_model import StatsModel
from bids_group.elements import read_mask
from bids_group.errors import DataError, UsageError
from bids_group.model import add_columns
from bids_group.output.report import Atlas, read_atlas
from bids_group.records import Cohort, FirstLevelMap, GroupAnalysis, Notice, Observation, note, warn


def settle_design(config: RunConfig, cohort: Cohort, model: StatsModel | None) -> RunConfig:
    """Write a design matrix of the user's own as a formula of its columns; a model's must be the same."""
    if cohort.design_matrix is None:
        return config
    formula = add_columns(cohort.design_matrix.columns)
    for node in () if model is None else model.dataset_nodes:
        if node.formula != formula or node.settings["center"] != "none":
            raise UsageError(
                f"The node {node.name!r} has another design than its design_matrix.",
                found=f"the formula {node.formula or 'of X'}, centring {node.settings['center']}",
                expected=f"{formula}, centring none",
                fix="Leave design_matrix out of the model's settings, or mend its Formula.",
            )
    return replace(config, analysis=replace(config.analysis, formula=formula, centering="none"))


def settle_pooling(spec: AnalysisSpec, cohort: Cohort) -> tuple[AnalysisSpec, Cohort, tuple[Notice, ...]]:
    """Precision where every map of the dataset has a variance, else the mean, with a warning.

    Precision that was asked for is precision: it needs the variances of the maps that are pooled, no others.
    """
    together = Counter(_pooled_as(one, spec) for one in cohort.maps)
    lacking = [one for one in cohort.maps if one.variance is None and together[_pooled_as(one, spec)] > 1]
    if spec.pooling == "precision":
        if lacking:
            raise _no_precision(lacking)
        return spec, replace(cohort, has_variance_everywhere=True), ()
    if cohort.has_variance_everywhere or spec.pooling == "mean":
        return replace(spec, pooling=spec.pooling or "precision"), cohort, ()
    settled = replace(spec, pooling=spec.pooling or "mean")
    if max(together.values(), default=0) < 2:
        return settled, cohort, ()
    sentence = "Not every effect has a variance map: maps of a participant are pooled by their plain mean."
    fix = "Give variance maps for all runs, or say --pooling mean to silence this."
    return settled, cohort, (warn("pooling", sentence, fix),)


def _pooled_as(one: FirstLevelMap, spec: AnalysisSpec) -> tuple[str | None, ...]:
    """Name what a map becomes a part of."""
    return one.subject, one.contrast, one.session if spec.pooling == "none" else None


def _no_precision(lacking: Sequence[FirstLevelMap]) -> DataError:
    more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
    return DataError(
        "Maps cannot be pooled by their precision (--pooling precision).",
        found=f"no variance map for {lacking[0].effect}{more}",
        expected="a variance map for every effect map that is pooled with others",
        fix="Give the variance, leave the map out, or use --pooling mean.",
    )


def settle_extent(spec: AnalysisSpec) -> tuple[AnalysisSpec, tuple[Notice, ...]]:
    """Judge the uncorrected height that a cluster extent belongs to, with a note."""
    inference = spec.inference
    if inference.cluster_extent_mm3 is None or UNCORRECTED.name in inference.corrections:
        return spec, ()
    sentence = (
        f"--cluster-extent {inference.cluster_extent_mm3:g} belongs to the uncorrected height"
        f" p ≤ {inference.cluster_forming_p:g}, which is shown beside {', '.join(inference.corrections)}."
    )
    with_height = replace(inference, corrections=(*inference.corrections, UNCORRECTED.name))
    return replace(spec, inference=with_height), (note("extent", sentence),)


def settle_atlas(spec: AnalysisSpec, cohort: Cohort) -> tuple[Atlas | None, tuple[Notice, ...]]:
    """Read the atlas before anything is computed; one of another space is used, with a warning."""
    if spec.atlas is None:
        return None, ()
    atlas = read_atlas(spec.atlas)
    spaces = {one.space for one in cohort.maps if one.space is not None}
    if atlas.space is None or not spaces or atlas.space in spaces:
        return atlas, ()
    sentence = f"The atlas lies in the space {atlas.space}, the maps in {', '.join(sorted(spaces))}."
    fix = "Region names can be off by millimetres; take an atlas of the maps' space."
    return atlas, (warn("atlas", sentence, fix),)


def tell_idle_options(inference: InferenceSpec) -> list[Notice]:
    """Name settings of shuffling that do nothing because no correction shuffles."""
    if not inference.idle:
        return []
    options = ", ".join(inference.idle)
    sentence = f"Nothing is shuffled by the corrections asked for: {options} change nothing."
    return [warn("shuffling", sentence, "Add --correction fwe-voxel (or fwe-size, fwe-mass, fwe-tfce).")]


def tell_zeros(spec: AnalysisSpec, cohort: Cohort) -> list[Notice]:
    """Warn where a value of 0 may be data, and people who have it are left out element by element."""
    if spec.min_coverage >= 1 or not any(m.suffix != "statmap" and m.mask is None for m in cohort.maps):
        return []
    sentence = (
        f"With --min-coverage {spec.min_coverage:g} people whose map is exactly 0 somewhere are left out "
        "there: means are of those above 0."
    )
    fix = "Put a mask of each person (…_desc-brain_mask) beside the maps, or leave --min-coverage at 1."
    return [warn("maps", sentence, fix)]


def settle_masks(spec: AnalysisSpec, cohort: Cohort, *, is_group: bool) -> tuple[Cohort, tuple[Notice, ...]]:
    """Read the mask of the analysis, which must be one, and tell the maps which threshold theirs has.

    The mask's grid is compared once there is a map beside it; at the participant level it is not used.
    """
    notices = []
    if spec.mask is not None and is_group:
        words = read_mask(spec.mask, spec.mask_threshold).words
        sentence = f"The mask {spec.mask.name} is read with --mask-threshold: {words}."
        notices += [note("mask", sentence)] if words else []
    if spec.mask_threshold is None:
        return cohort, tuple(notices)
    if spec.mask is None and all(one.mask is None for one in cohort.maps):
        sentence = "--mask-threshold changes nothing: neither --mask nor a mask of a map is given."
        notices.append(warn("mask", sentence))
    maps = tuple(replace(one, mask_threshold=spec.mask_threshold) for one in cohort.maps)
    return replace(cohort, maps=maps), tuple(notices)


def check_one_grid(
    analyses: Iterable[GroupAnalysis], observations: Iterable[Observation], mask: Path | None
) -> None:
    """Refuse maps of one analysis, or of one person, on different grids, and a mask on another one."""
    together = [(tuple(m for row in one.observations for m in row.maps), mask) for one in analyses]
    check_grids([*together, *((one.maps, None) for one in observations)])
