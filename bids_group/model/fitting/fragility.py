"""What hangs on single rows: who carries a result most, and how often chance alone makes it hang so."""

from __future__ import annotations

import numpy as np
from scipy import special

from bids_group.model.fitting.influence import find_strongest, tabulate_peaks
from bids_group.records import Contrast, ContrastResult, Design, GroupData
from bids_group.row_space import RowSpace

_MOST_DRAWS, _VALUES_OF_DRAWS = 2000, 4_000_000


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
    design: Design, contrast: Contrast, p: float, alpha: float, *, is_two_sided: bool, is_largest: bool
) -> float | None:
    """Say how often normal data of this design and p lose significance without one row.

    Draws independent normal errors, given that the t test of the contrast has this ``p``, and counts where
    without a row its p is above ``alpha``: the row that carries it most (``is_largest``), else one chosen by
    lot. p stands for the corrected p, whatever the number of tests. None for F, and where fewer than 3
    degrees of freedom are left.
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
    gaps = 1 - (basis**2).sum(axis=1)
    can_go = gaps > 1e-9
    errors, loadings, gaps = errors[:, can_go], loadings[can_go], gaps[can_go]
    effect = t * np.sqrt(spread) - loadings * errors / gaps
    variance = np.maximum(dof - errors**2 / gaps, 0) / (dof - 1) * (spread + loadings**2 / gaps)
    with np.errstate(divide="ignore"):
        without = special.stdtr(dof - 1, -effect / np.sqrt(variance)) * tails
    largest = without.max(axis=1) if is_largest else without
    return float((largest > alpha).mean())
