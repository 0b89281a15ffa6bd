"""GIFTI: numbers at the vertices of one hemisphere."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.elements.compression import MOST_FOLD, TooLongError, inflate
from bids_group.elements.file_content import read_bytes, size_of
from bids_group.elements.image_files import hemi_of
from bids_group.elements.space import BY_LETTER
from bids_group.errors import DataError, UsageError

POINTS, TRIANGLES, _NODES = 1008, 1009, 1001
MOST_BYTES = 2**28
"""How long a file may be, unpacked: a hundred maps of the largest common meshes."""

_PIECE = 2**20
_N_AXES = re.compile(rb"""\bDimensionality\s*=\s*["']([^"']*)["']""")
"""nibabel counts up to it."""

_PACKED = re.compile(rb"<Data>([A-Za-z0-9+/=\s]+)</Data>")
"""What base64 may be, and also whole numbers in ASCII."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GiftiNumbers:
    """What a file holds: ``numbers`` ``(n_vertices, n_maps)``, the names of the maps, and the first's intent.

    ``structure`` as CIFTI names it (``CORTEX_LEFT``); None where the file does not say it.
    """

    structure: str | None
    numbers: npt.NDArray[Any]
    labels: tuple[str, ...]
    intent: int


def read_gifti(path: Path) -> bytes:
    """Read the bytes of a GIFTI file; one of more than `MOST_BYTES` is refused unread (`DataError`)."""
    if (size := size_of(path)) > MOST_BYTES:
        raise _too_long(path, f"{size} bytes")
    return read_bytes(path)


def _too_long(path: Path, found: str) -> DataError:
    return DataError(
        f"The file {path} is too long for what is read of GIFTI.",
        found=found,
        expected=f"at most {MOST_BYTES} bytes, unpacked: a hundred maps of the largest common meshes",
        fix="Write fewer maps into one file: wb_command -metric-merge OUT -metric IN -column 1",
    )


def open_gifti(payload: bytes, path: Path) -> Any:
    """Make nibabel's image of the bytes of a GIFTI file, which may be packed.

    Raises
    ------
    ValueError
        It is no GIFTI file, as far as nibabel says so.
    DataError
        It, or an array in it, unpacks to more than `MOST_BYTES`, or its numbers stand in another file.
    """
    from nibabel.gifti import GiftiImage

    content = _unpack(payload, path)
    if b"ExternalFileBinary" in content:
        raise DataError(
            f"The numbers of {path} stand in another file.",
            found="the encoding ExternalFileBinary",
            expected="numbers in the file itself",
            fix=f"wb_command -gifti-convert GZIP_BASE64_BINARY {path} {path}",
        )
    for number in _N_AXES.findall(content):
        if number not in (b"1", b"2", b"3", b"4", b"5", b"6"):
            raise ValueError(f"an array of {number[:20].decode(errors='replace')} axes")
    for found in _PACKED.finditer(content):
        if (found.end(1) - found.start(1)) * MOST_FOLD > MOST_BYTES:
            with suppress(zlib.error, binascii.Error):  # not packed: base64 alone, or whole numbers in ASCII
                _check_unpacked(base64.b64decode(found[1]), path)
    try:
        return GiftiImage.from_bytes(content)
    except (AttributeError, IndexError, AssertionError) as error:  # parts of it in places of others
        raise ValueError(f"its XML is not that of GIFTI: {error or type(error).__name__}") from error


def _unpack(payload: bytes, path: Path) -> bytes:
    try:
        content = inflate(payload, MOST_BYTES + 1)
    except TooLongError as error:
        raise _too_long(path, str(error).partition(",")[0]) from error
    if len(content) > MOST_BYTES:
        raise _too_long(path, f"more than {MOST_BYTES} bytes, unpacked")
    return content


def _check_unpacked(packed: bytes, path: Path) -> None:
    """Refuse what unpacks to more than a file may be long, and keep nothing of it."""
    stream, n_bytes = zlib.decompressobj(), 0
    while packed:
        piece = stream.decompress(packed, _PIECE)
        n_bytes, packed = n_bytes + len(piece), stream.unconsumed_tail
        if n_bytes > MOST_BYTES:
            raise _too_long(path, f"an array in it that unpacks to more than {MOST_BYTES} bytes")


def parse_gifti(payload: bytes, path: Path) -> GiftiNumbers:
    """Read the numbers of a GIFTI file from its bytes.

    Raises
    ------
    UsageError
        It is a surface (points and triangles).
    DataError
        It is too long, or its numbers stand in another file, or not at all vertices.
    """
    image = open_gifti(payload, path)
    arrays = list(image.darrays)
    intents = [int(one.intent) for one in arrays]
    if {POINTS, TRIANGLES} & {*intents}:
        raise UsageError(
            f"{path} is a surface, not a map.",
            found="points and triangles",
            expected="one number at each vertex (.func.gii, .shape.gii)",
            fix="Give the maps; surfaces belong to --surfaces.",
        )
    shapes = {one.data.shape for one in arrays}
    if not arrays or _NODES in intents or len(shapes) > 1:
        found = "a list of vertices" if _NODES in intents else f"arrays of shapes {sorted(shapes)}"
        raise DataError(
            f"The GIFTI file {path} has no number for each vertex.",
            found=found if arrays else "no array",
            expected="arrays of one length: a number at each vertex",
            fix="Write the map again with all vertices, NaN or 0 where there is none.",
        )
    columns = [one.data.reshape(len(one.data), -1) for one in arrays]
    names = [str((one.meta or {}).get("Name", "")) for one in arrays for _ in range(columns[0].shape[1])]
    said = [one[PRIMARY] for one in (image.meta, *(each.meta for each in arrays)) if PRIMARY in (one or {})]
    return GiftiNumbers(
        structure=name_structure(str(said[0])) if said else None,
        numbers=np.concatenate(columns, axis=1),
        labels=tuple(names),
        intent=intents[0],
    )


PRIMARY = "AnatomicalStructurePrimary"


def name_structure(name: str) -> str | None:
    """Name a structure as CIFTI does: ``CortexLeft`` is ``CORTEX_LEFT``."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper().removeprefix("CIFTI_STRUCTURE_")
    return None if text in ("", "INVALID", "UNKNOWN") else text


def settle_structure(path: Path, said: str | None) -> str:
    """Say which structure a file is of: by its name, and by what is ``said`` in it (or None).

    Raises
    ------
    DataError
        The two disagree, or neither says it.
    """
    named = BY_LETTER.get(hemi_of(path.name) or "")
    if said is not None and named is not None and said != named:
        raise DataError(
            f"Name and content of {path} disagree about the hemisphere.",
            found=f"{named} by its name, {said} by its AnatomicalStructurePrimary",
            expected="one structure",
            fix="Rename the file, or mend it: wb_command -set-structure FILE STRUCTURE",
        )
    structure = said or named
    if structure is None:
        raise DataError(
            f"Nothing says which hemisphere {path} is of.",
            expected="hemi-L or hemi-R (or lh, rh) in its name, or AnatomicalStructurePrimary in it",
            fix="Rename the file, or wb_command -set-structure FILE CORTEX_LEFT",
        )
    return structure
