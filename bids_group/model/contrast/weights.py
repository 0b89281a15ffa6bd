"""What the meanings of an expression weigh: coefficients, marginal means and slopes as rows of weights.

Estimated marginal means and slopes follow Searle, Speed & Milliken (1980) and Lenth: a mean is the average of
the rows of hypothetical people, one for every combination of levels of the factors that are not named, with
covariates at their analysed mean. A slope is the derivative of such a row with respect to a covariate.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_group.errors import ContrastError
from bids_group.model.contrast.expressions import Combination, Mean, Meaning, Regressor, Slope
from bids_group.model.formula.coding import Array, Coding
from bids_group.words import list_some, point_at, suggest

ROUNDING = 64 * np.finfo(float).eps
"""Relative rounding of a few dozen operations, taken generously."""
_STENCIL = np.array([-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0])
_EIGHTH = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
_SIXTH = np.array([3 / 4, -3 / 20, 1 / 60, 0.0])
"""Central differences of eighth and sixth order (Fornberg 1988), exact for polynomials of that degree; how
far the two lie apart bounds the error of the better one."""
_STEP = 1e-3
"""Shortest step in standard deviations of the covariate."""
_SHARES = np.array([1 / 4.07, 1 / 32, 1 / 256])
"""Longer steps, as shares of the way from the point to the nearer end of the covariate's range."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightRow:
    """A row of weights that knows how exact it is, so that rounding is never taken for a contrast.

    ``weights`` over the design's columns, ``(n_regressors,)``; ``errors``: a bound of the error of each. It
    follows the sizes of what was added and subtracted in the weight's own column: the weights of other
    columns have other units and say nothing about it.
    """

    weights: Array
    errors: Array

    @property
    def settled(self) -> Array:
        """The weights without noise: what lies within its error is 0, the rest has twelve digits."""
        kept = np.where(np.abs(self.weights) <= self.errors, 0.0, self.weights)
        return np.array([float(f"{weight:.12g}") for weight in kept])


def weigh_combination(text: str, combination: Combination, coding: Coding) -> WeightRow:
    """Weigh what one row of an expression says; ``text`` is the expression, for messages."""
    rows = [_weigh_meaning(text, meaning, coding) for _, meaning in combination.parts]
    factors = np.array([weight for weight, _ in combination.parts])
    products = factors[:, None] * np.array([row.weights for row in rows])
    errors = np.abs(factors) @ np.array([row.errors for row in rows])
    rounding = len(rows) * np.finfo(float).eps * np.abs(products).sum(axis=0)
    return WeightRow(weights=products.sum(axis=0), errors=errors + rounding)


def _weigh_meaning(text: str, meaning: Meaning, coding: Coding) -> WeightRow:
    if isinstance(meaning, Regressor):
        unit = np.eye(len(coding.columns))[coding.columns.index(meaning.column)]
        return WeightRow(weights=unit, errors=np.zeros_like(unit))
    levels, values = place_levels(text, meaning, coding)
    if isinstance(meaning, Mean):
        return _mean_row(coding, levels, values)
    if meaning.covariate not in coding.covariates:
        raise _no_slope(text, meaning, coding)
    return _slope_row(coding, meaning.covariate, levels, values)


def _no_slope(text: str, meaning: Slope, coding: Coding) -> ContrastError:
    what = "is not a covariate of the formula"
    fix = suggest(meaning.covariate, coding.covariates)
    if not coding.covariates:
        fix = f"Add {meaning.covariate} to the formula."
    if meaning.covariate in coding.levels:
        what = "is a factor, so it has no slope"
        fix = f"Write mean({meaning.covariate}={coding.levels[meaning.covariate][-1]}) - …"
    return ContrastError(
        f"The contrast '{text.strip()}' asks for a slope, but '{meaning.covariate}' {what}.",
        found=point_at(text, meaning.position),
        expected=f"one of {list_some(coding.covariates)}"
        if coding.covariates
        else "a numeric column of the formula",
        fix=fix,
    )


def place_levels(text: str, meaning: Mean | Slope, coding: Coding) -> tuple[dict[str, str], dict[str, float]]:
    """Sort the places into levels of factors and values of covariates."""
    levels: dict[str, str] = {}
    values: dict[str, float] = {}
    for held in meaning.places:
        number, known, fix = as_number(held.value), (*coding.levels, *coding.covariates), None
        if held.name in coding.levels:
            known = coding.levels[held.name]
            same = [one for one in known if number is not None and as_number(one) == number]
            if held.value in known or same:
                levels[held.name] = held.value if held.value in known else same[-1]
                continue
            what = f"names {held.name} = '{held.value}', which no analysed row has"
            expected, fix = f"one of {list_some(known)}", suggest(held.value, known)
        elif held.name in coding.covariates:
            if number is not None and np.isfinite(number):
                values[held.name] = number
                continue
            what = f"holds {held.name} at '{held.value}', which is not a number"
            expected = f"a number, such as {held.name}=30"
        else:
            what, expected = f"names '{held.name}', which is not in the formula", f"one of {list_some(known)}"
            fix = suggest(held.name, known) or f"Add {held.name} to the formula."
        found = point_at(text, held.position)
        raise ContrastError(f"The contrast '{text.strip()}' {what}.", found=found, expected=expected, fix=fix)
    return levels, values


def as_number(typed: str) -> float | None:
    """Read a number; None where there is none."""
    try:
        return float(typed)
    except ValueError:
        return None


def _mean_row(coding: Coding, levels: Mapping[str, str], values: Mapping[str, float]) -> WeightRow:
    """WeightRow of an estimated marginal mean.

    Parameters
    ----------
    coding
        The fitted formula.
    levels
        Factors held at one level; every other factor is averaged with equal weight over its levels.
    values
        Covariates held at a value; every other covariate is at its analysed mean.

    Notes
    -----
    The error of a weight is its own rounding and how far that of each covariate moves it.
    """
    weights: Array = _average(coding, levels, values, None)[0]
    errors = ROUNDING * np.abs(weights)
    for name, known in coding.covariates.items():
        at = values.get(name, known.mean)
        rounding = ROUNDING * max(abs(at), abs(known.minimum), abs(known.maximum))
        moved = _average(coding, levels, values, (name, at + rounding * np.array([0.0, -1.0, 1.0])))
        errors += np.abs(moved[1:] - moved[0]).max(axis=0)
    return WeightRow(weights=weights, errors=errors)


def _slope_row(
    coding: Coding, covariate: str, levels: Mapping[str, str], values: Mapping[str, float]
) -> WeightRow:
    """WeightRow of the derivative of an estimated marginal mean with respect to ``covariate``.

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
    derived = np.array([_differentiate(each, step, abs(center)) for each, step in stencils])
    slopes, errors = derived[:, 0], derived[:, 1]
    best = errors.argmin(axis=0), np.arange(rows.shape[1])
    is_joined = rows.any(axis=0) & (np.array(coding.n_covariates) > 1)
    others = np.where(is_joined, ROUNDING * coding.reach / (known.sd or 1.0), 0.0)
    return WeightRow(weights=slopes[best], errors=errors[best] + others)


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
