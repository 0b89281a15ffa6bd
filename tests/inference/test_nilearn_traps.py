"""Where the obvious call of nilearn gives a wrong or fragile answer, this project must not."""

import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.second_level import non_parametric_inference

from bids_group.config import InferenceSpec
from bids_group.inference import correct_group

SHAPE = (6, 5, 4)


def nilearn_t(matrix, weights, maps, n_perm=1):
    frame = pd.DataFrame(matrix, columns=[f"x{i}" for i in range(matrix.shape[1])])
    images = [nib.Nifti1Image(row.reshape(SHAPE), np.eye(4)) for row in maps]
    mask = nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.eye(4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = non_parametric_inference(
            images, design_matrix=frame, second_level_contrast=np.asarray(weights, float), mask=mask,
            model_intercept=False, n_perm=n_perm, two_sided_test=True, tfce=False, threshold=0.01, verbose=0,
        )  # fmt: skip
    return found["t"].get_fdata().reshape(-1)


def test_difference_of_slopes_is_the_parametric_test(make_problem, make_maps):
    random = np.random.default_rng(3)
    group, covariate = np.repeat([0.0, 1.0], 10), random.normal(size=20) + np.repeat([0, 2], 10)
    matrix = np.column_stack([1 - group, group, (1 - group) * covariate, group * covariate])
    maps = make_maps(20, SHAPE, 2)
    maps += (group * covariate)[:, None].astype(np.float32)
    data, results = make_problem(matrix, [("t", [0, 0, 1, -1])], maps=maps, shape=SHAPE)
    (verdict,) = correct_group(data, results, InferenceSpec(corrections=("fwe-voxel",), n_permutations=99))
    parametric = np.abs(results[0].maps["t"]).max()
    assert verdict.null["voxel"][0] == pytest.approx(parametric, rel=1e-5)
    theirs = nilearn_t(matrix, [0, 0, 1, -1], maps)
    assert np.abs(theirs - results[0].maps["t"]).max() > 0.5


def test_a_covariate_beside_an_explicit_intercept_is_permuted(make_problem):
    matrix = np.column_stack([np.ones(5), [0.1, 1.0, 2.0, 4.5, 9.0]])
    maps = np.random.default_rng(1).normal(size=(5, 8))
    data, results = make_problem(matrix, [("t", [0, 1])], maps=maps, shape=(2, 2, 2))
    (verdict,) = correct_group(data, results, InferenceSpec(corrections=("fwe-voxel",), n_permutations=500))
    assert verdict.details.shuffling == "permutations"
    assert (
        np.unique(verdict.null["voxel"]).size == 120
    )  # all orders of five people, not 16 pairs of sign flips


def test_f_contrasts_can_be_permuted(make_problem, make_maps):
    groups = np.eye(3)[np.repeat([0, 1, 2], 6)]
    maps = make_maps(18, SHAPE, 4)
    maps[:, :30] += 5 * groups[:, [2]].astype(np.float32)
    data, results = make_problem(groups, [("F", [[1, -1, 0], [0, 1, -1]])], maps=maps, shape=SHAPE)
    (verdict,) = correct_group(data, results, InferenceSpec(corrections=("fwe-voxel",), n_permutations=499))
    assert verdict.is_significant[:30].mean() > 0.5
    assert not verdict.is_significant[30:].any()
