"""Corrections that need no shuffling: Bonferroni and the false discovery rate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]


def adjust_bonferroni(p: FloatArray) -> npt.NDArray[np.float64]:
    """Multiply each p by their number, at most 1.

    Parameters
    ----------
    p
        Uncorrected p-values, shape ``(n_tests,)``.
    """
    return np.minimum(np.asarray(p, dtype=np.float64) * p.size, 1.0)


def adjust_fdr(p: FloatArray) -> npt.NDArray[np.float64]:
    """Smallest false discovery rate at which each test passes (Benjamini & Hochberg 1995).

    Parameters
    ----------
    p
        Uncorrected p-values, shape ``(n_tests,)``.

    Returns
    -------
    Adjusted p-values in the same order: ``min over j ≥ rank of p_(j) · n / j``, at most 1.
    """
    order = np.argsort(p, kind="stable")
    ranked = np.asarray(p, dtype=np.float64)[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return adjusted
