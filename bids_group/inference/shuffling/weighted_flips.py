"""t or F of rows weighted by 1/(v + τ₀²), of residuals that changed their signs.

v are the known variances of the rows and τ₀² the variance between people that restricted maximum likelihood
finds without the tested part (`variance_between`). In √w·y and √w·X all is as with one variance: residuals of
the nuisance part change signs, and R is the partial correlation of the tested part. But weights differ
between elements, and so do tested and nuisance directions: each is multiplied into the residuals beforehand,
and a shuffle needs sums of these products by its signs alone.

Without a nuisance part signs keep Σ w y² and τ₀², so that the test is exact where effects are symmetric about
0. With one it is approximate (Hemerik, Goeman & Finos 2020, doi:10.1111/rssb.12369).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.inference.shuffling.holes import ByPlace
from bids_group.inference.shuffling.partition import (
    NO_VARIANCE,
    TILE,
    Doubles,
    Partition,
    Residuals,
    Single,
    unit_columns,
)
from bids_group.inference.shuffling.pooled_variance import PooledVariance
from bids_group.inference.shuffling.shuffles import Batch
from bids_group.row_space import group_by_pattern, invert_patterns
from bids_group.variance_between import variance_between
from bids_group.work_files import make_zeros, read_columns

Flags = npt.NDArray[np.bool_]

_DEPENDENT = 1e-7
"""Share of a weighted column's length below which it is made of those before it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightedFlips(PooledVariance):
    """R of t or F where weights differ between elements. ``columns``: tested ones and nuisance."""

    def weigh(self, batch: Batch, n_shuffles: int) -> Single:
        """Signs of the rows, ``(n_shuffles, n_obs)``."""
        signs = np.zeros((n_shuffles, batch.signs.shape[1]), np.float32)
        signs[: len(batch.signs)] = batch.signs
        return signs

    def multiply(
        self, rows: Single, tile: Single, squares: Single, products: Single, room: tuple[Single, ...]
    ) -> Single:
        """Sum the products of directions and residuals ``(m, n_obs, TILE)`` by the signs."""
        np.matmul(rows, tile, out=products)
        return squares

    def expected_values(self, fitted: npt.ArrayLike, dof: npt.ArrayLike | None = None) -> Doubles | None:
        """Give nothing: the fit has its own variance between people, and another statistic."""
        return None


def build_weighted(
    maps: Single, variances: Single, split: Partition, *, is_tested: Flags, folder: Path | None = None
) -> tuple[Residuals, ByPlace]:
    """Multiply residuals ``(n_obs, n_elements)`` of unit length by each direction ``(m, n_obs, n_elements)``.

    A row is observed at an element where its variance is above 0. Elements stand in the order of their
    degrees of freedom.
    """
    n_obs, n_elements = maps.shape
    columns = np.column_stack([split.tested, split.nuisance])
    blocks = [slice(start, start + TILE) for start in range(0, n_elements, TILE)]
    dof = np.concatenate(
        [_dof(read_columns(maps, block), read_columns(variances, block), columns) for block in blocks]
    )
    order = np.argsort(dof, kind="stable")
    place = np.empty(n_elements, np.intp)
    place[order] = np.arange(n_elements)
    shape = (len(blocks), columns.shape[1], n_obs, TILE)
    tiles = make_zeros(shape, folder, "residuals")
    for block in blocks:
        found = _directed(read_columns(maps, block), read_columns(variances, block), split)
        where = place[block]
        tiles[where // TILE, :, :, where % TILE] = found * is_tested[block][:, None, None]
    squares = np.zeros((len(blocks), 0, TILE), np.float32)
    residuals = Residuals(tiles=tiles, n_elements=n_elements, group_squares=squares)
    return residuals, ByPlace(order, dof[order])


def _observed(values: Single, variances: Single) -> Flags:
    return np.isfinite(values) & np.isfinite(variances) & (variances > 0)


def _dof(values: Single, variances: Single, columns: Doubles) -> Doubles:
    patterns, pattern = group_by_pattern(_observed(values, variances))
    dof = patterns.sum(axis=1) - invert_patterns(patterns, columns)[2]
    return np.asarray(np.maximum(dof, 1.0)[pattern])


def _directed(values: Single, variances: Single, split: Partition) -> Doubles:
    """Residuals of each element times its directions, tested ones first: ``(n, m, n_obs)``."""
    is_observed = _observed(values, variances)
    between, _ = variance_between(values, variances, split.nuisance)
    variance = np.where(is_observed, variances, 1.0).astype(np.float64) + between
    weights = np.where(is_observed, 1 / np.where(variance > 0, variance, 1.0), 0.0)
    weights /= np.maximum(weights.max(axis=0), np.finfo(np.float64).tiny)
    roots = np.sqrt(weights).T  # (n, n_obs)
    directions: list[Doubles] = []
    for column in [*split.nuisance.T, *split.tested.T]:
        given = roots * column
        rest = _without(given, directions)
        lengths = np.linalg.norm(rest, axis=1, keepdims=True)
        is_new = lengths > _DEPENDENT * np.maximum(np.linalg.norm(given, axis=1, keepdims=True), 1e-300)
        directions.append(np.where(is_new, rest / np.where(is_new, lengths, 1.0), 0.0))
    nuisance, tested = directions[: split.nuisance.shape[1]], directions[split.nuisance.shape[1] :]
    whole = roots * np.where(is_observed, values, 0.0).T
    rest = _without(whole, nuisance)
    is_left = (rest**2).sum(axis=1) > NO_VARIANCE * (whole**2).sum(axis=1)
    unit = unit_columns((rest * is_left[:, None]).T).T
    return np.stack([direction * unit for direction in (*tested, *nuisance)], axis=1)


def _without(rows: Doubles, directions: list[Doubles]) -> Doubles:
    """Take directions ``(n, n_obs)`` out of rows of the same shape; twice, for what rounding left."""
    rest = rows
    for direction in (*directions, *directions):
        rest = rest - direction * (direction * rest).sum(axis=1, keepdims=True)
    return rest
