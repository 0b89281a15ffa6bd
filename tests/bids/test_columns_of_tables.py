"""Columns of a study's tables: judged only where they are used, and only over the people who have maps."""

from __future__ import annotations

import json
import re

import pytest

from bids_group.errors import DataError, UsageError


def test_people_without_maps_and_excluded_people_do_not_settle_a_kind(three):
    three.table(
        "participant_id age sex\n sub-01 20 F\n sub-02 89+ U\n sub-03 40 M\n sub-04 old X",
        sex={"Levels": {"F": "", "M": ""}},
    )
    columns = three.gather(exclude_participant_labels=("02",)).tables[0].columns
    assert (columns["age"].kind, columns["age"].problem) == ("numeric", None)
    assert columns["sex"].problem is None
    columns = three.gather().tables[0].columns
    assert "sub-04" not in columns["age"].problem.found
    assert columns["sex"].problem.found == "'U' in sub-02"


def test_a_condition_can_leave_out_the_odd_value_and_cannot_compare_with_it(three):
    three.table("participant_id age group\n sub-01 20 a\n sub-02 89+ b\n sub-03 40 a\n sub-04 50 pilot")
    cohort = three.gather(exclude_where='age == "89+"')
    assert cohort.tables[0].columns["age"].kind == "numeric"
    assert cohort.tables[0].frame.index.tolist() == ["01", "03"]
    with pytest.raises(DataError, match=re.escape("'89+' is no number")):
        three.gather(exclude_where="age > 30")
    assert len(three.gather(exclude_where='group == "pilot"').maps) == 3


def test_two_columns_of_one_name_are_refused_where_they_are_used_and_differ(three):
    (three.raw / "participants.tsv").write_text(
        "participant_id\tage\tage\tiq\tiq\t\n"
        + "".join(f"sub-0{n}\t2{n}\t3{n}\t9{n}\t9{n}\t\n" for n in (1, 2, 3))
    )
    columns = three.gather().tables[0].columns
    assert columns["iq"].problem is None
    with pytest.raises(DataError, match="two columns called 'age'"):
        columns["age"].check_usable()
    with pytest.raises(DataError, match="two columns called 'age'"):
        three.gather(exclude_where="age > 30")


def test_a_broken_dictionary_refuses_only_columns_of_its_table(three):
    three.table("participant_id age\n sub-01 20\n sub-02 30\n sub-03 40")
    (three.raw / "participants.json").write_text("{not json")
    column = three.gather().tables[0].columns["age"]
    with pytest.raises(DataError, match="is not JSON"):
        column.check_usable()


def test_a_row_per_session_points_to_tables_of_sessions(three):
    rows = [f"sub-0{n} {session} 2{n}" for n in (1, 2, 3) for session in "ab"]
    three.table("participant_id session_id age\n" + "\n".join(rows))
    column = three.gather().tables[0].columns["age"]
    with pytest.raises(DataError, match="more than one row for sub-01") as caught:
        column.check_usable()
    assert "sub-<label>_sessions.tsv" in caught.value.fix
    assert "session_id" in caught.value.fix


@pytest.mark.parametrize("row", ["sub-09 1\nsub-09 2", "09 1\nsub-09 2"])
def test_somebody_without_maps_may_stand_twice(three, row):
    three.table(f"participant_id age\nsub-01 1\nsub-02 2\nsub-03 3\n{row}")
    assert three.gather().tables[0].columns["age"].problem is None


def test_a_table_without_names_or_with_labels_elsewhere_says_so(three):
    table = three.raw / "participants.tsv"
    table.write_text("sub-01\tF\t20\nsub-02\tM\t30\n")
    with pytest.raises(DataError, match="looks like data, not like the names of columns"):
        three.gather()
    table.write_text("who\tage\nsub-01\t20\nsub-02\t30\n")
    with pytest.raises(DataError, match="no column 'participant_id'") as caught:
        three.gather()
    assert caught.value.found == "who (sub-01, sub-02); the maps are of sub-01, sub-02, sub-03"
    assert caught.value.fix == "Rename the column who to participant_id."


def test_a_prefix_that_stands_twice_is_told(three):
    three.table("participant_id age\n sub-sub-01 1\n sub-sub-02 2\n sub-sub-03 3")
    said = [notice.sentence for notice in three.gather().notices if notice.topic == "labels"]
    assert "stands twice" in said[0]
    assert "sub-sub-01" in said[0]
    assert str(three.raw / "participants.tsv") in said[0]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_named(three, encoding):
    (three.raw / "participants.tsv").write_bytes("participant_id\tsite\nsub-01\tZürich\n".encode(encoding))
    with pytest.raises(DataError, match="not UTF-8") as caught:
        three.gather()
    assert "iconv -f " + {"latin-1": "ISO-8859-1", "utf-16": "UTF-16"}[encoding] in caught.value.fix


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n", "\t\t\r\n"])
def test_byte_order_mark_line_ends_trailing_cells_and_rows_of_blanks_are_harmless(three, end):
    lines = ["\ufeffparticipant_id\tage ", "sub-01\t20 ", "", "sub-02\t 30", "\t", "n/a\tn/a", "03\t40", ""]
    (three.raw / "participants.tsv").write_bytes(end.join(lines).encode())
    assert three.gather().tables[0].frame["age"].tolist() == [20.0, 30.0, 40.0]


@pytest.fixture
def visits(study):
    """Two people with two sessions each."""
    for label in ("01", "02"):
        for session in ("pre", "post"):
            study.maps(study.derivative(), [f"sub-{label}/sub-{label}_ses-{session}_contrast-a"])
    return study


def test_a_phenotype_row_without_session_is_about_the_person(visits):
    rows = "participant_id session_id iq mood\n sub-01 n/a 100 n/a\n sub-01 pre n/a 1\n sub-01 post n/a 2\n"
    path = visits.table(rows + " sub-02 n/a 90 7\n sub-02 post n/a 9", "phenotype/scale.tsv")
    people, sessions = visits.gather({"phenotype": (path,)}).tables
    assert people.frame["iq"].to_dict() == {"01": 100.0, "02": 90.0}
    assert sessions.frame["mood"].to_dict() == {
        ("01", "post"): 2.0,
        ("01", "pre"): 1.0,
        ("02", "post"): 9.0,
        ("02", "pre"): 7.0,
    }


def test_a_phenotype_whose_sessions_are_all_n_a_is_about_people(three):
    rows = "participant_id session_id iq\n sub-01 n/a 100\n sub-02 n/a 90\n sub-03 n/a 95"
    path = three.table(rows, "phenotype/iq.tsv")
    (people,) = three.gather({"phenotype": (path,)}).tables
    assert people.frame["iq"].tolist() == [100.0, 90.0, 95.0]


def test_tables_that_disagree_refuse_only_where_the_column_is_used_and_the_people_are_analysed(three):
    three.table("participant_id age\n sub-01 20\n sub-02 30\n sub-03 40")
    path = three.table("participant_id age\n sub-01 20\n sub-02 33\n sub-03 n/a", "phenotype/again.tsv")
    columns = three.gather({"phenotype": (path,)}, exclude_participant_labels=("02",)).tables[0].columns
    assert columns["age"].problem is None
    with pytest.raises(UsageError, match="with other values") as caught:
        three.gather({"phenotype": (path,)}).tables[0].columns["age"].check_usable()
    assert "differ for 02" in caught.value.found


def test_a_table_of_sessions_that_cannot_be_read_hinders_only_whom_it_is_about(visits, tmp_path):
    visits.table("session_id mood\n pre 1 2", "sub-01/sub-01_sessions.tsv")
    with pytest.raises(DataError, match="Line 2"):
        visits.gather()
    json_path = visits.raw / "sub-02" / "sub-02_sessions.json"
    json_path.parent.mkdir(exist_ok=True)
    json_path.write_text(json.dumps([1]))
    (visits.raw / "sub-01" / "sub-01_sessions.tsv").unlink()
    assert len(visits.gather().maps) == 4


def test_of_two_tables_20_is_20_0_and_what_only_the_second_has_is_told(three):
    three.table("participant_id age\n sub-01 20\n sub-02 30\n sub-03 n/a")
    path = three.table("participant_id age\n sub-01 20.0\n sub-02 30\n sub-03 40", "phenotype/more.tsv")
    cohort = three.gather({"phenotype": (path,)})
    column = cohort.tables[0].columns["age"]
    assert column.problem is None
    assert cohort.tables[0].frame["age"].isna().tolist() == [False, False, True]
    (told,) = column.notices
    assert "'age' of 03 stands in" in told.sentence


def test_a_label_without_a_number_beside_people_with_one_is_told(study):
    study.people(study.derivative(), "01 02 03 04 group")
    (told,) = (one for one in study.gather().notices if one.topic == "labels")
    assert "group has none, and is taken as a person" in told.sentence


@pytest.mark.parametrize("labels", ["01 02 group", "anna ben carl dora"])
def test_labels_that_may_be_people_are_not_told(study, labels):
    study.people(study.derivative(), labels)
    assert not [one for one in study.gather().notices if one.topic == "labels"]
