"""A coded design, and its hierarchical form: what contrasts and tests of terms are made from.

In the hierarchical form, the column space of the formula is written anew with an intercept, every lower-order
term, factors whose columns sum to zero over their levels, and centred covariates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_group.model.formula.coding import Array, Coding, as_levels, build_coding
from bids_group.model.formula.factors import Factor
from bids_group.model.formula.parser import Formula, Term
from bids_group.row_space import RowSpace, independent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HierarchicalForm:
    """The analysed rows in the hierarchical form of a formula.

    ``matrix``: ``(n_rows, n_columns)``; ``blocks``: each term with its columns, lower-order terms first, the
    intercept (the term without factors) among them; ``missing``: terms whose columns the formula cannot
    express: it is not hierarchical there.
    """

    matrix: Array
    space: RowSpace
    blocks: dict[Term, list[int]]
    missing: tuple[Term, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodedDesign:
    """All that a contrast is made from.

    ``variables``: raw values of the formula's columns, by row; ``matrix``: the design, ``(n_rows,
    n_regressors)``; ``is_own``: it is the user's own, so that nothing is known of what its columns mean;
    ``subjects``: whose row each is, where people have several rows; ``are_conditions``: these are one per
    first-level contrast.
    """

    coding: Coding
    variables: pd.DataFrame
    centering: str
    matrix: pd.DataFrame
    space: RowSpace
    form: HierarchicalForm
    is_own: bool = False
    subjects: pd.Series | None = None
    are_conditions: bool = False

    @property
    def X(self) -> Array:  # noqa: N802
        """Design matrix, ``(n_rows, n_regressors)``."""
        return np.asarray(self.matrix.to_numpy(), dtype=np.float64)


def code_design(
    formula: Formula,
    variables: pd.DataFrame,
    centering: str,
    *,
    is_own: bool = False,
    subjects: pd.Series | None = None,
    are_conditions: bool = False,
) -> CodedDesign:
    """Code the analysed rows; see `build_coding` for the errors, and `CodedDesign` for the arguments."""
    coding, matrix = build_coding(formula, variables, centering)
    space = RowSpace.of(matrix.to_numpy(dtype=np.float64))
    return CodedDesign(
        coding=coding,
        variables=variables,
        centering=centering,
        matrix=matrix,
        space=space,
        form=_write_hierarchically(coding, variables, matrix.to_numpy(dtype=np.float64), space.rank),
        is_own=is_own,
        subjects=subjects,
        are_conditions=are_conditions,
    )


def _write_hierarchically(coding: Coding, variables: pd.DataFrame, X: Array, rank: int) -> HierarchicalForm:
    """Write the formula's column space hierarchically, with covariates centred at their overall mean.

    Where that is another space (covariates centred within a factor that the formula lacks), covariates are
    centred as the design centres them.
    """
    grand = _build(coding, variables, X, rank, "grand")
    if not grand.missing or coding.within is None:
        return grand
    own = _build(coding, variables, X, rank, f"within:{coding.within}")
    return grand if own.missing else own


def _build(coding: Coding, variables: pd.DataFrame, X: Array, rank: int, centering: str) -> HierarchicalForm:
    bases = {
        factor.code: _factor_columns(factor, coding, variables, centering)
        for factor in coding.formula.factors
    }
    columns: list[Array] = []
    blocks: dict[Term, list[int]] = {}
    start = 0
    for term in _closure(coding.formula.terms):
        product = np.ones((len(variables), 1))
        for factor in term.factors:  # each column by each
            basis = bases[factor.code]
            product = (product[:, :, None] * basis[:, None, :]).reshape(len(variables), -1)
        columns.append(product)
        blocks[term] = list(range(start, start + product.shape[1]))
        start += product.shape[1]
    matrix = np.column_stack(columns)
    space = RowSpace.of(matrix)
    missing = tuple(
        term
        for term, at in blocks.items()
        if space.rank < rank or (at and RowSpace.of(np.column_stack([X, matrix[:, at]])).rank > rank)
    )
    return HierarchicalForm(matrix=matrix, space=space, blocks=blocks, missing=missing)


def _closure(terms: Iterable[Term]) -> list[Term]:
    """Terms with all lower-order terms and the intercept, by number of factors."""
    every = list(terms)
    lower = (
        Term(factors=factors)
        for term in every
        for size in range(len(term.factors))
        for factors in itertools.combinations(term.factors, size)
    )
    found: dict[frozenset[str], Term] = {}
    for term in (*every, *lower):
        found.setdefault(term.key, term)
    return sorted(found.values(), key=lambda term: len(term.factors))


def _factor_columns(factor: Factor, coding: Coding, variables: pd.DataFrame, centering: str) -> Array:
    column = factor.columns[0]
    if column in coding.levels and (factor.is_bare or factor.is_coded):
        return _level_columns(variables[column], coding.levels[column])
    alone = Formula(text=factor.text, terms=(Term(factors=()), Term(factors=(factor,))))
    own = "none" if factor.divisors else centering  # what is divided by is not centred in the design either
    made = build_coding(alone, variables, own)[1].to_numpy()[:, 1:]
    if factor.divisors or not (factor.is_bare or factor.is_inner):
        made = made - made.mean(axis=0)
    return made[:, independent(made)]


def _level_columns(values: pd.Series, levels: tuple[str, ...]) -> Array:
    """Code levels by columns that sum to zero over them; coefficients are differences from the first."""
    names = as_levels(values).to_numpy()
    return np.column_stack(
        [np.empty((len(values), 0))] + [(names == level) - 1 / len(levels) for level in levels[1:]]
    )
