"""Several rows per person, or people in groups: random terms, who missed a visit, and what is assumed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bids_group.config.estimators import FEWEST_LEVELS
from bids_group.errors import DesignError, FormulaError
from bids_group.model.formula.coding import CodedDesign, as_levels, is_numeric
from bids_group.model.formula.parser import RandomPart
from bids_group.records import LEAST_SQUARES, GroupAnalysis, Notice, RandomTerm, note, warn
from bids_group.words import counted, list_some, quote_column, say_number

_FEW_LEVELS = 10
"""With fewer groups the variance between them is known poorly."""
_MOST_VISITS = 12


def build_random(
    analysis: GroupAnalysis, design: CodedDesign, variables: pd.DataFrame
) -> tuple[RandomTerm | None, list[Notice]]:
    """Build the random term of a design, and check that its rows can estimate it.

    Slopes are of covariates centred as the design centres them (at the overall mean within factors): there is
    the variance of the intercept.

    Raises
    ------
    FormulaError, DesignError
        The grouping column is a fixed term too, a slope is of a category; there are too few groups, more than
        two effects, as many as rows, or nothing that varies within groups.
    """
    part = design.formula.random
    if part is None:
        return None, []
    for name in part.grouping:
        if name in design.formula.columns:
            raise FormulaError(
                f"The column '{name}' is both a fixed term and the group of {part.text}.",
                found=design.formula.text,
                fix=f"Keep one: with '{name}' fixed nothing is left to vary between its levels.",
            )
    groups, outer_groups = as_levels(variables[part.group]), None
    if part.outer is not None:
        part, groups, outer_groups = _nest(part, variables)
    _check_groups(part, groups, outer_groups)
    effects = pd.DataFrame({"Intercept": 1.0} if part.has_intercept else {}, index=variables.index)
    for name in part.slopes:
        _check_slope(part, name, groups, design, variables)
        effects[name] = variables[name].astype(np.float64) - _center(design, name, variables[name])
    term = RandomTerm(
        text=part.text,
        group=part.group,
        groups=groups,
        effects=effects,
        is_correlated=part.is_correlated,
        outer=part.outer,
        outer_groups=outer_groups,
    )
    return term, list(_tell_random(analysis, design, term))


def _nest(part: RandomPart, variables: pd.DataFrame) -> tuple[RandomPart, pd.Series, pd.Series]:
    """Give inner and outer groups of each row; of two terms apart the rows show which groups hold which."""
    assert part.outer is not None
    names = [part.outer, part.group]
    outer, inner = (as_levels(variables[name]).astype(str) for name in names)
    if part.is_found and inner.groupby(outer).nunique().max() == 1 < outer.groupby(inner).nunique().max():
        names, outer, inner = names[::-1], inner, outer
    several = outer.groupby(inner).nunique()
    if several.max() > 1 and (part.is_found or names[1] == "subject"):
        fewer, more = sorted(names, key=lambda name: variables[name].nunique())
        raise FormulaError(
            f"The groups of {part.text} cross each other.",
            found=f"{names[1]} {several.idxmax()} in {several.max()} levels of {names[0]}",
            expected=f"every level of {names[1]} in one level of {names[0]}",
            fix=f"Make one a fixed factor: '+ {quote_column(fewer)} + (1 | {quote_column(more)})'.",
        )
    text = f"(1 | {'/'.join(map(quote_column, names))})"
    part = part._replace(text=text, outer=names[0], group=names[1])
    return part, inner if several.max() == 1 else outer + ":" + inner, outer


def _check_groups(part: RandomPart, groups: pd.Series, outer_groups: pd.Series | None) -> None:
    """Refuse more effects than can be told from each other, or from the residuals."""
    n_rows, n_effects, n_groups = len(groups), part.has_intercept + len(part.slopes), groups.nunique()
    if outer_groups is not None:
        _check_outer(part, n_rows, n_groups, outer_groups.nunique())
    if n_effects > 2:
        raise DesignError(
            f"The random term {part.text} has more effects than can be fitted.",
            found=counted(n_effects, "effect"),
            expected="an intercept, a slope, or both",
            fix=f"Keep the slope that differs most: (1 + {quote_column(part.slopes[0])} | "
            f"{quote_column(part.group)}).",
        )
    if n_groups * n_effects >= n_rows:
        raise DesignError(
            f"The random term {part.text} has as many effects as there are rows.",
            found=f"{n_groups} levels of {part.group} × {counted(n_effects, 'effect')}, {n_rows} rows",
            expected="several rows in most groups",
            fix="Keep sessions as rows (--pooling none), or leave the random term out: with one row per "
            f"{'person' if part.group == 'subject' else 'group'} its variance is that of the residuals."
            if n_effects == 1
            else f"Leave out the slope: (1 | {quote_column(part.group)}).",
        )
    n_largest = n_groups if outer_groups is None else outer_groups.nunique()
    if n_largest < FEWEST_LEVELS:
        largest, *within = map(quote_column, part.grouping)
        raise DesignError(
            f"The random term {part.text} has too few groups for a variance between them.",
            found=f"{n_largest} levels of {part.grouping[0]}",
            expected=f"at least {FEWEST_LEVELS}",
            fix=f"Make it a fixed term: '+ {' + '.join([largest, *(f'(1 | {one})' for one in within)])}'.",
        )


def _check_outer(part: RandomPart, n_rows: int, n_groups: int, n_outer: int) -> None:
    """Refuse groups within groups of which two levels are one."""
    outer, group = (quote_column(name) for name in part.grouping)
    if n_groups >= n_rows:
        raise DesignError(
            f"The random term {part.text} has as many effects as there are rows.",
            found=f"{n_groups} levels of {part.group} within {part.outer}, {n_rows} rows",
            expected=f"several rows in most levels of {part.group}",
            fix=f"Keep sessions as rows (--pooling none), or write (1 | {outer}): with one row for each "
            f"{group} its variance is that of the residuals.",
        )
    if n_outer >= n_groups:
        raise DesignError(
            f"The random term {part.text} has one {part.group} in every {part.outer}.",
            found=f"{n_outer} levels of {part.outer}, {n_groups} of {part.group}",
            expected=f"several levels of {part.group} in some of {part.outer}",
            fix=f"Write (1 | {group}).",
        )


def _check_slope(
    part: RandomPart, name: str, groups: pd.Series, design: CodedDesign, variables: pd.DataFrame
) -> None:
    """Refuse a slope of categories, or of what does not vary within any group."""
    if not is_numeric(variables[name]) or name in design.levels:
        raise FormulaError(
            f"The random term {part.text} has a slope of '{name}', which holds categories.",
            expected="a number, such as the time of a visit",
            fix=f"Say --numeric {name} where it is one, or write (1 | {quote_column(part.group)}).",
        )
    if (variables[name].groupby(groups.to_numpy()).nunique() < 2).all():
        raise DesignError(
            f"The random term {part.text} has a slope of '{name}', which is constant in each group.",
            found=f"one value of {name} in every level of {part.group}",
            fix=f"Write (1 | {quote_column(part.group)}).",
        )


def _center(design: CodedDesign, name: str, values: pd.Series) -> float:
    """Where a covariate is 0 in the design."""
    known = design.covariates.get(name)
    if known is not None and isinstance(known.centers, float):
        return known.centers
    return 0.0 if design.centering == "none" else float(values.mean())


def _tell_random(analysis: GroupAnalysis, design: CodedDesign, term: RandomTerm) -> Iterator[Notice]:
    """Warn of what a random term rests on: few groups, slopes around 0, several rows of a person."""
    subjects, outer = analysis.rows["subject"], term.outer or term.group
    n_groups = (term.groups if term.outer_groups is None else term.outer_groups).nunique()
    if n_groups < _FEW_LEVELS:
        yield warn(
            "random",
            f"The random term {term.text} has {n_groups} {'' if term.outer is None else 'outer '}groups: the "
            "variance between them is known poorly.",
            f"Compare with --estimator sandwich (without the random term), or with '{outer}' as a fixed "
            "factor.",
        )
    fixed = {name for one in design.formula.terms if len(one.columns) == 1 for name in one.columns}
    for name in (str(name) for name in term.effects if name != "Intercept"):
        if name not in fixed:
            sentence = f"The slope of {name} varies between groups around 0: the formula has no {name}."
            yield warn("random", sentence, f"Add '+ {quote_column(name)}' unless its mean is 0.")
        if "Intercept" in term.effects:
            at = _center(
                design, name, design.variables[name] if name in design.variables else term.effects[name]
            )
            sentence = f"The variance of the intercept of {term.text} is that at {name} = {say_number(at)}"
            apart = ", where intercept and slope are taken for uncorrelated: --center moves it."
            yield note("random", sentence + ("." if term.is_correlated else apart))
    if term.group == "subject" and list(term.effects) == ["Intercept"] and subjects.value_counts().max() > 2:
        yield from _tell_symmetry(design, term)
    if subjects.duplicated().any() and term.group != "subject":
        yield warn(
            "random",
            f"People have several rows, and the random term is of {term.group}: rows of one person are taken "
            f"for no more alike than rows of two people of one {term.group}.",
            f"Use --estimator sandwich with --exchangeability-blocks {term.group}, or (1 | subject).",
        )


def _tell_symmetry(design: CodedDesign, term: RandomTerm) -> Iterator[Notice]:
    """Warn of tests of what changes within people, which lean on their rows being equally alike."""
    within = design.variables.groupby(term.groups.to_numpy(), observed=True).nunique().max() > 1
    changing = [str(name) for name in within.index[within] if name != term.group]
    if not changing:
        return
    slopes = [name for name in changing if is_numeric(design.variables[name]) and name not in design.levels]
    model = f"(1 + {quote_column(slopes[0])} | subject), or with " if slopes and not term.outer else ""
    yield warn(
        "random",
        f"{term.text} takes all rows of a person for equally alike (compound symmetry). Where people differ "
        f"in how they change, or groups in variance, tests of {list_some(changing)} err at 7 to 13 % instead "
        "of 5.",
        f"Compare with {model}--estimator sandwich (without the random term)"
        + (f" and --exchangeability-blocks {term.outer}." if term.outer else "."),
    )


def tell_assumptions(analysis: GroupAnalysis, design: CodedDesign) -> Iterator[Notice]:
    """Say which estimator is used and what it assumes, and who missed which visit."""
    estimator = analysis.estimator
    if estimator.node_type != LEAST_SQUARES.node_type or estimator == LEAST_SQUARES:
        return
    random = design.formula.random
    reason = f"the formula has the random term {random.text}" if random else "it was asked for"
    yield note("estimator", f"The estimator is {estimator.name}: {reason}. It assumes {estimator.assumes}.")
    if estimator.compares_people:
        yield from _tell_missed(analysis, design)


def _tell_missed(analysis: GroupAnalysis, design: CodedDesign) -> Iterator[Notice]:
    """Tabulate who is missing by visit and group, and what each estimator makes of it."""
    rows = analysis.rows
    if "session" not in rows or not rows["subject"].duplicated().any():
        return
    subjects = rows["subject"].astype(str)
    visits = pd.crosstab(subjects, rows["session"].astype(str))
    visits = visits.loc[:, visits.sum() > 0]
    is_missing = visits == 0
    if not is_missing.to_numpy().any():
        return
    between = [
        name
        for name in design.levels
        if name != "subject" and as_levels(design.variables[name]).groupby(subjects).nunique().max() == 1
    ]
    cells = pd.Series("people", index=visits.index)
    if between:
        named = design.variables[between].apply(as_levels).agg(", ".join, axis=1)
        cells = named.groupby(subjects).first().reindex(visits.index)
    parts = []
    for visit in is_missing.columns[is_missing.any()][:_MOST_VISITS]:
        lost = is_missing[visit].groupby(cells).agg(["sum", "size"])
        parts.append(f"ses-{visit}: " + ", ".join(f"{n} of {of} {cell}" for cell, (n, of) in lost.iterrows()))
    yield warn(
        "missed",
        f"{int(is_missing.any(axis=1).sum())} of {len(visits)} people lack a visit ({'; '.join(parts)}). "
        "sandwich assumes that visits are missing completely at random, mixed that they are missing at "
        "random (what was seen of a person may say who drops out).",
        "Where drop-out depends on the response, use mixed ('+ (1 | subject)'); where the correlation "
        "between visits is in doubt, compare with --estimator sandwich.",
    )
