"""One contrast on its way to a verdict, and how marked elements become a `Significance`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from bids_group.config import InferenceSpec
from bids_group.config.corrections import Correction
from bids_group.elements.adjacency import Adjacency
from bids_group.inference.clusters.clusters_and_peaks import build_clusters
from bids_group.inference.clusters.peaks import PeakNumbers
from bids_group.records import Cluster, ContrastResult, GroupData, Notice, Significance
from bids_group.records.sidecars import Sidecar

Row = npt.NDArray[np.float32]
Members = npt.NDArray[np.intp]
Sign = Literal[1, -1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """One contrast on its way to a verdict: its numbers, where it was tested, and how it is judged.

    ``is_tested``: elements at which the fit could judge the contrast; ``statistic``, ``z`` and uncorrected
    ``p`` are those of the fit, but that z is the one judged where shuffling allows for unequal variances.
    All of shape ``(n_elements,)``. ``n_together``: contrasts whose family-wise errors are counted together.
    """

    data: GroupData
    result: ContrastResult
    spec: InferenceSpec
    adjacency: Adjacency
    is_tested: npt.NDArray[np.bool_]
    statistic: Row
    z: Row
    p: Row
    n_together: int = 1

    @classmethod
    def about(
        cls,
        data: GroupData,
        result: ContrastResult,
        spec: InferenceSpec,
        adjacency: Adjacency,
        n_together: int = 1,
    ) -> Question:
        """Take statistic, z and p from the fit; NaN where it has none (F with variance groups).

        Elements without degrees of freedom or without residual variance are not tested.
        """
        statistic, dof = result.maps[result.contrast.test], result.maps.get("dof")
        none = np.full(statistic.shape, np.nan, dtype=np.float32)
        is_tested = np.isfinite(statistic) & ~_is_fitted_exactly(result)
        return cls(
            data=data,
            result=result,
            spec=spec,
            adjacency=adjacency,
            is_tested=is_tested if dof is None else is_tested & (dof > 0),
            statistic=statistic,
            z=result.maps.get("z", none),
            p=result.maps.get("p", none),
            n_together=n_together,
        )

    @property
    def n_tested(self) -> int:
        """Number of elements at which the contrast was tested."""
        return int(self.is_tested.sum())

    @property
    def is_two_sided(self) -> bool:
        """Both tails; an F statistic has one tail whatever was asked for."""
        return self.spec.is_two_sided and self.result.contrast.test == "t"

    @property
    def cluster_forming_z(self) -> float:
        """The z whose upper tail is the cluster-forming p (half of it per sign when two-sided)."""
        return forming_z(self.spec, is_two_sided=self.is_two_sided)


def _is_fitted_exactly(result: ContrastResult) -> npt.NDArray[np.bool_]:
    """Say where the fit found no residual variance: statistic 0, p 1, and every effect of variance 0.

    A variance alone may be 0 because it is too small for float32; its statistic then is another number.
    """
    statistic, variance = result.maps[result.contrast.test], result.maps.get("variance")
    if variance is None:
        return np.zeros(statistic.shape, dtype=np.bool_)
    is_zero = (np.atleast_2d(variance) == 0).all(axis=0) & (statistic == 0)
    return np.asarray(is_zero & (result.maps["p"] == 1) if "p" in result.maps else is_zero)


def forming_z(spec: InferenceSpec, *, is_two_sided: bool) -> float:
    """Cluster-forming threshold on the scale of z."""
    return float(-special.ndtri(spec.cluster_forming_p / (2 if is_two_sided else 1)))


def gather(
    question: Question,
    is_in: npt.NDArray[np.bool_],
    *,
    p_corrected: Row | None = None,
    mass_threshold_z: float | None = None,
    corrected: Callable[[Members, Sign], dict[str, float]] | None = None,
    bound: Callable[[Members, Sign], float] | None = None,
) -> tuple[Cluster, ...]:
    """Gather marked elements into clusters, each with the smallest corrected p unless told otherwise."""
    numbers = PeakNumbers(
        statistic=question.statistic,
        z=question.z,
        p_uncorrected=question.p,
        p_corrected=p_corrected,
        result=question.result,
    )

    def smallest(members: Members, _: Sign) -> dict[str, float]:
        return {} if p_corrected is None else {"peak": float(p_corrected[members].min())}

    return build_clusters(
        is_in,
        numbers,
        question.data.elements,
        question.adjacency,
        mass_threshold_z=mass_threshold_z,
        corrected=corrected or smallest,
        bound=bound,
    )


def judge(
    question: Question,
    rule: Correction,
    *,
    is_significant: npt.NDArray[np.bool_],
    threshold: tuple[float | None, str],
    clusters: tuple[Cluster, ...] | None = None,
    p_corrected: Row | None = None,
    alpha: float | None = None,
    null: Mapping[str, Row] | None = None,
    details: Sidecar | None = None,
    notices: tuple[Notice, ...] = (),
) -> Significance:
    """Put a verdict together; clusters are those of the significant elements unless given."""
    if clusters is None:
        clusters = gather(question, is_significant, p_corrected=p_corrected)
    return Significance(
        contrast=question.result.contrast.name,
        correction=rule.name,
        alpha=question.spec.alpha if alpha is None else alpha,
        is_two_sided=question.is_two_sided,
        threshold=threshold[0],
        threshold_stat=threshold[1],
        p_corrected=p_corrected,
        is_significant=is_significant,
        clusters=clusters,
        null=null or {},
        details=Sidecar(connectivity=question.spec.connectivity).but(details or Sidecar()),
        notices=notices,
    )
