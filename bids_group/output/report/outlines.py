"""The outlines of a brain that nilearn draws its glass brains with, seen along each axis."""

from __future__ import annotations

import json
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from bids_group.output.report.canvas import Pixels
from bids_group.output.report.sheet import Colours

_DRAWINGS = {"side": (0.38, 0.38, -108, -70), "back": (0.39, 0.39, -73, -73), "top": (0.36, 0.37, -71, -107)}
"""Drawings by axis, and what places each in MNI space: mm per unit across and up, and mm of its corner."""
_FINE, _STEPS = 3, 8
"""Pixels drawn per pixel shown, and pieces of a curve."""


class Outline(NamedTuple):
    """A line through places in mm, ``(n, 2)``; contours of the brain are bright, lines inside it faint."""

    places: npt.NDArray[np.float64]
    brightness: float
    width: float


def draw_outlines(image: Colours, pixels: Pixels) -> None:
    """Lay the outlines of a brain in MNI space over a picture of what is seen along an axis."""
    step = (pixels.x[-1] - pixels.x[0]) / (len(pixels.x) - 1)
    light = _light(pixels.axis, len(pixels.x), len(pixels.y), float(pixels.x[0]), float(pixels.y[0]), step)
    image += light * (1 - image)


@lru_cache(maxsize=3)
def _light(axis: int, width: int, height: int, left: float, top: float, step: float) -> Colours:
    """Draw the outlines once for all contrasts: how bright each pixel is, ``(height, width, 1)``."""
    sheet = Image.new("L", (width * _FINE, height * _FINE))
    pen = ImageDraw.Draw(sheet)
    for one in sorted(read_outlines(axis), key=lambda line: line.brightness):
        across, down = one.places[:, 0] - left, top - one.places[:, 1]
        dots = (np.column_stack([across, down]) / step + 0.5) * _FINE
        pen.line([*map(tuple, dots.tolist())], round(255 * one.brightness), round(one.width * _FINE), "curve")
    small = sheet.resize((width, height), Image.Resampling.BOX)
    light: Colours = np.asarray(small, dtype=np.float32)[..., None] / np.float32(255)
    return light


@cache
def read_outlines(axis: int) -> tuple[Outline, ...]:
    """Read the drawing of the view along an axis (x: from the right, y: from the back, z: from above)."""
    package = find_spec("nilearn")  # not imported for one file
    assert package is not None
    assert package.origin is not None
    name, (across, up, left, bottom) = list(_DRAWINGS.items())[axis]
    path = Path(package.origin).parent / "plotting" / "glass_brain_files" / f"brain_schematics_{name}.json"
    outlines = []
    for line in json.loads(path.read_text(encoding="utf-8"))["paths"]:
        is_contour = line["edgecolor"] == "#000000"
        for item in line["items"]:
            places = _trace(np.array(item["pts"], dtype=np.float64)) * (across, up) + (left, bottom)
            outlines.append(Outline(places, 0.75 if is_contour else 0.38, 0.75 * float(line["linewidth"])))
    return tuple(outlines)


def _trace(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Follow a Bézier curve of any degree (de Casteljau); two points are a straight line."""
    if len(points) == 2:
        return points
    at, level = np.linspace(0, 1, _STEPS + 1)[:, None, None], points[None]
    while level.shape[1] > 1:
        level = level[:, :-1] * (1 - at) + level[:, 1:] * at
    return np.asarray(level[:, 0])
