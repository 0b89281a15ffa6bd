"""The forecast multiplies what a clock says; here the clock ticks once a reading."""

from itertools import count

import numpy as np
import pytest

from bids_group.config import InferenceSpec
from bids_group.inference import check_inference, forecast


@pytest.fixture(autouse=True)
def second_by_second(monkeypatch):
    """Whatever is timed takes one second."""
    ticks = count()
    monkeypatch.setattr(forecast, "perf_counter", lambda: next(ticks))


def seconds_of(design, spec, n_elements):
    return forecast.forecast_seconds(design, check_inference(design, spec)[1], spec, n_elements)


@pytest.fixture
def design(make_problem):
    data, _ = make_problem(np.column_stack([np.ones(12), np.arange(12) % 5]), [("t", [0, 1]), ("t", [1, 0])])
    return data.design


def test_voxelwise_shuffles_are_those_of_all_contrasts_and_tiles(design):
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=511)
    assert seconds_of(design, spec, 4 * 1024) == pytest.approx(2 * 512 / 256 * (1 + 2))
    assert seconds_of(design, spec, 40 * 1024) == pytest.approx(2 * 512 / 256 * (1 + 20))


def test_exhaustive_shuffles_are_counted_as_many_as_there_are(make_problem):
    data, _ = make_problem(np.ones((5, 1)), [("t", [1.0])])
    spec = InferenceSpec(corrections=("fwe-voxel",), alpha=0.2)
    assert seconds_of(data.design, spec, 2 * 1024) == pytest.approx(32 / 32 * (1 + 1))


def test_tfce_adds_one_map_for_each_shuffle(design):
    spec = InferenceSpec(corrections=("fwe-size",), n_permutations=79)
    without = seconds_of(design, spec, 2 * 1024)
    assert without == pytest.approx(2 * 80 / 8 * (1 + 1))
    with_tfce = seconds_of(design, InferenceSpec(corrections=("fwe-tfce",), n_permutations=79), 2 * 1024)
    assert with_tfce == pytest.approx(without + 2 * 80, rel=0.1)  # the map of noise is about as large


@pytest.mark.parametrize("n_elements", [1, 20, 300, 10_000])
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_a_map_of_any_size_can_be_measured(design, n_elements, connectivity):
    spec = InferenceSpec(corrections=("fwe-tfce",), n_permutations=79, connectivity=connectivity)
    assert 0 < seconds_of(design, spec, n_elements) < np.inf
