"""Several rows per person: which contrasts are made within people, and which compare people.

The estimate of a contrast is a weighted sum of the rows. A person's own level cancels exactly where the
weights sum to zero over the rows of every person; else the contrast compares people, and the rows of one
person are not independent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.errors import DesignError
from bids_group.model.contrast.sentences import say_weights
from bids_group.model.formula.coding import Array, Coding
from bids_group.row_space import TOLERANCE, RowSpace
from bids_group.words import list_some


def has_repeats(subjects: pd.Series) -> bool:
    """Whether some person has several rows."""
    return bool(subjects.duplicated().any())


def is_within(weights: Array, X: Array, subjects: pd.Series) -> npt.NDArray[np.bool_]:
    """Say for each row of ``weights`` ``(q, n_regressors)`` whether its estimate is made within people."""
    space = RowSpace.of(X)
    inverse = np.linalg.pinv(X / space.norms, rcond=TOLERANCE)
    shares = (np.atleast_2d(weights) / space.norms) @ inverse
    codes, people = pd.factorize(subjects)
    sums = shares @ (codes[:, None] == np.arange(len(people)))
    return np.asarray(np.abs(sums).max(axis=1) <= 1e-7 * np.abs(shares).max(axis=1), dtype=np.bool_)


def _weighs_people(weights: Array, X: Array, subjects: pd.Series) -> npt.NDArray[np.bool_]:
    """Say for each row of ``weights`` whether it has one for a column that no person's rows differ in."""
    codes, _ = pd.factorize(subjects)
    first = X[np.unique(codes, return_index=True)[1]]
    is_constant = (first[codes] == X).all(axis=0)
    return np.asarray((weights[:, is_constant] != 0).any(axis=1), dtype=np.bool_)


def changes_within(variables: pd.DataFrame, subjects: pd.Series) -> bool:
    """Say whether any of these columns differs between the rows of one person."""
    changing = [name for name in variables if name != "subject"]
    counts = variables[changing].groupby(subjects.to_numpy(), observed=True).nunique()
    return bool((counts > 1).any(axis=None))


def check_within(
    name: str,
    weights: Array,
    coding: Coding,
    space: RowSpace,
    X: Array,
    subjects: pd.Series,
    *,
    are_conditions: bool = False,
) -> None:
    """Refuse a contrast that compares people who have several rows each.

    ``are_conditions``: the rows of a person are first-level contrasts, which pooling does not join.

    Raises
    ------
    DesignError
        Some row of the contrast is not made within people. Of a row that these rows cannot estimate, that
        is only said where it weighs a column that is constant within people.
    """
    is_between = ~is_within(weights, X, subjects)
    is_known = space.is_estimable(weights) | _weighs_people(weights, X, subjects)
    if not (is_between & is_known).any():
        return
    row = weights[is_between & is_known][0]
    several = sorted(set(subjects[subjects.duplicated()].astype(str)))
    people = [at for term, columns in coding.positions.items() if "subject" in term.columns for at in columns]
    if are_conditions:
        fix = (
            "Make the contrast of conditions within each person first, in a node of Level Subject, or "
            "analyse each condition by itself: GroupBy contrast, --first-level-contrast."
        )
    elif row[people].any() and not row.sum():
        fix = "The weights fall on columns of subject: see the order by --dry-run, or write means or columns."
    elif "subject" in coding.formula.columns:
        fix = (
            "Give every person one row (--pooling precision, or mean without variance maps), "
            "or contrast what changes within people."
        )
    else:
        fix = (
            "Give every person one row (--pooling precision, or mean without variance maps); "
            "what changes within people needs '+ subject' (a column for each person)."
        )
    raise DesignError(
        f"The contrast '{name}' compares people, but {len(several)} people have several rows.",
        found=f"several rows of {list_some(several, 6)}, which are not independent of each other; "
        f"its weights: {say_weights(row, coding.columns)}",
        expected="one row per person, or a contrast of what changes within people",
        fix=fix,
    )
