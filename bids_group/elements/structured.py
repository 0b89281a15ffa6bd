"""Files of surfaces, CIFTI and regions: their numbers as rows over `Structures`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.elements.cifti_files import CiftiAxes, read_axes
from bids_group.elements.compression import inflate
from bids_group.elements.file_content import check_promise, read_bytes, read_text
from bids_group.elements.gifti_files import MOST_BYTES, parse_gifti, read_gifti, settle_structure
from bids_group.elements.image_files import ImageFiles, form_of
from bids_group.elements.loaded import LoadedMap, MapHeader, hash_bytes, narrowed
from bids_group.elements.region_tables import parse_regions
from bids_group.elements.space import Part, Structures, Vertices, structures
from bids_group.elements.sub_bricks import find_volume
from bids_group.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StructuredFile:
    """A file (or both hemispheres) that was read: ``numbers`` ``(n_elements, n_maps)`` in any type."""

    header: MapHeader
    numbers: npt.NDArray[Any]
    sha256: str

    def load(self) -> LoadedMap:
        """Give the numbers of the map that was named, or of the only one, in float32."""
        path, shape = self.header.path, self.header.shape
        data = narrowed(np.asfortranarray(self.numbers), path).reshape(shape, order="F")
        return LoadedMap(path=path, space=self.header.space, data=data, sha256=self.sha256)


def read_structured_header(path: Path, files: ImageFiles) -> MapHeader:
    """Read what a file says before its numbers: of CIFTI its beginning, of others all of it."""
    form = form_of(files.header.name)
    if form in ("table", "gifti"):
        return read_structured(path, files).header
    return _describe_cifti(path, files, read_axes(files.header, form))


def read_structured(path: Path, files: ImageFiles) -> StructuredFile:
    """Read GIFTI, CIFTI or a table of regions; of several maps the one that is named (``,2``, ``[name]``).

    Raises
    ------
    MissingInputError, UsageError, DataError
        As `bids_group.elements.read_map`.
    """
    form = form_of(files.header.name)
    if form == "table":
        payload = read_text(files.header)
        regions, values = parse_regions(payload, files.header, files.volume)
        found = _header(path, files, regions, (), 1, n_bytes=len(payload))
        return StructuredFile(header=found, numbers=values, sha256=hash_bytes([payload]))
    if form == "gifti":
        payloads = [read_gifti(one) for one in files.all]
        space, numbers, code, labels = _join_hemispheres(files, payloads)
        is_integer = numbers.dtype.kind in "iu"
        found = _header(
            path, files, space, labels, numbers.shape[1], MOST_BYTES, code=code, is_integer=is_integer
        )
    else:
        axes = read_axes(files.header, form)
        found = _describe_cifti(path, files, axes)
        payloads = [read_bytes(files.header)]
        numbers, labels = axes.numbers(inflate(payloads[0], axes.n_bytes)), axes.labels
    volume = find_volume(files, (1, 1, 1, numbers.shape[1]), labels)
    if volume is not None:
        numbers = numbers[:, volume : volume + 1]
    return StructuredFile(header=found, numbers=numbers, sha256=hash_bytes(payloads))


def _describe_cifti(path: Path, files: ImageFiles, axes: CiftiAxes) -> MapHeader:
    check_promise(files, axes.n_bytes)
    is_integer = axes.header.get_data_dtype().kind in "iu"
    return _header(
        path, files, axes.space, axes.labels, len(axes.labels), axes.n_bytes, is_integer=is_integer
    )


def _header(
    path: Path,
    files: ImageFiles,
    space: Structures,
    labels: tuple[str, ...],
    n_maps: int,
    n_bytes: int,
    *,
    code: int = 0,
    is_integer: bool = False,
) -> MapHeader:
    """Say what a file holds, of the map that is named."""
    volume = find_volume(files, (1, 1, 1, n_maps), labels) if labels else None
    if volume is not None:
        labels, n_maps = labels[volume : volume + 1], 1
    return MapHeader(
        path=path,
        files=files,
        checksum=None,
        space=space,
        shape=space.shape + ((n_maps,) if n_maps > 1 else ()),
        statistic=code,
        texts=labels if n_maps == 1 else (),
        labels=labels,
        is_integer=is_integer,
        n_bytes=n_bytes,
    )


@lru_cache(maxsize=8)
def _all_of(n_vertices: int) -> npt.NDArray[np.intp]:
    """Give the numbers of all vertices of a mesh, the same array to all maps."""
    return np.arange(n_vertices)


def _join_hemispheres(
    files: ImageFiles, payloads: Sequence[bytes]
) -> tuple[Structures, npt.NDArray[Any], int, tuple[str, ...]]:
    """Put the numbers of one or both hemispheres one behind the other; refuse the same one twice."""
    parts: list[Part] = []
    rows = []
    for path, payload in zip(files.all, payloads, strict=True):
        one = parse_gifti(payload, path)
        structure = settle_structure(path, one.structure)
        n = len(one.numbers)
        parts.append(Vertices(structure=structure, n_vertices=n, indices=_all_of(n)))
        rows.append((structure, one))
    counts = {len(one.labels) for _, one in rows}
    if len({structure for structure, _ in rows}) < len(rows) or len(counts) > 1:
        raise DataError(
            f"{files.header} and {files.data.name} are no pair of hemispheres.",
            found=", ".join(f"{structure} with {len(one.labels)} maps" for structure, one in rows),
            expected="the left and the right one, with as many maps",
            fix="Give the two files of one map.",
        )
    space, by_structure = structures(parts, "gifti"), dict(rows)
    ordered = [by_structure[str(part.structure)] for part in space.parts]
    return space, np.concatenate([one.numbers for one in ordered]), ordered[0].intent, ordered[0].labels
