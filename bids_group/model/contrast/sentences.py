"""Contrasts in plain English."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bids_group.model.contrast.expressions import Combination, HeldAt, Mean, Meaning, Regressor
from bids_group.model.contrast.weights import as_number
from bids_group.model.formula.coding import Coding
from bids_group.model.formula.parser import Term
from bids_group.words import and_more, list_some, quote_column

_MOST_SAID = 8  # weights; the others are counted


def say_number(value: float) -> str:
    """Write a number with four digits that matter."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def say_combination(combination: Combination, coding: Coding) -> str:
    """Say what a row of a contrast is, and where: ``slope of n_cigs in patient minus …, at age 41.2``."""
    parts = [(weight, _say_meaning(meaning, coding)) for weight, meaning in combination.parts]
    return ", ".join([_say_sum(parts), *_say_place(combination, coding)])


def say_weights(weights: Sequence[float], columns: Sequence[str]) -> str:
    """Say a vector of weights: ``group[patient] minus group[control]``."""
    weighed = [pair for pair in zip(weights, columns, strict=True) if pair[0] != 0]
    weighed.sort(key=lambda pair: pair[0] < 0)
    said = _say_sum([(weight, f"coefficient {column}") for weight, column in weighed[:_MOST_SAID]])
    return said + and_more(len(weighed) - _MOST_SAID)


def _say_sum(parts: Sequence[tuple[float, str]]) -> str:
    text = ""
    for index, (weight, what) in enumerate(parts):
        sign = "minus " if weight < 0 else "plus " if index else ""
        times = "" if abs(weight) == 1 else f"{say_number(abs(weight))} times the "
        text += f"{' ' if index else ''}{sign}{times}{what}"
    return text


def _say_meaning(meaning: Meaning, coding: Coding) -> str:
    if isinstance(meaning, Regressor):
        return f"coefficient {meaning.column}"
    if isinstance(meaning, Mean):
        return "mean" + _say_levels(meaning.places)
    others = [place for place in meaning.places if place.name != meaning.covariate]
    at = "".join(f" at {place.value}" for place in meaning.places if place.name == meaning.covariate)
    at = at or _say_where(meaning.covariate, coding)
    return f"slope of {meaning.covariate}{at}" + _say_levels(others)


def _say_where(covariate: str, coding: Coding) -> str:
    """Say at which value a slope is, where the formula has a curve: ``at 41.2``."""
    uses = [factor for factor in coding.formula.factors if covariate in factor.columns]
    if all(factor.is_bare or factor.text.startswith(("center(", "scale(")) for factor in uses):
        return ""
    return f" at {say_number(coding.covariates[covariate].mean)}"


def _say_levels(places: Sequence[HeldAt]) -> str:
    levels = [
        place.value if as_number(place.value) is None else f"{place.name} {place.value}" for place in places
    ]
    return f" in {', '.join(levels)}" if levels else ""


def _say_place(combination: Combination, coding: Coding) -> list[str]:
    """Where covariates are held, and which factors are averaged over, in every part alike."""
    marginal = [meaning for _, meaning in combination.parts if not isinstance(meaning, Regressor)]
    if not marginal:
        return []
    moved = {meaning.covariate for meaning in marginal if not isinstance(meaning, Mean)}
    named = [{place.name for place in meaning.places} for meaning in marginal]
    held = {
        name: covariate.mean
        for name, covariate in coding.covariates.items()
        if name not in moved and not any(name in names for names in named)
    }
    averaged = [name for name in coding.levels if not all(name in names for names in named)]
    return _say_held(held, averaged)


def _say_held(held: Mapping[str, float], averaged: Sequence[str], functions: Sequence[str] = ()) -> list[str]:
    """Say where covariates are held, and what is averaged: ``at age 41.2 and the mean of log(volume)``."""
    said = [f"{quote_column(name)} {say_number(value)}" for name, value in held.items()]
    said += [f"the mean of {function}" for function in functions]
    at = ["at " + " and ".join(said)] if said else []
    return [*at, f"averaged over {list_some(averaged)}"] if averaged else at


def say_test(term: Term, n_columns: int, coding: Coding) -> str:
    """Say what the test of a term compares: means of levels, slopes, or differences of them.

    ``n_columns``: of the term in hierarchical form, its degrees of freedom.
    """
    factors = [column for column in term.columns if column in coding.levels]
    covariates = [
        factor.text + (_say_where(factor.text, coding) if factor.is_bare else "")
        for factor in term.factors
        if factor.columns[0] not in coding.levels
    ]
    what = f"slope of {' and '.join(covariates)}" if covariates else "mean"
    averaged = [name for name in coding.levels if name not in factors]
    # covariates are held at their mean, functions of them (log(age)) at the mean of the function
    held: dict[str, float] = {}
    functions: list[str] = []
    for factor in coding.formula.factors:
        others = [name for name in factor.columns if name in coding.covariates and name not in term.columns]
        if factor.is_bare or factor.is_inner:
            held |= {name: coding.covariates[name].mean for name in others}
        elif others:
            functions.append(factor.text)
    compared = _say_comparison(what, factors, term, n_columns, coding)
    return ", ".join([compared, *_say_held(held, averaged, functions)])


def _say_comparison(what: str, factors: Sequence[str], term: Term, n_columns: int, coding: Coding) -> str:
    levels = [coding.levels[factor] for factor in factors]
    if not factors:
        return f"whether the mean depends on {term.name}" if n_columns > 1 else f"{what} against zero"
    if len(factors) == 1 and len(levels[0]) == 2:
        first, second = levels[0]
        return f"{what} in {second} minus {what} in {first}"
    if len(factors) == 2 and all(len(known) == 2 for known in levels):
        (first, second), (outer_first, outer_second) = levels
        return f"({what} in {second} minus {what} in {first}) in {outer_second} minus in {outer_first}"
    if len(factors) == 1:
        return f"whether the {what} differs between {list_some(levels[0])}"
    return f"whether the {what} depends on {' and '.join(factors)} together ({term.name})"
