"""Oddities of a column that is used: codes for missing values, twins of a level, far values."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.bids.cells import is_like_missing, is_number, look_of
from bids_group.bids.entities import name_some
from bids_group.records import Notice

_FAR = 10.0
"""Interquartile ranges beyond the middle half from which a value is called far."""


def name_rows(index: Iterable[Hashable], limit: int = 10) -> list[str]:
    """Name rows by their labels, such as ``sub-01`` or ``sub-01_ses-pre``."""
    return [f"sub-{one[0]}_ses-{one[1]}" if isinstance(one, tuple) else f"sub-{one}" for one in index][:limit]


def say_odd_words(
    values: pd.Series, levels: Sequence[str], source: Path, *, is_settled: bool
) -> list[Notice]:
    """Tell of levels that are twins, of words for missing values, and of numbers with units.

    ``is_settled``: a person or the dictionary said that the column is of categories.
    """
    present = [level for level in levels if (values == level).any()]
    return [
        *_say_twins(values, present, source),
        *(() if is_settled else _say_missing_words(values, present, source)),
        *(() if is_settled else _say_units(values, present, source)),
    ]


def _say_twins(values: pd.Series, present: Sequence[str], source: Path) -> Iterator[Notice]:
    twins: dict[str | float, list[str]] = defaultdict(list)
    for level in present:
        key = re.sub(r"[\s_]+", "", level).casefold()
        twins[float(key) if is_number(key) else key].append(level)
    for alike in (found for found in twins.values() if len(found) > 1):
        counts = ", ".join(f"'{level}' ({int((values == level).sum())})" for level in alike)
        yield _warn(
            f"The levels {counts} of column '{values.name}' of {source.name} differ only in case, blanks or "
            "zeros: each is a group of its own.",
            "If they mean the same, write them alike.",
        )


def _say_missing_words(values: pd.Series, present: Sequence[str], source: Path) -> Iterator[Notice]:
    for word in filter(is_like_missing, present):
        rows = values.index[values == word]
        yield _warn(
            f"'{word}' is a level of column '{values.name}' of {source.name} "
            f"({name_some(name_rows(rows, 10_000), 6)}).",
            "If it stands for a missing value, write n/a: BIDS knows no other word for it.",
        )


def _say_units(values: pd.Series, present: Sequence[str], source: Path) -> Iterator[Notice]:
    looks = {look_of(level) for level in present if not is_like_missing(level)}
    if "unit" not in looks or "text" in looks:
        return
    mixed = "number" in looks or "odd number" in looks
    yield Notice(
        severity="warning" if mixed else "note",
        topic="columns",
        sentence=f"Column '{values.name}' of {source.name} is read as categories ({name_some(present)}).",
        fix="If they are numbers, write them without a unit.",
    )


def say_odd_numbers(values: pd.Series, source: Path) -> list[Notice]:
    """Tell of values far from all others, such as codes for missing values (9999, -999, -1)."""
    numbers = values.dropna().to_numpy(dtype=np.float64)
    far = _find_far(numbers)
    if not far:
        return []
    parts = []
    for value in far:
        rows = values.index[values == value]
        parts.append(
            f"{value:.15g} in {len(rows)} of {len(numbers)} ({name_some(name_rows(rows, 10_000), 4)})"
        )
    rest = numbers[~np.isin(numbers, far)]
    return [
        _warn(
            f"Column '{values.name}' of {source.name} has values far from all others, which run from "
            f"{rest.min():.15g} to {rest.max():.15g}: {name_some(parts, 6)}.",
            "If they are codes for a missing value, write n/a; else check them for typing errors.",
        )
    ]


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
    spread = float(np.ptp(others))
    if value < 0 < others[0]:
        return True
    gap = value - others[-1] if value > others[-1] else others[0] - value
    return bool(gap > max(spread / 2, float(np.diff(others).max())))


def _is_written_as_code(value: float) -> bool:
    text = f"{value:.15g}"
    return re.fullmatch(r"-?(9{2,}|8{2,}|7{2,}|9{2,}8)(\.9+)?|-[1789]", text) is not None


def _warn(sentence: str, fix: str) -> Notice:
    return Notice(severity="warning", topic="columns", sentence=sentence, fix=fix)
