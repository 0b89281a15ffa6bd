"""All maps of an analysis as one array of rows, and the elements that are analysed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.elements import Elements, Smoother, check_same_grid, read_mask
from bids_group.errors import DataError, DesignError, UsageError
from bids_group.executor import ONE_THREAD, Executor
from bids_group.records import Design, GroupAnalysis, GroupData, MapStack, PooledMap

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.float32]


class StackedMaps(NamedTuple):
    """What `build_stack` gives.

    ``coverage``: uint16 volume of the grid, people observed at each element (also outside the mask).
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
    pooled: Iterable[PooledMap],
    *,
    labels: tuple[str, ...],
    mask: Path | None,
    mask_threshold: float | None = None,
    min_coverage: float,
    fwhm_mm: float,
    work_dir: Path | None,
    executor: Executor = ONE_THREAD,
    needs_variance: bool = False,
) -> StackedMaps:
    """Consume the pooled maps, one at a time, into a stack over the analysed elements.

    Analysed are the elements of ``mask`` (of the whole grid without one) that are observed in at least the
    share ``min_coverage`` of the rows. Each map is smoothed over its observed elements on its way in.

    Parameters
    ----------
    pooled
        One map per label, in the order of ``labels``.
    labels
        Rows of the design.
    mask, mask_threshold
        File on the grid of the maps; analysed are the elements inside (`read_mask`).
    min_coverage
        Share of rows in (0, 1]; below 1 the stack holds NaN where a row is not observed.
    fwhm_mm
        Smoothing, 0 for none.
    work_dir, executor
        Where the executor cannot hold the stack in memory it is kept in a file in ``work_dir``.
    needs_variance
        Whether to stack the variances too.

    Raises
    ------
    GridError
        A map or the mask lies on another grid than the first map.
    DataError
        No element is left, two rows hold the same numbers, or a variance is needed and missing.
    DesignError
        The maps that came are not those of ``labels``.
    UsageError
        Smoothing is asked for where known variances are used.
    """
    if needs_variance and fwhm_mm > 0:
        raise UsageError(
            "A node of type meta cannot be combined with smoothing.",
            found="--smoothing-fwhm above 0",
            expected="0: the variance maps do not describe smoothed effects",
            fix="Smooth before the first level, or use a node of type glm.",
        )
    building: _Building | None = None
    for number, one in enumerate(pooled):
        _check_label(one, number, labels)
        if building is None:
            building = _Building(one, len(labels), mask, mask_threshold, min_coverage, fwhm_mm)
            building.allocate(work_dir, executor, needs_variance)
        building.add(number, one)
    if building is None or building.n_added != len(labels):
        raise DesignError(
            "Fewer maps came than the design has rows.",
            found=str(0 if building is None else building.n_added),
            expected=str(len(labels)),
        )
    return building.finish(labels)


def join_maps(
    stacked: StackedMaps,
    design: Design,
    analysis: GroupAnalysis,
    blocks: pd.Series | None,
    variance_groups: pd.Series | None,
) -> GroupData:
    """Join a design and its maps."""
    n_observed = stacked.coverage.reshape(-1)[stacked.elements.indices]
    subjects = analysis.rows["subject"]
    return GroupData(
        design=design,
        stack=stacked.stack,
        elements=stacked.elements,
        is_complete=bool((n_observed == len(stacked.stack.labels)).all()),
        estimator=analysis.estimator,
        blocks=blocks,
        variance_groups=variance_groups,
        subjects=subjects if subjects.duplicated().any() else None,
    )


class _Building:
    """The stack while it is being filled."""

    def __init__(
        self,
        first: PooledMap,
        n_obs: int,
        mask: Path | None,
        mask_threshold: float | None,
        min_coverage: float,
        fwhm_mm: float,
    ) -> None:
        self._first = first
        self._n_obs = n_obs
        self._n_needed = _n_needed(min_coverage, n_obs)
        self._n_needed_without_one = _n_needed(min_coverage, n_obs - 1)
        self._in_mask = _read_mask(mask, mask_threshold, first)
        self._mask = mask
        self._smoother = Smoother(first.grid, fwhm_mm) if fwhm_mm > 0 else None
        self._counts = np.zeros(first.grid.shape, dtype=np.uint16)
        self._seen: list[npt.NDArray[np.uint8]] = []
        self._digests: dict[bytes, str] = {}
        self.n_added = 0

    def allocate(self, work_dir: Path | None, executor: Executor, needs_variance: bool) -> None:
        """Reserve rows over the candidates: no element outside them can be analysed."""
        is_complete = self._n_needed == self._n_obs
        candidates = self._in_mask & np.isfinite(self._first.effect) if is_complete else self._in_mask
        self._candidates = Elements.from_mask(self._first.grid, candidates)
        shape = (self._n_obs, self._candidates.n_elements)
        n_arrays = 2 if needs_variance else 1
        folder = None if executor.can_hold(4 * n_arrays * shape[0] * shape[1]) else work_dir
        self._data = _reserve(shape, folder, "effects")
        self._variance = _reserve(shape, folder, "variances") if needs_variance else None

    def add(self, number: int, one: PooledMap) -> None:
        """Put one map into its row."""
        check_same_grid(_path_of(self._first), self._first.grid, _path_of(one), one.grid)
        self._check_new(one)
        is_observed = np.isfinite(one.effect)
        self._counts += is_observed
        self._seen.append(np.packbits(is_observed[self._in_mask]))
        effect = one.effect if self._smoother is None else self._smoother.smooth(one.effect)
        self._data[number] = self._candidates.pack(effect)
        if self._variance is not None:
            self._variance[number] = self._candidates.pack(_variance_of(one))
        self.n_added += 1

    def _check_new(self, one: PooledMap) -> None:
        """Refuse numbers that another row has already, whatever the files are called."""
        digest = hashlib.blake2b(one.effect.tobytes(), digest_size=16).digest()
        twin = self._digests.setdefault(digest, one.observation.label)
        if twin != one.observation.label:
            raise DataError(
                f"The maps of {twin} and {one.observation.label} hold the same numbers.",
                found=f"equal effects at every element ({_path_of(one)})",
                expected="a map of each person's own",
                fix="Find out whose map it is, and leave the other person out.",
            )

    def finish(self, labels: tuple[str, ...]) -> StackedMaps:
        """Keep the elements with enough coverage."""
        in_mask_counts = self._counts[self._in_mask]
        costs = self._costs(labels, in_mask_counts)
        is_kept = self._counts.reshape(-1)[self._candidates.indices] >= self._n_needed
        if not is_kept.any():
            raise _empty(costs, self._mask, self._n_needed, self._n_obs)
        elements = Elements(grid=self._first.grid, indices=self._candidates.indices[is_kept])
        stack = MapStack(
            labels=labels,
            data=_compressed(self._data, is_kept),
            variance=None if self._variance is None else _compressed(self._variance, is_kept),
        )
        n_lost = int(np.count_nonzero(in_mask_counts)) - elements.n_elements
        return StackedMaps(stack, elements, self._counts, costs, n_lost, self._n_needed)

    def _costs(self, labels: tuple[str, ...], counts: npt.NDArray[np.uint16]) -> pd.DataFrame:
        is_analysed = counts >= self._n_needed
        unobserved, lost = [], []
        for bits in self._seen:
            is_seen = np.unpackbits(bits, count=counts.size).view(bool)
            without = counts.astype(np.int32) - is_seen
            unobserved.append(int((~is_seen).sum()))
            lost.append(int(((without >= self._n_needed_without_one) & ~is_analysed).sum()))
        return pd.DataFrame(
            {"observation": labels, "n_unobserved": unobserved, "n_lost_by_this_row_alone": lost}
        )


def _n_needed(min_coverage: float, n_obs: int) -> int:
    """Count the rows that make the share ``min_coverage``, at least one."""
    return max(1, int(np.ceil(min_coverage * n_obs - 1e-9)))


def _check_label(one: PooledMap, number: int, labels: tuple[str, ...]) -> None:
    expected = labels[number] if number < len(labels) else "no further map"
    if one.observation.label != expected:
        raise DesignError(
            "The maps and the rows of the design do not come in the same order.",
            found=f"{one.observation.label} as map {number + 1}",
            expected=expected,
        )


def _path_of(one: PooledMap) -> Path:
    return one.observation.maps[0].effect


def _variance_of(one: PooledMap) -> Rows:
    if one.variance is None:
        raise DataError(
            f"The map of {one.observation.label} has no variance.",
            found=f"{_path_of(one)} without a variance map",
            expected="a variance for every row: a node of type meta weights by it",
            fix="Use a node of type glm.",
        )
    return one.variance


def _read_mask(path: Path | None, threshold: float | None, first: PooledMap) -> Mask:
    """Read the analysis mask; without one the whole grid."""
    if path is None:
        return np.ones(first.grid.shape, dtype=bool)
    mask = read_mask(path, threshold)
    check_same_grid(_path_of(first), first.grid, path, mask.grid, is_mask=True)
    return mask.inside


def _empty(costs: pd.DataFrame, mask: Path | None, n_needed: int, n_obs: int) -> DataError:
    worst = costs.sort_values(
        ["n_lost_by_this_row_alone", "n_unobserved"], ascending=False, kind="stable"
    ).head(3)
    said = ", ".join(
        f"{row.observation} lacks {row.n_unobserved} (without it: {row.n_lost_by_this_row_alone} elements)"
        for row in worst.itertuples()
    )
    where = f"inside {mask}" if mask else "in these maps"
    return DataError(
        f"No element is observed in enough people {where}.",
        found=f"none in {n_needed} of {n_obs} rows; {said}",
        expected=f"elements observed in at least {n_needed} of {n_obs} rows",
        fix="Leave out who costs most with --exclude-participant-label, or lower --min-coverage.",
    )


# --------------------------------------------------------------------------------------------
# Storage


def _reserve(shape: tuple[int, int], folder: Path | None, name: str) -> Rows:
    if folder is None or shape[1] == 0:
        return np.empty(shape, dtype=np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    return np.memmap(folder / f"stack_{name}.float32", dtype=np.float32, mode="w+", shape=shape)


def _compressed(data: Rows, is_kept: Mask) -> Rows:
    """Keep some columns, in place: rows move to the front of the same memory."""
    if is_kept.all():
        return data
    n_rows, n_kept = data.shape[0], int(is_kept.sum())
    flat = data.reshape(-1)
    for row in range(n_rows):
        flat[row * n_kept : (row + 1) * n_kept] = data[row, is_kept]
    return flat[: n_rows * n_kept].reshape(n_rows, n_kept)
