"""From a table to the first message: the column that is to blame comes before rank and estimability."""

import json

import nibabel as nib
import numpy as np
import pytest

from bids_group.cli import main
from tests.studies import begin_study


@pytest.fixture
def dataset(tmp_path):
    """Make a dataset of twelve people from the rows of a table; returns a function that runs the program."""
    raw = tmp_path / "raw"
    first = begin_study(raw, ())

    def run(columns, *options, sessions=(None,), is_dry=True):
        names = list(columns)
        lines = ["\t".join(["participant_id", *names])]
        for n in range(12):
            lines.append("\t".join([f"sub-{n:02d}", *(str(columns[name][n]) for name in names)]))
            for session in sessions:
                stem = f"sub-{n:02d}" + (f"_ses-{session}" if session else "")
                data = np.random.default_rng([n, *(session or "").encode()]).normal(size=(3, 3, 3))
                path = first / f"{stem}_task-x_contrast-c_stat-effect_statmap.nii.gz"
                nib.Nifti1Image(data.astype(np.float32), np.eye(4) * 9).to_filename(path)
        (raw / "participants.tsv").write_text("\n".join(lines) + "\n")
        dry = ["--dry-run"] if is_dry else ["--no-report"]
        return main([str(raw), str(tmp_path / "out"), "group", *dry, *options])

    return run


AGES = [20, 23, 31, 45, 52, 38, 29, 41, 33, 27, 36, 48]
GROUPS = ["a", "b", "c"] * 4


def test_a_group_that_is_lost_with_missing_values_is_a_warning_also_when_quiet(dataset, capsys):
    ages = [age if group != "b" else "n/a" for age, group in zip(AGES, GROUPS, strict=True)]
    options = ("--formula", "~ age", "--missing", "drop", "-q")
    assert dataset({"group": GROUPS, "age": ages}, *options) == 0
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "WARNING --missing" in one]
    assert "leaves nobody with group = b: 4 of 4 with a, 0 of 4 with b, 4 of 4 with c are left" in line


def test_a_group_that_is_lost_stands_in_the_report(dataset, tmp_path):
    ages = [age if group != "b" else "n/a" for age, group in zip(AGES, GROUPS, strict=True)]
    columns = {"group": GROUPS, "age": ages}
    assert dataset(columns, "--formula", "~ group + age", "--missing", "drop", "-qq", is_dry=False) == 0
    sidecar = next((tmp_path / "out" / "group").glob("*_design.json")).read_text()
    assert "leaves nobody with group = b" in sidecar


def test_a_map_per_person_is_no_covariate(dataset, capsys):
    columns = {"group": GROUPS, "gm": [f"sub-{n:02d}_gm.nii.gz" for n in range(12)]}
    assert dataset(columns, "--formula", "~ group + gm", "-q") == 65
    said = capsys.readouterr().err
    assert (
        "The column 'gm' has a level of its own in each row: a map per person is no covariate here." in said
    )
    assert "rank" not in said


def test_scores_out_of_a_maximum_are_no_files(dataset, capsys):
    assert dataset({"mmse": [f"{18 + n}/30" for n in range(12)]}, "--formula", "~ mmse", "-q") == 65
    said = capsys.readouterr().err
    assert "The column 'mmse' has a level of its own in each row.\n" in said
    assert "write its values as numbers: without units" in said


def test_a_reference_level_without_quotes_is_answered_with_the_levels(dataset, capsys):
    assert dataset({"wave": [1, 2] * 6}, "--formula", "~ C(wave, Treatment(2))", "-q") == 64
    assert "fix      Name a level of the analysed rows, in quotes: '1', '2'." in capsys.readouterr().err


def test_a_column_of_sessions_that_maps_do_not_name_is_told_before_that_it_does_not_exist(
    dataset, tmp_path, capsys
):
    rows = "".join(f"sub-{n:02d}\tses-1\t{age}\n" for n, age in enumerate(AGES))
    (tmp_path / "mood.tsv").write_text(f"participant_id\tsession_id\tmood\n{rows}")
    options = ("--phenotype", str(tmp_path / "mood.tsv"), "-q")
    assert dataset({"group": GROUPS}, "--formula", "~ mood", *options) == 64
    said = capsys.readouterr().err
    assert "tables of sessions (mood) are not used: the maps name no session." in said
    assert said.index("leave session_id out of the table") < said.index("'mood', which does not exist")


def test_labels_of_a_phenotype_are_told_where_nobody_is_left(dataset, tmp_path, capsys):
    rows = "".join(f"sub-A{n:02d}\t{age}\n" for n, age in enumerate(AGES))
    path = tmp_path / "mood.tsv"
    path.write_text(f"participant_id\tmood\n{rows}")
    assert dataset({"group": GROUPS}, "--formula", "~ mood", "--phenotype", str(path), "-q") == 65
    said = " ".join(capsys.readouterr().err.split())
    assert f"No label of {path} (sub-A00, sub-A01, sub-A02 and 9 more) is that of a map (sub-00, " in said
    assert f"fix Write the labels in {path} as they stand in the names of the maps." in said


@pytest.mark.parametrize("odd", ["-", ".", "NA", "NaN", "89+", "31,5"])
@pytest.mark.parametrize("formula", ["~ age", "~ age + group", "~ group * age", "~ I(age**2)", "~ C(age)"])
def test_a_column_that_is_nearly_numbers_is_named_before_anything_about_rank(dataset, capsys, odd, formula):
    ages = [odd, *AGES[1:]]
    assert dataset({"group": GROUPS, "age": ages}, "--formula", formula, "-q") == 65
    said = capsys.readouterr().err
    assert said.startswith("ERROR Column 'age' of ")
    assert f"'{odd}' in sub-00" in said
    assert "rank" not in said


@pytest.mark.parametrize("option", ["--exchangeability-blocks", "--variance-groups"])
def test_columns_of_blocks_and_variance_groups_are_used_too(dataset, capsys, option):
    sites = ["-", *([1, 2] * 6)[1:]]
    options = ("--correction", "fwe-voxel", option, "site", "-q")
    assert dataset({"site": sites, "age": AGES}, "--formula", "~ age", *options) == 65
    assert "Column 'site'" in capsys.readouterr().err


def test_twins_of_a_level_are_told_before_the_error_that_they_cause(dataset, capsys):
    sex = ["F", "f", *"FM" * 5]
    contrast = ("--contrast", "d = slope(age, sex=f) - slope(age, sex=F)")
    assert dataset({"sex": sex, "age": AGES}, "--formula", "~ sex * age", *contrast, "-q") == 65
    said = capsys.readouterr().err
    assert said.index("differ only in case") < said.index("ERROR")


def test_one_person_alone_in_a_level_is_told_where_sessions_are_rows(dataset, capsys):
    columns = {"group": ["p", *["c"] * 11]}
    options = ("--pooling", "none", "--formula", "~ group + session", "-q")
    assert dataset(columns, *options, sessions=("1", "2")) == 0
    assert "Only sub-00 has group = p: one person is no group." in capsys.readouterr().err


def test_nobody_left_names_the_column_without_values(dataset, capsys):
    columns = {"age": AGES, "note": ["n/a"] * 12}
    assert dataset(columns, "--formula", "~ age + note", "--missing", "drop", "-q") == 65
    said = capsys.readouterr().err
    assert "no row has a value of note" in said
    assert "age" not in said.splitlines()[0]


@pytest.mark.parametrize("options", [(), ("--numeric", "age")])
def test_who_leaves_for_another_value_has_no_say_in_the_kind_of_a_column(dataset, tmp_path, options):
    ages = [*AGES[:3], "-", *AGES[4:]]
    scores = [*range(3), "n/a", *range(4, 12)]
    columns = {"age": ages, "score": scores}
    said = ("--formula", "~ age + score", "--missing", "drop", "-qq", *options)
    assert dataset(columns, *said, is_dry=False) == 0
    design = next((tmp_path / "out" / "group").glob("*_design.tsv")).read_text().splitlines()
    assert design[0].split("\t")[1:] == ["Intercept", "age", "score"]
    left = np.array([age for age in ages if age != "-"], float)
    rows = np.array([line.split("\t")[1:] for line in design[1:]], float)
    np.testing.assert_allclose(rows[:, 1], left - left.mean(), atol=1e-9)


def test_an_odd_value_of_who_stays_is_refused_also_with_missing_drop(dataset, capsys):
    columns = {"age": ["-", *AGES[1:]], "score": [1, "n/a", *range(10)]}
    assert dataset(columns, "--formula", "~ age + score", "--missing", "drop", "-q") == 65
    assert "'-' in sub-00" in capsys.readouterr().err


def test_a_group_written_as_numbers_that_is_lost_is_a_warning(dataset, capsys):
    codes = [1, 2, 3] * 4
    ages = [age if code != 2 else "n/a" for age, code in zip(AGES, codes, strict=True)]
    options = ("--formula", "~ age", "--missing", "drop", "-q")
    assert dataset({"code": codes, "age": ages}, *options) == 0
    said = capsys.readouterr().err
    assert "leaves nobody with code = 2: 4 of 4 with 1, 0 of 4 with 2, 4 of 4 with 3 are left" in said


def test_a_group_that_is_lost_by_group_by_is_a_warning(dataset, tmp_path, capsys):
    node = {
        "Level": "Dataset",
        "Name": "d",
        "GroupBy": ["contrast", "site"],
        "Model": {"Type": "glm", "X": [1]},
        "DummyContrasts": {"Test": "t"},
    }
    model = {"Name": "m", "BIDSModelVersion": "1.0.0", "Input": {}, "Nodes": [node]}
    (tmp_path / "m.json").write_text(json.dumps(model))
    sites = ["n/a" if group == "c" else "x" for group in GROUPS]
    options = ("--model", str(tmp_path / "m.json"), "--missing", "drop", "-q")
    assert dataset({"group": GROUPS, "site": sites}, *options) == 0
    said = capsys.readouterr().err
    assert "leaves nobody with group = c: 4 of 4 with a, 4 of 4 with b, 0 of 4 with c are left" in said


@pytest.mark.parametrize(("cell", "word"), [("", "an empty cell"), ("n/a", "n/a")])
def test_an_empty_cell_of_the_only_column_is_no_missing_row(dataset, capsys, cell, word):
    assert dataset({"group": [cell, *GROUPS[1:]]}, "--formula", "~ group", "-q") == 65
    said = capsys.readouterr().err
    assert f"{word} in group: sub-00" in said
    assert "no row" not in said


@pytest.mark.parametrize("is_dry", [True, False])
@pytest.mark.parametrize("name", ["group/note.txt", "ledger.tsv", "."])
def test_a_dry_run_refuses_an_output_folder_that_the_run_refuses(dataset, tmp_path, capsys, is_dry, name):
    place = tmp_path / "out" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("mine")
    assert dataset({"group": GROUPS}, "-q", is_dry=is_dry) == 73
    assert place.name in capsys.readouterr().err
    assert place.read_text() == "mine"
