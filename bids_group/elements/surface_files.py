"""Surfaces on disk: points and triangles of GIFTI files, and fsaverage5, which comes with nilearn."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bids_group.elements.file_content import DAMAGED
from bids_group.elements.geometry import Mesh
from bids_group.elements.gifti_files import POINTS, PRIMARY, TRIANGLES, name_structure, open_gifti, read_gifti
from bids_group.errors import DataError, UsageError

_NO_ANATOMY = ("inflated", "spherical", "sphere", "flat", "ellipsoid", "hull", "vinflated")
FSAVERAGE5 = 10242
"""Vertices of each hemisphere of fsaverage5."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurfaceFile:
    """A surface, and of which structure it says that it is (as CIFTI names it), if it does."""

    path: Path
    mesh: Mesh
    structure: str | None


def read_surface(path: Path) -> SurfaceFile:
    """Read points and triangles of a GIFTI file.

    Raises
    ------
    MissingInputError
        The file is not there.
    DataError
        It is no GIFTI file, or its triangles name vertices that it does not have.
    UsageError
        It is no surface, or an inflated or spherical one, on which areas mean nothing.
    """
    payload = read_gifti(path)
    try:
        image = open_gifti(payload, path)
        points = image.get_arrays_from_intent(POINTS)
        triangles = image.get_arrays_from_intent(TRIANGLES)
        said = [one for each in (image, *points) if (one := each.meta or {})]
        mesh = None
        if points and triangles:
            corners = np.asarray(triangles[0].data, dtype=np.int32)
            mesh = Mesh(points=np.asarray(points[0].data, dtype=np.float64), triangles=corners)
    except DAMAGED as error:
        raise DataError(
            f"The surface {path} cannot be read.",
            found=str(error) or type(error).__name__,
            expected="GIFTI with points and triangles (.surf.gii)",
            fix="Get the file again, or write it anew.",
        ) from error
    if mesh is None:
        raise UsageError(
            f"{path} is no surface.",
            found="no points or no triangles",
            expected="a midthickness surface (.surf.gii)",
            fix="Give --surfaces surfaces; maps are found in the derivatives, or with --maps.",
        )
    kinds = [str(one.get("GeometricType", "")).lower() for one in said]
    names = path.name.lower()
    bent = next((one for one in _NO_ANATOMY if any(one in kind for kind in kinds) or one in names), None)
    if bent is not None:
        raise UsageError(
            f"{path} has not the shape of a brain: areas and distances on it mean nothing.",
            found=bent,
            expected="a midthickness surface",
            fix="Give the midthickness surfaces (or white or pial ones).",
        )
    _check_mesh(path, mesh)
    structures = [name_structure(str(one[PRIMARY])) for one in said if PRIMARY in one]
    return SurfaceFile(path=path, mesh=mesh, structure=structures[0] if structures else None)


def _check_mesh(path: Path, mesh: Mesh) -> None:
    shapes = mesh.points.shape, mesh.triangles.shape
    if any(len(one) != 2 or one[1] != 3 for one in shapes):
        raise DataError(
            f"The surface {path} is damaged.",
            found=f"points and triangles of shapes {shapes[0]} and {shapes[1]}",
            expected="three coordinates of each point, three corners of each triangle",
            fix="Get the file again, or write it anew.",
        )
    least, most = int(mesh.triangles.min(initial=0)), int(mesh.triangles.max(initial=0))
    if least < 0 or most >= mesh.n_vertices or not np.isfinite(mesh.points).all():
        raise DataError(
            f"The surface {path} is damaged.",
            found=f"{mesh.n_vertices} vertices, triangles of vertices {least} to {most}"
            if np.isfinite(mesh.points).all()
            else "points that are no numbers",
            expected="triangles between its own vertices, all of them in mm",
            fix="Get the file again, or write it anew.",
        )


def read_fsaverage5() -> dict[str, Mesh]:
    """Take fsaverage5 as nilearn ships it; between white and pial surface lies the midthickness."""
    package = find_spec("nilearn")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "datasets" / "data" / "fsaverage5"
    found = {}
    for structure, side in (("CORTEX_LEFT", "left"), ("CORTEX_RIGHT", "right")):
        white, pial = (read_surface(folder / f"{kind}_{side}.gii.gz").mesh for kind in ("white", "pial"))
        found[structure] = Mesh(points=(white.points + pial.points) / 2, triangles=white.triangles)
    return found
