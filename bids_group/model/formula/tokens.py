"""A formula cut into its words: names, numbers, calls, operators and random terms."""

from __future__ import annotations

import re
from typing import NamedTuple

from bids_group.errors import FormulaError
from bids_group.words import point_at

DEEPEST = 50  # nested parentheses; many more end in a RecursionError of Python


class Token(NamedTuple):
    """A word: ``kind`` is name, quoted, number, call, operator, random or end."""

    kind: str
    text: str
    position: int


_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<quoted>`[^`]+`)"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)"
    r"|(?P<operator>\*\*|%in%|[-+*/:^()~])",
)
_RANDOM = re.compile(r"\((?:[^()|]|\([^()|]*\))*\|[^()]*\)")
_QUOTED_OR_BRACKET = re.compile(r"'[^']*(?:'|$)|\"[^\"]*(?:\"|$)|`[^`]*(?:`|$)|[()]")
_FORBIDDEN = {
    "{": "Braces run code and are not allowed; compute the column beforehand.",
    "[": "Square brackets are not allowed.",
    "=": "Write the name of a column; levels belong into contrasts, as in mean(group=patient).",
    "`": "Close the backtick.",
    ".": "Name each column; '.' for all columns is not allowed.",
}
UNCLOSED = ("A parenthesis in the formula is never closed.", "Add the missing ')'.")


def tokenize(text: str) -> list[Token]:
    """Cut a formula into words; the last is of the kind ``end``. What is no word is a `FormulaError`."""
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _character_error(text, position)
        kind, end = str(match.lastgroup), match.end()
        if random := _RANDOM.match(text, position):
            kind, end = "random", random.end()
        opening = re.compile(r"\s*\(").match(text, end) if kind == "name" else None
        if opening:
            closing = find_closing(text, opening.end() - 1)
            if closing is None:
                raise FormulaError(UNCLOSED[0], found=point_at(text, opening.end() - 1), fix=UNCLOSED[1])
            kind, end = "call", closing
        if kind != "space":
            tokens.append(Token(kind, text[position:end], position))
        position = end
    return [*tokens, Token("end", "", len(text))]


def _character_error(text: str, position: int) -> FormulaError:
    """Refuse a character; say how random terms are written."""
    character, found = text[position], point_at(text, position)
    if character == "|" and (bare := re.search(r"([^()+~|]*\|+\s*(?:`[^`]+`|[\w/:]+))", text)):
        return FormulaError(
            "The formula has a random term without parentheses.",
            found=found,
            fix=f"Write ({bare[1].strip()}).",
        )
    return FormulaError(
        f"The formula has a character that is not allowed: '{character}'.",
        found=found,
        expected="column names (odd ones in `backticks`), + - * / : ** ( ) and functions",
        fix=_FORBIDDEN.get(character, "Remove it; put the name of a column that has it in `backticks`."),
    )


def find_closing(text: str, opening: int) -> int | None:
    """End of the parentheses that open at a character; None where they are never closed, or too deep."""
    depth = 0
    for match in _QUOTED_OR_BRACKET.finditer(text, opening):
        depth += (match[0] == "(") - (match[0] == ")")
        if depth == 0 or depth > DEEPEST:
            return match.end() if depth == 0 else None
    return None
