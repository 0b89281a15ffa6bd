"""Who is used and who is not, and why: rows that are complete, people without maps, and the ledger of all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import pandas as pd

from bids_group.bids.index import group_by
from bids_group.errors import DataError, UsageError
from bids_group.labels import natural_order, run_key
from bids_group.records import (
    Cohort,
    Column,
    Exclusion,
    FirstLevelMap,
    GroupAnalysis,
    Notice,
    Observation,
    note,
    warn,
)
from bids_group.words import and_more, bids_uri, list_some, plural, suggest

COLUMNS = ("participant_id", "session", "run", "task", "contrast", "file", "used", "reason", "n_maps", "note")
_NOWHERE = "in no analysis"
_FEW, _MOST_KINDS = 6, 4
"""So many rows are named, and so many kinds of them."""

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
    remarks: Mapping[Path, str] | None = None,
) -> pd.DataFrame:
    """List every map that was found, and everybody without one: a sorted table of ``COLUMNS``.

    Files are named by BIDS URIs of the innermost dataset that holds them, or by their path. ``n_maps``: how
    many the person's effect of that contrast stands on; ``note`` names runs and sessions that most have.

    Parameters
    ----------
    analyses
        The analyses as they are fitted: a map is used where one of their observations stands on it.
    exclusions
        Those that came later (missing covariates), beside the cohort's.
    remarks
        What else is to be noted, by map (reduced coverage of what stands on it).
    """
    everything = dict.fromkeys([*cohort.exclusions, *exclusions])
    by_file = {one.path: one for one in everything if one.path is not None}
    of_people = [one for one in everything if one.path is None]
    files: dict[Effect, set[Path]] = {}
    for m in (m for analysis in analyses for row in analysis.observations for m in row.maps):
        files.setdefault((m.subject, m.contrast), set()).add(m.effect)
    used = set().union(*files.values())

    by_person = group_by(of_people, lambda one: one.subject)
    told = [m.exclude("" if m.effect in used else _find_reason(m, by_file, by_person)) for m in cohort.maps]
    in_cohort = {m.effect for m in cohort.maps}
    told += [one for path, one in by_file.items() if path not in in_cohort]
    named = {one.subject for one in told}
    told += [one for one in of_people if one.subject not in named or one.contrast is not None]
    named = {one.subject for one in told}
    told += [Exclusion(subject=label, reason=_NOWHERE) for label in cohort.everyone if label not in named]
    gaps = _find_gaps(cohort.maps)
    rows = []
    for one in told:
        effect = (one.subject, one.contrast)
        said = (gaps.get(effect), None if one.path is None else (remarks or {}).get(one.path))
        uri = None if one.path is None else bids_uri(one.path, cohort.dataset_names)
        rows.append(
            {
                "participant_id": f"sub-{one.subject}",
                "session": one.session,
                "run": one.run,
                "task": one.task,
                "contrast": one.contrast,
                "file": str(one.path) if uri is not None and uri.startswith("file:") else uri,
                "used": "no" if one.reason else "yes",
                "reason": one.reason or None,
                "n_maps": len(files.get(effect, ())),
                "note": "; ".join(filter(None, said)) or None,
            }
        )
    rows.sort(key=_order)
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)


def _find_reason(
    m: FirstLevelMap, by_file: Mapping[Path, Exclusion], by_person: Mapping[str, Iterable[Exclusion]]
) -> str:
    if m.effect in by_file:
        return by_file[m.effect].reason
    fitting = (
        exclusion.reason
        for exclusion in by_person.get(m.subject, ())
        if exclusion.session in (None, m.session) and exclusion.contrast in (None, m.contrast)
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


def tell_sources(observations: Sequence[Observation]) -> list[Notice]:
    """Say whose maps come from other sessions than those of most, or from other runs of the same ones.

    Rows are compared with rows of their kind (of one session, where sessions are rows); people are named
    where a few differ, else counted: the ledger names each map.
    """
    several = any(row.is_one_of_several for row in observations)
    kinds = group_by(observations, lambda row: (row.session, row.contrast if several else ""))
    for unit in ("sessions", "runs"):
        people: dict[str, list[str]] = {}
        for rows in kinds.values():
            found = group_by(rows, partial(_spell_sources, unit=unit))
            for words, those in found.items() if len(found) > 1 else ():
                people.setdefault(words, []).extend(row.label for row in those)
        if people:
            parts = sorted(people.items(), key=lambda one: -len(one[1]))
            said = [
                f"{words} ({list_some(labels) if len(labels) <= _FEW else f'{len(labels)} rows'})"
                for words, labels in parts[:_MOST_KINDS]
            ]
            sentence = f"The maps of people do not come from the same {unit}: {'; '.join(said)}"
            sentence += and_more(len(parts) - _MOST_KINDS, plural(len(parts) - _MOST_KINDS, "kind")) + "."
            if unit == "runs":
                return [note("sources", sentence, "The ledger names each map.")]
            fix = (
                "Choose sessions that all have (--session-label), or keep sessions as rows (--pooling none)."
            )
            is_usual = 2 * len(parts[0][1]) >= len(observations)  # else labels may be dates
            return [(warn if is_usual else note)("sources", sentence, fix)]
    return []


def _spell_sources(row: Observation, unit: str) -> str:
    """Name the sessions of a row's maps, or the runs within each: ``ses-a run-1, run-2; ses-b run-1``."""
    return _spell_slots(tuple((m.session, m.run) for m in row.maps), unit)


@lru_cache(maxsize=1000)
def _spell_slots(slots: tuple[tuple[str | None, str | None], ...], unit: str) -> str:
    runs = {
        session: [run_key(run) for _, run in own]
        for session, own in group_by(slots, lambda slot: slot[0]).items()
    }
    sessions = natural_order(session for session in runs if session)
    if unit == "sessions":
        return ", ".join(f"ses-{one}" for one in sessions) or "no session"
    spelled = []
    for session in [None, *sessions] if None in runs else sessions:
        own = natural_order({run for run in runs[session] if run}) or [""]
        named = ", ".join(f"run-{run}" for run in own if run) or "no run"
        spelled.append(f"ses-{session} {named}" if session else named)
    return "; ".join(spelled)


def _order(row: Mapping[str, object]) -> tuple[str, ...]:
    """By person, session, run (as a number), contrast and file."""
    names = ("participant_id", "session", "run", "contrast", "file")
    return tuple(str(row[name] or "").zfill(4 if name == "run" else 0) for name in names)


def keep_complete(
    rows: pd.DataFrame,
    variables: tuple[str, ...],
    missing: Literal["error", "drop"],
    columns: Mapping[str, Column] | None = None,
    about_labels: Notice | None = None,
) -> tuple[list[str], tuple[Exclusion, ...]]:
    """Keep the rows in which no variable is missing: their labels in order, and an exclusion for each other.

    Parameters
    ----------
    rows
        Index = observation labels; columns ``subject``, ``session`` (where rows are sessions) and covariates.
    columns
        What is known of the variables; their problems come before missing values.
    about_labels
        What was found of labels that are in the maps, but not in the table of participants.

    Raises
    ------
    DataError
        A value is missing and ``missing`` is ``error``, or nobody is left.
    UsageError
        A variable is no column.
    """
    known = [str(column) for column in rows.columns]
    for name in (name for name in variables if name not in known):
        fix = suggest(name, known)
        parts = [part for part in re.split(r"[,;\s]+", name) if part]
        if len(parts) > 1 and set(parts) <= set(known):  # several columns were named as one
            fix = "Only one column can be named here (blocks within blocks are not supported): make one of "
            fix += f"{' and '.join(parts)} in participants.tsv, whose values name both."
        raise UsageError(f"There is no column '{name}'.", found=", ".join(known), fix=fix)
    described = {name: columns[name] for name in variables if columns is not None and name in columns}
    for column in described.values():
        column.check_usable()
    gaps = rows.loc[:, list(variables)].isna()
    incomplete = gaps.any(axis=1)
    if incomplete.any() and (missing == "error" or incomplete.all()):
        raise _missing_values(rows, gaps[incomplete], about_labels, described)
    out = rows[incomplete]
    sessions = out["session"] if "session" in out else pd.Series(None, index=out.index, dtype=object)
    exclusions = [
        Exclusion(
            subject=str(subject),
            session=None if pd.isna(session) else str(session),
            reason=f"no value (n/a) of {', '.join(map(str, gaps.columns[lacks]))} (--missing drop)",
        )
        for subject, session, lacks in zip(out["subject"], sessions, gaps[incomplete].to_numpy(), strict=True)
    ]
    return [str(label) for label in rows.index[~incomplete]], tuple(exclusions)


def _missing_values(
    rows: pd.DataFrame, gaps: pd.DataFrame, labels: Notice | None, columns: Mapping[str, Column]
) -> DataError:
    """Say who lacks which values; ``gaps``: the incomplete rows of ``rows``, by variable."""
    covariates = rows.loc[gaps.index].drop(columns=["subject", "session"], errors="ignore")
    is_listed = labels is None and bool(columns)  # every map's person has a row in participants.tsv
    is_rowless = covariates.isna().all(axis=1) & (bool(covariates.shape[1]) and not is_listed)
    rowless, listed = [str(label) for label in gaps.index[is_rowless]], gaps[~is_rowless]
    found = []
    for name in listed.columns[listed.any()]:
        lacking = [str(label) for label in listed.index[listed[name]]]
        empty = [label for label in lacking if name in columns and label in columns[name].empty]
        parts = (("n/a", [label for label in lacking if label not in empty]), ("an empty cell", empty))
        said = [f"{word} in {name}: {list_some(those, 10)}" for word, those in parts if those]
        found += [f"no row has a value of {name}"] if len(lacking) == len(rows) else said
    fix = "Leave them out with --missing drop, or fill in the table."
    if len(gaps) == len(rows):
        fix = "Fill in the table, or leave the column out of the model."
    if rowless:
        has = plural(len(rowless), "has", "have")
        why = f"{list_some(rowless, 10)} {has} no value in any column (no row in participants.tsv?)"
        fix = (
            "Write the labels in participants.tsv as in the names of the maps (sub-1 is not sub-01: "
            "spreadsheets strip zeros in front), fill in the table, or say --missing drop."
        )
        found.insert(0, why if labels is None else labels.sentence)
        fix = fix if labels is None else labels.fix or fix
    notices = (one for name in map(str, gaps) if name in columns for one in columns[name].notices)
    for told in dict.fromkeys(one for one in notices if one.topic == "labels"):
        found.append(told.sentence.rstrip("."))
        fix = told.fix or fix
    names = ", ".join(map(str, gaps.columns[gaps.any()]))
    lacks = plural(len(gaps), "row lacks", "rows lack")
    lack = f"{len(gaps)} {lacks} a value that the model needs ({names})."
    return DataError(
        f"Nobody is left: {lack}" if len(gaps) == len(rows) else lack,
        found="; ".join(found),
        expected="a value for every analysed participant",
        fix=fix,
    )


def tell_lost_levels(
    before: pd.DataFrame, after: pd.DataFrame, columns: Mapping[str, Column]
) -> list[Notice]:
    """Warn of levels that lose all their rows with missing values, with the counts of all levels.

    Numbers count as levels where they look like groups: a few whole ones, each of several rows.
    """
    notices = []
    for name in (name for name, column in columns.items() if name in before and name in after):
        numbers = before[name].dropna() if columns[name].kind == "numeric" else None
        if numbers is not None and not (1 < numbers.nunique() <= 5 and bool((numbers % 1 == 0).all())):
            continue
        had, left = _count_levels(before[name]), _count_levels(after[name])
        lost = [level for level in had.index if had[level] > 1 and level not in left.index]
        if not lost or len(had) * 2 > had.sum():
            continue
        order = natural_order(map(str, had.index))
        counts = ", ".join(f"{left.get(level, 0)} of {had[level]} with {level}" for level in order)
        levels = list_some(natural_order(lost), 10)
        sentence = f"--missing drop leaves nobody with {name} = {levels}: {counts} are left."
        fix = "Fill in their values, or leave the column that they lack out of the model."
        notices.append(warn("missing", sentence, fix))
    return notices


def _count_levels(values: pd.Series) -> pd.Series:
    present = values.dropna()
    is_number = pd.api.types.is_numeric_dtype(present) and not pd.api.types.is_bool_dtype(present)
    return present.map(lambda one: f"{one:g}" if is_number else str(one)).astype(str).value_counts()
