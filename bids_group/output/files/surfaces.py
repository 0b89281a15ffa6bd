"""The surfaces that clusters and pictures stand on, as they were used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_group.elements import HEMISPHERES, Surface, Surfaces
from bids_group.output.disk.manifest import record_outputs
from bids_group.output.disk.map_files import surface_bytes
from bids_group.output.disk.publishing import write_bytes
from bids_group.output.disk.writing import write_json
from bids_group.output.files.names import shared_entities, sidecar_path
from bids_group.records import FirstLevelMap
from bids_group.records.sidecars import Sidecar
from bids_group.words import bids_uri, counted


def write_surfaces(
    output_dir: Path, surfaces: Surfaces, maps: Sequence[FirstLevelMap], dataset_names: Mapping[str, Path]
) -> None:
    """Write the mesh of each hemisphere: ``group/hemi-L_space-fsaverage5_midthickness.surf.gii``."""
    shared = shared_entities(maps)
    named = "".join(f"{name}-{shared[name]}_" for name in ("space", "den") if shared[name])
    paths = {
        structure: output_dir / "group" / f"hemi-{HEMISPHERES[structure]}_{named}midthickness.surf.gii"
        for structure in surfaces
        if structure in HEMISPHERES
    }
    both = (one for path in paths.values() for one in (path, sidecar_path(path)))
    record_outputs(output_dir, (one.relative_to(output_dir) for one in both))
    roots = {**dataset_names, "": output_dir}
    for structure, path in paths.items():
        surface = surfaces[structure]
        write_bytes(path, surface_bytes(surface.mesh, structure))
        sources = [bids_uri(one, roots) for one in surface.sources]
        said = Sidecar(description=_describe(surface), sources=sources, extent={"cortex": say_areas(surface)})
        write_json(sidecar_path(path), said.to_json())


def _describe(surface: Surface) -> str:
    if not surface.sources:
        return "fsaverage5 as it comes with nilearn: halfway between its white and pial surface"
    if len(surface.sources) == surface.n_people:
        return f"Mean of the midthickness surfaces of {counted(surface.n_people, 'person', 'people')}"
    return "The template's midthickness surface"


def say_areas(surface: Surface) -> str:
    """Say whose areas the vertices have."""
    if not surface.n_people:
        return "area in mm2, of this surface"
    return f"area in mm2, mean of the surfaces of {counted(surface.n_people, 'person', 'people')}"
