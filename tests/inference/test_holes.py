"""Shuffling where rows are not observed at every element: each element alone, by numpy, is the witness."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from scipy.linalg import null_space

from bids_group.config import InferenceSpec
from bids_group.inference import check_inference, correct_group
from bids_group.inference.shuffling.holes import build_holes
from bids_group.inference.shuffling.partition import partition
from bids_group.model import fit_group
from tests.inference.witnesses import check_bits, largest_mass, record_jobs, z_by_hand

SHAPE = (5, 4, 3)


def make_holes(maps, share, seed=1, n_complete=20):
    """Take rows out at random but at the first elements; each of the others keeps at least half of them."""
    random = np.random.default_rng(seed)
    maps = maps.copy()
    for element in range(n_complete, maps.shape[1]):
        gone = random.random(len(maps)) < share
        gone[random.permutation(len(maps))[: len(maps) // 2 + 1]] = False
        maps[gone, element] = np.nan
    return maps


def as_incomplete(data):
    return replace(data, is_complete=False)


def contract(order, kinds):
    """Follow a permutation on from every row whose kind is another."""
    found = np.arange(len(order))
    for row in range(len(order)):
        source = order[row]
        while kinds[source] != kinds[row]:
            source = order[source]
        found[row] = source
    return found


def z_alone(matrix, weights, y, test, orders, signs, kinds):
    """z of one element after each shuffle of its residuals: only the rows observed there exist."""
    here = np.isfinite(y)
    place = np.cumsum(here) - 1
    own = np.array([place[contract(order, kinds)[here]] for order in orders]).T  # (n_rows, n_shuffles)
    X, y, signs = matrix[here], y[here].astype(float), np.asarray(signs, float)[:, here].T
    nuisance = X @ null_space(weights)
    fitted = nuisance @ np.linalg.lstsq(nuisance, y, rcond=None)[0] if nuisance.shape[1] else 0 * y
    shuffled = fitted[:, None] + signs * (y - fitted)[own]
    return z_by_hand(X, weights, shuffled, test)


def units_by_hand(y, unit_of_row):
    """Rows of units observed in the same of their rows may change places."""
    kinds = []
    for row, unit in enumerate(unit_of_row):
        seen = np.isfinite(y[unit_of_row == unit])
        kinds.append((tuple(seen), bool(np.isfinite(y[row]))))
    return kinds


RANDOM = np.random.default_rng(0)
TWO_GROUPS = np.column_stack([np.ones(12), np.repeat([0.0, 1], 6), RANDOM.normal(size=12)])
THREE = np.eye(3)[np.repeat([0, 1, 2], 4)]
FAMILIES = np.repeat(np.arange(6), 2)
PAIRED = np.column_stack([np.eye(6)[FAMILIES], np.tile([0.0, 1], 6)])
CASES = {
    "one sample": (np.ones((12, 1)), "t", [[1.0]], {}, {}),
    "mean beside a covariate": (TWO_GROUPS[:, [0, 2]], "t", [[1.0, 0]], {}, {}),
    "two groups": (TWO_GROUPS, "t", [[0, 1.0, 0]], {}, {}),
    "two groups, one-sided": (TWO_GROUPS, "t", [[0, 1.0, 0]], {}, {"is_two_sided": False}),
    "three groups, F": (THREE, "F", [[1.0, -1, 0], [0, 1, -1]], {}, {}),
    "permutations and flips": (TWO_GROUPS, "t", [[0, 0, 1.0]], {}, {"shuffle": "both"}),
    "within blocks": (PAIRED, "t", [[0.0] * 6 + [1]], {"blocks": FAMILIES}, {"block_scheme": "within"}),
    "whole blocks": (
        np.column_stack([np.ones(12), RANDOM.normal(size=6)[FAMILIES]]),
        "t",
        [[0, 1.0]],
        {"blocks": FAMILIES},
        {"block_scheme": "whole"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_shuffle_is_that_of_each_element_alone(case, make_problem, make_maps, monkeypatch):
    matrix, test, weights, more, options = CASES[case]
    maps = make_holes(make_maps(12, SHAPE, seed=3), 0.25)
    data = as_incomplete(make_problem(matrix, [(test, weights)], maps=maps, shape=SHAPE, **more)[0])
    spec = InferenceSpec(corrections=("fwe-voxel", "fwe-mass"), n_permutations=40, alpha=0.5, **options)
    jobs = record_jobs(monkeypatch)
    (result,) = fit_group(data, is_two_sided=spec.is_two_sided).results
    significances = correct_group(data, (result,), spec)
    (job,) = jobs
    shuffles, weights = job.scheme.shuffles, np.array(weights)
    assert job.holes.pattern.size > 20
    batch = shuffles.batch(0, shuffles.n_others + 1)
    is_tested = result.maps["dof"] > 0
    maxima = significances[0].null["voxel"]
    units = shuffles.units.unit_of_row
    numbers = [number for number in (0, 1, 2, 7, 19) if number <= shuffles.n_others]
    each = np.full((len(numbers), maps.shape[1]), -9.0)
    for v in np.flatnonzero(is_tested):
        kinds = units_by_hand(maps[:, v], units) if shuffles.has_permutations else [0] * 12
        drawn = batch.sources[numbers], batch.signs[numbers]
        each[:, v] = z_alone(matrix, weights, maps[:, v], test, *drawn, kinds)
    for number, z in zip(numbers, each, strict=True):
        if number == 0:
            np.testing.assert_allclose(result.maps["z"][is_tested], z[is_tested], atol=2e-5)
        size = np.abs(z[is_tested]) if test == "t" and spec.is_two_sided else z[is_tested]
        assert maxima[number] == pytest.approx(size.max(), abs=2e-5)
        assert significances[1].null["mass"][number] == pytest.approx(
            largest_mass(z, SHAPE, job.heights.threshold, test == "t" and spec.is_two_sided), abs=1e-4
        )
    for one in significances:
        assert "approximate" in one.details.shuffling
        assert any("restricted to the rows observed" in notice.sentence for notice in one.notices)
        told = any("rougher there than the data" in notice.sentence for notice in one.notices)
        assert told == shuffles.has_permutations


@pytest.mark.parametrize("case", ["one sample", "two groups", "within blocks"])
def test_p_by_every_shuffle_is_the_share_of_those_of_each_element_alone(case, make_problem, make_maps):
    """Everything there is to shuffle, small; uncorrected p and corrected p of every element."""
    n, shape = 6, (3, 2, 2)
    matrix, weights, more, options = {
        "one sample": (np.ones((n, 1)), [[1.0]], {}, {}),
        "two groups": (np.column_stack([np.ones(n), [0.0, 0, 0, 1, 1, 1]]), [[0, 1.0]], {}, {}),
        "within blocks": (
            np.column_stack([np.eye(3)[[0, 0, 1, 1, 2, 2]], [0.0, 1, 0, 1, 0, 1]]), [[0, 0, 0, 1.0]],
            {"blocks": [0, 0, 1, 1, 2, 2]}, {"block_scheme": "within"},
        ),
    }[case]  # fmt: skip
    maps = make_maps(n, shape, seed=4)
    maps[0, 3:7], maps[3, 6:9] = np.nan, np.nan
    data, _ = make_problem(matrix, [("t", weights)], maps=maps, shape=shape, **more)
    data = as_incomplete(data)
    spec = InferenceSpec(
        corrections=("fwe-voxel",), n_permutations=999, alpha=0.5, has_permutation_p=True, **options
    )
    results = fit_group(data).results
    (verdict,) = correct_group(data, results, spec)
    is_tested, weights = results[0].maps["dof"] > 0, np.array(weights)
    if case == "one sample":
        shuffles = [(np.arange(n), signs) for signs in product((1, -1), repeat=n)]
    elif case == "two groups":
        shuffles = [(np.array(order), np.ones(n)) for order in permutations(range(n))]
    else:
        swaps = product(([0, 1], [1, 0]), repeat=3)
        shuffles = [((np.array(each) + np.array([[0], [2], [4]])).ravel(), np.ones(n)) for each in swaps]
    there, drawn = np.flatnonzero(is_tested), tuple(zip(*shuffles, strict=True))
    z = np.abs([
        z_alone(matrix, weights, maps[:, v], "t", *drawn, np.isfinite(maps[:, v])) for v in there
    ]).T  # fmt: skip
    observed = z[[all(o == np.arange(n)) and all(np.array(s) == 1) for o, s in shuffles]][0] - 1e-4
    own = (z >= observed).mean(axis=0)
    corrected = (z.max(axis=1)[:, None] >= observed).mean(axis=0)
    assert verdict.by_shuffling is not None
    np.testing.assert_allclose(verdict.by_shuffling.p[is_tested], own, atol=1e-6)
    np.testing.assert_allclose(verdict.p_corrected[is_tested], corrected, atol=1e-6)
    assert (verdict.p_corrected[~is_tested] == 1).all()


def test_neither_threads_nor_where_it_was_stopped_change_a_bit(make_problem, make_maps, tmp_path):
    maps = make_holes(make_maps(12, SHAPE, seed=3), 0.2)
    data, _ = make_problem(TWO_GROUPS, [("t", [0, 1, 0])], maps=maps, shape=SHAPE)
    data = as_incomplete(data)
    spec = InferenceSpec(corrections=("fwe-voxel", "fwe-tfce"), n_permutations=60, has_permutation_p=True)
    check_bits(data, fit_group(data).results, spec, tmp_path)


def test_maps_in_files_give_the_same_numbers(make_problem, make_maps, tmp_path):
    maps = make_holes(make_maps(12, SHAPE, seed=3), 0.2)
    split = partition(TWO_GROUPS, np.array([[0, 1.0, 0]]))
    data, _ = make_problem(TWO_GROUPS, [("t", [0, 1, 0])], maps=maps, shape=SHAPE)
    (scheme,) = check_inference(data.design, InferenceSpec(corrections=("fwe-voxel",)))[1]
    options = {"is_signed": True, "is_tested": np.ones(60, bool)}
    whole, _, holes = build_holes(maps, split, scheme.shuffles, **options)
    other, _, others = build_holes(maps, split, scheme.shuffles, **options, folder=tmp_path)
    assert isinstance(other.tiles, np.memmap)
    np.testing.assert_array_equal(whole.tiles, other.tiles)
    np.testing.assert_array_equal(holes.residuals.tiles, others.residuals.tiles)


def test_where_everybody_is_observed_after_all_nothing_changes(make_problem, make_maps):
    maps = make_maps(12, SHAPE, seed=3)
    data, _ = make_problem(TWO_GROUPS, [("t", [0, 1, 0])], maps=maps, shape=SHAPE)
    spec = InferenceSpec(corrections=("fwe-voxel", "fwe-mass"), n_permutations=50)
    results = fit_group(data).results
    for one, other in zip(
        correct_group(data, results, spec),
        correct_group(as_incomplete(data), fit_group(as_incomplete(data)).results, spec),
        strict=True,
    ):
        np.testing.assert_array_equal(one.p_corrected, other.p_corrected)
        assert one.details.shuffling == other.details.shuffling == "permutations"


def test_one_pattern_or_many_it_is_the_same(make_problem, make_maps):
    """An element has the same values whoever else has its pattern, and in whatever tile it stands."""
    maps = make_maps(12, (13, 13, 13), seed=3)
    maps[2, 300:1800] = np.nan
    maps[5, 600:900] = np.nan
    data, _ = make_problem(TWO_GROUPS, [("t", [0, 1, 0])], maps=maps, shape=(13, 13, 13))
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=300, has_permutation_p=True)
    few = as_incomplete(data)
    together = correct_group(few, fit_group(few).results, spec)[0].by_shuffling.p
    rolled = np.roll(maps, 700, axis=1)
    moved, _ = make_problem(TWO_GROUPS, [("t", [0, 1, 0])], maps=rolled, shape=(13, 13, 13))
    moved = as_incomplete(moved)
    apart = correct_group(moved, fit_group(moved).results, spec)[0].by_shuffling.p
    assert np.abs(np.roll(together, 700) - apart).max() <= 1 / 301 + 1e-6  # a tie in float32 at most


@pytest.mark.parametrize(("design", "share"), [("mean beside a covariate", 0.1), ("two groups", 0.3)])
def test_findings_where_nothing_is_are_as_rare_as_alpha_says(
    make_problem, make_maps, check_rare, design, share
):
    """In brief; `benchmarks/validation.py` does it at length."""
    matrix, test, weights, _, _ = CASES[design]
    shape, p = (6, 6, 5), np.empty((40, 2))
    for seed in range(len(p)):
        maps = make_holes(make_maps(12, shape, seed), share, seed, n_complete=0)
        data = as_incomplete(make_problem(matrix, [(test, weights)], maps=maps, shape=shape)[0])
        spec = InferenceSpec(corrections=("fwe-voxel", "fwe-mass"), n_permutations=99, random_seed=seed)
        results = fit_group(data, has_effect_sizes=False).results
        p[seed] = [verdict.p_corrected.min() for verdict in correct_group(data, results, spec)]
    check_rare(p, is_exact=[0])
