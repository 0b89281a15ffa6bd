"""What a cell of a table looks like: a number, one written otherwise, a word for a missing value, text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

Look = Literal["number", "missing", "odd number", "unit", "text"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MISSING = frozenset(
    (
        *("na", "n/a", "n.a.", "n.a", "n\\a", "<na>", "#n/a", "#na", "nan", "nat", "none", "null", "nil"),
        *("missing", "unknown", "unk", "empty", "not_available", "not_applicable", "not_reported"),
        *(".", "..", "-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", "?", "??"),
        *("#value!", "#div/0!", "#null!"),
    )
)
_ODD_NUMBERS = (
    r"[+-]?\d+,\d+",  # 31,5
    r"[+-]?\d{1,3}([.,' ’]\d{3})+([.,]\d+)?",  # 1,234.5
    r"([<>≤≥~≈]=?|\+/-|±)\s*\d+([.,]\d+)?",  # >89
    r"\d+([.,]\d+)?\s*[+?*]+",  # 89+
    r"[−–]\s*\d+([.,]\d+)?",  # a minus sign that is none
    r"\d{3}[YMWD]",  # the ages of DICOM
    r"\d+([.,]\d+)?\s*(y|yr|yrs|year|years|y\.?o\.?|y/o)",
)
_ODD_NUMBER = re.compile("|".join(f"(?:{one})" for one in _ODD_NUMBERS), re.IGNORECASE)
_UNIT = re.compile(r"[+-]?\d+([.,]\d+)?\s*[^\W\d_%]+\.?|\d+([.,]\d+)?\s*%", re.IGNORECASE)


def is_number(text: str) -> bool:
    """Whether a text is a number as BIDS writes it: decimal point, no blanks, no nan."""
    return _NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


def is_like_missing(text: str) -> bool:
    """Whether people write this word where a value is missing (BIDS knows ``n/a`` alone)."""
    return re.sub(r"\s+", "_", text.strip("'\"() ").lower()) in _MISSING


def look_of(text: str) -> Look:
    """Say what a cell looks like."""
    if is_number(text):
        return "number"
    if is_like_missing(text):
        return "missing"
    if _ODD_NUMBER.fullmatch(text) or _is_python_number(text):
        return "odd number"
    return "unit" if _UNIT.fullmatch(text) else "text"


def _is_python_number(text: str) -> bool:
    """Whether other programs read a number: of other digits, beyond the range, in hexadecimal."""
    readers: tuple[Callable[[str], object], ...] = (float, lambda word: int(word, 0))
    for read in readers:
        with suppress(ValueError):
            read(text)
            return True
    return False


def is_nearly_numbers(name: str, cells: Sequence[str]) -> bool:
    """Whether a column that is not of numbers was meant to be one.

    It is, where at least half of the cells are numbers, plain or oddly written (in a column of ages also with
    a unit); words for missing values do not count.
    """
    looks = [look_of(cell) for cell in cells]
    is_age = re.search(r"(^|[^a-z])age([^a-z]|$)", name.lower()) is not None
    meant = {"number", "odd number", "unit"} if is_age else {"number", "odd number"}
    n_meant = sum(look in meant for look in looks)
    n_words = sum(look not in meant and look != "missing" for look in looks)
    return n_meant >= max(n_words, 1)


def plain_level(text: str) -> str:
    """Write a whole number as a level: ``1.0`` is ``1``."""
    found = re.fullmatch(r"([+-]?\d+)\.0*", text, re.ASCII)
    return found[1] if found else text
