"""All maps of an analysis as one array of rows, and the elements that are analysed."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.elements import (
    Elements,
    Geometry,
    Grid,
    Smoother,
    Space,
    StructureSmoother,
    Surfaces,
    align,
    build_smoother,
    check_same_space,
    checksum,
    is_same_mask,
    read_mask,
)
from bids_group.errors import DataError, DesignError
from bids_group.executor import ONE_THREAD, Executor
from bids_group.model.fitting.pooling import put_into
from bids_group.model.fitting.scaling import scale
from bids_group.records import (
    Design,
    GroupAnalysis,
    GroupData,
    MapStack,
    Notice,
    PooledMap,
    Scaling,
    note,
    warn,
)
from bids_group.words import and_more, counted, plural
from bids_group.work_files import drop_pages, make_zeros

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.float32]
Item = TypeVar("Item")

MIN_SHARE = 0.05
"""Maps of one person always differ a little at the rim; smaller shares than this are not remarked on."""

LARGE_SHARE = 0.25
"""Several rows always lack some of the rim; from this share on the loss is a warning."""


class StackedMaps(NamedTuple):
    """What `build_stack` gives.

    ``coverage``: uint16 array of the space, people observed at each element (also outside the mask).
    ``costs``: one row per observation in their order: ``observation``, ``n_unobserved`` (elements of the mask
    that this row lacks), ``n_lost_by_this_row_alone`` (elements the analysis would gain without this row).
    ``n_lost``: elements of the mask that are observed in some rows, but in fewer than ``n_needed``.
    """

    stack: MapStack
    elements: Elements
    coverage: npt.NDArray[np.uint16]
    costs: pd.DataFrame
    n_lost: int
    n_needed: int


def build_stack(
    items: Iterable[Item],
    *,
    take: Callable[[Item], PooledMap],
    on_map: Callable[[PooledMap], None] | None = None,
    scaling: Scaling | None = None,
    labels: tuple[str, ...],
    space: Space | None = None,
    mask: Path | None,
    mask_threshold: float | None = None,
    min_coverage: float,
    fwhm_mm: float,
    surfaces: Surfaces | None = None,
    work_dir: Path | None,
    executor: Executor = ONE_THREAD,
    needs_variance: bool = False,
    is_shuffled: bool = False,
) -> StackedMaps:
    """Make a pooled map of each item and put it into a stack over the analysed elements.

    Analysed are the elements of ``mask`` (of the whole grid without one) that are observed in at least the
    share ``min_coverage`` of the rows. The executor makes, scales and smooths each map, over its observed
    elements; they are put into their rows in order, as they come.

    Parameters
    ----------
    items, take, labels
        What makes each map, one per row of the design, in the order of their labels. It is ours from then
        on: smoothing writes into it.
    on_map
        Told of each map, in order; effects are scaled and smoothed.
    scaling
        What each row's map is multiplied by.
    space
        The elements of all maps, where they are no plain volumes: each is put into it.
    mask, mask_threshold
        File on the grid of the maps; analysed are the elements inside (`read_mask`).
    min_coverage
        Share of rows in (0, 1]; below 1 the stack holds NaN where a row is not observed.
    fwhm_mm, surfaces
        Smoothing, 0 for none, and the surfaces along which vertices are smoothed.
    work_dir, executor
        Where the executor cannot hold the stack in memory it is kept in a file in ``work_dir``; with
        ``is_shuffled`` residuals of the same size must find room beside it.

    Raises
    ------
    GridError, DataError, DesignError, UsageError
        Grids differ; no element is left, two rows hold the same numbers, or a variance is missing; the maps
        that came are not those of ``labels``.
    """
    building: _Building | None = None
    prepare = partial(
        _prepare, take=take, scaling=scaling, fwhm_mm=fwhm_mm, space=space, surfaces=surfaces or {}
    )
    for number, (one, checked) in enumerate(executor.map(prepare, items)):
        if on_map is not None:
            on_map(one)
        expected = labels[number] if number < len(labels) else "no further map"
        if one.observation.label != expected:
            raise DesignError(
                "The maps and the rows of the design do not come in the same order.",
                found=f"{one.observation.label} as map {number + 1}",
                expected=expected,
            )
        if building is None:
            building = _Building(one, labels, mask, mask_threshold, min_coverage)
            building.allocate(work_dir, executor, needs_variance, is_shuffled)
        building.add(number, one, checked)
    vars(_LOCAL).clear()  # the smoother, where maps were made in this thread
    n_added = 0 if building is None else len(building.seen)
    if building is None or n_added != len(labels):
        raise DesignError(
            "Fewer maps came than the design has rows.", found=str(n_added), expected=str(len(labels))
        )
    return building.finish()


_LOCAL = threading.local()


def _prepare(
    item: Item,
    *,
    take: Callable[[Item], PooledMap],
    scaling: Scaling | None,
    fwhm_mm: float,
    space: Space | None,
    surfaces: Surfaces,
) -> tuple[PooledMap, int]:
    """Make, scale and smooth one map; its checksum is that before smoothing. Each worker has one smoother."""
    one = scale(take(item), scaling)
    one = one if space is None else put_into(one, space)
    checked = checksum(np.ascontiguousarray(one.effect.T).data)
    if fwhm_mm > 0:
        smoother = _smoother(space or one.space, surfaces, fwhm_mm)
        one = replace(one, effect=smoother.smooth(one.effect, in_place=True))
    return one, checked


def _smoother(space: Space, surfaces: Surfaces, fwhm_mm: float) -> Smoother | StructureSmoother:
    which = (space.shape, space.affine.tobytes()) if isinstance(space, Grid) else (space, surfaces)
    key = which, fwhm_mm
    if getattr(_LOCAL, "key", None) != key:
        _LOCAL.key, _LOCAL.smoother = key, build_smoother(space, surfaces, fwhm_mm)
    return _LOCAL.smoother  # type: ignore[no-any-return]


def join_maps(
    stacked: StackedMaps,
    design: Design,
    analysis: GroupAnalysis,
    blocks: pd.Series | None,
    variance_groups: pd.Series | None,
    geometry: Geometry | None = None,
) -> GroupData:
    """Join a design and its maps; ``geometry`` is that of the analysed elements."""
    n_observed = stacked.elements.pack(stacked.coverage)
    subjects = analysis.rows["subject"]
    return GroupData(
        design=design,
        stack=stacked.stack,
        elements=stacked.elements,
        geometry=geometry,
        is_complete=bool((n_observed == len(stacked.stack.labels)).all()),
        estimator=analysis.estimator,
        blocks=blocks,
        variance_groups=variance_groups,
        subjects=subjects if subjects.duplicated().any() else None,
        visits=analysis.rows.get("session"),
    )


class _Building:
    """The stack while it is being filled; ``seen``: by row, deflated bits of what is observed of the mask."""

    def __init__(
        self,
        first: PooledMap,
        labels: tuple[str, ...],
        mask: Path | None,
        mask_threshold: float | None,
        min_coverage: float,
    ) -> None:
        self._first, self._labels, self._mask = first, labels, mask
        self._n_needed, self._n_needed_without_one = (
            max(1, int(np.ceil(min_coverage * n_rows - 1e-9))) for n_rows in (len(labels), len(labels) - 1)
        )
        in_mask = np.ones(first.space.shape, dtype=bool)
        if mask is not None:
            given = read_mask(mask, mask_threshold)
            check_same_space(_path_of(first), first.space, mask, given.space, is_mask=True)
            in_mask = align(given.inside, given.space, first.space, False)
        self._in_mask = Elements.from_mask(first.space, in_mask)
        self._counts = np.zeros(first.space.shape, dtype=np.uint16, order="F")
        self._suspects: dict[int, list[int]] = {}
        self._observed, self._bits, self._n_alike = np.zeros_like(self._counts, dtype=bool), b"", 0
        self.seen: list[bytes] = []

    def allocate(
        self, work_dir: Path | None, executor: Executor, needs_variance: bool, is_shuffled: bool
    ) -> None:
        """Reserve rows over the candidates: no element outside them can be analysed."""
        is_complete = self._n_needed == len(self._labels)
        self._candidates = self._in_mask
        if is_complete:
            is_seen = self._in_mask.pack(np.isfinite(self._first.effect))
            self._candidates = Elements(space=self._first.space, indices=self._in_mask.indices[is_seen])
        shape = (len(self._labels), self._candidates.n_elements)
        n_arrays = 1 + needs_variance + is_shuffled
        folder = None if executor.can_hold(4 * n_arrays * shape[0] * shape[1]) else work_dir
        self._data = make_zeros(shape, folder, "stack_effects")
        self._variance = make_zeros(shape, folder, "stack_variances") if needs_variance else None

    def add(self, number: int, one: PooledMap, checked: int) -> None:
        """Put one map into its row; refuse the numbers of another row, whatever the files are called."""
        path = _path_of(one)
        check_same_space(_path_of(self._first), self._first.space, path, one.space)
        self._see(np.asfortranarray(one.n_maps > 0))
        self._candidates.pack(one.effect, out=self._data[number])
        suspects = self._suspects.setdefault(checked, [])
        for other in suspects:
            is_same = np.array_equal(self._data[number], self._data[other], equal_nan=True)
            if is_same and self._labels[other] != one.observation.label:
                raise DataError(
                    f"The maps of {self._labels[other]} and {one.observation.label} hold the same numbers.",
                    found=f"equal effects at every element ({path})",
                    expected="a map of each person's own",
                    fix="Find out whose map it is, and leave the other person out.",
                )
        suspects.append(number)
        drop_pages(self._data)
        if self._variance is None:
            return
        if one.variance is None:
            raise DataError(
                f"The map of {one.observation.label} has no variance.",
                found=f"{path} without a variance map",
                expected="a variance for every row: a node of type meta weights by it",
                fix="Use a node of type glm.",
            )
        self._candidates.pack(one.variance, out=self._variance[number])
        drop_pages(self._variance)

    def _see(self, is_observed: Mask) -> None:
        """Note where a map is observed; many are at the same places as the one before, and counted later."""
        if not self.seen or not is_same_mask(is_observed, self._observed):
            self._count()
            self._observed = is_observed
            self._bits = zlib.compress(np.packbits(self._in_mask.pack(is_observed)).data, 1)
        self._n_alike += 1
        self.seen.append(self._bits)

    def _count(self) -> None:
        self._counts += self._observed * np.uint16(self._n_alike)
        self._n_alike = 0

    def finish(self) -> StackedMaps:
        """Keep the elements with enough coverage."""
        self._count()
        costs = self._costs()
        is_kept = self._candidates.pack(self._counts) >= self._n_needed
        if not is_kept.any():
            order = ["n_lost_by_this_row_alone", "n_unobserved"]
            worst = costs.sort_values(order, ascending=False, kind="stable").head(3)
            said = ", ".join(
                f"{row.observation} lacks {row.n_unobserved} "
                f"(without it: {row.n_lost_by_this_row_alone} elements)"
                for row in worst.itertuples()
            )
            where = f"inside {self._mask}" if self._mask else "in these maps"
            enough = f"{self._n_needed} of {len(self._labels)} rows"
            raise DataError(
                f"No element is observed in enough people {where}.",
                found=f"none in {enough}; {said}",
                expected=f"elements observed in at least {enough}",
                fix="Leave out who costs most with --exclude-participant-label, or lower --min-coverage.",
            )
        elements = Elements(space=self._first.space, indices=self._candidates.indices[is_kept])
        variance = None if self._variance is None else _compressed(self._variance, is_kept)
        stack = MapStack(labels=self._labels, data=_compressed(self._data, is_kept), variance=variance)
        n_lost = int(np.count_nonzero(self._in_mask.pack(self._counts))) - elements.n_elements
        return StackedMaps(stack, elements, self._counts, costs, n_lost, self._n_needed)

    def _costs(self) -> pd.DataFrame:
        """Count by row what it lacks, and what could be analysed without it."""
        counts = self._in_mask.pack(self._counts)
        is_analysed = counts >= self._n_needed
        costs: dict[bytes, tuple[int, int]] = {}
        for bits in dict.fromkeys(self.seen):
            packed = np.frombuffer(zlib.decompress(bits), np.uint8)
            is_seen = np.unpackbits(packed, count=counts.size).view(bool)
            without = counts.astype(np.int32) - is_seen
            lost = (without >= self._n_needed_without_one) & ~is_analysed
            costs[bits] = int((~is_seen).sum()), int(lost.sum())
        columns = ["n_unobserved", "n_lost_by_this_row_alone"]
        table = pd.DataFrame([costs[bits] for bits in self.seen], columns=columns)
        table.insert(0, "observation", self._labels)
        return table


def _path_of(one: PooledMap) -> Path:
    return one.observation.maps[0].effect


def _compressed(data: Rows, is_kept: Mask) -> Rows:
    """Keep some columns, in place: rows move to the front of the same memory."""
    if is_kept.all():
        return data
    n_rows, n_kept = data.shape[0], int(is_kept.sum())
    flat = data.reshape(-1)
    for row in range(n_rows):
        flat[row * n_kept : (row + 1) * n_kept] = data[row, is_kept]
        drop_pages(data)
    return flat[: n_rows * n_kept].reshape(n_rows, n_kept)


def describe_coverage(pooled: PooledMap) -> str | None:
    """Say at which share of the observed elements some map is missing; None below `MIN_SHARE`."""
    n_most, n_observed = int(pooled.n_maps.max()), np.count_nonzero(pooled.n_maps)
    n_partly = n_observed - np.count_nonzero(pooled.n_maps == n_most)
    if n_partly < MIN_SHARE * n_observed:
        return None
    return f"fewer than {n_most} maps observed at {100 * n_partly / n_observed:.0f} % of its elements"


def tell_costs(stacked: StackedMaps) -> list[Notice]:
    """Say what incomplete coverage costs, and name those without whom more elements could be analysed."""
    n_analysed, n_lost, n_rows = stacked.elements.n_elements, stacked.n_lost, len(stacked.costs)
    if n_lost == 0:
        return []
    alone = stacked.costs.set_index("observation")["n_lost_by_this_row_alone"]
    alone = alone[alone > 0].sort_values(ascending=False, kind="stable")
    rows = ", ".join(f"{row} ({n})" for row, n in alone.head(5).items()) + and_more(len(alone) - 5)
    n_alone = int(alone.sum())
    are, them = ("is", "it") if n_lost == 1 else ("are", "them")
    some = f", observed in some of the {n_rows} rows, {are} lost"
    if (
        stacked.n_needed < n_rows
    ):  # one element may be gained without one row or without another: no sum is made
        said = f" are lost because they are observed in fewer than {stacked.n_needed} of the {n_rows} rows."
        said += f" Without one of these rows, so many would be gained: {rows}." if n_alone else ""
    elif n_alone == n_lost:
        said = f" {are} lost because a single row lacks {them}: {rows}."
    elif n_alone == 0:
        said = f"{some} because several rows lack {them}."
    else:
        said = f"{some}: {n_alone} because a single row lacks {'it' if n_alone == 1 else 'them'}, {rows}; "
        said += f"{n_lost - n_alone} because several rows do."
    fix = "The maps stat-n say where; lower --min-coverage to analyse them."
    if n_alone:
        fix = "Look at these maps; leave a person out, or lower --min-coverage."
    is_large = n_alone >= MIN_SHARE * n_analysed or n_lost >= LARGE_SHARE * n_analysed
    sentence = (
        f"{counted(n_analysed, 'element')} {plural(n_analysed, 'is', 'are')} analysed; {n_lost} more{said}"
    )
    return [(warn if is_large else note)("coverage", sentence, fix)]
