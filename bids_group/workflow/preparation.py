"""Everything that can be known before a single map is read: people, models, designs, shuffles."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bids_group import bids, inference, model, output
from bids_group.config import AnalysisSpec, RunConfig
from bids_group.config.corrections import UNCORRECTED
from bids_group.config.stats_model import StatsModel, write_model_json
from bids_group.config.stats_model_request import compile_request, settle_request
from bids_group.elements import Surfaces, find_pair, name_elements
from bids_group.errors import BidsGroupError, DataError, UsageError
from bids_group.executor import Executor, Threads, choose_executor
from bids_group.labels import is_adult_mni
from bids_group.output import report
from bids_group.records import Cohort, Design, Exclusion, GroupAnalysis, Notice, Observation, note, warn
from bids_group.words import counted
from bids_group.workflow.remarks import (
    point_into_model,
    tell_idle,
    tell_lost_by_groups,
    tell_mask,
    tell_regions,
)
from bids_group.workflow.surfaces import settle_surfaces

LOGGER = logging.getLogger(__name__)

MOST_LEFT_OUT = 3
"""People without whom a significant contrast is tested again, one at a time."""

MOST_NAMED = 20
"""People out for one reason who are named in the log; more are counted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlannedAnalysis:
    """One group model, ready to be fitted; ``schemes``: how rows are shuffled, by contrast."""

    analysis: GroupAnalysis
    design: Design
    blocks: pd.Series | None
    variance_groups: pd.Series | None
    schemes: tuple[inference.Scheme, ...]
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunPlan:
    """A request together with the people, maps and models that it stands for.

    ``analyses``: every group model with its rows, at the participant level also rows without a covariate;
    ``planned``: their designs, none at the participant level; ``observations``: what is pooled, each once,
    also that of people whom a group model leaves out; ``surfaces``: those that vertices lie on, by structure.
    """

    config: RunConfig
    spec: AnalysisSpec
    model_json: dict[str, Any]
    cohort: Cohort
    analyses: tuple[GroupAnalysis, ...]
    planned: tuple[PlannedAnalysis, ...]
    observations: tuple[Observation, ...]
    exclusions: tuple[Exclusion, ...]
    notices: tuple[Notice, ...]
    atlas: report.Atlas | report.StructureAtlas | None
    surfaces: Surfaces
    executor: Executor

    @property
    def identity(self) -> dict[str, Any]:
        """All that changes the result, for OUTPUT_DIR."""
        return {**self.model_json, "Datasets": sorted(self.cohort.dataset_names)}

    @property
    def designs(self) -> list[tuple[GroupAnalysis, Design]]:
        """Each group model with its design."""
        return [(one.analysis, one.design) for one in self.planned]

    @property
    def n_contrasts(self) -> int:
        """Number of contrasts that are fitted, of all group models."""
        return sum(len(one.design.contrasts) for one in self.planned)

    def notices_of(self, planned: PlannedAnalysis) -> list[Notice]:
        """Give what is told of one group model: all but what belongs to others alone."""
        elsewhere = {notice for one in self.planned if one is not planned for notice in one.notices}
        return [one for one in self.notices if one in planned.notices or one not in elsewhere]


def prepare(config: RunConfig) -> RunPlan:
    """Find people and maps, settle the model, and build and check every design."""
    executor, is_group = choose_executor(config.execution, config.output_dir), config.level == "group"
    asked, config = _settle_model_file(config)
    threads = Threads(n_procs=config.execution.n_procs)  # headers are read here, wherever the work is done
    cohort = bids.gather_cohort(config.inputs, config.selection, config.output_dir, threads)
    config = _settle_design(config, cohort, asked)
    spec, cohort, notices = settle_pooling(config.analysis, cohort)
    stats_model = asked or compile_request(
        config.analysis, config.selection, spec.pooling, config.inputs, cohort.cell_factors
    )
    spec, cohort, settled = _settle_extent_and_masks(spec, cohort, is_group=is_group)
    pooling = model.plan_pooling(cohort, stats_model, spec)
    cohort = _judge_complete_rows(cohort, stats_model, spec) if is_group else cohort
    analyses = model.plan_analyses(cohort, stats_model, spec) if is_group else ()
    planned, exclusions = _plan_designs(analyses, spec, cohort)
    atlas, about_atlas = _settle_atlas(spec, cohort, is_used=not config.execution.is_dry_run)
    people = {one.subject for each in planned for one in each.analysis.maps}
    surfaces, about_surfaces = settle_surfaces(spec, cohort, people) if is_group else ({}, [])
    observations = dict.fromkeys(one for each in (*pooling, *analyses) for one in each.observations)
    grids = [(one.analysis.maps, spec.mask) for one in planned]
    bids.check_spaces([*grids, *((one.maps, None) for one in observations)], cohort.spaces)
    settled += [*tell_mask(spec), *tell_regions(spec, cohort)] if is_group else []
    told = (*cohort.notices, *notices, *settled, *about_atlas, *about_surfaces, *tell_idle(spec, cohort))
    told += (*tell_lost_by_groups(cohort, analyses), *(one for each in planned for one in each.notices))
    plan = RunPlan(
        config=config,
        spec=spec,
        model_json=write_model_json(stats_model),
        cohort=cohort,
        analyses=tuple(one.analysis for one in planned) if is_group else pooling,
        planned=planned,
        observations=tuple(observations),
        exclusions=exclusions,
        notices=tuple(dict.fromkeys(told)),
        atlas=atlas,
        surfaces=surfaces,
        executor=executor,
    )
    output.check_output_names(plan.designs, plan.observations, output.model_path(plan.model_json))
    _log(plan)
    return plan


def _settle_model_file(config: RunConfig) -> tuple[StatsModel | None, RunConfig]:
    """Make one request of the command line and the model file, where there is one."""
    if config.analysis.model_file is None:
        return None, config
    from bids_group.config.stats_model_reading import read_model

    return settle_request(read_model(config.analysis.model_file), config)


def _settle_design(config: RunConfig, cohort: Cohort, asked: StatsModel | None) -> RunConfig:
    """Write a design matrix of the user's own as a formula of its columns; a model's must be the same."""
    if cohort.design_matrix is None:
        return config
    formula = model.add_columns(cohort.design_matrix.columns)
    for node in () if asked is None else asked.dataset_nodes:
        if node.formula != formula or node.settings["center"] != "none":
            raise UsageError(
                f"The node {node.name!r} has another design than its design_matrix.",
                found=f"the formula {node.formula or 'of X'}, centring {node.settings['center']}",
                expected=f"{formula}, centring none",
                fix="Leave design_matrix out of the model's settings, or mend its Formula.",
            )
    return replace(config, analysis=replace(config.analysis, formula=formula, centering="none"))


def settle_pooling(spec: AnalysisSpec, cohort: Cohort) -> tuple[AnalysisSpec, Cohort, list[Notice]]:
    """Precision where every map of the dataset has a variance, else the mean, with a warning.

    Precision that was asked for is precision: it needs the variances of the maps that are pooled, no others.
    """
    by_session = spec.pooling == "none"
    parts = [(one.subject, one.contrast, one.session if by_session else None) for one in cohort.maps]
    n_together = Counter(parts)
    pairs = zip(cohort.maps, parts, strict=True)
    lacking = [one.effect for one, part in pairs if one.variance is None and n_together[part] > 1]
    if spec.pooling == "precision":
        if lacking:
            raise DataError(
                "Maps cannot be pooled by their precision (--pooling precision).",
                found=f"no variance map for {lacking[0]}"
                + (f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""),
                expected="a variance map for every effect map that is pooled with others",
                fix="Give the variance, leave the map out, or use --pooling mean.",
            )
        return spec, replace(cohort, has_variance_everywhere=True), []
    if cohort.has_variance_everywhere or spec.pooling == "mean":
        return replace(spec, pooling=spec.pooling or "precision"), cohort, []
    sentence = "Not every effect has a variance map: maps of a participant are pooled by their plain mean."
    fix = "Give variance maps for all runs, or say --pooling mean to silence this."
    is_told = max(n_together.values(), default=0) > 1
    return (
        replace(spec, pooling=spec.pooling or "mean"),
        cohort,
        [warn("pooling", sentence, fix)] if is_told else [],
    )


def _settle_extent_and_masks(
    spec: AnalysisSpec, cohort: Cohort, *, is_group: bool
) -> tuple[AnalysisSpec, Cohort, list[Notice]]:
    """Judge the height that a cluster extent belongs to; read the mask, and tell the maps their threshold.

    The mask's grid is compared once there is a map beside it; at the participant level it is not used.
    """
    asked, notices = spec.inference, []
    if asked.cluster_extent_mm3 is not None and UNCORRECTED.name not in asked.corrections:
        sentence = (
            f"--cluster-extent {asked.cluster_extent_mm3:g} belongs to the uncorrected height"
            f" p ≤ {asked.cluster_forming_p:g}, which is shown beside {', '.join(asked.corrections)}."
        )
        notices.append(note("extent", sentence))
        spec = replace(spec, inference=replace(asked, corrections=(*asked.corrections, UNCORRECTED.name)))
    if spec.mask is not None and is_group:
        spec = replace(spec, mask=find_pair(spec.mask))
    if spec.mask_threshold is None:
        return spec, cohort, notices
    if spec.mask is None and all(one.mask is None for one in cohort.maps):
        sentence = "--mask-threshold changes nothing: neither --mask nor a mask of a map is given."
        notices.append(warn("mask", sentence))
    maps = tuple(replace(one, mask_threshold=spec.mask_threshold) for one in cohort.maps)
    return spec, replace(cohort, maps=maps), notices


def _settle_atlas(
    spec: AnalysisSpec, cohort: Cohort, *, is_used: bool
) -> tuple[report.Atlas | report.StructureAtlas | None, list[Notice]]:
    """Read the atlas before anything is computed; one of another space is used, with a warning.

    Where none is given, maps in an adult MNI space have the one that comes with the app (if it ``is_used``).
    """
    is_volume = all(one.form == "volume" for one in cohort.maps)
    if spec.atlas is None:
        is_mni = is_volume and all(is_adult_mni(one.space) for one in cohort.maps)
        return (report.read_atlas(report.OWN_ATLAS) if is_mni and is_used else None), []
    first = cohort.spaces[cohort.maps[0].effect]
    if name_elements(first) == "regions":
        sentence = "--atlas names voxels and vertices, and the maps are of regions."
        fix = "Leave out --atlas: the tables name the region."
        raise UsageError(sentence, found=str(cohort.maps[0].effect), fix=fix)
    atlas: report.Atlas | report.StructureAtlas
    atlas = report.read_atlas(spec.atlas) if is_volume else report.read_structure_atlas(spec.atlas)
    if isinstance(atlas, report.StructureAtlas):
        atlas.check_fits(first)
    spaces = {one.space for one in cohort.maps if one.space is not None}
    if atlas.space is None or not spaces or atlas.space in spaces:
        return atlas, []
    sentence = f"The atlas lies in the space {atlas.space}, the maps in {', '.join(sorted(spaces))}."
    fix = "Region names can be off by millimetres; take an atlas of the maps' space."
    return atlas, [warn("atlas", sentence, fix)]


def _needed(analysis: GroupAnalysis, spec: AnalysisSpec) -> tuple[str, ...]:
    """Name the columns that a group model needs a value of in each row."""
    others = (spec.inference.exchangeability_blocks, spec.inference.variance_groups, spec.scale_by)
    used = model.needed_variables(analysis.formula, analysis.rows.columns, centering=analysis.centering)
    return tuple(dict.fromkeys([*used, *(name for name in others if name)]))


def _judge_complete_rows(cohort: Cohort, stats_model: StatsModel, spec: AnalysisSpec) -> Cohort:
    """Judge columns that have a problem over the rows that stay with ``--missing drop``."""
    problems = {name for one in cohort.tables for name, column in one.columns.items() if column.problem}
    if spec.missing == "error" or cohort.tables_over is None or not problems:
        return cohort
    bare = [
        replace(table, columns={name: replace(one, problem=None) for name, one in table.columns.items()})
        for table in cohort.tables
    ]
    try:
        analyses = model.plan_analyses(replace(cohort, tables=tuple(bare)), stats_model, spec)
    except BidsGroupError:  # told by planning with the problems
        return cohort
    staying: set[tuple[str, str | None]] = set()
    for analysis in analyses:
        # a number's NaN is n/a, or what hinders its column
        odd = {one for one in problems & set(analysis.columns) if analysis.columns[one].kind == "numeric"}
        needed = [one for one in _needed(analysis, spec) if one in analysis.rows and one not in odd]
        rows = analysis.rows[analysis.rows[needed].notna().all(axis=1)].astype(object)
        visits = rows.get("session", pd.Series(None, rows.index, dtype=object))
        staying |= set(zip(rows["subject"], visits.where(visits.notna(), None), strict=True))
    return replace(cohort, tables=cohort.tables_over(staying)) if staying else cohort


def _plan_designs(
    analyses: Sequence[GroupAnalysis], spec: AnalysisSpec, cohort: Cohort
) -> tuple[tuple[PlannedAnalysis, ...], tuple[Exclusion, ...]]:
    """Build each design over its complete rows, then check what is asked of inference over all of them."""
    designs: list[tuple[GroupAnalysis, Design]] = []
    exclusions: list[Exclusion] = []
    rowless = bids.check_matrix_rows(analyses, cohort, spec.missing)
    try:
        for analysis in analyses:
            complete, left_out = _complete(analysis, spec, cohort)
            exclusions.extend(complete.exclusions)
            for one in left_out:
                is_rowless = f"sub-{one.subject}{f'_ses-{one.session}' if one.session else ''}" in rowless
                reason = "no row in the design matrix (--missing drop)" if is_rowless else one.reason
                exclusions.append(replace(one, reason=reason))
            model.check_variances(complete, spec)
            complete = model.plan_scaling(complete, spec.scale_by)
            designs.append((complete, model.build_design(complete)))
        n_contrasts = sum(len(design.contrasts) for _, design in designs)
        planned = tuple(plan_inference(analysis, design, spec, n_contrasts) for analysis, design in designs)
    except BidsGroupError as error:
        for told in dict.fromkeys(getattr(error, "__notes__", ())):  # what was found of the columns
            LOGGER.warning(told)
        # a table that is not read or not used may be its cause
        about = [one for one in cohort.notices if one.topic == "tables" and one.severity == "warning"]
        about += [replace(one, severity="warning") for one in cohort.notices if one.topic == "idle"]
        say(about)
        point_into_model(error, spec)
        raise
    return planned, tuple(dict.fromkeys(exclusions))


def _complete(
    analysis: GroupAnalysis, spec: AnalysisSpec, cohort: Cohort
) -> tuple[GroupAnalysis, tuple[Exclusion, ...]]:
    """Keep the rows that have every value the model needs, and tell what is odd about the columns used."""
    needed = _needed(analysis, spec)
    about_labels = next((one for one in cohort.notices if one.topic == "labels"), None)
    labels, left_out = bids.keep_complete(analysis.rows, needed, spec.missing, analysis.columns, about_labels)
    read = dict.fromkeys([*needed, *model.input_names(analysis.instructions), *analysis.group_labels])
    columns = [analysis.columns[name] for name in read if name in analysis.columns]
    complete = model.restrict(analysis, labels)
    notices = [*complete.notices, *(one for column in columns for one in column.notices)]
    notices += bids.tell_lost_levels(analysis.rows, complete.rows, analysis.columns)
    notices += bids.tell_sources(complete.observations)
    return replace(complete, notices=tuple(notices)), left_out


def plan_inference(
    analysis: GroupAnalysis, design: Design, spec: AnalysisSpec, n_contrasts: int
) -> PlannedAnalysis:
    """Choose blocks (several rows per person are one by default) and variance groups, and check both."""
    asked, subjects = spec.inference, analysis.rows["subject"]
    blocks = subjects if subjects.duplicated().any() else None
    if asked.exchangeability_blocks:
        blocks = analysis.rows[asked.exchangeability_blocks]
    if blocks is None and asked.block_scheme is not None:
        raise UsageError(
            f"--{asked.block_scheme}-blocks needs to know the blocks.",
            found="one row per person, and no column of blocks",
            fix="Name their column: --exchangeability-blocks COL",
        )
    variance_groups = analysis.rows[asked.variance_groups] if asked.variance_groups else None
    told, schemes = inference.check_inference(
        design,
        asked,
        blocks=blocks,
        variance_groups=variance_groups,
        subjects=subjects,
        estimator=analysis.estimator,
        n_contrasts=n_contrasts,
        is_complete=spec.min_coverage >= 1,
    )
    if analysis.estimator.has_clusters:
        visits = analysis.rows.get("session")
        told += model.check_clusters(
            design, analysis.estimator.variant, blocks, visits=visits, variance_groups=variance_groups
        )
    return PlannedAnalysis(
        analysis=analysis,
        design=design,
        blocks=blocks,
        variance_groups=variance_groups,
        schemes=schemes,
        notices=tuple(dict.fromkeys([*analysis.notices, *design.notices, *told])),
    )


def _log(plan: RunPlan) -> None:
    """Say who is in, what to know of it, and who is not in; on the page of a dry run only the warnings."""
    if plan.config.execution.is_dry_run and plan.config.execution.output_format == "text":
        say(one for one in plan.notices if one.severity == "warning")
        return
    observations = {one for each in plan.analyses for one in each.observations}
    n_maps, n_people = sum(len(one.maps) for one in observations), len({one.subject for one in observations})
    models = f", {counted(len(plan.planned), 'group model')}" if plan.config.level == "group" else ""
    LOGGER.info("%s of %s%s", counted(n_maps, "map"), counted(n_people, "participant"), models)
    say(plan.notices)
    # people are named one by one; maps, people nobody asked for and crowds are counted: the ledger names each
    excluded = (*plan.cohort.exclusions, *plan.exclusions)
    crowd = Counter(one.reason for one in excluded)
    reasons = Counter(
        one.reason
        if one.path is not None or one.reason.startswith("not selected") or crowd[one.reason] > MOST_NAMED
        else f"sub-{one.subject}, {one.reason}"
        for one in excluded
    )
    for reason, n in reasons.items():
        LOGGER.info("not in the analysis: %s%s", reason, f" ({n})" if n > 1 else "")


def say(notices: Iterable[Notice]) -> None:
    """Put notices into the log."""
    for notice in dict.fromkeys(notices):
        level = logging.WARNING if notice.severity == "warning" else logging.INFO
        LOGGER.log(level, "%s%s", notice.sentence, f" {notice.fix}" if notice.fix else "")
