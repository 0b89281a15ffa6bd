"""Contrasts that a formula lets one ask, each ready to paste: what a dry run proposes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress

from bids_group.config import ContrastRequest
from bids_group.errors import BidsGroupError
from bids_group.labels import camel_label
from bids_group.model.contrast.build import build_contrast
from bids_group.model.contrast.writing import write_meaning
from bids_group.model.design.build import code_analysis
from bids_group.model.formula.coding import CodedDesign
from bids_group.model.formula.parser import Term
from bids_group.records import Contrast, GroupAnalysis
from bids_group.words import quote_column

_MOST_LEVELS = 3  # of a factor, beside its first
_MOST_OF_TERM, _MOST = 7, 24

Named = tuple[str, str]
"""A name and an expression."""


def propose_contrasts(analysis: GroupAnalysis) -> tuple[Contrast, ...]:
    """Propose contrasts of means, slopes and interactions that these rows can answer, term by term.

    Every one was built: what cannot be estimated, is always 0, or compares people who have several rows each,
    is left out.
    """
    design, found = code_analysis(analysis), dict[str, Contrast]()
    named = ((one, quote_column(one)) for one in design.columns) if design.is_own else _of_terms(design)
    for name, expression in named:
        if len(found) == _MOST:
            break
        with suppress(BidsGroupError):
            request = ContrastRequest(expression=expression, name=camel_label(name) or None)
            found.setdefault(expression, build_contrast(request, design))
    return tuple(found.values())


def _of_terms(design: CodedDesign) -> Iterator[Named]:
    """Propose for each term, interactions first: whoever writes one asks about it."""
    terms = sorted(design.formula.terms, key=lambda term: -len(term.columns))
    for term in (one for one in terms if one.factors and "subject" not in one.columns):
        yield from itertools.islice(_of_term(term, design), _MOST_OF_TERM)
        is_curve = set(term.columns) <= set(design.covariates) and not all(
            one.is_bare for one in term.factors
        )
        if len(term.factors) > 1 or is_curve or len(design.form.blocks.get(term, ())) > 1:
            yield f"test {term.name}", f"test({term.name})"
    yield "mean", "mean()"


def _of_term(term: Term, design: CodedDesign) -> Iterator[Named]:
    factors = [one for one in term.columns if one in design.levels]
    covariates = [one for one in term.columns if one in design.covariates]
    if not factors and len(covariates) == 1:
        yield from _of_covariate(covariates[0], design)
    elif len(factors) == 1 and len(covariates) == 1:
        yield from _of_levels(factors[0], design, covariates[0])
    elif len(factors) == 2 and not covariates:
        yield from _of_cells(factors[0], factors[1], design)
    elif len(factors) == 1 and not covariates:
        yield from _of_levels(factors[0], design)


def _of_covariate(covariate: str, design: CodedDesign) -> Iterator[Named]:
    yield f"slope {covariate}", write_meaning({}, covariate)
    uses = [one for one in design.formula.factors if covariate in one.columns]
    if len(uses) > 1 or not uses[0].is_bare:  # a curve has other slopes elsewhere
        value = _value(covariate, design)
        yield f"slope {covariate} at {value}", write_meaning({covariate: value}, covariate)


def _of_levels(factor: str, design: CodedDesign, covariate: str | None = None) -> Iterator[Named]:
    """Propose differences of means, or of slopes, those of each level, and a difference at a high value."""
    first, *others = design.levels[factor][: _MOST_LEVELS + 1]
    slope = "" if covariate is None else f"slope {covariate} "
    for level in others:
        yield f"{slope}{level} minus {first}", _difference({factor: level}, {factor: first}, covariate)
    for level in (first, *others):
        yield f"{slope or 'mean '}{level}", write_meaning({factor: level}, covariate)
    if covariate is not None:
        high = {covariate: _value(covariate, design)}
        for level in others[:1]:
            name = f"{level} minus {first} at {covariate} {high[covariate]}"
            yield name, _difference({factor: level, **high}, {factor: first, **high})


def _of_cells(one: str, other: str, design: CodedDesign) -> Iterator[Named]:
    """Differences of differences, then the simple effects of one factor at each level of the other."""
    first, *others = design.levels[one][: _MOST_LEVELS + 1]
    base, *more = design.levels[other][: _MOST_LEVELS + 1]

    def simple(level: str, place: str) -> str:
        return _difference({one: level, other: place}, {one: first, other: place})

    for level in others:
        for place in more:
            name = f"{level} minus {first} {place} minus {base}"
            yield name, f"({simple(level, place)}) - ({simple(level, base)})"
    for level in others:
        for place in (base, *more):
            yield f"{level} minus {first} in {place}", simple(level, place)


def _difference(places: dict[str, str], others: dict[str, str], covariate: str | None = None) -> str:
    return f"{write_meaning(places, covariate)} - {write_meaning(others, covariate)}"


def _value(covariate: str, design: CodedDesign) -> str:
    """Take a value one SD above the mean where it was observed, with two digits."""
    known = design.covariates[covariate]
    return f"{float(f'{min(known.mean + known.sd, known.maximum):.2g}'):g}"
