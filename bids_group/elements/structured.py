"""Files of surfaces, CIFTI and regions: their numbers as rows over `Structures`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.elements.cifti_files import parse_cifti
from bids_group.elements.compression import inflate
from bids_group.elements.file_content import read_bytes
from bids_group.elements.gifti_files import parse_gifti, settle_structure
from bids_group.elements.image_files import ImageFiles, form_of
from bids_group.elements.loaded import LoadedMap, MapHeader, hash_bytes
from bids_group.elements.narrowing import narrowed
from bids_group.elements.region_tables import parse_regions
from bids_group.elements.space import Part, Structures, Vertices, structures
from bids_group.elements.sub_bricks import find_volume
from bids_group.errors import DataError

_MOST_BYTES = 2**31
"""How long a file may be, unpacked."""


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


def read_structured(path: Path, files: ImageFiles) -> StructuredFile:
    """Read GIFTI, CIFTI or a table of regions; of several maps the one that is named (``,2``, ``[name]``).

    Raises
    ------
    MissingInputError, UsageError, DataError
        As `bids_group.elements.read_map`.
    """
    payloads = [read_bytes(one) for one in files.all]
    form = form_of(files.header.name)
    if form == "table":
        space, numbers = parse_regions(payloads[0], files.header, files.volume)
        found = MapHeader(
            path=path,
            files=files,
            checksum=None,
            space=space,
            shape=space.shape,
            statistic=0,
            texts=(),
            labels=(),
            is_integer=False,
            n_bytes=len(payloads[0]),
        )
        return StructuredFile(header=found, numbers=numbers, sha256=hash_bytes(payloads))
    if form == "gifti":
        space, numbers, code, labels = _join_hemispheres(files, payloads)
    else:
        space, numbers, labels = parse_cifti(inflate(payloads[0], _MOST_BYTES), files.header, form)
        code = 0
    volume = find_volume(files, (1, 1, 1, numbers.shape[1]), labels)
    if volume is not None:
        numbers, labels = numbers[:, volume : volume + 1], labels[volume : volume + 1]
    header = MapHeader(
        path=path,
        files=files,
        checksum=None,
        space=space,
        shape=space.shape + ((numbers.shape[1],) if numbers.shape[1] > 1 else ()),
        statistic=code,
        texts=labels if numbers.shape[1] == 1 else (),
        labels=labels,
        is_integer=numbers.dtype.kind in "iu",
        n_bytes=_MOST_BYTES,
    )
    return StructuredFile(header=header, numbers=numbers, sha256=hash_bytes(payloads))


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
        one = parse_gifti(inflate(payload, _MOST_BYTES), path)
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
