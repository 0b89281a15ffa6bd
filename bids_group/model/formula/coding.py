"""From people to regressors: a formula with its levels, centres and codings fixed by the analysed rows.

The same `Coding` turns the analysed people into the design matrix and hypothetical people into rows of it.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from formulaic import Formula as FormulaicFormula
from formulaic.errors import FormulaicError

from bids_group.errors import BidsGroupError, DesignError, FormulaError
from bids_group.model.formula.factors import Factor, Use
from bids_group.model.formula.parser import Formula, Term, centering_factor
from bids_group.words import list_some, quote_column

Array = npt.NDArray[np.float64]

_NUMPY = {"log1p": np.log1p, "sqrt": np.sqrt, "abs": np.abs}
"""What the allow-list names beyond formulaic's own transforms; nothing else can be seen by a formula."""

_MOST_PEOPLE = 6
"""Columns of a term of ``subject`` that are named one by one."""

_FAILURES = (FormulaicError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)
"""What formulaic and its transforms raise where a factor cannot be computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Covariate:
    """A numeric column over the analysed rows, in its own units.

    ``centers``: what is subtracted where it stands bare, in ``I()`` or in ``poly()``: one number, or one
    per level of the factor of ``within:FACTOR``.
    """

    name: str
    mean: float
    sd: float
    minimum: float
    maximum: float
    centers: float | Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coding:
    """A formula with everything that the analysed rows settle.

    ``levels``: of each categorical column, first = reference; ``within``: the factor of ``within:FACTOR``;
    ``columns``: names of the regressors; ``positions``: of each term's regressors among them; ``reach``: of
    what size the numbers are from which each regressor is computed, in its own units, ``(n_regressors,)``.
    """

    formula: Formula
    levels: Mapping[str, tuple[str, ...]]
    covariates: Mapping[str, Covariate]
    within: str | None
    spec: Any
    columns: tuple[str, ...]
    positions: Mapping[Term, tuple[int, ...]]
    reach: Array

    def evaluate(self, people: pd.DataFrame) -> Array:
        """Make rows of the design, ``(n_people, n_regressors)``, from raw values of the formula's columns."""
        symbols = _code_people(self.formula, people, self.levels, self.covariates, self.within)
        return _evaluate(self.formula, self.spec, symbols, "the values that a contrast asks for")[0]

    def factors_of(self, term: Term) -> tuple[str, ...]:
        """Categorical columns that the regressors of a term depend on, the factor of centring among them."""
        named = [column for column in term.columns if column in self.levels]
        centered = {use.column for f in term.factors for use in f.uses if use.role in ("bare", "inner")}
        if centered & set(self.covariates) and self.within in self.formula.columns:
            named.append(str(self.within))
        return tuple(dict.fromkeys(named))

    @property
    def n_covariates(self) -> tuple[int, ...]:
        """How many covariates each regressor is made of."""
        counts = [0] * len(self.columns)
        for term, positions in self.positions.items():
            for at in positions:
                counts[at] = sum(name in self.covariates for name in term.columns)
        return tuple(counts)

    def fold(self, columns: Sequence[str]) -> list[str]:
        """Name columns briefly: those of a term of ``subject`` with many people are counted."""
        people = {
            self.columns[at]: f"the {len(positions)} columns of {term.name}"
            for term, positions in self.positions.items()
            if "subject" in term.columns and len(positions) > _MOST_PEOPLE
            for at in positions
        }
        n_of = Counter(people.get(column, column) for column in columns)
        whole = Counter(people.values())
        return [name if n == whole.get(name, n) else f"{n} of {name}" for name, n in n_of.items()]


def build_coding(formula: Formula, variables: pd.DataFrame, centering: str) -> tuple[Coding, pd.DataFrame]:
    """Settle levels, centres and codings from the analysed rows, and build their design matrix.

    ``variables``: one row per observation, every column that the formula and its centring need;
    ``centering``: ``grand``, ``none`` or ``within:FACTOR``. The matrix is ``(n_rows, n_regressors)``.

    Raises
    ------
    FormulaError
        A function is asked of a categorical column, or cannot be computed.
    DesignError
        Values that are missing or not finite.
    """
    within = centering_factor(centering, variables.columns)
    categorical = _categorical_columns(formula, variables)
    if within is not None and within not in categorical and is_numeric(variables[within]):
        raise DesignError(
            f"The centring 'within:{within}' needs a categorical column.",
            found=f"{within} is numeric",
            fix=f"Say --categorical {within}.",
        )
    levels = {name: levels_of(variables[name]) for name in categorical}
    covariates = {
        name: _summarise(name, variables, centering, within)
        for name in formula.columns
        if name not in categorical
    }
    for factor in formula.factors:
        for name in (name for name in factor.divisors if covariates[name].centers):
            raise FormulaError(
                f"'{factor.text}' in the formula divides by '{name}', which is centred.",
                found=f"{name} minus its mean, which is near 0 for some",
                fix="Say --center none, or add the finished column to participants.tsv.",
            )
    symbols = _code_people(formula, variables, levels, covariates, within)
    matrix, spec = _evaluate(formula, None, symbols, "these rows")
    columns = tuple(_display(formula, name) for name in spec.column_names)
    positions = dict(zip(formula.terms, map(tuple, spec.term_indices.values()), strict=True))
    coding = Coding(
        formula=formula,
        levels=levels,
        covariates=covariates,
        within=within,
        spec=spec,
        columns=columns,
        positions=positions,
        reach=_reach(matrix, positions, covariates),
    )
    return coding, pd.DataFrame(matrix, index=variables.index, columns=list(columns))


def is_numeric(values: pd.Series) -> bool:
    """Whether a column holds numbers (booleans are categories)."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def as_levels(values: pd.Series) -> pd.Series:
    """Write values as levels: text, whole numbers without a decimal point."""
    if is_numeric(values):
        return values.map(lambda value: f"{value:.15g}")
    return values.astype(str)


def levels_of(values: pd.Series) -> tuple[str, ...]:
    """Levels that occur, in their declared order (else numeric or alphabetical)."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        present = set(values.astype(str))
        return tuple(level for level in map(str, values.cat.categories) if level in present)
    if is_numeric(values):
        return tuple(f"{value:.15g}" for value in sorted(values.unique()))
    return tuple(sorted(values.astype(str).unique()))


def _code_people(
    formula: Formula,
    people: pd.DataFrame,
    levels: Mapping[str, tuple[str, ...]],
    covariates: Mapping[str, Covariate],
    within: str | None,
) -> pd.DataFrame:
    """Write people in the symbols of the evaluated formula: categories as such, covariates centred where due.

    People without a value of the factor of ``within:FACTOR`` are centred at the covariate's overall mean.
    """

    def code(use: Use) -> Any:
        if use.column in levels:
            return pd.Categorical(as_levels(people[use.column]), categories=list(levels[use.column]))
        values = people[use.column].to_numpy(dtype=np.float64)
        if use.role == "raw":
            return values
        covariate = covariates[use.column]
        if not isinstance(covariate.centers, Mapping):
            return values - covariate.centers
        if within not in people:
            return values - covariate.mean
        return values - as_levels(people[within]).map(dict(covariate.centers)).to_numpy(dtype=np.float64)

    return pd.DataFrame({use.symbol: code(use) for use in formula.uses}, index=people.index)


def _categorical_columns(formula: Formula, variables: pd.DataFrame) -> tuple[str, ...]:
    """Find the columns that are categories, by their values or by ``C()``, and are used as nothing else."""
    found: dict[str, Factor] = {}
    pairs = [(factor, use) for factor in formula.factors for use in factor.uses]
    for factor, use in pairs:
        is_text = not is_numeric(variables[use.column])
        if is_text and use.role in ("inner", "raw"):
            raise FormulaError(
                f"'{factor.text}' computes with the column '{use.column}', which is categorical.",
                found=f"levels {list_some(levels_of(variables[use.column]), 6)}",
                expected="a numeric column",
                fix=f"Use '{quote_column(use.column)}' by itself, or say --numeric {use.column}.",
            )
        if is_text or use.role == "factor":
            found.setdefault(use.column, factor)
    for factor, use in pairs:
        if use.column in found and use.role != "factor" and is_numeric(variables[use.column]):
            raise FormulaError(
                f"The formula uses '{use.column}' both as a category and as a number.",
                found=f"{found[use.column].text} and {factor.text}",
                fix="Use one of the two.",
            )
    return tuple(found)


def _summarise(name: str, variables: pd.DataFrame, centering: str, within: str | None) -> Covariate:
    values = variables[name].to_numpy(dtype=np.float64)
    centers: float | dict[str, float] = float(values.mean()) if centering == "grand" else 0.0
    if within is not None:
        means = pd.Series(values).groupby(as_levels(variables[within]).to_numpy()).mean()
        centers = {str(level): float(mean) for level, mean in means.items()}
    return Covariate(
        name=name,
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        minimum=float(values.min()),
        maximum=float(values.max()),
        centers=centers,
    )


def _reach(
    matrix: Array, positions: Mapping[Term, tuple[int, ...]], covariates: Mapping[str, Covariate]
) -> Array:
    """Size of each regressor, times how far from zero its covariates lie for their SD: 2000 ± 5 has 400."""
    reach: Array = np.abs(matrix).max(axis=0)
    for term, columns in positions.items():
        known = [covariates[name] for name in term.columns if name in covariates]
        far = sum(max(abs(one.minimum), abs(one.maximum)) / one.sd for one in known if one.sd)
        reach[list(columns)] *= max(1.0, far)
    return reach


def _evaluate(formula: Formula, spec: Any, symbols: pd.DataFrame, whom: str) -> tuple[Array, Any]:
    """Compute the design ``(n_people, n_regressors)``, and what formulaic settled to do so."""
    try:
        matrix = _make_matrix(FormulaicFormula(formula.code) if spec is None else spec, symbols)
    except _FAILURES as error:
        raise _explain(formula, symbols, str(error), whom) from error
    numbers = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise _explain(formula, symbols, "", whom)
    return numbers.reshape(len(symbols), -1), matrix.model_spec


def _make_matrix(maker: Any, symbols: pd.DataFrame, na_action: str = "raise") -> Any:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return maker.get_model_matrix(symbols, na_action=na_action, context=_NUMPY)


def _explain(formula: Formula, symbols: pd.DataFrame, reason: str, whom: str) -> BidsGroupError:
    """Find the factor that cannot be computed, and the rows that are to blame, else what formulaic says."""
    for factor in formula.factors:
        try:
            made = _make_matrix(FormulaicFormula(f"0 + {factor.code}"), symbols, na_action="ignore")
            is_bad = ~np.isfinite(np.asarray(made, dtype=np.float64)).all(axis=1)
        except _FAILURES:
            inner = re.search(r"\[\w+: (.*)\]", reason)
            return FormulaError(
                f"'{factor.text}' in the formula cannot be computed from {whom}.",
                found=_display(formula, inner[1] if inner else reason),
                fix="Change the function or its options, or add the finished column to participants.tsv.",
            )
        bad = np.flatnonzero(is_bad)
        if len(bad):
            return DesignError(
                f"'{factor.text}' in the formula is not a finite number for "
                f"{list_some(symbols.index[bad], 6)}.",
                found="a logarithm or root of a number ≤ 0, or a division by 0",
                expected=f"a finite number from {whom}",
                fix="Correct these values, or use another function.",
            )
    return FormulaError(f"The formula '{formula.text}' cannot be computed from {whom}.", found=reason)


def _display(formula: Formula, name: str) -> str:
    """Put the names of columns in place of their symbols."""
    for use in formula.uses:
        name = name.replace(use.symbol, use.column if use.role == "bare" else quote_column(use.column))
    return name
