"""What is written in files: the same bytes for the same content."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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
