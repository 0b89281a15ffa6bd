"""Maps of one analysis, read from OUTPUT_DIR and laid out for the page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.elements import Grid, read_map
from bids_group.errors import DataError
from bids_group.output.report.brains import Layers
from bids_group.output.report.canvas import Box, common_cuts, cuts_through, place, read_anatomy
from bids_group.output.report.folder import (
    UNCORRECTED,
    AnalysisFiles,
    ContrastFiles,
    alpha_of,
    entities_of,
    sidecar_of,
)

LOGGER = logging.getLogger(__name__)
N_CUTS = 8
MAX_LIMIT = {"t": 12.0, "F": 60.0}
"""Colours end here at most: beyond it pictures would show strong effects only."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """What all pictures of an analysis share: grid, mask, anatomy, cuts and the end of each colour scale.

    ``cut_mm``: a point that pictures go through, where one was asked for.
    """

    grid: Grid
    inside: npt.NDArray[np.bool_]
    mask: Box
    anatomy: Box | None
    cuts: tuple[tuple[float, ...], ...]
    limits: dict[str, float]
    cut_mm: tuple[float, float, float] | None = None

    @property
    def n_elements(self) -> int:
        """Number of analysed elements."""
        return int(self.inside.sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContrastMaps:
    """Numbers of one contrast on the whole grid; ``significant`` by correction with a p map.

    ``labels``: cluster numbers, 0 = none, by correction without one.

    ``strength`` is the statistic as evidence: its magnitude, or with a one-sided test its positive part.
    An F of several rows with variance groups has the z that shuffling judged, and p only by shuffling.
    """

    statistic: npt.NDArray[np.float32]
    strength: npt.NDArray[np.float32]
    z: npt.NDArray[np.float32]
    p: npt.NDArray[np.float32] | None
    significant: dict[str, npt.NDArray[np.bool_]]
    labels: dict[str, npt.NDArray[np.int32]]


def set_stage(analysis: AnalysisFiles) -> Stage:
    """Read the mask and find common cuts and scales.

    Raises
    ------
    DataError
        The analysis mask is not there.
    """
    if analysis.mask is None:
        raise DataError(
            f"The analysis {analysis.stem} has no analysis mask, so its maps cannot be shown.",
            expected=f"{analysis.stem}_desc-analysis_mask.nii.gz",
            fix="Run the group level again.",
        )
    loaded = read_map(analysis.mask)
    inside = loaded.data > 0
    mask = place(inside.astype(np.float32), loaded.grid)
    cut_mm = _point_inside(analysis.info.cut_coordinates, mask)
    cuts = tuple(common_cuts(mask, axis, N_CUTS) for axis in range(3))
    return Stage(
        grid=loaded.grid,
        inside=inside,
        mask=mask,
        anatomy=read_anatomy(entities_of(analysis.mask.name).get("space")),
        cuts=cuts
        if cut_mm is None
        else tuple(cuts_through(row, at) for row, at in zip(cuts, cut_mm, strict=True)),
        limits=_limits(analysis, inside),
        cut_mm=cut_mm,
    )


def _point_inside(point: Sequence[float] | None, mask: Box) -> tuple[float, float, float] | None:
    """Take the point that was asked for; None, with a warning, where it lies outside the maps."""
    if point is None:
        return None
    x, y, z = point
    if any(mask.position(axis, at) is None for axis, at in enumerate((x, y, z))):
        LOGGER.warning("--cut-coords %g,%g,%g lies outside the maps: pictures go elsewhere.", x, y, z)
        return None
    return x, y, z


def _limits(analysis: AnalysisFiles, inside: npt.NDArray[np.bool_]) -> dict[str, float]:
    """One scale for all t maps of the analysis and one for all F maps."""
    largest: dict[str, float] = {}
    for contrast in analysis.contrasts:
        values = _strength(contrast, read_map(contrast.maps[contrast.test]).data[inside])
        largest[contrast.test] = max(largest.get(contrast.test, 1.0), float(values.max(initial=0.0)))
    return {test: min(value, MAX_LIMIT[test]) for test, value in largest.items()}


def read_contrast(contrast: ContrastFiles, stage: Stage) -> ContrastMaps:
    """Read the maps of a contrast that the report shows."""
    statistic = np.where(stage.inside, read_map(contrast.maps[contrast.test]).data, 0).astype(np.float32)
    p = contrast.maps.get("p") or contrast.maps.get(UNCORRECTED)
    return ContrastMaps(
        statistic=statistic,
        strength=_strength(contrast, statistic),
        z=read_map(contrast.maps.get("z") or contrast.maps["varianceGroups"]).data,
        p=None if p is None else read_map(p).data,
        significant={name: _significant(path) & stage.inside for name, path in contrast.corrected.items()},
        labels={
            name: read_map(path).data.astype(np.int32)
            for name, path in contrast.labels.items()
            if name not in contrast.corrected
        },
    )


def _strength(contrast: ContrastFiles, statistic: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.maximum(statistic, 0) if contrast.is_one_sided else np.abs(statistic)


def _significant(path: Path) -> npt.NDArray[np.bool_]:
    return read_map(path).data <= alpha_of(sidecar_of(path))


def outlined_correction(contrast: ContrastFiles) -> str | None:
    """Return the correction whose result is outlined on the pictures: the strictest with a map."""
    return next((name for name in contrast.corrections if name in contrast.corrected), None)


def layers_of(contrast: ContrastFiles, maps: ContrastMaps, stage: Stage) -> Layers:
    """Lay the maps of a contrast on top of each other."""
    correction = outlined_correction(contrast)
    significant = (
        maps.significant.get(correction, np.zeros_like(stage.inside))
        if correction
        else np.zeros_like(stage.inside)
    )
    limit = stage.limits[contrast.test]
    return Layers(
        mask=stage.mask,
        statistic=place(maps.statistic, stage.grid),
        significant=place(significant.astype(np.float32), stage.grid),
        anatomy=stage.anatomy,
        limit=limit,
        opaque_at=min(_opaque_at(maps, significant), limit),
        is_signed=contrast.test == "t",
        name=contrast.test,
        is_one_sided=contrast.is_one_sided,
    )


def _opaque_at(maps: ContrastMaps, significant: npt.NDArray[np.bool_]) -> float:
    """Find the smallest significant strength, or that at p = 1e-6 where this is smaller.

    Where nothing is significant it is the strength at p = 0.001, else the largest.
    """
    sizes, level = maps.strength, 1e-6 if significant.any() else 1e-3
    chosen = significant | ((maps.p <= level) & (sizes > 0)) if maps.p is not None else significant
    return max(float(sizes[chosen].min() if chosen.any() else sizes.max()), 0.1)


def strongest_mm(maps: ContrastMaps, grid: Grid) -> tuple[float, float, float]:
    """Where the evidence is strongest, in mm."""
    voxel = np.unravel_index(int(maps.strength.argmax()), grid.shape)
    x, y, z = (float(value) for value in grid.affine[:3, :3] @ np.asarray(voxel) + grid.affine[:3, 3])
    return x, y, z
