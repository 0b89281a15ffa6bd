"""The request settled against the maps and people that are there, and what is odd about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from bids_group import bids, model
from bids_group.config import AnalysisSpec, RunConfig
from bids_group.config.corrections import UNCORRECTED
from bids_group.config.stats_model import StatsModel
from bids_group.config.stats_model_request import compile_request
from bids_group.elements import (
    Grid,
    Parcels,
    Space,
    Surfaces,
    Vertices,
    find_pair,
    name_elements,
    read_mask,
    without_surface,
)
from bids_group.errors import DataError, UsageError
from bids_group.executor import Threads
from bids_group.labels import is_adult_mni
from bids_group.output import report
from bids_group.records import Cohort, Notice, note, warn
from bids_group.words import list_some

_WIDEST_MM, _LARGEST_ALPHA = 30, 0.1
"""Smoothing and alpha beyond which a slip is likelier than a wish."""


def settle(config: RunConfig, asked: StatsModel | None) -> tuple[RunConfig, StatsModel, Cohort]:
    """Find people and maps; say in the request what it left open, and among their notices what was settled.

    The model is the one that was ``asked`` for, or the options of the command line as one.
    """
    threads = Threads(n_procs=config.execution.n_procs)  # headers are read here, wherever the work is done
    cohort = bids.gather_cohort(config.inputs, config.selection, config.output_dir, threads)
    config = _settle_design(config, cohort, asked)
    spec, cohort, about_pooling = settle_pooling(config.analysis, cohort)
    spec, cohort, settled = _settle_extent_and_masks(spec, cohort, is_group=config.level == "group")
    cohort = replace(cohort, notices=(*cohort.notices, *about_pooling, *settled))
    stats_model = asked or compile_request(
        config.analysis, config.selection, spec.pooling, config.inputs, cohort.cell_factors
    )
    return replace(config, analysis=spec), stats_model, cohort


def _settle_design(config: RunConfig, cohort: Cohort, asked: StatsModel | None) -> RunConfig:
    """Write a design matrix of the user's own as a formula of its columns; a model's must be the same."""
    if cohort.design_matrix is None:
        return config
    formula = model.add_columns(cohort.design_matrix.columns)
    for node in () if asked is None else asked.dataset_nodes:
        if node.formula != formula or node.settings["center"] != "none":
            raise UsageError(
                f"The node {node.name!r} has another design than its design_matrix.",
                found=f"the formula {node.formula or 'of X'}, centring {node.settings['center']}",
                expected=f"{formula}, centring none",
                fix="Leave design_matrix out of the model's settings, or mend its Formula.",
            )
    return replace(config, analysis=replace(config.analysis, formula=formula, centering="none"))


def settle_pooling(spec: AnalysisSpec, cohort: Cohort) -> tuple[AnalysisSpec, Cohort, list[Notice]]:
    """Precision where every map of the dataset has a variance, else the mean, with a warning.

    Precision that was asked for is precision: it needs the variances of the maps that are pooled, no others.
    """
    by_session = spec.pooling == "none"
    parts = [(one.subject, one.contrast, one.session if by_session else None) for one in cohort.maps]
    n_together = Counter(parts)
    pairs = zip(cohort.maps, parts, strict=True)
    lacking = [one.effect for one, part in pairs if one.variance is None and n_together[part] > 1]
    if spec.pooling == "precision":
        if lacking:
            raise DataError(
                "Maps cannot be pooled by their precision (--pooling precision).",
                found=f"no variance map for {lacking[0]}"
                + (f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""),
                expected="a variance map for every effect map that is pooled with others",
                fix="Give the variance, leave the map out, or use --pooling mean.",
            )
        return spec, replace(cohort, has_variance_everywhere=True), []
    if cohort.has_variance_everywhere or spec.pooling == "mean":
        return replace(spec, pooling=spec.pooling or "precision"), cohort, []
    sentence = "Not every effect has a variance map: maps of a participant are pooled by their plain mean."
    fix = "Give variance maps for all runs, or say --pooling mean to silence this."
    is_told = max(n_together.values(), default=0) > 1
    return (
        replace(spec, pooling=spec.pooling or "mean"),
        cohort,
        [warn("pooling", sentence, fix)] if is_told else [],
    )


def _settle_extent_and_masks(
    spec: AnalysisSpec, cohort: Cohort, *, is_group: bool
) -> tuple[AnalysisSpec, Cohort, list[Notice]]:
    """Judge the height that a cluster extent belongs to; read the mask, and tell the maps their threshold.

    The mask's grid is compared once there is a map beside it; at the participant level it is not used.
    """
    asked, notices = spec.inference, []
    if asked.cluster_extent_mm3 is not None and UNCORRECTED.name not in asked.corrections:
        sentence = (
            f"--cluster-extent {asked.cluster_extent_mm3:g} belongs to the uncorrected height"
            f" p ≤ {asked.cluster_forming_p:g}, which is shown beside {', '.join(asked.corrections)}."
        )
        notices.append(note("extent", sentence))
        spec = replace(spec, inference=replace(asked, corrections=(*asked.corrections, UNCORRECTED.name)))
    if spec.mask is not None and is_group:
        spec = replace(spec, mask=find_pair(spec.mask))
    if spec.mask_threshold is None:
        return spec, cohort, notices
    if spec.mask is None and all(one.mask is None for one in cohort.maps):
        sentence = "--mask-threshold changes nothing: neither --mask nor a mask of a map is given."
        notices.append(warn("mask", sentence))
    maps = tuple(replace(one, mask_threshold=spec.mask_threshold) for one in cohort.maps)
    return spec, replace(cohort, maps=maps), notices


def settle_places(
    config: RunConfig, cohort: Cohort, people: Collection[str]
) -> tuple[report.Atlas | report.StructureAtlas | None, Surfaces, list[Notice]]:
    """Find the atlas, and at the group level the surfaces, with the areas of the ``people`` in an analysis.

    Also told is what was made of the mask, whose grid is known to be that of the maps, and what does nothing.
    """
    spec, is_group = config.analysis, config.level == "group"
    atlas, about_atlas = _settle_atlas(spec, cohort, is_used=not config.execution.is_dry_run)
    surfaces, about_surfaces = settle_surfaces(spec, cohort, people) if is_group else ({}, [])
    about_mask = _tell_mask(spec, cohort) if is_group else []
    return atlas, surfaces, [*about_mask, *about_atlas, *about_surfaces, *_tell_idle(spec, cohort)]


def _settle_atlas(
    spec: AnalysisSpec, cohort: Cohort, *, is_used: bool
) -> tuple[report.Atlas | report.StructureAtlas | None, list[Notice]]:
    """Read the atlas before anything is computed; one of another space is used, with a warning.

    Where none is given, maps in an adult MNI space have the one that comes with the app (if it ``is_used``).
    """
    is_volume = all(one.form == "volume" for one in cohort.maps)
    if spec.atlas is None:
        is_mni = is_volume and all(is_adult_mni(one.space) for one in cohort.maps)
        return (report.read_atlas(report.OWN_ATLAS) if is_mni and is_used else None), []
    first = cohort.spaces[cohort.maps[0].effect]
    if name_elements(first) == "regions":
        sentence = "--atlas names voxels and vertices, and the maps are of regions."
        fix = "Leave out --atlas: the tables name the region."
        raise UsageError(sentence, found=str(cohort.maps[0].effect), fix=fix)
    atlas: report.Atlas | report.StructureAtlas
    atlas = report.read_atlas(spec.atlas) if is_volume else report.read_structure_atlas(spec.atlas)
    if isinstance(atlas, report.StructureAtlas):
        atlas.check_fits(first)
    spaces = {one.space for one in cohort.maps if one.space is not None}
    if atlas.space is None or not spaces or atlas.space in spaces:
        return atlas, []
    sentence = f"The atlas lies in the space {atlas.space}, the maps in {', '.join(sorted(spaces))}."
    fix = "Region names can be off by millimetres; take an atlas of the maps' space."
    return atlas, [warn("atlas", sentence, fix)]


def settle_surfaces(
    spec: AnalysisSpec, cohort: Cohort, people: Collection[str]
) -> tuple[Surfaces, list[Notice]]:
    """Find the surfaces of the maps, with the areas of the ``people`` who are in an analysis.

    What would need neighbours or places that are not known is refused.
    """
    spaces = list({id(one): one for one in cohort.spaces.values()}.values())
    maps = [one for one in cohort.maps if one.subject in people]
    surfaces, notices = bids.find_surfaces(spec.surfaces, maps, spaces)
    for space in spaces:
        if not isinstance(space, Grid):
            _check_needs(spec, space, surfaces)
            notices += _tell_unknown(space, surfaces)
    return surfaces, list(dict.fromkeys(notices))


def _check_needs(spec: AnalysisSpec, space: Space, surfaces: Surfaces) -> None:
    """Refuse corrections of clusters, smoothing, and an extent in mm³ where they have no meaning."""
    asked = [f"--correction {one.name}" for one in spec.inference.rules if one.is_clusterwise]
    if spec.smoothing_fwhm_mm > 0:
        asked.append(f"--smoothing-fwhm {spec.smoothing_fwhm_mm:g}")
    has_regions = any(isinstance(one, Parcels) for one in space.parts)
    if has_regions and spec.inference.cluster_extent_mm3 is not None:
        asked.append(f"--cluster-extent {spec.inference.cluster_extent_mm3:g}")
    lacking = without_surface(space, surfaces)
    if asked and lacking:
        raise UsageError(
            "What is asked for needs neighbours of vertices, and there is no surface.",
            found=f"{', '.join(asked)} with maps of {', '.join(lacking)}",
            expected="a midthickness surface of each hemisphere",
            fix="Give them (a template's, or one per person): --surfaces left.surf.gii right.surf.gii; or use"
            " fdr, bonferroni or fwe-voxel, which need none.",
        )
    if asked and has_regions:
        raise UsageError(
            "Regions have no neighbours.",
            found=", ".join(asked),
            expected="a correction of each region: fwe-voxel (the maximum over regions), fdr or bonferroni",
            fix=f"Leave out {list_some((one.removeprefix('--correction ') for one in asked), 5)}.",
        )
    if spec.inference.cluster_extent_mm3 is not None:
        raise UsageError(
            "--cluster-extent is of volumes, and these maps are none: extents on surfaces are areas.",
            found=f"--cluster-extent {spec.inference.cluster_extent_mm3:g} (mm³) with {space.describe()}",
            fix="Leave it out; fwe-size judges the extent of clusters.",
        )


def _tell_unknown(space: Space, surfaces: Surfaces) -> list[Notice]:
    lacking = without_surface(space, surfaces)
    if not lacking or not any(isinstance(one, Vertices) for one in space.parts):
        return []
    sentence = (
        f"There is no surface of {' and '.join(lacking)}: in the tables all that is significant there, of "
        "one sign, stands as one cluster without area and place."
    )
    fix = "Give midthickness surfaces: --surfaces left.surf.gii right.surf.gii"
    return [warn("surfaces", sentence, fix)]


def _tell_mask(spec: AnalysisSpec, cohort: Cohort) -> list[Notice]:
    """Say what was made of the values of the mask, and what is odd about regions, in the maps and in it."""
    has_regions = any(space.form in ("table", "pscalar") for space in cohort.spaces.values())
    if spec.mask is None:
        return list(bids.tell_regions(cohort, None)) if has_regions else []
    mask = read_mask(spec.mask, spec.mask_threshold)
    sentence = f"The mask {spec.mask.name} is read with --mask-threshold: {mask.words}."
    notices = [note("mask", sentence)] if mask.words else []
    if has_regions:
        notices += bids.tell_regions(cohort, mask.space.restrict(mask.inside))
    return notices


def _tell_idle(spec: AnalysisSpec, cohort: Cohort) -> list[Notice]:
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
