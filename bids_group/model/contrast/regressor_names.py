"""Names of regressors, found in a text as the dry run prints them, and as people remember them.

``I(age**2)`` finds ``I(age ** 2)``; ``group[patient]`` and ``C(group)[T.patient]`` find ``group[T.patient]``;
``age:group[T.patient]`` finds ``group[T.patient]:age``. The exact name always wins.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_MOST_REORDERED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A regressor that stands in a text, up to (not including) character number ``end``."""

    column: str
    end: int
    is_exact: bool


def find_regressor(text: str, start: int, columns: Sequence[str]) -> Found | None:
    """Find the longest name of ``columns`` that stands at ``start``; None where there is none.

    Where two columns would be found by names of equal length, neither of them exact, there is none.
    """
    found = _find_quoted(text, start, columns)
    for column in columns:
        for spelling in spellings(column):
            end = _match(text, start, spelling)
            if end is not None:
                found.append(Found(column=column, end=end, is_exact=text[start:end] == column))
    return _choose(found)


def _find_quoted(text: str, start: int, columns: Sequence[str]) -> list[Found]:
    """Find names that stand whole in backticks."""
    closing = text.find("`", start + 1)
    if text[start : start + 1] != "`" or closing < 0:
        return []
    name = text[start + 1 : closing]
    return [
        Found(column=column, end=closing + 1, is_exact=name == column)
        for column in columns
        if any(_match(name, 0, spelling) == len(name) for spelling in spellings(column))
    ]


def _choose(found: Sequence[Found]) -> Found | None:
    if not found:
        return None
    longest = max(match.end for match in found)
    best = [match for match in found if match.end == longest]
    exact = [match for match in best if match.is_exact]
    names = {match.column for match in best}
    return exact[0] if exact else (best[0] if len(names) == 1 else None)


@functools.cache
def spellings(column: str) -> tuple[str, ...]:
    """Ways in which people write the name of a regressor, the exact one first."""
    return tuple(dict.fromkeys(_spell(column)))


def _spell(column: str) -> Iterator[str]:
    yield column
    parts = _split(column)
    choices = [_spell_part(part) for part in parts]
    if len(parts) > _MOST_REORDERED:
        return
    for order in itertools.permutations(choices):
        yield from (":".join(names) for names in itertools.product(*order))


def _spell_part(part: str) -> tuple[str, ...]:
    match = re.fullmatch(r"(?P<name>.*)\[(?:(?P<code>[TSHPD])\.)?(?P<level>.*)\]", part, re.DOTALL)
    if match is None:
        return (part,)
    coded = re.fullmatch(r"C\((?P<column>`[^`]*`|\w+)(?P<coding>,.*)?\)", match["name"])
    names = [match["name"]]
    if coded:
        names += [coded["column"], coded["column"].strip("`"), f"C({coded['column']})"]
    elif not match["name"].endswith(")"):
        names += [f"C({match['name']})", f"`{match['name']}`"]
    codes = [f"{match['code']}.", ""] if match["code"] else ["", "T."]
    return tuple(dict.fromkeys(f"{name}[{code}{match['level']}]" for name in names for code in codes))


def _split(column: str) -> list[str]:
    """Split an interaction at its colons, not at those inside brackets."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(column):
        depth += (character in "([") - (character in ")]")
        if character == ":" and depth == 0:
            parts.append(column[start:position])
            start = position + 1
    return [*parts, column[start:]]


def _match(text: str, start: int, name: str) -> int | None:
    """End of ``name`` in ``text`` from ``start`` (blanks aside, where the name has brackets), or None."""
    if text.startswith(name, start):
        end = start + len(name)
        return end if _is_boundary(text, end, name) else None
    if not re.search(r"[\[(]", name):
        return None
    position = start
    for character in re.sub(r"\s", "", name):
        while position < len(text) and text[position].isspace() and position > start:
            position += 1
        if position >= len(text) or text[position] != character:
            return None
        position += 1
    return position if _is_boundary(text, position, name) else None


def _is_boundary(text: str, end: int, name: str) -> bool:
    following = text[end : end + 1]
    if not following:
        return True
    if following in "[:":
        return False
    return not (name[-1:].isalnum() or name[-1:] == "_") or not (following.isalnum() or following in "_.(")
