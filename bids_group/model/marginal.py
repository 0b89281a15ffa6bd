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
from bids_group.model.coding import Array, Coding

_STENCIL = np.array([-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0])
_COEFFICIENTS = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
"""Central difference of eighth order (Fornberg 1988): exact for polynomials of degree 8 and less."""
_STEP = 1e-3
"""Step in standard deviations of the covariate."""


def mean_row(coding: Coding, levels: Mapping[str, str], values: Mapping[str, float]) -> Array:
    """Row ``(n_regressors,)`` of an estimated marginal mean.

    Parameters
    ----------
    coding
        The fitted formula.
    levels
        Factors held at one level; every other factor is averaged with equal weight over its levels.
    values
        Covariates held at a value; every other covariate is at its analysed mean.
    """
    row: Array = _average(coding, levels, values, None)[0]
    return row


def slope_row(
    coding: Coding, covariate: str, levels: Mapping[str, str], values: Mapping[str, float]
) -> Array:
    """Row ``(n_regressors,)`` of the derivative of an estimated marginal mean with respect to ``covariate``.

    ``values`` may hold the covariate itself: the point of the derivative, else its analysed mean.

    Raises
    ------
    ContrastError
        The fitted curve has a corner there, so that it has no slope.
    """
    known = coding.covariates[covariate]
    step = _STEP * (known.sd or 1.0)
    center = values.get(covariate, known.mean)
    points = np.array([*(center + step * _STENCIL), center, known.minimum, known.maximum])
    rows = _average(coding, levels, values, (covariate, points))
    if _has_corner(rows[:8] - rows[8], rows[9:] - rows[8]):
        raise ContrastError(
            f"The fitted curve has a corner at {covariate} = {center:.6g}, and so no slope there.",
            fix=f"Ask for the slope beside it: slope({covariate}, {covariate}={center + 10 * step:.6g}).",
        )
    row: Array = _COEFFICIENTS @ rows[:8] / step
    return row


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
    """Average rows over the levels not named, ``(n_points, n_regressors)``, term by term."""
    points = np.zeros(1) if moved is None else moved[1]
    rows = np.zeros((points.size, len(coding.columns)))
    by_factors: dict[frozenset[str], list[int]] = {}
    for term, positions in coding.positions.items():
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
