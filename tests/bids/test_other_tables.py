"""Tables that are no BIDS tables: comma-separated text, workbooks, other names of the column of people."""

import pandas as pd
import pytest

from bids_group.bids.tables import read_tsv
from bids_group.config.request import check_paths
from bids_group.config.typed import file_of
from bids_group.errors import DataError, MissingInputError

TABLE = pd.DataFrame(
    {
        "participant_id": ["sub-01", "sub-02", "sub-03"],
        "group": ["a, then b", "c", "n/a"],
        "age": [30, 41, 52],
        "score": [0.1, 1e-9, 12345678.25],
        "seen": pd.to_datetime(["2024-01-02", "2024-03-04", "2024-05-06"]),
    }
)
CELLS = [
    ["sub-01", "a, then b", "30", "0.1", "2024-01-02"],
    ["sub-02", "c", "41", "1e-09", "2024-03-04"],
    ["sub-03", None, "52", "12345678.25", "2024-05-06"],
]


@pytest.fixture
def three(study):
    study.people(study.derivative(), "01 02 03")
    return study


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("people.csv", lambda path: TABLE.to_csv(path, index=False)),
        ("semicolons.csv", lambda path: TABLE.to_csv(path, index=False, sep=";")),
        ("tabs.CSV", lambda path: TABLE.to_csv(path, index=False, sep="\t")),
        ("people.tsv", lambda path: TABLE.to_csv(path, index=False, sep="\t")),
        ("people.xlsx", lambda path: TABLE.to_excel(path, index=False)),
    ],
)
def test_every_form_of_a_table_has_the_same_cells(name, write, tmp_path):
    write(tmp_path / name)
    frame = read_tsv(tmp_path / name)
    assert list(frame.columns) == list(TABLE.columns)
    assert frame.where(frame.notna(), None).to_numpy().tolist() == CELLS


def test_a_sheet_of_a_workbook_is_named_where_there_are_several(tmp_path):
    path = tmp_path / "study.xlsx"
    with pd.ExcelWriter(path) as book:
        TABLE.to_excel(book, sheet_name="people", index=False)
        TABLE.head(1).to_excel(book, sheet_name="pilot", index=False)
        pd.DataFrame().to_excel(book, sheet_name="empty", index=False)
    with pytest.raises(DataError, match="2 sheets") as caught:
        read_tsv(path)
    assert caught.value.fix == "Name the sheet: study.xlsx#people"
    assert len(read_tsv(tmp_path / "study.xlsx#pilot")) == 1
    assert file_of(tmp_path / "study.xlsx#pilot") == path
    with pytest.raises(DataError, match="no sheet 'pilots'"):
        read_tsv(tmp_path / "study.xlsx#pilots")


def test_what_is_no_workbook_is_refused(tmp_path):
    path = tmp_path / "people.xlsx"
    path.write_text("participant_id\tage\n")
    with pytest.raises(DataError, match="no workbook"):
        read_tsv(path)
    with pytest.raises(MissingInputError):
        read_tsv(tmp_path / "none.xlsx")


@pytest.mark.parametrize("name", ["subject_label", "subject", "id"])
def test_another_name_of_the_column_of_people_is_read_and_told(name, three):
    path = three.raw / "people.csv"
    path.write_text(f"{name},age\n01,20\nsub-02,30\n03,40\n")
    cohort = three.gather({"participants_tsv": path})
    assert cohort.tables[0].frame["age"].tolist() == [20, 30, 40]
    assert f"The column '{name}' of people.csv is read as participant_id" in " ".join(
        notice.sentence for notice in cohort.notices
    )


def test_two_names_of_it_are_not_chosen_from(three):
    three.table("subject id age\n01 a 20\n02 b 30\n03 c 40")
    with pytest.raises(DataError, match="no column 'participant_id'"):
        three.gather()


def test_the_path_of_a_sheet_is_that_of_its_workbook(three):
    from bids_group.cli.parser import read_arguments, translate

    TABLE.to_excel(three.raw / "people.xlsx", index=False)
    words = [str(three.raw), str(three.raw / "out"), "group", "--participants-tsv"]
    check_paths(translate(read_arguments([*words, str(three.raw / "people.xlsx#Sheet1")])))
    with pytest.raises(MissingInputError, match=r"peoples\.xlsx"):
        check_paths(translate(read_arguments([*words, str(three.raw / "peoples.xlsx#Sheet1")])))
