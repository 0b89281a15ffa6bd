"""Tables as people write them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from bids_group.bids.tables import read_tsv
from bids_group.cli.parser import read_arguments, translate
from bids_group.errors import DataError, MissingInputError, UsageError


def column(study, name, **inputs):
    return study.gather(inputs).tables[0].columns[name]


def use(study, name, **inputs):
    """Use a column, as a model does that names it."""
    (found,) = [t.columns[name] for t in study.gather(inputs).tables if name in t.columns]
    found.check_usable()
    return found


def values(study, name, **inputs):
    return study.gather(inputs).tables[0].frame[name].tolist()


def test_only_n_a_is_missing(three):
    three.table("participant_id site\n sub-01 NA\n sub-02 None\n sub-03 n/a")
    assert values(three, "site")[:2] == ["NA", "None"]
    assert three.gather().tables[0].frame["site"].isna().tolist() == [False, False, True]


def test_ids_with_and_without_prefix_meet_their_maps(three):
    three.table("participant_id age\n 01 20\n sub-02 30\n 03 40")
    assert values(three, "age") == [20.0, 30.0, 40.0]


def test_quoted_cells_of_a_spreadsheet_are_unquoted(three):
    (three.raw / "participants.tsv").write_text(
        '"participant_id"\t"age"\n"sub-01"\t20\n"sub-02"\t30\n"sub-03"\t"40"\n'
    )
    assert values(three, "age") == [20.0, 30.0, 40.0]


@pytest.mark.parametrize("twin", ["sub-02", "02"])
def test_a_participant_in_two_rows_is_refused_by_name(three, twin):
    three.table(f"participant_id age\n sub-01 20\n sub-02 30\n {twin} 31")
    cohort = three.gather()
    with pytest.raises(DataError, match="more than one row for sub-02") as caught:
        cohort.tables[0].columns["age"].check_usable()
    assert caught.value.found == "lines 3, 4"


@pytest.mark.parametrize("mark, word", [(",", "commas"), (";", "semicolons"), ("|", "bars"), (" ", "blanks")])
def test_other_separators_are_refused_by_name(three, mark, word):
    (three.raw / "participants.tsv").write_text(f"participant_id{mark}age\nsub-01{mark}20\n")
    with pytest.raises(DataError, match=f"separated by {word}"):
        three.gather()


def test_rows_of_another_length_are_named_by_line(three):
    (three.raw / "participants.tsv").write_text("participant_id\tage\nsub-01\t20\n\nsub-02\n")
    with pytest.raises(DataError, match=r"Line 4 of .*participants\.tsv has 1 cells"):
        three.gather()


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "is empty"),
        (b"participant\tage\nsub-01\t1\n", "no column 'participant_id'"),
        (b"participant_id\tage\nn/a\t1\n", "Line 2 of"),
        (b"# exported in May\nparticipant_id\tage\nsub-01\t1\n", "is a title, not the names"),
        (b"My study\t\nparticipant_id\tage\nsub-01\t1\n", "is a title, not the names"),
    ],
)
def test_malformed_tables_are_refused(three, content, sentence):
    (three.raw / "participants.tsv").write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        three.gather()


def test_a_table_that_is_not_there_is_a_missing_input(three):
    with pytest.raises(MissingInputError, match=r"covariates\.tsv"):
        three.gather({"participants_tsv": three.raw / "covariates.tsv"})


def test_levels_give_the_kind_the_order_and_the_reference(three):
    three.table(
        "participant_id group\n sub-01 control\n sub-02 patient\n sub-03 n/a",
        group={"Levels": {"patient": "ill", "control": "well", "other": "x"}, "Description": "diagnosis"},
    )
    group = column(three, "group")
    assert (group.kind, group.levels, group.description) == (
        "categorical",
        ("patient", "control", "other"),
        "diagnosis",
    )
    frame = three.gather().tables[0].frame
    assert list(frame["group"].cat.categories) == ["patient", "control", "other"]
    assert frame["group"].cat.codes.tolist() == [1, 0, -1]


def test_levels_of_numbers_are_categories(three):
    three.table("participant_id sex\n sub-01 1\n sub-02 2\n sub-03 1", sex={"Levels": {"1": "M", "2": "F"}})
    assert column(three, "sex").levels == ("1", "2")
    assert column(three, "sex", numeric=("sex",)).kind == "numeric"


def test_unknown_levels_are_refused_by_name(three):
    three.table(
        "participant_id group\n sub-01 control\n sub-02 pateint\n sub-03 patient",
        group={"Levels": {"control": "", "patient": ""}},
    )
    with pytest.raises(DataError, match="'pateint', which is not among its Levels") as caught:
        use(three, "group")
    assert caught.value.found == "'pateint' in sub-02"
    assert caught.value.fix == "Did you mean 'patient'?"


def test_units_make_a_number_and_refuse_what_is_none(three):
    three.table("participant_id age\n sub-01 20\n sub-02 NA\n sub-03 n/a", age={"Units": "years"})
    with pytest.raises(DataError, match="'NA' is no number") as caught:
        use(three, "age")
    assert caught.value.found == "'NA' in sub-02; the other 1 values are numbers"
    three.table("participant_id age\n sub-01 20\n sub-02 21.5\n sub-03 n/a", age={"Units": "years"})
    assert column(three, "age").units == "years"


@pytest.mark.parametrize("units", ["n/a", "", None, "None"])
def test_units_that_say_nothing_make_no_number(three, units):
    three.table("participant_id sex\n sub-01 M\n sub-02 F\n sub-03 M", sex={"Units": units})
    sex = column(three, "sex")
    assert (sex.kind, sex.units) == ("categorical", None)


def test_integer_codes_with_a_missing_value_stay_numbers_and_say_so(three):
    three.table("participant_id site\n sub-01 1\n sub-02 n/a\n sub-03 1")
    site = column(three, "site")
    assert site.kind == "numeric"
    assert "--categorical" in site.kind_source
    recoded = column(three, "site", categorical=("site",))
    assert (recoded.kind, recoded.levels) == ("categorical", ("1",))


def test_levels_found_in_the_data_are_ordered_as_people_count(three):
    three.table("participant_id site\n sub-01 10\n sub-02 9\n sub-03 1")
    assert column(three, "site", categorical=("site",)).levels == ("1", "9", "10")


@pytest.mark.parametrize("word", ["NA", "nan", "1,5", ".", "inf", "1e999", "٣", "0x1"])
def test_a_number_column_with_another_word_is_refused_where_it_is_used(three, word):
    three.table(f"participant_id age\n sub-01 20\n sub-02 {word}\n sub-03 40")
    assert not [n for n in three.gather().notices if n.topic == "columns"]
    with pytest.raises(DataError, match="would be read as categories") as caught:
        use(three, "age")
    assert f"'{word}' in sub-02" in caught.value.found
    assert "--categorical age" in caught.value.fix
    assert use(three, "age", categorical=("age",)).kind == "categorical"


def test_text_is_categories_without_a_warning(three):
    three.table("participant_id site\n sub-01 a\n sub-02 b1\n sub-03 7")
    assert column(three, "site").kind == "categorical"
    assert not [n for n in three.gather().notices if n.topic == "columns"]


def test_a_description_in_another_spelling_is_not_used_and_says_so(three):
    three.table("participant_id group\n sub-01 1\n sub-02 2\n sub-03 1", Group={"Levels": {"1": "", "2": ""}})
    assert not [n for n in three.gather().notices if n.topic == "columns"]
    (notice,) = use(three, "group").notices
    assert notice.severity == "warning"
    assert "describes 'group' in a way that is not used: it writes 'Group'" in notice.sentence


def test_types_can_be_said_by_option_and_unknown_columns_are_refused(three):
    three.table("participant_id age\n sub-01 20\n sub-02 21\n sub-03 old")
    with pytest.raises(DataError, match="--numeric") as caught:
        use(three, "age", numeric=("age",))
    assert "'old' in sub-03" in caught.value.found
    with pytest.raises(UsageError, match="--categorical names a column 'aeg'") as unknown:
        three.gather({"categorical": ("aeg",)})
    assert unknown.value.fix == "Did you mean 'age'?"
    with pytest.raises(UsageError, match="--categorical and by --numeric"):
        three.gather({"categorical": ("age",), "numeric": ("age",)})


def test_rows_follow_the_maps_and_not_the_table(three):
    three.table("participant_id age\n sub-03 40\n sub-04 50\n sub-01 20\n sub-02 30")
    cohort = three.gather()
    assert cohort.tables[0].frame.index.tolist() == ["01", "02", "03"]
    assert cohort.tables[0].frame["age"].tolist() == [20.0, 30.0, 40.0]
    assert cohort.everyone == ("01", "02", "03", "04")


def test_people_without_maps_are_named(three, reason_of):
    three.table("participant_id age\n sub-01 20\n sub-02 30\n sub-03 40\n sub-04 50")
    assert reason_of(three.gather(), "04") == ["no first-level map"]


def test_maps_without_a_row_stay_with_missing_values_and_a_warning(three):
    three.table("participant_id age\n sub-01 20\n sub-02 30")
    cohort = three.gather()
    assert cohort.tables[0].frame["age"].isna().tolist() == [False, False, True]
    (notice,) = [n for n in cohort.notices if n.topic == "labels"]
    assert f"have no row in {three.raw / 'participants.tsv'}" in notice.sentence
    assert "sub-03" in notice.sentence


def test_zeros_in_front_are_reported_and_not_guessed(three, reason_of):
    three.table("participant_id age\n sub-1 20\n sub-2 30\n sub-3 40")
    cohort = three.gather()
    assert cohort.tables[0].frame["age"].isna().all()
    assert any("sub-01 (maps) and sub-1 (table)" in n.sentence for n in cohort.notices)
    assert reason_of(cohort, "1") == ["no first-level map"]
    assert cohort.everyone == ("01", "02", "03", "1", "2", "3")


@pytest.mark.parametrize(
    "label", ["sub-02.0", "SUB-02", "sub_02", "sub02", "sub-02/", "2\u200b", "sub\u201302"]
)
def test_labels_typed_in_another_way_are_shown_beside_those_of_the_maps(three, label):
    three.table(f"participant_id age\n sub-01 20\n {label} 30\n sub-03 40")
    cohort = three.gather()
    assert cohort.tables[0].frame["age"].isna().tolist() == [False, True, False]
    told = next(one for one in cohort.notices if one.topic == "labels")
    named = ascii(label.removeprefix("sub-"))[1:-1]
    assert f"not taken as the same: sub-02 (maps) and sub-{named} (table)." in told.sentence


def test_labels_of_a_phenotype_that_are_no_maps_are_told_with_its_columns_alone(three):
    three.table("participant_id age\n sub-01 20\n sub-02 30\n sub-03 40")
    path = three.table("participant_id iq session\n 1 90 x\n 2 95 x\n 3 99 x", "phenotype/iq.tsv")
    cohort = three.gather({"phenotype": (path,)})
    assert not [one for one in cohort.notices if one.topic == "labels"]
    columns = cohort.tables[0].columns
    assert columns["age"].notices == ()
    (told,) = columns["iq"].notices
    assert told.sentence.startswith(
        "Labels differ in the zeros in front, and are not taken as the same: sub-01"
    )
    assert told.fix == f"Write the labels in {path} as they stand in the names of the maps."
    path = three.table("participant_id iq\n sub-01 90", "phenotype/iq.tsv")
    assert three.gather({"phenotype": (path,)}).tables[0].columns["iq"].notices == ()


def test_names_of_rows_that_r_writes_are_told(three):
    (three.raw / "participants.tsv").write_text(
        '"participant_id"\t"age"\n"1"\t"sub-01"\t20\n"2"\t"sub-02"\t30\n'
    )
    with pytest.raises(DataError, match=r"Line 2 of .* has 3 cells") as caught:
        three.gather()
    assert caught.value.fix == "Write the table without names of rows (R: row.names = FALSE)."


def test_a_study_without_participants_table_has_no_covariates(three):
    (table,) = three.gather().tables
    assert table.frame.shape == (3, 0)
    assert table.frame.index.tolist() == ["01", "02", "03"]


def test_a_named_table_stands_instead_of_that_of_the_dataset(three, reason_of):
    three.table("participant_id session_id age site\n sub-01 a 20 a\n sub-01 b 30 b\n sub-09 a 40 a")
    more = three.table("participant_id age n_cigs\n sub-01 20 5\n sub-02 31 0\n sub-03 40 9", "more.tsv")
    cohort = three.gather({"participants_tsv": more})
    assert sorted(cohort.tables[0].columns) == ["age", "n_cigs"]
    assert cohort.tables[0].frame["age"].tolist() == [20.0, 31.0, 40.0]
    assert cohort.everyone == ("01", "02", "03")


def test_a_named_table_without_a_json_is_described_by_that_of_the_dataset_where_it_fits(three):
    three.table(
        "participant_id group site\n sub-01 1 a", group={"Levels": {"1": "", "2": ""}}, site={"Levels": ["a"]}
    )
    more = three.table("participant_id group site\n sub-01 2\tz\n sub-02 1 y\n sub-03 1 y", "more.tsv")
    assert use(three, "group", participants_tsv=more).levels == ("1", "2")
    assert use(three, "site", participants_tsv=more).levels == ("y", "z")


def test_a_column_called_subject_is_hidden_with_a_warning(three):
    three.table("participant_id subject\n sub-01 x\n sub-02 y\n sub-03 z")
    cohort = three.gather()
    assert "subject" not in cohort.tables[0].columns
    assert any("'subject'" in n.sentence for n in cohort.notices)


@pytest.mark.parametrize("given", ["cigs", "cigs.tsv", "raw/phenotype/cigs.tsv"])
def test_phenotype_is_found_by_name_and_by_path(three, given, monkeypatch):
    monkeypatch.chdir(three.raw.parent)
    three.table(
        "participant_id n_cigs\n sub-01 5\n sub-02 0\n 03 9\n sub-99 1",
        "phenotype/cigs.tsv",
        n_cigs={"Units": "1/d"},
    )
    cohort = three.gather({"phenotype": (Path(given),)})
    assert cohort.tables[0].frame["n_cigs"].tolist() == [5.0, 0.0, 9.0]
    assert cohort.tables[0].columns["n_cigs"].units == "1/d"
    assert "99" not in cohort.everyone


def test_an_unknown_phenotype_lists_what_exists(three):
    three.table("participant_id n_cigs\n sub-01 5", "phenotype/cigs.tsv")
    with pytest.raises(MissingInputError) as caught:
        three.gather({"phenotype": (Path("cig"),)})
    assert caught.value.fix == "Did you mean 'cigs'?"


def test_cells_are_text_and_lines_are_counted(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("a\tb\n007\tn/a\n\n1e3\t\n")
    frame = read_tsv(path)
    assert frame.index.tolist() == [2, 4]
    assert frame["a"].tolist() == ["007", "1e3"]
    assert frame["b"].tolist() == [None, None]


def test_accents_are_written_in_one_way_in_tables_dictionaries_and_what_is_typed(three):
    decomposed, zurich = (unicodedata.normalize("NFD", word) for word in ("größe", "Zürich"))
    three.table(
        f"participant_id {decomposed} ort\n sub-01 1 Zürich\n sub-02 2 {zurich}\n sub-03 4 Bern",
        ort={"Levels": {"Bern": "", zurich: ""}},
    )
    assert values(three, "größe") == [1.0, 2.0, 4.0]
    assert values(three, "ort") == ["Zürich", "Zürich", "Bern"]
    assert use(three, "ort").levels == ("Bern", "Zürich")
    arguments = ["in", "out", "group", "--formula", f"~ {decomposed}", "--contrast", f"a = {decomposed}"]
    analysis = translate(read_arguments(arguments), arguments).analysis
    assert (analysis.formula, analysis.contrasts[0].expression) == ("~ größe", "größe")


def test_paths_in_tables_keep_the_bytes_of_their_files(tmp_path):
    name = unicodedata.normalize("NFD", "größe.nii")
    (tmp_path / "maps.tsv").write_text(f"participant_id\teffect\n01\t{name}\n", encoding="utf-8")
    assert read_tsv(tmp_path / "maps.tsv")["effect"].tolist() == [name]
