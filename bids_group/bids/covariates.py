"""The tables of a study: participants, sessions and phenotype, read as text, joined and typed where used."""

from __future__ import annotations

import os
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from bids_group.bids.columns import Kinds, type_column, type_table
from bids_group.bids.index import group_by
from bids_group.bids.near_labels import tell_labels
from bids_group.bids.tables import (
    SESSION_COLUMNS,
    Keys,
    Sheet,
    describe_column,
    index_rows,
    name_people,
    read_dictionary,
    read_sheet,
    tell_unused,
)
from bids_group.config import Inputs
from bids_group.config.typed import file_of
from bids_group.errors import DataError, MissingInputError, UsageError
from bids_group.records import Column, FirstLevelMap, Notice, Table, note, warn
from bids_group.words import list_some, plain_number, quote_for_shell, suggest

PERSON = ("participant_id", "sub")
SESSION = ("session_id", "ses")
_RESERVED = ("subject", "session", "participant_id", "session_id")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextTable:
    """A table as text: rows by label, and what is known of each column but for its kind.

    ``repeated``: labels of several rows, of which the first counts; ``by_person``: what rows without a
    session say of all sessions of a person.
    """

    frame: pd.DataFrame
    columns: Mapping[str, Column] = field(default_factory=dict)
    repeated: Mapping[Hashable, DataError] = field(default_factory=dict)
    by_person: pd.DataFrame | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """What the tables say, as text: those with a row per person, and those with a row per session.

    ``listing``: the participants table, whose labels are ``listed``; ``session_levels``: the order of
    session labels, by each JSON file that gives one.
    """

    persons: tuple[TextTable, ...]
    sessions: tuple[TextTable, ...]
    kinds: Kinds
    listed: tuple[str, ...]
    listing: Path | None
    notices: tuple[Notice, ...]
    session_levels: Mapping[Path, tuple[str, ...]]

    def type_rows(
        self,
        level: Literal["subject", "session"],
        labels: Iterable[str] | Iterable[tuple[str, str]],
        *,
        used: Collection[str] = (),
        judged: Collection[Hashable] | None = None,
    ) -> tuple[Table, ...]:
        """Type the columns over people, or over (participant, session); no table where none has sessions.

        ``used``: columns whose table must have no problem; values that do not fit are kept as a problem.
        ``judged``: the labels whose values settle the kinds (default: all). Labels without a row get missing
        values.
        """
        index = pd.Index([*set(labels)], dtype=None if level == "session" else object).sort_values()
        if level == "session" and not (len(index) and self.sessions):
            return ()
        parts = self.persons if level == "subject" else self.sessions
        text, columns = _join(parts, index)
        for part in parts if level == "session" else parts[1:]:  # of the first of people the cohort tells
            sources = [column.source for column in part.columns.values()]
            told = tell_labels({*part.frame.index}, {*index}, sources[0]) if sources else None
            for name in (name for name in part.columns if name in columns):
                columns[name] = replace(
                    columns[name], notices=(*columns[name].notices, *filter(None, [told]))
                )
        for column in (column for name, column in columns.items() if name in used):
            column.check_usable()
        is_judged = None if judged is None else [label in judged for label in index]
        return (type_table(level, text, columns, self.kinds, is_judged),)


def read_study(
    inputs: Inputs, people_with_maps: Iterable[str], *, has_sessions: bool, further: Collection[str] = ()
) -> Study:
    """Read all tables that an analysis may draw covariates from.

    The table of ``--participants-tsv`` stands instead of that in BIDS_DIR; where it has no JSON beside it,
    ``participants.json`` describes it. ``listed`` holds the labels of that table, in its order;
    ``has_sessions`` says whether any map names its session, ``further`` names columns of other tables.
    """
    notices: list[Notice] = []
    people = sorted(set(people_with_maps))
    standard = inputs.bids_dir / "participants.tsv"
    is_there = standard.exists() or standard.is_symlink()
    path = inputs.participants_tsv or (standard if is_there else None)
    persons: list[TextTable] = [_read_persons(path, inputs.bids_dir, people, notices)]
    of_sessions = {
        label: inputs.bids_dir / name / f"{name}_sessions.tsv"
        for label, name in _own_folders(inputs.bids_dir, people).items()
    }
    shared = inputs.bids_dir / "sessions.tsv"
    sessions = _read_sessions(shared, of_sessions, notices, is_used=has_sessions)
    phenotypes = [_find_phenotype(given, inputs.bids_dir) for given in inputs.phenotype]
    for table in phenotypes:
        by_person, by_session = _read_phenotype(table, notices, has_sessions=has_sessions)
        persons += by_person
        sessions += by_session
    known = [str(name) for part in (*persons, *sessions) for name in part.frame.columns]
    kinds = _read_kinds(inputs, [*known, *further])
    for part in (*persons, *sessions):
        notices += _tell_unusable(part)
    session_levels = {}
    for table in (*([path] if path else []), *phenotypes, shared, *of_sessions.values()):
        dictionary = read_dictionary(table, table)[0]
        entries = [dictionary[key].levels for key in SESSION_COLUMNS[:2] if key in dictionary]
        if levels := next(filter(None, entries), ()):
            labels = tuple(level.strip().removeprefix("ses-") for level in levels)
            session_levels[file_of(table).with_suffix(".json")] = labels
    return Study(
        persons=tuple(persons),
        sessions=tuple(sessions),
        kinds=kinds,
        listed=tuple(dict.fromkeys(str(label) for label in persons[0].frame.index)),
        listing=path,
        notices=tuple(notices),
        session_levels=session_levels,
    )


def _tell_unusable(part: TextTable) -> Iterator[Notice]:
    """Tell columns whose names stand for labels."""
    for name in (name for name in _RESERVED if name in part.frame.columns):
        sentence = f"Column '{name}' of {part.columns[name].source} is not available as a covariate"
        sentence += ": the name stands for the row's label."
        yield note("columns", sentence, "Rename the column to use it.")


def _own_folders(bids_dir: Path, people: Iterable[str]) -> dict[str, str]:
    """Name the folders of people; where the folder above can be listed, only those that are there."""
    names = {label: f"sub-{label}" for label in people}
    try:
        there = {*os.listdir(bids_dir)}  # noqa: PTH208 - names alone
    except OSError:
        return names
    return {label: name for label, name in names.items() if name in there}


def _read_kinds(inputs: Inputs, known: Sequence[str]) -> Kinds:
    """Read the options of kinds; refused are unknown columns, and one column as both kinds."""
    for option, names in (("--categorical", inputs.categorical), ("--numeric", inputs.numeric)):
        for name in (name for name in names if name not in known):
            raise UsageError(
                f"{option} names a column '{name}' that no table has.",
                found=", ".join(dict.fromkeys(known)) or "no columns",
                fix=suggest(name, known),
            )
    for name in sorted({*inputs.categorical} & {*inputs.numeric}):
        raise UsageError(f"Column '{name}' is named by --categorical and by --numeric.", fix="Name it once.")
    kinds: Kinds = dict.fromkeys(inputs.categorical, "categorical")
    return {**kinds, **dict.fromkeys(inputs.numeric, "numeric")}


def _read_persons(
    path: Path | None, bids_dir: Path, people: Sequence[str], notices: list[Notice]
) -> TextTable:
    if path is None:
        told = note("tables", "There is no participants.tsv in BIDS_DIR: no covariates.")
        for other in sorted(bids_dir.glob("[Pp]articipant*.*[vtx]")):  # a table of another name
            if other.suffix.lower() in (".tsv", ".csv", ".txt", ".xlsx"):
                fix = f"Write --participants-tsv {quote_for_shell(str(other))}."
                told = warn("tables", f"{told.sentence} {other.name} is not read.", fix)
                break
        notices.append(told)
        return TextTable(frame=pd.DataFrame(index=pd.Index([], dtype=object)))
    sheet = frame, _ = _read_people(path, notices)
    known = {*people, *(f"sub-{label}" for label in people)}
    for name in frame.columns if PERSON[0] not in frame else ():
        if frame[name].isin(known).any():
            raise DataError(
                f"The table {path} has no column '{PERSON[0]}'.",
                found=f"{name} ({list_some(frame[name], 3)}); "
                f"the maps are of {list_some((f'sub-{label}' for label in people), 3)}",
                fix=f"Rename the column {name} to {PERSON[0]}.",
            )
    return _as_text_table(sheet, path, [PERSON], notices, lender=bids_dir / "participants.tsv")


def _read_people(path: Path, notices: list[Notice]) -> Sheet:
    """Read a table of people, whose labels may stand under another name than that of BIDS."""
    frame, problems = read_sheet(path)
    frame, other = name_people(frame)
    if other is not None:
        sentence = f"The column '{other}' of {path.name} is read as {PERSON[0]}, which is its name in BIDS."
        notices.append(note("tables", sentence))
    return frame, {PERSON[0] if name == other else name: error for name, error in problems.items()}


def _as_text_table(
    sheet: Sheet, path: Path, keys: Keys, notices: list[Notice], *, lender: Path | None = None
) -> TextTable:
    """Index a table by its labels; its columns are described by the JSON beside it, else by ``lender``'s."""
    text, problems = sheet
    for name, _ in keys:
        if name in problems:
            raise problems[name]
    frame, repeated = index_rows(text, path, keys)
    described, problem = read_dictionary(path, path)
    if lender is not None and lender != path and not file_of(path).with_suffix(".json").exists():
        lent = {name: column for name, column in read_dictionary(lender, path)[0].items() if name in frame}
        fits = {name: type_column(frame[name], lent[name], {})[1].problem is None for name in lent}
        described = {name: column for name, column in lent.items() if fits[name]}
    if "" in problems:
        notices.append(note("tables", f"{problems[''].sentence} It is not used."))
    names = list(map(str, frame.columns))
    by_lower = {name.lower(): name for name in described if name not in names}
    columns = {}
    for name in names:
        column = replace(describe_column(name, path), problem=problems.get(name, problem))
        if name in described:
            column = replace(described[name], problem=column.problem)
        elif name.lower() in by_lower:
            column = replace(column, notices=(tell_unused(column, f"it writes '{by_lower[name.lower()]}'"),))
        columns[name] = column
    return TextTable(frame=frame.loc[~frame.index.duplicated()], columns=columns, repeated=repeated)


def _read_sessions(
    shared: Path, own: Mapping[str, Path], notices: list[Notice], *, is_used: bool
) -> list[TextTable]:
    """Read ``sub-X/sub-X_sessions.tsv`` of everybody who has one, as one table.

    ``shared`` describes the sessions of everybody. Where no map names its session, a table that cannot be
    read is passed over.
    """
    parts = []
    for label, path in ((label, path) for label, path in own.items() if os.path.lexists(path)):
        try:
            part = _as_text_table(read_sheet(path), path, [SESSION], notices)
        except DataError:
            if is_used:
                raise
            continue
        frame = part.frame.set_axis(pd.MultiIndex.from_product([[label], part.frame.index]), axis=0)
        repeated: dict[Hashable, DataError] = {(label, one): error for one, error in part.repeated.items()}
        parts.append(replace(part, frame=frame, repeated=repeated))
    if not parts:
        return []
    frame = pd.concat([part.frame for part in parts]).astype(object)
    lent, problem = read_dictionary(shared, shared)
    columns = {}
    for name in map(str, frame.columns):
        its = [part.columns[name] for part in parts if name in part.columns]
        told = [its[0], *filter(None, [lent.get(name)]), *filter(_is_described, its)][-1]
        ways = dict.fromkeys(one.levels for one in its if one.levels)
        if any([a for a in way if a in told.levels] != [a for a in told.levels if a in way] for way in ways):
            said = f"The levels of '{name}' stand in several orders beside tables of sessions ("
            said += "; ".join(", ".join(way) for way in ways)
            why = warn("columns", f"{said}): those of {told.source.name} count.")
            told = replace(told, notices=(*told.notices, why))
        problems = [problem, *(one.problem for one in its if one.problem is not None)]
        columns[name] = replace(told, source=its[0].source, problem=problems[-1])
    repeats = {label: error for part in parts for label, error in part.repeated.items()}
    return [TextTable(frame=frame.where(frame.notna(), None), columns=columns, repeated=repeats)]


def _is_described(column: Column) -> bool:
    return bool(column.levels or column.units or column.description or column.notices)


def _find_phenotype(given: Path, bids_dir: Path) -> Path:
    """Find a phenotype table by its path, or by its name in ``BIDS_DIR/phenotype``."""
    folder = bids_dir / "phenotype"
    for path in (given, folder / given.name, folder / f"{given.name}.tsv"):
        if os.path.lexists(file_of(path)) and not file_of(path).is_dir():
            return path
    names = sorted(path.stem for path in folder.glob("*.tsv"))
    raise MissingInputError(
        f"There is no phenotype table {given}.",
        found=f"in {folder}: {', '.join(names) or 'nothing'}",
        fix=suggest(given.stem, names) or "Check --phenotype.",
    )


def _read_phenotype(
    path: Path, notices: list[Notice], *, has_sessions: bool
) -> tuple[list[TextTable], list[TextTable]]:
    """Read a phenotype table: rows per person, and rows per session where it has ``session_id``.

    A row whose session is ``n/a`` is about the person: about all sessions, where other rows name theirs.
    """
    sheet = frame, problems = _read_people(path, notices)
    if SESSION[0] not in frame:
        return [_as_text_table(sheet, path, [PERSON], notices)], []
    is_personal = frame[SESSION[0]].isin([None, ""]).to_numpy(dtype=bool)
    own = (frame.loc[is_personal].drop(columns=SESSION[0]), problems)
    of_people = _as_text_table(own, path, [PERSON], notices)
    if is_personal.all():
        return [of_people], []
    of_sessions = _as_text_table((frame.loc[~is_personal], problems), path, [PERSON, SESSION], notices)
    if not is_personal.any():
        return [], [of_sessions]
    varying = [name for name in of_sessions.frame if has_sessions and of_sessions.frame[name].notna().any()]
    return (
        [replace(of_people, frame=of_people.frame.drop(columns=varying))],
        [replace(of_sessions, frame=of_sessions.frame[varying], by_person=of_people.frame[varying])],
    )


def _join(parts: Iterable[TextTable], index: pd.Index) -> tuple[pd.DataFrame, dict[str, Column]]:
    """Put the rows that are analysed side by side; a column of which two tables disagree has a problem.

    So has one whose table has two rows for a label. Columns whose names stand for labels are left out.
    """
    cells: dict[str, pd.Series] = {}
    columns: dict[str, Column] = {}
    for part in parts:
        twice = next((part.repeated[label] for label in index if label in part.repeated), None)
        frame = part.frame.reindex(index)
        if part.by_person is not None:
            lent = part.by_person.reindex(index.get_level_values(0)).set_axis(index, axis=0)
            frame = frame.where(frame.notna(), lent)
        frame = frame.astype(object).where(frame.notna(), None)
        for name in (str(name) for name in frame.columns if name not in _RESERVED):
            theirs = part.columns[name] if twice is None else replace(part.columns[name], problem=twice)
            if name not in columns:
                cells[name], columns[name] = frame[name], theirs
                continue
            mine = columns[name]
            pairs = [*zip(index, cells[name], frame[name], strict=True)]
            both = [(str(label), plain_number(a), plain_number(b)) for label, a, b in pairs if a and b]
            differing = [label for label, a, b in both if a != b]
            lacking = [str(label) for label, a, b in pairs if b and not a]
            problem = UsageError(
                f"Two tables have a column '{name}' with other values.",
                found=f"{mine.source} and {theirs.source} differ for {list_some(differing, 10)}",
                expected="a name of its own for each covariate",
                fix=f"Rename the column in {theirs.source}.",
            )
            told = mine if _is_described(mine) else replace(theirs, source=mine.source)
            if lacking:
                said = (
                    f"'{name}' of {list_some(lacking, 5)} stands in {theirs.source} alone, and is not used."
                )
                why = warn("columns", said, f"Fill in {mine.source}.")
                told = replace(told, notices=(*told.notices, why))
            columns[name] = replace(told, problem=problem if differing else mine.problem or twice)
    return pd.DataFrame(cells, index=index, dtype=object), columns


def find_cell_factors(maps: Sequence[FirstLevelMap]) -> tuple[str, ...]:
    """Find the columns that have one value in each first-level contrast, and several over them."""
    n_contrasts = len({m.contrast for m in maps})
    cells = group_by(((name, m.contrast, value) for m in maps for name, value in m.factors), lambda c: c[0])
    return tuple(
        name
        for name, those in cells.items()
        if len({*those}) == n_contrasts and len({value for _, _, value in those}) > 1
    )


def type_factors(maps: Sequence[FirstLevelMap], kinds: Kinds, source: Path | None) -> list[Table]:
    """Type the further columns over the maps, if there are any, as one table.

    What tells contrasts apart is a factor unless ``--numeric``.
    """
    if source is None or not maps[0].factors:
        return []
    cells = [name for name in find_cell_factors(maps) if kinds.get(name) != "numeric"]
    index = pd.Index([str(m.effect) for m in maps], dtype=object)
    names = [name for name, _ in maps[0].factors]
    text = pd.DataFrame([dict(m.factors) for m in maps], index=index, columns=names, dtype=object)
    categories: Kinds = dict.fromkeys(cells, "categorical")
    table = type_table("map", text, {n: describe_column(n, source) for n in names}, {**kinds, **categories})
    said = "a factor of the first-level contrasts, in the table of maps"
    columns = {n: replace(c, kind_source=said) if n in cells else c for n, c in table.columns.items()}
    return [replace(table, columns=columns)]
