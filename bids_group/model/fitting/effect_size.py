"""How large an effect is: Hedges' g and partial R², with confidence limits.

The limits invert the non-central distribution of the statistic (Steiger 2004, doi:10.1037/1082-989X.9.2.164).
They are monotone in the statistic for fixed degrees of freedom, so that whole maps go through a spline.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.interpolate import CubicSpline

Doubles = npt.NDArray[np.float64]

CONFIDENCE = 0.95
_HIGH, _LOW = (1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2

_LARGEST_T = 100.0
_T_KNOTS = np.linspace(-np.arcsinh(_LARGEST_T), np.arcsinh(_LARGEST_T), 301)  # of asinh(t)
_LARGEST_F = 1e6
_N_F_KNOTS = 300  # of log(F)
_N_HALVINGS = 60


def hedges_g(t: Doubles, spread: npt.ArrayLike, dof: npt.ArrayLike) -> tuple[Doubles, Doubles, Doubles]:
    """Standardise an effect, with its 95 % limits.

    g = J·t·√(c(X'X)⁺c') with J = 1 − 3/(4·dof − 1) (Hedges 1981): the effect in units of the residual SD,
    nearly unbiased. The limits are those of the non-centrality of t, scaled alike. ``spread`` is c(X'X)⁺c',
    ``dof`` the residual degrees of freedom, each one number or ``(n,)``.
    """
    degrees = np.broadcast_to(np.asarray(dof, dtype=np.float64), t.shape)
    unit = (1 - 3 / (4 * degrees - 1)) * np.sqrt(np.asarray(spread, dtype=np.float64))
    lower, upper = np.empty(t.shape), np.empty(t.shape)
    for value in np.unique(degrees):
        here = degrees == value
        lower[here] = _lower_noncentrality(t[here], float(value))
        upper[here] = -_lower_noncentrality(-t[here], float(value))
    return unit * t, unit * lower, unit * upper


def partial_r2(
    f: Doubles, q: int, dof: npt.ArrayLike, n_obs: npt.ArrayLike
) -> tuple[Doubles, Doubles, Doubles]:
    """Give the share of variance, left by the other regressors, that a contrast explains, with 95 % limits.

    Partial R² = qF/(qF + dof), in [0, 1]; the limits are λ/(λ + n_obs) at those of the non-centrality λ of F
    (Steiger 2004). The lower limit is 0 where F is not significant at 0.025. ``dof`` (residual) and ``n_obs``
    (rows) are one number or ``(n,)``.
    """
    degrees = np.broadcast_to(np.asarray(dof, dtype=np.float64), f.shape)
    lower, upper = np.empty(f.shape), np.empty(f.shape)
    for value in np.unique(degrees):
        here = degrees == value
        lower[here] = _noncentrality_of_f(f[here], q, float(value), _HIGH)
        upper[here] = _noncentrality_of_f(f[here], q, float(value), _LOW)
    rows = np.asarray(n_obs, dtype=np.float64)
    return q * f / (q * f + degrees), lower / (lower + rows), upper / (upper + rows)


def _lower_noncentrality(t: Doubles, dof: float) -> Doubles:
    """Lower limit of the non-centrality δ given t; the upper one is minus that of −t.

    Beyond |t| = 100 it is `_far_noncentrality`, and what that lacks at 100 fades as 1/t.
    """
    inside = np.clip(t, -_LARGEST_T, _LARGEST_T)
    limits = np.asarray(_t_table(dof)(np.arcsinh(inside)))
    far = np.abs(t) > _LARGEST_T
    edge = inside[far]
    lacking = limits[far] - _far_noncentrality(edge, dof)
    limits[far] = _far_noncentrality(t[far], dof) + lacking * edge / t[far]
    return limits


def _far_noncentrality(t: Doubles, dof: float) -> Doubles:
    """Lower limit for large |t|: the noise of the numerator and that of the residual SD, √(z² + z²t²/2dof).

    For t → ±∞ it is r·t with r² a quantile of χ²/dof, as it must be.
    """
    ratio = np.sqrt(special.chdtri(dof, np.where(t > 0, _HIGH, _LOW)) / dof)
    z = special.ndtri(_HIGH)
    own = z / np.sqrt(2 * dof)
    return np.asarray(ratio * t + own * np.abs(t) - np.sqrt(z**2 + (own * t) ** 2))


@lru_cache(maxsize=512)
def _t_table(dof: float) -> CubicSpline:
    values = np.sinh(_T_KNOTS)
    of_positive = special.nctdtrinc(dof, _HIGH, np.abs(values))
    of_negative = -special.nctdtrinc(dof, _LOW, np.abs(values))
    return CubicSpline(_T_KNOTS, np.where(values >= 0, of_positive, of_negative))


def _noncentrality_of_f(f: Doubles, q: int, dof: float, probability: float) -> Doubles:
    """Non-centrality λ at which P(F ≤ f) = ``probability``; 0 where none is that small."""
    spline = _f_table(q, dof, probability)
    with np.errstate(divide="ignore"):
        at = np.clip(np.log(f), spline.x[0], spline.x[-1])
    ratio = np.clip(spline(at), 0.0, None)
    limits = dof * ratio / (1 - ratio)
    limits = np.where(f > _LARGEST_F, limits * f / _LARGEST_F, limits)
    return np.where(f <= special.fdtri(q, dof, probability), 0.0, limits)


@lru_cache(maxsize=512)
def _f_table(q: int, dof: float, probability: float) -> CubicSpline:
    """λ/(λ + dof) over log(F), by halving intervals: the probability of F ≤ f falls as λ grows."""
    smallest = special.fdtri(q, dof, probability)  # λ = 0 here
    knots = np.linspace(np.log(smallest), max(np.log(_LARGEST_F), np.log(smallest) + 1), _N_F_KNOTS)
    f = np.exp(knots)
    largest = float(special.chdtri(dof, 1e-3) / dof)  # bound of λ/(qF) for large F: a high quantile of χ²/dof
    low, high = np.zeros(f.shape), np.maximum(4 * q * f * largest, 100.0)
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        is_low = special.ncfdtr(q, dof, middle, f) > probability
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    limits = np.where(f <= f[0], 0.0, (low + high) / 2)
    return CubicSpline(knots, limits / (limits + dof))
