"""Tables that are no BIDS tables: comma-separated text, workbooks, other names of the column of people."""

import zipfile

import openpyxl
import pandas as pd
import pytest

from bids_group.bids.tables import read_tsv
from bids_group.config.request import check_paths
from bids_group.config.typed import file_of, sheet_of
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


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("people.csv", lambda path: TABLE.to_csv(path, index=False)),
        ("semicolons.csv", lambda path: TABLE.to_csv(path, index=False, sep=";")),
        ("for_excel.csv", lambda path: path.write_text("sep=|\n" + TABLE.to_csv(index=False, sep="|"))),
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


def test_cells_of_a_csv_may_hold_breaks_quotes_and_its_own_mark(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(
        'participant_id;"note; a, b, c";age\r\n01;"two\r\nlines, ""said""";30\r\n\r\n02;x;31,5\r\n'
    )
    frame = read_tsv(path)
    assert list(frame.columns) == ["participant_id", "note; a, b, c", "age"]
    assert frame.to_numpy().tolist() == [["01", 'two lines, "said"', "30"], ["02", "x", "31,5"]]
    assert frame.index.tolist() == [2, 5]  # lines as an editor counts them


def test_a_quote_that_is_never_closed_loses_no_people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text('participant_id,age,note\n01,20,fine\n02,30,"left\n03,40,fine\n')
    with pytest.raises(DataError, match=r"Line 3 of .* cannot be parted"):
        read_tsv(path)


def test_formulas_without_a_value_and_errors_of_a_workbook_are_no_missing_values(three):
    book = openpyxl.Workbook()
    rows = [["id", "sum", "share", "when\nseen", "age"], ["01", "=A1+1", "#DIV/0!", True, 20]]
    for row in [*rows, [], ["02", 2, 0.5, False, 30.0], ["03", 3, 0.1 + 0.2, True, 40]]:
        book.active.append(row)
    book.active["C2"].data_type = "e"
    book.active.merge_cells("A8:C8")
    path = three.raw / "people.xlsx"
    book.save(path)
    frame = read_tsv(path)
    assert frame.index.tolist() == [2, 4, 5]
    assert frame.loc[2].tolist() == ["01", "=A1+1", "#DIV/0!", "True", "20"]
    assert frame.loc[5].tolist() == ["03", "3", "0.3", "True", "40"]
    assert list(frame.columns) == ["id", "sum", "share", "when seen", "age"]
    cohort = three.gather({"participants_tsv": path})
    assert cohort.tables[0].frame["age"].tolist() == [20, 30, 40]
    for name, wrong in (("sum", "=A1[+]1"), ("share", "#DIV/0!")):
        with pytest.raises(DataError, match=wrong):
            cohort.tables[0].columns[name].check_usable()


@pytest.mark.parametrize(
    ("name", "file", "sheet"),
    [
        ("all.xlsx#v1.2", "all.xlsx", "v1.2"),
        ("ALL.XLSX#a#b", "ALL.XLSX", "a#b"),
        ("study#1.xlsx", "study#1.xlsx", None),
        ("study#1.xlsx#2", "study#1.xlsx", "2"),
    ],
)
def test_the_name_of_a_sheet_is_parted_from_that_of_its_workbook(name, file, sheet, tmp_path):
    with pd.ExcelWriter(tmp_path / file) as book:
        TABLE.to_excel(book, sheet_name=sheet or "people", index=False)
        if sheet is not None:
            TABLE.head(1).to_excel(book, sheet_name="other", index=False)
    assert (file_of(tmp_path / name), sheet_of(tmp_path / name)) == (tmp_path / file, sheet)
    assert len(read_tsv(tmp_path / name)) == 3


def test_two_columns_of_people_that_differ_are_not_chosen_from(three):
    path = three.raw / "people.csv"
    path.write_text("id,age,id\n01,20,03\n02,30,02\n03,40,01\n")
    with pytest.raises(DataError, match="two columns called 'id'"):
        three.gather({"participants_tsv": path})


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "[Content_Types].xml"])
@pytest.mark.parametrize("how", ["absent", "cut", "other"])
def test_a_broken_workbook_is_refused(part, how, tmp_path):
    TABLE.to_excel(tmp_path / "good.xlsx", index=False)
    with zipfile.ZipFile(tmp_path / "good.xlsx") as good, zipfile.ZipFile(tmp_path / "bad.xlsx", "w") as bad:
        for name in good.namelist():
            text = good.read(name)
            if name == part:
                text = {"absent": None, "cut": text[: len(text) // 2], "other": b"<a/>"}[how]
            if text is not None:
                bad.writestr(name, text)
    with pytest.raises(DataError, match=r"bad\.xlsx"):
        read_tsv(tmp_path / "bad.xlsx")
