"""Family-wise significance from the null distribution of maxima."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.config.corrections import Correction
from bids_group.inference.clusters.clusters_and_peaks import Members, find_clusters
from bids_group.inference.clusters.forest import tfce_map
from bids_group.inference.corrections.nulls import Null
from bids_group.inference.corrections.question import Question, Row, Sign, gather, judge
from bids_group.inference.shuffling.partition import Doubles
from bids_group.records import Significance


def judge_familywise(question: Question, null: Null, rule: Correction, measure: str) -> Significance:
    """Judge a contrast by the maxima of a measure.

    By size and mass clusters are judged, above the cluster-forming threshold: elements have the p of their
    cluster, others 1. By the others elements are, and those that are significant are gathered into clusters.
    """
    own_z = null.z if null.scheme.has_own_statistic else None
    if own_z is not None:
        question = replace(question, z=own_z)
    p_by = {name: _element_p(question, null, name) for name in ("voxel", "tfce") if name in null.maxima}
    forming = question.cluster_forming_z if rule.uses_forming_p else None
    details = null.details.but(
        tail_approximation=asdict(null.tails[measure]) if measure in null.tails else None
    )

    def corrected(members: Members, _: Sign) -> dict[str, float]:
        of_peaks = {"peak" if name == "voxel" else name: float(p[members].min()) for name, p in p_by.items()}
        if forming is None:
            return of_peaks
        mass = float((np.abs(null.z[members]).astype(np.float64) - forming).sum())
        return {"size": float(null.p("size", members.size)), "mass": float(null.p("mass", mass))} | of_peaks

    if forming is None:
        p_corrected = p_by[measure]
    else:
        details = details.but(cluster_forming_p=question.spec.cluster_forming_p, cluster_forming_z=forming)
        p_corrected = np.ones(null.z.size, dtype=np.float32)
        for sign in question.signs:
            above = null.z * sign > forming
            for members in find_clusters(above, question.data.elements, question.spec.connectivity):
                p_corrected[members] = corrected(members, sign)[measure]
    is_significant = question.is_tested & (p_corrected <= np.float32(question.spec.alpha))
    return judge(
        question,
        rule,
        is_significant=is_significant,
        threshold=_threshold(question, null, measure),
        clusters=gather(
            question, is_significant, p_corrected=p_corrected, mass_threshold_z=forming, corrected=corrected
        ),
        p_corrected=p_corrected,
        null={measure: _readable(question, null, measure, null.maxima[measure]).astype(np.float32)},
        details=details,
        notices=null.notices,
        z=own_z,
    )


def _element_p(question: Question, null: Null, measure: str) -> Row:
    """Corrected p of every element; 1 where it was not tested."""
    if measure == "tfce":
        assert null.heights is not None
        assert null.adjacency is not None
        observed: npt.NDArray[Any] = tfce_map(null.z, null.heights, null.adjacency)
    else:
        values = null.statistic.z_of(null.values) if null.is_in_z else null.values
        observed = np.abs(values) if question.is_two_sided else values
    return np.where(question.is_tested, null.p(measure, observed), 1.0).astype(np.float32)


def _threshold(question: Question, null: Null, measure: str) -> tuple[float | None, str]:
    """Value that at most the share alpha of the maxima exceed; None where the shuffles are too few."""
    name = measure if measure != "voxel" else "z" if null.is_in_z else null.statistic.name
    alpha, tail = question.spec.alpha / null.n_families, null.tails.get(measure)
    ranked = np.sort(null.maxima[measure])[::-1]
    n_allowed = int(np.floor(alpha * ranked.size + 1e-9))
    if tail is not None and alpha <= tail.share:
        limit = tail.value_at(alpha)
        if measure == "voxel":
            return limit, "z"
    elif n_allowed >= 1:
        limit = float(ranked[n_allowed])
    else:
        return None, name
    return float(_readable(question, null, measure, np.array([limit]))[0]), name


def _readable(question: Question, null: Null, measure: str, maxima: Doubles) -> Doubles:
    """Maxima on the scale that people read: t, F or z; mm³ for sizes."""
    if measure == "size":
        return np.round(maxima * question.data.elements.grid.element_mm3, 6)  # 72, not 71.99999999999997
    if measure == "voxel" and not null.is_in_z:
        return null.statistic.statistic_of(maxima)
    return maxima
