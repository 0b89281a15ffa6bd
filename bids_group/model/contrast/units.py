"""The unit of an effect: the covariate of which a contrast is the slope, if it is one."""

from __future__ import annotations

import numpy as np

from bids_group.model.contrast.grammar import Expression
from bids_group.model.contrast.weights import find_term
from bids_group.model.formula.coding import Array, CodedDesign
from bids_group.model.formula.parser import Term
from bids_group.records import Slope

_MIXED = Slope(covariate="several units", sd=np.nan)


def find_slope(expression: Expression, weights: Array, design: CodedDesign) -> Slope | None:
    """Find the covariate per unit of which an effect is; None where the effect is no slope.

    Where parts of a contrast are per different covariates, or no single one can be told, the SD is NaN.
    ``weights``: of the columns, ``(n_regressors,)``; they tell where a vector was typed.
    """
    if expression.term is not None:
        found = {_of_term(find_term(design, expression.term), design)}
    elif expression.vectors:
        found = {_of_column(int(at), design) for at in np.flatnonzero(weights)}
    else:
        found = {
            _of_covariate(meaning.name, design)
            if meaning.kind == "slope"
            else _of_column(design.columns.index(meaning.name), design)
            if meaning.kind == "coefficient"
            else None
            for row in expression.rows
            for _, meaning in row
        }
    return found.pop() if len(found) == 1 else _MIXED


def _of_covariate(name: str, design: CodedDesign) -> Slope:
    """Take the SD over the analysed rows, with n in its denominator."""
    return Slope(covariate=name, sd=float(design.variables[name].to_numpy(dtype=np.float64).std()))


def _of_column(position: int, design: CodedDesign) -> Slope | None:
    term = next(term for term, positions in design.positions.items() if position in positions)
    if design.is_own and len(np.unique(design.X[:, position])) <= 2:
        return None  # a code: an intercept, a group, a person
    return _of_term(term, design, position)


def _of_term(term: Term, design: CodedDesign, position: int | None = None) -> Slope | None:
    numeric = [factor for factor in term.factors if not set(factor.columns) <= set(design.levels)]
    if not numeric:
        return None
    if len(numeric) == 1 and (numeric[0].is_bare or numeric[0].text.startswith("center(")):
        return _of_covariate(numeric[0].columns[0], design)
    at = design.positions.get(term, ()) if position is None else (position,)
    if len(numeric) < len(term.factors) or len(at) != 1:
        return _MIXED
    return Slope(covariate=design.columns[at[0]], sd=float(design.X[:, at[0]].std()))
