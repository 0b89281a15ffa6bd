"""Contrasts in words: ``slope of n_cigs in patient minus slope of n_cigs in control, at age 41.2``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bids_group.model.contrast.grammar import Combination, Meaning
from bids_group.model.contrast.weights import as_number
from bids_group.model.formula.coding import CodedDesign
from bids_group.model.formula.parser import Term
from bids_group.words import and_more, list_some, quote_column, say_number

_MOST_SAID = 8  # weights; the others are counted


def say_combination(combination: Combination, design: CodedDesign) -> str:
    """Say what a row of a contrast is, and where: ``slope of n_cigs in patient minus …, at age 41.2``.

    Where covariates are held, and which factors are averaged over, is so in every part alike.
    """
    said = _say_sum([(weight, _say_meaning(meaning, design)) for weight, meaning in combination])
    marginal = [meaning for _, meaning in combination if meaning.kind != "coefficient"]
    if not marginal:
        return said
    named = [{place.name for place in meaning.places} for meaning in marginal]
    moved = {meaning.name for meaning in marginal if meaning.kind == "slope"}.union(*named)
    held = {name: one.mean for name, one in design.covariates.items() if name not in moved}
    averaged = [name for name in design.levels if not all(name in names for names in named)]
    return ", ".join([said, *_say_held(held, averaged)])


def say_weights(weights: Sequence[float], columns: Sequence[str]) -> str:
    """Say a vector of weights: ``group[patient] minus group[control]``."""
    weighed = [pair for pair in zip(weights, columns, strict=True) if pair[0] != 0]
    weighed.sort(key=lambda pair: pair[0] < 0)
    said = _say_sum([(weight, f"coefficient {column}") for weight, column in weighed[:_MOST_SAID]])
    return said + and_more(len(weighed) - _MOST_SAID)


def _say_sum(parts: Sequence[tuple[float, str]]) -> str:
    """Join parts with their signs and weights: ``a minus 0.5 b``."""
    text = ""
    for index, (weight, what) in enumerate(parts):
        sign = "minus " if weight < 0 else "plus " if index else ""
        times = "" if abs(weight) == 1 else f"{say_number(abs(weight))} times the "
        text += f"{' ' if index else ''}{sign}{times}{what}"
    return text


def _say_meaning(meaning: Meaning, design: CodedDesign) -> str:
    """Say a coefficient, a mean or a slope with the levels at which it stands."""
    if meaning.kind == "coefficient":
        return f"coefficient {meaning.name}"
    at, where = "", []
    for place in meaning.places:
        if place.name == meaning.name:  # the point of a slope
            at = f" at {place.value}"
        else:
            where.append(place.value if as_number(place.value) is None else f"{place.name} {place.value}")
    within = f" in {', '.join(where)}" if where else ""
    if meaning.kind == "mean":
        return f"mean{within}"
    return f"slope of {meaning.name}{at or _say_where(meaning.name, design)}{within}"


def _say_where(covariate: str, design: CodedDesign) -> str:
    """Say at which value a slope is, where the formula has a curve: ``at 41.2``."""
    uses = [factor for factor in design.formula.factors if covariate in factor.columns]
    if all(factor.is_bare or factor.text.startswith(("center(", "scale(")) for factor in uses):
        return ""
    return f" at {say_number(design.covariates[covariate].mean)}"


def _say_held(held: Mapping[str, float], averaged: Sequence[str], functions: Sequence[str] = ()) -> list[str]:
    """Say where covariates are held, and what is averaged: ``at age 41.2 and the mean of log(volume)``."""
    said = [f"{quote_column(name)} {say_number(value)}" for name, value in held.items()]
    said += [f"the mean of {function}" for function in functions]
    at = ["at " + " and ".join(said)] if said else []
    return [*at, f"averaged over {list_some(averaged)}"] if averaged else at


def say_test(term: Term, design: CodedDesign) -> str:
    """Say what the test of a term compares: means of levels, slopes, or differences of them.

    Covariates are held at their mean, functions of them (``log(age)``) at the mean of the function.
    """
    factors = [column for column in term.columns if column in design.levels]
    covariates = [
        factor.text + (_say_where(factor.text, design) if factor.is_bare else "")
        for factor in term.factors
        if factor.columns[0] not in design.levels
    ]
    held: dict[str, float] = {}
    functions: list[str] = []
    for factor in design.formula.factors:
        others = [name for name in factor.columns if name in design.covariates and name not in term.columns]
        if factor.is_bare or factor.is_inner:
            held |= {name: design.covariates[name].mean for name in others}
        elif others:
            functions.append(factor.text)
    averaged = [name for name in design.levels if name not in factors]
    what = f"slope of {' and '.join(covariates)}" if covariates else "mean"
    levels = [design.levels[factor] for factor in factors]
    if not factors and len(design.form.blocks[term]) > 1:
        said = f"whether the mean depends on {term.name}"
    elif not factors:
        said = f"{what} against zero"
    elif len(factors) <= 2 and all(len(known) == 2 for known in levels):
        said = f"{what} in {levels[0][1]} minus {what} in {levels[0][0]}"
        said = said if len(factors) == 1 else f"({said}) in {levels[1][1]} minus in {levels[1][0]}"
    elif len(factors) == 1:
        said = f"whether the {what} differs between {list_some(levels[0])}"
    else:
        said = f"whether the {what} depends on {' and '.join(factors)} together ({term.name})"
    return ", ".join([said, *_say_held(held, averaged, functions)])
