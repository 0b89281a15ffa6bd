"""Shuffling for each question: what is gathered for it, where it is kept, and what is told about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bids_group import __version__
from bids_group.elements.geometry import Geometry, volume_geometry
from bids_group.errors import BidsGroupError
from bids_group.executor import Executor
from bids_group.inference.clusters.forest import Heights
from bids_group.inference.corrections.maxima import Null, approximate_tails, join_parts, judge_together
from bids_group.inference.corrections.question import Question, Row
from bids_group.inference.shuffling.batch_cache import BatchCache, digest
from bids_group.inference.shuffling.engine import Job, build_job, fill_z, observed_map, run_null
from bids_group.inference.shuffling.partition import Doubles
from bids_group.inference.shuffling.pooled_variance import Deviates, PooledVariance
from bids_group.inference.shuffling.scheme import Scheme
from bids_group.inference.shuffling.statistic import Statistic
from bids_group.records import Notice, UncorrectedP, note, warn
from bids_group.records.sidecars import Sidecar

FEW_ROWS = 32
"""Rows up to which products are summed in double precision.

With few rows R comes near 1, where t = R √(dof/(1 − R²)) has ten times R's relative error. No map of R is
written, so that maps are the same in every space.
"""


def build_nulls(
    questions: Sequence[Question],
    schemes: Sequence[Scheme],
    executor: Executor,
    work_dir: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Null]:
    """Shuffle for every question, one after the other; join what is judged together, and fit tails."""
    geometry = questions[0].data.geometry if questions else None
    if geometry is None and questions and questions[0].spec.measures - {"voxel"}:
        geometry = volume_geometry(questions[0].data.elements, questions[0].spec.connectivity)
    total, n_done = sum(scheme.shuffles.n_others + 1 for scheme in schemes), 0

    def on_batch(n_shuffles: int) -> None:
        nonlocal n_done
        n_done += n_shuffles
        if on_progress is not None:
            on_progress(n_done, total)

    nulls = [
        _build_null(question, scheme, geometry, executor, work_dir, on_batch)
        for question, scheme in zip(questions, schemes, strict=True)
    ]
    if questions and questions[0].spec.familywise == "across-contrasts":
        nulls = judge_together(nulls, questions[0].n_together)
    if questions and questions[0].spec.familywise_parts == "joint":
        nulls = [join_parts(null) for null in nulls]
    if questions and questions[0].spec.has_tail_approximation:
        nulls = [approximate_tails(null) for null in nulls]
    return nulls


def _build_null(
    question: Question,
    scheme: Scheme,
    geometry: Geometry | None,
    executor: Executor,
    work_dir: Path | None,
    on_batch: Callable[[int], None],
) -> Null:
    """Do the shuffles of one contrast."""
    job = _prepare(question, scheme, geometry, executor, work_dir)
    observed = observed_map(job)
    values, statistic = job.in_order(observed), job.statistic
    dof = None if job.by_place is None else job.in_order(job.by_place.dof)
    _check_against_fit(question, statistic, values, dof)
    z = np.empty((1, values.size), np.float32)
    fill_z(job, observed[None], slice(0, values.size), z)
    if question.spec.has_permutation_p:
        sizes = np.abs(observed) if statistic.is_two_sided else observed
        job = replace(job, limits=(sizes - statistic.tolerance(sizes)).astype(np.float32))
    if dof is not None:  # from here on in z
        statistic, values = Deviates.of(statistic, values, scheme.partition.q, dof)
    cache = BatchCache(folder=None if work_dir is None else work_dir / _name_folder(question, job))
    maxima, n_reaching = run_null(job, executor=executor, cache=cache, on_batch=on_batch)
    details, own_p = _details(question, job), None
    if question.spec.has_permutation_p:
        p = np.where(question.is_tested, job.in_order(n_reaching) / len(maxima), 1.0).astype(np.float32)
        own_p = UncorrectedP(p=p, details=details)
    return Null(
        scheme=scheme,
        statistic=statistic,
        heights=job.heights,
        geometry=job.geometry,
        values=values,
        z=job.in_order(z[0]),
        maxima={name: maxima[:, :, number] for number, name in enumerate(job.measures)},
        by_shuffling=own_p,
        details=details,
        notices=tuple(_tell(question, job)),
    )


def _prepare(
    question: Question,
    scheme: Scheme,
    geometry: Geometry | None,
    executor: Executor,
    work_dir: Path | None,
) -> Job:
    """Gather what the null depends on; residuals stand in a file where memory does not hold them."""
    stack, spec = question.data.stack, question.spec
    n_maps = 0 if isinstance(stack.data, np.memmap) else 1 + scheme.is_weighted  # in memory beside them
    is_held = executor.can_hold(stack.data.nbytes * (n_maps + scheme.n_arrays))

    def place(n_bytes: int) -> Path | None:
        """Say where arrays of so many bytes beside the maps lie: None where memory holds both."""
        return None if executor.can_hold(stack.data.nbytes + n_bytes) else work_dir

    forming, has_tfce = question.cluster_forming_z, "tfce" in spec.measures
    heights = Heights(threshold=forming, is_two_sided=question.is_two_sided, has_tfce=has_tfce)
    job = build_job(
        scheme,
        question.result.contrast.test,
        stack.data,
        stack.variance,
        is_two_sided=question.is_two_sided,
        is_complete=question.data.is_complete,
        is_tested=question.is_tested,
        heights=heights if spec.measures - {"voxel"} else None,
        geometry=geometry,
        folder=None if is_held else work_dir,
        place=place,
    )
    is_few = scheme.partition.n_obs <= FEW_ROWS and question.data.geometry is not None  # volumes keep sums
    if is_few and isinstance(job.statistic, PooledVariance):
        job = replace(job, statistic=replace(job.statistic, precision=np.float64))
    return job


def _check_against_fit(question: Question, statistic: Statistic, values: Row, dof: Doubles | None) -> None:
    """Refuse to go on if the unshuffled statistic is not that of the fit: one of the two would be wrong."""
    fitted = statistic.expected_values(question.statistic, dof)
    if fitted is None:
        return
    is_comparable = question.is_tested & np.isfinite(fitted)
    worst = float(np.abs(fitted - values)[is_comparable].max(initial=0.0))
    if worst > 1e-4:
        raise BidsGroupError(
            f"Shuffling and fit disagree about the contrast '{question.result.contrast.name}'.",
            found=f"partial correlations that differ by up to {worst:.2g}",
            expected="equal statistics of the unshuffled data",
            fix="This is a bug; please report it with the design.",
        )


def _name_folder(question: Question, job: Job) -> str:
    """Name the folder of finished batches after everything that they depend on."""
    shuffles, statistic = job.scheme.shuffles, job.statistic
    settings = (
        __version__, statistic.name, statistic.is_two_sided, shuffles.has_permutations, shuffles.has_flips,
        shuffles.n_requested, shuffles.seed, job.heights, job.batch_size, question.spec.connectivity,
        question.data.elements.space.shape,
    )  # fmt: skip
    groups = job.scheme.groups
    arrays = [
        question.data.stack.data, question.data.elements.indices, statistic.columns,
        job.scheme.partition.nuisance, shuffles.units.unit_of_row, shuffles.units.cell_of_unit,
        shuffles.kinds, question.is_tested, *(() if groups is None else (groups,)),
        *((question.data.stack.variance,) if job.scheme.is_weighted else ()),
    ]  # fmt: skip
    if (near := question.data.geometry) is not None:  # else the voxels and their grid say who is beside whom
        arrays += [near.weights, near.part_of, near.adjacency.indptr, near.adjacency.indices]
    return f"shuffles-{digest([repr(settings), *arrays])}"


def _details(question: Question, job: Job) -> Sidecar:
    """Say for the sidecars how the rows were shuffled."""
    data, scheme, shuffles = question.data, job.scheme, job.scheme.shuffles
    where = "" if job.holes is None else f", {_WITHIN_OBSERVED}"
    return Sidecar(
        number_of_permutations=shuffles.n_others,
        random_seed=None if shuffles.is_exhaustive else shuffles.seed,
        shuffling=scheme.shuffling + where,
        shuffling_scheme=scheme.words + where,
        is_exhaustive=shuffles.is_exhaustive,
        exchangeability_blocks=None if data.blocks is None else str(data.blocks.name),
        variance_groups=None if data.variance_groups is None else str(data.variance_groups.name),
        familywise=question.spec.familywise,
        number_of_contrasts_together=question.n_together,
    )


_WITHIN_OBSERVED = "approximate where rows are not observed: there among the rows observed"


def _tell(question: Question, job: Job) -> Iterator[Notice]:
    """Say where another statistic than that of the fit is judged, and where shuffles are approximate."""
    contrast, scheme = question.result.contrast, job.scheme
    if scheme.groups is not None:
        judged = f"Welch's {'v' if contrast.test == 't' else 'G'} of the variance groups, as z"
        fitted = f"the {contrast.test} of the fit, which has their variances too"
        yield note(
            "variance", f"Shuffling judges '{contrast.name}' by {judged}; {fitted}, is another statistic."
        )
    if scheme.is_weighted:
        judged = f"{contrast.test} with the weights 1/(v + tau2) of the model without what is tested, as z"
        fitted = f"the {contrast.test} of the fit (Knapp-Hartung, with the tau2 of the whole model)"
        kind = "exact where effects are symmetric about 0"
        if scheme.partition.nuisance.shape[1]:
            kind = "approximate, as the rest of the model is estimated (Hemerik, Goeman & Finos 2020)"
        yield note(
            "variance",
            f"Shuffling judges '{contrast.name}' by {judged}; {fitted} is another statistic. Its sign flips "
            f"are {kind}.",
        )
    if job.holes is not None:
        kind = f"{scheme.shuffling} are restricted to"
        kind = kind if scheme.variant is None else "the wild bootstrap takes"
        n_elements = question.data.elements.n_elements
        yield note(
            "coverage",
            f"At {job.holes.residuals.n_elements} of {n_elements} elements some rows are not observed: there "
            f"{kind} the rows observed, and each element has its own degrees "
            f"of freedom, so that '{contrast.name}' is judged as z. This is approximate.",
            "--min-coverage 1 analyses only elements that everybody has.",
        )
        if job.holes.has_permutations and question.spec.measures - {"voxel"}:
            yield warn(
                "coverage",
                f"Clusters and TFCE of '{contrast.name}' are significant too often where neighbours lack "
                "different people, as permuted maps are rougher there than the data: up to 18 % instead of "
                "5 % with 10 to 30 % of the rows missing, here these, there others. Voxelwise errors hold.",
                "Use --correction fwe-voxel, or --min-coverage 1.",
            )
