"""The whole job on first-level maps (real ones where they are), by nilearn by hand and closed forms."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.second_level import SecondLevelModel

from bids_group.cli import main


def read(path):
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


def only(folder, pattern):
    found = sorted(folder.glob(pattern))
    assert len(found) == 1, f"{pattern}: {found}"
    return found[0]


@pytest.fixture(scope="module")
def outputs_of(emoreg, tmp_path_factory):
    """The one-sample and the covariate analysis, by the app."""
    outputs = {}
    for name, formula in (("mean", "~ 1"), ("covariate", "~ reappraisal_success")):
        out = tmp_path_factory.mktemp("emoreg") / name
        mask = str(emoreg.root / "desc-gm_mask.nii.gz")
        arguments = [
            str(emoreg.root),
            str(out),
            "group",
            "--mask",
            mask,
            "--formula",
            formula,
            "--no-report",
            "-q",
        ]
        assert main(arguments) == 0
        outputs[name] = out / "group"
    return outputs


@pytest.fixture(scope="module")
def by_hand(emoreg):
    """`SecondLevelModel` over the elements of the grey-matter mask that are observed in everybody."""
    files = sorted(emoreg.root.glob("derivatives/firstlevel/sub-*/**/*stat-effect_statmap.nii.gz"))
    table = pd.read_csv(emoreg.root / "participants.tsv", sep="\t")
    assert [file.name[:6] for file in files] == list(table["participant_id"])
    mask_image = nib.load(emoreg.root / "desc-gm_mask.nii.gz")
    observed = (mask_image.get_fdata() > 0) & np.all(
        [np.isfinite(read(f)) & (read(f) != 0) for f in files], axis=0
    )
    mask = nib.Nifti1Image(observed.astype(np.uint8), mask_image.affine)
    covariate = table["reappraisal_success"] - table["reappraisal_success"].mean()
    design = pd.DataFrame({"Intercept": 1.0, "reappraisal_success": covariate})
    model = SecondLevelModel(mask_img=mask, minimize_memory=False)

    def compute(contrast, columns):
        fitted = model.fit([str(f) for f in files], design_matrix=design[columns])
        return fitted.compute_contrast(contrast, output_type="all")

    return observed, {
        "mean": compute("Intercept", ["Intercept"]),
        "covariate": compute("reappraisal_success", ["Intercept", "reappraisal_success"]),
    }


@pytest.mark.parametrize(
    ("name", "label"), [("mean", "reappraiseVsLook"), ("covariate", "reappraiseVsLookReappraisalSuccess")]
)
def test_effect_variance_t_and_z_are_those_of_nilearn_by_hand(outputs_of, by_hand, name, label):
    observed, images = by_hand
    expected = images[name]
    ours = {
        stat: read(only(outputs_of[name], f"*_contrast-{label}_stat-{stat}_statmap.nii.gz"))
        for stat in ("effect", "variance", "t", "z", "p")
    }
    assert np.array_equal(read(only(outputs_of[name], "*_desc-analysis_mask.nii.gz")) > 0, observed)
    pairs = {"effect": "effect_size", "variance": "effect_variance", "t": "stat", "z": "z_score"}
    for stat, key in pairs.items():
        np.testing.assert_allclose(
            ours[stat][observed], expected[key].get_fdata()[observed], rtol=1e-5, atol=1e-5
        )
    one_sided = expected["p_value"].get_fdata()[observed]
    np.testing.assert_allclose(
        ours["p"][observed], 2 * np.minimum(one_sided, 1 - one_sided), rtol=1e-4, atol=1e-7
    )
    assert (ours["t"][~observed] == 0).all()
    assert (ours["p"][~observed] == 1).all()


def test_the_peak_of_the_mean_is_where_the_data_have_it(emoreg, outputs_of):
    table = only(outputs_of["mean"], "*_contrast-reappraiseVsLook_desc-bonferroni_clusters.tsv")
    peak = pd.read_csv(table, sep="\t").sort_values("t").iloc[-1]
    np.testing.assert_allclose(peak[["x", "y", "z"]].astype(float), emoreg.peak_mm, atol=0.1)
    assert peak["t"] == pytest.approx(emoreg.peak_t, abs=0.005)


def test_pooled_runs_equal_the_closed_form(haxby_runs, tmp_path):
    out = tmp_path / "out"
    assert main([str(haxby_runs.root), str(out), "participant", "--res", "25mm", "-q"]) == 0
    contrasts = sorted(
        {
            f.name.split("contrast-")[1].split("_")[0]
            for f in haxby_runs.root.rglob("*res-25mm*effect*.nii.gz")
        }
    )
    assert contrasts
    for contrast in contrasts:
        efforts = sorted(haxby_runs.root.rglob(f"*res-25mm_contrast-{contrast}_stat-effect_statmap.nii.gz"))
        effect = np.stack([read(f) for f in efforts])
        variance = np.stack([read(Path(str(f).replace("stat-effect", "stat-variance"))) for f in efforts])
        seen = np.isfinite(effect) & (effect != 0) & np.isfinite(variance) & (variance > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(seen, 1 / variance, 0)
            expected_variance = 1 / precision.sum(axis=0)
            expected = (np.where(seen, effect, 0) * precision).sum(axis=0) * expected_variance
        any_seen = seen.any(axis=0)
        for stat, numbers in (("effect", expected), ("variance", expected_variance)):
            ours = read(only(out, f"sub-01/**/*_contrast-{contrast}_stat-{stat}_statmap.nii.gz"))
            np.testing.assert_allclose(ours[any_seen], numbers[any_seen], rtol=1e-6)
            assert (ours[~any_seen] == 0).all()


def test_two_resolutions_are_refused_with_the_choices(haxby_runs, tmp_path, capsys):
    assert main([str(haxby_runs.root), str(tmp_path / "out"), "participant"]) == 64
    said = capsys.readouterr().err
    assert "25mm" in said
    assert "slice" in said
    assert not (tmp_path / "out").exists()
