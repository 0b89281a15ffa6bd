"""Mixed models: groups of rows, such as the visits of a person, differ by effects of their own.

y = Xβ + Zb + e by restricted maximum likelihood (REML) at every element, exactly: what an element needs are a
few sums (`mixed_plan`), weighed by functions of the covariance of the random effects (`mixed_weights`) in its
likelihood (`mixed_likelihood`). The search is one for variances (`mixed_variances`), of one random effect or
of groups within groups (`mixed_nested`), or for the covariance of two effects (`mixed_pair`). t has
Satterthwaite's degrees of freedom or Kenward and Roger's, F the latter (Satterthwaite's F depends on how the
rows of a contrast are written): `degrees_of_freedom`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.labels import camel_label, upper_first
from bids_group.model.fitting.degrees_of_freedom import Adjusted, adjust, kenward_roger, satterthwaite
from bids_group.model.fitting.least_squares import (
    EXACT_FIT,
    Basis,
    Codes,
    Doubles,
    Estimate,
    Flags,
    TileFit,
    orthonormal_basis,
)
from bids_group.model.fitting.mixed_likelihood import Fitted
from bids_group.model.fitting.mixed_nested import NestedPlan, nest, sum_nested
from bids_group.model.fitting.mixed_pair import fit_pair
from bids_group.model.fitting.mixed_plan import MixedPlan, Sums, plan_rows, sum_up
from bids_group.model.fitting.mixed_variances import fit_variances
from bids_group.records import Contrast, GroupData, RandomTerm
from bids_group.row_space import group_by_pattern
from bids_group.work_files import read_columns

_BYTES_AT_ONCE = 1 << 26
_LARGEST_BATCH = 4096

_ROUNDED = 1e-13
"""Share of the squares within groups, the model's part among them, that can only be rounding errors."""

_NO_END = (
    "variance",
    "The search for the variances of the mixed model came to no end at {}: they have statistic 0 and p 1, "
    "and their effect is that of least squares.",
    "Look at these elements (constant or extreme values?), or leave them out with --mask.",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Model:
    """What is fitted: ``groups``, ``outer`` groups (if any) and ``effects`` by row; ``names``: of the
    variances' maps; ``correlations``: of those of intraclass correlations, one by level of groups.
    """  # noqa: D205

    basis: Basis
    contrasts: tuple[Contrast, ...]
    groups: Codes
    outer: Codes | None
    effects: Doubles
    is_correlated: bool
    names: tuple[str, ...]
    correlations: tuple[str, ...]
    has_total_sd: bool
    is_kenward_roger: bool

    def plan(self, is_observed: Flags) -> MixedPlan:
        """Prepare the model of the rows observed."""
        plan = plan_rows(is_observed, self.basis, self.groups, self.effects, self.is_correlated)
        return plan if self.outer is None else nest(plan, self.outer)


def prepare(data: GroupData) -> Callable[[slice], TileFit]:
    """Fit tiles by REML with the design's random term.

    Elements where rows are missing use those observed; where these leave fewer than 6 groups, or cannot tell
    the variances apart, nothing is tested.
    """
    term, contrasts = data.design.random, data.design.contrasts
    assert term is not None
    rows, maps, outer = data.design.matrix.index, data.stack.data, term.outer_groups
    has_intercept_alone = list(term.effects.columns) == ["Intercept"]
    model = _Model(
        basis=orthonormal_basis(data.design),
        contrasts=contrasts,
        groups=pd.factorize(term.groups.reindex(rows))[0],
        outer=None if outer is None else pd.factorize(outer.reindex(rows))[0],
        effects=term.effects.reindex(rows).to_numpy(dtype=np.float64),
        is_correlated=term.is_correlated,
        names=_names(term),
        correlations=_correlations(term) if has_intercept_alone else (),
        has_total_sd=has_intercept_alone and term.outer is None,
        is_kenward_roger=data.estimator.variant == "kenward-roger",
    )
    whole = model.plan(np.ones(len(rows), dtype=bool)) if data.is_complete else None
    return lambda tile: _fit_tile(model, read_columns(maps, tile), whole)


def _names(term: RandomTerm) -> tuple[str, ...]:
    """Name the maps of the variances: ``stat-variance_desc-subjectIntercept``."""
    labels = [
        f"{camel_label(term.group)}{upper_first(camel_label(str(name)))}" for name in term.effects.columns
    ]
    labels += [] if term.outer is None else [f"{camel_label(term.outer)}Intercept"]
    return tuple(f"stat-variance_desc-{label}" for label in labels)


def _correlations(term: RandomTerm) -> tuple[str, ...]:
    """Name the maps of intraclass correlations, by group where there are two levels of groups."""
    if term.outer is None:
        return ("stat-icc",)
    return tuple(f"stat-icc_desc-{camel_label(name)}" for name in (term.group, term.outer))


def _fit_tile(model: _Model, values: npt.NDArray[np.float32], whole: MixedPlan | None) -> TileFit:
    """Fit the elements of a tile, those together that are observed in the same rows."""
    n = values.shape[1]
    made: TileFit | None = None
    n_lost = 0
    for plan, elements in _parts(model, values, whole):
        part, lost = _fit_part(model, plan, values[plan.rows[:, None], elements])
        n_lost += lost
        if made is None:
            made = _room_for(part, n)
        for target, one in zip(made.estimates, part.estimates, strict=True):
            for name, array in _arrays(one):
                getattr(target, name)[..., elements] = array
        for name, array in part.maps.items():
            made.maps[name][elements] = array
    assert made is not None
    return made._replace(counts={_NO_END: n_lost})


def _parts(
    model: _Model, values: npt.NDArray[np.float32], whole: MixedPlan | None
) -> Iterator[tuple[MixedPlan, Codes]]:
    """Yield elements that are observed in the same rows, with the plan of these rows.

    At most so many at a time that their sums need no more than `_BYTES_AT_ONCE`.
    """
    if whole is not None:
        parts = iter([(whole, np.arange(values.shape[1]))])
    else:
        patterns, group = group_by_pattern(~np.isnan(values))
        members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
        parts = ((model.plan(pattern > 0), here) for pattern, here in zip(patterns, members, strict=True))
    for plan, elements in parts:
        n_bytes = 8 * len(plan.tables.products) * (plan.tables.rank + 1)
        size = max(1, min(_LARGEST_BATCH, _BYTES_AT_ONCE // max(n_bytes, 1)))
        for start in range(0, len(elements), size):
            yield plan, elements[start : start + size]


def _arrays(estimate: Estimate) -> list[tuple[str, npt.NDArray[np.generic]]]:
    """Fields of an estimate that are not None, by name."""
    values = [(field.name, getattr(estimate, field.name)) for field in fields(estimate)]
    return [(name, array) for name, array in values if array is not None]


def _room_for(part: TileFit, n: int) -> TileFit:
    """Estimates and maps of ``n`` elements, of zeros, with the fields that a part has."""
    estimates = [
        Estimate(**{name: np.zeros((*array.shape[:-1], n), array.dtype) for name, array in _arrays(one)})
        for one in part.estimates
    ]
    return TileFit(estimates, {name: np.zeros(n) for name in part.maps})


def _fit_part(model: _Model, plan: MixedPlan, values: npt.NDArray[np.float32]) -> tuple[TileFit, int]:
    """Fit elements observed in the rows of a plan, and count those whose search came to no end.

    Where rows are fitted exactly within their groups there is no residual variance to judge anything by.
    """
    n = values.shape[1]
    sums = sum_nested(plan, values) if isinstance(plan, NestedPlan) else sum_up(plan, values)
    within, square = (plan.within**2).sum(axis=0), sums.squares[:, 0]
    explained = (sums.products[:, 0] ** 2 / np.where(within > 0, within, np.inf)).sum(axis=1)
    is_varied = square - explained > np.maximum(_ROUNDED * square, EXACT_FIT * sums.scale)
    here = np.flatnonzero(is_varied) if plan.can_be_fitted else np.zeros(0, dtype=np.intp)
    fitted, adjusted = _fit_varied(model, plan, Sums(*(one[here] for one in sums)))
    converged = (fitted.has_converged > 0) & np.isfinite(fitted.covariance).all(axis=(1, 2))
    has_converged = np.ones(n, dtype=bool)
    has_converged[here] = converged
    found = _Found(plan, here, sums.coefficients, fitted, adjusted, has_converged)
    estimates = [_estimate(model, found, number) for number in range(len(model.contrasts))]
    return TileFit(estimates, _maps_of(model, found)), int((~converged).sum())


def _fit_varied(model: _Model, plan: MixedPlan, sums: Sums) -> tuple[Fitted, Adjusted | None]:
    """Fit elements with residual variance; adjust their covariance where Kenward and Roger's is needed."""
    if plan.effects.shape[1] == 2:
        fitted = fit_pair(plan.tables, sums, model.is_correlated)
        parameters = [0, 1, 2] if model.is_correlated else [0, 2]
    else:
        parameters = [0, 1] if isinstance(plan, NestedPlan) else [0]
        fitted = fit_variances(plan.tables, sums, len(parameters))
    if not (model.is_kenward_roger or any(one.test == "F" for one in model.contrasts)):
        return fitted, None
    return fitted, adjust(plan.tables, np.array(parameters), fitted)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Results of the elements of a part; those ``here`` have residual variance and were fitted."""

    plan: MixedPlan
    here: Codes
    coefficients: Doubles
    fitted: Fitted
    adjusted: Adjusted | None
    has_converged: Flags


def _estimate(model: _Model, found: _Found, number: int) -> Estimate:
    """Estimate and test a contrast."""
    plan, fitted, here, n = found.plan, found.fitted, found.here, len(found.coefficients)
    weights, directions, exists = plan.weights[number], plan.directions[number], plan.is_estimable[number]
    is_t = model.contrasts[number].test == "t"
    covariance, dof, scale = _uncertainty(found, directions, is_t and not model.is_kenward_roger)
    is_fitted = found.has_converged[here] & (fitted.variance > 0)
    has_dof = np.isfinite(dof) & (dof > 0)
    coefficients = found.coefficients.copy()
    coefficients[here[is_fitted]] += fitted.coefficients[is_fitted]
    is_judged, is_determined = np.zeros(n, dtype=bool), np.full(n, exists and plan.can_be_fitted)
    is_determined[here] &= has_dof | ~is_fitted
    kept = is_fitted & has_dof & exists
    is_judged[here] = kept
    residual, covariance = fitted.variance[kept], covariance[kept]
    (spread, variance), (statistic, own_dof) = np.zeros((2, len(weights), n)), np.zeros((2, n))
    spread[:, is_judged] = np.einsum("qa,nab,qb->qn", weights, covariance, weights)
    variance[:, is_judged] = spread[:, is_judged] * residual
    effects = np.einsum("qa,na->nq", directions, coefficients[is_judged])
    spreads = np.einsum("qa,nab,rb->nqr", directions, covariance, directions)
    statistic[is_judged] = _statistic(is_t, effects, spreads, scale[kept] / residual)
    own_dof[is_judged] = dof[kept]
    return Estimate(
        effect=np.einsum("qa,na->qn", weights, coefficients) * exists,
        variance=variance,
        statistic=statistic,
        spread=spread,
        dof=own_dof,
        n_observed=np.full(n, float(len(plan.rows))),
        is_estimable=is_judged,
        is_determined=is_determined,
        compares_people=np.zeros(n, dtype=bool),
        total_sd=_total_sd(found, is_judged) if model.has_total_sd else None,
        has_converged=found.has_converged,
    )


def _uncertainty(
    found: _Found, directions: Doubles, is_satterthwaite: bool
) -> tuple[Doubles, Doubles, Doubles]:
    """Covariance of the coefficients but for σ², dof, and the factor of F, of the elements fitted."""
    if is_satterthwaite:
        dof = satterthwaite(found.fitted, directions[0])
        return found.fitted.covariance, dof, np.ones_like(dof)
    assert found.adjusted is not None
    return found.adjusted.covariance, *kenward_roger(found.fitted, found.adjusted, directions)


def _statistic(is_t: bool, effects: Doubles, spreads: Doubles, scale: Doubles) -> Doubles:
    """t, or F, of effects ``(n, q)``; their covariances are ``spreads`` ``(n, q, q)`` over ``scale``."""
    if is_t:
        return np.asarray(effects[:, 0] * np.sqrt(scale / spreads[:, 0, 0]))
    solved = np.linalg.solve(spreads, effects[:, :, None])[:, :, 0]
    return np.asarray(scale * (effects * solved).sum(axis=1) / effects.shape[1])


def _relative(found: _Found) -> Doubles:
    """Variances of the random effects over the residual one, in the user's units ``(n_fitted, r)``."""
    at, to_user = found.fitted.parameters, found.plan.to_user
    if len(to_user) == 1:
        return np.asarray(at * to_user[0, 0] ** 2)
    first, second = to_user.T
    return np.asarray(
        at[:, :1] * first**2 + 2 * at[:, 1:2] * first * second + at[:, 2:] * second**2
    )  # the diagonal of T Λ T'


def _total_sd(found: _Found, is_judged: Flags) -> Doubles:
    """√(σ_b² + σ_e²), and 1 where nothing is judged."""
    total = np.ones(len(found.coefficients))
    total[found.here] = np.sqrt(found.fitted.variance * (1 + _relative(found)[:, 0]))
    return np.where(is_judged, total, 1.0)


def _maps_of(model: _Model, found: _Found) -> dict[str, Doubles]:
    """Make maps of the variances, and the intraclass correlations of intercepts alone; 0 if not fitted.

    The correlation of rows of one inner group holds what these have in common as rows of an outer one.
    """
    kept = found.has_converged[found.here]
    residual, relative = found.fitted.variance[kept], _relative(found)[kept]
    shares = {name: relative[:, a] * residual for a, name in enumerate(model.names)}
    shares["stat-variance_desc-residual"] = residual
    together = np.cumsum(relative[:, ::-1], axis=1)[:, ::-1]
    for level, name in enumerate(model.correlations):
        shares[name] = together[:, level] / (1 + together[:, 0])
    maps = {name: np.zeros(len(found.coefficients)) for name in shares}
    for name, values in shares.items():
        maps[name][found.here[kept]] = values
    return maps
