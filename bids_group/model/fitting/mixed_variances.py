"""Mixed models whose parameters are variances, of one random effect or of groups within groups: their search.

It starts at the best point of a grid and takes Newton's steps in the log of 1 + each variance over the
residual one, cut where a variance would be negative. A variance of 0 stays there where the deviance rises
from it.
"""

from __future__ import annotations

import numpy as np

from bids_group.compiled import compiled, written_out
from bids_group.model.fitting.least_squares import Doubles
from bids_group.model.fitting.mixed_likelihood import (
    NO_GAIN,
    STANDS,
    Fitted,
    Grid,
    Point,
    Work,
    empty_fit,
    evaluate,
    new_grid,
    new_point,
    new_work,
    start,
    take,
    write,
)
from bids_group.model.fitting.mixed_plan import Sums, Tables
from bids_group.model.fitting.small_matrices import invert_positive, unpack

_CORRELATIONS = (0, 0.01, 0.03, 0.07, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.83, 0.9, 0.95, 0.98, 0.995)
_LEVELS = (0.0, 0.15, 0.6, 2.0, 8.0, 60.0, 2e3)
_RATIOS = (*(share / (1 - share) for share in _CORRELATIONS), 2e3, 1e5, 1e7, 1e10, 1e13, 1e16)
_GRIDS = {
    1: np.array([[ratio] for ratio in _RATIOS]),
    2: np.array([[inner, outer] for inner in _LEVELS for outer in _LEVELS]),
}
_MOST_STEPS, _MOST_HALVINGS = 200, 50
_LONGEST = 3.0
"""Longest step in log(1 + a)."""
_LOG_SINGULAR = float(np.log(1e-10))
"""Log of the determinant of a Hessian over the product of its diagonal, at which its steps are not taken."""


def fit_variances(tables: Tables, sums: Sums, n_parameters: int) -> Fitted:
    """Fit one or two variances at each element; those without residual variance must not be among them."""
    fitted, work = empty_fit(len(sums.scale), n_parameters, tables.rank), new_work(n_parameters, tables)
    best, tried = new_point(n_parameters, tables.rank), new_point(n_parameters, tables.rank)
    _fit(tables, sums, new_grid(_GRIDS[n_parameters], tables, work), best, tried, work, fitted)
    return fitted


@compiled(error_model="numpy")
def _fit(
    tables: Tables, sums: Sums, grid: Grid, best: Point, tried: Point, work: Work, fitted: Fitted
) -> None:
    """Find the variances of each element, and write what follows from them."""
    n_parameters, n_free = best.at.size, tables.n_rows - tables.rank
    for v in range(sums.scale.size):
        start(grid, tables, sums.products[v], sums.squares[v], best, work)
        evaluate(tables, best, work)
        is_end = 0
        for _ in range(_MOST_STEPS):
            is_end = _advance(tables, best, tried, work)
            if is_end != 0:
                break
        fitted.has_converged[v] = is_end > 0
        write(best, n_free, fitted, v)
        for r in range(n_parameters):
            fitted.hessian[v, r, r] = 1.0
            if best.at[r] > 0:
                unpack(best.slopes[r], fitted.slopes[v, r])
                share = -n_free * best.rise[r] / best.numbers[1]
                fitted.hessian[v, r, n_parameters] = fitted.hessian[v, n_parameters, r] = share
                for s in range(r + 1):
                    if best.at[s] > 0:
                        fitted.hessian[v, r, s] = fitted.hessian[v, s, r] = best.hessian[r, s]


@written_out(error_model="numpy")
def _advance(tables: Tables, best: Point, tried: Point, work: Work) -> int:
    """Take a step that does not increase the deviance.

    Returns 0 where the search goes on, 1 at its end, and −1 where no such step was found.
    """
    step = work.small[2, 0]
    gain = _propose(best, step, work)
    if not np.isfinite(gain):
        return -1
    limit = NO_GAIN * tables.n_rows
    length = 1.0
    for _ in range(_MOST_HALVINGS):
        for r in range(step.size):
            tried.at[r] = np.expm1(max(np.log1p(best.at[r]) + length * step[r], 0.0))
        evaluate(tables, tried, work)
        if tried.numbers[0] <= best.numbers[0] + (max(gain, limit) if gain < STANDS else 0.0):
            take(tried, best)
            return 1 if gain < limit else 0
        if gain < STANDS:
            return 1
        length *= 0.5
    return -1


@written_out(error_model="numpy")
def _propose(point: Point, step: Doubles, work: Work) -> float:
    """Write Newton's step in the log of 1 + each variance; give the gain that it expects.

    Where the deviance does not curve upwards in these, it is the step in the variances themselves; where it
    does not in them either, it goes down the gradient. No step leads below 0.
    """
    n, gain, bend, rise = point.at.size, 0.0, work.small[0], work.small[1, 0]
    for way in range(3):
        log, longest, gain = _LOG_SINGULAR, 0.0, 0.0
        for r in range(n):
            rise[r] = point.gradient[r] * (1 + point.at[r])
            for s in range(n):
                bend[r, s] = point.hessian[r, s] * (1 + point.at[r]) * (1 + point.at[s])
            bend[r, r] += rise[r] if way == 0 else 0.0
        for r in range(n):
            if point.at[r] == 0 and rise[r] >= 0:
                rise[r] = 0
                for s in range(n):
                    bend[r, s] = bend[s, r] = 0
                bend[r, r] = 1
            log += np.log(bend[r, r]) if bend[r, r] > 0 else np.inf
        if way < 2 and not invert_positive(bend, work.small[3], work.small[4]) > log:
            continue
        for r in range(n):
            step[r] = size = 0.0
            for s in range(n):
                step[r] -= work.small[4, r, s] * rise[s]
                size += abs(bend[r, s])
            if way == 2:
                step[r] = -rise[r] / (size + 1e-12)
            step[r] = max(step[r], -np.log1p(point.at[r]))
            longest = max(longest, abs(step[r]))
        for r in range(n):
            step[r] *= min(1.0, _LONGEST / longest) if longest > 0 else 1.0
            gain -= step[r] * rise[r]
        if gain > 0:
            break
    return gain
