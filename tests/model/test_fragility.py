"""How often normal data lose significance without one person: by brute force, and what is known of it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_group.config.estimators import SANDWICH
from bids_group.model import find_most_influential, fit_group, share_lost
from tests.groups import make_contrast, make_design, make_group


def design_of(X):
    """Rows have numbers for names."""
    return make_design(X, labels=range(len(X)))


def by_refitting(X, c, p, alpha, tails, is_largest, n_draws=4000, people=None):
    """Draw data with this p, and fit every one of them again without each person (row)."""
    draw, (n, rank) = np.random.default_rng(5), X.shape
    people = np.arange(n) if people is None else people
    inverse = np.linalg.inv(X.T @ X)
    t = stats.t.isf(p / tails, n - rank)
    y = draw.standard_normal((n, n_draws))
    y -= X @ (inverse @ X.T @ y)
    y *= np.sqrt((n - rank) / (y**2).sum(axis=0))
    y += (X @ (inverse @ c) * t / np.sqrt(c @ inverse @ c))[:, None]
    own = []
    for person in np.unique(people):
        left, y_left = X[people != person], y[people != person]
        beta, _, own_rank, _ = np.linalg.lstsq(left, y_left, rcond=None)
        dof = len(left) - own_rank
        spread = c @ np.linalg.pinv(left.T @ left) @ c
        t_left = c @ beta / np.sqrt(((y_left - left @ beta) ** 2).sum(axis=0) / dof * spread)
        own.append(stats.t.sf(t_left, dof) * tails)
    is_lost = np.array(own) > alpha
    return np.mean(is_lost.any(axis=0) if is_largest else is_lost)


@pytest.mark.parametrize("is_largest", [True, False])
@pytest.mark.parametrize(("p", "is_two_sided"), [(0.025, True), (0.01, True), (0.03, False)])
def test_the_share_is_that_of_refitting_every_draw(p, is_two_sided, is_largest):
    draw = np.random.default_rng(1)
    X = np.column_stack([np.ones(20), draw.normal(size=20), np.arange(20) % 2])
    c = np.array([0.0, 1.0, 0.5])
    found = share_lost(
        design_of(X),
        make_contrast(c),
        p,
        0.05,
        subjects=pd.Series(range(20)),
        is_two_sided=is_two_sided,
        is_largest=is_largest,
    )
    expected = by_refitting(X, c, p, 0.05, 2 if is_two_sided else 1, is_largest)
    assert found == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("is_largest", [True, False])
@pytest.mark.parametrize("has_subjects", [True, False])
def test_all_rows_of_a_person_go_together(is_largest, has_subjects):
    """Four visits each, with a term of the person and without: one row left out changes far less."""
    people = np.repeat(np.arange(8), 4)
    visit, draw = np.tile([0.0, 1.0, 2.0, 3.0], 8), np.random.default_rng(2)
    before = (
        np.eye(8)[people] if has_subjects else np.column_stack([np.ones(32), draw.normal(size=8)[people]])
    )
    X, c = np.column_stack([before, visit]), np.r_[np.zeros(before.shape[1]), 1.0]
    asked = {"is_two_sided": True, "is_largest": is_largest}
    found = share_lost(design_of(X), make_contrast(c), 0.01, 0.05, subjects=pd.Series(people), **asked)
    assert found == pytest.approx(by_refitting(X, c, 0.01, 0.05, 2, is_largest, people=people), abs=0.04)
    by_row = share_lost(design_of(X), make_contrast(c), 0.01, 0.05, subjects=pd.Series(range(32)), **asked)
    assert found > by_row


def test_close_to_alpha_it_is_always_lost_and_far_from_it_never():
    X = np.column_stack([np.ones(30), np.linspace(-1, 1, 30)])
    asked = {"alpha": 0.05, "is_two_sided": True, "is_largest": True, "subjects": pd.Series(range(30))}
    shares = [share_lost(design_of(X), make_contrast([0, 1]), p, **asked) for p in (0.045, 0.02, 1e-4)]
    assert shares[0] > 0.95
    assert 0.5 < shares[1] < 0.9
    assert shares[2] == 0


def test_of_f_and_of_what_is_not_significant_nothing_is_said():
    X = np.column_stack([np.ones(12), np.arange(12)])
    asked = {"alpha": 0.05, "is_two_sided": True, "is_largest": True, "subjects": pd.Series(range(12))}
    assert share_lost(design_of(X), make_contrast(np.eye(2), test="F"), 0.01, **asked) is None
    assert share_lost(design_of(X), make_contrast([0, 1]), 0.06, **asked) is None


@pytest.mark.parametrize("is_sandwich", [True, False])
@pytest.mark.parametrize("rows", [[[1, 0, 0]], [[0, 1, 0]], [[1, 0, 0], [0, 0, 1]]])
def test_who_carries_a_contrast_most_is_found_by_fitting_without_all_rows_of_each_person(rows, is_sandwich):
    """One row says little: Cook's distances of single rows, of all coefficients, name others."""
    draw, people = np.random.default_rng(7), np.repeat(np.arange(9), [4, 4, 4, 3, 4, 1, 4, 2, 4])
    labels = [f"sub-{person}_ses-{k}" for k, person in enumerate(people)]
    X = np.column_stack([np.ones(len(people)), draw.normal(size=(len(people), 2))])
    y = 0.8 + X[:, 1] + 0.7 * X[:, 2] + 0.6 * draw.normal(size=9)[people] + draw.normal(size=len(people))
    design = make_design(X, [make_contrast(*rows)], labels=labels, variables=pd.DataFrame(index=labels))
    more = {"estimator": SANDWICH, "blocks": people} if is_sandwich else {}
    data = make_group(design, y[:, None], subjects=people.astype(str), **more)
    (result,) = fit_group(data).results
    C, left = np.array(rows, dtype=float), []
    for person in range(9):
        own, own_y = X[people != person], y[people != person]
        beta, squares, *_ = np.linalg.lstsq(own, own_y, rcond=None)
        covariance = C @ np.linalg.inv(own.T @ own) @ C.T * squares[0] / (len(own) - 3)
        effect = C @ beta
        left.append(effect @ np.linalg.solve(covariance, effect) / len(C))  # t² or F
    expected = int(np.argmin(left))
    found = find_most_influential(data, result, is_two_sided=True)
    assert people[labels.index(found)] == expected
