"""Kinds of covariates: which columns are categories, which are numbers, and who says so."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group.bids.entities import name_some, suggest
from bids_group.bids.sidecars import read_json_object
from bids_group.errors import DataError
from bids_group.labels import natural_order
from bids_group.records import Column, Notice

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LIKE_MISSING = {"na", "nan", "none", "null", "n.a.", "n\\a", ".", "-", "?", "missing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Typing:
    """What a user said about kinds, beyond what stands in the JSON files."""

    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()


def read_dictionary(path: Path) -> Mapping[str, Any]:
    """Read the JSON beside a table (``participants.json``); empty where there is none."""
    sidecar = path.with_suffix(".json")
    return read_json_object(sidecar) if sidecar.exists() or sidecar.is_symlink() else {}


def type_column(
    values: pd.Series, description: Mapping[str, Any], typing: Typing, source: Path
) -> tuple[pd.Series, Column, tuple[Notice, ...]]:
    """Give a column of text its kind.

    In this order: the user's word, ``Levels`` (a category, in their order), ``Units`` (a number), else a
    number where every value is one. Missing values stay missing.

    Raises
    ------
    DataError
        A value is not among the Levels, or no number where one is expected; names value and row.
    """
    levels = declared_levels(description)
    name = str(values.name)
    if name in typing.categorical:
        levels, said = levels or _found_levels(values), "--categorical"
    elif name in typing.numeric:
        levels, said = (), "--numeric"
    elif levels:
        said = f"Levels in {source.with_suffix('.json').name}"
    elif _declared_units(description):
        said = f"Units in {source.with_suffix('.json').name}"
    elif _are_numbers(values):
        said = _say_numbers(values)
    else:
        levels, said = _found_levels(values), "its values are text"
    typed = _as_category(values, levels, source) if levels else _as_numbers(values, source, said)
    column = Column(
        name=name,
        kind="categorical" if levels else "numeric",
        kind_source=said,
        source=source,
        levels=levels,
        units=_declared_units(description),
        description=_text(description.get("Description")),
    )
    return typed, column, _notice_text(values, said, source)


def declared_levels(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the Levels of a dictionary's entry in their order; none where it has none."""
    levels = description.get("Levels")
    return tuple(str(level) for level in levels) if isinstance(levels, Mapping | list) else ()


def _declared_units(description: Mapping[str, Any]) -> str | None:
    """Give the Units, unless they say that there are none."""
    units = str(description.get("Units") or "").strip()
    return None if units.lower() in {"", "n/a", "na", "none"} else units


def _found_levels(values: pd.Series) -> tuple[str, ...]:
    return tuple(natural_order({str(value) for value in values.dropna()})) or ("n/a",)


def is_number(text: str) -> bool:
    """Whether a text is a number as BIDS writes it: decimal point, no blanks, no nan."""
    return _NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


def _are_numbers(values: pd.Series) -> bool:
    return all(is_number(str(value)) for value in values.dropna())


def _say_numbers(values: pd.Series) -> str:
    found = {str(value) for value in values.dropna()}
    if not found:
        return "no value at all"
    is_code = all(re.fullmatch(r"[+-]?\d+", value) for value in found) and len(found) <= min(
        10, len(values) // 2
    )
    codes = f"; whole numbers {name_some(natural_order(found))}: if they are codes, use --categorical"
    return "every value is a number" + (codes if is_code else "")


def _as_category(values: pd.Series, levels: Sequence[str], source: Path) -> pd.Series:
    unknown = values[values.notna() & ~values.isin(levels)]
    if len(unknown):
        value = str(unknown.iloc[0])
        raise DataError(
            f"Column '{values.name}' of {source} has '{value}', which is not among its Levels.",
            found=f"'{value}' in {_name_rows(unknown.index)}",
            expected=", ".join(levels),
            fix=suggest(value, levels) or f"Mend the value, or the Levels in {source.with_suffix('.json')}.",
        )
    return pd.Series(pd.Categorical(values, categories=list(levels)), index=values.index, name=values.name)


def _as_numbers(values: pd.Series, source: Path, said: str) -> pd.Series:
    bad = values[[value is not None and not is_number(str(value)) for value in values]]
    if len(bad):
        raise DataError(
            f"Column '{values.name}' of {source} should hold numbers ({said}), but has '{bad.iloc[0]}'.",
            found=f"'{bad.iloc[0]}' in {_name_rows(bad.index)}",
            expected="a number with a decimal point, or n/a where it is missing",
            fix=f"Mend the value in the table, or use --categorical {values.name}.",
        )
    return pd.Series(
        [float("nan") if v is None else float(v) for v in values], index=values.index, name=values.name
    )


def _notice_text(values: pd.Series, said: str, source: Path) -> tuple[Notice, ...]:
    """Warn of a column of numbers that a few other words turn into text."""
    texts = [str(value) for value in values.dropna()]
    odd = sorted({text for text in texts if not is_number(text)})
    n_odd = sum(not is_number(text) for text in texts)
    looks_numeric = n_odd * 2 <= len(texts) or all(text.lower() in _LIKE_MISSING for text in odd)
    if said != "its values are text" or not looks_numeric or n_odd == len(texts):
        return ()
    words = name_some(repr(text) for text in odd) + (" is" if len(odd) == 1 else " are")
    sentence = (
        f"Column '{values.name}' of {source.name} is read as categories: {words} no number, "
        f"the other {len(texts) - n_odd} values are."
    )
    fix = "Write n/a where a value is missing (BIDS knows no other word for it), and a point before decimals."
    return (Notice(severity="warning", topic="columns", sentence=sentence, fix=fix),)


def _name_rows(index: pd.Index) -> str:
    return name_some(_name_row(label) for label in index)


def _name_row(label: Hashable) -> str:
    return f"sub-{label[0]}_ses-{label[1]}" if isinstance(label, tuple) else f"sub-{label}"


def _text(value: object) -> str | None:
    return str(value) if value else None
