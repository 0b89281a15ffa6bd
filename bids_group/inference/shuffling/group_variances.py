"""Statistics that allow each group of rows its own variance: Welch's v, and G for several rows of a contrast.

Winkler et al. 2014 (doi:10.1016/j.neuroimage.2014.01.060), equations 3–5: with M the model, ψ its
least-squares estimate, W the inverse of each group's residual variance and s the rank of the contrast C,
``G = ψ'C (C'(M'WM)⁻¹C)⁻¹ C'ψ / (Λ s)``; v is its signed root for s = 1. Each value becomes z with its own
degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from bids_group.compiled import compiled, written_out
from bids_group.distributions import exact_z
from bids_group.inference.shuffling.partition import Codes, Doubles, Partition, Single
from bids_group.inference.shuffling.statistic import Statistic

_STEP, _NEAREST, _FARTHEST, _DOF_STEP = 0.05, -17.5, 62.0, 0.04
LOWEST_Z = -8.0
"""z of F = 0."""
_SMALLEST_SHARE = 1e-7
"""Residual sum of squares of a group, relative to that of all rows, below which it counts as this much."""

DofTable = tuple[Doubles, float, float]


@lru_cache(maxsize=16)
def tabulate_dof(q: int, smallest_dof: float, largest_dof: float, *, is_signed: bool) -> DofTable:
    """Tabulate z at places along the deviance root (columns) and at log(dof) (rows), for `look_up`.

    Places are equal steps of ``r + log(r)/2`` with ``r = sqrt(dof·log(1 + q·F/dof))``: far out z is nearly
    linear in r, while next to F = 0 the z of F falls without end, slowly in log(r). The first is −17.5,
    where z of F is below −8, the lowest. From dof of 0.05 the errors of z (relative, where it is above 1)
    and of p are below 1e-6. ``is_signed``: z is that of half the tail (t). With the table come the logarithms
    of the first and the last dof.
    """
    first, last = np.log(smallest_dof), np.log(max(largest_dof, smallest_dof * (1 + 1e-6)))
    dof = np.exp(np.linspace(first, last, max(4, int((last - first) / _DOF_STEP) + 2)))[:, None]
    places = np.arange(_NEAREST, _FARTHEST + _STEP / 2, _STEP)
    roots = np.real(special.lambertw(np.exp(2 * places) * 2)) / 2
    f = np.expm1(np.minimum(roots**2 / dof, 600)) * dof / q
    z = exact_z("t", 1, np.sqrt(f), dof) if is_signed else exact_z("F", q, f, dof)
    return np.maximum(z, LOWEST_Z), first, last


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupVariances(Statistic):
    """v or G, as z. ``columns``: those of the model (tested ones last) once for each group, 0 elsewhere.

    ``gram`` ``(n_groups, p, p)``, ``sizes`` and ``dof`` ``(n_groups,)``: rows of each group, and their
    share of the residual degrees of freedom.
    """

    q: int
    is_signed: bool
    gram: Doubles
    sizes: Doubles
    dof: Doubles
    table: DofTable

    @classmethod
    def of(cls, split: Partition, groups: Codes, test: str, *, is_two_sided: bool) -> GroupVariances:
        """Prepare v (t contrasts) or G (F contrasts); each group must have degrees of freedom of its own."""
        model = np.column_stack([split.nuisance, split.tested])
        indicators = np.eye(int(groups.max()) + 1)[groups]
        parts = model[:, None, :] * indicators[:, :, None]  # (n_obs, n_groups, p)
        sizes = indicators.sum(axis=0)
        dof = sizes - (parts**2).sum(axis=(0, 2))
        factor = split.q * (split.q + 2) / 3
        bounds = factor / (1 / dof).sum(), factor * dof.sum() / (sizes.size - 1) ** 2
        return cls(
            name="z",
            columns=parts.reshape(len(parts), -1),
            is_two_sided=is_two_sided and test == "t",
            q=split.q,
            is_signed=test == "t",
            gram=np.einsum("ngi,ngj->gij", parts, parts),
            sizes=sizes,
            dof=dof,
            table=tabulate_dof(split.q, *bounds, is_signed=test == "t"),
        )

    def values(self, products: Single, squares: Single, room: Single) -> Single:
        """Compute z from the products."""
        _welch(
            products, squares, self.q, self.is_signed, self.gram, self.sizes, self.dof, *self.table, room
        )  # fmt: skip
        return room


@written_out()
def _cubic(place: float, left: float, here: float, right: float, beyond: float) -> float:
    """Lagrange's cubic through four knots at −1, 0, 1, 2."""
    return (
        -place * (place - 1) * (place - 2) / 6 * left
        + (place + 1) * (place - 1) * (place - 2) / 2 * here
        - (place + 1) * place * (place - 2) / 2 * right
        + (place + 1) * place * (place - 1) / 6 * beyond
    )


@written_out()
def _along(table: Doubles, row: int, column: int, shift: float) -> float:
    height: float = _cubic(
        shift, table[row, column - 1], table[row, column], table[row, column + 1], table[row, column + 2]
    )
    return height


@compiled()
def look_up(f: float, q: int, dof: float, table: Doubles, first: float, last: float) -> float:
    """Turn F > 0 with its own dof into z (of half the tail where signed), by `tabulate_dof`."""
    root = np.sqrt(dof * np.log1p(q * f / dof))
    place = max(root + np.log(root) / 2 - _NEAREST, 0.0) / _STEP
    along = (np.log(dof) - first) / (last - first) * (table.shape[0] - 1)
    column = min(max(int(place), 1), table.shape[1] - 3)
    row = min(max(int(along), 1), table.shape[0] - 3)
    far = max(place - (table.shape[1] - 2), 0.0)
    shift = min(place, float(table.shape[1] - 2)) - column
    left = _along(table, row - 1, column, shift)
    here = _along(table, row, column, shift)
    right = _along(table, row + 1, column, shift)
    beyond = _along(table, row + 2, column, shift)
    height: float = _cubic(along - row, left, here, right, beyond) + far * _STEP
    return height


@compiled()
def _welch(
    products: Single, squares: Single, q: int, is_signed: bool, gram: Doubles, sizes: Doubles, dof: Doubles,
    table: Doubles, first: float, last: float, z: Single,
) -> None:  # fmt: skip
    """Fill ``z`` (n_shuffles, n) from products ``(n_groups · p, n_shuffles, n)`` of unit residuals."""
    n_groups, p = gram.shape[0], gram.shape[1]
    own, whole = np.empty((n_groups, p)), np.empty(p)
    weights, information = np.empty(n_groups), np.empty((p, p))
    for k in range(z.shape[0]):
        for j in range(z.shape[1]):
            for i in range(p):
                whole[i] = 0.0
            for g in range(n_groups):
                scale = np.sqrt(np.float64(squares[g, j]))
                for i in range(p):
                    own[g, i] = products[g * p + i, k, j] * scale
                    whole[i] += own[g, i]
            f, own_dof = _ratio(own, whole, squares, j, q, gram, sizes, dof, weights, information)
            height = look_up(f, q, own_dof, table, first, last) if f > 0 else (0.0 if is_signed else LOWEST_Z)
            z[k, j] = -height if is_signed and whole[p - 1] < 0 else height


@compiled()
def _ratio(
    own: Doubles, whole: Doubles, squares: Single, element: int, q: int, gram: Doubles, sizes: Doubles,
    dof: Doubles, weights: Doubles, information: Doubles,
) -> tuple[float, float]:  # fmt: skip
    """G and its dof from each group's products with the model, and their sums; the last two are scratch."""
    n_groups, p = own.shape
    information[:] = 0.0
    trace = 0.0
    for g in range(n_groups):
        rest = np.float64(squares[g, element])
        for i in range(p):
            fitted = 0.0
            for j in range(p):
                fitted += gram[g, i, j] * whole[j]
            rest += whole[i] * (fitted - 2 * own[g, i])
        weights[g] = dof[g] / max(rest, _SMALLEST_SHARE)
        trace += weights[g] * sizes[g]
        for i in range(p):
            for j in range(i + 1):
                information[i, j] += weights[g] * gram[g, i, j]
    spread = 0.0
    for g in range(n_groups):
        spread += (1 - weights[g] * sizes[g] / trace) ** 2 / dof[g]
    ratio = _explained(information, whole, q) / q
    own_dof = q * (q + 2) / (3 * spread)
    return ratio / (1 + 2 * (q - 1) / (q * (q + 2)) * spread), own_dof


@compiled()
def _explained(information: Doubles, estimate: Doubles, q: int) -> float:
    """Weigh the tested (last q) estimates by their information, the rest allowed for (Schur complement)."""
    p = estimate.size
    for i in range(p):
        for j in range(i + 1):
            total = information[i, j]
            for k in range(j):
                total -= information[i, k] * information[j, k]
            if i == j:
                information[i, i] = np.sqrt(max(total, 1e-300))
            else:
                information[i, j] = total / information[j, j]
    explained = 0.0
    for j in range(p - q, p):
        total = 0.0
        for i in range(j, p):
            total += information[i, j] * estimate[i]
        explained += total * total
    return explained
