"""Least squares where nilearn's cannot be used: people missing at some elements, variances by group.

Designs are worked on in an orthonormal basis of their columns (`Basis`), element by element in batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bids_group.records import Contrast, Design
from bids_group.row_space import NO_DOF, NO_SHARE, RowSpace, group_by_pattern, invert_patterns

Doubles = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

EXACT_FIT = 1e-24
"""Share of the data's sum of squares below which residuals of float32 data can only be rounding errors."""

ESTIMABLE = 1e-6
"""Largest part of a contrast's unit direction that may lie outside what the people observed determine."""

_WITHIN = 1e-7
"""Largest sum of a contrast's weights over the rows of a person, beside its largest weight, that is zero."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Basis:
    """An orthonormal basis of the column space of a design, and each contrast's weights in it.

    ``columns``: ``(n_obs, rank)``; ``weights``: one ``(q, rank)`` array per contrast, so that
    ``weights @ coefficients`` is the contrast's effect in the units of the design as the user wrote it;
    ``directions``: orthonormal rows that span the same, for tests that no scale of a covariate can disturb.
    """

    columns: Doubles
    weights: tuple[Doubles, ...]
    directions: tuple[Doubles, ...]


def orthonormal_basis(design: Design) -> Basis:
    """Rewrite a design, columns scaled to unit norm first, in an orthonormal basis of its column space.

    With X D⁻¹ = U S V' the coefficients are β = D⁻¹ V S⁻¹ θ, so that C β = (C D⁻¹ V S⁻¹) θ: the same effects,
    variances and tests for every estimable contrast, also where X is badly scaled or rank-deficient. A
    contrast of a single row keeps its sign in ``directions``.
    """
    X, given = design.matrix.to_numpy(dtype=np.float64), [one.weights for one in design.contrasts]
    return basis_of(RowSpace.of(X), [np.atleast_2d(weights) for weights in given])


def basis_of(space: RowSpace, contrasts: Sequence[Doubles]) -> Basis:
    """Rewrite a decomposed design as `orthonormal_basis` does; ``contrasts`` ``(q, p)`` are estimable."""
    to_basis = (space.basis / space.singular_values[: space.rank]) / space.norms[:, None]
    weights = tuple(rows @ to_basis for rows in contrasts)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in weights]
    return Basis(
        columns=np.ascontiguousarray(space.columns),
        weights=weights,
        directions=tuple(
            rows if len(rows) == 1 else np.ascontiguousarray(np.linalg.qr(rows.T)[0].T) for rows in unit
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """A contrast at the elements of a tile.

    ``effect`` and ``variance``: ``(q, n)``; ``statistic``: t or F, ``(n,)``; ``spread``: the factor of the
    residual variance in the variance of the effect, ``(q, n)``; ``dof`` and ``n_observed``: ``(n,)``.
    Elements that cannot be judged have ``is_estimable`` false and statistic 0; ``is_determined``: the people
    observed there determine the contrast and leave a residual degree of freedom. Where they do not determine
    it, effect, variance and spread are 0 (what a generalised inverse gives there depends on the coding); so
    are they where ``compares_people``: the rows observed make a contrast within people one between them.
    ``has_converged`` is false where a search for the variances came to no end.
    With variance groups, ``smallest_dof`` is that of the smallest group on which the contrast depends.
    ``total_sd``: the standard deviation of a row about its mean ``(n,)``, where effects are divided by it.
    """

    effect: Doubles
    variance: Doubles
    statistic: Doubles
    spread: Doubles
    dof: Doubles
    n_observed: Doubles
    is_estimable: Flags
    is_determined: Flags
    compares_people: Flags
    smallest_dof: Doubles | None = None
    total_sd: Doubles | None = None
    has_converged: Flags | None = None

    @property
    def is_exact(self) -> Flags:
        """Whether the only reason not to judge an element is that it has no residual variance."""
        is_lost = np.bool_(False) if self.has_converged is None else ~self.has_converged
        return ~self.is_estimable & self.is_determined & ~self.compares_people & ~is_lost


class TileFit(NamedTuple):
    """What is fitted at a tile: an estimate for each contrast, and maps that belong to no contrast.

    ``maps``: ``(n,)`` by the end of their file names, such as ``stat-icc``; ``counts``: elements by what is
    unusual there, a topic, a sentence with ``{}`` for "3 of 1,000 elements", and a fix.
    """

    estimates: list[Estimate]
    maps: Mapping[str, Doubles] = {}
    counts: Mapping[tuple[str, str, str], int] = {}


class Solution(NamedTuple):
    """Coefficients ``(n, rank)`` and, per group of elements, what their covariance is made of.

    ``covariances``: ``(k, rank, rank)`` generalised inverses of the normal equations; ``directions``:
    projectors on the directions that exist, same shape; ``group``, ``n_observed``: ``(n,)``, number of each
    element's group, and of the rows observed there.
    """

    coefficients: Doubles
    covariances: Doubles
    directions: Doubles
    ranks: Codes
    group: Codes
    n_observed: Doubles


class Fit(NamedTuple):
    """Least squares at the elements of a tile.

    ``patterns``: who is observed, ``(k, n_obs)`` of 0 and 1, one row per group of elements of ``solution``;
    ``residuals``: ``(n_obs, n)``, 0 where not observed; ``scale``: Σy², ``(n,)``.
    """

    solution: Solution
    patterns: Doubles
    residuals: Doubles
    scale: Doubles
    estimates: list[Estimate]


def fit_by_pattern(
    values: npt.NDArray[np.float32],
    basis: Basis,
    contrasts: tuple[Contrast, ...],
    subjects: Codes | None = None,
) -> Fit:
    """Ordinary least squares at each element over the people observed there.

    Elements are grouped by the pattern of who is observed: rank, estimability and dof are the pattern's.
    ``values``: ``(n_obs, n)``, NaN = not observed; ``subjects``: number of the person of each row, where
    people have several: contrasts are judged only where they are made within people.
    """
    is_observed = ~np.isnan(values)
    filled = np.where(is_observed, values, 0.0).astype(np.float64)
    patterns, group = group_by_pattern(is_observed)
    covariances, directions, ranks = invert_patterns(patterns, basis.columns)
    coefficients = np.einsum("nij,nj->ni", covariances[group], filled.T @ basis.columns)
    n_observed = is_observed.sum(axis=0).astype(np.float64)
    solution = Solution(coefficients, covariances, directions, ranks, group, n_observed)
    residuals = (filled - basis.columns @ solution.coefficients.T) * is_observed
    squares = np.einsum("ij,ij->j", residuals, residuals)
    dof = n_observed - ranks[group]
    scale = np.einsum("ij,ij->j", filled, filled)
    variance = residual_variance(squares, dof, scale)
    estimates = []
    for number, contrast in enumerate(contrasts):
        is_within = None
        if subjects is not None:
            rows = basis.directions[number] @ covariances @ basis.columns.T
            is_within = _is_within(rows * patterns[:, None, :], subjects)
        estimates.append(estimate(basis, number, contrast.test, solution, variance, dof, is_within))
    return Fit(solution, patterns, residuals, scale, estimates)


def residual_variance(squares: Doubles, dof: Doubles, scale: Doubles) -> Doubles:
    """Divide residual sums of squares by dof; 0 where they are rounding errors (``scale``: Σy²)."""
    is_exact = squares <= EXACT_FIT * scale
    return np.where(is_exact | (dof < 1), 0.0, squares / np.maximum(dof, 1.0))


def _is_within(rows: Doubles, subjects: Codes) -> Flags:
    """Say for each pattern whether weights of rows ``(k, q, n_obs)`` sum to zero in each person."""
    sums = rows @ (subjects[:, None] == np.arange(subjects.max() + 1)).astype(np.float64)
    return np.asarray(np.abs(sums).max(axis=(1, 2)) <= _WITHIN * np.abs(rows).max(axis=(1, 2)))


def estimate(
    basis: Basis,
    number: int,
    test: str,
    solution: Solution,
    variance: Doubles,
    dof: Doubles,
    is_within: Flags | None = None,
) -> Estimate:
    """Estimate and test contrast ``number`` of a basis, with the residual variance of each element."""
    weights, directions, group = basis.weights[number], basis.directions[number], solution.group
    lost = np.linalg.norm(directions - directions @ solution.directions, axis=2)
    exists = (lost <= ESTIMABLE).all(axis=1)
    compares_people = np.zeros_like(exists) if is_within is None else exists & ~is_within
    exists &= ~compares_people
    has_value = exists[group]
    is_determined = has_value & (dof >= 1)
    is_estimable = is_determined & (variance > 0)
    own_spreads = np.einsum("qi,kij,qj->kq", weights, solution.covariances, weights)
    spread = np.where(has_value, own_spreads[group].T, 0.0)
    spreads = directions @ solution.covariances @ directions.T
    spreads = np.where(exists[:, None, None], spreads, np.eye(len(directions)))
    return Estimate(
        effect=np.where(has_value, weights @ solution.coefficients.T, 0.0),
        variance=spread * variance,
        statistic=statistic(test, solution.coefficients, directions, spreads[group], variance, is_estimable),
        spread=spread,
        dof=dof,
        n_observed=solution.n_observed,
        is_estimable=is_estimable,
        is_determined=is_determined,
        compares_people=compares_people[group],
    )


def statistic(
    test: str, coefficients: Doubles, directions: Doubles, spreads: Doubles, scale: Doubles, is_judged: Flags
) -> Doubles:
    """t, or F over the rows of ``directions``, 0 where not judged; covariances: ``spreads`` × ``scale``."""
    found, here = np.zeros(is_judged.shape), np.flatnonzero(is_judged)
    effects, spreads, scale = coefficients[here] @ directions.T, spreads[here], scale[here]
    if test == "t":
        found[here] = effects[:, 0] / np.sqrt(spreads[:, 0, 0] * scale)
    else:
        solved = np.linalg.solve(spreads, effects[:, :, None])[:, :, 0]
        found[here] = (effects * solved).sum(axis=1) / (len(directions) * scale)
    return found


def fit_group_variances(
    values: npt.NDArray[np.float32],
    basis: Basis,
    contrasts: tuple[Contrast, ...],
    groups: Codes,
    subjects: Codes | None = None,
) -> list[Estimate]:
    """Least squares as `fit_by_pattern`, each group of rows with its own residual variance (Welch's test).

    With A the weights of the rows in an estimate (cβ = A'y) and h the leverages, group g has
    s_g² = RSS_g / dof_g, dof_g = Σ (1 − h_i), and adds a_g = s_g² Σ A_i² to the variance of the estimate;
    t = cβ / √Σa_g on (Σa_g)² / Σ(a_g²/dof_g) degrees of freedom (Satterthwaite 1946; Welch 1947 for two
    means). F = (Cβ)'V⁻¹(Cβ)/q, with V the sum of what the groups add to the covariance, has NaN for dof:
    there are none that hold. ``groups``: number of the variance group of each row, ``(n_obs,)``.
    """
    fit = fit_by_pattern(values, basis, contrasts, subjects)
    members = np.eye(int(groups.max()) + 1)[groups]  # (n_obs, n_groups)
    columns, covariances = basis.columns, fit.solution.covariances
    leverages = np.einsum("ni,kij,nj->kn", columns, covariances, columns, optimize=True)
    dof = (fit.patterns * (1 - leverages)) @ members  # of each group in each pattern, (k, n_groups)
    squares, own_dof = members.T @ fit.residuals**2, dof[fit.solution.group].T
    is_exact = (squares <= EXACT_FIT * fit.scale) | (own_dof <= NO_DOF)
    variances = np.where(is_exact, 0.0, squares / np.maximum(own_dof, NO_DOF))  # (n_groups, n)
    tests = [contrast.test for contrast in contrasts]
    return [
        _with_own_variances(fit, basis, number, test, members, variances, dof)
        for number, test in enumerate(tests)
    ]


def _with_own_variances(
    fit: Fit, basis: Basis, number: int, test: str, members: Doubles, variances: Doubles, dof: Doubles
) -> Estimate:
    """Replace variance, statistic and dof of a pooled estimate by those with a variance for each group."""
    pooled, solution, group = fit.estimates[number], fit.solution, fit.solution.group
    directions = basis.directions[number]

    def shares_of(rows: Doubles) -> Doubles:
        """Products of a contrast's weights of the rows, added up by group: ``(k, n_groups, q, q)``."""
        loadings = (rows @ solution.covariances @ basis.columns.T) * fit.patterns[:, None, :]
        return np.asarray(np.einsum("kqn,krn,ng->kgqr", loadings, loadings, members, optimize=True))

    shares, own_shares = shares_of(directions), shares_of(basis.weights[number])
    sizes = np.einsum("kgqq->kg", shares)
    counts = sizes > NO_SHARE * sizes.sum(axis=1, keepdims=True)
    is_determined = pooled.is_determined & ~(counts & (dof <= NO_DOF)).any(axis=1)[group]
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
    spread = (relative**2 / np.maximum(dof, NO_DOF)).sum(axis=0)
    return np.asarray(np.where(largest > 0, relative.sum(axis=0) ** 2 / np.where(spread > 0, spread, 1), 0.0))
