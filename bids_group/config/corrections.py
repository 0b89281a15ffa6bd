"""The corrections: what each is called, says, cites and needs (computed in `inference`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bids_group.words import singular


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A rule that says what is significant in a map.

    Parameters
    ----------
    name, title
        As it is typed, and in words.
    sentence
        For the methods paragraph, with ``{alpha:g}``, ``{power}`` of the extent in TFCE, and citations as
        ``{{key}}``.
    strictness
        Of several corrections the one with the largest is outlined on the pictures.
    measure, measured
        What shuffling keeps the largest of, and its words: ``voxel``, ``size``, ``mass`` or ``tfce``. None
        without shuffling; no words for the statistic itself.
    is_clusterwise
        Whether it depends on which elements are neighbours.
    uses_forming_p
        Whether it depends on the cluster-forming p.
    is_familywise
        Whether contrasts can share its error, as ``--familywise across-contrasts`` asks for.
    bounds_discoveries
        Whether it gives a share of true discoveries in place of a corrected p.
    """

    name: str
    title: str
    sentence: str
    strictness: int
    measure: str | None = None
    measured: str | None = None
    is_clusterwise: bool = False
    uses_forming_p: bool = False
    is_familywise: bool = True
    bounds_discoveries: bool = False

    @property
    def label(self) -> str:
        """The name in file names: ``fweVoxel``."""
        first, *others = self.name.split("-")
        return first + "".join(map(str.capitalize, others))

    @property
    def needs_shuffling(self) -> bool:
        """Whether its p come from permutations or sign flips."""
        return self.measure is not None

    def over(self, elements: str) -> Correction:
        """Speak of ``elements`` (``vertices``, ``regions`` …) where the words are of voxels."""
        one = singular(elements)
        sentence = self.sentence.replace("voxels", elements)
        return replace(self, title=self.title.replace("voxel", one), sentence=sentence)


UNCORRECTED = Correction(
    name="none",
    title="uncorrected",
    sentence="uncorrected p-values (α = {alpha:g})",
    strictness=0,
    uses_forming_p=True,
    is_familywise=False,
)
FALSE_DISCOVERY_RATE = Correction(
    name="fdr",
    title="false discovery rate",
    sentence="the false discovery rate (q = {alpha:g}; {{benjamini1995}})",
    strictness=2,
    is_familywise=False,
)
BONFERRONI = Correction(
    name="bonferroni", title="Bonferroni", sentence="the Bonferroni correction (α = {alpha:g})", strictness=3
)
ALL_RESOLUTIONS = Correction(
    name="ari",
    title="all-resolutions inference",
    sentence="all-resolutions inference, which bounds the share of true discoveries in a cluster from below "
    "(α = {alpha:g}; {{rosenblatt2018}})",
    strictness=1,
    is_clusterwise=True,
    uses_forming_p=True,
    bounds_discoveries=True,
)
_BY_SHUFFLING = (
    Correction(
        name="fwe-voxel",
        title="family-wise error, voxel (permutation)",
        sentence="the permutation distribution of the maximum over voxels (α = {alpha:g}; {{nichols2002}})",
        strictness=6,
        measure="voxel",
    ),
    Correction(
        name="fwe-size",
        title="family-wise error, cluster size (permutation)",
        sentence="the permutation distribution of the largest cluster size (α = {alpha:g}; {{nichols2002}})",
        strictness=4,
        measure="size",
        measured="cluster size (mm³)",
        is_clusterwise=True,
        uses_forming_p=True,
    ),
    Correction(
        name="fwe-mass",
        title="family-wise error, cluster mass (permutation)",
        sentence="the permutation distribution of the largest cluster mass (α = {alpha:g}; {{bullmore1999}})",
        strictness=5,
        measure="mass",
        measured="cluster mass",
        is_clusterwise=True,
        uses_forming_p=True,
    ),
    Correction(
        name="fwe-tfce",
        title="family-wise error, TFCE (permutation)",
        sentence="the permutation distribution of the maximum of threshold-free cluster enhancement "
        "(E = {power}, H = 2; α = {alpha:g}; {{smith2009}})",
        strictness=7,
        measure="tfce",
        measured="TFCE",
        is_clusterwise=True,
    ),
)

CORRECTIONS: Mapping[str, Correction] = {
    one.name: one for one in (UNCORRECTED, FALSE_DISCOVERY_RATE, BONFERRONI, ALL_RESOLUTIONS, *_BY_SHUFFLING)
}
"""Every correction that a user can name, in the order in which lists show them."""

DEFAULT = (FALSE_DISCOVERY_RATE.name, BONFERRONI.name)

_BY_LABEL = {one.label: one for one in CORRECTIONS.values()}


def find_correction(name: str | None) -> Correction:
    """Find a correction by its name or its label in files; an unknown one has this as its words."""
    text = str(name)
    unknown = Correction(name=text, title=text, sentence=text, strictness=-1)
    return CORRECTIONS.get(text) or _BY_LABEL.get(text) or unknown


def in_order(labels: Iterable[str], *, is_strictest_first: bool = False) -> tuple[str, ...]:
    """Sort labels as lists show them, or the strictest first; unknown ones last, by name."""
    places = list(CORRECTIONS.values())

    def place(label: str) -> tuple[int, str]:
        one = find_correction(label)
        position = places.index(one) if one in places else len(places)
        return -one.strictness if is_strictest_first else position, label

    return tuple(sorted(labels, key=place))
