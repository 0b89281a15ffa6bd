"""The null distribution of a contrast: all shuffles, in batches of one fixed shape, on several threads.

Freedman & Lane (1983): the residuals on the nuisance part are shuffled and the full model is fitted again.
Per shuffle this needs only products of the tested columns, and of the nuisance columns that shuffling
moves, with the residuals: the products of a batch of shuffles with a tile of elements are one matrix
product. A thread works on one batch at a time with one BLAS thread, so the number of threads cannot change
a bit of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bids_group.elements.adjacency import Adjacency
from bids_group.inference.correlation import as_floats, raise_maxima
from bids_group.inference.forest import BYTES_PER_ELEMENT, Heights, Workspace, cluster_maxima
from bids_group.inference.journal import Journal
from bids_group.inference.residuals import TILE, Residuals
from bids_group.inference.scheme import Scheme
from bids_group.inference.shuffles import Batch
from bids_group.inference.statistic import Statistic

Single = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

VOXELWISE_BATCH = 256
CLUSTER_BATCH = 16
"""Shuffles of a batch with clusters; results depend on the shape of the work, so both never change."""

MEASURES = ("voxel", "size", "mass", "tfce")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """All that the null of one contrast depends on; ``heights`` and ``adjacency`` only for clusters."""

    scheme: Scheme
    statistic: Statistic
    residuals: Residuals
    heights: Heights | None = None
    adjacency: Adjacency | None = None

    @property
    def n_shuffles(self) -> int:
        """Number of shuffles, the unshuffled data included."""
        return self.scheme.shuffles.n_others + 1

    @property
    def batch_size(self) -> int:
        """Shuffles of one batch."""
        return VOXELWISE_BATCH if self.heights is None else CLUSTER_BATCH

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the maxima, in the order of the columns of the null."""
        if self.heights is None:
            return MEASURES[:1]
        return MEASURES if self.heights.has_tfce else MEASURES[:3]

    @property
    def bytes_per_worker(self) -> int:
        """Memory that each batch in flight needs."""
        n_rows = self.statistic.columns.shape[1] + 1
        scratch = 4 * n_rows * self.batch_size * TILE
        if self.heights is None:
            return int(scratch)
        return int(scratch + self.residuals.n_elements * (4 * self.batch_size + BYTES_PER_ELEMENT))


class Scratch:
    """Buffers that one batch in flight writes into."""

    def __init__(self, job: Job) -> None:
        n_rows = job.statistic.columns.shape[1]
        self.products = np.empty((n_rows, job.batch_size, TILE), np.float32)
        self.room = np.empty((job.batch_size, TILE), np.float32)
        n_all = 0 if job.heights is None else job.residuals.n_elements
        self.z = np.empty((job.batch_size, n_all), np.float32)
        self.workspace = Workspace.for_elements(n_all)


def run_null(
    job: Job,
    *,
    n_workers: int = 1,
    journal: Journal | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Doubles:
    """Maxima of every shuffle, the unshuffled data first: shape ``(n_shuffles, n_measures)``.

    Columns as ``job.measures``: the largest value (in size, when two-sided), cluster size (elements), mass
    and TFCE.
    """
    starts = range(0, job.n_shuffles, job.batch_size)
    idle: SimpleQueue[Scratch] = SimpleQueue()
    for _ in range(min(n_workers, len(starts))):
        idle.put(Scratch(job))
    found: list[Doubles] = []
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(n_workers) as threads:
        waiting = [
            threads.submit(_batch, job, start, idle, journal or Journal(folder=None)) for start in starts
        ]
        try:
            for future in waiting:
                found.append(future.result())
                if on_batch is not None:
                    on_batch(len(found[-1]))
        finally:
            threads.shutdown(cancel_futures=True)
    return np.concatenate(found)


def observed_map(job: Job) -> Single:
    """Compute the statistic of the unshuffled data ``(n_elements,)``, by the same products as in the null."""
    with threadpool_limits(1, user_api="blas"):
        scratch = Scratch(job)
        rows = _weights(job, 0)
        pieces = [values[0].copy() for _, values in _tiles(job, rows, scratch)]
    limit = np.float32(job.statistic.largest_value())
    return np.asarray(np.clip(np.concatenate(pieces), -limit, limit))


def _batch(job: Job, start: int, idle: SimpleQueue[Scratch], journal: Journal) -> Doubles:
    name = f"batch-{start:08d}"
    shape = (min(job.batch_size, job.n_shuffles - start), len(job.measures))
    finished = journal.read(name, shape)
    if finished is not None:
        return finished
    scratch = idle.get()
    try:
        maxima = _maxima(job, start, scratch)[: shape[0]]
    finally:
        idle.put(scratch)
    journal.write(name, maxima)
    return maxima


def _maxima(job: Job, start: int, scratch: Scratch) -> Doubles:
    """Maxima of one batch over all tiles, ``(batch_size, n_measures)``."""
    maxima = np.zeros((job.batch_size, len(job.measures)))
    largest = np.full(job.batch_size, np.iinfo(np.int32).min, np.int32)
    for elements, values in _tiles(job, _weights(job, start), scratch):
        raise_maxima(values.view(np.int32), job.statistic.is_two_sided, largest)
        if job.heights is not None:
            job.statistic.fill_z(values, scratch.z[:, elements])
    maxima[:, 0] = np.minimum(as_floats(largest), job.statistic.largest_value())
    if job.heights is not None and job.adjacency is not None:
        for shuffle, z in enumerate(scratch.z):
            of_clusters = cluster_maxima(z, job.heights, job.adjacency, scratch.workspace)
            maxima[shuffle, 1:] = of_clusters[: len(job.measures) - 1]
    return maxima


def _tiles(job: Job, rows: Single, scratch: Scratch) -> Iterator[tuple[slice, Single]]:
    """Yield the elements of one tile after the other, and the values there ``(batch_size, n)``."""
    flat = scratch.products.reshape(rows.shape[0], TILE)
    for number, tile in enumerate(job.residuals.tiles):
        np.matmul(rows, tile, out=flat)
        squares = job.residuals.group_squares[number]
        values = job.statistic.values(scratch.products, squares, scratch.room)
        elements = job.residuals.elements_of(number)
        n_here = elements.stop - elements.start
        yield elements, values if n_here == TILE else values[:, :n_here]


def _weights(job: Job, start: int) -> Single:
    """Rows of the matrix product, ``(m · batch_size, n_obs)``; a batch at the end is filled up with zeros."""
    batch: Batch = job.scheme.shuffles.batch(start, start + job.batch_size)
    moved = batch.moved(job.statistic.columns)
    rows = np.zeros((moved.shape[0], job.batch_size, moved.shape[2]), np.float32)
    rows[:, : moved.shape[1]] = moved
    return rows.reshape(-1, moved.shape[2])
