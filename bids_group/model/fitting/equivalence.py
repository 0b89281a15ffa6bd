"""Tests of equivalence: two one-sided tests (Schuirmann 1987, doi:10.1007/BF01068419)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from bids_group.distributions import SMALLEST_P, t_p, t_to_z
from bids_group.model.fitting.least_squares import Estimate
from bids_group.records import Bounds

Doubles = npt.NDArray[np.float64]

_NEAR_ONE = 1 - 1e-15


def judge_equivalence(
    estimate: Estimate, dof: npt.ArrayLike, bounds: Bounds
) -> tuple[Doubles, Doubles, Doubles]:
    """Test whether an effect lies between bounds: t of the nearer bound, its z, and its p in one tail.

    p is the larger of the two one-sided p. Bounds in units of the effect are compared as effect − bound over
    its standard error. Bounds in residual SDs are points of the effect's non-centrality, bound/√(c(X'X)⁺c'):
    the statistic of the effect itself is compared with the non-central t at each, which makes every
    one-sided test exact, where a standard deviation that is plugged in has noise of its own. t is then the
    central one with the same p. Elements without residual variance give NaN.

    Parameters
    ----------
    estimate
        A t contrast at the elements of a tile.
    dof
        Residual degrees of freedom, one number or ``(n,)``.
    """
    degrees = np.asarray(dof, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        if not bounds.is_standardised:
            effect, error = estimate.effect[0], np.sqrt(estimate.variance[0])
            t = np.minimum(effect - bounds.lower, bounds.upper - effect) / error
            return t, t_to_z(t, degrees), t_p(t, degrees, is_two_sided=False)
        t, root = estimate.statistic, np.sqrt(estimate.spread[0])
        above = special.nctdtr(
            degrees, -bounds.lower / root, -t
        )  # P(T ≥ t) there; NaN where far smaller than the other
        below = special.nctdtr(degrees, bounds.upper / root, t)
        p = np.clip(np.fmax(above, below), SMALLEST_P, 1.0)
        inner = np.minimum(p, _NEAR_ONE)
        return -special.stdtrit(degrees, inner), -special.ndtri(inner), p
