"""Pooling below the group: closed forms, and what is not observed."""

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.elements import read_map
from bids_group.errors import DataError, GridError, MissingInputError
from bids_group.model import pool, tell_dominance
from bids_group.records import FirstLevelMap, GroupAnalysis, Observation

AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])
SHAPE = (4, 5, 6)


@pytest.fixture
def write(tmp_path):
    """Write a first-level map from arrays."""

    def save(name, values, affine=AFFINE):
        path = tmp_path / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(np.asarray(values, dtype=np.float32), affine), path)
        return path

    def make(run, effect, variance=None, mask=None, dof=None, affine=AFFINE, **settings):
        return FirstLevelMap(
            subject="01", contrast="c", run=run, dataset=tmp_path,
            effect=save(f"run-{run}_effect", effect, affine),
            variance=None if variance is None else save(f"run-{run}_variance", variance),
            mask=None if mask is None else save(f"run-{run}_mask", mask),
            dof=save(f"run-{run}_dof", dof) if isinstance(dof, np.ndarray) else dof,
            **settings,
        )  # fmt: skip

    return make


def observe(*sources, combine="precision", weights=()):
    return Observation(subject="01", contrast="c", sources=sources, combine=combine, weights=weights)


def random(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(3, 1, SHAPE).astype(np.float32), rng.uniform(0.5, 4, SHAPE).astype(np.float32)


def test_precision_weights_give_the_closed_form(write):
    runs = [random(seed) for seed in range(3)]
    pooled = pool(observe(*(write(str(i), e, v, dof=100.0) for i, (e, v) in enumerate(runs))))
    e, v = (np.array([run[k] for run in runs], dtype=float) for k in (0, 1))
    np.testing.assert_allclose(pooled.effect, (e / v).sum(0) / (1 / v).sum(0), rtol=1e-6)
    np.testing.assert_allclose(pooled.variance, 1 / (1 / v).sum(0), rtol=1e-6)
    assert pooled.dof.shape == ()
    assert pooled.dof == 300
    assert (pooled.n_maps == 3).all()


def test_the_mean_of_s_maps_has_the_mean_variance_over_s(write):
    runs = [random(seed) for seed in range(3)]
    pooled = pool(observe(*(write(str(i), e, v) for i, (e, v) in enumerate(runs)), combine="mean"))
    np.testing.assert_allclose(pooled.effect, np.mean([e for e, _ in runs], axis=0), rtol=1e-6)
    np.testing.assert_allclose(pooled.variance, np.sum([v for _, v in runs], axis=0) / 9, rtol=1e-6)
    assert pooled.dof is None


def test_the_mean_has_no_variance_where_one_map_has_none(write):
    (e1, v1), (e2, _) = random(1), random(2)
    pooled = pool(observe(write("1", e1, v1), write("2", e2), combine="mean"))
    assert pooled.variance is None
    np.testing.assert_allclose(pooled.effect, (e1 + e2) / 2, rtol=1e-6)


def test_a_weighted_sum_needs_every_map_with_a_weight(write):
    (e1, v1), (e2, v2), (e3, v3) = random(1), random(2), random(3)
    e2[0, 0, 0], e3[1, 1, 1] = np.nan, np.nan
    maps = write("1", e1, v1), write("2", e2, v2), write("3", e3, v3)
    pooled = pool(observe(*maps, combine="weights", weights=(1.0, -0.5, 0.0)))
    np.testing.assert_allclose(pooled.effect, e1 - e2 / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pooled.variance, np.where(np.isnan(e2), np.nan, v1 + v2 / 4), rtol=1e-6)
    assert np.isnan(pooled.effect[0, 0, 0])
    assert np.isfinite(pooled.effect[1, 1, 1])


def test_what_cannot_be_a_variance_is_named_and_few_values_below_0_are_missing(write):
    effect, variance = random(1)
    for mean in (0, 1):  # of effects with SD 1
        with pytest.raises(DataError, match=r"run-1_variance.nii.gz is no variance"):
            pool(observe(write("1", variance, effect - 3 + mean)))
    few = np.where(np.arange(effect.size).reshape(SHAPE) % 11 == 0, -variance, variance)
    assert np.array_equal(pool(observe(write("2", effect, few))).n_maps == 0, few < 0)
    ringing = np.where(np.arange(effect.size).reshape(SHAPE) % 2 == 0, variance, -1e-3 * variance)
    assert np.array_equal(pool(observe(write("3", effect, ringing))).n_maps == 0, ringing < 0)
    far = np.where(np.arange(effect.size).reshape(SHAPE) == 0, -1e4, variance)
    assert np.array_equal(pool(observe(write("4", effect, far))).n_maps == 0, far < 0)
    inside = np.arange(effect.size).reshape(SHAPE) % 2
    filled = np.where(inside == 1, variance, -1.0)
    assert np.array_equal(pool(observe(write("5", effect, filled, mask=inside))).n_maps, inside)


def test_a_variance_below_the_smallest_number_is_kept_above_0(write):
    variance = np.full(SHAPE, 2e-45)
    maps = [write(str(run), random(run)[0] * 1e-22, variance) for run in range(4)]
    assert (pool(observe(*maps)).variance > 0).all()
    assert (pool(observe(*maps, combine="mean")).variance > 0).all()


@pytest.mark.parametrize("combine", ["precision", "mean"])
@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_numbers_near_the_ends_of_the_format_are_pooled_like_any_others(write, combine, scale):
    runs = [random(run) for run in range(3)]
    plain = pool(observe(*(write(f"{k}", *one) for k, one in enumerate(runs)), combine=combine))
    maps = (
        write(f"{k}x", e.astype(float) * scale, v.astype(float) * scale**2) for k, (e, v) in enumerate(runs)
    )
    scaled = pool(observe(*maps, combine=combine))
    np.testing.assert_allclose(scaled.effect / scale, plain.effect, rtol=1e-6)
    np.testing.assert_allclose(scaled.variance.astype(float) / scale**2, plain.variance, rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, np.nan])
@pytest.mark.parametrize("combine", ["precision", "mean"])
def test_where_the_second_run_has_no_data_the_first_runs_value_stands_exactly(write, bad, combine):
    (e1, v1), (e2, v2) = random(1), random(2)
    e2[2, 2, 2] = v2[2, 2, 2] = bad
    pooled = pool(observe(write("1", e1, v1, dof=90.0), write("2", e2, v2, dof=80.0), combine=combine))
    assert pooled.effect[2, 2, 2] == e1[2, 2, 2]
    assert pooled.variance[2, 2, 2] == v1[2, 2, 2]
    assert pooled.n_maps[2, 2, 2] == 1
    assert pooled.n_maps.sum() == 2 * e1.size - 1
    assert pooled.dof[2, 2, 2] == 90
    assert pooled.dof[0, 0, 0] == 170


def test_one_bad_variance_does_not_take_the_whole_weight(write):
    (e1, v1), (e2, v2) = random(1), random(2)
    v2[1, 1, 1] = -1.0
    pooled = pool(observe(write("1", e1, v1), write("2", e2, v2)))
    assert pooled.effect[1, 1, 1] == e1[1, 1, 1]


def test_what_no_run_observed_is_missing(write):
    (e1, v1), (e2, v2) = random(1), random(2)
    e1[0, 0, 0], e2[0, 0, 0] = 0.0, np.nan
    pooled = pool(observe(write("1", e1, v1, dof=5.0), write("2", e2, v2, dof=5.0)))
    assert np.isnan(pooled.effect[0, 0, 0])
    assert np.isnan(pooled.variance[0, 0, 0])
    assert pooled.n_maps[0, 0, 0] == 0
    assert pooled.dof == 10


def test_a_single_map_is_unchanged_bit_for_bit(write):
    effect, variance = random(1)
    effect[0, 0, 0], variance[1, 1, 1] = 0.0, 0.0
    pooled = pool(observe(write("1", effect, variance, dof=33.0)))
    is_missing = np.isnan(pooled.effect)
    assert is_missing.sum() == 2
    assert (pooled.effect.view(np.int32) == effect.view(np.int32))[~is_missing].all()
    assert (pooled.variance.view(np.int32) == variance.view(np.int32))[~is_missing].all()
    assert pooled.dof == 33


def test_the_own_mask_makes_a_zero_data_and_a_value_outside_missing(write):
    effect, mask = random(1)[0], np.ones(SHAPE)
    effect[0, 0, 0], mask[1, 1, 1] = 0.0, 0
    pooled = pool(observe(write("1", effect, mask=mask)))
    assert pooled.effect[0, 0, 0] == 0
    assert np.isnan(pooled.effect[1, 1, 1])


def test_sessions_of_runs_pool_to_the_same_as_all_runs_at_once(write):
    maps = [write(str(i), *random(i), dof=10.0) for i in range(4)]
    at_once = pool(observe(*maps))
    by_session = pool(observe(observe(*maps[:1]), observe(*maps[1:])))
    np.testing.assert_allclose(by_session.effect, at_once.effect, rtol=1e-6)
    np.testing.assert_allclose(by_session.variance, at_once.variance, rtol=1e-6)
    assert by_session.dof == at_once.dof == 40
    assert (by_session.n_maps == 4).all()
    assert by_session.input_hashes == at_once.input_hashes


def test_a_difference_of_sessions_is_made_from_pooled_sessions(write):
    maps = [write(str(i), *random(i)) for i in range(4)]
    first, second = observe(*maps[:2]), observe(*maps[2:])
    pooled = pool(observe(first, second, combine="weights", weights=(1.0, -1.0)))
    np.testing.assert_allclose(pooled.effect, pool(first).effect - pool(second).effect, atol=1e-6)
    np.testing.assert_allclose(pooled.variance, pool(first).variance + pool(second).variance, rtol=1e-6)


def test_dof_maps_add_up_where_observed(write):
    (e1, v1), (e2, v2) = random(1), random(2)
    d1, d2 = np.full(SHAPE, 20.0, dtype=np.float32), np.arange(e1.size, dtype=np.float32).reshape(SHAPE)
    e2[0, 0, 0] = np.nan
    pooled = pool(observe(write("1", e1, v1, dof=d1), write("2", e2, v2, dof=d2)))
    assert pooled.dof[0, 0, 0] == 20
    np.testing.assert_allclose(pooled.dof.reshape(-1)[1:], 20 + np.arange(1, e1.size))


def test_dof_known_in_part_is_unknown(write):
    assert pool(observe(write("1", *random(1), dof=20.0), write("2", *random(2)))).dof is None


def test_a_z_map_carries_no_variance(write):
    effect, variance = random(1)
    assert pool(observe(write("1", effect, variance, input_stat="z"))).variance is None


def test_every_file_read_is_hashed(write):
    effect, variance = random(1)
    pooled = pool(observe(one := write("1", effect, variance, mask=np.ones(SHAPE), dof=np.full(SHAPE, 9.0))))
    assert set(pooled.input_hashes) == {str(p) for p in (one.effect, one.variance, one.mask, one.dof)}
    assert pooled.input_hashes[str(one.effect)] == read_map(one.effect).sha256


LARGE, HALF = np.full(SHAPE, 1e38), np.where(np.arange(4)[:, None, None] < 2, np.nan, np.ones(SHAPE))
REFUSED = {
    "a variance too small for the format": (
        [(random(1)[0], np.full(SHAPE, 1e-58))], {},
        r"found +no value above 0 in run-1_variance.nii.gz \(numbers below 1e-45",
    ),
    "a weighted sum beyond the format": (
        [(random(1)[0], LARGE)], {"combine": "weights", "weights": (2.0,)},
        r"sub-01, c add up to numbers that are too large.*4e\+38",
    ),
    "precision without a variance": (
        [random(1), (random(2)[0],)], {}, r"found.*run-2_effect.*fix +Use --pooling mean",
    ),
    "a map of NaN": ([(np.full(SHAPE, np.nan),)], {}, r"run-1_effect.*found +no finite value\n"),
    "a map of zeros": ([(np.zeros(SHAPE),)], {}, r"run-1_effect.*found +zeros only\n"),
    "an own mask of zeros": ([(random(1)[0], None, np.zeros(SHAPE))], {}, r"run-1_mask\.nii\.gz is empty"),
    "several volumes": ([(np.ones((*SHAPE, 2)),)], {}, "several volumes"),
    "maps that share no element": (
        [(HALF,), (HALF[::-1],)], {"combine": "weights", "weights": (1.0, -1.0)}, "no element in common",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_pooled_is_refused_by_name(write, name):
    maps, options, words = REFUSED[name]
    with pytest.raises(DataError) as caught:
        pool(observe(*(write(str(run), *one) for run, one in enumerate(maps, start=1)), **options))
    assert re.search(words, str(caught.value), re.DOTALL), str(caught.value)


def test_the_file_on_another_grid_is_named(write):
    odd = write("odd", *random(2), affine=AFFINE + np.eye(4) * [[0.01], [0], [0], [0]])
    with pytest.raises(GridError, match="run-odd_variance"):
        pool(observe(write("1", *random(1)), odd))
    shifted = AFFINE.copy()
    shifted[0, 3] = 1
    with pytest.raises(GridError, match="run-moved_effect") as raised:
        pool(observe(write("1", random(1)[0]), write("moved", random(2)[0], affine=shifted), combine="mean"))
    assert "origin (1, 0, 0)" in raised.value.found
    assert "run-1_effect" in raised.value.expected


@pytest.mark.parametrize("inside", [1, 255, 0.3])
def test_an_own_mask_of_two_values_needs_no_threshold(write, inside):
    effect, is_in = random(1)[0], np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3 > 0
    source = write("1", effect, mask=np.where(is_in, inside, 0), mask_threshold=0.5)
    np.testing.assert_array_equal(np.isfinite(pool(observe(source)).effect), is_in)


def test_noise_outside_an_own_mask_is_refused_or_left_out_by_the_threshold(write):
    effect, is_in = random(1)[0], np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3 > 0
    noise = np.abs(np.random.default_rng(0).normal(size=SHAPE)) * 1e-15
    mask = np.where(is_in, 1 - noise, noise)
    with pytest.raises(DataError, match=r"run-1_mask\.nii\.gz is not of two values") as caught:
        pool(observe(write("1", effect, mask=mask)))
    assert "--mask-threshold 0.5" in caught.value.fix
    pooled = pool(observe(write("1", effect, mask=mask, mask_threshold=0.5)))
    np.testing.assert_array_equal(np.isfinite(pooled.effect), is_in)


def test_a_missing_variance_file_is_named(write, tmp_path):
    one = write("1", *random(1))
    one.variance.unlink()
    with pytest.raises(MissingInputError, match="run-1_variance"):
        pool(observe(one))


def test_twelve_runs_pool_to_the_closed_form(haxby_runs):
    folder = haxby_runs.root / "derivatives" / "firstlevel" / "sub-01" / "func"
    effects = sorted(folder.glob("*_res-25mm_contrast-faceVsHouse_stat-effect_statmap.nii.gz"))
    variances = [path.with_name(path.name.replace("stat-effect", "stat-variance")) for path in effects]
    maps = [
        FirstLevelMap(subject="01", contrast="faceVsHouse", dataset=haxby_runs.root, effect=e, variance=v)
        for e, v in zip(effects, variances, strict=True)
    ]
    pooled = pool(observe(*maps))
    e = np.array([nib.load(path).get_fdata() for path in effects])
    v = np.array([nib.load(path).get_fdata() for path in variances])
    is_observed = np.isfinite(e) & (e != 0) & np.isfinite(v) & (v > 0)
    precision = np.where(is_observed, 1 / np.where(is_observed, v, 1), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (precision * np.nan_to_num(e)).sum(0) / precision.sum(0)
        np.testing.assert_allclose(pooled.effect, expected, rtol=1e-6)
        np.testing.assert_allclose(
            pooled.variance, np.where(np.isnan(expected), np.nan, 1 / precision.sum(0)), rtol=1e-6
        )
    assert len(effects) == 12
    assert np.isfinite(pooled.effect).sum() > 100


def test_a_map_with_over_90_percent_of_the_weight_is_found(write):
    """By its median share over elements where several are observed: w = 1/v."""
    (e1, _), (e2, _) = random(1), random(2)
    ones = np.ones(SHAPE)
    exact = pool(observe(write("1", e1, 19 * ones, session="a"), write("2", e2, ones, session="a")))
    assert exact.dominant == ("ses-a_run-2", pytest.approx(0.95))
    assert pool(observe(write("3", e1, 9.1 * ones), write("4", e2, ones))).dominant[1] > 0.9
    assert pool(observe(write("5", e1, 8.9 * ones), write("6", e2, ones))).dominant is None
    assert pool(observe(write("7", e1, 19 * ones), write("8", e2, ones), combine="mean")).dominant is None
    assert pool(observe(write("9", e1, ones))).dominant is None  # alone
    half = ones.copy()
    half[:2] = 100.0  # by far the less precise in half of the elements, by far the more in the others
    assert pool(observe(write("10", e1, half), write("11", e2, 101 - half))).dominant is None
    alone = e1.copy()
    alone[:3] = np.nan  # where it is not observed there is nothing to weigh
    shared = pool(observe(write("12", alone, 4 * ones), write("13", e2, ones)))
    assert shared.dominant is None


def test_rows_that_stand_on_one_map_are_warned_of_together(write):
    first, second = (write(str(run), *random(run)) for run in (1, 2))
    rows = pd.DataFrame({"subject": ["01"]}, index=["sub-01"])
    one = observe(first, second)
    analysis = GroupAnalysis(
        first_level_contrast="c", observations=(one,), rows=rows, formula="~ 1", contrasts=()
    )
    assert tell_dominance(analysis, {}) == []
    assert (
        tell_dominance(analysis, {("sub-02", "c"): ("run-1", 0.99), ("sub-01", "d"): ("run-1", 0.99)}) == []
    )
    (told,) = tell_dominance(analysis, {("sub-01", "c"): ("run-2", 0.973)})
    assert told.severity == "warning"
    assert "1 of 1 row has one map with over 90% of the weight" in told.sentence
    assert "sub-01 (run-2: 97%)" in told.sentence
