"""The wild cluster bootstrap against every draw done by hand, and against the fit."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from bids_group.config import InferenceSpec
from bids_group.config.estimators import SANDWICH
from bids_group.distributions import f_to_z, t_to_z
from bids_group.errors import DataError, UsageError
from bids_group.inference import check_inference, correct_group
from bids_group.inference.shuffling.engine import Scratch, build_job, do_shuffles, observed_map, spell_out
from bids_group.inference.shuffling.partition import TILE
from bids_group.inference.shuffling.wild_bootstrap import sum_by_signs
from bids_group.model import fit_group
from bids_group.robust_variance import robust_weights
from tests.inference.witnesses import check_bits, scheme_of

PERSON = np.repeat(np.arange(9), 3)[np.r_[0:4, 5:19, 20:27]]
VISIT = np.tile(np.arange(3), 9)[np.r_[0:4, 5:19, 20:27]]
GROUP = (PERSON >= 4) * 1.0
MATRIX = np.column_stack([np.ones(PERSON.size), GROUP, VISIT == 1, VISIT == 2, np.cos(PERSON)]).astype(float)
BETWEEN, JOINT = [0, 1, 0, 0, 0], [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]
BOTH = (("t", BETWEEN), ("F", JOINT))


def sandwiched(problem, variant="CR2", **more):
    """The same data with the sandwich for estimator, and its fit."""
    data = replace(problem[0], estimator=replace(SANDWICH, variant=variant), **more)
    return data, fit_group(data).results


def job_of(data, contrast, spec):
    """All that the null of a contrast depends on."""
    return build_job(scheme_of(data, spec, contrast), contrast.test, data.stack.data, is_two_sided=True)


@pytest.fixture
def visits(make_problem, make_maps):
    """Nine people with up to three visits, who differ from each other; two contrasts."""

    def make(contrasts=BOTH, shape=(6, 5, 4), seed=0, **more):
        maps = make_maps(PERSON.size, shape, seed) + 1.5 * make_maps(9, shape, seed + 100)[PERSON]
        maps[:, :20] += 2 * GROUP[:, None]
        maps[:, 30:50] += (VISIT == 2)[:, None]
        problem = make_problem(MATRIX, contrasts, maps=maps.astype(np.float32), shape=shape, blocks=PERSON)
        return sandwiched(problem, **more)

    return make


def by_hand(maps, test, contrast, signs, variant="CR2"):
    """t or HTZ's F of residuals under the null whose clusters have these signs; a fit for each."""
    C = np.atleast_2d(np.asarray(contrast, dtype=float))
    null = np.linalg.svd(C)[2][len(C) :].T
    reduced = MATRIX @ null
    rest = maps - reduced @ np.linalg.lstsq(reduced, maps, rcond=None)[0]
    inverse = np.linalg.inv(MATRIX.T @ MATRIX)
    H = MATRIX @ inverse @ MATRIX.T
    loadings, eta = MATRIX @ inverse @ C.T, None
    adjusted = np.zeros_like(loadings)
    for one in range(9):
        here = np.flatnonzero(one == PERSON)
        sizes, vectors = np.linalg.eigh(np.eye(here.size) - H[np.ix_(here, here)])
        power = {"CR0": 0, "CR2": -0.5, "CR3": -1}[variant]
        adjusted[here] = vectors @ np.diag(sizes**power) @ vectors.T @ loadings[here]
    columns, singular, right = np.linalg.svd(MATRIX, full_matrices=False)
    directions = (C @ right.T / singular).T
    directions = np.linalg.qr(directions)[0].T
    eta = robust_weights(columns, [directions], PERSON, variant)[0].moment
    found = []
    for one in signs:
        y = rest * np.asarray(one)[PERSON][:, None]
        effect = loadings.T @ y
        scores = np.stack(
            [adjusted[who == PERSON].T @ (y - H @ y)[who == PERSON] for who in range(9)]
        )  # (clusters, q, n)
        covariance = np.einsum("msn,mtn->nst", scores, scores)
        if test == "t":
            found.append(effect[0] / np.sqrt(covariance[:, 0, 0]))
        else:
            q = len(C)
            squared = np.einsum("sn,nst,tn->n", effect, np.linalg.inv(covariance), effect)
            found.append((eta - q + 1) / (eta * q) * squared)
    return np.array(found)


@pytest.mark.parametrize("variant", ["CR0", "CR2", "CR3"])
@pytest.mark.parametrize("number", [0, 1])
def test_every_draw_equals_one_done_by_hand(visits, number, variant):
    data, _ = visits(variant=variant)
    contrast = data.design.contrasts[number]
    job = job_of(data, contrast, InferenceSpec(n_permutations=600))
    scratch = Scratch(job)
    tile, given = job.residuals.tiles[0], job.residuals.group_squares[0]
    squares = job.statistic.multiply(spell_out(job, 0)[0], tile, given, scratch.products, scratch.own)
    values = job.statistic.values(scratch.products, squares, scratch.room)[:, :120]
    signs = job.scheme.shuffles.batch(0, 256).signs[:, [np.flatnonzero(who == PERSON)[0] for who in range(9)]]
    expected = by_hand(data.stack.data.astype(float), contrast.test, contrast.weights, signs, variant)
    statistic = job.statistic.statistic_of(values)
    np.testing.assert_allclose(statistic, expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(values, job.statistic.expected_values(expected), atol=1e-5)


@pytest.mark.parametrize("variant", ["CR1", "CR2"])
def test_without_a_change_of_sign_it_is_the_statistic_of_the_fit(visits, variant):
    data, results = visits(shape=(12, 11, 10), variant=variant)
    for contrast, result in zip(data.design.contrasts, results, strict=True):
        job = job_of(data, contrast, InferenceSpec())
        values = observed_map(job)
        fitted = result.maps[contrast.test]
        np.testing.assert_allclose(job.statistic.statistic_of(values), fitted, rtol=1e-4, atol=1e-5)
        z = np.empty((1, values.size), np.float32)
        job.statistic.fill_z(values[None], z)
        np.testing.assert_allclose(z[0], result.maps["z"], atol=2e-4)


@pytest.mark.parametrize("number", [0, 1])
def test_p_equals_every_set_of_signs_done_by_hand(visits, number):
    data, results = visits([BOTH[number]])
    contrast = data.design.contrasts[0]
    spec = InferenceSpec(
        corrections=("fwe-voxel", "fwe-mass"),
        n_permutations=511,
        has_permutation_p=True,
        cluster_forming_p=0.05,
    )
    voxel, mass = correct_group(data, results, spec)
    signs = list(product((1, -1), repeat=9))
    drawn = np.abs(by_hand(data.stack.data.astype(float), contrast.test, contrast.weights, signs))
    expected = (drawn.max(axis=1)[:, None] >= drawn[0] * (1 - 1e-5)).mean(axis=0)
    assert np.abs(voxel.p_corrected - expected).max() <= 2 / 512 + 1e-6  # near ties at the limit of float32
    assert (np.abs(voxel.p_corrected - expected) > 1e-6).sum() <= 4
    own = (drawn >= drawn[0] * (1 - 1e-5)).mean(axis=0)
    assert np.abs(voxel.by_shuffling.p - own).max() <= 4 / 512 + 1e-6
    assert voxel.p_corrected.min() == pytest.approx(2 / 512 if expected.min() < 0.01 else expected.min())
    assert voxel.details.shuffling == "wild cluster bootstrap, 9 clusters"
    assert voxel.details.is_exhaustive
    assert voxel.threshold_stat == contrast.test
    np.testing.assert_allclose(np.max(voxel.null["voxel"]), drawn.max(), rtol=1e-3)

    # clusters are judged by z on the contrast's own degrees of freedom, which are no whole number here
    dof = results[0].maps["dof"][0]
    assert dof % 1 > 0.01
    z = t_to_z(drawn, dof) if number == 0 else f_to_z(drawn, 2, dof)
    forming = mass.details.cluster_forming_z
    largest = np.sort([np.clip(row - forming, 0, None).sum() for row in z])  # at least the largest cluster's
    assert (np.sort(mass.null["mass"]) <= largest * 1.001 + 0.01).all()


def test_neither_threads_nor_an_interruption_change_a_bit(visits, tmp_path):
    data, results = visits(shape=(12, 11, 10))
    spec = InferenceSpec(
        corrections=("fwe-voxel", "fwe-tfce"), n_permutations=40, random_seed=3, familywise="across-contrasts"
    )
    check_bits(data, results, spec, tmp_path)
    assert len(list(tmp_path.rglob("batch-*.npy"))) > 6


def test_contrasts_that_are_judged_together_share_their_signs(visits):
    data, results = visits()
    alone = InferenceSpec(corrections=("fwe-voxel",), n_permutations=99)
    together = replace(alone, familywise="across-contrasts")
    apart, joint = correct_group(data, results, alone), correct_group(data, results, together)
    z = [f_to_z(one.null["voxel"].astype(float), 2, results[1].maps["dof"][0]) for one in apart[1:]]
    z.insert(0, t_to_z(apart[0].null["voxel"].astype(float), results[0].maps["dof"][0]))
    np.testing.assert_allclose(joint[0].null["voxel"], np.maximum(*z), atol=1e-3)
    np.testing.assert_array_equal(joint[0].null["voxel"], joint[1].null["voxel"])


def test_rows_without_blocks_are_clusters_and_one_sample_is_the_sign_flips_of_least_squares(
    make_problem, make_maps
):
    """With one row per person CR2's t of the mean is Student's: the bootstrap is the old test."""
    maps = make_maps(8, (6, 5, 4), 2) + np.float32(0.6)
    problem = make_problem(np.ones((8, 1)), [("t", [1])], maps=maps, shape=(6, 5, 4))
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=300)
    (flips,) = correct_group(*problem, spec)
    (bootstrap,) = correct_group(*sandwiched(problem), spec)
    np.testing.assert_allclose(bootstrap.p_corrected, flips.p_corrected, atol=1e-6)
    np.testing.assert_allclose(bootstrap.null["voxel"], flips.null["voxel"], rtol=1e-4)


@pytest.mark.parametrize(
    "change, variant, match",
    [
        ({"block_scheme": "within"}, "CR2", "--within-blocks"),
        ({"shuffle": "permutations"}, "CR2", "--shuffle permutations"),
        ({}, "homogeneous", "--sandwich homogeneous"),
    ],
)
def test_what_the_bootstrap_cannot_do_is_refused(visits, change, variant, match):
    data, _ = visits()
    spec = InferenceSpec(corrections=("fwe-voxel",), **change)
    with pytest.raises(UsageError) as raised:
        check_inference(
            data.design, spec, blocks=data.blocks, estimator=replace(data.estimator, variant=variant)
        )
    assert raised.value.found == match
    assert raised.value.fix


def test_too_few_clusters_for_alpha_are_refused(visits):
    data, _ = visits()
    with pytest.raises(DataError, match="too few ways") as raised:
        check_inference(
            data.design,
            InferenceSpec(corrections=("fwe-voxel",), alpha=0.003),
            blocks=data.blocks,
            estimator=data.estimator,
        )
    assert "wild cluster bootstrap, 9 clusters ('family'): all 512" in raised.value.found


def test_variance_groups_are_said_to_change_nothing(visits, make_problem):
    data, _ = visits()
    groups = data.blocks.map(lambda person: person >= 4).rename("scanner")
    notices, _ = check_inference(
        data.design, InferenceSpec(), blocks=data.blocks, variance_groups=groups, estimator=data.estimator
    )
    assert ["changes nothing" in one.sentence for one in notices] == [True]


def test_maps_are_padded_to_whole_tiles_and_untested_elements_take_no_part(visits):
    data, _ = visits(shape=(12, 11, 10))
    assert data.elements.n_elements % TILE
    values = data.stack.data.copy()
    values[:, -300:] = 1e4
    data = replace(data, stack=replace(data.stack, data=values))
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=60)
    (first, _) = correct_group(data, fit_group(data).results, spec)
    assert (first.p_corrected[-300:] == 1).all()
    assert np.isfinite(first.null["voxel"]).all()


def test_findings_where_nothing_is_are_as_rare_as_alpha_says(make_problem):
    """Twenty people in unequal groups whose levels and slopes differ, with visits missing."""
    n_datasets, n, found, share = 100, 80, np.zeros(2), np.zeros(2)
    for seed in range(n_datasets):
        random = np.random.default_rng(seed)
        kept = random.random((20, 3)) >= 0.08
        kept[:, 0] |= ~kept.any(axis=1)
        person, visit = np.nonzero(kept)
        group = (person >= 8) * 1.0
        maps = (
            random.normal(size=(20, n))[person] + 0.5 * random.normal(size=(20, n))[person] * visit[:, None]
        )
        maps += random.normal(size=maps.shape)
        matrix = np.column_stack([np.ones(person.size), group, visit == 1, visit == 2])
        data, results = sandwiched(
            make_problem(
                matrix, [("t", [0, 1, 0, 0]), ("F", [[0, 0, 1, 0], [0, 0, 0, 1]])], shape=(n, 1, 1),
                maps=maps.astype(np.float32), blocks=person,
            )
        )  # fmt: skip
        share += [(one.maps["p"] <= 0.05).mean() / n_datasets for one in results]
        for number, contrast in enumerate(data.design.contrasts):
            job = job_of(data, contrast, InferenceSpec(n_permutations=255, random_seed=seed))
            maxima = do_shuffles(job, spell_out(job, 0), 256, Scratch(job))[0][:, 0, 0]
            found[number] += (maxima >= maxima[0]).mean() <= 0.05
    low, high = binom.ppf([0.0005, 0.9995], n_datasets, 0.05)
    assert found.max() <= high
    assert found[0] >= low
    assert share.max() <= 0.055
    assert share.min() >= 0.04


@pytest.mark.parametrize("n_clusters", [1, 4, 5, 6, 29, 30, 31, 90])
@pytest.mark.parametrize("n_draws", [8, 256])
def test_sums_by_signs_are_those_of_a_product_in_float64(n_clusters, n_draws):
    rng = np.random.default_rng(n_clusters)
    signs = rng.choice([-1, 1], (n_draws, n_clusters)).astype(np.float32)
    spread = rng.normal(size=(3, n_clusters, TILE)).astype(np.float32)
    products = np.full((3, n_draws, TILE), np.nan, np.float32)
    sum_by_signs(signs, spread, products)
    exact = np.matmul(signs.astype(np.float64), spread.astype(np.float64))
    own, product = (np.sqrt(np.mean((one - exact) ** 2)) for one in (products, np.matmul(signs, spread)))
    assert own <= 1.01 * product + 1e-9
    np.testing.assert_allclose(products, exact, atol=1e-6 * n_clusters)
