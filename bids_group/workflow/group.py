"""The work: pooled maps of everybody; at the group level then stack, fit, judge and write each analysis."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bids_group import output
from bids_group.bids import build_ledger
from bids_group.config import RunConfig
from bids_group.config.corrections import CORRECTIONS
from bids_group.config.stats_model import write_model_json
from bids_group.inference import correct_group
from bids_group.model import (
    build_stack,
    compare_spread,
    describe_rows,
    fit_group,
    join_maps,
    scale,
    tabulate_main_peaks,
    tell_heterogeneity,
)
from bids_group.output.report import region_effects
from bids_group.records import GroupData, Notice, Significance
from bids_group.words import counted
from bids_group.workflow.forecast import seconds_of_shuffling
from bids_group.workflow.maps import pooled_maps, tell_costs
from bids_group.workflow.preparation import PlannedAnalysis, RunPlan, say
from bids_group.workflow.provenance import Provenance

LOGGER = logging.getLogger(__name__)


def pool_participants(plan: RunPlan, provenance: Provenance) -> None:
    """Pool every observation that is not in OUTPUT_DIR yet; safe beside other participant jobs."""
    folder = plan.config.output_dir
    output.write_dataset(folder, plan.cohort)
    n_pooled = sum(1 for _ in pooled_maps(plan, plan.observations, provenance))
    people = sorted({one.subject for one in plan.cohort.maps})  # a Filter may leave no map of them to pool
    output.write_ledger(folder, _ledger(plan, provenance), labels=people)
    output.write_participants(folder)
    label = f"sub-{people[0]}_pid-{os.getpid()}"
    output.write_command(folder, provenance.finish(plan.config), label=label)
    LOGGER.info("Pooled: %s of %s", counted(n_pooled, "map"), counted(len(people), "participant"))


def _ledger(plan: RunPlan, provenance: Provenance) -> pd.DataFrame:
    return build_ledger(plan.cohort, plan.analyses, plan.exclusions, provenance.remarks)


def analyse_group(plan: RunPlan, provenance: Provenance) -> None:
    """Fit every planned analysis and write its results; the work folder goes when all is done."""
    config, folder = plan.config, plan.config.output_dir
    output.check_same_analysis(folder, plan.identity, is_overwrite=config.execution.is_overwrite)
    output.write_dataset(folder, plan.cohort)
    output.write_model(folder, write_model_json(plan.model))
    work_dir = _work_folder(config)
    if config.inputs.design_matrix is not None:
        provenance.note(config.inputs.design_matrix)
    used = {one for analysis in plan.analyses for one in analysis.observations}
    for _ in pooled_maps(plan, [one for one in plan.observations if one not in used], provenance):
        pass  # those whom the group models leave out too: OUTPUT_DIR is that of participant jobs
    for planned in plan.planned:
        _analyse(plan, planned, work_dir, provenance)
    output.write_ledger(folder, _ledger(plan, provenance))
    output.write_participants(folder, plan.analyses)
    output.write_command(folder, provenance.finish(config))
    output.finish_outputs(folder)
    shutil.rmtree(work_dir, ignore_errors=True)
    if config.execution.work_dir is None:
        with suppress(OSError):  # not empty: what others keep there stays
            work_dir.parent.rmdir()


def _work_folder(config: RunConfig) -> Path:
    """Choose a folder of this run's own, which is removed after success: never the folder that was named."""
    if config.execution.work_dir is None:
        return config.output_dir / ".work" / "bids_group"
    key = hashlib.sha256(str(config.output_dir.resolve()).encode()).hexdigest()[:12]
    return config.execution.work_dir / f"bids_group-{key}"


def _analyse(plan: RunPlan, planned: PlannedAnalysis, work_dir: Path, provenance: Provenance) -> None:
    spec, analysis = plan.spec, planned.analysis
    is_two_sided = spec.inference.is_two_sided
    stacked = build_stack(  # reads (or pools) each row's map once, in the design's order
        scale(pooled_maps(plan, analysis.observations, provenance), analysis.scaling),
        labels=tuple(one.label for one in analysis.observations),
        mask=spec.mask,
        mask_threshold=spec.mask_threshold,
        min_coverage=spec.min_coverage,
        fwhm_mm=spec.smoothing_fwhm_mm,
        work_dir=work_dir,
        executor=plan.executor,
        needs_variance=analysis.estimator.needs_variance,
    )
    data = join_maps(stacked, planned.design, analysis, planned.blocks, planned.variance_groups)
    results = fit_group(data, is_two_sided=is_two_sided, executor=plan.executor)
    seconds = seconds_of_shuffling(plan, [planned], data.elements.n_elements)
    if seconds is not None:
        LOGGER.info("Shuffling will take about %s.", output.spell_duration(seconds))
    with progress(analysis.first_level_contrast) as on_progress:
        significances = correct_group(
            data,
            results,
            spec.inference,
            n_contrasts=sum(len(one.design.contrasts) for one in plan.planned),
            executor=plan.executor,
            work_dir=work_dir,
            on_progress=on_progress,
        )
    uneven, told = compare_spread(data)
    numeric = [
        *tell_costs(stacked),
        *told,
        *tell_heterogeneity(data),
        *(one for each in results for one in each.notices),
        *(one for each in significances for one in each.notices),
    ]
    say(numeric)
    output.write_group(
        plan.config.output_dir,
        analysis,
        data,
        results,
        significances,
        spec=spec,
        cohort=plan.cohort,
        coverage=stacked.coverage,
        notices=[*_notices(plan, planned), *numeric],
        quality=describe_rows(data, results, stacked.costs, uneven, is_two_sided=is_two_sided),
        peaks=tabulate_main_peaks(data, results, significances, is_two_sided=is_two_sided),
        regions=_regions(plan, data),
        atlas=plan.atlas,
    )
    _log(planned, data, significances)


@contextmanager
def progress(name: str) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function ``(done, total)`` that moves a bar, or None: on a terminal or in a notebook only."""
    if not (sys.stderr.isatty() or _is_notebook()):
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"Shuffles of {name}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _is_notebook() -> bool:
    """Whether this runs in Jupyter, with the widgets that a bar there is made of."""
    return Console().is_jupyter and find_spec("ipywidgets") is not None


def _notices(plan: RunPlan, planned: PlannedAnalysis) -> list[Notice]:
    """Select what concerns this analysis: its own notices, and those of no analysis in particular."""
    others = {notice for one in plan.planned if one is not planned for notice in one.notices}
    return [one for one in plan.notices if one in planned.notices or one not in others]


def _regions(plan: RunPlan, data: GroupData) -> pd.DataFrame | None:
    if plan.atlas is None:
        return None
    return region_effects(plan.atlas, data.stack.labels, data.stack.data, data.elements).set_index("label")


def _log(planned: PlannedAnalysis, data: GroupData, significances: Sequence[Significance]) -> None:
    LOGGER.info(
        "%s: %d rows, %d elements, %s",
        planned.analysis.first_level_contrast,
        len(data.stack.labels),
        data.elements.n_elements,
        counted(len(planned.design.contrasts), "contrast"),
    )
    for one in significances:
        is_bound = CORRECTIONS[one.correction].bounds_discoveries
        LOGGER.info(
            "  %s, %s: %s, %s",
            one.contrast,
            one.correction,
            output.spell_clusters(
                len(one.clusters),
                sum(each.has_true_discoveries for each in one.clusters) if is_bound else None,
            ),
            counted(int(one.is_significant.sum()), "element"),
        )
