"""What a design says about itself, in numbers that JSON can hold, and checks before fitting.

Each finding of a check is a plain sentence with a fix.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.errors import DesignError
from bids_group.model.formula.coding import CodedDesign, HierarchicalForm, as_levels, is_numeric, levels_of
from bids_group.model.formula.parser import Formula
from bids_group.records import Column, GroupAnalysis, Notice, note, warn
from bids_group.row_space import inflation
from bids_group.words import counted, list_some, plural, say_number

_FEW_DOF = 10  # below, a t threshold is over a tenth above that of the normal distribution
_HIGH_INFLATION = 10.0  # of the variance; intervals are over three times as wide (10 ** 0.5)
_HIGH_CONDITION = 1e4  # of columns of unit norm
_HIGH_LEVERAGE = 0.5  # the row moves its own fitted value by half of what it is moved
_GROUPS = re.compile(
    r"(?:^|.*[\W_])(site|cent(?:er|re)|scanner|batch|group|grp|cohort|sample|arm|sex|gender|race|ethnicity"
    r"|diagnosis|dx|family|hospital|vendor|protocol)s?[\W_]*(?:id|no|nr|num|number|code|label|index)?\d*"
)
"""Names of columns whose numbers are hardly ever amounts, but for those below."""
_AMOUNTS = re.compile(
    r"(?:n|num|number|count|size)[\W_](?:of[\W_])?\w*s"
    r"|.*?(?:years?|months?|days?|hours?|time|age|dose|distance|income|perc\w*|mean|total|size)"
    r"[\W_](?:in|of|at|to|by|per|since|from)[\W_].*"
)
"""Names that count or measure: ``n_samples``, ``years_in_family``; not ``age_group``."""
_MOST_CODES = 10  # different whole numbers; more are hardly codes of groups
_MOST_CELLS = 1000  # of more, those without rows are left out


def describe(design: CodedDesign) -> dict[str, Any]:
    """Collect rank, condition number, inflation of variance, leverage, cells, covariates and correlations.

    Infinite numbers are left out: the inflation of a term that depends on others, the condition number
    (None) of a design whose rank is deficient. Cells are those of the formula's factors (``subject`` aside),
    correlations those of the columns that are not constant.
    """
    space, matrix = design.space, design.matrix
    factors = [name for name in design.levels if name != "subject"]
    counts = _count_cells(design, factors)
    levels = [design.levels[name] for name in factors]
    cells = sorted(counts) if math.prod(map(len, levels)) > _MOST_CELLS else itertools.product(*levels)
    moving = [name for name in matrix if np.ptp(matrix[name].to_numpy()) > 0]
    centered = matrix[moving].to_numpy() - matrix[moving].to_numpy().mean(axis=0)
    standard = centered / np.linalg.norm(centered, axis=0)
    return {
        "rank": space.rank,
        "n_rows": matrix.shape[0],
        "n_regressors": matrix.shape[1],
        "condition_number": space.condition_number if np.isfinite(space.condition_number) else None,
        "vif": _inflate(design.form),
        "leverage": dict(zip(map(str, matrix.index), space.leverage.tolist(), strict=True)),
        "n_per_cell": [{**dict(zip(factors, cell, strict=True)), "n": counts[cell]} for cell in cells],
        "covariates": _summarise_covariates(design),
        "correlations": {"columns": moving, "matrix": np.round(standard.T @ standard, 12).tolist()},
        "dependent_columns": [matrix.columns[index] for index in space.dependent_columns()],
        "within_terms": [],
    }


def _count_cells(design: CodedDesign, factors: Sequence[str]) -> Counter[tuple[str, ...]]:
    """Count the rows in each combination of levels that has any; all of them where there is no factor."""
    named = (as_levels(design.variables[name]) for name in factors)
    return Counter(zip(*named, strict=True)) if factors else Counter({(): len(design.variables)})


def _inflate(form: HierarchicalForm) -> dict[str, float]:
    """Generalised variance inflation factor of each term (Fox & Monette 1992), factors in sum-to-zero form.

    ``det R₁₁ det R₂₂ / det R`` with R the correlations of all columns but the intercept; terms that
    depend on others are left out.
    """
    blocks = {term.name: positions for term, positions in form.blocks.items() if term.factors}
    used = [position for positions in blocks.values() for position in positions]
    centered = form.matrix[:, used] - form.matrix[:, used].mean(axis=0)
    lengths = np.linalg.norm(centered, axis=0)
    standard = centered / np.where(lengths == 0, 1.0, lengths)
    is_own = {name: np.isin(used, positions) for name, positions in blocks.items()}
    found = {name: inflation(standard[:, own], standard[:, ~own]) for name, own in is_own.items()}
    return {name: factor for name, factor in found.items() if factor is not None}


def _summarise_covariates(design: CodedDesign) -> list[dict[str, Any]]:
    """Summarise every covariate: over all rows, then in each level of each factor (``subject`` aside)."""
    groups: list[tuple[dict[str, str], pd.DataFrame]] = [({}, design.variables)]
    for factor, levels in design.levels.items():
        named = as_levels(design.variables[factor])
        groups += [({factor: one}, design.variables[named == one]) for one in levels if factor != "subject"]
    columns = [
        (name, group, rows[name].to_numpy(dtype=np.float64))
        for name in design.covariates
        for group, rows in groups
    ]
    return [
        {
            "name": name,
            "group": group,
            "n": len(values),
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
            "min": float(values.min()),
            "max": float(values.max()),
        }
        for name, group, values in columns
    ]


def check_variables(analysis: GroupAnalysis, formula: Formula, variables: pd.DataFrame) -> list[Notice]:
    """Check the columns that the formula needs, before anything is built from them.

    No rows, missing values, and a factor with one level are a `DesignError`.
    """
    if not len(variables):
        raise DesignError(f"The analysis of '{analysis.first_level_contrast}' has no rows.")
    for name in variables:
        values = variables[name]
        bad = values.isna() | (~np.isfinite(values) if is_numeric(values) else False)
        if bad.any():
            raise DesignError(
                f"The column '{name}' has no value for {list_some(variables.index[bad])}.",
                expected="a value for every row of the analysis",
                fix="Fill the values in, or drop these people with --missing drop.",
            )
    coded = {use.column for use in formula.uses if use.role == "factor"}
    random = set() if formula.random is None else set(formula.random.grouping)
    notices: list[Notice] = []
    for name in map(str, variables):
        if is_numeric(variables[name]) and name not in coded | random:
            notices += _check_codes(name, variables[name], analysis.columns.get(name))
        else:
            is_random = name in random - coded
            notices += _check_levels(
                name, variables[name], None if is_random else analysis.rows.get("subject")
            )
    return notices


def _check_codes(name: str, values: pd.Series, column: Column | None) -> Iterator[Notice]:
    """Ask about whole numbers that may be codes of groups, where nobody said what they are.

    Of two numbers only where they are neighbours, as codes are (0 and 1, 1 and 2, -1 and 1), of many only
    where the name says so: sites and scanners have no amounts. Dates as numbers (20240131) are told too.
    """
    source = "" if column is None else column.kind_source
    unique = np.unique(values)
    if source.startswith(("--", "Levels", "Units")) or (unique % 1).any():
        return
    is_few = len(unique) <= _MOST_CODES and len(unique) * 2 <= len(values)
    spelt = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    is_named = _GROUPS.fullmatch(spelt) is not None and not _AMOUNTS.fullmatch(spelt)
    if len(unique) > 2 and (is_few or is_named):
        few = f"{'few ' * is_few}whole numbers ({list_some(map(int, unique), 10)})"
        sentence = f"The column '{name}' holds {few} and is used as a number."
        yield warn("codes", sentence, f"If they are codes of groups, say --categorical {name}.")
    elif _are_dates(unique):
        sentence = f"The column '{name}' holds dates as numbers ({int(unique[0])}): no amounts."
        yield warn("codes", sentence, "Write days since a date that is the same for all, or an age.")
    if column is None or source.startswith("made by"):  # such as dummies of Factor
        return
    if len(unique) == 2 and (is_named or np.ptp(unique) == 1 or (unique == (-1, 1)).all()):
        low, high = map(int, unique)
        yield note(
            "codes",
            f"The column '{name}' holds two numbers ({low}, {high}) and is used as a number, without "
            f"levels: mean() is taken at its average, {say_number(float(values.mean()))}.",
            f"If they are codes of two groups, say --categorical {name}, or write their Levels into "
            f"{column.source.with_suffix('.json').name}.",
        )


def _are_dates(numbers: npt.NDArray[np.float64]) -> bool:
    """Whether numbers are dates as ``20240131``, written without marks."""
    is_date = (numbers >= 19000101) & (numbers <= 20991231)
    month, day = numbers // 100 % 100, numbers % 100
    return bool((is_date & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all())


def _check_levels(name: str, values: pd.Series, subjects: pd.Series | None) -> Iterator[Notice]:
    """Refuse one level for all; tell of levels without rows, and of those with rows of one person alone.

    ``subjects``: the person of each row; None where one person may be a level (groups of a random term).
    """
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
    if subjects is None or name == "subject":
        return
    people = pd.DataFrame({"level": as_levels(values), "subject": subjects.astype(str)})
    if people.groupby("subject")["level"].nunique().max() > 1:  # levels are not of people
        return
    for level, group in people.groupby("level"):
        if len(group) > 1 and len(set(group["subject"])) == 1:
            sentence = f"Only sub-{group['subject'].iloc[0]} has {name} = {level}: one person is no group."
            yield warn("cells", sentence, f"Join levels, or leave out '{name}'.")


def check_design(design: CodedDesign, details: Mapping[str, Any], *, has_noise: bool) -> list[Notice]:
    """Check rank, degrees of freedom, cells, covariates, collinearity, leverage and centring.

    ``details``: what `describe` says of the design; ``has_noise``: the noise is estimated from the rows,
    so that no degrees of freedom being left is a `DesignError`; it is not where variances are known.
    """
    dof = len(design.X) - design.space.rank if has_noise else None
    if dof is not None and dof < 1:
        raise _no_dof(design)
    return [
        *_check_rank(design, dof),
        *_check_cells(design),
        *(() if design.is_own else _check_covariates(design)),
        *_check_numbers(design, details),
    ]


def _no_dof(design: CodedDesign) -> DesignError:
    """Say that nothing is left to judge noise by, or which factor has a level of its own for each row."""
    n_rows = len(design.X)
    for name, levels in design.levels.items():
        if name == "subject" or len(levels) < n_rows:
            continue
        are_files = all(re.search(r"[A-Za-z].*/|/.*[A-Za-z]|\.[A-Za-z]\w*$", level) for level in levels)
        what = ": a map per person is no covariate here" if are_files else ""
        instead = ", or give one number per person, such as its mean within a mask" if are_files else ""
        if all(re.match(r"[^\w\s]?\d", level) for level in levels):
            instead = ", or write its values as numbers: without units, and days since a day instead of dates"
        return DesignError(
            f"The column '{name}' has a level of its own in each row{what}.",
            found=f"{list_some(levels, 3)}: {len(levels)} levels in {n_rows} rows",
            expected="a number, or a category with several people in each level",
            fix=f"Leave '{name}' out of the formula{instead}.",
        )
    return DesignError(
        "The design has as many independent columns as rows: nothing is left to judge noise by.",
        found=f"{counted(n_rows, 'row')}, rank {design.space.rank}",
        expected="at least one row more than the rank",
        fix="Use fewer terms, or more people.",
    )


def _check_rank(design: CodedDesign, dof: int | None) -> Iterator[Notice]:
    """Tell of columns that depend on others, and of few degrees of freedom."""
    n_rows, rank = len(design.X), design.space.rank
    dependent = [design.columns[index] for index in design.space.dependent_columns()]
    empty = design.fold([name for name in dependent if not design.matrix[name].any()])
    tied = design.fold([name for name in dependent if design.matrix[name].any()])
    if dependent:
        said = [f"{list_some(tied)} depend on each other"] if tied else []
        said += [f"{list_some(empty)} {plural(len(empty), 'is', 'are')} 0 in every row"] if empty else []
        sentence = f"The design has {len(design.columns)} columns but rank {rank}: {', and '.join(said)}."
        fix = "Leave out a term that says the same as others; contrasts that depend on it are refused."
        yield warn("rank", sentence, fix)
    if dof is not None and dof < _FEW_DOF:
        sentence = f"Only {dof} degrees of freedom are left ({n_rows} rows, rank {rank})."
        yield warn("dof", sentence, "Use fewer terms, or more people.")


def _check_cells(design: CodedDesign) -> Iterator[Notice]:
    """Empty and one-row cells of every factor and every crossing of factors that the formula has."""
    crossings = dict.fromkeys(
        tuple(column for column in term.columns if column in design.levels and column != "subject")
        for term in design.formula.terms
    )
    for factors in filter(None, crossings):
        counts = _count_cells(design, factors)
        leave = "the interaction." if len(factors) > 1 else f"'{factors[0]}'."
        for wanted, what in ((0, "no row"), (1, "one row only")):
            said = [
                ", ".join(f"{name} = {level}" for name, level in zip(factors, cell, strict=True))
                for cell in itertools.product(*(design.levels[name] for name in factors))
                if counts[cell] == wanted
            ]
            if said:
                sentence = f"There is {what} with {'; '.join(said[:8])}."
                near = _say_near(design.levels[factors[0]], counts) if len(factors) == wanted == 1 else ""
                yield warn("cells", sentence, f"{near}Join levels, or leave out {leave}")


def _say_near(levels: Sequence[str], counts: Mapping[tuple[str, ...], int]) -> str:
    """Ask whether levels of one row are misspelt others: words that differ in a letter or two."""
    pairs = [
        (level, *difflib.get_close_matches(level, [o for o in levels if counts[o,] > 1], 1, 0.8))
        for level in levels
        if counts[level,] == 1 and re.fullmatch(r"[^\W\d_]{4,}", level)
    ]
    asked = [f"is '{pair[0]}' meant to be '{pair[1]}'" for pair in pairs if len(pair) == 2]
    return f"Correct the table: {', '.join(asked)}? " if asked else ""


def _check_covariates(design: CodedDesign) -> Iterator[Notice]:
    """Warn of covariates that are constant, or that depend on a factor."""
    for name in design.covariates:
        values = design.variables[name].to_numpy(dtype=np.float64)
        if np.ptp(values) == 0:
            sentence = f"The covariate '{name}' is {say_number(values[0])} in every row."
            yield warn("constant", sentence, f"Leave '{name}' out of the formula.")
            continue
        for factor, levels in design.levels.items():
            if factor != "subject":
                named = as_levels(design.variables[factor])
                yield from _check_groups(name, factor, {level: values[named == level] for level in levels})


def _check_groups(name: str, factor: str, groups: Mapping[str, Any]) -> Iterator[Notice]:
    """Tell where a covariate is constant in a level of a factor, or differs between its levels."""
    constant = [level for level, values in groups.items() if len(values) > 1 and np.ptp(values) == 0]
    for level in constant:
        sentence = (
            f"The covariate '{name}' is {say_number(groups[level][0])} for everyone with {factor} = {level}: "
            "there is no slope in that group."
        )
        yield warn("constant", sentence, f"Leave '{name}' out, or analyse the other groups alone.")
    if len(groups) < 2 or sum(map(len, groups.values())) <= len(groups) or len(constant) == len(groups):
        return
    total = np.concatenate(list(groups.values()))
    between = sum(len(values) * (values.mean() - total.mean()) ** 2 for values in groups.values())
    share = between / ((total - total.mean()) ** 2).sum()
    dofs = len(groups) - 1, len(total) - len(groups)
    if share <= 0.14:
        return
    from scipy.special import fdtrc  # takes 0.04 s to import

    if fdtrc(*dofs, share / max(1 - share, 1e-300) * dofs[1] / dofs[0]) < 0.05:
        means = ", ".join(f"{level} {say_number(values.mean())}" for level, values in groups.items())
        yield warn(
            "confounding",
            f"The covariate '{name}' differs between the levels of '{factor}' (means: {means}; "
            f"{share:.0%} of its variance).",
            f"Their effects cannot be told apart fully; compare with a fit without '{name}'.",
        )


def _check_numbers(design: CodedDesign, details: Mapping[str, Any]) -> Iterator[Notice]:
    """Tell of collinearity, of rows that weigh heavily, and of what centring within a factor does not do."""
    high = {name: value for name, value in details["vif"].items() if value > _HIGH_INFLATION}
    if high:
        said = ", ".join(f"{name} {say_number(value)}" for name, value in high.items())
        sentence = f"Terms are nearly told by the others (variance inflation: {said})."
        yield warn("collinearity", sentence, "Expect wide intervals; leave one of them out, or combine them.")
    condition = details["condition_number"]
    if not high and condition is not None and condition > _HIGH_CONDITION:
        where = "in the table" if design.is_own else "--center grand"
        yield warn(
            "collinearity",
            "The columns of the design nearly depend on each other "
            f"(condition number {say_number(condition)}).",
            f"Centre the covariates ({where}), or leave one of the terms out.",
        )
    limit = max(_HIGH_LEVERAGE, 3 * design.space.rank / len(design.X))
    heavy = [f"{label} {value:.2f}" for label, value in details["leverage"].items() if value > limit]
    if heavy:
        sentence = f"These rows weigh heavily on the fit (leverage, 1 at most: {', '.join(heavy[:8])})."
        fix = "Check their covariates for typing errors, and see whether results hold without them."
        yield warn("leverage", sentence, fix)
    if design.within in design.levels and design.covariates:
        yield note(
            "centering",
            f"Covariates are centred within {design.within}, which changes coefficients; mean(), slope() and "
            f"test() hold {list_some(design.covariates)} at the same value for everyone.",
            f"To compare levels of {design.within} each at its own mean, contrast the coefficients.",
        )
