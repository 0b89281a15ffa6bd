"""Complete rows: who has every value that a model needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from bids_group.bids.entities import name_some, suggest
from bids_group.errors import DataError, UsageError
from bids_group.records import Exclusion


def keep_complete(
    rows: pd.DataFrame, variables: tuple[str, ...], missing: Literal["error", "drop"]
) -> tuple[list[str], tuple[Exclusion, ...]]:
    """Keep the rows in which no variable is missing.

    Parameters
    ----------
    rows
        Index = observation labels; columns ``subject``, ``session`` (where rows are sessions) and covariates.
    variables
        The columns that the model needs.
    missing
        ``error`` refuses missing values, ``drop`` leaves their rows out.

    Returns
    -------
    The labels of the rows that stay, in their order, and an exclusion for each row that leaves.

    Raises
    ------
    DataError
        A value is missing and ``missing`` is ``error``; names participants and columns.
    UsageError
        A variable is no column.
    """
    for name in variables:
        if name not in rows.columns:
            known = [str(column) for column in rows.columns]
            raise UsageError(
                f"There is no column '{name}'.", found=", ".join(known), fix=_one_column(name, known)
            )
    gaps = rows.loc[:, list(variables)].isna()
    incomplete = gaps.any(axis=1)
    if incomplete.any() and missing == "error":
        raise _missing_values(gaps[incomplete], _without_values(rows))
    exclusions = [_exclude(rows, str(label), gaps) for label in rows.index[incomplete]]
    return [str(label) for label in rows.index[~incomplete]], tuple(exclusions)


def _without_values(rows: pd.DataFrame) -> pd.Index:
    """Find the rows that have a value in no column, as those of people whom no table lists."""
    covariates = rows.drop(columns=["subject", "session"], errors="ignore")
    return rows.index[covariates.isna().all(axis=1) & bool(covariates.shape[1])]


def _missing_values(gaps: pd.DataFrame, without_values: pd.Index) -> DataError:
    is_rowless = gaps.index.isin(without_values)
    rowless, listed = [str(label) for label in gaps.index[is_rowless]], gaps[~is_rowless]
    by_column = {
        str(name): [str(label) for label in listed.index[listed[name]]]
        for name in listed.columns[listed.any()]
    }
    found = [f"n/a in {'; '.join(f'{name}: {name_some(labels)}' for name, labels in by_column.items())}"]
    fix = "Leave them out with --missing drop, or fill in the table."
    if rowless:
        has = "have" if len(rowless) > 1 else "has"
        said = f"{name_some(rowless)} {has} no value in any column (no row in participants.tsv?)"
        found = [said, *(found if by_column else [])]
        fix = (
            "Write the labels in participants.tsv as in the names of the maps (sub-1 is not sub-01: "
            "spreadsheets strip zeros in front), fill in the table, or say --missing drop."
        )
    n_rows, names = len(gaps), ", ".join(str(name) for name in gaps.columns[gaps.any()])
    return DataError(
        f"{n_rows} {'rows lack' if n_rows > 1 else 'row lacks'} a value that the model needs ({names}).",
        found="; ".join(found),
        expected="a value for every analysed participant",
        fix=fix,
    )


def _exclude(rows: pd.DataFrame, label: str, gaps: pd.DataFrame) -> Exclusion:
    lacking = [str(name) for name in gaps.columns if gaps.loc[label, name]]
    session = rows["session"].to_dict()[label] if "session" in rows.columns else None
    return Exclusion(
        subject=str(rows["subject"].to_dict()[label]),
        session=None if session is None or pd.isna(session) else str(session),
        reason=f"no value (n/a) of {', '.join(lacking)} (--missing drop)",
    )


def _one_column(name: str, known: Sequence[str]) -> str | None:
    """Say so where several columns were named as one; else what is close."""
    parts = [part for part in re.split(r"[,;\s]+", name) if part]
    if len(parts) > 1 and set(parts) <= set(known):
        return (
            "Only one column can be named here (blocks within blocks are not supported): make one of "
            f"{' and '.join(parts)} in participants.tsv, whose values name both."
        )
    return suggest(name, known)
