"""CIFTI-2: numbers over brain models (vertices and voxels by structure), or over parcels."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.elements.space import Form, Grid, Parcels, Part, Structures, Vertices, Voxels, structures
from bids_group.errors import DataError, UsageError

_CIFTI_CODE = 32
_WANTED = {
    "dscalar": "brain models and scalars (.dscalar.nii)",
    "pscalar": "parcels and scalars (.pscalar.nii)",
}

PREFIX = "CIFTI_STRUCTURE_"


def parse_cifti(
    payload: bytes, path: Path, form: Form
) -> tuple[Structures, npt.NDArray[Any], tuple[str, ...]]:
    """Read a dense or parcellated scalar file: elements, numbers ``(n_elements, n_maps)``, names of the maps.

    Elements come in the order of `Structures`, whatever their order in the file.

    Raises
    ------
    UsageError
        It holds a series or labels.
    DataError
        It is no CIFTI file, cut short, or names an element twice.
    """
    from nibabel.nifti2 import Nifti2Header

    if payload[:4] not in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c"):
        raise DataError(
            f"{path} is called a CIFTI file and is none.",
            found="no NIfTI-2 header",
            expected=_WANTED[form],
            fix="Compute or copy it again; a volume must not be called so.",
        )
    header: Any = Nifti2Header(payload[:540], check=False)
    order, at = ("<", "little") if payload[0] else (">", "big"), int(header["vox_offset"])
    xml = b""
    place = 544
    while place + 8 <= min(at, len(payload)):
        size, code = (int.from_bytes(payload[start : start + 4], order[1]) for start in (place, place + 4))  # type: ignore[arg-type]
        if code == _CIFTI_CODE:
            xml = payload[place + 8 : place + size].rstrip(b"\0")
        place += max(size, 16)
    space, places, labels, kind = _interpret(xml)
    if kind != form and not (kind == f"{form} labels" and "label.nii" in path.name):
        raise UsageError(
            f"{path} is no file of one number per element.",
            found=kind,
            expected=_WANTED[form],
            fix="Give maps of effects: a series or labels cannot be analysed.",
        )
    shape = tuple(int(size) for size in header["dim"][5:7])
    numbers = np.ndarray(shape, header.get_data_dtype(), buffer=payload, offset=at, order="F")
    slope, intercept = header.get_slope_inter()
    if slope not in (None, 1.0) or intercept not in (None, 0.0):
        numbers = numbers * (1.0 if slope is None else slope) + (intercept or 0.0)
    if shape != (len(labels), places.size):
        raise DataError(
            f"Header and axes of {path} disagree.",
            found=f"{shape[0]} maps of {shape[1]} elements by the header",
            expected=f"{len(labels)} maps of {places.size} elements as the axes say",
            fix="Compute or copy the file again.",
        )
    return space, numbers.T[places], labels


@lru_cache(maxsize=16)
def _interpret(xml: bytes) -> tuple[Structures, npt.NDArray[np.intp], tuple[str, ...], str]:
    """Read the axes: elements in their order, where each stands in the file, names of maps, and the form."""
    from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, ScalarAxis
    from nibabel.cifti2.parse_cifti2 import Cifti2Parser

    parser = Cifti2Parser()
    parser.parse(string=xml)
    along, elements = (parser.header.get_axis(number) for number in (0, 1))
    names = tuple(map(str, along.name)) if isinstance(along, ScalarAxis) else ("",) * len(along)
    kind = f"{type(elements).__name__} by {type(along).__name__}"
    if isinstance(elements, BrainModelAxis):
        space, places = _order_models(elements)
        kind = "dscalar" if isinstance(along, ScalarAxis) else kind
    elif isinstance(elements, ParcelsAxis):
        regions = tuple(map(str, elements.name))
        _check_once(len(set(regions)) == len(regions))
        space, places = (
            structures([Parcels(names=regions, axis=elements)], "pscalar"),
            np.arange(len(regions)),
        )
        kind = "pscalar" if isinstance(along, ScalarAxis) else kind
    else:
        space, places = structures([], "dscalar"), np.zeros(0, np.intp)
    if isinstance(along, LabelAxis):
        kind = f"{'dscalar' if isinstance(elements, BrainModelAxis) else 'pscalar'} labels"
    return space, places, names, "a series" if "Series" in kind else kind


def _order_models(axis: Any) -> tuple[Structures, npt.NDArray[np.intp]]:
    """Sort structures, and in each its vertices or voxels; also give where each stands in the file."""
    parts: list[tuple[Part, npt.NDArray[np.intp]]] = []
    grid = None
    for name, where, model in axis.iter_structures():
        structure = name.removeprefix(PREFIX)
        if name in axis.nvertices:
            numbers, n_vertices = np.asarray(model.vertex, dtype=np.intp), int(axis.nvertices[name])
            order = np.argsort(numbers, kind="stable")
            part: Part = Vertices(structure=structure, n_vertices=n_vertices, indices=numbers[order])
        else:
            if grid is None:
                x, y, z = (int(size) for size in axis.volume_shape)
                grid = Grid(shape=(x, y, z), affine=np.asarray(axis.affine, dtype=np.float64))
            numbers = np.ravel_multi_index(tuple(np.asarray(model.voxel, dtype=np.intp).T), grid.shape)
            order = np.argsort(numbers, kind="stable")
            part = Voxels(structure=structure, grid=grid, indices=numbers[order])
        _check_once(bool((np.diff(numbers[order]) > 0).all()))
        parts.append((part, np.arange(len(axis))[where][order]))
    _check_once(len({part.structure for part, _ in parts}) == len(parts))
    space = structures([part for part, _ in parts], "dscalar")
    place_of = {part.structure: places for part, places in parts}
    return space, np.concatenate([place_of[part.structure] for part in space.parts])


def _check_once(is_once: bool) -> None:
    if not is_once:
        raise ValueError("an element or a structure stands in it twice")
