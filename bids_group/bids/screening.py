"""Screening: leaving out people, sessions or scans that fulfil a condition (``--exclude-where``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group.bids.columns import say_codes_among_levels, say_odd_numbers, say_odd_words, type_table
from bids_group.bids.covariates import Study
from bids_group.bids.index import group_by, list_inside, parse_names, same_label
from bids_group.bids.selection import Choice
from bids_group.bids.tables import describe_column, index_by_label, read_tsv
from bids_group.conditions import Condition, Row, names_in, parse_condition
from bids_group.errors import DataError
from bids_group.labels import natural_order
from bids_group.records import Column, Notice, Table, note, warn
from bids_group.words import list_some, plural

_ID = "participant_id"
_MOST_NAMED = 10
_FUNCTIONAL = ("_bold.nii", "_bold.nii.gz", "_cbv.nii", "_cbv.nii.gz", "_bold.dtseries.nii")
_NOT_COMPARED = {"suffix", "extension", "space", "res", "den", "desc"}


def screen(choice: Choice, text: str, study: Study, bids_dir: Path) -> None:
    """Leave out what a condition on participants, sessions or scans holds for.

    A condition on participants takes the whole person, one on sessions or scans the maps that stand on them;
    refused where it holds for a part of what a map was made of, as the map can neither stay nor go. Where
    missing values leave it open, the person stays, with a notice.
    """
    people = sorted({m.subject for m in choice.maps})
    tables = _gather_tables(text, study, bids_dir, people)
    columns = {name: column for one in reversed(tables) for name, column in one.columns.items()}
    condition = parse_condition(text, {name: _with_all_levels(one, study) for name, one in columns.items()})
    homes = {name: one for one in reversed(tables) for name in one.columns}
    choice.notices += _say_odd(condition, homes)
    used = [one for one in tables if any(one is homes[name] for name in condition.columns)]
    finest = used[-1].level
    lines = group_by(_join_lines(used, people), lambda line: line[0])
    reasons: dict[Path, str] = {}
    lacking: dict[str, str] = {}
    for m in choice.maps:
        relevant = [cells for _, named, cells in lines.get(m.subject, ()) if _stands_on(named, m.entities)]
        verdicts = [condition.holds(cells) for cells in relevant]
        if True in verdicts and False in verdicts:
            raise DataError(
                f"The condition '{text}' holds for a part of what {m.effect} was made of.",
                found=f"it holds for {verdicts.count(True)} of {len(verdicts)} sessions or scans",
                expected="all of them, or none",
                fix="Use the maps of single runs, or leave the participant out with "
                "--exclude-participant-label.",
            )
        if True in verdicts:
            reasons[m.effect] = _say_reason(condition, relevant[verdicts.index(True)])
        elif None in verdicts or not verdicts:
            is_open = [row for row, verdict in zip(relevant, verdicts, strict=True) if verdict is None]
            names = [name for name in condition.columns if any(row[name] is None for row in is_open)]
            said = f"no value (n/a) of {', '.join(names)}"
            lacking[m.subject] = said if is_open else f"no row in the {finest}s table"
    if finest == "subject":
        choice.leave_people({m.subject: reasons[m.effect] for m in choice.maps if m.effect in reasons})
    else:
        choice.leave(reasons)
    if not reasons:
        choice.notices.append(note("exclusions", f"--exclude-where '{text}' matches nobody."))
    if lacking:
        choice.notices.append(_say_open(condition, lacking))


def _say_odd(condition: Condition, homes: Mapping[str, Table]) -> Iterable[Notice]:
    """Tell what is odd about the columns, but for values that the condition itself names (``iq == 999``)."""
    told: dict[Notice, None] = {}
    for name in condition.columns:
        column, cells = homes[name].columns[name], homes[name].frame[name]
        named = [value for asked, value in condition.named if asked == name]
        told |= dict.fromkeys(_notices_without(cells, column, named) if named else column.notices)
    return told


def _notices_without(cells: pd.Series, column: Column, named: Sequence[object]) -> list[Notice]:
    """Give the notices of a column without those that are of these values."""
    if column.kind == "numeric":
        of_all = {*say_odd_numbers(cells, column.source)}
        return [one for one in column.notices if one not in of_all] + [
            *say_odd_numbers(cells, column.source, named)
        ]
    is_named, levels = cells.isin(named), [one for one in column.levels if one in named]
    own = {*say_odd_words(cells[is_named], levels, column.source, is_settled=False)}
    own |= {*say_codes_among_levels(cells.dropna(), column)}
    own -= {*say_codes_among_levels(cells[~is_named].dropna(), column)}
    return [one for one in column.notices if one not in own]


def _stands_on(named: Mapping[str, str], entities: Mapping[str, str]) -> bool:
    """Whether a map stands on a row: nothing that both name differs."""
    return all(same_label(e, named[e], entities[e]) for e in {*named} & {*entities} - _NOT_COMPARED)


def _gather_tables(text: str, study: Study, bids_dir: Path, people: Sequence[str]) -> list[Table]:
    """Gather the tables, the coarse first; scans only where the others lack a name of the condition.

    A column that two tables have is read from the coarser one. Columns are typed over these people alone.
    """
    names = names_in(text)
    (table,) = study.type_rows("subject", people, used=names)
    ids = [f"sub-{label}" for label in people]
    id_column = Column(
        name=_ID,
        kind="categorical",
        kind_source="labels",
        source=bids_dir / "participants.tsv",
        levels=tuple(dict.fromkeys([*ids, *(f"sub-{label}" for label in study.listed)])),
    )
    table = replace(table, frame=table.frame.assign(**{_ID: ids}), columns={**table.columns, _ID: id_column})
    chosen = set(people)
    visits = {row for part in study.sessions for row in part.frame.index if row[0] in chosen}
    of_sessions = study.type_rows("session", visits, used=names)
    is_enough = names <= {name for one in (table, *of_sessions) for name in one.columns}
    return [table, *of_sessions, *([] if is_enough else _read_scans(bids_dir, people))]


def _read_scans(bids_dir: Path, people: Sequence[str]) -> list[Table]:
    """Read the scans tables of these people, rows of functional images only, as one table (if there are any).

    The index is (participant, file name); columns of all people are typed together.
    """
    frames = []
    source = bids_dir
    for label in people:
        folder = bids_dir / f"sub-{label}"
        places = [folder, *(one for one in list_inside(folder)[0] if one.name.startswith("ses-"))]
        name = re.compile(rf"sub-{re.escape(label)}(?:_ses-.*)?_scans\.tsv")
        files = (path for place in places for path in list_inside(place)[1] if name.fullmatch(path.name))
        for source in sorted(files):
            frame = index_by_label(read_tsv(source), source, [("filename", "file")])
            frame = frame[[str(file).endswith(_FUNCTIONAL) for file in frame.index]]
            frames.append(frame.set_axis(pd.MultiIndex.from_product([[label], frame.index]), axis=0))
    if not frames:
        return []
    text = pd.concat(frames).astype(object)
    text = text.where(text.notna(), None)
    return [type_table("scan", text, {n: describe_column(n, source) for n in map(str, text.columns)}, {})]


def _with_all_levels(column: Column, study: Study) -> Column:
    """Let a condition name a value that only people without maps have."""
    if column.kind != "categorical":
        return column
    frames = (part.frame for part in (*study.persons, *study.sessions) if column.name in part.frame)
    texts = {str(cell) for frame in frames for cell in frame[column.name] if cell}
    return replace(column, levels=(*column.levels, *natural_order(texts - {*column.levels})))


def _join_lines(used: Sequence[Table], people: Sequence[str]) -> list[tuple[str, Mapping[str, str], Row]]:
    """Give person, entities and cells of the rows of the finest table, with the cells of the coarser ones."""
    rows: dict[str, dict[tuple[str, ...], Any]] = {}
    for table in used:
        plain = table.frame.astype(object).where(table.frame.notna(), None)
        keys = [key if isinstance(key, tuple) else (key,) for key in plain.index]
        rows[table.level] = dict(zip(keys, plain.to_dict("records"), strict=True))
    finest, chosen = used[-1].level, set(people)
    scans = parse_names(key[1] for key in rows[finest]) if finest == "scan" else {}
    lines: list[tuple[str, Mapping[str, str], Row]] = []
    for key in (key for key in rows[finest] if key[0] in chosen):
        entities = {"session": key[1]} if finest == "session" else scans.get(key[-1], {})
        own = {"subject": key[:1], "session": (key[0], entities.get("session", "")), "scan": key}
        cells = [rows[one.level].get(own[one.level], dict.fromkeys(one.columns)) for one in reversed(used)]
        lines.append((key[0], entities, {name: cell for row in cells for name, cell in row.items()}))
    return lines


def _say_reason(condition: Condition, row: Row) -> str:
    cells = {name: row[name] for name in condition.columns}
    texts = {name: f"{cell:g}" if isinstance(cell, float) else cell or "n/a" for name, cell in cells.items()}
    said = ", ".join(f"{name} is {text}" for name, text in texts.items())
    return f"--exclude-where {condition.text}: {said}"


def _say_open(condition: Condition, lacking: Mapping[str, str]) -> Notice:
    """Name those who stay because values are missing; ``lacking``, by label, says which."""
    people = natural_order(lacking)
    groups = sorted(group_by(people, lambda label: lacking[label]).items())
    said = "; ".join(f"{why} for {list_some((f'sub-{one}' for one in those), 10)}" for why, those in groups)
    who = f"{len(people)} {plural(len(people), 'participant, who stays', 'participants, who stay')}"
    sentence = f"--exclude-where '{condition.text}' cannot be judged for {who} in the analysis: {said}."
    fix = "Fill in the table, or leave out who should not stay: --exclude-participant-label "
    return warn("exclusions", sentence, fix + " ".join(people if len(people) <= _MOST_NAMED else ["…"]))
