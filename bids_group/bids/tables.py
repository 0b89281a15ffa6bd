"""Tables as they are written (BIDS: tab-separated text; CSV, workbooks) as text, and the JSON beside them."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group.bids.index import group_by
from bids_group.bids.workbooks import read_workbook, write_cell
from bids_group.config.typed import file_of
from bids_group.errors import BidsGroupError, DataError, MissingInputError
from bids_group.input_files import read_file
from bids_group.json_files import read_json
from bids_group.records import Column, Notice, warn
from bids_group.words import compose, list_some, suggest

SESSION_COLUMNS = ("session_id", "session", "ses", "visit", "timepoint", "wave")
"""Names of columns, in lower case, that tell rows of one person apart."""

PERSON_NAMES = ("participant_id", "subject_label", "subject", "id")
"""Names of the column of the people; the first is that of BIDS."""

Keys = Sequence[tuple[str, str]]
"""Columns of labels with their entity keys, such as ``("participant_id", "sub")``."""

_LABEL = re.compile(r"(?i).*(_id|_label)|subject|session|filename|effect")
_SEPARATORS = {",": "commas", ";": "semicolons", "|": "bars", " ": "blanks"}

_PATHS = frozenset(("effect", "variance", "dof", "mask", "filename", "file"))
"""Columns of files."""

_LINES, _BREAKS = re.compile(r"\r\n|\n|\r"), re.compile(r"\s*[\r\n\t]+\s*")
Sheet = tuple[pd.DataFrame, Mapping[str, DataError]]
"""A table as text, and why a column of it cannot be used, by its name."""


def read_tsv(path: Path) -> pd.DataFrame:
    """Read a table as text: every cell a stripped string, or None for ``n/a`` and for nothing at all.

    Byte-order marks, CRLF and blank lines are harmless; "NA", "None" and "nan" are text. The index is the
    number of the line in the file, for messages.
    """
    frame, problems = read_sheet(path)
    for problem in problems.values():
        raise problem
    return frame.mask(frame.isin([""]), None)


def read_sheet(path: Path) -> Sheet:
    """Read a table whose columns are not all used: as `read_tsv`, but an empty cell stays an empty text.

    Two columns of one name are a problem of that name (one, where they hold the same); columns without a
    name are left out, as nothing can name them.
    """
    lines = [(number, line) for number, line in enumerate(_read_cells(path), start=1) if any(line)]
    if not lines:
        raise DataError(f"The table {path} is empty.", expected="a line of column names and a line per row")
    widest = max((len(_trim(line, 1)) for _, line in lines[1:]), default=1)
    names = [compose(name) for name in _trim(lines[0][1], widest)]
    _check_names(names, widest, path)
    rows = [(number, _trim(line, len(names))) for number, line in lines[1:]]
    rows = [(number, _compose(cells, names)) for number, cells in rows]
    rows = [(number, cells) for number, cells in rows if not {*cells} <= {"", "n/a"}]
    for number, cells in rows:
        if len(cells) != len(names):
            raise DataError(
                f"Line {number} of {path} has {len(cells)} cells.",
                found=" | ".join(cells),
                expected=f"{len(names)} cells, as the first line has"
                + ("" if path.suffix.lower() == ".csv" else ", separated by tabs"),
                fix="Write the table without names of rows (R: row.names = FALSE)."
                if {len(cells) for _, cells in rows} == {len(names) + 1}
                else "Write n/a where a value is missing.",
            )
    columns: dict[str, list[str]] = {}
    problems: dict[str, DataError] = {}
    for position, name in enumerate(names):
        cells = [row[position] for _, row in rows]
        if columns.setdefault(name, cells) != cells:
            fix = "Give every column a name of its own."
            problems[name] = DataError(f"The table {path} has two columns called '{name}'.", fix=fix)
    if any(columns.pop("", [])):
        fix = "Leave it out (pandas: index=False), or give it a name."
        problems[""] = DataError(f"The table {path} has a column without a name.", fix=fix)
    frame = pd.DataFrame(columns, index=[number for number, _ in rows], dtype=object)
    return frame.mask(frame.isin(["n/a"]), None), problems


def _read_cells(path: Path) -> list[list[str]]:
    """Read lines of stripped cells: of tab-separated text, or by the ending ``.csv`` or ``.xlsx``.

    Line breaks and tabs within a cell are blanks; what follows them keeps the number of its line.
    """
    if file_of(path).suffix.lower() == ".xlsx":
        return [[_BREAKS.sub(" ", write_cell(cell)) for cell in row] for row in read_workbook(path)]
    text = _read_text(path)
    if path.suffix.lower() != ".csv":
        return [[_unquote(cell.strip()) for cell in line.split("\t")] for line in _LINES.split(text)]
    first = next((line for line in _LINES.split(text) if line.strip()), "")
    mark = max(",;\t", key=re.sub('"[^"]*"', "", first).count)
    if said := re.fullmatch(r'"?sep=(.)"?\s*', first):  # a line that is for Excel
        mark, text = said[1], text.replace(first, "", 1)
    reader, lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True), []
    try:
        for cells in reader:
            lines.append([_BREAKS.sub(" ", cell).strip() for cell in cells])
            lines += [[]] * (reader.line_num - len(lines))
    except csv.Error as error:
        raise DataError(
            f"Line {len(lines) + 1} of {path} cannot be parted into cells.",
            found=str(error),
            expected="quotes around a whole cell, and two for one within it",
            fix="Mend the quotes of this line, or save the table again from the program that made it.",
        ) from error
    return lines


def _read_text(path: Path) -> str:
    try:
        content = read_file(path)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content[:4] == b"PK\x03\x04":
            raise DataError(
                f"The table {path} is a workbook (.xlsx) under another name.",
                expected="text with tabs between the columns",
                fix=f"Call it {path.with_suffix('.xlsx').name}, for --participants-tsv or --phenotype.",
            ) from error
        encoding = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "ISO-8859-1"
        raise DataError(
            f"The table {path} is not UTF-8 text.",
            found=f"{error}; it looks like {encoding}",
            fix=f"Save it as UTF-8: iconv -f {encoding} -t UTF-8",
        ) from error
    except OSError as error:
        is_link = path.is_symlink() and isinstance(error, FileNotFoundError)
        raise MissingInputError(
            f"The table {path} cannot be read.",
            found="a link that points nowhere" if is_link else error.strerror,
            fix=f"datalad get {path}" if is_link else "Check the path.",
        ) from error
    if "\0" in text:
        raise DataError(
            f"The table {path} is not text.", found="bytes of value 0", fix="Save it as UTF-8, tab delimited."
        )
    return text


def _unquote(cell: str) -> str:
    return cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _trim(line: Sequence[str], n_names: int) -> list[str]:
    """Leave out the empty cells that spreadsheets write behind the last column."""
    cells = list(line)
    while len(cells) > n_names and not cells[-1]:
        cells.pop()
    return cells


def _compose(cells: Sequence[str], names: Sequence[str]) -> list[str]:
    """Write accents of cells in one way, except where they are paths, which have the bytes of their files."""
    named = zip_longest(cells, names)
    return [cell if name in _PATHS else compose(cell) for cell, name in named if cell is not None]


def _check_names(names: Sequence[str], widest: int, path: Path) -> None:
    """Refuse a first line that cannot be names of columns; ``widest``: cells of the longest other line."""
    if widest > 1 and not any(names[1:]) and names[0] not in PERSON_NAMES:
        raise DataError(
            f"The first line of the table {path} is a title, not the names of columns.",
            found=f"{names[0]}, and lines of {widest} cells below it",
            fix="Remove what stands above the line of names, with participant_id among them.",
        )
    is_row = names[0].startswith(("sub-", "ses-")) or "n/a" in names
    is_row |= any(re.fullmatch(r"[+-]?\d+([.,]\d+)?", name) for name in names)
    if is_row and not any(map(_LABEL.fullmatch, names)):
        raise DataError(
            f"The first line of the table {path} looks like data, not like the names of columns.",
            found=" | ".join(names),
            expected="a line of names, with participant_id among them",
            fix="Write the names of the columns into a line of their own, before the first row.",
        )
    if len(names) > 1:
        return
    for word in (word for mark, word in _SEPARATORS.items() if mark in names[0]):
        raise DataError(
            f"The table {path} is separated by {word}.",
            found=names[0],
            expected="tabs between the columns",
            fix="Save it with tabs (in a spreadsheet: text, tab delimited), or call it .csv.",
        )


def name_people(frame: pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """Call the column of people ``participant_id`` where it has another known name, one; give that."""
    found = [name for name in PERSON_NAMES if name in frame.columns]
    if len(found) != 1 or found == [PERSON_NAMES[0]]:
        return frame, None
    return frame.rename(columns={found[0]: PERSON_NAMES[0]}), found[0]


def require_columns(frame: pd.DataFrame, path: Path, names: Sequence[str]) -> None:
    """Refuse (`DataError`) a table without one of the columns; name what there is instead."""
    first = frame.iloc[0].to_dict() if len(frame) else {}
    for name in (name for name in names if name not in frame.columns):
        raise DataError(
            f"The table {path} has no column '{name}'.",
            found=", ".join(f"{one} ({first[one]})" if first.get(one) else str(one) for one in frame.columns),
            fix=suggest(name, frame.columns) or f"Call the column of the labels {name}.",
        )


def index_by_label(frame: pd.DataFrame, path: Path, keys: Keys) -> pd.DataFrame:
    """Index rows by bare labels, as `index_rows` does; a label that stands in two rows is refused."""
    indexed, repeated = index_rows(frame, path, keys)
    for error in repeated.values():
        raise error
    return indexed


def index_rows(frame: pd.DataFrame, path: Path, keys: Keys) -> tuple[pd.DataFrame, dict[Hashable, DataError]]:
    """Index rows by bare labels; a missing label is refused.

    Handed back with them is an error for each label of several rows (with and without key is the same).
    """
    require_columns(frame, path, [column for column, _ in keys])
    labels = []
    for column, key in keys:
        gaps = frame.index[[not label for label in frame[column]]]
        if len(gaps):
            raise DataError(
                f"Line {gaps[0]} of {path} has no {column}.", fix="Write the label, or remove the line."
            )
        labels.append([str(label).removeprefix(f"{key}-") for label in frame[column]])
    index = pd.Index(labels[0], dtype=object) if len(keys) == 1 else pd.MultiIndex.from_arrays(labels)
    indexed = frame.drop(columns=[column for column, _ in keys]).set_axis(index, axis=0)
    fix = "Remove the row that is wrong."
    if [key for _, key in keys] == ["sub"]:
        named = [str(name) for name in indexed.columns if str(name).lower() in SESSION_COLUMNS]
        split = "columns that change between sessions belong into sub-<label>/sub-<label>_sessions.tsv, or "
        split += "into a table with a column session_id given by --phenotype."
        fix += f" If there is a row per session or day: {split}"
        if named:
            fix = f"It has a row per session (column {named[0]}): keep one row per person here; {split}"
    names = [
        "_".join(f"{key}-{part}" for (_, key), part in zip(keys, parts, strict=True))
        for parts in zip(*labels, strict=True)
    ]
    rows = group_by(zip(index, names, frame.index, strict=True), lambda row: row[:2])
    errors: dict[Hashable, DataError] = {
        label: DataError(
            f"{path} has more than one row for {name}.",
            found=f"lines {list_some((line for _, _, line in those), 10)}",
            expected="one row each (with and without the prefix is the same label)",
            fix=fix,
        )
        for (label, name), those in rows.items()
        if len(those) > 1
    }
    return indexed, errors


def read_dictionary(path: Path, table: Path) -> tuple[dict[str, Column], BidsGroupError | None]:
    """Read the JSON beside a table (``path``) about columns of ``table``; nothing and why, where it fails."""
    sidecar = file_of(path).with_suffix(".json")
    try:
        content = read_json(sidecar) if os.path.lexists(sidecar) else {}
    except BidsGroupError as error:
        return {}, error
    named = {compose(name): entry for name, entry in content.items()}
    return {name: describe_column(name, table, entry) for name, entry in named.items()}, None


def describe_column(name: str, source: Path, entry: object = None) -> Column:
    """Make a column, whose kind is open, of its entry in a dictionary (None: it has none).

    Whatever stands there is read; what of it cannot be used is told. ``n/a`` is no level.
    """
    column = Column(name=name, kind="numeric", kind_source="", source=source)
    if not isinstance(entry, Mapping):
        odd = () if entry is None else (tell_unused(column, f"the entry is {entry!r}, no object"),)
        return replace(column, notices=odd)
    remarks = [
        f"'{key}' is not '{word}'"
        for word in ("Levels", "Units")
        for key in entry
        if word not in entry and str(key).lower() == word.lower()
    ]
    levels: Any = entry.get("Levels")
    units = entry.get("Units")
    if isinstance(levels, list) and all(isinstance(one, Mapping) for one in levels):
        levels = {name: text for one in levels for name, text in one.items()}
    is_list = isinstance(levels, list) and not any(isinstance(one, Mapping | list) for one in levels)
    if not (is_list or isinstance(levels, Mapping)):
        remarks += [f"its Levels are {levels!r}, no object"] if levels else []
        levels = ()
    pairs = levels.items() if isinstance(levels, Mapping) else ((one, None) for one in levels)
    named = {
        plain_level(compose(str(one).strip())): said.get("Description", "")
        if isinstance(said, Mapping)
        else said
        for one, said in pairs
        if one is not None
    }
    is_unit = isinstance(units, str) and units.strip().lower() not in {"", "n/a", "na", "none"}
    return replace(
        column,
        levels=tuple(one for one in named if one not in {"", "n/a"}),
        meanings={one: str(text) for one, text in named.items() if text},
        units=str(units).strip() if is_unit else None,
        description=str(entry["Description"]) if entry.get("Description") else None,
        notices=tuple(tell_unused(column, remark) for remark in remarks),
    )


def tell_unused(column: Column, remark: str) -> Notice:
    """Say what of a dictionary's entry is not used."""
    sidecar = file_of(column.source).with_suffix(".json").name
    sentence = f"{sidecar} describes '{column.name}' in a way that is not used: {remark}."
    fix = 'Levels are written as "Levels": {"value": "meaning"}, Units as "Units": "years".'
    return warn("columns", sentence, fix)


def plain_level(text: str) -> str:
    """Write a whole number as a level: ``1.0`` is ``1``."""
    found = re.fullmatch(r"([+-]?\d+)\.0*", text, re.ASCII)
    return found[1] if found else text
