"""Significance (made by `inference`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from bids_group.records.notices import Notice
from bids_group.records.sidecars import Sidecar

SIZES = (
    *("d_z", "d_av", "d_av_lower", "d_av_upper"),
    *("standardised_slope", "partial_r", "partial_r_lower", "partial_r_upper"),
)
"""Effect sizes of peaks beside Hedges' g: of differences within people, and of slopes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """A local maximum. ``element`` indexes the analysed elements; its place is NaN where none is known.

    ``sizes``: those of `SIZES` that belong to the question.
    """

    element: int
    xyz_mm: tuple[float, float, float]
    statistic: float
    z: float
    p_uncorrected: float
    p_corrected: float | None
    effect: float | None = None
    g: float | None = None
    g_lower: float | None = None
    g_upper: float | None = None
    sizes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cluster:
    """Connected elements of one sign above a threshold; ``p_corrected`` by measure (size, mass, peak …).

    Voxels have a size in mm³, vertices one in mm²; None where it is not known.
    """

    index: int
    sign: Literal[1, -1]
    elements: npt.NDArray[np.intp]
    size_mm3: float | None
    peaks: tuple[Peak, ...]
    size_mm2: float | None = None
    mass: float | None = None
    p_corrected: Mapping[str, float] = field(default_factory=dict)
    true_discovery_proportion: float | None = None

    @property
    def has_true_discoveries(self) -> bool:
        """Whether all-resolutions inference finds an effect in it."""
        return (self.true_discovery_proportion or 0) > 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UncorrectedP:
    """Share of the shuffles that reach each element's own statistic: float32 ``(n_elements,)`` in (0, 1]."""

    p: npt.NDArray[np.float32]
    details: Sidecar


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Significance:
    """One contrast judged by one correction.

    ``p_corrected``: float32 ``(n_elements,)`` in (0, 1], or None (``ari``, ``none``). ``threshold`` is on the
    scale of the statistic named by ``threshold_stat`` (``t``, ``F``, ``z``, ``size``, ``mass``, ``tfce``;
    ``p`` for fdr); None where nothing can pass. ``null`` holds the null distribution(s) by name, the
    unshuffled value first. ``details`` is this correction's part of the sidecars. ``by_shuffling``: the
    contrast's uncorrected p from the same shuffles, where it was asked for.
    ``z``: the normal deviates that were judged, where they are not those of the fit (variance groups).
    """

    contrast: str
    correction: str
    alpha: float
    is_two_sided: bool
    threshold: float | None
    threshold_stat: str
    p_corrected: npt.NDArray[np.float32] | None
    is_significant: npt.NDArray[np.bool_]
    clusters: tuple[Cluster, ...]
    null: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    details: Sidecar = field(default_factory=Sidecar)
    notices: tuple[Notice, ...] = ()
    by_shuffling: UncorrectedP | None = None
    z: npt.NDArray[np.float32] | None = None
