"""The true effect of each person at each voxel, before noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.demo.kinds import Kind
from bids_group.demo.people import People
from bids_group.demo.volumes import build_mask, build_sphere, draw_noise
from bids_group.elements import Grid

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
