"""What is read of a map: its header, or its numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.elements.image_files import ImageFiles
from bids_group.elements.space import Grid, Space


def hash_bytes(payloads: Sequence[bytes]) -> str:
    """SHA-256 of the files of a map, one behind the other."""
    return hashlib.sha256(b"".join(payloads)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedMap:
    """Numbers of a file: ``data`` float32 of the space's shape (or 4D where the file is), x runs fastest."""

    path: Path
    space: Space
    data: npt.NDArray[np.float32]
    sha256: str

    @property
    def grid(self) -> Grid:
        """The grid of a plain volume."""
        return self.space.grid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapHeader:
    """What a map says of itself before its numbers are read.

    ``shape`` is without trailing axes of length one; ``statistic`` is the code of NIfTI's ``intent`` (AFNI's
    are the same numbers), ``texts`` what is written in it: description, name of the intent, label of the
    sub-brick; ``labels`` are those of all sub-bricks. ``is_integer``: numbers are stored as integers.
    ``checksum``: the last 8 bytes of a gzip file (checksum and length of its content), None of other files.
    ``n_bytes``: how long the file of the numbers is, unpacked, by what the header says.
    """

    path: Path
    files: ImageFiles
    checksum: bytes | None
    space: Space
    shape: tuple[int, ...]
    statistic: int
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    is_integer: bool
    n_bytes: int

    @property
    def n_volumes(self) -> int:
        """How many maps are in the file (or were named): one, but for F contrasts and series."""
        return math.prod(self.shape[len(self.space.shape) :])
