"""From people to regressors: a formula with its levels, centres and codings fixed by the analysed rows.

The same `CodedDesign` turns analysed people into the design matrix, and hypothetical people into rows of it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.errors import DesignError, FormulaError
from bids_group.model.formula.factors import Factor, Use
from bids_group.model.formula.parser import Formula, Term, centering_factor
from bids_group.model.formula.plain import make_regressors
from bids_group.row_space import RowSpace, independent
from bids_group.words import list_some, quote_column

Array = npt.NDArray[np.float64]

_MOST_PEOPLE = 6
"""Columns of a term of ``subject`` that are named one by one."""
_MOST_COLUMNS = 1000
"""Columns that a design may have beyond two for each row: others are not even computed."""
_MOST_OF_A_CALL = 60
"""Columns of a function: a whole number among its options is at most 30."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Covariate:
    """A numeric column over the analysed rows, in its own units.

    ``centers``: what is subtracted where it stands bare, in ``I()`` or in ``poly()``: one number, or one
    per level of the factor of ``within:FACTOR``.
    """

    mean: float
    sd: float
    minimum: float
    maximum: float
    centers: float | Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HierarchicalForm:
    """The column space of a formula, written anew so that a term's coefficients have a meaning of their own.

    It has an intercept, every lower-order term, factors whose columns sum to zero over their levels, and
    centred covariates. ``matrix``: ``(n_rows, n_columns)``; ``blocks``: each term with its columns,
    lower-order terms first, the intercept (the term without factors) among them; ``missing``: terms whose
    columns the formula cannot express: it is not hierarchical there.
    """

    matrix: Array
    space: RowSpace
    blocks: dict[Term, list[int]]
    missing: tuple[Term, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedDesign:
    """A formula with everything that the analysed rows settle: all that a contrast is made from.

    ``variables``: raw values of the formula's columns, by row; ``within``: the factor of ``within:FACTOR``;
    ``levels``: of each categorical column, first = reference; ``matrix``: the design, ``(n_rows,
    n_regressors)``; ``positions``: of each term's regressors among its columns; ``is_own``: the matrix is the
    user's own, so that nothing is known of what its columns mean; ``subjects``: whose row each is, where
    people have several rows; ``are_conditions``: these are one per first-level contrast.
    """

    formula: Formula
    variables: pd.DataFrame
    centering: str
    within: str | None
    levels: Mapping[str, tuple[str, ...]]
    covariates: Mapping[str, Covariate]
    spec: Any
    matrix: pd.DataFrame
    columns: tuple[str, ...]
    positions: Mapping[Term, tuple[int, ...]]
    is_own: bool = False
    subjects: pd.Series | None = None
    are_conditions: bool = False

    @functools.cached_property
    def X(self) -> Array:  # noqa: N802
        """Design matrix, ``(n_rows, n_regressors)``."""
        return np.asarray(self.matrix.to_numpy(), dtype=np.float64)

    @functools.cached_property
    def space(self) -> RowSpace:
        """Row space of the design."""
        return RowSpace.of(self.X)

    @functools.cached_property
    def averages(self) -> dict[tuple[Any, ...], Array]:
        """Averages of rows that contrasts asked for, by columns, cells, values and shifts."""
        return {}

    @functools.cached_property
    def form(self) -> HierarchicalForm:
        """Hierarchical form, with covariates centred at their overall mean.

        Where that is another space (covariates centred within a factor that the formula lacks), covariates
        are centred as the design centres them.
        """
        own = grand = _write_hierarchically(self, "grand")
        if grand.missing and self.within is not None:
            own = _write_hierarchically(self, f"within:{self.within}")
        return grand if own.missing else own

    def evaluate(self, people: pd.DataFrame) -> Array:
        """Make rows of the design, ``(n_people, n_regressors)``, from raw values of the formula's columns."""
        symbols = _code_people(self.formula, people, self.levels, self.covariates, self.within)
        whom = "the values that a contrast asks for"
        return _evaluate(self.formula, symbols, whom, self.spec)[0]

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


def code_design(formula: Formula, variables: pd.DataFrame, centering: str, **facts: Any) -> CodedDesign:
    """Settle levels, centres and codings from the analysed rows, and build their design matrix.

    ``variables`` have every column that the formula and its centring (``grand``, ``none``, ``within:FACTOR``)
    need; ``facts`` are what else is known of the rows: ``is_own``, ``subjects``, ``are_conditions``. A
    function that is asked of a category or cannot be computed is a `FormulaError`, values that are not finite
    are a `DesignError`.
    """
    within = centering_factor(centering, variables.columns)
    levels = {name: levels_of(variables[name]) for name in _categorical_columns(formula, variables)}
    if within is not None and within not in levels and is_numeric(variables[within]):
        raise DesignError(
            f"The centring 'within:{within}' needs a categorical column.",
            found=f"{within} is numeric",
            fix=f"Say --categorical {within}.",
        )
    cells = None if within is None else variables[within]
    numeric = (name for name in formula.columns if name not in levels)
    covariates = {name: _summarise(variables[name], centering, cells) for name in numeric}
    for factor in formula.factors:
        for name in (name for name in factor.divisors if covariates[name].centers):
            raise FormulaError(
                f"'{factor.text}' in the formula divides by '{name}', which is centred.",
                found=f"{name} minus its mean, which is near 0 for some",
                fix="Say --center none, or add the finished column to participants.tsv.",
            )
    symbols = _code_people(formula, variables, levels, covariates, within)
    _check_width(formula, symbols, levels)
    numbers, names, spec = _evaluate(formula, symbols, "these rows")
    columns = tuple(formula.display(name) for of_term in names for name in of_term)
    at = iter(range(len(columns)))
    return CodedDesign(
        formula=formula,
        variables=variables,
        centering=centering,
        within=within,
        levels=levels,
        covariates=covariates,
        spec=spec,
        matrix=pd.DataFrame(numbers, index=variables.index, columns=list(columns)),
        columns=columns,
        positions={
            term: tuple(itertools.islice(at, len(of_term)))
            for term, of_term in zip(formula.terms, names, strict=True)
        },
        **facts,
    )


def _check_width(formula: Formula, symbols: pd.DataFrame, levels: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a formula of far more columns than rows, such as a product of splines, before it is computed."""

    def count(width: Callable[[Factor], int]) -> int:
        return sum(math.prod(map(width, term.factors)) for term in formula.terms)

    def at_most(factor: Factor) -> int:
        return max((len(levels[one]) for one in factor.columns if one in levels), default=0) or (
            1 if factor.is_bare or factor.code.startswith("I(") else _MOST_OF_A_CALL + factor.code.count(",")
        )

    def exactly(factor: Factor) -> int:
        if factor.is_column:
            return at_most(factor)
        from bids_group.model.formula.functions import count_columns

        return count_columns(factor, symbols)

    limit = _MOST_COLUMNS + 2 * len(symbols)
    if count(at_most) > limit and (n_columns := count(functools.cache(exactly))) > limit:
        raise FormulaError(
            f"The formula has {n_columns:,} columns.",
            found=f"{formula.text}, and {len(symbols)} rows",
            expected="fewer columns than rows",
            fix="Leave out interactions, or use splines of fewer df.",
        )


def is_numeric(values: pd.Series) -> bool:
    """Whether a column holds numbers (booleans are categories)."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def as_levels(values: pd.Series) -> pd.Series:
    """Write values as levels: text, whole numbers without a decimal point."""
    return values.map(lambda value: f"{value:.15g}") if is_numeric(values) else values.astype(str)


def levels_of(values: pd.Series) -> tuple[str, ...]:
    """Levels that occur, in their declared order (else numeric or alphabetical)."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        present = set(values.astype(str))
        return tuple(level for level in map(str, values.cat.categories) if level in present)
    if is_numeric(values):
        return tuple(f"{value:.15g}" for value in sorted(values.unique()))
    return tuple(sorted(values.astype(str).unique()))


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


def _summarise(column: pd.Series, centering: str, within: pd.Series | None) -> Covariate:
    """Summarise a numeric column, and settle what is subtracted from it."""
    values = column.to_numpy(dtype=np.float64)
    centers: float | dict[str, float] = float(values.mean()) if centering == "grand" else 0.0
    if within is not None:
        means = pd.Series(values).groupby(as_levels(within).to_numpy()).mean()
        centers = {str(level): float(mean) for level, mean in means.items()}
    sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    low, high = float(values.min()), float(values.max())
    return Covariate(mean=float(values.mean()), sd=sd, minimum=low, maximum=high, centers=centers)


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
        centers = covariates[use.column].centers
        if isinstance(centers, Mapping) and within in people:
            return values - as_levels(people[within]).map(dict(centers)).to_numpy(dtype=np.float64)
        return values - (covariates[use.column].mean if isinstance(centers, Mapping) else centers)

    return pd.DataFrame({use.symbol: code(use) for use in formula.uses}, index=people.index)


def _evaluate(
    formula: Formula, symbols: pd.DataFrame, whom: str, spec: Any = None
) -> tuple[Array, Sequence[tuple[str, ...]], Any]:
    """Compute the design ``(n_people, n_regressors)``, the names of each term's regressors, and a spec.

    The spec is what formulaic settled from the analysed rows; where no function is called, there is none.
    """
    made = make_regressors(formula, symbols)
    if made is None:
        from bids_group.model.formula.functions import evaluate  # imports formulaic: half a second

        return evaluate(formula, spec, symbols, whom)
    return (
        np.array([values for of_term in made for values in of_term.values()]).T,
        list(map(tuple, made)),
        None,
    )


def _write_hierarchically(design: CodedDesign, centering: str) -> HierarchicalForm:
    """Write the formula anew with every lower-order term, in columns that centre each term."""
    n_rows = len(design.variables)
    bases = {factor.code: _factor_columns(factor, design, centering) for factor in design.formula.factors}
    given, matrix = design.formula.terms, np.empty((n_rows, 0))
    lower = [
        Term(factors=factors)
        for term in given
        for size in range(len(term.factors))
        for factors in itertools.combinations(term.factors, size)
    ]
    blocks: dict[Term, list[int]] = {}
    for term in sorted(dict.fromkeys([*given, *lower]), key=lambda term: len(term.factors)):
        product = np.ones((n_rows, 1))
        for factor in term.factors:  # each column by each
            product = (product[:, :, None] * bases[factor.code][:, None, :]).reshape(n_rows, -1)
        blocks[term] = list(range(matrix.shape[1], matrix.shape[1] + product.shape[1]))
        matrix = np.column_stack([matrix, product])
    space, rank = RowSpace.of(matrix), design.space.rank
    missing = tuple(
        term
        for term, at in blocks.items()
        if space.rank < rank or (at and RowSpace.of(np.column_stack([design.X, matrix[:, at]])).rank > rank)
    )
    return HierarchicalForm(matrix=matrix, space=space, blocks=blocks, missing=missing)


def _factor_columns(factor: Factor, design: CodedDesign, centering: str) -> Array:
    """Code a factor by itself: levels by columns that sum to zero over them, covariates centred."""
    column = factor.columns[0]
    if column in design.levels and factor.is_column:
        names, levels = as_levels(design.variables[column]).to_numpy(), design.levels[column]
        deviations = [(names == level) - 1 / len(levels) for level in levels[1:]]
        return np.column_stack([np.empty((len(names), 0)), *deviations])
    alone = Formula(text=factor.text, terms=(Term(factors=()), Term(factors=(factor,))))
    own = "none" if factor.divisors else centering  # what is divided by is not centred in the design either
    made = code_design(alone, design.variables, own).X[:, 1:]
    if factor.divisors or not (factor.is_bare or factor.is_inner):
        made = made - made.mean(axis=0)
    return made[:, independent(made)]
