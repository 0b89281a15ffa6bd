"""Names of regressors, found in a text as the dry run prints them, and as people remember them.

``I(age**2)`` finds ``I(age ** 2)``; ``group[patient]`` and ``C(group)[T.patient]`` find ``group[T.patient]``;
``age:group[T.patient]`` finds ``group[T.patient]:age``. The exact name always wins.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

_MOST_REORDERED = 3  # factors of an interaction; the orders of more are too many to try at every character


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRegressor:
    """A regressor that stands in a text, up to (not including) character number ``end``."""

    column: str
    end: int
    is_exact: bool


def find_regressor(text: str, start: int, columns: Sequence[str]) -> FoundRegressor | None:
    """Find the longest name of ``columns`` that stands at ``start``; None where there is none.

    Where two columns would be found by names of equal length, neither of them exact, there is none.
    """
    found: list[FoundRegressor] = []
    closing = text.find("`", start + 1) if text.startswith("`", start) else -1
    quoted = text[start + 1 : closing] if closing > 0 else None
    for column in columns:
        names = spellings(column)
        if quoted is not None and any(_match(quoted, 0, name) == len(name) for name in names):
            found.append(FoundRegressor(column=column, end=closing + 1, is_exact=quoted == column))
        ends = [end for name in names if (end := _match(text, start, name)) is not None]
        found += [FoundRegressor(column=column, end=end, is_exact=text[start:end] == column) for end in ends]
    longest = max((match.end for match in found), default=0)
    best = [match for match in found if match.end == longest]
    exact = [match for match in best if match.is_exact]
    return exact[0] if exact else (best[0] if len({match.column for match in best}) == 1 else None)


@functools.cache
def spellings(column: str) -> tuple[str, ...]:
    """Ways in which people write the name of a regressor, the exact one first."""
    choices = [_spell_part(part) for part in split_factors(column)]
    orders = itertools.permutations(choices) if len(choices) <= _MOST_REORDERED else ()
    joined = (":".join(names) for order in orders for names in itertools.product(*order))
    return tuple(dict.fromkeys([column, *joined]))


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


def split_factors(name: str) -> list[str]:
    """Split an interaction at its colons, not at those inside brackets."""
    parts, depth = [""], 0
    for character in name:
        depth += (character in "([") - (character in ")]")
        if character == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _match(text: str, start: int, name: str) -> int | None:
    """End of ``name`` in ``text`` from ``start`` (blanks aside, where the name has brackets), or None."""
    end = start
    if text.startswith(name, start):
        end += len(name)
    elif not re.search(r"[\[(]", name):
        return None
    else:
        for character in re.sub(r"\s", "", name):
            while start < end < len(text) and text[end].isspace():
                end += 1
            if not text.startswith(character, end):
                return None
            end += 1
    following = text[end : end + 1]
    if following and following in "[:":
        return None
    is_word = name[-1:].isalnum() or name[-1:] == "_"
    goes_on = following.isalnum() or (following and following in "_.(")
    return None if is_word and goes_on else end
