"""How long shuffling will take on this machine, told before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from bids_group.elements import read_header, read_mask
from bids_group.inference import BRAIN, forecast_seconds
from bids_group.workflow.preparation import PlannedAnalysis, RunPlan


def seconds_of_shuffling(
    plan: RunPlan, planned: Iterable[PlannedAnalysis], n_elements: int | None = None
) -> float | None:
    """Measure for some analyses, about; None where nothing is shuffled.

    Parameters
    ----------
    n_elements
        Number of analysed elements; before the maps are read, what the mask or the grid lets expect.
    """
    spec, execution = plan.spec.inference, plan.config.execution
    analyses = tuple(planned)
    if not spec.needs_shuffling or not analyses:
        return None
    expected = _expected_elements(plan) if n_elements is None else n_elements
    seconds = [
        forecast_seconds(one.design, spec, expected, blocks=one.blocks, variance_groups=one.variance_groups)
        for one in analyses
    ]
    return sum(seconds) / max(min(execution.n_procs, os.cpu_count() or 1), 1)


def _expected_elements(plan: RunPlan) -> int:
    """Count the elements of the mask, or of a brain of usual size in the grid of the first map."""
    if plan.spec.mask is not None:
        return int(np.count_nonzero(read_mask(plan.spec.mask, plan.spec.mask_threshold).inside))
    return int(BRAIN * read_header(plan.cohort.maps[0].effect).grid.n_elements)
