"""The test of a term, independent of the coding (Type III: Yates' weighted squares of means).

The coefficients of the term in the hierarchical form of the formula are tested against zero.
"""

from __future__ import annotations

import itertools
import re

import numpy as np

from bids_group.errors import ContrastError, DesignError
from bids_group.model.contrast.coded_design import CodedDesign
from bids_group.model.contrast.regressor_names import split_factors
from bids_group.model.contrast.weights import ROUNDING, WeightRow
from bids_group.model.formula.coding import Array
from bids_group.model.formula.parser import Term
from bids_group.row_space import TOLERANCE
from bids_group.words import list_some, suggest


def term_rows(design: CodedDesign, typed: str) -> list[WeightRow]:
    """Rows of weights whose products with the coefficients of the design are the term's coefficients.

    Raises
    ------
    ContrastError
        The formula has no such term.
    DesignError
        The formula is not hierarchical, or the rows cannot tell the term from others.
    """
    form, term = design.form, find_term(design, typed)
    if form.missing:
        raise _hierarchy_error(design, typed)
    chosen = np.eye(form.matrix.shape[1])[form.blocks[term]]
    if not len(chosen) or not form.space.is_estimable(chosen).all():
        n_settled = len(settled_part(design, term))
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
    return _weigh(design, chosen)


def settled_part(design: CodedDesign, term: Term) -> list[WeightRow]:
    """Weigh as much of a term as these rows settle: its hypotheses that lie in the row space, if any."""
    space, positions = design.form.space, design.form.blocks[term]
    if design.form.missing or not positions:
        return []
    left, values, _ = np.linalg.svd(space.null[positions])
    free = left[:, int((values > TOLERANCE).sum()) :].T  # combinations that no dependency moves
    chosen = np.zeros((len(free), len(space.norms)))
    chosen[:, positions] = free * space.norms[positions]
    return _weigh(design, chosen)


def _hierarchy_error(design: CodedDesign, typed: str) -> DesignError:
    given = {term.key for term in design.coding.formula.terms}
    lacking = list_some(
        term.name if term.key not in given else f"the lower powers in {term.name}"
        for term in design.form.missing
    )
    return DesignError(
        f"The test of '{typed}' has no meaning of its own in this formula.",
        found=f"a formula that lacks {lacking}",
        expected="a hierarchical formula: with interactions also their lower-order terms, and the intercept",
        fix=f"Add {lacking} to the formula, or contrast means, slopes or coefficients.",
    )


def _weigh(design: CodedDesign, chosen: Array) -> list[WeightRow]:
    """Weigh the regressors so that combinations (``chosen``) of the hierarchical coefficients come out."""
    rows, X = design.form.space.weights_of_rows(chosen), design.X
    weights, sizes = rows @ X, np.outer(np.linalg.norm(rows, axis=1), np.linalg.norm(X, axis=0))
    return [WeightRow(weights=one, errors=ROUNDING * size) for one, size in zip(weights, sizes, strict=True)]


def find_term(design: CodedDesign, typed: str) -> Term:
    """Find a term by its name, in any order of its factors and with or without ``C()``."""
    wanted = frozenset(split_factors(re.sub(r"[\s`]", "", typed)))
    terms = [term for term in design.form.blocks if term.factors]
    for term in terms:
        if wanted in _names(term):
            return term
    known = [term.name for term in terms]
    raise ContrastError(
        f"The contrast 'test({typed})' names a term that the formula does not have.",
        found=f"the formula {design.coding.formula.text}",
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
