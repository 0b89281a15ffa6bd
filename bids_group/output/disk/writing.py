"""What is written in files: the same bytes for the same content."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.elements import Grid, gzip_bytes
from bids_group.output.disk.publishing import Write, write_bytes
from bids_group.records.sidecars import JsonRecord


def write_text(path: Path, text: str, write: Write = write_bytes) -> None:
    """Write UTF-8 text, with line feeds on every system."""
    write(path, encode(text))


def encode(text: str) -> bytes:
    """Encode as UTF-8; what it does not have (halves of characters, bytes in names of files) is spelled."""
    return text.encode("utf-8", "backslashreplace")


def write_if_changed(path: Path, text: str) -> None:
    """Write text unless the file holds it already: many jobs share the common files."""
    if not path.is_file() or path.read_bytes() != encode(text):
        write_text(path, text)


def json_text(content: Mapping[str, Any] | JsonRecord) -> str:
    """Spell JSON in the order given, with plain types; NaN and infinities become null (JSON has neither)."""
    return json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, content: Mapping[str, Any] | JsonRecord, write: Write = write_bytes) -> None:
    """Write a JSON object."""
    write_text(path, json_text(content), write)


def plain(value: Any) -> Any:
    """Turn records, numpy, pandas, paths and containers of them into what JSON knows."""
    if value is None or isinstance(value, (str, int)):  # first: most values are
        return value
    if isinstance(value, np.float32):
        value = float(str(value))  # 0.1, not 0.10000000149011612
    if isinstance(value, JsonRecord):
        return plain(value.to_json())
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if value is pd.NA or value is pd.NaT else str(value)


def table_text(table: pd.DataFrame) -> str:
    """Spell a table as BIDS TSV: tabs, ``n/a`` for what is missing, shortest exact numbers, no index."""
    lines = ["\t".join(_cell(name) for name in table.columns)]
    columns = [table[name] for name in table]  # float32 as such: pandas would widen it
    values = [one.to_numpy() if one.dtype == np.float32 else one.tolist() for one in columns]
    lines.extend("\t".join(map(_cell, row)) for row in zip(*values, strict=True))
    return "\n".join(lines) + "\n"


def write_table(path: Path, table: pd.DataFrame, write: Write = write_bytes) -> None:
    """Write a BIDS TSV."""
    write_text(path, table_text(table), write)


def _cell(value: Any) -> str:
    if pd.isna(value):
        return "n/a"
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)):
        return str(value + 0.0).removesuffix(".0")  # + 0.0: no minus before zero
    return " ".join(str(value).split("\t")).replace("\r", " ").replace("\n", " ") or "n/a"


def write_volume(
    path: Path,
    volume: npt.NDArray[Any],
    grid: Grid,
    *,
    space: str | None = None,
    intent: tuple[str, tuple[float, ...]] | None = None,
    where: npt.NDArray[np.bool_] | None = None,
    is_cache: bool = False,
    write: Write = write_bytes,
) -> str:
    """Write a NIfTI-1 volume ``(x, y, z)`` or ``(x, y, z, q)`` in its own dtype, gzipped; return its SHA-256.

    The sform code says MNI where the space is one of MNI's, else "aligned". Outside ``where`` 0 is written.
    What is a cache is written quickly rather than small.
    """
    code = 4 if space is not None and space.upper().startswith("MNI") else 2
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
    payload, sha256 = (_pack_counts if volume.dtype == np.uint8 else _pack)(content, is_cache)
    write(path, payload)
    return sha256


def _pack(content: memoryview, is_cache: bool) -> tuple[bytes, str]:
    payload = gzip_bytes(content, is_cache=is_cache)
    return payload, hashlib.sha256(payload).hexdigest()


def _pack_counts(content: memoryview, is_cache: bool) -> tuple[bytes, str]:
    """Pack small numbers, or take what this thread packed last: people of equal coverage share theirs."""
    way, before, packed = getattr(_LOCAL, "counts", (False, b"", None))
    now = np.frombuffer(content, np.uint8)
    if packed is not None and way == is_cache and np.array_equal(np.frombuffer(before, np.uint8), now):
        return cast("tuple[bytes, str]", packed)
    packed = _pack(content, is_cache)
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
    intent: tuple[str, tuple[float, ...]] | None,
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
