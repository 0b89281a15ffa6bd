"""What a request says that does nothing or is odd, and where a model file says what a fix says in options."""

from __future__ import annotations

from collections.abc import Iterable

from bids_group import bids, model
from bids_group.config import AnalysisSpec
from bids_group.elements import Grid, Parcels, read_mask
from bids_group.errors import BidsGroupError
from bids_group.records import Cohort, GroupAnalysis, Notice, note, warn
from bids_group.words import list_some

_WIDEST_MM, _LARGEST_ALPHA = 30, 0.1
"""Smoothing and alpha beyond which a slip is likelier than a wish."""

_IN_MODEL = {
    "--formula": "a formula is the Model.Formula of a node, its random terms bids_group.random_terms",
    "--contrast": "such contrasts stand in Model.Software.bids_group.contrast, others in Contrasts (Name)",
    "--pooling": "what is pooled is said by nodes of Level Session and Subject",
}
"""Options that a model file says otherwise; all others it may leave to the command line."""


def point_into_model(error: BidsGroupError, spec: AnalysisSpec) -> None:
    """Add to the fix of an error where it belongs in the model file, if there is one."""
    places = [place for option, place in _IN_MODEL.items() if option in (error.fix or "")]
    if places and spec.model_file is not None:
        error.fix = f"{error.fix} In {spec.model_file.name}: {'; '.join(places)}."


def tell_mask(spec: AnalysisSpec) -> list[Notice]:
    """Read the mask, whose grid is known to be that of the maps, and say what was made of its values."""
    words = None if spec.mask is None else read_mask(spec.mask, spec.mask_threshold).words
    sentence = f"The mask {spec.mask and spec.mask.name} is read with --mask-threshold: {words}."
    return [note("mask", sentence)] if words else []


def tell_regions(spec: AnalysisSpec, cohort: Cohort) -> list[Notice]:
    """Say what is odd about the names of regions, in the maps and in the mask."""
    if all(space.form not in ("table", "pscalar") for space in cohort.spaces.values()):
        return []
    mask = None if spec.mask is None else read_mask(spec.mask, spec.mask_threshold)
    return list(bids.tell_regions(cohort, None if mask is None else mask.space.restrict(mask.inside)))


def tell_absent(spec: AnalysisSpec, stacked: model.StackedMaps) -> list[Notice]:
    """Name structures and regions in which nobody is observed; a mask may leave them out."""
    space = stacked.elements.space
    if isinstance(space, Grid) or spec.mask is not None:
        return []
    absent: list[str] = []
    for part, place in zip(space.parts, space.slices, strict=True):
        is_nowhere = stacked.coverage[place] == 0
        if isinstance(part, Parcels):
            absent += [name for name, nowhere in zip(part.names, is_nowhere, strict=True) if nowhere]
        elif is_nowhere.all():
            absent.append(str(part.structure))
    sentence = f"Nobody has a number in {list_some(absent, 8)}: nothing is analysed there."
    fix = "Look at these maps: n/a or NaN, 0 where that counts as missing, or variances that are not above 0."
    return [warn("coverage", sentence, fix)] if absent else []


def tell_idle(spec: AnalysisSpec, cohort: Cohort) -> list[Notice]:
    """Name settings that do nothing or are odd, and zeros that may be data and are left out."""
    notices = []
    if spec.inference.idle:
        options, asked = ", ".join(spec.inference.idle), ", ".join(spec.inference.corrections)
        sentence = f"No correction asked for ({asked}) uses {options}."
        fix = "Add --correction fwe-size or fwe-mass (or fwe-voxel, fwe-tfce for shuffling alone)."
        notices.append(warn("shuffling", sentence, fix))
    if spec.smoothing_fwhm_mm > _WIDEST_MM:
        sentence = f"--smoothing-fwhm {spec.smoothing_fwhm_mm:g} (mm) is wider than what it should find."
        notices.append(warn("smoothing", sentence, "Check it: most analyses take 4 to 12 mm."))
    if spec.inference.alpha > _LARGEST_ALPHA:
        sentence = f"--alpha {spec.inference.alpha:g} finds more than one analysis in ten where nothing is."
        notices.append(warn("alpha", sentence, "Check it: most analyses take 0.05."))
    if spec.min_coverage < 1 and any(m.suffix != "statmap" and m.mask is None for m in cohort.maps):
        sentence = (
            f"With --min-coverage {spec.min_coverage:g} people whose map is exactly 0 somewhere are left out "
            "there: means are of those above 0."
        )
        fix = "Put a mask of each person (…_desc-brain_mask) beside the maps, or leave --min-coverage at 1."
        notices.append(warn("maps", sentence, fix))
    return notices


def tell_lost_by_groups(cohort: Cohort, analyses: Iterable[GroupAnalysis]) -> list[Notice]:
    """Warn of levels that GroupBy leaves out whole, as it does people who lack its value."""
    staying = {one.subject for analysis in analyses for one in analysis.observations}
    reason = "for GroupBy (--missing drop)"
    left_out = {one.subject for each in analyses for one in each.exclusions if one.reason.endswith(reason)}
    people = cohort.tables[0]
    had = people.frame[people.frame.index.isin(staying | left_out)]
    return bids.tell_lost_levels(had, had[had.index.isin(staying)], people.columns) if left_out else []
