"""The wild bootstrap where rows are not observed at every element: each element alone is the witness."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.linalg import null_space

from bids_group.config import InferenceSpec
from bids_group.config.estimators import SANDWICH
from bids_group.distributions import exact_z
from bids_group.inference import correct_group
from bids_group.inference.shuffling.bootstrap_holes import BootstrapHoles, build_incomplete
from bids_group.model import fit_group
from tests.inference.witnesses import check_bits, largest_mass, record_jobs, scheme_of

SHAPE = (5, 4, 3)
PERSON = np.repeat(np.arange(8), 3)[np.r_[0:4, 5:18, 19:24]]
VISIT = np.tile(np.arange(3), 8)[np.r_[0:4, 5:18, 19:24]]
GROUP = (PERSON >= 3) * 1.0
MATRIX = np.column_stack([np.ones(PERSON.size), GROUP, VISIT == 1, VISIT == 2, np.cos(PERSON)]).astype(float)
BOTH = (("t", [[0.0, 1, 0, 0, 0]]), ("F", [[0.0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]))


def take_out(maps, share, seed=1, n_complete=12):
    """Rows are missing at random but at the first elements; at two a whole person, at one a whole visit."""
    random = np.random.default_rng(seed)
    maps = maps.copy()
    gone = random.random(maps.shape) < share
    gone[:, :n_complete] = False
    gone[:, n_complete] = VISIT == 2
    gone[:, n_complete + 1 : n_complete + 3] = (PERSON == 5)[:, None]
    maps[gone] = np.nan
    return maps


@pytest.fixture
def visits(make_problem, make_maps):
    """Eight people with up to three visits, who differ from each other; most elements lack rows."""

    def make(contrasts=BOTH, seed=0, shape=SHAPE, share=0.12, variant="CR2", **more):
        maps = make_maps(PERSON.size, shape, seed) + 1.5 * make_maps(8, shape, seed + 100)[PERSON]
        maps[:, 25:40] += 2 * GROUP[:, None] + (VISIT == 2)[:, None]
        data, _ = make_problem(
            MATRIX, contrasts, maps=take_out(maps, share, **more), shape=shape, blocks=PERSON
        )
        data = replace(data, is_complete=False, estimator=replace(SANDWICH, variant=variant))
        return data, fit_group(data).results

    return make


def eta_by_hand(weights, residuals_of):
    """η of Σ_i u_i u_i' with u_i = a_i'e_i: ``weights`` (m, q, n), ``residuals_of`` I − H."""
    forms = weights @ residuals_of  # (m, q, n)
    mean = np.einsum("isn,itn->st", forms, forms)
    sizes, vectors = np.linalg.eigh(mean)
    forms = np.einsum("st,itn->isn", vectors @ np.diag(sizes**-0.5) @ vectors.T, forms)
    crossed = np.einsum("isn,jtn->stij", forms, forms)
    q = len(mean)
    total = sum(
        (crossed[s, s] * crossed[t, t]).sum() + (crossed[s, t] * crossed[t, s]).sum()
        for s, t in product(range(q), repeat=2)
    )
    return q * (q + 1) / total


def z_alone(y, test, C, signs, variant):
    """z of one element for each row of signs ``(n_draws, 8)``: only the rows observed there exist."""
    here, C = np.isfinite(y), np.asarray(C)
    kept = MATRIX[here].any(axis=0)  # not a visit that is missing there
    X, C, y, person = MATRIX[here][:, kept], C[:, kept], y[here].astype(float), PERSON[here]
    inverse = np.linalg.inv(X.T @ X)
    reduced, H, loads = X @ null_space(C), X @ inverse @ X.T, X @ inverse @ C.T
    rest = y - reduced @ np.linalg.lstsq(reduced, y, rcond=None)[0]
    weights = np.zeros((8, len(C), y.size))
    for one in np.unique(person):
        own = np.flatnonzero(person == one)
        sizes, vectors = np.linalg.eigh(np.eye(own.size) - H[np.ix_(own, own)])
        powers = np.where(sizes > 1e-12, np.maximum(sizes, 1e-12) ** POWERS[variant], 0)
        weights[one][:, own] = (vectors @ np.diag(powers) @ vectors.T @ loads[own]).T
    eta, q, drawn = eta_by_hand(weights, np.eye(y.size) - H), len(C), rest * signs[:, person]
    scores = np.einsum("mqn,dn->dmq", weights, drawn - drawn @ H)
    effects = drawn @ loads
    covariances = np.einsum("dms,dmt->dst", scores, scores)
    squared = np.einsum("ds,ds->d", effects, np.linalg.solve(covariances, effects[..., None])[..., 0])
    if test == "t":
        return np.copysign(exact_z("t", 1, np.sqrt(squared), eta), effects[:, 0])
    return exact_z("F", q, squared * (eta - q + 1) / (eta * q), eta - q + 1)


POWERS = {"CR0": 0.0, "CR2": -0.5, "CR3": -1.0}


def signs_of(shuffles):
    """Signs of the eight people in all draws."""
    rows = [np.flatnonzero(who == PERSON)[0] for who in range(8)]
    return shuffles.batch(0, shuffles.n_others + 1).signs[:, rows]


@pytest.mark.parametrize(("number", "variant"), [(0, "CR0"), (0, "CR2"), (1, "CR2"), (1, "CR3")])
def test_each_draw_is_that_of_each_element_alone(visits, number, variant, monkeypatch):
    data, results = visits([BOTH[number]], variant=variant)
    jobs = record_jobs(monkeypatch)
    spec = InferenceSpec(
        corrections=("fwe-voxel", "fwe-mass"),
        n_permutations=255,
        has_permutation_p=True,
        cluster_forming_p=0.05,
    )
    voxel, mass = correct_group(data, results, spec)
    test, C = BOTH[number]
    (job,), is_tested = jobs, results[0].maps["dof"] > 0
    assert isinstance(job.holes, BootstrapHoles)
    assert job.holes.residuals.n_elements > 40
    assert is_tested.sum() == 60 - (
        number == 1
    )  # where a whole visit is missing there is no joint test of visits
    z = np.full((256, 60), -9.0)
    for v in np.flatnonzero(is_tested):
        z[:, v] = z_alone(data.stack.data[:, v], test, C, signs_of(job.scheme.shuffles), variant)
    np.testing.assert_allclose(z[0, is_tested], results[0].maps["z"][is_tested], atol=3e-4)
    size = np.abs(z) if test == "t" else z
    size[:, ~is_tested] = -9.0
    np.testing.assert_allclose(voxel.null["voxel"], size.max(axis=1), atol=2e-3)
    own = (size >= size[0] - 1e-4).mean(axis=0)[is_tested]
    p = voxel.by_shuffling.p[is_tested]
    np.testing.assert_allclose(p, own, atol=2 / 256 + 1e-6)  # near ties at the limit of float32
    assert (np.abs(p - own) > 1e-6).mean() < 0.1
    largest = [largest_mass(row, SHAPE, mass.details.cluster_forming_z, test == "t") for row in z]
    np.testing.assert_allclose(mass.null["mass"], largest, rtol=2e-3, atol=0.01)
    for one in (voxel, mass):
        assert "approximate where rows are not observed" in one.details.shuffling
        assert any("the wild bootstrap takes the rows observed" in each.sentence for each in one.notices)


def test_neither_threads_nor_files_nor_an_interruption_change_a_bit(visits, tmp_path):
    data, results = visits(shape=(11, 10, 10), n_complete=900)
    spec = InferenceSpec(corrections=("fwe-voxel", "fwe-tfce"), n_permutations=40, has_permutation_p=True)
    check_bits(data, results, spec, tmp_path, mem_gb=2 * data.stack.data.nbytes / 1e9)
    assert (tmp_path / "clusters.float32").stat().st_size > 1000


def test_where_everybody_is_observed_after_all_nothing_changes(visits):
    data, _ = visits(share=0.0)
    maps = np.where(np.isnan(data.stack.data), 0.5 * GROUP[:, None], data.stack.data).astype(np.float32)
    data = replace(data, stack=replace(data.stack, data=maps))
    spec, found = InferenceSpec(corrections=("fwe-voxel", "fwe-mass"), n_permutations=50), []
    for is_complete in (False, True):
        each = replace(data, is_complete=is_complete)
        found.append(correct_group(each, fit_group(each).results, spec))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.p_corrected, other.p_corrected)
        assert one.details.shuffling == other.details.shuffling == "wild cluster bootstrap, 8 clusters"


def test_an_element_is_the_same_whoever_else_has_its_pattern(visits):
    """In tiles of one pattern or of many, and at the end of the last one."""
    data, results = visits([BOTH[1]], shape=(13, 11, 11), n_complete=500)
    maps = data.stack.data
    maps[:, 600:] = np.where(np.arange(PERSON.size)[:, None] == 3, np.nan, np.nan_to_num(maps[:, 600:]))
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=100, has_permutation_p=True)
    found = []
    for shift in (0, 500):
        moved = replace(data, stack=replace(data.stack, data=np.roll(maps, shift, axis=1)))
        results = fit_group(moved).results
        found.append(np.roll(correct_group(moved, results, spec)[0].by_shuffling.p, -shift))
    assert np.abs(found[0] - found[1]).max() <= 1 / 101 + 1e-6


def test_contrasts_judged_together_take_the_larger_z(visits):
    data, results = visits()
    alone = InferenceSpec(corrections=("fwe-voxel",), n_permutations=99)
    apart = correct_group(data, results, alone)
    joint = correct_group(data, results, replace(alone, familywise="across-contrasts"))
    larger = np.maximum(*(one.null["voxel"] for one in apart))
    np.testing.assert_allclose(joint[0].null["voxel"], larger, rtol=1e-6)


def test_room_is_asked_for_what_the_clusters_need(visits):
    data, _ = visits([BOTH[1]])
    scheme, asked = scheme_of(data, InferenceSpec()), []
    _, _, holes = build_incomplete(
        data.stack.data, scheme, "F", is_tested=np.ones(60, dtype=bool), place=lambda n: asked.append(n)
    )
    assert asked == [holes.residuals.tiles.nbytes] == [4 * 5 * (1 + 3) * 8 * 1024]


def test_findings_where_nothing_is_are_as_rare_as_alpha_says(make_problem, check_rare):
    """Twenty people in unequal groups, 8 % of the visits missing and 15 % of what is left at each element."""
    n, p = 24, np.empty((20, 2))
    for seed in range(len(p)):
        random = np.random.default_rng(seed)
        person, visit = np.nonzero(random.random((20, 3)) >= 0.08)
        maps = random.normal(size=(20, n))[person] + random.normal(size=(person.size, n))
        maps += 0.5 * random.normal(size=(20, n))[person] * visit[:, None]
        maps[random.random(maps.shape) < 0.15] = np.nan
        group = (person >= 8) * 1.0
        data, _ = make_problem(
            np.column_stack([np.ones(person.size), group, visit == 1, visit == 2]),
            [("t", [0, 1, 0, 0]), ("F", [[0, 0, 1, 0], [0, 0, 0, 1]])],
            maps=maps.astype(np.float32), shape=(n, 1, 1), blocks=person,
        )  # fmt: skip
        data = replace(data, estimator=SANDWICH, is_complete=False)
        spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=99, random_seed=seed)
        results = fit_group(data).results
        p[seed] = [verdict.p_corrected.min() for verdict in correct_group(data, results, spec)]
    check_rare(p)
