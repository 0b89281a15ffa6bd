"""What the meanings of an expression weigh: coefficients, marginal means and slopes as rows of the design."""

from __future__ import annotations

import numpy as np

from bids_group.errors import ContrastError
from bids_group.model.contrast.expressions import Combination, Mean, Meaning, Place, Regressor, Slope
from bids_group.model.contrast.marginal import mean_row, slope_row
from bids_group.model.contrast.rows import Row, combine
from bids_group.model.formula.coding import Coding
from bids_group.words import list_some, point_at, suggest


def weigh_combination(text: str, combination: Combination, coding: Coding) -> Row:
    """Weigh what one row of an expression says; ``text`` is the expression, for messages."""
    rows = [_weigh_meaning(text, meaning, coding) for _, meaning in combination.parts]
    return combine([weight for weight, _ in combination.parts], rows)


def _weigh_meaning(text: str, meaning: Meaning, coding: Coding) -> Row:
    if isinstance(meaning, Regressor):
        n_columns = len(coding.columns)
        unit = np.eye(n_columns)[coding.columns.index(meaning.column)]
        return Row(weights=unit, errors=np.zeros(n_columns))
    levels, values = place_levels(text, meaning, coding)
    if isinstance(meaning, Mean):
        return mean_row(coding, levels, values)
    if meaning.covariate not in coding.covariates:
        _refuse_covariate(text, meaning, coding)
    return slope_row(coding, meaning.covariate, levels, values)


def _refuse_covariate(text: str, meaning: Slope, coding: Coding) -> None:
    is_factor = meaning.covariate in coding.levels
    what = "is a factor, so it has no slope" if is_factor else "is not a covariate of the formula"
    means = (
        f"Write mean({meaning.covariate}={coding.levels[meaning.covariate][-1]}) - …" if is_factor else None
    )
    raise ContrastError(
        f"The contrast '{text.strip()}' asks for a slope, but '{meaning.covariate}' {what}.",
        found=point_at(text, meaning.position),
        expected=f"one of {list_some(coding.covariates)}",
        fix=means or suggest(meaning.covariate, coding.covariates),
    )


def place_levels(text: str, meaning: Mean | Slope, coding: Coding) -> tuple[dict[str, str], dict[str, float]]:
    """Sort the places into levels of factors and values of covariates."""
    levels: dict[str, str] = {}
    values: dict[str, float] = {}
    for place in meaning.places:
        if place.name in coding.levels:
            levels[place.name] = _find_level(text, place, coding.levels[place.name])
        elif place.name in coding.covariates:
            values[place.name] = _read_value(text, place)
        else:
            known = (*coding.levels, *coding.covariates)
            raise ContrastError(
                f"The contrast '{text.strip()}' names '{place.name}', which is not in the formula.",
                found=point_at(text, place.position),
                expected=f"one of {list_some(known)}",
                fix=suggest(place.name, known) or f"Add {place.name} to the formula.",
            )
    return levels, values


def _find_level(text: str, place: Place, levels: tuple[str, ...]) -> str:
    if place.value in levels:
        return place.value
    numbers = {as_number(level): level for level in levels}
    number = as_number(place.value)
    if number is not None and number in numbers:
        return numbers[number]
    raise ContrastError(
        f"The contrast '{text.strip()}' names {place.name} = '{place.value}', which no analysed row has.",
        found=point_at(text, place.position),
        expected=f"one of {list_some(levels)}",
        fix=suggest(place.value, levels),
    )


def _read_value(text: str, place: Place) -> float:
    value = as_number(place.value)
    if value is not None and np.isfinite(value):
        return value
    raise ContrastError(
        f"The contrast '{text.strip()}' holds {place.name} at '{place.value}', which is not a number.",
        found=point_at(text, place.position),
        expected=f"a number, such as {place.name}=30",
    )


def as_number(typed: str) -> float | None:
    """Read a number; None where there is none."""
    try:
        return float(typed)
    except ValueError:
        return None
