"""The kinds of demo, read from ``kinds.toml``: which people, which sessions and runs, which effects where."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

What = Literal["missing run", "missing value", "no maps", "reduced coverage"]
TASK, CONTRAST, SPACE = "faces", "facesVsHouses", "MNI152NLin2009cAsym"
LABEL = "GM"
"""Of maps that are no contrasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectSphere:
    """A sphere in which one effect was put: voxels whose centre lies within ``radius_mm`` of ``centre_mm``.

    ``contrast`` is the expression that finds it, ``value`` its true value there (0 elsewhere), in ``units``.
    """

    name: str
    words: str
    contrast: str
    value: float
    units: str
    centre_mm: tuple[float, float, float]
    radius_mm: float

    @property
    def size_mm3(self) -> float:
        """Volume of the sphere in mm³."""
        return 4 / 3 * math.pi * self.radius_mm**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Irregularity:
    """A person who is not like the others; ``what`` is one of the words of `Kind.irregular`."""

    subject: str
    what: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTruth:
    """A dataset that was written, and what is true in it.

    ``subjects`` are the labels of the people with maps; ``n_rows`` counts the rows of participants.tsv.
    ``options`` are the arguments after ``group`` that recover the effects.
    ``true_centers`` are the covariate values at which the effects were defined.
    """

    kind: str
    seed: int
    bids_dir: Path
    derivative_dir: Path
    first_level_contrast: str
    space: str
    res: str
    shape: tuple[int, int, int]
    n_mask_voxels: int
    subjects: tuple[str, ...]
    n_rows: int
    n_maps: int
    places: tuple[EffectSphere, ...]
    irregular: tuple[Irregularity, ...]
    options: tuple[str, ...]
    true_centers: Mapping[str, float]
    between_sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A recipe.

    ``factors`` pairs a column of participants.tsv with its levels (the first is the reference), crossed and
    balanced over people; ``irregular`` pairs what is odd with the position (from 0) of the person;
    ``n_people`` counts those with maps; ``sessions`` and ``runs`` are labels in the order of time, in which
    they sort too (the first is the reference); empty: the names carry no such entity. ``form``: what the maps
    are made of (vertices have the value of the voxel they lie in, regions the mean). ``suffix`` other than
    ``statmap``: maps of grey matter, whose values are in proportion to the covariate ``tiv``. True values
    differ between people around ``baseline`` with SD ``between_sd``.
    """

    words: str
    n_people: int
    suffix: str = "statmap"
    form: Literal["volume", "surface", "regions"] = "volume"
    between_sd: float = 0.4
    baseline: float = 0.0
    size_mm: int
    factors: tuple[tuple[str, tuple[str, ...]], ...] = ()
    covariates: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    places: tuple[EffectSphere, ...]
    irregular: tuple[tuple[What, int], ...] = ()
    options: tuple[str, ...] = ()

    @property
    def space(self) -> str | None:
        """Space in the names of the maps; regions have none."""
        return {"volume": SPACE, "surface": "fsaverage5"}.get(self.form)

    @property
    def is_contrast(self) -> bool:
        """Whether its maps are first-level contrasts."""
        return self.suffix == "statmap"


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _read_kind(own: Mapping[str, Any], effects: Mapping[str, Any], centres: Mapping[str, Any]) -> Kind:
    places = []
    for place in own["places"]:
        effect = {key: effects[place["name"]][key] for key in ("words", "contrast")}
        told = {"units": "percent signal change", "radius_mm": 14.0, **effect, **place}
        places.append(EffectSphere(centre_mm=tuple(centres[told.pop("at")]), **told))
    contrasts = {name: effect["contrast"] for name, effect in effects.items()}
    options = tuple(word.format(**contrasts) for word in own["options"])
    told = {name: _frozen(value) for name, value in own.items()}
    return Kind(**{**told, "places": tuple(places), "options": options})


_TABLES = tomllib.loads(Path(__file__).with_name("kinds.toml").read_text(encoding="utf-8"))
RANGES, COLUMNS = _TABLES["ranges"], _TABLES["columns"]
CENTRES: dict[str, tuple[float, float, float]] = {name: tuple(at) for name, at in _TABLES["centres"].items()}
VARIES_WITH = {name: effect["varies_with"] for name, effect in _TABLES["effects"].items()}
KINDS: dict[str, Kind] = {
    name: _read_kind(own, _TABLES["effects"], _TABLES["centres"]) for name, own in _TABLES["kinds"].items()
}
