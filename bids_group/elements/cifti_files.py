"""CIFTI-2: numbers over brain models (vertices and voxels by structure), or over parcels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bids_group.elements.file_content import HEADER_BYTES, NIFTI2_SIZES, read_beginning
from bids_group.elements.space import Form, Grid, Parcels, Part, Structures, Vertices, Voxels, structures
from bids_group.errors import DataError, UsageError

_CIFTI_CODE = 32
_MM = -3
_LONGEST_AXES = 2**28
_WANTED = {
    "dscalar": "brain models and scalars (.dscalar.nii)",
    "pscalar": "parcels and scalars (.pscalar.nii)",
}

PREFIX = "CIFTI_STRUCTURE_"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CiftiAxes:
    """What the beginning of a CIFTI file says: its elements, where each stands in the file, and the maps.

    Elements come in the order of `Structures`, whatever their order in the file. ``n_bytes``: how long the
    file is, by what it says.
    """

    space: Structures
    places: npt.NDArray[np.intp]
    labels: tuple[str, ...]
    header: Any

    @property
    def n_bytes(self) -> int:
        """From the first byte to the last number."""
        n_numbers = len(self.labels) * self.places.size
        return int(self.header["vox_offset"]) + n_numbers * int(self.header.get_data_dtype().itemsize)

    def numbers(self, content: bytes) -> npt.NDArray[Any]:
        """Take the numbers ``(n_elements, n_maps)`` from the file's content."""
        shape, at = (len(self.labels), self.places.size), int(self.header["vox_offset"])
        numbers = np.ndarray(shape, self.header.get_data_dtype(), buffer=content, offset=at, order="F")
        slope, intercept = self.header.get_slope_inter()
        if slope not in (None, 1.0) or intercept not in (None, 0.0):
            numbers = numbers * (1.0 if slope is None else slope) + (intercept or 0.0)
        return numbers.T[self.places]


def read_axes(path: Path, form: Form) -> CiftiAxes:
    """Read the beginning of a dense or parcellated scalar file: all but its numbers.

    Raises
    ------
    UsageError
        It holds a series or labels.
    DataError
        It is no CIFTI file, cut short, names an element twice, or its header and its axes disagree.
    """
    from nibabel.nifti2 import Nifti2Header

    start = read_beginning(path, HEADER_BYTES)
    if start[:4] not in NIFTI2_SIZES:
        raise DataError(
            f"{path} is called a CIFTI file and is none.",
            found="no NIfTI-2 header",
            expected=_WANTED[form],
            fix="Compute or copy it again; a volume must not be called so.",
        )
    if len(start) < HEADER_BYTES:
        raise EOFError("the header is cut short")
    header: Any = Nifti2Header(start[:540], check=False)
    if not HEADER_BYTES <= (at := int(header["vox_offset"])) <= _LONGEST_AXES:
        raise ValueError(f"its header says that the numbers begin at byte {at}")
    space, places, labels, kind = _interpret(_find_xml(read_beginning(path, at), start[0] != 0))
    if kind != form and not (kind == f"{form} labels" and "label.nii" in path.name):
        raise UsageError(
            f"{path} is no file of one number per element.",
            found=kind,
            expected=_WANTED[form],
            fix="Give maps of effects: a series or labels cannot be analysed.",
        )
    shape = tuple(int(size) for size in header["dim"][5:7])
    if shape != (len(labels), places.size):
        raise DataError(
            f"Header and axes of {path} disagree.",
            found=f"{shape[0]} maps of {shape[1]} elements by the header",
            expected=f"{len(labels)} maps of {places.size} elements as the axes say",
            fix="Compute or copy the file again.",
        )
    return CiftiAxes(space=space, places=places, labels=labels, header=header)


def _find_xml(content: bytes, is_little: bool) -> bytes:
    """Find the axes among the extensions of the header."""
    place, xml = HEADER_BYTES, b""
    order: Literal["little", "big"] = "little" if is_little else "big"
    while place + 8 <= len(content):
        size, code = (int.from_bytes(content[at : at + 4], order) for at in (place, place + 4))
        if code == _CIFTI_CODE:
            xml = content[place + 8 : place + size].rstrip(b"\0")
        place += max(size, 16)
    return xml


@lru_cache(maxsize=16)
def _interpret(xml: bytes) -> tuple[Structures, npt.NDArray[np.intp], tuple[str, ...], str]:
    """Read the axes: elements in their order, where each stands in the file, names of maps, and the form.

    A series of one point (HCP writes copes so) holds one number per element, as scalars do.
    """
    from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, ScalarAxis, SeriesAxis
    from nibabel.cifti2.cifti2 import Cifti2HeaderError as CiftiError
    from nibabel.cifti2.parse_cifti2 import Cifti2Parser

    parser = Cifti2Parser()
    try:
        parser.parse(string=xml)
        along, elements = (parser.header.get_axis(number) for number in (0, 1))
        exponents = {_unit_of(one.volume) for one in parser.header.matrix if one.volume is not None}
    except (AttributeError, AssertionError, CiftiError) as error:  # parts of it in places of others
        raise ValueError(f"its XML is not that of CIFTI: {error or type(error).__name__}") from error
    if exponents - {_MM}:
        raise ValueError(f"its voxels are placed in 10^{exponents.pop()} m, not in mm")
    names = tuple(map(str, along.name)) if isinstance(along, ScalarAxis) else ("",) * len(along)
    is_scalar = isinstance(along, ScalarAxis) or (isinstance(along, SeriesAxis) and len(along) == 1)
    kind = f"{type(elements).__name__} by {type(along).__name__}"
    if isinstance(elements, BrainModelAxis):
        space, places = _order_models(elements)
        kind = "dscalar" if is_scalar else kind
    elif isinstance(elements, ParcelsAxis):
        regions = tuple(map(str, elements.name))
        _check_once(len(set(regions)) == len(regions))
        space, places = (
            structures([Parcels(names=regions, axis=elements)], "pscalar"),
            np.arange(len(regions)),
        )
        kind = "pscalar" if is_scalar else kind
    else:
        space, places = structures([], "dscalar"), np.zeros(0, np.intp)
    if isinstance(along, LabelAxis):
        kind = f"{'dscalar' if isinstance(elements, BrainModelAxis) else 'pscalar'} labels"
    return space, places, names, "a series" if "Series" in kind else kind


def _unit_of(volume: Any) -> int:
    return int(volume.transformation_matrix_voxel_indices_ijk_to_xyz.meter_exponent)


def _order_models(axis: Any) -> tuple[Structures, npt.NDArray[np.intp]]:
    """Sort structures, and in each its vertices or voxels; also give where each stands in the file."""
    parts: list[tuple[Part, npt.NDArray[np.intp]]] = []
    grid = None
    for name, where, model in axis.iter_structures():
        structure = name.removeprefix(PREFIX)
        if name in axis.nvertices:
            numbers, n_vertices = np.asarray(model.vertex, dtype=np.intp), int(axis.nvertices[name])
            order = np.argsort(numbers, kind="stable")
            if (last := int(numbers[order[-1:]].sum())) >= n_vertices:
                raise ValueError(f"it names vertex {last} of {structure}, a mesh of {n_vertices}")
            part: Part = Vertices(structure=structure, n_vertices=n_vertices, indices=numbers[order])
        else:
            if grid is None:
                x, y, z = (int(size) for size in axis.volume_shape)
                grid = Grid(shape=(x, y, z), affine=np.asarray(axis.affine, dtype=np.float64))
                if not grid.is_sound:
                    raise ValueError("its affine places no voxels")
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
