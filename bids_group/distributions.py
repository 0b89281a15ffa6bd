"""Tail probabilities of t and F, and the normal deviates that have the same tail.

A statistic becomes z through the probability of its own tail (t: signed; F: upper tail), so that degrees
of freedom that differ between elements or contrasts share one scale. Whole maps go through a table (a
cubic spline over fixed knots, error below 1e-6); what lies beyond the table is computed directly in
logarithms, so that nothing ends as infinity or as 0.

NaN stays NaN. ``dof`` is a number or an array that broadcasts with the statistic; infinite dof is the
normal (χ²) reference.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline

Values = npt.ArrayLike
Doubles = npt.NDArray[np.float64]
Distribution = Literal["t", "F"]
Target = Literal["z", "log_tail"]

SMALLEST_P = float(np.finfo(np.float32).tiny)
"""No p-value is smaller: the smallest positive normal float32."""

_KNOTS = {
    "t": np.linspace(0.0, np.arcsinh(1e4), 1001),  # of asinh(t)
    "F": np.linspace(-40.0, 20.0, 3001),  # of log(F)
}
_MOST_TABLES_PER_CALL, _FEWEST_PER_TABLE = 256, 4


def t_p(t: Values, dof: Values, is_two_sided: bool) -> Doubles:
    """P-value of t: of both tails, or of the upper tail; in [`SMALLEST_P`, 1], of the shape of ``t``."""
    values = np.asarray(t, dtype=np.float64)
    log_tail = _convert("t", "log_tail", 1, np.abs(values), dof)
    tail = np.exp(log_tail + (np.log(2.0) if is_two_sided else 0.0))
    is_lower = (values < 0) & (not is_two_sided)
    return np.clip(np.where(is_lower, 1.0 - tail, tail), SMALLEST_P, 1.0)


def f_p(f: Values, q: int, dof: Values) -> Doubles:
    """P-value of F with ``q`` and ``dof`` degrees of freedom (upper tail), in [`SMALLEST_P`, 1]."""
    log_tail = _convert("F", "log_tail", q, np.asarray(f, dtype=np.float64), dof)
    return np.clip(np.exp(log_tail), SMALLEST_P, 1.0)


def t_to_z(t: Values, dof: Values) -> Doubles:
    """Turn t into the normal deviate of the same tail probability and sign; finite where ``t`` is."""
    values = np.asarray(t, dtype=np.float64)
    return np.copysign(_convert("t", "z", 1, np.abs(values), dof), values)


def f_to_z(f: Values, q: int, dof: Values) -> Doubles:
    """Turn F into the normal deviate of the same upper tail; negative where F is below its median.

    Where the lower tail is below `SMALLEST_P` (F = 0) it is the deviate of that probability, −12.95.
    """
    return _convert("F", "z", q, np.asarray(f, dtype=np.float64), dof)


def _convert(statistic: Distribution, target: Target, q: int, values: Doubles, dof: Values) -> Doubles:
    degrees = np.asarray(dof, dtype=np.float64)
    if degrees.ndim == 0:
        return _by_table(statistic, target, q, values, float(degrees))
    values, degrees = np.broadcast_arrays(values, degrees)
    distinct, which = np.unique(degrees, return_inverse=True)
    if distinct.size > min(_MOST_TABLES_PER_CALL, max(values.size // _FEWEST_PER_TABLE, 1)):
        return _exact(statistic, target, q, values, degrees)
    converted = np.empty(values.shape)
    for number, value in enumerate(distinct):
        here = which.reshape(values.shape) == number
        converted[here] = _by_table(statistic, target, q, values[here], float(value))
    return converted


def _by_table(statistic: Distribution, target: Target, q: int, values: Doubles, dof: float) -> Doubles:
    spline = _table(statistic, target, q, dof)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        at = np.arcsinh(values) if statistic == "t" else np.log(values)
        converted = _evaluate(spline, at)
    outside = (at < spline.x[0]) | (at > spline.x[-1])
    if outside.any():
        converted[outside] = _exact(statistic, target, q, values[outside], dof)
    return converted


def _evaluate(spline: CubicSpline, at: Doubles) -> Doubles:
    """Evaluate a spline of equidistant knots: its own ``__call__``, to the bit, at a third of the time."""
    knots, n = spline.x, spline.x.size
    place = (at - knots[0]) * ((n - 1) / (knots[-1] - knots[0]))
    piece = np.fmin(np.fmax(place, 0), n - 2).astype(np.intp)  # NaN: any
    piece -= (at < knots[piece]) & (piece > 0)
    piece += (at >= knots[piece + 1]) & (piece < n - 2)
    by, power = at - knots[piece], np.ones(at.shape)
    found = spline.c[3][piece] * power
    for coefficients in spline.c[2::-1]:
        power *= by
        found += coefficients[piece] * power
    return np.asarray(found)


@lru_cache(maxsize=512)
def _table(statistic: Distribution, target: Target, q: int, dof: float) -> CubicSpline:
    from scipy.interpolate import CubicSpline

    values = (np.sinh if statistic == "t" else np.exp)(_KNOTS[statistic])
    return CubicSpline(_KNOTS[statistic], _exact(statistic, target, q, values, dof))


def _exact(statistic: Distribution, target: Target, q: int, values: Doubles, dof: Values) -> Doubles:
    if target == "z":
        return exact_z(statistic, q, values, dof)
    return log_upper_tail_of_t(values, dof) if statistic == "t" else log_upper_tail_of_f(values, q, dof)


def exact_z(statistic: Distribution, q: int, values: Doubles, dof: Values) -> Doubles:
    """Turn t ≥ 0 or F into the normal deviate of its upper tail, without tables."""
    if statistic == "t":
        return np.asarray(-special.ndtri_exp(log_upper_tail_of_t(values, dof)))
    values, degrees = np.broadcast_arrays(values, np.asarray(dof, dtype=np.float64))
    log_tail = log_upper_tail_of_f(values, q, degrees)
    z = np.asarray(-special.ndtri_exp(np.minimum(log_tail, -1e-300)))
    below = log_tail > np.log(0.5)
    lower = _lower_tail_of_f(values[below], q, degrees[below])
    z[below] = special.ndtri(np.maximum(lower, SMALLEST_P))
    return z


def log_upper_tail_of_t(t: Values, dof: Values) -> Doubles:
    """Logarithm of P(T ≥ t) for t ≥ 0, also where the probability itself underflows."""
    values = np.asarray(t, dtype=np.float64)
    return np.asarray(log_upper_tail_of_f(values**2, 1, dof) - np.log(2.0))


def log_upper_tail_of_f(f: Values, q: int, dof: Values) -> Doubles:
    """Logarithm of P(F ≥ f) for f ≥ 0, also where the probability itself underflows.

    P = I_x(dof/2, q/2) with x = dof/(dof + q f) (Abramowitz & Stegun 26.6.2);
    for infinite dof the tail of χ²/q.
    """
    values, degrees = np.broadcast_arrays(np.asarray(f, dtype=np.float64), np.asarray(dof, dtype=np.float64))
    logs = np.empty(values.shape)
    is_infinite = np.isinf(degrees)
    logs[is_infinite] = _log_chi2_tail(q, q * values[is_infinite])
    logs[~is_infinite] = _log_beta_tail(q, values[~is_infinite], degrees[~is_infinite])
    return logs


def _log_beta_tail(q: int, f: Doubles, dof: Doubles) -> Doubles:
    """Log of P(F ≥ f); next to f = 0 by its complement, which keeps the digits of f."""
    ratio = q * f / dof
    shares = np.asarray(special.betainc(dof / 2, q / 2, 1 / (1 + ratio)), dtype=np.float64)
    near = ratio * np.maximum(dof, 1.0) < 1e-2
    shares[near] = special.betaincc(q / 2, dof[near] / 2, ratio[near] / (1 + ratio[near]))
    with np.errstate(divide="ignore"):
        logs = np.log(shares)
    is_tiny = logs < -600
    logs[is_tiny] = _log_beta_by_fraction(dof[is_tiny] / 2, q / 2, ratio[is_tiny])
    return np.asarray(logs)


def _log_beta_by_fraction(a: Doubles, b: float, ratio: Doubles) -> Doubles:
    """Log I_x(a, b) at x = 1/(1 + ratio), by continued fraction (Abramowitz & Stegun 26.5.8; Lentz)."""
    x = 1 / (1 + ratio)
    front = -a * np.log1p(ratio) + b * (np.log(ratio) - np.log1p(ratio)) - np.log(a) - special.betaln(a, b)
    c = np.ones_like(a)
    d = 1 / (1 - (a + b) * x / (a + 1))
    fraction = d.copy()
    for m in range(1, 2000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + factor * d)
            c = 1 + factor / c
            fraction = fraction * d * c
        if np.all(np.abs(d * c - 1) < 1e-14):
            break
    return np.asarray(front + np.log(fraction))


def _log_chi2_tail(q: int, x: Doubles) -> Doubles:
    """Log of the upper tail of χ² with ``q`` degrees of freedom; asymptotic series where it underflows."""
    a, half = q / 2, x / 2
    with np.errstate(divide="ignore"):
        logs = np.log(special.gammaincc(a, half))
    far = half[half > 600 + 2 * a]
    series, term = np.ones_like(far), np.ones_like(far)
    for k in range(1, 12):
        term = term * (a - k) / far
        series += term
    logs[half > 600 + 2 * a] = (a - 1) * np.log(far) - far - special.gammaln(a) + np.log(series)
    return np.asarray(logs)


def _lower_tail_of_f(f: Doubles, q: int, dof: Doubles) -> Doubles:
    is_infinite = np.isinf(dof)
    finite = np.where(is_infinite, 1.0, dof)
    ratio = q * f / finite
    tail = np.asarray(special.betainc(q / 2, finite / 2, ratio / (1 + ratio)), dtype=np.float64)
    far = ratio > 1  # f/(1 + f) loses its digits there
    tail[far] = special.betaincc(finite[far] / 2, q / 2, 1 / (1 + ratio[far]))
    tail[is_infinite] = special.gammainc(q / 2, q * f[is_infinite] / 2)
    return tail
