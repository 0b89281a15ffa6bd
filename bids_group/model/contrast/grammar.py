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

from bids_group.errors import ContrastError
from bids_group.model.contrast.expressions import (
    Combination,
    Expression,
    Joint,
    Mean,
    Meaning,
    Place,
    Regressor,
    Slope,
    TermTest,
    Weights,
)
from bids_group.model.contrast.regressor_names import find_regressor
from bids_group.model.formula.pointing import list_some, point_at, suggest


def read_expression(text: str, columns: Sequence[str]) -> Expression:
    """Read a contrast expression against the names of the design's columns.

    Raises
    ------
    ContrastError
        The expression cannot be read (a caret points at the character), or names a column that does not
        exist.
    """
    return _Parser(text, columns).parse()


_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_CALL = re.compile(r"(mean|slope|test)\s*\(")
_NAME = re.compile(r"`([^`]*)`|[^\s=,()]+")
_DEEPEST = 50


class _Parser:
    """Recursive descent over the characters of an expression."""

    def __init__(self, text: str, columns: Sequence[str]) -> None:
        self.text, self.columns = text, columns
        self.position = 0
        self.depth = 0

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

    def parse(self) -> Expression:
        if not self.text.strip():
            raise ContrastError(
                "A contrast is empty.", expected="for example slope(age), or mean(group=patient)"
            )
        if len(self.text) > 10_000:
            raise ContrastError("A contrast is too long.", found=f"{len(self.text)} characters")
        expression = self.read_list() if self.is_list() else self.read_single()
        if self.peek():
            raise self.error(
                f"The contrast '{self.text.strip()}' cannot be read at '{self.peek()}'.",
                self.position,
                expected="+, -, *, / or the end of the expression",
                fix=_fix_rest(self.text, self.position),
            )
        return expression

    def is_list(self) -> bool:
        return self.peek() == "[" and find_regressor(self.text, self.position, self.columns) is None

    def read_single(self) -> Expression:
        match = _CALL.match(self.text, self.position)
        if match and match[1] == "test":
            return self.read_test()
        start = self.position
        return Joint(rows=(self.as_row(self.read_sum(), start),))

    def as_row(self, combination: Combination, start: int) -> Combination:
        if not combination.parts:
            fix = (
                "Name a coefficient, mean(...) or slope(...); weights stand in brackets, with commas: [0, 1]."
            )
            raise self.error(f"The contrast '{self.text.strip()}' has numbers only.", start, fix=fix)
        if combination.constant != 0:
            fix = "Take the number away; a contrast is tested against zero."
            raise self.error(
                f"The contrast '{self.text.strip()}' adds a number to an effect.", start, fix=fix
            )
        return combination

    # lists

    def read_list(self) -> Expression:
        start = self.position
        self.take("[")
        self.deepen(start)
        entries = [self.read_entry()]
        while self.take(","):
            entries.append(self.read_entry())
        self.close("]", start)
        self.depth -= 1
        if all(isinstance(entry, tuple) for entry in entries):
            return Weights(rows=tuple(entry for entry in entries if isinstance(entry, tuple)), is_matrix=True)
        combinations = [entry for entry in entries if isinstance(entry, Combination)]
        if len(combinations) < len(entries):
            raise self.error(
                "The contrast mixes vectors with expressions.", start, expected="one kind in a list"
            )
        if not any(entry.parts for entry in combinations):
            return Weights(rows=(tuple(entry.constant for entry in combinations),))
        return Joint(rows=tuple(self.as_row(entry, start) for entry in combinations), is_list=True)

    def read_entry(self) -> Combination | tuple[float, ...]:
        if not self.is_list():
            match = _CALL.match(self.text, self.position)
            if match and match[1] == "test":
                raise self.test_error(self.position)
            return self.read_sum()
        start = self.position
        inner = self.read_list()
        if not isinstance(inner, Weights) or inner.is_matrix:
            raise self.error("A list inside the list is not a vector of numbers.", start)
        return inner.rows[0]

    def close(self, bracket: str, opening: int, *, is_list: bool = True) -> None:
        if self.take(bracket):
            return
        found = f"'{self.peek()}'" if self.peek() else "the end"
        wanted = f"'{bracket}' or ','" if is_list else f"'{bracket}'"
        fix = f"Close the bracket with '{bracket}'."
        if is_list and self.peek():
            example = " (as in [0, 1])" if bracket == "]" else ""
            fix = f"Put a comma between the entries{example}, or close the bracket with '{bracket}'."
        raise self.error(
            f"The contrast '{self.text.strip()}' has {found} where {wanted} should be.",
            self.position if self.peek() else opening,
            fix=fix,
        )

    # sums

    def read_sum(self) -> Combination:
        total = self.read_product()
        while operator := self.take("+-"):
            total = total.plus(self.read_product().scaled(-1.0 if operator == "-" else 1.0))
        return total

    def read_product(self) -> Combination:
        left = self.read_atom()
        while operator := self.take("*/"):
            position = self.position - 1
            right = self.read_atom()
            if operator == "*" and right.parts and not left.parts:
                left, right = right, left
            if right.parts:
                sentence = "multiplies two effects" if operator == "*" else "divides by an effect"
                raise self.error(
                    f"The contrast '{self.text.strip()}' {sentence}.", position, expected="a number"
                )
            if operator == "/" and right.constant == 0:
                raise self.error(f"The contrast '{self.text.strip()}' divides by zero.", position)
            left = left.scaled(right.constant if operator == "*" else 1 / right.constant)
        return left

    def read_atom(self) -> Combination:
        sign = 1.0
        while operator := self.take("+-"):
            sign = -sign if operator == "-" else sign
        return self.read_unsigned().scaled(sign)

    def read_unsigned(self) -> Combination:
        self.peek()
        start = self.position
        regressor = find_regressor(self.text, start, self.columns)
        call = _CALL.match(self.text, start)
        if regressor is not None and (call is None or regressor.end > call.end()):
            self.position = regressor.end
            typed = self.text[start : regressor.end]
            return _single(Regressor(column=regressor.column, typed=typed, position=start))
        if call is not None:
            return self.read_call(call)
        if number := _NUMBER.match(self.text, start):
            self.position = number.end()
            return Combination(constant=float(number[0]))
        if self.take("("):
            return self.read_parentheses(start)
        raise self.atom_error(start)

    def deepen(self, start: int) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.error("The contrast has too many nested brackets.", start)

    def read_parentheses(self, start: int) -> Combination:
        self.deepen(start)
        inner = self.read_sum()
        self.close(")", start, is_list=False)
        self.depth -= 1
        return inner

    def atom_error(self, start: int) -> ContrastError:
        rest = self.text[start:]
        if not rest.strip():
            return self.error(f"The contrast '{self.text.strip()}' ends where a term should be.", start)
        if rest[0] in "[":
            fix = "A joint test is one list: [A - B, B - C]."
            return self.error(
                f"The contrast '{self.text.strip()}' has a list inside an expression.", start, fix=fix
            )
        match = re.match(r"`[^`]*`|[^\s+*/()-]+", rest)
        name = match[0].strip("`") if match else rest[0]
        return self.error(
            f"The contrast '{self.text.strip()}' names '{name}', which is not a column of the design.",
            start,
            expected=f"mean(...), slope(...), test(...), or one of {list_some(self.columns)}",
            fix=_suggest(name, self.columns),
        )

    # calls

    def read_call(self, match: re.Match[str]) -> Combination:
        start = self.position
        self.position = match.end()
        if match[1] == "test":
            raise self.test_error(start)
        if match[1] == "mean":
            return _single(Mean(places=self.read_places(start, is_first=True), position=start))
        return _single(self.read_slope(start))

    def test_error(self, start: int) -> ContrastError:
        fix = "Give test(...) a contrast of its own, or write the sum of means or slopes that you want."
        return self.error("A test(...) stands alone: it cannot be part of a sum or a list.", start, fix=fix)

    def read_slope(self, start: int) -> Slope:
        self.peek()
        name = _NAME.match(self.text, self.position)
        if name is None:
            raise self.error("A slope needs a covariate.", self.position, expected="for example slope(age)")
        self.position = name.end()
        covariate = name[0] if name[1] is None else name[1]
        return Slope(covariate=covariate, places=self.read_places(start, is_first=False), position=start)

    def read_places(self, start: int, *, is_first: bool) -> tuple[Place, ...]:
        """Read ``group=patient, sex=F)``, each with a comma before it unless ``is_first``."""
        places: dict[str, Place] = {}
        while not self.take(")"):
            if (places or not is_first) and not self.take(","):
                self.close(")", start)
            place = self.read_place(start)
            if place.name in places:
                raise self.error(
                    f"The contrast '{self.text.strip()}' names '{place.name}' twice.", place.position
                )
            places[place.name] = place
        return tuple(places.values())

    def read_place(self, start: int) -> Place:
        self.peek()
        match = _NAME.match(self.text, self.position)
        if match is None:
            self.close(")", start)
            raise self.error("A name is missing.", self.position)
        position, self.position = self.position, match.end()
        name = match[0] if match[1] is None else match[1]
        if not self.take("="):
            sentence = f"The contrast '{self.text.strip()}' has no level for '{name}'."
            raise self.error(sentence, position, fix=f"Write {name}=LEVEL.")
        self.peek()
        value = _VALUE.match(self.text, self.position)
        if value is None or not value[0].strip():
            raise self.error(
                f"The contrast '{self.text.strip()}' has no level after '{name}='.", self.position
            )
        self.position = value.end()
        typed = value[0].strip()
        return Place(name=name, value=typed[1:-1] if typed[0] in "'\"" else typed, position=position)

    def read_test(self) -> TermTest:
        match = _CALL.match(self.text, self.position)
        start = self.position
        self.position = match.end() if match else start
        end = self._find_closing(start)
        term = self.text[self.position : end].strip()
        if not term:
            raise self.error("A test needs a term.", start, expected="for example test(group:age)")
        self.position = end + 1
        if self.peek():
            raise self.test_error(start)
        return TermTest(term=term, position=start)

    def _find_closing(self, start: int) -> int:
        depth = 1
        for position in range(self.position, len(self.text)):
            depth += (self.text[position] == "(") - (self.text[position] == ")")
            if depth == 0:
                return position
        raise self.error(
            "The bracket of test(...) is never closed.", start, fix="Close the bracket with ')'."
        )


_CALLS = {"mean": "mean()", "slope": "slope(COVARIATE)", "test": "test(TERM)"}


def _suggest(name: str, columns: Sequence[str]) -> str | None:
    """Suggest the nearest column, or a call as it is written."""
    said = suggest(name, (*columns, *_CALLS))
    call = next((call for word, call in _CALLS.items() if said == f"Did you mean '{word}'?"), None)
    return f"Did you mean {call}?" if call else said


def _fix_rest(text: str, position: int) -> str:
    """Say what to do about an expression that goes on where it should end."""
    character = text[position]
    if character in _COMPARISONS:
        left, right = text[:position].strip(), text[position:].lstrip(_COMPARISONS).strip()
        difference = _subtract(right, left) if character in "<≤" else _subtract(left, right)
        sides = "with --one-sided, for positive effects only"
        return f"Write '{difference}': a contrast is tested against 0 ({sides})."
    if character == ",":
        return f"A joint test stands in brackets: [{text.strip()}]."
    if character in ")]":
        return "Open the bracket before, or take it away."
    return "Write +, -, * or / between the terms."


_COMPARISONS = "<>=!≤≥ "


def _subtract(left: str, right: str) -> str:
    """Write a difference; what is 0 is left out."""
    minus = f"({right})" if re.search(r"[+-]", right) else right
    if not right or re.fullmatch(r"0*\.?0*", right):
        return left
    return f"-{minus}" if not left or re.fullmatch(r"0*\.?0*", left) else f"{left} - {minus}"


_VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|[^,()]+")


def _single(meaning: Meaning) -> Combination:
    return Combination(parts=((1.0, meaning),))
