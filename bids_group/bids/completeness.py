"""Complete rows: who has every value that a model needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import pandas as pd

from bids_group.errors import DataError, UsageError
from bids_group.labels import natural_order
from bids_group.records import Column, Exclusion, Notice, warn
from bids_group.words import list_some, plural, suggest


def keep_complete(
    rows: pd.DataFrame,
    variables: tuple[str, ...],
    missing: Literal["error", "drop"],
    columns: Mapping[str, Column] | None = None,
    about_labels: Notice | None = None,
) -> tuple[list[str], tuple[Exclusion, ...]]:
    """Keep the rows in which no variable is missing: their labels in order, and an exclusion for each other.

    Parameters
    ----------
    rows
        Index = observation labels; columns ``subject``, ``session`` (where rows are sessions) and covariates.
    columns
        What is known of the variables; their problems come before missing values.
    about_labels
        What was found of labels that are in the maps, but not in the table of participants.

    Raises
    ------
    DataError
        A value is missing and ``missing`` is ``error``, or nobody is left.
    UsageError
        A variable is no column.
    """
    known = [str(column) for column in rows.columns]
    for name in (name for name in variables if name not in known):
        fix = suggest(name, known)
        parts = [part for part in re.split(r"[,;\s]+", name) if part]
        if len(parts) > 1 and set(parts) <= set(known):  # several columns were named as one
            fix = "Only one column can be named here (blocks within blocks are not supported): make one of "
            fix += f"{' and '.join(parts)} in participants.tsv, whose values name both."
        raise UsageError(f"There is no column '{name}'.", found=", ".join(known), fix=fix)
    described = {name: columns[name] for name in variables if columns is not None and name in columns}
    for column in described.values():
        column.check_usable()
    gaps = rows.loc[:, list(variables)].isna()
    incomplete = gaps.any(axis=1)
    if incomplete.any() and (missing == "error" or incomplete.all()):
        raise _missing_values(rows, gaps[incomplete], about_labels, described)
    out = rows[incomplete]
    sessions = out["session"] if "session" in out else pd.Series(None, index=out.index, dtype=object)
    exclusions = [
        Exclusion(
            subject=str(subject),
            session=None if pd.isna(session) else str(session),
            reason=f"no value (n/a) of {', '.join(map(str, gaps.columns[lacks]))} (--missing drop)",
        )
        for subject, session, lacks in zip(out["subject"], sessions, gaps[incomplete].to_numpy(), strict=True)
    ]
    return [str(label) for label in rows.index[~incomplete]], tuple(exclusions)


def _missing_values(
    rows: pd.DataFrame, gaps: pd.DataFrame, labels: Notice | None, columns: Mapping[str, Column]
) -> DataError:
    """Say who lacks which values; ``gaps``: the incomplete rows of ``rows``, by variable."""
    covariates = rows.loc[gaps.index].drop(columns=["subject", "session"], errors="ignore")
    is_listed = labels is None and bool(columns)  # every map's person has a row in participants.tsv
    is_rowless = covariates.isna().all(axis=1) & (bool(covariates.shape[1]) and not is_listed)
    rowless, listed = [str(label) for label in gaps.index[is_rowless]], gaps[~is_rowless]
    found = []
    for name in listed.columns[listed.any()]:
        lacking = [str(label) for label in listed.index[listed[name]]]
        empty = [label for label in lacking if name in columns and label in columns[name].empty]
        parts = (("n/a", [label for label in lacking if label not in empty]), ("an empty cell", empty))
        said = [f"{word} in {name}: {list_some(those, 10)}" for word, those in parts if those]
        found += [f"no row has a value of {name}"] if len(lacking) == len(rows) else said
    fix = "Leave them out with --missing drop, or fill in the table."
    if len(gaps) == len(rows):
        fix = "Fill in the table, or leave the column out of the model."
    if rowless:
        has = plural(len(rowless), "has", "have")
        why = f"{list_some(rowless, 10)} {has} no value in any column (no row in participants.tsv?)"
        fix = (
            "Write the labels in participants.tsv as in the names of the maps (sub-1 is not sub-01: "
            "spreadsheets strip zeros in front), fill in the table, or say --missing drop."
        )
        found.insert(0, why if labels is None else labels.sentence)
        fix = fix if labels is None else labels.fix or fix
    names = ", ".join(map(str, gaps.columns[gaps.any()]))
    lacks = plural(len(gaps), "row lacks", "rows lack")
    lack = f"{len(gaps)} {lacks} a value that the model needs ({names})."
    return DataError(
        f"Nobody is left: {lack}" if len(gaps) == len(rows) else lack,
        found="; ".join(found),
        expected="a value for every analysed participant",
        fix=fix,
    )


def tell_lost_levels(
    before: pd.DataFrame, after: pd.DataFrame, columns: Mapping[str, Column]
) -> list[Notice]:
    """Warn of levels that lose all their rows with missing values, with the counts of all levels.

    Numbers count as levels where they look like groups: a few whole ones, each of several rows.
    """
    notices = []
    for name in (name for name, column in columns.items() if name in before and name in after):
        numbers = before[name].dropna() if columns[name].kind == "numeric" else None
        if numbers is not None and not (1 < numbers.nunique() <= 5 and bool((numbers % 1 == 0).all())):
            continue
        had, left = _count_levels(before[name]), _count_levels(after[name])
        lost = [level for level in had.index if had[level] > 1 and level not in left.index]
        if not lost or len(had) * 2 > had.sum():
            continue
        order = natural_order(map(str, had.index))
        counts = ", ".join(f"{left.get(level, 0)} of {had[level]} with {level}" for level in order)
        levels = list_some(natural_order(lost), 10)
        sentence = f"--missing drop leaves nobody with {name} = {levels}: {counts} are left."
        fix = "Fill in their values, or leave the column that they lack out of the model."
        notices.append(warn("missing", sentence, fix))
    return notices


def _count_levels(values: pd.Series) -> pd.Series:
    present = values.dropna()
    is_number = pd.api.types.is_numeric_dtype(present) and not pd.api.types.is_bool_dtype(present)
    return present.map(lambda one: f"{one:g}" if is_number else str(one)).astype(str).value_counts()
