"""The variance of a contrast by clusters of rows: weights of the residuals, and degrees of freedom.

With U an orthonormal basis of the design's columns and l the direction of a contrast in it, clusters i of
rows have ``var(l'θ) = Σ_i (a_i'e_i)²``, ``a_i = A_i U_i l``, e the least-squares residuals (Liang & Zeger
1986). A_i adjusts for residuals being smaller than errors, with H = UU': CR0 not at all, CR1 by √(m/(m − 1))
for m clusters, CR2 by (I − H_ii)^-½ (Bell & McCaffrey 2002: unbiased where rows are independent and of one
variance), CR3 by (I − H_ii)^-1 (about the jackknife). Where a cluster is fitted exactly the
inverse is the generalised one.

Weights and degrees of freedom (Pustejovsky & Tipton 2018, doi:10.1080/07350015.2016.1247004) depend on the
design alone: they are the same at all elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

EXACT = 1e-12
"""Share of a direction that a cluster's own residuals keep, below which the model fits it exactly."""

_POWERS = {"CR0": 0.0, "CR1": 0.0, "CR2": -0.5, "CR3": -1.0}
NO_VARIANCE = 1e-10
"""Smallest eigenvalue of a covariance at or below which some direction has no variance."""
_VALUES_AT_ONCE = 2**22


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RobustWeights:
    """Weights that make the covariance of a contrast's directions from residuals: Σ_i (a_i'e_i)(a_i'e_i)'.

    ``rows``: a, ``(n_obs, q)``. ``moment``: η, the degrees of freedom of the Wishart distribution with the
    same mean and total variance, if rows were independent and of one variance (0 where a direction has no
    variance at all). ``lost``: share of the contrast's variance that lies in clusters which the model fits
    exactly, and which is not counted.
    """

    rows: Array
    moment: float
    lost: float


def robust_weights(
    columns: Array, contrasts: Sequence[Array], clusters: Codes, variant: str
) -> list[RobustWeights]:
    """Weigh the residuals of rows for the variance of each contrast by clusters.

    Parameters
    ----------
    columns
        Orthonormal basis of the design's columns, ``(n_obs, rank)``.
    contrasts
        Of each the orthonormal rows that span it in that basis, ``(q, rank)``.
    clusters
        Number of the cluster of each row, ``(n_obs,)``, from 0 without gaps.
    variant
        ``CR0``, ``CR1``, ``CR2`` or ``CR3``.
    """
    directions, (n_obs, rank), m = np.concatenate(contrasts).T, columns.shape, int(clusters.max()) + 1
    n_all = directions.shape[1]
    rows, own, loads = np.zeros((n_obs, n_all)), np.empty((m, n_all, n_all)), np.empty((m, n_all, rank))
    lost, factor = np.zeros(n_all), np.sqrt(m / max(m - 1, 1)) if variant == "CR1" else 1.0
    for which, members in _by_size(clusters):
        U = columns[members]  # (k, size, rank); H = left · sizes · left', or left · left' where rows are many
        if members.shape[1] <= rank:
            sizes, left = np.linalg.eigh(U @ U.transpose(0, 2, 1))
            inside, shares = left.transpose(0, 2, 1) @ (U @ directions), np.ones(sizes.shape)
        else:
            sizes, right = np.linalg.eigh(U.transpose(0, 2, 1) @ U)
            left, inside, shares = U @ right, right.transpose(0, 2, 1) @ directions, sizes
        gaps = np.maximum(1 - sizes, 0.0)
        is_exact = gaps <= EXACT
        adjusted = np.where(is_exact, 0.0, factor * np.where(is_exact, 1.0, gaps) ** _POWERS[variant])
        lost += ((shares * is_exact)[:, :, None] * inside**2).sum(axis=(0, 1))
        weights = left @ (adjusted[:, :, None] * inside)
        rows[members], loads[which] = weights, weights.transpose(0, 2, 1) @ U
        own[which] = inside.transpose(0, 2, 1) @ ((adjusted**2 * gaps * shares)[:, :, None] * inside)
    found, start = [], 0
    for contrast in contrasts:
        part = slice(start, start + len(contrast))
        moment = _moment(own[:, part, part], loads[:, part])
        found.append(RobustWeights(rows=rows[:, part], moment=moment, lost=float(lost[part].mean())))
        start = part.stop
    return found


def has_weights(variant: str) -> bool:
    """Whether a variant weighs the residuals of rows (the homogeneous form does not)."""
    return variant in _POWERS


def _by_size(clusters: Codes) -> Iterator[tuple[Codes, Codes]]:
    """Yield the clusters of one size after the other, and their rows, ``(k,)`` and ``(k, size)``."""
    sizes, order = np.bincount(clusters), np.argsort(clusters, kind="stable")
    for size in np.unique(sizes):
        members = order[sizes[clusters[order]] == size].reshape(-1, size)
        yield clusters[members[:, 0]], members


def _moment(own: Array, loads: Array) -> float:
    """Match a Wishart matrix to the total variance of Σ_i u_i u_i' with u = a'e: η = q(q + 1)/total.

    With rows independent and of one variance the covariance of u_i and u_j is ``P_ij = −b_i b_j'``, b_i of
    ``loads`` ``(m, q, rank)``, and ``P_ii`` of ``own`` ``(m, q, q)``; all are first scaled so that Σ P_ii =
    I. The total is Σ_ij (tr P_ij)² + tr(P_ij P_ij). For q = 1 η is Satterthwaite's (Σ P_ii)²/Σ P_ij².
    """
    m, q, rank = loads.shape
    sizes, vectors = np.linalg.eigh(own.sum(axis=0))
    if m < 2 or sizes[0] <= NO_VARIANCE:
        return 0.0
    half = vectors / np.sqrt(sizes)
    own, loads = half.T @ own @ half, half.T @ loads
    total, step = 0.0, max(1, _VALUES_AT_ONCE // (m * q * q))
    for start in range(0, m, step):
        block = loads[start : start + step]
        here = np.arange(len(block))
        products = (block.reshape(-1, rank) @ loads.reshape(-1, rank).T).reshape(len(block), q, m, q)
        products[here, :, start + here, :] = own[start : start + step]
        traces = np.einsum("iqjq->ij", products)
        crossed = products.transpose(0, 3, 2, 1) if q > 1 else products
        total += float(np.einsum("ij,ij->", traces, traces) + np.einsum("iqjr,iqjr->", products, crossed))
    return float(q * (q + 1) / total)
