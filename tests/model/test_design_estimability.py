"""Estimability: refused is exactly what two solutions of the normal equations disagree on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.errors import DesignError
from bids_group.row_space import RowSpace, independent


def random_design(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A rank-deficient design of whole numbers, columns of very different size; and contrasts."""
    draw = np.random.default_rng(seed)
    n_rows, n_free, n_tied = draw.integers(6, 20), draw.integers(1, 5), draw.integers(1, 4)
    free = draw.integers(-3, 4, (n_rows, n_free)).astype(float)
    tied = free @ draw.integers(-2, 3, (n_free, n_tied))
    X = np.column_stack([free, tied])[:, draw.permutation(n_free + n_tied)]
    X *= 10.0 ** draw.integers(-3, 7, X.shape[1])
    inside = draw.integers(-2, 3, (3, n_rows)) @ X
    return X, np.vstack(
        [inside, draw.integers(-2, 3, (3, X.shape[1])) * np.abs(X).max(axis=0), np.eye(X.shape[1])]
    )


def solutions_agree(X: np.ndarray, contrast: np.ndarray, seed: int) -> bool:
    """Move one least-squares solution along the null space, and look at the contrast."""
    scale = np.where(np.abs(X).max(axis=0) == 0, 1.0, np.abs(X).max(axis=0))
    y = np.random.default_rng(seed).normal(size=len(X))
    one = np.linalg.pinv(X / scale) @ y
    null = np.eye(X.shape[1]) - np.linalg.pinv(X / scale) @ (X / scale)
    other = one + null @ np.random.default_rng(seed + 1).normal(size=X.shape[1])
    weights = contrast / scale
    return bool(np.isclose(weights @ one, weights @ other, rtol=1e-7, atol=1e-7 * np.linalg.norm(weights)))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 2))
def test_refuses_exactly_what_two_solutions_disagree_on(seed):
    X, contrasts = random_design(seed)
    contrasts = contrasts[np.abs(contrasts).max(axis=1) > 0]
    judged = RowSpace.of(X).is_estimable(contrasts)
    assert judged.tolist() == [solutions_agree(X, contrast, seed) for contrast in contrasts]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_rank_is_that_of_exact_arithmetic(seed):
    draw = np.random.default_rng(seed)
    X = draw.integers(-2, 3, (draw.integers(2, 12), draw.integers(1, 8))).astype(float)
    exact = np.linalg.matrix_rank(X)
    assert RowSpace.of(X * 10.0 ** draw.integers(-4, 7, X.shape[1])).rank == exact
    assert len(independent(X)) == exact


def test_large_numbers_beside_their_square_are_independent():
    volume = np.random.default_rng(0).normal(1.2e6, 1e5, 30)
    X = np.column_stack([np.ones(30), volume, volume**2])
    assert np.linalg.matrix_rank(X) < 3  # without scaling the columns, the rank comes out wrong
    assert RowSpace.of(X).rank == 3


def test_rows_that_follow_from_others_are_left_out_of_a_joint_test(people, design_of):
    text = "[mean(group=patient) - mean(group=control), mean(group=relative) - mean(group=patient), " + (
        "mean(group=relative) - mean(group=control)]"
    )
    contrast = design_of(people, "~ group", text).contrasts[0]
    assert contrast.weights.shape == (2, 3)
    assert contrast.test == "F"


def test_contrast_that_cannot_be_estimated_is_refused_and_names_the_columns(people, design_of):
    rows = people.assign(copy=people["age"] * 3)
    with pytest.raises(DesignError, match=r"'slope\(age\)' cannot be estimated") as caught:
        design_of(rows, "~ sex + age + copy", "slope(age)")
    assert "age, copy depend on each other" in caught.value.found
    design = design_of(rows, "~ sex + age + copy", "mean(sex=M) - mean(sex=F)")
    assert design.rank == 3
    [notice] = [notice for notice in design.notices if notice.topic == "rank"]
    assert notice.sentence == "The design has 4 columns but rank 3: age, copy depend on each other."


def test_a_covariate_of_one_value_is_said_to_be_constant(people, design_of):
    with pytest.raises(DesignError, match=r"'slope\(age\)' cannot be estimated") as caught:
        design_of(people.assign(age=30.0), "~ sex + age", "slope(age)")
    assert "age is 0 in every row" in caught.value.found


def test_leverage_equals_the_diagonal_of_the_hat_matrix(people):
    X = np.column_stack([np.ones(len(people)), people["age"], people["volume"], people["volume"] * 2])
    hat = X[:, :3] @ np.linalg.solve(X[:, :3].T @ X[:, :3], X[:, :3].T)
    assert RowSpace.of(X).leverage == pytest.approx(np.diag(hat), abs=1e-8)
