"""What is drawn lies where it lies: boxes, cuts and the data of the viewer."""

from __future__ import annotations

import base64
import gzip
import json
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.elements import Grid
from bids_group.output.report.canvas import (
    Box,
    common_cuts,
    halve,
    pack_anatomy,
    pack_flags,
    pack_statistic,
    place,
    read_anatomy,
    read_outlines,
)
from bids_group.output.report.influence import Focus, draw_peaks, find_focus
from bids_group.output.report.marks import Dots, Line, Text

DRAWING = Path(find_spec("nilearn").origin).parent / "plotting/glass_brain_files/brain_schematics_top.json"  # type: ignore[union-attr,arg-type]


def _grid(orientation: str, step: tuple[float, float, float] = (2.0, 3.0, 4.0)) -> Grid:
    turn = nib.orientations.axcodes2ornt(tuple(orientation))
    affine = np.eye(4)
    for axis, (where, sign) in enumerate(turn.astype(int)):
        affine[axis, axis] = 0
        affine[where, axis] = sign * step[axis]
    affine[:3, 3] = (11.0, -7.0, 5.0)
    return Grid(shape=(5, 6, 7), affine=affine)


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "LPS", "PIR", "SAR", "ILP"])
def test_an_element_is_found_where_its_affine_puts_it(orientation: str) -> None:
    grid = _grid(orientation)
    volume = np.arange(grid.n_elements, dtype=np.float32).reshape(grid.shape)
    box = place(volume, grid)
    for voxel in [(0, 0, 0), (4, 5, 6), (2, 3, 1)]:
        x, y, z = nib.affines.apply_affine(grid.affine, voxel)
        for axis, at in enumerate((x, y, z)):
            assert float(volume[voxel]) in np.asarray(box.cut(axis, at))
        where = tuple(box.position(axis, at) for axis, at in enumerate((x, y, z)))
        assert box.data[where] == volume[voxel]
    assert min(box.step_mm) > 0


def test_an_oblique_grid_is_resampled_to_the_nearest_element() -> None:
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = 2 * turn, (-10, 4, 3)
    grid = Grid(shape=(20, 20, 5), affine=affine)
    volume = np.random.default_rng(0).integers(1, 1000, grid.shape).astype(np.float32)
    box = place(volume, grid)
    assert set(np.unique(box.data)) <= {0.0, *np.unique(volume)}
    for voxel in [(10, 10, 2), (3, 15, 0), (15, 4, 4)]:
        centre = nib.affines.apply_affine(affine, voxel)
        where = tuple(box.position(axis, at) for axis, at in enumerate(centre))
        nearest = nib.affines.apply_affine(
            np.linalg.inv(affine), np.add(box.origin_mm, np.multiply(where, box.step_mm))
        )
        assert box.data[where] == volume[tuple(np.rint(nearest).astype(int))]


def test_a_cut_outside_the_box_is_none() -> None:
    box = place(np.zeros((5, 6, 7), dtype=np.float32), _grid("RAS"))
    assert box.cut(0, 1000) is None


def test_the_template_has_its_anterior_commissure_inside_and_air_outside() -> None:
    anatomy = read_anatomy("MNI152NLin6Asym")
    assert anatomy is not None
    assert anatomy.bounds_mm(1)[0] < -100 < 70 < anatomy.bounds_mm(1)[1]
    cut = anatomy.cut(0, 0.0)
    assert cut is not None
    assert 0.2 < float(cut[anatomy.position(2, 0), anatomy.position(1, 0)]) <= 1  # type: ignore[index]
    assert read_anatomy("T1w") is None
    assert read_anatomy("MNIInfant") is None
    assert read_anatomy(None) is None


def test_the_template_is_that_of_nilearn_though_nilearn_is_not_imported() -> None:
    from nilearn.datasets import load_mni152_template

    image, box = load_mni152_template(resolution=1), read_anatomy("MNI152NLin2009cAsym")
    assert box is not None
    x, y, z = np.random.default_rng(6).uniform((-70, -100, -60), (70, 70, 80), (200, 3)).round().T
    values = [
        box.data[box.position(0, a), box.position(1, b), box.position(2, c)]
        for a, b, c in zip(x, y, z, strict=True)
    ]  # type: ignore[index]
    voxels = nib.affines.apply_affine(np.linalg.inv(image.affine), np.column_stack([x, y, z]))
    expected = image.get_fdata()[tuple(np.rint(voxels).astype(int).T)]
    assert values == pytest.approx(expected, abs=1e-6)
    assert (expected > 0.2).sum() > 50


def test_halving_keeps_the_mean_and_the_place() -> None:
    data = np.random.default_rng(1).random((8, 6, 4), dtype=np.float32)
    small = halve(Box(data=data, origin_mm=(1, 2, 3), step_mm=(1, 1, 2)))
    assert small.data.mean() == pytest.approx(data.mean(), rel=1e-5)
    assert small.origin_mm == (1.5, 2.5, 4.0)
    assert small.bounds_mm(0) == (0.5, 8.5)


def test_cuts_lie_inside_the_mask() -> None:
    data = np.zeros((40, 40, 40), dtype=np.float32)
    data[5:30] = 1
    cuts = common_cuts(Box(data=data, origin_mm=(-40, -40, -40), step_mm=(2, 2, 2)), 0, 6)
    assert len(cuts) == 6
    assert -30 < min(cuts) < max(cuts) < 18


def _bytes(packed: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(gzip.decompress(base64.b64decode(packed["bytes"])), dtype=np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 500))
def test_the_viewer_gets_every_value_to_a_hundredth_of_a_percent_of_the_largest(
    seed: int, size: float
) -> None:
    data = (np.random.default_rng(seed).normal(size=(4, 5, 6)) * size).astype(np.float32)
    packed = pack_statistic(Box(data=data, origin_mm=(0, 0, 0), step_mm=(1, 1, 1)))
    low, high = _bytes(packed).reshape(2, -1).astype(np.int32)
    numbers = low | (high << 8)
    numbers[numbers >= 2**15] -= 2**16
    values = (numbers * packed["scale"]).reshape(data.shape, order="F")
    assert np.abs(values - data).max() <= 1e-4 * np.abs(data).max()


def test_flags_and_anatomy_come_back() -> None:
    data = (np.random.default_rng(2).random((5, 7, 9)) > 0.5).astype(np.float32)
    box = Box(data=data, origin_mm=(0, 0, 0), step_mm=(1, 1, 1))
    flags = np.unpackbits(_bytes(pack_flags(box)), bitorder="little")[: data.size].reshape(
        data.shape, order="F"
    )
    assert np.array_equal(flags, data)
    grey = _bytes(pack_anatomy(box)).reshape((2, 3, 4), order="F") / 255
    assert grey == pytest.approx(halve(box).data, abs=1 / 255)


def test_a_statistic_of_zero_everywhere_is_packed() -> None:
    packed = pack_statistic(
        Box(data=np.zeros((2, 2, 2), dtype=np.float32), origin_mm=(0, 0, 0), step_mm=(1, 1, 1))
    )
    assert (_bytes(packed) == 0).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_outlines_of_a_glass_brain_lie_where_the_template_does(axis: int) -> None:
    anatomy = read_anatomy("MNI152NLin2009cAsym")
    assert anatomy is not None
    places = np.concatenate([one.places for one in read_outlines(axis)])
    left, right, bottom, top = anatomy.extent(axis)
    found = [*places.min(axis=0), *places.max(axis=0)]
    assert found == pytest.approx([left, bottom, right, top], abs=10)
    if axis == 0:  # the brainstem ends below, behind the middle
        assert -60 < places[places[:, 1].argmin(), 0] < 0


def test_a_curve_is_followed_to_its_ends() -> None:
    """Cubic curves are those of the definition, in a dozen places."""
    outlines = read_outlines(2)
    drawing = json.loads(DRAWING.read_text())
    points = next(one["pts"] for one in drawing["paths"][0]["items"] if len(one["pts"]) == 4)
    t = np.linspace(0, 1, 9)[:, None]
    a, b, c, d = (np.array(point) for point in points)
    expected = a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3
    expected = expected * (0.36, 0.37) + (-71, -107)
    assert any(np.shape(one.places) == (9, 2) and np.allclose(one.places, expected) for one in outlines)


def test_a_box_is_widened_on_all_sides() -> None:
    box = Box(data=np.ones((4, 5, 6), np.float32), origin_mm=(-4, 0, 2), step_mm=(2, 2, 4)).widened(8)
    assert [box.bounds_mm(axis) for axis in range(3)] == [(-13, 11), (-9, 17), (-8, 32)]


TERMS = {
    "1": ["Intercept"],
    "group": ["group[T.p]"],
    "age": ["age"],
    "group:age": ["group[T.p]:age"],
    "subject": ["subject[T.2]"],
}
VARIABLES = pd.DataFrame(
    {"group": ["c", "p"], "age": [1.0, 2.0], "subject": ["1", "2"]}, index=["sub-1", "sub-2"]
)


def test_points_stand_over_their_covariate_and_in_the_order_of_the_levels() -> None:
    """Also where a covariate is called as one of our own columns, and levels are not alphabetical."""
    labels = [f"sub-{k}" for k in range(6)]
    levels = pd.Categorical(["low", "high", "low", "high", "low", "high"], categories=["low", "high"])
    variables = pd.DataFrame({"effect": [3.0, 1, 4, 1.5, 9, 2], "dose": levels}, index=labels)
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    points = pd.DataFrame(
        {"peak": 1, "label": labels, "effect": values, "fitted": values, "partial_residual": values}
    )
    people = pd.Series(labels, index=labels)
    focus = ("effect", ("dose",))
    (slopes,) = draw_peaks(points, {1: "a"}, focus, variables, people).panels
    drawn = [list(zip(one.x, one.y, strict=True)) for one in slopes.marks if isinstance(one, Dots)]
    assert drawn == [[(3.0, 0.1), (4.0, 0.3), (9.0, 0.5)], [(1.0, 0.2), (1.5, 0.4), (2.0, 0.6)]]
    focus = (None, ("dose",))
    (strips,) = draw_peaks(points, {1: "a"}, focus, variables, people).panels
    assert strips.x_ticks == {0: "low", 1: "high"}
    low = next(one for one in strips.marks if isinstance(one, Dots))
    assert list(low.y) == [0.1, 0.3, 0.5]


@pytest.mark.parametrize(
    "levels", [("a", "b"), ("treated", "control"), ("at the very beginning", "a year later")]
)
def test_names_of_levels_do_not_lie_on_each_other(levels: tuple[str, str]) -> None:
    labels = [f"sub-{k}" for k in range(8)]
    variables = pd.DataFrame({"when": [*levels] * 4, "who": ["old"] * 4 + ["young"] * 4}, index=labels)
    values = np.arange(8) / 8
    points = pd.DataFrame(
        {"peak": 1, "label": labels, "effect": values, "fitted": values, "partial_residual": values}
    )
    people = pd.Series(labels, index=labels)
    (panel,) = draw_peaks(points, {1: "p"}, (None, ("who", "when")), variables, people).panels
    names = [one for one in panel.parts if isinstance(one, Text) and one.text in panel.ticks[0].values()]
    assert len(names) == 4
    if not panel.slanted:
        edges = sorted((one.corners[:, 0].min(), one.corners[:, 0].max()) for one in names)
        assert all(end < start for (_, end), (start, _) in pairwise(edges))
    else:
        assert {one.turn for one in names} == {-40}
    assert bool(panel.slanted) == (len(levels[0]) > 1)


def test_rows_of_one_person_are_joined_whatever_their_labels_look_like() -> None:
    labels = ["sub-1_contrast-a", "sub-1_contrast-b", "sub-2_ses-x", "sub-2_ses-y", "sub-3"]
    people = pd.Series(["sub-1", "sub-1", "sub-2", "sub-2", "sub-3"], index=labels)
    variables = pd.DataFrame({"when": pd.Categorical(["a", "b", "a", "b", "a"])}, index=labels)
    values = [0.1, 0.2, 0.3, 0.4, 0.5]
    points = pd.DataFrame(
        {"peak": 1, "label": labels, "effect": values, "fitted": values, "partial_residual": values}
    )
    focus = (None, ("when",))
    (panel,) = draw_peaks(points, {1: "p"}, focus, variables, people).panels
    joined = next(one for one in panel.marks if isinstance(one, Line) and one.opacity < 1)
    np.testing.assert_array_equal(joined.y, [0.1, 0.2, np.nan, 0.3, 0.4, np.nan])


@pytest.mark.parametrize(
    ("weights", "focus"),
    [
        ([1, 0.5, 0, 0, 0], (None, ("group",))),
        ([0, 0, 1, 0, 0], ("age", ())),
        ([0, 0, 0, 1, 0], ("age", ("group",))),
        ([1, 0, 0, 0, 0], (None, ())),
        ([0, 0, 0, 0, 1], (None, ())),
    ],
)
def test_a_contrast_is_drawn_against_what_it_weights(weights: list[float], focus: Focus) -> None:
    columns = [name for names in TERMS.values() for name in names]
    assert find_focus(np.array([weights]), columns, TERMS, VARIABLES) == focus
