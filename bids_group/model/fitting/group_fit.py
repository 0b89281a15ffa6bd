"""The group model: every contrast of a design at every element, in tiles of one fixed size.

Where everybody is observed nilearn's ``SecondLevelModel`` does the fit (`second_level`); where people are
missing or variances are known it is `least_squares`. A tile is the same whatever the number of processes or
the memory, and computes with one BLAS thread, so that neither can change a bit of the result.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from nilearn.glm.second_level import SecondLevelModel
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bids_group.distributions import f_p, f_to_z, t_p, t_to_z
from bids_group.errors import DataError
from bids_group.model.fitting.effect_size import hedges_g, partial_r2
from bids_group.model.fitting.group_variances import fit_group_variances
from bids_group.model.fitting.least_squares import (
    Basis,
    Estimate,
    fit_known_variances,
    fit_observed,
    orthonormal_basis,
)
from bids_group.model.fitting.second_level import fit_second_level, second_level_model
from bids_group.records import Contrast, ContrastResult, GroupData, Notice

Maps = dict[str, npt.NDArray[np.float32]]

_EXACTNESS = {"ols": "right", "meta": "as exact as the variances of the maps"}
_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST_TILE, _SMALLEST_TILE, _VALUES_PER_TILE = 2**15, 2**10, 2**21


def fit_group(
    data: GroupData,
    *,
    is_two_sided: bool,
    n_procs: int = 1,
    mem_gb: float | None = None,
    has_effect_sizes: bool = True,
) -> tuple[ContrastResult, ...]:
    """Fit the group model and test its contrasts.

    Ordinary least squares: t = cβ / √(σ² c(X'X)⁻c'), F = (Cβ)'[C(X'X)⁻C']⁻¹(Cβ)/(qσ²), dof = N − rank(X).
    Where ``data.is_complete`` is false each element uses the people observed there, with its own dof; maps
    ``n`` and ``dof`` say how many. ``estimator="meta"`` weights by known variances, with the
    normal distribution as its reference. Variance groups: `group_variances`; F of several rows then has
    neither z nor p.

    Elements where a contrast cannot be judged (not estimable from the people observed there, no residual
    degree of freedom, data without any residual variance, or a contrast within people that the rows observed
    would make one between them) have statistic 0, z 0, p 1, and a notice; the effect is 0 where the people
    observed do not determine it, and the variance is 0 at all of them.
    Variances too small for float32 have one too; statistics are computed in float64.

    Parameters
    ----------
    data
        Design, stack and elements.
    is_two_sided
        Whether the p-values of t contrasts are two-sided; F has one tail.
    n_procs
        Tiles fitted at the same time (threads). Does not change a bit.
    mem_gb
        Memory for tiles in flight: fewer than ``n_procs`` where it is small.
    has_effect_sizes
        Whether to add Hedges' g (``g``, ``gLower``, ``gUpper``) to t contrasts and partial R² (``partialR2``,
        ``partialR2Lower``, ``partialR2Upper``) to F contrasts; there are none for ``estimator="meta"`` and
        with variance groups, where no residual SD is everybody's.

    Returns
    -------
    One result per contrast of the design, in its order; maps float32.

    Raises
    ------
    DataError
        A number is too large for float32 (effects beyond about 1e19 have such variances).
    """
    basis = orthonormal_basis(data.design)
    is_plain = data.estimator == "ols" and data.is_complete and not data.has_group_variances
    model = second_level_model(basis) if is_plain else None
    found = [_empty_maps(contrast, data, has_effect_sizes) for contrast in data.design.contrasts]
    smallest_dof = np.zeros((len(found), data.elements.n_elements)) if data.has_group_variances else None
    unusual = np.zeros((len(found), 4), dtype=np.int64)

    def fit(tile: slice) -> npt.NDArray[np.int64]:
        estimates = _fit_tile(data, basis, model, tile)
        for number, (contrast, estimate) in enumerate(zip(data.design.contrasts, estimates, strict=True)):
            _fill(found[number], tile, contrast, estimate, is_two_sided)
            if smallest_dof is not None:
                smallest_dof[number, tile] = estimate.smallest_dof
        is_rounded = _has_tiny_variance(data, tile)
        return np.array([_count_unusual(estimate, is_rounded) for estimate in estimates])

    tiles = _tiles(data, basis)
    n_threads = _n_threads(data, tiles, n_procs, mem_gb)
    with threadpool_limits(1), ThreadPoolExecutor(n_threads) as threads:
        for counts in threads.map(fit, tiles):
            unusual += counts
    results = tuple(
        _result(contrast, data, maps, counts)
        for contrast, maps, counts in zip(data.design.contrasts, found, unusual, strict=True)
    )
    if smallest_dof is None:
        return results
    return tuple(
        replace(result, smallest_dof=float(dof[0]) if (dof == dof[0]).all() else dof)
        for result, dof in zip(results, smallest_dof, strict=True)
    )


def _tiles(data: GroupData, basis: Basis) -> list[slice]:
    """Cut the elements into tiles whose size follows from the shapes of data and design alone."""
    n_obs, n_elements = data.stack.data.shape
    size = _VALUES_PER_TILE // max(n_obs, basis.rank**2)
    size = min(_LARGEST_TILE, max(_SMALLEST_TILE, size))
    return [slice(start, min(start + size, n_elements)) for start in range(0, n_elements, size)]


def _n_threads(data: GroupData, tiles: list[slice], n_procs: int, mem_gb: float | None) -> int:
    """Count the tiles in flight; one takes about six float64 copies of its data."""
    if mem_gb is None:
        return n_procs
    tile_gb = 48 * (tiles[0].stop - tiles[0].start) * len(data.stack.labels) / 1e9
    return max(1, min(n_procs, int(mem_gb / 2 / tile_gb)))


# --------------------------------------------------------------------------------------------
# One tile


def _fit_tile(data: GroupData, basis: Basis, model: SecondLevelModel | None, tile: slice) -> list[Estimate]:
    values = np.ascontiguousarray(data.stack.data[:, tile])
    contrasts = data.design.contrasts
    if data.estimator == "meta":
        assert data.stack.variance is not None
        return fit_known_variances(values, np.asarray(data.stack.variance[:, tile]), basis, contrasts)
    subjects = None if data.subjects is None or data.is_complete else pd.factorize(data.subjects)[0]
    if data.has_group_variances:
        assert data.variance_groups is not None
        groups = pd.factorize(data.variance_groups.reindex(data.design.matrix.index), sort=True)[0]
        return fit_group_variances(values, basis, contrasts, groups, subjects)
    if model is None:
        return fit_observed(values, basis, contrasts, subjects)
    return fit_second_level(model, values, basis, contrasts)


# --------------------------------------------------------------------------------------------
# Maps


def _empty_maps(contrast: Contrast, data: GroupData, has_effect_sizes: bool) -> Maps:
    """Reserve the maps of one contrast."""
    n_elements, q = data.elements.n_elements, len(np.atleast_2d(contrast.weights))
    rows = (n_elements,) if q == 1 else (q, n_elements)
    has_p = q == 1 or not data.has_group_variances
    names = [contrast.test, *(("z", "p") if has_p else ()), *(() if data.is_complete else ("n",))]
    if has_p and data.estimator == "ols" and not (data.is_complete and not data.has_group_variances):
        names.append("dof")
    if has_effect_sizes and data.estimator == "ols" and not data.has_group_variances:
        names += (
            ["g", "gLower", "gUpper"]
            if contrast.test == "t"
            else ["partialR2", "partialR2Lower", "partialR2Upper"]
        )
    maps = {name: np.empty(rows, dtype=np.float32) for name in ("effect", "variance")}
    return maps | {name: np.empty(n_elements, dtype=np.float32) for name in names}


@np.errstate(over="ignore")  # `_check_range` looks at the finished maps
def _fill(maps: Maps, tile: slice, contrast: Contrast, estimate: Estimate, is_two_sided: bool) -> None:
    """Write a tile's numbers into the maps of its contrast."""
    q = len(estimate.effect)
    judged = estimate.is_estimable
    dof = _one_if_equal(np.where(judged, estimate.dof, 1.0))
    statistic = estimate.statistic
    maps["effect"][..., tile] = estimate.effect if q > 1 else estimate.effect[0]
    maps["variance"][..., tile] = estimate.variance if q > 1 else estimate.variance[0]
    maps[contrast.test][tile] = statistic
    if "p" in maps:
        z = t_to_z(statistic, dof) if contrast.test == "t" else f_to_z(statistic, q, dof)
        p = t_p(statistic, dof, is_two_sided) if contrast.test == "t" else f_p(statistic, q, dof)
        maps["z"][tile] = np.where(judged, z, 0.0)
        maps["p"][tile] = np.where(judged, p, 1.0)
    if "n" in maps:
        maps["n"][tile] = estimate.n_observed
    if "dof" in maps:
        maps["dof"][tile] = np.where(judged, estimate.dof, 0.0)
    if "g" in maps:
        sizes = hedges_g(statistic, estimate.spread[0], dof)
        for name, values in zip(("g", "gLower", "gUpper"), sizes, strict=True):
            maps[name][tile] = np.where(judged, values, 0.0)
    if "partialR2" in maps:
        shares = partial_r2(statistic, q, dof, estimate.n_observed)
        for name, values in zip(("partialR2", "partialR2Lower", "partialR2Upper"), shares, strict=True):
            maps[name][tile] = np.where(judged, values, 0.0)


def _one_if_equal(dof: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give one number where all are the same (the fast way through the tables)."""
    return dof[:1].reshape(()) if dof.size and (dof == dof[0]).all() else dof


def _has_tiny_variance(data: GroupData, tile: slice) -> npt.NDArray[np.bool_]:
    """Say at which elements a known variance is below float32's normal range, and so is rounded itself."""
    if data.estimator != "meta" or data.stack.variance is None:
        return np.zeros(tile.stop - tile.start, dtype=np.bool_)
    return np.asarray((data.stack.variance[:, tile] < _SMALLEST).any(axis=0))


def _count_unusual(estimate: Estimate, is_rounded: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Count elements without estimate or dof, between people, of no residual variance, or below float32."""
    is_undetermined = ~estimate.is_determined & ~estimate.compares_people
    is_tiny = ((estimate.variance < _SMALLEST).any(axis=0) | is_rounded) & estimate.is_estimable
    kinds = (is_undetermined, estimate.compares_people, estimate.is_exact, is_tiny)
    n_undetermined, n_between, n_exact, n_tiny = (int(kind.sum()) for kind in kinds)
    return n_undetermined, n_between, n_exact, n_tiny


def _result(contrast: Contrast, data: GroupData, maps: Maps, counts: npt.NDArray[np.int64]) -> ContrastResult:
    if data.estimator == "meta":
        dof: float | None = float("inf")
    else:
        dof = float(data.design.dof) if data.is_complete and not data.has_group_variances else None
    _check_range(contrast, data, maps)
    return ContrastResult(
        contrast=contrast,
        dof=dof,
        dof_numerator=len(np.atleast_2d(contrast.weights)),
        maps=maps,
        notices=_notices(contrast, data, counts),
    )


def _check_range(contrast: Contrast, data: GroupData, maps: Maps) -> None:
    """Refuse numbers that float32 cannot hold; name the row with the largest value where that happens."""
    for stat, values in maps.items():
        is_over = np.isinf(np.atleast_2d(values)).any(axis=0)
        if not is_over.any():
            continue
        largest = np.nanmax(np.abs(data.stack.data[:, is_over]), axis=1, initial=0.0)
        row = int(largest.argmax())
        raise DataError(
            f"The {stat} of the contrast '{contrast.name}' is too large for float32.",
            found=f"{int(is_over.sum())} of {is_over.size} elements; the effects of {data.stack.labels[row]} "
            f"there reach {largest[row]:.3g}",
            expected=f"numbers up to {np.finfo(np.float32).max:.1e}; the variance is a square",
            fix="Leave out that map (--exclude-participant-label) or these elements (--mask), "
            "or give maps and covariates in other units.",
        )


def _notices(contrast: Contrast, data: GroupData, counts: npt.NDArray[np.int64]) -> tuple[Notice, ...]:
    """Say what is unusual at how many elements, in the order of `_count_unusual`."""
    said = (
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
            f"its statistic, z and p are {_EXACTNESS[data.estimator]}.",
            "Give the maps in smaller units (larger numbers), or the covariate in larger ones (scale()).",
        ),
    )
    return tuple(
        Notice(
            severity="warning",
            topic=topic,
            sentence=f"'{contrast.name}' {words.format(f'{count} of {data.elements.n_elements} elements')}",
            fix=fix,
        )
        for count, (topic, words, fix) in zip(counts, said, strict=True)
        if count
    )
