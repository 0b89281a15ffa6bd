"""Several rows per person: which contrasts are made within people, and which compare people.

The estimate of a contrast is a weighted sum of the rows. A person's own level cancels exactly where the
weights sum to zero over the rows of every person; else the contrast compares people, and the rows of one
person are not independent.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bids_group.errors import DesignError
from bids_group.model.contrast.coded_design import CodedDesign
from bids_group.model.contrast.sentences import say_weights
from bids_group.model.formula.coding import Array
from bids_group.words import list_some


def changes_within(variables: pd.DataFrame, subjects: pd.Series) -> bool:
    """Say whether any of these columns differs between the rows of one person."""
    changing = [name for name in variables if name != "subject"]
    counts = variables[changing].groupby(subjects.to_numpy(), observed=True).nunique()
    return bool((counts > 1).any(axis=None))


def check_within(name: str, weights: Array, design: CodedDesign) -> None:
    """Refuse a contrast that compares people who have several rows each; ``weights``: ``(q, n_regressors)``.

    Raises
    ------
    DesignError
        Some row of the contrast is not made within people. Of a row that these rows cannot estimate, that
        is only said where it weighs a column that is constant within people.
    """
    if design.subjects is None:
        return
    X, (codes, people) = design.X, pd.factorize(design.subjects)
    shares = design.space.weights_of_rows(weights)
    sums = shares @ (codes[:, None] == np.arange(len(people)))
    is_between = np.abs(sums).max(axis=1) > 1e-7 * np.abs(shares).max(axis=1)
    first = X[np.unique(codes, return_index=True)[1]]
    is_constant = (first[codes] == X).all(axis=0)  # columns that no person's rows differ in
    is_known = design.space.is_estimable(weights) | (weights[:, is_constant] != 0).any(axis=1)
    if (is_between & is_known).any():
        raise _between_error(name, weights[is_between & is_known][0], design, design.subjects)


def _between_error(name: str, row: Array, design: CodedDesign, subjects: pd.Series) -> DesignError:
    coding = design.coding
    several = sorted(set(subjects[subjects.duplicated()].astype(str)))
    people = [at for term, columns in coding.positions.items() if "subject" in term.columns for at in columns]
    one_row = "Give every person one row (--pooling precision, or mean without variance maps)"
    if design.are_conditions:
        fix = (
            "Make the contrast of conditions within each person first, in a node of Level Subject, or "
            "analyse each condition by itself: GroupBy contrast, --first-level-contrast."
        )
    elif row[people].any() and not row.sum():
        fix = "The weights fall on columns of subject: see the order by --dry-run, or write means or columns."
    elif "subject" in coding.formula.columns:
        fix = f"{one_row}, or contrast what changes within people."
    else:
        fix = f"{one_row}; what changes within people needs '+ subject' (a column for each person)."
    return DesignError(
        f"The contrast '{name}' compares people, but {len(several)} people have several rows.",
        found=f"several rows of {list_some(several, 6)}, which are not independent of each other; "
        f"its weights: {say_weights(row.tolist(), coding.columns)}",
        expected="one row per person, or a contrast of what changes within people",
        fix=fix,
    )
