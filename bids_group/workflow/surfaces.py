"""The surfaces of a run: found before a map is read, refused where something needs one and there is none."""

from __future__ import annotations

from collections.abc import Collection

from bids_group import bids
from bids_group.config import AnalysisSpec
from bids_group.elements import Grid, Parcels, Space, Surfaces, Vertices, without_surface
from bids_group.errors import UsageError
from bids_group.records import Cohort, Notice, warn
from bids_group.words import list_some


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
