"""From an expression to a contrast, its weights and words; tests of equivalence and conjunctions of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from bids_group.config import ContrastRequest
from bids_group.errors import ContrastError, DesignError
from bids_group.labels import camel_label, upper_first
from bids_group.model.contrast.grammar import read_expression
from bids_group.model.contrast.reading import read_contrast, remark
from bids_group.model.contrast.saying import say_test, say_weights
from bids_group.model.contrast.units import find_slope
from bids_group.model.contrast.weights import (
    find_term,
    settled_part,
)
from bids_group.model.contrast.zero import check_zero
from bids_group.model.formula.coding import Array, CodedDesign
from bids_group.model.formula.parser import Term
from bids_group.model.formula.tokens import find_closing
from bids_group.records import Bounds, Contrast, Notice, warn
from bids_group.words import list_some, plural


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
        tied = "depend on each other"
        if not design.X[:, list(design.space.dependent_columns())].any():
            tied = f"{plural(len(involved), 'is', 'are')} 0 in every row"
        raise DesignError(
            f"The contrast '{name}' cannot be estimated from this design.",
            found=f"{say_weights(row, design.columns)}, where {list_some(involved)} {tied}",
            expected="a contrast whose value these rows settle",
            fix="Leave out a term that says the same as others, or compare what has rows in every cell.",
        )
    kept = design.space.independent_rows(weights)
    label = "" if request.name == "" else _label(name)
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


def _label(name: str) -> str:
    """Name the files of a contrast; one of which nothing is left would be called as the mean is."""
    label = upper_first(camel_label(name))
    if not label:
        raise ContrastError(
            f"The contrast '{name}' has no letter or digit of those that names of files have.",
            expected="a name with some of A-Z, a-z, 0-9, which its maps are called after",
            fix='Give it another name: --contrast "NAME = EXPRESSION".',
        )
    return label


def _label_term(term: Term) -> str:
    """Name the file of a term's test: ``group:n_cigs`` → ``GroupByNCigs``; codings are left out."""
    return "By".join(_label(f.columns[0] if f.is_column else f.text) for f in term.factors)


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
    """Settle the test: what was asked for, else F of a list and t of a single expression."""
    if request.test == "pass":
        what = "has the test 'pass', but no level is above the group"
        raise ContrastError(f"The contrast '{name}' {what}.", expected="t or F")
    if request.test == "t" and n_rows > 1:
        what = f"has {n_rows} independent rows, which a t test cannot take"
        raise ContrastError(f"The contrast '{name}' {what}.", expected="F")
    if request.test == "auto":
        return "F" if is_list else "t"
    return request.test


_CALL = re.compile(r"\s*(equivalent|conjunction)\s*\(")
_PIECE = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|.", re.DOTALL)
_BOUND = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(g?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """What stands in the brackets of ``equivalent``, which has bounds, or of ``conjunction``."""

    parts: tuple[str, ...]
    bounds: Bounds | None = None


def build_contrasts(
    requests: Sequence[ContrastRequest], design: CodedDesign
) -> tuple[list[Contrast], list[Contrast], list[Notice]]:
    """Build what was asked for: contrasts that are fitted, conjunctions of them, and what is to be told.

    Parts of a conjunction that were not asked for by themselves become contrasts too, after the others.
    """
    named = {_name(request): request for request in requests}
    calls = [_read_call(request.expression) for request in requests]
    joined = [(one, call) for one, call in zip(requests, calls, strict=True) if call and not call.bounds]
    alone = [one for one, call in zip(requests, calls, strict=True) if not call or call.bounds]
    fitted = [_build(request, design, named) for request in alone]
    conjunctions = []
    for request, call in joined:
        parts: list[Contrast] = []
        for part in (_find(text, named) for text in call.parts):
            made = _build(part, design, named)
            facts = (made.weights.tolist(), made.test, made.bounds)
            same = (
                one
                for one in fitted
                if one.name == made.name or (one.weights.tolist(), one.test, one.bounds) == facts
            )
            known = next(same, made)
            if known is made:
                fitted.append(made)
                alone.append(part)
            parts += [known] if known not in parts else []
        conjunctions.append(_join(request, parts))
    made_of = zip(alone, fitted, strict=True)
    return fitted, conjunctions, [notice for pair in made_of for notice in _remark(*pair, design, named)]


def _name(request: ContrastRequest) -> str:
    return request.name or request.expression.strip()


def _find(text: str, named: Mapping[str, ContrastRequest]) -> ContrastRequest:
    """Find the contrast that a part names; else the part is an expression."""
    return named.get(text) or ContrastRequest(expression=text)


def _remark(
    request: ContrastRequest, made: Contrast, design: CodedDesign, named: Mapping[str, ContrastRequest]
) -> Iterator[Notice]:
    """Tell how a contrast was read, of a test of equivalence what stands in its brackets."""
    typed, read = _read_call(request.expression), _read_call(made.expression)
    if typed is None or read is None:
        return remark(request.expression.strip(), made.expression, design)
    is_named = typed.parts[0] in named  # and is remarked on by itself
    return iter(()) if is_named else remark(typed.parts[0], read.parts[0], design)


def _build(request: ContrastRequest, design: CodedDesign, named: Mapping[str, ContrastRequest]) -> Contrast:
    """Build a contrast that is fitted: as it is, or with the bounds of a test of equivalence."""
    call = _read_call(request.expression)
    if call is None:
        return build_contrast(request, design)
    part = _find(call.parts[0], named)
    if call.bounds is None or _read_call(part.expression) is not None:
        raise ContrastError(
            f"The contrast '{_name(request)}' is made of a contrast that has parts or bounds itself.",
            found=request.expression if call.bounds is None else part.expression,
            expected="effects as parts: conjunction(A, B, C), equivalent(mean(), 0.3)",
        )
    inner = build_contrast(part, design)
    if inner.test != "t":
        raise ContrastError(
            f"The contrast '{_name(request)}' is about a joint test, which has no one effect.",
            found=part.expression,
            expected="a t contrast",
            fix="Write one test of equivalence for each row.",
        )
    low, high, slope = f"{call.bounds.lower:g}", f"{call.bounds.upper:g}", inner.slope
    unit = "residual SDs" if call.bounds.is_standardised else "in units of the effect"
    unit += f" per unit of {slope.covariate}" if slope and call.bounds.is_standardised else ""
    text = request.expression.strip()
    if inner.expression != part.expression.strip():  # as it was read
        text = text.replace(call.parts[0], inner.expression, 1)
    return replace(
        inner,
        name=_name(request),
        label=_label(_name(request)),
        expression=text,
        words=f"whether this lies between {low} and {high} {unit}: {inner.words}",
        bounds=call.bounds,
    )


def _join(request: ContrastRequest, parts: Sequence[Contrast]) -> Contrast:
    """Make the conjunction of t contrasts, each of which has a direction."""
    wrong = [one for one in parts if not one.has_two_tails]
    if wrong or len(parts) < 2:
        what = "joins what has no direction" if wrong else "has one part only"
        raise ContrastError(
            f"The contrast '{_name(request)}' {what}.",
            found=(wrong or parts)[0].expression,
            expected="two or more different t contrasts: conjunction(mean(group=a), mean(group=b))",
        )
    return Contrast(
        name=_name(request),
        label=_label(_name(request)),
        weights=np.concatenate([one.weights for one in parts]),
        test="t",
        expression=request.expression.strip(),
        words=f"all of these, with one sign: {'; '.join(one.words for one in parts)}",
        parts=tuple(one.name for one in parts),
    )


def _read_call(text: str) -> _Call | None:
    """Read a test of equivalence or a conjunction; None of everything else."""
    match = _CALL.match(text)
    if match is None:
        return None
    end = find_closing(text, match.end() - 1)
    if end is None or text[end:].strip():
        raise ContrastError(
            f"{match[1]}(...) stands alone.",
            found=text.strip(),
            expected="a contrast that ends with its closing bracket",
            fix=f"Put what is added or subtracted into the brackets: {match[1]}(A - B, …).",
        )
    parts = _split(text[match.end() : end - 1])
    if match[1] == "conjunction":
        return _Call(parts=tuple(parts))
    found = [_BOUND.fullmatch(part) for part in parts[1:]]
    numbers, units = [float(one[1]) for one in found if one], {one[2] for one in found if one}
    if len(numbers) == 1:
        numbers = [-numbers[0], numbers[0]]
    is_read = all(found) and len(units) == 1 and len(numbers) == 2 and numbers[0] < numbers[1]
    if not is_read or not np.isfinite(numbers).all():
        raise ContrastError(
            "A test of equivalence needs an effect, and the bounds that it is to lie between.",
            found=text.strip(),
            expected="equivalent(A, 0.3) or equivalent(A, -0.2, 0.5) in units of the effect, or "
            "equivalent(A, 0.3 g) in residual standard deviations; the lower bound first",
        )
    bounds = Bounds(lower=numbers[0], upper=numbers[1], is_standardised=units == {"g"})
    return _Call(parts=(parts[0],), bounds=bounds)


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets and quotes."""
    parts, depth = [""], 0
    for piece in _PIECE.findall(text):
        depth += (piece in "([") - (piece in ")]")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts]
