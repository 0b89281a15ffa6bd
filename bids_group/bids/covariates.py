"""The tables of a study: participants, sessions and phenotype, joined and typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bids_group.bids.columns import Typing, read_dictionary, type_column
from bids_group.bids.entities import name_some, suggest
from bids_group.bids.sessions import Levels, read_session_levels
from bids_group.bids.tables import index_by_label, read_tsv
from bids_group.config import Inputs
from bids_group.errors import MissingInputError, UsageError
from bids_group.records import Column, Notice, Table

PERSON = ("participant_id", "sub")
SESSION = ("session_id", "ses")
_RESERVED = ("subject", "session", "participant_id", "session_id")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextTable:
    """A table as text: rows by label, with the file and the dictionary entry of each column."""

    frame: pd.DataFrame
    sources: Mapping[str, Path] = field(default_factory=dict)
    dictionary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """What the tables say: ``people`` by participant, ``sessions`` by (participant, session) or None.

    ``session_levels``: the order of session labels, by each JSON file that gives one.
    """

    people: Table
    sessions: Table | None
    listed: tuple[str, ...]
    notices: tuple[Notice, ...]
    session_levels: Mapping[Path, Levels]


def read_study(inputs: Inputs, people_with_maps: Iterable[str]) -> Study:
    """Read all tables that an analysis may draw covariates from.

    ``listed`` holds the labels of participants.tsv, in its order. Where the table of
    ``--participants-tsv`` and that of BIDS_DIR both have a column, the first speaks, with a notice where
    they differ.

    Raises
    ------
    MissingInputError, DataError
        A table is missing or malformed.
    UsageError
        An option names a column that no table has, or two tables have the same column with other values.
    """
    notices: list[Notice] = []
    paths = _participants_tables(inputs)
    main, listed = _read_participants(paths, inputs.bids_dir, notices)
    people = sorted({*listed, *people_with_maps})
    session_parts = _read_sessions(inputs.bids_dir, people)
    person_parts = [replace(main, frame=main.frame.reindex(people))]
    phenotypes = [find_phenotype(given, inputs.bids_dir) for given in inputs.phenotype]
    for path in phenotypes:
        table = _read_phenotype(path)
        (session_parts if table.frame.index.nlevels == 2 else person_parts).append(table)
    typing = Typing(categorical=inputs.categorical, numeric=inputs.numeric)
    persons = _type_table(_join(person_parts), "subject", typing, notices)
    sessions = _type_table(_join(session_parts), "session", typing, notices) if session_parts else None
    _check_typing(typing, persons, sessions)
    tables = [*paths, *phenotypes, *_sessions_tables(inputs.bids_dir, people)]
    return Study(
        people=persons,
        sessions=sessions,
        listed=tuple(listed),
        notices=tuple(notices),
        session_levels=read_session_levels(tables),
    )


def _participants_tables(inputs: Inputs) -> list[Path]:
    standard = inputs.bids_dir / "participants.tsv"
    paths = [] if inputs.participants_tsv is None else [inputs.participants_tsv]
    is_there = standard.exists() or standard.is_symlink()
    if is_there and not any(path.resolve() == standard.resolve() for path in paths):
        paths.append(standard)
    return paths


def _read_participants(
    paths: Sequence[Path], bids_dir: Path, notices: list[Notice]
) -> tuple[TextTable, list[str]]:
    if not paths:
        sentence = f"There is no participants.tsv in {bids_dir}: no covariates."
        notices.append(Notice(severity="note", topic="tables", sentence=sentence))
        return TextTable(frame=pd.DataFrame(index=pd.Index([], dtype=object))), []
    first, *others = [_read_person_table(path, notices) for path in paths]
    for other in others:
        first = _prefer(first, other, notices)
    return first, [str(label) for label in first.frame.index]


def _read_person_table(path: Path, notices: list[Notice]) -> TextTable:
    frame = index_by_label(read_tsv(path), path, [PERSON])
    dictionary = read_dictionary(path)
    by_lower = {str(column).lower(): column for column in frame.columns if column not in dictionary}
    for name in (name for name in dictionary if name not in frame.columns and name.lower() in by_lower):
        sentence = (
            f"{path.with_suffix('.json')} describes '{name}', but the column is '{by_lower[name.lower()]}'."
        )
        fix = "Write both alike: its Levels and Units are not used so far."
        notices.append(Notice(severity="warning", topic="columns", sentence=sentence, fix=fix))
    return _with_sources(frame, path, dictionary)


def _with_sources(frame: pd.DataFrame, path: Path, dictionary: Mapping[str, Any]) -> TextTable:
    described = {c: dictionary[c] for c in frame.columns if isinstance(dictionary.get(c), Mapping)}
    return TextTable(frame=frame, sources=dict.fromkeys(frame.columns, path), dictionary=described)


def _prefer(first: TextTable, other: TextTable, notices: list[Notice]) -> TextTable:
    """Add the columns and rows that only the second table has."""
    for column in (c for c in other.frame.columns if c in first.frame.columns):
        differing = _differing_rows(first.frame[column], other.frame[column])
        if differing:
            sentence = (
                f"Column '{column}' is taken from {first.sources[column]}; {other.sources[column]} has other "
                f"values for {name_some(f'sub-{label}' for label in differing)}."
            )
            notices.append(Notice(severity="warning", topic="tables", sentence=sentence))
    new = [c for c in other.frame.columns if c not in first.frame.columns]
    frame = first.frame.join(other.frame[new], how="outer", sort=False)
    return TextTable(
        frame=frame.astype(object).where(frame.notna(), None),
        sources={**other.sources, **first.sources},
        dictionary={**other.dictionary, **first.dictionary},
    )


def _differing_rows(one: pd.Series, other: pd.Series) -> list[str]:
    shared = one.index.intersection(other.index)
    pairs = zip(shared, one.loc[shared], other.loc[shared], strict=True)
    return [str(label) for label, a, b in pairs if a is not None and b is not None and a != b]


def _sessions_tables(bids_dir: Path, people: Sequence[str]) -> list[Path]:
    """Where sessions are described: for everybody, and for each person."""
    own = [bids_dir / f"sub-{label}" / f"sub-{label}_sessions.tsv" for label in people]
    return [bids_dir / "sessions.tsv", *own]


def _read_sessions(bids_dir: Path, people: Sequence[str]) -> list[TextTable]:
    """Read ``sub-X/sub-X_sessions.tsv`` of everybody who has one, as one table."""
    frames: list[pd.DataFrame] = []
    sources: dict[str, Path] = {}
    shared, *own = _sessions_tables(bids_dir, people)
    dictionary = dict(read_dictionary(shared))
    for label, path in zip(people, own, strict=True):
        if path.exists() or path.is_symlink():
            frame = index_by_label(read_tsv(path), path, [SESSION])
            frame.index = pd.MultiIndex.from_product([[label], frame.index])
            frames.append(frame)
            sources |= {column: sources.get(column, path) for column in frame.columns}
            dictionary |= read_dictionary(path)
    if not frames:
        return []
    frame = pd.concat(frames).astype(object)
    described = {c: dictionary[c] for c in frame.columns if isinstance(dictionary.get(c), Mapping)}
    return [TextTable(frame=frame.where(frame.notna(), None), sources=sources, dictionary=described)]


def find_phenotype(given: Path, bids_dir: Path) -> Path:
    """Find a phenotype table by its path, or by its name in ``BIDS_DIR/phenotype``.

    Raises
    ------
    MissingInputError
        It is nowhere; lists what there is.
    """
    folder = bids_dir / "phenotype"
    tries = [given, folder / given.name, folder / f"{given.name}.tsv"]
    for path in tries:
        if path.is_file() or path.is_symlink():
            return path
    names = sorted(path.stem for path in folder.glob("*.tsv"))
    raise MissingInputError(
        f"There is no phenotype table {given}.",
        found=f"in {folder}: {', '.join(names) or 'nothing'}",
        fix=suggest(given.stem, names) or "Check --phenotype.",
    )


def _read_phenotype(path: Path) -> TextTable:
    text = read_tsv(path)
    keys = [PERSON, SESSION] if "session_id" in text.columns else [PERSON]
    return _with_sources(index_by_label(text, path, keys), path, read_dictionary(path))


def _join(parts: Sequence[TextTable]) -> TextTable:
    """Put tables of one level side by side; the same column twice must say the same.

    Raises
    ------
    UsageError
        Two tables disagree about a column.
    """
    frame = parts[0].frame
    sources: dict[str, Path] = dict(parts[0].sources)
    dictionary: dict[str, Any] = dict(parts[0].dictionary)
    for part in parts[1:]:
        for column in (c for c in part.frame.columns if c in frame.columns):
            _check_same(frame[column], part.frame[column], sources[column], part.sources[column])
        new = [c for c in part.frame.columns if c not in frame.columns]
        how: Literal["left", "outer"] = "outer" if frame.index.nlevels == 2 else "left"
        frame = frame.join(part.frame[new], how=how, sort=False)
        sources |= {c: part.sources[c] for c in new}
        dictionary |= {c: part.dictionary[c] for c in new if c in part.dictionary}
    frame = frame.astype(object)
    return TextTable(frame=frame.where(frame.notna(), None), sources=sources, dictionary=dictionary)


def _check_same(one: pd.Series, other: pd.Series, source: Path, other_source: Path) -> None:
    differing = _differing_rows(one, other)
    if differing:
        raise UsageError(
            f"Two tables have a column '{one.name}' with other values.",
            found=f"{source} and {other_source} differ for {name_some(differing)}",
            expected="a name of its own for each covariate",
            fix=f"Rename the column in {other_source}.",
        )


def _type_table(
    table: TextTable, level: Literal["subject", "session"], typing: Typing, notices: list[Notice]
) -> Table:
    series: dict[str, pd.Series] = {}
    columns: dict[str, Column] = {}
    for name in table.frame.columns:
        if name in _RESERVED:
            notices.append(_hidden(str(name), table.sources[name]))
            continue
        typed, column, said = type_column(
            table.frame[name], table.dictionary.get(name, {}), typing, table.sources[name]
        )
        series[str(name)], columns[str(name)] = typed, column
        notices.extend(said)
    return Table(level=level, frame=pd.DataFrame(series, index=table.frame.index), columns=columns)


def _hidden(name: str, source: Path) -> Notice:
    sentence = (
        f"Column '{name}' of {source} is not available as a covariate: the name stands for the row's label."
    )
    return Notice(severity="warning", topic="columns", sentence=sentence, fix="Rename the column to use it.")


def _check_typing(typing: Typing, people: Table, sessions: Table | None) -> None:
    known = [*people.columns, *(sessions.columns if sessions else ())]
    for option, names in (("--categorical", typing.categorical), ("--numeric", typing.numeric)):
        for name in names:
            if name not in known:
                raise UsageError(
                    f"{option} names a column '{name}' that no table has.",
                    found=", ".join(known) or "no columns",
                    fix=suggest(name, known),
                )
    both = sorted({*typing.categorical} & {*typing.numeric})
    if both:
        raise UsageError(
            f"Column '{both[0]}' is named by --categorical and by --numeric.", fix="Name it once."
        )


def align(table: Table, index: pd.Index) -> Table:
    """Give a table the rows of the maps: people without a row get missing values, others leave."""
    return Table(level=table.level, frame=table.frame.reindex(index), columns=table.columns)
