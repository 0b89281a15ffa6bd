"""Random effects across people: rows weighted by their known variances and by how much people differ."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bids_group.model.fitting.known_variances import solve
from bids_group.model.fitting.least_squares import (
    TileFit,
    estimate,
    orthonormal_basis,
    residual_variance,
)
from bids_group.records import GroupData
from bids_group.row_space import group_by_pattern, invert_patterns
from bids_group.variance_between import variance_between
from bids_group.work_files import read_columns


def prepare(data: GroupData) -> Callable[[slice], TileFit]:
    """Fit tiles by weighted least squares: β = (X'WX)⁻X'We, W = diag(1/(v + τ²)), τ² by REML at each element.

    The variance of Cβ is s²·C(X'WX)⁻C' with s² = (e − Xβ)'W(e − Xβ)/(N − rank(X)) (Knapp & Hartung 2003,
    doi:10.1002/sim.1482), also where s² is below 1; t and F have N − rank(X) degrees of freedom. A row is
    observed where its variance is above 0. Maps: τ², and I² = 100·τ²/(τ² + s_v²) in percent with s_v² the
    typical variance of a map (Higgins & Thompson 2002), as R's metafor says it.
    """
    basis, contrasts, maps = orthonormal_basis(data.design), data.design.contrasts, data.stack.data
    variances = data.stack.variance
    assert variances is not None

    def fit(tile: slice) -> TileFit:
        values, known = read_columns(maps, tile), read_columns(variances, tile)
        is_observed = np.isfinite(values) & np.isfinite(known) & (known > 0)
        between, typical = variance_between(values, known, basis.columns)
        filled = np.where(is_observed, values, np.nan)
        solution, filled, weights = solve(filled, known.astype(np.float64) + between, basis.columns)
        residuals = filled - basis.columns @ solution.coefficients.T
        patterns, pattern = group_by_pattern(is_observed)
        dof = solution.n_observed - invert_patterns(patterns, basis.columns)[2][pattern]
        scale = np.einsum("ij,ij,ij->j", weights, filled, filled)
        variance = residual_variance(np.einsum("ij,ij,ij->j", weights, residuals, residuals), dof, scale)
        share = 100 * between / np.where(typical > 0, between + typical, 1.0)
        return TileFit(
            [
                estimate(basis, number, contrast.test, solution, variance, dof)
                for number, contrast in enumerate(contrasts)
            ],
            {"stat-tau2": between, "stat-I2": share},
        )

    return fit
