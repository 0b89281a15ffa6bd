"""Least squares whose rows have a variance of their own in each group: Welch's test for any linear model.

With A the weights of the rows in an estimate (cβ = A'y) and h the leverages, group g has
s_g² = RSS_g / dof_g, dof_g = Σ (1 − h_i), and adds a_g = s_g² Σ A_i² to the variance of the estimate;
t = cβ / √Σa_g on (Σa_g)² / Σ(a_g²/dof_g) degrees of freedom (Satterthwaite 1946; Welch 1947 for two means).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bids_group.model.fitting.least_squares import EXACT_FIT, Basis, Estimate, Fit, fit_by_pattern
from bids_group.records import Contrast

Doubles = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

_NO_DOF = 1e-6
_NO_SHARE = 1e-12
"""Share of a group in the squared weights of the rows below which an estimate does not depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Groups:
    """Residual variances ``(n_groups, n)`` of the elements, and dof ``(k, n_groups)`` of the patterns."""

    variances: Doubles
    dof: Doubles
    indicators: Doubles  # (n_obs, n_groups)


def fit_group_variances(
    values: npt.NDArray[np.float32],
    basis: Basis,
    contrasts: tuple[Contrast, ...],
    groups: Codes,
    subjects: Codes | None = None,
) -> list[Estimate]:
    """Ordinary least squares at each element, each group of rows with its own residual variance.

    Parameters
    ----------
    values
        ``(n_obs, n)``, NaN = not observed.
    basis
        Of the whole design.
    contrasts
        Of the design, in the order of ``basis.weights``.
    groups
        Number of the variance group of each row, ``(n_obs,)``.
    subjects
        As for `fit_by_pattern`.

    Returns
    -------
    One estimate per contrast: its statistic is t, or F = (Cβ)'V⁻¹(Cβ)/q with V the sum of what
    the groups add to the covariance (t² for q = 1); ``dof`` are Satterthwaite's for q = 1, NaN for more rows,
    where there are none that hold; ``smallest_dof``: that of the groups on which the contrast depends.
    """
    fit = fit_by_pattern(values, basis, contrasts, subjects)
    known = _group_variances(fit, basis, groups)
    return [_allowed(fit, known, basis, number, one.test) for number, one in enumerate(contrasts)]


def _group_variances(fit: Fit, basis: Basis, groups: Codes) -> _Groups:
    """Divide each group's residual sum of squares by its share of the residual degrees of freedom."""
    indicators = np.eye(int(groups.max()) + 1)[groups]
    covariances, patterns = fit.solution.covariances, fit.patterns
    leverages = np.einsum("ni,kij,nj->kn", basis.columns, covariances, basis.columns, optimize=True)
    dof = (patterns * (1 - leverages)) @ indicators
    squares = indicators.T @ fit.residuals**2
    own_dof = dof[fit.solution.group].T
    is_exact = (squares <= EXACT_FIT * fit.scale) | (own_dof <= _NO_DOF)
    return _Groups(
        variances=np.where(is_exact, 0.0, squares / np.maximum(own_dof, _NO_DOF)),
        dof=dof,
        indicators=indicators,
    )


def _allowed(fit: Fit, known: _Groups, basis: Basis, number: int, test: str) -> Estimate:
    """Replace variance, statistic and dof of the pooled estimate of a contrast."""
    pooled, group = fit.estimates[number], fit.solution.group
    shares = _shares(fit, known, basis, basis.directions[number])  # (k, n_groups, q, q)
    sizes = np.einsum("kgqq->kg", shares)
    counts = sizes > _NO_SHARE * sizes.sum(axis=1, keepdims=True)
    has_dof = ~(counts & (known.dof <= _NO_DOF)).any(axis=1)
    is_determined = pooled.is_determined & has_dof[group]
    covariance = np.einsum("gn,ngqr->nqr", known.variances, shares[group], optimize=True)
    is_estimable = is_determined & _is_regular(covariance)
    own = _shares(fit, known, basis, basis.weights[number])
    variance = np.einsum("gn,ngqq->qn", known.variances, own[group], optimize=True)
    return replace(
        pooled,
        variance=np.where(is_determined, variance, 0.0),
        statistic=_statistic(fit, basis.directions[number], test, covariance, is_estimable),
        dof=_satterthwaite(known, shares[:, :, 0, 0], group)
        if shares.shape[-1] == 1
        else np.full(group.shape, np.nan),
        smallest_dof=np.where(counts, known.dof, np.inf).min(axis=1)[group],
        is_estimable=is_estimable,
        is_determined=is_determined,
    )


def _shares(fit: Fit, known: _Groups, basis: Basis, rows: Doubles) -> Doubles:
    """Products of a contrast's weights of the rows, added up by group: ``(k, n_groups, q, q)``."""
    loadings = (rows @ fit.solution.covariances @ basis.columns.T) * fit.patterns[:, None, :]
    shares: Doubles = np.einsum("kqn,krn,ng->kgqr", loadings, loadings, known.indicators, optimize=True)
    return shares


def _is_regular(covariance: Doubles) -> npt.NDArray[np.bool_]:
    sizes = np.linalg.eigvalsh(covariance)
    return np.asarray(sizes[:, 0] > 1e-13 * sizes[:, -1], dtype=np.bool_)


def _statistic(
    fit: Fit, directions: Doubles, test: str, covariance: Doubles, is_estimable: npt.NDArray[np.bool_]
) -> Doubles:
    statistic = np.zeros(is_estimable.shape)
    here = np.flatnonzero(is_estimable)
    effects = fit.solution.coefficients[here] @ directions.T
    if test == "t":
        statistic[here] = effects[:, 0] / np.sqrt(covariance[here, 0, 0])
        return statistic
    solved = np.linalg.solve(covariance[here], effects[:, :, None])[:, :, 0]
    statistic[here] = (effects * solved).sum(axis=1) / len(directions)
    return statistic


def _satterthwaite(known: _Groups, shares: Doubles, group: Codes) -> Doubles:
    """(Σa_g)²/Σ(a_g²/dof_g) at each element; 0 where every group that counts is fitted exactly."""
    parts = known.variances * shares[group].T
    largest = parts.max(axis=0)
    relative = parts / np.where(largest > 0, largest, 1.0)
    spread = (relative**2 / np.maximum(known.dof[group].T, _NO_DOF)).sum(axis=0)
    return np.asarray(np.where(largest > 0, relative.sum(axis=0) ** 2 / np.where(spread > 0, spread, 1), 0.0))
