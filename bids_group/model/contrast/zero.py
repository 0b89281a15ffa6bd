"""Contrasts that a formula makes zero whatever the maps are: why, and the formula that answers them.

A difference of slopes under ``~ group + age`` is 0 because the formula has one slope for all groups. The
formula that answers is the user's own with the smallest interaction under which the contrast is not 0: it is
found by trying, so that what is advised is known to work.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from bids_group.errors import BidsGroupError, ContrastError
from bids_group.model.contrast.coded_design import CodedDesign
from bids_group.model.contrast.expressions import Combination, Meaning, Regressor, Slope
from bids_group.model.contrast.weights import place_levels, weigh_combination
from bids_group.model.formula.coding import Coding, build_coding
from bids_group.model.formula.parser import read_formula
from bids_group.row_space import RowSpace
from bids_group.words import list_some, quote_column

_MOST_TRIED = 60  # formulas; each is a design to build, and the user waits for an error

Varying = dict[str, list[str | float]]
"""Names of which the meanings of a contrast take several values, with the values."""


def explain_zero(whole: str, text: str, combination: Combination, design: CodedDesign) -> ContrastError:
    """Make the error about a contrast (``whole`` names it) that this formula makes zero."""
    coding = design.coding
    meanings = _distinct(text, combination, coding)
    if not meanings:
        return ContrastError(
            f"{whole} has no weight other than zero.",
            found="0 for every column of the design",
            fix="Its terms cancel each other: change one of them.",
        )
    slopes = list(dict.fromkeys(one.covariate for one in meanings if isinstance(one, Slope)))
    places = [_places(text, meaning, coding) for meaning in meanings]
    names = dict.fromkeys(name for each in places for name in each)
    values = {name: list(dict.fromkeys(each.get(name) for each in places)) for name in names}
    varying = {name: [v for v in found if v is not None] for name, found in values.items() if len(found) > 1}
    is_shifted = coding.within is not None and weigh_combination(text, combination, coding).settled.any()
    tried = replace(design, centering="grand") if is_shifted else design
    answer = _find_answer(text, combination, list(dict.fromkeys([*varying, *slopes])), tried)
    return ContrastError(
        f"{whole} is always 0: {_say_reason(slopes, varying)}.",
        found=f"the formula {coding.formula.text}"
        + (f"; --center within:{coding.within} only shifts its curve between levels" if is_shifted else ""),
        expected=None if answer is None else f"a formula with {answer[0]}",
        fix="Ask for something that the formula lets differ, or add the term that lets it differ."
        if answer is None
        else f'Write {answer[0]}: --formula "{answer[1]}".',
    )


def is_zero_unshifted(text: str, combination: Combination, design: CodedDesign) -> bool:
    """Whether a contrast is 0 but for ``within:FACTOR``, which shifts one curve from level to level."""
    if design.coding.within is None:
        return False
    same, _ = build_coding(design.coding.formula, design.variables, "grand")
    return not weigh_combination(text, combination, same).settled.any()


def _distinct(text: str, combination: Combination, coding: Coding) -> list[Meaning]:
    """Meanings that are left when equal ones are added up."""
    totals: dict[object, tuple[float, float, Meaning]] = {}
    for weight, meaning in combination.parts:
        what = meaning.column if isinstance(meaning, Regressor) else getattr(meaning, "covariate", None)
        key = (type(meaning), what, frozenset(_places(text, meaning, coding).items()))
        total, size, _ = totals.get(key, (0.0, 0.0, meaning))
        totals[key] = (total + weight, size + abs(weight), meaning)
    return [meaning for total, size, meaning in totals.values() if abs(total) > 1e-12 * size]


def _places(text: str, meaning: Meaning, coding: Coding) -> dict[str, str | float]:
    if isinstance(meaning, Regressor):
        return {}
    levels, values = place_levels(text, meaning, coding)
    return {**levels, **values}


def _say_reason(slopes: Sequence[str], varying: Varying) -> str:
    what = f"slope of {list_some(slopes)}" if slopes else "mean"
    if not varying:
        return f"this formula leaves no room for the {what} that it asks for"
    if len(varying) > 1:
        kind = "slope" if slopes else "difference"
        return (
            f"this formula has no interaction of {' and '.join(varying)}, and so the same {kind} everywhere"
        )
    [(name, values)] = varying.items()
    where = [str(v) if isinstance(v, str) else f"{name} {v:.6g}" for v in values]
    both = "both " if len(where) == 2 else ""
    given = f"{both}{' and '.join(where)}" if len(where) > 1 else f"{name} {values[0]} and the rest"
    return f"this formula gives {given} the same {what}"


def _find_answer(
    text: str, combination: Combination, names: Sequence[str], design: CodedDesign
) -> tuple[str, str] | None:
    """Find an interaction under which the contrast is estimable and not 0, and the formula with it."""
    for factors in itertools.islice(_candidates(names, design.coding), _MOST_TRIED):
        formula = _fill(design.coding, factors)
        if formula is not None and _is_answered(text, combination, formula, design):
            return " * ".join(factors) or "the constant", formula
    return None


def _candidates(names: Sequence[str], coding: Coding) -> Iterator[tuple[str, ...]]:
    """Products of what the names stand for in the formula, small ones first, curves last."""
    yield ()
    for is_bent in (False, True):
        for size in range(1, min(len(names), 4) + 1):
            for chosen in itertools.combinations(names, size):
                yield from itertools.product(*(_spellings(name, coding, is_bent=is_bent) for name in chosen))


def _spellings(name: str, coding: Coding, *, is_bent: bool) -> list[str]:
    """Write a column as the formula does, or as a curve."""
    if is_bent and name in coding.covariates:
        return [f"I({quote_column(name)} ** 2)", f"I({quote_column(name)} ** 3)"]
    used = [one for one in coding.formula.factors if one.columns == (name,)]
    is_alone = any(one.is_bare for one in used)
    return [quote_column(name)] if is_alone else [*(one.text for one in used), quote_column(name)]


def _fill(coding: Coding, factors: Sequence[str]) -> str | None:
    """Add a product, and what it lacks of its lower orders, to the formula; None where nothing is new."""
    columns = coding.formula.columns
    if not factors:
        return None if coding.formula.has_intercept else f"{coding.formula.text} + 1"
    known = {term.key for term in coding.formula.terms}
    products = [
        ":".join(chosen)
        for size in range(1, len(factors) + 1)
        for chosen in itertools.combinations(factors, size)
    ]
    new = [one for one in products if not {t.key for t in read_formula(f"0 + {one}", columns).terms} <= known]
    return " + ".join([coding.formula.text, *new]) if products[-1] in new else None


def _is_answered(text: str, combination: Combination, formula: str, design: CodedDesign) -> bool:
    variables = design.variables
    try:
        read = read_formula(formula, tuple(variables.columns))
        coding, matrix = build_coding(read, variables, design.centering)
        row = weigh_combination(text, combination, coding).settled
    except (BidsGroupError, ValueError):
        return False
    is_estimable = RowSpace.of(matrix.to_numpy(dtype=np.float64)).is_estimable(row)
    return bool(row.any() and is_estimable.all())
