"""Covariates: which columns are categories, which are numbers, who says so, and what is odd."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal
from unicodedata import category, normalize

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.bids.index import group_by, name_row
from bids_group.bids.tables import plain_level, tell_unused
from bids_group.config.typed import file_of
from bids_group.errors import DataError
from bids_group.labels import natural_order
from bids_group.records import Column, Notice, Table, note, warn
from bids_group.words import is_number, list_some, suggest

Look = Literal["number", "missing", "odd number", "unit", "text"]
Kinds = Mapping[str, Literal["categorical", "numeric"]]
"""What a user said about kinds of columns, beyond what stands in the JSON files."""

_FAR = 10.0
"""Interquartile ranges beyond the middle half from which a value is called far."""

_CODE = re.compile(r"-?(9{2,}|8{2,}|7{2,}|9{2,}8)(\.9+)?|-[1789]")
"""How codes for missing values are written: 99, 999, 998, -9, -1 …"""

_NEGATIVE_CODES = re.compile("-1|-9+|-9+8|-8{2,}|-7{2,}")
"""Those of them that are told in scales that start at 0, where -7 may be a change."""

_MISSING = frozenset(
    (
        *("na", "n/a", "n.a.", "n.a", "n\\a", "<na>", "#n/a", "#na", "nan", "nat", "none", "null", "nil"),
        *("missing", "unknown", "unk", "empty", "not_available", "not_applicable", "not_reported"),
        *("not_done", "not_assessed", "not_collected", "not_recorded", "no_data", "no_answer"),
        *("refused", "prefer_not_to_say", "prefer_not_to_answer", "don't_know", "do_not_know"),
        *(".", "..", "-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", "?", "??"),
        *("#value!", "#div/0!", "#null!", "#ref!", "#num!", "#name?"),
    )
)
_SAID = (
    r"(?:missing|unknown|n/a|refused|declined to|no (?:data|answer|response)|prefers? not(?: to)?"
    r"|(?:i )?do(?:es)? ?n[o']t know"
    r"|not (?:available|applicable|reported|collected|assessed|recorded|done|known|stated))"
)
_WHAT = "(?:data|value|response|participant|subject|answer|sex|gender|diagnosis|age|status)s?"
_MEANT_MISSING = re.compile(
    rf"(?:{_WHAT}\W+(?:(?:is|are|was|were|has|have)\W+)?)?{_SAID}"
    rf"(?:\W+(?:(?:or|and)\W+)?(?:{_SAID}|(?:to )?(?:answer|say|respond|disclose|us)|given|available"
    rf"|{_WHAT}))*"
    r"(?:\W*[-/(;,:\u2013].*|\W+because.*)?\W*",
    re.IGNORECASE | re.DOTALL,
)
"""How dictionaries say that a level stands for a missing value."""
_DATE = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}([T ].*)?|\d{1,2}:\d{2}(:\d{2}(\.\d*)?)?\s*([AaPp][Mm])?")
"""Dates and times of the day; versions (1.2.3) look alike, of which none is as those below."""
_SURE_DATE = re.compile(r".*\d{4}|(?:\d\D)?\d\d\D(?:\d\D)?\d\d|\d+/\d+/\d\d|\d+:")
_YEARS_AND_MONTHS = r"\d+\s*;\s*\d+([.;]\d+)?|\d+\s*y[a-z]*[\s,.]*\d+\s*m[a-z]*\.?"
_ODD_NUMBERS = (
    r"[+-]?\d+,\d+",  # 31,5
    r"[+-]?\d{1,3}([.,'\s’]\d{3})+([.,]\d+)?",  # 1,234.5
    r"([<>≤≥~≈]=?|\+/-|±)\s*\d+([.,]\d+)?",  # >89
    r"\d+([.,]\d+)?\s*[+?*]+",  # 89+
    r"[−–]\s*\d+([.,]\d+)?",  # a minus sign that is none
    r"\d{3}[YMWD]",  # the ages of DICOM
    r"\d+([.,]\d+)?\s*(y|yr|yrs|year|years|y\.?o\.?|y/o)",
    _YEARS_AND_MONTHS,  # 12;3
    "=.+",  # a formula without its value
)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(\.\d{3})+")
_ODD_NUMBER = re.compile("|".join(f"(?:{one})" for one in _ODD_NUMBERS), re.IGNORECASE)
_UNIT = re.compile(
    r"[+-]?\d+([.,]\d+)?\s*([^\W\d_%]+\.?|[$€£¥°])|[$€£¥]\s*\d+([.,]\d+)?|\d+([.,]\d+)?\s*(%|/\s*\d+)",
    re.IGNORECASE,
)


def is_like_missing(text: str) -> bool:
    """Whether people write this word where a value is missing (BIDS knows ``n/a`` alone)."""
    return re.sub(r"\s+", "_", text.strip("'\"() ").lower()) in _MISSING


def look_of(text: str) -> Look:
    """Say what a cell looks like."""
    if is_number(text):
        return "number"
    if is_like_missing(text):
        return "missing"
    readers: tuple[Callable[[str], object], ...] = (float, lambda word: int(word, 0))
    for read in readers:  # of other digits, beyond the range, in hexadecimal
        with suppress(ValueError):
            read(text)
            return "odd number"
    if _ODD_NUMBER.fullmatch(text):
        return "odd number"
    return "unit" if _UNIT.fullmatch(text) else "text"


def is_nearly_numbers(name: str, cells: Sequence[str]) -> bool:
    """Whether a column that is not of numbers was meant to be one.

    It is, where at least half of the cells are numbers, plain or oddly written (in a column of ages also with
    a unit); words for missing values do not count.
    """
    looks = [look_of(cell) for cell in cells if not is_like_missing(cell)]
    is_age = re.search(r"(^|[^a-z])age([^a-z]|$)", name.lower()) is not None
    n_meant = sum(look in ("number", "odd number") or (is_age and look == "unit") for look in looks)
    return n_meant >= max(len(looks) - n_meant, 1)


def type_table(
    level: Literal["subject", "session", "scan", "map"],
    text: pd.DataFrame,
    described: Mapping[str, Column],
    kinds: Kinds,
    is_judged: Sequence[bool] | None = None,
) -> Table:
    """Type each column of a table of text."""
    typed = {
        name: type_column(text[name], described[name], kinds, is_judged) for name in map(str, text.columns)
    }
    frame = pd.DataFrame({name: values for name, (values, _) in typed.items()}, index=text.index)
    return Table(level=level, frame=frame, columns={name: column for name, (_, column) in typed.items()})


def type_column(
    cells: pd.Series, described: Column, kinds: Kinds, is_judged: Sequence[bool] | None = None
) -> tuple[pd.Series, Column]:
    """Give a column of text (None and empty text are missing) its kind, and complete what is known of it.

    In this order: the user's word, ``Levels`` (a category, in their order), else a number where every value
    is one, else a category. What hinders its use (a value that is not among the Levels, or no number where
    numbers are meant) becomes the column's ``problem``, so that it is told only where the column is used.
    ``is_judged``: rows whose values settle the kind; other values that do not fit it become missing.
    """
    name, source, odd = described.name, described.source, list(described.notices)
    values = pd.Series([cell or None for cell in cells], index=cells.index, name=name, dtype=object)
    is_in = np.ones(len(values), bool) if is_judged is None else np.array(is_judged, dtype=bool)
    levels, said, is_settled, problem = _settle_kind(values[is_in], described, kinds)
    if levels:
        values = values.map(lambda one: one if one is None or one in levels else plain_level(one))
        problem = problem or _unknown_level(values[is_in], levels, source)
        known = list(dict.fromkeys([*levels, *values[is_in].dropna()]))
        fitting = pd.Categorical(values.where(values.isin(known)), known)
        typed = pd.Series(fitting, index=values.index, name=name)
        if not described.levels and described.units:
            units = f"its Units ({described.units}) are not used, as its values are text"
            odd.append(tell_unused(described, units))
        odd += say_odd_words(values[is_in], levels, source, is_settled=is_settled)
        odd += say_codes_among_levels(values[is_in].dropna(), described)
    else:
        problem = _no_number(values[is_in], source, said)
        numbers = [float(one) if one and is_number(one) else float("nan") for one in values]
        typed = pd.Series(numbers, index=values.index, name=name, dtype=float)
        odd += say_odd_numbers(typed[is_in], source)
        odd += _say_thousands(values[is_in].dropna(), source)
    empty = tuple(name_row(label) for label in cells.index[is_in & np.array([c == "" for c in cells], bool)])
    if empty:
        sentence = f"Column '{name}' of {source.name} has an empty cell for {list_some(empty, 10)}: "
        odd.append(warn("columns", f"{sentence}taken as missing, as n/a is.", "Write n/a into it."))
    return typed, replace(
        described,
        kind="categorical" if levels else "numeric",
        kind_source=said,
        levels=levels,
        problem=described.problem or problem,
        notices=tuple(odd),
        empty=empty,
    )


def _settle_kind(
    values: pd.Series, described: Column, kinds: Kinds
) -> tuple[tuple[str, ...], str, bool, DataError | None]:
    """Settle the levels (none: numbers), who says so, whether that is settled, and what is wrong with it."""
    name, source = described.name, described.source
    sidecar = file_of(source).with_suffix(".json").name
    present = [str(value) for value in values.dropna()]
    if kinds.get(name) == "numeric":
        return (), "--numeric", True, None
    if name in kinds or described.levels:
        levels = described.levels or _levels_in(map(plain_level, present))
        return levels, "--categorical" if name in kinds else f"Levels in {sidecar}", True, None
    if not all(map(is_number, present)):
        problem = _no_number(values, source, None) if is_nearly_numbers(name, present) else None
        return _levels_in(present), "its values are text", False, problem
    found = natural_order({*present})
    said = f"Units in {sidecar}" if described.units else "every value is a number"
    is_code = all(re.fullmatch(r"[+-]?\d+", one) for one in found) and len(found) <= min(10, len(values) // 2)
    if is_code and not described.units:
        said += f"; whole numbers {', '.join(found)}: if they are codes, use --categorical"
    return (), said if found or described.units else "no value at all", True, None


def _levels_in(present: Iterable[str]) -> tuple[str, ...]:
    return tuple(natural_order(set(present))) or ("n/a",)


def _where(values: pd.Series, is_odd: Iterable[bool]) -> tuple[str, str]:
    """Give the first odd value, and a list of odd values with their rows."""
    odd = values[list(is_odd)]
    said = (f"'{value}' in {_name_rows(odd.index[odd == value], 6)}" for value in odd.unique())
    return str(odd.iloc[0]), list_some(said, 4)


def _name_rows(index: Iterable[object], limit: int) -> str:
    return list_some(map(name_row, index), limit)


def _how_to_mend(value: str) -> str:
    """Say what to write instead of a value that should be a number."""
    if is_like_missing(value):
        return f"Write n/a instead of {value} (BIDS knows no other word for a missing value)"
    if re.search(r"\d,\d", value):
        return "Write numbers with a decimal point"
    if value.startswith("="):
        return "Save the workbook in a spreadsheet, so that it holds the values of its formulas"
    if re.fullmatch(_YEARS_AND_MONTHS, value, re.IGNORECASE):
        return "Write one number, such as years with a decimal point (8.25 for 8 years and 3 months)"
    return "Write the number alone, or n/a (with --missing drop, these people are left out)"


def _unknown_level(values: pd.Series, levels: Sequence[str], source: Path) -> DataError | None:
    is_unknown = values.notna() & ~values.isin(levels)
    if not is_unknown.any():
        return None
    first, found = _where(values, is_unknown)
    mend = f"Mend the value, or the Levels in {source.with_suffix('.json')}."
    fix = f"{_how_to_mend(first)}." if is_like_missing(first) else suggest(first, levels) or mend
    present = {str(value) for value in values.dropna()}
    if all(map(is_number, present)) and len(present - {*levels}) > 1:
        fix = f"If it is a number of which the Levels name a few values, say --numeric {values.name}; "
        fix += f"else mend the values, or the Levels in {source.with_suffix('.json')}."
    return DataError(
        f"Column '{values.name}' of {source} has '{first}', which is not among its Levels.",
        found=found,
        expected=", ".join(levels),
        fix=fix,
    )


def _no_number(values: pd.Series, source: Path, said: str | None) -> DataError | None:
    """Refuse text in a column of numbers; ``said`` says that it is one (None: it only looks like one)."""
    present = values.dropna()
    is_odd = [not is_number(str(value)) for value in present]
    if not any(is_odd):
        return None
    first, found = _where(present, is_odd)
    about, mend, n_numbers = f"Column '{values.name}' of {source}", _how_to_mend(first), is_odd.count(False)
    if said is None:
        return DataError(
            f"{about} would be read as categories: '{first}' is no number.",
            found=found + (f"; the other {n_numbers} values are numbers" if n_numbers else ""),
            expected="numbers with a decimal point and without a unit; n/a where a value is missing",
            fix=f"{mend}; if these are categories, say --categorical {values.name}.",
        )
    return DataError(
        f"{about} should hold numbers ({said}), but has '{first}'.",
        found=found,
        expected="a number with a decimal point, or n/a where it is missing",
        fix=f"{mend}, or use --categorical {values.name}.",
    )


def say_odd_words(
    values: pd.Series, levels: Sequence[str], source: Path, *, is_settled: bool
) -> Iterator[Notice]:
    """Tell of levels that are twins, of words for missing values, and of numbers with units.

    ``is_settled``: a person or the dictionary said that the column is of categories.
    """
    present = [level for level in levels if (values == level).any()]
    column = f"column '{values.name}' of {source.name}"

    def seen(level: str) -> str:
        return "".join(one for one in normalize("NFKC", level) if category(one) != "Cf")

    def plain(level: str) -> str | float:
        key = re.sub(r"[\s_]+", "", seen(level)).casefold()
        return float(key) if is_number(key) else key

    for alike in (found for found in group_by(present, plain).values() if len(found) > 1):
        looks_alike = len({seen(level) for level in alike}) < len(alike)
        named = {level: ascii(level)[1:-1] if looks_alike else level for level in alike}
        counts = ", ".join(f"'{name}' ({(values == level).sum()})" for level, name in named.items())
        what = "characters that look alike or are not seen" if looks_alike else "case, blanks or zeros"
        sentence = f"The levels {counts} of {column} differ only in {what}: "
        fix = "If they mean the same, write them alike."
        yield warn("columns", f"{sentence}each is a group of its own.", fix)
    if is_settled:
        return
    for word in filter(is_like_missing, present):
        rows = _name_rows(values.index[values == word], 6)
        fix = "If it stands for a missing value, write n/a: BIDS knows no other word for it."
        yield warn("columns", f"'{word}' is a level of {column} ({rows}).", fix)
    looks = {look_of(level) for level in present}
    sentence = f"C{column[1:]} is read as categories ({list_some(present, 10)})."
    wholes = {whole for level in present for whole in re.findall(r"^[\d.,\s]+/\s*(\d+)$", level)}
    is_scored = not wholes or (len(wholes) == 1 and int(min(wholes)) >= 5)  # 28/30; 3/4 may be alleles
    if "unit" in looks and "text" not in looks and is_scored:
        tell = warn if looks & {"number", "odd number"} else note
        yield tell("columns", sentence, "If they are numbers, write them without a unit.")
    elif all(map(_DATE.fullmatch, present)) and any(map(_SURE_DATE.match, present)):
        fix = "A date or time is no number: write days (hours) since one that is the same for all, or an age."
        yield warn("columns", sentence, fix)


def say_codes_among_levels(values: pd.Series, described: Column) -> Iterator[Notice]:
    """Tell of levels that stand for a missing value: by the dictionary, or as such codes are written (-9)."""
    present = [str(value) for value in values.unique()]
    meant = {level: said for level, said in described.meanings.items() if _MEANT_MISSING.fullmatch(said)}
    why = {level: f", which stands for '{meant[level]}'" for level in present if level in meant}
    if all(map(is_number, present)):
        written = {f"{one:.15g}" for one in _find_codes(np.unique([float(one) for one in present]))}
        why |= {level: "" for level in present if level in written and not described.meanings.get(level)}
    for level, said in why.items():
        rows = _name_rows(values.index[values == level], 6)
        sentence = f"'{level}' is a level of column '{values.name}' of {described.source.name}{said}: {rows}."
        yield warn("columns", sentence, "If it stands for a missing value, write n/a: else it is a group.")


def say_odd_numbers(values: pd.Series, source: Path, known: Sequence[object] = ()) -> Iterator[Notice]:
    """Tell of values far from all others, such as codes for missing values (9999, -999), but ``known``."""
    numbers = values.dropna().to_numpy(dtype=np.float64)
    every = _find_far(numbers)
    far = [value for value in every if value not in known]
    if not far:
        return
    rows = {value: values.index[values == value] for value in far}
    parts = (
        f"{value:.15g} in {len(own)} of {len(numbers)} ({_name_rows(own, 4)})" for value, own in rows.items()
    )
    rest = numbers[~np.isin(numbers, every)]
    is_near = rest.min() - max(far) <= np.ptp(rest) / 2 and rest.min() >= 0 > max(far)
    what = "values below 0, unlike all others" if is_near else "values far from all others"
    sentence = (
        f"Column '{values.name}' of {source.name} has {what}, which run from "
        f"{rest.min():.15g} to {rest.max():.15g}: {list_some(parts, 6)}."
    )
    fix = "If they are codes for a missing value, write n/a; else check them for typing errors."
    yield warn("columns", sentence, fix)


def _say_thousands(values: pd.Series, source: Path) -> Iterator[Notice]:
    """Tell of points that seem to part thousands: 987 and 1.234, of which the one would be 800 times less."""
    parted = [_THOUSANDS.fullmatch(str(value)) is not None for value in values]
    rest = [str(value) for value, is_parted in zip(values, parted, strict=True) if not is_parted]
    if not any(parted) or len(rest) < 2 or not all(re.fullmatch(r"[1-9]\d{2}", one) for one in rest):
        return
    most = max(int(str(value).partition(".")[0]) for value in values[parted])
    if 10 * most > min(map(int, rest)):  # 498.333 beside 512: a mean
        return
    first, found = _where(values, parted)
    sentence = f"In column '{values.name}' of {source.name} points seem to part thousands: {found}"
    sentence += f"; the others are {list_some(rest, 3)}."
    yield warn("columns", sentence, f"If {first} is {first.replace('.', '')}, write it so.")


def _find_far(numbers: npt.NDArray[np.float64]) -> list[float]:
    """Find codes for missing values, and values many interquartile ranges away from the middle half."""
    codes = _find_codes(np.unique(numbers))
    rest = numbers[~np.isin(numbers, codes)]
    if len(np.unique(rest)) < 4:
        return codes if len(np.unique(rest)) > 1 else []
    low, high = np.quantile(rest, (0.25, 0.75))
    reach = _FAR * (high - low)
    is_far = (rest < low - reach) | (rest > high + reach) if reach > 0 else np.zeros(len(rest), dtype=bool)
    return sorted({*codes, *rest[is_far].tolist()})


def _find_codes(unique: npt.NDArray[np.float64]) -> list[float]:
    """Find values that are written as codes for missing values are, and lie far outside of the others.

    So does a negative one among others that are not; among some that start at 0, where they go beyond it.
    """
    is_written = np.array([_CODE.fullmatch(f"{value:.15g}") is not None for value in unique], dtype=bool)
    others, codes = unique[~is_written], []
    for value in unique[is_written] if len(others) > 1 else ():
        gap = value - others[-1] if value > others[-1] else others[0] - value
        is_negative = value < 0 < others[0] or (
            others[0] == 0 and len(others) > max(3, -value) and _NEGATIVE_CODES.fullmatch(f"{value:.15g}")
        )
        if is_negative or gap > max(np.ptp(others) / 2, np.diff(others).max()):
            codes.append(float(value))
    return codes
