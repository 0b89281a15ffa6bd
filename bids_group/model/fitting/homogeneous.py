"""The homogeneous form of the sandwich: one covariance of the visits for all clusters of a group (SwE).

Guillaume et al. 2014 (doi:10.1016/j.neuroimage.2014.03.029), as the toolbox SwE does it. With residuals
adjusted to e/√(1 − h), h the leverage of their row (its "C2"), the covariance of two visits in a group is
the mean product over the clusters that have both. Where some lack one of the two, it is their correlation,
scaled by the variances of all clusters that have either; negative eigenvalues become 0. Degrees of freedom
are Satterthwaite's and those of HTZ for rows that are independent and of one variance, as for the other
forms (SwE offers ones estimated at each element instead).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_group.errors import DataError
from bids_group.model.fitting.least_squares import Basis, Codes, Doubles
from bids_group.records import Design
from bids_group.robust_variance import EXACT, NO_VARIANCE
from bids_group.words import list_some


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """Two visits of a group (perhaps the same), and the rows of clusters that have both, ``(n,)`` each."""

    group: int
    visits: tuple[int, int]
    left: Codes
    right: Codes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Homogeneous:
    """Covariances by visit and group: ``scale`` ``(n_obs,)`` adjusts residuals, means are over ``pairs``.

    ``shares``: of each contrast ``(q, q, n_pairs)``, the sums of products of its rows' weights over a pair.
    """

    scale: Doubles
    pairs: tuple[Pair, ...]
    shares: tuple[Doubles, ...]
    moments: tuple[float, ...]
    lost: tuple[float, ...]

    @classmethod
    def prepare(cls, basis: Basis, clusters: Codes, visits: Codes, groups: Codes) -> Homogeneous:
        """Find the pairs, and what they add to the covariance of each contrast of a basis."""
        gaps = 1 - (basis.columns**2).sum(axis=1)
        is_exact = gaps <= EXACT
        scale = np.where(is_exact, 0.0, np.where(is_exact, 1.0, gaps) ** -0.5)
        pairs, shares, moments, lost = _pairs(clusters, visits, groups), [], [], []
        for directions in basis.directions:
            weights = basis.columns @ directions.T
            own = np.stack([_share(weights, pair) for pair in pairs], axis=-1)
            shares.append(own)
            moments.append(_moment(basis.columns, scale, pairs, own))
            lost.append(float((weights[is_exact] ** 2).sum()) / len(directions))
        return cls(
            scale=scale, pairs=pairs, shares=tuple(shares), moments=tuple(moments), lost=tuple(lost)
        )  # fmt: skip

    def of(self, residuals: Doubles) -> list[Doubles]:
        """Give each contrast's covariance ``(n, q, q)`` in its directions, from residuals ``(n_obs, n)``."""
        adjusted = residuals * self.scale[:, None]
        found = _covariances(adjusted, self.pairs)
        return [np.asarray((share @ found).transpose(2, 0, 1)) for share in self.shares]


def _pairs(clusters: Codes, visits: Codes, groups: Codes) -> tuple[Pair, ...]:
    """All pairs of visits that some cluster of a group has, each visit with itself first."""
    found = []
    for group in range(int(groups.max()) + 1):
        members = np.flatnonzero(groups == group)
        table = np.full((int(clusters.max()) + 1, int(visits.max()) + 1), -1)
        table[clusters[members], visits[members]] = members
        n_visits = table.shape[1]
        visits_of_pairs = [(one, one) for one in range(n_visits)]
        visits_of_pairs += [(left, right) for left in range(n_visits) for right in range(left)]
        for left, right in visits_of_pairs:
            both = (table[:, left] >= 0) & (table[:, right] >= 0)
            if both.any():
                pair = Pair(
                    group=group, visits=(left, right), left=table[both, left], right=table[both, right]
                )
                found.append(pair)
    return tuple(found)


def _share(weights: Doubles, pair: Pair) -> Doubles:
    """Sum the products of weights ``(n_obs, q)`` over the clusters of a pair of visits, ``(q, q)``."""
    products = weights[pair.left].T @ weights[pair.right]
    return products if pair.visits[0] == pair.visits[1] else products + products.T


def _covariances(adjusted: Doubles, pairs: tuple[Pair, ...]) -> Doubles:
    """Covariance of each pair of visits ``(n_pairs, n)`` from the adjusted residuals."""
    found = np.empty((len(pairs), adjusted.shape[1]))
    places = {(pair.group, *pair.visits): number for number, pair in enumerate(pairs)}
    is_patchy = set()
    for number, pair in enumerate(pairs):
        left, right = adjusted[pair.left], adjusted[pair.right]
        found[number] = np.einsum("ij,ij->j", left, right) / len(left)
        own = [places[pair.group, visit, visit] for visit in pair.visits]
        if any(len(pairs[one].left) > len(left) for one in own):
            is_patchy.add(pair.group)
            here = np.einsum("ij,ij->j", left, left) * np.einsum("ij,ij->j", right, right)
            expected = np.sqrt(found[own[0]] * found[own[1]]) * len(left)
            found[number] *= np.where(here > 0, expected / np.sqrt(np.where(here > 0, here, 1.0)), 0.0)
    for group in is_patchy:
        _raise_to_zero(found, group, places)
    return found


def _raise_to_zero(found: Doubles, group: int, places: dict[tuple[int, int, int], int]) -> None:
    """Replace negative eigenvalues of a group's covariance of the visits by 0, in place."""
    known = sorted({visit for own, visit, _ in places if own == group})
    n_visits = len(known)
    whole = np.zeros((found.shape[1], n_visits, n_visits))
    pairs = itertools.combinations_with_replacement(range(n_visits), 2)
    cells = [(i, j, places.get((group, known[i], known[j]))) for j, i in pairs]
    for i, j, number in cells:
        if number is not None:
            whole[:, i, j] = whole[:, j, i] = found[number]
    bad = np.flatnonzero(np.linalg.eigvalsh(whole)[:, 0] < 0)
    sizes, vectors = np.linalg.eigh(whole[bad])
    raised = (vectors * np.maximum(sizes, 0.0)[:, None, :]) @ vectors.transpose(0, 2, 1)
    for i, j, number in cells:
        if number is not None:
            found[number, bad] = raised[:, i, j]


def _moment(columns: Doubles, scale: Doubles, pairs: tuple[Pair, ...], shares: Doubles) -> float:
    """η = q(q + 1)/Σ_st Var(S_st), each S_st a quadratic form e'M_st e of residuals; M has blocks by cluster.

    With R = I − UU', E S_st = tr(R M_st), brought to the identity first, and Var S_st = 2 tr(R M_st R M_st).
    """
    q, rank = len(shares), columns.shape[1]
    left, right = (np.concatenate([getattr(pair, side) for pair in pairs]) for side in ("left", "right"))
    which = np.repeat(np.arange(len(pairs)), [len(pair.left) for pair in pairs])
    is_twice = np.array([pair.visits[0] != pair.visits[1] for pair in pairs])[which]
    n_own = np.array([len(pair.left) for pair in pairs])
    entries = (shares / n_own)[:, :, which] * (scale[left] * scale[right] * np.where(is_twice, 0.5, 1.0))
    rows = np.concatenate([left, right[is_twice]])  # both halves of each symmetric block
    others = np.concatenate([right, left[is_twice]])
    entries = np.concatenate([entries, entries[:, :, is_twice]], axis=2)

    def times(values: Doubles) -> Doubles:
        """M U for every s and t: ``(q, q, n_obs, rank)``."""
        made = np.zeros((q, q, *values.shape))
        for s in range(q):
            for t in range(q):
                np.add.at(made[s, t], rows, entries[s, t][:, None] * values[others])
        return made

    fitted = times(columns)
    inner = np.einsum("ni,stnj->stij", columns, fitted)
    trace = np.where(rows == others, entries, 0.0).sum(axis=2) - np.einsum("stii->st", inner)
    sizes, vectors = np.linalg.eigh(trace)
    if sizes[0] <= NO_VARIANCE:
        return 0.0
    half = vectors / np.sqrt(sizes)

    def scaled(values: Doubles) -> Doubles:
        return np.asarray(np.einsum("su,st...,tv->uv...", half, values, half))

    entries, fitted, inner = scaled(entries), scaled(fitted), scaled(inner)
    total = 2 * ((entries**2).sum() - 2 * (fitted**2).sum() + (inner**2).sum())
    return float(q * (q + 1) / total) if rank else 0.0


def name_cells(
    design: Design, clusters: Codes, visits: pd.Series | None, variance_groups: pd.Series | None
) -> tuple[Codes, Codes]:
    """Give the numbers of the visit and of the group of each row.

    Visits are sessions; groups those of ``variance_groups``, else the cells of the factors of the design that
    are constant within clusters.
    """
    index = design.matrix.index
    of_rows = np.zeros(len(index), dtype=np.intp)
    if visits is not None:  # rows without a session are a visit too
        of_rows = pd.factorize(visits.reindex(index), sort=True, use_na_sentinel=False)[0]
    cells = pd.DataFrame({"cluster": clusters, "visit": of_rows}, index=index)
    twice = cells.duplicated()
    if twice.any():
        raise DataError(
            "--sandwich homogeneous needs one row for each visit of a cluster.",
            found=f"{list_some(index[twice], 3)}: another row of the same cluster and session",
            expected="clusters of rows that differ in session",
            fix="Use --sandwich CR2, or leave out --exchangeability-blocks: the clusters are people then.",
        )
    if variance_groups is not None:
        names = variance_groups.reindex(index).astype(str)
    else:
        factors = factors_between(design, clusters)
        names = factors.astype(str).agg(" ".join, axis=1) if len(factors.columns) else pd.Series("", index)
    groups = pd.factorize(names, sort=True)[0]
    _check_groups(names, clusters, groups)
    return of_rows, groups


def factors_between(design: Design, clusters: Codes) -> pd.DataFrame:
    """Factors of the formula that are constant within clusters, and do not tell every cluster apart.

    Numbers of two values are a factor too: the design is the same, however its levels are written.
    """
    n_clusters, kept = int(clusters.max()) + 1, {}
    coded = {
        name for cell in design.details.get("n_per_cell") or () for name in cell if name != "n"
    }  # C(code) of numbers
    for name, values in design.variables.items():
        is_number = pd.api.types.is_numeric_dtype(values) and name not in coded and values.nunique() > 2
        if is_number or values.isna().any():
            continue
        is_between = values.astype(str).groupby(clusters).nunique().max() == 1
        if is_between and values.nunique() < n_clusters:
            kept[name] = values
    return pd.DataFrame(kept, index=design.variables.index)


def _check_groups(names: pd.Series, clusters: Codes, groups: Codes) -> None:
    """Refuse groups that share a cluster, or that have only one."""
    n_groups = pd.Series(groups).groupby(clusters).nunique()
    if n_groups.max() > 1:
        raise DataError(
            "--sandwich homogeneous needs groups that keep the rows of a cluster together.",
            found=f"{int((n_groups > 1).sum())} clusters with rows of several groups",
            fix="Name a column that is constant within clusters (--variance-groups), or use --sandwich CR2.",
        )
    sizes = pd.Series(clusters).groupby(names.to_numpy()).nunique()
    if sizes.min() < 2:
        alone = [f"'{name}'" for name in sizes.index[sizes < 2]]
        raise DataError(
            "--sandwich homogeneous needs several clusters in each group, whose covariance it averages.",
            found=f"one cluster in {list_some(alone, 3)}",
            fix="Name larger groups (--variance-groups), or use --sandwich CR2.",
        )
