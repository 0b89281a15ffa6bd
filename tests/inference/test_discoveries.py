"""Hommel's h and the bounds on true discoveries: by their definition and by nilearn."""

import operator
from fractions import Fraction
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from nilearn.glm import cluster_level_inference, thresholding
from scipy.stats import norm

from bids_group.config import InferenceSpec
from bids_group.inference import correct_group
from bids_group.inference.corrections.parametric import hommel_value, true_discovery_proportion


def hommel_by_definition(p, alpha, holds=operator.gt):
    """Try every number; exact where p and alpha are fractions."""
    ranked, n = sorted(p), len(p)
    fits = [
        i
        for i in range(1, n + 1)
        if all(holds(i * ranked[n - i + j - 1], j * alpha) for j in range(1, i + 1))
    ]
    return max(fits, default=0)


@pytest.fixture
def of_nilearn(monkeypatch):
    """nilearn's two functions, fed with −p in place of z: no p is rounded by way of a z."""
    monkeypatch.setattr(thresholding, "norm", SimpleNamespace(sf=np.negative))
    return thresholding


@pytest.mark.parametrize("seed", range(12))
def test_hommel_value_equals_its_definition(seed):
    p = np.random.default_rng(seed).beta(0.4, 1.5, size=40)
    assert hommel_value(p, 0.05) == hommel_by_definition(p, 0.05)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning:nilearn")
@pytest.mark.parametrize("alpha", [Fraction(1, 20), Fraction(1, 40), Fraction(1, 16)])
def test_hommel_value_at_ties_is_nilearn_s_and_never_below_its_definition(of_nilearn, alpha):
    """Where p is exactly j·alpha/i: nilearn counts i, which the definition does not, so its bound is lower.

    Where rounding takes nilearn's value below the definition, ours stays with the definition.
    """
    random = np.random.default_rng(0)
    n_ties, n_rounded, others = 0, 0, [Fraction(0), Fraction(1, 4), Fraction(1)]
    for _ in range(400):
        p = [
            random.integers(0, i + 1) * alpha / i if random.random() < 0.6 else others[random.integers(3)]
            for i in random.integers(1, 30, size=random.integers(1, 30)).tolist()
        ]
        as_floats = np.array(p, dtype=float)
        ours, theirs = (
            hommel_value(as_floats, float(alpha)),
            of_nilearn._compute_hommel_value(-as_floats, float(alpha)),
        )
        lowest, highest = hommel_by_definition(p, alpha), hommel_by_definition(p, alpha, operator.ge)
        assert max(lowest, theirs) <= ours <= highest
        assert ours == theirs or theirs < highest
        n_ties += theirs == highest > lowest
        n_rounded += theirs < lowest
    assert n_ties > 20
    assert n_rounded > 0 or alpha == Fraction(1, 16)


def test_strong_effects_beside_11_null_elements_leave_all_11(of_nilearn):
    p = np.r_[np.full(200, 1e-21), np.full(11, 0.5)]
    assert of_nilearn._compute_hommel_value(-p, 0.05) == 10  # 0.05 / (0.05 / 11) < 11 in floating point
    assert hommel_value(p, 0.05) == hommel_by_definition(p, 0.05) == 11


@pytest.mark.parametrize("n_null", [0, 7])
def test_no_more_discoveries_than_elements_where_p_is_0(of_nilearn, n_null):
    p = np.r_[np.zeros(5), np.full(n_null, 0.5)]
    h = hommel_value(p, 0.05)
    assert h == n_null
    assert of_nilearn._true_positive_fraction(-p[:5], h, 0.05) == 6 / 5
    assert true_discovery_proportion(p[:5], h, 0.05) == 1


@pytest.mark.parametrize("seed", range(12))
def test_bounds_of_any_set_are_nilearn_s(of_nilearn, seed):
    random = np.random.default_rng(seed)
    p = random.beta(0.3, 1.5, size=60)
    h = hommel_value(p, 0.05)
    for size in (1, 5, 20, 60):
        chosen = p[:size]
        assert true_discovery_proportion(chosen, h, 0.05) == pytest.approx(
            of_nilearn._true_positive_fraction(-chosen, h, 0.05), abs=1e-12
        )


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
