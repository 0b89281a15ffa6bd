"""Maps of every kind on disk: volumes, GIFTI by hemisphere, CIFTI, tables of regions."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.elements import Grid, Mesh, Parcels, Part, Space, Vertices, expand, gzip_bytes
from bids_group.elements.loaded import hash_bytes
from bids_group.output.disk.publishing import Write, write_bytes
from bids_group.output.disk.writing import table_text

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
        payloads = [_nifti(values, space, name, intent, where, is_cache)]
    else:
        payloads = _of_structures(path, values, space, intent, where)
    for one, payload in zip(expand(path), payloads, strict=True):
        write(one, payload)
    return hash_bytes(payloads)


def _of_structures(
    path: Path,
    values: npt.NDArray[Any],
    space: Space,
    intent: Intent | None,
    where: npt.NDArray[np.bool_] | None,
) -> list[bytes]:
    columns = values.reshape(space.n_elements, -1)
    if where is not None:
        outside = np.nan if space.form == "table" and columns.dtype.kind == "f" else 0
        columns = np.where(where[:, None], columns, columns.dtype.type(outside))
    if space.form == "gifti":
        cut = zip(expand(path), space.parts, space.slices, strict=True)
        return [_gifti(one, columns[own], part, intent) for one, part, own in cut]
    return [_table(path, columns, space) if space.form == "table" else _cifti(path, columns, space)]


def _nifti(
    volume: npt.NDArray[Any],
    grid: Grid,
    name: str | None,
    intent: Intent | None,
    where: npt.NDArray[np.bool_] | None,
    is_cache: bool,
) -> bytes:
    """Make a NIfTI-1 file ``(x, y, z)`` or ``(x, y, z, q)`` in the volume's own dtype, gzipped.

    The sform code says MNI where the space is one of MNI's, else "aligned". What is a cache is packed quickly
    rather than small.
    """
    code = 4 if name is not None and name.upper().startswith("MNI") else 2
    dtype = volume.dtype.newbyteorder("<")
    header = _header(volume.shape, dtype, grid.affine.tobytes(), code, intent)
    content = _scratch(len(header) + volume.nbytes)
    content[: len(header)] = header
    numbers = np.ndarray(volume.T.shape, dtype, buffer=content, offset=len(header))
    if where is None:
        np.copyto(numbers, volume.T)
    else:  # bits times 0 or 1: NaN times 0 would be NaN
        bits = f"<i{dtype.itemsize}"
        np.multiply(volume.astype(dtype, copy=False).T.view(bits), where.T, out=numbers.view(bits))
    return (_pack_counts if volume.dtype == np.uint8 else gzip_bytes)(content, is_cache=is_cache)


def _pack_counts(content: memoryview, *, is_cache: bool) -> bytes:
    """Pack small numbers, or take what this thread packed last: people of equal coverage share theirs."""
    way, before, packed = getattr(_LOCAL, "counts", (False, b"", b""))
    now = np.frombuffer(content, np.uint8)
    if packed and way == is_cache and np.array_equal(np.frombuffer(before, np.uint8), now):
        return bytes(packed)
    packed = gzip_bytes(content, is_cache=is_cache)
    if len(content) <= _LARGEST_KEPT:
        _LOCAL.counts = (is_cache, bytes(content), packed)
    return packed


_LOCAL = threading.local()
_LARGEST_KEPT = 64_000_000


def _scratch(n_bytes: int) -> memoryview:
    """Give memory for what is compressed, the same to the next file: fresh pages take time."""
    scratch: bytearray = getattr(_LOCAL, "scratch", bytearray())
    if len(scratch) < n_bytes:
        scratch = bytearray(n_bytes)
        _LOCAL.scratch = scratch if n_bytes <= _LARGEST_KEPT else bytearray()
    return memoryview(scratch)[:n_bytes]


@lru_cache(maxsize=64)
def _header(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    affine: bytes,
    code: int,
    intent: Intent | None,
) -> bytes:
    """Let nibabel make what stands before the numbers, which takes as long as compressing them."""
    image = nib.Nifti1Image(np.broadcast_to(np.zeros((), dtype), shape), None)
    image.set_sform(np.frombuffer(affine).reshape(4, 4), code)
    image.set_qform(np.frombuffer(affine).reshape(4, 4), code)
    image.header.set_xyzt_units("mm")
    if intent is not None:
        image.header.set_intent(*intent)
    content: bytes = image.to_bytes()
    return content[: len(content) - dtype.itemsize * math.prod(shape)]


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
