"""Everything that can be known before a single map is read: people, models, designs, shuffles."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bids_group.bids import check_matrix_rows, gather_cohort, keep_complete, tell_lost_levels
from bids_group.config import AnalysisSpec, InferenceSpec, RunConfig
from bids_group.config.stats_model import StatsModel, compile_request
from bids_group.config.stats_model_reading import read_model
from bids_group.config.stats_model_request import settle_request
from bids_group.errors import BidsGroupError, DataError, UsageError
from bids_group.inference import check_inference
from bids_group.model import (
    add_columns,
    build_design,
    input_names,
    needed_variables,
    plan_analyses,
    plan_pooling,
    plan_scaling,
    restrict,
)
from bids_group.output import check_output_names
from bids_group.output.report import Atlas, read_atlas
from bids_group.records import Cohort, Design, Exclusion, FirstLevelMap, GroupAnalysis, Notice, Observation
from bids_group.workflow.images import check_one_grid, settle_masks

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlannedAnalysis:
    """One group model, ready to be fitted."""

    analysis: GroupAnalysis
    design: Design
    blocks: pd.Series | None
    variance_groups: pd.Series | None
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """A request together with the people, maps and models that it stands for."""

    config: RunConfig
    spec: AnalysisSpec
    model: StatsModel
    cohort: Cohort
    analyses: tuple[GroupAnalysis, ...]
    """Every group model with its rows; at the participant level also rows without a covariate."""
    planned: tuple[PlannedAnalysis, ...]
    """Their designs; none at the participant level."""
    observations: tuple[Observation, ...]
    """What is pooled, each once: also that of people whom a group model leaves out."""
    exclusions: tuple[Exclusion, ...]
    notices: tuple[Notice, ...]
    atlas: Atlas | None


def prepare(config: RunConfig) -> Job:
    """Find people and maps, settle the model, and build and check every design."""
    model = None
    if config.analysis.model_file is not None:
        model, config = settle_request(read_model(config.analysis.model_file), config)
    cohort = gather_cohort(config.inputs, config.selection, config.output_dir)
    config = _settle_design(config, cohort, model)
    spec, cohort, pooling_notices = _settle_pooling(config.analysis, cohort)
    spec, extent_notices = _settle_extent(spec)
    if model is None:
        model = compile_request(
            config.analysis, config.selection, spec.pooling, config.inputs, cohort.cell_factors
        )
    cohort, mask_notices = settle_masks(spec, cohort, is_group=config.level == "group")
    pooling = plan_pooling(cohort, model, spec)
    analyses = plan_analyses(cohort, model, spec) if config.level == "group" else ()
    rowless = check_matrix_rows(analyses, cohort, spec.missing)
    planned, exclusions = _plan_designs(analyses, spec, cohort, rowless)
    check_output_names([(one.analysis, one.design) for one in planned])
    atlas, atlas_notices = _read_atlas(spec, cohort)
    observations = tuple(
        dict.fromkeys(one for analysis in (*pooling, *analyses) for one in analysis.observations)
    )
    check_one_grid((one.analysis for one in planned), observations, spec.mask)
    job = Job(
        config=config,
        spec=spec,
        model=model,
        cohort=cohort,
        analyses=tuple(one.analysis for one in planned) if config.level == "group" else pooling,
        planned=planned,
        observations=observations,
        exclusions=exclusions,
        notices=_distinct(
            [
                *cohort.notices,
                *pooling_notices,
                *extent_notices,
                *mask_notices,
                *atlas_notices,
                *_tell_idle_options(spec.inference),
                *_tell_zeros(spec, cohort),
                *(notice for one in planned for notice in one.notices),
            ]
        ),
        atlas=atlas,
    )
    if config.execution.is_dry_run and config.execution.output_format == "text":
        say(one for one in job.notices if one.severity == "warning")  # the page says the rest
    else:
        _log(job)
    return job


def _settle_design(config: RunConfig, cohort: Cohort, model: StatsModel | None) -> RunConfig:
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


def _settle_pooling(spec: AnalysisSpec, cohort: Cohort) -> tuple[AnalysisSpec, Cohort, tuple[Notice, ...]]:
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
    notice = Notice(
        severity="warning",
        topic="pooling",
        sentence="Not every effect has a variance map: maps of a participant are pooled by their plain mean.",
        fix="Give variance maps for all runs, or say --pooling mean to silence this.",
    )
    return settled, cohort, (notice,)


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


def _settle_extent(spec: AnalysisSpec) -> tuple[AnalysisSpec, tuple[Notice, ...]]:
    """Judge the uncorrected height that a cluster extent belongs to, with a note."""
    inference = spec.inference
    if inference.cluster_extent_mm3 is None or "none" in inference.corrections:
        return spec, ()
    sentence = (
        f"--cluster-extent {inference.cluster_extent_mm3:g} belongs to the uncorrected height"
        f" p ≤ {inference.cluster_forming_p:g}, which is shown beside {', '.join(inference.corrections)}."
    )
    with_height = replace(inference, corrections=(*inference.corrections, "none"))
    notice = Notice(severity="note", topic="extent", sentence=sentence)
    return replace(spec, inference=with_height), (notice,)


def _read_atlas(spec: AnalysisSpec, cohort: Cohort) -> tuple[Atlas | None, tuple[Notice, ...]]:
    """Read the atlas before anything is computed; one of another space is used, with a warning."""
    if spec.atlas is None:
        return None, ()
    atlas = read_atlas(spec.atlas)
    spaces = {one.space for one in cohort.maps if one.space is not None}
    if atlas.space is None or not spaces or atlas.space in spaces:
        return atlas, ()
    notice = Notice(
        severity="warning",
        topic="atlas",
        sentence=f"The atlas lies in the space {atlas.space}, the maps in {', '.join(sorted(spaces))}.",
        fix="Region names can be off by millimetres; take an atlas of the maps' space.",
    )
    return atlas, (notice,)


def _tell_idle_options(inference: InferenceSpec) -> list[Notice]:
    """Name settings of shuffling that do nothing because no correction shuffles."""
    if not inference.idle:
        return []
    options = ", ".join(inference.idle)
    return [
        Notice(
            severity="warning",
            topic="shuffling",
            sentence=f"Nothing is shuffled by the corrections asked for: {options} change nothing.",
            fix="Add --correction fwe-voxel (or fwe-size, fwe-mass, fwe-tfce).",
        )
    ]


def _tell_zeros(spec: AnalysisSpec, cohort: Cohort) -> list[Notice]:
    """Warn where a value of 0 may be data, and people who have it are left out element by element."""
    if spec.min_coverage >= 1 or not any(m.suffix != "statmap" and m.mask is None for m in cohort.maps):
        return []
    sentence = (
        f"With --min-coverage {spec.min_coverage:g} people whose map is exactly 0 somewhere are left out "
        "there: means are of those above 0."
    )
    fix = "Put a mask of each person (…_desc-brain_mask) beside the maps, or leave --min-coverage at 1."
    return [Notice(severity="warning", topic="maps", sentence=sentence, fix=fix)]


def _plan_designs(
    analyses: Iterable[GroupAnalysis], spec: AnalysisSpec, cohort: Cohort, rowless: Collection[str]
) -> tuple[tuple[PlannedAnalysis, ...], tuple[Exclusion, ...]]:
    designs: list[tuple[GroupAnalysis, Design]] = []
    exclusions: list[Exclusion] = []
    for analysis in analyses:
        complete, left_out = _complete(analysis, spec, cohort)
        exclusions.extend((*complete.exclusions, *_name_rowless(left_out, rowless)))
        complete = plan_scaling(complete, spec.scale_by)
        designs.append((complete, _build_design(complete)))
    n_contrasts = sum(len(design.contrasts) for _, design in designs)
    planned = tuple(_plan_design(analysis, design, spec, n_contrasts) for analysis, design in designs)
    return planned, tuple(dict.fromkeys(exclusions))


def _name_rowless(left_out: Iterable[Exclusion], rowless: Collection[str]) -> Iterator[Exclusion]:
    """Say of whom the design matrix has no row that this is so, in place of its columns."""
    for one in left_out:
        session = f"_ses-{one.session}" if one.session else ""
        is_rowless = f"sub-{one.subject}{session}" in rowless
        yield replace(one, reason="no row in the design matrix (--missing drop)") if is_rowless else one


def _build_design(analysis: GroupAnalysis) -> Design:
    """Build a design; where these rows cannot support it, what was found of their columns is told first."""
    try:
        return build_design(analysis)
    except BidsGroupError as error:
        for note in dict.fromkeys(getattr(error, "__notes__", ())):
            LOGGER.warning(note)
        raise


def _complete(
    analysis: GroupAnalysis, spec: AnalysisSpec, cohort: Cohort
) -> tuple[GroupAnalysis, tuple[Exclusion, ...]]:
    """Keep the rows that have every value the model needs, and tell what is odd about the columns used."""
    inference = spec.inference
    others = (inference.exchangeability_blocks, inference.variance_groups, spec.scale_by)
    extra = [name for name in others if name]
    used = needed_variables(analysis.formula, analysis.rows.columns, centering=analysis.centering)
    needed = tuple(dict.fromkeys([*used, *extra]))
    about_labels = next((one for one in cohort.notices if one.topic == "labels"), None)
    labels, left_out = keep_complete(analysis.rows, needed, spec.missing, analysis.columns, about_labels)
    read = dict.fromkeys([*needed, *input_names(analysis.instructions), *analysis.group_labels])
    columns = [analysis.columns[name] for name in read if name in analysis.columns]
    notices = [one for column in columns for one in column.notices]
    complete = restrict(analysis, labels)
    notices += tell_lost_levels(analysis.rows, complete.rows, analysis.columns)
    return replace(complete, notices=(*complete.notices, *notices)), left_out


def _plan_design(
    analysis: GroupAnalysis, design: Design, spec: AnalysisSpec, n_contrasts: int
) -> PlannedAnalysis:
    blocks = _blocks(analysis, spec)
    groups = spec.inference.variance_groups
    variance_groups = analysis.rows[groups] if groups else None
    inference_notices = check_inference(
        design,
        spec.inference,
        is_complete=spec.min_coverage >= 1,
        blocks=blocks,
        variance_groups=variance_groups,
        subjects=analysis.rows["subject"],
        estimator=analysis.estimator,
        n_contrasts=n_contrasts,
    )
    return PlannedAnalysis(
        analysis=analysis,
        design=design,
        blocks=blocks,
        variance_groups=variance_groups,
        notices=_distinct([*analysis.notices, *design.notices, *inference_notices]),
    )


def _blocks(analysis: GroupAnalysis, spec: AnalysisSpec) -> pd.Series | None:
    """Take the column that was named; several rows per person are a block of their own by default."""
    if spec.inference.exchangeability_blocks:
        return analysis.rows[spec.inference.exchangeability_blocks]
    if analysis.rows["subject"].duplicated().any():
        return analysis.rows["subject"]
    if spec.inference.block_scheme is not None:
        raise UsageError(
            f"--{spec.inference.block_scheme}-blocks needs to know the blocks.",
            found="one row per person, and no column of blocks",
            fix="Name their column: --exchangeability-blocks COL",
        )
    return None


def _distinct(notices: Iterable[Notice]) -> tuple[Notice, ...]:
    return tuple(dict.fromkeys(notices))


def _log(job: Job) -> None:
    people = {one.subject for analysis in job.analyses for one in analysis.observations}
    n_maps = sum(len(one.maps) for one in {one for each in job.analyses for one in each.observations})
    models = f", {counted(len(job.planned), 'group model')}" if job.config.level == "group" else ""
    LOGGER.info("%s of %s%s", counted(n_maps, "map"), counted(len(people), "participant"), models)
    say(job.notices)
    reasons = Counter(_reason(one) for one in (*job.cohort.exclusions, *job.exclusions))
    for reason, n in reasons.items():
        LOGGER.info("not in the analysis: %s%s", reason, f" ({n})" if n > 1 else "")


def counted(n: int, noun: str) -> str:
    """Spell a number of things: ``1 map``, ``2 maps``."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def say(notices: Iterable[Notice]) -> None:
    """Put notices into the log."""
    for notice in dict.fromkeys(notices):
        level = logging.WARNING if notice.severity == "warning" else logging.INFO
        LOGGER.log(level, "%s%s", notice.sentence, f" {notice.fix}" if notice.fix else "")


def _reason(exclusion: Exclusion) -> str:
    """Name people one by one; maps, and people nobody asked for, are counted (the ledger names each)."""
    is_counted = exclusion.path is not None or exclusion.reason.startswith("not selected")
    return exclusion.reason if is_counted else f"sub-{exclusion.subject}, {exclusion.reason}"
