"""Evidence that an effect is small, or is none: tests of equivalence, and Bayes factors."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.interpolate import CubicSpline

from bids_group.config.inference import CAUCHY_SCALE
from bids_group.distributions import SMALLEST_P, t_p, t_to_z
from bids_group.model.fitting.least_squares import Estimate
from bids_group.records import Bounds

Doubles = npt.NDArray[np.float64]

_LARGEST_T = 100.0
_KNOTS = np.linspace(0.0, np.arcsinh(_LARGEST_T), 501)  # of asinh(|t|)
_STEP, _FIRST, _TAIL = 0.1, -7.0, 40.0
"""Nodes over log g: below the first the prior has e⁻⁵⁰⁰, and beyond the tail the integrand as little."""
_MOST_DIRECT = len(_KNOTS)
"""So few elements are integrated one by one, as a table would be."""
_LARGEST = float(np.finfo(np.float32).max)


def bayes_factor(t: Doubles, dof: npt.ArrayLike, n_effective: npt.ArrayLike) -> Doubles:
    """Bayes factor of an effect against none, BF₁₀, from t; at most the largest number of float32.

    The effect in residual SDs has a Cauchy prior of scale `CAUCHY_SCALE`, the variance Jeffreys'. With g of
    the inverse χ² with one degree of freedom and G = n_effective · scale² · g,

        BF₁₀ = E_g[(1 + G)^(dof/2) / (1 + G / (1 + t²/dof))^((dof + 1)/2)].

    The integral goes over log g in equal steps, where it converges exponentially; elements that share
    ``dof`` and ``n_effective`` are read from a spline over t, whose relative error is below 1e-6.

    Parameters
    ----------
    t
        Of the effect, ``(n,)``.
    dof, n_effective
        Residual degrees of freedom, and 1/c(X'X)⁺c' (N of one sample, n₁n₂/(n₁ + n₂) of two): one number or
        ``(n,)``. For a slope per SD of its covariate, that over the squared SD.
    """
    pairs = np.stack(np.broadcast_arrays(np.asarray(dof, float), np.asarray(n_effective, float)), axis=-1)
    if pairs.ndim == 1:
        return np.exp(np.minimum(_log_by_table(t, *map(float, pairs)), np.log(_LARGEST)))
    logs = np.empty(t.shape)
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    for number, (degrees, size) in enumerate(distinct):
        here = which.reshape(-1) == number
        logs[here] = _log_by_table(t[here], float(degrees), float(size))
    return np.exp(np.minimum(logs, np.log(_LARGEST)))


def _log_by_table(t: Doubles, dof: float, n_effective: float) -> Doubles:
    """Logarithm of the Bayes factor from a spline over t; far out by quadrature."""
    sizes = np.abs(t)
    if sizes.size <= _MOST_DIRECT:
        return integrate(sizes, dof, n_effective)
    logs = np.asarray(_table(dof, n_effective)(np.arcsinh(np.minimum(sizes, _LARGEST_T))))
    far = sizes > _LARGEST_T
    logs[far] = integrate(sizes[far], dof, n_effective)
    return logs


@lru_cache(maxsize=128)
def _table(dof: float, n_effective: float) -> CubicSpline:
    return CubicSpline(_KNOTS, integrate(np.sinh(_KNOTS), dof, n_effective))


def integrate(t: Doubles, dof: float, n_effective: float) -> Doubles:
    """Logarithm of the Bayes factor at each t by quadrature (see `bayes_factor`)."""
    shrink = np.log1p(t**2 / dof)
    logs = np.empty(t.shape)
    for start in range(0, t.size, 512):  # a few megabytes at once
        here = slice(start, start + 512)
        last = max(float(shrink[here].max()) - min(np.log(n_effective), 0.0), 0.0) + _TAIL
        log_g = np.arange(_FIRST, last, _STEP)
        log_size = np.log(n_effective * CAUCHY_SCALE**2) + log_g
        prior = -0.5 * (log_g + np.exp(-log_g) + np.log(2 * np.pi)) + np.log(_STEP)
        terms = prior + dof / 2 * np.logaddexp(0.0, log_size)
        values = terms - (dof + 1) / 2 * np.logaddexp(0.0, log_size - shrink[here, None])
        peak = values.max(axis=1)
        logs[here] = peak + np.log(np.exp(values - peak[:, None]).sum(axis=1))
    return logs


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
