"""Smoothing within each structure: along surfaces by geodesic distance, and among the voxels of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bids_group.elements.masks import is_same_mask
from bids_group.elements.smoothing import REACH_IN_SD, SD_PER_FWHM, Smoother
from bids_group.elements.space import Grid, Part, Space, Structures, Vertices, Voxels
from bids_group.elements.surfaces import Surfaces

Row = npt.NDArray[np.float32]
Weigh = Callable[[Row], Row]


class StructureSmoother:
    """Smooth maps of a space of structures by ``fwhm_mm`` > 0, over what each map observed.

    As `Smoother` does: a value becomes the weighted mean of the observed values around it in its structure,
    and is given only where the map was observed itself. What has no place (regions) is left as it is.
    Weights are made once.
    """

    def __init__(self, space: Structures, surfaces: Surfaces, fwhm_mm: float) -> None:
        self._slices = space.slices
        self._weigh = [_smoothing_of(part, surfaces, fwhm_mm) for part in space.parts]

    def smooth(self, row: Row, *, in_place: bool = False) -> Row:
        """Smooth a row ``(n_elements,)``, or a copy of it; NaN = not observed, in and out."""
        smoothed = row if in_place else row.copy()
        for place, weigh in zip(self._slices, self._weigh, strict=True):
            if weigh is not None:
                smoothed[place] = weigh(row[place])
        return smoothed


def build_smoother(space: Space, surfaces: Surfaces, fwhm_mm: float) -> Smoother | StructureSmoother:
    """Make what smooths maps of a space: a volume's grid, or the structures of other maps."""
    if isinstance(space, Structures):
        return StructureSmoother(space, surfaces, fwhm_mm)
    return Smoother(space.grid, fwhm_mm)


def _smoothing_of(part: Part, surfaces: Surfaces, fwhm_mm: float) -> Weigh | None:
    """Choose how a part is smoothed; None of regions, which have no place."""
    if isinstance(part, Vertices) and part.n_elements:
        from bids_group.elements.geodesic import geodesic_weights  # numba takes 0.2 s to import

        surface = surfaces[part.structure]
        areas = surface.areas if surface.n_people else None
        weights = geodesic_weights(surface.mesh, fwhm_mm * SD_PER_FWHM, areas)
        return _Weighted(weights[part.indices][:, part.indices])
    if isinstance(part, Voxels) and part.n_elements:
        return _Boxed(part, fwhm_mm)
    return None


class _Weighted:
    """Weighted means of what is observed; the sums of weights serve the next map observed alike."""

    def __init__(self, weights: sparse.csr_array) -> None:
        self._weights = weights
        self._is_observed: npt.NDArray[np.bool_] | None = None

    def __call__(self, values: Row) -> Row:
        is_observed = np.isfinite(values)
        if self._is_observed is None or not is_same_mask(is_observed, self._is_observed):
            self._is_observed = is_observed
            self._sums = self._weights @ is_observed.astype(np.float64)
        given = self._weights @ np.where(is_observed, values, 0).astype(np.float64)
        means = np.divide(given, self._sums, out=np.full(values.size, np.nan), where=is_observed)
        return np.asarray(means, dtype=np.float32)


class _Boxed:
    """Voxels of one structure in a box of their own, with as much room around them as the kernel reaches."""

    def __init__(self, part: Voxels, fwhm_mm: float) -> None:
        voxels = np.column_stack(np.unravel_index(part.indices, part.grid.shape))
        reach = REACH_IN_SD * SD_PER_FWHM * fwhm_mm / np.array(part.grid.element_sizes_mm)
        margin = np.floor(reach + 0.5).astype(np.intp) + 1
        first, last = voxels.min(axis=0), voxels.max(axis=0)
        x, y, z = (last - first + 1 + 2 * margin).tolist()
        self._places = tuple((voxels - first + margin).T)
        self._volume = np.full((x, y, z), np.nan, dtype=np.float32)
        self._smoother = Smoother(Grid(shape=(x, y, z), affine=part.grid.affine), fwhm_mm)

    def __call__(self, values: Row) -> Row:
        self._volume[self._places] = values
        return np.asarray(self._smoother.smooth(self._volume)[self._places])
