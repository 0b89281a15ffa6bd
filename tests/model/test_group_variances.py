"""A variance of its own for each group of rows: against scipy's Welch, and by hand for any design."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bids_group.executor import Threads
from bids_group.model import fit_group
from tests.groups import make_contrast, make_design, make_group


def make_data(matrix, values, contrasts, **more):
    return make_group(make_design(matrix, contrasts), values, **more)


def grouped(codes):
    labels = [f"sub-{k:03d}" for k in range(len(codes))]
    return pd.Series(list(map(str, codes)), index=labels, name="scanner")


def by_hand(y, X, c, codes):
    """t, dof and the smallest dof of the groups that count, spelled out for one element."""
    inverse = np.linalg.pinv(X)
    hat = X @ inverse
    residual, weights = y - hat @ y, c @ inverse
    a, dofs = [], []
    for group in np.unique(codes):
        rows = codes == group
        dof = (1 - np.diag(hat)[rows]).sum()
        share = (weights[rows] ** 2).sum()
        if share > 1e-12 * (weights**2).sum():
            a.append(share * (residual[rows] ** 2).sum() / dof)
            dofs.append(dof)
    a, dofs = np.array(a), np.array(dofs)
    return weights @ y / np.sqrt(a.sum()), a.sum() ** 2 / (a**2 / dofs).sum(), dofs.min(), a.sum()


def fit(X, values, contrasts, codes, **more):
    return fit_group(make_data(X, values, contrasts, variance_groups=grouped(codes), **more)).results


@pytest.mark.parametrize("coding", ["treatment", "means"])
@pytest.mark.parametrize("is_complete", [True, False])
def test_two_groups_are_welch_s_test(coding, is_complete):
    codes = np.repeat([0, 1], (6, 24))
    values = np.random.default_rng(1).normal(size=(30, 200)) * np.where(codes == 0, 3, 1)[:, None]
    X, weights = {
        "treatment": (np.column_stack([np.ones(30), codes]), [0, 1]),
        "means": (np.eye(2)[codes], [-1, 1]),
    }[coding]
    (result,) = fit(X, values, [make_contrast(weights)], codes, is_complete=is_complete)
    values = values.astype(np.float32).astype(float)
    welch = stats.ttest_ind(values[codes == 1], values[codes == 0], equal_var=False)
    np.testing.assert_allclose(result.maps["t"], welch.statistic, rtol=2e-6)
    np.testing.assert_allclose(result.maps["dof"], welch.df, rtol=2e-6)
    np.testing.assert_allclose(result.maps["p"], welch.pvalue, rtol=2e-5)
    assert result.smallest_dof == pytest.approx(5)
    assert result.dof is None
    assert set(result.maps) == {"effect", "variance", "t", "z", "p", "dof"} | (
        set() if is_complete else {"n"}
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(3, 9), min_size=2, max_size=4),
    has_own_slopes=st.booleans(),
    is_complete=st.booleans(),
)
def test_any_design_has_the_numbers_by_hand(seed, sizes, has_own_slopes, is_complete):
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    x = rng.normal(size=len(codes))
    means = np.eye(len(sizes))[codes]
    X = np.column_stack([means, means * x[:, None] if has_own_slopes else x])
    values = (rng.normal(size=(len(codes), 5)) * rng.uniform(0.2, 5, len(sizes))[codes][:, None]).astype("f4")
    if not is_complete:
        values[codes == 0] = (
            np.where(rng.uniform(size=values[codes == 0].shape) < 0.2, np.nan, 1) * values[codes == 0]
        )
    rows = rng.normal(size=(3, X.shape[1]))
    rows[0, 1:] = 0  # the mean of one group alone
    asked = [make_contrast(row) for row in rows]
    results = fit(X, values, asked, codes, is_complete=is_complete)
    for row, result in zip(rows, results, strict=True):
        for element in range(5):
            here = np.isfinite(values[:, element])
            if (result.maps["p"][element] == 1) and not here.all():
                continue
            t, dof, smallest, variance = by_hand(
                values[here, element].astype(float), X[here], row, codes[here]
            )
            assert result.maps["t"][element] == pytest.approx(t, rel=2e-4)
            assert result.maps["variance"][element] == pytest.approx(variance, rel=2e-4)
            assert result.maps["dof"][element] == pytest.approx(dof, rel=2e-4)
            assert np.broadcast_to(result.smallest_dof, 5)[element] == pytest.approx(smallest, rel=1e-4)
            assert result.maps["p"][element] == pytest.approx(2 * stats.t.sf(abs(t), dof), rel=1e-3)


def test_f_of_one_row_is_the_square_of_t_with_its_p():
    codes = np.repeat([0, 1], (6, 14))
    values = np.random.default_rng(2).normal(size=(20, 50)) * (1 + 2 * codes)[:, None]
    X = np.column_stack([np.ones(20), codes])
    t, f = fit(X, values, [make_contrast([0, 1]), make_contrast([0, 1], test="F")], codes)
    np.testing.assert_allclose(f.maps["F"], t.maps["t"].astype(float) ** 2, rtol=1e-5)
    np.testing.assert_allclose(f.maps["p"], t.maps["p"], rtol=1e-4)


def test_f_of_several_rows_has_no_p_that_would_be_wrong_and_no_contrast_has_g():
    codes = np.repeat([0, 1, 2], (5, 8, 9))
    values = np.random.default_rng(3).normal(size=(22, 7)) * (1 + codes)[:, None]
    X = np.eye(3)[codes]
    joint, difference = fit(
        X, values, [make_contrast([1, -1, 0], [0, 1, -1]), make_contrast([1, -1, 0])], codes
    )
    assert set(joint.maps) == {"effect", "variance", "F"}
    assert not {"g", "gLower"} & set(difference.maps)
    y = values.astype(np.float32)[:, 4].astype(float)
    means = np.array([y[codes == g].mean() for g in range(3)])
    cov = np.diag([y[codes == g].var(ddof=1) / (codes == g).sum() for g in range(3)])
    C = np.array([[1.0, -1, 0], [0, 1, -1]])
    expected = (C @ means) @ np.linalg.solve(C @ cov @ C.T, C @ means) / 2
    assert joint.maps["F"][4] == pytest.approx(expected, rel=1e-5)


def test_one_variance_group_is_the_pooled_fit_to_the_bit():
    rng = np.random.default_rng(4)
    X, values = np.column_stack([np.ones(12), rng.normal(size=12)]), rng.normal(size=(12, 40))
    (one,) = fit(X, values, [make_contrast([0, 1])], np.zeros(12, int))
    (plain,) = fit_group(make_data(X, values, [make_contrast([0, 1])])).results
    assert all(one.maps[name].tobytes() == plain.maps[name].tobytes() for name in plain.maps)


def test_elements_where_a_group_that_counts_has_nobody_left_are_not_tested():
    codes = np.repeat([0, 1], (3, 10))
    values = np.random.default_rng(5).normal(size=(13, 4)).astype(np.float32)
    values[:2, 1] = np.nan
    X = np.eye(2)[codes]
    difference, mean = fit(
        X, values, [make_contrast([1, -1]), make_contrast([0, 1])], codes, is_complete=False
    )
    assert difference.maps["p"][1] == 1
    assert "1 of 4 elements" in difference.notices[0].sentence
    assert mean.maps["p"][1] < 1
    assert not mean.notices


def test_the_number_of_processes_does_not_change_a_bit():
    codes = np.repeat([0, 1], (6, 14))
    values = np.random.default_rng(6).normal(size=(20, 70_000)).astype(np.float32)
    data = make_data(
        np.column_stack([np.ones(20), codes]), values, [make_contrast([0, 1])], variance_groups=grouped(codes)
    )
    one, other = (fit_group(data, executor=Threads(n_procs=n)).results[0] for n in (1, 3))
    assert all(one.maps[name].tobytes() == other.maps[name].tobytes() for name in one.maps)
