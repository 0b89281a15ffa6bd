"""Exclusions of results and people that no selection took out, but that are in no analysis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from bids_group.bids.entities import name_some
from bids_group.bids.statmaps import Leftover
from bids_group.labels import natural_order
from bids_group.records import Exclusion, FirstLevelMap


def exclude_leftovers(leftovers: Iterable[Leftover]) -> list[Exclusion]:
    """Name the results that cannot be analysed, such as contrasts that have only a t map."""
    return [
        Exclusion(subject=one.subject, contrast=one.contrast, path=one.path, reason=one.reason)
        for one in leftovers
    ]


def exclude_mapless(
    maps: Sequence[FirstLevelMap], everyone: Iterable[str], exclusions: Iterable[Exclusion]
) -> list[Exclusion]:
    """Name everybody who has no map in an analysis, and no reason yet."""
    have = {(m.subject, m.contrast) for m in maps}
    contrasts = {contrast for _, contrast in have}
    with_maps = {subject for subject, _ in have}
    lost: dict[str, list[str]] = defaultdict(list)
    said = set()
    for exclusion in exclusions:
        if exclusion.path is None:
            said.add(exclusion.subject)
        else:
            lost[exclusion.subject].append(exclusion.reason)
    found = []
    for subject in (label for label in everyone if label not in said):
        if subject not in with_maps:
            reasons = name_some(dict.fromkeys(lost[subject]), 3)
            what = (
                "no first-level map"
                if not maps or maps[0].suffix == "statmap"
                else f"no {maps[0].suffix} map"
            )
            reason = f"no map left: {reasons}" if reasons else what
            found.append(Exclusion(subject=subject, reason=reason))
        else:
            absent = natural_order(contrast for contrast in contrasts if (subject, contrast) not in have)
            found.extend(
                Exclusion(subject=subject, contrast=c, reason=f"no map of contrast {c}") for c in absent
            )
    return found


def sort_exclusions(exclusions: Iterable[Exclusion]) -> tuple[Exclusion, ...]:
    """Sort by person, session, contrast and file: the order in which they were found does not matter."""
    return tuple(
        sorted(exclusions, key=lambda e: (e.subject, e.session or "", e.contrast or "", str(e.path or "")))
    )
