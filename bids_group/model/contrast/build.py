"""From an expression to a contrast: rows of weights over the design's columns, and words for them."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pandas as pd

from bids_group.config import ContrastRequest
from bids_group.errors import ContrastError, DesignError
from bids_group.labels import camel_label, upper_first
from bids_group.model.contrast.grammar import read_expression
from bids_group.model.contrast.reading import read_contrast
from bids_group.model.contrast.saying import say_test, say_weights
from bids_group.model.contrast.units import find_slope
from bids_group.model.contrast.weights import (
    find_term,
    settled_part,
)
from bids_group.model.contrast.zero import check_zero
from bids_group.model.formula.coding import Array, CodedDesign
from bids_group.model.formula.parser import Term
from bids_group.records import Contrast, Notice, warn
from bids_group.words import list_some


def build_contrast(request: ContrastRequest, design: CodedDesign) -> Contrast:
    """Turn one requested contrast into independent rows of weights.

    One that cannot be read, or names what the design does not have, is a `ContrastError`; one that the rows
    cannot estimate, or that compares people who have several rows each, a `DesignError`.
    """
    text, expression, weights, words = read_contrast(request, design)
    name = request.name or request.expression.strip()
    check_zero(name, weights, text, expression, design)
    if design.subjects is not None:
        _check_within(name, weights, design, design.subjects)
    for row in weights[~design.space.is_estimable(weights)]:
        involved = design.fold([design.columns[index] for index in design.space.dependent_columns()])
        raise DesignError(
            f"The contrast '{name}' cannot be estimated from this design.",
            found=f"{say_weights(row, design.columns)}, where {list_some(involved)} depend on each other",
            expected="a contrast whose value these rows settle",
            fix="Leave out a term that says the same as others, or compare what has rows in every cell.",
        )
    kept = design.space.independent_rows(weights)
    label = upper_first(camel_label(request.expression if request.name is None else request.name))
    if request.name is None and expression.term is not None:
        label = _label_term(find_term(design, expression.term))
    return Contrast(
        name=name,
        label=label,
        weights=kept,
        test=_choose_test(request, name, len(kept), is_list=len(weights) > 1),
        expression=text,
        words=words,
        slope=find_slope(expression, weights[0], design),
    )


def build_settled_part(request: ContrastRequest, design: CodedDesign) -> tuple[Contrast, Notice] | None:
    """Test of a term what these rows settle, if anything, and warn that it is not the whole."""
    expression = read_expression(request.expression, design.columns)
    if expression.term is None:
        return None
    term = find_term(design, expression.term)
    rows, n_whole = settled_part(design, term), len(design.form.blocks[term])
    weights = [row for row in rows if row.any()]
    if not weights:
        return None
    part = f"{len(rows)} of {n_whole} degrees of freedom, those that have rows"
    contrast = Contrast(
        name=request.expression,
        label=_label_term(term),
        weights=np.array(weights),
        test="F" if len(weights) > 1 else "t",
        expression=request.expression,
        words=f"{say_test(term, design)} ({part})",
    )
    sentence = (
        f"No default contrast can be tested whole: of {contrast.name} the part that these rows settle is "
        f"tested, {len(weights)} of {n_whole} degrees of freedom."
    )
    fix = "Name the contrasts that you want, or leave out or join levels with too few rows."
    return contrast, warn("contrasts", sentence, fix)


def _label_term(term: Term) -> str:
    """Name the file of a term's test: ``group:n_cigs`` → ``GroupByNCigs``; codings are left out."""
    names = [f.columns[0] if f.is_column else f.text for f in term.factors]
    return "By".join(upper_first(camel_label(name)) for name in names)


def _check_within(name: str, weights: Array, design: CodedDesign, subjects: pd.Series) -> None:
    """Refuse a contrast that compares people who have several rows each; ``weights``: ``(q, n_regressors)``.

    The estimate of a contrast is a weighted sum of the rows. A person's own level cancels exactly where the
    weights sum to zero over the rows of every person; else the contrast compares people, and the rows of one
    person are not independent. Of a row that the design cannot estimate, that is only said where it weighs a
    column that is constant within people.
    """
    X, (codes, people) = design.X, pd.factorize(subjects)
    shares = design.space.weights_of_rows(weights)
    sums = shares @ (codes[:, None] == np.arange(len(people)))
    is_between = np.abs(sums).max(axis=1) > 1e-7 * np.abs(shares).max(axis=1)
    first = X[np.unique(codes, return_index=True)[1]]
    is_constant = (first[codes] == X).all(axis=0)  # columns that no person's rows differ in
    is_known = design.space.is_estimable(weights) | (weights[:, is_constant] != 0).any(axis=1)
    if not (is_between & is_known).any():
        return
    row = weights[is_between & is_known][0]
    several = sorted(set(subjects[subjects.duplicated()].astype(str)))
    own = [at for term, columns in design.positions.items() if "subject" in term.columns for at in columns]
    one_row = "Give every person one row (--pooling precision, or mean without variance maps)"
    if design.are_conditions:
        fix = (
            "Make the contrast of conditions within each person first, in a node of Level Subject, or "
            "analyse each condition by itself: GroupBy contrast, --first-level-contrast."
        )
    elif row[own].any() and not row.sum():
        fix = "The weights fall on columns of subject: see the order by --dry-run, or write means or columns."
    elif "subject" in design.formula.columns:
        fix = f"{one_row}, contrast what changes within people, or: {say_ways(design)}."
    else:
        fix = f"{one_row}, or: {say_ways(design)}; what changes within people needs '+ subject' alone."
    raise DesignError(
        f"The contrast '{name}' compares people, but {len(several)} people have several rows.",
        found=f"several rows of {list_some(several, 6)}, which are not independent of each other; "
        f"its weights: {say_weights(row.tolist(), design.columns)}",
        expected="one row per person, or a contrast of what changes within people",
        fix=fix,
    )


def say_ways(design: CodedDesign) -> str:
    """Say how people with several rows each can be compared, in the user's own formula."""
    fixed = re.sub(r"\s*\+\s*subject\b(?!\s*[:*])", "", design.formula.text)
    text = fixed if fixed.startswith("~") else f"~ {fixed}"
    return f'--formula "{text} + (1 | subject)" (a mixed model), or --formula "{text}" --estimator sandwich'


def _choose_test(request: ContrastRequest, name: str, n_rows: int, *, is_list: bool) -> Literal["t", "F"]:
    if request.test == "pass":
        what = "has the test 'pass', but no level is above the group"
        raise ContrastError(f"The contrast '{name}' {what}.", expected="t or F")
    if request.test == "t" and n_rows > 1:
        what = f"has {n_rows} independent rows, which a t test cannot take"
        raise ContrastError(f"The contrast '{name}' {what}.", expected="F")
    if request.test == "auto":
        return "F" if is_list else "t"
    return request.test
