"""Screening: leaving out people, sessions or scans that fulfil a condition (``--exclude-where``)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from bids_group.bids.columns import Typing, type_table
from bids_group.bids.covariates import Study
from bids_group.bids.entities import same_label
from bids_group.bids.index import list_files, list_folders, parse_names
from bids_group.bids.selection import Choice
from bids_group.bids.tables import index_by_label, read_tsv
from bids_group.conditions import Condition, Row, names_in, parse_condition
from bids_group.errors import DataError
from bids_group.labels import natural_order
from bids_group.records import Column, FirstLevelMap, Notice, Table, note, warn
from bids_group.words import list_some, plural

_ID = "participant_id"
_MOST_NAMED = 10
_FUNCTIONAL = ("_bold.nii", "_bold.nii.gz", "_cbv.nii", "_cbv.nii.gz", "_bold.dtseries.nii")
_NOT_COMPARED = {"suffix", "extension", "space", "res", "den", "desc"}
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A table as conditions see it: rows by (participant,), (participant, session) or (participant, file)."""

    kind: Literal["participant", "session", "scan"]
    columns: Mapping[str, Column]
    rows: Mapping[Key, Row]

    def look_up(self, key: Key, entities: Mapping[str, str]) -> Row:
        """Give the row that a row of a finer table stands in; without values where there is none."""
        session = (key[0], entities.get("session", ""))
        own = {"participant": key[:1], "session": session, "scan": key}[self.kind]
        return self.rows.get(own, dict.fromkeys(self.columns))


Line = tuple[Mapping[str, str], Row]
"""What a condition is judged on: whom it is about (entities), and the cells."""


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
    people = sorted({m.subject for m in choice.maps})
    layers = _gather_layers(text, study, bids_dir, people)
    columns = {
        name: _with_levels_of_all(column, study)
        for layer in reversed(layers)
        for name, column in layer.columns.items()
    }
    condition = parse_condition(text, columns)
    homes = {name: layer.kind for layer in reversed(layers) for name in layer.columns}
    kinds = {homes[name] for name in condition.columns}
    used = [layer for layer in layers if layer.kind in kinds]
    lines = _join_lines(used, people)
    reasons: dict[Path, str] = {}
    lacking: dict[str, str] = {}
    for m in choice.maps:
        relevant = [cells for entities, cells in lines[m.subject] if _is_about(entities, m)]
        verdicts = [condition.holds(cells) for cells in relevant]
        if True in verdicts:
            if False in verdicts:
                raise DataError(
                    f"The condition '{text}' holds for a part of what {m.effect} was made of.",
                    found=f"it holds for {verdicts.count(True)} of {len(verdicts)} sessions or scans",
                    expected="all of them, or none",
                    fix="Use the maps of single runs, or leave the participant out with "
                    "--exclude-participant-label.",
                )
            reasons[m.effect] = _say_reason(condition, relevant[verdicts.index(True)])
        elif None in verdicts or not verdicts:
            open_rows = [row for row, verdict in zip(relevant, verdicts, strict=True) if verdict is None]
            lacking[m.subject] = _say_lacking(condition, open_rows, used[-1].kind)
    if used[-1].kind == "participant":
        choice.leave_people({m.subject: reasons[m.effect] for m in choice.maps if m.effect in reasons})
    else:
        choice.leave(reasons)
    if not reasons:
        choice.notices.append(note("exclusions", f"--exclude-where '{text}' matches nobody."))
    if lacking:
        choice.notices.append(_say_open(condition, lacking))


def _gather_layers(text: str, study: Study, bids_dir: Path, people: Sequence[str]) -> list[Layer]:
    """Make layers of the tables; scans are read only where the other tables lack a name of the condition.

    A column that two tables have is read from the coarser one. Columns are typed over these people alone.
    """
    names = names_in(text)
    table = study.people(people, names)
    ids = [f"sub-{label}" for label in people]
    id_column = Column(
        name=_ID,
        kind="categorical",
        kind_source="labels",
        source=bids_dir / "participants.tsv",
        levels=tuple(dict.fromkeys([*ids, *(f"sub-{label}" for label in study.listed)])),
    )
    rows = _rows(table.frame.assign(**{_ID: ids}))
    layers = [Layer(kind="participant", columns={**table.columns, _ID: id_column}, rows=rows)]
    visits = study.visits(study.visits_of(people), names)
    if visits is not None:
        layers.append(Layer(kind="session", columns=visits.columns, rows=_rows(visits.frame)))
    is_enough = names <= {name for layer in layers for name in layer.columns}
    scans = None if is_enough else _read_scans(bids_dir, people)
    if scans is not None:
        layers.append(Layer(kind="scan", columns=scans.columns, rows=_rows(scans.frame)))
    return layers


def _read_scans(bids_dir: Path, people: Iterable[str]) -> Table | None:
    """Read the scans tables of these people, rows of functional images only. None where there are none.

    The index is (participant, file name); columns of all people are typed together.
    """
    frames = []
    source = bids_dir
    for label in people:
        folder = bids_dir / f"sub-{label}"
        places = [folder, *(one for one in list_folders(folder) if one.name.startswith("ses-"))]
        name = re.compile(rf"sub-{re.escape(label)}(?:_ses-.*)?_scans\.tsv")
        files = (path for place in places for path in list_files(place) if name.fullmatch(path.name))
        for source in sorted(files):
            frame = index_by_label(read_tsv(source), source, [("filename", "file")])
            frame = frame[[str(file).endswith(_FUNCTIONAL) for file in frame.index]]
            frames.append(frame.set_axis(pd.MultiIndex.from_product([[label], frame.index]), axis=0))
    if not frames:
        return None
    text = pd.concat(frames).astype(object)
    text = text.where(text.notna(), None)
    return type_table("session", text, dict.fromkeys(map(str, text.columns), source), Typing(), {})


def _with_levels_of_all(column: Column, study: Study) -> Column:
    """Let a condition name a value that only people without maps have."""
    others = natural_order(study.texts(column.name) - {*column.levels})
    return replace(column, levels=(*column.levels, *others)) if column.kind == "categorical" else column


def _rows(frame: pd.DataFrame) -> dict[Key, Row]:
    plain = frame.astype(object).where(frame.notna(), None)
    keys = [key if isinstance(key, tuple) else (key,) for key in plain.index]
    rows = [{str(name): cell for name, cell in row.items()} for row in plain.to_dict("records")]
    return dict(zip(keys, rows, strict=True))


def _join_lines(used: Sequence[Layer], people: Sequence[str]) -> dict[str, list[Line]]:
    """Give each person the rows of the finest table, with the values of the coarser ones beside them."""
    finest, known = used[-1], set(people)
    keys = [key for key in finest.rows if key[0] in known]
    scans = parse_names(key[1] for key in keys) if finest.kind == "scan" else {}
    lines: dict[str, list[Line]] = defaultdict(list)
    for key in keys:
        entities = {"session": key[1]} if finest.kind == "session" else scans.get(key[-1], {})
        cells = {
            name: cell for layer in reversed(used) for name, cell in layer.look_up(key, entities).items()
        }
        lines[key[0]].append((entities, cells))
    return lines


def _is_about(row: Mapping[str, str], m: FirstLevelMap) -> bool:
    """Whether a map stands on the row of these entities: nothing that both name differs."""
    shared = set(row) & set(m.entities) - _NOT_COMPARED
    return all(same_label(name, row[name], m.entities[name]) for name in shared)


def _say_reason(condition: Condition, row: Row) -> str:
    cells = {name: row[name] for name in condition.columns}
    texts = {name: f"{cell:g}" if isinstance(cell, float) else cell or "n/a" for name, cell in cells.items()}
    said = ", ".join(f"{name} is {text}" for name, text in texts.items())
    return f"--exclude-where {condition.text}: {said}"


def _say_lacking(condition: Condition, rows: Sequence[Row], kind: str) -> str:
    """Say what a condition lacks to be judged on these rows: values of columns, or a row at all."""
    names = [name for name in condition.columns if any(row[name] is None for row in rows)]
    return f"no value (n/a) of {', '.join(names)}" if rows else f"no row in the {kind}s table"


def _say_open(condition: Condition, lacking: Mapping[str, str]) -> Notice:
    """Name those who stay because values are missing; ``lacking``, by label, says which."""
    people = natural_order(lacking)
    by_reason: dict[str, list[str]] = defaultdict(list)
    for label in people:
        by_reason[lacking[label]].append(f"sub-{label}")
    said = "; ".join(f"{reason} for {list_some(names, 10)}" for reason, names in sorted(by_reason.items()))
    who = f"{len(people)} {plural(len(people), 'participant, who stays', 'participants, who stay')}"
    sentence = f"--exclude-where '{condition.text}' cannot be judged for {who} in the analysis: {said}."
    fix = "Fill in the table, or leave out who should not stay: --exclude-participant-label "
    return warn("exclusions", sentence, fix + " ".join(people if len(people) <= _MOST_NAMED else ["…"]))
