"""Masks that are not of two values, end to end: refused, or read above a threshold, which is said."""

import json

import nibabel as nib
import numpy as np
import pytest

from bids_group.cli import main


@pytest.fixture
def probability(small, tmp_path):
    """A mask of probabilities on the grid of the demo, and where it is above a half."""
    image = nib.load(next(small.rglob("*stat-effect_statmap.nii.gz")))
    inside = np.zeros(image.shape, dtype=bool)
    inside[2:-2, 2:-2, 2:-2] = True
    path = tmp_path / "probability.nii.gz"
    nib.save(nib.Nifti1Image(np.where(inside, 0.9, 0.02).astype(np.float32), image.affine), path)
    return path, inside


def code_of(*arguments):
    return main([str(one) for one in arguments])


def test_a_probability_mask_is_refused_before_anything_is_written(small, probability, tmp_path, capfd):
    for extra in ([], ["--dry-run"]):
        assert code_of(small, tmp_path / "out", "group", "--mask", probability[0], *extra) == 65
        said = capfd.readouterr().err
        assert "probability.nii.gz is not of two values" in said
        assert "--mask-threshold 0.5" in said
    assert not (tmp_path / "out" / "group").exists()


def test_a_threshold_is_said_in_sidecars_report_and_model(small, probability, tmp_path):
    path, inside = probability
    out = tmp_path / "out"
    assert code_of(small, out, "group", "--mask", path, "--mask-threshold", "0.5") == 0
    mask = nib.load(next(out.glob("group/*_desc-analysis_mask.nii.gz"))).get_fdata() > 0
    assert mask.any()
    assert not mask[~inside].any()
    sidecars = [json.loads(each.read_text()) for each in out.glob("group/*_statmap.json")]
    assert sidecars
    assert {one["MaskThreshold"] for one in sidecars} == {0.5}
    report = (out / "report.html").read_text()
    assert "masks that are not of two values: values above 0.5" in report
    assert f"the {inside.sum()} above 0.5 are inside" in report
    model = next(out.glob("code/model-*_smdl.json")).read_text()
    assert '"mask_threshold": 0.5' in model


def test_a_threshold_without_any_mask_is_told(small, tmp_path, capfd):
    code_of(small, tmp_path / "out", "group", "--mask-threshold", "0.5", "--dry-run")
    assert "--mask-threshold changes nothing" in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_a_threshold_is_at_least_0(small, tmp_path, value):
    assert code_of(small, tmp_path / "out", "group", f"--mask-threshold={value}", "--dry-run") == 64


def test_a_mask_of_another_resolution_is_told_to_be_resampled_not_the_maps(small, tmp_path, capfd):
    path = tmp_path / "coarse.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.diag([20.0, 20, 20, 1])), path)
    assert code_of(small, tmp_path / "out", "group", "--mask", path) == 65
    said = " ".join(capfd.readouterr().err.split())
    assert "The grid of the mask" in said
    assert "nearest neighbours" in said
    assert "--space" not in said
