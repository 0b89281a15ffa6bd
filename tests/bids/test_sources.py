"""Whose pooled maps come from other sessions or runs than those of most: counted or named."""

from pathlib import Path

import pytest

from bids_group.bids import tell_sources
from bids_group.records import FirstLevelMap, Observation


def row(subject, *slots, session=None):
    """A row that stands on maps of some ``session/run``."""
    maps = tuple(
        FirstLevelMap(
            subject=subject, contrast="c", effect=Path(f"{subject}-{slot}"), dataset=Path(),
            session=slot.partition("/")[0] or None, run=slot.partition("/")[2] or None,
        )
        for slot in slots
    )  # fmt: skip
    return Observation(subject=subject, contrast="c", session=session, sources=maps)


def test_nothing_is_told_where_all_have_the_same():
    assert tell_sources([row(str(n), "a/1", "a/2", "b/1") for n in range(5)]) == []
    assert tell_sources([row("1", "a/01"), row("2", "a/1")]) == []  # one run, written in two ways
    both = [row(str(n), f"{ses}/1", session=ses) for n in range(3) for ses in "ab"]
    assert tell_sources([*both, row("9", "a/1", session="a")]) == []  # who lacks a row is told elsewhere


def test_people_of_other_sessions_are_named_and_the_usual_counted():
    rows = [row(f"{n:05d}", "a", "b") for n in range(9_990)] + [row(f"x{n}", "b") for n in range(3)]
    rows += [row(f"y{n}", "a") for n in range(7)]
    (told,) = tell_sources(rows)
    assert told.severity == "warning"
    assert told.sentence == (
        "The maps of people do not come from the same sessions: ses-a, ses-b (9990 rows); ses-a (7 rows); "
        "ses-b (sub-x0, sub-x1, sub-x2)."
    )
    assert "--session-label" in told.fix
    assert "--pooling none" in told.fix


def test_sessions_named_by_dates_are_a_note_and_stay_short():
    (told,) = tell_sources([row(f"{n:04d}", f"2020{n:04d}") for n in range(1000)])
    assert told.severity == "note"
    assert "and 996 more kinds" in told.sentence
    assert len(told.sentence) < 300


@pytest.mark.parametrize("session", [None, "a"])
def test_runs_are_told_where_sessions_agree(session):
    rows = [row(str(n), "a/1", "a/2", session=session) for n in range(7)] + [row("8", "a/2", session=session)]
    (told,) = tell_sources(rows)
    assert told.severity == "note"
    assert f"the same runs: ses-a run-1, run-2 (7 rows); ses-a run-2 ({rows[-1].label})." in told.sentence


def test_maps_without_sessions_and_runs_beside_some_that_have_them():
    (told,) = tell_sources([row("1", "/1"), row("2", "/1", "/2"), row("3", "")])
    assert "run-1 (sub-1); run-1, run-2 (sub-2); no run (sub-3)" in told.sentence
    (told,) = tell_sources([row("1", "a"), row("2", ""), row("3", "")])
    assert "no session (sub-2, sub-3); ses-a (sub-1)" in told.sentence
