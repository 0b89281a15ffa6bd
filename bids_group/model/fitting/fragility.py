"""What hangs on single people: who carries a result most, and how often chance alone makes it hang so."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

from bids_group.model.fitting.influence import find_strongest, tabulate_peaks
from bids_group.records import Contrast, ContrastResult, Design, GroupData
from bids_group.row_space import RowSpace

_MOST_DRAWS, _VALUES_OF_DRAWS = 2000, 4_000_000
_GAP = 1e-9
"""Share of a direction of a person's rows that residuals keep, below which it is fitted exactly."""


def find_most_influential(data: GroupData, result: ContrastResult, *, is_two_sided: bool) -> str:
    """Name the row that carries a contrast most: without it the strongest statistic falls most.

    Where the estimator has no statistic without a row in closed form, it is the row with the largest of
    Cook's distances.
    """
    at = find_strongest(result, is_two_sided)
    table = tabulate_peaks(data, result.contrast, [at])
    sign = np.sign(result.maps[result.contrast.test][at]) if result.contrast.test == "t" else 1.0
    loss = -sign * table["statistic_without_row"].to_numpy(dtype=np.float64)
    if np.isnan(loss).all():
        loss = table["cooks_distance"].to_numpy(dtype=np.float64)
    return str(table["label"].iloc[int(np.nan_to_num(loss, nan=-np.inf).argmax())])


def share_lost(
    design: Design,
    contrast: Contrast,
    p: float,
    alpha: float,
    *,
    subjects: pd.Series,
    is_two_sided: bool,
    is_largest: bool,
) -> float | None:
    """Say how often normal data of this design and p lose significance without all rows of one person.

    Draws independent normal errors, given that the t test of the contrast has this ``p``, and counts where
    without a person its p is above ``alpha``: who carries it most (``is_largest``), else one chosen by lot.
    p stands for the corrected p, whatever the number of tests. ``subjects``: whose row each is. None for F,
    where fewer than 3 degrees of freedom are left, and where everybody is needed.
    """
    space, dof = RowSpace.of(design.matrix.to_numpy(dtype=np.float64)), design.dof
    if contrast.test != "t" or dof < 3 or not 0 < p <= alpha:
        return None
    tails = 2 if is_two_sided else 1
    t = special.stdtrit(dof, 1 - p / tails)
    basis, loadings = space.columns, space.weights_of_rows(np.atleast_2d(contrast.weights))[0]
    draw, spread = np.random.default_rng(0), float(loadings @ loadings)
    n_draws = max(100, min(_MOST_DRAWS, _VALUES_OF_DRAWS // len(basis)))
    errors = draw.standard_normal((n_draws, len(basis)))
    errors -= (errors @ basis) @ basis.T
    errors *= np.sqrt(dof) / np.linalg.norm(errors, axis=1, keepdims=True)  # their variance is 1
    of_person, counts, worst, n_people = pd.factorize(subjects.reindex(design.matrix.index))[0], 0, None, 0
    order = np.argsort(of_person, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(of_person))[:-1]):
        sizes, left = np.linalg.eigh(np.eye(len(rows)) - basis[rows] @ basis[rows].T)
        gaps, shares, own = (
            sizes[sizes > _GAP],
            loadings[rows] @ left,
            errors[:, rows] @ left[:, sizes > _GAP],
        )
        left_over = dof - gaps.size
        if left_over < 1 or (shares[sizes <= _GAP] ** 2).sum() > _GAP * spread:
            continue  # without them nothing is left to judge by, or the contrast is not determined
        kept = shares[sizes > _GAP]
        effect = t * np.sqrt(spread) - own @ (kept / gaps)
        variance = np.maximum(dof - (own**2 / gaps).sum(axis=1), 0) / left_over
        with np.errstate(divide="ignore"):
            without = special.stdtr(
                left_over, -effect / np.sqrt(variance * (spread + (kept**2 / gaps).sum()))
            )
        is_lost = without * tails > alpha
        worst = is_lost if worst is None else worst | is_lost
        counts, n_people = counts + int(is_lost.sum()), n_people + 1
    if worst is None:
        return None
    return float(worst.mean() if is_largest else counts / (n_people * n_draws))
