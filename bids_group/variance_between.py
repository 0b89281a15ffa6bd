"""The variance between people beside the known variances of their maps: REML at every element.

The model is y = Xβ + u + e with var(e_i) = v_i known and var(u_i) = τ². With w = 1/(v + τ²) and
P = W − WX(X'WX)⁻X'W, the restricted deviance Σ log(v + τ²) + log|X'WX| + y'Py has the slope
tr P − y'PPy in τ² (Viechtbauer 2005, doi:10.3102/10769986030003261).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_Room = tuple[npt.NDArray[Any], ...]

_N_STEPS = 8
"""Points, at equal ratios, where the slope's sign is looked at: with fewer a second minimum can be missed."""

_MOST_ROUNDS = 200
_LAST_STEP = 1e-9
"""Step, relative to τ², that ends the search; the error left is far smaller, as steps shrink fast."""

_DEPENDENT = 1e-13
"""Squared length of what the columns before leave of a unit column, below which it depends on them."""


def variance_between(
    values: npt.NDArray[np.floating], variances: npt.NDArray[np.floating], columns: Doubles
) -> tuple[Doubles, Doubles]:
    """Estimate the variance between people by restricted maximum likelihood.

    Parameters
    ----------
    values, variances
        Effects and their known variances, ``(n_obs, n)``. A row where either is not finite, or the variance
        not above 0, is not observed.
    columns
        Orthonormal basis of the design ``(n_obs, rank)``; without columns the expected effect is 0.

    Returns
    -------
    τ², 0 where no τ² above 0 has a smaller deviance; and the typical known variance s² = (N − rank)/tr P at
    τ² = 0 (Higgins & Thompson 2002), so that I² = τ²/(τ² + s²). Each ``(n,)``; 0 where no row is left over.
    """
    effects, known = (np.ascontiguousarray(maps.T, dtype=np.float64) for maps in (values, variances))
    first, second = np.tril_indices(columns.shape[1])
    products = np.ascontiguousarray((columns[:, first] * columns[:, second]).T)
    found = np.zeros((2, len(effects)))
    _fill(effects, known, np.ascontiguousarray(columns.T), products, found)
    return found[0], found[1]


@compiled()
def _fill(effects: Doubles, known: Doubles, columns: Doubles, products: Doubles, found: Doubles) -> None:
    """Write τ² and the typical variance of each element into ``found``.

    ``products``: products of all pairs of columns, row by row, in the order of `np.tril_indices`.
    """
    (rank, n_obs), n_pairs = columns.shape, len(products)
    y, v, w, rest = np.empty(n_obs), np.empty(n_obs), np.empty(n_obs), np.empty(n_obs)
    gram, squared, inverse = np.empty(n_pairs), np.empty(n_pairs), np.empty((rank, rank))
    room = (w, rest, gram, squared, inverse, np.empty((rank, rank)), np.empty(rank), np.empty(rank, np.bool_))
    for element in range(len(effects)):
        dof, smallest = 0, np.inf
        for i in range(n_obs):
            y[i], v[i] = 0.0, np.inf
            own = known[element, i]
            if np.isfinite(effects[element, i]) and 0 < own < np.inf:
                y[i], v[i], dof, smallest = effects[element, i], 0.0, dof + 1, min(smallest, own)
        _, squares, _, _ = _weigh(y, v, 1.0, columns, products, room, True)  # of ordinary least squares
        for j in range(rank):
            dof -= room[7][j]
        if dof < 1:
            continue
        for i in range(n_obs):
            if v[i] == 0:
                y[i], v[i] = rest[i], known[element, i]
        slope, _, _, trace = _weigh(y, v, 0.0, columns, products, room, False)
        found[1, element] = dof / trace
        found[0, element] = _search(
            y, v, columns, products, room, slope, smallest, squares / dof, found[1, element]
        )


@compiled()
def _search(
    y: Doubles, v: Doubles, columns: Doubles, products: Doubles, room: _Room,
    slope_at_0: float, smallest: float, spread: float, typical: float,
) -> float:  # fmt: skip
    """Find the τ² with the smallest deviance: a minimum above 0, or 0 where the deviance rises from there.

    Below a tenth of the smallest known variance the deviance is nearly straight. Above three times the
    variance of the residuals it usually rises; where it still falls, the search goes further.
    """
    minima, n_minima = np.zeros(_N_STEPS + 2), int(slope_at_0 >= 0)
    start = smallest / 10
    end = max(3 * spread, 2 * start)
    while _weigh(y, v, end, columns, products, room, False)[0] < 0:
        end *= 4
    here, slope = 0.0, slope_at_0
    for step in range(_N_STEPS + 1):
        beyond = start * (end / start) ** (step / _N_STEPS)
        slope_beyond = _weigh(y, v, beyond, columns, products, room, False)[0]
        if slope < 0 <= slope_beyond:
            minima[n_minima] = _turn(
                y, v, columns, products, room, here, beyond, slope, slope_beyond, typical
            )
            n_minima += 1
        here, slope = beyond, slope_beyond
    best, least = float(minima[0]), np.inf
    for k in range(n_minima if n_minima > 1 else 0):
        _, squares, log_det, _ = _weigh(y, v, minima[k], columns, products, room, False)
        deviance = squares + log_det
        for i in range(y.size):
            if v[i] < np.inf:
                deviance += np.log(v[i] + minima[k])
        if deviance < least:
            best, least = minima[k], deviance
    return best


@compiled()
def _turn(
    y: Doubles, v: Doubles, columns: Doubles, products: Doubles, room: _Room,
    here: float, beyond: float, slope: float, slope_beyond: float, typical: float,
) -> float:  # fmt: skip
    """Find the minimum between two τ² by a root of the deviance's slope (Anderson & Björck 1973).

    The slope is negative at one and positive at the other. What is searched is the slope times (τ² + s²)²: a
    straight line where all variances are equal.
    """
    left, right = slope * (here + typical) ** 2, slope_beyond * (beyond + typical) ** 2
    last = here
    for number in range(_MOST_ROUNDS):
        place = beyond - right * (beyond - here) / (right - left)
        low, high = min(here, beyond), max(here, beyond)
        if not low < place < high or number % 10 == 9:
            place = (low + high) / 2
        height = _weigh(y, v, place, columns, products, room, False)[0] * (place + typical) ** 2
        if abs(place - last) <= _LAST_STEP * place or height == 0 or not low < place < high:
            return place
        if height * right < 0:
            here, left = beyond, right
        else:
            shrink = 1 - height / right
            left *= shrink if shrink > 0 else 0.5
        beyond, right, last = place, height, place
    return last


@compiled(fastmath={"reassoc", "contract"})
def _weigh(
    y: Doubles, v: Doubles, tau2: float, columns: Doubles, products: Doubles, room: _Room,
    is_first: bool,
) -> tuple[float, float, float, float]:  # fmt: skip
    """Compute the deviance's slope, y'Py, log|X'WX| and tr P at a τ²; y − Xβ is left in ``room``."""
    w, rest, gram, squared, inverse, factor, beta, kept = room
    (rank, n_obs), n_pairs = columns.shape, len(products)
    for i in range(n_obs):
        w[i] = 1 / (v[i] + tau2)
        rest[i] = y[i]
    for k in range(n_pairs):
        pair, once, twice = products[k], 0.0, 0.0
        for i in range(n_obs):
            once += w[i] * pair[i]
            twice += w[i] * w[i] * pair[i]
        gram[k], squared[k] = once, twice
    log_det = _invert(gram, kept, factor, inverse, is_first)
    for j in range(rank):
        column, total = columns[j], 0.0
        for i in range(n_obs):
            total += w[i] * y[i] * column[i]
        beta[j] = total
    trace = 0.0
    for j in range(rank):
        column, total = columns[j], 0.0
        for k in range(rank):
            total += inverse[j, k] * beta[k]
            high, low = max(j, k), min(j, k)
            trace -= inverse[j, k] * squared[high * (high + 1) // 2 + low]
        for i in range(n_obs):
            rest[i] -= total * column[i]
    steep, squares = 0.0, 0.0
    for i in range(n_obs):
        own = w[i] * rest[i]
        trace += w[i]
        squares += own * rest[i]
        steep += own * own
    return trace - steep, squares, log_det, trace


@compiled()
def _invert(gram: Doubles, kept: Flags, factor: Doubles, inverse: Doubles, is_first: bool) -> float:
    """Invert a packed symmetric matrix by its Cholesky factor; return the logarithm of its determinant.

    The first call for an element (``is_first``, with all weights 1) finds the independent columns (``kept``);
    the others are left out from then on.
    """
    rank, log_det = kept.size, 0.0
    for j in range(rank):
        pivot = gram[j * (j + 1) // 2 + j]
        least = 1e-15 * pivot
        for k in range(j):
            pivot -= factor[j, k] ** 2
        if is_first:
            kept[j] = pivot > _DEPENDENT
        pivot = max(pivot, least) if kept[j] else 1.0
        factor[j, j] = np.sqrt(pivot)
        log_det += np.log(pivot)
        for i in range(j + 1, rank):
            total = gram[i * (i + 1) // 2 + j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = total / factor[j, j] if kept[j] else 0.0
    for j in range(rank):  # the factor's inverse, below the diagonal of its room
        factor_j = 1 / factor[j, j] if kept[j] else 0.0
        for i in range(j, rank):
            total = factor_j if i == j else 0.0
            for k in range(j, i):
                total -= factor[i, k] * inverse[k, j]
            inverse[i, j] = total if i == j else (total / factor[i, i] if kept[i] else 0.0)
    for i in range(rank):  # its square, from the top so that nothing is overwritten too early
        for j in range(i + 1):
            total = 0.0
            for k in range(i, rank):
                total += inverse[k, i] * inverse[k, j]
            factor[i, j] = total
    for i in range(rank):
        for j in range(i + 1):
            inverse[i, j] = inverse[j, i] = factor[i, j]
    return log_det
