"""What is true in a demo dataset: the nouns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
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
        return 4 / 3 * 3.141592653589793 * self.radius_mm**3


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
    places: tuple[Place, ...]
    irregular: tuple[Irregularity, ...]
    options: tuple[str, ...]
    true_centers: Mapping[str, float]
    between_sd: float
