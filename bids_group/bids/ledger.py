"""The ledger: every participant and map, used or not, and why; and the reasons nobody gave so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bids_group.bids.entities import run_key
from bids_group.labels import natural_order
from bids_group.records import Cohort, Exclusion, FirstLevelMap, GroupAnalysis
from bids_group.words import bids_uri, list_some

COLUMNS = ("participant_id", "session", "run", "task", "contrast", "file", "used", "reason", "n_maps", "note")
_NOWHERE = "in no analysis"

Row = dict[str, str | int | None]
Effect = tuple[str, str | int | None]
"""A person (``sub-01``) and a first-level contrast."""


def exclude_mapless(
    maps: Sequence[FirstLevelMap], everyone: Iterable[str], exclusions: Iterable[Exclusion]
) -> list[Exclusion]:
    """Name everybody who has no map in an analysis, and no reason yet."""
    have = {(m.subject, m.contrast) for m in maps}
    contrasts = natural_order({contrast for _, contrast in have})
    with_maps = {subject for subject, _ in have}
    kind = "first-level" if not maps or maps[0].suffix == "statmap" else maps[0].suffix
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
            reasons = list_some(dict.fromkeys(lost[subject]), 3)
            reason = f"no map left: {reasons}" if lost[subject] else f"no {kind} map"
            found.append(Exclusion(subject=subject, reason=reason))
        else:
            absent = (contrast for contrast in contrasts if (subject, contrast) not in have)
            found += [
                Exclusion(subject=subject, contrast=c, reason=f"no map of contrast {c}") for c in absent
            ]
    return found


def sort_exclusions(exclusions: Iterable[Exclusion]) -> tuple[Exclusion, ...]:
    """Sort by person, session, contrast and file: the order in which they were found does not matter."""
    return tuple(
        sorted(exclusions, key=lambda e: (e.subject, e.session or "", e.contrast or "", str(e.path or "")))
    )


def build_ledger(
    cohort: Cohort,
    analyses: Sequence[GroupAnalysis],
    exclusions: Sequence[Exclusion] = (),
    remarks: Mapping[tuple[str, str], str] | None = None,
) -> pd.DataFrame:
    """List every map that was found, and everybody without one.

    Parameters
    ----------
    cohort
        Maps, people and the exclusions of gathering.
    analyses
        The analyses as they are fitted: a map is used where one of their observations stands on it.
    exclusions
        Those that came later (missing covariates), beside the cohort's.
    remarks
        What else is to be noted, by subject label and first-level contrast (reduced coverage, which only
        the numbers tell).

    Returns
    -------
    Table of ``COLUMNS``, sorted; missing entries are None. ``n_maps`` is the number of maps that
    the person's effect of that contrast stands on (0: not analysed); ``note`` names runs and sessions
    that most others have.
    """
    everything = list(dict.fromkeys([*cohort.exclusions, *exclusions]))
    by_file = {exclusion.path: exclusion for exclusion in everything if exclusion.path is not None}
    of_people = [exclusion for exclusion in everything if exclusion.path is None]
    files: dict[Effect, set[Path]] = defaultdict(set)
    for m in (m for analysis in analyses for row in analysis.observations for m in row.maps):
        files[f"sub-{m.subject}", m.contrast].add(m.effect)
    used = set().union(*files.values())

    reasons = [None if m.effect in used else _find_reason(m, by_file, of_people) for m in cohort.maps]
    rows = [_row(m, cohort, reason) for m, reason in zip(cohort.maps, reasons, strict=True)]
    in_cohort = {m.effect for m in cohort.maps}
    rows += [_row(e, cohort, e.reason) for path, e in by_file.items() if path not in in_cohort]
    named = {row["participant_id"] for row in rows}
    rows += [
        _row(e, cohort, e.reason)
        for e in of_people
        if f"sub-{e.subject}" not in named or e.contrast is not None
    ]
    named = {row["participant_id"] for row in rows}
    nowhere = (Exclusion(subject=label, reason=_NOWHERE) for label in cohort.everyone)
    rows += [_row(e, cohort, e.reason) for e in nowhere if f"sub-{e.subject}" not in named]
    gaps = _find_gaps(cohort.maps)
    said: dict[Effect, str] = {
        (f"sub-{subject}", contrast): text for (subject, contrast), text in (remarks or {}).items()
    }
    for row in rows:
        key = (str(row["participant_id"]), row["contrast"])
        row["n_maps"] = len(files.get(key, ()))
        row["note"] = "; ".join(filter(None, (gaps.get(key), said.get(key)))) or None
    cells = [[row[name] for name in COLUMNS] for row in sorted(rows, key=_place)]
    return pd.DataFrame(cells, columns=list(COLUMNS), dtype=object)


def _row(about: FirstLevelMap | Exclusion, cohort: Cohort, reason: str | None) -> Row:
    """Fill the row of what is used (no ``reason``) or not.

    Files are named by BIDS URIs of the innermost dataset that holds them, or by their path.
    """
    file = about.effect if isinstance(about, FirstLevelMap) else about.path
    uri = None if file is None else bids_uri(file, cohort.dataset_names)
    return {
        "participant_id": f"sub-{about.subject}",
        "session": about.session,
        "run": about.run,
        "task": about.task,
        "contrast": about.contrast,
        "file": str(file) if uri is not None and uri.startswith("file:") else uri,
        "used": "yes" if reason is None else "no",
        "reason": reason,
    }


def _find_reason(m: FirstLevelMap, by_file: Mapping[Path, Exclusion], of_people: Iterable[Exclusion]) -> str:
    if m.effect in by_file:
        return by_file[m.effect].reason
    fitting = (
        exclusion.reason
        for exclusion in of_people
        if exclusion.subject == m.subject
        and exclusion.session in (None, m.session)
        and exclusion.contrast in (None, m.contrast)
    )
    return next(fitting, _NOWHERE)


def _find_gaps(maps: Sequence[FirstLevelMap]) -> dict[Effect, str]:
    """Say who lacks a session or run that more than half of the people of a contrast have."""
    slots: dict[str, dict[str, set[tuple[str, str | None]]]] = defaultdict(lambda: defaultdict(set))
    for m in maps:
        slots[m.contrast][m.subject].add((m.session or "", run_key(m.run)))
    notes: dict[Effect, str] = {}
    for contrast, by_person in slots.items():
        counts = Counter(slot for own in by_person.values() for slot in own)
        usual = {slot for slot, count in counts.items() if 2 * count > len(by_person)}
        for subject, own in by_person.items():
            words = []
            for session in natural_order({session for session, _ in usual - own}):
                expected = {slot for slot in usual if slot[0] == session}
                unit = "runs" if any(run for _, run in expected) else "maps"
                place = f" in ses-{session}" if session else ""
                words.append(f"{len(expected & own)} of {len(expected)} {unit}{place}")
            if words:
                notes[f"sub-{subject}", contrast] = "; ".join(words)
    return notes


def _place(row: Row) -> tuple[str, ...]:
    """By person, session, run (as a number), contrast and file."""
    names = ("participant_id", "session", "run", "contrast", "file")
    return tuple(str(row[name] or "").zfill(4 if name == "run" else 0) for name in names)
