"""The ledger: every participant and map, used or not, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bids_group.bids.entities import run_key
from bids_group.labels import natural_order
from bids_group.records import Cohort, Exclusion, FirstLevelMap, GroupAnalysis
from bids_group.words import bids_uri

COLUMNS = ("participant_id", "session", "run", "task", "contrast", "file", "used", "reason", "n_maps", "note")
_NOWHERE = "in no analysis"

Row = dict[str, str | int | None]


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
    n_maps = _count_maps(analyses)
    used = {m.effect for analysis in analyses for row in analysis.observations for m in row.maps}
    notes = _find_gaps(cohort.maps)
    said: dict[tuple[str, str | int | None], str] = {
        (f"sub-{subject}", contrast): text for (subject, contrast), text in (remarks or {}).items()
    }

    rows = [_map_row(m, cohort, used, by_file, of_people) for m in cohort.maps]
    in_cohort = {m.effect for m in cohort.maps}
    rows.extend(_lost_row(e, cohort) for path, e in by_file.items() if path not in in_cohort)
    with_rows = {str(row["participant_id"]) for row in rows}
    rows.extend(
        _person_row(e) for e in of_people if f"sub-{e.subject}" not in with_rows or e.contrast is not None
    )
    named = {str(row["participant_id"]) for row in rows}
    rows.extend(
        _row(subject, used="no", reason=_NOWHERE)
        for subject in cohort.everyone
        if f"sub-{subject}" not in named
    )
    for row in rows:
        key = (str(row["participant_id"]), row["contrast"])
        row["n_maps"] = n_maps[key]
        row["note"] = "; ".join(filter(None, (notes.get(key), said.get(key)))) or None
    return _sorted_frame(rows)


def _row(subject: str, **cells: str | int | None) -> Row:
    return {**dict.fromkeys(COLUMNS), "participant_id": f"sub-{subject}", **cells}


def _map_row(
    m: FirstLevelMap,
    cohort: Cohort,
    used: set[Path],
    by_file: Mapping[Path, Exclusion],
    of_people: Iterable[Exclusion],
) -> Row:
    is_used = m.effect in used
    reason = None if is_used else _find_reason(m, by_file, of_people)
    return _row(
        m.subject,
        session=m.session,
        run=m.run,
        task=m.task,
        contrast=m.contrast,
        file=_uri(m.effect, cohort.dataset_names),
        used="yes" if is_used else "no",
        reason=reason,
    )


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


def _lost_row(exclusion: Exclusion, cohort: Cohort) -> Row:
    file = None if exclusion.path is None else _uri(exclusion.path, cohort.dataset_names)
    return _row(
        exclusion.subject,
        session=exclusion.session,
        run=exclusion.run,
        task=exclusion.task,
        contrast=exclusion.contrast,
        file=file,
        used="no",
        reason=exclusion.reason,
    )


def _person_row(exclusion: Exclusion) -> Row:
    return _row(
        exclusion.subject,
        session=exclusion.session,
        contrast=exclusion.contrast,
        used="no",
        reason=exclusion.reason,
    )


def _uri(path: Path, datasets: Mapping[str, Path]) -> str:
    """Name a file as a BIDS URI of the innermost dataset that holds it, or by its path."""
    uri = bids_uri(path, datasets)
    return str(path) if uri.startswith("file:") else uri


def _count_maps(analyses: Iterable[GroupAnalysis]) -> Counter[tuple[str, str | int | None]]:
    """Count the maps that each person's effect of each contrast stands on."""
    files: dict[tuple[str, str | int | None], set[Path]] = defaultdict(set)
    for analysis in analyses:
        for observation in analysis.observations:
            for m in observation.maps:
                files[f"sub-{m.subject}", m.contrast].add(m.effect)
    return Counter({key: len(paths) for key, paths in files.items()})


def _find_gaps(maps: Sequence[FirstLevelMap]) -> dict[tuple[str, str | int | None], str]:
    """Say who lacks a session or run that more than half of the people of a contrast have."""
    slots: dict[str, dict[str, set[tuple[str | None, str | None]]]] = defaultdict(lambda: defaultdict(set))
    for m in maps:
        slots[m.contrast][m.subject].add((m.session, run_key(m.run)))
    notes: dict[tuple[str, str | int | None], str] = {}
    for contrast, by_person in slots.items():
        counts = Counter(slot for own in by_person.values() for slot in own)
        usual = {slot for slot, count in counts.items() if 2 * count > len(by_person)}
        for subject, own in by_person.items():
            if usual - own:
                notes[f"sub-{subject}", contrast] = _say_gaps(own, usual)
    return notes


def _say_gaps(own: set[tuple[str | None, str | None]], usual: set[tuple[str | None, str | None]]) -> str:
    words = []
    for session in natural_order({slot[0] or "" for slot in usual - own}):
        expected = {slot for slot in usual if (slot[0] or "") == session}
        unit = "runs" if any(run for _, run in expected) else "maps"
        place = f" in ses-{session}" if session else ""
        words.append(f"{len(expected & own)} of {len(expected)} {unit}{place}")
    return "; ".join(words)


def _sorted_frame(rows: Iterable[Row]) -> pd.DataFrame:
    def key(row: Row) -> tuple[str, ...]:
        run = str(row["run"] or "").zfill(4)
        names = ("participant_id", "session")
        return (
            *(str(row[name] or "") for name in names),
            run,
            str(row["contrast"] or ""),
            str(row["file"] or ""),
        )

    cells = [[row[name] for name in COLUMNS] for row in sorted(rows, key=key)]
    return pd.DataFrame(cells, columns=list(COLUMNS), dtype=object)
