"""What an expression weighs: coefficients, marginal means, slopes and terms as rows of weights.

Estimated marginal means and slopes follow Searle, Speed & Milliken (1980) and Lenth: a mean is the average of
the rows of hypothetical people, one for every combination of levels of the factors that are not named, with
covariates at their analysed mean. A slope is the derivative of such a row with respect to a covariate.

The test of a term is independent of the coding (Type III: Yates' weighted squares of means): its coefficients
in the hierarchical form of the formula are tested against zero.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bids_group.errors import ContrastError, DesignError
from bids_group.model.contrast.grammar import Combination, Meaning
from bids_group.model.contrast.regressor_names import split_factors
from bids_group.model.formula.coding import Array, CodedDesign
from bids_group.model.formula.parser import Term
from bids_group.row_space import TOLERANCE
from bids_group.words import list_some, point_at, quote_column, quote_for_shell, suggest

Move = tuple[str, Array] | None
"""A covariate and the values that it takes, ``(n_points,)``; None: nothing is moved."""

_ROUNDING = 64 * np.finfo(float).eps
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


def settle(weights: Array, errors: Array | float = 0.0) -> Array:
    """Write weights without noise: what lies within its error is 0, the rest has twelve digits.

    The error of a weight follows the sizes of what was added and subtracted in the weight's own column: the
    weights of other columns have other units and say nothing about it.
    """
    kept = np.where(np.abs(weights) <= errors, 0.0, weights)
    return np.array([float(f"{weight:.12g}") for weight in kept])


def mistakes_constant(weights: Sequence[float], columns: Sequence[str]) -> bool:
    """Whether weights would compare groups if each column were one: they sum to zero with the constant in it.

    The constant of a formula is the first group's mean, and the others are differences from it.
    """
    at = columns.index("Intercept") if "Intercept" in columns else None
    others = [weight for number, weight in enumerate(weights) if number != at and "[T." in columns[number]]
    return at is not None and weights[at] != 0 and any(others) and abs(sum(weights)) < 1e-9


def weigh_combination(text: str, combination: Combination, design: CodedDesign) -> Array:
    """Weigh what one row of an expression says; ``text`` is the expression, for messages."""
    rows, bounds = zip(*(_weigh_meaning(text, one, design) for _, one in combination), strict=True)
    factors = np.array([weight for weight, _ in combination])
    products = factors[:, None] * np.array(rows)
    rounding = len(rows) * np.finfo(float).eps * np.abs(products).sum(axis=0)
    return settle(products.sum(axis=0), np.abs(factors) @ np.array(bounds) + rounding)


def _weigh_meaning(text: str, meaning: Meaning, design: CodedDesign) -> tuple[Array, Array]:
    """Weights of the design's columns, ``(n_regressors,)``, and a bound of the error of each."""
    if meaning.kind == "coefficient":
        unit = np.eye(len(design.columns))[design.columns.index(meaning.name)]
        return unit, np.zeros_like(unit)
    levels, values = place_levels(text, meaning, design)
    if meaning.kind == "mean":
        return _weigh_mean(design, levels, values)
    if meaning.name in design.covariates:
        return _weigh_slope(design, meaning.name, levels, values)
    what, fix = "is not a covariate of the formula", suggest(meaning.name, design.covariates)
    fix = fix or _say_addition(meaning.name, design)
    if meaning.name in design.levels:
        what = "is a factor, so it has no slope"
        fix = f"Write mean({meaning.name}={design.levels[meaning.name][-1]}) - …"
    known = (
        f"one of {list_some(design.covariates)}" if design.covariates else "a numeric column of the formula"
    )
    sentence = f"The contrast '{text.strip()}' asks for a slope, but '{meaning.name}' {what}."
    raise ContrastError(sentence, found=point_at(text, meaning.position), expected=known, fix=fix)


def place_levels(text: str, meaning: Meaning, design: CodedDesign) -> tuple[dict[str, str], dict[str, float]]:
    """Sort the places into levels of factors and values of covariates."""
    levels: dict[str, str] = {}
    values: dict[str, float] = {}
    for held in meaning.places:
        number, known, fix = as_number(held.value), (*design.levels, *design.covariates), None
        if held.name in design.levels:
            known = design.levels[held.name]
            same = [one for one in known if number is not None and as_number(one) == number]
            if held.value in known or same:
                levels[held.name] = held.value if held.value in known else same[-1]
                continue
            what = f"names {held.name} = '{held.value}', which no analysed row has"
            expected, fix = f"one of {list_some(known)}", suggest(held.value, known)
        elif held.name in design.covariates:
            if number is not None and np.isfinite(number):
                values[held.name] = number
                continue
            what = f"holds {held.name} at '{held.value}', which is not a number"
            expected = f"a number, such as {held.name}=30"
        else:
            what, expected = f"names '{held.name}', which is not in the formula", f"one of {list_some(known)}"
            fix = suggest(held.name, known) or _say_addition(held.name, design)
        found = point_at(text, held.position)
        raise ContrastError(f"The contrast '{text.strip()}' {what}.", found=found, expected=expected, fix=fix)
    return levels, values


def _say_addition(name: str, design: CodedDesign) -> str:
    text = f"{design.formula.text} + {quote_column(name)}"
    return f"Add it to the formula: --formula {quote_for_shell(text)}."


def as_number(typed: str) -> float | None:
    """Read a number; None where there is none."""
    try:
        return float(typed)
    except ValueError:
        return None


def _weigh_mean(
    design: CodedDesign, levels: Mapping[str, str], values: Mapping[str, float]
) -> tuple[Array, Array]:
    """Weigh an estimated marginal mean.

    ``levels``: factors held at one level; every other factor is averaged with equal weight over its levels;
    ``values``: covariates held at a value; every other covariate is at its analysed mean. The error of a
    weight is its own rounding and how far that of each covariate moves it.
    """
    moves: list[Move] = [None]
    for name, known in design.covariates.items():
        at = values.get(name, known.mean)
        rounding = _ROUNDING * max(abs(at), abs(known.minimum), abs(known.maximum))
        moves.append((name, at + rounding * np.array([0.0, -1.0, 1.0])))
    (weights,), *others = _average(design, levels, values, moves)
    errors = _ROUNDING * np.abs(weights)
    for moved in others:
        errors += np.abs(moved[1:] - moved[0]).max(axis=0)
    return weights, errors


def _weigh_slope(
    design: CodedDesign, covariate: str, levels: Mapping[str, str], values: Mapping[str, float]
) -> tuple[Array, Array]:
    """Weigh the derivative of an estimated marginal mean with respect to ``covariate``.

    Each regressor takes, of several steps of a central difference, the one with the smallest bound of its
    error: long steps where it is a polynomial, short ones beside a knot. ``values`` may hold the covariate
    itself: the point of the derivative, else its analysed mean. Where the fitted curve has a corner there, it
    has no slope, which is a `ContrastError`.
    """
    known = design.covariates[covariate]
    center, spread = values.get(covariate, known.mean), known.sd or 1.0
    shortest = _STEP * spread
    longer = _SHARES * min(center - known.minimum, known.maximum - center)
    steps = [shortest, *longer[longer > shortest]]
    around = (center + np.outer(steps, _STENCIL)).ravel()
    points = np.array([*around, center, known.minimum, known.maximum])
    (rows,) = _average(design, levels, values, [(covariate, points)])
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
    bounds = errors[best]
    for term, positions in design.positions.items():
        mixed = [design.covariates[name] for name in term.columns if name in design.covariates]
        at = [position for position in positions if rows[:, position].any()]
        if len(mixed) > 1 and at:  # rounding of its covariates, far from zero for their SD: 2000 ± 5 has 400
            far = sum(max(abs(one.minimum), abs(one.maximum)) / one.sd for one in mixed if one.sd)
            bounds[at] += _ROUNDING * np.abs(design.X[:, at]).max(axis=0) * max(1.0, far) / spread
    return slopes[best], bounds


def _differentiate(stencil: Array, step: float, far: float) -> tuple[Array, Array]:
    """Derive each regressor from its values at eight points, and bound the error.

    Values round by their own size, and by that of the covariate (``far`` from zero) times their slope. A
    regressor that does not move has no error.
    """
    pairs = stencil[4:] - stencil[3::-1]
    slope = _EIGHTH @ pairs / step
    reach = np.abs(stencil).max(axis=0) + np.abs(pairs).max(axis=0) * (far / step + 1)
    errors = np.abs(slope - _SIXTH @ pairs / step) + 2 * _ROUNDING * reach / step
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


class _Cells(NamedTuple):
    """Hypothetical people whose rows are averaged, once for each point of a covariate that is moved.

    ``columns``: of the design, those that are wanted; ``cells``: levels of all factors; ``values``: of
    covariates that are held; ``moved``: the covariate, else None, and its ``points``.
    """

    columns: tuple[int, ...]
    cells: tuple[tuple[str, ...], ...]
    values: tuple[tuple[str, float], ...]
    moved: str | None
    points: tuple[float, ...]

    def people(self, design: CodedDesign) -> Iterator[tuple[object, ...]]:
        """Give levels of factors and values of covariates of each, point by point."""
        held = dict(self.values)
        for point in self.points:
            at = {name: held.get(name, known.mean) for name, known in design.covariates.items()}
            there = tuple((at if self.moved is None else {**at, self.moved: point}).values())
            yield from ((*cell, *there) for cell in self.cells)


def _average(
    design: CodedDesign, levels: Mapping[str, str], values: Mapping[str, float], moves: Sequence[Move]
) -> list[Array]:
    """Average rows over the levels not named, for each move ``(n_points, n_regressors)``, term by term.

    A row is of one hypothetical person per combination of levels of the term's factors. Where a covariate is
    moved, the columns of terms without it stay 0. All people are coded at once.
    """
    wanted = [_cells_of(design, levels, values, move) for move in moves]  # other contrasts ask for the same
    new = list(dict.fromkeys(key for keys in wanted for key in keys if key not in design.averages))
    if new:
        people = [person for key in new for person in key.people(design)]
        crowd = pd.DataFrame(people, columns=[*design.levels, *design.covariates], dtype=object)
        ends = np.cumsum([len(key.points) * len(key.cells) for key in new])
        for key, made in zip(new, np.split(design.evaluate(crowd), ends[:-1]), strict=True):
            means = made.reshape(len(key.points), len(key.cells), -1).mean(axis=1)
            design.averages[key] = means[:, key.columns]
    averages = []
    for keys, move in zip(wanted, moves, strict=True):
        rows = np.zeros((1 if move is None else move[1].size, len(design.columns)))
        for key in keys:
            rows[:, key.columns] = design.averages[key]
        averages.append(rows)
    return averages


def _cells_of(
    design: CodedDesign, levels: Mapping[str, str], values: Mapping[str, float], move: Move
) -> list[_Cells]:
    """Choose the people that the columns of each term need, those of terms of the same factors at once."""
    by_factors: dict[frozenset[str], list[int]] = {}  # that the regressors depend on, that of centring too
    for term, positions in design.positions.items():
        centered = {use.column for f in term.factors for use in f.uses if use.role in ("bare", "inner")}
        is_shifted = centered & set(design.covariates) and design.within in design.formula.columns
        factors = {*term.columns, str(design.within)} if is_shifted else {*term.columns}
        if move is None or move[0] in term.columns:
            by_factors.setdefault(frozenset(factors & set(design.levels)), []).extend(positions)
    found, held = [], tuple(sorted(values.items()))
    name, points = (None, (0.0,)) if move is None else (move[0], tuple(move[1].tolist()))
    for among, columns in by_factors.items():
        choices = [
            (levels[name],) if name in levels else known if name in among else known[:1]
            for name, known in design.levels.items()
        ]
        cells = tuple(itertools.product(*choices))  # one where there is no factor
        found.append(_Cells(tuple(columns), cells, held, name, points))
    return found


def term_rows(design: CodedDesign, typed: str) -> list[Array]:
    """Rows of weights whose products with the coefficients of the design are the term's coefficients.

    Where the formula is not hierarchical, or the rows cannot tell the term from others: `DesignError`.
    """
    form, term = design.form, find_term(design, typed)
    if form.missing:
        lower = {term: f"the lower powers in {term.name}" for term in design.formula.terms}
        lacking = list_some(lower.get(term, term.name) for term in form.missing)
        raise DesignError(
            f"The test of '{typed}' has no meaning of its own in this formula.",
            found=f"a formula that lacks {lacking}",
            expected="a hierarchical formula: with interactions also their lower-order terms, and the "
            "intercept",
            fix=f"Add {lacking} to the formula, or contrast means, slopes or coefficients.",
        )
    chosen = np.eye(form.matrix.shape[1])[form.blocks[term]]
    if not len(chosen) or not form.space.is_estimable(chosen).all():
        n_settled = len(settled_part(design, term))
        raise DesignError(
            f"The test of '{typed}' cannot be made from these rows.",
            found=f"rows in which {term.name} cannot be told from the other terms "
            "(empty cells, or columns that depend on each other)",
            expected="rows in every cell of the term, and no other term that says the same",
            fix="Leave out the term that says the same, or join levels so that no cell is empty."
            if not n_settled
            else f"{n_settled} of its {len(chosen)} degrees of freedom can be tested: write them as a joint "
            "test of differences between cells that have rows, [mean(…) - mean(…), …], or join levels.",
        )
    return _weigh_coefficients(design, chosen)


def settled_part(design: CodedDesign, term: Term) -> list[Array]:
    """Weigh as much of a term as these rows settle: its hypotheses that lie in the row space, if any."""
    space, positions = design.form.space, design.form.blocks[term]
    if design.form.missing or not positions:
        return []
    left, values, _ = np.linalg.svd(space.null[positions])
    free = left[:, int((values > TOLERANCE).sum()) :].T  # combinations that no dependency moves
    chosen = np.zeros((len(free), len(space.norms)))
    chosen[:, positions] = free * space.norms[positions]
    return _weigh_coefficients(design, chosen)


def _weigh_coefficients(design: CodedDesign, chosen: Array) -> list[Array]:
    """Weigh the regressors so that combinations (``chosen``) of the hierarchical coefficients come out."""
    rows, X = design.form.space.weights_of_rows(chosen), design.X
    weights, sizes = rows @ X, np.outer(np.linalg.norm(rows, axis=1), np.linalg.norm(X, axis=0))
    return [settle(one, _ROUNDING * size) for one, size in zip(weights, sizes, strict=True)]


SEVERAL = re.compile(r"[,;+&]| and ")
"""What stands between terms that are meant all at once."""


def find_term(design: CodedDesign, typed: str) -> Term:
    """Find a term by its name, in any order of its factors and with or without ``C()``."""
    terms = [term for term in design.form.blocks if term.factors]
    for term in terms:
        if typed.strip() in {term.name, quote_column(term.name)}:
            return term  # columns may have colons in their names
    wanted = frozenset(re.sub(r"[\s`]", "", one) for one in split_factors(typed))
    for term in terms:
        choices = [{re.sub(r"[\s`]", "", factor.text)} for factor in term.factors]
        for names, factor in zip(choices, term.factors, strict=True):
            if factor.is_column:
                column = re.sub(r"\s", "", factor.columns[0])
                names |= {column, f"C({column})"}
        if any(frozenset(names) == wanted for names in itertools.product(*choices)):
            return term
    known = [term.name for term in terms]
    fix = suggest(typed, known)
    if SEVERAL.search(typed):
        fix = "A test is of one term: give each one of its own, or join differences: [DIFFERENCE, SLOPE]."
    raise ContrastError(
        f"The contrast 'test({typed})' names a term that the formula does not have.",
        found=f"the formula {design.formula.text}",
        expected=f"one of {list_some(known)}",
        fix=fix,
    )
