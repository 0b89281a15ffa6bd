"""The group level: pool, stack, fit, judge and write, one analysis after the other."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from bids_group import output
from bids_group.bids import build_ledger
from bids_group.config import InferenceSpec, RunConfig
from bids_group.config.stats_model import write_model_json
from bids_group.inference import correct_group
from bids_group.model import (
    StackedMaps,
    build_stack,
    compare_spread,
    fit_group,
    scale,
    tabulate_peaks,
    tabulate_quality,
    tell_heterogeneity,
)
from bids_group.output.report import region_effects
from bids_group.records import (
    ContrastResult,
    GroupData,
    Notice,
    Observation,
    PooledMap,
    Significance,
)
from bids_group.workflow.coverage import Remarks, remark_on_coverage, tell_costs
from bids_group.workflow.forecast import seconds_of_shuffling
from bids_group.workflow.pooling import pooled_maps
from bids_group.workflow.preparation import Job, PlannedAnalysis, counted, say
from bids_group.workflow.progress import progress
from bids_group.workflow.provenance import Provenance

LOGGER = logging.getLogger(__name__)
MAX_PEAKS = 12

Watch = Callable[[Iterable[PooledMap]], Iterator[PooledMap]]
"""Looks at maps on their way."""


def analyse_group(job: Job, provenance: Provenance) -> None:
    """Fit every planned analysis and write its results; the work folder goes when all is done."""
    config = job.config
    model = write_model_json(job.model)
    identity = {**model, "Datasets": sorted(job.cohort.dataset_names)}
    output.check_same_analysis(config.output_dir, identity, is_overwrite=config.execution.is_overwrite)
    output.write_dataset(config.output_dir, job.cohort)
    output.write_model(config.output_dir, model)
    work_dir = _work_folder(config)
    remarks: Remarks = {}
    if config.inputs.design_matrix is not None:
        provenance.note(config.inputs.design_matrix)

    def watch(maps: Iterable[PooledMap]) -> Iterator[PooledMap]:
        return remark_on_coverage(provenance.watch(maps), remarks)

    _pool_the_rest(job, watch)
    for planned in job.planned:
        _analyse(job, planned, work_dir, watch)
    ledger = build_ledger(job.cohort, job.analyses, job.exclusions, remarks)
    output.write_ledger(config.output_dir, ledger)
    output.write_participants(config.output_dir, job.analyses)
    output.write_command(config.output_dir, provenance.finish(config))
    output.finish_outputs(config.output_dir)
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


def _pool_the_rest(job: Job, watch: Watch) -> None:
    """Pool those whom the group models leave out too, so that OUTPUT_DIR is that of participant jobs."""
    used = {one for analysis in job.analyses for one in analysis.observations}
    rest = [one for one in job.observations if one not in used]
    for _ in watch(_maps(job, rest)):
        pass


def _maps(job: Job, observations: Sequence[Observation]) -> Iterator[PooledMap]:
    return pooled_maps(
        observations,
        job.config.output_dir,
        dataset_names=job.cohort.dataset_names,
        n_procs=job.config.execution.n_procs,
    )


def _analyse(job: Job, planned: PlannedAnalysis, work_dir: Path, watch: Watch) -> None:
    stack = _stack(job, planned, work_dir, watch)
    data = _join(planned, stack)
    results = fit_group(
        data,
        is_two_sided=job.spec.inference.is_two_sided,
        n_procs=job.config.execution.n_procs,
        mem_gb=job.config.execution.mem_gb,
    )
    seconds = seconds_of_shuffling(job, [planned], data.elements.n_elements)
    if seconds is not None:
        LOGGER.info("Shuffling will take about %s.", output.spell_duration(seconds))
    with progress(planned.analysis.first_level_contrast) as on_progress:
        significances = correct_group(
            data,
            results,
            job.spec.inference,
            n_contrasts=sum(len(one.design.contrasts) for one in job.planned),
            n_procs=job.config.execution.n_procs,
            mem_gb=job.config.execution.mem_gb,
            work_dir=work_dir,
            on_progress=on_progress,
        )
    numeric = tell_costs(
        stack.costs, n_analysed=data.elements.n_elements, n_lost=stack.n_lost, n_needed=stack.n_needed
    )
    uneven, told = compare_spread(data)
    numeric += (*told, *tell_heterogeneity(data))
    numeric += [one for each in results for one in each.notices]
    numeric += [one for each in significances for one in each.notices]
    say(numeric)
    output.write_group(
        job.config.output_dir,
        planned.analysis,
        data,
        results,
        significances,
        spec=job.spec,
        cohort=job.cohort,
        coverage=stack.coverage,
        notices=[*_notices(job, planned), *numeric],
        quality=_quality(data, stack, results, uneven, spec=job.spec.inference),
        peaks=_peaks(data, results, significances, spec=job.spec.inference),
        regions=_regions(job, data),
        atlas=job.atlas,
    )
    _log(planned, data, significances)


def _stack(job: Job, planned: PlannedAnalysis, work_dir: Path, watch: Watch) -> StackedMaps:
    """Read (or pool) each row's map once, in the design's order."""
    execution = job.config.execution
    observations = planned.analysis.observations
    return build_stack(
        scale(watch(_maps(job, observations)), planned.analysis.scaling),
        labels=tuple(one.label for one in observations),
        mask=job.spec.mask,
        mask_threshold=job.spec.mask_threshold,
        min_coverage=job.spec.min_coverage,
        fwhm_mm=job.spec.smoothing_fwhm_mm,
        n_obs=len(observations),
        work_dir=work_dir,
        mem_gb=execution.mem_gb,
        needs_variance=planned.analysis.estimator == "meta",
    )


def _join(planned: PlannedAnalysis, stack: StackedMaps) -> GroupData:
    return GroupData(
        design=planned.design,
        stack=stack.stack,
        elements=stack.elements,
        is_complete=bool(
            (stack.coverage.reshape(-1)[stack.elements.indices] == len(stack.stack.labels)).all()
        ),
        estimator=planned.analysis.estimator,
        blocks=planned.blocks,
        variance_groups=planned.variance_groups,
        subjects=_repeated(planned.analysis.rows["subject"]),
    )


def _repeated(subjects: pd.Series) -> pd.Series | None:
    return subjects if subjects.duplicated().any() else None


def _notices(job: Job, planned: PlannedAnalysis) -> list[Notice]:
    """Select what concerns this analysis: its own notices, and those of no analysis in particular."""
    others = {notice for one in job.planned if one is not planned for notice in one.notices}
    return [one for one in job.notices if one in planned.notices or one not in others]


def _regions(job: Job, data: GroupData) -> pd.DataFrame | None:
    if job.atlas is None:
        return None
    return region_effects(job.atlas, data.stack.labels, data.stack.data, data.elements).set_index("label")


def _quality(
    data: GroupData,
    stack: StackedMaps,
    results: Sequence[ContrastResult],
    uneven: pd.Series | None,
    *,
    spec: InferenceSpec,
) -> pd.DataFrame:
    """Describe each row's map; Cook's distance is the largest over the contrasts' strongest elements."""
    n_lost_only = dict(zip(stack.costs["observation"], stack.costs["n_lost_by_this_row_alone"], strict=True))
    quality = tabulate_quality(
        data, n_lost_only, data.variance_groups if data.has_group_variances else uneven
    )
    strongest = [tabulate_peaks(data, one.contrast, [_strongest(one, spec)]) for one in results]
    influence = pd.concat(strongest).groupby("label")["cooks_distance"].max()
    quality["cooks_at_peak"] = influence.reindex(quality.index)
    return quality


def _peaks(
    data: GroupData,
    results: Sequence[ContrastResult],
    significances: Sequence[Significance],
    *,
    spec: InferenceSpec,
) -> Mapping[str, pd.DataFrame]:
    """By contrast: raw points at the main peaks of its significant clusters, or at its strongest element."""
    tables = {}
    for result in results:
        name = result.contrast.name
        found = [
            cluster.peaks[0].element
            for one in significances
            if one.contrast == name and one.correction != "none"
            for cluster in one.clusters
            if cluster.peaks and one.is_significant[cluster.peaks[0].element]
        ]
        elements = list(dict.fromkeys(found))[:MAX_PEAKS] or [_strongest(result, spec)]
        table = tabulate_peaks(data, result.contrast, elements)
        table.insert(4, "is_significant", bool(found))
        tables[name] = table
    return tables


def _strongest(result: ContrastResult, spec: InferenceSpec) -> int:
    """Element with the most evidence: of t, where the test is one-sided, the largest positive."""
    statistic = result.maps[result.contrast.test]
    is_signed = result.contrast.test == "t" and not spec.is_two_sided
    return int(np.argmax(statistic if is_signed else np.abs(statistic)))


def _log(planned: PlannedAnalysis, data: GroupData, significances: Sequence[Significance]) -> None:
    LOGGER.info(
        "%s: %d rows, %d elements, %s",
        planned.analysis.first_level_contrast,
        len(data.stack.labels),
        data.elements.n_elements,
        counted(len(planned.design.contrasts), "contrast"),
    )
    for one in significances:
        LOGGER.info(
            "  %s, %s: %s, %s",
            one.contrast,
            one.correction,
            output.spell_clusters(
                len(one.clusters),
                sum(each.has_true_discoveries for each in one.clusters) if one.correction == "ari" else None,
            ),
            counted(int(one.is_significant.sum()), "element"),
        )
