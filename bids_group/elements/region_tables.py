"""Tables of regions: a person's numbers in rows (`region`, `effect`), or a line per person.

Tabs part the columns; of ``.csv`` commas or semicolons.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.elements.space import Parcels, Structures, structures
from bids_group.errors import DataError
from bids_group.words import compose, counted, is_number, list_some, plural

REGION = "region"
LABELS = ("participant_id", "session", "run", "task", "space", "contrast")
"""Columns of a table with a column per region that are none: whose numbers, and of what, each line holds."""

SESSIONS = ("session", "session_id", "ses")
"""Names of the column of sessions in such a table."""

_PEOPLE = ("participant_id", "subject_label", "subject", "id")
_CORNER = re.compile(r"[lr]h\.\S+|Measure:\S+")
"""What FreeSurfer's aparcstats2table and asegstats2table write above the people."""


def parse_regions(
    payload: bytes, path: Path, which: int | str | None
) -> tuple[Structures, npt.NDArray[np.float64]]:
    """Read regions and numbers ``(n_regions, 1)`` from a table.

    With a column ``region`` the rest are values: ``which`` names the column, else it is ``effect``, or the
    only one. Without it each line is a person's, and ``which`` is its number from 0.

    Raises
    ------
    DataError
        No such column or line, a region that stands twice, or a cell that is no number.
    """
    lines = read_lines(payload, is_csv=is_csv_name(path.name))
    columns = lines[0] if lines else []
    if REGION in columns:
        column = _column(columns, path, which)
        at = columns.index(REGION)
        names, cells = [line[at] for line in lines[1:]], [line[column] for line in lines[1:]]
    else:
        places = region_columns(columns)
        if not isinstance(which, int) or not 0 <= which < len(lines) - 1:
            said = f", so no column '{which}' of values" if isinstance(which, str) else ""
            raise DataError(
                f"The table {path} has no line {which + 1}."
                if isinstance(which, int)
                else f"The table {path} has no column '{REGION}'{said}.",
                found=f"{counted(max(len(lines) - 1, 0), 'line')}, columns {list_some(columns, 6)}",
                expected=f"columns {REGION} and effect, or a line per person with a column per region",
                fix="Mend the table.",
            )
        names, cells = [columns[at] for at in places], [lines[1 + which][at] for at in places]
    names = [compose(name) for name in names]
    twice = sorted({name for name in names if names.count(name) > 1}) if len({*names}) < len(names) else []
    if twice or not names or "" in names:
        raise DataError(
            f"The regions of {path} cannot be told apart.",
            found=f"{list_some(twice, 5)} more than once" if twice else "no region, or one without a name",
            expected="a name of its own for each region",
            fix="Mend the table.",
        )
    numbers = np.array([_number(cell, name, path) for name, cell in zip(names, cells, strict=True)])
    return structures([Parcels(names=tuple(names))], "table"), numbers[:, None]


def is_csv_name(name: str) -> bool:
    """Whether a file, by its name with or without a line behind it, is a table with commas or semicolons."""
    return re.search(r"(?i)\.csv(?:,\d+|\[[^\[\]]+\])?$", name) is not None


@lru_cache(maxsize=2)
def read_lines(payload: bytes, *, is_csv: bool = False) -> Sequence[Sequence[str]]:
    """Cut a table into cells; lines of another length than the first are an error (ValueError).

    Cells may stand in quotes. The last tables are kept: of one with a line per person each map is a line of
    the same bytes.
    """
    text = payload.decode("utf-8-sig")
    mark = max(",;\t", key=text.partition("\n")[0].count) if is_csv else "\t"
    stream = io.StringIO(text, newline="")
    try:
        rows = list(
            csv.reader(stream, delimiter=mark)
            if is_csv
            else csv.reader(stream, delimiter=mark, quoting=csv.QUOTE_NONE)
        )
    except csv.Error as error:  # a cell of 100,000 characters
        raise ValueError(str(error)) from error
    lines = [[_bare(cell.strip()) for cell in row] for row in rows if any(row)]
    odd = [number for number, line in enumerate(lines, start=1) if len(line) != len(lines[0])]
    if odd:
        which = f"{plural(len(odd), 'line')} {list_some(odd, 5)}"
        raise ValueError(f"{which} of the table {plural(len(odd), 'has', 'have')} another number of cells")
    return lines


def _bare(cell: str) -> str:
    return cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def person_column(columns: Sequence[str]) -> int | None:
    """Find the column of the people: by its name, or the first one of a table of FreeSurfer."""
    named = next((columns.index(name) for name in _PEOPLE if name in columns), None)
    return 0 if named is None and columns and _CORNER.fullmatch(columns[0]) else named


def region_columns(columns: Sequence[str]) -> list[int]:
    """Find the columns of a table with a line per person that are regions: all but its labels."""
    person, labels = person_column(columns), {*LABELS, *SESSIONS, *_PEOPLE}
    return [at for at, name in enumerate(columns) if name not in labels and at != person]


def _column(columns: Sequence[str], path: Path, which: int | str | None) -> int:
    """Find the column that is read: the one that was named, ``effect``, or the only one."""
    others = [name for name in columns if name != REGION]
    named = which if isinstance(which, str) else "effect" if "effect" in others else None
    if named is None and len(others) == 1:
        named = others[0]
    if named not in others or isinstance(which, int):
        raise DataError(
            f"The table of regions {path} has no column '{named or 'effect'}'.",
            found=list_some(columns, 10),
            expected="columns region, effect and where there is one variance",
            fix="Name the column of the values effect.",
        )
    return list(columns).index(named)


def _number(cell: str, region: str, path: Path) -> float:
    """Read a cell; n/a and nothing are NaN."""
    if cell in ("n/a", ""):
        return math.nan
    try:
        value = float(cell.replace("_", " "))
    except ValueError:
        value = None
    if value is None or (math.isinf(value) and "i" not in cell.lower()):
        raise DataError(
            f"The value of {region} in {path} is no number.",
            found=cell[:60],
            expected="a number, or n/a",
            fix=_how_to_mend(cell),
        )
    return value


def _how_to_mend(cell: str) -> str:
    """Say what to write instead of a cell that is no number."""
    point, whole = cell.replace(",", "."), cell.replace(",", "")
    if re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?", cell):  # 3,512, 1,234.5
        return f"Write {whole}, or {point}." if is_number(point) else f"Write {whole}."
    if "," in cell and is_number(point):
        return f"Write decimal points: {point}."
    return f"Mend the cell; a column that is no region cannot stay beside {list_some(LABELS[:2])}."
