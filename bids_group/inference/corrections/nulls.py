"""The null distribution of each question: what is shuffled, where it is kept, what is judged together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group import __version__
from bids_group.elements.geometry import FamilyPart, Geometry, volume_geometry
from bids_group.errors import BidsGroupError
from bids_group.executor import Executor
from bids_group.inference.clusters.forest import Heights
from bids_group.inference.corrections.question import Question, Row
from bids_group.inference.corrections.tail import Tail, fit_tail
from bids_group.inference.shuffling.batch_cache import BatchCache, digest
from bids_group.inference.shuffling.bootstrap_holes import build_incomplete
from bids_group.inference.shuffling.engine import Job, build_statistic, fill_z, observed_map, run_null
from bids_group.inference.shuffling.partition import Doubles, build_residuals
from bids_group.inference.shuffling.pooled_variance import Deviates, PooledVariance
from bids_group.inference.shuffling.scheme import Scheme, count_families
from bids_group.inference.shuffling.statistic import TIE, Statistic
from bids_group.inference.shuffling.weighted_flips import build_weighted
from bids_group.records import Notice, UncorrectedP, note, warn
from bids_group.records.sidecars import Sidecar

Counts = npt.NDArray[np.intp]

FEWEST_FOR_PARTS = 500
"""Shuffles below which parts that are judged together have little power."""

FEW_ROWS = 32
"""Rows up to which products are summed in double precision (it takes three times as long).

With few rows R comes near 1, where t = R √(dof/(1 − R²)) has ten times R's relative error. No map of R is
written, so that maps are the same in every space.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Null:
    """What shuffling said about one contrast.

    ``values`` and ``z``: the unshuffled data by element, shape ``(n_elements,)``. ``maxima``: by measure,
    of every shuffle, the unshuffled data first, and part, shape ``(n_shuffles, n_parts)``; over several
    contrasts where these are judged together, then in z (``is_in_z``). ``fewest``: where parts are judged
    together, by measure, the smallest rank from above that a shuffle has in any part, ascending.
    ``n_families``: p is multiplied by it, as sets of contrasts that are judged together without sharing
    shuffles share alpha. ``tails``: by measure, of each part. ``by_shuffling``: each element's own p, where
    it is asked for.
    """

    scheme: Scheme
    statistic: Statistic
    heights: Heights | None
    geometry: Geometry | None
    values: Row
    z: Row
    maxima: Mapping[str, Doubles]
    is_in_z: bool = False
    fewest: Mapping[str, Counts] = field(default_factory=dict)
    n_families: float = 1
    tails: Mapping[str, tuple[Tail, ...]] = field(default_factory=dict)
    by_shuffling: UncorrectedP | None = None
    details: Sidecar
    notices: tuple[Notice, ...] = ()

    @property
    def parts(self) -> tuple[FamilyPart, ...]:
        """Parts that have maxima of their own."""
        return () if self.geometry is None else self.geometry.parts

    def count_reaching(
        self, measure: str, observed: npt.ArrayLike, part: int = 0, statistic: Statistic | None = None
    ) -> Counts:
        """Count the shuffles whose maximum in a part reaches each value (ties count), at least 1.

        ``statistic``: that of the elements whose values these are, where they are not all (`Statistic.at`).
        """
        ranked = np.sort(self.maxima[measure][:, part])
        values = np.asarray(observed, dtype=np.float64)
        is_statistic = measure == "voxel" and not self.is_in_z
        tolerance = (statistic or self.statistic).tolerance(values) if is_statistic else TIE * np.abs(values)
        return np.maximum(ranked.size - np.searchsorted(ranked, values - tolerance, side="left"), 1)

    def p(
        self, measure: str, observed: npt.ArrayLike, part: int = 0, statistic: Statistic | None = None
    ) -> Doubles:
        """Share of the shuffles whose maximum reaches each value of a part, or is as rare in any part.

        Times ``n_families``, at most 1. Beyond the start of a fitted tail p is that of the tail; over parts
        their sum bounds it.
        """
        n_reaching = self.count_reaching(measure, observed, part, statistic)
        if measure in self.fewest:
            n_reaching = np.searchsorted(self.fewest[measure], n_reaching, side="right")
        p = n_reaching / len(self.maxima[measure])
        if measure in self.tails:
            tail, heights = self.tails[measure][part], self.without_end(measure, observed)
            in_tail = tail.p(heights)
            if measure in self.fewest:
                in_tail = np.minimum(p, in_tail * self.maxima[measure].shape[1])
            p = np.where(heights > tail.start, in_tail, p)
        return np.asarray(np.minimum(p * self.n_families, 1.0))

    def n_allowed(self, measure: str, alpha: float) -> int:
        """Count the shuffles of a part that a value may leave above it where p is to be at most ``alpha``."""
        n_shuffles = len(self.maxima[measure])
        n_allowed = int(np.floor(alpha * n_shuffles + 1e-9))
        if measure not in self.fewest:
            return n_allowed
        ranks = np.append(self.fewest[measure], n_shuffles)
        return int(ranks[n_allowed]) - 1  # the next smaller rank is had by at most so many

    def without_end(self, measure: str, values: npt.ArrayLike) -> Doubles:
        """Values of a measure on a scale without an end: correlations become z."""
        if measure == "voxel" and not self.is_in_z:
            return self.statistic.z_of(values)
        return np.asarray(values, dtype=np.float64)


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
        nulls = _judge_together(nulls, questions[0].n_together)
    if questions and questions[0].spec.familywise_parts == "joint":
        nulls = [_join_parts(null) for null in nulls]
    if questions and questions[0].spec.has_tail_approximation:
        nulls = [_approximate_tails(null) for null in nulls]
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
    folder = None if is_held else work_dir
    backing = None if folder is None else folder / "residuals.float32"

    def place(n_bytes: int) -> Path | None:
        """Say where arrays of so many bytes beside the maps lie: None where memory holds both."""
        return None if executor.can_hold(stack.data.nbytes + n_bytes) else work_dir

    forming, has_tfce = question.cluster_forming_z, "tfce" in spec.measures
    heights = Heights(threshold=forming, is_two_sided=question.is_two_sided, has_tfce=has_tfce)
    split, test, is_tested = scheme.partition, question.result.contrast.test, question.is_tested
    by_place, holes = None, None
    if scheme.is_weighted:
        assert stack.variance is not None
        residuals, by_place = build_weighted(
            stack.data, stack.variance, split, is_tested=is_tested, backing=backing
        )
    elif question.data.is_complete:
        residuals = build_residuals(stack.data, split, scheme.groups, is_tested=is_tested, backing=backing)
    else:
        residuals, by_place, holes = build_incomplete(
            stack.data, scheme, test, is_tested=is_tested, folder=folder, place=place
        )
    statistic = build_statistic(scheme, test, is_two_sided=question.is_two_sided)
    is_exact = split.n_obs <= FEW_ROWS and question.data.geometry is not None  # volumes keep their sums
    if is_exact and isinstance(statistic, PooledVariance):
        statistic = replace(statistic, precision=np.float64)
    return Job(
        scheme=scheme,
        statistic=statistic,
        residuals=residuals,
        heights=heights if spec.measures - {"voxel"} else None,
        geometry=geometry,
        by_place=by_place,
        holes=holes,
    )


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
            f"At {job.holes.n_elements} of {n_elements} elements some rows are not observed: there "
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


def _judge_together(nulls: Sequence[Null], n_together: int) -> list[Null]:
    """Replace each contrast's maxima by those over the contrasts of its model that share its shuffles, as z.

    Other sets of contrasts, and the other models of the run, are joined by Bonferroni (`count_families`).
    """
    sets: dict[tuple[Hashable, ...], list[Null]] = {}
    for null in nulls:
        sets.setdefault(null.scheme.shared, []).append(null)
    joint = {
        key: {
            name: np.max([one.without_end(name, one.maxima[name]) for one in members], axis=0)
            for name in members[0].maxima
        }
        for key, members in sets.items()
    }
    n_families = count_families([null.scheme for null in nulls], n_together)
    return [
        replace(null, maxima=joint[null.scheme.shared], is_in_z=True, n_families=n_families) for null in nulls
    ]


def _join_parts(null: Null) -> Null:
    """Judge parts whose cluster sizes have no common scale together: by the smallest p that any part has.

    A shuffle's maximum in a part has a rank among those of the other shuffles there; of every shuffle the
    best rank over the parts is kept. This is the maximum over parts on a scale that all share (min-p;
    Westfall & Young 1993), from the same shuffles.
    """
    n_parts = len(null.parts)
    if n_parts < 2:
        return null
    of_maxima = null.statistic.at(None)
    ranks = {
        name: [null.count_reaching(name, each[:, part], part, of_maxima) for part in range(n_parts)]
        for name, each in null.maxima.items()
    }
    notices, n_shuffles = null.notices, null.scheme.shuffles.n_others + 1
    if n_shuffles < FEWEST_FOR_PARTS:
        names = " and ".join(one.name for one in null.parts)
        sentence = (
            f"The parts {names} are judged together by the smallest of their p, for which {n_shuffles} "
            f"shuffles are few: no corrected p can be below about {n_parts / n_shuffles:.2g}."
        )
        fix = f"Do at least {FEWEST_FOR_PARTS} permutations, or correct each alone: --familywise-parts each."
        notices = (*notices, warn("parts", sentence, fix))
    return replace(
        null, fewest={name: np.sort(np.min(each, axis=0)) for name, each in ranks.items()}, notices=notices
    )


def _approximate_tails(null: Null) -> Null:
    """Fit the tail of every measure; where none fits, p stay counts, with a notice."""
    if null.scheme.shuffles.is_exhaustive:
        return null
    n_distinct = null.scheme.shuffles.n_distinct
    fitted = {
        name: [fit_tail(one, n_distinct) for one in null.without_end(name, maxima[1:]).T]
        for name, maxima in null.maxima.items()
    }
    found = {name: tuple(tail for tail in each if tail is not None) for name, each in fitted.items()}
    tails = {name: each for name, each in found.items() if len(each) == len(fitted[name])}
    unfitted = ", ".join(name for name in fitted if name not in tails)
    if not unfitted:
        return replace(null, tails=tails)
    sentence = f"No generalised Pareto tail fits the null of {unfitted}: its p-values are counts of shuffles."
    return replace(
        null, tails=tails, notices=(*null.notices, warn("tail", sentence, "Do more permutations."))
    )
