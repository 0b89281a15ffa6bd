"""Results again without single people: the numbers are those of runs of their own."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.cli import main
from tests.studies import begin_study

STEM = "task-faces_space-MNI152NLin2009cAsym_res-8mm_contrast-facesVsHouses"
OPTIONS = (
    *("--formula", "~ age", "--contrast", "m = mean()", "s = slope(age)"),
    *("--correction", "fdr", "fwe-tfce", "--n-permutations", "99", "-q"),
)


@pytest.fixture(scope="module")
def spoiled(small, tmp_path_factory):
    """Twelve people, of whom one has a map that is far too large."""
    import shutil

    data = shutil.copytree(small, tmp_path_factory.mktemp("spoiled") / "data")
    for path in data.rglob("sub-05*stat-effect_statmap.nii.gz"):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 4, image.affine), path)
    return data


@pytest.fixture(scope="module")
def out(spoiled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "out"
    assert main([str(spoiled), str(folder), "group", *OPTIONS, "--no-report"]) == 0
    return folder


@pytest.fixture(scope="module")
def table(out):
    return pd.read_csv(out / "group" / f"{STEM}M_desc-sensitivity_table.tsv", sep="\t", na_values="n/a")


def read(folder, name):
    return np.asarray(nib.load(folder / "group" / f"{STEM}{name}").dataobj)


def test_marked_people_and_who_carries_the_contrast_are_left_out(table):
    reasons = table.drop_duplicates("left_out").set_index("left_out")["reason"]
    assert reasons["sub-05"] == "marked in the table of quality"
    assert list(reasons)[-1] == "carries this contrast most"
    assert len(reasons) <= 3
    assert set(table["correction"]) <= {"fdr", "fwe-tfce"}


def test_the_numbers_without_a_person_are_those_of_a_run_without_them(spoiled, out, table, tmp_path):
    for person in table["left_out"].unique():
        alone = tmp_path / person
        words = [str(spoiled), str(alone), "group", *OPTIONS, "--no-report", "--no-sensitivity"]
        assert main([*words, "--exclude-participant-label", person]) == 0
        assert not list(alone.rglob("*sensitivity*"))
        for row in table[table["left_out"] == person].itertuples():
            label = {"fdr": "fdr", "fwe-tfce": "fweTfce"}[row.correction]
            clusters, p = (
                read(out, f"M_desc-{label}_dseg.nii.gz"),
                read(alone, f"M_stat-p_desc-{label}_statmap.nii.gz"),
            )
            inside = read(alone, "_desc-analysis_mask.nii.gz") > 0
            assert row.p == pytest.approx(p[(clusters == 1) & inside].min(), rel=1e-5)
            assert row.n_elements == np.count_nonzero(p[inside] <= 0.05)
            assert (row.holds == "yes") == (p[(clusters == 1) & inside].min() <= 0.05)


def test_the_strongest_cluster_is_judged_whatever_its_sign_and_by_people(tmp_path):
    """Lists of clusters begin with positive ones. Three rows of one marked person are one person."""
    shape, draw, root = (5, 5, 5), np.random.default_rng(0), tmp_path / "data"
    maps = begin_study(root, [f"sub-{number:02d}" for number in range(1, 13)])
    for number in range(1, 13):
        (root / f"sub-{number:02d}").mkdir(parents=True)
        folder = maps / f"sub-{number:02d}"
        for visit in (1, 2, 3):
            effect = draw.normal(0, 1, shape)
            effect[0, :2, :2] += 1
            effect[3:, 3:, 3:] -= 2
            effect[1:3, 0] += {3: 8, 5: -8}.get(number, 0)
            name = f"sub-{number:02d}_ses-{visit}_task-rest_space-MNI_contrast-go_stat-effect_statmap.nii.gz"
            (folder / f"ses-{visit}" / "func").mkdir(parents=True)
            image = nib.Nifti1Image(effect.astype(np.float32), np.diag([3.0, 3, 3, 1]))
            nib.save(image, folder / f"ses-{visit}" / "func" / name)
    asked = ["--pooling", "none", "--formula", "~ 1", "--estimator", "sandwich", "--correction", "fdr"]
    assert main([str(root), str(tmp_path / "out"), "group", *asked, "--no-report", "-q"]) == 0
    (path,) = (tmp_path / "out" / "group").glob("*_desc-sensitivity_table.tsv")
    found = pd.read_csv(path, sep="\t", na_values="n/a")
    p = nib.load(next((tmp_path / "out" / "group").glob("*_stat-p_desc-fdr_statmap.nii.gz"))).get_fdata()
    effect = nib.load(next((tmp_path / "out" / "group").glob("*_stat-effect_statmap.nii.gz"))).get_fdata()
    assert (effect[p <= 0.05] > 0).any()
    assert found["p_all"].to_numpy() == pytest.approx(p.min(), rel=1e-5)
    assert (found["effect_all"] < 0).all()
    marked = found[found["reason"].str.startswith("marked")]["left_out"]
    assert set(marked) == {"sub-03", "sub-05"}
    assert found["share_of_normal_data"].isna().all()  # not the t test of independent rows


def test_an_effect_that_turns_round_without_somebody_does_not_hold(small, tmp_path):
    """Eleven people of 20 to 30 years have a falling slope, one of 80 makes it rise."""
    import shutil

    data, random = shutil.copytree(small, tmp_path / "data"), np.random.default_rng(0)
    people = pd.read_csv(data / "participants.tsv", sep="\t")
    people["age"] = [*range(20, 20 + len(people) - 1), 80]
    people.to_csv(data / "participants.tsv", sep="\t", index=False)
    for row in people.itertuples():
        for path in data.rglob(f"{row.participant_id}_*stat-effect_statmap.nii.gz"):
            image = nib.load(path)
            values = random.normal(scale=0.1, size=image.shape) - 0.5 * row.age + 140 * (row.age == 80)
            nib.save(nib.Nifti1Image(np.where(image.get_fdata() == 0, 0, values), image.affine), path)
    words = ["--formula", "~ age", "--contrast", "s = slope(age)", "--correction", "fdr", "--no-report", "-q"]
    assert main([str(data), str(tmp_path / "out"), "group", *words]) == 0
    table = pd.read_csv(next((tmp_path / "out").rglob("*S_desc-sensitivity_table.tsv")), sep="\t")
    without = table[table["left_out"] == people["participant_id"].iloc[-1]].iloc[0]
    assert without["effect_all"] > 0 > without["effect"]
    assert without["n_elements"] > 0
    assert without["holds"] == "no"


def test_a_contrast_that_finds_nothing_has_no_table(out):
    assert (out / "group" / f"{STEM}S_stat-p_statmap.nii.gz").exists()
    found = read(out, "S_stat-p_desc-fdr_statmap.nii.gz").min() <= 0.05
    found |= read(out, "S_stat-p_desc-fweTfce_statmap.nii.gz").min() <= 0.05
    assert (out / "group" / f"{STEM}S_desc-sensitivity_table.tsv").exists() == found


def test_where_too_few_people_would_be_left_that_is_said(small, tmp_path):
    people = [f"{number:02d}" for number in range(1, 7)]
    options = [
        "--participant-label",
        *people,
        "--correction",
        "fwe-voxel",
        "--alpha",
        "0.04",
        "--no-report",
        "-q",
    ]
    assert main([str(small), str(tmp_path / "out"), "group", *options]) == 0
    (path,) = (tmp_path / "out" / "group").glob("*_desc-sensitivity_table.tsv")
    table = pd.read_csv(path, sep="\t")  # 32 flips of five people: no p below 0.03, 2 × 1/32 two-sided
    assert table["note"].str.contains("too few ways to shuffle").all()
    assert table["holds"].isna().all()


def test_a_full_disk_is_no_answer(small, tmp_path, monkeypatch, capsys):
    """What hinders the run ends it with its code; only what the data cannot answer is a note of the table."""
    from bids_group.errors import OutputError

    def fail(*_, **__):
        raise OutputError("There is no room left.")

    monkeypatch.setattr("bids_group.workflow.sensitivity.stack", fail)
    assert main([str(small), str(tmp_path / "out"), "group", "--no-report", "-q"]) == OutputError.exit_code
    assert "There is no room left." in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*sensitivity*"))


def test_the_maps_without_a_person_leave_nothing_in_a_work_folder_of_ones_own(small, tmp_path):
    words = [
        str(small),
        str(tmp_path / "out"),
        "group",
        "--no-report",
        "-q",
        "--work-dir",
        str(tmp_path / "w"),
    ]
    assert main(words) == 0
    assert list((tmp_path / "out").rglob("*sensitivity*"))
    assert not list((tmp_path / "w").rglob("*"))
