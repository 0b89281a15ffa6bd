"""Mixed models: what all elements share that are observed in the same rows, and the sums that differ.

With R_i the rows of group i, H_i = I + Z_i Λ Z_i' and Λ the covariance of the random effects relative to the
residual variance, everything that restricted maximum likelihood (REML) needs is a part within the groups
(what Z_i leaves of the design and the data) and a part between them, by Z_i'X_i and Z_i'y_i:

    X'H⁻¹X = X'X within groups + Σ_i (Z_i'X_i)' D_i (Z_i'X_i),  D_i = (Z_i'Z_i + Z_i'Z_i Λ Z_i'Z_i)⁻¹.

Groups with equal Z_i'Z_i belong to one class and have one D: their products are added up. So X'H⁻¹X, and
alike X'H⁻¹y and y'H⁻¹y, are Σ_j φ_j M_j: tables M_j that do not depend on Λ, weighed by functions φ_j of it
that do not depend on the element (`mixed_weights`). An element costs what its tables cost, however many rows
it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled, written_out
from bids_group.config.estimators import FEWEST_LEVELS
from bids_group.model.fitting.least_squares import ESTIMABLE, Basis, Codes, Doubles, Flags
from bids_group.row_space import TOLERANCE

_NOTHING = 1e-20
"""Squared length of a column of unit norm within groups that is rounding: the column is constant there."""

_SAME = 1e-10
"""Eigenvalue of Z_i'Z_i, beside the largest, of a direction in which a group does not vary."""

LANES = 64


class Tables(NamedTuple):
    """What the elements share; k runs over classes, a and b over random effects, j over tables.

    ``gram``: Z_i'Z_i ``(k, a, b)``, ``inverse``: its pseudo-inverse; ``counts``: groups in each ``(k,)``;
    ``products``: packed lower halves of the tables M_j of X ``(J, P)``: X'X within groups; for each class
    Σ (Z_i'X_i)_a (Z_i'X_i)_b' by pair a ≤ b, with its transpose where a < b; for each pair of outer groups
    theirs. ``n_rows`` and ``rank``: rows, and columns p. Of groups within outer ones (`mixed_nested`):
    ``members``: groups of each class in an outer one ``(c, k)``, c its kind; ``kinds``: outer groups of each
    ``(c,)``; ``pairs``: kind and two classes of each of the last tables.
    """

    gram: Doubles
    inverse: Doubles
    counts: Doubles
    products: Doubles
    n_rows: int
    rank: int
    members: Doubles
    kinds: Doubles
    pairs: Codes


class Sums(NamedTuple):
    """What an element adds, of the residuals of ordinary least squares: ``n`` elements first.

    ``coefficients``: of least squares ``(n, p)``; ``products`` and ``squares``: the tables of X'y
    ``(n, J, p)`` and y'y ``(n, J)``; ``scale``: Σ of the squared data ``(n,)``.
    """

    coefficients: Doubles
    products: Doubles
    squares: Doubles
    scale: Doubles


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixedPlan:
    """The mixed model of one pattern of observed rows.

    ``rows``: those observed, group by group ``(n_obs,)``; ``starts``: where groups start ``(m + 1,)``;
    ``columns``: an orthonormal basis of the design that also makes X'X within groups diagonal
    ``(n_obs, p)``; ``within``: what is left of it within groups; ``effects``: the random effects in units of
    their own ``(n_obs, r)``; ``to_user``: what brings Λ to the user's units: T Λ T' ``(r, r)``;
    ``inverses`` and ``cross``: the pseudo-inverse of Z_i'Z_i ``(m, r, r)``, and Z_i'X_i ``(m, r, p)``;
    ``class_of``: the class of each group ``(m,)``. ``weights`` and ``directions``: as in `Basis`;
    ``is_estimable``: of each contrast; ``can_be_fitted``: whether the rows tell the variances apart.
    """

    rows: Codes
    starts: Codes
    columns: Doubles
    within: Doubles
    effects: Doubles
    to_user: Doubles
    inverses: Doubles
    cross: Doubles
    class_of: Codes
    tables: Tables
    weights: tuple[Doubles, ...]
    directions: tuple[Doubles, ...]
    is_estimable: tuple[bool, ...]
    can_be_fitted: bool


def plan_rows(
    is_observed: Flags, basis: Basis, groups: Codes, effects: Doubles, is_correlated: bool
) -> MixedPlan:
    """Prepare the mixed model of the rows observed.

    Parameters
    ----------
    is_observed
        ``(n_rows,)``.
    groups
        Number of the group of each row, ``(n_rows,)``.
    effects
        The random effects Z, ``(n_rows, r)``, r = 1 or 2.
    is_correlated
        Whether two random effects may be correlated: they are then made orthogonal over all rows, which
        changes nothing but the accuracy.
    """
    rows = np.flatnonzero(is_observed)
    rows = rows[np.argsort(groups[rows], kind="stable")]
    left, sizes, right = np.linalg.svd(basis.columns[rows], full_matrices=False)
    rank = int((sizes > TOLERANCE * sizes.max(initial=0.0)).sum())
    codes = np.unique(groups[rows], return_inverse=True)[1].reshape(-1)
    starts = np.flatnonzero(np.diff(codes, prepend=-1, append=-2))
    scaled, to_user = _in_own_units(effects[rows], is_correlated)
    gram = _sum_by_group(scaled[:, :, None] * scaled[:, None, :], starts)
    inverses, n_varied = _pseudo_inverses(gram)
    columns, within, squares = _split(left[:, :rank], scaled, starts, inverses)
    cross = _sum_by_group(scaled[:, :, None] * columns[:, None, :], starts)
    n_spanned = n_varied + int((squares > 0).sum())
    tables, class_of = _tables(gram, inverses, cross, squares, len(rows))
    to_basis = (right[:rank].T / sizes[:rank]) @ (left[:, :rank].T @ columns)
    lost = np.eye(right.shape[1]) - right[:rank].T @ right[:rank]
    n_random = scaled.shape[1] * (len(starts) - 1)
    return MixedPlan(
        rows=rows,
        starts=starts,
        columns=columns,
        within=within,
        effects=scaled,
        to_user=to_user,
        inverses=inverses,
        cross=cross,
        class_of=class_of,
        tables=tables,
        weights=tuple(one @ to_basis for one in basis.weights),
        directions=tuple(one @ to_basis for one in basis.directions),
        is_estimable=tuple(
            bool((np.linalg.norm(one @ lost, axis=1) <= ESTIMABLE).all()) for one in basis.directions
        ),
        can_be_fitted=len(starts) > FEWEST_LEVELS
        and len(rows) > max(n_random, n_spanned)
        and n_spanned > rank
        and n_varied > (scaled.shape[1] - 1) * (len(starts) - 1),
    )


def _in_own_units(effects: Doubles, is_correlated: bool) -> tuple[Doubles, Doubles]:
    """Bring random effects Z to Z T with mean square 1, orthogonal where that leaves the model as it is."""
    if is_correlated and effects.shape[1] > 1:
        upper = np.linalg.qr(effects, mode="r") / np.sqrt(max(len(effects), 1))
        if len(upper) == effects.shape[1] and np.abs(np.diag(upper)).min() > TOLERANCE * np.abs(upper).max():
            to_own = np.linalg.inv(upper)
            return np.ascontiguousarray(effects @ to_own), to_own
    sizes = np.sqrt((effects**2).sum(axis=0) / max(len(effects), 1))
    sizes = np.where(sizes > 0, sizes, 1.0)
    return np.ascontiguousarray(effects / sizes), np.diag(1 / sizes)


def _sum_by_group(values: Doubles, starts: Codes) -> Doubles:
    """Add up values ``(n_obs, …)`` over the rows of each group: ``(m, …)``."""
    if len(starts) < 2:
        return np.zeros((0, *values.shape[1:]))
    return np.asarray(np.add.reduceat(values, starts[:-1], axis=0))


def _pseudo_inverses(gram: Doubles) -> tuple[Doubles, int]:
    """Pseudo-inverses of Z_i'Z_i ``(m, r, r)``, and the number of dimensions that all Z_i span."""
    sizes, vectors = np.linalg.eigh(gram)
    exists = sizes > _SAME * max(float(sizes.max(initial=0.0)), np.finfo(np.float64).tiny)
    inverted = np.where(exists, 1 / np.where(exists, sizes, 1.0), 0.0)
    return (vectors * inverted[:, None, :]) @ vectors.transpose(0, 2, 1), int(exists.sum())


def _split(
    columns: Doubles, effects: Doubles, starts: Codes, inverses: Doubles
) -> tuple[Doubles, Doubles, Doubles]:
    """Rotate columns so that X'X within groups is diagonal: columns, their part within, and its squares.

    Columns that are constant within groups stay so to the last digit, whatever the intraclass correlation.
    """
    codes = np.repeat(np.arange(len(starts) - 1), np.diff(starts))

    def within(of: Doubles) -> Doubles:
        """Take away what the random effects of each group could take up."""
        means = inverses @ _sum_by_group(effects[:, :, None] * of[:, None, :], starts)
        return np.asarray(of - np.einsum("na,nap->np", effects, means[codes]))

    rest = within(columns)
    rotated = columns @ np.linalg.eigh(rest.T @ rest)[1]
    rest = within(rotated)
    squares = (rest**2).sum(axis=0)
    is_nothing = squares <= _NOTHING
    return (
        np.ascontiguousarray(rotated),
        np.where(is_nothing, 0.0, rest),
        np.where(is_nothing, 0.0, squares),
    )


def _tables(
    gram: Doubles, inverses: Doubles, cross: Doubles, within: Doubles, n_rows: int
) -> tuple[Tables, Codes]:
    """Add up the groups with equal Z_i'Z_i; give the class of each group too."""
    n_groups, n_effects, rank = cross.shape
    flat = gram.reshape(n_groups, n_effects**2)
    flat = np.round(flat / max(float(np.abs(flat).max(initial=0.0)), np.finfo(np.float64).tiny), 13)
    _, first, class_of = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    class_of = class_of.reshape(-1)
    counts = np.bincount(class_of, minlength=len(first))
    members = np.split(np.argsort(class_of, kind="stable"), np.cumsum(counts)[:-1])
    products = [np.diag(within)]
    for here in members if n_groups else []:
        for a in range(n_effects):
            for b in range(a, n_effects):
                both = cross[here, a].T @ cross[here, b]
                products.append(both if a == b else both + both.T)
    lower = np.tril_indices(rank)
    packed = np.ascontiguousarray(np.array(products)[:, lower[0], lower[1]])
    tables = Tables(
        gram[first], inverses[first], counts.astype(np.float64), packed, n_rows, rank,
        np.zeros((0, len(first))), np.zeros(0), np.zeros((0, 3), np.intp),
    )  # fmt: skip
    return tables, class_of


def sum_up(plan: MixedPlan, values: npt.NDArray[np.float32]) -> Sums:
    """Sum up the data of elements ``(n_obs, n)``, whose rows are those of the plan in its order."""
    (n_classes, n_effects), rank, n = plan.tables.gram.shape[:2], plan.tables.rank, values.shape[1]
    n_tables = 1 + n_classes * n_effects * (n_effects + 1) // 2
    sums = Sums(np.zeros((n, rank)), np.zeros((n, n_tables, rank)), np.zeros((n, n_tables)), np.zeros(n))
    shared = (plan.starts, plan.columns, plan.within, plan.effects, plan.inverses, plan.cross, plan.class_of)
    _sum_up(values, *shared, sums)
    return sums


@compiled()
def _sum_up(
    values: npt.NDArray[np.float32],
    starts: Codes,
    columns: Doubles,
    within: Doubles,
    effects: Doubles,
    inverses: Doubles,
    cross: Doubles,
    class_of: Codes,
    sums: Sums,
) -> None:
    """Take some elements at a time, in lanes: no sum runs across elements, so each is what it is alone."""
    (n_tables, rank), n_effects, longest = sums.products.shape[1:], effects.shape[1], 1
    for group in range(class_of.size):
        longest = max(longest, starts[group + 1] - starts[group])
    rest, means, totals = (
        np.empty((longest, LANES)),
        np.empty((n_effects, LANES)),
        np.empty((n_effects, LANES)),
    )
    for first in range(0, values.shape[1], LANES):
        part = values[:, first : first + LANES]
        n = part.shape[1]
        fitted, scale = np.zeros((rank, n)), np.zeros(n)
        products, squares = np.zeros((n_tables, rank, n)), np.zeros((n_tables, n))
        _fit_rows(part, columns, fitted, scale)
        for group in range(class_of.size):
            start, table = starts[group], 1 + class_of[group] * (n_effects * (n_effects + 1) // 2)
            n_rows = starts[group + 1] - start
            take_residuals(part, start, n_rows, columns, fitted, rest)
            _project(rest, n_rows, effects[start:], inverses[group], totals, means, n)
            _add_between(cross[group], totals, products[table:], squares[table:], n)
            _add_within(rest, n_rows, within[start:], products[0], squares[0], n)
        for v in range(n):  # elements come first in what is kept
            sums.scale[first + v] = scale[v]
            for a in range(rank):
                sums.coefficients[first + v, a] = fitted[a, v]
            for j in range(n_tables):
                sums.squares[first + v, j] = squares[j, v]
                for a in range(rank):
                    sums.products[first + v, j, a] = products[j, a, v]


@written_out()
def _fit_rows(part: npt.NDArray[np.float32], columns: Doubles, fitted: Doubles, scale: Doubles) -> None:
    """Least squares by an orthonormal basis."""
    for row in range(part.shape[0]):
        for v in range(part.shape[1]):
            scale[v] += np.float64(part[row, v]) * part[row, v]
        for a in range(columns.shape[1]):
            weight = columns[row, a]
            for v in range(part.shape[1]):
                fitted[a, v] += weight * part[row, v]


@compiled()
def take_residuals(
    part: npt.NDArray[np.float32], start: int, n_rows: int, columns: Doubles, fitted: Doubles, rest: Doubles
) -> None:
    """Residuals of a group's rows."""
    for row in range(n_rows):
        for v in range(part.shape[1]):
            rest[row, v] = part[start + row, v]
        for a in range(columns.shape[1]):
            weight = columns[start + row, a]
            for v in range(part.shape[1]):
                rest[row, v] -= weight * fitted[a, v]


@written_out()
def _project(
    rest: Doubles, n_rows: int, effects: Doubles, inverse: Doubles, totals: Doubles, means: Doubles, n: int
) -> None:
    """Z'y of a group into ``totals``; what the random effects could take up is taken from ``rest``."""
    totals[:] = 0
    means[:] = 0
    for row in range(n_rows):
        for a in range(totals.shape[0]):
            for v in range(n):
                totals[a, v] += effects[row, a] * rest[row, v]
    for a in range(totals.shape[0]):
        for b in range(totals.shape[0]):
            for v in range(n):
                means[a, v] += inverse[a, b] * totals[b, v]
    for row in range(n_rows):
        for a in range(totals.shape[0]):
            for v in range(n):
                rest[row, v] -= effects[row, a] * means[a, v]


@written_out()
def _add_between(cross: Doubles, totals: Doubles, products: Doubles, squares: Doubles, n: int) -> None:
    """Add the products of a group's Z'X and Z'y, and of Z'y with itself, to the tables of its class."""
    place = 0
    for a in range(totals.shape[0]):
        for b in range(a, totals.shape[0]):
            times = 1 if a == b else 2
            for v in range(n):
                squares[place, v] += times * totals[a, v] * totals[b, v]
            for column in range(cross.shape[1]):
                left, right = cross[a, column], cross[b, column] if a < b else 0.0
                for v in range(n):
                    products[place, column, v] += left * totals[b, v] + right * totals[a, v]
            place += 1


@written_out()
def _add_within(rest: Doubles, n_rows: int, within: Doubles, inner: Doubles, square: Doubles, n: int) -> None:
    """Add X'y and y'y within a group."""
    for row in range(n_rows):
        for v in range(n):
            square[v] += rest[row, v] * rest[row, v]
        for column in range(within.shape[1]):
            weight = within[row, column]
            for v in range(n):
                inner[column, v] += weight * rest[row, v]
