"""Bad input, end to end: its exit code, a message that names culprit and fix, nothing half-written."""

import json
import os
import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from bids_group.cli import main

FIRST_LEVEL = "derivatives/firstlevel"


def effects(data):
    return sorted(data.glob(f"{FIRST_LEVEL}/sub-*/**/*stat-effect_statmap.nii.gz"))


def change_map(path, change):
    image = nib.load(path)
    numbers, affine = change(image.get_fdata().astype(np.float32), image.affine.copy())
    nib.save(nib.Nifti1Image(numbers, affine), path)


def shift_grid(data):
    change_map(effects(data)[3], lambda numbers, affine: (numbers, affine + np.eye(4) * 0.5))


def truncate(data):
    path = effects(data)[3]
    path.write_bytes(path.read_bytes()[:2000])


def empty_map(data):
    change_map(effects(data)[3], lambda numbers, affine: (np.full_like(numbers, np.nan), affine))


def write_empty_mask(data):
    image = nib.load(effects(data)[0])
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), data / "mask.nii.gz")


def write_coarse_mask(data):
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), data / "mask.nii.gz")


def double_participant(data):
    table = data / "participants.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]) + "\n")


def unknown_age(data):
    table = data / "participants.tsv"
    header, first, *rest = table.read_text().splitlines()
    values = first.split("\t")
    values[header.split("\t").index("age")] = "n/a"
    table.write_text("\n".join([header, "\t".join(values), *rest]) + "\n")


def semicolons(data):
    table = data / "participants.tsv"
    table.write_text(table.read_text().replace("\t", ";"))


def keep_one_person(data):
    for folder in sorted((data / FIRST_LEVEL).glob("sub-*"))[1:]:
        shutil.rmtree(folder)


def keep_two_people(data):
    for folder in sorted((data / FIRST_LEVEL).glob("sub-*"))[2:]:
        shutil.rmtree(folder)


def remove_maps(data):
    shutil.rmtree(data / "derivatives")


def only_t_maps(data):
    for path in sorted((data / FIRST_LEVEL).rglob("*_stat-effect_statmap.nii.gz")):
        path.rename(path.with_name(path.name.replace("stat-effect", "stat-t")))
    for path in sorted((data / FIRST_LEVEL).rglob("*_stat-variance_*")):
        path.unlink()


def same_map_twice(data):
    first, second = effects(data)[:2]
    shutil.copy(first, second)


def dangling_links(data):
    for path in effects(data)[:3]:
        path.unlink()
        path.symlink_to("nowhere")


def no_description(data):
    (data / "dataset_description.json").unlink()


def nothing(data):
    pass


BAD = {
    # name: (spoil, options, exit code, words of the message)
    "no such formula column": (nothing, ["--formula", "~ agee"], 64, ["agee", "age"]),
    "syntax error": (nothing, ["--formula", "~ age +* sex"], 64, ["formula"]),
    "a formula that calls code": (
        nothing,
        ["--formula", '~ {__import__("os").system("touch owned")}'],
        64,
        ["formula"],
    ),
    "a power outside I()": (nothing, ["--formula", "~ age**2"], 64, ["I("]),
    "unknown contrast": (nothing, ["--first-level-contrast", "facesVsHouse"], 18, ["facesVsHouse"]),
    "unknown space": (nothing, ["--space", "MNI"], 18, ["MNI152NLin2009cAsym"]),
    "unknown participant": (nothing, ["--participant-label", "99"], 18, ["99"]),
    "unknown group contrast column": (nothing, ["--contrast", "x = agee"], 64, ["agee"]),
    "too many regressors": (
        nothing,
        ["--formula", "~ age + I(age * age)", "--participant-label", "01", "02", "03"],
        65,
        ["3"],
    ),
    "one participant": (keep_one_person, [], 65, ["1"]),
    "as many regressors as rows": (keep_two_people, ["--formula", "~ age"], 65, ["2"]),
    "no maps": (remove_maps, [], 18, ["--derivatives", "--maps"]),
    "only t maps": (only_t_maps, [], 65, ["effect"]),
    "the same map under two people": (same_map_twice, [], 65, ["sub-01", "sub-02"]),
    "other affine": (shift_grid, [], 65, ["sub-04"]),
    "truncated image": (truncate, [], 65, ["sub-04"]),
    "map of NaN": (empty_map, [], 65, ["sub-04"]),
    "empty mask": (write_empty_mask, ["--mask", "MASK"], 65, ["mask"]),
    "mask of another grid": (write_coarse_mask, ["--mask", "MASK"], 65, ["mask"]),
    "no such mask": (nothing, ["--mask", "MASK"], 66, ["mask"]),
    "doubled participant": (double_participant, ["--formula", "~ age"], 65, ["sub-01"]),
    "unknown value in use": (unknown_age, ["--formula", "~ age"], 65, ["sub-01", "age", "--missing drop"]),
    "other separators": (semicolons, [], 65, ["participants.tsv", "tab"]),
    "files not fetched": (dangling_links, [], 66, ["datalad get"]),
    "no description": (no_description, [], 16, ["dataset_description.json"]),
    "no such derivatives": (nothing, ["-d", "nowhere"], 66, ["nowhere"]),
    "no such model": (nothing, ["--model", "nowhere.json"], 66, ["nowhere.json"]),
    "no such block column": (
        nothing,
        ["--correction", "fwe-voxel", "--exchangeability-blocks", "famly"],
        64,
        ["famly"],
    ),
    "blocks without a column": (
        nothing,
        ["--correction", "fwe-voxel", "--whole-blocks"],
        64,
        ["--whole-blocks"],
    ),
    "no such variance groups": (
        nothing,
        ["--correction", "fwe-voxel", "--variance-groups", "sx"],
        64,
        ["sx"],
    ),
}


@pytest.mark.parametrize(("spoil", "options", "code", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_by_name(small_copy, tmp_path, capsys, monkeypatch, spoil, options, code, words):
    monkeypatch.chdir(tmp_path)
    spoil(small_copy)
    out = tmp_path / "out"
    typed = [str(small_copy / "mask.nii.gz") if token == "MASK" else token for token in options]
    assert main([str(small_copy), str(out), "group", *typed, "-q"]) == code
    said = capsys.readouterr().err
    assert said.startswith("ERROR ")
    assert "Traceback" not in said
    for word in words:
        assert word in said, said
    assert re.search(r"^  (found|expected|fix) ", said, flags=re.MULTILINE)
    assert not (tmp_path / "owned").exists()
    assert not (out / "group").exists()
    assert not [path for path in out.rglob("*") if ".part" in path.name or path.name.startswith("tmp")]


def test_a_missing_folder_is_refused_with_66_or_16(tmp_path):
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "out"), "group"]) in (16, 66)


def test_output_dir_must_not_be_bids_dir(small_copy, capsys, contents_of):
    before = contents_of(small_copy)
    assert main([str(small_copy), str(small_copy), "group", "-q"]) == 73
    assert contents_of(small_copy) == before
    assert "OUTPUT_DIR is BIDS_DIR" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_output_is_refused_with_73(small, tmp_path):
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    assert main([str(small), str(out), "group", "-q"]) == 73


def test_an_output_below_a_file_is_refused_with_73(small, tmp_path):
    (tmp_path / "file").write_text("")
    assert main([str(small), str(tmp_path / "file" / "out"), "group", "-q"]) == 73


def test_maps_of_two_producers_are_refused(small_copy, tmp_path, capsys):
    other = shutil.copytree(small_copy / FIRST_LEVEL, small_copy / "derivatives" / "other")
    description = json.loads((other / "dataset_description.json").read_text())
    description["GeneratedBy"] = [{"Name": "AnotherProgram"}]
    (other / "dataset_description.json").write_text(json.dumps(description))
    folders = [str(small_copy / FIRST_LEVEL), str(other)]
    assert main([str(small_copy), str(tmp_path / "a"), "group", "-q"]) == 64  # two candidates
    assert main([str(small_copy), str(tmp_path / "b"), "group", "-q", "-d", *folders]) in (64, 65)
    assert "AnotherProgram" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--dry-run"], []], ids=["dry run", "run"])
def test_a_mask_that_is_not_there_is_told_before_anything_is_written(small, tmp_path, capsys, more):
    out = tmp_path / "out"
    assert main([str(small), str(out), "group", "--mask", str(tmp_path / "brain.nii.gz"), *more]) == 66
    assert f"There is no file {tmp_path / 'brain.nii.gz'}" in capsys.readouterr().err
    assert not out.exists()
