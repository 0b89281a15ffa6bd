"""The test of a term, independent of the coding (Type III: Yates' weighted squares of means).

The column space of the formula is written anew with an intercept, every lower-order term, factors whose
columns sum to zero over their levels, and centred covariates; the coefficients of the term in that form
are tested against zero.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_group.errors import ContrastError, DesignError
from bids_group.model.contrast.rows import ROUNDING, Row
from bids_group.model.formula.coding import Array, Coding, as_levels, build_coding
from bids_group.model.formula.factors import Factor
from bids_group.model.formula.parser import Formula, Term
from bids_group.row_space import TOLERANCE, RowSpace, independent
from bids_group.words import list_some, suggest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HierarchicalForm:
    """The analysed rows in the hierarchical form of a formula.

    ``matrix``: ``(n_rows, n_columns)``; ``blocks``: columns of each term, lower-order terms first, the
    intercept (the term without factors) among them; ``missing``: terms whose columns the formula cannot
    express: it is not hierarchical there.
    """

    matrix: Array
    blocks: dict[frozenset[str], tuple[int, ...]]
    terms: dict[frozenset[str], Term]
    missing: tuple[Term, ...]
    formula: Formula


def build_hierarchical(coding: Coding, variables: pd.DataFrame, X: Array) -> HierarchicalForm:
    """Write the formula's column space hierarchically, with covariates centred at their overall mean.

    Where that is another space (covariates centred within a factor that the formula lacks), covariates are
    centred as the design centres them.
    """
    grand = _build(coding, variables, X, "grand")
    if not grand.missing or coding.within is None:
        return grand
    own = _build(coding, variables, X, f"within:{coding.within}")
    return grand if own.missing else own


def term_rows(form: HierarchicalForm, X: Array, typed: str) -> list[Row]:
    """Rows of weights whose products with the coefficients of X are the term's coefficients.

    Raises
    ------
    ContrastError
        The formula has no such term.
    DesignError
        The formula is not hierarchical, or the rows cannot tell the term from others.
    """
    term = find_term(form, typed)
    if form.missing:
        raise _hierarchy_error(form, typed)
    chosen = np.eye(form.matrix.shape[1])[list(form.blocks[term.key])]
    if not len(chosen) or not RowSpace.of(form.matrix).is_estimable(chosen).all():
        n_settled = len(settled_part(form, X, term))
        raise DesignError(
            f"The test of '{typed}' cannot be made from these rows.",
            found=f"rows in which {term.name} cannot be told from the other terms "
            "(empty cells, or columns that depend on each other)",
            expected="rows in every cell of the term, and no other term that says the same",
            fix="Leave out the term that says the same, or join levels so that no cell is empty."
            if not n_settled
            else f"{n_settled} of its {len(chosen)} degrees of freedom can be tested: write them as a joint "
            "test of differences between cells that have rows, [mean(…) - mean(…), …], or join levels.",
        )
    return _solve(form.matrix, chosen, X)


def settled_part(form: HierarchicalForm, X: Array, term: Term) -> list[Row]:
    """Weigh as much of a term as these rows settle: its hypotheses that lie in the row space, if any."""
    space, positions = RowSpace.of(form.matrix), list(form.blocks[term.key])
    if form.missing or not positions:
        return []
    left, values, _ = np.linalg.svd(space.null[positions])
    free = left[:, int((values > TOLERANCE).sum()) :].T  # combinations that no dependency moves
    chosen = np.zeros((len(free), form.matrix.shape[1]))
    chosen[:, positions] = free * space.norms[positions]
    return _solve(form.matrix, chosen, X)


def _hierarchy_error(form: HierarchicalForm, typed: str) -> DesignError:
    given = {term.key for term in form.formula.terms}
    lacking = [
        term.name if term.key not in given else f"the lower powers in {term.name}" for term in form.missing
    ]
    return DesignError(
        f"The test of '{typed}' has no meaning of its own in this formula.",
        found=f"a formula that lacks {list_some(lacking)}",
        expected="a hierarchical formula: with interactions also their lower-order terms, and the intercept",
        fix=f"Add {list_some(lacking)} to the formula, or contrast means, slopes or coefficients.",
    )


def _solve(matrix: Array, chosen: Array, X: Array) -> list[Row]:
    """Weigh the columns of X so that combinations (``chosen``) of the coefficients of ``matrix`` come out."""
    norms = RowSpace.of(matrix).norms
    rows = (chosen / norms) @ np.linalg.pinv(matrix / norms, rcond=TOLERANCE)
    weights, sizes = rows @ X, np.outer(np.linalg.norm(rows, axis=1), np.linalg.norm(X, axis=0))
    return [Row(weights=one, errors=ROUNDING * size) for one, size in zip(weights, sizes, strict=True)]


def find_term(form: HierarchicalForm, typed: str) -> Term:
    """Find a term by its name, in any order of its factors and with or without ``C()``."""
    wanted = _normalise(typed)
    for term in form.terms.values():
        if term.factors and wanted in _names(term):
            return term
    known = [term.name for term in form.terms.values() if term.factors]
    raise ContrastError(
        f"The contrast 'test({typed})' names a term that the formula does not have.",
        found=f"the formula {form.formula.text}",
        expected=f"one of {list_some(known)}",
        fix=suggest(typed, known),
    )


def _names(term: Term) -> set[frozenset[str]]:
    choices = []
    for factor in term.factors:
        names = {re.sub(r"[\s`]", "", factor.text)}
        if factor.is_coded or factor.is_bare:
            column = re.sub(r"\s", "", factor.columns[0])
            names |= {column, f"C({column})"}
        choices.append(names)
    return {frozenset(names) for names in itertools.product(*choices)}


def _normalise(typed: str) -> frozenset[str]:
    parts, depth, part = [], 0, ""
    for character in re.sub(r"[\s`]", "", typed):
        depth += (character in "([") - (character in ")]")
        if character == ":" and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += character
    return frozenset([*parts, part])


def _build(coding: Coding, variables: pd.DataFrame, X: Array, centering: str) -> HierarchicalForm:
    terms = {term.key: term for term in _closure(coding.formula.terms)}
    bases = {
        factor.code: _factor_columns(factor, coding, variables, centering)
        for factor in coding.formula.factors
    }
    columns: list[Array] = []
    blocks: dict[frozenset[str], tuple[int, ...]] = {}
    start = 0
    for key, term in terms.items():
        block = _multiply([bases[factor.code] for factor in term.factors], len(variables))
        blocks[key] = tuple(range(start, start + block.shape[1]))
        columns.append(block)
        start += block.shape[1]
    matrix = np.column_stack(columns)
    return HierarchicalForm(
        matrix=matrix,
        blocks=blocks,
        terms=terms,
        missing=_missing(terms, blocks, matrix, X),
        formula=coding.formula,
    )


def _missing(
    terms: dict[frozenset[str], Term], blocks: dict[frozenset[str], tuple[int, ...]], matrix: Array, X: Array
) -> tuple[Term, ...]:
    """Find terms of the hierarchical form that X does not span; all, where X spans more than the form."""
    rank = RowSpace.of(X).rank
    if RowSpace.of(matrix).rank < rank:
        return tuple(terms.values())
    return tuple(
        term
        for key, term in terms.items()
        if blocks[key] and RowSpace.of(np.column_stack([X, matrix[:, blocks[key]]])).rank > rank
    )


def _closure(terms: Iterable[Term]) -> list[Term]:
    """Terms with all lower-order terms and the intercept, by number of factors."""
    found: dict[frozenset[str], Term] = {}
    every = list(terms)
    for term in every:
        found.setdefault(term.key, term)
    for term in every:
        for size in range(len(term.factors)):
            for factors in itertools.combinations(term.factors, size):
                lower = Term(factors=factors)
                found.setdefault(lower.key, lower)
    return sorted(found.values(), key=lambda term: len(term.factors))


def _multiply(bases: Sequence[Array], n_rows: int) -> Array:
    """Multiply the columns of each basis by those of the others; a column of ones where there is none."""
    product: Array = np.ones((n_rows, 1))
    for basis in bases:
        product = (product[:, :, None] * basis[:, None, :]).reshape(n_rows, -1)
    return product


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
