"""BIDS tables as they are written: tab-separated text in which only ``n/a`` is missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bids_group.bids.entities import name_some, suggest
from bids_group.errors import DataError, MissingInputError

_SEPARATORS = {",": "commas", ";": "semicolons", "|": "bars"}


def read_tsv(path: Path) -> pd.DataFrame:
    """Read a table as text: every cell a stripped string, or None for ``n/a`` and for nothing at all.

    Byte-order marks, CRLF and blank lines are harmless; "NA", "None" and "nan" are text. The index is the
    number of the line in the file, for messages.

    Raises
    ------
    MissingInputError
        The file is missing or cannot be read.
    DataError
        It is empty, not UTF-8, has another separator, two columns of one name, or rows of another length.
    """
    lines = [(number, line) for number, line in enumerate(_read_lines(path), start=1) if line.strip()]
    if not lines:
        raise DataError(f"The table {path} is empty.", expected="a line of column names and a line per row")
    names = _split(lines[0][1])
    _check_names(names, path)
    rows = [(number, _split(line)) for number, line in lines[1:]]
    for number, cells in rows:
        if len(cells) != len(names):
            raise DataError(
                f"Line {number} of {path} has {len(cells)} cells.",
                found=" | ".join(cells),
                expected=f"{len(names)} cells, as the first line has, separated by tabs",
                fix="Write n/a where a value is missing.",
            )
    frame = pd.DataFrame(
        [cells for _, cells in rows], columns=names, index=[n for n, _ in rows], dtype=object
    )
    return frame.mask(frame.isin(["n/a", ""]), None)


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"The table {path} is not UTF-8 text.", found=str(error), fix="Save it as UTF-8."
        ) from error
    except OSError as error:
        is_link = path.is_symlink()
        raise MissingInputError(
            f"The table {path} cannot be read.",
            found="a link that points nowhere" if is_link else error.strerror,
            fix=f"datalad get {path}" if is_link else "Check the path.",
        ) from error
    return re.split(r"\r\n|\n|\r", text)


def _split(line: str) -> list[str]:
    cells = [cell.strip() for cell in line.split("\t")]
    return [cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in cells]


def _check_names(names: Sequence[str], path: Path) -> None:
    if len(names) == 1:
        for mark, word in _SEPARATORS.items():
            if mark in names[0]:
                raise DataError(
                    f"The table {path} is separated by {word}.",
                    found=names[0],
                    expected="tabs between the columns",
                    fix="Save it with tabs (in a spreadsheet: text, tab delimited).",
                )
        if " " in names[0]:
            raise DataError(
                f"The table {path} is separated by blanks.",
                found=names[0],
                expected="tabs between the columns",
            )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or "" in names:
        what = "a column without a name" if "" in names else f"two columns called '{twice[0]}'"
        raise DataError(f"The table {path} has {what}.", fix="Give every column a name of its own.")


def require_columns(frame: pd.DataFrame, path: Path, names: Sequence[str]) -> None:
    """Refuse a table without one of the columns.

    Raises
    ------
    DataError
        Names the column and what there is instead.
    """
    for name in names:
        if name not in frame.columns:
            raise DataError(
                f"The table {path} has no column '{name}'.",
                found=", ".join(frame.columns),
                fix=suggest(name, frame.columns) or f"Call the column of the labels {name}.",
            )


def index_by_label(frame: pd.DataFrame, path: Path, keys: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Index rows by bare labels; ``keys`` are (column, entity key), such as ``("participant_id", "sub")``.

    Raises
    ------
    DataError
        A label is missing, or stands in two rows (with and without its key counts as the same).
    """
    require_columns(frame, path, [column for column, _ in keys])
    labels = frame[[column for column, _ in keys]].copy()
    for column, key in keys:
        gaps = frame.index[frame[column].isna()]
        if len(gaps):
            raise DataError(
                f"Line {gaps[0]} of {path} has no {column}.", fix="Write the label, or remove the line."
            )
        labels[column] = [str(label).removeprefix(f"{key}-") for label in frame[column]]
    twice = labels[labels.duplicated(keep=False)]
    if len(twice):
        same = twice[(twice == twice.iloc[0]).all(axis=1)]
        raise DataError(
            f"{path} has more than one row for {_name_row(twice.iloc[0], keys)}.",
            found=f"lines {name_some(str(number) for number in same.index)}",
            expected="one row each (with and without the prefix is the same label)",
            fix="Remove the row that is wrong.",
        )
    columns = [labels[column].tolist() for column, _ in keys]
    index = pd.Index(columns[0]) if len(keys) == 1 else pd.MultiIndex.from_arrays(columns)
    return frame.drop(columns=[column for column, _ in keys]).set_axis(index, axis=0)


def _name_row(row: pd.Series, keys: Sequence[tuple[str, str]]) -> str:
    return "_".join(f"{key}-{row[column]}" for column, key in keys)
