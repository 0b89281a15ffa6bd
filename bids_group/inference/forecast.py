"""How long shuffling will take, measured on a handful of maps of noise of the right size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bids_group.config import InferenceSpec
from bids_group.elements import Connectivity, Elements, Grid
from bids_group.inference.clusters.forest import Heights
from bids_group.inference.clusters.lattice import Lattice, LatticeWorkspace
from bids_group.inference.clusters.saddles import lattice_maxima
from bids_group.inference.shuffling.engine import Job, Scratch, build_statistic, do_shuffles, weights
from bids_group.inference.shuffling.partition import TILE, build_residuals
from bids_group.inference.shuffling.scheme import Scheme
from bids_group.records import Design

_BRAIN = 0.27
"""Share of a grid that a brain fills, about: an ellipsoid of 0.8 of the grid's extents."""

_TILES = 2
_LARGEST = 250_000
_SMOOTHNESS = 1.5
_ENOUGH = 0.05
"""Seconds that each part is measured for."""


def forecast_seconds(
    design: Design, schemes: Sequence[Scheme], spec: InferenceSpec, n_elements: int
) -> float:
    """Time that the shuffles of a design's contrasts would take on one processor of this machine, about.

    Products and statistics are timed on two tiles and TFCE on one map of noise, each for a twentieth of a
    second; the rest is multiplication.
    """
    of_pass = _seconds_of_pass(n_elements, spec.connectivity) if "tfce" in spec.measures else 0.0
    heights = Heights(threshold=3.0, is_two_sided=spec.is_two_sided, has_tfce=False)
    seconds = 0.0
    with threadpool_limits(1, user_api="blas"):
        for contrast, scheme in zip(design.contrasts, schemes, strict=True):
            noise = np.random.default_rng(0).standard_normal(
                (scheme.partition.n_obs, _TILES * TILE), np.float32
            )
            job = Job(
                scheme=scheme,
                statistic=build_statistic(scheme, contrast.test, is_two_sided=spec.is_two_sided),
                residuals=build_residuals(noise, scheme.partition, scheme.groups),
                heights=heights if spec.measures - {"voxel"} else None,
            )
            seconds += job.n_shuffles * (_seconds_of_products(job, n_elements) + of_pass)
    return seconds


def _seconds_of_products(job: Job, n_elements: int) -> float:
    """Time of one shuffle: of its order once, of products and statistics on each tile."""
    scratch, n_shuffles = Scratch(job), min(job.batch_size, job.n_shuffles)
    rows = weights(job, 0)
    of_order = _mean_seconds(lambda: weights(job, 0))
    of_tiles = _mean_seconds(lambda: do_shuffles(job, rows, n_shuffles, scratch))
    return (of_order + of_tiles * n_elements / (_TILES * TILE)) / n_shuffles


def _seconds_of_pass(n_elements: int, connectivity: Connectivity) -> float:
    """Time of the maxima of one map, in proportion to a smaller one where the map is very large."""
    side = max(round((min(n_elements, _LARGEST) / _BRAIN) ** (1 / 3)), 3)
    centred = (np.indices((side, side, side)) - (side - 1) / 2) / (0.4 * side)
    elements = Elements.from_mask(
        Grid(shape=(side, side, side), affine=np.eye(4)), (centred**2).sum(axis=0) <= 1
    )
    noise = np.random.default_rng(0).standard_normal((side, side, side), np.float32)
    z = elements.pack(gaussian_filter(noise, _SMOOTHNESS))
    lattice = Lattice.of(elements, connectivity)
    work, heights = LatticeWorkspace(lattice), Heights(threshold=0.5, is_two_sided=True, has_tfce=True)
    return _mean_seconds(lambda: lattice_maxima(z, heights, lattice, work)) * n_elements / elements.n_elements


def _mean_seconds(work: Callable[[], object]) -> float:
    """Repeat for as long as the clock needs; the first run, which may compile, does not count."""
    work()
    start, n_done, taken = perf_counter(), 0, 0.0
    while taken < _ENOUGH:
        work()
        n_done += 1
        taken = perf_counter() - start
    return taken / n_done
