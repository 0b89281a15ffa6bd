"""Where a map was observed."""

import numpy as np
import pytest

from bids_group.elements import observed

NAN, INF = np.nan, np.inf


def says(effect, variance=None, own_mask=None):
    effect = np.array(effect, dtype=np.float32)
    variance = None if variance is None else np.array(variance, dtype=np.float32)
    own_mask = None if own_mask is None else np.array(own_mask, dtype=bool)
    return observed(effect, variance, own_mask).tolist()


def test_nan_infinity_and_exact_zeros_of_an_effect_are_missing():
    assert says([1.0, NAN, INF, -INF, 0.0, -0.0, 1e-30]) == [True, False, False, False, False, False, True]


@pytest.mark.parametrize("bad", [0.0, -1.0, NAN, INF])
def test_variances_that_are_not_positive_and_finite_are_missing(bad):
    assert says([1.0, 1.0], [bad, 2.0]) == [False, True]


def test_a_zero_inside_the_maps_own_mask_is_data():
    assert says([0.0, 0.0], own_mask=[True, False]) == [True, False]


def test_the_own_mask_does_not_save_nan_or_bad_variances():
    assert says([NAN, 1.0, 1.0], [1.0, 0.0, 1.0], own_mask=[True] * 3) == [False, False, True]


def test_values_outside_the_own_mask_are_missing():
    assert says([5.0, 5.0], own_mask=[False, True]) == [False, True]


def test_the_maps_are_left_as_they_were():
    effect, mask = np.array([1.0, 0.0], dtype=np.float32), np.array([True, True])
    observed(effect, None, mask)
    assert mask.all()
