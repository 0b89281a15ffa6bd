"""Who the people of a demo are, and the true effect of each at each voxel; noise of known variance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.demo.kinds import RANGES, VARIES_WITH, Kind
from bids_group.elements import Grid

FloatVolume = npt.NDArray[np.float64]
Triple = tuple[float, float, float]

# Two superellipsoids near the brain of MNI152NLin2009cAsym (Dice 0.92): centre and half axes in mm.
_BRAIN = (((0.0, -19.0, 13.0), (70.0, 85.0, 62.0)), ((0.0, -60.0, -36.0), (56.0, 32.0, 32.0)))
_EXPONENT = 2.3
_CORNER_MM = (-75.0, -110.0, -75.0)
_EXTENT_MM = (150.0, 185.0, 155.0)
_MORE_IN_MEN_ML = 150


def draw_people(rng: np.random.Generator, kind: Kind) -> pd.DataFrame:
    """Draw everybody's true values, balanced over factors: index ``01`` …; whoever has no maps stands last.

    Within each level of the first factor a covariate takes the same evenly spaced values in random order, so
    the groups are alike in it.
    """
    n_without = sum(what == "no maps" for what, _ in kind.irregular)
    cells = list(product(*(levels for _, levels in kind.factors))) or [()]
    rows = [cells[i % len(cells)] for i in range(kind.n_people + n_without)]
    labels = [f"{i + 1:02d}" for i in range(len(rows))]
    table = pd.DataFrame(rows, index=labels, columns=[name for name, _ in kind.factors], dtype=object)
    strata = (table.iloc[:, 0].to_numpy() if kind.factors else np.zeros(len(rows)))[: kind.n_people]
    for name in kind.covariates:
        low, high = RANGES[name]
        values = np.zeros(kind.n_people, dtype=int)
        for stratum in np.unique(strata):
            members = np.flatnonzero(strata == stratum)
            values[members] = rng.permutation(np.linspace(low, high, len(members)).round().astype(int))
        table[name] = np.concatenate([values, rng.integers(low, high, n_without, endpoint=True)])
        if name == "tiv":
            table[name] += np.where(table["sex"] == "M", _MORE_IN_MEN_ML, 0)
    return table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Signal:
    """Where the effects lie: ``spheres`` of shape ``(n_places, x, y, z)`` are 1 inside a place and 0 outside.

    ``loadings``: by subject and session, the true effect in each place. ``centers``: values of covariates at
    which the effects of groups are defined. ``scales``: what everything of a person is multiplied by.
    """

    grid: Grid
    mask: npt.NDArray[np.bool_]
    spheres: FloatVolume
    loadings: Mapping[tuple[str, str | None], npt.NDArray[np.float64]]
    centers: Mapping[str, float]
    scales: Mapping[str, float]


def build_signal(recipe: Kind, people: pd.DataFrame, grid: Grid) -> Signal:
    """Lay a kind's places over a grid and weigh them for each person and session.

    What a place varies with is multiplied: ± 0.5 for the last level of a factor and the others, a covariate
    less its centre. Then the contrast of a place has its value, and every other contrast sees 0.
    """
    complete = [i for i in range(recipe.n_people) if ("missing value", i) not in recipe.irregular]
    centers = {name: float(people[name].iloc[complete].mean()) for name in recipe.covariates}
    subjects = people.index[: recipe.n_people]
    rows = list(product(subjects, recipe.sessions or (None,)))
    sessions = np.array([session for _, session in rows], dtype=object)
    frame = people.loc[[subject for subject, _ in rows]].assign(session=sessions)
    varying = {
        name: np.where(frame[name] == levels[-1], 0.5, -0.5)
        for name, levels in (*recipe.factors, ("session", recipe.sessions or (None,)))
    } | {name: frame[name].to_numpy(dtype=float) - center for name, center in centers.items()}
    weights = [
        place.value * math.prod((varying[name] for name in VARIES_WITH[place.name]), start=np.ones(len(rows)))
        for place in recipe.places
    ]
    tiv = people.loc[subjects, "tiv"] if "tiv" in recipe.covariates else None
    return Signal(
        grid=grid,
        mask=np.logical_or(*(_superellipsoid(grid, *part) for part in _BRAIN)),
        spheres=np.array([build_sphere(grid, one.centre_mm, one.radius_mm) for one in recipe.places], float),
        loadings=dict(zip(rows, np.array(weights).T, strict=True)),
        centers=centers,
        scales=dict.fromkeys(subjects, 1.0) if tiv is None else dict(tiv / tiv.mean()),
    )


def build_grid(size_mm: float) -> Grid:
    """Make a grid of cubic voxels around the brain; a voxel centre lies at the corner (−75, −110, −75) mm."""
    affine = np.diag([size_mm, size_mm, size_mm, 1.0])
    affine[:3, 3] = _CORNER_MM
    x, y, z = (int(extent // size_mm) + 1 for extent in _EXTENT_MM)
    return Grid(shape=(x, y, z), affine=affine)


def build_sphere(grid: Grid, centre_mm: Triple, radius_mm: float) -> npt.NDArray[np.bool_]:
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


def _superellipsoid(grid: Grid, centre_mm: Triple, half_axes_mm: Triple) -> npt.NDArray[np.bool_]:
    centre, half_axes = (np.asarray(triple)[:, None, None, None] for triple in (centre_mm, half_axes_mm))
    ratios = np.abs(_coordinates_mm(grid) - centre) / half_axes
    return np.asarray((ratios**_EXPONENT).sum(axis=0) < 1)


def _coordinates_mm(grid: Grid) -> FloatVolume:
    voxels = np.indices(grid.shape, dtype=np.float64)
    return np.tensordot(grid.affine[:3, :3], voxels, axes=1) + grid.affine[:3, 3][:, None, None, None]
