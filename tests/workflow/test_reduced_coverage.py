"""One person whose field of view is cut: told, and analysed with the people who are there."""

import json

import nibabel as nib
import numpy as np
import pytest

from bids_group.cli import main
from bids_group.demo import write_demo


@pytest.fixture
def cut(small_copy):
    (path,) = small_copy.glob("derivatives/firstlevel/sub-03/**/*stat-effect_statmap.nii.gz")
    image = nib.load(path)
    numbers = image.get_fdata().astype(np.float32)
    numbers[:, :, : numbers.shape[2] // 2] = np.nan
    nib.save(nib.Nifti1Image(numbers, image.affine), path)
    return small_copy


def test_who_costs_the_mask_much_is_named_in_a_warning(cut, tmp_path, capsys):
    assert main([str(cut), str(tmp_path / "out"), "group", "--no-report"]) == 0
    said = capsys.readouterr().err
    (warning,) = [line for line in said.splitlines() if "more are lost" in line]
    assert " elements, 1 contrast\n" in said
    assert "WARNING" in warning
    assert "sub-03 (" in warning


def test_a_relaxed_coverage_fits_the_people_who_are_there_and_reports_it(cut, tmp_path):
    out = tmp_path / "out"
    assert main([str(cut), str(out), "group", "--min-coverage", "0.8", "-q"]) == 0
    effects = [
        np.asarray(nib.load(path).dataobj, dtype=float)
        for path in sorted(cut.glob("derivatives/firstlevel/sub-*/**/*stat-effect_statmap.nii.gz"))
    ]
    maps = np.where(np.stack(effects) == 0, np.nan, np.stack(effects))
    (file,) = (out / "group").glob("*_stat-t_statmap.nii.gz")
    ours = np.asarray(nib.load(file).dataobj, dtype=float)
    n = np.isfinite(maps).sum(axis=0)
    where = n == len(maps) - 1
    seen = maps[:, where]
    expected = np.nanmean(seen, axis=0) / np.nanstd(seen, axis=0, ddof=1) * np.sqrt(n[where])
    assert where.sum() > 100
    np.testing.assert_allclose(ours[where], expected, rtol=1e-4, atol=1e-4)
    assert "degrees of freedom" in (out / "logs" / "CITATION.md").read_text()


def test_shuffling_takes_the_people_who_are_there_and_says_so(cut, tmp_path, capsys):
    """Half of the brain lacks a person: corrections by shuffling run, and say that they are approximate."""
    out = tmp_path / "out"
    options = ["--min-coverage", "0.8", "--correction", "fwe-voxel", "fwe-tfce", "--n-permutations", "99"]
    command = [str(cut), str(out), "group", *options, "--formula", "~ age"]
    assert main([*command, "--dry-run"]) == 0
    assert main([*command, "--contrast", "age", "m = mean()", "--no-report"]) == 0
    said = capsys.readouterr().err
    assert "are restricted to the rows observed" in said
    for contrast, kind in (("Age", "permutations"), ("M", "sign flips")):
        (file,) = (out / "group").glob(f"*contrast-*{contrast}_stat-p_desc-fweTfce_statmap.nii.gz")
        (counts,) = (out / "group").glob(f"*contrast-*{contrast}_stat-n_statmap.nii.gz")
        sidecar = json.loads(file.with_name(file.name.replace(".nii.gz", ".json")).read_text())
        assert sidecar["Shuffling"].startswith(kind)
        assert "approximate where rows are not observed" in sidecar["Shuffling"]
        assert "among the rows observed" in sidecar["ShufflingScheme"]
        p, n = (np.asarray(nib.load(path).dataobj) for path in (file, counts))
        assert (p[(n > 0) & (n < n.max())] < 1).any()


def test_what_needs_everybody_to_be_shuffled_is_refused_by_name(cut, tmp_path, capsys):
    command = [str(cut), str(tmp_path / "out"), "group", "--min-coverage", "0.8", "--correction", "fwe-voxel"]
    people = (cut / "participants.tsv").read_text().splitlines()
    scanners = ["scanner", *("ab"[number % 2] for number in range(len(people) - 1))]
    rows = [f"{row}\t{scanner}" for row, scanner in zip(people, scanners, strict=True)]
    (cut / "participants.tsv").write_text("\n".join(rows) + "\n")
    assert main([*command, "--formula", "~ age", "--variance-groups", "scanner"]) == 64
    said = capsys.readouterr().err
    assert "Shuffling with --variance-groups needs every participant at every element" in said
    assert "leave out --variance-groups" in said
    assert not (tmp_path / "out" / "group").exists()


def test_sessions_are_compared_within_people_only_where_both_are_there(tmp_path, capsys):
    write_demo(tmp_path / "data", kind="paired")
    path = sorted(tmp_path.glob("data/derivatives/*/sub-03/**/*stat-effect_statmap.nii.gz"))[1]
    image = nib.load(path)
    numbers = image.get_fdata().astype(np.float32)
    numbers[:, :, : numbers.shape[2] // 2] = np.nan
    nib.save(nib.Nifti1Image(numbers, image.affine), path)
    options = ["group", "--pooling", "none", "--min-coverage", "0.9", "--correction", "fdr", "--no-report"]
    for name, formula in (("alone", "~ session"), ("paired", "~ session + subject")):
        out = tmp_path / name
        assert main([str(tmp_path / "data"), str(out), *options, "--formula", formula]) == 0
        said = capsys.readouterr().err
        (counts,) = (out / "group").glob("*_contrast-*Session_stat-n_statmap.nii.gz")
        (file,) = (out / "group").glob("*_contrast-*Session_stat-t_statmap.nii.gz")
        n, t = (np.asarray(nib.load(path).dataobj) for path in (counts, file))
        n_partly = int(((n > 0) & (n < n.max())).sum())
        assert n_partly > 100
        assert (f"is not tested at {n_partly} of" in said) == (name == "alone")
        assert (t[(n > 0) & (n < n.max())] == 0).all() == (name == "alone")
