"""One contrast on its way to a `Significance`, and what becomes of its marked elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from bids_group.config import InferenceSpec
from bids_group.config.corrections import Correction
from bids_group.elements import points_of
from bids_group.inference.clusters.clusters_and_peaks import Members, find_clusters, find_peaks
from bids_group.records import Cluster, ContrastResult, GroupData, Peak, Significance
from bids_group.records.sidecars import Sidecar

Row = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Sign = Literal[1, -1]

SIGNS: tuple[Sign, ...] = (1, -1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """One contrast that is to be judged: its numbers, where it was tested, and how it is judged.

    ``is_tested``: elements at which the fit could judge the contrast; ``statistic``, ``z`` and uncorrected
    ``p`` are those of the fit, but that z is the one judged where shuffling allows for unequal variances.
    All of shape ``(n_elements,)``. ``n_together``: contrasts whose family-wise errors are counted together.
    """

    data: GroupData
    result: ContrastResult
    spec: InferenceSpec
    is_tested: Flags
    statistic: Row
    z: Row
    p: Row
    n_together: int = 1

    @classmethod
    def about(
        cls, data: GroupData, result: ContrastResult, spec: InferenceSpec, n_together: int = 1
    ) -> Question:
        """Take statistic, z and p from the fit; NaN where it has none (F with variance groups).

        Elements without degrees of freedom or without residual variance are not tested. The fit says the
        latter by statistic 0, p 1, and every effect of variance 0; a variance alone may be 0 because it is
        too small for float32, and its statistic then is another number.
        """
        maps = result.maps
        statistic, dof, variance = maps[result.contrast.test], maps.get("dof"), maps.get("variance")
        none = np.full(statistic.shape, np.nan, dtype=np.float32)
        is_tested = np.isfinite(statistic)
        if dof is not None:
            is_tested &= dof > 0
        if variance is not None:
            is_exact = (np.atleast_2d(variance) == 0).all(axis=0) & (statistic == 0)
            is_tested &= ~(is_exact & (maps["p"] == 1) if "p" in maps else is_exact)
        return cls(
            data=data,
            result=result,
            spec=spec,
            is_tested=is_tested,
            statistic=statistic,
            z=maps.get("z", none),
            p=maps.get("p", none),
            n_together=n_together,
        )

    @property
    def n_tested(self) -> int:
        """Number of elements at which the contrast was tested."""
        return int(self.is_tested.sum())

    @property
    def is_two_sided(self) -> bool:
        """Both tails; F and the test of equivalence have one whatever was asked for."""
        return self.spec.is_two_sided and self.result.contrast.has_two_tails

    @property
    def connectivity(self) -> int | None:
        """Neighbours of a voxel; None where there are no voxels."""
        geometry = self.data.geometry
        is_voxels = geometry is None or any(one.unit == "mm3" for one in geometry.parts)
        return self.spec.connectivity if is_voxels else None

    @property
    def signs(self) -> tuple[Sign, ...]:
        """Signs that are judged."""
        return SIGNS if self.is_two_sided else SIGNS[:1]

    def measure(self, members: Members) -> tuple[Doubles | float, dict[str, float | None]]:
        """Weigh elements: what each counts, and their size by unit (None where areas are not known)."""
        geometry = self.data.geometry
        if geometry is None:
            return 1.0, {"size_mm3": members.size * self.data.elements.grid.element_mm3}
        weights, unit = geometry.weights[members], geometry.parts[geometry.part_of[members[0]]].unit
        size = float(weights.sum())
        sizes = dict.fromkeys(("size_mm3", "size_mm2"))
        return weights, sizes | ({f"size_{unit}": size} if f"size_{unit}" in sizes and size == size else {})

    @property
    def cluster_forming_z(self) -> float:
        """The z whose upper tail is the cluster-forming p (half of it per sign when two-sided)."""
        return float(-special.ndtri(self.spec.cluster_forming_p / len(self.signs)))


def gather(
    question: Question,
    is_in: Flags,
    *,
    p_corrected: Row | None = None,
    mass_threshold_z: float | None = None,
    corrected: Callable[[Members, Sign], dict[str, float]] | None = None,
    bound: Callable[[Members, Sign], float] | None = None,
) -> tuple[Cluster, ...]:
    """Gather marked elements into clusters of one sign with their peaks, positive and then highest first.

    Each has the smallest ``p_corrected``, or the p by measure that ``corrected`` gives for its elements and
    sign; its true-discovery proportion by ``bound``; and the mass Σ weight · (|z| − ``mass_threshold_z``).
    """
    elements, geometry = question.data.elements, question.data.geometry
    clusters: list[Cluster] = []
    for sign in SIGNS:
        heights = question.z * np.float32(sign)
        found = find_clusters(is_in & (heights > 0), elements, question.spec.connectivity, geometry)
        ordered = sorted(found, key=lambda members: -float(heights[members].max()))
        for members, peaks in zip(ordered, find_peaks(heights, ordered, elements, geometry), strict=True):
            p_of_cluster, mass = {}, None
            weights, sizes = question.measure(members)
            if corrected is not None:
                p_of_cluster = corrected(members, sign)
            elif p_corrected is not None:
                p_of_cluster = {"peak": float(p_corrected[members].min())}
            if mass_threshold_z is not None:
                mass = float((weights * (heights[members].astype(np.float64) - mass_threshold_z)).sum())
            cluster = Cluster(
                index=len(clusters) + 1,
                sign=sign,
                elements=members,
                **sizes,
                peaks=tuple(_describe_peak(question, one, p_corrected) for one in peaks),
                mass=mass,
                p_corrected=p_of_cluster,
                true_discovery_proportion=bound(members, sign) if bound else None,
            )
            clusters.append(cluster)
    return tuple(clusters)


def _describe_peak(question: Question, element: int, p_corrected: Row | None) -> Peak:
    """Collect what is known at one element; effect sizes where the fit has them."""
    data = question.data
    x, y, z = map(float, points_of(data.elements, data.geometry, np.array([element]))[0])
    maps = question.result.maps

    def read(row: Row | None) -> float | None:
        return None if row is None or row.ndim != 1 else float(row[element])

    return Peak(
        element=element,
        xyz_mm=(x, y, z),
        statistic=float(question.statistic[element]),
        z=float(question.z[element]),
        p_uncorrected=float(question.p[element]),
        p_corrected=read(p_corrected),
        effect=read(maps.get("effect")),
        g=read(maps.get("g")),
        g_lower=read(maps.get("gLower")),
        g_upper=read(maps.get("gUpper")),
    )


def judge(
    question: Question,
    rule: Correction,
    *,
    is_significant: Flags,
    threshold: tuple[float | None, str],
    clusters: tuple[Cluster, ...] | None = None,
    p_corrected: Row | None = None,
    details: Sidecar | None = None,
    **more: Any,
) -> Significance:
    """Put a `Significance` together; clusters are those of the significant elements unless given."""
    if clusters is None:
        clusters = gather(question, is_significant, p_corrected=p_corrected)
    return Significance(
        contrast=question.result.contrast.name,
        correction=rule.name,
        is_two_sided=question.is_two_sided,
        threshold=threshold[0],
        threshold_stat=threshold[1],
        p_corrected=p_corrected,
        is_significant=is_significant,
        clusters=clusters,
        details=Sidecar(connectivity=question.connectivity).but(details or Sidecar()),
        **{"alpha": question.spec.alpha, **more},
    )
