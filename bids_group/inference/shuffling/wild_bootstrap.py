"""The wild cluster bootstrap: t and F by clusters of rows (the sandwich) of residuals with other signs.

Cameron, Gelbach & Miller 2008 (doi:10.1162/rest.90.3.414), restricted: the residuals of the nuisance part,
each cluster i with a sign s_i. With U an orthonormal basis of the design, tested directions first, and a the
weights of `robust_weights`, clusters have z_i = U_i'e_i, u_i = a_i'e_i and g_i = a_i'U_i, and a draw has
``θ = Σ s_i z_i`` and the covariance ``Σ u_i u_i' − Σ s_i (u_i (g_i θ)' + (g_i θ) u_i') + Σ (g_i θ)(g_i θ)'``
of its tested part. Of each pair of tested directions that is ``Σ u u − θ'h`` with
``h = Σ s_i (u g + g u − Γ z_i)``, Γ = Σ g_i'g_i: θ and h are sums over clusters only, whose residuals are
weighed once for all draws of a batch at a tile.

Values are the partial correlations that have these t or F on their degrees of freedom, as those of
`PooledVariance`: R² = Q/(Q + η) with Q the tested part of θ squared in units of its covariance. Sums by signs
are looked up in tables (`sum_by_signs`): these need more products than a shuffle of least squares does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled
from bids_group.inference.shuffling.partition import TILE, Codes, Doubles, Partition, Single
from bids_group.inference.shuffling.pooled_variance import LARGEST, PooledVariance
from bids_group.inference.shuffling.shuffles import Batch
from bids_group.robust_variance import robust_weights

_DEPENDS = 1e-7
"""Share of the covariance below which it does not depend on a nuisance direction."""

_TINY, _WIDTH = 1e-30, 256
_WORTH_TABLES, _TABLES, _TOGETHER = 64, 6, 5
"""Draws from which on tables of sums are worth making, tables that are read at once, clusters of a table."""

_SMALLEST_SHARE = 1e-6
"""Variance of a draw, relative to Σ u_i², below which it counts as this much."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WildBootstrap(PooledVariance):
    """R of t or F by clusters. ``columns`` ``(n_obs, n_products + q)``: what weighs the residuals of a row in
    z (tested directions first), in h of each pair of tested directions, and in u.

    Cluster i has the rows ``order[starts[i]:starts[i + 1]]``.
    """  # noqa: D205

    order: Codes
    starts: Codes
    moment: float

    @classmethod
    def of(
        cls, split: Partition, clusters: Codes, variant: str, test: str, *, is_two_sided: bool
    ) -> WildBootstrap:
        """Prepare a contrast; clusters are numbered from 0 without gaps."""
        q, whole = split.q, np.column_stack([split.tested, split.nuisance])
        (weights,) = robust_weights(whole, [np.eye(q, whole.shape[1])], clusters, variant)
        order, starts = _order_by(clusters)
        loads = _loads(weights.rows, whole, order, starts)
        of_nuisance = loads[:, :, q:].reshape(loads.shape[0] * q, -1)
        _, sizes, directions = np.linalg.svd(of_nuisance, full_matrices=False)
        needed = directions[sizes > _DEPENDS * np.linalg.norm(loads)].T
        loads = np.concatenate([loads[:, :, :q], loads[:, :, q:] @ needed], axis=2)
        directions = np.column_stack([split.tested, split.nuisance @ needed])
        return cls(
            name=test,
            columns=_columns(directions, weights.rows, loads, clusters),
            is_two_sided=is_two_sided and test == "t",
            q=q,
            dof=weights.moment - q + 1,
            moment=weights.moment,
            order=order,
            starts=starts,
        )

    @property
    def n_pairs(self) -> int:
        """Pairs of tested directions."""
        return self.q * (self.q + 1) // 2

    @property
    def n_products(self) -> int:
        """θ, and what the covariance of each pair needs."""
        return int(self.columns.shape[1] - self.q)

    def make_room(self) -> tuple[Single, ...]:
        """Room for sums over clusters, and for those of the unshuffled data."""
        spread = np.empty((self.n_products, len(self.starts) - 1, TILE), np.float32)
        return spread, np.empty((self.n_pairs, TILE), np.float32)

    def weigh(self, batch: Batch, n_shuffles: int) -> Single:
        """Signs of the clusters, ``(n_shuffles, n_clusters)``."""
        signs = np.zeros((n_shuffles, len(self.starts) - 1), np.float32)
        signs[: len(batch.signs)] = batch.signs[:, self.order[self.starts[:-1]]]
        return signs

    def multiply(
        self, rows: Single, tile: Single, squares: Single, products: Single, room: tuple[Single, ...]
    ) -> Single:
        """Sum over the rows of each cluster, then over clusters by their signs; gives Σ u_i u_i'."""
        spread, own = room
        _spread(tile, self.order, self.starts, self.columns.astype(np.float32), self.q, spread, own)
        sum_by_signs(rows, spread, products)
        return own

    def values(self, products: Single, squares: Single, room: Single) -> Single:
        """R of each draw."""
        fill_ratios(products, squares, self.q, self.name == "t", self.moment, room)
        return room


def sum_by_signs(signs: Single, spread: Single, products: Single) -> None:
    """Fill ``products`` (n_products, n_draws, n) with sums over clusters of ``spread`` by their signs.

    Of each five clusters all 32 sums are made once, and every draw takes its own: an addition where a matrix
    product has five, and less rounding. Draws whose signs are 0 are filled with something.
    """
    n_draws, n_clusters = signs.shape
    if n_draws < _WORTH_TABLES:
        np.matmul(signs, spread, out=products)
        return
    n_groups = _TABLES * -(-n_clusters // (_TABLES * _TOGETHER))
    is_up = np.zeros((n_draws, n_groups * _TOGETHER), np.uint8)
    is_up[:, :n_clusters] = signs > 0
    codes = is_up.reshape(n_draws, n_groups, _TOGETHER) @ (1 << np.arange(_TOGETHER, dtype=np.uint8))
    _sum_tables(spread, np.ascontiguousarray(codes.T), products)


def fill_ratios(
    products: Single, own: Single, q: int, is_signed: bool, moment: float, ratios: Single
) -> None:
    """Fill ``ratios`` ``(n_draws, TILE)`` with R, from products and Σ u_i u_i' ``(n_pairs, TILE)``."""
    if q == 1:
        _ratios(products, own[0], is_signed, moment, ratios)
    else:
        _joint_ratios(products, own, q, moment, ratios)


def weigh_residuals(directions: Doubles, rows: Doubles, clusters: Codes) -> Doubles:
    """Give the columns of `WildBootstrap` from orthonormal directions, tested first, and weights in u."""
    return _columns(directions, rows, _loads(rows, directions, *_order_by(clusters)), clusters)


def spread_over_clusters(rest: Single, columns: Doubles, clusters: Codes, q: int) -> tuple[Single, Single]:
    """Sum residuals ``(n_obs, n)`` over clusters: ``(n_products, n_clusters, n)``, and Σ u_i u_i'."""
    order, starts = _order_by(clusters)
    spread = np.empty((columns.shape[1] - q, len(starts) - 1, rest.shape[1]), np.float32)
    own = np.empty((q * (q + 1) // 2, rest.shape[1]), np.float32)
    _spread(rest, order, starts, columns.astype(np.float32), q, spread, own)
    return spread, own


def _order_by(clusters: Codes) -> tuple[Codes, Codes]:
    """Rows by their cluster, and where each cluster starts and the last one ends."""
    return np.argsort(clusters, kind="stable"), np.r_[0, np.cumsum(np.bincount(clusters))]


def _loads(rows: Doubles, directions: Doubles, order: Codes, starts: Codes) -> Doubles:
    """Sum g_i = a_i'U_i over the rows of each cluster, ``(n_clusters, q, r)``."""
    return np.asarray(np.add.reduceat((rows[:, :, None] * directions[:, None, :])[order], starts[:-1]))


def _columns(directions: Doubles, rows: Doubles, loads: Doubles, clusters: Codes) -> Doubles:
    """Weigh the residuals of a row: in z, in h of each pair of tested directions, and in u."""
    middle = []
    for left in range(rows.shape[1]):
        for right in range(left + 1):
            gram = loads[:, left].T @ loads[:, right]
            own = rows[:, left, None] * loads[clusters, right] + rows[:, right, None] * loads[clusters, left]
            middle.append(own - directions @ (gram + gram.T) / 2)
    return np.column_stack([directions, *middle, rows])


@compiled()
def _spread(
    tile: Single, order: Codes, starts: Codes, columns: Single, q: int, spread: Single, own: Single
) -> None:
    """Fill ``spread`` (n_products, n_clusters, n) with sums over rows, ``own`` with Σ u_i u_i'."""
    n_products, n = spread.shape[0], tile.shape[1]
    sums = np.empty((columns.shape[1], n), np.float32)
    own[:] = 0
    for cluster in range(starts.size - 1):
        sums[:] = 0
        for place in range(starts[cluster], starts[cluster + 1]):
            row = order[place]
            for c in range(columns.shape[1]):
                weight = columns[row, c]
                for v in range(n):
                    sums[c, v] += weight * tile[row, v]
        for c in range(n_products):
            for v in range(n):
                spread[c, cluster, v] = sums[c, v]
        pair = 0
        for left in range(q):
            for right in range(left + 1):
                for v in range(n):
                    own[pair, v] += sums[n_products + left, v] * sums[n_products + right, v]
                pair += 1


@compiled()
def _sum_tables(spread: Single, codes: npt.NDArray[np.uint8], products: Single) -> None:
    """Add up for each draw the sums that its ``codes`` (n_groups, n_draws) name: bits of five clusters."""
    tables = np.empty((_TABLES, 1 << _TOGETHER, _WIDTH), np.float32)
    for number in range(spread.shape[0]):
        for here in range(0, spread.shape[2], _WIDTH):
            for group in range(0, codes.shape[0], _TABLES):
                for t in range(_TABLES):
                    _tabulate(spread[number], (group + t) * _TOGETHER, here, tables[t])
                for draw in range(codes.shape[1]):
                    made = products[number, draw, here : here + _WIDTH]
                    a, b = tables[0, codes[group, draw]], tables[1, codes[group + 1, draw]]
                    c, d = tables[2, codes[group + 2, draw]], tables[3, codes[group + 3, draw]]
                    e, f = tables[4, codes[group + 4, draw]], tables[5, codes[group + 5, draw]]
                    if group == 0:
                        for v in range(_WIDTH):
                            made[v] = a[v] + b[v] + c[v] + (d[v] + e[v] + f[v])
                    else:
                        for v in range(_WIDTH):
                            made[v] += a[v] + b[v] + c[v] + (d[v] + e[v] + f[v])


@compiled()
def _tabulate(rows: Single, first: int, here: int, table: Single) -> None:
    """Fill ``table`` with the sums of some rows, by bits: 1 adds a row, 0 takes it away."""
    table[0] = 0
    n = 1
    for number in range(first, min(first + _TOGETHER, rows.shape[0])):
        row = rows[number, here : here + _WIDTH]
        for code in range(n):
            low, high = table[code], table[n + code]
            for v in range(_WIDTH):
                high[v] = low[v] + row[v]
                low[v] -= row[v]
        n *= 2


@compiled()
def _fill_covariance(
    products: Single, draw: int, here: int, r: int, pair: int, start: Single, found: Single
) -> None:
    """Fill ``found`` with an entry of a draw's covariance, of elements from ``here`` on."""
    first = start[here : here + _WIDTH]
    for v in range(_WIDTH):
        found[v] = first[v]
    for c in range(0, r - 1, 2):  # two at once: what is found is read and written half as often
        one, other = products[c, draw, here : here + _WIDTH], products[c + 1, draw, here : here + _WIDTH]
        middle = products[r + pair * r + c, draw, here : here + _WIDTH]
        beside = products[r + pair * r + c + 1, draw, here : here + _WIDTH]
        for v in range(_WIDTH):
            found[v] = found[v] - middle[v] * one[v] - beside[v] * other[v]
    if r % 2:
        one, middle = products[r - 1, draw], products[2 * r - 1 + pair * r, draw]
        for v in range(_WIDTH):
            found[v] -= middle[here + v] * one[here + v]


@compiled()
def _ratios(products: Single, start: Single, is_signed: bool, moment: float, ratios: Single) -> None:
    """Fill ``ratios`` (n_draws, n) with R of a single tested direction."""
    r, scale, least = products.shape[0] // 2, np.float32(moment), np.float32(_SMALLEST_SHARE)
    variance, largest, tiny = np.empty(_WIDTH, np.float32), np.float32(LARGEST), np.float32(_TINY)
    for draw in range(ratios.shape[0]):
        for here in range(0, ratios.shape[1], _WIDTH):
            _fill_covariance(products, draw, here, r, 0, start, variance)
            effects, first = products[0, draw][here : here + _WIDTH], start[here : here + _WIDTH]
            made = ratios[draw][here : here + _WIDTH]
            for v in range(_WIDTH):
                effect = effects[v]
                rest = scale * max(variance[v], least * first[v])
                ratio = effect / np.sqrt(effect * effect + rest + tiny)
                ratio = min(max(ratio, -largest), largest)
                made[v] = ratio if is_signed else abs(ratio)


@compiled()
def _joint_ratios(products: Single, start: Single, q: int, moment: float, ratios: Single) -> None:
    """Fill ``ratios`` (n_draws, n) with R of several tested directions, by Cholesky's factor."""
    n_pairs = q * (q + 1) // 2
    r, scale, largest = products.shape[0] // (1 + n_pairs), np.float32(moment), np.float32(LARGEST)
    share, tiny = np.float32(_SMALLEST_SHARE), np.float32(_TINY)
    factor, solved = np.empty((n_pairs, _WIDTH), np.float32), np.empty((q, _WIDTH), np.float32)
    squared = np.empty(_WIDTH, np.float32)
    for draw in range(ratios.shape[0]):
        for here in range(0, ratios.shape[1], _WIDTH):
            squared[:] = 0.0
            for i in range(q):
                first, mine = i * (i + 1) // 2, solved[i]
                mine[:] = products[i, draw][here : here + _WIDTH]
                for j in range(i + 1):
                    other, to, by = j * (j + 1) // 2, factor[first + j], factor[j * (j + 3) // 2]
                    _fill_covariance(products, draw, here, r, first + j, start[first + j], to)
                    for k in range(j):
                        left, right = factor[first + k], factor[other + k]
                        for v in range(_WIDTH):
                            to[v] -= left[v] * right[v]
                    if j < i:
                        known = solved[j]
                        for v in range(_WIDTH):
                            to[v] /= by[v]
                            mine[v] -= to[v] * known[v]
                least, to = start[first + i][here : here + _WIDTH], factor[first + i]
                for v in range(_WIDTH):
                    to[v] = np.sqrt(max(to[v], share * least[v] + tiny))
                    mine[v] /= to[v]
                    squared[v] += mine[v] * mine[v]
            made = ratios[draw][here : here + _WIDTH]
            for v in range(_WIDTH):
                made[v] = min(np.sqrt(squared[v] / (squared[v] + scale)), largest)
