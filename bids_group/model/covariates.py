"""The table behind a design: one row per observation, its entities and its covariates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from bids_group.errors import DataError, UsageError
from bids_group.records import Column, Table

ENTITIES = ("subject", "session", "run", "contrast")
"""Entities that a design can use as factors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKey:
    """What a row is about: its entities, and the sessions of the maps below it."""

    label: str
    entities: Mapping[str, str]
    sessions: tuple[str | None, ...]

    @property
    def subject(self) -> str:
        """The person's label."""
        return self.entities["subject"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Covariates:
    """``frame``: index = labels of the rows; ``refusals``: why a column of the tables is not in it."""

    frame: pd.DataFrame
    columns: Mapping[str, Column]
    refusals: Mapping[str, str] = field(default_factory=dict)

    def require(self, names: Iterable[str]) -> None:
        """Refuse a model that uses a column which has no one value in each row."""
        for name in names:
            if name in self.refusals:
                raise DataError(
                    self.refusals[name],
                    fix="Use --pooling none to have a row per session, or leave the column out.",
                )


def join_covariates(keys: Sequence[RowKey], tables: Sequence[Table]) -> Covariates:
    """Join the tables to the rows: by person, and by person and session.

    A session's column is a covariate of a row of several sessions only where it is the same in all of them.
    A missing value stays missing.
    """
    frame = _entity_frame(keys)
    columns: dict[str, Column] = {}
    refusals: dict[str, str] = {}
    for table in tables:
        for name in table.frame.columns:
            if name in frame.columns and name not in columns:
                continue  # an entity of the maps goes before a column of the same name
            if name in columns or name in refusals:
                refusals[name] = _clash(name, columns.get(name), table.columns.get(name))
                continue
            values, refusal = _column_values(keys, table, name)
            if refusal is None:
                frame[name] = values
                columns[name] = table.columns[name]
            else:
                refusals[name] = refusal
    kept = [name for name in frame.columns if name not in refusals]
    return Covariates(
        frame=frame[kept], columns={k: v for k, v in columns.items() if k in kept}, refusals=refusals
    )


def _entity_frame(keys: Sequence[RowKey]) -> pd.DataFrame:
    index = pd.Index([key.label for key in keys], name="observation")
    frame = pd.DataFrame(index=index)
    for entity in ENTITIES:
        values = [key.entities.get(entity) for key in keys]
        if any(value is not None for value in values):
            levels = sorted({value for value in values if value is not None}, key=_natural)
            frame[entity] = pd.Categorical(values, categories=levels)
    return frame


def _natural(label: str) -> tuple[bool, int, str]:
    return (not label.isdigit(), int(label) if label.isdigit() else 0, label)


def _column_values(keys: Sequence[RowKey], table: Table, name: str) -> tuple[pd.Series | None, str | None]:
    """Values by row, or the reason why there are none."""
    index = pd.Index([key.label for key in keys], name="observation")
    if table.level == "subject":
        values = table.frame[name].reindex([key.subject for key in keys])
        return values.set_axis(index), None
    pairs = [(key.subject, session or "") for key in keys for session in key.sessions]
    looked_up = table.frame[name].reindex(pd.MultiIndex.from_tuples(pairs))
    owners = pd.Index([key.label for key in keys for _ in key.sessions])
    by_row = looked_up.set_axis(owners)
    n_values = by_row.groupby(level=0, observed=True).nunique(dropna=False)
    varying = n_values.index[n_values > 1]
    if len(varying):
        return None, (
            f"The column {name!r} of {table.columns[name].source} varies between the sessions of "
            f"{sorted(varying)[0]}, and its row of the design stands for several sessions."
        )
    return by_row[~by_row.index.duplicated()].reindex(index), None


def _clash(name: str, first: Column | None, second: Column | None) -> str:
    files = " and ".join(str(column.source) for column in (first, second) if column is not None)
    return f"The column {name!r} stands in two tables: {files}."


def unknown_column(name: str, known: Iterable[str], where: str) -> UsageError:
    """Make the error about a name that is no column, with what exists."""
    import difflib

    available = sorted(known)
    close = difflib.get_close_matches(name, available, n=1)
    return UsageError(
        f"There is no column {name!r}, which {where} uses.",
        found=", ".join(available) or "no columns",
        fix=f"Did you mean {close[0]!r}?" if close else None,
    )
