"""Pictures and viewer of surfaces: what is seen from where, and what the page unpacks."""

import base64
import gzip

import numpy as np
import pytest

from bids_group.output.report.brains import Look
from bids_group.output.report.surfaces import (
    NOT_ANALYSED,
    Hemisphere,
    Shape,
    draw_surfaces,
    pack_map,
    pack_mesh,
)

LOOK = Look(limit=6.0, opaque_at=3.0, is_signed=True, name="t")
ENDS = {"L": {"lateral": (0, -1), "medial": (0, 1)}, "R": {"lateral": (0, 1), "medial": (0, -1)}}
"""Axis and side that look at the reader, by hemisphere and view; the others are those of both."""
BOTH = {"dorsal": (2, 1), "ventral": (2, -1)}


def sphere(n_rings=24, n_around=36, radius=40.0):
    """Make points and triangles of a sphere, counted round as seen from outside."""
    heights = np.linspace(0, np.pi, n_rings)[1:-1]
    around = np.linspace(0, 2 * np.pi, n_around, endpoint=False)
    a, b = np.meshgrid(heights, around, indexing="ij")
    rings = np.stack([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)], axis=-1).reshape(-1, 3)
    points = radius * np.concatenate([rings, [[0, 0, 1], [0, 0, -1]]])
    top, bottom = len(rings), len(rings) + 1
    faces = []
    for ring in range(len(heights)):
        for k in range(n_around):
            here, right = ring * n_around + k, ring * n_around + (k + 1) % n_around
            if ring + 1 < len(heights):
                below, beside = here + n_around, right + n_around
                faces += [(here, below, beside), (here, beside, right)]
            if ring == 0:
                faces.append((top, here, right))
            if ring == len(heights) - 1:
                faces.append((bottom, right, here))
    return points, np.array(faces)


def hemisphere(hemi="L", values=None):
    points, triangles = sphere()
    values = np.zeros(len(points), np.float32) if values is None else values
    shape = Shape(points=points, triangles=triangles)
    return Hemisphere(hemi=hemi, shape=shape, values=values, is_significant=np.abs(values) > 3)


def cap(axis, side):
    """Put the value 6 on the 10 mm of the sphere that lie farthest to one side."""
    points, _ = sphere()
    return np.where(side * points[:, axis] > 30, 6, 0).astype(np.float32)


def test_faces_look_outward():
    one = hemisphere().shape
    assert (np.einsum("ij,ij->i", one.normals, one.points[one.triangles].mean(axis=1)) > 0).all()
    assert one.bulges.all()


@pytest.mark.parametrize("hemi", ["L", "R"])
@pytest.mark.parametrize("view", ["lateral", "medial", "dorsal", "ventral"])
def test_a_view_shows_the_side_of_its_name(hemi, view):
    axis, side = {**ENDS[hemi], **BOTH}[view]
    at = ["lateral", "medial", "dorsal", "ventral"].index(view)
    shares = []
    for end in (side, -side):
        pixels = draw_surfaces([hemisphere(hemi, cap(axis, end))], LOOK).pixels[:, :1388].astype(int)
        width = 1380 // 4
        tile = pixels[:, 8 + at * width : 8 + (at + 1) * width]
        shares.append(((tile[..., 0] - tile[..., 2]) > 60).mean())  # yellow and red, not grey
    assert shares[0] > 0.05
    assert shares[1] < 0.01


def test_left_lateral_has_the_front_at_the_left_and_the_top_above():
    points, _ = sphere()
    front_top = np.where((points[:, 1] > 15) & (points[:, 2] > 15), 6, 0).astype(np.float32)
    for hemi, is_left in (("L", True), ("R", False)):
        tile = draw_surfaces([hemisphere(hemi, front_top)], LOOK).pixels[:, 8:350].astype(int)
        rows, columns = np.nonzero((tile[..., 0] - tile[..., 2]) > 60)
        grey_rows, grey_columns = np.nonzero(tile.sum(axis=2) > 200)
        assert (columns.mean() < grey_columns.mean()) == is_left
        assert rows.mean() < grey_rows.mean()


def test_what_is_not_analysed_and_what_is_zero_stay_grey():
    values = cap(0, -1)
    values[values == 0] = np.nan
    colours = hemisphere("L", values).colours(LOOK)
    assert (np.ptp(colours[np.isnan(values)], axis=1) == 0).all()
    assert (colours[values == 6] == LOOK.scale.tint(np.array([6.0]))).all()


def test_significant_ends_are_outlined_and_nothing_else():
    def white(values):
        return (draw_surfaces([hemisphere("L", values)], LOOK).pixels[:, :1388] == 255).all(axis=2).sum()

    assert white(np.zeros(len(sphere()[0]), np.float32)) == 0
    assert white(cap(0, -1)) > 50


def unpack(text, dtype):
    planes = np.frombuffer(gzip.decompress(base64.b64decode(text)), np.uint8)
    dtype = np.dtype(dtype)
    return np.ascontiguousarray(planes.reshape(dtype.itemsize, -1).T).view(dtype).ravel()


def test_the_viewer_gets_the_mesh_and_the_map_as_they_are():
    values = cap(1, 1) + np.linspace(-3, 3, len(sphere()[0]), dtype=np.float32)
    values[5] = np.nan
    one = hemisphere("R", values)
    mesh, shown = pack_mesh(one.hemi, one.shape), pack_map([one], LOOK, "FWE")
    steps = unpack(mesh["points"], "<u2").reshape(-1, 3) / 65535
    low, high = np.array(mesh["low"]), np.array(mesh["high"])
    assert np.abs(low + steps * (high - low) - one.shape.points).max() < 1e-3
    assert (np.cumsum(unpack(mesh["triangles"], "<i4")) == one.shape.triangles.ravel()).all()
    (packed,) = shown["hemispheres"]
    numbers = unpack(packed["values"], "<i2")
    assert (numbers == NOT_ANALYSED).nonzero()[0].tolist() == [5]
    np.testing.assert_allclose(numbers[6:] * packed["scale"], values[6:], atol=packed["scale"])
    bits = np.unpackbits(unpack(packed["significant"], "u1"), bitorder="little")[: len(values)]
    assert (bits == one.is_significant).all()
    assert shown["strongest"] == f"R {int(np.nanargmax(np.abs(values)))}"
