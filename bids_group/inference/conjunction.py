"""Conjunctions: what every one of several contrasts shows (Nichols et al. 2005).

The null hypothesis is that at least one of the effects is absent. Its p is the largest of theirs, each judged
by itself; the smallest statistic is never shuffled, which would test that all are absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bids_group.config import InferenceSpec
from bids_group.config.corrections import BONFERRONI, FALSE_DISCOVERY_RATE, Correction
from bids_group.inference.clusters.clusters_and_peaks import Members
from bids_group.inference.corrections.parametric import judge_without_shuffling
from bids_group.inference.corrections.question import Question, Sign, gather, judge
from bids_group.records import Contrast, ContrastResult, GroupData, Significance, UncorrectedP, warn
from bids_group.records.sidecars import Sidecar

Row = npt.NDArray[np.float32]


def join_contrasts(
    data: GroupData,
    results: Sequence[ContrastResult],
    significances: Sequence[Significance],
    spec: InferenceSpec,
    *,
    n_contrasts: int | None = None,
) -> tuple[tuple[ContrastResult, ...], tuple[Significance, ...]]:
    """Add the conjunctions of the design to the results and significances of its contrasts.

    Maps ``t``, ``z`` and ``p`` are those of the part with the least evidence where all effects have one sign;
    elsewhere the statistic is 0 and every p is 1. Significances follow in the order conjunctions ×
    ``spec.corrections``. Where errors are counted across contrasts, corrected p are those of parts, which
    count them; a bound of true discoveries is a claim of its own, at the share of alpha that a contrast has
    among ``n_contrasts`` (fitted ones of the run) and the conjunctions here.
    """
    n_together = max(n_contrasts or 1, len(results)) + len(data.design.conjunctions)
    n_together = n_together if spec.familywise == "across-contrasts" else 1
    fitted = {one.contrast.name: one for one in results}
    judged = {(one.contrast, one.correction): one for one in significances}
    found, added = list(results), list(significances)
    for contrast in data.design.conjunctions:
        parts = [fitted[name] for name in contrast.parts]
        result = _join_results(contrast, parts, is_two_sided=spec.is_two_sided)
        tested = [Question.about(data, one, spec).is_tested for one in parts]
        question = replace(
            Question.about(data, result, spec, n_together),
            is_tested=np.logical_and.reduce(tested),
        )
        found.append(result)
        for rule in spec.rules:
            added.append(_judge(question, rule, [judged[name, rule.name] for name in contrast.parts]))
    return tuple(found), tuple(added)


def _join_results(
    contrast: Contrast, parts: Sequence[ContrastResult], *, is_two_sided: bool
) -> ContrastResult:
    """Take the statistic with the least evidence at each element where all effects have one sign."""
    z = np.stack([one.maps["z"] for one in parts])
    is_same = (z > 0).all(axis=0) | (z < 0).all(axis=0)
    weakest = (np.abs(z) if is_two_sided else z).argmin(axis=0)[None]
    maps: dict[str, Row] = {}
    for stat in ("t", "z"):
        chosen = np.take_along_axis(np.stack([one.maps[stat] for one in parts]), weakest, axis=0)[0]
        maps[stat] = np.where(is_same, chosen, np.float32(0))
    maps["p"] = np.where(is_same, np.maximum.reduce([one.maps["p"] for one in parts]), np.float32(1))
    if all("dof" in one.maps for one in parts):
        rows = np.stack([one.maps["dof"] for one in parts])
        maps["dof"] = np.take_along_axis(rows, weakest, axis=0)[0]
    if "n" in parts[0].maps:
        maps["n"] = parts[0].maps["n"]
    smallest = [np.asarray(one.smallest_dof) for one in parts if one.smallest_dof is not None]
    least = np.minimum.reduce(np.broadcast_arrays(*smallest)) if smallest else None
    dof = {one.dof for one in parts}
    return ContrastResult(
        contrast=contrast,
        dof=dof.pop() if len(dof) == 1 else None,
        dof_numerator=1,
        maps=maps,
        smallest_dof=float(least) if least is not None and least.ndim == 0 else least,
    )


def _judge(question: Question, rule: Correction, parts: Sequence[Significance]) -> Significance:
    """Take the largest corrected p of the parts; where a correction has none, judge the largest p."""
    by_shuffling, own = None, [one.by_shuffling for one in parts if one.by_shuffling is not None]
    if own:
        p = _largest(question, [one.p for one in own])
        by_shuffling = UncorrectedP(p=p, details=_agreed([one.details for one in own]))
    rows = [one.p_corrected for one in parts if one.p_corrected is not None]
    if not rows:
        return replace(judge_without_shuffling(question, rule), by_shuffling=by_shuffling)
    p_corrected = _largest(question, rows)
    is_significant = question.is_tested & (p_corrected <= np.float32(question.spec.alpha))

    def corrected(members: Members, _: Sign) -> dict[str, float]:
        name = rule.measure if rule.measure and rule.is_clusterwise else "peak"
        return {name: float(p_corrected[members].min())}

    limits = [one.threshold for one in parts]
    known = [limit for limit in limits if limit is not None]
    details, notices = _agreed([one.details for one in parts]).but(thresholds_of_parts=limits), []
    if rule == FALSE_DISCOVERY_RATE:
        details = details.but(error_control="false discovery rate of each part, not of the conjunction")
        said = f"{rule.name} of '{question.result.contrast.name}' does not control the share of false"
        notices = [
            warn(
                "conjunction",
                f"{said} discoveries of the conjunction: where effects lie in different places, most of what "
                "is found can be false.",
                f"Judge conjunctions by {BONFERRONI.name} or by fwe-voxel, fwe-size, fwe-mass, fwe-tfce.",
            )
        ]
    strictest = min if parts[0].threshold_stat == "p" else max
    return judge(
        question,
        rule,
        is_significant=is_significant,
        clusters=gather(question, is_significant, p_corrected=p_corrected, corrected=corrected),
        threshold=(strictest(known) if len(known) == len(limits) else None, parts[0].threshold_stat),
        p_corrected=p_corrected,
        details=details,
        notices=tuple(notices),
        by_shuffling=by_shuffling,
    )


def _largest(question: Question, rows: Sequence[Row]) -> Row:
    """Take the largest p where all effects have one sign, else 1."""
    is_same = question.is_tested & (question.z != 0)
    return np.where(is_same, np.maximum.reduce(rows), np.float32(1))


def _agreed(details: Sequence[Sidecar]) -> Sidecar:
    """Keep what the sidecars of all parts say alike."""
    first, *others = map(vars, details)
    alike = {k: value for k, value in first.items() if all(one.get(k) == value for one in others)}
    return Sidecar(**alike)
