"""The wild cluster bootstrap where rows are not observed at every element.

Signs belong to clusters: a draw is what it is elsewhere, for the clusters that have a row there. Directions,
weights (CR0 … CR3) and degrees of freedom are those of the rows observed. What a draw needs of an element,
the sums over the rows of each cluster that `WildBootstrap` names, is laid down once: a draw is then one
matrix product for all elements, whatever rows each of them has. Residuals are weighed by √η of their pattern,
so that R² = Q/(Q + 1) with Q in units of the covariance that comes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np

from bids_group.inference.shuffling.contraction import Places
from bids_group.inference.shuffling.holes import ByPlace, Flags, Holes, Moves, build_holes
from bids_group.inference.shuffling.partition import TILE, Codes, Doubles, Residuals, Single
from bids_group.inference.shuffling.scheme import Scheme
from bids_group.inference.shuffling.shuffles import Batch
from bids_group.inference.shuffling.wild_bootstrap import (
    fill_ratios,
    spread_over_clusters,
    sum_by_signs,
    weigh_residuals,
)
from bids_group.robust_variance import RobustWeights, robust_weights
from bids_group.row_space import NO_DOF
from bids_group.work_files import drop_pages, make_zeros


@dataclass(frozen=True, kw_only=True, eq=False)
class BootstrapHoles:
    """Elements that some rows are not observed at.

    ``residuals``: tiles ``(n_tiles, n_products, n_clusters, TILE)`` of sums over the rows of a cluster, and
    for ``group_squares`` the sums Σ u_i u_i' over clusters. ``first_rows``: a row of each cluster.
    """

    residuals: Residuals
    first_rows: Codes
    q: int
    is_signed: bool
    has_permutations: ClassVar[bool] = False
    has_own_dof: ClassVar[bool] = True

    def moves(self, batch: Batch, batch_size: int) -> Moves:
        """Give the signs of the clusters; the missing draws of the last batch are filled up with zeros."""
        signs, nothing = np.zeros((batch_size, self.first_rows.size), np.float32), np.empty((0, 0))
        signs[: len(batch.signs)] = batch.signs[:, self.first_rows]
        none: Places = nothing.astype(np.uint32)
        return Moves(signs, none, none, nothing.astype(np.int8))

    def make_room(self, batch_size: int) -> tuple[Single, Single]:
        """Make room for the products, and for the values, of a tile."""
        shape = (batch_size, TILE)
        return np.empty((self.residuals.tiles.shape[1], *shape), np.float32), np.empty(shape, np.float32)

    def tiles(self, moves: Moves, room: tuple[Single, Single]) -> Iterator[tuple[slice, Single]]:
        """Yield places among the elements and the partial correlations there ``(batch_size, n)``."""
        products, values = room
        for number, tile in enumerate(self.residuals.tiles):
            sum_by_signs(moves.rows, tile, products)
            drop_pages(self.residuals.tiles)
            own = self.residuals.group_squares[number]
            fill_ratios(products, own, self.q, self.is_signed, 1.0, values)
            here = self.residuals.elements_of(number)
            yield here, values[:, : here.stop - here.start]


def build_incomplete(
    maps: Single,
    scheme: Scheme,
    test: str,
    *,
    is_tested: Flags,
    folder: Path | None = None,
    place: Callable[[int], Path | None] = lambda _: None,
) -> tuple[Residuals, ByPlace | None, Holes | BootstrapHoles | None]:
    """Prepare maps ``(n_obs, n_elements)`` in which NaN is not observed, as `build_holes` does.

    ``place``: gives the folder of the file for so many more bytes, None where memory holds them.
    """
    split, is_signed = scheme.partition, test == "t"
    residuals, by_place, holes = build_holes(
        maps, split, scheme.shuffles, is_signed=is_signed, is_tested=is_tested, folder=folder
    )
    if scheme.variant is None or holes is None or by_place is None:
        return residuals, by_place, holes
    clusters, n_whole = scheme.shuffles.units.unit_of_row, residuals.n_elements
    whole = _weigh(holes.columns, split.q, clusters, scheme.variant).moment - split.q + 1
    spread, dof = _spread_holes(holes, clusters, scheme.variant, place)
    dof_by_place = np.concatenate([np.full(n_whole, whole), dof])
    return residuals, ByPlace(by_place.order, dof_by_place), spread


def _weigh(columns: Doubles, q: int, clusters: Codes, variant: str) -> RobustWeights:
    return robust_weights(columns, [np.eye(q, columns.shape[1])], clusters, variant)[0]


def _spread_holes(
    holes: Holes, clusters: Codes, variant: str, place: Callable[[int], Path | None]
) -> tuple[BootstrapHoles, Doubles]:
    """Sum weighted residuals over the rows of each cluster, pattern by pattern; also the dof of elements."""
    q, p, n = holes.q, holes.columns.shape[1], holes.residuals.n_elements
    n_pairs, given = q * (q + 1) // 2, holes.residuals.tiles
    shape = (len(given), p * (1 + n_pairs), int(clusters.max()) + 1, TILE)
    tiles = make_zeros(shape, place(4 * int(np.prod(shape))), "clusters")
    squares = np.zeros((len(given), n_pairs, TILE), np.float32)
    dof = np.ones(n)
    for start, stop in pairwise([0, *(np.flatnonzero(np.diff(holes.pattern)) + 1).tolist(), n]):
        pattern = holes.pattern[start]
        rows = np.flatnonzero(holes.is_observed[pattern])
        directions = holes.columns[rows] @ holes.mixing[pattern]
        present, own = np.unique(clusters[rows], return_inverse=True)
        weights = _weigh(directions, q, own, variant)
        if weights.moment - q + 1 <= NO_DOF:
            continue  # not tested
        dof[start:stop] = weights.moment - q + 1
        columns = weigh_residuals(directions, weights.rows * np.sqrt(weights.moment), own)
        for tile in range(start // TILE, (stop - 1) // TILE + 1):
            here = slice(max(start - tile * TILE, 0), min(stop - tile * TILE, TILE))
            rest = np.ascontiguousarray(given[tile][rows, here])
            sums, squares[tile, :, here] = spread_over_clusters(rest, columns, own, q)
            tiles[tile][:, present, here] = sums
        drop_pages(tiles)
        drop_pages(given)
    order, starts = np.argsort(clusters, kind="stable"), np.r_[0, np.cumsum(np.bincount(clusters))[:-1]]
    spread = BootstrapHoles(
        residuals=Residuals(tiles=tiles, n_elements=n, group_squares=squares),
        first_rows=order[starts],
        q=q,
        is_signed=holes.is_signed,
    )
    return spread, dof
