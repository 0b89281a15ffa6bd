"""Sixty slips of a newcomer (tables, contrasts, paths and options): each caught, with the line that mends it.

A slip is refused with its exit code, or read and told; the words are those of the line to write. Dry runs, in
this process: nothing is computed or written.
"""

import json
import shlex
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.cli import main
from tests.studies import begin_study

ASKED = ["--formula", "~ group + age"]
MEANS = "mean(group=patient) - mean(group=control)"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Twelve people in two groups, one small map each."""
    root, draw, numbers = tmp_path / "data", np.random.default_rng(0), np.arange(12)
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{number + 1:02d}" for number in numbers],
            "group": np.where(numbers % 2, "control", "patient"),
            "sex": np.where(numbers % 3, "F", "M"),
            "age": 22 + 2 * numbers + numbers % 5,
        }
    )
    first = begin_study(root, table, program="nilearn", name="firstlevel")
    for number in range(1, 13):
        folder = first / f"sub-{number:02d}" / "func"
        folder.mkdir(parents=True)
        name = f"sub-{number:02d}_task-faces_space-MNI152NLin2009cAsym_contrast-facesVsHouses"
        image = nib.Nifti1Image(draw.normal(size=(3, 3, 3)).astype(np.float32), np.diag([3.0, 3, 3, 1]))
        nib.save(image, folder / f"{name}_stat-effect_statmap.nii.gz")
    monkeypatch.chdir(tmp_path)
    return root


def rewrite(change):
    """Change the text of participants.tsv."""

    def spoil(root):
        path = root / "participants.tsv"
        path.write_text(change(path.read_text()))

    return spoil


def put(column, value, person="sub-03"):
    """Change one cell."""

    def spoil(root):
        path = root / "participants.tsv"
        table = pd.read_csv(path, sep="\t", dtype=str)
        table.loc[table["participant_id"] == person, column] = value
        table.to_csv(path, sep="\t", index=False, na_rep="")

    return spoil


def call(name):
    return lambda root: (root / "participants.tsv").rename(root / name)


def save_as_workbook(root):
    table = pd.read_csv(root / "participants.tsv", sep="\t")
    table.to_excel(root / "people.xlsx", index=False)
    (root / "people.xlsx").rename(root / "participants.tsv")


def save_as_utf_16(root):
    path = root / "participants.tsv"
    path.write_bytes(path.read_text().encode("utf-16"))


TABLES = {
    # what was done to participants.tsv: (spoil, exit code, words)
    "semicolons": (rewrite(lambda t: t.replace("\t", ";")), 65, ["semicolons", "Save it with tabs"]),
    "commas": (rewrite(lambda t: t.replace("\t", ",")), 65, ["commas", "or call it .csv"]),
    "blanks": (rewrite(lambda t: t.replace("\t", "  ")), 65, ["blanks", "Save it with tabs"]),
    "a workbook": (save_as_workbook, 65, ["workbook (.xlsx) under another name", "participants.xlsx"]),
    "UTF-16": (save_as_utf_16, 65, ["iconv -f UTF-16 -t UTF-8"]),
    "a csv": (call("participants.csv"), 64, ["--participants-tsv", "data/participants.csv"]),
    "no line of names": (rewrite(lambda t: t.split("\n", 1)[1]), 65, ["names of the columns into a line"]),
    "another key": (
        rewrite(lambda t: t.replace("participant_id", "code")),
        65,
        ["Rename the column code to participant_id."],
    ),
    "a row twice": (rewrite(lambda t: t + t.splitlines()[1] + "\n"), 65, ["lines 2, 14", "Remove the row"]),
    "a row is missing": (
        rewrite(lambda t: t.replace("sub-03\tpatient\tF\t28\n", "")),
        65,
        ["--missing drop"],
    ),
    "a column twice": (rewrite(lambda t: t.replace("sex", "age")), 65, ["a name of its own"]),
    "zeros lost": (rewrite(lambda t: t.replace("sub-0", "sub-")), 65, ["sub-1 (table)", "Write the labels"]),
    "a cell too many": (rewrite(lambda t: t.replace("sub-03\t", "sub-03\tx\t")), 65, ["Line 4", "5 cells"]),
    "an empty cell": (put("age", ""), 65, ["an empty cell in age: sub-03", "--missing drop"]),
    "NaN": (put("age", "NaN"), 65, ["'NaN' in sub-03", "Write n/a instead of NaN"]),
    "a decimal comma": (put("age", "31,5"), 65, ["'31,5' in sub-03", "numbers with a decimal point"]),
    "a unit": (put("age", "31 y"), 65, ["'31 y' in sub-03", "Write the number alone"]),
    "a code for missing": (put("age", "999"), 0, ["999 in 1 of 12 (sub-03)", "write n/a"]),
    "a level in capitals": (put("group", "Patient"), 0, ["'Patient' (1), 'patient' (5)", "write them alike"]),
    "a level misspelt": (put("group", "pateint"), 0, ["is 'pateint' meant to be 'patient'?"]),
}

CONTRASTS = {
    # typed: (exit code, lines to paste, or the line that it is read as)
    "patient - control": (0, [MEANS]),
    "patient > control": (0, [MEANS]),
    "patient vs control": (0, [MEANS]),
    "Patient - Control": (0, [MEANS]),
    "'patient' - 'control'": (0, [MEANS]),
    "mean(patient) - mean(control)": (0, [MEANS]),
    "mean(patient=group) - mean(control=group)": (0, [MEANS]),
    "mean(group == patient) - mean(group == control)": (0, [MEANS]),
    "group[patient] - group[control]": (0, [MEANS]),
    "C(group)[T.patient] - C(group)[T.control]": (0, [MEANS]),
    "group:patient - group:control": (0, [MEANS]),
    "F(group)": (0, ["test(group)"]),
    "patient": (64, ["mean(group=patient)", "group[T.patient]"]),
    "patient = control": (64, [MEANS]),
    "patiens - control": (64, [MEANS]),
    "mean(grp=patient) - mean(grp=control)": (64, [MEANS]),
    "slope(group)": (64, [MEANS]),
    "mean(age)": (64, ["slope(age)"]),
    "slop(age)": (64, ["slope(age)"]),
    "[1 -1]": (64, ["mean(group=control) - mean(group=patient)"]),
}

OPTIONS = {
    # typed behind the folders and the level: (exit code, words)
    '--formul "~ age"': (64, ["Did you mean --formula?"]),
    'formula "~ age"': (64, ['Write --formula "~ age".']),
    "--formula '~' group + age": (64, ['Write --formula "~ group + age".']),
    '--formula "bold ~ age"': (64, ['write --formula "~ age"']),
    '--formula "~ agee"': (64, ["Did you mean 'age'?"]),
    '--formula "~ age**2"': (64, ["Write I(age**2)"]),
    "--alpha 5": (64, ["Write --alpha 0.05."]),
    "--alpha 5%": (64, ["Write --alpha 0.05."]),
    "--alpha 0,05": (64, ["Write --alpha 0.05."]),
    "--smoothing-fwhm 6mm": (64, ["Write --smoothing-fwhm 6."]),
    "--n-permutations 1e4": (64, ["Write --n-permutations 10000."]),
    "--cluster-forming-p 3.1": (64, ["write --cluster-forming-p 0.00194"]),
    "--correction fwe": (64, ["--correction fwe-voxel or", "--correction fwe-tfce"]),
    "--estimator LM": (64, ["Write --estimator ols."]),
    "--n-cpus 4": (64, ["Write --nprocs."]),
    "--seed 3": (64, ["Write --random-seed."]),
    "-d data/derivatives/firstlvel": (66, ["Write --derivatives", "data/derivatives/firstlevel"]),
    "--mask data/derivatives": (66, ["a folder, not a file"]),
    "--space MNI": (18, ["Write --space MNI152NLin2009cAsym."]),
    "--participant-label 1": (18, ["Did you mean '01'?"]),
}


def test_there_are_sixty():
    assert [len(TABLES), len(CONTRASTS), len(OPTIONS)] == [20, 20, 20]


def run_dry(root, *options):
    return main([str(root), str(root.parent / "out"), "group", *options, "--dry-run"])


@pytest.mark.parametrize(("spoil", "code", "words"), TABLES.values(), ids=TABLES.keys())
def test_slips_in_tables(study, capsys, spoil, code, words):
    spoil(study)
    assert run_dry(study, *ASKED) == code
    said = " ".join(capsys.readouterr().err.split())
    assert not [one for one in words if one not in said], said


@pytest.mark.parametrize(("typed", "code", "lines"), [(one, *rest) for one, rest in CONTRASTS.items()])
def test_slips_in_contrasts(study, capsys, typed, code, lines):
    assert run_dry(study, *ASKED, "--contrast", typed) == code
    out, error = capsys.readouterr()
    if code == 0:
        assert f"'{typed}' is read as '{lines[0]}'" in " ".join(out.split())
    else:
        assert all(f'--contrast "{line}"' in error for line in lines), error


@pytest.mark.parametrize(("typed", "code", "words"), [(one, *rest) for one, rest in OPTIONS.items()])
def test_slips_in_paths_and_options(study, capsys, typed, code, words):
    assert run_dry(study, *shlex.split(typed)) == code
    said = " ".join(capsys.readouterr().err.split())
    assert not [one for one in words if one not in said], said


def test_folders_in_the_wrong_order_are_put_right(study, capsys):
    assert main(["group", str(study), "out"]) == 17
    assert f"Write bids-group {study} out group." in capsys.readouterr().err


def test_a_home_folder_in_the_place_of_a_tilde_is_understood(study, capsys):
    """A shell puts it there where the formula has no quotes."""
    assert run_dry(study, "--formula", str(Path.home()), "group", "+", "age") == 64
    assert 'Write --formula "~ group + age".' in capsys.readouterr().err


def test_the_dry_run_proposes_contrasts_that_can_be_pasted(study, capsys):
    assert run_dry(study, "--formula", "~ group * age") == 0
    page = capsys.readouterr().out
    lines = [line.strip() for line in page.splitlines() if line.strip().startswith("--contrast ")]
    slopes = "slope(age, group=patient) - slope(age, group=control)"
    assert f'--contrast "slopeAgePatientMinusControl = {slopes}"' in lines
    assert "slope of age in patient minus slope of age in control" in page
    assert run_dry(study, "--formula", "~ group * age", *shlex.split(" ".join(lines))) == 0
    assert "slopeAgePatientMinusControl" in capsys.readouterr().out
    assert run_dry(study, "--formula", "~ group * age", "--output-format", "json") == 0
    [analysis] = json.loads(capsys.readouterr().out)["Analyses"]
    assert f"slopeAgePatientMinusControl = {slopes}" in [one["Contrast"] for one in analysis["Proposals"]]
