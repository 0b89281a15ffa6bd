"""Which surfaces belong to the maps: a template's, people's own, or fsaverage5 where the maps lie on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bids_group.bids.index import IndexedFile, parse_names
from bids_group.elements import (
    BY_LETTER,
    FSAVERAGE5,
    Space,
    Structures,
    Surface,
    SurfaceFile,
    Surfaces,
    Vertices,
    hemi_of,
    mean_surface,
    read_fsaverage5,
    read_surface,
    template_surface,
)
from bids_group.elements.gifti_files import settle_structure
from bids_group.errors import DataError, GridError, MissingInputError
from bids_group.records import FirstLevelMap, Notice, note, warn
from bids_group.words import and_more, counted, list_some

_IN_FOLDERS = "*midthickness*.surf.gii*"


def find_surfaces(
    paths: Sequence[Path], maps: Sequence[FirstLevelMap], spaces: Iterable[Space]
) -> tuple[Surfaces, list[Notice]]:
    """Find the surface of every structure whose vertices the maps have; those without one are left out.

    Parameters
    ----------
    paths
        GIFTI files, and folders in which midthickness surfaces are found by their BIDS names: one with
        ``sub-``, in a folder called so, or of HCP is that of a person, others are a template's.
    maps, spaces
        The maps, whose people, space and density choose among surfaces, and their elements.

    Raises
    ------
    MissingInputError, DataError, UsageError, GridError
        A file is not there, cannot be read, is no anatomical surface, or has other vertices than the maps;
        several fit; people's surfaces have different triangles.
    """
    needed = {
        part.structure: part.n_vertices
        for space in spaces
        for part in (space.parts if isinstance(space, Structures) else ())  # voxels of grids have none
        if isinstance(part, Vertices)
    }
    if not needed:
        told = warn("surfaces", "--surfaces changes nothing: the maps are not of surfaces.")
        return {}, [told] if paths else []
    people = sorted({one.subject for one in maps})
    candidates = _list_files(paths, people)
    settled = {
        structure: _settle(structure, _fitting(candidates, structure, n_vertices, maps, {*paths}), people)
        for structure, n_vertices in needed.items()
    }
    found = {structure: surface for structure, surface in settled.items() if surface is not None}
    if candidates and not found:
        raise DataError(
            "No surface of --surfaces fits the maps.",
            found=list_some(
                f"{one.path} ({read_surface(one.path).mesh.n_vertices} vertices)" for one in candidates[:3]
            )
            + and_more(len(candidates) - 3),
            expected=f"midthickness surfaces of {', '.join(needed)} with {max(needed.values())} vertices, of "
            f"a template or of people who are analysed ({list_some((f'sub-{one}' for one in people), 2)})",
            fix="Give the surfaces of the space and density of the maps.",
        )
    is_fsaverage5 = {one.space for one in maps} <= {"fsaverage5", "fsaverage", None}
    is_fsaverage5 &= {*needed.values()} == {FSAVERAGE5}  # by the name of their space, or by vertices alone
    of_nilearn = read_fsaverage5() if is_fsaverage5 else {}
    sentence = "Neighbours are those of fsaverage5 (nilearn's, halfway between white and pial)."
    said = [note("surfaces", sentence)] if {*of_nilearn} - {*found} else []
    found |= {name: template_surface(mesh) for name, mesh in of_nilearn.items() if name not in found}
    return found, list(dict.fromkeys([*said, *_tell_areas(found, people)]))


def _list_files(paths: Iterable[Path], people: Collection[str]) -> list[IndexedFile]:
    """List the files that may be wanted, with whose they are and the hemisphere, by their names."""
    files: dict[Path, None] = {}
    for path in paths:
        inside = sorted(path.rglob(_IN_FOLDERS)) if path.is_dir() else []
        if path.is_dir() and not inside:
            raise MissingInputError(
                f"There is no surface in {path}.",
                expected="files named …_hemi-L_…_midthickness.surf.gii",
                fix="Name the files themselves: --surfaces left.surf.gii right.surf.gii",
            )
        files |= dict.fromkeys(inside or [path])
    candidates = []
    for path, (_, entities) in zip(files, parse_names(map(str, files)).items(), strict=True):
        more = {"hemi": hemi_of(path.name), "subject": entities.get("subject") or _person_of(path, people)}
        own = {**entities, **more}
        candidates.append(IndexedFile(path=path, entities={key: one for key, one in own.items() if one}))
    return candidates


def _person_of(path: Path, people: Collection[str]) -> str | None:
    """Say whose surface a file is without BIDS names: of HCP (``100307.L.…``), or in a folder ``sub-01``."""
    label = path.name.partition(".")[0]
    folders = (one.removeprefix("sub-").partition("_ses-")[0] for one in path.parts if one.startswith("sub-"))
    return label if label in people else next((one for one in folders if one in people), None)


Fitting = Mapping[str | None, Sequence[SurfaceFile]]
"""Surfaces by person; None: of a template."""


def _fitting(
    candidates: Sequence[IndexedFile],
    structure: str,
    n_vertices: int,
    maps: Sequence[FirstLevelMap],
    named: Collection[Path],
) -> Fitting:
    """Read the surfaces of a structure, of each person those whose names fit the maps best.

    What was found in a folder and has other vertices is another mesh's; what was ``named`` must fit.
    """
    spaces, densities = {one.space for one in maps}, {one.den for one in maps}
    people = {one.subject for one in maps}
    chosen: dict[str | None, dict[tuple[bool, bool], list[Path]]] = {}
    for one in candidates:
        known, subject = BY_LETTER.get(one.entities.get("hemi", "")), one.entities.get("subject")
        if known in (structure, None) and (subject is None or subject in people):
            fits = (one.entities.get("space") in spaces, one.entities.get("den") in densities)
            chosen.setdefault(subject, {}).setdefault(fits, []).append(one.path)
    found: dict[str | None, list[SurfaceFile]] = {}
    for subject, by_fit in chosen.items():
        for fits in sorted(by_fit, reverse=True):
            files = (_read(path, structure, n_vertices, is_named=path in named) for path in by_fit[fits])
            if kept := [file for file in files if file is not None]:
                found[subject] = kept
                break
    return found


def _read(path: Path, structure: str, n_vertices: int, *, is_named: bool) -> SurfaceFile | None:
    file = read_surface(path)
    if settle_structure(path, file.structure) != structure:
        return None
    if file.mesh.n_vertices != n_vertices:
        if not is_named:
            return None
        raise GridError(
            f"The surface {path} is of another mesh than the maps.",
            found=f"{file.mesh.n_vertices} vertices",
            expected=f"{n_vertices} vertices of {structure}, as the maps have",
            fix="Give the surface of the maps' own space and density (fsaverage and fsLR are different "
            "meshes, and native ones different in everybody).",
        )
    return file


def _settle(structure: str, fitting: Fitting, people: Sequence[str]) -> Surface | None:
    """Take the template's mesh where there is one, and people's mean areas where there are people's."""
    for subject, files in fitting.items():
        if len(files) > 1:
            whose = "a template" if subject is None else f"sub-{subject}"
            raise DataError(
                f"Several surfaces of {whose} fit the maps ({structure}).",
                found=list_some((one.path for one in files), 4),
                expected="one midthickness surface",
                fix="Name the files that are meant: --surfaces FILE …",
            )
    template = None
    if None in fitting:
        template = template_surface(fitting[None][0].mesh, fitting[None][0].path)
    own = [fitting[one][0] for one in people if one in fitting]
    if not own:
        return template
    first = own[0] if template is None else fitting[None][0]
    for one in own:
        is_listed_alike = np.array_equal(one.mesh.triangles, first.mesh.triangles)
        if not (is_listed_alike or np.array_equal(one.mesh.edges(), first.mesh.edges())):
            raise GridError(
                f"The surfaces {first.path} and {one.path} are different meshes.",
                found="triangles between other vertices",
                expected="one mesh for everybody: vertices that correspond",
                fix="Give surfaces in the space of the maps (space-fsLR_den-32k), not each person's own.",
            )
    return mean_surface([one.mesh for one in own], [one.path for one in own], template)


def _tell_areas(surfaces: Surfaces, people: Sequence[str]) -> Iterable[Notice]:
    """Say whose areas they are: those of a template are too small."""
    for surface in surfaces.values():
        if not surface.n_people:
            yield note(
                "surfaces",
                "Areas of clusters are those of the template surface, which is smoother than people's: their "
                "areas are larger.",
                "Give the midthickness surfaces of all people in the maps' space: --surfaces FOLDER",
            )
        elif surface.n_people < len(people):
            yield warn(
                "surfaces",
                f"Areas are the mean of {counted(surface.n_people, 'surface')} of {len(people)} people: the "
                "others have none that fits the maps.",
                "Give the midthickness surfaces of all people in the maps' space.",
            )
