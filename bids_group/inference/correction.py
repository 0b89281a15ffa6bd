"""What is significant: every contrast judged by every correction asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from bids_group.config import InferenceSpec
from bids_group.elements.adjacency import Adjacency, build_adjacency
from bids_group.inference.clusters import build_clusters
from bids_group.inference.discoveries import hommel_value, true_discovery_proportion
from bids_group.inference.multiplicity import adjust_bonferroni, adjust_fdr
from bids_group.inference.peaks import PeakNumbers
from bids_group.records import Cluster, ContrastResult, GroupData, Notice, Significance

Row = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """One contrast on its way to a verdict: its numbers, where it was tested, and how it is judged.

    ``is_tested``: elements at which the contrast could be estimated, shape ``(n_elements,)``.
    """

    data: GroupData
    result: ContrastResult
    spec: InferenceSpec
    adjacency: Adjacency
    is_tested: npt.NDArray[np.bool_]
    notices: tuple[Notice, ...] = field(default=())

    @property
    def is_two_sided(self) -> bool:
        """Both tails; an F statistic has one tail whatever was asked for."""
        return self.spec.is_two_sided and self.result.contrast.test == "t"

    @property
    def cluster_forming_z(self) -> float:
        """The z whose upper tail is the cluster-forming p (half of it per sign when two-sided)."""
        return forming_z(self.spec, is_two_sided=self.is_two_sided)


def forming_z(spec: InferenceSpec, *, is_two_sided: bool) -> float:
    """Cluster-forming threshold on the scale of z."""
    return float(-special.ndtri(spec.cluster_forming_p / (2 if is_two_sided else 1)))


def correct_without_shuffling(question: Question, correction: str) -> Significance:
    """Judge a contrast by ``none``, ``fdr``, ``bonferroni`` or ``ari``."""
    return {"none": _uncorrected, "fdr": _fdr, "bonferroni": _bonferroni, "ari": _ari}[correction](question)


def _uncorrected(question: Question) -> Significance:
    """Mark p ≤ the cluster-forming p, uncorrected, and say so."""
    p = question.result.maps["p"]
    level = question.spec.cluster_forming_p
    notice = Notice(
        severity="warning",
        topic="uncorrected",
        sentence=f"The contrast '{question.result.contrast.name}' is shown at p ≤ {level:g} without any"
        " correction for the number of elements: expect false positives.",
        fix="Report a corrected result: --correction fdr, bonferroni, ari or one of the fwe- family.",
    )
    return _verdict(
        question,
        "none",
        is_significant=question.is_tested & (p <= level),
        threshold=_statistic_at(question, level),
        alpha=level,
        notices=(notice,),
    )


def _bonferroni(question: Question) -> Significance:
    p_corrected = _adjusted(question, adjust_bonferroni)
    level = question.spec.alpha / max(int(question.is_tested.sum()), 1)
    return _verdict(
        question,
        "bonferroni",
        is_significant=question.is_tested & (p_corrected <= question.spec.alpha),
        threshold=_statistic_at(question, level),
        p_corrected=p_corrected,
        details={"NumberOfTests": int(question.is_tested.sum())},
    )


def _fdr(question: Question) -> Significance:
    p_corrected = _adjusted(question, adjust_fdr)
    is_significant = question.is_tested & (p_corrected <= question.spec.alpha)
    passed = question.result.maps["p"][is_significant]
    return _verdict(
        question,
        "fdr",
        is_significant=is_significant,
        threshold=(float(passed.max()), "p") if passed.size else (None, "p"),
        p_corrected=p_corrected,
        details={"NumberOfTests": int(question.is_tested.sum())},
    )


def _ari(question: Question) -> Significance:
    """True-discovery bounds of the clusters above the cluster-forming threshold; each sign at half of alpha."""
    z = question.result.maps["z"].astype(np.float64)
    alpha = question.spec.alpha / (2 if question.is_two_sided else 1)
    signs: tuple[Literal[1, -1], ...] = (1, -1) if question.is_two_sided else (1,)
    p_of = {sign: special.ndtr(-sign * z) for sign in signs}
    hommel = {sign: hommel_value(p_of[sign][question.is_tested], alpha) for sign in signs}

    def bound(members: npt.NDArray[np.intp], sign: Literal[1, -1]) -> float:
        return true_discovery_proportion(p_of[sign][members], hommel[sign], alpha)

    heights = np.abs(z) if question.is_two_sided else z
    clusters = _clusters(question, question.is_tested & (heights >= question.cluster_forming_z), bound=bound)
    is_significant = np.zeros(z.size, dtype=bool)
    for cluster in clusters:
        is_significant[cluster.elements] = (cluster.true_discovery_proportion or 0) > 0
    details = {
        "ClusterFormingZ": question.cluster_forming_z,
        "HommelValue": {("positive" if sign > 0 else "negative"): hommel[sign] for sign in signs},
        "AlphaPerSign": alpha,
    }
    return _significance(
        question,
        "ari",
        is_significant=is_significant,
        threshold=(question.cluster_forming_z, "z"),
        clusters=clusters,
        details=details,
    )


def _adjusted(question: Question, adjust: Callable[[Row], npt.NDArray[np.float64]]) -> Row:
    adjusted = np.ones(question.is_tested.size, dtype=np.float32)
    adjusted[question.is_tested] = adjust(question.result.maps["p"][question.is_tested])
    return adjusted


def _statistic_at(question: Question, p: float) -> tuple[float, str]:
    """Threshold of the statistic at an uncorrected p; on the scale of z where the dof differ between elements."""
    result, tail = question.result, p / 2 if question.is_two_sided else p
    if result.dof is None or not np.isfinite(result.dof):
        return float(-special.ndtri(tail)), "z"
    if result.contrast.test == "F":
        return float(special.fdtri(result.dof_numerator, result.dof, 1 - p)), "F"
    return float(-special.stdtrit(result.dof, tail)), "t"


def _verdict(
    question: Question,
    correction: str,
    *,
    is_significant: npt.NDArray[np.bool_],
    threshold: tuple[float | None, str],
    p_corrected: Row | None = None,
    alpha: float | None = None,
    details: dict[str, Any] | None = None,
    notices: tuple[Notice, ...] = (),
) -> Significance:
    """Mark elements, and gather them into clusters."""

    def corrected(members: npt.NDArray[np.intp], _: Literal[1, -1]) -> dict[str, float]:
        return {} if p_corrected is None else {"peak": float(p_corrected[members].min())}

    clusters = _clusters(question, is_significant, p_corrected=p_corrected, corrected=corrected)
    return _significance(
        question,
        correction,
        is_significant=is_significant,
        threshold=threshold,
        clusters=clusters,
        p_corrected=p_corrected,
        alpha=alpha,
        details=details or {},
        notices=notices,
    )


def _clusters(
    question: Question, is_in: npt.NDArray[np.bool_], *, p_corrected: Row | None = None, **measures: Any
) -> tuple[Cluster, ...]:
    maps = question.result.maps
    numbers = PeakNumbers(
        statistic=maps[question.result.contrast.test],
        z=maps["z"],
        p_uncorrected=maps["p"],
        p_corrected=p_corrected,
        result=question.result,
    )
    return build_clusters(is_in, numbers, question.data.elements, question.adjacency, **measures)


def _significance(
    question: Question,
    correction: str,
    *,
    is_significant: npt.NDArray[np.bool_],
    threshold: tuple[float | None, str],
    clusters: tuple[Cluster, ...],
    p_corrected: Row | None = None,
    alpha: float | None = None,
    details: dict[str, Any],
    notices: tuple[Notice, ...] = (),
) -> Significance:
    return Significance(
        contrast=question.result.contrast.name,
        correction=correction,
        alpha=question.spec.alpha if alpha is None else alpha,
        is_two_sided=question.is_two_sided,
        threshold=threshold[0],
        threshold_stat=threshold[1],
        p_corrected=p_corrected,
        is_significant=is_significant,
        clusters=clusters,
        details={"Connectivity": question.spec.connectivity, **details},
        notices=question.notices + notices,
    )


def correct_group(
    data: GroupData,
    results: Sequence[ContrastResult],
    spec: InferenceSpec,
    *,
    n_procs: int = 1,
    mem_gb: float | None = None,
    work_dir: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Significance, ...]:
    """Judge every contrast by every correction, in the order contrasts × ``spec.corrections``."""
    adjacency = build_adjacency(data.elements, spec.connectivity)
    found: list[Significance] = []
    for result in results:
        question = Question(
            data=data, result=result, spec=spec, adjacency=adjacency, is_tested=_is_tested(result)
        )
        found.extend(correct_without_shuffling(question, name) for name in spec.corrections)
    return tuple(found)


def _is_tested(result: ContrastResult) -> npt.NDArray[np.bool_]:
    """Elements with residual degrees of freedom, where the statistic is a number."""
    statistic = result.maps[result.contrast.test]
    dof = result.maps.get("dof")
    return np.isfinite(statistic) & (True if dof is None else dof > 0)
