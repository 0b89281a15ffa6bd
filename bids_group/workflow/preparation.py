"""Everything that can be known before a single map is read: people, models, designs, shuffles."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group import bids, inference, model, output
from bids_group.config import AnalysisSpec, RunConfig
from bids_group.config.stats_model import StatsModel, write_model_json
from bids_group.config.stats_model_request import settle_request
from bids_group.config.typed import MAPS_FILE
from bids_group.elements import Surfaces
from bids_group.errors import BidsGroupError, UsageError
from bids_group.executor import Executor, choose_executor
from bids_group.output import report
from bids_group.records import Cohort, Design, Exclusion, GroupAnalysis, Notice, Observation
from bids_group.words import counted
from bids_group.workflow.settling import settle, settle_places, settle_surfaces

LOGGER = logging.getLogger(__name__)

MOST_LEFT_OUT = 3
"""People without whom a significant contrast is tested again, one at a time."""

MOST_NAMED = 20
"""People out for one reason who are named in the log; more are counted."""

_IN_MODEL = {
    "--formula": "a formula is the Model.Formula of a node, its random terms bids_group.random_terms",
    "--contrast": "such contrasts stand in Model.Software.bids_group.contrast, others in Contrasts (Name)",
    "--pooling": "what is pooled is said by nodes of Level Session and Subject",
}
"""Options that a model file says otherwise; all others it may leave to the command line."""


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
    also that of people whom a group model leaves out; ``surfaces``: those that vertices lie on, by structure;
    ``started``, ``clock_s``: when the run began, and what its clock said then.
    """

    config: RunConfig
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
    started: datetime
    clock_s: float

    @property
    def spec(self) -> AnalysisSpec:
        """What is done to the maps."""
        return self.config.analysis

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

    @property
    def n_workers(self) -> int:
        """Number of processors that work at once."""
        return max(min(self.config.execution.n_procs, os.cpu_count() or 1), 1)

    @property
    def work_dir(self) -> Path:
        """A folder of this run's own, which is removed after success: never the one that the user named."""
        own, output_dir = self.config.execution.work_dir, self.config.output_dir
        if own is None:
            return output_dir / ".work" / "bids_group"
        return own / f"bids_group-{hashlib.sha256(os.fsencode(output_dir.resolve())).hexdigest()[:12]}"

    @property
    def texts(self) -> dict[Path, str]:
        """What repeats a group run, by its place in OUTPUT_DIR: model, options, the table of a pattern."""
        model_path, model_text = output.model_path(self.model_json), output.json_text(self.model_json)
        texts = {model_path: model_text, output.OPTION_FILE: self.config.options}
        return texts if self.cohort.maps_tsv is None else {**texts, MAPS_FILE: self.cohort.maps_tsv}

    @property
    def names(self) -> list[Path]:
        """Files that a run writes whatever its results are, relative to OUTPUT_DIR."""
        of_group = [output.COMMAND, *self.texts] if self.config.level == "group" else []
        return [*output.TABLES, *of_group]

    def notices_of(self, planned: PlannedAnalysis) -> list[Notice]:
        """Give what is told of one group model: all but what belongs to others alone."""
        elsewhere = {notice for one in self.planned if one is not planned for notice in one.notices}
        return [one for one in self.notices if one in planned.notices or one not in elsewhere]


def prepare(config: RunConfig) -> RunPlan:
    """Find people and maps, settle the model, and build and check every design."""
    started, clock_s, is_group = datetime.now(UTC), time.monotonic(), config.level == "group"
    executor = choose_executor(config.execution, config.output_dir)
    asked: StatsModel | None = None
    if config.analysis.model_file is not None:
        from bids_group.config.stats_model_reading import read_model

        asked, config = settle_request(read_model(config.analysis.model_file), config)
    config, stats_model, cohort = settle(config, asked)
    spec = config.analysis
    pooling = model.plan_pooling(cohort, stats_model, spec)
    analyses: tuple[GroupAnalysis, ...] = ()
    with _telling_causes(cohort, spec):
        if is_group:
            cohort = _judge_complete_rows(cohort, stats_model, spec)
            analyses = model.plan_analyses(cohort, stats_model, spec)
        planned, exclusions, about_designs = _plan_designs(analyses, spec, cohort)
    observations = dict.fromkeys(one for each in (*pooling, *analyses) for one in each.observations)
    grids = [(one.analysis.maps, spec.mask) for one in planned]
    bids.check_spaces([*grids, *((one.maps, None) for one in observations)], cohort.spaces)
    people = {one.subject for each in planned for one in each.analysis.maps}
    atlas, surfaces, about_places = settle_places(config, cohort, people)
    plan = RunPlan(
        config=config,
        model_json=write_model_json(stats_model),
        cohort=cohort,
        analyses=tuple(one.analysis for one in planned) if is_group else pooling,
        planned=planned,
        observations=tuple(observations),
        exclusions=exclusions,
        notices=tuple(dict.fromkeys([*cohort.notices, *about_places, *about_designs])),
        atlas=atlas,
        surfaces=surfaces,
        executor=executor,
        started=started,
        clock_s=clock_s,
    )
    output.check_output_names(plan.designs, plan.observations, output.model_path(plan.model_json))
    _log(plan)
    return plan


@contextmanager
def _telling_causes(cohort: Cohort, spec: AnalysisSpec) -> Iterator[None]:
    """Say before a refused design what may be its cause, and where in a model file it is mended."""
    try:
        yield
    except BidsGroupError as error:
        for told in dict.fromkeys(getattr(error, "__notes__", ())):  # what was found of the columns
            LOGGER.warning(told)
        # a table that is not read or not used may be its cause
        about = [one for one in cohort.notices if one.topic == "tables" and one.severity == "warning"]
        about += [replace(one, severity="warning") for one in cohort.notices if one.topic == "idle"]
        say(about)
        places = [place for option, place in _IN_MODEL.items() if option in (error.fix or "")]
        if places and spec.model_file is not None:
            error.fix = f"{error.fix} In {spec.model_file.name}: {'; '.join(places)}."
        raise


def _plan_designs(
    analyses: Sequence[GroupAnalysis], spec: AnalysisSpec, cohort: Cohort
) -> tuple[tuple[PlannedAnalysis, ...], tuple[Exclusion, ...], list[Notice]]:
    """Build each design over its complete rows, then check what is asked of inference over all of them.

    With them: who is out, and what is told of each design and of levels that are lost.
    """
    designs: list[tuple[GroupAnalysis, Design]] = []
    exclusions: list[Exclusion] = []
    rowless = bids.check_matrix_rows(analyses, cohort, spec.missing)
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
    planned = tuple(_plan_inference(analysis, design, spec, n_contrasts) for analysis, design in designs)
    told = [*_tell_lost_by_groups(cohort, analyses), *(one for each in planned for one in each.notices)]
    return planned, tuple(dict.fromkeys(exclusions)), told


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


def _plan_inference(
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


def _tell_lost_by_groups(cohort: Cohort, analyses: Sequence[GroupAnalysis]) -> list[Notice]:
    """Warn of levels that GroupBy leaves out whole, as it does people who lack its value."""
    staying = {one.subject for analysis in analyses for one in analysis.observations}
    reason = "for GroupBy (--missing drop)"
    left_out = {one.subject for each in analyses for one in each.exclusions if one.reason.endswith(reason)}
    people = cohort.tables[0]
    had = people.frame[people.frame.index.isin(staying | left_out)]
    return bids.tell_lost_levels(had, had[had.index.isin(staying)], people.columns) if left_out else []


def leave_out(
    plan: RunPlan, planned: PlannedAnalysis, person: str, names: Collection[str]
) -> tuple[RunPlan, PlannedAnalysis]:
    """Plan an analysis without a person, with the contrasts of these names, as a run of its own would.

    Where areas are the mean of people's surfaces they are that of those who stay.
    """
    if any(one.n_people for one in plan.surfaces.values()):
        people = {one.subject for each in plan.planned for one in each.analysis.maps} - {person}
        plan = replace(plan, surfaces=settle_surfaces(plan.spec, plan.cohort, people)[0])
    whole = planned.analysis
    staying = whole.rows.index[whole.rows["subject"].astype(str) != person]
    analysis = model.plan_scaling(model.restrict(whole, list(staying)), plan.spec.scale_by)
    design = model.build_design(analysis)
    if plan.spec.inference.familywise == "within-contrast":
        design = replace(design, contrasts=tuple(one for one in design.contrasts if one.name in names))
    return plan, _plan_inference(analysis, design, plan.spec, plan.n_contrasts)


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
