"""Verdicts: order, thresholds, clusters, families of contrasts."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from nilearn.reporting import get_clusters_table
from scipy.stats import f, t

from bids_group.config import CORRECTIONS, InferenceSpec
from bids_group.errors import DataError
from bids_group.inference import check_inference, correct_group
from bids_group.model import fit_group

EVERYTHING = InferenceSpec(corrections=tuple(CORRECTIONS), n_permutations=199, cluster_forming_p=0.02)


@pytest.fixture
def problem(make_problem, make_maps):
    maps = make_maps(16, (14, 12, 10), 3)
    cubes = maps.reshape(16, 14, 12, 10)
    cubes[:, 2:6, 2:6, 2:6] += 1.6
    cubes[:, 9:12, 7:10, 5:8] -= 1.6
    age = np.random.default_rng(0).normal(size=16)
    matrix = np.column_stack([np.ones(16), age - age.mean()])
    return make_problem(
        matrix, [("t", [1, 0]), ("t", [0, 1]), ("F", [[1, 0], [0, 1]])], maps=maps, shape=(14, 12, 10)
    )


def test_verdicts_come_in_the_order_contrasts_times_corrections(problem):
    verdicts = correct_group(*problem, EVERYTHING)
    expected = [(f"c{number}", name) for number in range(3) for name in CORRECTIONS]
    assert [(verdict.contrast, verdict.correction) for verdict in verdicts] == expected


def test_significant_elements_are_those_with_p_up_to_alpha(problem):
    for verdict in correct_group(*problem, EVERYTHING):
        if verdict.p_corrected is None:
            assert verdict.correction in ("none", "ari")
            continue
        assert verdict.p_corrected.dtype == np.float32
        assert verdict.p_corrected.min() > 0
        assert verdict.p_corrected.max() <= 1
        np.testing.assert_array_equal(verdict.is_significant, verdict.p_corrected <= np.float32(0.05))


def test_clusters_are_the_significant_elements_of_each_sign(problem):
    for verdict in correct_group(*problem, EVERYTHING):
        if verdict.correction == "ari":
            continue
        members = [element for cluster in verdict.clusters for element in cluster.elements]
        assert sorted(members) == np.flatnonzero(verdict.is_significant).tolist()
        assert [cluster.index for cluster in verdict.clusters] == list(range(1, len(verdict.clusters) + 1))
        z = problem[1][int(verdict.contrast[1])].maps["z"]
        for cluster in verdict.clusters:
            assert (z[cluster.elements] * cluster.sign > 0).all()
            assert cluster.size_mm3 == pytest.approx(cluster.elements.size * 8)


@pytest.mark.parametrize("correction", ["bonferroni", "fwe-voxel", "fdr"])
def test_thresholds_separate_what_is_significant(problem, correction):
    spec = replace(EVERYTHING, corrections=(correction,))
    for result, verdict in zip(problem[1], correct_group(*problem, spec), strict=True):
        if verdict.threshold is None:
            assert not verdict.is_significant.any()
            continue
        values = np.abs(result.maps[verdict.threshold_stat])
        is_beyond = (
            values <= verdict.threshold if verdict.threshold_stat == "p" else values > verdict.threshold
        )
        np.testing.assert_array_equal(is_beyond, verdict.is_significant)


def test_bonferroni_threshold_is_the_quantile(problem):
    n = problem[0].elements.n_elements
    mean, _, joint = correct_group(*problem, replace(EVERYTHING, corrections=("bonferroni",)))
    assert mean.threshold == pytest.approx(t.isf(0.05 / n / 2, 14), rel=1e-9)
    assert joint.threshold == pytest.approx(f.isf(0.05 / n, 2, 14), rel=1e-6)
    one_sided, *_ = correct_group(
        *problem, replace(EVERYTHING, corrections=("bonferroni",), is_two_sided=False)
    )
    assert one_sided.threshold == pytest.approx(t.isf(0.05 / n, 14), rel=1e-9)


def test_permutation_thresholds_lie_beside_bonferroni_not_above(problem):
    spec = replace(EVERYTHING, corrections=("bonferroni", "fwe-voxel"), n_permutations=999)
    verdicts = correct_group(*problem, spec)
    for bonferroni, permuted in zip(verdicts[::2], verdicts[1::2], strict=True):
        assert 0.6 * bonferroni.threshold < permuted.threshold < 1.05 * bonferroni.threshold


def test_uncorrected_says_so(problem):
    verdict, *_ = correct_group(*problem, replace(EVERYTHING, corrections=("none",)))
    assert verdict.alpha == 0.02
    assert "without any correction" in verdict.notices[0].sentence
    np.testing.assert_array_equal(verdict.is_significant, problem[1][0].maps["p"] <= 0.02)


def test_peaks_are_those_of_nilearn(problem):
    data, results = problem
    verdict, *_ = correct_group(
        data, results, replace(EVERYTHING, corrections=("none",), cluster_forming_p=0.001)
    )
    image = nib.Nifti1Image(data.elements.unpack(results[0].maps["t"]), data.elements.grid.affine)
    theirs = get_clusters_table(image, float(t.isf(0.0005, 14)), two_sided=True)
    is_main = [not str(name)[-1].isalpha() for name in theirs["Cluster ID"]]
    points = theirs[["X", "Y", "Z"]].to_numpy(dtype=float)
    assert [cluster.peaks[0].xyz_mm for cluster in verdict.clusters] == [
        tuple(row) for row in points[is_main]
    ]
    ours = np.array([peak.xyz_mm for cluster in verdict.clusters for peak in cluster.peaks])
    for point in points:  # nilearn lets sub-peaks back in that are too close to a higher one
        gaps = np.linalg.norm(ours - point, axis=1)
        assert gaps.min() == 0 or gaps.min() < 8
    sizes = [cluster.size_mm3 for cluster in verdict.clusters]
    assert sizes == pytest.approx([size for size in theirs["Cluster Size (mm3)"] if size != ""])


def test_peaks_carry_the_numbers_of_their_element(problem):
    verdict, *_ = correct_group(*problem, replace(EVERYTHING, corrections=("fwe-voxel",)))
    maps = problem[1][0].maps
    for cluster in verdict.clusters:
        heights = np.abs(maps["z"][cluster.elements])
        assert cluster.peaks[0].element == cluster.elements[heights.argmax()]
        assert len(cluster.peaks) <= 4
        points = np.array([peak.xyz_mm for peak in cluster.peaks])
        gaps = np.linalg.norm(points[:, None] - points, axis=2)
        assert (gaps[~np.eye(len(points), dtype=bool)] >= 8).all()
        for peak in cluster.peaks:
            assert peak.statistic == maps["t"][peak.element]
            assert (peak.effect, peak.g) == (maps["effect"][peak.element], maps["g"][peak.element])
            assert peak.p_corrected == verdict.p_corrected[peak.element]


def test_rows_of_cluster_tables_carry_every_familywise_p(problem):
    verdicts = {verdict.correction: verdict for verdict in correct_group(*problem, EVERYTHING)[:8]}
    for name in ("size", "mass"):
        verdict = verdicts[f"fwe-{name}"]
        assert verdict.clusters
        for cluster in verdict.clusters:
            assert set(cluster.p_corrected) == {"size", "mass", "peak", "tfce"}
            assert np.float32(cluster.p_corrected[name]) == verdict.p_corrected[cluster.elements[0]]
            voxel_p = verdicts["fwe-voxel"].p_corrected[cluster.elements].min()
            assert np.float32(cluster.p_corrected["peak"]) == voxel_p
            assert cluster.mass > 0


def test_unshuffled_maximum_leads_the_null(problem):
    for verdict in correct_group(*problem, EVERYTHING):
        if verdict.correction == "fwe-voxel":
            statistic = np.abs(problem[1][int(verdict.contrast[1])].maps[verdict.threshold_stat])
            assert verdict.null["voxel"][0] == pytest.approx(statistic.max(), rel=1e-4)
            assert verdict.null["voxel"].size == 200


def test_a_family_over_contrasts_takes_joint_maxima(problem):
    spec = replace(EVERYTHING, corrections=("fwe-voxel", "fwe-tfce"), shuffle="both")
    own = correct_group(*problem, spec)
    joint = correct_group(*problem, replace(spec, familywise="across-contrasts"))
    for one, other in zip(own, joint, strict=True):
        assert (other.p_corrected >= one.p_corrected - 1e-6).all()
    nulls = [verdict.null["voxel"] for verdict in joint if verdict.correction == "fwe-voxel"]
    np.testing.assert_array_equal(nulls[0], nulls[1])


def test_contrasts_with_other_shuffles_join_by_bonferroni(problem):
    data, results = problem
    alone = replace(data, design=replace(data.design, contrasts=data.design.contrasts[1:2]))
    spec = replace(EVERYTHING, corrections=("fwe-tfce",))
    _, slope, _ = correct_group(data, results, replace(spec, familywise="across-contrasts"))
    (lonely,) = correct_group(alone, results[1:2], spec)
    np.testing.assert_allclose(slope.p_corrected, np.minimum(2 * lonely.p_corrected, 1), rtol=1e-6)


def test_bonferroni_and_ari_over_contrasts_share_alpha_among_them(problem):
    spec = replace(EVERYTHING, corrections=("bonferroni", "ari", "fdr"), familywise="across-contrasts")
    joint = correct_group(*problem, spec)
    thirds = correct_group(*problem, replace(spec, alpha=0.05 / 3, familywise="within-contrast"))
    for one, other in zip(joint, thirds, strict=True):
        if one.correction == "fdr":  # no family-wise error: each contrast alone
            continue
        np.testing.assert_array_equal(one.is_significant, other.is_significant)
        assert one.threshold == pytest.approx(other.threshold, rel=1e-12)
        bounds = [[each.true_discovery_proportion for each in v.clusters] for v in (one, other)]
        assert bounds[0] == bounds[1]
        if one.correction == "bonferroni":
            expected = np.minimum(other.p_corrected.astype(float) * 3, 1)
            np.testing.assert_allclose(one.p_corrected, expected, rtol=1e-6)


@pytest.mark.parametrize("correction", ["bonferroni", "fwe-voxel", "fwe-tfce"])
def test_contrasts_of_other_models_of_the_run_belong_to_the_family(problem, correction):
    spec = replace(EVERYTHING, corrections=(correction,), familywise="across-contrasts", alpha=0.1)
    alone = correct_group(*problem, spec)
    among_nine = correct_group(*problem, spec, n_contrasts=9)
    within = replace(spec, familywise="within-contrast")
    for one, other in zip(alone, among_nine, strict=True):
        expected = np.minimum(one.p_corrected.astype(float) * 3, 1)
        is_below = one.p_corrected < 0.3
        np.testing.assert_allclose(other.p_corrected[is_below], expected[is_below], rtol=1e-6)
        assert other.details.number_of_contrasts_together == 9
    for one, other in zip(
        correct_group(*problem, within), correct_group(*problem, within, n_contrasts=9), strict=True
    ):
        np.testing.assert_array_equal(one.p_corrected, other.p_corrected)


def test_too_few_shuffles_for_a_family_are_refused(problem):
    spec = replace(EVERYTHING, corrections=("fwe-voxel",), familywise="across-contrasts", n_permutations=99)
    correct_group(*problem, spec, n_contrasts=6)
    with pytest.raises(DataError, match="too few shuffles for contrasts that are judged together"):
        correct_group(*problem, spec, n_contrasts=9)


def test_fdr_is_said_to_stay_within_each_contrast(problem):
    spec = InferenceSpec(familywise="across-contrasts")
    (notice,), _ = check_inference(problem[0].design, spec)
    assert notice.sentence.startswith("fdr: each contrast is judged alone")
    assert check_inference(problem[0].design, replace(spec, corrections=("bonferroni",)))[0] == ()


def test_elements_without_dof_are_no_tests(problem):
    data, results = problem
    dof = np.full(data.elements.n_elements, 14, np.float32)
    dof[::2] = 0
    maps = {**results[0].maps, "dof": dof}
    partial = replace(results[0], maps=maps, dof=None)
    spec = InferenceSpec(corrections=("bonferroni",))
    (verdict,) = correct_group(data, [partial], spec)
    assert verdict.details.number_of_tests == (dof > 0).sum()
    assert verdict.threshold_stat == "z"
    assert (verdict.p_corrected[::2] == 1).all()
    tested = maps["p"][1::2].astype(float) * (dof > 0).sum()
    np.testing.assert_allclose(verdict.p_corrected[1::2], np.minimum(tested, 1), rtol=1e-6)


def test_an_element_that_never_varies_disturbs_nothing(make_problem, make_maps):
    maps = make_maps(12, (8, 7, 6), 1)
    matrix = np.column_stack([np.ones(12), np.arange(12.0)])
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=99)
    constant = maps.copy()
    constant[:, 5] = 3.0
    data, _ = make_problem(matrix, [("t", [0, 1])], maps=constant)
    (verdict,) = correct_group(data, fit_group(data).results, spec)
    assert verdict.p_corrected[5] == 1
    assert np.isfinite(verdict.null["voxel"]).all()


def test_a_statistic_that_is_not_that_of_the_fit_is_a_bug(problem):
    data, results = problem
    wrong = replace(results[0], maps={**results[0].maps, "t": -results[0].maps["t"]})
    with pytest.raises(Exception, match="Shuffling and fit disagree"):
        correct_group(data, [wrong], replace(EVERYTHING, corrections=("fwe-voxel",)))


def test_schemes_that_are_handed_on_are_not_chosen_again(make_problem, monkeypatch):
    data, results = make_problem(np.ones((8, 1)), [("t", [1.0])], shape=(3, 3, 3))
    spec = InferenceSpec(corrections=("fwe-voxel",))
    (chosen,) = correct_group(data, results, spec)
    _, schemes = check_inference(data.design, spec)
    monkeypatch.setattr("bids_group.inference.checks.choose_scheme", None)
    monkeypatch.setattr("bids_group.inference.correct.check_inference", None)
    (given,) = correct_group(data, results, spec, schemes)
    np.testing.assert_array_equal(given.p_corrected, chosen.p_corrected)
