"""Clusters as a table and as an image of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from bids_group.elements import Elements
from bids_group.records import ContrastResult, Peak, Significance
from bids_group.words import counted

_MEASURES = ("size", "mass", "tfce", "peak")


class RegionNamer(Protocol):
    """An atlas: names points and sets of elements."""

    def name_points(self, xyz_mm: npt.NDArray[np.float64]) -> Sequence[str | None]:
        """Region at each point of shape ``(n, 3)``; None outside all regions."""
        ...

    def describe_elements(self, elements: Elements, which: npt.NDArray[np.intp]) -> str:
        """Regions that a set of elements reaches, with its share in each."""
        ...


def tabulate_clusters(
    result: ContrastResult, significance: Significance, elements: Elements, atlas: RegionNamer | None = None
) -> pd.DataFrame:
    """List every peak of every cluster, one row each; what belongs to the cluster stands in each of its rows.

    ``effect_lower`` and ``effect_upper`` limit the effect at the peak with confidence 1 − alpha (for t).
    Columns in which no row has a value are kept (``n/a``): tables of one kind of test have the same columns.
    """
    test = result.contrast.test
    columns = [
        *("cluster", "peak", "sign", "x", "y", "z", test, "z_score", "p_uncorrected", "p_corrected"),
        *("size_mm3", "n_elements", "mass", *(f"p_{measure}" for measure in _MEASURES)),
        *("true_discovery_proportion", "effect", "effect_lower", "effect_upper", "g", "g_lower", "g_upper"),
    ]
    rows = [
        (
            *(cluster.index, number, "positive" if cluster.sign > 0 else "negative", *peak.xyz_mm),
            *(peak.statistic, peak.z, peak.p_uncorrected, peak.p_corrected),
            *(
                round(cluster.size_mm3, 6),
                len(cluster.elements),
                cluster.mass,
            ),  # 10125, no 10124.999999999995
            *(cluster.p_corrected.get(measure) for measure in _MEASURES),
            *(cluster.true_discovery_proportion, peak.effect, *_effect_limits(result, significance, peak)),
            *(peak.g, peak.g_lower, peak.g_upper),
        )
        for cluster in significance.clusters
        for number, peak in enumerate(cluster.peaks, start=1)
    ]
    table = pd.DataFrame(rows, columns=columns)
    if atlas is not None:
        points = table[["x", "y", "z"]].to_numpy(dtype=np.float64).reshape(-1, 3)
        table = table.assign(region=pd.Series(atlas.name_points(points), dtype=object))
        shares = {one.index: atlas.describe_elements(elements, one.elements) for one in significance.clusters}
        table["cluster_regions"] = table["cluster"].map(shares).where(table["peak"] == 1, None)
    return table


def _effect_limits(
    result: ContrastResult, significance: Significance, peak: Peak
) -> tuple[float | None, float | None]:
    """Limits effect ± t(1 − alpha/2, dof) · SE; None for F, where an effect has no sign."""
    if result.contrast.test != "t" or "variance" not in result.maps or "effect" not in result.maps:
        return None, None
    effect = float(result.maps["effect"][peak.element])
    dof = result.dof if result.dof is not None else float(result.maps["dof"][peak.element])
    upper = 1 - significance.alpha / 2
    quantile = special.stdtrit(dof, upper) if np.isfinite(dof) else special.ndtri(upper)
    width = float(quantile) * float(np.sqrt(result.maps["variance"][peak.element]))
    return effect - width, effect + width


def spell_clusters(n_clusters: int, n_found: int | None = None) -> str:
    """Count clusters; of all-resolutions inference (``n_found``) also those with true discoveries."""
    found = "" if n_found is None else f", {n_found} with true discoveries"
    return counted(n_clusters, "cluster") + found


def map_discoveries(significance: Significance, n_elements: int) -> npt.NDArray[np.float32]:
    """Give each element the true-discovery proportion of its cluster, 0 outside clusters."""
    row = np.zeros(n_elements, dtype=np.float32)
    for cluster in significance.clusters:
        row[cluster.elements] = cluster.true_discovery_proportion or 0.0
    return row


def label_clusters(significance: Significance, elements: Elements) -> npt.NDArray[np.int32]:
    """Make a volume of the grid's shape with each element's cluster number, 0 = in none."""
    volume = np.zeros(elements.grid.n_elements, dtype=np.int32)
    for cluster in significance.clusters:
        volume[elements.indices[cluster.elements]] = cluster.index
    return volume.reshape(elements.grid.shape)
