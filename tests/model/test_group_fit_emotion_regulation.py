"""Thirty people, one contrast, grey matter (emotion regulation, Wager et al. 2008, or a look-alike)."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.second_level import SecondLevelModel

from bids_group.model import build_stack, fit_group, pool
from bids_group.records import FirstLevelMap, Observation
from tests.groups import make_contrast, make_design, make_group


@pytest.fixture(scope="module")
def stacked(emoreg):
    paths = sorted((emoreg.root / "derivatives").glob("**/*stat-effect_statmap.nii.gz"))
    labels = tuple(path.name.split("_")[0] for path in paths)
    observations = (
        Observation(subject=label[4:], contrast="c", sources=(first_level(emoreg, path, label),))
        for path, label in zip(paths, labels, strict=True)
    )
    stacked = build_stack(
        observations, take=pool, labels=labels, mask=emoreg.root / "desc-gm_mask.nii.gz",
        min_coverage=1.0, fwhm_mm=0, work_dir=None,
    )  # fmt: skip
    return paths, stacked


def first_level(emoreg, path, label):
    return FirstLevelMap(subject=label[4:], contrast="c", dataset=emoreg.root, effect=path)


@pytest.fixture(scope="module")
def covariate(emoreg, stacked):
    table = pd.read_csv(emoreg.root / "participants.tsv", sep="\t", index_col=0)
    values = table.loc[list(stacked[1].stack.labels), "reappraisal_success"].to_numpy()
    return values - values.mean()


def make_data(stacked, matrix, contrasts):
    frame = pd.DataFrame(matrix, index=stacked[1].stack.labels, columns=list("ab")[: matrix.shape[1]])
    return make_group(make_design(frame, contrasts), stacked[1].stack.data, elements=stacked[1].elements)


def test_four_elements_of_the_mask_are_not_observed_in_everybody(emoreg, stacked):
    mask = nib.load(emoreg.root / "desc-gm_mask.nii.gz").get_fdata() > 0
    finite = np.all([np.isfinite(nib.load(path).get_fdata()) for path in stacked[0]], axis=0)
    assert (mask & ~finite).sum() == 4
    np.testing.assert_array_equal(stacked[1].elements.mask, mask & finite)


@pytest.mark.parametrize("has_covariate", [False, True])
def test_maps_equal_second_level_model_by_hand(stacked, covariate, has_covariate):
    paths, (_, elements, *_) = stacked
    matrix = np.column_stack([np.ones(30), covariate])[:, : 2 if has_covariate else 1]
    contrasts = tuple(make_contrast(row) for row in np.eye(matrix.shape[1]))
    mask = nib.Nifti1Image(elements.mask.astype(np.int8), elements.grid.affine)
    frame = pd.DataFrame(matrix, columns=list("ab")[: matrix.shape[1]])
    model = SecondLevelModel(mask_img=mask).fit([str(path) for path in paths], design_matrix=frame)
    results = fit_group(make_data(stacked, matrix, contrasts)).results
    for contrast, result in zip(contrasts, results, strict=True):
        nilearn = {
            name: image.get_fdata()[elements.mask]
            for name, image in model.compute_contrast(contrast.weights[0], output_type="all").items()
        }
        assert np.abs(result.maps["t"] - nilearn["stat"]).max() < 1e-5
        assert np.abs(result.maps["z"] - nilearn["z_score"]).max() < 1e-5
        np.testing.assert_allclose(result.maps["effect"], nilearn["effect_size"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result.maps["variance"], nilearn["effect_variance"], rtol=1e-5)
        one_sided = nilearn["p_value"]
        np.testing.assert_allclose(result.maps["p"], 2 * np.minimum(one_sided, 1 - one_sided), rtol=1e-5)


def test_the_peak_of_the_mean_is_where_it_is_known_to_be(emoreg, stacked):
    (result,) = fit_group(make_data(stacked, np.ones((30, 1)), (make_contrast([1]),))).results
    peak = np.argmax(result.maps["t"])
    place = stacked[1].elements.coordinates_mm(np.array([peak]))[0]
    np.testing.assert_allclose(place, emoreg.peak_mm, atol=0.05)
    assert result.maps["t"][peak] == pytest.approx(emoreg.peak_t, abs=0.005)
