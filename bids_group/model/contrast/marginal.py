"""Estimated marginal means and slopes, as rows of the design (Searle, Speed & Milliken 1980; Lenth).

A mean is the average of the rows of hypothetical people, one for every combination of levels of the factors
that are not named, with covariates at their analysed mean. A slope is the derivative of such a row with
respect to a covariate.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from bids_group.errors import ContrastError
from bids_group.model.contrast.rows import ROUNDING, Row
from bids_group.model.formula.coding import Array, Coding

_STENCIL = np.array([-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0])
_EIGHTH = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
_SIXTH = np.array([3 / 4, -3 / 20, 1 / 60, 0.0])
"""Central differences of eighth and sixth order (Fornberg 1988), exact for polynomials of that degree; how
far the two lie apart bounds the error of the better one."""
_STEP = 1e-3
"""Shortest step in standard deviations of the covariate."""
_SHARES = np.array([1 / 4.07, 1 / 32, 1 / 256])
"""Longer steps, as shares of the way from the point to the nearer end of the covariate's range."""


def mean_row(coding: Coding, levels: Mapping[str, str], values: Mapping[str, float]) -> Row:
    """Row of an estimated marginal mean.

    Parameters
    ----------
    coding
        The fitted formula.
    levels
        Factors held at one level; every other factor is averaged with equal weight over its levels.
    values
        Covariates held at a value; every other covariate is at its analysed mean.
    """
    weights: Array = _average(coding, levels, values, None)[0]
    return Row(weights=weights, errors=ROUNDING * (np.abs(weights) + coding.reach))


def slope_row(coding: Coding, covariate: str, levels: Mapping[str, str], values: Mapping[str, float]) -> Row:
    """Row of the derivative of an estimated marginal mean with respect to ``covariate``.

    Each regressor takes, of several steps of a central difference, the one with the smallest bound of its
    error: long steps where it is a polynomial, short ones beside a knot. ``values`` may hold the covariate
    itself: the point of the derivative, else its analysed mean.

    Raises
    ------
    ContrastError
        The fitted curve has a corner there, so that it has no slope.
    """
    known = coding.covariates[covariate]
    center = values.get(covariate, known.mean)
    shortest = _STEP * (known.sd or 1.0)
    longer = _SHARES * min(center - known.minimum, known.maximum - center)
    steps = [shortest, *longer[longer > shortest]]
    around = (center + np.outer(steps, _STENCIL)).ravel()
    points = np.array([*around, center, known.minimum, known.maximum])
    rows = _average(coding, levels, values, (covariate, points))
    middle, ends = rows[-3], rows[-2:]
    if _has_corner(rows[:8] - middle, ends - middle):
        raise ContrastError(
            f"The fitted curve has a corner at {covariate} = {center:.6g}, and so no slope there.",
            fix=f"Ask for the slope beside it: slope({covariate}, {covariate}={center + 10 * shortest:.6g}).",
        )
    stencils = zip(rows[:-3].reshape(len(steps), 8, -1), steps, strict=True)
    slopes, errors = np.array([_differentiate(each, step, abs(center)) for each, step in stencils]).swapaxes(
        0, 1
    )
    best = errors.argmin(axis=0), np.arange(rows.shape[1])
    is_joined = rows.any(axis=0) & (np.array(coding.n_covariates) > 1)
    others = np.where(is_joined, ROUNDING * coding.reach / (known.sd or 1.0), 0.0)
    return Row(weights=slopes[best], errors=errors[best] + others)


def _differentiate(stencil: Array, step: float, far: float) -> tuple[Array, Array]:
    """Derive each regressor from its values at eight points, and bound the error.

    Values round by their own size, and by that of the covariate (``far`` from zero) times their slope. A
    regressor that does not move has no error.
    """
    pairs = stencil[4:] - stencil[3::-1]
    slope = _EIGHTH @ pairs / step
    reach = np.abs(stencil).max(axis=0) + np.abs(pairs).max(axis=0) * (far / step + 1)
    errors = np.abs(slope - _SIXTH @ pairs / step) + 2 * ROUNDING * reach / step
    return slope, np.where(pairs.any(axis=0), errors, 0.0)


def _has_corner(near: Array, far: Array) -> bool:
    """Whether a regressor has a corner within the stencil: its bend does not grow as the square of the step.

    ``near``: differences to the centre at the eight points of the stencil; ``far``: at the ends of the
    covariate's range, which say how large the regressor is. A jump of its second derivative (a knot of a
    smooth spline) bends it by some 1e-6 of that, a corner by 1e-3; a corner at the very end of the stencil,
    which is let pass, changes the slope by less than 1e-3 of the jump.
    """
    bend = near[:4] + near[:3:-1]  # at four, three, two and one step to either side
    size = np.abs(bend).max(axis=0)
    is_uneven = np.abs(bend - bend[0] * (_STENCIL[:4, None] / 4) ** 2).max(axis=0) > 0.05 * size
    return bool((is_uneven & (size > 2e-5 * np.abs(far).max(axis=0))).any())


def _average(
    coding: Coding, levels: Mapping[str, str], values: Mapping[str, float], moved: tuple[str, Array] | None
) -> Array:
    """Average rows over the levels not named, ``(n_points, n_regressors)``, term by term.

    Where a covariate is moved, the columns of terms without it stay 0.
    """
    points = np.zeros(1) if moved is None else moved[1]
    rows = np.zeros((points.size, len(coding.columns)))
    by_factors: dict[frozenset[str], list[int]] = {}
    for term, positions in coding.positions.items():
        if moved is None or moved[0] in term.columns:
            by_factors.setdefault(frozenset(coding.factors_of(term)), []).extend(positions)
    for factors, columns in by_factors.items():
        people = _make_people(coding, factors, levels, values)
        crowd = pd.concat([people] * points.size, ignore_index=True)
        if moved is not None:
            crowd[moved[0]] = np.repeat(points, len(people))
        made = coding.evaluate(crowd).reshape(points.size, len(people), -1).mean(axis=1)
        rows[:, columns] = made[:, columns]
    return rows


def _make_people(
    coding: Coding, factors: frozenset[str], levels: Mapping[str, str], values: Mapping[str, float]
) -> pd.DataFrame:
    """One hypothetical person per combination of levels of ``factors``; other factors stay at one level."""
    choices: list[tuple[str, ...]] = []
    for name, known in coding.levels.items():
        if name in levels:
            choices.append((levels[name],))
        else:
            choices.append(known if name in factors else known[:1])
    people = pd.DataFrame(list(itertools.product(*choices)), columns=list(coding.levels), dtype=object)
    for name, covariate in coding.covariates.items():
        people[name] = values.get(name, covariate.mean)
    if not len(people.columns):
        return pd.DataFrame(index=range(1))
    return people if len(people) else people.reindex(range(1))
