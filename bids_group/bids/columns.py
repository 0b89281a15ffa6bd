"""Kinds of covariates: which columns are categories, which are numbers, and who says so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group.bids.cells import is_like_missing, is_nearly_numbers, is_number, plain_level
from bids_group.bids.entities import name_some, suggest
from bids_group.bids.oddities import name_rows, say_odd_numbers, say_odd_words
from bids_group.bids.sidecars import read_json_object
from bids_group.errors import DataError, UsageError
from bids_group.labels import natural_order
from bids_group.records import Column, Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Typing:
    """What a user said about kinds, beyond what stands in the JSON files."""

    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a JSON file says of a column; ``remarks``: what of it cannot be used, and why."""

    levels: tuple[str, ...] = ()
    units: str | None = None
    text: str | None = None
    remarks: tuple[str, ...] = ()


def check_typing(typing: Typing, known: Sequence[str]) -> None:
    """Refuse options that name unknown columns, or one column as both kinds.

    Raises
    ------
    UsageError
    """
    for option, names in (("--categorical", typing.categorical), ("--numeric", typing.numeric)):
        for name in names:
            if name not in known:
                raise UsageError(
                    f"{option} names a column '{name}' that no table has.",
                    found=", ".join(dict.fromkeys(known)) or "no columns",
                    fix=suggest(name, known),
                )
    both = sorted({*typing.categorical} & {*typing.numeric})
    if both:
        raise UsageError(
            f"Column '{both[0]}' is named by --categorical and by --numeric.", fix="Name it once."
        )


def read_dictionary(path: Path) -> Mapping[str, Any]:
    """Read the JSON beside a table (``participants.json``); empty where there is none."""
    sidecar = path.with_suffix(".json")
    return read_json_object(sidecar) if sidecar.exists() or sidecar.is_symlink() else {}


def describe_column(entry: object) -> Description:
    """Read the entry of a dictionary, whatever stands in it; Levels without ``n/a``, which is no level."""
    if isinstance(entry, Description):
        return entry
    if not isinstance(entry, Mapping):
        said = () if entry is None else (f"the entry is {entry!r}, no object",)
        return Description(remarks=said)
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
        remarks += [] if not levels else [f"its Levels are {levels!r}, no object"]
        levels = ()
    named = (plain_level(str(one).strip()) for one in levels if one is not None)
    is_unit = isinstance(units, str) and units.strip().lower() not in {"", "n/a", "na", "none"}
    return Description(
        levels=tuple(dict.fromkeys(one for one in named if one not in {"", "n/a"})),
        units=str(units).strip() if is_unit else None,
        text=str(entry["Description"]) if entry.get("Description") else None,
        remarks=tuple(remarks),
    )


def type_column(cells: pd.Series, entry: object, typing: Typing, source: Path) -> tuple[pd.Series, Column]:
    """Give a column of text its kind.

    In this order: the user's word, ``Levels`` (a category, in their order), else a number where every value
    is one, else a category. What hinders its use (a value that is not among the Levels, or no number where
    numbers are meant) becomes the column's ``problem``, so that it is told only where the column is used.

    Parameters
    ----------
    cells
        Text by label of the rows that are analysed; None and empty text are missing.
    entry
        What the dictionary has for the column.
    """
    described, name = describe_column(entry), str(cells.name)
    values = pd.Series([cell or None for cell in cells], index=cells.index, name=name, dtype=object)
    present = [str(value) for value in values.dropna()]
    problem, levels, said = None, described.levels, f"Levels in {source.with_suffix('.json').name}"
    if name in typing.numeric:
        levels, said = (), "--numeric"
    elif name in typing.categorical or levels:
        levels = levels or _found_levels([plain_level(one) for one in present])
        said = "--categorical" if name in typing.categorical else said
        values = _as_levels(values, levels)
    elif all(map(is_number, present)):
        said = _say_numbers(present, len(values))
        said = f"Units in {source.with_suffix('.json').name}" if described.units else said
    else:
        levels, said = _found_levels(present), "its values are text"
        problem = _nearly_numbers(values, source) if is_nearly_numbers(name, present) else None
    if levels:
        problem = problem or _unknown_level(values, levels, source)
        known = list(dict.fromkeys([*levels, *values.dropna()]))
        typed = pd.Series(pd.Categorical(values, known), index=values.index, name=name)
        notices = say_odd_words(values, levels, source, is_settled=said != "its values are text")
    else:
        problem = _no_number(values, source, said)
        typed = pd.Series([_as_float(value) for value in values], index=values.index, name=name, dtype=float)
        notices = say_odd_numbers(typed, source)
    column = Column(
        name=name,
        kind="categorical" if levels else "numeric",
        kind_source=said,
        source=source,
        levels=levels,
        units=described.units,
        description=described.text,
        problem=problem,
        notices=(*_say_description(described, name, levels, source), *notices, *_say_empty(cells, source)),
        empty=tuple(name_rows(cells.index[[cell == "" for cell in cells]], 10_000)),
    )
    return typed, column


def _found_levels(present: Sequence[str]) -> tuple[str, ...]:
    return tuple(natural_order(set(present))) or ("n/a",)


def _as_levels(values: pd.Series, levels: Sequence[str]) -> pd.Series:
    """Write whole numbers as the levels are written."""
    return values.map(lambda value: value if value is None or value in levels else plain_level(value))


def _as_float(value: str | None) -> float:
    return float(value) if value is not None and is_number(value) else float("nan")


def _say_numbers(present: Sequence[str], n_rows: int) -> str:
    found = set(present)
    if not found:
        return "no value at all"
    is_code = all(re.fullmatch(r"[+-]?\d+", value) for value in found) and len(found) <= min(10, n_rows // 2)
    codes = f"; whole numbers {name_some(natural_order(found))}: if they are codes, use --categorical"
    return "every value is a number" + (codes if is_code else "")


def _where(values: pd.Series, is_odd: Sequence[bool]) -> tuple[str, str]:
    """Give the first odd value, and a list of odd values with their rows."""
    odd = values[list(is_odd)]
    by_value = {str(value): list(odd.index[odd == value]) for value in odd.unique()}
    said = (f"'{value}' in {name_some(name_rows(rows, 10_000), 6)}" for value, rows in by_value.items())
    return str(odd.iloc[0]), name_some(said, 4)


def _nearly_numbers(values: pd.Series, source: Path) -> DataError:
    present = values.dropna()
    first, found = _where(present, [not is_number(str(value)) for value in present])
    n_numbers = sum(map(is_number, map(str, present)))
    rest = f"; the other {n_numbers} values are numbers" if n_numbers else ""
    return DataError(
        f"Column '{values.name}' of {source} would be read as categories: '{first}' is no number.",
        found=found + rest,
        expected="numbers with a decimal point and without a unit; n/a where a value is missing",
        fix=f"{_how_to_mend(first)}; if these are categories, say --categorical {values.name}.",
    )


def _how_to_mend(value: str) -> str:
    """Say what to write instead of a value that should be a number."""
    if is_like_missing(value):
        return f"Write n/a instead of {value} (BIDS knows no other word for a missing value)"
    if re.search(r"\d,\d", value):
        return "Write numbers with a decimal point"
    return "Write the number alone, or n/a (with --missing drop, these people are left out)"


def _unknown_level(values: pd.Series, levels: Sequence[str], source: Path) -> DataError | None:
    is_unknown = values.notna() & ~values.isin(levels)
    if not is_unknown.any():
        return None
    first, found = _where(values, is_unknown.tolist())
    mend = f"Mend the value, or the Levels in {source.with_suffix('.json')}."
    return DataError(
        f"Column '{values.name}' of {source} has '{first}', which is not among its Levels.",
        found=found,
        expected=", ".join(levels),
        fix=f"{_how_to_mend(first)}." if is_like_missing(first) else suggest(first, levels) or mend,
    )


def _no_number(values: pd.Series, source: Path, said: str) -> DataError | None:
    is_bad = [value is not None and not is_number(str(value)) for value in values]
    if not any(is_bad):
        return None
    first, found = _where(values, is_bad)
    return DataError(
        f"Column '{values.name}' of {source} should hold numbers ({said}), but has '{first}'.",
        found=found,
        expected="a number with a decimal point, or n/a where it is missing",
        fix=f"{_how_to_mend(first)}, or use --categorical {values.name}.",
    )


def _say_description(described: Description, name: str, levels: Sequence[str], source: Path) -> list[Notice]:
    """Say what of a dictionary's entry is not used."""
    remarks = list(described.remarks)
    if levels and not described.levels and described.units:
        remarks.append(f"its Units ({described.units}) are not used, as its values are text")
    return [
        Notice(
            severity="warning",
            topic="columns",
            sentence=f"{source.with_suffix('.json').name} describes '{name}' in a way that is not used: "
            f"{remark}.",
            fix='Levels are written as "Levels": {"value": "meaning"}, Units as "Units": "years".',
        )
        for remark in remarks
    ]


def _say_empty(cells: pd.Series, source: Path) -> list[Notice]:
    rows = cells.index[[cell == "" for cell in cells]]
    if not len(rows):
        return []
    sentence = (
        f"Column '{cells.name}' of {source.name} has an empty cell for {name_some(name_rows(rows, 10_000))}: "
        "taken as missing, as n/a is."
    )
    return [Notice(severity="warning", topic="columns", sentence=sentence, fix="Write n/a into it.")]
