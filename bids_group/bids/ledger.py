"""The ledger: every participant and map, used or not, and why; and the reasons nobody gave so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bids_group.bids.index import group_by, run_key
from bids_group.labels import natural_order
from bids_group.records import Cohort, Exclusion, FirstLevelMap, GroupAnalysis
from bids_group.words import bids_uri, list_some

COLUMNS = ("participant_id", "session", "run", "task", "contrast", "file", "used", "reason", "n_maps", "note")
_NOWHERE = "in no analysis"

Effect = tuple[str, str | None]
"""A subject label and a first-level contrast."""


def add_mapless(
    exclusions: Sequence[Exclusion], maps: Sequence[FirstLevelMap], everyone: Iterable[str]
) -> tuple[Exclusion, ...]:
    """Name everybody who has no map in an analysis, and no reason yet.

    Gives all exclusions by person, session, contrast and file: how they were found does not matter.
    """
    have = {(m.subject, m.contrast) for m in maps}
    contrasts = natural_order({contrast for _, contrast in have})
    with_maps = {subject for subject, _ in have}
    kind = "first-level" if not maps or maps[0].suffix == "statmap" else maps[0].suffix
    told, found = group_by(exclusions, lambda e: e.subject), list(exclusions)
    for subject in everyone:
        own = told.get(subject, ())
        if any(exclusion.path is None for exclusion in own):
            continue
        if subject not in with_maps:
            gone = list_some(dict.fromkeys(exclusion.reason for exclusion in own), 3)
            reason = f"no map left: {gone}" if own else f"no {kind} map"
            found.append(Exclusion(subject=subject, reason=reason))
            continue
        for contrast in (one for one in contrasts if (subject, one) not in have):
            reason = f"no map of contrast {contrast}"
            found.append(Exclusion(subject=subject, contrast=contrast, reason=reason))
    return tuple(
        sorted(found, key=lambda e: (e.subject, e.session or "", e.contrast or "", str(e.path or "")))
    )


def build_ledger(
    cohort: Cohort,
    analyses: Sequence[GroupAnalysis],
    exclusions: Sequence[Exclusion] = (),
    remarks: Mapping[tuple[str, str], str] | None = None,
) -> pd.DataFrame:
    """List every map that was found, and everybody without one: a sorted table of ``COLUMNS``.

    ``n_maps`` is the number of maps that the person's effect of that contrast stands on (0: not analysed);
    ``note`` names runs and sessions that most others have.

    Parameters
    ----------
    analyses
        The analyses as they are fitted: a map is used where one of their observations stands on it.
    exclusions
        Those that came later (missing covariates), beside the cohort's.
    remarks
        What else is to be noted, by subject label and first-level contrast (reduced coverage).
    """
    everything = dict.fromkeys([*cohort.exclusions, *exclusions])
    by_file = {one.path: one for one in everything if one.path is not None}
    of_people = [one for one in everything if one.path is None]
    analysed = (m for analysis in analyses for row in analysis.observations for m in row.maps)
    files: dict[Effect, set[Path]] = {}
    for m in analysed:
        files.setdefault((m.subject, m.contrast), set()).add(m.effect)
    used = set().union(*files.values())

    told: list[tuple[FirstLevelMap | Exclusion, str | None]] = [
        (m, None if m.effect in used else _find_reason(m, by_file, of_people)) for m in cohort.maps
    ]
    in_cohort = {m.effect for m in cohort.maps}
    told += [(one, one.reason) for path, one in by_file.items() if path not in in_cohort]
    named = {about.subject for about, _ in told}
    told += [(e, e.reason) for e in of_people if e.subject not in named or e.contrast is not None]
    nameless = [label for label in cohort.everyone if label not in {about.subject for about, _ in told}]
    told += [(Exclusion(subject=label, reason=_NOWHERE), _NOWHERE) for label in nameless]
    gaps = _find_gaps(cohort.maps)
    rows = []
    for about, reason in told:
        file = about.effect if isinstance(about, FirstLevelMap) else about.path
        effect = (about.subject, about.contrast)
        said = (gaps.get(effect), (remarks or {}).get((about.subject, about.contrast or "")))
        rows.append(
            {
                "participant_id": f"sub-{about.subject}",
                "session": about.session,
                "run": about.run,
                "task": about.task,
                "contrast": about.contrast,
                "file": None if file is None else _name_file(file, cohort),
                "used": "yes" if reason is None else "no",
                "reason": reason,
                "n_maps": len(files.get(effect, ())),
                "note": "; ".join(filter(None, said)) or None,
            }
        )
    rows.sort(key=_order)
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)


def _name_file(file: Path, cohort: Cohort) -> str:
    """Name a file by the BIDS URI of the innermost dataset that holds it, or by its path."""
    uri = bids_uri(file, cohort.dataset_names)
    return str(file) if uri.startswith("file:") else uri


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
    notes: dict[Effect, str] = {}
    for contrast, those in group_by(maps, lambda m: m.contrast).items():
        by_person = {
            subject: {(m.session or "", run_key(m.run)) for m in own}
            for subject, own in group_by(those, lambda m: m.subject).items()
        }
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
                notes[subject, contrast] = "; ".join(words)
    return notes


def _order(row: Mapping[str, object]) -> tuple[str, ...]:
    """By person, session, run (as a number), contrast and file."""
    names = ("participant_id", "session", "run", "contrast", "file")
    return tuple(str(row[name] or "").zfill(4 if name == "run" else 0) for name in names)
