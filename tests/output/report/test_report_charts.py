"""What stands in a chart is read back from its SVG, by the numbers along its axes."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage, stats

from bids_group.output.report import brains
from bids_group.output.report.axes import Chart, Panel, round_ticks
from bids_group.output.report.canvas import Box
from bids_group.output.report.charts import (
    draw_correlations,
    draw_covariates,
    draw_design,
    draw_distributions,
    draw_quality,
)
from bids_group.output.report.influence import draw_peaks
from bids_group.output.report.marks import MANY_DOTS, Dots, Line, Text
from bids_group.output.report.sheet import Sheet, measure, ramp, tint

SVG = "{http://www.w3.org/2000/svg}"
PLACE = r"[ML](-?[\d.e-]+) (-?[\d.e-]+)"


class Drawn:
    """A panel of a chart as it was spelled: its paths, and its texts by what they say."""

    def __init__(self, chart: Chart, index: int = 0) -> None:
        self.root = ElementTree.fromstring(chart.render())
        panel = self.root.findall(f"{SVG}g")[index]
        self.paths = panel.findall(f"{SVG}path")
        self.texts = {str(one.text): one for one in panel.findall(f"{SVG}text")}

    def read(self, path: ElementTree.Element) -> np.ndarray:
        """Points of a path in the numbers of the axes, known from two ticks along each."""
        places = np.array(re.findall(PLACE, path.get("d", "")), dtype=float)
        return np.column_stack([self._number("x", places[:, 0]), self._number("y", places[:, 1])])

    def _number(self, axis: str, pixels: np.ndarray) -> np.ndarray:
        other = "end" if axis == "x" else "middle"
        numbers = [
            (float(text.replace("−", "-")), float(one.get(axis, "")))
            for text, one in self.texts.items()
            if re.fullmatch(r"−?[\d.]+", text) and one.get("text-anchor") != other
        ]
        (a, at_a), (b, at_b) = numbers[0], numbers[-1]
        shift = 0 if axis == "x" else 0.36 * 11  # text stands a little lower than its tick
        return a + (pixels + shift - at_a) / (at_b - at_a) * (b - a)


finite = st.floats(-1e9, 1e9, allow_subnormal=False)


@settings(max_examples=300, deadline=None)
@given(finite, st.floats(1e-6, 1e9), st.integers(2, 12))
@example(1.0, 4e8, 2)
def test_ticks_are_round_numbers_inside_that_differ_as_they_are_spelled(
    low: float, width: float, n_most: int
) -> None:
    width = max(width, abs(low) * 1e-6)
    ticks = round_ticks(low, low + width, n_most)
    places = np.array(list(ticks))
    assert 0 < len(places) <= n_most + 1
    assert (places >= low - 1e-6 * width).all()
    assert (places <= low + width * (1 + 1e-6)).all()
    texts = list(ticks.values())
    assert len(set(texts)) == len(texts)
    said = np.array([float(text.replace("−", "-")) for text in texts])
    assert said == pytest.approx(places, rel=1e-9, abs=width / n_most / 100)
    if len(places) > 1:
        step = np.diff(places).mean()
        assert step / 10 ** np.floor(np.log10(step) + 1e-9) == pytest.approx(
            min((1, 2, 5, 10), key=lambda one: abs(one - step / 10 ** np.floor(np.log10(step) + 1e-9)))
        )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-900, 900), st.floats(-0.9, 0.9)), min_size=2, max_size=9, unique=True))
def test_dots_stand_where_the_axes_say(points: list[tuple[float, float]]) -> None:
    x, y = np.array(points).T
    panel = Panel(
        marks=[Dots(x=x, y=y, colour="#000000")],
        size=(400, 300),
        x_limits=(-1000, 1000),
        y_limits=(-1, 1),
    )
    drawn = Drawn(Chart(panels=[panel]))
    found = drawn.read(drawn.paths[0])
    assert len(found) <= len(points)
    for at, height in points:  # places are spelled to a twentieth of a pixel
        assert (np.abs(found - (at, height)) <= (1.0, 0.002)).all(axis=1).any()


def test_a_line_has_gaps_and_reaches_the_edge() -> None:
    marks = [
        Dots(x=[0, 4], y=[0, 1], colour="#000000"),
        Line(x=[0, 1, np.nan, 3, 4], y=[0, 1, np.nan, 1, 0], colour="#111111"),
        Line(x=(-np.inf, np.inf), y=(0.5, 0.5), colour="#222222"),
    ]
    panel = Panel(marks=marks, size=(400, 300), x_limits=(0, 4), y_limits=(0, 1))
    drawn = Drawn(Chart(panels=[panel]))
    _, broken, whole = drawn.paths[:3]
    assert re.sub("[^ML]", "", broken.get("d", "")) == "MLML"
    assert drawn.read(broken) == pytest.approx(np.array([[0, 0], [1, 1], [3, 1], [4, 0]]), abs=0.01)
    assert drawn.read(whole) == pytest.approx(np.array([[0, 0.5], [4, 0.5]]), abs=0.01)


def test_many_dots_on_the_same_pixel_are_drawn_once_and_what_is_missing_is_not() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 200_000))
    y[:1000] = np.nan
    panel = Panel(marks=[Dots(x=x, y=y, colour="#000000")], size=(300, 200))
    (path, *_) = Drawn(Chart(panels=[panel])).paths
    places = re.findall(PLACE, path.get("d", ""))
    assert len(set(places)) == len(places)
    assert MANY_DOTS < len(places) < 301 * 201
    assert "nan" not in path.get("d", "")


def test_a_histogram_has_the_area_and_the_mean_of_its_values() -> None:
    z = np.random.default_rng(1).normal(0.5, 1, 50_000)
    drawn = Drawn(draw_distributions(z, stats.norm.sf(z)), 0)
    x, y = drawn.read(drawn.paths[0]).T
    assert np.trapezoid(y, x) == pytest.approx(1, abs=0.01)
    assert np.trapezoid(x * y, x) == pytest.approx(0.5, abs=0.02)
    x, y = drawn.read(drawn.paths[1]).T
    assert y == pytest.approx(stats.norm.pdf(x), abs=0.005)


def test_bars_beside_points_are_the_t_interval() -> None:
    labels = [f"sub-{k}" for k in range(12)]
    values = np.random.default_rng(3).normal(5, 2, 12)
    columns = {"peak": 1, "label": labels, "effect": values, "fitted": values, "partial_residual": values}
    variables = pd.DataFrame({"age": values}, index=labels)
    people = pd.Series(labels, index=labels)
    drawn = Drawn(draw_peaks(pd.DataFrame(columns), {1: "a"}, (None, ()), variables, people))
    bar = next(one for one in drawn.paths if one.get("d", "").count("M") == 3)
    y = [float(height) for _, height in re.findall(PLACE, bar.get("d", ""))]
    field = draw_peaks(pd.DataFrame(columns), {1: "a"}, (None, ()), variables, people).panels[0].field
    interval = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    (_, low), (_, high) = field.place([0, 0], interval)
    assert (max(y), min(y)) == (low, high)


def test_fitted_lines_have_their_interval_dashed_where_it_is_known() -> None:
    labels, x = [f"sub-{k}" for k in range(6)], np.arange(6.0)
    points = pd.DataFrame({"peak": 1, "label": labels, "effect": x, "fitted": x, "partial_residual": x})
    people, variables = pd.Series(labels, index=labels), pd.DataFrame({"age": x}, index=labels)

    def dashed(points: pd.DataFrame) -> list[Line]:
        (panel,) = draw_peaks(points, {1: "a"}, ("age", ()), variables, people).panels
        return [mark for mark in panel.marks if isinstance(mark, Line) and mark.dash]

    assert not dashed(points)
    assert not dashed(points.assign(line_lower=np.nan, line_upper=np.nan))
    low, high = dashed(points.assign(line_lower=x - 1, line_upper=x + 2))
    for line, expected in ((low, x - 1), (high, x + 2)):
        np.testing.assert_array_equal(line.x, x)
        np.testing.assert_array_equal(line.y, expected)


def test_a_matrix_is_coloured_cell_by_cell_the_first_row_above() -> None:
    matrix = pd.DataFrame({"a": [1.0, 1, 1], "b": [-1.0, 0, 2]}, index=["x", "y", "z"])
    root = Drawn(draw_design(matrix, {"b": np.array([[0, 1.0]])})).root
    source = root.findall(f".//{SVG}image")[0].get("href", "")
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
    rows, columns = (np.array([1, 3, 5]) * image.shape[0] // 6, np.array([1, 3]) * image.shape[1] // 4)
    greys = image[np.ix_(rows, columns)].astype(int)
    is_warm = greys[..., 0] > greys[..., 2] + 50
    is_cold = greys[..., 2] > greys[..., 0] + 20
    assert is_warm.tolist() == [[True, False], [True, False], [True, True]]
    assert is_cold.tolist() == [[False, True], [False, False], [False, False]]


@pytest.mark.parametrize("n", [2, 30, 200])
def test_words_stay_inside_the_picture_and_long_lists_are_not_named(n: int) -> None:
    rng = np.random.default_rng(4)
    labels = [f"sub-{'M' * 20}{k}" for k in range(n)]
    design = pd.DataFrame(rng.normal(size=(n, n)), index=labels, columns=[f"WWW[{k}]WWW" for k in range(n)])
    quality = pd.DataFrame({"label": labels, "correlation_loo": rng.normal(size=n), "is_outlier": True})
    variables = pd.DataFrame({"age": rng.normal(size=n), "group": labels})
    charts = [
        draw_design(design, {"a long name of a contrast": rng.normal(size=(1, n))}),
        draw_correlations(pd.DataFrame(rng.normal(size=(n + 1, n)), columns=design.columns)),
        draw_quality(quality, {"correlation_loo": "correlation with the others' mean"}),
        draw_covariates(variables, ["age"], "group" if n < 40 else None),
    ]
    for chart in charts:
        assert chart is not None
        text = chart.render().decode()
        assert text.count("<text") < 400
        (corners, size) = chart._edges
        for corner, panel in zip(corners, chart.panels, strict=True):
            room = np.array(panel.room).reshape(2, 2) + corner
            assert (room >= 0).all()
            assert (room <= size).all()


def test_colours_are_those_of_the_ends_and_of_the_middle() -> None:
    colours = tint(np.array([-9.0, -1, 0, 1, 9]), -1, 1, ramp("#000000", "#ffffff"))
    assert colours[:, 0] == pytest.approx([0, 0, 0.5, 1, 1], abs=0.01)


def test_names_beside_points_do_not_touch_the_title() -> None:
    table = pd.DataFrame(
        {"label": list("abc"), "mahalanobis": [1.0, 2, 9], "is_outlier": [False, False, True]}
    )
    (panel,) = draw_quality(table, {"mahalanobis": "M" * 30}).panels
    texts = [part for part in panel.parts if isinstance(part, Text)]
    name, title = (next(one for one in texts if one.text == words) for words in ("c", "M" * 30))
    assert title.corners[:, 1].max() <= name.corners[:, 1].min()


@pytest.mark.parametrize("limit", [1.5e-8, 12.0])
def test_numbers_beside_a_colour_scale_end_on_the_picture(limit: float) -> None:
    sheet = Sheet(pixels=np.zeros((300, 1500, 3), dtype=np.uint8), words=())
    drawn = brains._draw_scale(sheet, brains.Scale(-limit, limit, ramp("#000000", "#ffffff"), "t"))
    numbers = [one for one in drawn.words if one.anchor == "lm"]
    assert len(numbers) > 2
    assert max(one.x + measure(one.text, one.size) for one in numbers) < 1500


def test_an_outline_is_what_dilation_adds() -> None:
    is_in = np.random.default_rng(1).random((30, 40)) > 0.8  # at the edges too
    image = np.zeros((30, 40, 3), dtype=np.float32)
    brains._outline(image, is_in)
    np.testing.assert_array_equal(image[..., 0] == 1, ndimage.binary_dilation(is_in) & ~is_in)


def test_a_slice_that_contrasts_share_is_not_painted_over() -> None:
    draw = np.random.default_rng(2)
    boxes = [
        Box(data=draw.normal(size=(9, 8, 7)).astype(np.float32), origin_mm=(0, 0, 0), step_mm=(3, 3, 3))
        for _ in range(3)
    ]
    mask, *statistics = boxes
    look = brains.Look(limit=3, opaque_at=2, is_signed=True, name="t")
    looks = [
        brains.Layers(look=look, mask=mask, statistic=one, significant=one, anatomy=None)
        for one in statistics
    ]
    cuts = [(3.0, 12.0), (3.0, 12.0), (3.0, 12.0)]
    first, other, again = (brains.draw_mosaic(look, cuts).pixels for look in (*looks, looks[0]))
    assert (first != other).any()
    np.testing.assert_array_equal(first, again)
