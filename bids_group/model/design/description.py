"""What a design says about itself, in plain numbers that JSON can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bids_group.model.contrast.term_tests import HierarchicalForm
from bids_group.model.formula.coding import Array, Coding, Covariate, as_levels
from bids_group.row_space import RowSpace, row_leverage


def describe(
    coding: Coding, variables: pd.DataFrame, matrix: pd.DataFrame, form: HierarchicalForm
) -> dict[str, Any]:
    """Collect rank, condition number, inflation of variance, leverage, cells, covariates and correlations.

    Infinite numbers are left out: the inflation of a term that depends on others, the condition number
    (None) of a design whose rank is deficient.
    """
    X = matrix.to_numpy(dtype=np.float64)
    space = RowSpace.of(X)
    finite = np.isfinite(space.condition_number)
    return {
        "rank": space.rank,
        "n_rows": X.shape[0],
        "n_regressors": X.shape[1],
        "condition_number": space.condition_number if finite else None,
        "vif": inflate(form),
        "leverage": {
            str(label): float(value) for label, value in zip(matrix.index, row_leverage(X), strict=True)
        },
        "n_per_cell": count_cells(coding, variables),
        "covariates": summarise_covariates(coding, variables),
        "correlations": correlate(matrix),
        "dependent_columns": [matrix.columns[index] for index in space.dependent_columns()],
        "within_terms": [],
    }


def inflate(form: HierarchicalForm) -> dict[str, float]:
    """Generalised variance inflation factor of each term (Fox & Monette 1992), factors in sum-to-zero form.

    ``det R₁₁ det R₂₂ / det R`` with R the correlations of all columns but the intercept; terms that
    depend on others are left out.
    """
    inflation: dict[str, float] = {}
    blocks = {
        form.terms[key].name: positions for key, positions in form.blocks.items() if form.terms[key].factors
    }
    used = [position for positions in blocks.values() for position in positions]
    centered = form.matrix[:, used] - form.matrix[:, used].mean(axis=0)
    lengths = np.linalg.norm(centered, axis=0)
    standard = centered / np.where(lengths == 0, 1.0, lengths)
    for name, positions in blocks.items():
        own = np.isin(used, positions)
        inflation_here = _inflation(standard[:, own], standard[:, ~own])
        if inflation_here is not None:
            inflation[name] = inflation_here
    return inflation


def _inflation(own: Array, others: Array) -> float | None:
    """Ratio of the volume of the term's columns to that of what the others leave of them, squared."""
    basis = np.linalg.svd(others, full_matrices=False)
    basis_columns = basis[0][:, basis[1] > 1e-8 * basis[1].max(initial=0.0)]
    rest = own - basis_columns @ (basis_columns.T @ own)
    left, whole = np.linalg.svd(rest, compute_uv=False), np.linalg.svd(own, compute_uv=False)
    if not own.shape[1] or left.min() <= 1e-8 * max(whole.max(), 1e-300):
        return None
    return float(np.exp(2 * (np.log(whole).sum() - np.log(left).sum())))


def count_cells(coding: Coding, variables: pd.DataFrame) -> list[dict[str, Any]]:
    """Count the rows in every cell of the formula's factors (``subject`` aside), empty cells included."""
    factors = [name for name in coding.levels if name != "subject"]
    if not factors:
        return [{"n": len(variables)}]
    levels = [coding.levels[name] for name in factors]
    named = pd.DataFrame({name: as_levels(variables[name]) for name in factors})
    counts: dict[Any, int] = named.value_counts().to_dict()
    cells = pd.MultiIndex.from_product(levels, names=factors)
    if len(cells) > 1000:
        cells = pd.MultiIndex.from_tuples(sorted(counts), names=factors)
    return [{**dict(zip(factors, cell, strict=True)), "n": int(counts.get(cell, 0))} for cell in cells]


def summarise_covariates(coding: Coding, variables: pd.DataFrame) -> list[dict[str, Any]]:
    """Summarise every covariate: over all rows, then in each level of each factor (``subject`` aside)."""
    summaries = []
    for covariate in coding.covariates.values():
        summaries.append(_summary(covariate, {}, variables))
        for factor, levels in coding.levels.items():
            if factor == "subject":
                continue
            named = as_levels(variables[factor])
            summaries += [_summary(covariate, {factor: level}, variables[named == level]) for level in levels]
    return summaries


def _summary(covariate: Covariate, group: dict[str, str], rows: pd.DataFrame) -> dict[str, Any]:
    values = rows[covariate.name].to_numpy(dtype=np.float64)
    return {
        "name": covariate.name,
        "group": group,
        "n": len(values),
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "min": float(values.min()),
        "max": float(values.max()),
    }


def correlate(matrix: pd.DataFrame) -> dict[str, Any]:
    """Correlations between the columns of the design that are not constant."""
    moving = [name for name in matrix if np.ptp(matrix[name].to_numpy()) > 0]
    centered = matrix[moving].to_numpy() - matrix[moving].to_numpy().mean(axis=0)
    standard = centered / np.linalg.norm(centered, axis=0)
    return {"columns": moving, "matrix": np.round(standard.T @ standard, 12).tolist()}
