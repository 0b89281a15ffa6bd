"""Proportional scaling: each map times the mean of a column over the value of its row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bids_group.errors import DataError, UsageError
from bids_group.model.formula.coding import is_numeric
from bids_group.model.formula.parser import needed_variables
from bids_group.records import GroupAnalysis, PooledMap, Scaling, note, warn
from bids_group.words import say_number

SMALLEST = np.finfo(np.float32).smallest_subnormal
"""A variance is at least this: 0 would say that nothing was observed."""


def plan_scaling(analysis: GroupAnalysis, column: str | None) -> GroupAnalysis:
    """Give each row of an analysis the factor of its map (``--scale-by``): mean(column) over its value.

    Values are those of the tables, before transformations of a Stats Model; none is missing. Refused are
    categories and values that are not above 0.
    """
    if column is None:
        return analysis
    values = (analysis.rows if analysis.raw_rows is None else analysis.raw_rows)[column]
    if not is_numeric(values):
        raise UsageError(
            f"Maps cannot be scaled by '{column}', which is categorical.",
            expected="a column of numbers above 0, such as a total volume",
            fix=f"Name another column, or say --numeric {column}.",
        )
    if (values <= 0).any():
        raise DataError(
            f"Maps cannot be scaled by '{column}': it is not above 0 for everybody.",
            found=", ".join(f"{label}: {value:g}" for label, value in values[values <= 0].items()),
            expected="numbers above 0",
            fix="Correct these values (n/a where unknown), or leave these people out.",
        )
    mean = float(values.mean())
    factors = {str(label): mean / float(value) for label, value in values.items()}
    smallest, largest = say_number(min(factors.values())), say_number(max(factors.values()))
    sentence = (
        f"Each map is multiplied by the mean of {column} ({say_number(mean)}) over the value "
        f"of its row (factors {smallest} to {largest}): effects are those at the "
        f"mean {column}, if maps grow in proportion to it."
    )
    fix = f"'+ {column}' in the formula asks for no proportion, only for a straight line; use one of the two."
    notices = [*analysis.notices, note("scaling", sentence, fix)]
    if column in needed_variables(analysis.formula, analysis.rows.columns, centering=analysis.centering):
        sentence = f"The maps are scaled by {column}, and {column} is a covariate too."
        notices.append(warn("scaling", sentence, "Use one of the two."))
    scaling = Scaling(column=column, mean=mean, factors=factors)
    return replace(analysis, scaling=scaling, notices=tuple(notices))


def scale(one: PooledMap, scaling: Scaling | None) -> PooledMap:
    """Multiply effects by the factor of their row, and variances by its square; NaN stays NaN."""
    factor = 1.0 if scaling is None else scaling.factors[one.observation.label]
    if factor == 1.0:
        return one
    with np.errstate(over="ignore"):
        effect = (one.effect.astype(np.float64) * factor).astype(np.float32)
        variance = one.variance
        if variance is not None:
            variance = (variance.astype(np.float64) * factor**2).astype(np.float32)
            variance = np.maximum(variance, SMALLEST)
    for made, before in ((effect, one.effect), (variance, one.variance)):
        if made is not None and before is not None and np.count_nonzero(np.isinf(made) & np.isfinite(before)):
            raise DataError(
                f"The scaled map of {one.observation.label} is too large for float32.",
                found=f"a factor of {factor:g}",
                fix="See whether the value that it was scaled by is right.",
            )
    return replace(one, effect=effect, variance=variance)
