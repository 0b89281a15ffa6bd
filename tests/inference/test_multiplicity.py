import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from bids_group.inference.corrections.multiplicity import adjust_bonferroni, adjust_fdr

P_VALUES = st.lists(st.floats(1e-30, 1.0), min_size=1, max_size=60).map(np.array)


@given(p=P_VALUES)
def test_fdr_equals_scipy_s(p):
    np.testing.assert_allclose(adjust_fdr(p), false_discovery_control(p, method="bh"), rtol=1e-12)


@given(p=P_VALUES)
def test_adjusted_p_keep_the_order_and_stay_within_one(p):
    for adjust in (adjust_fdr, adjust_bonferroni):
        adjusted = adjust(p)
        assert np.all(np.diff(adjusted[np.argsort(p)]) >= 0)
        assert np.all(adjusted >= p * (1 - 1e-12))
        assert adjusted.max() <= 1


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_passing_adjusted_fdr_is_the_step_up_procedure(alpha):
    p = np.sort(np.random.default_rng(1).beta(0.3, 2, size=500))
    passing = np.flatnonzero(p <= alpha * np.arange(1, 501) / 500)
    n_rejected = passing[-1] + 1 if passing.size else 0
    assert (adjust_fdr(p) <= alpha).sum() == n_rejected


def test_bonferroni_of_known_values():
    np.testing.assert_allclose(adjust_bonferroni(np.array([0.01, 0.2, 0.5])), [0.03, 0.6, 1.0])
