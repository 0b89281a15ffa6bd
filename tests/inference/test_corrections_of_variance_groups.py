"""Corrections without shuffling, where rows have variance groups or blocks."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom, false_discovery_control

from bids_group.config import InferenceSpec
from bids_group.config.estimators import FIXED_EFFECTS, MIXED
from bids_group.errors import DataError, UsageError
from bids_group.inference import check_inference, correct_group
from bids_group.model import fit_group

CODES = np.repeat([0, 1], (6, 24))
PARAMETRIC = ("fdr", "bonferroni", "ari")
SHARED = np.random.default_rng(11).normal(size=30)
DESIGNS = {
    "difference": (np.column_stack([np.ones(30), CODES]), [0, 1]),
    "shared slope": (np.column_stack([np.ones(30), CODES, SHARED]), [0, 0, 1]),
}


def uneven(seed, codes=CODES, n=210):
    return np.random.default_rng(seed).normal(size=(len(codes), n)) * np.where(codes == 0, 3, 1)[:, None]


def test_fdr_and_bonferroni_take_the_smallest_dof_of_the_groups_that_count(make_problem):
    maps = uneven(1)
    maps[:, :30] += 12 * CODES[:, None]
    data, _ = make_problem(*_t("difference"), maps=maps, shape=(7, 6, 5), groups=CODES)
    (result,) = fit_group(data).results
    fdr, bonferroni, ari = correct_group(data, [result], InferenceSpec(corrections=PARAMETRIC))
    p = 2 * stats.t.sf(np.abs(result.maps["t"].astype(float)), 5)
    np.testing.assert_allclose(fdr.p_corrected, false_discovery_control(p), rtol=1e-5)
    np.testing.assert_allclose(bonferroni.p_corrected, np.minimum(p * 210, 1), rtol=1e-5)
    assert bonferroni.threshold_stat == "t"
    assert bonferroni.threshold == pytest.approx(stats.t.isf(0.025 / 210, 5))
    assert fdr.is_significant[:30].any()
    for verdict in (fdr, bonferroni, ari):
        assert verdict.details.correction_degrees_of_freedom == pytest.approx(5)
    p_of_map = result.maps["p"]
    assert (p_of_map <= p * (1 + 1e-5)).all()
    assert fdr.clusters[0].peaks[0].p_uncorrected == pytest.approx(
        p[fdr.clusters[0].peaks[0].element], rel=1e-5
    )


def _t(name):
    matrix, weights = DESIGNS[name]
    return matrix, [("t", weights)]


def test_a_contrast_that_leaves_a_group_out_does_not_take_its_dof(make_problem):
    codes = np.repeat([0, 1, 2], (3, 8, 9))
    data, _ = make_problem(
        np.eye(3)[codes], [("t", [0, 1, -1])], maps=uneven(2, codes), shape=(7, 6, 5), groups=codes
    )
    (result,) = fit_group(data).results
    (verdict,) = correct_group(data, [result], InferenceSpec(corrections=("bonferroni",)))
    assert verdict.details.correction_degrees_of_freedom == pytest.approx(7)


def test_none_marks_by_the_p_of_the_map(make_problem):
    data, _ = make_problem(*_t("difference"), maps=uneven(3), shape=(7, 6, 5), groups=CODES)
    (result,) = fit_group(data).results
    (verdict,) = correct_group(data, [result], InferenceSpec(corrections=("none",), cluster_forming_p=0.05))
    np.testing.assert_array_equal(verdict.is_significant, result.maps["p"] <= 0.05)
    assert verdict.details.correction_degrees_of_freedom is None


@pytest.mark.parametrize("name", DESIGNS)
def test_p_of_uneven_groups_is_uniform_and_corrections_find_nothing_too_often(make_problem, name):
    """6 against 24 people, SD 3 : 1; `benchmarks/validation.py` does it at length."""
    n_sets, n_low, n_elements = 150, 0, 210
    found = np.zeros(2, dtype=int)
    for seed in range(n_sets):
        data, pooled = make_problem(*_t(name), maps=uneven(seed), shape=(7, 6, 5), groups=CODES)
        (result,) = fit_group(data).results
        n_low += int((result.maps["p"] <= 0.05).sum())
        verdicts = correct_group(data, [result], InferenceSpec(corrections=("fdr", "bonferroni")))
        found += [one.is_significant.any() for one in verdicts]
    low, high = binom.interval(0.999, n_sets * n_elements, 0.05)
    assert n_low <= high
    assert found.max() <= binom.interval(0.999, n_sets, 0.05)[1]
    wrong = np.mean([(pooled[0].maps["p"] <= 0.05).mean()])
    assert name != "difference" or (n_low >= 0.8 * low and wrong > 0.15)  # the pooled p of the last set


def test_f_of_several_rows_is_judged_by_shuffling_alone(make_problem):
    codes = np.repeat([0, 1, 2], (5, 7, 8))
    data, _ = make_problem(
        np.eye(3)[codes],
        [("F", [[1, -1, 0], [0, 1, -1]])],
        maps=uneven(4, codes),
        shape=(7, 6, 5),
        groups=codes,
    )
    results = fit_group(data).results
    for name in ("none", *PARAMETRIC):
        spec = InferenceSpec(corrections=("fwe-voxel", name), n_permutations=99)
        with pytest.raises(UsageError, match=rf"judged by shuffling only(.|\n)*--correction {name}"):
            check_inference(data.design, spec, variance_groups=data.variance_groups)
        check_inference(data.design, spec)
    spec = InferenceSpec(
        corrections=("fwe-voxel", "fwe-mass", "fwe-tfce"),
        n_permutations=99,
        cluster_forming_p=0.05,
        alpha=0.9,
    )
    for verdict in correct_group(data, results, spec):
        peaks = [peak for cluster in verdict.clusters for peak in cluster.peaks]
        assert peaks
        for peak in peaks:
            assert np.isnan(peak.p_uncorrected)
            assert peak.z == verdict.z[peak.element]


@pytest.mark.parametrize("corrections", [("fdr",), ("fwe-voxel",)])
def test_a_group_of_one_is_refused_by_name(make_problem, corrections):
    codes = np.repeat([0, 1, 2], (1, 9, 8))
    data, _ = make_problem(
        np.column_stack([np.ones(18), SHARED[:18]]), [("t", [0, 1])], shape=(3, 3, 3), groups=codes
    )
    with pytest.raises(DataError, match=r"variance group '0' of 'scanner'(.|\n)*1 row,"):
        check_inference(
            data.design, InferenceSpec(corrections=corrections), variance_groups=data.variance_groups
        )


def test_a_group_of_one_on_which_nothing_depends_refuses_shuffling_alone(make_problem):
    codes = np.repeat([0, 1, 2], (1, 9, 8))
    data, _ = make_problem(
        np.eye(3)[codes], [("t", [0, 1, -1])], maps=uneven(5, codes), shape=(7, 6, 5), groups=codes
    )
    assert check_inference(data.design, InferenceSpec(), variance_groups=data.variance_groups)[0] == ()
    (result,) = fit_group(data).results
    y = data.stack.data[:, 9].astype(float)
    welch = stats.ttest_ind(y[codes == 1], y[codes == 2], equal_var=False)
    assert result.maps["p"][9] == pytest.approx(welch.pvalue, rel=1e-4)
    with pytest.raises(DataError, match="variance group '0'"):
        check_inference(
            data.design, InferenceSpec(corrections=("fwe-voxel",)), variance_groups=data.variance_groups
        )


def test_variance_groups_that_change_nothing_are_told(make_problem):
    data, _ = make_problem(np.ones((9, 1)), [("t", [1])], shape=(3, 3, 3), groups=["a"] * 9)
    (one,), _ = check_inference(data.design, InferenceSpec(), variance_groups=data.variance_groups)
    assert one.severity == "warning"
    assert "scanner changes nothing: all rows analysed have one value, a" in one.sentence
    (_, known), _ = check_inference(
        data.design, InferenceSpec(), variance_groups=data.variance_groups, estimator=FIXED_EFFECTS
    )
    assert "known" in known.sentence


def test_what_ignores_blocks_is_named(make_problem):
    families = np.repeat(np.arange(6), 2)
    data, _ = make_problem(np.ones((12, 1)), [("t", [1])], shape=(3, 3, 3), blocks=families)
    both = InferenceSpec(corrections=("fdr", "fwe-voxel"), n_permutations=50)
    (told,) = [
        one for one in check_inference(data.design, both, blocks=data.blocks)[0] if one.topic == "blocks"
    ]
    assert told.severity == "warning"
    assert "blocks of 'family' are ignored by the maps of t, F, z and p and fdr" in told.sentence
    shuffled = InferenceSpec(corrections=("fwe-voxel",), n_permutations=50)
    (told,) = [
        one for one in check_inference(data.design, shuffled, blocks=data.blocks)[0] if one.topic == "blocks"
    ]
    assert told.severity == "note"
    found = check_inference(data.design, InferenceSpec(), blocks=data.blocks, estimator=MIXED)[0]
    (told,) = [one for one in found if one.topic == "blocks"]
    assert "changes nothing with --estimator mixed" in told.sentence
    assert "sandwich" in told.fix
    people = data.blocks.rename("subject")
    assert not [one for one in check_inference(data.design, both, blocks=people)[0] if one.topic == "blocks"]
