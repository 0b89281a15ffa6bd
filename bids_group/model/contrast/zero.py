"""Contrasts that a formula makes zero whatever the maps are: why, and the formula that answers them.

A difference of slopes under ``~ group + age`` is 0 because the formula has one slope for all groups. The
formula that answers is the user's own with the smallest interaction under which the contrast is not 0: it is
found by trying, so that what is advised is known to work.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bids_group.errors import BidsGroupError, ContrastError
from bids_group.model.contrast.grammar import Combination, Expression, Meaning
from bids_group.model.contrast.weights import place_levels, weigh_combination
from bids_group.model.formula.coding import Array, CodedDesign, code_design
from bids_group.model.formula.parser import read_formula
from bids_group.words import list_some, quote_column

_MOST_TRIED = 60  # formulas; each is a design to build, and the user waits for an error


def check_zero(name: str, weights: Array, text: str, expression: Expression, design: CodedDesign) -> None:
    """Refuse a contrast, and a row of a joint one, that is 0 whatever the maps are.

    So is one that only ``within:FACTOR`` makes something else: it would test a curve that is shifted.
    """
    same = None if design.within is None else code_design(design.formula, design.variables, "grand")
    for number, row in enumerate(weights):
        parts = expression.rows[number] if expression.rows else None
        is_own = parts is None or same is None or weigh_combination(text, parts, same).any()
        if row.any() and is_own:
            continue
        whole = f"The contrast '{name}'"
        whole = whole if len(weights) == 1 else f"Row {number + 1} of the contrast '{name}'"
        explained = None if parts is None else _explain_zero(whole, text, parts, design)
        raise explained or ContrastError(
            f"{whole} has no weight other than zero.",
            found="0 for every column of the design",
            fix="Its terms cancel each other: change one of them."
            if parts
            else "Give a column a weight, or take the row away.",
        )


def _explain_zero(
    whole: str, text: str, combination: Combination, design: CodedDesign
) -> ContrastError | None:
    """Say why this formula makes a contrast (``whole`` names it) zero; None where its own terms cancel."""
    totals: dict[object, tuple[Meaning, dict[str, str | float], list[float]]] = {}
    for weight, meaning in combination:
        levels, values = ({}, {}) if meaning.kind == "coefficient" else place_levels(text, meaning, design)
        key = meaning.kind, meaning.name, frozenset({**levels, **values}.items())
        totals.setdefault(key, (meaning, {**levels, **values}, []))[2].append(weight)
    left = [each for each in totals.values() if abs(sum(each[2])) > 1e-12 * sum(map(abs, each[2]))]
    if not left:
        return None
    slopes = list(dict.fromkeys(meaning.name for meaning, _, _ in left if meaning.kind == "slope"))
    taken = {
        name: list(dict.fromkeys(places.get(name) for _, places, _ in left))
        for name in dict.fromkeys(name for _, places, _ in left for name in places)
    }
    varying = {name: [v for v in found if v is not None] for name, found in taken.items() if len(found) > 1}
    is_shifted = design.within is not None and weigh_combination(text, combination, design).any()
    tried = replace(design, centering="grand") if is_shifted else design
    answer = _find_answer(text, combination, list(dict.fromkeys([*varying, *slopes])), tried)
    return ContrastError(
        f"{whole} is always 0: {_say_reason(slopes, varying)}.",
        found=f"the formula {design.formula.text}"
        + (f"; --center within:{design.within} only shifts its curve between levels" if is_shifted else ""),
        expected=None if answer is None else f"a formula with {answer[0]}",
        fix="Ask for something that the formula lets differ, or add the term that lets it differ."
        if answer is None
        else f'Write {answer[0]}: --formula "{answer[1]}".',
    )


def _say_reason(slopes: Sequence[str], varying: Mapping[str, Sequence[str | float]]) -> str:
    """``varying``: names of which the meanings of a contrast take several values, with the values."""
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
    variables = design.variables
    for factors in itertools.islice(_candidates(names, design), _MOST_TRIED):
        formula = _fill(design, factors)
        if formula is None:
            continue
        with contextlib.suppress(BidsGroupError, ValueError):
            read = read_formula(formula, tuple(variables.columns))
            tried = code_design(read, variables, design.centering)
            row = weigh_combination(text, combination, tried)
            if row.any() and tried.space.is_estimable(row).all():
                return " * ".join(factors) or "the constant", formula
    return None


def _candidates(names: Sequence[str], design: CodedDesign) -> Iterator[tuple[str, ...]]:
    """Products of what the names stand for in the formula, small ones first, curves last."""
    yield ()
    for is_bent in (False, True):
        spelled = {name: _spellings(name, design, is_bent=is_bent) for name in names}
        for size in range(1, min(len(names), 4) + 1):
            for chosen in itertools.combinations(names, size):
                yield from itertools.product(*(spelled[name] for name in chosen))


def _spellings(name: str, design: CodedDesign, *, is_bent: bool) -> list[str]:
    """Write a column as the formula does, or as a curve."""
    if is_bent and name in design.covariates:
        return [f"I({quote_column(name)} ** 2)", f"I({quote_column(name)} ** 3)"]
    used = [one for one in design.formula.factors if one.columns == (name,)]
    is_alone = any(one.is_bare for one in used)
    return [quote_column(name)] if is_alone else [*(one.text for one in used), quote_column(name)]


def _fill(design: CodedDesign, factors: Sequence[str]) -> str | None:
    """Add a product, and what it lacks of its lower orders, to the formula; None where nothing is new."""
    formula = design.formula
    if not factors:
        return None if formula.has_intercept else f"{formula.text} + 1"
    orders = (itertools.combinations(factors, size) for size in range(1, len(factors) + 1))
    products = [":".join(chosen) for order in orders for chosen in order]
    new = [p for p in products if read_formula(f"0 + {p}", formula.columns).terms[0] not in formula.terms]
    return " + ".join([formula.text, *new]) if products[-1] in new else None
