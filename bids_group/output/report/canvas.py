"""Where a map lies on the page: axis-aligned volumes in mm, the anatomy behind them, data of the viewer.

The outlines of a brain, seen along each axis, are those that nilearn draws its glass brains with.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from nibabel.affines import from_matvec
from nibabel.funcs import as_closest_canonical
from nibabel.spatialimages import SpatialImage
from PIL import Image, ImageDraw

from bids_group.elements import Grid, read_map
from bids_group.labels import is_adult_mni
from bids_group.output.report.sheet import Colours, find_file

Volume = npt.NDArray[np.float32]

AXES = ("x", "y", "z")
LEVELS = 32_000
"""Statistics are stored as whole numbers from −LEVELS to LEVELS: at 8.0 a step is 0.00025."""
_COMPRESSION = 6
"""Of zlib: 9 takes five to ten times as long, and saves half a percent."""
_TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_DRAWINGS = {"side": (0.38, 0.38, -108, -70), "back": (0.39, 0.39, -73, -73), "top": (0.36, 0.37, -71, -107)}
"""Drawings by axis, and what places each in MNI space: mm per unit across and up, and mm of its corner."""
_FINE, _STEPS = 3, 8
"""Pixels drawn per pixel shown, and pieces of a curve."""


class Pixels(NamedTuple):
    """Places in mm of the pixels of a picture of a cut across ``axis``: from the left, and from above."""

    axis: int
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Box:
    """A volume whose axes run right, anterior and superior.

    ``origin_mm`` is the centre of the first element, ``step_mm`` the distance between elements.
    """

    data: Volume
    origin_mm: tuple[float, float, float]
    step_mm: tuple[float, float, float]

    def position(self, axis: int, at_mm: float) -> int | None:
        """Index along ``axis`` of the element that holds ``at_mm``; None outside."""
        index = int(np.floor((at_mm - self.origin_mm[axis]) / self.step_mm[axis] + 0.5))
        return index if 0 <= index < self.data.shape[axis] else None

    def bounds_mm(self, axis: int) -> tuple[float, float]:
        """Outer edges along ``axis``."""
        low = self.origin_mm[axis] - self.step_mm[axis] / 2
        return low, low + self.step_mm[axis] * self.data.shape[axis]

    def cut(self, axis: int, at_mm: float) -> Volume | None:
        """Take the slice at ``at_mm``, rows running up the page; None outside the box."""
        index = self.position(axis, at_mm)
        return None if index is None else np.take(self.data, index, axis=axis).T

    def pixels(self, axis: int, width: int) -> Pixels:
        """Cover a cut with square pixels, ``width`` of them across."""
        left, right, bottom, top = self.extent(axis)
        height = max(round(width * (top - bottom) / (right - left)), 1)
        x = left + (np.arange(width) + 0.5) * (right - left) / width
        return Pixels(axis, x, top - (np.arange(height) + 0.5) * (top - bottom) / height)

    def sample(self, pixels: Pixels, at_mm: float) -> Volume:
        """Values nearest to pixels of the cut at ``at_mm``; 0 outside the box."""
        plane = self.cut(pixels.axis, at_mm)
        return (
            np.zeros((len(pixels.y), len(pixels.x)), np.float32)
            if plane is None
            else self.pick(plane, pixels)
        )

    def pick(self, plane: npt.NDArray[Any], pixels: Pixels) -> npt.NDArray[Any]:
        """Values, or colours, of a cut (or projection) nearest to pixels; 0 outside."""
        across, up = (other for other in range(3) if other != pixels.axis)
        columns, rows = (
            np.floor((at - self.origin_mm[k]) / self.step_mm[k] + 0.5).astype(int)
            for k, at in ((across, pixels.x), (up, pixels.y))
        )
        n_rows, n_columns = plane.shape[:2]
        found = plane.take(rows.clip(0, n_rows - 1), axis=0).take(columns.clip(0, n_columns - 1), axis=1)
        found[(rows < 0) | (rows >= n_rows)] = 0
        found[:, (columns < 0) | (columns >= n_columns)] = 0
        return found

    def widened(self, by_mm: float) -> Box:
        """Put an empty box around it that is about ``by_mm`` wider on each side."""
        more = [round(by_mm / step) for step in self.step_mm]
        low = (at - step * n for at, step, n in zip(self.origin_mm, self.step_mm, more, strict=True))
        shape = [size + 2 * n for size, n in zip(self.data.shape, more, strict=True)]
        x, y, z = low
        return Box(data=np.zeros(shape, np.float32), origin_mm=(x, y, z), step_mm=self.step_mm)

    def extent(self, axis: int) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of a cut in mm (for pictures drawn from below)."""
        across, up = (other for other in range(3) if other != axis)
        return *self.bounds_mm(across), *self.bounds_mm(up)


def place(volume: Volume, grid: Grid, *, fill: float = 0.0) -> Box:
    """Turn a volume on ``grid`` into a box: by reordering axes where they are aligned, else by resampling.

    Oblique grids are resampled to the nearest element, so that no value is invented.
    """
    axes = np.abs(grid.affine[:3, :3])
    if not ((axes > 1e-3 * axes.max(axis=0)).sum(axis=0) == 1).all():
        return _resample(volume, grid, fill=fill)
    image = as_closest_canonical(SpatialImage(volume, grid.affine))
    return Box(
        data=np.ascontiguousarray(image.dataobj),
        origin_mm=_triple(image.affine[:3, 3]),
        step_mm=_triple(np.diag(image.affine)[:3]),
    )


def _resample(volume: Volume, grid: Grid, *, fill: float) -> Box:
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in grid.shape])).reshape(3, -1)
    corners_mm = grid.affine[:3, :3] @ corners + grid.affine[:3, 3:]
    step = min(grid.element_sizes_mm)
    low = corners_mm.min(axis=1)
    shape = tuple(int(size) for size in np.ceil((corners_mm.max(axis=1) - low) / step) + 1)
    inverse = np.linalg.inv(grid.affine)
    turn, shift = inverse[:3, :3] * step, inverse[:3, :3] @ low + inverse[:3, 3]
    from scipy.ndimage import affine_transform  # rarely needed, and imported slowly

    data = affine_transform(volume, turn, shift, output_shape=shape, order=0, cval=fill)
    return Box(data=data, origin_mm=_triple(low), step_mm=(step, step, step))


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def read_anatomy(space: str | None) -> Box | None:
    """Return the MNI152 template at 1 mm for spaces of adult MNI templates, cropped, else None.

    The template (Fonov et al. 2011) ships inside nilearn: nothing is downloaded. Values are 0 to 1.
    """
    return _mni152() if is_adult_mni(space) else None


@cache
def _mni152() -> Box:
    image = read_map(find_file("nilearn", _TEMPLATE))
    data = image.data
    is_tissue = data > 0
    filled = [np.flatnonzero(is_tissue.any(axis=tuple(set(range(3)) - {axis}))) for axis in range(3)]
    crop = tuple(slice(int(where[0]), int(where[-1]) + 1) for where in filled)
    affine = image.grid.affine @ from_matvec(np.eye(3), [part.start for part in crop])
    grid = Grid(shape=data[crop].shape, affine=affine)
    return place(data[crop] / data.max(), grid)


def halve(box: Box) -> Box:
    """Average blocks of 2 × 2 × 2 elements (an odd last layer is left out)."""
    x, y, z = (size // 2 for size in box.data.shape)
    blocks = box.data[: 2 * x, : 2 * y, : 2 * z].reshape(x, 2, y, 2, z, 2)
    return Box(
        data=blocks.mean(axis=(1, 3, 5), dtype=np.float32),
        origin_mm=_triple(np.add(box.origin_mm, np.divide(box.step_mm, 2))),
        step_mm=_triple(np.multiply(box.step_mm, 2)),
    )


def common_cuts(mask: Box, axis: int, n_cuts: int) -> tuple[float, ...]:
    """Space cuts equally (mm) through the part of the box where the mask is, less its outermost tenths."""
    other = tuple(set(range(3)) - {axis})
    inside = np.flatnonzero((mask.data > 0).any(axis=other))
    low, high = (mask.origin_mm[axis] + mask.step_mm[axis] * int(end) for end in (inside[0], inside[-1]))
    margin = 0.1 * (high - low)
    return tuple(float(np.round(at)) for at in np.linspace(low + margin, high - margin, n_cuts))


def cuts_through(cuts: Sequence[float], at_mm: float) -> tuple[float, ...]:
    """Move the nearest cut to a place, so that one goes through it."""
    nearest = min(range(len(cuts)), key=lambda index: abs(cuts[index] - at_mm))
    return tuple(at_mm if index == nearest else cut for index, cut in enumerate(cuts))


def pack_statistic(box: Box) -> dict[str, Any]:
    """Pack a statistic as 16-bit numbers: all low bytes, then all high bytes (they compress better apart)."""
    scale = float(np.abs(box.data).max()) / LEVELS or 1.0
    numbers = np.round(box.data / scale).astype("<i2")
    return {**_describe(box), "scale": scale, "bytes": pack(in_planes(numbers.reshape(-1, order="F")))}


def pack_flags(box: Box) -> dict[str, Any]:
    """Pack a yes/no volume, eight elements to a byte."""
    bits = np.packbits((box.data > 0).reshape(-1, order="F"), bitorder="little")
    return {**_describe(box), "bytes": pack(bits)}


@lru_cache(maxsize=1)  # the template is the same on every page
def pack_anatomy(anatomy: Box) -> Mapping[str, Any]:
    """Pack the anatomy (values 0 to 1) at half its resolution, one byte per element."""
    small = halve(anatomy)
    grey = np.round(small.data * 255).astype(np.uint8).reshape(-1, order="F")
    return {**_describe(small), "bytes": pack(grey)}


def _describe(box: Box) -> Mapping[str, Any]:
    return {"shape": list(box.data.shape), "origin": list(box.origin_mm), "step": list(box.step_mm)}


def in_planes(numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Put all first bytes of numbers before all second ones, and so on."""
    bytes_of = np.ascontiguousarray(numbers).reshape(-1).view(np.uint8)
    return np.ascontiguousarray(bytes_of.reshape(-1, numbers.itemsize).T)


def pack(numbers: npt.NDArray[np.uint8]) -> str:
    """Compress bytes, and spell them as text."""
    return base64.b64encode(gzip.compress(numbers.tobytes(), _COMPRESSION, mtime=0)).decode("ascii")


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
    name, (across, up, left, bottom) = list(_DRAWINGS.items())[axis]
    path = find_file("nilearn", f"plotting/glass_brain_files/brain_schematics_{name}.json")
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
