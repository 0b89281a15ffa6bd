"""Conjunctions: the largest p of the parts where they have one sign; the minimum is never shuffled."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from bids_group.config import InferenceSpec
from bids_group.config.corrections import CORRECTIONS
from bids_group.inference import correct_group, join_contrasts
from bids_group.records import Contrast

GROUPS = np.column_stack([np.repeat([1.0, 0.0], 10), np.repeat([0.0, 1.0], 10)])
ALL = [*CORRECTIONS]


@pytest.fixture
def joined(make_problem, make_maps):
    """Judge two group means and their conjunction; ``effects``: what is added to the maps of each group."""

    def judge(effects, spec, seed=0, shape=(8, 7, 6), spread=(1.0, 1.0)):
        maps = make_maps(20, shape, seed)
        for rows, effect, scale in zip((slice(10), slice(10, 20)), effects, spread, strict=True):
            maps[rows] = scale * maps[rows] + effect
        data, results = make_problem(
            GROUPS, [("t", [1, 0]), ("t", [0, 1])], maps=maps.astype(np.float32), shape=shape
        )
        both = Contrast(
            name="both",
            label="",
            weights=np.eye(2),
            test="t",
            expression="",
            words="",
            parts=("c0", "c1"),
        )
        data = replace(data, design=replace(data.design, conjunctions=(both,)))
        judged = correct_group(data, results, spec)
        results, judged = join_contrasts(data, results, judged, spec)
        return results, {(one.contrast, one.correction): one for one in judged}

    return judge


def effects(n=336):
    """Two groups: both positive, opposite, one only, both negative, and nothing."""
    a, b = np.zeros(n), np.zeros(n)
    a[:60], b[:60] = 2.5, 2.0
    a[60:120], b[60:120] = 2.5, -2.5
    a[120:180] = 2.5
    a[180:240], b[180:240] = -2.0, -2.5
    return a, b


@pytest.mark.parametrize("is_two_sided", [True, False])
def test_every_p_is_the_largest_of_the_parts_where_they_have_one_sign(joined, is_two_sided):
    spec = InferenceSpec(
        corrections=ALL, n_permutations=99, is_two_sided=is_two_sided, has_permutation_p=True,
        cluster_forming_p=0.01,
    )  # fmt: skip
    (a, b, both), judged = joined(effects(), spec)
    ta, tb = a.maps["t"], b.maps["t"]
    is_same = np.sign(ta) == np.sign(tb)
    assert 0 < is_same.sum() < is_same.size

    def largest(one, other):
        return np.where(is_same, np.maximum(one, other), 1)

    np.testing.assert_array_equal(both.maps["p"], largest(a.maps["p"], b.maps["p"]))
    weakest = np.where(np.abs(ta) < np.abs(tb), ta, tb) if is_two_sided else np.minimum(ta, tb)
    np.testing.assert_array_equal(both.maps["t"], np.where(is_same, weakest, 0))
    assert np.all(np.sign(both.maps["z"]) == np.sign(both.maps["t"]))
    for name in ALL:
        parts, one = [judged["c0", name], judged["c1", name]], judged["both", name]
        own = [part.by_shuffling.p for part in parts]
        np.testing.assert_array_equal(one.by_shuffling.p, largest(*own))
        if name in ("none", "ari"):
            assert one.p_corrected is None
            continue
        np.testing.assert_array_equal(one.p_corrected, largest(*(part.p_corrected for part in parts)))
        found = one.p_corrected <= np.float32(0.05)
        np.testing.assert_array_equal(one.is_significant, found)
        np.testing.assert_array_equal(found, is_same & parts[0].is_significant & parts[1].is_significant)
        assert {element for each in one.clusters for element in each.elements} == {*np.flatnonzero(found)}
        assert not any(len({*np.sign(ta[each.elements])}) > 1 for each in one.clusters)
        assert one.details.thresholds_of_parts == [part.threshold for part in parts]
    assert judged["both", "fwe-voxel"].is_significant[:60].mean() > 0.2
    assert judged["both", "fwe-voxel"].details.number_of_permutations == 99
    assert judged["both", "fwe-voxel"].is_significant[180:240].any() == is_two_sided


def test_fdr_of_a_conjunction_says_that_it_controls_nothing_of_it(joined):
    spec = InferenceSpec(corrections=("fdr", "bonferroni"))
    _, judged = joined(effects(), spec)
    assert [one.topic for one in judged["both", "fdr"].notices] == ["conjunction"]
    assert "not of the conjunction" in judged["both", "fdr"].details.error_control
    assert judged["both", "bonferroni"].notices == ()


def test_true_discoveries_of_a_conjunction_are_those_of_its_own_p(joined):
    """A bound by the largest p of the two, over all elements and not over those of one sign only."""
    spec = InferenceSpec(corrections=("ari",), cluster_forming_p=0.01)
    (*_, both), judged = joined(effects(), spec)
    one = judged["both", "ari"]
    assert {"positive", "negative"} == {*one.details.hommel_value}
    assert min(one.details.hommel_value.values()) > 200
    assert both.maps["p"].size == 336
    for each in one.clusters:
        n_true = (each.elements < 60).sum() + ((each.elements >= 180) & (each.elements < 240)).sum()
        assert each.true_discovery_proportion * each.elements.size <= n_true


def test_errors_are_as_rare_as_alpha_says_when_one_effect_is_real(joined):
    """A huge effect of A everywhere: a shuffled minimum would find something in every dataset."""
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=39, random_seed=1)
    n_datasets, shape = 80, (6, 5, 4)
    found = [
        joined((3.0, 0.0), spec, seed, shape)[1]["both", "fwe-voxel"].is_significant.any()
        for seed in range(n_datasets)
    ]
    low, high = binom.interval(0.999, n_datasets, 0.05)
    assert low <= sum(found) <= high  # A is found everywhere, so the errors are those of B: two-sided, half


@pytest.mark.parametrize(("familywise", "n_together"), [("within-contrast", 1), ("across-contrasts", 3)])
def test_a_bound_of_true_discoveries_of_a_conjunction_has_its_share_of_alpha(joined, familywise, n_together):
    spec = InferenceSpec(corrections=["ari", "bonferroni"], familywise=familywise, cluster_forming_p=0.01)
    _, judged = joined(effects(), spec)
    told = judged["both", "ari"].details
    assert told.number_of_contrasts_together == n_together
    assert told.alpha_per_sign == pytest.approx(0.05 / n_together / 2)
    p = judged["both", "bonferroni"].p_corrected
    largest = np.maximum(*(judged[name, "bonferroni"].p_corrected for name in ("c0", "c1")))
    assert (p[:60] == largest[:60]).all()
