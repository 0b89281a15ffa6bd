"""The design of a group analysis: matrix, contrasts, and everything checked before a single map is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bids_group.config import ContrastRequest
from bids_group.errors import BidsGroupError, ContrastError, DesignError, FormulaError
from bids_group.model.contrast.build import build_contrast, build_contrasts, build_settled_part, say_ways
from bids_group.model.design.checks import check_design, check_variables, describe
from bids_group.model.design.repeated_rows import build_random, tell_assumptions
from bids_group.model.formula.coding import CodedDesign, code_design
from bids_group.model.formula.parser import Formula, needed_variables, read_formula
from bids_group.records import Contrast, Design, GroupAnalysis, Notice, note, warn
from bids_group.row_space import RowSpace
from bids_group.words import list_some, quote_column


def build_design(analysis: GroupAnalysis) -> Design:
    """Build and check the design matrix and the contrasts of a group analysis.

    Its rows are those of ``analysis.rows``, in their order; contrasts are as asked for, else the mean and one
    test per term; ``notices`` hold every warning.

    Raises
    ------
    FormulaError, ContrastError
        What was typed cannot be read, or names what does not exist.
    DesignError
        These rows cannot answer the question: missing values, too few rows, a contrast that cannot be
        estimated, or one that compares people who have several rows each. The notes of an error are the
        warnings that were found before it.
    """
    formula = read_formula(analysis.formula, tuple(analysis.rows.columns))
    names = needed_variables(analysis.formula, analysis.rows.columns, centering=analysis.centering)
    variables = analysis.rows[list(names)]
    notices = [*analysis.notices, *check_variables(analysis, formula, variables)]
    try:
        return _build(analysis, formula, variables, notices)
    except BidsGroupError as error:  # what was found of the columns may be its cause
        for one in notices:
            if one.severity == "warning":
                error.add_note(f"{one.sentence} {one.fix or ''}".rstrip())
        raise


def code_analysis(analysis: GroupAnalysis) -> CodedDesign:
    """Code the formula of an analysis over its rows, without checks and contrasts."""
    formula = read_formula(analysis.formula, tuple(analysis.rows.columns))
    names = needed_variables(analysis.formula, analysis.rows.columns, centering=analysis.centering)
    return _code(analysis, formula, analysis.rows[list(names)])


def _code(analysis: GroupAnalysis, formula: Formula, variables: pd.DataFrame) -> CodedDesign:
    subjects = None if analysis.estimator.compares_people else analysis.rows.get("subject")
    return code_design(
        formula,
        variables,
        analysis.centering,
        is_own=analysis.design_matrix is not None,
        subjects=subjects if subjects is not None and subjects.duplicated().any() else None,
        are_conditions=any(one.is_one_of_several for one in analysis.observations),
    )


def _build(
    analysis: GroupAnalysis, formula: Formula, variables: pd.DataFrame, notices: list[Notice]
) -> Design:
    """Code, check and describe a design, and build its contrasts; warnings go into ``notices``."""
    design = _code(analysis, formula, variables)
    for name in (name for name in design.columns if design.columns.count(name) > 1):
        raise FormulaError(f"Two columns of the design are called '{name}'.", fix="Rename that of the table.")
    details = describe(design)
    notices += check_design(design, details, has_noise=analysis.estimator.has_residual_variance)
    notices += _check_subjects(analysis.formula, design)
    random, told = build_random(analysis, design, variables)
    notices += [*told, *tell_assumptions(analysis, design)]
    if analysis.design_matrix is not None:
        own = f"The design is that of {analysis.design_matrix.name}: its columns are taken as they are, "
        notices.append(note("design", f"{own}nothing is centred or coded."))
    conjunctions: list[Contrast] = []
    if analysis.has_default_contrasts or not analysis.contrasts:
        contrasts, more = _build_defaults(design)
    else:
        contrasts, conjunctions, more = build_contrasts(analysis.contrasts, design)
    _check_labels([*contrasts, *conjunctions])
    details["within_terms"] = [c.expression for c in contrasts] if design.subjects is not None else []
    centered = {use.column for use in formula.uses if use.role in ("bare", "inner")}
    centers = {name: one.centers for name, one in design.covariates.items() if name in centered}
    return Design(
        matrix=design.matrix,
        contrasts=tuple(contrasts),
        formula=formula.text,
        terms={term.name: tuple(design.columns[i] for i in at) for term, at in design.positions.items()},
        variables=variables,
        centering=analysis.centering,
        centers={name: at for name, at in centers.items() if at},
        rank=design.space.rank,
        details=details,
        notices=(*notices, *more),
        random=random,
        conjunctions=tuple(conjunctions),
    )


def _build_defaults(design: CodedDesign) -> tuple[list[Contrast], list[Notice]]:
    """Build the default contrasts; those that these rows cannot answer are left out and named."""
    requests, between = _default_requests(design)
    contrasts: list[Contrast] = []
    errors: list[BidsGroupError] = []
    notices: list[Notice] = []
    for request in requests:
        try:
            contrasts.append(build_contrast(request, design))
        except (DesignError, ContrastError) as error:
            errors.append(error)
            said = f"The default contrast '{request.name or request.expression}' is left out"
            notices.append(warn("contrasts", f"{said}: {error.sentence}", error.fix))
    if design.subjects is not None:
        said = f" Left out, because they compare people: {list_some(between)}." if between else ""
        fix = f"To compare people: {say_ways(design)}; or give everybody one row (leave out --pooling none)."
        sentence = f"People have several rows: only what changes within people is tested.{said}"
        notices.append(note("within", sentence, fix if between else None))
    elif not contrasts:
        parts = [part for request in requests if (part := build_settled_part(request, design))]
        contrasts, notices = [one for one, _ in parts], [*notices, *(said for _, said in parts)]
    if not contrasts and errors:
        raise errors[0]
    if not contrasts:
        raise DesignError(
            "No default contrast can be tested: people have several rows, and no term changes within people.",
            found=f"only contrasts that compare people: {list_some(between)}",
            expected="a term that changes within people, such as session",
            fix="Give every person one row (leave out --pooling none), or add '+ session + subject'; "
            f"to compare people: {say_ways(design)}.",
        )
    # the default mean has no part in the file name
    return [replace(one, label="") if one.expression == "mean()" else one for one in contrasts], notices


def _default_requests(design: CodedDesign) -> tuple[list[ContrastRequest], list[str]]:
    """Ask for the mean and one test per term, or for each column of a matrix of one's own.

    Where people have several rows, those that compare people are left out, and their names given too.
    """
    pairs: list[tuple[ContrastRequest, set[str]]] = []
    if not design.is_own:
        pairs.append((ContrastRequest(expression="mean()", name="mean"), set()))
    for term in (term for term in design.formula.terms if term.factors):
        text, name = (quote_column(term.name), term.name) if design.is_own else (f"test({term.name})", None)
        pairs.append((ContrastRequest(expression=text, name=name), set(term.columns)))
    if design.subjects is None:
        return [request for request, _ in pairs], []
    counts = design.variables.groupby(design.subjects.to_numpy(), observed=True).nunique()
    changing = {*counts.columns[(counts > 1).any()]} - {"subject"}  # between the rows of a person
    within = [request for request, columns in pairs if changing & columns]
    return within, [one.name or one.expression for one, columns in pairs if not changing & columns]


def _check_subjects(formula: str, design: CodedDesign) -> list[Notice]:
    """Warn of rows of one person that are treated as independent."""
    if design.subjects is None or "subject" in design.formula.columns:
        return []
    fix = f'Write the formula as "{formula} + subject".'
    if design.is_own:
        people = pd.get_dummies(design.subjects.astype(str)).to_numpy(dtype=np.float64)
        if RowSpace.of(np.column_stack([design.X, people])).rank == design.space.rank:
            return []  # its columns tell people apart
        fix = "Add a column of 0 and 1 for each person."
    return [
        warn(
            "subjects",
            "People have several rows, but the formula has no term for the person: rows of one person are "
            "treated as independent. p without shuffling is too large where a person's rows are alike, and "
            "too small where they are opposed.",
            fix,
        )
    ]


def _check_labels(contrasts: Sequence[Contrast]) -> None:
    """Refuse two contrasts whose files would have one name."""
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
