"""What a design says about itself, in plain numbers that JSON can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bids_group.model.contrast.coded_design import CodedDesign, HierarchicalForm
from bids_group.model.formula.coding import Array, Coding, as_levels
from bids_group.row_space import TOLERANCE


def describe(design: CodedDesign) -> dict[str, Any]:
    """Collect rank, condition number, inflation of variance, leverage, cells, covariates and correlations.

    Infinite numbers are left out: the inflation of a term that depends on others, the condition number
    (None) of a design whose rank is deficient.
    """
    space, matrix = design.space, design.matrix
    condition = space.condition_number
    return {
        "rank": space.rank,
        "n_rows": matrix.shape[0],
        "n_regressors": matrix.shape[1],
        "condition_number": condition if np.isfinite(condition) else None,
        "vif": _inflate(design.form),
        "leverage": dict(zip(map(str, matrix.index), space.leverage.tolist(), strict=True)),
        "n_per_cell": _count_cells(design.coding, design.variables),
        "covariates": _summarise_covariates(design.coding, design.variables),
        "correlations": _correlate(matrix),
        "dependent_columns": [matrix.columns[index] for index in space.dependent_columns()],
        "within_terms": [],
    }


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
    found = {name: _inflation(standard[:, own], standard[:, ~own]) for name, own in is_own.items()}
    return {name: inflation for name, inflation in found.items() if inflation is not None}


def _inflation(own: Array, others: Array) -> float | None:
    """Ratio of the volume of the term's columns to that of what the others leave of them, squared."""
    vectors, values, _ = np.linalg.svd(others, full_matrices=False)
    basis = vectors[:, values > TOLERANCE * values.max(initial=0.0)]
    rest = own - basis @ (basis.T @ own)
    left, whole = np.linalg.svd(rest, compute_uv=False), np.linalg.svd(own, compute_uv=False)
    if not own.shape[1] or left.min() <= TOLERANCE * max(whole.max(), 1e-300):
        return None
    return float(np.exp(2 * (np.log(whole).sum() - np.log(left).sum())))


def _count_cells(coding: Coding, variables: pd.DataFrame) -> list[dict[str, Any]]:
    """Count the rows in every cell of the formula's factors (``subject`` aside), empty cells included."""
    factors = [name for name in coding.levels if name != "subject"]
    if not factors:
        return [{"n": len(variables)}]
    named = pd.DataFrame({name: as_levels(variables[name]) for name in factors})
    counts: dict[Any, int] = named.value_counts().to_dict()
    cells = pd.MultiIndex.from_product([coding.levels[name] for name in factors], names=factors)
    if len(cells) > 1000:
        cells = pd.MultiIndex.from_tuples(sorted(counts), names=factors)
    return [{**dict(zip(factors, cell, strict=True)), "n": int(counts.get(cell, 0))} for cell in cells]


def _summarise_covariates(coding: Coding, variables: pd.DataFrame) -> list[dict[str, Any]]:
    """Summarise every covariate: over all rows, then in each level of each factor (``subject`` aside)."""
    groups: list[tuple[dict[str, str], pd.DataFrame]] = [({}, variables)]
    for factor, levels in coding.levels.items():
        named = as_levels(variables[factor])
        groups += [({factor: level}, variables[named == level]) for level in levels if factor != "subject"]
    return [_summary(name, group, rows[name]) for name in coding.covariates for group, rows in groups]


def _summary(name: str, group: dict[str, str], column: pd.Series) -> dict[str, Any]:
    values = column.to_numpy(dtype=np.float64)
    return {
        "name": name,
        "group": group,
        "n": len(values),
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "min": float(values.min()),
        "max": float(values.max()),
    }


def _correlate(matrix: pd.DataFrame) -> dict[str, Any]:
    """Correlations between the columns of the design that are not constant."""
    moving = [name for name in matrix if np.ptp(matrix[name].to_numpy()) > 0]
    centered = matrix[moving].to_numpy() - matrix[moving].to_numpy().mean(axis=0)
    standard = centered / np.linalg.norm(centered, axis=0)
    return {"columns": moving, "matrix": np.round(standard.T @ standard, 12).tolist()}
