"""What a run will need, told before it starts: memory, room on the disk, and time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from bids_group import inference, output
from bids_group.config import Execution
from bids_group.config.estimators import LEAST_SQUARES
from bids_group.elements import (
    Elements,
    Grid,
    Smoother,
    align,
    build_geometry,
    gzip_bytes,
    read_map,
    read_mask,
    select,
)
from bids_group.errors import BidsGroupError
from bids_group.work_files import free_bytes, no_room
from bids_group.workflow.preparation import MOST_LEFT_OUT, PlannedAnalysis, RunPlan

LOGGER = logging.getLogger(__name__)

_PROGRAM_BYTES = 0.4e9
"""The program and its libraries, of each process; the report takes no more (0.2 GB at 1,000 people)."""
_BYTES_AT_WORK = 48 * 2**21
"""What the fit of a tile takes."""
_BYTES_OF_COUNT = 0.25
"""What it takes to pack the number of maps at each element, beside an effect."""

_FIT_PER_PRODUCTS = 1.5
"""What a fit takes with the maps of its contrasts, in products of its tiles with the design and back."""

_READING_PER_PARTS = 1.5
"""What a map takes with hashes, checks, sidecars and its place in the stack, in the parts that are timed.

Both were 1.2 to 1.7 for 300 and 1,000 maps at 2 mm.
"""

_NUMBERS_OF_TILE = 2**18


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMaps:
    """The maps of one analysis while it is done; ``folder`` is that of their file, None in memory.

    ``n_bytes``: all maps of its rows; ``n_residual_bytes``: those of the shuffles, 0 where none are done.
    """

    first_level_contrast: str
    n_rows: int
    n_elements: int
    n_bytes: int
    n_residual_bytes: int
    folder: Path | None
    has_residuals_in_file: bool

    @property
    def n_file_bytes(self) -> int:
        """What is needed of the disk."""
        in_file = 0 if self.folder is None else self.n_bytes
        return in_file + self.n_residual_bytes * self.has_residuals_in_file

    def __str__(self) -> str:
        size = f"{self.n_rows} rows × about {self.n_elements} elements, {_spell(self.n_bytes)}"
        where = "in memory" if self.folder is None else f"in a file in {self.folder}"
        shuffled = ""
        if self.n_residual_bytes:
            place = (
                f"in a file{' too' * (self.folder is not None)}"
                if self.has_residuals_in_file
                else "in memory"
            )
            shuffled = f"; for shuffling again {_spell(self.n_residual_bytes)}, {place}"
        return f"{self.first_level_contrast}: {size}, {where}{shuffled}"


def _spell(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a run will need: where the maps of each analysis will lie, and how long its parts will take.

    ``refusal``: that the disk has no room for them, else None.
    """

    stored: Sequence[StoredMaps]
    durations: output.Durations
    refusal: BidsGroupError | None


def foresee(plan: RunPlan) -> Needs:
    """Foretell what a run will need, before it starts; warn of a budget that the work cannot keep."""
    n_elements = _expected_elements(plan) if plan.planned else 0
    stored = [_place_maps(plan, one, n_elements) for one in plan.planned]
    _warn_of_memory(plan.config.execution, stored)
    durations, n_bytes = _forecast(plan, n_elements), max((one.n_file_bytes for one in stored), default=0)
    is_full = n_bytes > free_bytes(plan.work_dir)
    refusal = no_room(plan.work_dir, n_bytes) if is_full else None
    return Needs(stored=stored, durations=durations, refusal=refusal)


def _expected_elements(plan: RunPlan) -> int:
    """Say how many elements are kept, about: those of the mask, else those that hold something in a map.

    Where not everybody need be observed, and there is no mask, it is all elements of the structures.
    """
    if plan.spec.mask is not None:
        mask = read_mask(plan.spec.mask, plan.spec.mask_threshold)
        space, is_kept = mask.space, mask.inside
    else:
        first = read_map(plan.cohort.maps[0].effect)
        space, is_kept = (
            first.space,
            np.isfinite(first.data) & (first.data != 0) | (plan.spec.min_coverage < 1),
        )
    kept = select(space, plan.cohort.structures)
    return int(np.count_nonzero(align(is_kept, space, kept, False)))


def _place_maps(plan: RunPlan, planned: PlannedAnalysis, n_elements: int) -> StoredMaps:
    """Say where the maps of an analysis will lie; one analysis is done after the other."""
    n_rows, is_shuffled = len(planned.analysis.observations), plan.spec.inference.needs_shuffling
    n_one = 4 * n_rows * n_elements
    n_bytes = n_one * (2 if planned.analysis.estimator.needs_variance else 1)
    residuals = n_one * max(scheme.n_arrays for scheme in planned.schemes) if is_shuffled else 0
    is_held = plan.executor.can_hold(n_bytes + n_one * is_shuffled)
    is_beside = plan.executor.can_hold(n_bytes * is_held + residuals)
    return StoredMaps(
        first_level_contrast=planned.analysis.first_level_contrast,
        n_rows=n_rows,
        n_elements=n_elements,
        n_bytes=n_bytes,
        n_residual_bytes=residuals,
        folder=None if is_held else plan.work_dir,
        has_residuals_in_file=residuals > 0 and not is_beside,
    )


def _warn_of_memory(execution: Execution, stored: Sequence[StoredMaps]) -> None:
    """Warn of a budget that this process (which also reports), and workers of a cluster here, cannot keep."""
    is_elsewhere = execution.dask_scheduler is not None or execution.dask_slurm is not None
    if execution.mem_gb is None or not stored or is_elsewhere:
        return
    n_workers = execution.n_procs if execution.executor == "dask" else 0
    held = max(
        one.n_bytes * (one.folder is None) + one.n_residual_bytes * (not one.has_residuals_in_file)
        for one in stored
    )
    at_work = min(_BYTES_AT_WORK, 48 * max(one.n_bytes // 4 for one in stored))
    least_gb = ((1 + n_workers) * _PROGRAM_BYTES + max(n_workers, 1) * (held + at_work)) / 1e9
    if least_gb > execution.mem_gb:
        LOGGER.warning(
            "The work needs about %.2f GB of memory, and --mem-gb is %.3g: it is done all the same, and "
            "takes what it needs.",
            least_gb,
            execution.mem_gb,
        )


def _forecast(plan: RunPlan, n_elements: int) -> output.Durations:
    """Measure one map, one tile of each design and a few shuffles, and multiply."""
    maps, folder = [m for one in plan.observations for m in one.maps], plan.config.output_dir
    there = {one.name for one in folder.glob("sub-*")}  # names of files are made for these people alone
    known = (one for one in plan.observations if f"sub-{one.subject}" in there)
    n_pooled = sum(output.pooled_path(folder, one, "effect").exists() for one in known)
    n_new = len(plan.observations) - n_pooled
    reading = None
    with suppress(BidsGroupError):  # which the work itself will meet, and tell
        read, smooth, pack = _seconds_of_one(plan)
        parts = len(maps) * read + len(plan.observations) * smooth + n_new * pack
        reading = _READING_PER_PARTS * parts / plan.n_workers
    is_known = all(one.analysis.estimator.name == LEAST_SQUARES.name for one in plan.planned)
    fits = [_seconds_of_fit(one, n_elements) for one in plan.planned]
    return output.Durations(
        n_maps=len(maps),
        n_rows=len(plan.observations),
        n_pooled=n_pooled,
        reading=reading,
        fitting=sum(fits) / plan.n_workers if fits and is_known else None,
        shuffling=_seconds_of_shuffling(plan, n_elements),
        n_again=MOST_LEFT_OUT if plan.config.execution.has_sensitivity else 0,
    )


def _seconds_of_one(plan: RunPlan) -> tuple[float, float, float]:
    """Time to read a map with what belongs to it, to smooth it, and to pack what is written of it."""
    first, fwhm_mm = plan.cohort.maps[0], plan.spec.smoothing_fwhm_mm if plan.planned else 0
    read = _least_seconds(lambda: [read_map(path) for path in first.files])
    effect, smooth = read_map(first.effect), 0.0
    if fwhm_mm > 0 and first.form == "volume":
        smoother = Smoother(effect.grid, fwhm_mm)
        volume = np.where(effect.data == 0, np.float32(np.nan), effect.data)
        smooth = _least_seconds(lambda: smoother.smooth(volume))
    content = effect.data.tobytes("F")
    n_volumes = 1 + (first.variance is not None) + _BYTES_OF_COUNT
    return read, smooth, n_volumes * _least_seconds(lambda: gzip_bytes(content, is_cache=True))


def _seconds_of_fit(planned: PlannedAnalysis, n_elements: int) -> float:
    """Time of the products of a tile of noise with the design and back, for all elements."""
    X = planned.design.matrix.to_numpy(dtype=np.float64)
    inverse, n = np.linalg.pinv(X), max(_NUMBERS_OF_TILE // len(X), 8)
    noise = np.random.default_rng(0).standard_normal((len(X), n), np.float32)

    def fit() -> None:
        values = noise.astype(np.float64)
        np.square(values - X @ (inverse @ values)).sum()

    return _FIT_PER_PRODUCTS * _least_seconds(fit) * n_elements / n


def _seconds_of_shuffling(plan: RunPlan, n_elements: int) -> float | None:
    """Forecast the time that shuffling takes on this machine; None where nothing is shuffled.

    Of elements that not everybody has it is supposed that they are a tenth, where there may be any, and lack
    half of what may be missing. Maps that are no plain volumes have the geometry of the first.
    """
    spec, geometry = plan.spec.inference, None
    if not spec.needs_shuffling or not plan.planned:
        return None
    share = (1 - plan.spec.min_coverage) / 2
    holes = (n_elements // 10 if share > 0 else 0, share)
    space = plan.cohort.spaces[plan.cohort.maps[0].effect]
    if spec.measures - {"voxel"} and not isinstance(space, Grid):
        elements = Elements(space=space, indices=np.arange(space.n_elements))
        geometry = build_geometry(elements, plan.surfaces, spec.connectivity)
    seconds = [
        inference.forecast_seconds(one.design, one.schemes, spec, n_elements, holes, geometry)
        for one in plan.planned
    ]
    return sum(seconds) / plan.n_workers


def _least_seconds(do: Callable[[], object]) -> float:
    """Time of the faster of two goes: the first may load what is compiled."""
    taken = []
    for _ in range(2):
        start = perf_counter()
        do()
        taken.append(perf_counter() - start)
    return min(taken)
