"""Names of regressors in contrasts, as people write them.

They are found as the dry run prints them, and as people remember them: ``I(age**2)`` finds
``I(age ** 2)``; ``group[patient]`` and ``C(group)[T.patient]`` find ``group[T.patient]``;
``age:group[T.patient]`` finds ``group[T.patient]:age``. The exact name always wins.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

_MOST_REORDERED = 3  # factors of an interaction; the orders of more are too many to try at every character


class FoundRegressor(NamedTuple):
    """A regressor that stands in a text, up to (not including) character number ``end``."""

    column: str
    end: int


def find_regressor(text: str, start: int, columns: Sequence[str]) -> FoundRegressor | None:
    """Find the longest name of ``columns`` that stands at ``start``; None where there is none.

    Where two columns would be found by names of equal length, neither of them exact, there is none.
    """
    quoted = re.compile(r"`([^`]*)`").match(text, start)
    ends: dict[str, int] = {}
    for column in columns:
        patterns = _patterns(column)
        found = [match.end() for pattern in patterns if (match := pattern.match(text, start))]
        if quoted and any(pattern.fullmatch(quoted[1]) for pattern in patterns):
            found.append(quoted.end())
        if found:
            ends[column] = max(found)
    longest = max(ends.values(), default=0)
    best = [column for column, end in ends.items() if end == longest]
    exact = [column for column in best if column in (text[start:longest], quoted and quoted[1])]
    return FoundRegressor((exact or best)[0], longest) if exact or len(best) == 1 else None


@functools.cache
def _patterns(column: str) -> list[re.Pattern[str]]:
    """Patterns of the spellings of a name that does not go on; where it has brackets, blanks are free.

    Both kinds of quotes are one: a design writes ``Treatment("a")`` as ``Treatment('a')``.
    """
    patterns = []
    for name in spellings(column):
        pieces = re.sub(r"\s", "", name) if re.search(r"[\[(]", name) else [name]
        is_word = re.search(r"\w$", name)
        goes_on = r"[\w.(\[:]" if is_word else r"[\[:]"
        escaped = ("['\"]" if piece in ("'", '"') else re.escape(piece) for piece in pieces)
        patterns.append(re.compile(r"\s*".join(escaped) + f"(?!{goes_on})"))
    return patterns


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
    levels = [match["level"]]
    if re.fullmatch(r"-?\d+", levels[0]):  # other programs write whole numbers of a column with n/a so
        levels.append(f"{levels[0]}.0")
    found = itertools.product(levels, names, codes)
    return tuple(dict.fromkeys(f"{name}[{code}{level}]" for level, name, code in found))


def split_factors(name: str) -> list[str]:
    """Split an interaction at its colons, not at those inside brackets or backticks."""
    parts, depth = [""], 0
    for character in name:
        depth += (character in "([") - (character in ")]")
        if character == ":" and depth == 0 and not parts[-1].count("`") % 2:
            parts.append("")
        else:
            parts[-1] += character
    return parts
