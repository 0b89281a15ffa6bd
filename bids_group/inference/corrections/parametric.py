"""Corrections without shuffling: uncorrected, false discovery rate, Bonferroni, true-discovery bounds."""

from __future__ import annotations

from collections.abc import Callable
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
from bids_group.inference.corrections.discoveries import hommel_value, true_discovery_proportion
from bids_group.inference.corrections.multiplicity import adjust_bonferroni, adjust_fdr
from bids_group.inference.corrections.question import Members, Question, Row, Sign, gather, judge
from bids_group.records import Notice, Significance
from bids_group.records.sidecars import Sidecar

UNCONTROLLED = "none: neither the height nor the extent of a cluster is corrected for the number of elements"


def judge_without_shuffling(question: Question, rule: Correction) -> Significance:
    """Judge a contrast by its uncorrected p.

    With variance groups corrections, which reach into the far tail, take the smallest dof of the groups on
    which the contrast depends: Satterthwaite's, of the p map, are too many there (6 against 24 people, SD
    3 : 1: p ≤ 1e-5 21 times as often).
    """
    if rule == UNCORRECTED:
        return _uncorrected(question)
    verdict = _JUDGES[rule.name](_in_tail(question))
    return replace(verdict, details=verdict.details.but(_tail_details(question)))


def _in_tail(question: Question) -> Question:
    """With variance groups: the same statistic, with z and p of the smallest dof."""
    result, dof = question.result, question.result.smallest_dof
    if dof is None:
        return question
    statistic, is_two_sided = question.statistic.astype(np.float64), question.is_two_sided
    is_t = result.contrast.test == "t"
    z = t_to_z(statistic, dof) if is_t else f_to_z(statistic, result.dof_numerator, dof)
    p = t_p(statistic, dof, is_two_sided) if is_t else f_p(statistic, result.dof_numerator, dof)
    is_tested = question.is_tested
    return replace(
        question,
        z=np.where(is_tested, z, 0.0).astype(np.float32),
        p=np.where(is_tested, p, 1.0).astype(np.float32),
    )


def _tail_details(question: Question) -> Sidecar:
    dof = question.result.smallest_dof
    if dof is None:
        return Sidecar()
    return Sidecar(
        correction_degrees_of_freedom="each element's own" if isinstance(dof, np.ndarray) else dof,
        correction_degrees_of_freedom_rule="those of the smallest variance group on which the contrast "
        "depends: Satterthwaite's, of the maps p and z, are too many in the far tail",
    )


def _uncorrected(question: Question) -> Significance:
    """Mark p ≤ the cluster-forming p, uncorrected, in clusters of the extent asked for; say so."""
    level, extent = question.spec.cluster_forming_p, question.spec.cluster_extent_mm3
    is_significant = question.is_tested & (question.p <= level)
    clusters = gather(question, is_significant)
    if extent is not None:
        large = [one for one in clusters if one.size_mm3 >= extent * (1 - 1e-9)]
        clusters = tuple(replace(one, index=number) for number, one in enumerate(large, start=1))
        is_significant = np.zeros_like(is_significant)
        for one in clusters:
            is_significant[one.elements] = True
    shown = "" if extent is None else f", in clusters of at least {extent:g} mm³,"
    notice = Notice(
        severity="warning",
        topic="uncorrected",
        sentence=f"The contrast '{question.result.contrast.name}' is shown at p ≤ {level:g}{shown}"
        " without any correction for the number of elements: expect false positives.",
        fix="Report a corrected result: --correction fdr, bonferroni, ari or one of the fwe- family.",
    )
    return judge(
        question,
        UNCORRECTED,
        is_significant=is_significant,
        clusters=clusters,
        threshold=_statistic_at(question, level, question.result.dof),
        alpha=level,
        details=Sidecar()
        if extent is None
        else Sidecar(cluster_extent_mm3=extent, error_control=UNCONTROLLED),
        notices=(notice,),
    )


def _bonferroni(question: Question) -> Significance:
    """Count the tests of all contrasts that are judged together: each has the same share of alpha."""
    p_corrected = _adjusted(question, lambda p: np.minimum(adjust_bonferroni(p) * question.n_together, 1))
    n_tests = question.n_tested * question.n_together
    level, result = question.spec.alpha / max(n_tests, 1), question.result
    dof = result.dof if result.smallest_dof is None else result.smallest_dof
    return judge(
        question,
        BONFERRONI,
        is_significant=question.is_tested & (p_corrected <= question.spec.alpha),
        threshold=_statistic_at(question, level, dof),
        p_corrected=p_corrected,
        details=Sidecar(number_of_tests=n_tests).but(_family(question)),
    )


def _fdr(question: Question) -> Significance:
    p_corrected = _adjusted(question, adjust_fdr)
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
    """Bound the true discoveries of clusters above the cluster-forming threshold; signs at half of alpha."""
    z = question.z.astype(np.float64)
    alpha = question.spec.alpha / question.n_together / (2 if question.is_two_sided else 1)
    signs: tuple[Sign, ...] = (1, -1) if question.is_two_sided else (1,)
    p_of = {sign: special.ndtr(-sign * z) for sign in signs}
    hommel = {sign: hommel_value(p_of[sign][question.is_tested], alpha) for sign in signs}

    def bound(members: Members, sign: Sign) -> float:
        return true_discovery_proportion(p_of[sign][members], hommel[sign], alpha)

    heights = np.abs(z) if question.is_two_sided else z
    clusters = gather(question, question.is_tested & (heights > question.cluster_forming_z), bound=bound)
    is_significant = np.zeros(z.size, dtype=bool)
    found = [cluster for cluster in clusters if cluster.has_true_discoveries]
    for cluster in found:
        is_significant[cluster.elements] = True
    details = Sidecar(
        number_of_clusters_with_true_discoveries=len(found),
        cluster_forming_z=question.cluster_forming_z,
        hommel_value={("positive" if sign > 0 else "negative"): hommel[sign] for sign in signs},
        alpha_per_sign=alpha,
    ).but(_family(question))
    return judge(
        question,
        ALL_RESOLUTIONS,
        is_significant=is_significant,
        threshold=(question.cluster_forming_z, "z"),
        clusters=clusters,
        details=details,
    )


_JUDGES = {FALSE_DISCOVERY_RATE.name: _fdr, BONFERRONI.name: _bonferroni, ALL_RESOLUTIONS.name: _ari}


def _family(question: Question) -> Sidecar:
    return Sidecar(familywise=question.spec.familywise, number_of_contrasts_together=question.n_together)


def _adjusted(question: Question, adjust: Callable[[Row], npt.NDArray[np.float64]]) -> Row:
    adjusted = np.ones(question.is_tested.size, dtype=np.float32)
    adjusted[question.is_tested] = adjust(question.p[question.is_tested])
    return adjusted


def _statistic_at(
    question: Question, p: float, dof: float | npt.NDArray[np.float64] | None
) -> tuple[float, str]:
    """Threshold of the statistic at an uncorrected p; of z where the dof differ between elements."""
    result, tail = question.result, p / 2 if question.is_two_sided else p
    if dof is None or isinstance(dof, np.ndarray) or not np.isfinite(dof):
        return float(-special.ndtri(tail)), "z"
    if result.contrast.test == "F":
        return float(special.fdtri(result.dof_numerator, dof, 1 - p)), "F"
    return float(-special.stdtrit(dof, tail)), "t"
