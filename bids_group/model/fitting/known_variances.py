"""Rows weighted by known variances alone (fixed effects), or by how much people differ too (random)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from bids_group.model.fitting.least_squares import (
    Basis,
    Doubles,
    Solution,
    TileFit,
    estimate,
    orthonormal_basis,
    residual_variance,
)
from bids_group.records import GroupData, Notice, warn
from bids_group.row_space import generalised_inverses, group_by_pattern, invert_patterns
from bids_group.work_files import read_columns

_BLOCK = 1 << 12
Rows = npt.NDArray[np.float32]


def prepare(data: GroupData) -> Callable[[slice], TileFit]:
    """Fit tiles by weighted least squares: β = (X'WX)⁻X'We, W = diag(1/v), or diag(1/(v + τ²)).

    Fixed effects across people (Hedges & Olkin 1985, ch. 8) have the known variances v alone: the variance of
    Cβ is C(X'WX)⁻C' itself, nothing is estimated from residuals; the reference is the normal distribution
    (χ²/q for several rows), dof = ∞. Random effects are those of `_fit_between`.
    """
    basis, contrasts, maps = orthonormal_basis(data.design), data.design.contrasts, data.stack.data
    variances = data.stack.variance
    assert variances is not None
    weigh = _fit_between if data.estimator.has_residual_variance else _fit_known

    def fit(tile: slice) -> TileFit:
        weighed = weigh(read_columns(maps, tile), read_columns(variances, tile), basis.columns)
        solution, variance, dof, own_maps = weighed
        estimates = [
            estimate(basis, number, contrast.test, solution, variance, dof)
            for number, contrast in enumerate(contrasts)
        ]
        return TileFit(estimates, own_maps)

    return fit


Weighed = tuple[Solution, Doubles, Doubles, dict[str, Doubles]]
"""Coefficients, residual variance and degrees of freedom ``(n,)``, and maps that belong to no contrast."""


def _fit_known(values: Rows, known: Rows, columns: Doubles) -> Weighed:
    """Weigh rows by their known variances alone."""
    solution, _, _ = solve(values, known, columns)
    n_elements = solution.n_observed.shape
    return solution, np.ones(n_elements), np.full(n_elements, np.inf), {}


def _fit_between(values: Rows, known: Rows, columns: Doubles) -> Weighed:
    """Weigh rows by 1/(v + τ²) too, τ² by REML at each element: how much people differ.

    The variance of Cβ is s²·C(X'WX)⁻C' with s² = (e − Xβ)'W(e − Xβ)/(N − rank(X)) (Knapp & Hartung 2003,
    doi:10.1002/sim.1482), also where s² is below 1; t and F have N − rank(X) degrees of freedom. A row is
    observed where its variance is above 0. Maps: τ², and I² = 100·τ²/(τ² + s_v²) in percent with s_v² the
    typical variance of a map (Higgins & Thompson 2002), as R's metafor says it.
    """
    from bids_group.variance_between import variance_between  # numba takes 0.2 s to import

    is_observed = np.isfinite(values) & np.isfinite(known) & (known > 0)
    between, typical = variance_between(values, known, columns)
    filled = np.where(is_observed, values, np.nan)
    solution, filled, weights = solve(filled, known.astype(np.float64) + between, columns)
    residuals = filled - columns @ solution.coefficients.T
    patterns, pattern = group_by_pattern(is_observed)
    dof = solution.n_observed - invert_patterns(patterns, columns)[2][pattern]
    scale = np.einsum("ij,ij,ij->j", weights, filled, filled)
    variance = residual_variance(np.einsum("ij,ij,ij->j", weights, residuals, residuals), dof, scale)
    share = 100 * between / np.where(typical > 0, between + typical, 1.0)
    return solution, variance, dof, {"stat-tau2": between, "stat-I2": share}


def solve(
    values: Rows, variances: npt.NDArray[np.floating], columns: Doubles
) -> tuple[Solution, Doubles, Doubles]:
    """Solve the normal equations of each element, by eigenvalues, which are squares of singular values.

    Weights are brought to a maximum of 1 first. Also gives values and weights ``(n_obs, n)``, 0 where not
    observed.
    """
    is_observed, (n_obs, rank) = ~np.isnan(values), columns.shape
    weights = np.where(is_observed, 1 / np.where(is_observed, variances, 1.0).astype(np.float64), 0.0)
    filled = np.where(is_observed, values, 0.0).astype(np.float64)
    largest = np.maximum(weights.max(axis=0), np.finfo(np.float64).tiny)
    relative = weights / largest
    products = (columns[:, :, None] * columns[:, None, :]).reshape(n_obs, rank * rank)
    sizes, vectors = np.linalg.eigh((relative.T @ products).reshape(-1, rank, rank))
    exists = sizes > 1e-13 * np.maximum(sizes[:, -1:], np.finfo(np.float64).tiny)
    covariances, directions, ranks = generalised_inverses(vectors.transpose(0, 2, 1), sizes, exists)
    coefficients = np.einsum("nij,nj->ni", covariances, (relative * filled).T @ columns)
    residuals = relative * (filled - columns @ coefficients.T)
    coefficients += np.einsum("nij,nj->ni", covariances, residuals.T @ columns)
    own = np.arange(filled.shape[1])
    covariances, n_observed = covariances / largest[:, None, None], is_observed.sum(axis=0).astype(np.float64)
    solution = Solution(coefficients, covariances, directions, ranks, own, n_observed)
    return solution, filled, weights


def heterogeneity(values: Rows, variances: Rows, basis: Basis) -> tuple[Doubles, Doubles]:
    """Cochran's Q = Σ (y − Xβ)²/v of the weighted fit, and its degrees of freedom, each ``(n,)``."""
    solution, filled, weights = solve(values, variances, basis.columns)
    residuals = filled - basis.columns @ solution.coefficients.T
    return np.einsum("ij,ij->j", weights, residuals**2), solution.n_observed - solution.ranks


def tell_heterogeneity(data: GroupData) -> tuple[Notice, ...]:
    """Warn of fixed effects across people, with Cochran's Q and I² (Higgins & Thompson 2002).

    Q = Σ (y − Xβ)²/v on N − rank(X) degrees of freedom, I² = max(0, 1 − dof/Q).
    """
    values, variances = data.stack.data, data.stack.variance
    if variances is None or data.estimator.has_residual_variance:
        return ()
    basis = orthonormal_basis(data.design)
    blocks = [slice(start, start + _BLOCK) for start in range(0, data.elements.n_elements, _BLOCK)]
    parts = [
        heterogeneity(read_columns(values, block), read_columns(variances, block), basis) for block in blocks
    ]
    q, dof = (np.concatenate(numbers) for numbers in zip(*parts, strict=True))
    q, dof = q[dof > 0], dof[dof > 0]
    if not dof.size:
        return ()
    share = float((special.chdtrc(dof, q) < 0.05).mean())
    i2 = float(np.median(np.maximum(0.0, 1 - dof / np.maximum(q, np.finfo(np.float64).tiny))))
    sentence = (
        f"Fixed effects across people: Cochran's Q is {np.median(q):.3g} on {np.median(dof):g} "
        f"degrees of freedom in the median, with p < 0.05 at {share:.0%} of the elements; I² is {i2:.0%} "
        "in the median. What people differ in beyond their own variances is in no standard error."
    )
    fix = 'Use "Type": "glm" in the node of Level Dataset to say something about people in general.'
    return (warn("heterogeneity", sentence, fix),)
