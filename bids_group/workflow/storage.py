"""Where the maps of each analysis will lie, memory or the work folder, and whether there is room for them."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_group.config import RunConfig
from bids_group.elements import read_map, read_mask
from bids_group.errors import BidsGroupError
from bids_group.work_files import free_bytes, no_room
from bids_group.workflow.preparation import RunPlan

LOGGER = logging.getLogger(__name__)

_PROGRAM_BYTES = 0.4e9
"""The program and its libraries, of each process; the report takes no more (0.2 GB at 1,000 people)."""
_BYTES_AT_WORK = 48 * 2**21
"""What the fit of a tile takes."""


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
            place = "in a file too" if self.has_residuals_in_file else "in memory"
            shuffled = f"; for shuffling again {_spell(self.n_residual_bytes)}, {place}"
        return f"{self.first_level_contrast}: {size}, {where}{shuffled}"


def _spell(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def work_folder(config: RunConfig) -> Path:
    """Name a folder of this run's own, which is removed after success: never the one that the user named."""
    own = config.execution.work_dir
    if own is None:
        return config.output_dir / ".work" / "bids_group"
    return own / f"bids_group-{hashlib.sha256(os.fsencode(config.output_dir.resolve())).hexdigest()[:12]}"


def expected_elements(plan: RunPlan) -> int:
    """Say how many elements are kept, about: those of the mask, else those that hold something in a map.

    Where not everybody need be observed, and there is no mask, it is the whole grid.
    """
    if plan.spec.mask is not None:
        return int(np.count_nonzero(read_mask(plan.spec.mask, plan.spec.mask_threshold).inside))
    first = read_map(plan.cohort.maps[0].effect)
    if plan.spec.min_coverage < 1:
        return first.space.n_elements
    return int(np.count_nonzero(np.isfinite(first.data) & (first.data != 0)))


def plan_storage(plan: RunPlan) -> list[StoredMaps]:
    """Say for each analysis where its maps will lie; one analysis is done after the other."""
    stored, folder = [], work_folder(plan.config)
    n_elements = expected_elements(plan) if plan.planned else 0
    for one in plan.planned:
        n_rows = len(one.analysis.observations)
        n_one = 4 * n_rows * n_elements
        n_bytes = n_one * (2 if one.analysis.estimator.needs_variance else 1)
        residuals = n_one if plan.spec.inference.needs_shuffling else 0
        is_held = plan.executor.can_hold(n_bytes + residuals)
        stored.append(
            StoredMaps(
                first_level_contrast=one.analysis.first_level_contrast,
                n_rows=n_rows,
                n_elements=n_elements,
                n_bytes=n_bytes,
                n_residual_bytes=residuals,
                folder=None if is_held else folder,
                has_residuals_in_file=residuals > 0 and not is_held and not plan.executor.can_hold(n_one),
            )
        )
    return stored


def _least_bytes(stored: list[StoredMaps], n_workers: int) -> float:
    """Say what all processes hold at once: this one, which also reports, and workers of a cluster here."""
    held = max(
        one.n_bytes * (one.folder is None) + one.n_residual_bytes * (not one.has_residuals_in_file)
        for one in stored
    )
    at_work = min(_BYTES_AT_WORK, 48 * max(one.n_bytes // 4 for one in stored))
    return (1 + n_workers) * _PROGRAM_BYTES + max(n_workers, 1) * (held + at_work)


def check_room(plan: RunPlan, stored: list[StoredMaps]) -> BidsGroupError | None:
    """Warn of a budget that the work cannot keep; return the refusal if the disk has no room."""
    execution = plan.config.execution
    is_elsewhere = execution.dask_scheduler is not None or execution.dask_slurm is not None
    if execution.mem_gb is not None and stored and not is_elsewhere:
        least = _least_bytes(stored, execution.n_procs if execution.executor == "dask" else 0) / 1e9
        if least > execution.mem_gb:
            LOGGER.warning(
                "The work needs about %.2f GB of memory, and --mem-gb is %.3g: it is done all the same, and "
                "takes what it needs.",
                least,
                execution.mem_gb,
            )
    folder, n_bytes = work_folder(plan.config), max((one.n_file_bytes for one in stored), default=0)
    return no_room(folder, n_bytes) if n_bytes > free_bytes(folder) else None
