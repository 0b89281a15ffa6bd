"""The group model: every contrast of a design at every element, in tiles of one fixed size.

A tile is the same whatever the number of processes or the memory, and computes with one BLAS thread, so that
neither can change a bit of the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.interpolate import CubicSpline

from bids_group.distributions import f_p, f_to_z, t_p, t_to_z
from bids_group.errors import DataError
from bids_group.executor import ONE_THREAD, Executor
from bids_group.model.fitting.evidence import bayes_factor, judge_equivalence
from bids_group.model.fitting.least_squares import Estimate, TileFit
from bids_group.records import Contrast, ContrastResult, GroupData, GroupFit, warn
from bids_group.work_files import read_columns

Doubles = npt.NDArray[np.float64]
Maps = dict[str, npt.NDArray[Any]]
Told = tuple[str, str, str]

_SMALLEST_DOF, _OWN_DOF, _SIZE = "smallest dof", "own dof", "effective sample size"
"""Kept beside the maps, in float64: no maps of their own."""
_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST_TILE, _SMALLEST_TILE, _VALUES_PER_TILE = 2**15, 2**10, 2**21

_HIGH, _LOW = (1 + 0.95) / 2, (1 - 0.95) / 2
"""Limits of effect sizes invert the non-central distribution of the statistic (Steiger 2004,
doi:10.1037/1082-989X.9.2.164); they are monotone in it for fixed dof, so that maps go through a spline."""

_LARGEST_T = 100.0
_T_KNOTS = np.linspace(-np.arcsinh(_LARGEST_T), np.arcsinh(_LARGEST_T), 301)  # of asinh(t)
_LARGEST_F = 1e6
_N_F_KNOTS = 300  # of log(F)
_N_HALVINGS = 60

_UNUSUAL = (
    (
        "coverage",
        "cannot be tested at {}: the people observed there do not determine it, or leave no degree of "
        "freedom. They have statistic 0 and p 1; an effect that is not determined is 0.",
        "Raise --min-coverage.",
    ),
    (
        "coverage",
        "is not tested at {}: of some people not all rows are observed there, so that it would compare "
        "people. These elements have effect 0, statistic 0 and p 1.",
        "Add '+ subject' to the formula (each person is then compared with themselves), or raise "
        "--min-coverage.",
    ),
    (
        "variance",
        "cannot be tested at {}: all rows are fitted exactly there, without residual variance. "
        "They have statistic 0 and p 1.",
        "Use a --mask that leaves out elements with constant values.",
    ),
    (
        "units",
        "has a variance too small for the map's number format (float32) at {}: rounded there; "
        "its statistic, z and p are {exactness}.",
        "Give the maps in smaller units (larger numbers), or the covariate in larger ones (scale()).",
    ),
)
"""What is told of elements: no estimate or dof, between people, no residual variance, below float32."""


def prepare_fit(data: GroupData) -> Callable[[slice], TileFit]:
    """Prepare what all tiles share, by the module that the estimator names; returns the fit of a tile."""
    module = import_module(f"bids_group.model.fitting.{data.estimator.module}")
    fit: Callable[[slice], TileFit] = module.prepare(data)
    return fit


def fit_group(
    data: GroupData,
    *,
    is_two_sided: bool = True,
    executor: Executor = ONE_THREAD,
    has_effect_sizes: bool = True,
    has_bayes_factor: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> GroupFit:
    """Fit the group model and test its contrasts.

    ``data.estimator`` names the module that says how. Where ``data.is_complete`` is false each element uses
    the people observed there, with its own dof; maps ``n`` and ``dof`` say how many. With variance groups F
    of several rows has neither z nor p.

    Elements where a contrast cannot be judged (`_UNUSUAL`) have statistic 0, z 0, p 1, and a notice; the
    effect is 0 where the people observed do not determine it, and the variance is 0 at all of them.
    Variances too small for float32 have one too; statistics are computed in float64.

    Parameters
    ----------
    is_two_sided
        Whether the p-values of t contrasts are two-sided; F has one tail.
    executor
        Fits the tiles. Does not change a bit.
    has_effect_sizes
        Whether to add Hedges' g (``g``, ``gLower``, ``gUpper``) to t contrasts and partial R² (``partialR2``,
        ``partialR2Lower``, ``partialR2Upper``) to F contrasts, where one residual SD is everybody's.
    has_bayes_factor
        Whether to add the Bayes factor of the effect against none (``bf10``) to t contrasts.
    on_progress
        Called with the number of elements fitted and the number of all.

    Returns
    -------
    One result per contrast of the design, in its order, and what maps the estimator adds; all float32. A
    number too large for it (effects beyond about 1e19 have such variances) is a `DataError`.
    """
    n_obs, n_elements = data.stack.data.shape
    tiles = cut_tiles(n_elements, max(n_obs, data.design.rank**2))
    size = tiles[0].stop if tiles else 0
    draw = partial(
        _maps,
        data,
        is_two_sided=is_two_sided,
        has_effect_sizes=has_effect_sizes,
        has_bayes_factor=has_bayes_factor,
    )
    do = partial(_draw_tile, data, prepare_fit(data), draw)
    found: list[Maps] = [{} for _ in data.design.contrasts]
    of_analysis: Maps = {}
    told: Counter[Told] = Counter()
    unusual = np.zeros((len(found), len(_UNUSUAL)), dtype=np.int64)
    held = 0 if isinstance(data.stack.data, np.memmap) else data.stack.data.nbytes
    at_work = 48 * size * n_obs  # about six float64 copies of a tile's data
    fitted = executor.map(do, tiles, item_bytes=at_work, held_bytes=held)
    for tile, (numbers, own_maps, counted) in zip(tiles, fitted, strict=True):
        told.update(counted)
        _keep(own_maps, of_analysis, tile, n_elements)
        for maps, counts, (values, own) in zip(found, unusual, numbers, strict=True):
            _keep(values, maps, tile, n_elements)
            counts += own
        if on_progress is not None:
            on_progress(tile.stop, n_elements)
    whole = zip(data.design.contrasts, found, unusual, strict=True)
    return GroupFit(
        results=tuple(_result(contrast, data, maps, counts) for contrast, maps, counts in whole),
        maps=of_analysis,
        notices=tuple(
            warn(topic, words.format(f"{count} of {n_elements} elements"), fix)
            for (topic, words, fix), count in told.items()
            if count
        ),
    )


def _draw_tile(
    data: GroupData, fit: Callable[[slice], TileFit], draw: Callable[[Contrast, Estimate], Maps], tile: slice
) -> tuple[list[tuple[Maps, npt.NDArray[np.int64]]], Maps, Mapping[Told, int]]:
    """Draw the maps of each contrast at a tile, and count what is unusual there (`_UNUSUAL`)."""
    fitted, known = fit(tile), data.stack.variance
    is_rounded = np.bool_(False) if known is None else (read_columns(known, tile) < _SMALLEST).any(axis=0)
    drawn = []
    for contrast, one in zip(data.design.contrasts, fitted.estimates, strict=True):
        is_tiny = ((one.variance < _SMALLEST).any(axis=0) | is_rounded) & one.is_estimable
        kinds = (~one.is_determined & ~one.compares_people, one.compares_people, one.is_exact, is_tiny)
        drawn.append((draw(contrast, one), np.array([kind.sum() for kind in kinds], dtype=np.int64)))
    maps: Maps = {name: values.astype(np.float32) for name, values in fitted.maps.items()}
    return drawn, maps, fitted.counts


def _keep(made: Maps, maps: Maps, tile: slice, n_elements: int) -> None:
    """Put what was made at a tile into maps of all elements."""
    for name, values in made.items():
        if name not in maps:
            maps[name] = np.empty((*values.shape[:-1], n_elements), values.dtype)
        maps[name][..., tile] = values


def cut_tiles(n_elements: int, n_values: int) -> list[slice]:
    """Cut elements into tiles whose size depends on the values of an element alone, whatever the memory."""
    size = min(_LARGEST_TILE, max(_SMALLEST_TILE, _VALUES_PER_TILE // n_values))
    return [slice(start, min(start + size, n_elements)) for start in range(0, n_elements, size)]


@np.errstate(over="ignore")  # `_result` looks at the finished maps
def _maps(
    data: GroupData,
    contrast: Contrast,
    estimate: Estimate,
    *,
    is_two_sided: bool,
    has_effect_sizes: bool,
    has_bayes_factor: bool,
) -> Maps:
    """Make the maps of a contrast from its estimate at the elements of a tile: float32, by stat."""
    q, is_t = len(estimate.effect), contrast.test == "t"
    rows: int | slice = slice(None) if q > 1 else 0
    statistic, judged = estimate.statistic, estimate.is_estimable
    dof = np.where(judged, estimate.dof, 1.0)
    if dof.size and (dof == dof[0]).all():
        dof = dof[:1].reshape(())  # one number: the fast way through the tables
    maps: dict[str, Doubles] = {"effect": estimate.effect[rows], "variance": estimate.variance[rows]}
    maps[contrast.test] = statistic
    has_p = q == 1 or not data.has_group_variances
    if has_p:
        z = t_to_z(statistic, dof) if is_t else f_to_z(statistic, q, dof)
        p = t_p(statistic, dof, is_two_sided) if is_t else f_p(statistic, q, dof)
        if contrast.bounds is not None:
            t, z, p = judge_equivalence(estimate, dof, contrast.bounds)
            maps[contrast.test] = np.where(judged, t, 0.0)
        maps |= {"z": np.where(judged, z, 0.0), "p": np.where(judged, p, 1.0)}
    if not data.is_complete:
        maps["n"] = estimate.n_observed
    dof_differ = data.has_group_variances or not data.is_complete or data.estimator.has_own_dof
    if has_p and data.estimator.has_residual_variance and dof_differ:
        maps["dof"] = np.where(judged, estimate.dof, 0.0)
    if has_effect_sizes and is_t and estimate.total_sd is not None:
        maps["dTotal"] = np.where(judged, estimate.effect[0] / estimate.total_sd, 0.0)
    if has_effect_sizes and data.estimator.has_one_variance and not data.has_group_variances:
        if is_t:
            names, sizes = ("g", "gLower", "gUpper"), hedges_g(statistic, estimate.spread[0], dof)
        else:
            names = ("partialR2", "partialR2Lower", "partialR2Upper")
            sizes = partial_r2(statistic, q, dof, estimate.n_observed)
        maps |= {name: np.where(judged, size, 0.0) for name, size in zip(names, sizes, strict=True)}
    made: Maps = {}
    if has_bayes_factor and is_t and contrast.slope_sd is not None:
        made[_SIZE] = 1 / np.where(judged, estimate.spread[0] * contrast.slope_sd**2, np.nan)
        one_size = _only(made[_SIZE])
        size = np.where(judged, made[_SIZE], 1.0) if one_size is None else one_size
        maps["bf10"] = np.where(judged, bayes_factor(statistic, dof, size), 1.0)
    made |= {name: values.astype(np.float32) for name, values in maps.items()}
    if data.estimator.has_own_dof:
        made[_OWN_DOF] = np.where(judged, estimate.dof, np.nan)
    return made if estimate.smallest_dof is None else made | {_SMALLEST_DOF: estimate.smallest_dof}


def _result(contrast: Contrast, data: GroupData, maps: Maps, counts: npt.NDArray[np.int64]) -> ContrastResult:
    dof: float | None = float("inf")
    if data.estimator.has_residual_variance:
        is_one = data.is_complete and not data.has_group_variances and not data.estimator.has_own_dof
        dof = float(data.design.dof) if is_one else _only(maps.pop(_OWN_DOF, None))
    smallest: float | npt.NDArray[np.float64] | None = maps.pop(_SMALLEST_DOF, None)
    size = _only(maps.pop(_SIZE, None))
    if isinstance(smallest, np.ndarray) and (smallest == smallest[0]).all():
        smallest = float(smallest[0])
    for stat, values in maps.items():
        is_over = np.isinf(np.atleast_2d(values)).any(axis=0)
        if is_over.any():  # the row with the largest value there is named
            largest = np.nanmax(np.abs(data.stack.data[:, is_over]), axis=1, initial=0.0)
            row = int(largest.argmax())
            raise DataError(
                f"The {stat} of the contrast '{contrast.name}' is too large for float32.",
                found=f"{int(is_over.sum())} of {is_over.size} elements; the effects of "
                f"{data.stack.labels[row]} there reach {largest[row]:.3g}",
                expected=f"numbers up to {np.finfo(np.float32).max:.1e}; the variance is a square",
                fix="Leave out that map (--exclude-participant-label) or these elements (--mask), "
                "or give maps and covariates in other units.",
            )
    notices = []
    for count, (topic, words, fix) in zip(counts, _UNUSUAL, strict=True):
        where = f"{count} of {data.elements.n_elements} elements"
        said = f"'{contrast.name}' {words.format(where, exactness=data.estimator.exactness)}"
        notices += [warn(topic, said, fix)] if count else []
    return ContrastResult(
        contrast=contrast,
        dof=dof,
        dof_numerator=len(np.atleast_2d(contrast.weights)),
        maps=maps,
        smallest_dof=smallest,
        effective_size=size,
        notices=tuple(notices),
    )


def _only(values: Doubles | None) -> float | None:
    """Give a number that is the same at all elements that are tested (not NaN), if it is."""
    known = np.zeros(0) if values is None else values[~np.isnan(values)]
    return float(known[0]) if known.size and (known == known[0]).all() else None


def hedges_g(t: Doubles, spread: npt.ArrayLike, dof: npt.ArrayLike) -> tuple[Doubles, Doubles, Doubles]:
    """Standardise an effect, with its 95 % limits.

    g = J·t·√(c(X'X)⁺c') with J = 1 − 3/(4·dof − 1) (Hedges 1981): the effect in units of the residual SD,
    nearly unbiased. The limits are those of the non-centrality of t, scaled alike. ``spread`` is c(X'X)⁺c',
    ``dof`` the residual degrees of freedom, each one number or ``(n,)``.
    """
    degrees = np.broadcast_to(np.asarray(dof, dtype=np.float64), t.shape)
    unit = (1 - 3 / (4 * degrees - 1)) * np.sqrt(np.asarray(spread, dtype=np.float64))
    lower, upper = np.empty(t.shape), np.empty(t.shape)
    for value in np.unique(degrees):
        here = degrees == value
        lower[here] = _lower_noncentrality(t[here], float(value))
        upper[here] = -_lower_noncentrality(-t[here], float(value))
    return unit * t, unit * lower, unit * upper


def partial_r2(
    f: Doubles, q: int, dof: npt.ArrayLike, n_obs: npt.ArrayLike
) -> tuple[Doubles, Doubles, Doubles]:
    """Give the share of variance, left by the other regressors, that a contrast explains, with 95 % limits.

    Partial R² = qF/(qF + dof), in [0, 1]; the limits are λ/(λ + n_obs) at those of the non-centrality λ of F
    (Steiger 2004). The lower limit is 0 where F is not significant at 0.025. ``dof`` (residual) and ``n_obs``
    (rows) are one number or ``(n,)``.
    """
    degrees = np.broadcast_to(np.asarray(dof, dtype=np.float64), f.shape)
    lower, upper = np.empty(f.shape), np.empty(f.shape)
    for value in np.unique(degrees):
        here = degrees == value
        lower[here] = _noncentrality_of_f(f[here], q, float(value), _HIGH)
        upper[here] = _noncentrality_of_f(f[here], q, float(value), _LOW)
    rows = np.maximum(np.asarray(n_obs, dtype=np.float64), 1)  # without any, F and λ are 0
    return q * f / (q * f + degrees), lower / (lower + rows), upper / (upper + rows)


def _lower_noncentrality(t: Doubles, dof: float) -> Doubles:
    """Lower limit of the non-centrality δ given t; the upper one is minus that of −t.

    Beyond |t| = 100 it is `_far_noncentrality`, and what that lacks at 100 fades as 1/t.
    """
    inside = np.clip(t, -_LARGEST_T, _LARGEST_T)
    limits = np.asarray(_t_table(dof)(np.arcsinh(inside)))
    far = np.abs(t) > _LARGEST_T
    edge = inside[far]
    lacking = limits[far] - _far_noncentrality(edge, dof)
    limits[far] = _far_noncentrality(t[far], dof) + lacking * edge / t[far]
    return limits


def _far_noncentrality(t: Doubles, dof: float) -> Doubles:
    """Lower limit for large |t|: the noise of the numerator and that of the residual SD, √(z² + z²t²/2dof).

    For t → ±∞ it is r·t with r² a quantile of χ²/dof, as it must be.
    """
    ratio = np.sqrt(special.chdtri(dof, np.where(t > 0, _HIGH, _LOW)) / dof)
    z = special.ndtri(_HIGH)
    own = z / np.sqrt(2 * dof)
    return np.asarray(ratio * t + own * np.abs(t) - np.sqrt(z**2 + (own * t) ** 2))


@lru_cache(maxsize=512)
def _t_table(dof: float) -> CubicSpline:
    values = np.sinh(_T_KNOTS)
    of_positive = special.nctdtrinc(dof, _HIGH, np.abs(values))
    of_negative = -special.nctdtrinc(dof, _LOW, np.abs(values))
    return CubicSpline(_T_KNOTS, np.where(values >= 0, of_positive, of_negative))


def _noncentrality_of_f(f: Doubles, q: int, dof: float, probability: float) -> Doubles:
    """Non-centrality λ at which P(F ≤ f) = ``probability``; 0 where none is that small."""
    spline = _f_table(q, dof, probability)
    with np.errstate(divide="ignore"):
        at = np.clip(np.log(f), spline.x[0], spline.x[-1])
    ratio = np.clip(spline(at), 0.0, None)
    limits = dof * ratio / (1 - ratio)
    limits = np.where(f > _LARGEST_F, limits * f / _LARGEST_F, limits)
    return np.where(f <= special.fdtri(q, dof, probability), 0.0, limits)


@lru_cache(maxsize=512)
def _f_table(q: int, dof: float, probability: float) -> CubicSpline:
    """λ/(λ + dof) over log(F), by halving intervals: the probability of F ≤ f falls as λ grows."""
    smallest = special.fdtri(q, dof, probability)  # λ = 0 here
    knots = np.linspace(np.log(smallest), max(np.log(_LARGEST_F), np.log(smallest) + 1), _N_F_KNOTS)
    f = np.exp(knots)
    largest = float(special.chdtri(dof, 1e-3) / dof)  # bound of λ/(qF) for large F: a high quantile of χ²/dof
    low, high = np.zeros(f.shape), np.maximum(4 * q * f * largest, 100.0)
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        is_low = special.ncfdtr(q, dof, middle, f) > probability
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    limits = np.where(f <= f[0], 0.0, (low + high) / 2)
    return CubicSpline(knots, limits / (limits + dof))
