"""The order of sessions, where a JSON beside the tables gives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_group.bids.columns import describe_column
from bids_group.bids.entities import bare_label, name_some
from bids_group.labels import natural_order
from bids_group.records import Column, Notice

_KEYS = ("session_id", "session")

Levels = tuple[str, ...]


def session_levels(dictionaries: Mapping[Path, Mapping[str, Any]]) -> dict[Path, Levels]:
    """Find Levels of ``session_id`` (or ``session``) by the table that they describe; no ``ses-`` in labels.

    Returns
    -------
    The labels by JSON file.
    """
    found: dict[Path, Levels] = {}
    for table, dictionary in dictionaries.items():
        entries = (describe_column(dictionary.get(key)).levels for key in _KEYS)
        if levels := next(filter(None, entries), ()):
            found[table.with_suffix(".json")] = tuple(bare_label(level, "ses") for level in levels)
    return found


def order_sessions(
    labels: Iterable[str], declared: Mapping[Path, Levels]
) -> tuple[Column | None, tuple[Notice, ...]]:
    """Put the sessions of the maps into their declared order.

    Returns
    -------
    The column ``session``, or None (alphabetical order) where no file gives an order, where one lacks a
    session, or where two disagree; the last two with a notice.
    """
    present = natural_order(set(labels))
    if len(present) < 2 or not declared:
        return None, ()
    for path, levels in declared.items():
        absent = [label for label in present if label not in levels]
        if absent:
            lacking = f"{path} orders the sessions, but its Levels lack {name_some(absent)}"
            return None, (_not_used(lacking, f"List every session: {name_some(present, 30)}."),)
    orders: dict[Levels, list[Path]] = {}
    for path, levels in declared.items():
        orders.setdefault(tuple(level for level in levels if level in present), []).append(path)
    if len(orders) > 1:
        return None, (_not_used(_say_conflict(orders), "Give the sessions one order in all files."),)
    ((levels, paths),) = orders.items()
    column = Column(
        name="session",
        kind="categorical",
        kind_source=f"Levels in {paths[0].name}",
        source=paths[0],
        levels=levels,
    )
    return column, ()


def _say_conflict(orders: Mapping[Levels, Sequence[Path]]) -> str:
    said = [f"{paths[0]} ({', '.join(levels)})" for levels, paths in orders.items()]
    return f"Files order the sessions differently: {' and '.join(said[:2])}"


def _not_used(reason: str, fix: str) -> Notice:
    sentence = f"{reason}: sessions are taken in alphabetical order."
    return Notice(severity="warning", topic="sessions", sentence=sentence, fix=fix)
