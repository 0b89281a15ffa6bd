"""How long shuffling will take, measured on a handful of maps of noise of the right size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array

from bids_group.config import InferenceSpec
from bids_group.elements import Connectivity, Elements, Geometry, Grid
from bids_group.inference.clusters.basins import BasinWorkspace, basin_maxima
from bids_group.inference.clusters.forest import Heights
from bids_group.inference.clusters.lattice import Lattice, LatticeWorkspace
from bids_group.inference.clusters.saddles import lattice_maxima
from bids_group.inference.shuffling.engine import Job, Scratch, build_job, do_shuffles, spell_out
from bids_group.inference.shuffling.partition import TILE
from bids_group.inference.shuffling.scheme import Scheme
from bids_group.records import Contrast, Design, GroupData
from bids_group.threads import one_thread_each
from bids_group.work_files import read_columns

_BRAIN = 0.27
"""Share of a grid that a brain fills, about: an ellipsoid of 0.8 of the grid's extents."""

_TILES = 2
_LARGEST = 250_000
_SMOOTHNESS = 1.5
_ROUNDS = 3
_ENOUGH = 0.05
"""Seconds that each part is measured for."""


def forecast_seconds(
    design: Design,
    schemes: Sequence[Scheme],
    spec: InferenceSpec,
    n_elements: int,
    holes: tuple[int, float] = (0, 0.0),
    geometry: Geometry | None = None,
) -> float:
    """Time that the shuffles of a design's contrasts would take on one processor of this machine, about.

    Products and statistics are timed on two tiles and TFCE on one map of noise, each for a twentieth of a
    second; the rest is multiplication. ``holes``: how many elements are not observed in every row, and the
    share of rows that they lack, which are timed apart. ``geometry``: where the maps are no plain volumes, of
    about these elements.
    """
    of_pass = 0.0
    if "tfce" in spec.measures:
        of_pass = _seconds_of_pass(n_elements, spec.connectivity)
        if geometry is not None:
            of_pass = _seconds_on_graph(n_elements, geometry)
    n_holes, share = holes
    seconds = 0.0
    with one_thread_each():
        for contrast, scheme in zip(design.contrasts, schemes, strict=True):
            job = _job_of_noise(contrast, scheme, spec, 0.0)
            own = _seconds_of_products(job, n_elements - n_holes) + of_pass
            if n_holes:
                own += _seconds_of_products(_job_of_noise(contrast, scheme, spec, share), n_holes)
            seconds += job.n_shuffles * own
    return seconds


def count_holes(data: GroupData) -> tuple[int, float]:
    """Count the elements that are not observed in every row, and the share of rows that they lack."""
    maps = data.stack.data
    if data.is_complete:
        return 0, 0.0
    blocks = [slice(start, start + TILE) for start in range(0, maps.shape[1], TILE)]
    n_missing = np.concatenate([np.isnan(read_columns(maps, block)).sum(axis=0) for block in blocks])
    n_holes = int(np.count_nonzero(n_missing))
    return n_holes, float(n_missing.sum() / max(n_holes * len(maps), 1))


def _job_of_noise(contrast: Contrast, scheme: Scheme, spec: InferenceSpec, share: float) -> Job:
    """Two tiles of noise; a share of the rows is not observed at each element, where it is above 0."""
    random, split = np.random.default_rng(0), scheme.partition
    noise = random.standard_normal((split.n_obs, _TILES * TILE), np.float32)
    if share > 0 and not scheme.is_weighted:
        n_gone = min(max(round(share * split.n_obs), 1), split.n_obs - 1)
        by_element = random.random(noise.shape)
        if scheme.variant is not None:  # a draw takes as long where all elements lack the same rows
            by_element[:] = by_element[:, :1]
        noise[np.argsort(by_element, axis=0) < n_gone] = np.nan
    heights = Heights(threshold=3.0, is_two_sided=spec.is_two_sided, has_tfce=False)
    return build_job(
        scheme,
        contrast.test,
        noise,
        np.ones_like(noise),
        is_two_sided=spec.is_two_sided,
        is_complete=share == 0,
        heights=heights if spec.measures - {"voxel"} else None,
    )


def _seconds_of_products(job: Job, n_elements: int) -> float:
    """Time of one shuffle: of its order once, of products and statistics on each tile."""
    scratch, n_shuffles = Scratch(job), min(job.batch_size, job.n_shuffles)
    spelled = spell_out(job, 0)
    of_order = _mean_seconds(lambda: spell_out(job, 0))
    of_tiles = _mean_seconds(lambda: do_shuffles(job, spelled, n_shuffles, scratch))
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


def _seconds_on_graph(n_elements: int, geometry: Geometry) -> float:
    """Time of the maxima of one map of surfaces or CIFTI, on their own neighbours, in proportion."""
    graph, n = geometry.adjacency, geometry.weights.size
    near = csr_array((np.ones(graph.indices.size, np.float32), graph.indices, graph.indptr), shape=(n, n))
    z = np.random.default_rng(0).standard_normal(n, np.float32)
    for _ in range(_ROUNDS):
        z = (z + near @ z) / (1 + np.diff(graph.indptr)).astype(np.float32)
    work, heights = BasinWorkspace(n), Heights(threshold=0.5, is_two_sided=True, has_tfce=True)
    return _mean_seconds(lambda: basin_maxima(z, heights, geometry, work)) * n_elements / max(n, 1)


def _mean_seconds(work: Callable[[], object]) -> float:
    """Repeat for as long as the clock needs; the first run, which may compile, does not count."""
    work()
    start, n_done, taken = perf_counter(), 0, 0.0
    while taken < _ENOUGH:
        work()
        n_done += 1
        taken = perf_counter() - start
    return taken / n_done
