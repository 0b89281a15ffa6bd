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
_LOWER_TAIL, _UPPER_TAIL = (1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2

_T_KNOTS = np.linspace(-np.arcsinh(5e3), np.arcsinh(5e3), 1201)  # of asinh(t)


def hedges_g(t: Doubles, spread: Doubles, dof: Doubles | float) -> tuple[Doubles, Doubles, Doubles]:
    """Standardised effect and its 95 % limits.

    g = J·t·√(c(X'X)⁺c') with J = 1 − 3/(4·dof − 1) (Hedges 1981): the effect in units of the residual SD,
    nearly unbiased. The limits are those of the non-centrality δ of t, scaled alike.

    Parameters
    ----------
    t
        Statistic, ``(n,)``.
    spread
        c(X'X)⁺c', one number or ``(n,)``.
    dof
        Residual degrees of freedom, one number or ``(n,)``.

    Returns
    -------
    g, lower limit, upper limit, each ``(n,)``.
    """
    degrees = np.broadcast_to(np.asarray(dof, dtype=np.float64), t.shape)
    unit = (1 - 3 / (4 * degrees - 1)) * np.sqrt(spread)
    lower, upper = np.empty(t.shape), np.empty(t.shape)
    for value in np.unique(degrees):
        here = degrees == value
        lower[here] = _noncentrality(t[here], float(value))
        upper[here] = -_noncentrality(-t[here], float(value))
    return unit * t, unit * lower, unit * upper


def _noncentrality(t: Doubles, dof: float) -> Doubles:
    """Lower 95 % limit of the non-centrality δ given t; the upper one is minus that of −t.

    Beyond |t| = 5000 the limit is proportional to t (the numerator's noise no longer counts).
    """
    spline = _t_table(dof)
    largest = 5e3
    inside = np.clip(t, -largest, largest)
    return np.asarray(spline(np.arcsinh(inside)) * np.where(np.abs(t) > largest, t / inside, 1.0))


@lru_cache(maxsize=512)
def _t_table(dof: float) -> CubicSpline:
    values = np.sinh(_T_KNOTS)
    from_positive = special.nctdtrinc(dof, _LOWER_TAIL, np.abs(values))
    from_negative = -special.nctdtrinc(dof, _UPPER_TAIL, np.abs(values))
    return CubicSpline(_T_KNOTS, np.where(values >= 0, from_positive, from_negative))


def partial_r2(f: Doubles, q: int, dof: Doubles | float) -> Doubles:
    """Share of the variance left by the other regressors that the contrast explains: qF/(qF + dof)."""
    return np.asarray(q * f / (q * f + dof))
