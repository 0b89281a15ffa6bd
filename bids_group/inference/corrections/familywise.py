"""Family-wise significance from the null distribution of maxima."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.config.corrections import Correction
from bids_group.inference.clusters.clusters_and_peaks import Members, find_clusters
from bids_group.inference.clusters.forest import tfce_map
from bids_group.inference.corrections.maxima import Null
from bids_group.inference.corrections.question import Question, Row, Sign, gather, judge
from bids_group.inference.shuffling.partition import Doubles
from bids_group.records import Significance
from bids_group.records.sidecars import Sidecar

EXTENTS = {"mm2": "area in mm2", "mm3": "volume in mm3", "regions": "number of regions"}
"""What the size of a cluster is, by the unit of its part."""


def judge_familywise(question: Question, null: Null, rule: Correction, measure: str) -> Significance:
    """Judge a contrast by the maxima of a measure.

    By size and mass clusters are judged, above the cluster-forming threshold: elements have the p of their
    cluster, others 1. By the others elements are, and those that are significant are gathered into clusters.
    """
    has_own_statistic = null.scheme.groups is not None or null.scheme.is_weighted
    own_z = null.z if has_own_statistic else None
    if own_z is not None:
        question = replace(question, z=own_z)
    p_by = {name: _element_p(question, null, name) for name in ("voxel", "tfce") if name in null.maxima}
    forming = question.cluster_forming_z if rule.uses_forming_p else None
    details = null.details.but(tail_approximation=_tails(null, measure))
    if question.data.geometry is not None:
        details = details.but(_of_parts(question, null, measure, is_extended=rule.is_clusterwise))
    corrected = _p_of_cluster(question, null, p_by, forming)
    if forming is None:
        p_corrected = p_by[measure]
    else:
        details = details.but(cluster_forming_p=question.spec.cluster_forming_p, cluster_forming_z=forming)
        p_corrected = np.ones(null.z.size, dtype=np.float32)
        for sign in question.signs:
            above, data = null.z * sign > forming, question.data
            for members in find_clusters(above, data.elements, question.spec.connectivity, data.geometry):
                p_corrected[members] = corrected(members, sign)[measure]
    is_significant = question.is_tested & (p_corrected <= np.float32(question.spec.alpha))
    return judge(
        question,
        rule,
        is_significant=is_significant,
        threshold=_threshold(question, null, measure)
        if len(null.parts) < 2
        else (None, _scale(null, measure)),
        clusters=gather(
            question, is_significant, p_corrected=p_corrected, mass_threshold_z=forming, corrected=corrected
        ),
        p_corrected=p_corrected,
        null={
            name: _readable(question, null, measure, null.maxima[measure][:, part]).astype(np.float32)
            for part, name in enumerate(_columns(null, measure))
        },
        details=details,
        notices=null.notices,
        z=own_z,
    )


def _p_of_cluster(
    question: Question, null: Null, p_by: Mapping[str, Row], forming: float | None
) -> Callable[[Members, Sign], dict[str, float]]:
    """Give the corrected p of a cluster by measure: of its best element, and with a threshold its extent."""

    def corrected(members: Members, _: Sign) -> dict[str, float]:
        of_peaks = {"peak" if name == "voxel" else name: float(p[members].min()) for name, p in p_by.items()}
        if forming is None:
            return of_peaks
        weights = np.broadcast_to(question.measure(members)[0], members.shape)
        mass = float((weights * (np.abs(null.z[members]).astype(np.float64) - forming)).sum())
        geometry = question.data.geometry
        part = 0 if geometry is None else int(geometry.part_of[members[0]])
        measured = {"size": float(weights.sum()), "mass": mass}
        return {name: float(null.p(name, value, part)) for name, value in measured.items()} | of_peaks

    return corrected


def _element_p(question: Question, null: Null, measure: str) -> Row:
    """Corrected p of every element; 1 where it was not tested."""
    if measure == "tfce":
        assert null.heights is not None
        assert null.geometry is not None
        observed: npt.NDArray[Any] = tfce_map(null.z, null.heights, null.geometry)
    else:
        values = null.statistic.z_of(null.values) if null.is_in_z else null.values
        observed = np.abs(values) if question.is_two_sided else values
    if len(null.parts) < 2:
        p = null.p(measure, observed)
    else:
        assert null.geometry is not None
        p = np.ones(observed.size)
        for part in range(len(null.parts)):
            own = null.geometry.part_of == part
            p[own] = null.p(measure, observed[own], part, null.statistic.at(own))
    return np.where(question.is_tested, p, 1.0).astype(np.float32)


def _columns(null: Null, measure: str) -> list[str]:
    """Name the columns of a null: the measure, and of several parts each."""
    return [measure] if len(null.parts) < 2 else [f"{measure}_{one.name}" for one in null.parts]


def _tails(null: Null, measure: str) -> dict[str, Any] | None:
    """Spell out fitted tails; of several parts by name."""
    fitted = [asdict(tail) for tail in null.tails.get(measure, ())]
    if len(fitted) < 2:
        return fitted[0] if fitted else None
    return {one.name: tail for one, tail in zip(null.parts, fitted, strict=True)}


def _of_parts(question: Question, null: Null, measure: str, *, is_extended: bool) -> Sidecar:
    """Say how parts were judged together, the threshold of each, and what the extent of clusters is."""
    said = Sidecar()
    if len(null.parts) > 1:
        limits = {
            one.name: _threshold(question, null, measure, part)[0] for part, one in enumerate(null.parts)
        }
        said = said.but(familywise_parts=question.spec.familywise_parts, threshold_by_part=limits)
    if is_extended:
        said = said.but(extent={one.name: EXTENTS[one.unit] for one in null.parts})
    return said


def _scale(null: Null, measure: str) -> str:
    return measure if measure != "voxel" else "z" if null.is_in_z else null.statistic.name


def _threshold(question: Question, null: Null, measure: str, part: int = 0) -> tuple[float | None, str]:
    """Value that at most the share alpha of the maxima exceed; None where the shuffles are too few."""
    name, n_parts = _scale(null, measure), max(len(null.fewest) and len(null.parts), 1)
    alpha = question.spec.alpha / null.n_families
    tail = null.tails[measure][part] if measure in null.tails else None
    ranked = np.sort(null.maxima[measure][:, part])[::-1]
    n_allowed = null.n_allowed(measure, alpha)
    if tail is not None and alpha / n_parts <= tail.share:
        limit = tail.value_at(alpha / n_parts)
        if measure == "voxel":
            return limit, "z"
    elif n_allowed >= 1:
        limit = float(ranked[n_allowed])
    else:
        return None, name
    return float(_readable(question, null, measure, np.array([limit]))[0]), name


def _readable(question: Question, null: Null, measure: str, maxima: Doubles) -> Doubles:
    """Maxima on the scale that people read: t, F or z; mm³ for sizes."""
    if measure == "size" and question.data.geometry is None:
        return np.round(maxima * question.data.elements.grid.element_mm3, 6)  # 72, not 71.99999999999997
    if measure == "voxel" and not null.is_in_z:
        return null.statistic.statistic_of(maxima)
    return maxima
