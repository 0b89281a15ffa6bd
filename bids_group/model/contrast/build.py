"""From an expression to a contrast: rows of weights over the design's columns, and words for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from bids_group.config import ContrastRequest
from bids_group.errors import ContrastError, DesignError
from bids_group.labels import camel_label, upper_first
from bids_group.model.contrast.grammar import Combination, Expression, Meaning, read_expression
from bids_group.model.contrast.regressor_names import name_levels
from bids_group.model.contrast.units import find_slope
from bids_group.model.contrast.weights import (
    as_number,
    find_term,
    settle,
    settled_part,
    term_rows,
    weigh_combination,
)
from bids_group.model.contrast.zero import check_zero
from bids_group.model.formula.coding import Array, CodedDesign
from bids_group.model.formula.parser import Term
from bids_group.records import Contrast, Notice, note, warn
from bids_group.words import and_more, counted, list_some, quote_column, say_number

_MOST_SAID = 8  # weights; the others are counted


def build_contrast(request: ContrastRequest, design: CodedDesign) -> Contrast:
    """Turn one requested contrast into independent rows of weights.

    One that cannot be read, or names what the design does not have, is a `ContrastError`; one that the rows
    cannot estimate, or that compares people who have several rows each, a `DesignError`.
    """
    expression = _read(request.expression, design)
    weights, words = _weigh(request.expression, expression, design)
    name = request.name or request.expression.strip()
    check_zero(name, weights, request.expression, expression, design)
    if design.subjects is not None:
        _check_within(name, weights, design, design.subjects)
    for row in weights[~design.space.is_estimable(weights)]:
        involved = design.fold([design.columns[index] for index in design.space.dependent_columns()])
        raise DesignError(
            f"The contrast '{name}' cannot be estimated from this design.",
            found=f"{_say_weights(row, design.columns)}, where {list_some(involved)} depend on each other",
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
        expression=request.expression.strip(),
        words=words,
        slope=find_slope(expression, weights[0], design),
    )


def _read(text: str, design: CodedDesign) -> Expression:
    """Read an expression; of one that cannot be read, show how it would be where that can be told."""
    columns = design.columns
    try:
        expression = read_expression(text, columns)
    except ContrastError as error:
        better = name_levels(text, design.levels)
        try:  # only what can be read and weighed is shown
            for row in read_expression(better, columns).rows:
                weigh_combination(better, row, design)
        except ContrastError:
            raise error from None
        sided = ", with --one-sided for positive effects only" if re.search("[<>]", text) else ""
        fix = f"Write '{better}'{sided}."
        raise ContrastError(error.sentence, found=error.found, expected=error.expected, fix=fix) from None
    meanings = [meaning for row in expression.rows for _, meaning in row]
    if design.is_own and (expression.term or any(meaning.kind != "coefficient" for meaning in meanings)):
        raise ContrastError(
            f"The contrast '{text.strip()}' asks for a mean, slope or term, which only a formula tells.",
            found="a design matrix of your own, of which nothing but its columns is known",
            expected=f"a sum of columns or a vector over: {list_some(columns, 30)}",
            fix="Name columns ('a - b', '[a, b]' for a joint F test), or use --formula.",
        )
    return expression


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
        words=f"{_say_test(term, design)} ({part})",
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


def _weigh(text: str, expression: Expression, design: CodedDesign) -> tuple[Array, str]:
    """Weigh the columns, ``(q, n_regressors)``, and say the contrast in words."""
    if expression.term is not None:
        rows = term_rows(design, expression.term)
        return np.array(rows), _say_test(find_term(design, expression.term), design)
    columns = design.columns
    for row in expression.vectors:
        if len(row) != len(columns):
            glued = re.search(r"[\d.]+\s+[+-][\d.]+", text)
            raise ContrastError(
                f"The contrast '{text.strip()}' does not have one weight per column of the design.",
                found=counted(len(row), "weight"),
                expected=f"one weight for each of: {list_some(columns, 30)}",
                fix=f"Put a comma between the weights: '{glued[0]}' without one is a sum or difference."
                if glued
                else "Run --dry-run to see the columns and their order, or name them in the contrast.",
            )
    rows = [settle(np.array(row)) for row in expression.vectors]
    rows += [weigh_combination(text, row, design) for row in expression.rows]
    said = [_say_weights(row, columns) for row in expression.vectors]
    said += [_say_combination(row, design) for row in expression.rows]
    return np.array(rows), said[0] if len(said) == 1 else f"joint test: {'; '.join(said)}"


def remark(request: ContrastRequest, design: CodedDesign) -> Iterator[Notice]:
    """Tell which names were read tolerantly, and which values lie beyond the analysed range."""
    rows = read_expression(request.expression, design.columns).rows
    for meaning in (meaning for row in rows for _, meaning in row):
        if re.sub(r"[\s`]", "", meaning.typed) not in ("", re.sub(r"[\s`]", "", meaning.name)):
            what = ", a difference from the reference level" if "[T." in meaning.name else ""
            said = f"'{meaning.typed}' is read as the column '{meaning.name}' of the design{what}."
            yield note("names", said)
        for place in meaning.places:
            covariate, value = design.covariates.get(place.name), as_number(place.value)
            if covariate and value is not None and not covariate.minimum <= value <= covariate.maximum:
                yield warn(
                    "extrapolation",
                    f"A contrast is evaluated at {place.name} = {place.value}, beyond the analysed rows "
                    f"({say_number(covariate.minimum)} to {say_number(covariate.maximum)}).",
                    f"Ask at a value of {place.name} that was observed.",
                )


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
        f"its weights: {_say_weights(row.tolist(), design.columns)}",
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


def _say_combination(combination: Combination, design: CodedDesign) -> str:
    """Say what a row of a contrast is, and where: ``slope of n_cigs in patient minus …, at age 41.2``.

    Where covariates are held, and which factors are averaged over, is so in every part alike.
    """
    said = _say_sum([(weight, _say_meaning(meaning, design)) for weight, meaning in combination])
    marginal = [meaning for _, meaning in combination if meaning.kind != "coefficient"]
    if not marginal:
        return said
    named = [{place.name for place in meaning.places} for meaning in marginal]
    moved = {meaning.name for meaning in marginal if meaning.kind == "slope"}.union(*named)
    held = {name: one.mean for name, one in design.covariates.items() if name not in moved}
    averaged = [name for name in design.levels if not all(name in names for names in named)]
    return ", ".join([said, *_say_held(held, averaged)])


def _say_weights(weights: Sequence[float], columns: Sequence[str]) -> str:
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


def _say_meaning(meaning: Meaning, design: CodedDesign) -> str:
    if meaning.kind == "coefficient":
        return f"coefficient {meaning.name}"
    at, where = "", []
    for place in meaning.places:
        if place.name == meaning.name:  # the point of a slope
            at = f" at {place.value}"
        else:
            where.append(place.value if as_number(place.value) is None else f"{place.name} {place.value}")
    within = f" in {', '.join(where)}" if where else ""
    if meaning.kind == "mean":
        return f"mean{within}"
    return f"slope of {meaning.name}{at or _say_where(meaning.name, design)}{within}"


def _say_where(covariate: str, design: CodedDesign) -> str:
    """Say at which value a slope is, where the formula has a curve: ``at 41.2``."""
    uses = [factor for factor in design.formula.factors if covariate in factor.columns]
    if all(factor.is_bare or factor.text.startswith(("center(", "scale(")) for factor in uses):
        return ""
    return f" at {say_number(design.covariates[covariate].mean)}"


def _say_held(held: Mapping[str, float], averaged: Sequence[str], functions: Sequence[str] = ()) -> list[str]:
    """Say where covariates are held, and what is averaged: ``at age 41.2 and the mean of log(volume)``."""
    said = [f"{quote_column(name)} {say_number(value)}" for name, value in held.items()]
    said += [f"the mean of {function}" for function in functions]
    at = ["at " + " and ".join(said)] if said else []
    return [*at, f"averaged over {list_some(averaged)}"] if averaged else at


def _say_test(term: Term, design: CodedDesign) -> str:
    """Say what the test of a term compares: means of levels, slopes, or differences of them.

    Covariates are held at their mean, functions of them (``log(age)``) at the mean of the function.
    """
    factors = [column for column in term.columns if column in design.levels]
    covariates = [
        factor.text + (_say_where(factor.text, design) if factor.is_bare else "")
        for factor in term.factors
        if factor.columns[0] not in design.levels
    ]
    held: dict[str, float] = {}
    functions: list[str] = []
    for factor in design.formula.factors:
        others = [name for name in factor.columns if name in design.covariates and name not in term.columns]
        if factor.is_bare or factor.is_inner:
            held |= {name: design.covariates[name].mean for name in others}
        elif others:
            functions.append(factor.text)
    averaged = [name for name in design.levels if name not in factors]
    what = f"slope of {' and '.join(covariates)}" if covariates else "mean"
    levels = [design.levels[factor] for factor in factors]
    if not factors and len(design.form.blocks[term]) > 1:
        said = f"whether the mean depends on {term.name}"
    elif not factors:
        said = f"{what} against zero"
    elif len(factors) <= 2 and all(len(known) == 2 for known in levels):
        said = f"{what} in {levels[0][1]} minus {what} in {levels[0][0]}"
        said = said if len(factors) == 1 else f"({said}) in {levels[1][1]} minus in {levels[1][0]}"
    elif len(factors) == 1:
        said = f"whether the {what} differs between {list_some(levels[0])}"
    else:
        said = f"whether the {what} depends on {' and '.join(factors)} together ({term.name})"
    return ", ".join([said, *_say_held(held, averaged, functions)])
