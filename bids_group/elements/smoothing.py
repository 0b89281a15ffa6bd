"""Gaussian smoothing over the observed elements only: of volumes, along surfaces, within each structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.elements.masks import is_same_mask
from bids_group.elements.space import Grid, Part, Space, Structures, Vertices, Voxels
from bids_group.elements.surfaces import Surfaces

Volume = npt.NDArray[np.float32]
Row = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Weigh = Callable[[Row], Row]

SD_PER_FWHM = 1 / np.sqrt(8 * np.log(2))
REACH_IN_SD = 4.0


class Smoother:
    """Smooth maps of one grid (along its axes) by a kernel of ``fwhm_mm`` > 0, over what each map observed.

    A value becomes the Gaussian-weighted mean of the observed values around it, and is given only where the
    map was observed itself: nothing outside counts as 0. Where everything around is observed this equals
    ``nilearn.image.smooth_img`` (same width, same reach of 4 SD, reflection at the border of the grid), but
    for rounding: sums are in float64 and rounded once. Sums of weights are kept for the next map that is
    observed in the same places.
    """

    def __init__(self, grid: Grid, fwhm_mm: float) -> None:
        sd = (fwhm_mm * SD_PER_FWHM / size for size in reversed(grid.element_sizes_mm))
        self._kernels = tuple(_half_kernel(width) for width in sd)
        self._is_observed: Mask | None = None

    def smooth(self, volume: Volume, *, in_place: bool = False) -> Volume:
        """Smooth a float32 volume of the grid's shape; NaN = not observed, in and out.

        Where it may be ``in_place``, the volume is written into if x runs fastest in it; it must not hold
        infinities then: some would stay.
        """
        is_own = in_place and volume.flags.f_contiguous
        smoothed = volume if is_own else np.array(volume, order="F")
        is_observed = np.isfinite(smoothed.T)  # (z, y, x), as in a file
        if self._is_observed is None or not is_same_mask(is_observed, self._is_observed):
            self._look_at(is_observed)
        if not is_own:
            smoothed.T[~is_observed] = np.nan  # infinities
        self._sum_up(smoothed.T, is_weight=False)
        return smoothed

    def _look_at(self, is_observed: Mask) -> None:
        """Find the box of the observed elements, which of its rows hold some, and the sums of weights."""
        self._is_observed = is_observed
        sources, box = [], []
        for axis, kernel in enumerate(self._kernels):
            places = np.flatnonzero(is_observed.any(axis=tuple({0, 1, 2} - {axis})))
            first, last = (int(places[0]), int(places[-1])) if places.size else (0, 0)
            steps, size = kernel.size - 1, last + 1 - first
            reflected = np.pad(np.arange(is_observed.shape[axis]), steps, mode="symmetric")
            source = reflected[first : last + 1 + 2 * steps] - first
            sources.append(np.where((source >= 0) & (source < size), source, -1))
            box.append(slice(first, last + 1))
        self._sources, self._first = tuple(sources), tuple(one.start for one in box)
        inside = is_observed[tuple(box)]
        self._has_values = np.asarray(inside.any(axis=2))
        self._weights = np.zeros(inside.shape)
        self._sum_up(is_observed.astype(np.float32), is_weight=True)
        self._weights[~inside] = np.nan

    def _sum_up(self, volume: Volume, *, is_weight: bool) -> None:
        from bids_group.elements.gaussian import average_around  # numba takes 0.2 s to import

        average_around(
            volume, self._weights, is_weight, self._first, self._has_values, self._kernels, self._sources
        )


def _half_kernel(sd: float) -> npt.NDArray[np.float64]:
    """Weights of a place itself, and of those 1, 2, … steps away on each side (up to four also if 0)."""
    steps = int(REACH_IN_SD * sd + 0.5)
    weights = np.exp(-0.5 / (sd * sd) * np.arange(-steps, steps + 1) ** 2)
    return np.pad((weights / weights.sum())[steps:], (0, max(0, 4 - steps)))


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

    def __init__(self, weights: Any) -> None:
        self._weights = weights
        self._is_observed: Mask | None = None

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
