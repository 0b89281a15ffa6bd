"""The forecast of a run multiplies what a clock says; here the clock ticks once a reading."""

import json
from itertools import count

import pytest

from bids_group.cli import main
from bids_group.workflow import needs

JOB = ["group", "--no-report", "--no-sensitivity", "-q", "--nprocs", "1"]


@pytest.fixture
def second_by_second(monkeypatch):
    """Whatever is timed takes one second."""
    ticks = count()
    monkeypatch.setattr(needs, "perf_counter", lambda: next(ticks))


def times(capsys, *argv):
    assert main([*map(str, argv), "--dry-run", "--output-format", "json"]) == 0
    return json.loads(capsys.readouterr().out)["Time"]


def read(parts):
    return pytest.approx(needs._READING_PER_PARTS * parts, abs=0.06)


def test_maps_are_read_rows_smoothed_and_new_rows_packed(small_copy, tmp_path, capsys, second_by_second):
    packed = 2 + 0.25 if list(small_copy.rglob("*stat-variance*.nii.gz")) else 1 + 0.25
    asked = [small_copy, tmp_path / "out", *JOB]
    assert times(capsys, *asked)["SecondsOfReading"] == read(12 * (1 + packed))
    assert times(capsys, *asked, "--smoothing-fwhm", "4")["SecondsOfReading"] == read(12 * (2 + packed))
    assert main([*map(str, asked), "--participant-label", "01", "02", "03"]) == 0
    assert times(capsys, *asked)["SecondsOfReading"] == read(12 + 9 * packed)


def test_a_fit_is_as_many_tiles_as_the_elements_fill(small, tmp_path, capsys, second_by_second):
    asked = [small, tmp_path / "out", *JOB]
    assert main([*map(str, asked), "--dry-run"]) == 0
    n_elements = int(capsys.readouterr().out.split("12 rows × about ")[1].split()[0])
    seconds = needs._FIT_PER_PRODUCTS * n_elements / (needs._NUMBERS_OF_TILE // 12)
    assert times(capsys, *asked)["SecondsOfFitting"] == pytest.approx(seconds, abs=0.06)


def test_the_log_says_the_time_before_the_work_begins(small, tmp_path):
    job = [one for one in JOB if one != "-q"]
    job += ["--correction", "fwe-voxel", "--n-permutations", "20"]
    assert main([str(small), str(tmp_path / "out"), *job]) == 0
    (log,) = (tmp_path / "out" / "logs").glob("group-*.log")
    said = next(line for line in log.read_text().splitlines() if "Time on this machine" in line)
    assert "to read 12 maps for 12 rows; about" in said
    assert " to fit; about " in said
    assert said.endswith("to shuffle")


def test_a_map_that_cannot_be_read_stops_the_run_and_not_the_forecast(small_copy, tmp_path, capsys):
    path = min(small_copy.rglob("sub-01*stat-variance*.nii.gz"), default=None)
    if path is None:
        pytest.skip("no variances in this dataset")
    path.write_bytes(path.read_bytes()[:-40])
    assert times(capsys, small_copy, tmp_path / "out", *JOB)["SecondsOfReading"] is None


def test_what_is_tested_again_without_single_people_is_foretold(small, tmp_path, capsys):
    command = [str(small), str(tmp_path / "out"), "group", "--dry-run", "--correction", "fwe-voxel"]
    for more, is_told in ((), True), (("--no-sensitivity",), False):
        assert main([*command, "--n-permutations", "20", *more]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert ("up to 3 times that again" in said) == is_told
    assert main([*command[:-2]]) == 0  # nothing is shuffled
    assert "times that again" not in " ".join(capsys.readouterr().out.split())
