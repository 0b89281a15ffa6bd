import nibabel as nib
import numpy as np
import pytest
from nilearn.glm import cluster_level_inference
from scipy.stats import norm

from bids_group.config import InferenceSpec
from bids_group.inference import correct_group
from bids_group.inference.discoveries import hommel_value, true_discovery_proportion


def hommel_by_definition(p, alpha):
    ranked, n = np.sort(p), p.size
    fits = [i for i in range(1, n + 1) if all(ranked[n - i + j - 1] > j * alpha / i for j in range(1, i + 1))]
    return max(fits, default=0)


@pytest.mark.parametrize("seed", range(12))
def test_hommel_value_equals_its_definition(seed):
    p = np.random.default_rng(seed).beta(0.4, 1.5, size=40)
    assert hommel_value(p, 0.05) == hommel_by_definition(p, 0.05)


def test_hommel_value_at_the_ends():
    assert hommel_value(np.full(30, 0.9), 0.05) == 30
    assert hommel_value(np.full(30, 1e-9), 0.05) == 0


def test_bound_of_all_elements_counts_what_hommel_s_procedure_leaves():
    p = np.r_[np.full(10, 1e-8), np.random.default_rng(0).uniform(0.2, 1, 90)]
    h = hommel_value(p, 0.05)
    assert true_discovery_proportion(p, h, 0.05) == pytest.approx((100 - h) / 100)


def test_bound_never_exceeds_the_share_that_closed_testing_allows():
    # one element: a discovery exactly where Hommel's adjusted p passes
    p = np.r_[1e-6, np.random.default_rng(2).uniform(size=50)]
    h = hommel_value(p, 0.05)
    assert true_discovery_proportion(p[:1], h, 0.05) == float(h * p[0] <= 0.05)


@pytest.mark.parametrize("seed", range(3))
def test_clusters_have_nilearn_s_bound(make_problem, make_maps, seed):
    maps = make_maps(12, (10, 9, 8), seed)
    maps.reshape(12, 10, 9, 8)[:, 2:6, 2:6, 2:6] += 1.2
    data, results = make_problem(np.ones((12, 1)), [("t", [1.0])], maps=maps, shape=(10, 9, 8))
    spec = InferenceSpec(corrections=("ari",), is_two_sided=False, cluster_forming_p=0.01)
    (verdict,) = correct_group(data, results, spec)

    image = nib.Nifti1Image(data.elements.unpack(results[0].maps["z"]), data.elements.grid.affine)
    mask = nib.Nifti1Image(np.ones((10, 9, 8), np.int8), data.elements.grid.affine)
    theirs = cluster_level_inference(image, mask, threshold=float(norm.isf(0.01)), alpha=0.05)
    proportions = theirs.get_fdata().reshape(-1)
    assert verdict.clusters
    for cluster in verdict.clusters:
        assert cluster.true_discovery_proportion == pytest.approx(proportions[cluster.elements[0]], abs=1e-6)


def test_two_sided_bounds_spend_half_of_alpha_on_each_sign(make_problem, make_maps):
    maps = make_maps(12, (10, 9, 8), 3)
    maps.reshape(12, 10, 9, 8)[:, 2:6, 2:6, 2:6] += 1.5
    data, results = make_problem(np.ones((12, 1)), [("t", [1.0])], maps=maps, shape=(10, 9, 8))
    spec = InferenceSpec(corrections=("ari",), cluster_forming_p=0.02)
    (both,) = correct_group(data, results, spec)
    one = InferenceSpec(corrections=("ari",), cluster_forming_p=0.01, alpha=0.025, is_two_sided=False)
    (positive,) = correct_group(data, results, one)
    of_both = [cluster.true_discovery_proportion for cluster in both.clusters if cluster.sign == 1]
    assert of_both == [cluster.true_discovery_proportion for cluster in positive.clusters]
