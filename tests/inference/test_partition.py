import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nilearn.glm.second_level import SecondLevelModel

from bids_group.config import InferenceSpec
from bids_group.errors import DesignError
from bids_group.inference.correlation import Scale
from bids_group.inference.engine import Job, observed_map
from bids_group.inference.partition import partition
from bids_group.inference.residuals import build_residuals
from bids_group.inference.scheme import choose_scheme
from bids_group.inference.statistic import build_statistic
from bids_group.inference.verdict import Question
from bids_group.model.group import fit_group
from bids_group.records import Contrast, Design


@st.composite
def designs(draw):
    """Random designs: groups, covariates of wild scales, redundant columns; and an estimable contrast."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_obs = draw(st.integers(8, 25))
    columns = [np.ones(n_obs)]
    for _ in range(draw(st.integers(0, 3))):
        columns.append(random.normal(size=n_obs) * 10.0 ** random.integers(-3, 4))
    if draw(st.booleans()):
        group = (np.arange(n_obs) % 2).astype(float)
        columns += [group, columns[-1] * group]
    matrix = np.column_stack(columns)
    if draw(st.booleans()):
        matrix = np.column_stack([matrix, matrix @ random.normal(size=matrix.shape[1])])
    q = draw(st.integers(1, 2))
    scaled = matrix / np.linalg.norm(matrix, axis=0)
    weights = random.normal(size=(q, n_obs)) @ scaled * np.linalg.norm(matrix, axis=0)
    return matrix, weights, random


def by_hand(matrix, weights, maps):
    """t (one row) or F in float64 on columns of unit norm."""
    norms = np.linalg.norm(matrix, axis=0)
    x, c = matrix / norms, weights / norms
    inverse = np.linalg.pinv(x, rcond=1e-9)
    beta, rank = inverse @ maps, np.linalg.matrix_rank(x, tol=1e-8 * np.linalg.norm(x, 2))
    variance = ((maps - x @ beta) ** 2).sum(axis=0) / (len(x) - rank)
    effect, spread = c @ beta, c @ inverse @ inverse.T @ c.T
    q = np.linalg.matrix_rank(spread, hermitian=True, tol=1e-9 * np.linalg.norm(spread, 2))
    f = np.einsum("iv,ij,jv->v", effect, np.linalg.pinv(spread, rcond=1e-9), effect) / q / variance
    return (np.copysign(np.sqrt(f), effect[0]) if len(weights) == 1 else f), q, len(x) - rank


@settings(max_examples=200, deadline=None)
@given(case=designs())
def test_partition_gives_the_parametric_statistic_in_double_precision(case):
    matrix, weights, random = case
    maps = random.normal(size=(len(matrix), 20)) + matrix[:, [0]]
    expected, q, dof = by_hand(matrix, weights, maps)
    norms = np.linalg.norm(matrix, axis=0)
    split = partition(matrix / norms, weights / norms)
    assert (split.q, split.dof) == (q, dof)
    rest = maps - split.nuisance @ (split.nuisance.T @ maps)
    explained = split.tested.T @ rest / np.linalg.norm(rest, axis=0)
    r = explained[0] if len(weights) == 1 else np.sqrt((explained**2).sum(axis=0))
    test = "t" if len(weights) == 1 else "F"
    np.testing.assert_allclose(Scale(test=test, q=q, dof=dof).statistic(r), expected, rtol=1e-8, atol=1e-10)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=designs())
def test_unshuffled_statistic_equals_second_level_model(case):
    matrix, weights, random = case
    maps = (random.normal(size=(len(matrix), 30)) + 0.5 * matrix[:, [0]]).astype(np.float32)
    norms = np.linalg.norm(matrix, axis=0)
    names = [f"x{i}" for i in range(matrix.shape[1])]
    images = [nib.Nifti1Image(row.reshape(30, 1, 1), np.eye(4)) for row in maps]
    mask = nib.Nifti1Image(np.ones((30, 1, 1), np.uint8), np.eye(4))
    left, singular, right = np.linalg.svd(matrix / norms, full_matrices=False)
    keep = singular > 1e-8 * singular[0]
    # nilearn must be handed a design of full rank, with columns of like size, to be right
    basis, mapped = left[:, keep], (weights / norms) @ right[keep].T / singular[keep]
    kind = "t" if len(weights) == 1 else "F"
    if kind == "F":  # nor does it see that rows of a contrast are redundant
        _, sizes, rows = np.linalg.svd(mapped)
        mapped = rows[: (sizes > 1e-8 * sizes[0]).sum()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SecondLevelModel(mask_img=mask, verbose=0).fit(images, design_matrix=pd.DataFrame(basis))
        theirs = model.compute_contrast(mapped, second_level_stat_type=kind, output_type="stat").get_fdata()

    contrast = Contrast(name="c", label="", weights=weights, test=kind, expression="", words="")
    frame = pd.DataFrame(matrix, columns=names, index=[f"sub-{i:02d}" for i in range(len(matrix))])
    design = Design(
        matrix=frame, contrasts=(contrast,), formula="", terms={}, variables=frame, centering="", centers={},
        rank=int(keep.sum()), details={},
    )  # fmt: skip
    scheme = choose_scheme(
        design, contrast, InferenceSpec(n_permutations=99, shuffle="flips"), blocks=None, variance_groups=None
    )
    statistic = build_statistic(scheme, kind, is_two_sided=True)
    job = Job(scheme=scheme, statistic=statistic, residuals=build_residuals(maps, scheme.partition))
    ours = statistic.statistic_of(observed_map(job))
    scale = Scale(test=kind, q=scheme.partition.q, dof=scheme.partition.dof)
    np.testing.assert_allclose(ours, theirs.reshape(-1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scale.correlation(ours), observed_map(job), rtol=1e-6, atol=1e-7)


def test_a_contrast_outside_the_row_space_is_refused():
    matrix = np.column_stack([np.ones(6), [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    with pytest.raises(DesignError, match="'lonely' cannot be estimated"):
        partition(matrix, np.array([[0.0, 1.0, 0.0]]), name="lonely")


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
    (result,) = fit_group(data, is_two_sided=True)
    (contrast,) = data.design.contrasts
    question = Question.about(data, result, InferenceSpec(), None)
    assert question.is_tested.sum() == 160
    scheme = choose_scheme(data.design, contrast, InferenceSpec(), blocks=None, variance_groups=None)
    residuals = build_residuals(maps, scheme.partition, is_tested=question.is_tested)
    lengths = np.linalg.norm(residuals.tiles[0, :, :180], axis=0)
    np.testing.assert_allclose(lengths, question.is_tested, atol=1e-6)
    statistic = build_statistic(scheme, test, is_two_sided=True)
    ours = statistic.statistic_of(observed_map(Job(scheme=scheme, statistic=statistic, residuals=residuals)))
    np.testing.assert_allclose(ours[:160], result.maps[test][:160], rtol=1e-5, atol=1e-5)
    without_mask = build_residuals(maps, scheme.partition).tiles[0, :, :170]
    assert (np.any(without_mask != 0, axis=0) == question.is_tested[:170]).all()
