"""Corrections without shuffling: uncorrected, false discovery rate, Bonferroni, all-resolutions inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import special

from bids_group.config.corrections import (
    ALL_RESOLUTIONS,
    BONFERRONI,
    FALSE_DISCOVERY_RATE,
    UNCORRECTED,
    Correction,
)
from bids_group.distributions import f_p, f_to_z, t_p, t_to_z
from bids_group.inference.clusters.clusters_and_peaks import Members
from bids_group.inference.corrections.question import Question, Row, Sign, gather, judge
from bids_group.records import Significance, warn
from bids_group.records.sidecars import Sidecar

Doubles = npt.NDArray[np.float64]

UNCONTROLLED = "none: neither the height nor the extent of a cluster is corrected for the number of elements"


def judge_without_shuffling(question: Question, rule: Correction) -> Significance:
    """Judge a contrast by its uncorrected p.

    With variance groups corrections, which reach into the far tail, take the smallest dof of the groups on
    which the contrast depends: Satterthwaite's, of the p map, are too many there (6 against 24 people, SD
    3 : 1: p ≤ 1e-5 21 times as often).
    """
    result, dof = question.result, question.result.smallest_dof
    if dof is None or rule == UNCORRECTED:
        return _JUDGES[rule.name](question)
    statistic, is_tested = question.statistic.astype(np.float64), question.is_tested
    if result.contrast.test == "t":
        z, p = t_to_z(statistic, dof), t_p(statistic, dof, question.is_two_sided)
    else:
        z, p = f_to_z(statistic, result.dof_numerator, dof), f_p(statistic, result.dof_numerator, dof)
    in_tail = replace(
        question,
        z=np.where(is_tested, z, 0.0).astype(np.float32),
        p=np.where(is_tested, p, 1.0).astype(np.float32),
    )
    judged = _JUDGES[rule.name](in_tail)
    details = judged.details.but(
        correction_degrees_of_freedom="each element's own" if isinstance(dof, np.ndarray) else dof,
        correction_degrees_of_freedom_rule="those of the smallest variance group on which the contrast "
        "depends: Satterthwaite's, of the maps p and z, are too many in the far tail",
    )
    return replace(judged, details=details)


def _uncorrected(question: Question) -> Significance:
    """Mark p ≤ the cluster-forming p, uncorrected, in clusters of the extent asked for; say so."""
    level, extent = question.spec.cluster_forming_p, question.spec.cluster_extent_mm3
    is_significant = question.is_tested & (question.p <= level)
    clusters = gather(question, is_significant)
    shown, details = "", Sidecar()
    if extent is not None:
        shown = f", in clusters of at least {extent:g} mm³,"
        details = Sidecar(cluster_extent_mm3=extent, error_control=UNCONTROLLED)
        large = [one for one in clusters if (one.size_mm3 or 0) >= extent * (1 - 1e-9)]
        clusters = tuple(replace(one, index=number) for number, one in enumerate(large, start=1))
        is_significant = _marked(question, *(one.elements for one in clusters))
    notice = warn(
        "uncorrected",
        f"The contrast '{question.result.contrast.name}' is shown at p ≤ {level:g}{shown}"
        " without any correction for the number of elements: expect false positives.",
        "Report a corrected result: --correction fdr, bonferroni, ari or one of the fwe- family.",
    )
    return judge(
        question,
        UNCORRECTED,
        is_significant=is_significant,
        clusters=clusters,
        threshold=_statistic_at(question, level, question.result.dof),
        alpha=level,
        details=details,
        notices=(notice,),
    )


def _bonferroni(question: Question) -> Significance:
    """Count the tests of all contrasts that are judged together: each has the same share of alpha."""
    n_tests, result = question.n_tested * question.n_together, question.result
    p_corrected = _adjusted(question, lambda p: np.minimum(p * p.size * question.n_together, 1))
    dof = result.dof if result.smallest_dof is None else result.smallest_dof
    return judge(
        question,
        BONFERRONI,
        is_significant=question.is_tested & (p_corrected <= question.spec.alpha),
        threshold=_statistic_at(question, question.spec.alpha / max(n_tests, 1), dof),
        p_corrected=p_corrected,
        details=Sidecar(number_of_tests=n_tests).but(_family(question)),
    )


def _fdr(question: Question) -> Significance:
    """Control the false discovery rate (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    p_corrected = _adjusted(question, false_discovery_control)
    is_significant = question.is_tested & (p_corrected <= question.spec.alpha)
    passed = question.p[is_significant]
    return judge(
        question,
        FALSE_DISCOVERY_RATE,
        is_significant=is_significant,
        threshold=(float(passed.max()), "p") if passed.size else (None, "p"),
        p_corrected=p_corrected,
        details=Sidecar(number_of_tests=question.n_tested),
    )


def _ari(question: Question) -> Significance:
    """Bound the true discoveries of clusters above the cluster-forming threshold; signs at half of alpha.

    The bound holds for all sets at once, however they were chosen (Rosenblatt et al. 2018,
    doi:10.1016/j.neuroimage.2018.07.060; Goeman et al. 2019 for the shortcut).
    """
    z, signs, forming = question.z.astype(np.float64), question.signs, question.cluster_forming_z
    alpha = question.spec.alpha / question.n_together / len(signs)
    p_of = {sign: special.ndtr(-sign * z) for sign in signs}
    hommel = {sign: hommel_value(p_of[sign][question.is_tested], alpha) for sign in signs}

    def bound(members: Members, sign: Sign) -> float:
        return true_discovery_proportion(p_of[sign][members], hommel[sign], alpha)

    heights = np.abs(z) if question.is_two_sided else z
    clusters = gather(question, question.is_tested & (heights > forming), bound=bound)
    found = [cluster.elements for cluster in clusters if cluster.has_true_discoveries]
    details = Sidecar(
        number_of_clusters_with_true_discoveries=len(found),
        cluster_forming_z=forming,
        hommel_value={("positive" if sign > 0 else "negative"): hommel[sign] for sign in signs},
        alpha_per_sign=alpha,
    ).but(_family(question))
    return judge(
        question,
        ALL_RESOLUTIONS,
        is_significant=_marked(question, *found),
        threshold=(forming, "z"),
        clusters=clusters,
        details=details,
    )


_JUDGES: Mapping[str, Callable[[Question], Significance]] = {
    UNCORRECTED.name: _uncorrected,
    FALSE_DISCOVERY_RATE.name: _fdr,
    BONFERRONI.name: _bonferroni,
    ALL_RESOLUTIONS.name: _ari,
}


def _family(question: Question) -> Sidecar:
    return Sidecar(familywise=question.spec.familywise, number_of_contrasts_together=question.n_together)


def _marked(question: Question, *elements: Members) -> npt.NDArray[np.bool_]:
    is_in = np.zeros(question.is_tested.size, dtype=bool)
    is_in[np.concatenate([np.zeros(0, np.intp), *elements])] = True
    return is_in


def _adjusted(question: Question, adjust: Callable[[Doubles], Doubles]) -> Row:
    """Adjust the p of the elements tested; 1 elsewhere."""
    adjusted = np.ones(question.is_tested.size, dtype=np.float32)
    adjusted[question.is_tested] = adjust(question.p[question.is_tested].astype(np.float64))
    return adjusted


def _statistic_at(question: Question, p: float, dof: float | Doubles | None) -> tuple[float, str]:
    """Threshold of the statistic at an uncorrected p; of z where the dof differ between elements."""
    result, tail = question.result, p / len(question.signs)
    if dof is None or isinstance(dof, np.ndarray) or not np.isfinite(dof):
        return float(-special.ndtri(tail)), "z"
    if result.contrast.test == "F":
        return float(special.fdtri(result.dof_numerator, dof, 1 - p)), "F"
    return float(-special.stdtrit(dof, tail)), "t"


def hommel_value(p: Doubles, alpha: float) -> int:
    """Largest number of elements that could all be null: Hommel's h.

    The largest i such that the i largest p-values satisfy ``p_(n-i+j) > j·alpha/i`` for every j = 1 … i. An
    i at which they are equal counts too, as in nilearn: h may be one above the definition, and bounds lower.
    ``p`` ``(n_elements,)`` are one-sided; ``alpha`` is the level of the Simes tests.
    """
    ranked = np.sort(p)
    n = ranked.size
    if n == 0 or ranked[-1] < alpha:
        return 0
    # p_(n-i+j) ≥ j·alpha/i for j = 1 … i  ⇔  i·slope ≤ alpha, slope = max over k of (alpha − p_(k))/(n − k)
    slope = np.max((alpha - ranked[:-1]) / np.arange(n - 1, 0, -1), initial=-np.inf)
    if slope <= 0:
        return n
    h = int(min(np.floor(alpha / slope), n))
    if h == n:
        return h
    largest = ranked[n - h - 1 :]  # do they pass for h + 1? A division that rounds down may have lost one
    return h + 1 if ((h + 1) * largest > np.arange(1, h + 2) * alpha).all() else h


def true_discovery_proportion(p: Doubles, hommel: int, alpha: float) -> float:
    """Lower bound, with confidence 1 − alpha, on the share of elements of a set that carry an effect.

    ``p`` ``(n,)``, n > 0, are those of the set; ``hommel`` is the `hommel_value` of all elements. No element
    counts before the first category, where nilearn has those with p = 0 discover one too many.
    """
    categories, counts = np.unique(np.maximum(np.ceil(hommel * p / alpha), 1), return_counts=True)
    return float(max(0.0, np.max(1 - categories + np.cumsum(counts)) / p.size))
