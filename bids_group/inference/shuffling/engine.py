"""The null distribution of a contrast: all shuffles, in batches of one fixed shape, on several threads.

Freedman & Lane (1983): the residuals on the nuisance part are shuffled and the full model is fitted again.
Per shuffle this needs only products of the tested columns, and of the nuisance columns that shuffling
moves, with the residuals: the products of a batch of shuffles with a tile of elements are one matrix
product. A thread works on one batch at a time with one BLAS thread, so the number of threads cannot change
a bit of the result.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bids_group.elements.geometry import Geometry
from bids_group.executor import ONE_THREAD, Executor
from bids_group.inference.clusters.basins import BYTES_PER_ELEMENT, BasinWorkspace, basin_maxima
from bids_group.inference.clusters.forest import Heights
from bids_group.inference.clusters.lattice import Lattice, LatticeWorkspace
from bids_group.inference.clusters.saddles import lattice_maxima
from bids_group.inference.shuffling.batch_cache import BatchCache
from bids_group.inference.shuffling.bootstrap_holes import BootstrapHoles, build_incomplete
from bids_group.inference.shuffling.group_variances import DofTable, GroupVariances, tabulate_dof
from bids_group.inference.shuffling.holes import ByPlace, Holes, Moves, deviates_by_dof
from bids_group.inference.shuffling.partition import TILE, Doubles, Residuals, Single, build_residuals
from bids_group.inference.shuffling.pooled_variance import PooledVariance, z_of_r
from bids_group.inference.shuffling.scheme import Scheme
from bids_group.inference.shuffling.statistic import Statistic, as_floats, count_reaching, raise_maxima
from bids_group.inference.shuffling.weighted_flips import WeightedFlips, build_weighted
from bids_group.inference.shuffling.wild_bootstrap import WildBootstrap
from bids_group.threads import one_thread_each
from bids_group.work_files import drop_pages

Number = TypeVar("Number", bound=np.generic)

VOXELWISE_BATCH = 256
CLUSTER_BATCH = 8
"""Shuffles of a batch with clusters; results depend on the shape of the work, so both never change."""

MEASURES = ("voxel", "size", "mass", "tfce")


def build_statistic(scheme: Scheme, test: str, *, is_two_sided: bool) -> Statistic:
    """Choose the columns whose products a contrast's statistic needs: the tested ones, and moved nuisance.

    Permutations leave alone every column that is constant over the rows they exchange: those directions of
    the nuisance part stay orthogonal to the residuals.
    """
    split = scheme.partition
    if scheme.variant is not None:
        clusters = scheme.shuffles.units.unit_of_row
        return WildBootstrap.of(split, clusters, scheme.variant, test, is_two_sided=is_two_sided)
    if scheme.groups is not None:
        return GroupVariances.of(split, scheme.groups, test, is_two_sided=is_two_sided)
    moved = split.nuisance
    if scheme.is_weighted:
        columns = np.column_stack([split.tested, moved])
        is_both = is_two_sided and test == "t"
        return WeightedFlips(name=test, columns=columns, is_two_sided=is_both, q=split.q, dof=split.dof)
    if not scheme.shuffles.has_flips and moved.shape[1]:
        orbits = scheme.shuffles.units.orbits
        indicators = np.eye(int(orbits.max()) + 1)[orbits]
        indicators /= np.sqrt(indicators.sum(axis=0))
        _, overlap, directions = np.linalg.svd(indicators.T @ moved, full_matrices=True)
        overlap = np.pad(overlap, (0, len(directions) - overlap.size))
        moved = moved @ directions[overlap < 1 - 1e-9].T
    return PooledVariance(
        name=test,
        columns=np.column_stack([split.tested, moved]),
        is_two_sided=is_two_sided and test == "t",
        q=split.q,
        dof=split.dof,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """All that the null of one contrast depends on; ``heights`` only for clusters.

    ``geometry``: neighbours and weights for clusters, and the parts whose maxima are kept apart; one part
    without it.
    ``limits`` float32 ``(n_elements,)``, by place: what shuffles are counted against; empty where no element
    is judged for itself. Where rows are not observed everywhere, ``residuals`` are those of the elements that
    everybody has, and the others are ``holes``. ``by_place``: what stands where, and with which degrees of
    freedom; maxima are those of z then. Without it, elements stand in their order, and values are compared.
    """

    scheme: Scheme
    statistic: Statistic
    residuals: Residuals
    heights: Heights | None = None
    geometry: Geometry | None = None
    limits: Single = field(default_factory=lambda: np.empty(0, np.float32))
    by_place: ByPlace | None = None
    holes: Holes | BootstrapHoles | None = None

    @cached_property
    def table(self) -> DofTable:
        """For z of values whose degrees of freedom are not those of all rows."""
        assert self.by_place is not None
        dof, q = self.by_place.dof, self.scheme.partition.q
        return tabulate_dof(q, dof.min(), dof.max(), is_signed=self.statistic.name == "t")

    def in_order(self, by_place: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Bring values by place ``(n_elements,)`` into the order of elements."""
        if self.by_place is None:
            return by_place
        found = np.empty_like(by_place)
        found[self.by_place.order] = by_place
        return found

    @property
    def n_elements(self) -> int:
        """Number of elements."""
        return self.residuals.n_elements + (0 if self.holes is None else self.holes.residuals.n_elements)

    @property
    def n_parts(self) -> int:
        """Number of parts that have maxima of their own."""
        return 1 if self.geometry is None else len(self.geometry.parts)

    @cached_property
    def part_by_place(self) -> npt.NDArray[np.int8]:
        """Part of the element at each place."""
        assert self.geometry is not None
        return self.geometry.part_of[... if self.by_place is None else self.by_place.order]

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
        n_rows, rooms = self.statistic.n_products + 1, self.statistic.make_room()
        if self.holes is not None:
            n_rows, rooms = n_rows + self.holes.has_own_dof, (*rooms, *self.holes.make_room(self.batch_size))
        scratch = 4 * n_rows * self.batch_size * TILE + sum(room.nbytes for room in rooms)
        if self.heights is None:
            return int(scratch)
        n_elements, lattice = self.n_elements, self.lattice()
        of_pass = BYTES_PER_ELEMENT * n_elements if lattice is None else lattice.bytes_per_worker
        return int(scratch + 4 * self.batch_size * n_elements + of_pass)

    def lattice(self) -> Lattice | None:
        """Lay out the voxels for the quick pass; None where there are none or no TFCE is asked for."""
        heights, graph = self.heights, None if self.geometry is None else self.geometry.adjacency
        if heights is None or graph is None or not heights.has_tfce:
            return None
        if graph.elements is None or graph.connectivity is None or not Lattice.fits(graph.elements):
            return None
        return Lattice.of(graph.elements, graph.connectivity)


def build_job(
    scheme: Scheme,
    test: str,
    maps: Single,
    variances: Single | None = None,
    *,
    is_two_sided: bool,
    is_complete: bool = True,
    is_tested: npt.NDArray[np.bool_] | None = None,
    heights: Heights | None = None,
    geometry: Geometry | None = None,
    folder: Path | None = None,
    place: Callable[[int], Path | None] = lambda _: None,
) -> Job:
    """Gather what the null of a contrast depends on, from maps ``(n_obs, n_elements)``, NaN = not observed.

    ``variances`` where the scheme weighs rows. ``is_tested`` ``(n_elements,)``: the other elements take no
    part in any maximum. ``folder``: of the files that hold the residuals, where memory does not; ``place``:
    that of a file for so many more bytes.
    """
    split, by_place, holes = scheme.partition, None, None
    is_tested = np.ones(maps.shape[1], dtype=bool) if is_tested is None else is_tested
    if scheme.is_weighted:
        assert variances is not None
        residuals, by_place = build_weighted(maps, variances, split, is_tested=is_tested, folder=folder)
    elif is_complete:
        residuals = build_residuals(maps, split, scheme.groups, is_tested=is_tested, folder=folder)
    else:
        residuals, by_place, holes = build_incomplete(
            maps, scheme, test, is_tested=is_tested, folder=folder, place=place
        )
    return Job(
        scheme=scheme,
        statistic=build_statistic(scheme, test, is_two_sided=is_two_sided),
        residuals=residuals,
        heights=heights,
        geometry=geometry,
        by_place=by_place,
        holes=holes,
    )


Found = tuple[Doubles, npt.NDArray[np.unsignedinteger]]
"""Maxima ``(n_shuffles, n_parts, n_measures)``, measures as ``Job.measures``: the largest value (in size, if
two-sided), cluster size, mass and TFCE. And how many shuffles reach each limit of the job."""


class Scratch:
    """Buffers that one batch in flight writes into."""

    def __init__(self, job: Job, lattice: Lattice | None = None) -> None:
        self.products = np.empty((job.statistic.n_products, job.batch_size, TILE), np.float32)
        self.own = job.statistic.make_room()
        self.room = np.empty((job.batch_size, TILE), np.float32)
        self.of_holes = None if job.holes is None else job.holes.make_room(job.batch_size)
        n_all = 0 if job.heights is None else job.n_elements
        self.z = np.empty((job.batch_size, n_all), np.float32)
        has_own_dof = job.holes is not None and job.holes.has_own_dof
        self.z_of_holes = np.empty((job.batch_size, TILE if has_own_dof else 0), np.float32)
        self.find_maxima: Callable[[Single], npt.ArrayLike] = lambda _: (0.0, 0.0, 0.0)
        if job.heights is not None and lattice is not None:
            room = LatticeWorkspace(lattice)
            self.find_maxima = partial(lattice_maxima, heights=job.heights, lattice=lattice, work=room)
        elif job.heights is not None and job.geometry is not None:
            basins = BasinWorkspace(job.n_elements)
            self.find_maxima = partial(basin_maxima, heights=job.heights, geometry=job.geometry, work=basins)


def run_null(
    job: Job,
    *,
    executor: Executor = ONE_THREAD,
    cache: BatchCache | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Found:
    """Do every shuffle, the unshuffled data first."""
    starts = range(0, job.n_shuffles, job.batch_size)
    found, n_reaching = [], np.zeros(job.limits.size, np.uint64)
    do = partial(_batch, job, job.lattice(), cache or BatchCache(folder=None))
    held = job.residuals.tiles.nbytes + (0 if job.holes is None else job.holes.residuals.tiles.nbytes)
    for maxima, counts in executor.map(do, starts, item_bytes=job.bytes_per_worker, held_bytes=held):
        found.append(maxima)
        n_reaching += counts
        if on_batch is not None:
            on_batch(len(maxima))
    return np.concatenate(found), n_reaching


def observed_map(job: Job) -> Single:
    """Compute the statistic of the unshuffled data by place ``(n_elements,)``, as in the null."""
    with one_thread_each():
        pieces = [values[0].copy() for _, values in _tiles(job, spell_out(job, 0), Scratch(job))]
    limit = np.float32(job.statistic.largest_value)
    return np.asarray(np.clip(np.concatenate(pieces), -limit, limit))


def fill_z(job: Job, values: Single, places: slice, z: Single) -> None:
    """Turn values at places ``(n_shuffles, n)`` into normal deviates, by the degrees of freedom there."""
    statistic, q = job.statistic, job.scheme.partition.q
    for _, dof, part in _segments(job, places):
        if job.by_place is None or (isinstance(statistic, PooledVariance) and dof == statistic.dof):
            statistic.fill_z(values[:, part], z[:, part])
        else:
            each = job.by_place.dof[places][part]
            deviates_by_dof(values[:, part], each, q, statistic.name == "t", *job.table, z[:, part])


_LOCAL = threading.local()


def _batch(job: Job, lattice: Lattice | None, cache: BatchCache, start: int) -> Found:
    """Do one batch, or read it if an earlier run has finished it: both of its parts are there."""
    name, n_shuffles = f"batch-{start:08d}", min(job.batch_size, job.n_shuffles - start)
    maxima = cache.read(name, (n_shuffles, job.n_parts, len(job.measures)))
    is_counted = job.limits.size > 0
    counts = cache.read(f"{name}-tally", job.limits.shape) if is_counted else np.zeros(0, np.uint8)
    if maxima is not None and counts is not None:
        return maxima, counts
    if getattr(_LOCAL, "job", lambda: None)() is not job:  # this thread's buffers are made anew for each job
        _LOCAL.job, _LOCAL.scratch = weakref.ref(job), Scratch(job, lattice)
    maxima, counts = do_shuffles(job, spell_out(job, start), n_shuffles, _LOCAL.scratch)
    if is_counted:
        cache.write(f"{name}-tally", counts)
    cache.write(name, maxima)
    return maxima, counts


Spelled = tuple[Single, Moves | None]
"""A batch: what tiles are multiplied by, and what happens to rows where not all of them are observed."""


def spell_out(job: Job, start: int) -> Spelled:
    """Spell out the batch from shuffle number ``start`` on; one at the end is filled up with zeros."""
    batch = job.scheme.shuffles.batch(start, start + job.batch_size)
    moved = None if job.holes is None else job.holes.moves(batch, job.batch_size)
    return job.statistic.weigh(batch, job.batch_size), moved


def do_shuffles(job: Job, spelled: Spelled, n_shuffles: int, scratch: Scratch) -> Found:
    """Find maxima (and counts) of one batch over all tiles."""
    maxima = np.zeros((job.batch_size, job.n_parts, len(job.measures)))
    largest: dict[tuple[int, float], npt.NDArray[np.int32]] = {}
    smallest = np.uint8 if job.batch_size < 2**8 else np.uint16  # finished batches are kept
    counts: npt.NDArray[np.unsignedinteger] = np.zeros(job.limits.size, smallest)
    for places, values in _tiles(job, spelled, scratch):
        z = scratch.z_of_holes[:, : values.shape[1]] if job.heights is None else scratch.z[:, places]
        if job.heights is not None or _have_own_dof(job, places):
            fill_z(job, values, places, z)
        for part, dof, here in _segments(job, places):
            if (part, dof) not in largest:
                largest[part, dof] = np.full(job.batch_size, np.iinfo(np.int32).min, np.int32)
            seen = z if dof == _IN_Z else values
            raise_maxima(seen[:, here].view(np.int32), job.statistic.is_two_sided, largest[part, dof])
        if counts.size:
            limits = job.limits[places]
            count_reaching(values[:n_shuffles], limits, job.statistic.is_two_sided, counts[places])
    for part in range(job.n_parts):
        maxima[:, part, 0] = _largest(job, {dof: one for (of, dof), one in largest.items() if of == part})
    if job.heights is not None:
        for shuffle, z in enumerate(scratch.z[:n_shuffles]):
            found = np.reshape(scratch.find_maxima(job.in_order(z)), (-1, 3))
            maxima[shuffle, :, 1:] = found[:, : len(job.measures) - 1]
    return maxima[:n_shuffles], counts


_IN_Z = -1.0
"""Instead of degrees of freedom: of elements that are compared in z, as each may have its own."""


def _have_own_dof(job: Job, places: slice) -> bool:
    """Whether degrees of freedom may differ from each place to the next."""
    return job.holes is not None and job.holes.has_own_dof and places.start >= job.residuals.n_elements


def _segments(job: Job, places: slice) -> Iterator[tuple[int, float, slice]]:
    """Cut places by their parts and degrees of freedom; one piece where these are everywhere the same."""
    if job.by_place is None and job.n_parts == 1:
        yield 0, 0.0, slice(None)
        return
    n = places.stop - places.start
    dof = np.zeros(n) if job.by_place is None else job.by_place.dof[places]
    dof = np.full(n, _IN_Z) if _have_own_dof(job, places) else dof
    part = np.zeros(n, np.int8) if job.n_parts == 1 else job.part_by_place[places]
    changes = np.flatnonzero((np.diff(dof) != 0) | (np.diff(part) != 0)) + 1
    for start, stop in pairwise([0, *changes.tolist(), n]):
        yield int(part[start]), float(dof[start]), slice(start, stop)


def _largest(job: Job, by_dof: Mapping[float, npt.NDArray[np.int32]]) -> Doubles:
    """Give the largest value of each shuffle, as z where degrees of freedom may differ."""
    limit = job.statistic.largest_value
    values = {dof: np.minimum(as_floats(largest), limit) for dof, largest in by_dof.items()}
    if job.by_place is None:
        return np.asarray(values[0.0], dtype=np.float64)
    test, q = job.statistic.name, job.scheme.partition.q
    in_z = [
        as_floats(largest).astype(np.float64)
        if dof == _IN_Z
        else z_of_r(values[dof].astype(np.float64), test, q, dof)
        for dof, largest in by_dof.items()
    ]
    return np.asarray(np.max(in_z, axis=0))


def _tiles(job: Job, spelled: Spelled, scratch: Scratch) -> Iterator[tuple[slice, Single]]:
    """Yield the places of one tile after the other, and the values there ``(batch_size, n)``."""
    rows, moved = spelled
    for number, tile in enumerate(job.residuals.tiles):
        given = job.residuals.group_squares[number]
        squares = job.statistic.multiply(rows, tile, given, scratch.products, scratch.own)
        drop_pages(job.residuals.tiles)
        values = job.statistic.values(scratch.products, squares, scratch.room)
        places = job.residuals.elements_of(number)
        n_here = places.stop - places.start
        yield places, values if n_here == TILE else values[:, :n_here]
    if job.holes is not None and moved is not None and scratch.of_holes is not None:
        first = job.residuals.n_elements
        for here, values in job.holes.tiles(moved, scratch.of_holes):
            yield slice(first + here.start, first + here.stop), values
