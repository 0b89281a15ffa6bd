"""Finished batches, kept in the work folder so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.errors import RunError
from bids_group.work_files import drop_pages

_CHECKSUM_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCache:
    """Results by batch number in one folder; without a folder nothing is kept.

    A file is an array as numpy saves it, and behind it a checksum of these bytes, of their name and of the
    folder: what the disk changed, or what was written for another batch or question, is done again.
    """

    folder: Path | None

    def read(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
        """Read a finished batch; None where there is none or it is not as it was written."""
        if self.folder is None:
            return None
        try:
            content = (self.folder / f"{name}.npy").read_bytes()
        except OSError:
            return None
        payload = content[:-_CHECKSUM_BYTES]
        if content != _sealed(self.folder, name, payload):
            return None
        found: npt.NDArray[Any] = np.load(io.BytesIO(payload), allow_pickle=False)
        return found if found.shape == shape else None

    def write(self, name: str, values: npt.NDArray[Any]) -> None:
        """Keep a batch: the file is there whole or not at all."""
        if self.folder is None:
            return
        stream = io.BytesIO()
        np.save(stream, values)
        unfinished = self.folder / f".{name}.{os.getpid()}.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(_sealed(self.folder, name, stream.getvalue()))
            unfinished.replace(self.folder / f"{name}.npy")
        except OSError as error:
            raise RunError(
                f"A batch of shuffles cannot be kept in {self.folder}.",
                found=error.strerror,
                fix="Free some space, or name another place: --work-dir.",
            ) from error


def _sealed(folder: Path, name: str, payload: bytes) -> bytes:
    return payload + bytes.fromhex(digest([folder.name, name, payload]))


def digest(parts: Iterable[bytes | str | npt.NDArray[np.generic]]) -> str:
    """Hash what a result depends on; arrays by type, shape and bytes, a row at a time."""
    total = hashlib.blake2b(digest_size=_CHECKSUM_BYTES)
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype.str}{part.shape}".encode())
            for row in np.atleast_2d(part):
                total.update(np.ascontiguousarray(row).data)
                drop_pages(part)
        else:
            total.update(part.encode("utf-8", "backslashreplace") if isinstance(part, str) else part)
            total.update(b"\0")
    return total.hexdigest()
