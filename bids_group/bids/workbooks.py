"""Workbooks (``.xlsx``) as rows of cells."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

from bids_group.config.typed import file_of, sheet_of
from bids_group.errors import DataError, MissingInputError
from bids_group.input_files import read_file
from bids_group.words import list_some

_LONGEST_WORKBOOK, _MOST_CELLS = 2**28, 10_000_000
"""Bytes, unpacked, and cells of a sheet: of larger ones most is empty, or they are no tables of people."""
_NO_WORKBOOK = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, SyntaxError),
    *(AttributeError, LookupError, NotImplementedError, TypeError, ValueError),
)
"""What openpyxl raises of files that are none: no archive, a broken one, no XML, XML without its parts."""


def read_workbook(path: Path) -> list[list[object]]:
    """Read the one sheet of a workbook, or that of ``people.xlsx#SHEET``, in rows of equal length.

    A formula has the value that was stored with it; without one it stands as it is, as do errors
    (``#DIV/0!``): where a number is needed, they are refused.
    """
    import openpyxl

    file, sheet_name = file_of(path), sheet_of(path)
    try:
        content = io.BytesIO(read_file(file))
    except OSError as error:
        raise MissingInputError(f"The table {path} cannot be read.", found=error.strerror) from error
    try:
        with zipfile.ZipFile(content) as packed, warnings.catch_warnings():
            if sum(part.file_size for part in packed.infolist()) > _LONGEST_WORKBOOK:
                raise ValueError(f"it is longer than {_LONGEST_WORKBOOK / 1e6:.0f} MB when it is unpacked")
            warnings.simplefilter("ignore")  # about what is no part of the cells, such as their looks
            values, formulas = (openpyxl.load_workbook(content, True, data_only=one) for one in (True, False))
            sheets = {one.title: _read_rows(one, formulas[one.title]) for one in values.worksheets}
    except _NO_WORKBOOK as error:
        raise DataError(
            f"The table {path} is no workbook that can be read.",
            found=f"{type(error).__name__}: {error}",
            fix="Save it as .xlsx without a password, or as .csv.",
        ) from error
    filled = {name: rows for name, rows in sheets.items() if any(map(any, rows))}
    chosen = {name: rows for name, rows in filled.items() if sheet_name in (None, name)}
    if len(chosen) > 1 or (filled and not chosen):
        raise DataError(
            f"The workbook {file} has {len(filled)} sheets."
            if chosen
            else f"The workbook {file} has no sheet '{sheet_name}'.",
            found=list_some(filled),
            expected="a sheet with a line of names and a line per row",
            fix=f"Name the sheet: {file.name}#{next(iter(filled))}",
        )
    rows = next(iter(chosen.values()), [])
    widest = max(map(len, rows), default=0)
    return [[*row, *[None] * (widest - len(row))] for row in rows]


def _read_rows(*opened: Any) -> list[list[object]]:
    """Read a sheet that is opened twice: the value of each cell, or what was typed where none is stored."""
    rows: list[list[object]] = []
    widest = 0
    for sheet in opened:
        sheet.reset_dimensions()  # some programs write wrong ones
    for both in zip(*(sheet.iter_rows(values_only=True) for sheet in opened), strict=True):
        rows.append([typed if value is None else value for value, typed in zip(*both, strict=True)])
        widest = max(widest, len(rows[-1]))
        if len(rows) * widest > _MOST_CELLS:
            raise ValueError(f"a sheet has more than {len(rows)} rows of {widest} cells")
    return rows


def write_cell(cell: object) -> str:
    """Write a cell as text."""
    if isinstance(cell, float):
        return f"{cell:.15g}"
    return "" if cell is None else str(cell).strip().removesuffix(" 00:00:00")  # a date
