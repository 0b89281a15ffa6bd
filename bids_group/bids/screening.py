"""Screening: leaving out people, sessions or scans that fulfil a condition (``--exclude-where``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from bids_group.bids.covariates import Study
from bids_group.bids.entities import name_some, same_label
from bids_group.bids.index import parse_names
from bids_group.bids.scans import read_scans
from bids_group.bids.selection import Choice, exclude
from bids_group.bids.statmaps import Candidate
from bids_group.conditions import Condition, Row, names_in, parse_condition
from bids_group.errors import DataError
from bids_group.labels import natural_order
from bids_group.records import Column, Exclusion, Notice

_ID = "participant_id"
_MOST_NAMED = 10
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A table as conditions see it: rows by (participant,), (participant, session) or (participant, file)."""

    kind: Literal["participant", "session", "scan"]
    columns: Mapping[str, Column]
    rows: Mapping[Key, Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a condition is judged on: whom it is about (entities), and the cells."""

    entities: Mapping[str, str]
    cells: Row


def screen(choice: Choice, text: str, study: Study, bids_dir: Path) -> None:
    """Leave out what a condition on participants, sessions or scans holds for.

    A condition on participants takes the whole person, one on sessions or scans the maps that stand on them.
    Where missing values leave it open, the person stays, with a notice.

    Raises
    ------
    UsageError
        The condition is malformed, or names unknown columns or values.
    DataError
        It holds for a part of what a map was made of: the map can neither stay nor go.
    """
    people = sorted({candidate.map.subject for candidate in choice.candidates})
    layers = _gather_layers(text, study, bids_dir, people)
    columns = {
        name: _with_levels_of_all(column, study)
        for layer in reversed(layers)
        for name, column in layer.columns.items()
    }
    condition = parse_condition(text, columns)
    used = _layers_used(layers, condition)
    lines = _join_lines(used, people)
    reasons: dict[Path, str] = {}
    lacking: dict[str, str] = {}
    for candidate in choice.candidates:
        relevant = [line for line in lines[candidate.map.subject] if _is_about(line, candidate)]
        verdicts = [condition.holds(line.cells) for line in relevant]
        if True in verdicts:
            _check_whole(candidate, verdicts, text)
            reasons[candidate.map.effect] = _say_reason(condition, relevant[verdicts.index(True)])
        elif None in verdicts or not verdicts:
            lacking[candidate.map.subject] = _say_lacking(condition, relevant, verdicts, used[-1].kind)
    _leave(choice, reasons, is_personal=used[-1].kind == "participant")
    if not reasons:
        sentence = f"--exclude-where '{text}' matches nobody."
        choice.notices.append(Notice(severity="note", topic="exclusions", sentence=sentence))
    choice.notices.extend(_say_open(condition, lacking))


def _gather_layers(text: str, study: Study, bids_dir: Path, people: Sequence[str]) -> list[Layer]:
    """Make layers of the tables; scans are read only where the other tables lack a name of the condition.

    A column that two tables have is read from the coarser one. Columns are typed over these people alone.
    """
    names = names_in(text)
    table = study.people(people, names)
    ids = [f"sub-{label}" for label in people]
    frame = table.frame.assign(**{_ID: ids})
    id_column = Column(
        name=_ID,
        kind="categorical",
        kind_source="labels",
        source=bids_dir / "participants.tsv",
        levels=tuple(dict.fromkeys([*ids, *(f"sub-{label}" for label in study.listed)])),
    )
    columns = {**table.columns, _ID: id_column}
    layers = [Layer(kind="participant", columns=columns, rows=_rows(frame))]
    visits = study.visits(study.visits_of(people), names)
    if visits is not None:
        layers.append(Layer(kind="session", columns=visits.columns, rows=_rows(visits.frame)))
    is_enough = names <= {name for layer in layers for name in layer.columns}
    scans = None if is_enough else read_scans(bids_dir, people)
    if scans is not None:
        layers.append(Layer(kind="scan", columns=scans.columns, rows=_rows(scans.frame)))
    return layers


def _with_levels_of_all(column: Column, study: Study) -> Column:
    """Let a condition name a value that only people without maps have."""
    others = natural_order(study.texts(column.name) - {*column.levels})
    return replace(column, levels=(*column.levels, *others)) if column.kind == "categorical" else column


def _rows(frame: pd.DataFrame) -> dict[Key, Row]:
    plain = frame.astype(object).where(frame.notna(), None)
    keys = [key if isinstance(key, tuple) else (key,) for key in plain.index]
    rows = [{str(name): cell for name, cell in row.items()} for row in plain.to_dict("records")]
    return dict(zip(keys, rows, strict=True))


def _layers_used(layers: Sequence[Layer], condition: Condition) -> list[Layer]:
    homes = {name: layer.kind for layer in reversed(layers) for name in layer.columns}
    kinds = {homes[name] for name in condition.columns}
    return [layer for layer in layers if layer.kind in kinds]


def _join_lines(used: Sequence[Layer], people: Sequence[str]) -> dict[str, list[Line]]:
    """Give each person the rows of the finest table, with the values of the coarser ones beside them."""
    finest, known = used[-1], set(people)
    keys = [key for key in finest.rows if key[0] in known]
    named = _entities_of(finest.kind, keys)
    lines: dict[str, list[Line]] = defaultdict(list)
    for key, entities in zip(keys, named, strict=True):
        cells = {
            name: value for layer in reversed(used) for name, value in _look_up(layer, key, entities).items()
        }
        lines[key[0]].append(Line(entities=entities, cells=cells))
    return lines


def _entities_of(kind: str, keys: Sequence[Key]) -> list[Mapping[str, str]]:
    if kind == "participant":
        return [{} for _ in keys]
    if kind == "session":
        return [{"session": key[1]} for key in keys]
    parsed = parse_names(key[1] for key in keys)
    return [parsed[key[1]] for key in keys]


def _look_up(layer: Layer, key: Key, entities: Mapping[str, str]) -> Row:
    own = {"participant": key[:1], "session": (key[0], entities.get("session", "")), "scan": key}[layer.kind]
    return layer.rows.get(own, dict.fromkeys(layer.columns))


def _is_about(line: Line, candidate: Candidate) -> bool:
    """Whether a map stands on this row: nothing that both name differs."""
    shared = set(line.entities) & set(candidate.entities) - {
        "suffix",
        "extension",
        "space",
        "res",
        "den",
        "desc",
    }
    return all(same_label(name, line.entities[name], candidate.entities[name]) for name in shared)


def _check_whole(candidate: Candidate, verdicts: Sequence[bool | None], text: str) -> None:
    if False in verdicts:
        raise DataError(
            f"The condition '{text}' holds for a part of what {candidate.map.effect} was made of.",
            found=f"it holds for {verdicts.count(True)} of {len(verdicts)} sessions or scans",
            expected="all of them, or none",
            fix="Use the maps of single runs, or leave the participant out with --exclude-participant-label.",
        )


def _say_reason(condition: Condition, line: Line) -> str:
    values = ", ".join(f"{name} is {_say_value(line.cells[name])}" for name in condition.columns)
    return f"--exclude-where {condition.text}: {values}"


def _say_value(value: object) -> str:
    return "n/a" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _leave(choice: Choice, reasons: Mapping[Path, str], *, is_personal: bool) -> None:
    gone = [candidate for candidate in choice.candidates if candidate.map.effect in reasons]
    choice.candidates = [candidate for candidate in choice.candidates if candidate.map.effect not in reasons]
    if is_personal:
        by_person = {candidate.map.subject: reasons[candidate.map.effect] for candidate in gone}
        choice.exclusions.extend(
            Exclusion(subject=label, reason=by_person[label]) for label in sorted(by_person)
        )
    else:
        choice.exclusions.extend(exclude(candidate, reasons[candidate.map.effect]) for candidate in gone)


def _say_lacking(
    condition: Condition, lines: Sequence[Line], verdicts: Sequence[bool | None], kind: str
) -> str:
    """Say what a condition lacks to be judged: values of columns, or a row at all."""
    if not lines:
        return f"no row in the {kind}s table"
    cells = [line.cells for line, verdict in zip(lines, verdicts, strict=True) if verdict is None]
    names = [name for name in condition.columns if any(row[name] is None for row in cells)]
    return f"no value (n/a) of {', '.join(names)}"


def _say_open(condition: Condition, lacking: Mapping[str, str]) -> tuple[Notice, ...]:
    """Name those who stay because values are missing; ``lacking``, by label, says which."""
    if not lacking:
        return ()
    people = natural_order(lacking)
    by_reason: dict[str, list[str]] = defaultdict(list)
    for label in people:
        by_reason[lacking[label]].append(f"sub-{label}")
    said = "; ".join(f"{reason} for {name_some(names)}" for reason, names in sorted(by_reason.items()))
    who = "1 participant, who stays" if len(people) == 1 else f"{len(people)} participants, who stay"
    sentence = f"--exclude-where '{condition.text}' cannot be judged for {who} in the analysis: {said}."
    fix = "Fill in the table, or leave out who should not stay: --exclude-participant-label "
    labels = people if len(people) <= _MOST_NAMED else ["…"]
    return (Notice(severity="warning", topic="exclusions", sentence=sentence, fix=fix + " ".join(labels)),)
