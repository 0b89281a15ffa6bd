"""The steps of one analysis, which are done again without single people: stack, fit, judge."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from bids_group import inference, model, output
from bids_group.elements import Space, build_geometry, join
from bids_group.records import GroupAnalysis, GroupData, GroupFit, Observation, PooledMap, Significance
from bids_group.workflow.preparation import PlannedAnalysis, RunPlan
from bids_group.workflow.progress import progress

LOGGER = logging.getLogger(__name__)


def taking(plan: RunPlan) -> Callable[[Observation], PooledMap]:
    """Give what takes a row's map from OUTPUT_DIR, or pools it."""
    return partial(
        pool_one,
        output_dir=plan.config.output_dir,
        dataset_names=plan.cohort.dataset_names,
        structures=plan.cohort.structures,
    )


def pool_one(
    observation: Observation,
    output_dir: Path,
    dataset_names: Mapping[str, Path],
    structures: tuple[str, ...] = (),
) -> PooledMap:
    """Take one observation from OUTPUT_DIR where what stands there fits its inputs, else pool and write it.

    The key of what is written comes from the bytes that were pooled, which are read once: a file that changes
    meanwhile is never kept under the key of other bytes. Inputs are hashed first only where a key stands.
    """
    if output.is_pooled(output_dir, observation):
        key = output.pooling_key(observation, structures=structures)
        cached = output.read_pooled(output_dir, observation, key, dataset_names=dataset_names)
        if cached is not None:
            return cached
    pooled = model.pool(observation, structures)
    key = output.pooling_key(observation, pooled.input_hashes, structures)
    output.write_pooled(output_dir, pooled, key, dataset_names=dataset_names)
    return pooled


def stack(
    plan: RunPlan,
    planned: PlannedAnalysis,
    work_dir: Path,
    on_map: Callable[[PooledMap], None] | None,
    whole: GroupAnalysis | None = None,
) -> tuple[model.StackedMaps, GroupData]:
    """Read (or pool) the map of each row once, in the design's order; and join the maps and their design.

    The space is that of the ``whole`` analysis, of whose rows these may be a part.
    """
    spec, analysis, n_done = plan.spec, planned.analysis, itertools.count(1)
    with progress(f"Maps of {analysis.first_level_contrast}") as show:

        def told(one: PooledMap) -> None:
            if on_map is not None:
                on_map(one)
            show(next(n_done), len(analysis.observations))

        stacked = model.build_stack(
            analysis.observations,
            take=taking(plan),
            on_map=told,
            scaling=analysis.scaling,
            labels=tuple(one.label for one in analysis.observations),
            space=_common_space(plan, whole or analysis),
            mask=spec.mask,
            mask_threshold=spec.mask_threshold,
            min_coverage=spec.min_coverage,
            fwhm_mm=spec.smoothing_fwhm_mm,
            surfaces=plan.surfaces,
            work_dir=work_dir,
            executor=plan.executor,
            needs_variance=analysis.estimator.needs_variance,
            is_shuffled=spec.inference.needs_shuffling,
        )
    geometry = build_geometry(stacked.elements, plan.surfaces, spec.inference.connectivity)
    groups = planned.variance_groups
    return stacked, model.join_maps(stacked, planned.design, analysis, planned.blocks, groups, geometry)


def _common_space(plan: RunPlan, analysis: GroupAnalysis) -> Space | None:
    """Join the elements of all effects of an analysis; None of plain volumes, which have one grid."""
    found = {id(one): one for m in analysis.maps for one in [plan.cohort.spaces[m.effect]]}
    return None if analysis.maps[0].form == "volume" else join(list(found.values()))


def fit_and_judge(
    plan: RunPlan,
    planned: PlannedAnalysis,
    data: GroupData,
    work_dir: Path,
    *,
    has_effect_sizes: bool = True,
) -> tuple[GroupFit, tuple[Significance, ...]]:
    """Fit every contrast and judge it by every correction; say before shuffling how long it will take."""
    spec = plan.spec.inference
    name = planned.analysis.first_level_contrast
    with progress(f"Elements of {name} fitted") as show:
        fit = model.fit_group(
            data,
            is_two_sided=spec.is_two_sided,
            executor=plan.executor,
            has_effect_sizes=has_effect_sizes,
            has_bayes_factor=spec.has_bayes_factor and has_effect_sizes,
            on_progress=show,
        )
    if spec.needs_shuffling:
        n_elements, holes = data.elements.n_elements, inference.count_holes(data)
        seconds = inference.forecast_seconds(
            planned.design, planned.schemes, spec, n_elements, holes, data.geometry
        )
        LOGGER.info("Shuffling will take about %s.", output.spell_duration(seconds / plan.n_workers))
    with progress(f"Shuffles of {name}") as show:
        significances = inference.correct_group(
            data,
            fit.results,
            spec,
            planned.schemes,
            n_contrasts=plan.n_contrasts,
            executor=plan.executor,
            work_dir=work_dir,
            on_progress=show,
        )
    if has_effect_sizes:
        significances = model.add_effect_sizes(data, fit.results, significances)
    return fit, significances
