"""The grammar of contrast expressions: read into records, nothing evaluated.

::

    contrast   = list | sum
    list       = "[" entry { "," entry } "]"          a vector, a matrix, or a joint F test
    entry      = list of numbers | sum
    sum        = ["+" | "-"] product { ("+" | "-") product }
    product    = atom { ("*" | "/") atom }            at most one of them is not a number
    atom       = number | "(" sum ")" | mean(...) | slope(...) | test(...) | regressor

A regressor is found by its whole name, so that brackets, colons and operators inside names need no quoting.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bids_group.errors import ContrastError
from bids_group.model.contrast.regressor_names import find_regressor
from bids_group.model.formula.tokens import find_closing
from bids_group.words import list_some, point_at, suggest

_LARGEST = 1e100
_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_CALL = re.compile(r"(mean|slope|test)\s*\(")
_NAME = re.compile(r"`([^`]*)`|[^\s=,()]+")
_VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|[^,()]+")
_DEEPEST = 50  # nested brackets; many more end in a RecursionError of Python


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAt:
    """``group=patient``: where a mean or slope is held, as typed."""

    name: str
    value: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """A coefficient, a mean or a slope, which stands at ``position`` of the expression.

    ``name``: the column, as the design names it, or the covariate of a slope; ``typed``: a coefficient as the
    user named it; ``places``: where a mean or slope is held.
    """

    kind: Literal["coefficient", "mean", "slope"]
    position: int
    name: str = ""
    typed: str = ""
    places: tuple[HeldAt, ...] = ()


Combination = tuple[tuple[float, Meaning], ...]
"""``0.5 * A - B``: what is added, each with its weight."""
_Sum = list[tuple[float, Meaning | None]]
"""The same while it is read, with numbers by themselves (None)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A contrast, of one kind: rows that are tested together, vectors of numbers, or the test of a term.

    ``vectors`` have one number per regressor; ``term`` is ``group:n_cigs`` of ``test(group:n_cigs)``.
    """

    rows: tuple[Combination, ...] = ()
    vectors: tuple[tuple[float, ...], ...] = ()
    term: str | None = None


def read_expression(text: str, columns: Sequence[str]) -> Expression:
    """Read an expression against the names of the design's columns; in a `ContrastError`, a caret points."""
    if not text.strip():
        raise ContrastError("A contrast is empty.", expected="for example slope(age), or mean(group=patient)")
    if len(text) > 10_000:
        raise ContrastError("A contrast is too long.", found=f"{len(text)} characters")
    return _ContrastParser(text, columns).parse()


class _ContrastParser:
    """Recursive descent over the characters of an expression."""

    def __init__(self, text: str, columns: Sequence[str]) -> None:
        self.text, self.columns = text, columns
        self.whole = f"The contrast '{text.strip()}'"
        self.position = self.depth = 0

    def error(
        self, sentence: str, position: int, *, expected: str | None = None, fix: str | None = None
    ) -> ContrastError:
        return ContrastError(sentence, found=point_at(self.text, position), expected=expected, fix=fix)

    def peek(self) -> str:
        while self.position < len(self.text) and self.text[self.position].isspace():
            self.position += 1
        return self.text[self.position : self.position + 1]

    def take(self, characters: str) -> str:
        character = self.peek()
        if not character or character not in characters:
            return ""
        self.position += 1
        return character

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self.peek()
        return pattern.match(self.text, self.position)

    def parse(self) -> Expression:
        call = self.match(_CALL)
        start = self.position
        if self.is_list():
            expression = self.as_expression(self.read_list(), start)
        elif call and call[1] == "test":
            expression = self.read_test(call)
        else:
            expression = Expression(rows=(self.as_row(self.read_sum(), start),))
        if self.peek():
            raise self.error(
                f"{self.whole} cannot be read at '{self.peek()}'.",
                self.position,
                expected="+, -, *, / or the end of the expression",
                fix=_fix_rest(self.text, self.position),
            )
        return expression

    def is_list(self) -> bool:
        return self.peek() == "[" and find_regressor(self.text, self.position, self.columns) is None

    def as_row(self, entry: _Sum, start: int) -> Combination:
        row = tuple((weight, meaning) for weight, meaning in entry if meaning is not None)
        if not row:
            fix = (
                "Name a coefficient, mean(...) or slope(...); weights stand in brackets, with commas: [0, 1]."
            )
            raise self.error(f"{self.whole} has numbers only.", start, fix=fix)
        if _constant(entry) != 0:
            fix = "Take the number away; a contrast is tested against zero."
            raise self.error(f"{self.whole} adds a number to an effect.", start, fix=fix)
        return row

    def as_expression(self, entries: list[_Sum | tuple[float, ...]], start: int) -> Expression:
        """Make a matrix, a vector or a joint test of the entries of a list."""
        vectors = tuple(entry for entry in entries if isinstance(entry, tuple))
        sums = [entry for entry in entries if isinstance(entry, list)]
        if vectors and sums:
            sentence = "The contrast mixes vectors with expressions."
            raise self.error(sentence, start, expected="one kind in a list")
        if vectors or not any(map(_has_effect, sums)):
            return Expression(vectors=vectors or (tuple(map(_constant, sums)),))
        return Expression(rows=tuple(self.as_row(entry, start) for entry in sums))

    def read_list(self) -> list[_Sum | tuple[float, ...]]:
        start = self.position
        self.take("[")
        self.deepen(start)
        entries = [self.read_entry()]
        while self.take(","):
            entries.append(self.read_entry())
        self.close("]", start)
        self.depth -= 1
        return entries

    def read_entry(self) -> _Sum | tuple[float, ...]:
        if not self.is_list():
            return self.read_sum()
        start = self.position
        entries = self.read_list()
        inner = self.as_expression(entries, start)
        if not inner.vectors or isinstance(entries[0], tuple):
            raise self.error("A list inside the list is not a vector of numbers.", start)
        return inner.vectors[0]

    def close(self, bracket: str, opening: int, *, is_list: bool = True) -> None:
        if self.take(bracket):
            return
        following = self.peek()
        found = f"'{following}'" if following else "the end"
        wanted = f"'{bracket}' or ','" if is_list else f"'{bracket}'"
        fix = f"Close the bracket with '{bracket}'."
        if is_list and following:
            example = " (as in [0, 1])" if bracket == "]" else ""
            fix = f"Put a comma between the entries{example}, or close the bracket with '{bracket}'."
        sentence = f"{self.whole} has {found} where {wanted} should be."
        raise self.error(sentence, self.position if following else opening, fix=fix)

    def deepen(self, start: int) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.error("The contrast has too many nested brackets.", start)

    def read_sum(self) -> _Sum:
        total = self.read_product()
        while operator := self.take("+-"):
            total += _scaled(self.read_product(), -1.0 if operator == "-" else 1.0)
        return total

    def read_product(self) -> _Sum:
        left = self.read_atom()
        while operator := self.take("*/"):
            position = self.position - 1
            right = self.read_atom()
            if operator == "*" and _has_effect(right) and not _has_effect(left):
                left, right = right, left
            if _has_effect(right):
                what = "multiplies two effects" if operator == "*" else "divides by an effect"
                raise self.error(f"{self.whole} {what}.", position, expected="a number")
            if operator == "/" and _constant(right) == 0:
                raise self.error(f"{self.whole} divides by zero.", position)
            left = _scaled(left, _constant(right) if operator == "*" else 1 / _constant(right))
        return left

    def read_atom(self) -> _Sum:
        sign = 1.0
        while operator := self.take("+-"):
            sign = -sign if operator == "-" else sign
        call = self.match(_CALL)
        start = self.position
        regressor = find_regressor(self.text, start, self.columns)
        if regressor is not None and (call is None or regressor.end > call.end()):
            self.position = regressor.end
            typed = self.text[start : regressor.end]
            meaning = Meaning(kind="coefficient", name=regressor.column, typed=typed, position=start)
            return [(sign, meaning)]
        if call is not None:
            return [(sign, self.read_call(call))]
        if number := _NUMBER.match(self.text, start):
            self.position = number.end()
            if float(number[0]) > _LARGEST:
                raise self.error(f"{self.whole} has the number {number[0][:20]}, which is too large.", start)
            return [(sign * float(number[0]), None)]
        if not self.take("("):
            raise self.atom_error(start)
        self.deepen(start)
        inner = self.read_sum()
        self.close(")", start, is_list=False)
        self.depth -= 1
        return _scaled(inner, sign)

    def atom_error(self, start: int) -> ContrastError:
        rest = self.text[start:]
        if not rest.strip():
            return self.error(f"{self.whole} ends where a term should be.", start)
        if rest[0] == "[":
            fix = "A joint test is one list: [A - B, B - C]."
            return self.error(f"{self.whole} has a list inside an expression.", start, fix=fix)
        match = re.match(r"`[^`]*`|[^\s+*/()-]+", rest)
        name = match[0].strip("`") if match else rest[0]
        calls = {"mean": "mean()", "slope": "slope(COVARIATE)", "test": "test(TERM)"}
        guess = suggest(name, (*self.columns, *calls))
        meant = next((call for word, call in calls.items() if guess == f"Did you mean '{word}'?"), None)
        return self.error(
            f"{self.whole} names '{name}', which is not a column of the design.",
            start,
            expected=f"mean(...), slope(...), test(...), or one of {list_some(self.columns)}",
            fix=f"Did you mean {meant}?" if meant else guess,
        )

    def read_call(self, call: re.Match[str]) -> Meaning:
        start = self.position
        if call[1] == "test":
            raise self.test_error(start)
        self.position = call.end()
        if call[1] == "mean":
            return Meaning(kind="mean", places=self.read_places(start, is_first=True), position=start)
        name = self.match(_NAME)
        if name is None:
            raise self.error("A slope needs a covariate.", self.position, expected="for example slope(age)")
        self.position = name.end()
        covariate, places = name[0] if name[1] is None else name[1], self.read_places(start, is_first=False)
        return Meaning(kind="slope", name=covariate, places=places, position=start)

    def test_error(self, start: int) -> ContrastError:
        fix = "Give test(...) a contrast of its own, or write the sum of means or slopes that you want."
        return self.error("A test(...) stands alone: it cannot be part of a sum or a list.", start, fix=fix)

    def read_places(self, start: int, *, is_first: bool) -> tuple[HeldAt, ...]:
        """Read ``group=patient, sex=F)``, each with a comma before it unless ``is_first``."""
        places: dict[str, HeldAt] = {}
        while not self.take(")"):
            if (places or not is_first) and not self.take(","):
                self.close(")", start)
            match = self.match(_NAME)
            if match is None:
                self.close(")", start)
                raise self.error("A name is missing.", self.position)
            position, self.position = self.position, match.end()
            name = match[0] if match[1] is None else match[1]
            if not self.take("="):
                fix = f"Write {name}=LEVEL."
                raise self.error(f"{self.whole} has no level for '{name}'.", position, fix=fix)
            value = self.match(_VALUE)
            if value is None or not value[0].strip():
                raise self.error(f"{self.whole} has no level after '{name}='.", self.position)
            self.position = value.end()
            if name in places:
                raise self.error(f"{self.whole} names '{name}' twice.", position)
            typed = value[0].strip()
            typed = typed[1:-1] if typed[0] in "'\"" else typed
            places[name] = HeldAt(name=name, value=typed, position=position)
        return tuple(places.values())

    def read_test(self, call: re.Match[str]) -> Expression:
        start, end = self.position, find_closing(self.text, call.end() - 1)
        if end is None:
            fix = "Close the bracket with ')'."
            raise self.error("The bracket of test(...) is never closed.", start, fix=fix)
        term = self.text[call.end() : end - 1].strip()
        if not term:
            raise self.error("A test needs a term.", start, expected="for example test(group:age)")
        self.position = end
        if self.peek():
            raise self.test_error(start)
        return Expression(term=term)


def _has_effect(entry: _Sum) -> bool:
    return any(meaning is not None for _, meaning in entry)


def _constant(entry: _Sum) -> float:
    return sum(weight for weight, meaning in entry if meaning is None)


def _scaled(entry: _Sum, by: float) -> _Sum:
    return [(by * weight, meaning) for weight, meaning in entry]


def _fix_rest(text: str, position: int) -> str:
    """Say what to do about an expression that goes on where it should end."""
    character = text[position]
    if character in "<>=!≤≥":
        return "A contrast is tested against 0: write the difference, A - B."
    if character == ",":
        return f"A joint test stands in brackets: [{text.strip()}]."
    if character in ")]":
        return "Open the bracket before, or take it away."
    return "Write +, -, * or / between the terms."
