"""Slips in contrasts: what people write who know other programs, in the words of the grammar.

``patient > control``, ``mean(patient) vs mean(control)``, ``group[patient] - group[control]`` and the like
become ``mean(group=patient) - mean(group=control)``. What is found is read and weighed before it is used, and
used only where nothing was guessed and no other reading weighs the columns differently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_group.errors import ContrastError, DesignError
from bids_group.model.contrast.grammar import read_expression
from bids_group.model.contrast.slip_names import Names
from bids_group.model.contrast.slip_scan import scan_sum
from bids_group.model.contrast.weights import mistakes_constant
from bids_group.model.contrast.writing import write_meaning, write_sum
from bids_group.model.formula.coding import CodedDesign
from bids_group.words import quote_column

Weigh = Callable[[str], npt.NDArray[np.float64]]
"""Reads an expression and gives its rows of weights, or raises `ContrastError`."""

_LONGEST = 2000
"""Characters, beyond which nobody means what a guess would find, and guesses take seconds."""
_PLAIN = str.maketrans("−–—×“”‘’", "---*\"\"''")
_COMPARED = re.compile(
    r"\s*(?:(?P<sign>[<>≤≥]=?|!=|==)|\b(?:vs\.?|versus|minus|against|compared (?:to|with))(?=\s))\s*",
    re.IGNORECASE,
)
_SESSION = re.compile(r"\b(?:session\s*==?\s*)?ses-([a-zA-Z0-9]+)")
_NUMBERS = re.compile(r"[\[(]?\s*((?:[+-]?(?:\d++\.?\d*+|\.\d++)(?!/0*(?!\d))(?:/\d++)?+[\s,;]*+)+)[\])]?")
_NOTHING = re.compile(r"(?:^|\s*[+-]\s*)(?:[\d./]+\s*\*\s*)?0 \* Intercept")
_LEFT_OUT = re.compile(r"\s*[,/]\s*(?=[^\W\d])|(?<=[\w)\]])\s+(?=[\w'\"])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Expressions of the grammar that may be meant, the likeliest first.

    ``is_certain``: there is one, and nothing was guessed, so that it can be used in place of what was typed.
    ``is_compared``: ``>`` or ``<`` said which side is larger, which is a test of one direction.
    """

    lines: tuple[str, ...] = ()
    is_certain: bool = False
    is_compared: bool = False


def find_readings(text: str, design: CodedDesign, weigh: Weigh) -> Readings:
    """Find what an expression that cannot be read as it stands may mean; nothing for a very long one."""
    if len(text) > _LONGEST:
        return Readings()
    text = text.strip().translate(_PLAIN)
    if "session" in design.levels and not any(
        "ses-" in one for each in design.levels.values() for one in each
    ):
        text = _SESSION.sub(r"session==\1", text)
    vector = _NUMBERS.fullmatch(text)
    if vector and (text[0] in "[(" or re.search(r"\S\s|,", vector[1].strip())):
        return _read_vector(vector[1], design)
    lines, is_certain = _find_lines(text, design, weigh)
    if not lines and not design.is_own:
        lines, is_certain = _find_parted(text, design, weigh), False
    if len(lines) == 1 and "[T." in text and (other := _other_coefficient(text, design)):
        lines, is_certain = (f"-{other}", *lines), False
    is_compared = re.search("[<>≤≥]", text) is not None
    return Readings(lines=lines, is_certain=is_certain, is_compared=is_compared)


def _other_coefficient(text: str, design: CodedDesign) -> str | None:
    """Find the coefficient of the other of two levels where the reference alone is written as if it had one.

    Who knows it from another program means a difference, of which the mean of the level is none.
    """
    for owners in Names.choices(design):
        names = Names(design=design, owners=owners)
        part = names.part_at(text, 0, is_all=True)
        if part is None or part.kind != "level" or not part.is_column or len(design.levels[part.factor]) != 2:
            continue
        reference, other = design.levels[part.factor]
        return names.as_column({part.factor: other}, None) if part.name == reference else None
    return None


def _find_parted(text: str, design: CodedDesign, weigh: Weigh) -> tuple[str, ...]:
    """Find what is meant where a sign is missing: ``diff(a, b)``, ``a b``, ``a, b`` (which may be joint)."""
    inner = re.fullmatch(r"(?!mean|slope|test)\w+\s*\((.*)\)", text)
    parted = inner[1] if inner else text
    joint = _find_lines(f"[{parted}]", design, weigh)[0] if "," in parted and not inner else ()
    for sign in (":", " - "):  # patient F, patient control
        joined = _LEFT_OUT.sub(lambda one, sign=sign: sign if _is_outside(parted, one) else one[0], parted)
        if lines := _find_lines(joined, design, weigh)[0]:
            return *joint, *lines
    return joint


def _find_lines(text: str, design: CodedDesign, weigh: Weigh) -> tuple[tuple[str, ...], bool]:
    """Find what can be read and weighed, and whether it is the only reading."""
    lines: dict[str, None] = {}
    is_certain = True
    for owners in Names.choices(design):
        names = Names(design=design, owners=owners)
        read = _read_sides(text, names)
        if read is not None and (mixed := _mixed_factors(read.means, design)):
            read, is_certain = _read_sides(text, names, mixed), False
        means = None if read is None else _weighed(read.means, weigh)
        if read is None or means is None:
            continue
        if (alike := _hold_alike(read.means, design)) is not None:
            is_certain = False
            if _weighed(alike, weigh) is not None:
                lines[alike] = None
        lines[read.means] = None
        columns = None if read.is_of_means else _weighed(read.columns, weigh)
        if columns is not None and not (
            means.shape == columns.shape and np.allclose(means, columns, atol=1e-9)
        ):
            lines[read.columns] = None
        is_certain &= not read.is_guess
    return tuple(lines), is_certain and len(lines) == 1


def _mixed_factors(line: str, design: CodedDesign) -> frozenset[str]:
    """Find factors of which a sum has both a coefficient and a mean: ``group[patient] - control``.

    The coefficient is a difference already, and nobody who writes so takes a mean from it.
    """
    try:
        rows = read_expression(line, design.columns).rows
    except ContrastError:
        return frozenset()
    mixed = set[str]()
    for row in rows:
        coefficients = {design.columns.index(one.name) for _, one in row if one.kind == "coefficient"}
        terms = [term for term, places in design.positions.items() if coefficients & set(places)]
        held = {place.name for _, one in row if one.kind == "mean" for place in one.places}
        mixed |= held & {name for term in terms for name in term.columns if name in design.levels}
    return frozenset(mixed)


def _hold_alike(line: str, design: CodedDesign) -> str | None:
    """Hold all means of a sum where one is held: in women, of ``patient - control in women``.

    So with slopes of a covariate. None where they are held at the same factors already.
    """
    try:
        expression = read_expression(line, design.columns)
    except ContrastError:
        return None
    entries, is_uneven, is_changed = [], False, False
    for row in expression.rows:
        parts = []
        for weight, one in row:
            places = {place.name: place.value for place in one.places}
            alike = [other.places for _, other in row if (other.kind, other.name) == (one.kind, one.name)]
            others = [place for other in alike for place in other if one.places]
            for name in {place.name: None for place in others if place.name not in places}:
                values = {place.value for place in others if place.name == name}
                is_uneven = True
                if len(values) == 1:
                    is_changed, places[name] = True, values.pop()
            is_column = one.kind == "coefficient"
            said = quote_column(one.name) if is_column else write_meaning(places, one.name or None)
            parts.append((f"{weight:.15g}", said))
        entries.append(write_sum(parts))
    if not is_changed:
        return line if is_uneven else None
    return entries[0] if len(entries) == 1 else f"[{', '.join(entries)}]"


def _weighed(line: str, weigh: Weigh) -> npt.NDArray[np.float64] | None:
    """Weigh a line; None where it cannot be read, or weighs nothing."""
    try:
        rows = weigh(line)
    except ContrastError:
        return None
    except DesignError:  # a term that these rows cannot test: it is read, and refused for that
        return np.full((1, 1), np.nan)
    return rows if rows.any(axis=-1).all() else None


def _read_vector(numbers: str, design: CodedDesign) -> Readings:
    """Read weights without commas or brackets: certain where none weighs the constant against others.

    Else they may be those of groups in the order of their levels. Of a wrong number of weights, the vector is
    given all the same: reading it tells the columns.
    """
    weights = re.split(r"[\s,;]+", numbers.strip(" ,;"))
    line = f"[{', '.join(one.removeprefix('+') for one in weights)}]"
    fractions = [one.partition("/") for one in weights]
    read = [float(above) / float(below or 1) for above, _, below in fractions]
    lines = tuple(
        write_sum(
            (f"{weight:.12g}", write_meaning({factor: level}))
            for weight, level in zip(read, levels, strict=True)
            if weight
        )
        for factor, levels in design.levels.items()
        if len(levels) == len(weights) and abs(sum(read)) <= 1e-9
    )
    if len(weights) != len(design.columns):
        lines = tuple(filter(None, lines))
        return Readings(lines=lines or (line,), is_certain=not lines)
    if not mistakes_constant(read, design.columns):
        return Readings(lines=(line,), is_certain=True)
    return Readings(lines=(*lines, line))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """A sum or comparison as one expression: of ``means``, and of coefficients instead (``columns``).

    ``is_of_means``: coefficients cannot be meant, as levels named by themselves are compared.
    """

    means: str
    columns: str
    is_guess: bool
    is_of_means: bool


def _read_sides(text: str, names: Names, as_means: frozenset[str] = frozenset()) -> _Sides | None:
    """Read both sides of a comparison, or a sum; columns of the factors ``as_means`` stand for means.

    A difference of levels that are named by themselves is one of means, and so is what names a reference.
    """
    signs = [
        one for one in _COMPARED.finditer(text) if _is_outside(text, one) and not names.is_level(text, one)
    ]
    if len(signs) > 1:
        return None
    sides = [text] if not signs else [text[: signs[0].start()], text[signs[0].end() :]]
    if signs and (signs[0]["sign"] or "")[:1] in ("<", "≤"):
        sides.reverse()
    scans = [
        scan_sum(side, names, is_whole=not signs, as_means=as_means) for side in sides if not _is_zero(side)
    ]
    read = [one for one in scans if one is not None]
    if not read or len(read) < len(scans):
        return None
    is_minus = len(sides) == 2 and _is_zero(sides[0])
    means, columns, counts = (
        _join([getattr(one, part) for one in read], is_minus=is_minus)
        for part in ("means", "columns", "counts")
    )
    is_difference = _is_balanced(counts) or _NOTHING.search(columns) is not None
    return _Sides(
        means=re.sub(r"\((mean\([^()]*\)|slope\([^()]*\))\)", r"\1", means),
        columns=_NOTHING.sub("", columns).strip().replace("+ ", "", 1 if _NOTHING.match(columns) else 0),
        is_guess=any(one.is_guess for one in read),
        is_of_means=is_difference and not any(one.has_columns for one in read),
    )


def _is_outside(text: str, match: re.Match[str]) -> bool:
    """Whether a match lies outside all brackets."""
    before = text[: match.start()]
    return all(before.count(one) == before.count(other) for one, other in ("()", "[]"))


def _is_zero(side: str) -> bool:
    return bool(re.fullmatch(r"\s*0*\.?0*\s*", side))


def _join(sides: Sequence[str], *, is_minus: bool) -> str:
    """Write a difference, with brackets around a sum that is taken away."""
    *left, right = [side.strip() for side in sides]
    if left or is_minus:
        right = f"({right})" if re.search(r"[+-]", re.sub(r"\([^()]*\)", "", right)) else right
    return f"{left[0]} - {right}" if left else f"-{right}" if is_minus else right


def _is_balanced(counts: str) -> bool:
    """Whether the weights of levels, which stand as 1 in ``counts``, sum to zero in every entry."""
    try:
        rows = read_expression(counts if counts.startswith("[") else f"[{counts}]", ()).vectors
    except ContrastError:
        return False
    return bool(rows) and all(abs(one) < 1e-9 for row in rows for one in row)
