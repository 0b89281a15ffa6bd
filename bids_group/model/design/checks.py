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
from bids_group.model.contrast.build import Fitted
from bids_group.model.contrast.sentences import say_number
from bids_group.model.formula.coding import Coding, as_levels, is_numeric, levels_of
from bids_group.model.formula.parser import Formula
from bids_group.records import Column, GroupAnalysis, Notice
from bids_group.words import list_some

_FEW_DOF = 10
_HIGH_INFLATION = 10.0
_HIGH_CONDITION = 1e4
_HIGH_LEVERAGE = 0.5
_MOST_CODES = 10


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
    return [
        notice
        for name in map(str, variables)
        for notice in (
            *_check_column(name, variables[name], analysis.columns.get(name), is_coded=name in coded),
            *_check_lone(name, variables[name], analysis.rows, is_coded=name in coded),
        )
    ]


def _check_lone(name: str, values: pd.Series, rows: pd.DataFrame, *, is_coded: bool) -> Iterator[Notice]:
    """Tell of a level in which several rows are of one person, where levels are of people."""
    if "subject" not in rows or name == "subject" or (is_numeric(values) and not is_coded):
        return
    people = pd.DataFrame({"level": as_levels(values), "subject": rows["subject"].astype(str)})
    if people.groupby("subject")["level"].nunique().max() > 1:
        return
    for level, group in people.groupby("level"):
        if len(group) > 1 and len(set(group["subject"])) == 1:
            yield Notice(
                severity="warning",
                topic="cells",
                sentence=f"Only sub-{group['subject'].iloc[0]} has {name} = {level}: one person is no group.",
                fix=f"Join levels, or leave out '{name}'.",
            )


def check_design(
    fitted: Fitted, variables: pd.DataFrame, details: Mapping[str, Any], *, has_noise: bool = True
) -> list[Notice]:
    """Check rank, degrees of freedom, cells, covariates, collinearity and leverage.

    ``has_noise``: the noise is estimated from the rows, which takes degrees of freedom; it is not where
    variances are known.

    Raises
    ------
    DesignError
        No degrees of freedom are left.
    """
    n_rows, rank = fitted.X.shape[0], fitted.space.rank
    if has_noise and n_rows - rank < 1:
        _refuse_level_per_row(fitted.coding, n_rows)
        raise DesignError(
            "The design has as many independent columns as rows: nothing is left to judge noise by.",
            found=f"{n_rows} rows, rank {rank}",
            expected="at least one row more than the rank",
            fix="Use fewer terms, or more people.",
        )
    return [
        *_check_rank(fitted, details),
        *(_check_dof(n_rows, rank) if has_noise else ()),
        *_check_cells(fitted.coding, variables),
        *(() if fitted.is_own else _check_covariates(fitted.coding, variables)),
        *_check_collinearity(details, is_full_rank=rank == fitted.X.shape[1], is_own=fitted.is_own),
        *_check_leverage(details, rank),
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


def check_centering(coding: Coding) -> list[Notice]:
    """Say what centring within a factor of the formula does, and what it does not."""
    if coding.within is None or coding.within not in coding.levels or not coding.covariates:
        return []
    names = list_some(coding.covariates)
    return [
        Notice(
            severity="note",
            topic="centering",
            sentence=f"Covariates are centred within {coding.within}, which changes coefficients; mean(), "
            f"slope() and test() hold {names} at the same value for everyone.",
            fix=f"To compare levels of {coding.within} each at its own mean, contrast the coefficients.",
        )
    ]


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


def _check_column(name: str, values: pd.Series, column: Column | None, *, is_coded: bool) -> Iterator[Notice]:
    is_settled = column is not None and column.kind_source.startswith(("--", "Levels", "Units"))
    if not is_numeric(values) or is_coded:
        yield from _check_levels(name, values)
    elif not is_settled:
        yield from _check_codes(name, values)
        if column is not None and not column.kind_source.startswith("made by"):  # such as dummies of Factor
            yield from _check_pair(name, values, column)


def _check_codes(name: str, values: pd.Series) -> Iterator[Notice]:
    unique = np.unique(values)
    if not 2 < len(unique) <= _MOST_CODES or (unique % 1).any() or len(unique) * 2 > len(values):
        return
    yield Notice(
        severity="warning",
        topic="codes",
        sentence=f"The column '{name}' holds few whole numbers ({list_some(map(int, unique))}) "
        "and is used as a number.",
        fix=f"If they are codes of groups, say --categorical {name}.",
    )


def _check_pair(name: str, values: pd.Series, column: Column) -> Iterator[Notice]:
    """Ask about two neighbouring whole numbers, as codes of two groups are (0 and 1, 1 and 2, -1 and 1)."""
    unique = np.unique(values)
    if len(unique) != 2 or (unique % 1).any() or not (np.ptp(unique) == 1 or (unique == (-1, 1)).all()):
        return
    low, high = map(int, unique)
    yield Notice(
        severity="note",
        topic="codes",
        sentence=f"The column '{name}' holds two numbers ({low}, {high}) and is used as a number, without "
        f"levels: mean() is taken at its average, {say_number(float(values.mean()))}.",
        fix=f"If they are codes of two groups, say --categorical {name}, or write their Levels into "
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
            yield Notice(
                severity="note",
                topic="levels",
                sentence=f"No analysed row has {name} = {list_some(absent)}: it has no column.",
            )


def _check_rank(fitted: Fitted, details: Mapping[str, Any]) -> Iterator[Notice]:
    if details["dependent_columns"]:
        fold = fitted.coding.fold
        empty = [name for name in details["dependent_columns"] if not fitted.matrix[name].any()]
        tied = [name for name in details["dependent_columns"] if name not in empty]
        said = [f"{list_some(fold(tied))} depend on each other"] if tied else []
        is_or_are = "is" if len(empty) == 1 else "are"
        said += [f"{list_some(fold(empty))} {is_or_are} 0 in every row"] if empty else []
        yield Notice(
            severity="warning",
            topic="rank",
            sentence=f"The design has {details['n_regressors']} columns but rank {details['rank']}: "
            f"{', and '.join(said)}.",
            fix="Leave out a term that says the same as others; contrasts that depend on it are refused.",
        )


def _check_dof(n_rows: int, rank: int) -> Iterator[Notice]:
    if n_rows - rank < _FEW_DOF:
        yield Notice(
            severity="warning",
            topic="dof",
            sentence=f"Only {n_rows - rank} degrees of freedom are left ({n_rows} rows, rank {rank}).",
            fix="Use fewer terms, or more people.",
        )


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
        cells = list(itertools.product(*(coding.levels[name] for name in factors)))
        for wanted, what in ((0, "no row"), (1, "one row only")):
            found = [cell for cell in cells if counts.get(cell, 0) == wanted]
            if found:
                yield _cell_notice(factors, found, what)


def _cell_notice(factors: tuple[str, ...], cells: list[tuple[str, ...]], what: str) -> Notice:
    said = [
        ", ".join(f"{name} = {level}" for name, level in zip(factors, cell, strict=True)) for cell in cells
    ]
    fix = "Join levels, or leave out " + ("the interaction." if len(factors) > 1 else f"'{factors[0]}'.")
    return Notice(
        severity="warning", topic="cells", sentence=f"There is {what} with {'; '.join(said[:8])}.", fix=fix
    )


def _check_covariates(coding: Coding, variables: pd.DataFrame) -> Iterator[Notice]:
    for name in coding.covariates:
        values = variables[name].to_numpy(dtype=np.float64)
        if np.ptp(values) == 0:
            yield Notice(
                severity="warning",
                topic="constant",
                sentence=f"The covariate '{name}' is {say_number(values[0])} in every row.",
                fix=f"Leave '{name}' out of the formula.",
            )
            continue
        for factor, levels in coding.levels.items():
            if factor == "subject":
                continue
            groups = {level: values[as_levels(variables[factor]) == level] for level in levels}
            yield from _check_groups(name, factor, groups)


def _check_groups(name: str, factor: str, groups: Mapping[str, Any]) -> Iterator[Notice]:
    constant = [level for level, values in groups.items() if len(values) > 1 and np.ptp(values) == 0]
    for level in constant:
        yield Notice(
            severity="warning",
            topic="constant",
            sentence=f"The covariate '{name}' is {say_number(groups[level][0])} for everyone with "
            f"{factor} = {level}: there is no slope in that group.",
            fix=f"Leave '{name}' out, or analyse the other groups alone.",
        )
    if len(groups) < 2 or sum(map(len, groups.values())) <= len(groups) or len(constant) == len(groups):
        return
    p = stats.f_oneway(*groups.values()).pvalue
    total = np.concatenate(list(groups.values()))
    between = sum(len(values) * (values.mean() - total.mean()) ** 2 for values in groups.values())
    share = between / ((total - total.mean()) ** 2).sum()
    if p < 0.05 and share > 0.14:
        means = ", ".join(f"{level} {say_number(values.mean())}" for level, values in groups.items())
        yield Notice(
            severity="warning",
            topic="confounding",
            sentence=f"The covariate '{name}' differs between the levels of '{factor}' (means: {means}; "
            f"{share:.0%} of its variance).",
            fix=f"Their effects cannot be told apart fully; compare with a fit without '{name}'.",
        )


def _check_collinearity(details: Mapping[str, Any], *, is_full_rank: bool, is_own: bool) -> Iterator[Notice]:
    high = {name: value for name, value in details["vif"].items() if value > _HIGH_INFLATION}
    if high:
        said = ", ".join(f"{name} {say_number(value)}" for name, value in high.items())
        yield Notice(
            severity="warning",
            topic="collinearity",
            sentence=f"Terms are nearly told by the others (variance inflation: {said}).",
            fix="Expect wide intervals; leave one of them out, or combine them.",
        )
    condition = details["condition_number"]
    if is_full_rank and not high and condition is not None and condition > _HIGH_CONDITION:
        yield Notice(
            severity="warning",
            topic="collinearity",
            sentence="The columns of the design nearly depend on each other "
            f"(condition number {say_number(condition)}).",
            fix=f"Centre the covariates ({'in the table' if is_own else '--center grand'}), "
            "or leave one of the terms out.",
        )


def _check_leverage(details: Mapping[str, Any], rank: int) -> Iterator[Notice]:
    limit = max(_HIGH_LEVERAGE, 3 * rank / details["n_rows"])
    high = {
        label: value
        for label, value in details["leverage"].items()
        if value > limit and value > 3 * rank / details["n_rows"]
    }
    if high:
        said = ", ".join(f"{label} {value:.2f}" for label, value in list(high.items())[:8])
        yield Notice(
            severity="warning",
            topic="leverage",
            sentence=f"These rows weigh heavily on the fit (leverage, 1 at most: {said}).",
            fix="Check their covariates for typing errors, and see whether results hold without them.",
        )
