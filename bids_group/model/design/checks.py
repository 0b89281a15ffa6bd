"""Checks before fitting: each finding is a plain sentence with a fix."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bids_group.errors import DesignError
from bids_group.model.contrast.coded_design import CodedDesign
from bids_group.model.contrast.sentences import say_number
from bids_group.model.formula.coding import Coding, as_levels, is_numeric, levels_of
from bids_group.model.formula.parser import Formula
from bids_group.records import Column, GroupAnalysis, Notice, note, warn
from bids_group.words import list_some, plural

_FEW_DOF = 10  # below, a t threshold is over a tenth above that of the normal distribution
_HIGH_INFLATION = 10.0  # of the variance; intervals are over three times as wide (10 ** 0.5)
_HIGH_CONDITION = 1e4  # of columns of unit norm
_HIGH_LEVERAGE = 0.5  # the row moves its own fitted value by half of what it is moved
_MOST_CODES = 10  # different whole numbers; more are hardly codes of groups


def check_variables(analysis: GroupAnalysis, formula: Formula, variables: pd.DataFrame) -> list[Notice]:
    """Check the columns that the formula needs, before anything is built from them.

    Raises
    ------
    DesignError
        No rows, missing values, or a factor with one level.
    """
    if not len(variables):
        raise DesignError(f"The analysis of '{analysis.first_level_contrast}' has no rows.")
    _check_missing(variables)
    coded = {use.column for factor in formula.factors for use in factor.uses if use.role == "factor"}
    notices: list[Notice] = []
    for name in map(str, variables):
        values, column = variables[name], analysis.columns.get(name)
        if is_numeric(values) and name not in coded:
            notices += _check_codes(name, values, column)
        else:
            notices += [*_check_levels(name, values), *_check_lone(name, values, analysis.rows)]
    return notices


def _check_lone(name: str, values: pd.Series, rows: pd.DataFrame) -> Iterator[Notice]:
    """Tell of a level in which several rows are of one person, where levels are of people."""
    if "subject" not in rows or name == "subject":
        return
    people = pd.DataFrame({"level": as_levels(values), "subject": rows["subject"].astype(str)})
    if people.groupby("subject")["level"].nunique().max() > 1:
        return
    for level, group in people.groupby("level"):
        if len(group) > 1 and len(set(group["subject"])) == 1:
            sentence = f"Only sub-{group['subject'].iloc[0]} has {name} = {level}: one person is no group."
            yield warn("cells", sentence, f"Join levels, or leave out '{name}'.")


def check_design(design: CodedDesign, details: Mapping[str, Any], *, has_noise: bool = True) -> list[Notice]:
    """Check rank, degrees of freedom, cells, covariates, collinearity, leverage and centring.

    ``has_noise``: the noise is estimated from the rows, which takes degrees of freedom; it is not where
    variances are known.

    Raises
    ------
    DesignError
        No degrees of freedom are left.
    """
    n_rows, rank = design.X.shape[0], design.space.rank
    if has_noise and n_rows - rank < 1:
        _refuse_level_per_row(design.coding, n_rows)
        raise DesignError(
            "The design has as many independent columns as rows: nothing is left to judge noise by.",
            found=f"{n_rows} rows, rank {rank}",
            expected="at least one row more than the rank",
            fix="Use fewer terms, or more people.",
        )
    return [
        *_check_rank(design, details),
        *(_check_dof(n_rows, rank) if has_noise else ()),
        *_check_cells(design.coding, design.variables),
        *(() if design.is_own else _check_covariates(design.coding, design.variables)),
        *_check_collinearity(details, is_full_rank=rank == design.X.shape[1], is_own=design.is_own),
        *_check_leverage(details, rank),
        *_check_centering(design.coding),
    ]


def _refuse_level_per_row(coding: Coding, n_rows: int) -> None:
    """Name the factor that leaves nothing to judge noise by, because each row has a level of its own."""
    for name, levels in coding.levels.items():
        if name == "subject" or len(levels) < n_rows:
            continue
        are_files = all(re.search(r"/|\.[A-Za-z]\w*$", level) for level in levels)
        what = ": a map per person is no covariate here" if are_files else ""
        raise DesignError(
            f"The column '{name}' has a level of its own in each row{what}.",
            found=f"{list_some(levels, 3)}: {len(levels)} levels in {n_rows} rows",
            expected="a number, or a category with several people in each level",
            fix=f"Leave '{name}' out of the formula"
            + (", or give one number per person, such as its mean within a mask." if are_files else "."),
        )


def _check_centering(coding: Coding) -> Iterator[Notice]:
    """Say what centring within a factor of the formula does, and what it does not."""
    if coding.within in coding.levels and coding.covariates:
        yield note(
            "centering",
            f"Covariates are centred within {coding.within}, which changes coefficients; mean(), slope() and "
            f"test() hold {list_some(coding.covariates)} at the same value for everyone.",
            f"To compare levels of {coding.within} each at its own mean, contrast the coefficients.",
        )


def _check_missing(variables: pd.DataFrame) -> None:
    for name in variables:
        values = variables[name]
        bad = values.isna() | (~np.isfinite(values) if is_numeric(values) else False)
        if bad.any():
            raise DesignError(
                f"The column '{name}' has no value for {list_some(variables.index[bad])}.",
                expected="a value for every row of the analysis",
                fix="Fill the values in, or drop these people with --missing drop.",
            )


def _check_codes(name: str, values: pd.Series, column: Column | None) -> Iterator[Notice]:
    """Ask about whole numbers that may be codes of groups, where nobody said what they are.

    Of two numbers only where they are neighbours, as codes are (0 and 1, 1 and 2, -1 and 1).
    """
    source = "" if column is None else column.kind_source
    unique = np.unique(values)
    if source.startswith(("--", "Levels", "Units")) or (unique % 1).any():
        return
    if 2 < len(unique) <= _MOST_CODES and len(unique) * 2 <= len(values):
        few = f"few whole numbers ({list_some(map(int, unique))})"
        sentence = f"The column '{name}' holds {few} and is used as a number."
        yield warn("codes", sentence, f"If they are codes of groups, say --categorical {name}.")
    if column is None or source.startswith("made by"):  # such as dummies of Factor
        return
    if len(unique) == 2 and (np.ptp(unique) == 1 or (unique == (-1, 1)).all()):
        low, high = map(int, unique)
        yield note(
            "codes",
            f"The column '{name}' holds two numbers ({low}, {high}) and is used as a number, without "
            f"levels: mean() is taken at its average, {say_number(float(values.mean()))}.",
            f"If they are codes of two groups, say --categorical {name}, or write their Levels into "
            f"{column.source.with_suffix('.json').name}.",
        )


def _check_levels(name: str, values: pd.Series) -> Iterator[Notice]:
    present = levels_of(values)
    if len(present) == 1:
        raise DesignError(
            f"The factor '{name}' has one level in the analysed rows.",
            found=f"{present[0]} in all {len(values)} rows",
            expected="at least 2 levels",
            fix=f"Leave '{name}' out of the formula, or select more people.",
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        absent = [str(level) for level in values.cat.categories if str(level) not in present]
        if absent:
            yield note("levels", f"No analysed row has {name} = {list_some(absent)}: it has no column.")


def _check_rank(design: CodedDesign, details: Mapping[str, Any]) -> Iterator[Notice]:
    dependent = details["dependent_columns"]
    if dependent:
        empty = [name for name in dependent if not design.matrix[name].any()]
        tied = [name for name in dependent if name not in empty]
        fold = design.coding.fold
        said = [f"{list_some(fold(tied))} depend on each other"] if tied else []
        said += (
            [f"{list_some(fold(empty))} {plural(len(empty), 'is', 'are')} 0 in every row"] if empty else []
        )
        sentence = f"The design has {details['n_regressors']} columns but rank {details['rank']}"
        fix = "Leave out a term that says the same as others; contrasts that depend on it are refused."
        yield warn("rank", f"{sentence}: {', and '.join(said)}.", fix)


def _check_dof(n_rows: int, rank: int) -> Iterator[Notice]:
    if n_rows - rank < _FEW_DOF:
        sentence = f"Only {n_rows - rank} degrees of freedom are left ({n_rows} rows, rank {rank})."
        yield warn("dof", sentence, "Use fewer terms, or more people.")


def _check_cells(coding: Coding, variables: pd.DataFrame) -> Iterator[Notice]:
    """Empty and one-row cells of every factor and every crossing of factors that the formula has."""
    crossings = dict.fromkeys(
        tuple(column for column in term.columns if column in coding.levels and column != "subject")
        for term in coding.formula.terms
    )
    for factors in crossings:
        if not factors:
            continue
        named = pd.DataFrame({name: as_levels(variables[name]) for name in factors})
        counts = named.value_counts().to_dict()
        leave = "the interaction." if len(factors) > 1 else f"'{factors[0]}'."
        for wanted, what in ((0, "no row"), (1, "one row only")):
            said = [
                ", ".join(f"{name} = {level}" for name, level in zip(factors, cell, strict=True))
                for cell in itertools.product(*(coding.levels[name] for name in factors))
                if counts.get(cell, 0) == wanted
            ]
            if said:
                sentence = f"There is {what} with {'; '.join(said[:8])}."
                yield warn("cells", sentence, f"Join levels, or leave out {leave}")


def _check_covariates(coding: Coding, variables: pd.DataFrame) -> Iterator[Notice]:
    for name in coding.covariates:
        values = variables[name].to_numpy(dtype=np.float64)
        if np.ptp(values) == 0:
            sentence = f"The covariate '{name}' is {say_number(values[0])} in every row."
            yield warn("constant", sentence, f"Leave '{name}' out of the formula.")
            continue
        for factor, levels in coding.levels.items():
            if factor != "subject":
                named = as_levels(variables[factor])
                yield from _check_groups(name, factor, {level: values[named == level] for level in levels})


def _check_groups(name: str, factor: str, groups: Mapping[str, Any]) -> Iterator[Notice]:
    constant = [level for level, values in groups.items() if len(values) > 1 and np.ptp(values) == 0]
    for level in constant:
        sentence = (
            f"The covariate '{name}' is {say_number(groups[level][0])} for everyone with {factor} = {level}: "
            "there is no slope in that group."
        )
        yield warn("constant", sentence, f"Leave '{name}' out, or analyse the other groups alone.")
    if len(groups) < 2 or sum(map(len, groups.values())) <= len(groups) or len(constant) == len(groups):
        return
    p = stats.f_oneway(*groups.values()).pvalue
    total = np.concatenate(list(groups.values()))
    between = sum(len(values) * (values.mean() - total.mean()) ** 2 for values in groups.values())
    share = between / ((total - total.mean()) ** 2).sum()
    if p < 0.05 and share > 0.14:
        means = ", ".join(f"{level} {say_number(values.mean())}" for level, values in groups.items())
        yield warn(
            "confounding",
            f"The covariate '{name}' differs between the levels of '{factor}' (means: {means}; "
            f"{share:.0%} of its variance).",
            f"Their effects cannot be told apart fully; compare with a fit without '{name}'.",
        )


def _check_collinearity(details: Mapping[str, Any], *, is_full_rank: bool, is_own: bool) -> Iterator[Notice]:
    high = {name: value for name, value in details["vif"].items() if value > _HIGH_INFLATION}
    if high:
        said = ", ".join(f"{name} {say_number(value)}" for name, value in high.items())
        sentence = f"Terms are nearly told by the others (variance inflation: {said})."
        yield warn("collinearity", sentence, "Expect wide intervals; leave one of them out, or combine them.")
    condition = details["condition_number"]
    if is_full_rank and not high and condition is not None and condition > _HIGH_CONDITION:
        where = "in the table" if is_own else "--center grand"
        yield warn(
            "collinearity",
            "The columns of the design nearly depend on each other "
            f"(condition number {say_number(condition)}).",
            f"Centre the covariates ({where}), or leave one of the terms out.",
        )


def _check_leverage(details: Mapping[str, Any], rank: int) -> Iterator[Notice]:
    limit = max(_HIGH_LEVERAGE, 3 * rank / details["n_rows"])
    high = [f"{label} {value:.2f}" for label, value in details["leverage"].items() if value > limit]
    if high:
        sentence = f"These rows weigh heavily on the fit (leverage, 1 at most: {', '.join(high[:8])})."
        fix = "Check their covariates for typing errors, and see whether results hold without them."
        yield warn("leverage", sentence, fix)
