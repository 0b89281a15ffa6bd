"""Queries of the transformation Filter: which rows of a design they let through."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bids_group.conditions import parse_condition


def judge_rows(rows: pd.DataFrame, query: str) -> tuple[pd.Series, tuple[tuple[str, str], ...]]:
    """Say of each row whether a query is true (a missing value leaves it open, which is not true).

    Also gives the columns that the query compares with texts, and these. What cannot be read, or names what
    the rows do not have, is a `UsageError`.
    """
    columns = {str(name): _Asked(column) for name, column in rows.items()}
    condition = parse_condition(query, columns, as_pandas=True)
    cells = rows[list(condition.columns)].astype(object)
    records: list[Any] = cells.where(cells.notna(), None).to_dict("records")
    is_kept = [condition.holds(record) is True for record in records]
    return pd.Series(is_kept, index=cells.index, dtype="bool"), condition.texts


class _Asked:
    """A column as a query sees it: text, of which anything may be asked, or numbers."""

    levels = None

    def __init__(self, column: pd.Series) -> None:
        values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column.dropna()
        self.kind = "categorical" if any(isinstance(value, str) for value in values) else "numeric"

    def check_usable(self) -> None:
        """Numbers can always be asked for."""
