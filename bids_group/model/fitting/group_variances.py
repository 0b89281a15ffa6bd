"""Least squares whose rows have a variance of their own in each group: Welch's test for any linear model.

With A the weights of the rows in an estimate (cβ = A'y) and h the leverages, group g has
s_g² = RSS_g / dof_g, dof_g = Σ (1 − h_i), and adds a_g = s_g² Σ A_i² to the variance of the estimate;
t = cβ / √Σa_g on (Σa_g)² / Σ(a_g²/dof_g) degrees of freedom (Satterthwaite 1946; Welch 1947 for two means).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bids_group.model.fitting.least_squares import (
    EXACT_FIT,
    Basis,
    Codes,
    Doubles,
    Estimate,
    Fit,
    fit_by_pattern,
    statistic,
)
from bids_group.records import Contrast

_NO_DOF = 1e-6
_NO_SHARE = 1e-12
"""Share of a group in the squared weights of the rows below which an estimate does not depend on it."""


def fit_group_variances(
    values: npt.NDArray[np.float32],
    basis: Basis,
    contrasts: tuple[Contrast, ...],
    groups: Codes,
    subjects: Codes | None = None,
) -> list[Estimate]:
    """Ordinary least squares at each element, each group of rows with its own residual variance.

    ``groups``: number of the variance group of each row, ``(n_obs,)``; else as `fit_by_pattern`. The
    statistic is t, or F = (Cβ)'V⁻¹(Cβ)/q with V the sum of what the groups add to the covariance (t² for
    q = 1); ``dof`` are Satterthwaite's for q = 1, NaN for more rows, where there are none that hold.
    """
    fit = fit_by_pattern(values, basis, contrasts, subjects)
    members = np.eye(int(groups.max()) + 1)[groups]  # (n_obs, n_groups)
    columns, covariances = basis.columns, fit.solution.covariances
    leverages = np.einsum("ni,kij,nj->kn", columns, covariances, columns, optimize=True)
    dof = (fit.patterns * (1 - leverages)) @ members  # of each group in each pattern, (k, n_groups)
    squares, own_dof = members.T @ fit.residuals**2, dof[fit.solution.group].T
    is_exact = (squares <= EXACT_FIT * fit.scale) | (own_dof <= _NO_DOF)
    variances = np.where(is_exact, 0.0, squares / np.maximum(own_dof, _NO_DOF))  # (n_groups, n)
    tests = [contrast.test for contrast in contrasts]
    return [_allowed(fit, basis, number, test, members, variances, dof) for number, test in enumerate(tests)]


def _allowed(
    fit: Fit, basis: Basis, number: int, test: str, members: Doubles, variances: Doubles, dof: Doubles
) -> Estimate:
    """Replace variance, statistic and dof of the pooled estimate of a contrast."""
    pooled, solution, group = fit.estimates[number], fit.solution, fit.solution.group
    directions = basis.directions[number]

    def shares_of(rows: Doubles) -> Doubles:
        """Products of a contrast's weights of the rows, added up by group: ``(k, n_groups, q, q)``."""
        loadings = (rows @ solution.covariances @ basis.columns.T) * fit.patterns[:, None, :]
        return np.asarray(np.einsum("kqn,krn,ng->kgqr", loadings, loadings, members, optimize=True))

    shares, own_shares = shares_of(directions), shares_of(basis.weights[number])
    sizes = np.einsum("kgqq->kg", shares)
    counts = sizes > _NO_SHARE * sizes.sum(axis=1, keepdims=True)
    is_determined = pooled.is_determined & ~(counts & (dof <= _NO_DOF)).any(axis=1)[group]
    covariance = np.einsum("gn,ngqr->nqr", variances, shares[group], optimize=True)
    extremes = np.linalg.eigvalsh(covariance)
    is_estimable = is_determined & (extremes[:, 0] > 1e-13 * extremes[:, -1])
    variance = np.einsum("gn,ngqq->qn", variances, own_shares[group], optimize=True)
    one, unknown = np.ones(group.shape), np.full(group.shape, np.nan)
    return replace(
        pooled,
        variance=np.where(is_determined, variance, 0.0),
        statistic=statistic(test, solution.coefficients, directions, covariance, one, is_estimable),
        dof=unknown
        if len(directions) > 1
        else _satterthwaite(variances * shares[group, :, 0, 0].T, dof[group].T),
        smallest_dof=np.where(counts, dof, np.inf).min(axis=1)[group],
        is_estimable=is_estimable,
        is_determined=is_determined,
    )


def _satterthwaite(parts: Doubles, dof: Doubles) -> Doubles:
    """(Σa_g)²/Σ(a_g²/dof_g) of ``(n_groups, n)``; 0 where every group that counts is fitted exactly."""
    largest = parts.max(axis=0)
    relative = parts / np.where(largest > 0, largest, 1.0)
    spread = (relative**2 / np.maximum(dof, _NO_DOF)).sum(axis=0)
    return np.asarray(np.where(largest > 0, relative.sum(axis=0) ** 2 / np.where(spread > 0, spread, 1), 0.0))
