"""The partition of a design, against exact arithmetic and against nilearn."""

import warnings
from fractions import Fraction

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nilearn.glm import compute_contrast
from nilearn.glm.first_level import run_glm
from nilearn.glm.second_level import SecondLevelModel
from scipy.linalg import qr

from bids_group.config import InferenceSpec
from bids_group.errors import DesignError
from bids_group.inference.corrections.question import Question
from bids_group.inference.shuffling.engine import build_job, observed_map
from bids_group.inference.shuffling.partition import build_residuals, partition
from bids_group.inference.shuffling.scheme import choose_scheme
from bids_group.model.fitting.group_fit import fit_group
from tests.groups import make_contrast, make_design


def covariates(random, n_obs, scale=3):
    return [random.normal(size=n_obs) * 10.0 ** random.integers(-scale, scale + 1) for _ in range(3)]


@st.composite
def designs(draw):
    """Random designs and estimable contrasts (t, F, F of rows that repeat one another), and their ranks.

    Intercept and covariates of wild scales, groups and a slope for each, one mean per cell, all cells beside
    an intercept, people who are nearly alike in two covariates; columns that others make redundant.
    """
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_obs = draw(st.integers(10, 25))
    kind = draw(st.sampled_from(["covariates", "slopes", "cells", "cells and intercept", "nearly alike"]))
    columns = covariates(random, n_obs)[: draw(st.integers(0, 3))]
    group = (np.arange(n_obs) % 2).astype(float)
    if kind != "cells":
        columns.insert(0, np.ones(n_obs))
    if kind == "slopes":
        columns += [group, columns[-1] * group]
    if kind.startswith("cells"):
        columns += list(np.eye(3)[np.arange(n_obs) % 3].T)
    if kind == "nearly alike":
        columns += [group + random.normal(size=n_obs)] * 2
        columns[-1] = columns[-1] + 1e-2 * random.normal(size=n_obs)
    matrix = np.column_stack(columns)
    if draw(st.booleans()):
        matrix = np.column_stack([matrix, matrix @ random.normal(size=matrix.shape[1])])
    norms = np.linalg.norm(matrix, axis=0)
    rank = int(np.linalg.matrix_rank(matrix / norms, tol=1e-8))
    test = draw(st.sampled_from("tF"))
    q = 1 if test == "t" else min(draw(st.integers(1, 3)), rank)
    weights = random.normal(size=(q, n_obs)) @ (matrix / norms) * norms
    if test == "F" and draw(st.booleans()):
        weights = np.vstack([weights, random.normal(size=(2, q)) @ weights])
    return matrix, weights, test, q, rank, random


def as_fractions(values):
    return np.array([[Fraction(float(value)) for value in row] for row in values], dtype=object)


def solve_exactly(matrix, right):
    """Gauss–Jordan on fractions."""
    both = np.hstack([matrix, right])
    for k in range(len(both)):
        pivot = next(i for i in range(k, len(both)) if both[i, k])
        both[[k, pivot]] = both[[pivot, k]]
        both[k] = both[k] / both[k, k]
        for i in range(len(both)):
            if i != k:
                both[i] = both[i] - both[i, k] * both[k]
    return both[:, len(both) :]


def independent(columns, n):
    """Positions of n columns that are independent."""
    return sorted(qr(columns / np.linalg.norm(columns, axis=0), pivoting=True)[2][:n])


def exact_statistic(matrix, weights, test, q, rank, maps):
    """t or F in fractions, by the normal equations of as many columns and rows as are independent."""
    kept = independent(matrix, rank)
    x, c, y = (
        as_fractions(matrix[:, kept]),
        as_fractions(weights[independent(weights.T, q)][:, kept]),
        as_fractions(maps),
    )
    beta = solve_exactly(x.T @ x, x.T @ y)
    effect, squares = c @ beta, ((y - x @ beta) ** 2).sum(axis=0)
    explained = (effect * solve_exactly(c @ solve_exactly(x.T @ x, c.T), effect)).sum(axis=0)
    f = (explained / q / (squares / (len(matrix) - rank))).astype(float)
    return np.copysign(np.sqrt(f), effect[0].astype(float)) if test == "t" else f


def furthest(values, reference, unit=1.0):
    """Largest difference, relative to the statistic where it is above 1, in units."""
    return np.max(np.abs(values - reference) / np.maximum(np.abs(reference), 1) / unit)


def full_rank_form(matrix, weights, test, q, rank):
    """Columns and weights that nilearn gets right: of full rank and like size, without redundant rows."""
    norms = np.linalg.norm(matrix, axis=0)
    left, singular, right = np.linalg.svd(matrix / norms, full_matrices=False)
    mapped = (weights / norms) @ right[:rank].T / singular[:rank]
    return left[:, :rank], mapped[0] if test == "t" else np.linalg.svd(mapped)[2][:q]


def in_double_precision(matrix, weights, test, maps):
    norms = np.linalg.norm(matrix, axis=0)
    split = partition(matrix / norms, weights / norms)
    rest = maps - split.nuisance @ (split.nuisance.T @ maps)
    explained = split.tested.T @ rest
    variance = ((rest - split.tested @ explained) ** 2).sum(axis=0) / split.dof
    f = (explained**2).sum(axis=0) / split.q / variance
    return split, np.copysign(np.sqrt(f), explained[0]) if test == "t" else f


@settings(max_examples=100, deadline=None)
@given(case=designs())
def test_partition_gives_the_parametric_statistic_to_ten_digits(case):
    matrix, weights, test, q, rank, random = case
    maps = random.normal(size=(len(matrix), 4)) + random.normal(size=len(matrix))[:, None]
    split, ours = in_double_precision(matrix, weights, test, maps)
    assert (split.q, split.dof) == (q, len(matrix) - rank)
    assert furthest(ours, exact_statistic(matrix, weights, test, q, rank, maps)) < 1e-10
    columns, rows = full_rank_form(matrix, weights, test, q, rank)
    theirs = compute_contrast(*run_glm(maps, columns, noise_model="ols"), rows, test).stat()
    assert furthest(ours, theirs) < 1e-10


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))  # 0.2 s each
@given(case=designs())
def test_unshuffled_statistic_equals_second_level_model(case):
    """To 1e-10 in float64, to 1e-5 in float32; where R² is above 0.9 to what is left of R's digits there."""
    matrix, weights, test, q, rank, random = case
    columns, rows = full_rank_form(matrix, weights, test, q, rank)
    effect = columns @ random.normal(size=(rank, 1)) * random.choice([0, 1, 10, 50], size=30)
    maps = (random.normal(size=(len(matrix), 30)) + 3 + effect).astype(np.float32)
    images = [nib.Nifti1Image(row.reshape(30, 1, 1), np.eye(4)) for row in maps]
    mask = nib.Nifti1Image(np.ones((30, 1, 1), np.uint8), np.eye(4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SecondLevelModel(mask_img=mask, verbose=0).fit(images, design_matrix=pd.DataFrame(columns))
        theirs = model.compute_contrast(rows, second_level_stat_type=test, output_type="stat")
    theirs = theirs.get_fdata().reshape(-1)
    assert furthest(in_double_precision(matrix, weights, test, maps.astype(np.float64))[1], theirs) < 1e-10

    contrast = make_contrast(*weights, test=test)
    scheme = choose_scheme(
        make_design(matrix, [contrast], rank=rank),
        contrast,
        InferenceSpec(n_permutations=99, shuffle="flips"),
    )
    job = build_job(scheme, test, maps, is_two_sided=True)
    statistic = job.statistic
    ours = statistic.statistic_of(observed_map(job))
    unexplained = 1 - statistic.expected_values(theirs) ** 2
    assert furthest(ours, theirs, np.maximum(1e-5, 1e-6 / unexplained)) < 1
    np.testing.assert_allclose(statistic.expected_values(ours), observed_map(job), rtol=1e-6, atol=1e-7)


def test_a_contrast_outside_the_row_space_is_refused():
    matrix = np.column_stack([np.ones(6), [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    with pytest.raises(DesignError, match="'lonely' cannot be estimated"):
        partition(matrix, np.array([[0.0, 1.0, 0.0]]), name="lonely")


def test_a_small_row_outside_the_row_space_is_refused_beside_a_large_one():
    matrix = np.column_stack([np.ones(6), [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], np.arange(6)])
    with pytest.raises(DesignError, match="'lonely' cannot be estimated"):
        partition(matrix, np.array([[0.0, 1e-9, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]), name="lonely")


@pytest.mark.parametrize("ratio", [1e6, 1e10, 1e20])
def test_covariates_in_very_different_units_are_all_tested(ratio):
    random = np.random.default_rng(1)
    matrix = np.column_stack([np.ones(20), random.normal(size=(20, 2))])
    scaled = pd.DataFrame(matrix * [1, ratio, 1 / ratio])
    rows = np.eye(3)[1:]
    ours, plain = partition(scaled, rows), partition(matrix, rows)
    assert ours.q == 2
    np.testing.assert_allclose(ours.tested @ ours.tested.T, plain.tested @ plain.tested.T, atol=1e-12)


def test_no_degrees_of_freedom_are_refused():
    with pytest.raises(DesignError, match="no degrees of freedom"):
        partition(np.eye(3), np.eye(3)[:1])


def test_redundant_rows_of_a_contrast_count_once():
    groups = np.eye(3)[[0, 0, 1, 1, 2, 2]]
    twice = partition(groups, np.array([[1.0, -1, 0], [0, 1, -1], [1, 0, -1]]))
    once = partition(groups, np.array([[1.0, -1, 0], [0, 1, -1]]))
    assert twice.q == once.q == 2
    np.testing.assert_allclose(twice.tested @ twice.tested.T, once.tested @ once.tested.T, atol=1e-12)


def test_tested_part_is_orthogonal_to_the_nuisance_part():
    random = np.random.default_rng(0)
    matrix = random.normal(size=(12, 4))
    split = partition(matrix, random.normal(size=(1, 4)))
    assert np.abs(split.tested.T @ split.nuisance).max() < 1e-12
    both = np.column_stack([split.tested, split.nuisance])
    np.testing.assert_allclose(both @ np.linalg.lstsq(both, matrix, rcond=None)[0], matrix, atol=1e-10)


def test_elements_without_variance_beyond_the_nuisance_part_are_zero():
    matrix = np.column_stack([np.ones(6), np.arange(6.0)])
    maps = np.full((6, 3), 1e4, np.float32)
    maps[:, 1] += np.arange(6)
    split = partition(matrix, np.array([[0.0, 1.0]]))
    tiles = build_residuals(maps, split).tiles[0, :, :3]
    assert np.all(tiles[:, [0, 2]] == 0)
    assert np.linalg.norm(tiles[:, 1]) == pytest.approx(1)


@pytest.mark.parametrize(
    "test, weights", [("t", [[0.0, 1.0, 0.0]]), ("F", [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])]
)
def test_elements_are_shuffled_exactly_where_the_fit_tests_them(make_problem, test, weights):
    """Spreads from the size of the values down to the last digits of float32, and none at all."""
    random, n_obs = np.random.default_rng(5), 18
    group = np.arange(n_obs) % 2
    matrix = np.column_stack([np.ones(n_obs), group, random.normal(size=n_obs)])
    spreads = np.repeat(10.0 ** -np.arange(0, 8.0), 20)
    maps = np.ones((n_obs, 180), np.float32)
    maps[:, :160] = 1 + spreads * (random.normal(size=(n_obs, 160)) + group[:, None])
    maps[:, 160:170] = np.float32(1) / 3
    maps[:, 170:] += group[:, None]  # fitted exactly, though not by the nuisance part
    data, _ = make_problem(matrix, [(test, weights)], maps=maps, shape=(18, 10, 1))
    (result,) = fit_group(data).results
    (contrast,) = data.design.contrasts
    question = Question.about(data, result, InferenceSpec())
    assert question.is_tested.sum() == 160
    scheme = choose_scheme(data.design, contrast, InferenceSpec())
    job = build_job(scheme, test, maps, is_two_sided=True, is_tested=question.is_tested)
    lengths = np.linalg.norm(job.residuals.tiles[0, :, :180], axis=0)
    np.testing.assert_allclose(lengths, question.is_tested, atol=1e-6)
    ours = job.statistic.statistic_of(observed_map(job))
    np.testing.assert_allclose(ours[:160], result.maps[test][:160], rtol=1e-5, atol=1e-5)
    without_mask = build_residuals(maps, scheme.partition).tiles[0, :, :170]
    assert (np.any(without_mask != 0, axis=0) == question.is_tested[:170]).all()
