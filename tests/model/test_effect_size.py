"""Effect sizes and their confidence limits against scipy's non-central distributions."""

import numpy as np
import pytest
from scipy import optimize, stats

from bids_group.model.fitting.group_fit import hedges_g, partial_r2


def limits_of_t(t, dof):
    """Invert the non-central t by bracketing."""
    reach = 3 * np.sqrt(1 + t**2 / (2 * dof))
    return [
        optimize.brentq(lambda nc, p=p: stats.nct.cdf(t, dof, nc) - p, t - reach, t + reach)
        for p in (0.975, 0.025)
    ]


@pytest.mark.parametrize("dof", [4, 11, 60])
def test_g_and_its_limits_invert_the_noncentral_t(dof):
    t = np.array([-6.0, -1.3, 0.0, 0.4, 2.5, 8.0])
    spread = 0.17
    g, lower, upper = hedges_g(t, spread, dof)
    unit = (1 - 3 / (4 * dof - 1)) * np.sqrt(spread)
    np.testing.assert_allclose(g, unit * t)
    expected = unit * np.array([limits_of_t(value, dof) for value in t])
    np.testing.assert_allclose(lower, expected[:, 0], atol=1e-5)
    np.testing.assert_allclose(upper, expected[:, 1], atol=1e-5)


def test_g_of_one_sample_is_the_bias_corrected_standardised_mean():
    values = np.random.default_rng(0).normal(0.8, 1.5, 20)
    t = np.array([stats.ttest_1samp(values, 0).statistic])
    g = hedges_g(t, 1 / 20, 19)[0]
    assert g[0] == pytest.approx((1 - 3 / 75) * values.mean() / values.std(ddof=1))


def test_g_of_two_samples_is_the_textbook_one():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 1, 12), rng.normal(0, 1, 17)
    t = np.array([stats.ttest_ind(a, b).statistic])
    pooled = np.sqrt((11 * a.var(ddof=1) + 16 * b.var(ddof=1)) / 27)
    assert hedges_g(t, 1 / 12 + 1 / 17, 27)[0][0] == pytest.approx(
        (1 - 3 / 107) * (a.mean() - b.mean()) / pooled
    )


def test_the_interval_of_g_excludes_zero_exactly_where_t_is_significant():
    t = np.linspace(-4, 4, 801)
    _, lower, upper = hedges_g(t, 0.1, 15)
    is_significant = np.abs(t) > stats.t.ppf(0.975, 15)
    np.testing.assert_array_equal((lower > 0) | (upper < 0), is_significant)


def test_the_interval_of_g_covers_the_truth_in_95_of_100_samples():
    rng = np.random.default_rng(2)
    n, n_samples, truth = 10, 20_000, 0.6
    values = rng.normal(truth, 1, (n, n_samples))
    t = stats.ttest_1samp(values, 0).statistic
    _, lower, upper = hedges_g(t, 1 / n, n - 1)
    correction = 1 - 3 / (4 * (n - 1) - 1)  # the limits are scaled like g
    covers = ((lower <= truth * correction) & (truth * correction <= upper)).sum()
    low, high = stats.binom.interval(0.999, n_samples, 0.95)
    assert low <= covers <= high


@pytest.mark.parametrize("dof", [1, 8, 1000])
def test_limits_of_huge_statistics_are_finite_and_monotone(dof):
    t = np.array([-1e6, -5e3, -101, -99, 0, 99, 101, 5e3, 1e6])
    for values in hedges_g(t, 1.0, dof + 1):
        assert np.isfinite(values).all()
        assert (np.diff(values) > 0).all()
    for values in partial_r2(np.array([0, 1e-9, 1.0, 1e3, 1e6, 1e9]), 2, dof, dof + 3):
        assert np.isfinite(values).all()
        assert (np.diff(values) >= 0).all()
        assert (values <= 1).all()


@pytest.mark.parametrize("dof", [5, 200, 5_000, 40_000])
def test_limits_of_t_beyond_100_are_those_of_the_noncentral_t_in_large_samples_too(dof):
    z, weight = np.polynomial.legendre.leggauss(200)
    z, weight = 9 * z, 9 * weight * stats.norm.pdf(9 * z)

    def lower_tail(t, noncentrality):
        """P(Z + δ ≤ t·S), S² being χ²/dof, as an integral over Z."""
        return weight @ stats.chi2.sf(dof * ((z + noncentrality) / t).clip(0) ** 2, dof)

    t = np.array([101.0, 150.0, 300.0, 1000.0])
    for sign in (1, -1):
        limits = np.sort(np.abs(hedges_g(sign * t, 1.0, dof)[1:]), axis=0) / (1 - 3 / (4 * dof - 1))
        for k, value in enumerate(t):
            expected = [
                optimize.brentq(lambda nc, v=value, p=p: lower_tail(v, nc) - p, value / 9, value * 9)
                for p in (0.975, 0.025)
            ]
            np.testing.assert_allclose(limits[:, k], expected, atol=2e-4 * np.ptp(expected))


def test_dof_may_differ_between_elements():
    t, dof = np.array([2.0, 2.0, 3.0]), np.array([5.0, 9.0, 5.0])
    together = np.array(hedges_g(t, np.array([0.1, 0.2, 0.3]), dof))
    alone = [hedges_g(t[[k]], 0.1 * (k + 1), dof[k]) for k in range(3)]
    np.testing.assert_allclose(together, np.squeeze(alone).T)


@pytest.mark.parametrize(("q", "dof", "n"), [(1, 12, 14), (2, 20, 24), (4, 95, 100)])
def test_partial_r2_and_its_limits_invert_the_noncentral_f(q, dof, n):
    f = np.array([0.3, 1.0, 3.5, 6.0, 20.0])
    share, lower, upper = partial_r2(f, q, dof, n)
    np.testing.assert_allclose(share, q * f / (q * f + dof))
    for k, value in enumerate(f):
        for limit, p in ((lower[k], 0.975), (upper[k], 0.025)):
            at_zero = stats.f.cdf(value, q, dof)
            if at_zero <= p:
                assert limit == 0
            else:
                nc = optimize.brentq(
                    lambda nc, v=value, p=p: stats.ncf.cdf(v, q, dof, nc) - p, 0, 20 * q * max(value, 1)
                )
                assert limit == pytest.approx(nc / (nc + n), abs=1e-5)


def test_partial_r2_is_the_gain_in_explained_variance():
    rng = np.random.default_rng(3)
    nuisance, tested = rng.normal(size=(30, 2)), rng.normal(size=(30, 2))
    y = rng.normal(size=30) + tested @ [0.5, -0.4] + nuisance @ [1, 1]

    def residual(x):
        return np.sum((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2)

    full, reduced = residual(np.hstack([nuisance, tested])), residual(nuisance)
    f = np.array([(reduced - full) / 2 / (full / 26)])
    assert partial_r2(f, 2, 26, 30)[0][0] == pytest.approx((reduced - full) / reduced)
