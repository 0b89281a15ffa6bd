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
from bids_group.model.fitting.least_squares import Codes, Doubles
from bids_group.model.fitting.mixed_likelihood import Fitted, Work, new_work, pack_twice
from bids_group.model.fitting.mixed_plan import Tables
from bids_group.model.fitting.mixed_weights import second, weigh
from bids_group.model.fitting.small_matrices import (
    invert_positive,
    multiply,
    trace,
    trace_of_product,
    unpack,
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


class _Parts(NamedTuple):
    """Scratch: rows of `mixed_weights` by the variances ``(rows, J)``, and what comes of them."""

    weights: Doubles
    logs: Doubles
    traces: Doubles
    slopes: Doubles
    information: Doubles
    factor: Doubles
    share: Doubles
    product: Doubles


def adjust(tables: Tables, parameters: Codes, fitted: Fitted) -> Adjusted:
    """Kenward and Roger's covariance, by those ``parameters`` of the relative covariance that the model has.

    With A = X'V⁻¹X and V linear in the variances, P_r is the derivative of A and Q_rs + Q_sr its second one;
    tr(V⁻¹G_r V⁻¹G_s) is that of −log|V|.
    """
    (n, rank), size, n_tables = fitted.coefficients.shape, len(parameters) + 1, len(tables.products)
    n_rows, square = 1 + size + size * (size + 1) // 2, (rank, rank)
    made = Adjusted(np.empty((n, *square)), np.empty((n, size, *square)), np.empty((n, size, size)))
    parts = _Parts(
        np.empty((n_rows, n_tables)), np.empty((n_rows, 1)), np.empty(n_tables), np.empty((size, *square)),
        np.empty((size, size)), np.empty((size, size)), np.empty(square), np.empty(square),
    )  # fmt: skip
    _adjust(tables, parameters, fitted, parts, new_work(fitted.parameters.shape[1], tables), made)
    return made


@compiled(error_model="numpy")
def _adjust(
    tables: Tables, parameters: Codes, fitted: Fitted, parts: _Parts, work: Work, made: Adjusted
) -> None:
    """Fill ``made`` element by element."""
    size, share, product = parameters.size + 1, parts.share, parts.product
    for v in range(fitted.variance.size):
        covariance, pulls, uncertainty = fitted.covariance[v], made.pulls[v], made.uncertainty[v]
        weigh(fitted.parameters[v], tables, work.weights, work.logs)
        _add_residual(work.weights, fitted.parameters[v], parameters, -1.0, parts.weights)
        _add_residual(work.logs.reshape(-1, 1), fitted.parameters[v], parameters, 0.0, parts.logs)
        parts.logs[size, 0] += tables.n_rows
        parts.logs[second(size - 1, size - 1, size), 0] -= tables.n_rows
        for r in range(size):
            _combine(parts.weights[1 + r], tables, work.packed)
            unpack(work.packed, parts.slopes[r])
            multiply(covariance, parts.slopes[r], product)
            multiply(product, covariance, pulls[r])
        _fill_information(tables, covariance, pulls, parts, work.packed)
        invert_positive(parts.information, parts.factor, uncertainty)
        for j in range(parts.traces.size):  # Σ W_rs Q_rs, a weighted sum of the tables
            parts.traces[j] = 0
            for r in range(size):
                for s in range(size):
                    parts.traces[j] += 0.5 * uncertainty[r, s] * parts.weights[second(r, s, size), j]
        _combine(parts.traces, tables, work.packed)
        unpack(work.packed, share)
        for r in range(size):
            multiply(parts.slopes[r], covariance, product)
            for s in range(size):
                for a in range(tables.rank):
                    for b in range(tables.rank):
                        for c in range(tables.rank):
                            share[a, b] -= uncertainty[r, s] * product[a, c] * parts.slopes[s, c, b]
        multiply(covariance, share, product)
        multiply(product, covariance, share)
        for a in range(tables.rank):
            for b in range(tables.rank):
                made.covariance[v, a, b] = covariance[a, b] + 2 * share[a, b]


@written_out(error_model="numpy")
def _fill_information(
    tables: Tables, covariance: Doubles, pulls: Doubles, parts: _Parts, packed: Doubles
) -> None:
    """Write the expected information: tr(V⁻¹G_r V⁻¹G_s)/2 − tr(Φ Q_rs) + tr(Φ P_r Φ P_s)/2."""
    size = parts.information.shape[0]
    pack_twice(covariance, packed)
    for j in range(parts.traces.size):
        parts.traces[j] = 0
        for place in range(packed.size):
            parts.traces[j] += packed[place] * tables.products[j, place]
    for r in range(size):
        for s in range(size):
            row = second(r, s, size)
            value = trace_of_product(pulls[r], parts.slopes[s]) - parts.logs[row, 0]
            for j in range(parts.traces.size):
                value -= parts.weights[row, j] * parts.traces[j]
            parts.information[r, s] = 0.5 * value


@compiled(error_model="numpy")
def _combine(weights: Doubles, tables: Tables, packed: Doubles) -> None:
    """Σ of the tables of X, each by its weight."""
    for place in range(packed.size):
        packed[place] = 0
    for j in range(weights.size):
        for place in range(packed.size):
            packed[place] += weights[j] * tables.products[j, place]


@compiled(error_model="numpy")
def _add_residual(given: Doubles, at: Doubles, parameters: Codes, degree: float, made: Doubles) -> None:
    """Make derivatives by the variances themselves, the residual one e last, of those by the relative ones λ.

    f(λ) is e^degree f(τ/e) of the variances τ = λ e; the derivatives are those at e = 1. ``given``
    and ``made`` have functions in columns, and rows as `mixed_weights` has them.
    """
    n, size = at.size, parameters.size + 1
    for j in range(given.shape[1]):
        made[0, j] = given[0, j]
        made[size, j] = degree * given[0, j]
        by_e = degree * (degree - 1) * given[0, j]
        for r in range(n):
            made[size, j] -= at[r] * given[1 + r, j]
            by_e -= 2 * (degree - 1) * at[r] * given[1 + r, j]
            for s in range(n):
                by_e += at[r] * at[s] * given[second(r, s, n), j]
        made[second(size - 1, size - 1, size), j] = by_e
        for r in range(size - 1):
            own = parameters[r]
            mixed = (degree - 1) * given[1 + own, j]
            for s in range(n):
                mixed -= at[s] * given[second(own, s, n), j]
            made[1 + r, j] = given[1 + own, j]
            made[second(r, size - 1, size), j] = mixed
            for s in range(r + 1):
                made[second(r, s, size), j] = given[second(own, parameters[s], n), j]


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
        multiply(directions, adjusted.covariance[v], product)
        multiply(product, directions.T, spread)
        if not np.isfinite(invert_positive(spread, factor, inverse)):  # groups differ beyond all accuracy
            dof[v] = np.nan
            continue
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
