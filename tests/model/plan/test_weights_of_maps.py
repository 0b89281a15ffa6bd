"""Weights below the group where covariates are large and far from zero."""

import numpy as np

from bids_group.model.planning.lower_nodes import solve


def test_a_slope_over_a_time_stamp_has_the_weights_of_the_centred_slope():
    time = 1.7e9 + np.array([0.0, 600, 1200, 1800])
    X = np.column_stack([np.ones(4), time])
    centred = time - time.mean()
    np.testing.assert_allclose(solve(X, np.array([0.0, 1.0])), centred / (centred @ centred), rtol=1e-5)
