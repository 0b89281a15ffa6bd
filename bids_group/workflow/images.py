"""What the image files must be like, looked at before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bids_group.bids import check_grids
from bids_group.config import AnalysisSpec
from bids_group.elements import read_mask
from bids_group.records import Cohort, GroupAnalysis, Notice, Observation


def settle_masks(spec: AnalysisSpec, cohort: Cohort, *, is_group: bool) -> tuple[Cohort, tuple[Notice, ...]]:
    """Read the mask of the analysis, which must be one, and tell the maps which threshold theirs has.

    The mask's grid is compared once there is a map beside it; at the participant level it is not used.
    """
    notices = []
    if spec.mask is not None and is_group:
        words = read_mask(spec.mask, spec.mask_threshold).words
        sentence = f"The mask {spec.mask.name} is read with --mask-threshold: {words}."
        notices += [Notice(severity="note", topic="mask", sentence=sentence)] if words else []
    if spec.mask_threshold is None:
        return cohort, tuple(notices)
    if spec.mask is None and all(one.mask is None for one in cohort.maps):
        sentence = "--mask-threshold changes nothing: neither --mask nor a mask of a map is given."
        notices.append(Notice(severity="warning", topic="mask", sentence=sentence))
    maps = tuple(replace(one, mask_threshold=spec.mask_threshold) for one in cohort.maps)
    return replace(cohort, maps=maps), tuple(notices)


def check_one_grid(
    analyses: Iterable[GroupAnalysis], observations: Iterable[Observation], mask: Path | None
) -> None:
    """Refuse maps of one analysis, or of one person, on different grids, and a mask on another one."""
    together = [(tuple(m for row in one.observations for m in row.maps), mask) for one in analyses]
    check_grids([*together, *((one.maps, None) for one in observations)])
