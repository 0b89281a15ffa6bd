"""The main job on the demo: what was put in is found, everybody is accounted for, the bytes are the same."""

import shutil

import numpy as np
import pandas as pd
import pytest

from bids_group.cli import main

JOB = ["group", "--formula", "~ group * n_cigs + age", "--missing", "drop", "--no-report", "-q"]
PLACES = {  # contrast label: centre of the effect in the demo, mm
    "facesVsHouses": (35, -55, -15),
    "facesVsHousesGroup": (-40, 10, 0),
    "facesVsHousesGroupByNCigs": (0, 35, 35),
}


@pytest.fixture(scope="module")
def analysed(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("job") / "out"
    assert main([str(demo), str(out), *JOB]) == 0
    return out


@pytest.mark.parametrize(("label", "centre"), PLACES.items(), ids=PLACES.keys())
def test_each_effect_is_found_where_it_was_put_and_nowhere_else(analysed, label, centre):
    (file,) = (analysed / "group").glob(f"*_contrast-{label}_desc-bonferroni_clusters.tsv")
    peaks = pd.read_csv(file, sep="\t")
    distances = np.linalg.norm(peaks[["x", "y", "z"]].to_numpy() - np.array(centre), axis=1)
    assert len(peaks) > 0
    assert distances.max() <= 14 + 5  # the radius of the effect, and a voxel


@pytest.mark.parametrize("label", ["facesVsHousesAge", "facesVsHousesNCigs"])
def test_nothing_is_found_where_nothing_was_put(analysed, label):
    (file,) = (analysed / "group").glob(f"*_contrast-{label}_desc-bonferroni_clusters.tsv")
    assert pd.read_csv(file, sep="\t").empty


def test_the_ledger_names_the_four_irregular_people(analysed):
    ledger = pd.read_csv(analysed / "ledger.tsv", sep="\t", keep_default_na=False)
    by_person = ledger.groupby("participant_id")
    assert len(by_person) == 25
    assert set(ledger.loc[ledger["used"] == "no", "participant_id"]) == {"sub-09", "sub-25"}
    assert "n_cigs" in by_person.get_group("sub-09")["reason"].iloc[0]
    assert "no first-level map" in by_person.get_group("sub-25")["reason"].iloc[0]
    missing_run = by_person.get_group("sub-05")
    assert set(missing_run["n_maps"].astype(int)) == {3}
    assert missing_run["note"].str.contains("run").any()
    assert by_person.get_group("sub-14")["note"].str.contains("fewer than 4 maps observed at").all()
    assert set(by_person.get_group("sub-01")["note"]) == {"n/a"}
    assert set(by_person.get_group("sub-01")["n_maps"].astype(int)) == {4}


def test_reduced_coverage_of_one_run_costs_no_element(analysed):
    (quality,) = (analysed / "group").glob("*_desc-quality_table.tsv")
    table = pd.read_csv(quality, sep="\t").set_index("label")
    assert table.loc["sub-14", "n_elements_lost_only_by_this_row"] == 0


def test_the_same_command_gives_the_same_bytes_whatever_the_processes(analysed, demo, tmp_path, contents_of):
    out = tmp_path / "again"
    assert main([str(demo), str(out), *JOB, "--nprocs", "3", "--mem-gb", "0.2"]) == 0
    assert contents_of(out) == contents_of(analysed)


def test_a_second_run_into_the_same_place_changes_nothing(analysed, demo, tmp_path, contents_of):
    out = shutil.copytree(analysed, tmp_path / "copy")
    assert main([str(demo), str(out), *JOB]) == 0
    assert contents_of(out) == contents_of(analysed)


def test_participant_jobs_first_and_the_group_after_give_the_same_bytes(
    analysed, demo, tmp_path, contents_of
):
    out = tmp_path / "jobs"
    for label in ("01", "02", "09", "sub-14"):
        assert main([str(demo), str(out), "participant", "--participant-label", label, "-q"]) == 0
    assert not (out / "group").exists()
    assert main([str(demo), str(out), *JOB]) == 0
    assert contents_of(out) == contents_of(analysed)


def test_another_model_into_the_same_place_is_refused_unless_it_may_overwrite(
    analysed, demo, tmp_path, capsys
):
    out = shutil.copytree(analysed, tmp_path / "copy")
    (out / "mine.txt").write_text("a note of the user")
    other = [str(demo), str(out), "group", "--formula", "~ 1", "--missing", "drop", "--no-report", "-q"]
    assert main(other) == 73
    said = capsys.readouterr().err
    assert "holds another analysis" in said
    assert "what differs is --formula." in said
    assert 'found    --formula "~ group * n_cigs + age"' in said
    assert 'expected --formula "~ 1" (this run)' in said
    assert main([*other, "--overwrite"]) == 0
    left = {path.name for path in (out / "group").iterdir()}
    assert (out / "mine.txt").exists()
    assert not [name for name in left if "GroupByNCigs" in name]


def test_the_resolved_model_reproduces_the_run(analysed, demo, tmp_path, contents_of):
    (model,) = (analysed / "code").glob("model-*_smdl.json")
    out = tmp_path / "model"
    assert main([str(demo), str(out), "group", "--model", str(model), "--no-report", "-q"]) == 0
    assert contents_of(out) == contents_of(analysed)


def test_only_the_run_s_own_part_of_a_named_work_folder_is_removed(small, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "mine.txt").write_text("keep")
    assert main([str(small), str(tmp_path / "out"), "group", "--no-report", "-q", "-w", str(scratch)]) == 0
    assert [path.name for path in scratch.iterdir()] == ["mine.txt"]


def test_people_without_a_needed_value_are_pooled_and_marked_as_not_analysed(analysed):
    people = pd.read_csv(analysed / "participants.tsv", sep="\t").set_index("participant_id")
    assert people.loc["sub-09", "analysed"] == "no"
    assert list((analysed / "sub-09").rglob("*stat-effect_statmap.nii.gz"))


def test_maps_of_another_dataset_into_the_same_place_are_refused(small, tmp_path, capsys):
    other = shutil.copytree(small, tmp_path / "data")
    (other / "derivatives" / "firstlevel").rename(other / "derivatives" / "elsewhere")
    out = tmp_path / "out"
    assert main([str(small), str(out), "group", "--no-report", "-q"]) == 0
    assert main([str(other), str(out), "group", "--no-report", "-q"]) == 73
    assert "elsewhere" in capsys.readouterr().err


def test_a_run_without_a_report_leaves_no_report_of_an_earlier_run(small, tmp_path):
    out = tmp_path / "out"
    assert main([str(small), str(out), "group", "-q"]) == 0
    assert (out / "report.html").is_file()
    assert main([str(small), str(out), "group", "-q", "--no-report"]) == 0
    assert not (out / "report.html").exists()
    assert not list((out / "group" / "figures").glob("*"))


def test_the_log_of_a_dry_run_leaves_to_the_page_what_is_no_warning(demo, tmp_path, capsys):
    out = tmp_path / "out"
    typed = [str(demo), str(out), "group", "--missing", "drop", "--formula", "~ n_cigs", "--dry-run"]
    assert main(typed) == 0
    page, log = capsys.readouterr()
    assert "Found 95 effect maps" in page
    assert "no value (n/a) of n_cigs" in page
    assert log == ""
    assert main([*typed, "--output-format", "json"]) == 0
    assert "Found 95 effect maps" in capsys.readouterr().err
    assert not out.exists()
