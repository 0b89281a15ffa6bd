"""An association with a score in 94 people, some without one: the app beside a script of plain nilearn.

One-sided, as nilearn's thresholds of z are; away from the border of the volume, where both smooth alike.
"""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.glm import fdr_threshold
from nilearn.glm.second_level import SecondLevelModel, non_parametric_inference
from nilearn.image import smooth_img
from scipy import ndimage

from bids_group.cli import main

SHAPE, MARGIN, N_SHUFFLES = (18, 18, 16), 4, 999
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
MISSING = (7, 31, 60)


def read(path):
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Maps whose signal grows with the score in one place; three scores are n/a."""
    root, random = tmp_path_factory.mktemp("association") / "data", np.random.default_rng(94)
    folder = root / "derivatives" / "firstlevel"
    folder.mkdir(parents=True)
    described = {"Name": "reading", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(described))
    made = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "lookalike"}]}
    (folder / "dataset_description.json").write_text(json.dumps(described | made))
    score, labels = random.normal(50, 10, 94).round(1), [f"sub-{k:02d}" for k in range(1, 95)]
    told = [("n/a" if k in MISSING else str(value)) for k, value in enumerate(score)]
    people = pd.DataFrame({"participant_id": labels, "speed": told})
    people.to_csv(root / "participants.tsv", sep="\t", index=False)
    bump = np.exp(-((np.indices(SHAPE).T - (8, 9, 7)) ** 2).sum(-1).T / 6)
    paths = []
    for label, value in zip(labels, score, strict=True):
        noise = ndimage.gaussian_filter(random.normal(size=SHAPE), 0.7) * 3
        data = (noise + 0.08 * (value - 50) * bump + 1).astype(np.float32)
        paths.append(
            folder / label / "func" / f"{label}_task-read_space-S_contrast-words_stat-effect_statmap.nii.gz"
        )
        paths[-1].parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(data, AFFINE), paths[-1])
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[(slice(MARGIN, -MARGIN),) * 3] = 1
    nib.save(nib.Nifti1Image(mask, AFFINE), root / "mask.nii.gz")
    kept = [k for k in range(94) if k not in MISSING]
    return root, [paths[k] for k in kept], score[kept], mask.astype(bool)


@pytest.fixture(scope="module")
def ours(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("ours") / "out"
    command = ["group", "--formula", "~ speed", "--contrast", "slope = slope(speed)", "--missing", "drop"]
    shuffled = ["--correction", "fdr", "bonferroni", "fwe-voxel", "--n-permutations", str(N_SHUFFLES)]
    options = ["--mask", str(study[0] / "mask.nii.gz"), "--smoothing-fwhm", "5", "--one-sided", "--log10-p"]
    assert main([str(study[0]), str(out), *command, *shuffled, *options, "--no-report", "-q"]) == 0
    return lambda ending: read(next((out / "group").glob(f"*_contrast-wordsSlope_{ending}_statmap.nii.gz")))


@pytest.fixture(scope="module")
def script(study):
    """The script: images, design, model and z."""
    root, paths, score, _ = study
    images = [smooth_img(str(path), 5.0) for path in paths]
    design = pd.DataFrame({"speed": score - score.mean(), "intercept": 1.0})
    mask = nib.load(root / "mask.nii.gz")
    model = SecondLevelModel(mask_img=mask, smoothing_fwhm=None).fit(images, design_matrix=design)
    return images, design, mask, model.compute_contrast("speed", output_type="all")


def test_z_is_that_of_the_script(ours, script, study):
    inside = study[3]
    expected = script[3]["z_score"].get_fdata()[inside]
    np.testing.assert_allclose(ours("stat-z")[inside], expected, atol=1e-5)
    assert expected.max() > 5


def test_the_false_discovery_rate_finds_the_same_voxels(ours, script, study):
    inside = study[3]
    z = script[3]["z_score"].get_fdata()[inside]
    found = z >= fdr_threshold(z, 0.05)
    assert 10 < found.sum() < found.size / 2
    np.testing.assert_array_equal(ours("stat-p_desc-fdr")[inside] <= np.float32(0.05), found)


def test_log10_p_of_bonferroni_is_that_of_the_script(ours, script, study):
    inside = study[3]
    p = np.minimum(script[3]["p_value"].get_fdata()[inside] * inside.sum(), 1)
    np.testing.assert_allclose(ours("stat-log10p_desc-bonferroni")[inside], -np.log10(p), atol=1e-4)
    found = ours("stat-log10p_desc-bonferroni")[inside] >= -np.log10(0.05)
    np.testing.assert_array_equal(found, p <= 0.05)
    assert found.sum() > 5


def test_log10_p_of_permutations_is_that_of_the_script_within_chance(ours, script, study):
    images, design, mask, _ = script
    inside = study[3]
    theirs = non_parametric_inference(
        images,
        design_matrix=design[["speed"]],  # beside a column of ones its scheme is another
        second_level_contrast="speed",
        model_intercept=True,
        mask=mask,
        n_perm=N_SHUFFLES,
        two_sided_test=False,
        random_state=0,
        verbose=0,
    ).get_fdata()[inside]
    mine = ours("stat-log10p_desc-fweVoxel")[inside]
    one, other = 10.0**-mine, 10.0**-theirs
    spread = np.sqrt(2 * np.maximum(one * (1 - one), 1 / N_SHUFFLES) / N_SHUFFLES)
    assert (np.abs(one - other) / spread).max() < 4.5
    assert mine.max() == pytest.approx(np.log10(N_SHUFFLES + 1))
    assert theirs.max() == pytest.approx(np.log10(N_SHUFFLES + 1), abs=1e-3)
