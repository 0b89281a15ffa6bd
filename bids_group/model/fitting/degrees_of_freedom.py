"""Degrees of freedom of mixed models: Satterthwaite's for one row, and Kenward and Roger's for any.

Satterthwaite (Giesbrecht & Burns 1985): 2 v² / var(v) of the variance v = σ² l'Φl of an effect, with var(v)
by the delta method from the observed Hessian of the restricted likelihood, as lmerTest has it. Kenward &
Roger (1997, doi:10.2307/2533558): the covariance of the coefficients is made larger for what is unknown of
the variances, from their expected information; F is scaled, and its degrees of freedom match two moments.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bids_group.compiled import compiled, written_out
from bids_group.model.fitting.least_squares import Doubles
from bids_group.model.fitting.mixed_plan import Classes
from bids_group.model.fitting.mixed_single import Fitted
from bids_group.model.fitting.small_matrices import (
    copy,
    invert_positive,
    multiply,
    shrinkage,
    trace,
    trace_of_product,
)

_NEARLY_TWO = 0.01
"""Distance from 2 of the denominator dof within which pbkrtest does not scale F, as is done here."""


@compiled()
def satterthwaite(fitted: Fitted, weights: Doubles) -> Doubles:
    """Degrees of freedom of one contrast ``(p,)`` at each element ``(n,)``; NaN where there are none."""
    n, size = fitted.hessian.shape[:2]
    dof, gradient, spread = np.empty(n), np.empty(size), np.empty(weights.size)
    factor, inverse = np.empty((size, size)), np.empty((size, size))
    for v in range(n):
        own = 0.0
        for a in range(weights.size):
            spread[a] = 0
            for b in range(weights.size):
                spread[a] += fitted.covariance[v, a, b] * weights[b]
            own += spread[a] * weights[a]
        gradient[size - 1] = own
        for parameter in range(size - 1):
            gradient[parameter] = 0
            for a in range(weights.size):
                for b in range(weights.size):
                    gradient[parameter] -= spread[a] * fitted.slopes[v, parameter, a, b] * spread[b]
        invert_positive(fitted.hessian[v], factor, inverse)
        uncertainty = 0.0
        for a in range(size):
            for b in range(size):
                uncertainty += gradient[a] * inverse[a, b] * gradient[b]
        dof[v] = own * own / uncertainty if uncertainty > 0 else np.nan
    return dof


class Adjusted(NamedTuple):
    """What Kenward and Roger's method needs of each element, whatever the contrast.

    ``covariance``: the adjusted one but for σ² ``(n, p, p)``; ``pulls``: Φ P_r Φ by variance parameter r,
    the residual variance last ``(n, s, p, p)``; ``uncertainty``: covariance of those parameters over σ⁴
    ``(n, s, s)``.
    """

    covariance: Doubles
    pulls: Doubles
    uncertainty: Doubles


def adjust(classes: Classes, structures: Doubles, fitted: Fitted) -> Adjusted:
    """Kenward and Roger's covariance. ``structures`` ``(s, r, r)``: what each parameter adds to Λ."""
    (n, rank), size = fitted.coefficients.shape, len(structures) + 1
    made = Adjusted(np.empty((n, rank, rank)), np.empty((n, size, rank, rank)), np.empty((n, size, size)))
    _adjust(classes, structures, fitted, made)
    return made


class _Between(NamedTuple):
    """Parts of P_r and Q_rs by class: the matrices between Z'X and its transpose ``(k, …, a, b)``.

    ``traces``: tr(H⁻¹G_r H⁻¹G_s).
    """

    first: Doubles
    second: Doubles
    traces: Doubles


@compiled()
def _adjust(classes: Classes, structures: Doubles, fitted: Fitted, made: Adjusted) -> None:
    """Fill ``made`` element by element."""
    (n, rank), (n_random, n_effects) = fitted.coefficients.shape, structures.shape[:2]
    size, n_classes = n_random + 1, classes.counts.size
    table = (n_effects, n_effects)
    parts = _Between(
        np.zeros((n_classes, size, *table)), np.zeros((n_classes, size, size, *table)), np.zeros((size, size))
    )
    information, factor = np.empty((size, size)), np.empty((size, size))
    sums, share, product = np.empty((size, rank, rank)), np.empty((rank, rank)), np.empty((rank, rank))
    small = np.zeros((7, *table))
    for v in range(n):
        covariance, uncertainty = fitted.covariance[v], made.uncertainty[v]
        _fill(classes, structures, fitted.relative[v], parts, small)
        _first_order(classes, parts, covariance, sums, made.pulls[v], product)
        _information(classes, parts, covariance, sums, made.pulls[v], information)
        invert_positive(information, factor, uncertainty)
        _correction(classes, parts, uncertainty, share)
        for r in range(size):
            multiply(sums[r], covariance, product)
            for s in range(size):
                for a in range(rank):
                    for b in range(rank):
                        for c in range(rank):
                            share[a, b] -= uncertainty[r, s] * product[a, c] * sums[s, c, b]
        multiply(covariance, share, product)
        multiply(product, covariance, share)
        for a in range(rank):
            for b in range(rank):
                made.covariance[v, a, b] = covariance[a, b] + 2 * share[a, b]


@written_out()
def _fill(classes: Classes, structures: Doubles, relative: Doubles, parts: _Between, small: Doubles) -> None:
    """Fill the parts. With R = (I + Z'Z Λ)⁻¹ of a class: X'H⁻¹Z = X'Z R', Z'H⁻¹Z = R Z'Z, and X'H⁻²X is
    X'X within groups + X'Z R'R'(Z'Z)⁻ Z'X.
    """  # noqa: D205
    n_random, n_effects = structures.shape[:2]
    shrink, middle, squared, rest, product, pulled, other = small
    parts.traces[:] = 0
    parts.traces[n_random, n_random] = classes.n_rows
    for k in range(classes.counts.size):
        count = classes.counts[k]
        shrinkage(classes.gram[k], relative, shrink)
        multiply(shrink, classes.gram[k], middle)
        multiply(shrink, shrink, squared)
        multiply(shrink.T, classes.inverse[k], product)
        multiply(shrink.T, product, rest)
        for r in range(n_random):
            multiply(shrink.T, structures[r], pulled)
            multiply(pulled, shrink, parts.first[k, r])
            multiply(pulled, squared, parts.second[k, r, n_random])
            copy(parts.second[k, r, n_random].T, parts.second[k, n_random, r])
            multiply(shrink, middle, product)
            share = count * trace_of_product(structures[r], product)
            parts.traces[r, n_random] += share
            parts.traces[n_random, r] += share
            multiply(pulled, middle, product)
            multiply(middle, structures[r], pulled)
            for s in range(n_random):
                multiply(product, structures[s], other)
                multiply(other, shrink, parts.second[k, r, s])
                multiply(middle, structures[s], other)
                parts.traces[r, s] += count * trace_of_product(pulled, other)
        copy(rest, parts.first[k, n_random])
        multiply(shrink.T, rest, parts.second[k, n_random, n_random])
        for a in range(n_effects):
            parts.traces[n_random, n_random] += count * (squared[a, a] - 1)


@written_out()
def _first_order(
    classes: Classes, parts: _Between, covariance: Doubles, sums: Doubles, pulls: Doubles, product: Doubles
) -> None:
    """−P_r = X'H⁻¹G_r H⁻¹X into ``sums``, and Φ P_r Φ but for its sign into ``pulls``."""
    sums[:] = 0
    copy(classes.within, sums[sums.shape[0] - 1])
    for k in range(classes.counts.size):
        for r in range(sums.shape[0]):
            for a in range(classes.gram.shape[1]):
                for b in range(classes.gram.shape[1]):
                    _add(sums[r], parts.first[k, r, a, b], classes.products[k, a, b])
    for r in range(sums.shape[0]):
        multiply(covariance, sums[r], product)
        multiply(product, covariance, pulls[r])


@compiled()
def _add(total: Doubles, weight: float, part: Doubles) -> None:
    for a in range(total.shape[0]):
        for b in range(total.shape[1]):
            total[a, b] += weight * part[a, b]


@written_out()
def _information(
    classes: Classes, parts: _Between, covariance: Doubles, sums: Doubles, pulls: Doubles, table: Doubles
) -> None:
    """Write the expected information: tr(H⁻¹G_r H⁻¹G_s)/2 − tr(Φ Q_rs) + tr(Φ P_r Φ P_s)/2."""
    size, n_effects = table.shape[0], classes.gram.shape[1]
    for r in range(size):
        for s in range(size):
            table[r, s] = 0.5 * (parts.traces[r, s] + trace_of_product(pulls[r], sums[s]))
    table[size - 1, size - 1] -= trace_of_product(covariance, classes.within)
    for k in range(classes.counts.size):
        for a in range(n_effects):
            for b in range(n_effects):
                share = trace_of_product(covariance, classes.products[k, a, b])
                for r in range(size):
                    for s in range(size):
                        table[r, s] -= parts.second[k, r, s, a, b] * share


@written_out()
def _correction(classes: Classes, parts: _Between, uncertainty: Doubles, share: Doubles) -> None:
    """Σ W_rs Q_rs, over all pairs of parameters."""
    size, n_effects = uncertainty.shape[0], classes.gram.shape[1]
    share[:] = 0
    _add(share, uncertainty[size - 1, size - 1], classes.within)
    for k in range(classes.counts.size):
        for a in range(n_effects):
            for b in range(n_effects):
                weight = 0.0
                for r in range(size):
                    for s in range(size):
                        weight += uncertainty[r, s] * parts.second[k, r, s, a, b]
                _add(share, weight, classes.products[k, a, b])


@compiled()
def kenward_roger(fitted: Fitted, adjusted: Adjusted, directions: Doubles) -> tuple[Doubles, Doubles]:
    """Degrees of freedom, and the factor of F, of a contrast ``(q, p)`` at each element; NaN where none."""
    (n, size), (q, rank) = adjusted.uncertainty.shape[:2], directions.shape
    dof, scale, pulls, traces = np.empty(n), np.ones(n), np.empty((size, q, q)), np.empty(size)
    factor, inverse, spread, product = (
        np.empty((q, q)),
        np.empty((q, q)),
        np.empty((q, q)),
        np.empty((q, rank)),
    )
    for v in range(n):
        multiply(directions, fitted.covariance[v], product)
        multiply(product, directions.T, spread)
        invert_positive(spread, factor, inverse)
        for r in range(size):
            multiply(directions, adjusted.pulls[v, r], product)
            multiply(product, directions.T, spread)
            multiply(inverse, spread, pulls[r])
            traces[r] = trace(pulls[r])
        one, two = 0.0, 0.0
        for r in range(size):
            for s in range(size):
                weight = adjusted.uncertainty[v, r, s]
                one += weight * traces[r] * traces[s]
                two += weight * trace_of_product(pulls[r], pulls[s])
        if not two > 0:
            dof[v] = np.nan
        elif q == 1:
            dof[v] = 2 / two
        else:
            dof[v], scale[v] = _moments(one, two, q)
    return dof, scale


@written_out()
def _moments(one: float, two: float, q: int) -> tuple[float, float]:
    """Match mean and variance of F; ``one`` and ``two`` are A₁ and A₂ of Kenward & Roger (1997)."""
    spread = (one + 6 * two) / (2 * q)
    g = ((q + 1) * one - (q + 4) * two) / ((q + 2) * two)
    below = 3 * q + 2 * (1 - g)
    first, second, third = g / below, (q - g) / below, (q + 2 - g) / below
    upper = 1 + first * spread
    ratio = (1 - two / q) / (1 - second * spread)
    rho = ratio**2 * upper / (q * (1 - third * spread))
    if not q * rho > 1:
        return np.nan, 1.0
    dof = 4 + (q + 2) / (q * rho - 1)
    return dof, 1.0 if abs(dof - 2) < _NEARLY_TWO else dof * (1 - two / q) / (dof - 2)
