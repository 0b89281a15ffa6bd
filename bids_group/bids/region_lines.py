"""Tables of regions, and tables of maps that list the hemispheres apart, as one line for each map."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bids_group.elements import form_of, join_pair, split_volume
from bids_group.elements.file_content import read_bytes
from bids_group.elements.region_tables import (
    LABELS,
    REGION,
    SESSIONS,
    is_csv_name,
    person_column,
    read_lines,
    region_columns,
)
from bids_group.errors import DataError, UsageError
from bids_group.input_files import open_file
from bids_group.words import is_number, list_some

_FILES = ("effect", "variance", "dof", "mask")
_MOST_BYTES = 2**20


def list_regions(path: Path) -> pd.DataFrame | None:
    """List the lines of a table with a column per region as maps; None where the table lists files.

    Its columns but those that say whose numbers they are (`LABELS`) are regions. Without a column
    ``contrast`` the contrast is called as the file.
    """
    if form_of(path.name) != "table" or not path.is_file():
        return None
    try:
        lines = read_lines(read_bytes(path), is_csv=is_csv_name(path.name))
    except (ValueError, UnicodeDecodeError):
        return None  # told where it is read as a table of maps
    columns = lines[0] if lines else []
    person = person_column(columns)
    if person is not None and REGION in columns:
        _refuse_tidy(lines, path)
    if person is None or {"effect", REGION} & {*columns}:
        return None
    numbers = [
        is_number(line[at].replace(",", ".")) or line[at] in ("n/a", "")
        for line in lines[1:]
        for at in region_columns(columns)
    ]
    if 2 * sum(numbers) <= len(numbers):  # none, or a table of files without a column of effects
        return None
    cells: dict[str, list[str | None]] = {
        name: [line[columns.index(name)] for line in lines[1:]] for name in LABELS if name in columns
    }
    people = [_name_person(line[person]) for line in lines[1:]]
    cells["participant_id"] = [one for one, _ in people]
    if (other := next((name for name in SESSIONS if name in columns), None)) is not None:
        cells["session"] = [line[columns.index(other)] for line in lines[1:]]
    if "session" not in cells and any(session for _, session in people):
        cells["session"] = [session for _, session in people]
    frame = pd.DataFrame(cells, index=range(2, len(lines) + 1), dtype=object)
    frame = frame.mask(frame.isin(["", "n/a"]), None)
    if "contrast" not in frame:
        frame["contrast"] = path.stem
    return frame.assign(effect=[f"{path.name},{number}" for number in range(1, len(lines))])


def _refuse_tidy(lines: Sequence[Sequence[str]], path: Path) -> None:
    """Refuse a table with a line for each person and region; one of files may have a column ``region``."""
    columns = lines[0]
    values = "effect" if "effect" in columns else columns[-1]
    if len(lines) > 1 and is_number(lines[1][columns.index(values)]):
        raise DataError(
            f"The table {path} has a line for each person and region.",
            found=list_some(columns, 8),
            expected="a line per person with a column per region, or a table (region, effect) per person",
            fix=f'Spread it: table.pivot(index="{columns[person_column(columns) or 0]}", columns="{REGION}", '
            f'values="{values}") in pandas.',
        )


def _name_person(text: str) -> tuple[str, str | None]:
    """Read a person, and the session, from a folder of FreeSurfer: ``sub-01_ses-2.long.sub-01``."""
    bare = text.rstrip("/").rpartition("/")[2]
    found = re.fullmatch(r"(sub-[A-Za-z0-9+]+)(?:_(ses-[A-Za-z0-9+]+))?(?:\.long\..*)?", bare)
    return (found[1], found[2]) if found else (text, None)


def variance_column(effect: Path) -> Path | None:
    """Name the column of variances beside the effects of a table of regions; None where there is none."""
    if not re.search(r"\.(?:tsv|csv|txt)", effect.name):
        return None
    bare, column = split_volume(effect.name)
    if form_of(bare) != "table" or column is not None:
        return None
    try:
        with open_file(effect) as stream:
            first = (stream.read(_MOST_BYTES) or b"").split(b"\n")[0]
        columns = read_lines(first, is_csv=is_csv_name(bare))[0]
    except (OSError, ValueError, IndexError):
        return None  # told where its numbers are read
    return effect.with_name(f"{bare}[variance]") if "variance" in columns else None


def join_hemispheres(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Join lines that differ in a column ``hemi`` (L or R, lh or rh), and in their files, into one."""
    if "hemi" not in frame:
        return frame
    sides = frame["hemi"].map(lambda text: str(text or "").removeprefix("hemi-")[:1].upper())
    if odd := [str(number) for number, side in sides.items() if side not in ("L", "R")]:
        raise DataError(
            f"The table {path} has lines whose hemi is neither left nor right.",
            found=f"line {list_some(odd, 5)}",
            expected="L or R (or lh, rh) in the column hemi",
            fix="Mend the cells.",
        )
    keys = [name for name in frame.columns if name not in (*_FILES, "hemi")]
    joined = []
    cells = frame[keys].astype(object).where(frame[keys].notna(), "")
    for _, those in frame.groupby(cells.apply(tuple, axis=1), sort=False):
        own = sides[those.index]
        line = those.iloc[[0]].copy()
        if len(those) == 2 and own.nunique() == 2:
            left, right = (those.loc[own[own == side].index[0]] for side in "LR")
            for name in (name for name in _FILES if name in those and left[name] and right[name]):
                line[name] = _join(str(left[name]), str(right[name]))
        elif len(those) > 1:
            raise UsageError(
                f"The table {path} has several lines about the same hemisphere of a map.",
                found=f"lines {list_some(those.index, 5)}",
                expected="one line for each person, contrast and hemisphere",
                fix="Mend the labels, or remove a line.",
            )
        joined.append(line)
    return pd.concat(joined).drop(columns="hemi") if joined else frame.drop(columns="hemi")


def _join(left: str, right: str) -> str:
    """Write two paths as one; a file (or number) of both stays as it is."""
    if left == right:
        return left
    one, other = Path(left), Path(right)
    if one.parent != other.parent:
        raise UsageError(
            "The hemispheres of a map lie in different folders.",
            found=f"{left} and {right}",
            expected="two files beside each other",
            fix="Move or link them into one folder.",
        )
    return os.fspath(join_pair(one, other))
