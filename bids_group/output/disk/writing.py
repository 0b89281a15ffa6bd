"""Files on disk: written whole or not at all, the same bytes for the same content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.elements import Grid
from bids_group.output.disk.process import part_of
from bids_group.records.sidecars import JsonRecord
from bids_group.words import os_failure

GZIP_LEVEL = 1
"""Measured on float32 maps at 2 mm: three times as fast as level 6, and 10 to 20 % larger."""


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file whole: into a neighbour first, then moved into place.

    Raises
    ------
    OutputError
        The folder cannot be written.
    RunError
        The disk is full or failed on the way; the earlier file, if any, is untouched.
    """
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(payload)
        part.replace(path)
    except OSError as error:
        raise os_failure(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, with line feeds on every system."""
    write_bytes(path, text.encode())


def write_if_changed(path: Path, text: str) -> None:
    """Write text unless the file holds it already: many jobs share the common files."""
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def json_text(content: Mapping[str, Any] | JsonRecord) -> str:
    """Spell JSON in the order given, with plain types; NaN and infinities become null (JSON has neither)."""
    return json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, content: Mapping[str, Any] | JsonRecord) -> None:
    """Write a JSON object."""
    write_text(path, json_text(content))


def plain(value: Any) -> Any:
    """Turn records, numpy, pandas, paths and containers of them into what JSON knows."""
    if isinstance(value, JsonRecord):
        value = value.to_json()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.float32):
        value = float(str(value))  # 0.1, not 0.10000000149011612
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if value is pd.NA or value is pd.NaT:
        return None
    return str(value)


def table_text(table: pd.DataFrame) -> str:
    """Spell a table as BIDS TSV: tabs, ``n/a`` for what is missing, shortest exact numbers, no index."""
    lines = ["\t".join(_cell(name) for name in table.columns)]
    columns = [_column(table[name]) for name in table]
    lines.extend("\t".join(map(_cell, row)) for row in zip(*columns, strict=True))
    return "\n".join(lines) + "\n"


def _column(values: pd.Series[Any]) -> list[Any]:
    """List values in their own precision: pandas would widen float32."""
    return list(values.to_numpy()) if values.dtype == np.float32 else values.tolist()


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a BIDS TSV."""
    write_text(path, table_text(table))


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, (float, np.floating)) and np.isnan(value))
    ):
        return "n/a"
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
) -> str:
    """Write a NIfTI-1 volume ``(x, y, z)`` or ``(x, y, z, q)`` in its own dtype, gzipped; return its SHA-256.

    The sform code says MNI where the space is one of MNI's, else "aligned".
    """
    image = nib.Nifti1Image(volume, grid.affine)
    code = 4 if space is not None and space.upper().startswith("MNI") else 2
    image.set_sform(grid.affine, code)
    image.set_qform(grid.affine, code)
    image.header.set_xyzt_units("mm")
    if intent is not None:
        image.header.set_intent(*intent)
    payload = gzip_bytes(image.to_bytes())
    write_bytes(path, payload)
    return hashlib.sha256(payload).hexdigest()


def gzip_bytes(payload: bytes) -> bytes:
    """Compress without name, time or system in the header, so that equal content gives equal bytes."""
    deflate = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    trailer = struct.pack("<LL", zlib.crc32(payload), len(payload) & 0xFFFFFFFF)
    return b"".join((header, deflate.compress(payload), deflate.flush(), trailer))
