"""Regressors of formulas that call functions, such as ``poly(age, 2)`` or ``C(site, contr.sum)``.

Formulaic evaluates them. It is imported here alone, as that takes half a second.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from formulaic import Formula as FormulaicFormula
from formulaic.errors import FormulaicError

from bids_group.errors import BidsGroupError, DesignError, FormulaError
from bids_group.labels import natural_order
from bids_group.model.formula.factors import Factor
from bids_group.model.formula.parser import Formula
from bids_group.words import counted, list_some

_NUMPY = {"log1p": np.log1p, "sqrt": np.sqrt, "abs": np.abs}
"""What the allow-list names beyond formulaic's own transforms; nothing else can be seen by a formula."""
_FAILURES = (FormulaicError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)
"""What formulaic and its transforms raise where a factor cannot be computed."""


def evaluate(
    formula: Formula, spec: Any, symbols: pd.DataFrame, whom: str
) -> tuple[npt.NDArray[np.float64], list[tuple[str, ...]], Any]:
    """Compute the design ``(n_people, n_regressors)``, the names of each term's regressors, and a spec.

    ``symbols``: a column for each use of a column, under a neutral name; formulaic gets a flat formula of
    these. The spec is what formulaic settled (knots, norms of polynomials); with that of the analysed rows,
    other people get the same regressors.

    Raises
    ------
    FormulaError
        A factor cannot be computed, or has a level that formulaic would leave out.
    DesignError
        A factor is not a finite number for somebody.
    """
    for use in formula.uses:  # formulaic takes such names for its own, and leaves out their columns
        for level in getattr(symbols[use.symbol].dtype, "categories", ()):
            if level.startswith("__"):
                raise FormulaError(
                    f"The level '{level}' of '{use.column}' cannot be used together with functions.",
                    found="two underscores at its beginning",
                    fix="Give the level another name, or write a formula of columns alone.",
                )
    products = [":".join(factor.code for factor in term.factors) for term in formula.terms if term.factors]
    code = " + ".join(["1" if formula.has_intercept else "0", *products])
    try:
        matrix = _make_matrix(FormulaicFormula(code) if spec is None else spec, symbols)
    except _FAILURES as error:
        raise _explain(formula, symbols, str(error), whom) from error
    numbers, made = np.asarray(matrix, dtype=np.float64), matrix.model_spec
    if not np.isfinite(numbers).all():
        raise _explain(formula, symbols, "", whom)
    names = [tuple(made.column_names[at] for at in of_term) for of_term in made.term_indices.values()]
    return numbers.reshape(len(symbols), -1), names, made


def count_columns(factor: Factor, symbols: pd.DataFrame) -> int:
    """Count the columns of a factor by itself; one where it cannot be computed, which is told later."""
    try:
        return int(np.shape(_make_matrix(FormulaicFormula(f"0 + {factor.code}"), symbols, "ignore"))[1])
    except _FAILURES:
        return 1


def _make_matrix(maker: Any, symbols: pd.DataFrame, na_action: str = "raise") -> Any:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return maker.get_model_matrix(symbols, na_action=na_action, context=_NUMPY)


def _explain(formula: Formula, symbols: pd.DataFrame, reason: str, whom: str) -> BidsGroupError:
    """Find the factor that cannot be computed, and the rows that are to blame, else what formulaic says."""
    for factor in formula.factors:
        try:
            made = _make_matrix(FormulaicFormula(f"0 + {factor.code}"), symbols, na_action="ignore")
            is_bad = ~np.isfinite(np.asarray(made, dtype=np.float64)).all(axis=1)
        except _FAILURES:
            inner = re.search(r"\[\w+: (.*)\]", reason)
            fix = "Change the function or its options, or add the finished column to participants.tsv."
            if "is not among the provided levels" in reason and factor.is_column:
                levels = natural_order({*symbols[factor.uses[0].symbol].astype(str)})
                fix = f"Name a level of the analysed rows, in quotes: {list_some(map(repr, levels))}."
            return FormulaError(
                f"'{factor.text}' in the formula cannot be computed from {whom}.",
                found=formula.display(inner[1] if inner else reason),
                fix=fix,
            )
        if is_bad.all() and factor.code.startswith(("poly(", "scale(")):
            n_values = symbols[factor.uses[0].symbol].nunique()
            return DesignError(
                f"'{factor.text}' in the formula cannot be computed from {whom}.",
                found=f"{counted(n_values, 'different value')} of {factor.columns[0]}",
                expected="more different values than the degree of poly, and than one for scale",
                fix=f"Use {factor.columns[0]} as it is, or leave it out.",
            )
        if is_bad.any():
            people = list_some(symbols.index[np.flatnonzero(is_bad)], 6)
            return DesignError(
                f"'{factor.text}' in the formula is not a finite number for {people}.",
                found="a logarithm or root of a number ≤ 0, or a division by 0",
                expected=f"a finite number from {whom}",
                fix="Correct these values, or use another function.",
            )
    return FormulaError(f"The formula '{formula.text}' cannot be computed from {whom}.", found=reason)
