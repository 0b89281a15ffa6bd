"""Tables of sessions, the order of sessions, and phenotype tables with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bids_group.errors import DataError


@pytest.fixture
def sessions(study):
    """Two people, two sessions."""
    folder = study.derivative()
    for s in ("01", "02"):
        study.maps(folder, [f"sub-{s}/ses-{t}/sub-{s}_ses-{t}_contrast-a" for t in ("pre", "post")])
        study.table(f"session_id mood\n ses-pre {s}\n post 1{s}", f"sub-{s}/sub-{s}_sessions.tsv")
    return study


def test_sessions_tables_of_people_become_one(sessions):
    people, table = sessions.gather().tables
    assert people.level == "subject"
    assert table.level == "session"
    assert table.frame["mood"].to_dict() == {
        ("01", "post"): 101.0,
        ("01", "pre"): 1.0,
        ("02", "post"): 102.0,
        ("02", "pre"): 2.0,
    }


def test_sessions_tables_without_sessions_in_the_maps_are_said_not_to_be_used(study):
    study.people(study.derivative(), "01")
    study.table("session_id mood\n ses-1 1", "sub-01/sub-01_sessions.tsv")
    cohort = study.gather()
    assert [table.level for table in cohort.tables] == ["subject"]
    assert any("(mood) are not used" in n.sentence for n in cohort.notices)


@pytest.mark.parametrize("key", ["session_id", "session"])
@pytest.mark.parametrize("name", ["sessions", "participants", "sub-01/sub-01_sessions"])
@pytest.mark.parametrize("levels", [["ses-pre", "ses-post"], {"pre": "before", "post": "after"}])
def test_levels_of_a_json_order_the_sessions(sessions, key, name, levels):
    sessions.table("participant_id age\n sub-01 20\n sub-02 30")
    (sessions.raw / f"{name}.json").write_text(json.dumps({key: {"Levels": levels}}))
    column = sessions.gather().sessions
    assert (column.levels, column.kind_source) == (("pre", "post"), f"Levels in {Path(name).name}.json")


def test_sessions_without_levels_have_no_order(sessions):
    (sessions.raw / "sessions.json").write_text(json.dumps({"session_id": {"Description": "visit"}}))
    cohort = sessions.gather()
    assert cohort.sessions is None
    assert "sessions" not in {notice.topic for notice in cohort.notices}


@pytest.mark.parametrize(
    "levels, sentence",
    [
        ((["pre", "mid"],), "its Levels lack post"),
        ((["pre", "post"], ["post", "pre"]), "order the sessions differently"),
    ],
)
def test_an_order_of_sessions_that_cannot_be_used_says_so(sessions, levels, sentence):
    for name, labels in zip(("sessions", "sub-01/sub-01_sessions"), levels, strict=False):
        (sessions.raw / f"{name}.json").write_text(json.dumps({"session_id": {"Levels": labels}}))
    cohort = sessions.gather()
    (notice,) = [one for one in cohort.notices if one.topic == "sessions"]
    assert cohort.sessions is None
    assert sentence in notice.sentence
    assert "alphabetical order" in notice.sentence


def test_phenotype_with_sessions_joins_the_sessions(sessions):
    rows = "participant_id session_id score\n sub-01 ses-pre 7\n sub-01 ses-post 8\n sub-02 ses-post 9"
    path = sessions.table(rows, "phenotype/scale.tsv")
    _, table = sessions.gather({"phenotype": (path,)}).tables
    assert list(table.frame.columns) == ["mood", "score"]
    assert table.frame["score"].isna().to_dict()[("02", "pre")]
    assert table.frame["score"].to_dict()[("01", "post")] == 8.0


def test_a_map_whose_session_has_no_row_stays_with_missing_values(sessions):
    sessions.table("session_id mood\n ses-pre 1", "sub-02/sub-02_sessions.tsv")
    _, table = sessions.gather().tables
    assert table.frame["mood"].isna().to_dict() == {
        ("01", "post"): False,
        ("01", "pre"): False,
        ("02", "post"): True,
        ("02", "pre"): False,
    }


@pytest.mark.parametrize(
    "labels, said",
    [
        (
            "PRE post_",
            "case, signs or zeros in front, and are not taken as the same: ses-post (maps) and ses-post_",
        ),
        (
            "baseline ses-followup",
            "sub-01_sessions.tsv (ses-baseline, ses-followup) is that of a map (ses-post, ",
        ),
    ],
)
def test_labels_of_sessions_that_are_no_maps_are_told(sessions, labels, said):
    for s in ("01", "02"):
        rows = "".join(f"\n {label} 1{s}" for label in labels.split())
        sessions.table(f"session_id mood{rows}", f"sub-{s}/sub-{s}_sessions.tsv")
    _, table = sessions.gather().tables
    assert table.frame["mood"].isna().all()
    (told,) = table.columns["mood"].notices
    assert said in told.sentence


def test_a_row_that_one_lacks_and_another_has_without_a_map_is_no_other_label(sessions):
    sessions.table("session_id mood\n ses-pre 1", "sub-01/sub-01_sessions.tsv")
    sessions.table("session_id mood\n pre 1\n post 2", "sub-02/sub-02_sessions.tsv")
    for path in sessions.raw.parent.rglob("sub-02_ses-post_*"):
        path.unlink()
    assert sessions.gather().tables[1].columns["mood"].notices == ()


def test_people_of_a_table_of_sessions_who_are_no_maps_are_told(sessions):
    rows = "participant_id session_id score\n 1 pre 7\n 1 post 8\n 2 pre 9\n 2 post 5"
    path = sessions.table(rows, "phenotype/scale.tsv")
    (told,) = sessions.gather({"phenotype": (path,)}).tables[1].columns["score"].notices
    assert "sub-01 (maps) and sub-1 (table), sub-02 (maps) and sub-2 (table)" in told.sentence


def test_a_session_in_two_rows_is_refused(sessions):
    sessions.table("session_id mood\n ses-pre 1\n pre 2", "sub-02/sub-02_sessions.tsv")
    mood = sessions.gather().tables[1].columns["mood"]
    with pytest.raises(DataError, match="more than one row for ses-pre"):
        mood.check_usable()


def test_a_phenotype_session_in_two_rows_is_named_whole(sessions):
    rows = "participant_id session_id score\n sub-01 ses-pre 7\n 01 pre 8"
    path = sessions.table(rows, "phenotype/scale.tsv")
    score = sessions.gather({"phenotype": (path,)}).tables[1].columns["score"]
    with pytest.raises(DataError, match="more than one row for sub-01_ses-pre"):
        score.check_usable()


def test_dictionaries_of_people_that_order_levels_in_several_ways_are_told(sessions):
    for person, levels in (("01", ("low", "high")), ("02", ("high", "low"))):
        name = f"sub-{person}/sub-{person}_sessions.tsv"
        sessions.table(
            "session_id dose\n pre low\n post high", name, dose={"Levels": dict.fromkeys(levels, "x")}
        )
    (told,) = sessions.gather().tables[1].columns["dose"].notices
    assert "several orders beside tables of sessions (low, high; high, low): those of sub-02" in told.sentence
