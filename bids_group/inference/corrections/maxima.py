"""The null distribution of a contrast, and p by it; what is judged together shares one, or one scale."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from bids_group.elements.geometry import FamilyPart, Geometry
from bids_group.inference.clusters.forest import Heights
from bids_group.inference.corrections.question import Row
from bids_group.inference.corrections.tail import Tail, fit_tail
from bids_group.inference.shuffling.partition import Doubles
from bids_group.inference.shuffling.scheme import Scheme, count_families
from bids_group.inference.shuffling.statistic import TIE, Statistic
from bids_group.records import Notice, UncorrectedP, warn
from bids_group.records.sidecars import Sidecar

Counts = npt.NDArray[np.intp]

FEWEST_FOR_PARTS = 500
"""Shuffles below which parts that are judged together have little power."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Null:
    """What shuffling said about one contrast.

    ``values`` and ``z``: the unshuffled data by element, shape ``(n_elements,)``. ``maxima``: by measure,
    of every shuffle, the unshuffled data first, and part, shape ``(n_shuffles, n_parts)``; over several
    contrasts where these are judged together, then in z (``is_in_z``). ``fewest``: where parts are judged
    together, by measure, the smallest rank from above that a shuffle has in any part, ascending.
    ``n_families``: p is multiplied by it, as sets of contrasts that are judged together without sharing
    shuffles share alpha. ``tails``: by measure, of each part. ``by_shuffling``: each element's own p, where
    it is asked for.
    """

    scheme: Scheme
    statistic: Statistic
    heights: Heights | None
    geometry: Geometry | None
    values: Row
    z: Row
    maxima: Mapping[str, Doubles]
    is_in_z: bool = False
    fewest: Mapping[str, Counts] = field(default_factory=dict)
    n_families: float = 1
    tails: Mapping[str, tuple[Tail, ...]] = field(default_factory=dict)
    by_shuffling: UncorrectedP | None = None
    details: Sidecar
    notices: tuple[Notice, ...] = ()

    @property
    def parts(self) -> tuple[FamilyPart, ...]:
        """Parts that have maxima of their own."""
        return () if self.geometry is None else self.geometry.parts

    def count_reaching(
        self, measure: str, observed: npt.ArrayLike, part: int = 0, statistic: Statistic | None = None
    ) -> Counts:
        """Count the shuffles whose maximum in a part reaches each value (ties count), at least 1.

        ``statistic``: that of the elements whose values these are, where they are not all (`Statistic.at`).
        """
        ranked = np.sort(self.maxima[measure][:, part])
        values = np.asarray(observed, dtype=np.float64)
        is_statistic = measure == "voxel" and not self.is_in_z
        tolerance = (statistic or self.statistic).tolerance(values) if is_statistic else TIE * np.abs(values)
        return np.maximum(ranked.size - np.searchsorted(ranked, values - tolerance, side="left"), 1)

    def p(
        self, measure: str, observed: npt.ArrayLike, part: int = 0, statistic: Statistic | None = None
    ) -> Doubles:
        """Share of the shuffles whose maximum reaches each value of a part, or is as rare in any part.

        Times ``n_families``, at most 1. Beyond the start of a fitted tail p is that of the tail; over parts
        their sum bounds it.
        """
        n_reaching = self.count_reaching(measure, observed, part, statistic)
        if measure in self.fewest:
            n_reaching = np.searchsorted(self.fewest[measure], n_reaching, side="right")
        p = n_reaching / len(self.maxima[measure])
        if measure in self.tails:
            tail, heights = self.tails[measure][part], self.without_end(measure, observed)
            in_tail = tail.p(heights)
            if measure in self.fewest:
                in_tail = np.minimum(p, in_tail * self.maxima[measure].shape[1])
            p = np.where(heights > tail.start, in_tail, p)
        return np.asarray(np.minimum(p * self.n_families, 1.0))

    def n_allowed(self, measure: str, alpha: float) -> int:
        """Count the shuffles of a part that a value may leave above it where p is to be at most ``alpha``."""
        n_shuffles = len(self.maxima[measure])
        n_allowed = int(np.floor(alpha * n_shuffles + 1e-9))
        if measure not in self.fewest:
            return n_allowed
        ranks = np.append(self.fewest[measure], n_shuffles)
        return int(ranks[n_allowed]) - 1  # the next smaller rank is had by at most so many

    def without_end(self, measure: str, values: npt.ArrayLike) -> Doubles:
        """Values of a measure on a scale without an end: correlations become z."""
        if measure == "voxel" and not self.is_in_z:
            return self.statistic.z_of(values)
        return np.asarray(values, dtype=np.float64)


def judge_together(nulls: Sequence[Null], n_together: int) -> list[Null]:
    """Replace each contrast's maxima by those over the contrasts of its model that share its shuffles, as z.

    Other sets of contrasts, and the other models of the run, are joined by Bonferroni (`count_families`).
    """
    sets: dict[tuple[Hashable, ...], list[Null]] = {}
    for null in nulls:
        sets.setdefault(null.scheme.shared, []).append(null)
    joint = {
        key: {
            name: np.max([one.without_end(name, one.maxima[name]) for one in members], axis=0)
            for name in members[0].maxima
        }
        for key, members in sets.items()
    }
    n_families = count_families([null.scheme for null in nulls], n_together)
    return [
        replace(null, maxima=joint[null.scheme.shared], is_in_z=True, n_families=n_families) for null in nulls
    ]


def join_parts(null: Null) -> Null:
    """Judge parts whose cluster sizes have no common scale together: by the smallest p that any part has.

    A shuffle's maximum in a part has a rank among those of the other shuffles there; of every shuffle the
    best rank over the parts is kept. This is the maximum over parts on a scale that all share (min-p;
    Westfall & Young 1993), from the same shuffles.
    """
    n_parts = len(null.parts)
    if n_parts < 2:
        return null
    of_maxima = null.statistic.at(None)
    ranks = {
        name: [null.count_reaching(name, each[:, part], part, of_maxima) for part in range(n_parts)]
        for name, each in null.maxima.items()
    }
    notices, n_shuffles = null.notices, null.scheme.shuffles.n_others + 1
    if n_shuffles < FEWEST_FOR_PARTS:
        names = " and ".join(one.name for one in null.parts)
        sentence = (
            f"The parts {names} are judged together by the smallest of their p, for which {n_shuffles} "
            f"shuffles are few: no corrected p can be below about {n_parts / n_shuffles:.2g}."
        )
        fix = f"Do at least {FEWEST_FOR_PARTS} permutations, or correct each alone: --familywise-parts each."
        notices = (*notices, warn("parts", sentence, fix))
    return replace(
        null, fewest={name: np.sort(np.min(each, axis=0)) for name, each in ranks.items()}, notices=notices
    )


def approximate_tails(null: Null) -> Null:
    """Fit the tail of every measure; where none fits, p stay counts, with a notice."""
    if null.scheme.shuffles.is_exhaustive:
        return null
    n_distinct = null.scheme.shuffles.n_distinct
    fitted = {
        name: [fit_tail(one, n_distinct) for one in null.without_end(name, maxima[1:]).T]
        for name, maxima in null.maxima.items()
    }
    found = {name: tuple(tail for tail in each if tail is not None) for name, each in fitted.items()}
    tails = {name: each for name, each in found.items() if len(each) == len(fitted[name])}
    unfitted = ", ".join(name for name in fitted if name not in tails)
    if not unfitted:
        return replace(null, tails=tails)
    sentence = f"No generalised Pareto tail fits the null of {unfitted}: its p-values are counts of shuffles."
    return replace(
        null, tails=tails, notices=(*null.notices, warn("tail", sentence, "Do more permutations."))
    )
