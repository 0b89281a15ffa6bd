"""Maps of every kind on disk: volumes, GIFTI by hemisphere, CIFTI, tables of regions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.elements import Grid, Mesh, Parcels, Part, Space, Vertices, expand
from bids_group.elements.loaded import hash_bytes
from bids_group.output.disk.publishing import Write, write_bytes
from bids_group.output.disk.writing import table_text, write_volume

Intent = tuple[str, tuple[float, ...]]
"""What the numbers of a file are, for viewers, and the parameters of that."""

_CIFTI_INTENTS = {
    ".dscalar.nii": "ConnDenseScalar",
    ".dlabel.nii": "ConnDenseLabel",
    ".pscalar.nii": "ConnParcelScalr",
}


def write_map(
    path: Path,
    values: npt.NDArray[Any],
    space: Space,
    *,
    name: str | None = None,
    intent: Intent | None = None,
    where: npt.NDArray[np.bool_] | None = None,
    is_cache: bool = False,
    write: Write = write_bytes,
) -> str:
    """Write a map of a space, or several behind one another on a last axis; return the SHA-256 of its files.

    ``name`` is that of the space (MNI… is said in volumes). Outside ``where`` 0 is written, and n/a into a
    table. Integers are labels or counts; labels of clusters go by their file's ending.
    """
    if isinstance(space, Grid):
        return write_volume(
            path, values, space, space=name, intent=intent, where=where, is_cache=is_cache, write=write
        )
    columns = values.reshape(space.n_elements, -1)
    if where is not None:
        outside = np.nan if space.form == "table" and columns.dtype.kind == "f" else 0
        columns = np.where(where[:, None], columns, columns.dtype.type(outside))
    payloads: list[bytes]
    if space.form == "gifti":
        cut = zip(expand(path), space.parts, space.slices, strict=True)
        payloads = [_gifti(one, columns[own], part, intent) for one, part, own in cut]
    elif space.form == "table":
        payloads = [_table(path, columns, space)]
    else:
        payloads = [_cifti(path, columns, space)]
    for one, payload in zip(expand(path), payloads, strict=True):
        write(one, payload)
    return hash_bytes(payloads)


def _title(path: Path) -> str:
    """Name a map inside a file by the end of its name: ``stat-t_desc-fdr``."""
    stem = re.sub(r"\..*$", "", path.name)
    found = re.search(r"(?:stat|desc)-.*$", stem)
    return found[0].rsplit("_", 1)[0] if found else stem


def _gifti(path: Path, columns: npt.NDArray[Any], part: Part, intent: Intent | None) -> bytes:
    """Make the file of one hemisphere: a number at each vertex of its mesh, 0 where the space has none."""
    assert isinstance(part, Vertices)
    gifti = nib.gifti
    is_labels = path.name.endswith(".label.gii")
    numbers = np.zeros((part.n_vertices, columns.shape[1]), dtype=np.int32 if is_labels else np.float32)
    numbers[part.indices] = columns
    meta: Mapping[str, str] = {"Name": _title(path)}
    if intent is not None:
        meta = {**meta, **{f"intent_p{at}": repr(value) for at, value in enumerate(intent[1], start=1)}}
    code = "NIFTI_INTENT_LABEL" if is_labels else "NIFTI_INTENT_NONE" if intent is None else intent[0]
    arrays = [
        gifti.GiftiDataArray(np.ascontiguousarray(one), intent=code, meta=gifti.GiftiMetaData(meta))
        for one in numbers.T
    ]
    meta = {"AnatomicalStructurePrimary": _in_gifti(part.structure)}
    image = gifti.GiftiImage(darrays=arrays, meta=gifti.GiftiMetaData(meta))
    if is_labels:
        for number, colour in _label_colours(int(numbers.max(initial=0))).items():
            label = gifti.GiftiLabel(number, *colour)
            label.label = f"cluster {number}" if number else "none"
            image.labeltable.labels.append(label)
    content: bytes = image.to_bytes()
    return content


def surface_bytes(mesh: Mesh, structure: str) -> bytes:
    """Make the file of a surface: points in mm and triangles."""
    gifti = nib.gifti
    about = {"AnatomicalStructurePrimary": _in_gifti(structure), "GeometricType": "Anatomical"}
    points = gifti.GiftiDataArray(
        mesh.points.astype(np.float32),
        intent="NIFTI_INTENT_POINTSET",
        meta=gifti.GiftiMetaData({**about, "AnatomicalStructureSecondary": "MidThickness"}),
    )
    triangles = gifti.GiftiDataArray(mesh.triangles.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE")
    content: bytes = gifti.GiftiImage(darrays=[points, triangles]).to_bytes()
    return content


def _in_gifti(structure: str) -> str:
    """Name a structure as GIFTI does: ``CortexLeft``."""
    return "".join(word.capitalize() for word in structure.split("_"))


def _label_colours(n: int) -> dict[int, tuple[float, float, float, float]]:
    """Give each cluster a colour of its own, far from that of the one before; 0 is clear."""
    import colorsys

    colours = {0: (0.0, 0.0, 0.0, 0.0)}
    for number in range(1, n + 1):
        red, green, blue = colorsys.hsv_to_rgb((number * 0.618034) % 1, 0.65, 0.95)
        colours[number] = round(red, 4), round(green, 4), round(blue, 4), 1.0
    return colours


def _cifti(path: Path, columns: npt.NDArray[Any], space: Space) -> bytes:
    """Make a CIFTI-2 file with the elements of the space."""
    cifti = nib.cifti2
    title = _title(path)
    names = [title] if columns.shape[1] == 1 else [f"{title} {n}" for n in range(1, columns.shape[1] + 1)]
    ending = next(one for one in _CIFTI_INTENTS if path.name.endswith(one))
    if ending == ".dlabel.nii":
        colours = _label_colours(int(columns.max(initial=0)))
        table = {n: (f"cluster {n}" if n else "none", colour) for n, colour in colours.items()}
        along = cifti.LabelAxis(names, [table] * len(names))
    else:
        along = cifti.ScalarAxis(names)
    first = space.parts[0]
    axis = first.axis if isinstance(first, Parcels) else _brain_models(space)
    image = cifti.Cifti2Image(np.ascontiguousarray(columns.T, dtype=np.float32), (along, axis))
    image.nifti_header.set_intent(_CIFTI_INTENTS[ending])
    content: bytes = image.to_bytes()
    return content


def _brain_models(space: Space) -> Any:
    models = []
    for part in space.parts:
        assert not isinstance(part, Parcels)
        name = f"CIFTI_STRUCTURE_{part.structure}"
        if isinstance(part, Vertices):
            models.append(nib.cifti2.BrainModelAxis.from_surface(part.indices, part.n_vertices, name=name))
        else:
            voxels = np.column_stack(np.unravel_index(part.indices, part.grid.shape))
            models.append(
                nib.cifti2.BrainModelAxis(
                    name, voxel=voxels, affine=part.grid.affine, volume_shape=part.grid.shape
                )
            )
    return sum(models[1:], start=models[0])


def _table(path: Path, columns: npt.NDArray[Any], space: Space) -> bytes:
    """Make a table with a line per region; the column is called as the stat, else as the suffix."""
    (part,) = space.parts
    assert isinstance(part, Parcels)
    stem = path.name.removesuffix(".tsv")
    stat = re.search(r"_stat-([A-Za-z0-9]+)_", stem)
    name = stat[1] if stat else stem.rpartition("_")[2]
    names = [name] if columns.shape[1] == 1 else [f"{name}_{n}" for n in range(1, columns.shape[1] + 1)]
    frame = pd.DataFrame({"region": part.names, **dict(zip(names, columns.T, strict=True))})
    return table_text(frame).encode()
