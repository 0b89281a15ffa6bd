"""The true effect of each person at each voxel; a brain-shaped grid, and noise of known variance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.demo.kinds import Kind
from bids_group.demo.people import People
from bids_group.elements import Grid

FloatVolume = npt.NDArray[np.float64]

# Two superellipsoids near the brain of MNI152NLin2009cAsym (Dice 0.92): centre and half axes in mm.
_CEREBRUM = ((0.0, -19.0, 13.0), (70.0, 85.0, 62.0))
_CEREBELLUM = ((0.0, -60.0, -36.0), (56.0, 32.0, 32.0))
_EXPONENT = 2.3
_CORNER_MM = (-75.0, -110.0, -75.0)
_EXTENT_MM = (150.0, 185.0, 155.0)
_BETWEEN_FWHM_MM = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Signal:
    """Where the effects lie: one boolean volume per place (of the grid's shape), and its loading on each row.

    ``loadings``: index = (subject, session), columns = names of places; the true effect of a row in a place.
    ``centers``: values of covariates at which the effects of groups are defined.
    """

    grid: Grid
    mask: npt.NDArray[np.bool_]
    spheres: Mapping[str, npt.NDArray[np.bool_]]
    loadings: pd.DataFrame
    centers: Mapping[str, float]
    between_sd: float
    baseline: float
    scales: Mapping[str, float]
    """What everything of a person is multiplied by: 1, or the total volume over its mean."""

    def draw_person(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Draw how a person differs from the others, of the grid's shape."""
        return self.between_sd * draw_noise(rng, self.grid, _BETWEEN_FWHM_MM)

    def effect(self, subject: str, session: str | None) -> npt.NDArray[np.float64]:
        """Sum of the true effects of a row over the places, of the grid's shape."""
        position = self.loadings.index.get_loc((subject, session or ""))
        weights = self.loadings.to_numpy()[position]
        volumes = np.array(list(self.spheres.values()), dtype=np.float64)
        return np.asarray(self.baseline + np.tensordot(weights, volumes, axes=1))


def build_signal(recipe: Kind, people: People, grid: Grid) -> Signal:
    """Lay a kind's places over a grid and weigh them for each person and session."""
    complete = [i for i in range(people.n_with_maps) if ("missing value", i) not in recipe.irregular]
    centers = {name: float(people.table[name].iloc[complete].mean()) for name in recipe.covariates}
    rows = [(subject, session) for subject in people.labels for session in recipe.sessions or ("",)]
    index = pd.MultiIndex.from_tuples(rows, names=["subject", "session"])
    frame = people.table.loc[index.get_level_values("subject")].set_axis(index)
    loadings = pd.DataFrame(
        {place.name: place.value * _weigh(place.name, frame, recipe, centers) for place in recipe.places},
        index=index,
    )
    spheres = {place.name: build_sphere(grid, place.centre_mm, place.radius_mm) for place in recipe.places}
    tiv = people.table.loc[list(people.labels), "tiv"] if "tiv" in recipe.covariates else None
    return Signal(
        grid=grid,
        mask=build_mask(grid),
        spheres=spheres,
        loadings=loadings,
        centers=centers,
        between_sd=recipe.between_sd,
        baseline=recipe.baseline,
        scales={} if tiv is None else dict(tiv / tiv.mean()),
    )


def _weigh(
    place: str, frame: pd.DataFrame, recipe: Kind, centers: Mapping[str, float]
) -> npt.NDArray[np.float64]:
    """How much of a place's value each row shows: its contrast is the value, every other contrast sees 0."""
    half = {name: np.where(frame[name] == levels[-1], 0.5, -0.5) for name, levels in recipe.factors}
    weights = np.ones(len(frame))
    if place == "slopeDifference":
        weights = half["group"] * (frame["n_cigs"].to_numpy(dtype=float) - centers["n_cigs"])
    elif place in ("ageSlope", "readingSlope"):
        name = "age" if place == "ageSlope" else "reading_speed"
        weights = frame[name].to_numpy(dtype=float) - centers[name]
    elif place == "groupDifference":
        weights = half["group"]
    elif place == "sexDifference":
        weights = half["sex"]
    elif place == "interaction":
        weights = half["group"] * half["sex"]
    elif place in ("change", "changeDifference"):
        weights = np.where(frame.index.get_level_values("session") == recipe.sessions[-1], 0.5, -0.5)
        weights = weights * half["group"] if place == "changeDifference" else weights
    return np.asarray(weights, dtype=np.float64)


def build_grid(size_mm: float) -> Grid:
    """Make a grid of cubic voxels around the brain; a voxel centre lies at the corner (−75, −110, −75) mm."""
    affine = np.diag([size_mm, size_mm, size_mm, 1.0])
    affine[:3, 3] = _CORNER_MM
    x, y, z = (int(extent // size_mm) + 1 for extent in _EXTENT_MM)
    return Grid(shape=(x, y, z), affine=affine)


def build_mask(grid: Grid) -> npt.NDArray[np.bool_]:
    """Whether a voxel lies in the brain: of the grid's shape."""
    return np.logical_or(_superellipsoid(grid, *_CEREBRUM), _superellipsoid(grid, *_CEREBELLUM))


def build_sphere(
    grid: Grid, centre_mm: tuple[float, float, float], radius_mm: float
) -> npt.NDArray[np.bool_]:
    """Whether a voxel's centre lies within a sphere: of the grid's shape."""
    distances = _coordinates_mm(grid) - np.asarray(centre_mm)[:, None, None, None]
    return np.asarray((distances**2).sum(axis=0) <= radius_mm**2)


def build_variance(grid: Grid, level: float) -> FloatVolume:
    """Make a variance map around ``level``: larger at the bottom and the front, never below 0.6 of it."""
    _, y, z = _coordinates_mm(grid)
    bottom, front = 1 / (1 + np.exp((z + 10) / 15)), 1 / (1 + np.exp((10 - y) / 20))
    return np.asarray(level * (0.6 + 0.8 * bottom * front + 0.4 * np.exp(-((z / 60) ** 2))))


def draw_noise(rng: np.random.Generator, grid: Grid, fwhm_mm: float) -> FloatVolume:
    """Draw smooth Gaussian noise whose variance is exactly 1 at every voxel, of the grid's shape.

    White noise goes through one matrix per axis (a Gaussian kernel cut at the border); as the axes are
    independent, dividing each row of a matrix by its length makes the variance 1 at the border too.
    """
    volume = rng.standard_normal(grid.shape)
    for axis, n_voxels in enumerate(grid.shape):
        kernel = _unit_kernel(n_voxels, fwhm_mm / grid.element_sizes_mm[axis])
        volume = np.moveaxis(np.tensordot(kernel, volume, axes=(1, axis)), 0, axis)
    return volume


@cache
def _unit_kernel(n_voxels: int, fwhm_voxels: float) -> FloatVolume:
    sd = fwhm_voxels / np.sqrt(8 * np.log(2))
    positions = np.arange(n_voxels)
    kernel = np.exp(-((positions[:, None] - positions) ** 2) / (2 * sd**2))
    return np.asarray(kernel / np.linalg.norm(kernel, axis=1, keepdims=True))


def _superellipsoid(
    grid: Grid, centre_mm: tuple[float, float, float], half_axes_mm: tuple[float, float, float]
) -> npt.NDArray[np.bool_]:
    centre, half_axes = (np.asarray(triple)[:, None, None, None] for triple in (centre_mm, half_axes_mm))
    ratios = np.abs(_coordinates_mm(grid) - centre) / half_axes
    return np.asarray((ratios**_EXPONENT).sum(axis=0) < 1)


def _coordinates_mm(grid: Grid) -> FloatVolume:
    voxels = np.indices(grid.shape, dtype=np.float64)
    return np.tensordot(grid.affine[:3, :3], voxels, axes=1) + grid.affine[:3, 3][:, None, None, None]
