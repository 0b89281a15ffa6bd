"""The design of a group analysis: matrix, contrasts, and everything checked before a single map is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bids_group.config import ContrastRequest
from bids_group.errors import BidsGroupError, ContrastError, DesignError
from bids_group.model.contrast.build import (
    Fitted,
    build_contrast,
    build_settled_part,
    default_requests,
    remark,
)
from bids_group.model.contrast.term_tests import build_hierarchical
from bids_group.model.contrast.within_people import changes_within, has_repeats
from bids_group.model.design.checks import check_centering, check_design, check_variables
from bids_group.model.design.description import describe
from bids_group.model.formula.coding import Coding, build_coding
from bids_group.model.formula.parser import Formula, needed_variables, read_formula
from bids_group.records import Contrast, Design, GroupAnalysis, Notice
from bids_group.row_space import RowSpace
from bids_group.words import list_some, quote_column

_ONE_ROW = (
    "To compare people, give everybody one row: leave out --pooling none, or pool in a node of Level Subject."
)


def build_design(analysis: GroupAnalysis) -> Design:
    """Build and check the design matrix and the contrasts of a group analysis.

    Parameters
    ----------
    analysis
        Rows without missing values in the columns that the formula needs; index = labels of the observations.

    Returns
    -------
    Design
        ``matrix`` of shape ``(n_rows, n_regressors)``, float64, rows in the order of ``analysis.rows``;
        contrasts as asked for, else the mean and one test per term; ``notices`` hold every warning.

    Raises
    ------
    FormulaError, ContrastError
        What was typed cannot be read, or names what does not exist.
    DesignError
        These rows cannot answer the question: missing values, too few rows, a contrast that cannot be
        estimated, or one that compares people who have several rows each. The notes of an error are the
        warnings that were found before it.
    """
    names = needed_variables(analysis.formula, analysis.rows.columns, centering=analysis.centering)
    variables = analysis.rows[list(names)]
    formula = read_formula(analysis.formula, tuple(analysis.rows.columns))
    notices = [*analysis.notices, *check_variables(analysis, formula, variables)]
    try:
        return _build(analysis, formula, variables, notices)
    except BidsGroupError as error:  # what was found of the columns may be its cause
        for one in notices:
            if one.severity == "warning":
                error.add_note(f"{one.sentence} {one.fix or ''}".rstrip())
        raise


def _build(
    analysis: GroupAnalysis, formula: Formula, variables: pd.DataFrame, notices: list[Notice]
) -> Design:
    coding, matrix = build_coding(formula, variables, analysis.centering)
    X = matrix.to_numpy(dtype=np.float64)
    form = build_hierarchical(coding, variables, X)
    is_own = analysis.design_matrix is not None
    fitted = Fitted(
        coding=coding,
        variables=variables,
        centering=analysis.centering,
        matrix=matrix,
        space=RowSpace.of(X),
        form=form,
        is_own=is_own,
    )
    details = describe(coding, variables, matrix, form)
    notices += check_design(fitted, variables, details, has_noise=analysis.estimator == "ols")
    notices += [*check_centering(coding), *_check_subjects(analysis, fitted), *_say_own(analysis)]
    contrasts, more = _build_contrasts(analysis, fitted)
    details["within_terms"] = [c.expression for c in contrasts] if _repeats(analysis) else []
    return Design(
        matrix=matrix,
        contrasts=contrasts,
        formula=formula.text,
        terms={term.name: tuple(coding.columns[i] for i in at) for term, at in coding.positions.items()},
        variables=variables,
        centering=analysis.centering,
        centers=_say_centers(coding),
        rank=fitted.space.rank,
        details=details,
        notices=(*notices, *more),
    )


def _repeats(analysis: GroupAnalysis) -> bool:
    return "subject" in analysis.rows and has_repeats(analysis.rows["subject"])


def _build_contrasts(analysis: GroupAnalysis, fitted: Fitted) -> tuple[tuple[Contrast, ...], list[Notice]]:
    if analysis.has_default_contrasts or not analysis.contrasts:
        contrasts, notices = _build_defaults(analysis, fitted)
    else:
        contrasts = tuple(_build_one(request, analysis, fitted) for request in analysis.contrasts)
        notices = [notice for request in analysis.contrasts for notice in remark(request, fitted)]
    _check_labels(contrasts)
    return contrasts, notices


def _build_one(request: ContrastRequest, analysis: GroupAnalysis, fitted: Fitted) -> Contrast:
    subjects = analysis.rows["subject"] if _repeats(analysis) else None
    are_conditions = any(one.is_one_of_several for one in analysis.observations)
    return build_contrast(request, fitted, subjects=subjects, are_conditions=are_conditions)


def _build_defaults(analysis: GroupAnalysis, fitted: Fitted) -> tuple[tuple[Contrast, ...], list[Notice]]:
    """Build the default contrasts; those that these rows cannot answer are left out and named."""
    requests, between = _split_defaults(analysis, fitted)
    contrasts: list[Contrast] = []
    left_out: list[tuple[str, BidsGroupError]] = []
    for request in requests:
        try:
            contrasts.append(_build_one(request, analysis, fitted))
        except (DesignError, ContrastError) as error:
            left_out.append((request.name or request.expression, error))
    notices = [_say_left_out(name, error) for name, error in left_out] + _say_within(analysis, between)
    if not contrasts and not _repeats(analysis):
        parts = [part for request in requests if (part := build_settled_part(request, fitted))]
        contrasts = [contrast for contrast, _ in parts]
        notices += [_say_part(*part) for part in parts]
    if not contrasts:
        raise left_out[0][1] if left_out else _no_contrast(between)
    return tuple(_without_label(contrast) for contrast in contrasts), notices


def _split_defaults(analysis: GroupAnalysis, fitted: Fitted) -> tuple[list[ContrastRequest], list[str]]:
    """Split the default contrasts into those to build, and names of those that compare people."""
    requests = default_requests(fitted)
    if not _repeats(analysis):
        return list(requests), []
    terms = fitted.coding.formula.terms
    columns = {text: list(t.columns) for t in terms for text in (f"test({t.name})", quote_column(t.name))}
    within = [
        request
        for request in requests
        if changes_within(analysis.rows[columns.get(request.expression, [])], analysis.rows["subject"])
    ]
    return within, [request.name or request.expression for request in requests if request not in within]


def _no_contrast(between: list[str]) -> DesignError:
    return DesignError(
        "No default contrast can be tested: people have several rows, and no term changes within people.",
        found=f"only contrasts that compare people: {list_some(between)}",
        expected="a term that changes within people, such as session",
        fix="Give every person one row (leave out --pooling none), or add '+ session + subject'.",
    )


def _say_left_out(name: str, error: BidsGroupError) -> Notice:
    sentence = f"The default contrast '{name}' is left out: {error.sentence}"
    return Notice(severity="warning", topic="contrasts", sentence=sentence, fix=error.fix)


def _say_part(contrast: Contrast, n_whole: int) -> Notice:
    sentence = (
        f"No default contrast can be tested whole: of {contrast.name} the part that these rows settle is "
        f"tested, {len(contrast.weights)} of {n_whole} degrees of freedom."
    )
    fix = "Name the contrasts that you want, or leave out or join levels with too few rows."
    return Notice(severity="warning", topic="contrasts", sentence=sentence, fix=fix)


def _say_within(analysis: GroupAnalysis, between: list[str]) -> list[Notice]:
    if not _repeats(analysis):
        return []
    said = f" Left out, because they compare people: {list_some(between)}." if between else ""
    sentence = f"People have several rows: only what changes within people is tested.{said}"
    return [Notice(severity="note", topic="within", sentence=sentence, fix=_ONE_ROW if between else None)]


def _say_own(analysis: GroupAnalysis) -> list[Notice]:
    if analysis.design_matrix is None:
        return []
    sentence = (
        f"The design is that of {analysis.design_matrix.name}: its columns are taken as they are, "
        "nothing is centred or coded."
    )
    return [Notice(severity="note", topic="design", sentence=sentence)]


def _check_subjects(analysis: GroupAnalysis, fitted: Fitted) -> list[Notice]:
    if not _repeats(analysis) or "subject" in fitted.coding.formula.columns:
        return []
    if fitted.is_own and _tells_people_apart(analysis.rows["subject"], fitted):
        return []
    sentence = (
        "People have several rows, but the formula has no term for the person: rows of one person are "
        "treated as independent. p without shuffling is too large where a person's rows are alike, and too "
        "small where they are opposed."
    )
    fix = f'Write the formula as "{analysis.formula} + subject".'
    if fitted.is_own:
        fix = "Add a column of 0 and 1 for each person."
    return [Notice(severity="warning", topic="subjects", sentence=sentence, fix=fix)]


def _tells_people_apart(subjects: pd.Series, fitted: Fitted) -> bool:
    """Whether the columns span those of a term of the person."""
    X, people = fitted.X, pd.get_dummies(subjects.astype(str)).to_numpy(dtype=np.float64)
    return RowSpace.of(np.column_stack([X, people])).rank == fitted.space.rank


def _without_label(contrast: Contrast) -> Contrast:
    """Give the default mean no part in the file name."""
    return replace(contrast, label="") if contrast.expression == "mean()" else contrast


def _check_labels(contrasts: tuple[Contrast, ...]) -> None:
    seen: dict[str, Contrast] = {}
    for contrast in contrasts:
        other = seen.setdefault(contrast.label.casefold(), contrast)
        if other is not contrast:
            raise ContrastError(
                f"The contrasts '{other.name}' and '{contrast.name}' would get the same file name.",
                found=f"both become '{contrast.label}'",
                expected="names that differ in their letters and digits",
                fix='Rename one: --contrast "NAME = EXPRESSION".',
            )


def _say_centers(coding: Coding) -> Mapping[str, Any]:
    centers: dict[str, Any] = {}
    for name, covariate in coding.covariates.items():
        is_centered = any(
            use.column == name and use.role in ("bare", "inner")
            for factor in coding.formula.factors
            for use in factor.uses
        )
        if is_centered and isinstance(covariate.centers, Mapping):
            centers[name] = dict(covariate.centers)
        elif is_centered and covariate.centers:
            centers[name] = covariate.centers
    return centers
