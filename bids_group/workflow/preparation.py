"""Everything that can be known before a single map is read: people, models, designs, shuffles."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bids_group.bids import check_matrix_rows, gather_cohort, keep_complete, tell_lost_levels
from bids_group.config import AnalysisSpec, RunConfig
from bids_group.config.stats_model import StatsModel, compile_request, write_model_json
from bids_group.config.stats_model_reading import read_model
from bids_group.config.stats_model_request import settle_request
from bids_group.errors import BidsGroupError, UsageError
from bids_group.executor import Executor, choose_executor
from bids_group.inference import check_inference
from bids_group.model import (
    build_design,
    input_names,
    needed_variables,
    plan_analyses,
    plan_pooling,
    plan_scaling,
    restrict,
)
from bids_group.output import check_output_names
from bids_group.output.report import Atlas
from bids_group.records import Cohort, Design, Exclusion, GroupAnalysis, Notice, Observation
from bids_group.words import counted
from bids_group.workflow.settling import (
    check_one_grid,
    settle_atlas,
    settle_design,
    settle_extent,
    settle_masks,
    settle_pooling,
    tell_idle_options,
    tell_zeros,
)

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
class RunPlan:
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

    @property
    def executor(self) -> Executor:
        """What does the work."""
        return choose_executor(self.config.execution)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes the result, as OUTPUT_DIR keeps it (JSON-able)."""
        return {**write_model_json(self.model), "Datasets": sorted(self.cohort.dataset_names)}


def prepare(config: RunConfig) -> RunPlan:
    """Find people and maps, settle the model, and build and check every design."""
    model = None
    if config.analysis.model_file is not None:
        model, config = settle_request(read_model(config.analysis.model_file), config)
    cohort = gather_cohort(config.inputs, config.selection, config.output_dir)
    config = settle_design(config, cohort, model)
    spec, cohort, pooling_notices = settle_pooling(config.analysis, cohort)
    spec, extent_notices = settle_extent(spec)
    if model is None:
        model = compile_request(
            config.analysis, config.selection, spec.pooling, config.inputs, cohort.cell_factors
        )
    cohort, mask_notices = settle_masks(spec, cohort, is_group=config.level == "group")
    pooling = plan_pooling(cohort, model, spec)
    if config.level == "group":
        cohort = _judge_complete_rows(cohort, model, spec)
    analyses = plan_analyses(cohort, model, spec) if config.level == "group" else ()
    rowless = check_matrix_rows(analyses, cohort, spec.missing)
    planned, exclusions = _plan_designs(analyses, spec, cohort, rowless)
    check_output_names([(one.analysis, one.design) for one in planned])
    atlas, atlas_notices = settle_atlas(spec, cohort)
    observations = tuple(
        dict.fromkeys(one for analysis in (*pooling, *analyses) for one in analysis.observations)
    )
    check_one_grid((one.analysis for one in planned), observations, spec.mask)
    plan = RunPlan(
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
                *tell_idle_options(spec.inference),
                *tell_zeros(spec, cohort),
                *_tell_lost_by_groups(cohort, analyses),
                *(notice for one in planned for notice in one.notices),
            ]
        ),
        atlas=atlas,
    )
    if config.execution.is_dry_run and config.execution.output_format == "text":
        say(one for one in plan.notices if one.severity == "warning")  # the page says the rest
    else:
        _log(plan)
    return plan


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


def _needed(analysis: GroupAnalysis, spec: AnalysisSpec) -> tuple[str, ...]:
    """Name the columns that a group model needs a value of in each row."""
    inference = spec.inference
    others = (inference.exchangeability_blocks, inference.variance_groups, spec.scale_by)
    used = needed_variables(analysis.formula, analysis.rows.columns, centering=analysis.centering)
    return tuple(dict.fromkeys([*used, *(name for name in others if name)]))


def _judge_complete_rows(cohort: Cohort, model: StatsModel, spec: AnalysisSpec) -> Cohort:
    """Judge columns that have a problem over the rows that stay with ``--missing drop``."""
    problems = [
        [name for name, column in table.columns.items() if column.problem is not None]
        for table in cohort.tables
    ]
    if spec.missing == "error" or cohort.tables_over is None or not any(problems):
        return cohort
    bare = [
        replace(table, columns={name: replace(one, problem=None) for name, one in table.columns.items()})
        for table in cohort.tables
    ]
    try:
        analyses = plan_analyses(replace(cohort, tables=tuple(bare)), model, spec)
    except BidsGroupError:  # told by planning with the problems
        return cohort
    staying: set[tuple[str, str | None]] = set()
    for analysis in analyses:
        # a number's NaN is n/a, or what hinders its column
        odd = {one for names in problems for one in names if one in analysis.columns}
        odd -= {one for one in odd if analysis.columns[one].kind == "categorical"}
        needed = [one for one in _needed(analysis, spec) if one in analysis.rows and one not in odd]
        rows = analysis.rows[analysis.rows[needed].notna().all(axis=1)].astype(object)
        visits = rows.get("session", pd.Series(None, rows.index, dtype=object))
        staying |= set(zip(rows["subject"], visits.where(visits.notna(), None), strict=True))
    return replace(cohort, tables=cohort.tables_over(staying)) if staying else cohort


def _tell_lost_by_groups(cohort: Cohort, analyses: Iterable[GroupAnalysis]) -> list[Notice]:
    """Warn of levels that GroupBy leaves out whole, as it does people who lack its value."""
    staying = {one.subject for analysis in analyses for one in analysis.observations}
    left_out = {
        one.subject
        for analysis in analyses
        for one in analysis.exclusions
        if one.reason.endswith("for GroupBy (--missing drop)")
    }
    people = cohort.tables[0]
    had = people.frame[people.frame.index.isin(staying | left_out)]
    return tell_lost_levels(had, had[had.index.isin(staying)], people.columns) if left_out else []


def _complete(
    analysis: GroupAnalysis, spec: AnalysisSpec, cohort: Cohort
) -> tuple[GroupAnalysis, tuple[Exclusion, ...]]:
    """Keep the rows that have every value the model needs, and tell what is odd about the columns used."""
    needed = _needed(analysis, spec)
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


def _log(plan: RunPlan) -> None:
    people = {one.subject for analysis in plan.analyses for one in analysis.observations}
    n_maps = sum(len(one.maps) for one in {one for each in plan.analyses for one in each.observations})
    models = f", {counted(len(plan.planned), 'group model')}" if plan.config.level == "group" else ""
    LOGGER.info("%s of %s%s", counted(n_maps, "map"), counted(len(people), "participant"), models)
    say(plan.notices)
    reasons = Counter(_reason(one) for one in (*plan.cohort.exclusions, *plan.exclusions))
    for reason, n in reasons.items():
        LOGGER.info("not in the analysis: %s%s", reason, f" ({n})" if n > 1 else "")


def say(notices: Iterable[Notice]) -> None:
    """Put notices into the log."""
    for notice in dict.fromkeys(notices):
        level = logging.WARNING if notice.severity == "warning" else logging.INFO
        LOGGER.log(level, "%s%s", notice.sentence, f" {notice.fix}" if notice.fix else "")


def _reason(exclusion: Exclusion) -> str:
    """Name people one by one; maps, and people nobody asked for, are counted (the ledger names each)."""
    is_counted = exclusion.path is not None or exclusion.reason.startswith("not selected")
    return exclusion.reason if is_counted else f"sub-{exclusion.subject}, {exclusion.reason}"
