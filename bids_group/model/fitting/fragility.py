"""How far a result depends on single people: who weakens it most if left out, and how often by chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from bids_group.model.fitting.influence import (
    find_strongest,
    leave_out,
    statistics_without,
    tabulate_peaks,
)
from bids_group.records import Contrast, ContrastResult, Design, GroupData
from bids_group.row_space import RowSpace

Array = npt.NDArray[np.float64]

_MOST_DRAWS, _VALUES_OF_DRAWS = 2000, 4_000_000


def find_most_influential(data: GroupData, result: ContrastResult, *, is_two_sided: bool) -> str:
    """Name a row of the most influential person: without their rows the strongest statistic falls most.

    Where people have several rows, and where the estimator has no statistic without a row in closed form,
    statistics are those of least squares.
    """
    at = find_strongest(result, is_two_sided)
    table = tabulate_peaks(data, result.contrast, [at])
    sign = np.sign(result.maps[result.contrast.test][at]) if result.contrast.test == "t" else 1.0
    without = table["statistic_without_row"].to_numpy(dtype=np.float64)
    if data.subjects is not None or np.isnan(without).all():
        without = _without_people(data, table, result.contrast)
    loss = -sign * without
    if np.isnan(loss).all():
        loss = table["cooks_distance"].to_numpy(dtype=np.float64)
    return str(table["label"].iloc[int(np.nan_to_num(loss, nan=-np.inf).argmax())])


def _without_people(data: GroupData, table: pd.DataFrame, contrast: Contrast) -> Array:
    """Give t or F of least squares without all rows of the person of each row of a table of one peak."""
    space = RowSpace.of(data.design.matrix.loc[table["label"]].to_numpy(dtype=np.float64))
    if not space.is_estimable(contrast.weights).all():
        return np.full(len(table), np.nan)
    loadings = space.weights_of_rows(contrast.weights)
    people = table["label"] if data.subjects is None else data.subjects.loc[table["label"]]
    return statistics_without(space.columns, loadings, table["effect"].to_numpy(), pd.factorize(people)[0])


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
    """How often a result with this p loses significance without the rows of one person, by chance alone.

    Draws independent normal errors, given that the t test of the contrast has this ``p``, and counts where p
    is above ``alpha`` without the most influential person (``is_largest``), else without one chosen at
    random. p stands for the corrected p, whatever the number of tests. ``subjects``: whose row each is. None
    for F, where fewer than 3 degrees of freedom are left, and where everybody is needed.
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
    people, n_lost, worst, n_people = pd.factorize(subjects.reindex(design.matrix.index))[0], 0, None, 0
    for rows, gaps, shares, left in leave_out(basis, loadings[None], people):
        own, left_over = errors[:, rows] @ left, dof - gaps.size
        if left_over < 1:
            continue
        effect = t * np.sqrt(spread) - own @ (shares[0] / gaps)
        variance = np.maximum(dof - (own**2 / gaps).sum(axis=1), 0) / left_over
        variance *= spread + (shares[0] ** 2 / gaps).sum()
        with np.errstate(divide="ignore"):
            is_lost = special.stdtr(left_over, -effect / np.sqrt(variance)) * tails > alpha
        worst = is_lost if worst is None else worst | is_lost
        n_lost, n_people = n_lost + int(is_lost.sum()), n_people + 1
    if worst is None:
        return None
    return float(worst.mean() if is_largest else n_lost / (n_people * n_draws))
