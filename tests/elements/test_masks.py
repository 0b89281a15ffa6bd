"""Masks: two values pass, everything else is refused or needs a threshold."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.elements import read_mask
from bids_group.errors import DataError

SHAPE = (4, 5, 3)
INSIDE = np.zeros(SHAPE, dtype=bool)
INSIDE[1:3, 1:4, 1] = True
NOISE = np.abs(np.random.default_rng(0).normal(size=SHAPE)) * 1e-15


@pytest.fixture(scope="module")
def save(tmp_path_factory):
    def write(values, dtype=np.float64, name="m.nii.gz"):
        path = tmp_path_factory.mktemp("mask") / name
        nib.save(nib.Nifti1Image(np.asarray(values).astype(dtype), np.eye(4)), path)
        return path

    return write


@pytest.mark.parametrize("value", [1, 255, 2, 0.9, 1e-3, 1 - 1e-15, 3e4])
@pytest.mark.parametrize("outside", [0, -0.0, np.nan])
def test_0_or_nan_and_one_value_are_a_mask(save, value, outside):
    np.testing.assert_array_equal(read_mask(save(np.where(INSIDE, value, outside))).inside, INSIDE)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.float32])
def test_every_type_of_number_is_read(save, dtype):
    np.testing.assert_array_equal(read_mask(save(INSIDE, dtype)).inside, INSIDE)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
@pytest.mark.parametrize("value", [1.0, 0.7, 1 / 3])
def test_scaled_integers_miss_0_by_rounding_alone(tmp_path, dtype, value):
    image = nib.Nifti1Image(np.where(INSIDE, value, 0.0), np.eye(4))
    image.set_data_dtype(dtype)
    nib.save(image, tmp_path / "m.nii")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii").inside, INSIDE)


@pytest.mark.parametrize("value", [1, 7])
def test_one_value_alone_is_inside_everywhere(save, value):
    assert read_mask(save(np.full(SHAPE, value))).inside.all()


def test_nan_beside_0_is_outside_too(save):
    values = np.where(INSIDE, 1.0, 0.0)
    values[0], values[3] = np.nan, 0
    np.testing.assert_array_equal(read_mask(save(values)).inside, INSIDE)


NOT_OF_TWO = {
    "interpolated": np.where(INSIDE, 1 - NOISE, NOISE),
    "noise inside": np.where(INSIDE, 1 - 1e-6 * (NOISE > 5e-16), 0),
    "noise outside": np.where(INSIDE, 1.0, NOISE),
    "probability": np.where(INSIDE, 0.9, 0.02),
    "minus one": np.where(INSIDE, 1, -1),
    "labels": np.where(INSIDE, 2, 1),
    "three labels": np.where(INSIDE, 2, 0) + (np.arange(60).reshape(SHAPE) == 0),
    "infinite": np.where(INSIDE, np.inf, 0),
    "a hole of inf": np.where(INSIDE, 1, 0) + np.where(np.arange(60).reshape(SHAPE) == 0, np.inf, 0),
    "zero and minus one": np.where(INSIDE, 0, -1),
}


@pytest.mark.parametrize("name", NOT_OF_TWO)
def test_other_values_are_refused_with_range_counts_and_fix(save, name):
    path = save(NOT_OF_TWO[name], name="odd_mask.nii.gz")
    with pytest.raises(DataError, match=r"odd_mask\.nii\.gz is not of two values") as caught:
        read_mask(path)
    assert f"{int((NOT_OF_TWO[name] > 0).sum())} above 0" in caught.value.found
    assert f"{int((NOT_OF_TWO[name] > 0.5).sum())} above 0.5" in caught.value.found
    assert "--mask-threshold" in caught.value.fix
    assert ("such as" in caught.value.fix) == bool((NOT_OF_TWO[name] > 0).any())


@pytest.mark.parametrize("name", ["interpolated", "probability", "minus one", "noise outside"])
def test_a_threshold_reads_them_and_says_so(save, name):
    mask = read_mask(save(NOT_OF_TWO[name]), 0.5)
    np.testing.assert_array_equal(mask.inside, INSIDE)
    assert f"the {INSIDE.sum()} above 0.5 are inside" in mask.words


def test_a_value_equal_to_the_threshold_is_outside(save):
    values = np.array([0.25, 0.5, 0.75, np.nan]).reshape(1, 2, 2)
    assert read_mask(save(values), 0.5).inside.ravel().tolist() == [False, False, True, False]


@pytest.mark.parametrize("threshold", [None, 0.0, 0.5])
def test_an_image_without_anything_inside_is_empty(save, threshold):
    for values in (np.zeros(SHAPE), np.full(SHAPE, np.nan)):
        with pytest.raises(DataError, match=r"empty_mask\.nii\.gz is empty"):
            read_mask(save(values, name="empty_mask.nii.gz"), threshold)


def test_a_threshold_that_nothing_exceeds_is_told(save):
    with pytest.raises(DataError, match="is empty") as caught:
        read_mask(save(np.where(INSIDE, 0.3, 0)), 0.5)
    assert "no value above 0.5" in caught.value.found
    assert "lower --mask-threshold" in caught.value.fix
    assert read_mask(save(np.where(INSIDE, 0.3, 0)), 0.5, is_own=True).inside.sum() == INSIDE.sum()


def test_several_volumes_are_refused(save):
    with pytest.raises(DataError, match="several volumes"):
        read_mask(save(np.ones((*SHAPE, 2))))


@given(
    values=st.lists(st.sampled_from([0.0, 1.0, 1.0, -1.0, 0.5, 2.0, np.nan, 1e-15]), min_size=8, max_size=8),
    threshold=st.none() | st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=80, deadline=None)
def test_what_is_inside_is_never_a_guess(save, values, threshold):
    volume = np.reshape(values, (2, 2, 2))
    plain = np.nan_to_num(volume)
    above = plain > (threshold or 0)
    low, high = plain.min(), plain.max()
    is_mask = set(plain.ravel()) <= {low, high} and high > 0 and (low in (0, high) or low == 1e-15 < high)
    path = save(volume)
    if threshold is None and is_mask:
        np.testing.assert_array_equal(read_mask(path).inside, plain == high)
    elif threshold is not None and above.any():
        np.testing.assert_array_equal(read_mask(path, threshold).inside, above)
    else:
        with pytest.raises(DataError):
            read_mask(path, threshold)
