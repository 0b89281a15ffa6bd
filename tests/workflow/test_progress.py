"""Without a terminal, a line per minute says how far long work has come and how long it will go on."""

import re

import pytest

from bids_group.cli import main
from bids_group.workflow import progress
from bids_group.workflow.progress import Lines


@pytest.fixture
def lines(monkeypatch):
    """What is put into the log."""
    said = []
    monkeypatch.setattr(progress.LOGGER, "info", lambda form, *values: said.append(form % values))
    return said


def count(times, total):
    """Tell of work that has come so far (``done``) at such times (seconds)."""
    now = [0.0]
    told = Lines(what="Shuffles of faces", clock=lambda: now[0])
    for at, done in times:
        now[0] = at
        told.update(done, total)


def test_a_line_per_minute_with_the_time_that_is_left_at_the_pace_of_the_last_one(lines):
    count([(second, 10 * second) for second in range(1, 180)], 5000)
    assert lines == [
        "Shuffles of faces: 600 of 5,000 (12 %), about 7 min left",  # 4,400 at ten a second: 440 s
        "Shuffles of faces: 1,200 of 5,000 (24 %), about 6 min left",
    ]


def test_what_an_earlier_run_kept_says_nothing_of_the_pace(lines):
    """9,000 of 10,000 were there; the other 1,000 take ten minutes, not the seven seconds of the average."""
    kept = [(0.01 * number, 100 * number) for number in range(1, 91)]
    count([*kept, *((0.9 + 6 * number, 9000 + 10 * number) for number in range(1, 12))], 10_000)
    assert lines == ["Shuffles of faces: 9,100 of 10,000 (91 %), about 9 min left"]


def test_the_pace_of_the_last_minute_counts_and_the_end_is_no_line(lines):
    count([(60, 60), (120, 600), (180, 1000)], 1000)
    assert lines[1:] == ["Shuffles of faces: 600 of 1,000 (60 %), about 44 s left"]


def test_a_run_tells_of_maps_and_shuffles(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    words = [str(small), str(tmp_path / "out"), "group", "--correction", "fwe-mass", "--no-report"]
    assert main([*words, "--n-permutations", "500", "--no-sensitivity"]) == 0
    said = capsys.readouterr().err
    assert re.search(r"Maps of \w+: 6 of 12 \(50 %\)", said)
    assert re.search(r"Shuffles of \w+: [\d,]+ of 501 \(\d+ %\)", said)
    assert "(100 %)" not in said
