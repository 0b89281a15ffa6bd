"""The marginal model: least squares, whose variance comes from the residuals of clusters of rows.

Rows of a cluster (a person's visits, a family, a site) may be alike in any way; clusters are independent.
Weights and degrees of freedom are those of `bids_group.robust_variance` (clubSandwich's in R), or of the
homogeneous form (`Homogeneous`), and the same at every element where the same rows are observed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.compiled import compiled
from bids_group.errors import DataError
from bids_group.model.fitting.homogeneous import Homogeneous, factors_between, name_cells
from bids_group.model.fitting.least_squares import (
    EXACT_FIT,
    Basis,
    Codes,
    Doubles,
    Estimate,
    TileFit,
    basis_of,
    orthonormal_basis,
    statistic,
)
from bids_group.records import Contrast, Design, GroupData, Notice, number_clusters, warn
from bids_group.robust_variance import has_weights, robust_weights
from bids_group.row_space import NO_DOF, RowSpace, group_by_pattern
from bids_group.words import counted
from bids_group.work_files import read_columns

_MOST_LOST = 0.5
"""Share of a contrast's variance in clusters that the model fits exactly, above which there is no test."""

_FEW_CLUSTERS, _FEW_DOF, _NO_SHARE = 8, 4, 1e-6
_WIDTH = 256

_LOST_HERE = (
    "sandwich",
    "At {} the model fits whole clusters exactly, such as the only one of a group that is observed there: "
    "the sandwich does not count their variance, and p of what depends on them is too small.",
    "Raise --min-coverage, or merge groups of few clusters.",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clustered:
    """Covariances by CR0 … CR3: ``rows`` ``(n_obs, Σq)`` weigh the residuals, in the ``order`` of clusters.

    Cluster i has the rows ``order[starts[i]:starts[i + 1]]``; ``parts`` are the columns of each contrast,
    ``moments`` its η, ``lost`` the share of its variance in clusters that the model fits exactly.
    """

    order: Codes
    starts: Codes
    rows: Doubles
    parts: tuple[slice, ...]
    moments: tuple[float, ...]
    lost: tuple[float, ...]

    @classmethod
    def prepare(cls, basis: Basis, clusters: Codes, variant: str) -> Clustered:
        """Weigh the residuals for every contrast of a basis; clusters are numbered from 0 without gaps."""
        made = robust_weights(basis.columns, basis.directions, clusters, variant)
        ends = np.cumsum([0, *(one.rows.shape[1] for one in made)])
        return cls(
            order=np.argsort(clusters, kind="stable"),
            starts=np.r_[0, np.cumsum(np.bincount(clusters))],
            rows=np.column_stack([one.rows for one in made]),
            parts=tuple(slice(*pair) for pair in pairwise(ends)),
            moments=tuple(one.moment for one in made),
            lost=tuple(one.lost for one in made),
        )

    def of(self, residuals: Doubles) -> list[Doubles]:
        """Give each contrast's covariance ``(n, q, q)`` in its directions, from residuals ``(n_obs, n)``."""
        places = [
            (left, right)
            for part in self.parts
            for left in range(part.start, part.stop)
            for right in range(part.start, left + 1)
        ]
        sums, done, found = np.empty((len(places), residuals.shape[1])), 0, []
        _add_up(residuals, self.order, self.starts, self.rows, np.array(places), sums)
        for part in self.parts:
            q = part.stop - part.start
            lower = np.tril_indices(q)
            covariance = np.empty((q, q, residuals.shape[1]))
            covariance[lower] = sums[done : done + len(lower[0])]
            covariance[lower[::-1]] = covariance[lower]
            found.append(covariance.transpose(2, 0, 1))
            done += len(lower[0])
        return found


Covariances = Clustered | Homogeneous
Robust = Callable[[Basis, npt.NDArray[np.bool_]], Covariances]


@compiled()
def _add_up(
    residuals: Doubles, order: Codes, starts: Codes, rows: Doubles, places: Codes, sums: Doubles
) -> None:
    """Fill ``sums`` ``(n_places, n)`` with Σ_i u_il u_ir for each place (l, r), u_ic = Σ_j a_jc e_j."""
    n_rows, n = rows.shape[1], residuals.shape[1]
    own = np.empty((n_rows, _WIDTH))
    for first in range(0, n, _WIDTH):
        width = min(_WIDTH, n - first)
        sums[:, first : first + width] = 0.0
        for cluster in range(starts.size - 1):
            own[:] = 0.0
            for place in range(starts[cluster], starts[cluster + 1]):
                row = order[place]
                for c in range(n_rows):
                    weight = rows[row, c]
                    for v in range(width):
                        own[c, v] += weight * residuals[row, first + v]
            for pair in range(places.shape[0]):
                left, right = places[pair, 0], places[pair, 1]
                for v in range(width):
                    sums[pair, first + v] += own[left, v] * own[right, v]


def prepare(data: GroupData) -> Callable[[slice], TileFit]:
    """Choose how tiles are fitted: all rows, or at each element those observed there.

    t = cβ / √v on Satterthwaite's degrees of freedom η; F of q rows as HTZ (Pustejovsky & Tipton 2018):
    (η − q + 1)/(η q) · (Cβ)'V⁻¹(Cβ) on q and η − q + 1. η is one number for all elements with the same rows.
    """
    basis, maps = orthonormal_basis(data.design), data.stack.data
    tests = [contrast.test for contrast in data.design.contrasts]
    robust = _robust(data.design, data.clusters, data.estimator.variant, data.visits, data.variance_groups)
    if data.is_complete:
        covariances = robust(basis, np.ones(len(basis.columns), dtype=bool))

        def fit(values: npt.NDArray[np.float32]) -> list[Sums]:
            return _sum_up(values, basis, covariances)
    else:

        def fit(values: npt.NDArray[np.float32]) -> list[Sums]:
            return _sum_up_patterns(values, basis, robust)

    def estimate(tile: slice) -> TileFit:
        made = fit(read_columns(maps, tile))
        estimates = [_estimate(sums, test) for sums, test in zip(made, tests, strict=True)]
        if data.is_complete:
            return TileFit(estimates)
        pairs = zip(estimates, made, strict=True)
        is_lost = [one.is_estimable & (sums.lost > _NO_SHARE) for one, sums in pairs]
        return TileFit(estimates, counts={_LOST_HERE: int(np.logical_or.reduce(is_lost).sum())})

    return estimate


def _robust(
    design: Design, clusters: Codes, variant: str, visits: pd.Series | None, groups: pd.Series | None
) -> Robust:
    """Give what prepares covariances for the rows observed, in their basis."""
    if has_weights(variant):
        return lambda basis, rows: Clustered.prepare(
            basis, np.unique(clusters[rows], return_inverse=True)[1], variant
        )
    of_visit, of_group = name_cells(design, clusters, visits, groups)
    return lambda basis, rows: Homogeneous.prepare(
        basis, *(np.unique(codes[rows], return_inverse=True)[1] for codes in (clusters, of_visit, of_group))
    )


class Sums(NamedTuple):
    """A contrast at n elements: effects along its orthonormal directions ``(n, q)``, and their covariance.

    ``covariance``: ``(n, q, q)``; ``to_effects`` ``(n, q, q)`` leads to effects in the units of the design;
    ``spread`` ``(n, q)`` as in `Estimate`; by element Σy² (``scale``), η (``moment``), ``lost`` share and
    number of rows observed. All are 0 where the rows observed do not determine the contrast.
    """

    effects: Doubles
    covariance: Doubles
    to_effects: Doubles
    spread: Doubles
    scale: Doubles
    moment: Doubles
    lost: Doubles
    n_observed: Doubles


def _sum_up(values: npt.NDArray[np.float32], basis: Basis, robust: Covariances) -> list[Sums]:
    """Fit elements at which the rows of a basis are observed, ``values`` ``(n_obs, n)``."""
    residuals = values.astype(np.float64)
    scale = np.einsum("ij,ij->j", residuals, residuals)
    coefficients = basis.columns.T @ residuals
    residuals -= basis.columns @ coefficients
    n_obs, n = values.shape
    made = zip(
        basis.weights, basis.directions, robust.of(residuals), robust.moments, robust.lost, strict=True
    )
    return [
        Sums(
            effects=coefficients.T @ directions.T,
            covariance=covariance,
            to_effects=np.broadcast_to(weights @ directions.T, covariance.shape),
            spread=np.broadcast_to((weights**2).sum(axis=1), (n, len(weights))),
            scale=scale,
            moment=np.full(n, moment),
            lost=np.full(n, lost),
            n_observed=np.full(n, float(n_obs)),
        )
        for weights, directions, covariance, moment, lost in made
    ]


def _sum_up_patterns(values: npt.NDArray[np.float32], basis: Basis, robust: Robust) -> list[Sums]:
    """Fit elements in groups that have the same rows observed; clusters are what is left of them."""
    patterns, group = group_by_pattern(~np.isnan(values))
    order = np.argsort(group, kind="stable")
    pieces = np.split(order, np.cumsum(np.bincount(group, minlength=len(patterns)))[:-1])
    found = []
    for pattern, here in zip(patterns > 0, pieces, strict=True):
        found.append(_sum_up_observed(values[np.ix_(pattern, here)], basis, robust, pattern))
    back = np.argsort(order, kind="stable")
    joined = []
    for pieces_of_contrast in zip(*found, strict=True):
        columns = zip(*pieces_of_contrast, strict=True)
        joined.append(Sums(*(np.concatenate(column)[back] for column in columns)))
    return joined


def _sum_up_observed(
    values: npt.NDArray[np.float32], basis: Basis, robust: Robust, pattern: npt.NDArray[np.bool_]
) -> list[Sums]:
    """Fit the rows observed; contrasts that these do not determine are zeros."""
    (n_obs, n), space = values.shape, RowSpace.of(basis.columns[pattern])
    kept = [number for number, rows in enumerate(basis.weights) if space.is_estimable(rows).all()]
    found = [_nothing(len(rows), n, n_obs) for rows in basis.weights]
    if kept and space.rank < n_obs:
        own = basis_of(space, [basis.weights[number] for number in kept])
        for number, sums in zip(kept, _sum_up(values, own, robust(own, pattern)), strict=True):
            found[number] = sums
    return found


def _nothing(q: int, n: int, n_obs: int) -> Sums:
    none, square, zeros = np.zeros((n, q)), np.zeros((n, q, q)), np.zeros(n)
    return Sums(none, square, square, none, zeros, zeros, zeros, np.full(n, float(n_obs)))


def _estimate(sums: Sums, test: str) -> Estimate:
    """Estimate and test a contrast."""
    (n, q), covariance = sums.effects.shape, sums.covariance
    dof = sums.moment - q + 1
    is_determined = (dof > NO_DOF) & (sums.lost <= _MOST_LOST)
    sizes = np.linalg.eigvalsh(covariance) if q > 1 else covariance[:, 0]
    is_exact = sizes[:, -1] <= EXACT_FIT * sums.scale / sums.n_observed
    is_estimable = is_determined & ~is_exact & (sizes[:, 0] > 1e-13 * sizes[:, -1])
    variance = np.einsum("nrs,nst,nrt->rn", sums.to_effects, covariance, sums.to_effects)
    factor = dof / np.where(sums.moment > 0, sums.moment, 1.0) if test == "F" else 1.0
    found = statistic(test, sums.effects, np.eye(q), covariance, np.ones(n), is_estimable)
    return Estimate(
        effect=np.einsum("nrs,ns->rn", sums.to_effects, sums.effects),
        variance=np.where(is_estimable, variance, 0.0),
        statistic=found * factor,
        spread=sums.spread.T,
        dof=np.where(is_determined, dof, 0.0),
        n_observed=sums.n_observed,
        is_estimable=is_estimable,
        is_determined=is_determined,
        compares_people=np.zeros(n, dtype=bool),
    )


def check_clusters(
    design: Design,
    variant: str,
    blocks: pd.Series | None,
    *,
    visits: pd.Series | None = None,
    variance_groups: pd.Series | None = None,
) -> tuple[Notice, ...]:
    """Say before maps are read which contrasts the sandwich cannot test, and where it is liberal.

    Parameters
    ----------
    variant
        ``CR0`` … ``CR3`` or ``homogeneous``.
    blocks
        Cluster of each row (index = observation labels); None where each row is one.
    visits, variance_groups
        Session and variance group of each row, for the homogeneous form; None where there are none.

    Raises
    ------
    DataError
        A contrast has too few degrees of freedom, or rests on clusters that the model fits exactly; or the
        homogeneous form lacks visits or groups.
    """
    clusters, basis = number_clusters(blocks, design.matrix.index), orthonormal_basis(design)
    robust = _robust(design, clusters, variant, visits, variance_groups)
    made = robust(basis, np.ones(len(clusters), dtype=bool))
    notices = _tell_few_clusters(design, clusters, "rows" if blocks is None else f"'{blocks.name}'")
    for contrast, moment, lost in zip(design.contrasts, made.moments, made.lost, strict=True):
        notices += _check_contrast(contrast, moment, lost, int(clusters.max()) + 1)
    return tuple(notices)


def _check_contrast(contrast: Contrast, moment: float, lost: float, n_clusters: int) -> list[Notice]:
    """Refuse a contrast that cannot be tested; warn of one whose test holds badly."""
    q = len(np.atleast_2d(contrast.weights))
    if lost > _MOST_LOST:
        raise DataError(
            f"The sandwich has no variance for the contrast '{contrast.name}'.",
            found=f"the model fits exactly the clusters that make up {lost:.0%} of what is tested",
            expected="clusters whose residuals show how much they differ",
            fix="Leave out of the formula what tells single clusters apart (such as subject), or merge "
            "groups of a single cluster.",
        )
    if moment - q + 1 <= NO_DOF:
        raise DataError(
            f"There are too few clusters for the contrast '{contrast.name}' by the sandwich.",
            found=f"{counted(n_clusters, 'cluster')}, which determine their variances on η = {moment:.3g} "
            "degrees of freedom",
            expected=f"more than {q - 1} for {counted(q, 'row')} tested together",
            fix="Test fewer rows together, use smaller clusters, or a random term: (1 | subject).",
        )
    notices = []
    if lost > _NO_SHARE:
        sentence = (
            f"The model fits exactly the clusters that make up {lost:.0%} of what '{contrast.name}' tests: "
            "the sandwich does not count their variance, and p is too small."
        )
        notices.append(warn("sandwich", sentence, "Merge or leave out groups of a single cluster."))
    if moment - q + 1 < _FEW_DOF:
        sentence = (
            f"'{contrast.name}' has {moment - q + 1:.2g} degrees of freedom by the sandwich: with fewer than "
            f"{_FEW_DOF} its p are rough, below 0.01 above all."
        )
        notices.append(warn("sandwich", sentence, "Include more clusters, or report shuffling alone."))
    return notices


def _tell_few_clusters(design: Design, clusters: Codes, name: str) -> list[Notice]:
    """Warn where there are fewer than eight clusters in all, or at a level of a factor between clusters."""
    counts = {"in all": int(clusters.max()) + 1}
    for factor, values in factors_between(design, clusters).items():
        n_by_level = pd.Series(clusters).groupby(values.astype(str).to_numpy()).nunique()
        counts |= {f"with {factor} {level}": int(n) for level, n in n_by_level.items()}
    few = [f"{n} {where}" for where, n in counts.items() if n < _FEW_CLUSTERS]
    if not few:
        return []
    sentence = (
        f"The sandwich takes its variance from clusters ({name}), and there are few: {', '.join(few)}. With "
        f"fewer than {_FEW_CLUSTERS} in a group it is liberal: p are too small."
    )
    return [
        warn("sandwich", sentence, "Judge by shuffling (--correction fwe-voxel), or take smaller clusters.")
    ]
