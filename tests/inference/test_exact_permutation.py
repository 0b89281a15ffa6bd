"""p of small problems against every shuffle done by hand: a plain loop of least-squares fits."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy.linalg import null_space

from bids_group.config import InferenceSpec
from bids_group.inference import correct_group
from tests.groups import statistics_by_hand

SHAPE = (5, 4, 3)


def p_by_hand(matrix, weights, maps, test, shuffles, is_two_sided=True):
    """Freedman & Lane: shuffle the residuals on the nuisance, put its fit back, fit all.

    Returns p of each element by the maxima of the shuffles, and by its own values.
    """
    matrix, weights = np.asarray(matrix, float), np.atleast_2d(np.asarray(weights, float))
    maps = maps.astype(np.float64)
    nuisance = matrix @ null_space(weights)
    fitted = nuisance @ np.linalg.lstsq(nuisance, maps, rcond=None)[0] if nuisance.shape[1] else 0 * maps
    size = np.abs if is_two_sided and test == "t" else np.asarray
    observed = size(statistics_by_hand(matrix, weights, maps, test))
    reached = observed - 1e-5 * np.abs(observed)
    by_maximum, by_itself = [], []
    for order, signs in shuffles:
        shuffled = fitted + np.asarray(signs, float)[:, None] * (maps - fitted)[list(order)]
        values = size(statistics_by_hand(matrix, weights, shuffled, test))
        by_maximum.append(values.max() >= reached)
        by_itself.append(values >= reached)
    return np.mean(by_maximum, axis=0), np.mean(by_itself, axis=0)


def all_permutations(n):
    return [(order, np.ones(n)) for order in permutations(range(n))]


def all_flips(n):
    return [(range(n), signs) for signs in product((1, -1), repeat=n)]


def within_blocks(blocks):
    n, members = len(blocks), [np.flatnonzero(np.array(blocks) == block) for block in sorted(set(blocks))]
    shuffles = []
    for orders in product(*(permutations(rows) for rows in members)):
        order = np.arange(n)
        for rows, new in zip(members, orders, strict=True):
            order[rows] = new
        shuffles.append((order, np.ones(n)))
    return shuffles


def whole_blocks(blocks, signs_too=False, orders_too=True):
    n, names = len(blocks), sorted(set(blocks))
    members = [np.flatnonzero(np.array(blocks) == block) for block in names]
    orders = permutations(range(len(names))) if orders_too else [range(len(names))]
    shuffles = []
    for blocks_order in orders:
        order = np.arange(n)
        for rows, source in zip(members, blocks_order, strict=True):
            order[rows] = members[source] if orders_too else rows
        for signs in product((1, -1), repeat=len(names)) if signs_too else [np.ones(len(names))]:
            by_row = np.empty(n)
            for rows, sign in zip(members, signs, strict=True):
                by_row[rows] = sign
            shuffles.append((order, by_row))
    return shuffles


RANDOM = np.random.default_rng(11)
AGE = RANDOM.normal(size=8)
ONES = np.ones(8)
PAIRS = [0, 0, 1, 1, 2, 2, 3, 3]
INTERLEAVED = [0, 1, 2, 0, 1, 2]

CASES = {
    "one sample": {"matrix": np.ones((7, 1)), "weights": [1], "shuffles": all_flips(7)},
    "mean beside a covariate": {
        "matrix": np.column_stack([ONES, AGE]),
        "weights": [1, 0],
        "shuffles": all_flips(8),
    },
    "two groups": {
        "matrix": np.column_stack([np.ones(7), np.repeat([0, 1], (3, 4))]),
        "weights": [0, 1],
        "shuffles": all_permutations(7),
    },
    "covariate beside an intercept": {
        "matrix": np.column_stack([np.ones(6), AGE[:6]]),
        "weights": [0, 1],
        "shuffles": all_permutations(6),
    },
    "covariate beside a nuisance": {
        "matrix": np.column_stack([np.ones(6), AGE[:6], AGE[2:] ** 2]),
        "weights": [0, 1, 0],
        "shuffles": all_permutations(6),
    },
    "rank deficient groups": {
        "matrix": np.column_stack([np.ones(7), np.eye(2)[[0, 0, 0, 1, 1, 1, 1]]]),
        "weights": [0, 1, -1],
        "shuffles": all_permutations(7),
    },
    "three groups, F": {
        "matrix": np.eye(3)[[0, 0, 1, 1, 2, 2, 2]],
        "weights": [[1, -1, 0], [0, 1, -1]],
        "test": "F",
        "shuffles": all_permutations(7),
    },
    "mean and slope together, F": {
        "matrix": np.column_stack([ONES, AGE]),
        "weights": [[1, 0], [0, 1]],
        "test": "F",
        "shuffles": all_flips(8),
    },
    "within pairs": {
        "matrix": np.column_stack([np.eye(4)[PAIRS], [0, 1, 0, 1, 1, 0, 0, 1]]),
        "weights": [0, 0, 0, 0, 1],
        "blocks": PAIRS,
        "shuffles": within_blocks(PAIRS),
        "alpha": 0.3,
    },
    "within blocks of three, F": {
        "matrix": np.column_stack([np.ones(6), np.eye(3)[[0, 0, 1, 1, 2, 2]][:, 1:]]),
        "weights": [[0, 1, 0], [0, 0, 1]],
        "test": "F",
        "blocks": INTERLEAVED,
        "shuffles": within_blocks(INTERLEAVED),
        "scheme": "within",
        "alpha": 0.3,
    },
    "whole blocks": {
        "matrix": np.column_stack([np.ones(12), np.repeat(AGE[:4], 3)]),
        "weights": [0, 1],
        "blocks": np.repeat([3, 1, 0, 2], 3).tolist(),
        "shuffles": whole_blocks(np.repeat([3, 1, 0, 2], 3).tolist()),
        "scheme": "whole",
    },
    "whole interleaved blocks, F": {
        "matrix": np.column_stack([ONES, np.tile(AGE[:4], 2), np.tile(AGE[4:], 2)]),
        "weights": [[0, 1, 0], [0, 0, 1]],
        "test": "F",
        "blocks": [0, 1, 2, 3, 0, 1, 2, 3],
        "shuffles": whole_blocks([0, 1, 2, 3, 0, 1, 2, 3]),
        "scheme": "whole",
    },
    "whole blocks flipped": {
        "matrix": np.ones((10, 1)),
        "weights": [1],
        "blocks": [0, 0, 1, 1, 1, 2, 3, 3, 4, 4],
        "shuffles": whole_blocks([0, 0, 1, 1, 1, 2, 3, 3, 4, 4], signs_too=True, orders_too=False),
        "alpha": 0.1,
    },
    "rows flipped within blocks": {
        "matrix": ONES[:, None],
        "weights": [1],
        "blocks": PAIRS,
        "scheme": "within",
        "shuffles": all_flips(8),
    },
    "permutations and flips": {
        "matrix": np.column_stack([np.ones(4), [0.3, -1, 2, 0.5]]),
        "weights": [0, 1],
        "shuffle": "both",
        "shuffles": [(order, signs) for order, _ in all_permutations(4) for _, signs in all_flips(4)],
        "alpha": 0.06,
    },
}


@pytest.mark.parametrize("name", CASES)
def test_p_equals_every_shuffle_done_by_hand(name, make_problem, make_maps):
    case = CASES[name]
    matrix, test = np.asarray(case["matrix"], float), case.get("test", "t")
    maps = make_maps(len(matrix), SHAPE, seed=3, sigma=0.7)
    maps[:, :15] += 1.5 * matrix[:, -1:].astype(np.float32)
    data, results = make_problem(
        matrix, [(test, case["weights"])], maps=maps, shape=SHAPE, blocks=case.get("blocks")
    )
    spec = InferenceSpec(
        alpha=case.get("alpha", 0.05),
        corrections=("fwe-voxel",),
        n_permutations=20_000,
        exchangeability_blocks="family" if "blocks" in case else None,
        block_scheme=case.get("scheme"),
        shuffle=case.get("shuffle", "auto"),
        has_permutation_p=True,
    )
    (verdict,) = correct_group(data, results, spec)
    assert verdict.details.is_exhaustive
    expected, uncorrected = p_by_hand(matrix, case["weights"], maps, test, case["shuffles"])
    np.testing.assert_allclose(verdict.p_corrected, expected, rtol=1e-6)
    np.testing.assert_allclose(verdict.by_shuffling.p, uncorrected, rtol=1e-6)
    assert expected.min() < 0.8  # the comparison is not about ones only


def test_one_sided_p_equals_every_flip_done_by_hand(make_problem, make_maps):
    maps = make_maps(7, SHAPE, seed=4)
    maps[:, :10] -= 1
    data, results = make_problem(np.ones((7, 1)), [("t", [1])], maps=maps, shape=SHAPE)
    spec = InferenceSpec(
        corrections=("fwe-voxel",), n_permutations=1000, is_two_sided=False, has_permutation_p=True
    )
    (verdict,) = correct_group(data, results, spec)
    expected, uncorrected = p_by_hand(np.ones((7, 1)), [1], maps, "t", all_flips(7), is_two_sided=False)
    np.testing.assert_allclose(verdict.p_corrected, expected, rtol=1e-6)
    np.testing.assert_allclose(verdict.by_shuffling.p, uncorrected, rtol=1e-6)


def test_drawn_shuffles_come_close_to_all_of_them(make_problem, make_maps):
    maps = make_maps(8, SHAPE, seed=5)
    matrix = np.column_stack([ONES, AGE])
    data, results = make_problem(matrix, [("t", [0, 1])], maps=maps, shape=SHAPE)
    drawn, listed = (
        correct_group(data, results, InferenceSpec(corrections=("fwe-voxel",), n_permutations=n))[0]
        for n in (4999, 50_000)
    )
    assert not drawn.details.is_exhaustive
    assert listed.details.is_exhaustive
    assert listed.details.number_of_permutations == 40_319
    difference = np.abs(drawn.p_corrected - listed.p_corrected)
    assert difference.max() < 4 * np.sqrt(0.25 / 5000)
