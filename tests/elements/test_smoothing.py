"""Smoothing over observed elements, against nilearn and against a direct sum."""

import nibabel as nib
import numpy as np
import pytest
from nilearn.image import smooth_img
from scipy.ndimage import gaussian_filter

from bids_group.elements import Grid, Smoother

OBLIQUE = np.array([[2.0, 0.3, 0, -20], [-0.3, 2.5, 0.2, -30], [0, -0.2, 3.5, 10], [0, 0, 0, 1]])


def make(shape=(17, 15, 12), affine=OBLIQUE, seed=0):
    volume = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return volume, Grid(shape=shape, affine=affine)


def test_a_fully_observed_map_equals_nilearns_everywhere():
    volume, grid = make()
    reference = smooth_img(nib.Nifti1Image(volume, grid.affine), 6.0).get_fdata()
    np.testing.assert_allclose(Smoother(grid, 6.0).smooth(volume), reference, atol=2e-6)


def test_inside_the_observed_region_beyond_the_kernels_reach_nothing_changes():
    volume, grid = make((41, 12, 12), np.diag([2.0, 2, 2, 1]))
    missing = volume.copy()
    missing[30:] = np.nan
    reach = int(4 * 5 / 2.3548 / 2 + 0.5)
    whole, part = Smoother(grid, 5.0).smooth(volume), Smoother(grid, 5.0).smooth(missing)
    np.testing.assert_allclose(part[: 30 - reach], whole[: 30 - reach], atol=1e-6)
    assert np.abs(part[29] - whole[29]).max() > 1e-3


def test_no_zeros_bleed_in_from_outside():
    grid = Grid(shape=(10, 10, 10), affine=np.diag([3.0, 3, 3, 1]))
    volume = np.full(grid.shape, 7.0, dtype=np.float32)
    volume[:, :, 5:] = np.nan
    volume[2, 2, 2] = np.nan
    smoothed = Smoother(grid, 8.0).smooth(volume)
    np.testing.assert_array_equal(np.isnan(smoothed), np.isnan(volume))
    np.testing.assert_allclose(smoothed[np.isfinite(volume)], 7.0, rtol=1e-6)


@pytest.mark.parametrize("place", [(7, 7, 7), (3, 7, 7), (3, 3, 11)])
def test_each_value_is_the_gaussian_mean_of_the_observed_values_around_it(place):
    volume, grid = make((15, 15, 15), np.diag([2.0, 3.0, 4.0, 1]))
    is_observed = np.random.default_rng(1).random(volume.shape) < 0.7
    is_observed[:3], is_observed[12:], is_observed[:, :3], is_observed[:, :, 12:] = False, False, False, False
    is_observed[place] = True
    volume[~is_observed] = np.nan
    fwhm = 4.0
    sd = fwhm / 2.354820045 / np.array(grid.element_sizes_mm)
    places = np.argwhere(is_observed)
    steps = places - place
    is_near = (np.abs(steps) <= (4 * sd + 0.5).astype(int)).all(axis=1)
    weights = np.exp(-0.5 * ((steps / sd) ** 2).sum(axis=1)) * is_near
    expected = (weights * volume[tuple(places.T)]).sum() / weights.sum()
    assert Smoother(grid, fwhm).smooth(volume)[place] == pytest.approx(expected, rel=1e-4)


def test_a_smoother_that_saw_other_masks_gives_the_same_as_a_fresh_one():
    first, grid = make(seed=1)
    second = make(seed=2)[0]
    second[:4] = np.nan
    smoother = Smoother(grid, 5.0)
    for volume in (first, second, second, first):
        np.testing.assert_array_equal(smoother.smooth(volume), Smoother(grid, 5.0).smooth(volume))


@pytest.mark.parametrize("seed", range(60))
def test_each_value_is_the_float64_one_rounded_once(seed):
    """Any grid, kernel (also wider than the grid) and coverage: holes, single elements, up to the border."""
    rng = np.random.default_rng(seed)
    shape, sizes = tuple(rng.integers(1, 16, 3)), rng.uniform(0.5, 4, 3)
    grid = Grid(shape=shape, affine=np.diag([*sizes, 1]))
    smoother, fwhm = None, rng.uniform(0.2, 12)
    for _ in range(3):
        is_observed = rng.random(shape) < rng.choice([0.05, 0.5, 0.95, 1])
        is_observed[tuple(rng.integers(0, shape))] = True
        is_observed[: rng.integers(0, shape[0])] = False
        volume = np.where(is_observed, rng.normal(size=shape) * 10.0 ** rng.integers(-20, 20), np.nan)
        volume = volume.astype(np.float32)
        smoother = smoother or Smoother(grid, fwhm)
        sd = fwhm / np.sqrt(8 * np.log(2)) / sizes
        values = np.where(is_observed, volume, 0).astype(np.float64)
        sums = gaussian_filter(values, sd, mode="reflect", truncate=4)
        weights = gaussian_filter(is_observed.astype(np.float64), sd, mode="reflect", truncate=4)
        given = np.asfortranarray(volume) if seed % 2 else volume
        smoothed = smoother.smooth(given)
        np.testing.assert_array_equal(given, volume)
        np.testing.assert_array_equal(smoother.smooth(given.copy(order="K"), in_place=True), smoothed)
        np.testing.assert_array_equal(np.isnan(smoothed), ~is_observed)
        expected = (sums[is_observed] / weights[is_observed]).astype(np.float32)
        np.testing.assert_array_max_ulp(smoothed[is_observed], expected, maxulp=1)


def test_where_it_may_be_written_into_the_volume_is_the_result():
    volume, grid = make(seed=1)
    own = np.asfortranarray(volume)
    smoothed = Smoother(grid, 5.0).smooth(own, in_place=True)
    assert smoothed is own
    np.testing.assert_array_equal(smoothed, Smoother(grid, 5.0).smooth(volume))
    assert np.nanmax(np.abs(smoothed - volume)) > 0


def test_infinities_are_not_observed_wherever_they_are():
    volume, grid = make(seed=1)
    volume[0], volume[1, 0], volume[2, 2, 2] = np.inf, -np.inf, np.inf
    missing = np.where(np.isfinite(volume), volume, np.float32(np.nan))
    np.testing.assert_array_equal(Smoother(grid, 5.0).smooth(volume), Smoother(grid, 5.0).smooth(missing))
