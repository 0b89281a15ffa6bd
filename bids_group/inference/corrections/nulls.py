"""From questions to null distributions: what is computed, where it is kept, what is judged together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group import __version__
from bids_group.errors import BidsGroupError
from bids_group.executor import ONE_THREAD, Executor
from bids_group.inference.checks import checked_scheme
from bids_group.inference.clusters.forest import Heights
from bids_group.inference.corrections.familywise import Null, approximate_tails
from bids_group.inference.corrections.question import Question, Row
from bids_group.inference.shuffling.batch_cache import Journal, digest
from bids_group.inference.shuffling.engine import Job, Sample, observed_map, run_null
from bids_group.inference.shuffling.residuals import Residuals, build_residuals
from bids_group.inference.shuffling.scheme import Scheme, count_families
from bids_group.inference.shuffling.statistic import build_statistic
from bids_group.inference.shuffling.tally import Tally
from bids_group.records import Notice
from bids_group.records.sidecars import Sidecar

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shuffling:
    """How the shuffling is done; none of this changes a bit of the result."""

    executor: Executor = ONE_THREAD
    work_dir: Path | None = None
    on_progress: Callable[[int, int], None] | None = None


def build_nulls(questions: Sequence[Question], shuffling: Shuffling) -> list[Null]:
    """Shuffle for every question, one after the other."""
    schemes = [_scheme(question) for question in questions]
    total = sum(scheme.shuffles.n_others + 1 for scheme in schemes)
    n_done = 0

    def on_batch(n_shuffles: int) -> None:
        nonlocal n_done
        n_done += n_shuffles
        if shuffling.on_progress is not None:
            shuffling.on_progress(n_done, total)

    nulls = [
        _null(question, scheme, shuffling, on_batch)
        for question, scheme in zip(questions, schemes, strict=True)
    ]
    if questions and questions[0].spec.familywise == "across-contrasts":
        nulls = judge_together(nulls, questions[0].n_together)
    if questions and questions[0].spec.has_tail_approximation:
        nulls = [approximate_tails(null) for null in nulls]
    return nulls


def _scheme(question: Question) -> Scheme:
    data = question.data
    return checked_scheme(
        data.design,
        question.result.contrast,
        question.spec,
        blocks=data.blocks,
        variance_groups=data.variance_groups,
    )


def _null(question: Question, scheme: Scheme, shuffling: Shuffling, on_batch: Callable[[int], None]) -> Null:
    residuals = _residuals(question, scheme, shuffling)
    job = _job(question, scheme, residuals)
    values = observed_map(job)
    _check_against_fit(question, job, values)
    z = np.empty((1, values.size), np.float32)
    job.statistic.fill_z(values[None], z)
    if question.spec.has_permutation_p:
        job = replace(job, tally=Tally.against(values, job.statistic))
    journal = Journal(folder=_folder(question, job, shuffling))
    sample = run_null(job, executor=shuffling.executor, journal=journal, on_batch=on_batch)
    return Null(
        scheme=scheme,
        statistic=job.statistic,
        heights=job.heights,
        values=values,
        z=z[0],
        maxima=dict(zip(job.measures, sample.maxima.T, strict=True)),
        p_uncorrected=_own_p(question, sample),
        details=_details(question, scheme),
        notices=_notices(question, scheme),
    )


def _own_p(question: Question, sample: Sample) -> Row | None:
    """Share of the shuffles that reach each element's value; 1 where the contrast was not tested."""
    if sample.n_reaching is None:
        return None
    shares = sample.n_reaching / len(sample.maxima)
    return np.where(question.is_tested, shares, 1.0).astype(np.float32)


def _job(question: Question, scheme: Scheme, residuals: Residuals) -> Job:
    spec, test = question.spec, question.result.contrast.test
    has_clusters = bool(spec.measures - {"voxel"})
    heights = Heights(
        threshold=question.cluster_forming_z,
        is_two_sided=question.is_two_sided,
        has_tfce="tfce" in spec.measures,
    )
    return Job(
        scheme=scheme,
        statistic=build_statistic(scheme, test, is_two_sided=question.is_two_sided),
        residuals=residuals,
        heights=heights if has_clusters else None,
        adjacency=question.adjacency if has_clusters else None,
    )


def _residuals(question: Question, scheme: Scheme, shuffling: Shuffling) -> Residuals:
    """Residuals in memory, or in a file of the work folder where the maps themselves are in a file."""
    maps, backing = question.data.stack.data, None
    if isinstance(maps, np.memmap) and shuffling.work_dir is not None:
        shuffling.work_dir.mkdir(parents=True, exist_ok=True)
        backing = shuffling.work_dir / "residuals.npy"
    return build_residuals(
        maps, scheme.partition, scheme.groups, is_tested=question.is_tested, backing=backing
    )


def _check_against_fit(question: Question, job: Job, values: npt.NDArray[np.float32]) -> None:
    """Refuse to go on if the unshuffled statistic is not that of the fit: one of the two would be wrong."""
    fitted = job.statistic.expected_values(question.statistic)
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


def _folder(question: Question, job: Job, shuffling: Shuffling) -> Path | None:
    """Where finished batches are kept: named after everything that they depend on."""
    if shuffling.work_dir is None:
        return None
    shuffles, statistic = job.scheme.shuffles, job.statistic
    settings = (
        __version__, statistic.name(), statistic.is_two_sided, shuffles.has_permutations, shuffles.has_flips,
        shuffles.n_requested, shuffles.seed, job.heights, job.batch_size, question.spec.connectivity,
        question.data.elements.grid.shape,
    )  # fmt: skip
    arrays: list[npt.NDArray[Any]] = [
        question.data.stack.data, question.data.elements.indices, statistic.columns,
        job.scheme.partition.nuisance, shuffles.units.unit_of_row, shuffles.units.cell_of_unit,
        shuffles.kinds, question.is_tested,
    ]  # fmt: skip
    if job.scheme.groups is not None:
        arrays.append(job.scheme.groups)
    return shuffling.work_dir / f"shuffles-{digest([repr(settings), *arrays])}"


def _details(question: Question, scheme: Scheme) -> Sidecar:
    """Say for the sidecars how the rows were shuffled."""
    data, shuffles = question.data, scheme.shuffles
    return Sidecar(
        number_of_permutations=shuffles.n_others,
        random_seed=None if shuffles.is_exhaustive else shuffles.seed,
        shuffling=scheme.shuffling,
        shuffling_scheme=scheme.words,
        is_exhaustive=shuffles.is_exhaustive,
        exchangeability_blocks=None if data.blocks is None else str(data.blocks.name),
        variance_groups=None if data.variance_groups is None else str(data.variance_groups.name),
        familywise=question.spec.familywise,
        number_of_contrasts_together=question.n_together,
    )


def _notices(question: Question, scheme: Scheme) -> tuple[Notice, ...]:
    if scheme.groups is None:
        return ()
    contrast = question.result.contrast
    judged = "v" if contrast.test == "t" else "G"
    sentence = (
        f"Shuffling judges '{contrast.name}' by Welch's {judged} of the variance groups, as z; the "
        f"{contrast.test} of the fit, which has their variances too, is another statistic."
    )
    return (Notice(severity="note", topic="variance", sentence=sentence),)


def judge_together(nulls: Sequence[Null], n_together: int) -> list[Null]:
    """Replace each contrast's maxima by those over the contrasts of its model that share its shuffles, as z.

    Other sets of contrasts, and the other models of the run, are joined by Bonferroni (`count_families`).
    """
    sets: dict[tuple[Hashable, ...], list[Null]] = {}
    for null in nulls:
        sets.setdefault(null.scheme.shared, []).append(null)
    joint = {key: _joint_maxima(members) for key, members in sets.items()}
    n_families = count_families([null.scheme for null in nulls], n_together)
    return [
        replace(null, maxima=joint[null.scheme.shared], is_in_z=True, n_families=n_families) for null in nulls
    ]


def _joint_maxima(nulls: Sequence[Null]) -> dict[str, Doubles]:
    joint = {name: np.max([null.maxima[name] for null in nulls], axis=0) for name in nulls[0].maxima}
    joint["voxel"] = np.max([null.statistic.z_of(null.maxima["voxel"]) for null in nulls], axis=0)
    return joint
