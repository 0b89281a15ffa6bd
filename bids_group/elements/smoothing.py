"""Gaussian smoothing over the observed elements only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from bids_group.elements.grid import Grid

Volume = npt.NDArray[np.float32]
Box = tuple[slice, slice, slice]

_SD_PER_FWHM = 1 / np.sqrt(8 * np.log(2))
_REACH_IN_SD = 4.0


class Smoother:
    """Smooth maps of one grid (along its axes) by a kernel of ``fwhm_mm`` > 0, over what each map observed.

    A value becomes the Gaussian-weighted mean of the observed values around it, and is given only where the
    map was observed itself: nothing outside counts as 0. Where everything around is observed this equals
    ``nilearn.image.smooth_img`` (same width, same reach of 4 SD, reflection at the border of the grid).
    The sum of weights is kept and used again when the next map is observed in the same places.
    """

    def __init__(self, grid: Grid, fwhm_mm: float) -> None:
        self._sd = tuple(fwhm_mm * _SD_PER_FWHM / size for size in grid.element_sizes_mm)
        self._is_observed: npt.NDArray[np.bool_] | None = None
        self._box: Box = (slice(None), slice(None), slice(None))
        self._weights: Volume = np.empty(0, dtype=np.float32)

    def smooth(self, volume: Volume) -> Volume:
        """Smooth a float32 volume of the grid's shape; NaN = not observed, in and out."""
        is_observed = np.isfinite(volume)
        if self._is_observed is None or not np.array_equal(is_observed, self._is_observed):
            self._is_observed = is_observed
            self._box = _box_around(is_observed, self._sd)
            self._weights = self._filter(is_observed[self._box].astype(np.float32))
        inside = is_observed[self._box]
        values = self._filter(np.where(inside, volume[self._box], np.float32(0)))
        smoothed = np.full(volume.shape, np.nan, dtype=np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            smoothed[self._box] = np.where(inside, values / self._weights, np.float32(np.nan))
        return smoothed

    def _filter(self, volume: Volume) -> Volume:
        for axis, sd in enumerate(self._sd):
            volume = gaussian_filter1d(volume, sd, axis=axis, mode="reflect", truncate=_REACH_IN_SD)
        return volume


def _box_around(is_observed: npt.NDArray[np.bool_], sd: tuple[float, ...]) -> Box:
    """Box that holds all observed elements and the reach of the kernel (outside all is 0, and stays 0)."""
    slices = []
    for axis, (size, width) in enumerate(zip(is_observed.shape, sd, strict=True)):
        places = np.flatnonzero(is_observed.any(axis=tuple({0, 1, 2} - {axis})))
        reach = int(_REACH_IN_SD * width + 0.5) + 1
        first, last = (int(places[0]), int(places[-1])) if places.size else (0, size - 1)
        slices.append(slice(max(first - reach, 0), min(last + reach + 1, size)))
    return slices[0], slices[1], slices[2]
