"""Least squares where nilearn's cannot be used: people missing at some elements, known variances.

Both work in an orthonormal basis of the design's columns (`Basis`), element by element in batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_group.records import Contrast, Design
from bids_group.row_space import TOLERANCE, RowSpace

Doubles = npt.NDArray[np.float64]

EXACT_FIT = 1e-24
"""Share of the data's sum of squares below which residuals of float32 data can only be rounding errors."""

_ESTIMABLE = 1e-6
"""Largest part of a contrast's unit direction that may lie outside what the people observed determine."""

_WITHIN = 1e-7
"""Largest sum of a contrast's weights over the rows of a person, beside its largest weight, that is zero."""

_PATTERNS_PER_BATCH = 2048


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

    @property
    def rank(self) -> int:
        """Number of columns of the basis."""
        return int(self.columns.shape[1])


def orthonormal_basis(design: Design) -> Basis:
    """Rewrite a design, columns scaled to unit norm first, in an orthonormal basis of its column space.

    With X D⁻¹ = U S V' the coefficients are β = D⁻¹ V S⁻¹ θ, so that C β = (C D⁻¹ V S⁻¹) θ: the same effects,
    variances and tests for every estimable contrast, also where X is badly scaled or rank-deficient.
    """
    space = RowSpace.of(design.matrix.to_numpy(dtype=np.float64))
    to_basis = (space.basis / space.singular_values[: space.rank]) / space.norms[:, None]
    weights = tuple(np.atleast_2d(contrast.weights) @ to_basis for contrast in design.contrasts)
    return Basis(
        columns=np.ascontiguousarray(space.columns),
        weights=weights,
        directions=tuple(_orthonormal_rows(rows) for rows in weights),
    )


def _orthonormal_rows(weights: Doubles) -> Doubles:
    """Span the same by orthonormal rows; a single row keeps its sign."""
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    return unit if len(unit) == 1 else np.ascontiguousarray(np.linalg.qr(unit.T)[0].T)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """A contrast at the elements of a tile.

    ``effect`` and ``variance``: ``(q, n)``; ``statistic``: t or F, ``(n,)``; ``spread``: the factor of the
    residual variance in the variance of the effect, ``(q, n)``; ``dof`` and ``n_observed``: ``(n,)``.
    Elements that cannot be judged have ``is_estimable`` false and statistic 0; ``is_determined``: the people
    observed there determine the contrast and leave a residual degree of freedom. Where they do not determine
    it, effect, variance and spread are 0 (what a generalised inverse gives there depends on the coding); so
    are they where ``compares_people``: the rows observed make a contrast within people one between them.
    """

    effect: Doubles
    variance: Doubles
    statistic: Doubles
    spread: Doubles
    dof: Doubles
    n_observed: Doubles
    is_estimable: npt.NDArray[np.bool_]
    is_determined: npt.NDArray[np.bool_]
    compares_people: npt.NDArray[np.bool_]
    smallest_dof: Doubles | None = None
    """With variance groups: dof of the smallest group on which the contrast depends, ``(n,)``."""

    @property
    def is_exact(self) -> npt.NDArray[np.bool_]:
        """Whether the only reason not to judge an element is that it has no residual variance."""
        return ~self.is_estimable & self.is_determined & ~self.compares_people


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solution:
    """Coefficients ``(n, rank)`` and, per group of elements, what their covariance is made of.

    ``covariances``: ``(k, rank, rank)`` generalised inverses of the normal equations; ``directions``:
    projectors on the directions that exist, same shape; ``group``: ``(n,)`` number of each element's group.
    """

    coefficients: Doubles
    covariances: Doubles
    directions: Doubles
    ranks: npt.NDArray[np.intp]
    group: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
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
    subjects: npt.NDArray[np.intp] | None = None,
) -> Fit:
    """Ordinary least squares at each element over the people observed there.

    Elements are grouped by the pattern of who is observed: rank, estimability and dof are the pattern's.

    Parameters
    ----------
    values
        ``(n_obs, n)``, NaN = not observed.
    basis
        Of the whole design.
    contrasts
        Of the design, in the order of ``basis.weights``.
    subjects
        Number of the person of each row, where people have several: contrasts are judged only where they are
        made within people.

    Returns
    -------
    One estimate per contrast, and what they are made of.
    """
    is_observed = ~np.isnan(values)
    filled = np.where(is_observed, values, 0.0).astype(np.float64)
    patterns, group = _patterns(is_observed)
    solution = _solve_by_pattern(filled, patterns, group, basis.columns)
    residuals = (filled - basis.columns @ solution.coefficients.T) * is_observed
    squares = np.einsum("ij,ij->j", residuals, residuals)
    n_observed = is_observed.sum(axis=0).astype(np.float64)
    dof = n_observed - solution.ranks[solution.group]
    scale = np.einsum("ij,ij->j", filled, filled)
    variance = residual_variance(squares, dof, scale)
    is_within = [
        None
        if subjects is None
        else _is_within(rows, solution.covariances, basis.columns, patterns, subjects)
        for rows in basis.directions
    ]
    estimates = [
        _estimate(basis, number, contrast, solution, variance, dof, n_observed, is_within[number])
        for number, contrast in enumerate(contrasts)
    ]
    return Fit(solution=solution, patterns=patterns, residuals=residuals, scale=scale, estimates=estimates)


def fit_known_variances(
    values: npt.NDArray[np.float32],
    variances: npt.NDArray[np.float32],
    basis: Basis,
    contrasts: tuple[Contrast, ...],
) -> list[Estimate]:
    """Weighted least squares with known variances: β = (X'WX)⁻X'We, W = diag(1/v).

    The variance of Cβ is C(X'WX)⁻C' itself, nothing is estimated from residuals; the reference is the normal
    distribution (χ²/q for several rows), dof = ∞: fixed effects across people (Hedges & Olkin 1985, ch. 8).

    Parameters
    ----------
    values, variances
        ``(n_obs, n)``, NaN = not observed.
    basis
        Of the whole design.
    contrasts
        Of the design, in the order of ``basis.weights``.
    """
    is_observed = ~np.isnan(values)
    filled, weights = _weighed(values, variances)
    solution = _solve_weighted(filled, weights, basis.columns)
    n_observed = is_observed.sum(axis=0).astype(np.float64)
    dof = np.full(n_observed.shape, np.inf)
    return [
        _estimate(basis, number, contrast, solution, np.ones(n_observed.shape), dof, n_observed)
        for number, contrast in enumerate(contrasts)
    ]


def heterogeneity(
    values: npt.NDArray[np.float32], variances: npt.NDArray[np.float32], basis: Basis
) -> tuple[Doubles, Doubles]:
    """Cochran's Q = Σ (y − Xβ)²/v of the weighted fit, and its degrees of freedom, each ``(n,)``."""
    filled, weights = _weighed(values, variances)
    solution = _solve_weighted(filled, weights, basis.columns)
    residuals = filled - basis.columns @ solution.coefficients.T
    dof = (weights > 0).sum(axis=0) - solution.ranks[solution.group]
    return np.einsum("ij,ij->j", weights, residuals**2), dof.astype(np.float64)


def _weighed(values: npt.NDArray[np.float32], variances: npt.NDArray[np.float32]) -> tuple[Doubles, Doubles]:
    """Values and precisions, both 0 where not observed."""
    is_observed = ~np.isnan(values)
    weights = np.where(is_observed, 1 / np.where(is_observed, variances, 1.0).astype(np.float64), 0.0)
    return np.where(is_observed, values, 0.0).astype(np.float64), weights


def residual_variance(squares: Doubles, dof: Doubles, scale: Doubles) -> Doubles:
    """Divide residual sums of squares by dof; 0 where they are rounding errors (``scale``: Σy²)."""
    is_exact = squares <= EXACT_FIT * scale
    return np.where(is_exact | (dof < 1), 0.0, squares / np.maximum(dof, 1.0))


def _solve_by_pattern(
    filled: Doubles, patterns: Doubles, group: npt.NDArray[np.intp], columns: Doubles
) -> Solution:
    covariances, directions, ranks = _inverses(patterns, columns)
    coefficients = _apply(covariances, group, filled.T @ columns)
    return Solution(
        coefficients=coefficients, covariances=covariances, directions=directions, ranks=ranks, group=group
    )


def _patterns(is_observed: npt.NDArray[np.bool_]) -> tuple[Doubles, npt.NDArray[np.intp]]:
    """Distinct columns as rows of 0 and 1 ``(k, n_obs)``, and which of them each element has."""
    packed = np.ascontiguousarray(np.packbits(is_observed, axis=0).T)
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).reshape(-1)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return is_observed[:, first].T.astype(np.float64), group.reshape(-1)


def _inverses(patterns: Doubles, columns: Doubles) -> tuple[Doubles, Doubles, npt.NDArray[np.intp]]:
    """Invert X'X, find projectors on the row space of X, and ranks, X being the rows of each pattern."""
    batches = [
        _inverses_of(patterns[start : start + _PATTERNS_PER_BATCH, :, None] * columns)
        for start in range(0, len(patterns), _PATTERNS_PER_BATCH)
    ]
    covariances, directions, ranks = zip(*batches, strict=True)
    return np.concatenate(covariances), np.concatenate(directions), np.concatenate(ranks)


def _inverses_of(designs: Doubles) -> tuple[Doubles, Doubles, npt.NDArray[np.intp]]:
    """Work on designs ``(k, n_obs, p)``; their triangular factors have the same singular values."""
    triangles = np.linalg.qr(designs, mode="r")
    _, sizes, right = np.linalg.svd(triangles, full_matrices=False)
    exists = sizes > TOLERANCE * np.maximum(sizes[:, :1], np.finfo(np.float64).tiny)
    inverse_squares = np.where(exists, 1 / np.where(exists, sizes, 1.0) ** 2, 0.0)
    left = right.transpose(0, 2, 1)
    return (
        left @ (inverse_squares[:, :, None] * right),
        left @ (exists[:, :, None] * right),
        exists.sum(axis=1),
    )


def _apply(covariances: Doubles, group: npt.NDArray[np.intp], moments: Doubles) -> Doubles:
    return np.asarray(np.einsum("nij,nj->ni", covariances[group], moments))


def _solve_weighted(filled: Doubles, weights: Doubles, columns: Doubles) -> Solution:
    """Solve the normal equations of each element; weights are brought to a maximum of 1 first."""
    n_obs, rank = columns.shape
    largest = np.maximum(weights.max(axis=0), np.finfo(np.float64).tiny)
    relative = weights / largest
    products = (columns[:, :, None] * columns[:, None, :]).reshape(n_obs, rank * rank)
    normal = (relative.T @ products).reshape(-1, rank, rank)
    covariances, directions, ranks = _hermitian_inverses(normal)
    group = np.arange(filled.shape[1])
    coefficients = _apply(covariances, group, (relative * filled).T @ columns)
    residuals = relative * (filled - columns @ coefficients.T)
    coefficients += _apply(covariances, group, residuals.T @ columns)
    return Solution(
        coefficients=coefficients,
        covariances=covariances / largest[:, None, None],
        directions=directions,
        ranks=ranks,
        group=group,
    )


def _hermitian_inverses(normal: Doubles) -> tuple[Doubles, Doubles, npt.NDArray[np.intp]]:
    """As `_inverses`, from X'WX ``(k, p, p)``; its eigenvalues are squares of singular values."""
    sizes, vectors = np.linalg.eigh(normal)
    exists = sizes > 1e-13 * np.maximum(sizes[:, -1:], np.finfo(np.float64).tiny)
    inverse = np.where(exists, 1 / np.where(exists, sizes, 1.0), 0.0)
    right = vectors.transpose(0, 2, 1)
    return vectors @ (inverse[:, :, None] * right), vectors @ (exists[:, :, None] * right), exists.sum(axis=1)


def _estimate(
    basis: Basis,
    number: int,
    contrast: Contrast,
    solution: Solution,
    variance: Doubles,
    dof: Doubles,
    n_observed: Doubles,
    is_within: npt.NDArray[np.bool_] | None = None,
) -> Estimate:
    weights, directions = basis.weights[number], basis.directions[number]
    exists = _is_spanned(directions, solution.directions)
    compares_people = np.zeros_like(exists) if is_within is None else exists & ~is_within
    exists &= ~compares_people
    has_value = exists[solution.group]
    is_determined = has_value & (dof >= 1)
    is_estimable = is_determined & (variance > 0)
    own_spreads = np.einsum("qi,kij,qj->kq", weights, solution.covariances, weights)
    spread = np.where(has_value, own_spreads[solution.group].T, 0.0)
    statistic = np.zeros(variance.shape)
    here = np.flatnonzero(is_estimable)
    spreads = _spreads(directions, solution.covariances, exists)[solution.group[here]]
    effects = solution.coefficients[here] @ directions.T
    if contrast.test == "t":
        statistic[here] = effects[:, 0] / np.sqrt(spreads[:, 0, 0] * variance[here])
    else:
        solved = np.linalg.solve(spreads, effects[:, :, None])[:, :, 0]
        statistic[here] = (effects * solved).sum(axis=1) / (len(weights) * variance[here])
    return Estimate(
        effect=np.where(has_value, weights @ solution.coefficients.T, 0.0),
        variance=spread * variance,
        statistic=statistic,
        spread=spread,
        dof=dof,
        n_observed=n_observed,
        is_estimable=is_estimable,
        is_determined=is_determined,
        compares_people=compares_people[solution.group],
    )


def _is_within(
    directions: Doubles,
    covariances: Doubles,
    columns: Doubles,
    patterns: Doubles,
    subjects: npt.NDArray[np.intp],
) -> npt.NDArray[np.bool_]:
    """Say for each pattern whether a contrast's weights of the rows sum to zero over those of each person."""
    shares = (directions @ covariances @ columns.T) * patterns[:, None, :]
    sums = shares @ (subjects[:, None] == np.arange(subjects.max() + 1)).astype(np.float64)
    largest = np.abs(shares).max(axis=(1, 2))
    return np.asarray(np.abs(sums).max(axis=(1, 2)) <= _WITHIN * largest, dtype=np.bool_)


def _is_spanned(directions: Doubles, projectors: Doubles) -> npt.NDArray[np.bool_]:
    """Say for each projector on what exists, ``(k, rank, rank)``, whether it keeps all of a contrast."""
    lost = np.linalg.norm(directions - directions @ projectors, axis=2)
    return np.asarray((lost <= _ESTIMABLE).all(axis=1))


def _spreads(directions: Doubles, covariances: Doubles, exists: npt.NDArray[np.bool_]) -> Doubles:
    """Covariances of a contrast's directions ``(k, q, q)``; the identity where it does not exist."""
    spreads = directions @ covariances @ directions.T
    return np.asarray(np.where(exists[:, None, None], spreads, np.eye(len(directions))))
