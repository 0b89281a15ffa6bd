"""Kinds of covariates: which columns are categories, which are numbers, who says so, and what is odd."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.bids.cells import is_like_missing, is_nearly_numbers, is_number, look_of, plain_level
from bids_group.bids.entities import name_row
from bids_group.errors import DataError, UsageError
from bids_group.json_files import read_json
from bids_group.labels import natural_order
from bids_group.records import Column, Notice, Table, note, warn
from bids_group.words import list_some, suggest

_FAR = 10.0
"""Interquartile ranges beyond the middle half from which a value is called far."""


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
        for name in (name for name in names if name not in known):
            raise UsageError(
                f"{option} names a column '{name}' that no table has.",
                found=", ".join(dict.fromkeys(known)) or "no columns",
                fix=suggest(name, known),
            )
    for name in sorted({*typing.categorical} & {*typing.numeric}):
        raise UsageError(f"Column '{name}' is named by --categorical and by --numeric.", fix="Name it once.")


def read_dictionary(path: Path) -> Mapping[str, Any]:
    """Read the JSON beside a table (``participants.json``); empty where there is none."""
    sidecar = path.with_suffix(".json")
    return read_json(sidecar) if sidecar.exists() or sidecar.is_symlink() else {}


def describe_column(entry: object) -> Description:
    """Read the entry of a dictionary, whatever stands in it; Levels without ``n/a``, which is no level."""
    if isinstance(entry, Description):
        return entry
    if not isinstance(entry, Mapping):
        return Description(remarks=() if entry is None else (f"the entry is {entry!r}, no object",))
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
    named = (plain_level(str(one).strip()) for one in levels if one is not None)
    is_unit = isinstance(units, str) and units.strip().lower() not in {"", "n/a", "na", "none"}
    return Description(
        levels=tuple(dict.fromkeys(one for one in named if one not in {"", "n/a"})),
        units=str(units).strip() if is_unit else None,
        text=str(entry["Description"]) if entry.get("Description") else None,
        remarks=tuple(remarks),
    )


def type_column(
    cells: pd.Series,
    entry: object,
    typing: Typing,
    source: Path,
    is_judged: Sequence[bool] | None = None,
) -> tuple[pd.Series, Column]:
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
    is_judged
        Rows whose values settle the kind (default: all); other values that do not fit it become missing.
    """
    if is_judged is not None:
        typed, column = type_column(cells[list(is_judged)], entry, typing, source)
        return _take_kind(cells, typed, column), column
    described, name, sidecar = describe_column(entry), str(cells.name), source.with_suffix(".json").name
    values = pd.Series([cell or None for cell in cells], index=cells.index, name=name, dtype=object)
    present = [str(value) for value in values.dropna()]
    problem, levels, said = None, described.levels, f"Levels in {sidecar}"
    is_settled = True
    if name in typing.numeric:
        levels, said = (), "--numeric"
    elif name in typing.categorical or levels:
        said = "--categorical" if name in typing.categorical else said
        levels = levels or _found_levels([plain_level(one) for one in present])
        values = values.map(lambda one: one if one is None or one in levels else plain_level(one))
    elif all(map(is_number, present)):
        said = f"Units in {sidecar}" if described.units else _say_numbers(present, len(values))
    else:
        levels, said, is_settled = _found_levels(present), "its values are text", False
        problem = _nearly_numbers(values, source) if is_nearly_numbers(name, present) else None
    if levels:
        problem = problem or _unknown_level(values, levels, source)
        known = list(dict.fromkeys([*levels, *values.dropna()]))
        typed = pd.Series(pd.Categorical(values, known), index=values.index, name=name)
        notices = _say_odd_words(values, levels, source, is_settled=is_settled)
    else:
        problem = _no_number(values, source, said)
        numbers = [float(one) if one and is_number(one) else float("nan") for one in values]
        typed = pd.Series(numbers, index=values.index, name=name, dtype=float)
        notices = _say_odd_numbers(typed, source)
    empty = tuple(name_row(label) for label in cells.index[[cell == "" for cell in cells]])
    column = Column(
        name=name,
        kind="categorical" if levels else "numeric",
        kind_source=said,
        source=source,
        levels=levels,
        units=described.units,
        description=described.text,
        problem=problem,
        notices=(
            *_say_description(described, name, levels, sidecar),
            *notices,
            *_say_empty(name, empty, source),
        ),
        empty=empty,
    )
    return typed, column


def type_table(
    level: Literal["subject", "session", "map"],
    text: pd.DataFrame,
    sources: Mapping[str, Path],
    typing: Typing,
    entries: Mapping[str, object],
    is_judged: Sequence[bool] | None = None,
) -> Table:
    """Type each column of a table of text; ``sources`` and ``entries`` of dictionaries by column."""
    names = list(map(str, text.columns))
    typed = {
        name: type_column(text[name], entries.get(name), typing, sources[name], is_judged) for name in names
    }
    frame = pd.DataFrame({name: values for name, (values, _) in typed.items()}, index=text.index)
    return Table(level=level, frame=frame, columns={name: column for name, (_, column) in typed.items()})


def _take_kind(cells: pd.Series, typed: pd.Series, column: Column) -> pd.Series:
    """Give all cells the kind that some of them (``typed``) settled."""
    if column.kind == "numeric":
        numbers = [float(cell) if cell and is_number(cell) else float("nan") for cell in cells]
        return pd.Series(numbers, index=cells.index, name=cells.name, dtype=float)
    known = list(typed.cat.categories)
    values = cells.map(lambda one: one if one is None or one in known else plain_level(one))
    return pd.Series(pd.Categorical(values.where(values.isin(known)), known), cells.index, name=cells.name)


def _found_levels(present: Iterable[str]) -> tuple[str, ...]:
    return tuple(natural_order(set(present))) or ("n/a",)


def _say_numbers(present: Sequence[str], n_rows: int) -> str:
    found = set(present)
    if not found:
        return "no value at all"
    is_code = all(re.fullmatch(r"[+-]?\d+", value) for value in found) and len(found) <= min(10, n_rows // 2)
    codes = f"; whole numbers {', '.join(natural_order(found))}: if they are codes, use --categorical"
    return "every value is a number" + (codes if is_code else "")


# --------------------------------------------------------------------------------------------
# Problems


def _where(values: pd.Series, is_odd: Sequence[bool]) -> tuple[str, str]:
    """Give the first odd value, and a list of odd values with their rows."""
    odd = values[list(is_odd)]
    said = (f"'{value}' in {_name_rows(odd.index[odd == value], 6)}" for value in odd.unique())
    return str(odd.iloc[0]), list_some(said, 4)


def _name_rows(index: Iterable[object], limit: int) -> str:
    return list_some(map(name_row, index), limit)


def _nearly_numbers(values: pd.Series, source: Path) -> DataError:
    present = values.dropna()
    is_odd = [not is_number(str(value)) for value in present]
    first, found = _where(present, is_odd)
    n_numbers = is_odd.count(False)
    return DataError(
        f"Column '{values.name}' of {source} would be read as categories: '{first}' is no number.",
        found=found + (f"; the other {n_numbers} values are numbers" if n_numbers else ""),
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


# --------------------------------------------------------------------------------------------
# Oddities: descriptions that are not used, codes for missing values, twins of a level, far values


def _say_description(
    described: Description, name: str, levels: Sequence[str], sidecar: str
) -> Iterator[Notice]:
    """Say what of a dictionary's entry is not used."""
    remarks = list(described.remarks)
    if levels and not described.levels and described.units:
        remarks.append(f"its Units ({described.units}) are not used, as its values are text")
    fix = 'Levels are written as "Levels": {"value": "meaning"}, Units as "Units": "years".'
    for remark in remarks:
        yield warn("columns", f"{sidecar} describes '{name}' in a way that is not used: {remark}.", fix)


def _say_empty(name: str, rows: Sequence[str], source: Path) -> Iterator[Notice]:
    if rows:
        sentence = f"Column '{name}' of {source.name} has an empty cell for {list_some(rows, 10)}: "
        yield warn("columns", f"{sentence}taken as missing, as n/a is.", "Write n/a into it.")


def _say_odd_words(
    values: pd.Series, levels: Sequence[str], source: Path, *, is_settled: bool
) -> list[Notice]:
    """Tell of levels that are twins, of words for missing values, and of numbers with units.

    ``is_settled``: a person or the dictionary said that the column is of categories.
    """
    present = [level for level in levels if (values == level).any()]
    column = f"column '{values.name}' of {source.name}"
    twins: dict[str | float, list[str]] = defaultdict(list)
    for level in present:
        key = re.sub(r"[\s_]+", "", level).casefold()
        twins[float(key) if is_number(key) else key].append(level)
    notices = []
    for alike in (found for found in twins.values() if len(found) > 1):
        counts = ", ".join(f"'{level}' ({int((values == level).sum())})" for level in alike)
        sentence = f"The levels {counts} of {column} differ only in case, blanks or zeros: "
        fix = "If they mean the same, write them alike."
        notices.append(warn("columns", f"{sentence}each is a group of its own.", fix))
    if is_settled:
        return notices
    for word in filter(is_like_missing, present):
        rows = _name_rows(values.index[values == word], 6)
        fix = "If it stands for a missing value, write n/a: BIDS knows no other word for it."
        notices.append(warn("columns", f"'{word}' is a level of {column} ({rows}).", fix))
    looks = {look_of(level) for level in present if not is_like_missing(level)}
    if "unit" in looks and "text" not in looks:
        tell = warn if looks & {"number", "odd number"} else note
        sentence = f"C{column[1:]} is read as categories ({list_some(present, 10)})."
        notices.append(tell("columns", sentence, "If they are numbers, write them without a unit."))
    return notices


def _say_odd_numbers(values: pd.Series, source: Path) -> list[Notice]:
    """Tell of values far from all others, such as codes for missing values (9999, -999, -1)."""
    numbers = values.dropna().to_numpy(dtype=np.float64)
    far = _find_far(numbers)
    if not far:
        return []
    rows = {value: values.index[values == value] for value in far}
    parts = (
        f"{value:.15g} in {len(own)} of {len(numbers)} ({_name_rows(own, 4)})" for value, own in rows.items()
    )
    rest = numbers[~np.isin(numbers, far)]
    sentence = (
        f"Column '{values.name}' of {source.name} has values far from all others, which run from "
        f"{rest.min():.15g} to {rest.max():.15g}: {list_some(parts, 6)}."
    )
    fix = "If they are codes for a missing value, write n/a; else check them for typing errors."
    return [warn("columns", sentence, fix)]


def _find_far(numbers: npt.NDArray[np.float64]) -> list[float]:
    """Find codes for missing values, and values many interquartile ranges away from the middle half."""
    unique = np.unique(numbers)
    codes = [float(value) for value in unique if _is_code(float(value), unique)]
    rest = numbers[~np.isin(numbers, codes)]
    if len(np.unique(rest)) < 4:
        return codes if len(np.unique(rest)) > 1 else []
    low, high = np.quantile(rest, (0.25, 0.75))
    reach = _FAR * (high - low)
    is_far = (rest < low - reach) | (rest > high + reach) if reach > 0 else np.zeros(len(rest), dtype=bool)
    return sorted({*codes, *rest[is_far].tolist()})


def _is_code(value: float, unique: npt.NDArray[np.float64]) -> bool:
    """Whether a value is written as codes are (99, 999, -9, -1 …) and lies far outside of the others."""
    others = unique[[not _is_written_as_code(float(one)) for one in unique]]
    if not _is_written_as_code(value) or len(others) < 2:
        return False
    if value < 0 < others[0]:
        return True
    gap = value - others[-1] if value > others[-1] else others[0] - value
    return bool(gap > max(float(np.ptp(others)) / 2, float(np.diff(others).max())))


def _is_written_as_code(value: float) -> bool:
    text = f"{value:.15g}"
    return re.fullmatch(r"-?(9{2,}|8{2,}|7{2,}|9{2,}8)(\.9+)?|-[1789]", text) is not None
