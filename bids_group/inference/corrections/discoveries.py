"""All-resolutions inference: a lower bound on the share of true discoveries in any set of elements.

The bound holds for all sets at once, however they were chosen (Rosenblatt et al. 2018,
doi:10.1016/j.neuroimage.2018.07.060; Goeman et al. 2019 for the shortcut).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def hommel_value(p: Doubles, alpha: float) -> int:
    """Largest number of elements that could all be null: Hommel's h.

    The largest i such that the i largest p-values satisfy ``p_(n-i+j) > j·alpha/i`` for every j = 1 … i. An
    i at which they are equal counts too, as in nilearn: h may be one above the definition, and bounds lower.

    Parameters
    ----------
    p
        One-sided p-values of all elements, shape ``(n_elements,)``.
    alpha
        Level of the Simes tests.
    """
    ranked = np.sort(p)
    n = ranked.size
    if n == 0 or ranked[-1] < alpha:
        return 0
    # p_(n-i+j) ≥ j·alpha/i for j = 1 … i  ⇔  i·slope ≤ alpha, slope = max over k of (alpha − p_(k))/(n − k)
    slope = np.max((alpha - ranked[:-1]) / np.arange(n - 1, 0, -1), initial=-np.inf)
    if slope <= 0:
        return n
    h = int(min(np.floor(alpha / slope), n))
    if h == n:
        return h
    largest = ranked[n - h - 1 :]  # do they pass for h + 1? A division that rounds down may have lost one
    return h + 1 if ((h + 1) * largest > np.arange(1, h + 2) * alpha).all() else h


def true_discovery_proportion(p: Doubles, hommel: int, alpha: float) -> float:
    """Lower bound, with confidence 1 − alpha, on the share of elements of a set that carry an effect.

    Parameters
    ----------
    p
        One-sided p-values of the set, shape ``(n,)``, n > 0.
    hommel
        `hommel_value` of all elements.

    Notes
    -----
    No element counts before the first category, where nilearn has those with p = 0 discover one too many.
    """
    categories, counts = np.unique(np.maximum(np.ceil(hommel * p / alpha), 1), return_counts=True)
    return float(max(0.0, np.max(1 - categories + np.cumsum(counts)) / p.size))
