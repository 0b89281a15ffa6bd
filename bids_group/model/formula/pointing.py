"""Errors that point at the character: the line as typed, and a caret under the culprit."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

_INDENT = " " * 11
"""Width of ``"  found    "`` in the printed error, so that the caret stands under its character."""


def point_at(text: str, position: int) -> str:
    """Repeat ``text`` with a caret under character number ``position``.

    Line breaks and tabs become spaces, so that the caret stays in place.
    """
    line = "".join(" " if character.isspace() else character for character in text)
    return f"{line}\n{_INDENT}{' ' * position}^"


def suggest(name: str, known: Iterable[str]) -> str | None:
    """Name the closest of ``known`` in a sentence, or None where nothing is close."""
    names = list(known)
    by_folded = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return f"Did you mean '{by_folded[close[0]]}'?" if close else None


def say_columns(columns: Collection[str]) -> str:
    """Name the columns that a formula may use; says so where no table gives any."""
    said = f"one of {list_some(columns)}"
    has_table = not set(columns) <= {"subject", "session"}
    return said if has_table else f"{said} (there is no participants.tsv, or it has no columns)"


def fix_column(name: str, columns: Collection[str]) -> str | None:
    """Say what to do about a name that is no column; None where nothing is close."""
    if name == "session":
        return "Sessions are pooled; add --pooling none to keep them as rows (where the maps have sessions)."
    return suggest(name, columns)


def list_some(names: Iterable[object], limit: int = 12) -> str:
    """Join names by commas; beyond ``limit`` the rest is counted."""
    texts = [str(name) for name in names]
    if len(texts) <= limit:
        return ", ".join(texts) or "none"
    return ", ".join(texts[:limit]) + f" and {len(texts) - limit} more"
