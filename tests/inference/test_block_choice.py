"""Blocks: of the ways to permute them, the one that changes more of what is tested."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_group.config import InferenceSpec
from bids_group.errors import DataError
from bids_group.inference import correct_group
from tests.inference.witnesses import scheme_of

VOXEL = InferenceSpec(corrections=("fwe-voxel",), n_permutations=400, alpha=0.9)
FAMILIES = np.repeat(np.arange(8), 3)


def choose(problem, spec=VOXEL):
    return scheme_of(problem[0], spec)


def mean_distance(scheme):
    """Mean of ‖P x̃ − x̃‖² over shuffles that are really done."""
    tested = scheme.partition.tested
    batch = scheme.shuffles.batch(0, scheme.shuffles.n_others + 1)
    moved = tested[batch.sources] * batch.signs[:, :, None]
    return ((moved - tested) ** 2).sum(axis=(1, 2)).mean()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 0.95), q=st.integers(1, 2))
def test_the_scheme_taken_has_the_larger_mean_distance(make_problem, seed, share, q):
    rng = np.random.default_rng(seed)
    columns = [share * rng.normal(size=8)[FAMILIES] + (1 - share) * rng.normal(size=24) for _ in range(3)]
    test = ("t", [0, 1, 0, 0]) if q == 1 else ("F", np.eye(4)[1:3])
    problem = make_problem(np.column_stack([np.ones(24), *columns]), [test], blocks=FAMILIES, shape=(2, 2, 2))
    taken = choose(problem)
    both = [choose(problem, replace(VOXEL, block_scheme=name)) for name in ("within", "whole")]
    distances = [mean_distance(one) for one in both]
    assert mean_distance(taken) == pytest.approx(max(distances), rel=0.15)
    for one, distance in zip(both, distances, strict=True):
        assert 2 * q * one.mean_change == pytest.approx(distance, rel=0.15, abs=0.05)
    kind = "whole blocks" if "whole blocks" in taken.words else "rows within blocks"
    assert f"{kind} are shuffled" in taken.notices[0].sentence


def test_a_regressor_of_families_beside_a_nuisance_within_them_is_tested_by_whole_families(make_problem):
    """Rows within families would change the little that the nuisance leaves: p 0.041 for 0.0005."""
    rng = np.random.default_rng(3)
    family, person = rng.normal(size=8)[FAMILIES], rng.normal(size=24)
    shared = rng.normal(size=(8, 27))[FAMILIES]
    maps = rng.normal(size=(24, 27)) * 0.5 + shared * 0.3 + 3 * family[:, None]
    X = np.column_stack([np.ones(24), family, person])
    problem = make_problem(X, [("t", [0, 1, 0])], maps=maps, blocks=FAMILIES, shape=(3, 3, 3))
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=1999)
    scheme = choose(problem, spec)
    assert "permutations of whole blocks of 'family'" in scheme.words
    assert scheme.mean_change > 0.9
    (verdict,) = correct_group(*problem, spec)
    assert verdict.p_corrected.min() == pytest.approx(1 / 2000)


def test_where_whole_blocks_cannot_be_permuted_rows_within_them_are_and_the_other_way_round(make_problem):
    rng = np.random.default_rng(4)
    uneven = np.r_[FAMILIES[:-1], 6]
    family, person = rng.normal(size=8)[uneven], rng.normal(size=24)
    X = np.column_stack([np.ones(24), family, person])
    within = choose(make_problem(X, [("t", [0, 1, 0])], blocks=uneven, shape=(2, 2, 2)))
    assert "rows within blocks" in within.words
    with pytest.raises(DataError, match="equal sizes"):  # what it tests does not vary within blocks
        choose(make_problem(X[:, :2], [("t", [0, 1])], blocks=uneven, shape=(2, 2, 2)))
    constant = rng.normal(size=8)[FAMILIES]
    whole = choose(
        make_problem(
            np.column_stack([np.ones(24), constant]), [("t", [0, 1])], blocks=FAMILIES, shape=(2, 2, 2)
        )
    )
    assert "whole blocks" in whole.words
    assert not whole.notices
