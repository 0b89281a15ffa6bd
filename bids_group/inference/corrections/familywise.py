"""Family-wise significance from the null distribution of maxima."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.config.corrections import Correction
from bids_group.inference.clusters.clusters_and_peaks import find_clusters
from bids_group.inference.clusters.forest import Heights, tfce_map
from bids_group.inference.corrections.question import Members, Question, Row, Sign, gather, judge
from bids_group.inference.corrections.tail import Tail, fit_tail
from bids_group.inference.shuffling.correlation import TIE
from bids_group.inference.shuffling.scheme import Scheme
from bids_group.inference.shuffling.statistic import Statistic
from bids_group.records import Notice, Significance
from bids_group.records.sidecars import Sidecar

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Null:
    """What shuffling said about one contrast.

    ``values`` and ``z``: the unshuffled data by element, shape ``(n_elements,)``. ``maxima``: by measure,
    of every shuffle, the unshuffled data first, shape ``(n_shuffles,)``; over several contrasts where these
    are judged together, then in z (``is_in_z``). ``n_families``: p is multiplied by it, as sets of contrasts
    that are judged together without sharing shuffles share alpha. ``p_uncorrected``: each element's own p
    by shuffling, where it is asked for.
    """

    scheme: Scheme
    statistic: Statistic
    heights: Heights | None
    values: Row
    z: Row
    maxima: Mapping[str, Doubles]
    is_in_z: bool = False
    n_families: float = 1
    tails: Mapping[str, Tail] = field(default_factory=dict)
    p_uncorrected: Row | None = None
    details: Sidecar
    notices: tuple[Notice, ...] = ()

    @property
    def has_group_variances(self) -> bool:
        """Whether each variance group has its own variance: then the fit's statistic is another one."""
        return self.scheme.groups is not None

    def p(self, measure: str, observed: npt.ArrayLike) -> Doubles:
        """Share of the maxima that reach each value (ties count), times ``n_families``, at most 1."""
        ranked = np.sort(self.maxima[measure])
        values = np.asarray(observed, dtype=np.float64)
        reaching = values - self.tolerance(measure, values)
        n_reaching = ranked.size - np.searchsorted(ranked, reaching, side="left")
        p = np.maximum(n_reaching, 1) / ranked.size
        if measure in self.tails:
            tail, heights = self.tails[measure], self.without_end(measure, values)
            p = np.where(heights > tail.start, tail.p(heights), p)
        return np.asarray(np.minimum(p * self.n_families, 1.0))

    def tolerance(self, measure: str, values: Doubles) -> Doubles:
        """Differences from these values that are ties."""
        is_statistic = measure == "voxel" and not self.is_in_z
        return self.statistic.tolerance(values) if is_statistic else TIE * np.abs(values)

    def threshold(self, measure: str, alpha: float) -> float | None:
        """Value that at most the share alpha of the maxima exceed; None where the shuffles are too few."""
        ranked = np.sort(self.maxima[measure])[::-1]
        n_allowed = int(np.floor(alpha / self.n_families * ranked.size + 1e-9))
        return float(ranked[n_allowed]) if n_allowed >= 1 else None

    def without_end(self, measure: str, values: npt.ArrayLike) -> Doubles:
        """Values of a measure on a scale without an end: correlations become z."""
        if measure == "voxel" and not self.is_in_z:
            return self.statistic.z_of(values)
        return np.asarray(values, dtype=np.float64)


def approximate_tails(null: Null) -> Null:
    """Fit the tail of every measure; where none fits, p stay counts, with a notice."""
    if null.scheme.shuffles.is_exhaustive:
        return null
    n_distinct = null.scheme.shuffles.n_distinct
    fitted = {
        name: fit_tail(null.without_end(name, maxima[1:]), n_distinct) for name, maxima in null.maxima.items()
    }
    tails = {name: tail for name, tail in fitted.items() if tail is not None}
    unfitted = ", ".join(name for name in fitted if name not in tails)
    notices = null.notices
    if unfitted:
        sentence = (
            f"No generalised Pareto tail fits the null of {unfitted}: its p-values are counts of shuffles."
        )
        notices += (Notice(severity="warning", topic="tail", sentence=sentence, fix="Do more permutations."),)
    return replace(null, tails=tails, notices=notices)


def judge_familywise(question: Question, null: Null, rule: Correction, measure: str) -> Significance:
    """Judge a contrast by the maxima of one measure: ``voxel``, ``size``, ``mass`` or ``tfce``."""
    if null.has_group_variances:
        question = replace(question, z=null.z)
    judge_by = _clusterwise if measure in ("size", "mass") else _elementwise
    verdict = judge_by(question, null, rule, measure)
    return replace(verdict, z=null.z) if null.has_group_variances else verdict


def _elementwise(question: Question, null: Null, rule: Correction, measure: str) -> Significance:
    p_by = {name: _element_p(question, null, name) for name in ("voxel", "tfce") if name in null.maxima}
    p_corrected = p_by[measure]
    is_significant = question.is_tested & (p_corrected <= np.float32(question.spec.alpha))

    def corrected(members: Members, _: Sign) -> dict[str, float]:
        return {_column(name): float(p[members].min()) for name, p in p_by.items()}

    return judge(
        question,
        rule,
        is_significant=is_significant,
        threshold=_threshold(question, null, measure),
        clusters=gather(question, is_significant, p_corrected=p_corrected, corrected=corrected),
        p_corrected=p_corrected,
        null=_readable_null(question, null, measure),
        details=_details(null, measure),
        notices=null.notices,
    )


def _clusterwise(question: Question, null: Null, rule: Correction, measure: str) -> Significance:
    """Judge clusters above the cluster-forming threshold; elements have the p of their cluster, others 1."""
    signs: tuple[Sign, ...] = (1, -1) if question.is_two_sided else (1,)
    p_by = {name: _element_p(question, null, name) for name in ("voxel", "tfce") if name in null.maxima}
    p_corrected = np.ones(null.z.size, dtype=np.float32)
    forming = question.cluster_forming_z

    def corrected(members: Members, _: Sign) -> dict[str, float]:
        mass = float((np.abs(null.z[members]).astype(np.float64) - forming).sum())
        of_cluster = {"size": float(null.p("size", members.size)), "mass": float(null.p("mass", mass))}
        return of_cluster | {_column(name): float(p[members].min()) for name, p in p_by.items()}

    for sign in signs:
        for members in find_clusters(null.z * sign > forming, question.adjacency):
            p_corrected[members] = corrected(members, sign)[measure]
    is_significant = p_corrected <= np.float32(question.spec.alpha)
    clusters = gather(
        question,
        is_significant,
        p_corrected=p_corrected,
        mass_threshold_z=forming,
        corrected=corrected,
    )
    return judge(
        question,
        rule,
        is_significant=is_significant,
        threshold=_threshold(question, null, measure),
        clusters=clusters,
        p_corrected=p_corrected,
        null=_readable_null(question, null, measure),
        details=_details(null, measure).but(
            cluster_forming_p=question.spec.cluster_forming_p, cluster_forming_z=forming
        ),
        notices=null.notices,
    )


def _element_p(question: Question, null: Null, measure: str) -> Row:
    """Corrected p of every element; 1 where it was not tested."""
    if measure == "tfce":
        assert null.heights is not None
        observed: npt.NDArray[Any] = tfce_map(null.z, null.heights, question.adjacency)
    else:
        values = null.statistic.z_of(null.values) if null.is_in_z else null.values
        observed = np.abs(values) if question.is_two_sided else values
    return np.where(question.is_tested, null.p(measure, observed), 1.0).astype(np.float32)


def _column(measure: str) -> str:
    return "peak" if measure == "voxel" else measure


def _threshold(question: Question, null: Null, measure: str) -> tuple[float | None, str]:
    name = _name(null) if measure == "voxel" else measure
    alpha = question.spec.alpha / null.n_families
    if measure in null.tails and alpha <= null.tails[measure].share:
        value = np.array([null.tails[measure].value_at(alpha)])
        if measure == "voxel":
            return float(value[0]), "z"
        return float(_readable(question, null, measure, value)[0]), name
    limit = null.threshold(measure, question.spec.alpha)
    if limit is None:
        return None, name
    return float(_readable(question, null, measure, np.array([limit]))[0]), name


def _details(null: Null, measure: str) -> Sidecar:
    tail = null.tails.get(measure)
    return null.details.but(tail_approximation=None if tail is None else asdict(tail))


def _readable_null(question: Question, null: Null, measure: str) -> dict[str, Row]:
    readable = _readable(question, null, measure, null.maxima[measure])
    return {measure: readable.astype(np.float32)}


def _readable(question: Question, null: Null, measure: str, maxima: Doubles) -> Doubles:
    """Maxima on the scale that people read: t, F or z; mm³ for sizes."""
    if measure == "size":
        return np.round(maxima * question.data.elements.grid.element_mm3, 6)  # 72, not 71.99999999999997
    if measure == "voxel" and not null.is_in_z:
        return null.statistic.statistic_of(maxima)
    return maxima


def _name(null: Null) -> str:
    return "z" if null.is_in_z else null.statistic.name()
