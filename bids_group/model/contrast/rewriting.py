"""Levels by themselves (``patient > control``, ``mean(patient)``) as the grammar of contrasts has them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bids_group.words import quote_column as quote

Levels = Mapping[str, tuple[str, ...]]

_CALL = re.compile(r"\b(mean|slope)\(([^()]*)\)")


def rewrite(text: str, levels: Levels) -> str:
    """Write levels by themselves as means, levels in calls with their factor, a comparison as a difference.

    What is not understood stays: the caller reads the result, and shows it only where that is possible.
    """
    factors: dict[str, list[str]] = {}
    for factor, names in levels.items():
        for name in names:
            factors.setdefault(name, []).append(factor)
    longest_first = sorted(factors, key=len, reverse=True)
    owners = {name: factors[name][0] for name in longest_first if len(factors[name]) == 1}
    whole, text = text.strip(), _quote_levels(text.strip(), levels)
    pieces, end = [], 0
    for call in _CALL.finditer(text):
        given = [(part.strip(), owners.get(part.strip().strip("'\""))) for part in call[2].split(",")]
        filled = ", ".join(part if owner is None else f"{quote(owner)}={part}" for part, owner in given)
        pieces += [_name_levels(text[end : call.start()], owners), f"{call[1]}({filled})"]
        end = call.end()
    pieces.append(_name_levels(text[end:], owners))
    named = "".join(pieces)
    return whole if named == whole else _subtract(named)


def _quote_levels(text: str, levels: Levels) -> str:
    """Quote levels with brackets or commas where they follow an equals sign."""
    every = {name for names in levels.values() for name in names}
    odd = (name for name in every if re.search(r"[(),]", name) and '"' not in name)
    for name in sorted(odd, key=len, reverse=True):
        text = re.sub(rf"=\s*{re.escape(name)}", lambda _, name=name: f'="{name}"', text)  # type: ignore[misc]
    return text


def _name_levels(text: str, owners: Mapping[str, str]) -> str:
    """Write ``patient`` and ``group.patient`` as ``mean(group=patient)``; numbers stay numbers."""
    words = {name: factor for name, factor in owners.items() if re.search(r"[^\W\d]", name)}
    if not words:
        return text
    names = "|".join(re.escape(name) for name in words)
    prefix = "|".join(re.escape(factor) for factor in dict.fromkeys(words.values()))
    pattern = rf"(?<![\w.=\[`'\"])(?:(?:{prefix})\.)?(?P<level>{names})(?![\w.=\](])"
    return re.sub(pattern, lambda match: f"mean({quote(words[match['level']])}={match['level']})", text)


def _subtract(text: str) -> str:
    """Write ``A > B`` as ``A - B``, and ``A < B`` as ``B - A``."""
    sides = re.split(r"\s*([<>])=?\s*", text)
    if len(sides) != 3 or not sides[0] or not sides[2] or re.fullmatch(r"[\d.]+", sides[2]):
        return text
    left, right = (sides[0], sides[2]) if sides[1] == ">" else (sides[2], sides[0])
    outside = re.sub(r"\([^()]*\)", "", right)
    return f"{left} - ({right})" if re.search(r"\s[+-]\s", outside) else f"{left} - {right}"
