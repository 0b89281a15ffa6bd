"""The association of nilearn's second-level example on a look-alike: plain nilearn beside the app."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.glm import fdr_threshold, threshold_stats_img
from nilearn.glm.second_level import SecondLevelModel, non_parametric_inference
from nilearn.image import math_img, smooth_img
from scipy import stats

from bids_group.cli import main
from bids_group.demo import write_demo
from bids_group.demo.effects import build_grid, build_sphere

SIZE_MM, N_SHUFFLES, FWHM_MM, ALPHA = 10, 500, 5, 0.05


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """94 people on a coarse grid, analysed; and the inputs of the script."""
    folder = tmp_path_factory.mktemp("association")
    truth = write_demo(folder / "data", kind="association", size_mm=SIZE_MM)
    command = [
        "group",
        *truth.options,
        "--contrast",
        "speed = slope(reading_speed)",
        "--log10-p",
        "--no-report",
    ]
    judged = ["--correction", "fdr", "bonferroni", "fwe-voxel", "--n-permutations", str(N_SHUFFLES)]
    assert main([str(folder / "data"), str(folder / "out"), *command, *judged, "-q"]) == 0
    assert main([str(folder / "data"), str(folder / "one-sided"), *command, "--one-sided", "-q"]) == 0
    people = pd.read_csv(folder / "data/participants.tsv", sep="\t", na_values=["n/a"]).dropna()
    design = pd.DataFrame({"reading_speed": people["reading_speed"].to_numpy(), "intercept": 1.0})
    maps = [
        next((truth.derivative_dir / person).rglob("*stat-effect_statmap.nii.gz"))
        for person in people["participant_id"]
    ]
    return truth, folder / "out", maps, design


@pytest.fixture(scope="module")
def script(study):
    """Fit plain nilearn on maps smoothed inside the brain: its own smoothing lets zeros in from outside."""
    _, out, maps, design = study
    mask = nib.load(next(out.glob("group/*_desc-analysis_mask.nii.gz")))
    brain = math_img("img.astype('float32')", img=mask)
    inside = smooth_img(brain, FWHM_MM)
    smoothed = [
        math_img("a / np.where(b > 0, b, 1) * c", a=smooth_img(str(one), FWHM_MM), b=inside, c=brain)
        for one in maps
    ]
    model = SecondLevelModel(mask_img=mask).fit(smoothed, design_matrix=design)
    return mask, smoothed, model.compute_contrast("reading_speed", output_type="all")


def read(out, ending, mask):
    path = next(out.glob(f"group/*_contrast-facesVsHousesSpeed_{ending}_statmap.nii.gz"))
    return nib.load(path).get_fdata()[mask.get_fdata() > 0]


def test_missing_scores_are_left_out_and_the_slope_is_found_where_it_was_put(study, script):
    truth, out, maps, _ = study
    assert len(maps) == 91
    effect = read(out, "stat-effect", script[0])
    place = next(one for one in truth.places if one.name == "readingSlope")
    inside = build_sphere(build_grid(SIZE_MM), place.centre_mm, place.radius_mm - FWHM_MM)
    inside = inside[script[0].get_fdata() > 0]
    assert effect[inside].mean() == pytest.approx(place.value, rel=0.2)
    assert (read(out, "stat-p_desc-bonferroni", script[0])[inside] < ALPHA).all()


def test_z_and_the_sets_of_fdr_and_bonferroni_are_those_of_nilearn(study, script):
    _, out, _, _ = study
    mask, _, maps = script
    z_map = maps["z_score"]
    z = z_map.get_fdata()[mask.get_fdata() > 0]
    np.testing.assert_allclose(read(out, "stat-z", mask), z, atol=1e-5, rtol=1e-5)
    for name, control in (("fdr", "fdr"), ("bonferroni", "bonferroni")):
        found, _ = threshold_stats_img(z_map, mask_img=mask, alpha=ALPHA, height_control=control)
        theirs = found.get_fdata()[mask.get_fdata() > 0] != 0
        ours = read(out, f"stat-p_desc-{name}", mask) < ALPHA
        np.testing.assert_array_equal(ours, theirs)
        assert 5 < ours.sum() < len(ours) / 4
    p = np.minimum(2 * stats.norm.sf(np.abs(z)) * len(z), 1)
    np.testing.assert_allclose(read(out, "stat-log10p_desc-bonferroni", mask), -np.log10(p), atol=2e-4)


def test_one_sided_p_and_its_false_discovery_rate_are_those_of_nilearn(study, script):
    """Nilearn's p and its threshold of z are one-sided."""
    out = study[1].with_name("one-sided")
    mask, _, maps = script
    z, p = (maps[name].get_fdata()[mask.get_fdata() > 0] for name in ("z_score", "p_value"))
    found = z >= fdr_threshold(z, ALPHA)
    assert 5 < found.sum() < len(found) / 4
    np.testing.assert_array_equal(read(out, "stat-p_desc-fdr", mask) <= np.float32(ALPHA), found)
    bonferroni = read(out, "stat-log10p_desc-bonferroni", mask)
    np.testing.assert_allclose(bonferroni, -np.log10(np.minimum(p * len(p), 1)), atol=2e-4)


def test_p_by_permutation_is_that_of_nilearn_within_monte_carlo_limits(study, script):
    """With one covariate and a constant both permute the same residuals."""
    _, out, _, design = study
    mask, smoothed, _ = script
    theirs = non_parametric_inference(
        smoothed,
        design_matrix=design,
        second_level_contrast="reading_speed",
        mask=mask,
        n_perm=N_SHUFFLES,
        two_sided_test=True,
        random_state=1,
    )
    p = 10 ** -theirs.get_fdata()[mask.get_fdata() > 0]
    ours = read(out, "stat-p_desc-fweVoxel", mask)
    pooled = (p + ours) / 2
    error = np.sqrt(pooled * (1 - pooled) * 2 / N_SHUFFLES) + 1 / N_SHUFFLES
    assert (np.abs(p - ours) / error).max() < 4.5
    assert ((p < ALPHA) != (ours < ALPHA)).mean() < 0.01
    assert (ours < ALPHA).sum() > 5
    log10_p = read(out, "stat-log10p_desc-fweVoxel", mask)
    np.testing.assert_allclose(log10_p, -np.log10(ours), rtol=1e-5, atol=1e-7)
    assert log10_p.max() == pytest.approx(np.log10(N_SHUFFLES + 1), rel=1e-5)
