from dataclasses import replace

import numpy as np
import pytest

from bids_group.config import InferenceSpec
from bids_group.inference import correct_group


@pytest.fixture
def adjusted(make_problem):
    def judge(p, name):
        data, (result,) = make_problem(np.ones((5, 1)), [("t", [1])], shape=(p.size, 1, 1))
        result = replace(result, maps={**result.maps, "p": p.astype(np.float32)})
        return correct_group(data, [result], InferenceSpec(corrections=(name,)))[0].p_corrected

    return judge


@pytest.mark.parametrize("seed", range(5))
def test_fdr_is_the_smallest_rate_at_which_a_test_passes(adjusted, seed):
    p = np.random.default_rng(seed).beta(0.3, 2, size=60).astype(np.float32)
    ranked = np.sort(p.astype(float)) * 60 / np.arange(1, 61)
    expected = [min(1.0, *ranked[np.searchsorted(np.sort(p), one) :]) for one in p]
    np.testing.assert_allclose(adjusted(p, "fdr"), expected, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_passing_adjusted_fdr_is_the_step_up_procedure(adjusted, alpha):
    p = np.sort(np.random.default_rng(1).beta(0.3, 2, size=500))
    passing = np.flatnonzero(p <= alpha * np.arange(1, 501) / 500)
    assert (adjusted(p, "fdr") <= alpha).sum() == passing[-1] + 1


def test_bonferroni_of_known_values(adjusted):
    np.testing.assert_allclose(adjusted(np.array([0.01, 0.2, 0.5]), "bonferroni"), [0.03, 0.6, 1.0])
