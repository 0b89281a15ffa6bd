"""The kinds of demo: which people, which sessions and runs, which effects where; and what is true in each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

What = Literal["missing run", "missing value", "no maps", "reduced coverage"]
TASK, CONTRAST, SPACE = "faces", "facesVsHouses", "MNI152NLin2009cAsym"
LABEL = "GM"
"""Of maps that are no contrasts."""
PERCENT = "percent signal change"


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
    they sort too (the first is the reference); empty: the names carry no such entity. ``suffix`` other than
    ``statmap``: maps of grey matter, whose values are in proportion to the covariate ``tiv``. True values
    differ between people around ``baseline`` with SD ``between_sd``.
    """

    words: str
    n_people: int
    suffix: str = "statmap"
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
    def is_contrast(self) -> bool:
        """Whether its maps are first-level contrasts."""
        return self.suffix == "statmap"


RANGES = {"age": (21, 58), "n_cigs": (1, 25), "reading_speed": (40, 120), "tiv": (1250, 1550)}
"""Between which values people differ in a covariate; its units stand in `COLUMNS`."""

COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "age": {"Description": "Age at the first session", "Units": "year"},
    "n_cigs": {"Description": "Cigarettes smoked per day", "Units": "cigarettes per day"},
    "reading_speed": {"Description": "Words read aloud", "Units": "words per minute"},
    "tiv": {"Description": "Total intracranial volume", "Units": "mL"},
    "sex": {"Description": "Sex at birth", "Levels": {"F": "female", "M": "male"}},
    "group": {
        "Description": "Group of the participant",
        "Levels": {
            "control": "does not have the condition",
            "patient": "has the condition",
            "treated": "was treated between the sessions",
        },
    },
}
"""The columns of participants.tsv, as participants.json describes them."""

_CHANGE = "mean(session=followup) - mean(session=baseline)"
_CHANGE_DIFFERENCE = (
    "(mean(session=followup, group=treated) - mean(session=baseline, group=treated))"
    " - (mean(session=followup, group=control) - mean(session=baseline, group=control))"
)
_GROUPS = "mean(group=patient) - mean(group=control)"
_SLOPES = "slope(n_cigs, group=patient) - slope(n_cigs, group=control)"
_INTERACTION = (
    "(mean(group=patient, sex=M) - mean(group=control, sex=M))"
    " - (mean(group=patient, sex=F) - mean(group=control, sex=F))"
)

EFFECTS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "mean": ("mean effect of everybody", "mean()", ()),
    "groupDifference": ("patients respond more than controls", _GROUPS, ("group",)),
    "sexDifference": ("men respond more than women", "mean(sex=M) - mean(sex=F)", ("sex",)),
    "interaction": ("the difference between groups is larger in men", _INTERACTION, ("group", "sex")),
    "slopeDifference": ("the slope on n_cigs is steeper in patients", _SLOPES, ("group", "n_cigs")),
    "readingSlope": ("more response in fast readers", "slope(reading_speed)", ("reading_speed",)),
    "ageSlope": ("less grey matter in older people", "slope(age)", ("age",)),
    "change": ("more at follow-up than at baseline", _CHANGE, ("session",)),
    "changeDifference": ("the treated change more", _CHANGE_DIFFERENCE, ("session", "group")),
}
"""The effects by name: in words, the contrast that finds it, and what it varies with."""

_RIGHT_FUSIFORM = (35.0, -55.0, -15.0)
_LEFT_INSULA = (-40.0, 10.0, 0.0)
_MEDIAL_FRONTAL = (0.0, 35.0, 35.0)
_LEFT_PARIETAL = (-35.0, -55.0, 45.0)


def _place(
    name: str, value: float, at: tuple[float, float, float], units: str = PERCENT, words: str = ""
) -> EffectSphere:
    usual, contrast, _ = EFFECTS[name]
    return EffectSphere(
        name=name,
        words=words or usual,
        contrast=contrast,
        value=value,
        units=units,
        centre_mm=at,
        radius_mm=14.0,
    )


KINDS: dict[str, Kind] = {
    "slopes": Kind(
        words="two groups of 12 whose response depends on how much they smoke; two sessions of two runs",
        n_people=24,
        size_mm=5,
        factors=(("group", ("control", "patient")), ("sex", ("F", "M"))),
        covariates=("age", "n_cigs"),
        sessions=("1", "2"),
        runs=("1", "2"),
        places=(
            _place("mean", 1.2, _RIGHT_FUSIFORM),
            _place("groupDifference", 2.4, _LEFT_INSULA),
            _place("slopeDifference", 0.36, _MEDIAL_FRONTAL, f"{PERCENT} per cigarette a day"),
        ),
        irregular=(("missing run", 4), ("missing value", 8), ("reduced coverage", 13), ("no maps", 24)),
        options=("--formula", "~ group * n_cigs + age", "--missing", "drop"),
    ),
    "one-sample": Kind(
        words="12 people, one map each",
        n_people=12,
        size_mm=8,
        covariates=("age",),
        places=(_place("mean", 2.4, _RIGHT_FUSIFORM),),
        options=("--formula", "~ 1"),
    ),
    "paired": Kind(
        words="two groups of 8, each person at baseline and at follow-up",
        n_people=16,
        size_mm=8,
        factors=(("group", ("control", "treated")),),
        covariates=("age",),
        sessions=("baseline", "followup"),
        places=(
            _place("mean", 2.4, _RIGHT_FUSIFORM),
            _place("change", 2.4, _LEFT_INSULA),
            _place("changeDifference", 4.8, _MEDIAL_FRONTAL),
        ),
        options=(
            *("--formula", "~ session * group + subject", "--pooling", "none", "--contrast"),
            f"change = {_CHANGE}",
            f"changeDifference = {_CHANGE_DIFFERENCE}",
        ),
    ),
    "factorial": Kind(
        words="two groups by two sexes, 8 people in each cell, one map each",
        n_people=32,
        size_mm=8,
        factors=(("group", ("control", "patient")), ("sex", ("F", "M"))),
        covariates=("age",),
        places=(
            _place("mean", 1.6, _RIGHT_FUSIFORM),
            _place("groupDifference", 3.2, _LEFT_INSULA),
            _place("sexDifference", 3.2, _MEDIAL_FRONTAL),
            _place("interaction", 6.4, _LEFT_PARIETAL),
        ),
        options=("--formula", "~ group * sex"),
    ),
    "association": Kind(
        words="94 people whose response depends on how fast they read; three scores are missing",
        n_people=94,
        size_mm=5,
        covariates=("reading_speed",),
        places=(
            _place("mean", 1.2, _RIGHT_FUSIFORM),
            _place("readingSlope", 0.024, _LEFT_PARIETAL, f"{PERCENT} per word a minute"),
        ),
        irregular=(("missing value", 10), ("missing value", 47), ("missing value", 71)),
        options=("--formula", "~ reading_speed", "--missing", "drop", "--smoothing-fwhm", "5"),
    ),
    "vbm": Kind(
        words="grey matter of 40 people (voxel-based morphometry), less of it with age, more in men",
        n_people=40,
        suffix="probseg",
        between_sd=0.05,
        baseline=0.5,
        size_mm=6,
        factors=(("sex", ("F", "M")),),
        covariates=("age", "tiv"),
        places=(
            _place("ageSlope", -0.006, _MEDIAL_FRONTAL, "share of the voxel per year"),
            _place("sexDifference", 0.12, _LEFT_INSULA, "share of the voxel", "more grey matter in men"),
        ),
        options=("--input-suffix", "probseg", "--formula", "~ age + sex", "--scale-by", "tiv"),
    ),
}
