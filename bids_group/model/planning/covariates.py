"""The table behind a design: one row per observation, its entities and its covariates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bids_group.errors import DataError, UsageError
from bids_group.labels import natural_order
from bids_group.records import Column, FirstLevelMap, Table
from bids_group.words import list_some, suggest

ENTITIES = ("subject", "session", "run", "contrast")
"""Entities that a design can use as factors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKey:
    """What a row is about: its entities, and the first-level maps below it."""

    label: str
    entities: Mapping[str, str]
    maps: Sequence[FirstLevelMap]


def join_covariates(
    keys: Sequence[RowKey],
    tables: Sequence[Table],
    *,
    required: Iterable[str] = (),
    sessions: Column | None = None,
) -> tuple[pd.DataFrame, dict[str, Column]]:
    """Join the tables to the rows, by person or by person and session; also give what is known of columns.

    A session's column is a covariate of a row of several sessions only where it is the same in all of them;
    a column that is ``required`` and has no one value in each row, or another problem, is refused. A missing
    value stays missing. Rows of equal labels are allowed. ``sessions`` gives the order of their labels; else,
    as for all entities, it is alphabetical with numbers as numbers.
    """
    entities = pd.DataFrame(index=range(len(keys)))
    for entity in ENTITIES:
        labels = [key.entities.get(entity) for key in keys]
        levels = natural_order({label for label in labels if label is not None})
        if entity == "session" and sessions is not None and set(levels) <= set(sessions.levels):
            levels = [level for level in sessions.levels if level in levels]
        if levels:
            entities[entity] = pd.Categorical(labels, categories=levels)
    found: dict[str, list[tuple[Table, pd.Series | None, str]]] = {}
    for table in tables:
        for name in table.frame.columns:
            if name not in entities:  # an entity of the maps goes before a column of the same name
                found.setdefault(name, []).append((table, *_column_values(keys, table, name)))
    values, refusals = {}, {}
    columns = {"session": sessions} if sessions is not None and "session" in entities else {}
    for name, sources in found.items():
        table, series, refusal = sources[0]
        if len(sources) > 1:
            files = " and ".join(str(each.columns[name].source) for each, _, _ in sources)
            refusals[name] = f"The column {name!r} stands in two tables: {files}."
        elif series is None:
            refusals[name] = refusal
        else:
            values[name], columns[name] = series, table.columns[name]
    for name in required:
        if name in columns:
            columns[name].check_usable()
        if name in refusals:
            fix = "Use --pooling none to have a row per session, or leave the column out."
            raise DataError(refusals[name], fix=fix)
    frame = pd.concat([entities, pd.DataFrame(values, index=entities.index)], axis=1)
    return frame.set_axis(pd.Index([key.label for key in keys], name="observation"), axis=0), columns


def _column_values(keys: Sequence[RowKey], table: Table, name: str) -> tuple[pd.Series | None, str]:
    """Values by position of the row; None and the reason where a row has no single value."""
    column = table.frame[name]
    if table.level == "subject":
        return column.reindex([key.entities["subject"] for key in keys]).reset_index(drop=True), ""
    below: list[list[Any]] = [
        [str(one.effect) for one in key.maps]
        if table.level == "map"
        else [
            (key.entities["subject"], session or "")
            for session in sorted({one.session for one in key.maps}, key=str)
        ]
        for key in keys
    ]
    pairs = pd.Index([part for parts in below for part in parts])
    owners = [position for position, parts in enumerate(below) for _ in parts]
    by_row = column.reindex(pairs).set_axis(pd.Index(owners))
    n_values = by_row.groupby(level=0, observed=True).nunique(dropna=False)
    varying = n_values.index[n_values > 1]
    if len(varying):
        return None, (
            f"The column {name!r} of {table.columns[name].source} varies between the {table.level}s of "
            f"{keys[varying[0]].label}, and a row of this design stands for several {table.level}s."
        )
    return by_row[~by_row.index.duplicated()].reindex(range(len(keys))), ""


def level_text(value: object) -> str | None:
    """Write a value as a label: text, whole numbers without a decimal point; None where it is missing."""
    if value is None or value is pd.NA or value != value:
        return None
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def unknown_column(name: str, known: Iterable[str], where: str) -> UsageError:
    """Make the error about a name that is no column, with what exists."""
    available = sorted(known)
    return UsageError(
        f"There is no column {name!r}, which {where} names.",
        found=list_some(available) or "no columns",
        fix=suggest(name, available),
    )
