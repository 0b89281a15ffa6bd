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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

from bids_group import __version__, bids, inference, model, output
from bids_group.config.corrections import CORRECTIONS
from bids_group.config.typed import file_of
from bids_group.elements import Grid, Parcels, hash_map
from bids_group.output import report
from bids_group.records import GroupData, Notice, Observation, PooledMap, Significance, warn
from bids_group.records.sidecars import RunRecord
from bids_group.words import counted, list_some
from bids_group.workflow import sensitivity
from bids_group.workflow.one_analysis import fit_and_judge, stack, taking
from bids_group.workflow.preparation import PlannedAnalysis, RunPlan, say
from bids_group.workflow.progress import progress

LOGGER = logging.getLogger(__name__)

PACKAGES = ("numpy", "scipy", "pandas", "nibabel", "nilearn", "pybids", "formulaic", "numba", "pillow")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Provenance:
    """What a run noted of the files that it has read so far.

    ``hashes``: by path; ``remarks`` on coverage and weights of what stands on a map: by its path;
    ``dominant``: the map on which a row stands nearly alone, and its share, by (row label, contrast).
    """

    hashes: dict[str, str] = field(default_factory=dict)
    remarks: dict[Path, str] = field(default_factory=dict)
    dominant: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)

    def note(self, one: PooledMap) -> None:
        """Note the hashes of the files of a map, its coverage, and a map that it stands on alone."""
        self.hashes.update(one.input_hashes)
        row, said = one.observation, [model.describe_coverage(one)]
        if one.dominant is not None:
            self.dominant[row.label, row.contrast] = one.dominant
            name, share = one.dominant
            said.append(f"{name} has {share:.0%} of the weight of its maps")
        if remark := "; ".join(filter(None, said)):
            self.remarks.update((m.effect, remark) for m in row.maps)

    def finish(self, plan: RunPlan) -> RunRecord:
        """Sum up the run: its time from the known request to here, its memory up to here."""
        config, (dataset, programs) = plan.config, bids.describe_datasets(plan.cohort)
        peak = max(
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return RunRecord(
            command=["bids-group", *config.command],
            version=__version__,
            versions={"python": platform.python_version(), **_versions()},
            container=os.environ.get("BIDS_GROUP_CONTAINER"),
            platform=f"{platform.system()} {platform.machine()}",
            random_seed=config.analysis.inference.random_seed,
            start_time=plan.started.isoformat(timespec="seconds"),
            run_time_seconds=round(time.monotonic() - plan.clock_s, 2),
            peak_memory_mb=round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1),
            input_hashes=dict(sorted(self.hashes.items())),
            dataset=dataset,
            first_level_programs=programs,
        )


def pool_participants(plan: RunPlan) -> None:
    """Pool every observation that is not in OUTPUT_DIR yet; safe beside other participant jobs."""
    folder, provenance = plan.config.output_dir, Provenance()
    output.write_dataset(folder, plan.cohort)
    marks = output.marks_of(plan.observations)
    output.record_outputs(folder, (), marks)
    _pool(plan, plan.observations, provenance)
    people = sorted({one.subject for one in plan.cohort.maps})  # a Filter may leave no map of them to pool
    ledger = bids.build_ledger(plan.cohort, plan.analyses, plan.exclusions, provenance.remarks)
    output.write_ledger(folder, ledger, labels=people)
    output.write_participants(folder)
    label = f"sub-{people[0]}_pid-{os.getpid()}"
    output.write_command(folder, provenance.finish(plan), label=label)
    output.confirm_outputs(folder, marks)
    LOGGER.info(
        "Pooled: %s of %s", counted(len(plan.observations), "map"), counted(len(people), "participant")
    )


def _pool(plan: RunPlan, observations: Sequence[Observation], provenance: Provenance) -> None:
    with progress("Maps pooled") as show:
        for n_done, one in enumerate(plan.executor.map(taking(plan), observations), 1):
            provenance.note(one)
            show(n_done, len(observations))


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def analyse_group(plan: RunPlan) -> None:
    """Fit every planned analysis and write its results; the work folder goes when all is done."""
    config, folder, provenance = plan.config, plan.config.output_dir, Provenance()
    output.check_same_analysis(
        folder,
        plan.identity,
        is_overwrite=config.execution.is_overwrite,
        planned=plan.names,
        pooling=output.marks_of(plan.observations),
    )
    output.write_dataset(folder, plan.cohort)
    for name, text in plan.texts.items():
        output.write_named(folder, name, text)
    output.write_surfaces(folder, plan.surfaces, plan.cohort.maps, plan.cohort.dataset_names)
    of_surfaces = {one for surface in plan.surfaces.values() for one in surface.sources}
    provenance.hashes.update({str(one): hash_map(one) for one in of_surfaces})
    matrix = config.inputs.design_matrix
    if matrix is not None:
        provenance.hashes[str(matrix)] = hashlib.sha256(file_of(matrix).read_bytes()).hexdigest()
    used = {one for analysis in plan.analyses for one in analysis.observations}
    unused = [one for one in plan.observations if one not in used]
    _pool(plan, unused, provenance)  # whom models leave out too: as jobs of participants do
    for planned in plan.planned:
        questions = _analyse(plan, planned, provenance)
        sensitivity.test_again(plan, planned, questions)
    ledger = bids.build_ledger(plan.cohort, plan.analyses, plan.exclusions, provenance.remarks)
    output.write_ledger(folder, ledger)
    output.write_participants(folder, plan.analyses)
    output.write_command(folder, provenance.finish(plan))
    output.finish_outputs(folder)
    _remove_work(plan.work_dir, is_own_place=config.execution.work_dir is None)


def _remove_work(work_dir: Path, *, is_own_place: bool) -> None:
    """Remove the work folder, and the one around it where that is ours and nobody keeps something there."""
    shutil.rmtree(work_dir, ignore_errors=True)
    if work_dir.exists():
        LOGGER.warning("Not all of the work folder could be removed: %s.", work_dir)
    if is_own_place:
        with suppress(OSError):  # not empty
            work_dir.parent.rmdir()


def _analyse(
    plan: RunPlan, planned: PlannedAnalysis, provenance: Provenance
) -> tuple[sensitivity.Question, ...]:
    """Stack, fit and judge one analysis, write what came of it, and give what may hang on single people."""
    spec, analysis, is_two_sided = plan.spec, planned.analysis, plan.spec.inference.is_two_sided
    stacked, data = stack(plan, planned, plan.work_dir, provenance.note)
    fit, significances = fit_and_judge(plan, planned, data, plan.work_dir)
    results, significances = inference.join_contrasts(
        data, fit.results, significances, spec.inference, n_contrasts=plan.n_contrasts
    )
    uneven, told = model.compare_spread(data)
    quality = model.describe_rows(data, fit.results, stacked.costs, uneven, is_two_sided=is_two_sided)
    sphericity, unequal = model.measure_sphericity(data)
    numeric = [*model.tell_costs(stacked), *model.tell_units(data, quality), *told, *unequal]
    numeric += [*model.tell_heterogeneity(data), *model.tell_dominance(analysis, provenance.dominant)]
    numeric += [*fit.notices, *(one for each in results for one in each.notices)]
    numeric += [*_tell_absent(spec.mask, stacked), *(one for each in significances for one in each.notices)]
    say(numeric)
    regions = None
    if plan.atlas is not None and spec.atlas is not None:
        regions = report.region_effects(plan.atlas, data.stack.labels, data.stack.data, data.elements)
    context = output.Context(
        output_dir=plan.config.output_dir,
        analysis=analysis,
        data=data,
        spec=spec,
        dataset_names=plan.cohort.dataset_names,
    )
    output.write_group(
        context,
        results,
        significances,
        coverage=stacked.coverage,
        notices=[*plan.notices_of(planned), *numeric],
        sphericity=sphericity,
        quality=quality,
        peaks=model.tabulate_main_peaks(data, fit.results, significances, is_two_sided=is_two_sided),
        regions=regions,
        maps=fit.maps,
        atlas=plan.atlas,
    )
    _log(planned, data, significances)
    has_people = plan.config.execution.has_sensitivity
    return sensitivity.ask(context, fit.results, significances, quality) if has_people else ()


def _tell_absent(mask: Path | None, stacked: model.StackedMaps) -> list[Notice]:
    """Name structures and regions in which nobody is observed; a mask may leave them out."""
    space = stacked.elements.space
    if isinstance(space, Grid) or mask is not None:
        return []
    absent: list[str] = []
    for part, place in zip(space.parts, space.slices, strict=True):
        is_nowhere = stacked.coverage[place] == 0
        if isinstance(part, Parcels):
            absent += [name for name, nowhere in zip(part.names, is_nowhere, strict=True) if nowhere]
        elif is_nowhere.all():
            absent.append(str(part.structure))
    sentence = f"Nobody has a number in {list_some(absent, 8)}: nothing is analysed there."
    fix = "Look at these maps: n/a or NaN, 0 where that counts as missing, or variances that are not above 0."
    return [warn("coverage", sentence, fix)] if absent else []


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
