"""Pictures of maps on surfaces: each half of the cortex from four sides, shaded by its folds.

Triangles are painted from far to near, with Pillow, at twice the size in which they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from bids_group.elements import Space, Vertices, read_surface
from bids_group.output.report.brains import LINE, WORDS, Look, with_scale
from bids_group.output.report.canvas import LEVELS, in_planes, pack
from bids_group.output.report.sheet import BACKDROP, Colours, Sheet, Words, rgb

Points = npt.NDArray[np.float64]
Triangles = npt.NDArray[np.int64]

VIEWS = ("lateral", "medial", "dorsal", "ventral")
_WIDE, _NARROW, _LEFT, _RIGHT, _BELOW = 1500, 700, 8, 1388, 8
_GAP, _TWICE = 12, 2
_GYRUS, _SULCUS = 0.72, 0.45
"""Greys of what bulges and of what is folded in."""
_AMBIENT = 0.45
NOT_ANALYSED = -32768
"""What stands for NaN among 16-bit numbers of the viewer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """A surface in mm: x to the right, y to the front, z up.

    ``points`` ``(n, 3)``; ``triangles`` ``(m, 3)``: numbers of points, counted round as seen from outside.
    """

    points: Points
    triangles: Triangles

    @cached_property
    def normals(self) -> Points:
        """Directions in which the faces look, not of unit length: twice their area."""
        corners = self.points[self.triangles]
        return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    @cached_property
    def bulges(self) -> npt.NDArray[np.bool_]:
        """Whether the surface bulges at each point, after its noise is averaged away.

        The mean of a point's neighbours lies on the inner side where it does (the sign of mean curvature).
        """
        from scipy.sparse import coo_array

        n = len(self.points)
        ends = self.triangles[:, [0, 1, 2]].ravel(), self.triangles[:, [1, 2, 0]].ravel()
        edges = coo_array((np.ones(len(ends[0])), ends), shape=(n, n)).tocsr()
        edges = ((edges + edges.T) > 0).astype(np.float64)
        degree = np.maximum(edges.sum(axis=1), 1)
        of_point = np.zeros((n, 3))
        for corner in range(3):
            np.add.at(of_point, self.triangles[:, corner], self.normals)
        inward = self.points - edges @ self.points / degree[:, None]
        height = (inward * of_point).sum(axis=1) / np.maximum(np.linalg.norm(of_point, axis=1), 1e-12)
        for _ in range(4):
            height = 0.5 * (height + edges @ height / degree)
        return np.asarray(height > 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Hemisphere:
    """Half a cortex (``hemi``: ``L`` or ``R``), and a map on it.

    ``values`` ``(n,)``, NaN where nothing was analysed; ``is_significant`` ``(n,)``.
    """

    hemi: str
    shape: Shape
    values: npt.NDArray[np.float32]
    is_significant: npt.NDArray[np.bool_]

    def colours(self, look: Look) -> Colours:
        """RGB of the points: folds below, the statistic over them where it was analysed."""
        colours = np.repeat(np.where(self.shape.bulges, _GYRUS, _SULCUS)[:, None], 3, axis=1)
        seen = np.isfinite(self.values)
        shown = self.is_significant[seen] if look.is_thresholded else look.opacity(self.values[seen])
        colours[seen] += shown[:, None] * (look.scale.tint(self.values[seen]) - colours[seen])
        return colours.astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Half:
    """A hemisphere of the maps: its part of their space, where this stands in a row, and its surface."""

    part: Vertices
    own: slice
    shape: Shape

    @property
    def hemi(self) -> str:
        """``L`` or ``R``."""
        return str(self.part.hemi)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cortex:
    """The hemispheres that have a surface in OUTPUT_DIR; ``id``: what the page calls their meshes."""

    id: str
    halves: tuple[Half, ...]

    def pack(self) -> list[dict[str, Any]]:
        """Give the meshes to the viewer."""
        return [pack_mesh(one.hemi, one.shape) for one in self.halves]

    def lay(
        self,
        statistic: npt.NDArray[np.float32],
        inside: npt.NDArray[np.bool_],
        significant: npt.NDArray[np.bool_],
    ) -> tuple[Hemisphere, ...]:
        """Lay rows over the whole space onto the surfaces."""
        found = []
        for half in self.halves:
            values = np.full(half.part.n_vertices, np.nan, dtype=np.float32)
            is_in = np.zeros(half.part.n_vertices, dtype=bool)
            values[half.part.indices] = np.where(inside, statistic, np.nan)[half.own]
            is_in[half.part.indices] = significant[half.own]
            one = Hemisphere(hemi=half.hemi, shape=half.shape, values=values, is_significant=is_in)
            found.append(one)
        return tuple(found)


def read_cortex(root: Path, space: Space, entities: Mapping[str, str]) -> Cortex | None:
    """Read the surfaces that a run wrote beside its maps; None where no hemisphere has one."""
    named = "".join(f"{name}-{entities[name]}_" for name in ("space", "den") if name in entities)
    halves = []
    for part, own in zip(space.parts, space.slices, strict=True):
        if not isinstance(part, Vertices) or part.hemi is None:
            continue
        path = root / "group" / f"hemi-{part.hemi}_{named}midthickness.surf.gii"
        if path.is_file():
            mesh = read_surface(path).mesh
            if len(mesh.points) == part.n_vertices:
                shape = Shape(points=mesh.points, triangles=mesh.triangles.astype(np.int64))
                halves.append(Half(part=part, own=own, shape=shape))
    return Cortex(id=f"meshes-{named}", halves=tuple(halves)) if halves else None


def strongest_half(hemispheres: Sequence[Hemisphere], look: Look) -> Hemisphere:
    """Find the hemisphere with the strongest evidence."""

    def strength(one: Hemisphere) -> float:
        values = np.nan_to_num(one.values)
        return float((values if look.is_one_sided else np.abs(values)).max())

    return max(hemispheres, key=strength)


def draw_surfaces(
    hemispheres: Sequence[Hemisphere],
    look: Look,
    views: Sequence[str] = VIEWS,
    *,
    is_small: bool = False,
    ticks: Mapping[float, str] | None = None,
) -> Sheet:
    """Draw a row of views for each hemisphere, with the colour scale (not on what ``is_small``).

    What is significant has a white outline; opacity of the statistic as in slices of volumes.
    """
    rows, words, top = [], [], 0
    wide, right = (_NARROW, _NARROW) if is_small else (_WIDE, _RIGHT)
    for one in hemispheres:
        turned = [_turn(one.shape.points, one.hemi, view) for view in views]
        spans = [np.ptp(points[:, :2], axis=0) for points in turned]
        scale = (right - _LEFT - _GAP * len(views)) / sum(span[0] for span in spans)
        height = round(scale * max(span[1] for span in spans)) + 2 * _GAP
        row, left = np.tile(rgb(BACKDROP), (height, wide, 1)), _LEFT
        faces = one.colours(look)[one.shape.triangles].mean(axis=1)
        for view, points, span in zip(views, turned, spans, strict=True):
            tile = _paint(one, points, faces, scale)
            first = (height - len(tile)) // 2
            row[first : first + len(tile), left : left + tile.shape[1]] = tile
            middle = left + tile.shape[1] / 2
            text = f"{one.hemi} {view}"
            words.append(Words(x=middle, y=top + height - 2, text=text, colour=WORDS, anchor="ms"))
            left += round(scale * span[0]) + _GAP
        rows.append(row)
        top += height
    rows.append(np.tile(rgb(BACKDROP), (_BELOW, wide, 1)))
    pixels = (255 * np.concatenate(rows)).round().astype(np.uint8)
    sheet = Sheet(pixels=pixels, words=words)
    return sheet if is_small else with_scale(sheet, look, ticks)


def _turn(points: Points, hemi: str, view: str) -> Points:
    """Turn points so that x runs to the right of the page, y up, and z towards the reader."""
    x, y, z = points.T
    if view in ("dorsal", "ventral"):
        side = 1 if view == "dorsal" else -1
        return np.column_stack([side * x, y, side * z])
    is_from_left = (hemi == "L") == (view == "lateral")
    return np.column_stack([-y, z, -x]) if is_from_left else np.column_stack([y, z, x])


def _crossings(one: Hemisphere, places: Points) -> dict[int, list[float]]:
    """Give the line, by triangle, where what is significant ends: between the midpoints of two edges."""
    inside = one.is_significant[one.shape.triangles]
    crossed = np.flatnonzero(inside.any(axis=1) & ~inside.all(axis=1))
    corners, inside = places[one.shape.triangles[crossed]], inside[crossed]
    alone = np.where(inside.sum(axis=1) == 1, inside.argmax(axis=1), inside.argmin(axis=1))
    rows = np.arange(len(crossed))
    ends = [(corners[rows, alone] + corners[rows, (alone + step) % 3]) / 2 for step in (1, 2)]
    return dict(zip(crossed.tolist(), np.concatenate(ends, axis=1).tolist(), strict=True))


def _paint(one: Hemisphere, points: Points, faces: Colours, scale: float) -> Colours:
    """Paint the triangles that look at the reader, the farthest first; return RGB by row and column."""
    flat = points[:, :2] - points[:, :2].min(axis=0)
    width, height = (int(np.ceil(scale * edge)) + 2 for edge in flat.max(axis=0))
    places = _TWICE * (scale * flat + 1)
    places[:, 1] = _TWICE * height - places[:, 1]
    corners = points[one.shape.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = np.flatnonzero(normals[:, 2] > 0)
    front = front[np.argsort(corners[front, :, 2].mean(axis=1), kind="stable")]
    light = _AMBIENT + (1 - _AMBIENT) * normals[front, 2] / np.linalg.norm(normals[front], axis=1)
    levels = np.round(255 * np.clip(faces[front] * light[:, None], 0, 1)).astype(int).tolist()
    outlines = places[one.shape.triangles[front]].reshape(-1, 6).tolist()
    lines = _crossings(one, places)
    image = Image.new("RGB", (_TWICE * width, _TWICE * height), BACKDROP)
    draw = ImageDraw.Draw(image)
    for face, outline, level in zip(front.tolist(), outlines, levels, strict=True):
        draw.polygon(outline, fill=tuple(level))
        if face in lines:
            draw.line(lines[face], fill=LINE, width=_TWICE)
    small = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def pack_mesh(hemi: str, shape: Shape) -> dict[str, Any]:
    """Pack the mesh for the viewer: places in 16 bits of the box around it, triangles as differences."""
    low, high = shape.points.min(axis=0), shape.points.max(axis=0)
    steps = np.round((shape.points - low) / (high - low) * 65535).astype("<u2")
    deltas = np.diff(shape.triangles.ravel(), prepend=0).astype("<i4")
    return {
        "hemi": hemi,
        "low": low.tolist(),
        "high": high.tolist(),
        "points": pack(in_planes(steps)),
        "triangles": pack(in_planes(deltas)),
        "bulges": pack(np.packbits(shape.bulges, bitorder="little")),
    }


def pack_map(hemispheres: Sequence[Hemisphere], look: Look, correction: str) -> dict[str, Any]:
    """Pack a map for the viewer: 16 bits a value, and one that says "not analysed"."""
    packed, strongest = [], (0.0, "")
    for one in hemispheres:
        size = np.abs(np.nan_to_num(one.values))
        scale = float(size.max()) / LEVELS or 1.0
        numbers = np.where(np.isnan(one.values), NOT_ANALYSED, np.round(one.values / scale)).astype("<i2")
        bits = np.packbits(one.is_significant, bitorder="little")
        packed.append({"values": pack(in_planes(numbers)), "scale": scale, "significant": pack(bits)})
        strongest = max(strongest, (float(size.max()), f"{one.hemi} {int(size.argmax())}"))
    return {
        **look.told,
        "strongest": strongest[1],
        "correction": correction,
        "hemispheres": packed,
    }
