"""Tails of t and F against scipy, and against their leading term far out."""

import numpy as np
import pytest
from scipy import special, stats

from bids_group import distributions
from bids_group.distributions import SMALLEST_P, f_p, f_to_z, log_upper_tail_of_t, t_p, t_to_z

DOFS = [1, 2, 5, 22, 99, 1e3, 1e5]


def values_of_t(dof, n=3000):
    rng = np.random.default_rng(int(dof))
    return np.concatenate([rng.standard_t(min(dof, 30), n) * 2, np.linspace(-12, 12, 97), [0.0]])


@pytest.mark.parametrize("dof", DOFS)
def test_z_has_the_tail_probability_of_t(dof):
    t = values_of_t(dof)
    reference = np.copysign(stats.norm.isf(stats.t.sf(np.abs(t), dof)), t)
    assert np.abs(t_to_z(t, dof) - reference).max() < 1e-6


@pytest.mark.parametrize("dof", DOFS)
def test_p_of_t_is_the_share_of_both_tails_or_of_the_upper_one(dof):
    t = values_of_t(dof)
    both = np.maximum(2 * stats.t.sf(np.abs(t), dof), SMALLEST_P)
    upper = np.maximum(stats.t.sf(t, dof), SMALLEST_P)
    np.testing.assert_allclose(t_p(t, dof, True), both, rtol=1e-6)
    np.testing.assert_allclose(t_p(t, dof, False), upper, rtol=1e-6)


@pytest.mark.parametrize("dof", DOFS)
@pytest.mark.parametrize("q", [1, 2, 7])
def test_z_and_p_of_f_are_those_of_its_upper_tail(q, dof):
    f = np.concatenate([np.random.default_rng(q).f(q, 20, 3000) * 2, [1e-6, 1e-3, 30.0]])
    tail = stats.f.sf(f, q, dof)
    np.testing.assert_allclose(f_p(f, q, dof), np.maximum(tail, SMALLEST_P), rtol=1e-6)
    reference = np.where(tail < 0.5, stats.norm.isf(tail), stats.norm.ppf(stats.f.cdf(f, q, dof)))
    assert np.abs(f_to_z(f, q, dof) - reference).max() < 1e-6


def test_infinite_dof_is_the_normal_distribution():
    t = np.linspace(-30, 30, 601)
    np.testing.assert_allclose(t_to_z(t, np.inf), t, atol=1e-9)
    np.testing.assert_allclose(t_p(t, np.inf, True), np.maximum(2 * stats.norm.sf(abs(t)), SMALLEST_P))
    x = np.linspace(0.1, 50, 100)
    np.testing.assert_allclose(f_p(x, 3, np.inf), stats.chi2.sf(3 * x, 3), rtol=1e-6)
    assert np.isfinite(f_to_z(np.array([1e4, 1e6]), 3, np.inf)).all()


@pytest.mark.parametrize(("t", "dof"), [(1e4, 1), (1e5, 22), (1e5, 100)])
def test_tail_far_out_follows_its_leading_term(t, dof):
    leading = (
        special.gammaln((dof + 1) / 2) - special.gammaln(dof / 2) - 0.5 * np.log(dof * np.pi)
        + (dof + 1) / 2 * np.log(dof) - dof * np.log(t) - np.log(dof)
    )  # fmt: skip
    assert log_upper_tail_of_t(t, dof) == pytest.approx(leading, abs=1e-4)


@pytest.mark.parametrize("dof", [*DOFS, np.inf])
def test_extremes_are_neither_infinite_nor_zero(dof):
    t = np.array([-1e4, -300.0, -40.0, 40.0, 300.0, 1e4, 3e4])
    z, p = t_to_z(t, dof), t_p(t, dof, True)
    assert np.isfinite(z).all()
    assert (np.diff(z) > 0).all()
    assert (p >= SMALLEST_P).all()
    assert (p.astype(np.float32) > 0).all()
    for q in (1, 4):
        z_of_f = f_to_z(np.array([0.0, 1e-30, 1.0, 1e8]), q, dof)
        assert np.isfinite(z_of_f).all()
        assert (np.diff(z_of_f) >= 0).all()
        assert f_p(np.array([0.0, 1e8]), q, dof)[0] == 1.0


@pytest.mark.parametrize("dof", [1e4, 1e6, 1e8])
def test_tails_next_to_0_keep_their_digits_with_many_dof(dof):
    t = np.geomspace(1e-12, 1e-2, 60)
    np.testing.assert_allclose(np.exp(log_upper_tail_of_t(t, dof)), stats.t.sf(t, dof), atol=1e-14)


@pytest.mark.parametrize("dof", [0.005, 0.02, 0.5])
@pytest.mark.parametrize("q", [1, 2, 9])
def test_z_of_f_is_that_of_its_tail_for_dof_below_1(q, dof):
    f = np.geomspace(1e-6, 1e30, 400)
    z, tail = f_to_z(f, q, dof), f_p(f, q, dof)
    assert (np.diff(z) > 0).all()
    np.testing.assert_allclose(stats.norm.sf(z), tail, rtol=1e-6)


@pytest.mark.parametrize("dof", [1, 7, 98])
def test_conversion_is_monotone_and_odd(dof):
    t = np.sort(np.random.default_rng(2).standard_t(3, 20_000).astype(np.float32) * 5)
    z = t_to_z(t, dof)
    assert (np.diff(z) >= 0).all()
    np.testing.assert_array_equal(t_to_z(-t, dof), -z)


def test_dof_that_differ_between_elements_give_the_same_as_one_by_one():
    rng = np.random.default_rng(5)
    t, dof = rng.standard_t(10, 500) * 2, rng.integers(3, 30, 500).astype(float)
    one_by_one = [t_to_z(value, degrees) for value, degrees in zip(t, dof, strict=True)]
    np.testing.assert_allclose(t_to_z(t, dof), one_by_one, atol=1e-9)


def test_many_different_dof_are_converted_directly():
    rng = np.random.default_rng(6)
    t, dof = rng.standard_t(10, 2000) * 2, rng.uniform(3, 30, 2000)
    reference = np.copysign(stats.norm.isf(stats.t.sf(np.abs(t), dof)), t)
    np.testing.assert_allclose(t_to_z(t, dof), reference, atol=1e-6)
    np.testing.assert_allclose(f_p(t**2, 1, dof), t_p(t, dof, True), rtol=1e-6)


def test_a_squared_t_is_an_f_of_one_row():
    t = values_of_t(17)
    np.testing.assert_allclose(f_p(t**2, 1, 17), t_p(t, 17, True), rtol=1e-6)


def test_nan_stays_nan():
    assert np.isnan(t_to_z(np.array([np.nan, 1.0]), 5)).tolist() == [True, False]
    assert np.isnan(f_p(np.array([np.nan, 1.0]), 2, 5)).tolist() == [True, False]


@pytest.mark.parametrize(("statistic", "q", "dof"), [("t", 1, 97.0), ("t", 1, 3.0), ("F", 3, 20.0)])
def test_tables_are_evaluated_as_scipy_does(statistic, q, dof):
    """At knots, next to them, between them, and beyond."""
    spline = distributions._table(statistic, "z", q, dof)
    knots = spline.x
    between = np.random.default_rng(0).uniform(knots[0] - 1, knots[-1] + 1, (10_000,))
    at = np.concatenate([knots, np.nextafter(knots, 99), np.nextafter(knots, -99), between])
    inside = (at >= knots[0]) & (at <= knots[-1])
    ours = distributions._evaluate(spline, at)
    np.testing.assert_allclose(ours[inside], spline(at[inside]), rtol=1e-15, atol=1e-15)
    assert np.isfinite(ours).all()
