"""Data of the slice viewer in the page: volumes packed to bytes that the browser unpacks."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.output.report.canvas import Box, halve

LEVELS = 32_000
"""Statistics are stored as whole numbers from −LEVELS to LEVELS: at 8.0 a step is 0.00025."""


def pack_statistic(box: Box) -> dict[str, Any]:
    """Pack a statistic as 16-bit numbers: all low bytes, then all high bytes (they compress better apart)."""
    scale = float(np.abs(box.data).max()) / LEVELS or 1.0
    numbers = np.round(box.data / scale).astype("<i2")
    planes = numbers.reshape(-1, order="F").view(np.uint8).reshape(-1, 2).T
    return {**_describe(box), "scale": scale, "bytes": _pack(np.ascontiguousarray(planes))}


def pack_flags(box: Box) -> dict[str, Any]:
    """Pack a yes/no volume, eight elements to a byte."""
    bits = np.packbits((box.data > 0).reshape(-1, order="F"), bitorder="little")
    return {**_describe(box), "bytes": _pack(bits)}


def pack_anatomy(anatomy: Box) -> dict[str, Any]:
    """Pack the anatomy (values 0 to 1) at half its resolution, one byte per element."""
    small = halve(anatomy)
    grey = np.round(small.data * 255).astype(np.uint8).reshape(-1, order="F")
    return {**_describe(small), "bytes": _pack(grey)}


def _describe(box: Box) -> Mapping[str, Any]:
    return {"shape": list(box.data.shape), "origin": list(box.origin_mm), "step": list(box.step_mm)}


def _pack(numbers: npt.NDArray[np.uint8]) -> str:
    return base64.b64encode(gzip.compress(numbers.tobytes(), 9, mtime=0)).decode("ascii")
