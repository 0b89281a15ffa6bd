"""Regressors of formulas without functions: columns, categories coded by treatment, and their products.

Most formulas are no more than that. Their regressors are what formulaic would make, to the last bit (tests
hold them to it), without its import, which takes half a second.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.model.formula.parser import Formula, Term

Array = npt.NDArray[np.float64]


class _Coded(NamedTuple):
    """A factor in a product; a category that ``is_reduced`` lacks the column of its first level."""

    code: str
    is_reduced: bool


_Product = tuple[_Coded, ...]
"""Factors of a product, in the order of their term; none for the constant."""
_Columns = Mapping[str, Array | Mapping[str, Array]]
"""Of each factor: its numbers, or for each of its levels who has it."""


def make_regressors(formula: Formula, symbols: pd.DataFrame) -> list[dict[str, Array]] | None:
    """Make the regressors of each term, by their names; None where formulaic has to be asked.

    That is where a factor is no column, and where a value is missing or a regressor is not finite, of which
    formulaic makes an error. ``symbols``: a column for each use of a column, under a neutral name; categories
    are categorical, with the levels of the analysed rows.
    """
    columns: dict[str, Array | Mapping[str, Array]] = {}
    for factor in formula.factors:
        column = symbols[symbol := factor.uses[0].symbol]
        if factor.code not in (symbol, f"C({symbol})") or column.isna().any():
            return None
        levels = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else ()
        who_has = {level: np.asarray(column == level, dtype=np.float64) for level in levels}
        columns[factor.code] = who_has or column.to_numpy(np.float64)
    made: list[dict[str, Array]] = []
    spanned: set[frozenset[_Coded]] = set()
    for term in formula.terms:
        span = [one for one in _span(term, columns) if frozenset(one) not in spanned]
        spanned.update(map(frozenset, span))
        regressors = [_multiply(product, columns, len(symbols)) for product in _merge(span)]
        made.append({name: values for some in regressors for name, values in some.items()})
    every = [values for regressors in made for values in regressors.values()]
    is_unique = len({name for regressors in made for name in regressors}) == len(every)
    return made if len(symbols) and every and is_unique and np.isfinite(every).all() else None


def _span(term: Term, columns: _Columns) -> list[_Product]:
    """List the products whose columns span a term: a category is its reduced columns and the constant."""
    choices: list[tuple[_Product, ...]] = [
        ((_Coded(code, True),), ()) if isinstance(columns[code], Mapping) else ((_Coded(code, False),),)
        for code in (factor.code for factor in term.factors)
    ]
    return [tuple(itertools.chain(*chosen)) for chosen in itertools.product(*choices)]


def _merge(products: Iterable[_Product]) -> list[_Product]:
    """Span the same by as few products as there can be: ``x`` and ``x:reduced`` are ``x:whole``."""
    merged: list[_Product] = []
    for product in sorted(products, key=len):
        for smaller in merged:
            more = set(product) - set(smaller)
            if len(product) == len(smaller) + 1 and len(more) == 1 and (one := more.pop()).is_reduced:
                whole = tuple(_Coded(one.code, False) if own == one else own for own in product)
                merged = _merge([*(other for other in merged if other != smaller), whole])
                break
        else:
            merged.append(product)
    return merged


def _multiply(product: _Product, columns: _Columns, n_rows: int) -> dict[str, Array]:
    """Multiply each column of a factor by each of the others, the first factor's changing fastest."""
    if not product:
        return {"Intercept": np.ones(n_rows)}
    parts: list[list[tuple[str, Array]]] = []
    for code, is_reduced in product:
        column = columns[code]
        if isinstance(column, Mapping):
            mark = "T." if is_reduced else ""
            levels = list(column.items())[is_reduced:]
            parts.append([(f"{code}[{mark}{level}]", values) for level, values in levels])
        else:
            parts.append([(code, column)])
    regressors = {}
    for chosen in itertools.product(*reversed(parts)):
        names, values = zip(*reversed(chosen), strict=True)
        regressors[":".join(names)] = functools.reduce(np.multiply, values)
    return regressors
