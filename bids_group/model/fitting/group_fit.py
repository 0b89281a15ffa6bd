"""The group model: every contrast of a design at every element, in tiles of one fixed size.

A tile is the same whatever the number of processes or the memory, and computes with one BLAS thread, so that
neither can change a bit of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.distributions import f_p, f_to_z, t_p, t_to_z
from bids_group.errors import DataError
from bids_group.executor import ONE_THREAD, Executor
from bids_group.model.fitting.effect_size import hedges_g, partial_r2
from bids_group.model.fitting.least_squares import Estimate
from bids_group.records import Contrast, ContrastResult, GroupData, warn

Maps = dict[str, npt.NDArray[Any]]

_SMALLEST_DOF = "smallest dof"
"""Kept beside the maps, in float64: no map of its own."""
_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST_TILE, _SMALLEST_TILE, _VALUES_PER_TILE = 2**15, 2**10, 2**21

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


def fit_group(
    data: GroupData, *, is_two_sided: bool, executor: Executor = ONE_THREAD, has_effect_sizes: bool = True
) -> tuple[ContrastResult, ...]:
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

    Returns
    -------
    One result per contrast of the design, in its order; maps float32. A number too large for it (effects
    beyond about 1e19 have such variances) is a `DataError`.
    """
    fitting = import_module(f"bids_group.model.fitting.{data.estimator.module}")
    fit: Callable[[slice], list[Estimate]] = fitting.prepare(data)
    n_obs, n_elements = data.stack.data.shape
    size = min(_LARGEST_TILE, max(_SMALLEST_TILE, _VALUES_PER_TILE // max(n_obs, data.design.rank**2)))
    tiles = [slice(start, min(start + size, n_elements)) for start in range(0, n_elements, size)]
    contrasts, known = data.design.contrasts, data.stack.variance
    draw = partial(_maps, data, is_two_sided=is_two_sided, has_effect_sizes=has_effect_sizes)

    def do(tile: slice) -> list[tuple[Maps, npt.NDArray[np.int64]]]:
        """Draw the maps of each contrast at a tile, and count what is unusual there (`_UNUSUAL`)."""
        is_rounded = np.bool_(False) if known is None else (known[:, tile] < _SMALLEST).any(axis=0)
        drawn = []
        for contrast, one in zip(contrasts, fit(tile), strict=True):
            is_tiny = ((one.variance < _SMALLEST).any(axis=0) | is_rounded) & one.is_estimable
            kinds = (~one.is_determined & ~one.compares_people, one.compares_people, one.is_exact, is_tiny)
            drawn.append((draw(contrast, one), np.array([kind.sum() for kind in kinds], dtype=np.int64)))
        return drawn

    found: list[Maps] = [{} for _ in contrasts]
    unusual = np.zeros((len(found), len(_UNUSUAL)), dtype=np.int64)
    held = 0 if isinstance(data.stack.data, np.memmap) else data.stack.data.nbytes
    at_work = 48 * size * n_obs  # about six float64 copies of a tile's data
    fitted = executor.map(do, tiles, item_bytes=at_work, held_bytes=held)
    for tile, numbers in zip(tiles, fitted, strict=True):
        for maps, counts, (values, own) in zip(found, unusual, numbers, strict=True):
            counts += own
            for name, array in values.items():
                if name not in maps:
                    maps[name] = np.empty((*array.shape[:-1], n_elements), array.dtype)
                maps[name][..., tile] = array
    whole = zip(contrasts, found, unusual, strict=True)
    return tuple(_result(contrast, data, maps, counts) for contrast, maps, counts in whole)


@np.errstate(over="ignore")  # `_result` looks at the finished maps
def _maps(
    data: GroupData, contrast: Contrast, estimate: Estimate, *, is_two_sided: bool, has_effect_sizes: bool
) -> Maps:
    """Make the maps of a contrast from its estimate at the elements of a tile: float32, by stat."""
    q, is_t = len(estimate.effect), contrast.test == "t"
    statistic, judged = estimate.statistic, estimate.is_estimable
    has_one_variance = data.estimator.has_residual_variance and not data.has_group_variances
    dof = np.where(judged, estimate.dof, 1.0)
    if dof.size and (dof == dof[0]).all():
        dof = dof[:1].reshape(())  # one number: the fast way through the tables
    maps: dict[str, npt.NDArray[np.float64]] = {
        "effect": estimate.effect if q > 1 else estimate.effect[0],
        "variance": estimate.variance if q > 1 else estimate.variance[0],
        contrast.test: statistic,
    }
    has_p = q == 1 or not data.has_group_variances
    if has_p:
        z = t_to_z(statistic, dof) if is_t else f_to_z(statistic, q, dof)
        p = t_p(statistic, dof, is_two_sided) if is_t else f_p(statistic, q, dof)
        maps |= {"z": np.where(judged, z, 0.0), "p": np.where(judged, p, 1.0)}
    if not data.is_complete:
        maps["n"] = estimate.n_observed
    if has_p and data.estimator.has_residual_variance and (data.has_group_variances or not data.is_complete):
        maps["dof"] = np.where(judged, estimate.dof, 0.0)
    if has_effect_sizes and has_one_variance:
        if is_t:
            names, sizes = ("g", "gLower", "gUpper"), hedges_g(statistic, estimate.spread[0], dof)
        else:
            names = ("partialR2", "partialR2Lower", "partialR2Upper")
            sizes = partial_r2(statistic, q, dof, estimate.n_observed)
        maps |= {name: np.where(judged, size, 0.0) for name, size in zip(names, sizes, strict=True)}
    made: Maps = {name: values.astype(np.float32) for name, values in maps.items()}
    return made if estimate.smallest_dof is None else made | {_SMALLEST_DOF: estimate.smallest_dof}


def _result(contrast: Contrast, data: GroupData, maps: Maps, counts: npt.NDArray[np.int64]) -> ContrastResult:
    dof: float | None = float("inf")
    if data.estimator.has_residual_variance:
        dof = float(data.design.dof) if data.is_complete and not data.has_group_variances else None
    smallest: float | npt.NDArray[np.float64] | None = maps.pop(_SMALLEST_DOF, None)
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
        notices=tuple(notices),
    )
