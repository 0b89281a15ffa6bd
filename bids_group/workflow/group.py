"""The work: pooled maps of everybody; at the group level then stack, fit, judge and write each analysis."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bids_group import __version__, bids, inference, model, output
from bids_group.config import RunConfig
from bids_group.config.corrections import CORRECTIONS
from bids_group.output import report
from bids_group.records import GroupData, GroupFit, Observation, PooledMap, Significance
from bids_group.records.sidecars import RunRecord
from bids_group.words import counted
from bids_group.workflow.preparation import PlannedAnalysis, RunPlan, say
from bids_group.workflow.storage import expected_elements, work_folder

LOGGER = logging.getLogger(__name__)

PACKAGES = ("numpy", "scipy", "pandas", "nibabel", "nilearn", "pybids", "formulaic", "numba", "pillow")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Provenance:
    """The start of a run, and what it noted of the files that it has read so far.

    ``hashes``: by path; ``remarks`` on coverage: by (subject label, first-level contrast).
    """

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock_s: float = field(default_factory=time.monotonic)
    hashes: dict[str, str] = field(default_factory=dict)
    remarks: dict[tuple[str, str], str] = field(default_factory=dict)

    def note(self, one: PooledMap) -> None:
        """Note the hashes of the files of a map, and its coverage."""
        self.hashes.update(one.input_hashes)
        remark = model.describe_coverage(one)
        if remark:
            self.remarks[one.observation.subject, one.observation.contrast] = remark

    def finish(self, config: RunConfig) -> RunRecord:
        """Sum up the run: its time from the known request to here, its memory up to here."""
        peak = max(
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return RunRecord(
            command=["bids-group", *config.command],
            version=__version__,
            versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            container=os.environ.get("BIDS_GROUP_CONTAINER"),
            platform=f"{platform.system()} {platform.machine()}",
            random_seed=config.analysis.inference.random_seed,
            start_time=self.started.isoformat(timespec="seconds"),
            run_time_seconds=round(time.monotonic() - self.clock_s, 2),
            peak_memory_mb=round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1),
            input_hashes=dict(sorted(self.hashes.items())),
        )


def pool_participants(plan: RunPlan, provenance: Provenance) -> None:
    """Pool every observation that is not in OUTPUT_DIR yet; safe beside other participant jobs."""
    folder = plan.config.output_dir
    output.write_dataset(folder, plan.cohort)
    for one in plan.executor.map(_take(plan), plan.observations):
        provenance.note(one)
    people = sorted({one.subject for one in plan.cohort.maps})  # a Filter may leave no map of them to pool
    ledger = bids.build_ledger(plan.cohort, plan.analyses, plan.exclusions, provenance.remarks)
    output.write_ledger(folder, ledger, labels=people)
    output.write_participants(folder)
    label = f"sub-{people[0]}_pid-{os.getpid()}"
    output.write_command(folder, provenance.finish(plan.config), label=label)
    LOGGER.info(
        "Pooled: %s of %s", counted(len(plan.observations), "map"), counted(len(people), "participant")
    )


def analyse_group(plan: RunPlan, provenance: Provenance) -> None:
    """Fit every planned analysis and write its results; the work folder goes when all is done."""
    config, folder = plan.config, plan.config.output_dir
    output.check_same_analysis(folder, plan.identity, is_overwrite=config.execution.is_overwrite)
    output.write_dataset(folder, plan.cohort)
    output.write_model(folder, plan.model_json)
    output.write_options(folder, config.options)
    work_dir = work_folder(config)
    matrix = config.inputs.design_matrix
    if matrix is not None:
        provenance.hashes[str(matrix)] = hashlib.sha256(matrix.read_bytes()).hexdigest()
    used = {one for analysis in plan.analyses for one in analysis.observations}
    unused = [one for one in plan.observations if one not in used]
    for pooled in plan.executor.map(_take(plan), unused):
        provenance.note(pooled)  # those whom the models leave out too: OUTPUT_DIR is that of participant jobs
    for planned in plan.planned:
        _analyse(plan, planned, work_dir, provenance)
    ledger = bids.build_ledger(plan.cohort, plan.analyses, plan.exclusions, provenance.remarks)
    output.write_ledger(folder, ledger)
    output.write_participants(folder, plan.analyses)
    output.write_command(folder, provenance.finish(config))
    output.finish_outputs(folder)
    shutil.rmtree(work_dir, ignore_errors=True)
    if config.execution.work_dir is None:
        with suppress(OSError):  # not empty: what others keep there stays
            work_dir.parent.rmdir()


def _take(plan: RunPlan) -> Callable[[Observation], PooledMap]:
    return partial(pool_one, output_dir=plan.config.output_dir, dataset_names=plan.cohort.dataset_names)


def pool_one(observation: Observation, output_dir: Path, dataset_names: Mapping[str, Path]) -> PooledMap:
    """Take one observation from OUTPUT_DIR where what stands there fits its inputs, else pool and write it.

    The key of what is written comes from the bytes that were pooled, which are read once: a file that changes
    meanwhile is never kept under the key of other bytes. Inputs are hashed first only where a key stands.
    """
    if output.is_pooled(output_dir, observation):
        key = output.pooling_key(observation)
        cached = output.read_pooled(output_dir, observation, key, dataset_names=dataset_names)
        if cached is not None:
            return cached
    pooled = model.pool(observation)
    key = output.pooling_key(observation, pooled.input_hashes)
    output.write_pooled(output_dir, pooled, key, dataset_names=dataset_names)
    return pooled


def _analyse(plan: RunPlan, planned: PlannedAnalysis, work_dir: Path, provenance: Provenance) -> None:
    """Stack, fit and judge one analysis, and write what came of it."""
    spec, analysis, is_two_sided = plan.spec, planned.analysis, plan.spec.inference.is_two_sided
    stacked = model.build_stack(  # reads (or pools) each row's map once, in the design's order
        analysis.observations,
        take=_take(plan),
        on_map=provenance.note,
        scaling=analysis.scaling,
        labels=tuple(one.label for one in analysis.observations),
        mask=spec.mask,
        mask_threshold=spec.mask_threshold,
        min_coverage=spec.min_coverage,
        fwhm_mm=spec.smoothing_fwhm_mm,
        work_dir=work_dir,
        executor=plan.executor,
        needs_variance=analysis.estimator.needs_variance,
        is_shuffled=spec.inference.needs_shuffling,
    )
    data = model.join_maps(stacked, planned.design, analysis, planned.blocks, planned.variance_groups)
    fit, significances = _fit(plan, planned, data, work_dir)
    results = fit.results
    uneven, told = model.compare_spread(data)
    numeric = [*model.tell_costs(stacked), *told, *model.tell_heterogeneity(data)]
    numeric += [*fit.notices, *(one for each in results for one in each.notices)]
    numeric += [one for each in significances for one in each.notices]
    say(numeric)
    elsewhere = {notice for one in plan.planned if one is not planned for notice in one.notices}
    own = [one for one in plan.notices if one in planned.notices or one not in elsewhere]
    regions = None
    if plan.atlas is not None:
        rows = report.region_effects(plan.atlas, data.stack.labels, data.stack.data, data.elements)
        regions = rows.set_index("label")
    output.write_group(
        output.Context(
            output_dir=plan.config.output_dir,
            analysis=analysis,
            data=data,
            spec=spec,
            dataset_names=plan.cohort.dataset_names,
        ),
        results,
        significances,
        coverage=stacked.coverage,
        notices=[*own, *numeric],
        quality=model.describe_rows(data, results, stacked.costs, uneven, is_two_sided=is_two_sided),
        peaks=model.tabulate_main_peaks(data, results, significances, is_two_sided=is_two_sided),
        regions=regions,
        maps=fit.maps,
        atlas=plan.atlas,
    )
    _log(planned, data, significances)


def _fit(
    plan: RunPlan, planned: PlannedAnalysis, data: GroupData, work_dir: Path
) -> tuple[GroupFit, tuple[Significance, ...]]:
    """Fit every contrast and judge it by every correction; say before shuffling how long it will take."""
    spec = plan.spec.inference
    fit = model.fit_group(data, is_two_sided=spec.is_two_sided, executor=plan.executor)
    seconds = seconds_of_shuffling(plan, [planned], data.elements.n_elements)
    if seconds is not None:
        LOGGER.info("Shuffling will take about %s.", output.spell_duration(seconds))
    with progress(planned.analysis.first_level_contrast) as on_progress:
        return fit, inference.correct_group(
            data,
            fit.results,
            spec,
            planned.schemes,
            n_contrasts=sum(len(one.design.contrasts) for one in plan.planned),
            executor=plan.executor,
            work_dir=work_dir,
            on_progress=on_progress,
        )


def seconds_of_shuffling(
    plan: RunPlan, planned: Iterable[PlannedAnalysis], n_elements: int | None = None
) -> float | None:
    """Forecast the time that shuffling takes on this machine; None where nothing is shuffled.

    Before the maps are read (``n_elements`` None) their elements are the `expected_elements`.
    """
    spec, analyses = plan.spec, tuple(planned)
    if not spec.inference.needs_shuffling or not analyses:
        return None
    n_elements = expected_elements(plan) if n_elements is None else n_elements
    seconds = [
        inference.forecast_seconds(one.design, one.schemes, spec.inference, n_elements) for one in analyses
    ]
    return sum(seconds) / max(min(plan.config.execution.n_procs, os.cpu_count() or 1), 1)


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


def _log(planned: PlannedAnalysis, data: GroupData, significances: Sequence[Significance]) -> None:
    LOGGER.info(
        "%s: %d rows, %d elements, %s",
        planned.analysis.first_level_contrast,
        len(data.stack.labels),
        data.elements.n_elements,
        counted(len(planned.design.contrasts), "contrast"),
    )
    for one in significances:
        n_true = sum(each.has_true_discoveries for each in one.clusters)
        is_bound = CORRECTIONS[one.correction].bounds_discoveries
        clusters = output.spell_clusters(len(one.clusters), n_true if is_bound else None)
        elements = counted(int(one.is_significant.sum()), "element")
        LOGGER.info("  %s, %s: %s, %s", one.contrast, one.correction, clusters, elements)
