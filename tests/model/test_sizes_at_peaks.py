"""Effect sizes of changes within people and of slopes, against statsmodels, scipy and closed forms."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import stats

from bids_group.config.estimators import MIXED, SANDWICH
from bids_group.model import add_effect_sizes, fit_group
from bids_group.model.fitting.effect_sizes import partial_correlation
from bids_group.records import Cluster, Peak, Significance


def sizes_of(data, elements=(0,)):
    """By contrast: the sizes at elements, by way of a significance that has them as peaks."""
    fit = fit_group(data)
    found = {}
    for result in fit.results:
        peaks = tuple(
            Peak(element=at, xyz_mm=(0, 0, 0), statistic=0, z=0, p_uncorrected=1, p_corrected=None)
            for at in elements
        )
        cluster = Cluster(index=1, sign=1, elements=np.arange(2), size_mm3=1.0, peaks=peaks)
        told = Significance(
            contrast=result.contrast.name, correction="fdr", alpha=0.05, is_two_sided=True, threshold=None,
            threshold_stat="p", p_corrected=None, is_significant=np.zeros(2, bool), clusters=(cluster,),
        )  # fmt: skip
        (judged,) = add_effect_sizes(data, fit.results, [told])
        found[result.contrast.name] = [dict(peak.sizes) for peak in judged.clusters[0].peaks]
    return found


def visits(n=13, k=2, n_elements=3, seed=0):
    rng = np.random.default_rng(seed)
    scale = np.array([1.0, 1.7, 0.6, 1.2])[:k, None]
    return rng.normal(size=(n, 1, n_elements)) + scale * rng.normal(0.5, 1, size=(n, k, n_elements))


PAIRED = "mean(session=b) - mean(session=a)"


@pytest.mark.parametrize(
    "formula, more", [("~ session + subject", {}), ("~ session", {"estimator": SANDWICH})]
)
def test_d_z_and_d_av_of_two_sessions(make_visits, formula, more):
    values = visits()
    (found,) = sizes_of(make_visits(values, formula, PAIRED, **more), [1]).values()
    a, b = values[:, 0, 1], values[:, 1, 1]
    n, change = len(a), b - a
    assert found[0]["d_z"] == pytest.approx(stats.ttest_rel(b, a).statistic / np.sqrt(n), rel=1e-5)
    s, t = a.std(ddof=1), b.std(ddof=1)
    d = change.mean() / ((s + t) / 2)
    assert found[0]["d_av"] == pytest.approx(d, rel=1e-5)
    r = np.corrcoef(a, b)[
        0, 1
    ]  # Bonett's standard error, for the mean of the SDs in place of that of variances
    of_sds = d**2 * (s**2 + t**2 + 2 * r**2 * s * t) / (2 * (n - 1) * (s + t) ** 2)
    error = np.sqrt(of_sds + change.var(ddof=1) / n / ((s + t) / 2) ** 2)
    expected = [d - 1.959964 * error, d + 1.959964 * error]
    assert [found[0]["d_av_lower"], found[0]["d_av_upper"]] == pytest.approx(expected, rel=1e-5)


def test_d_av_is_that_of_unequal_sds_and_d_z_of_the_change_in_groups(make_visits):
    """Change of one group, and the difference of two changes: SDs are those within groups."""
    values = visits(14, 3)
    group = np.array(["x", "y"])[np.arange(14) % 2]
    people = pd.DataFrame({"group": pd.Categorical(group)})
    found = sizes_of(
        make_visits(
            values, "~ group * session", "mean(session=c, group=y) - mean(session=a, group=y)",
            "(mean(session=c, group=y) - mean(session=a, group=y))"
            " - (mean(session=c, group=x) - mean(session=a, group=x))",
            "mean(group=y) - mean(group=x)", people=people, estimator=SANDWICH,
        )
    )  # fmt: skip
    own, difference, between = (one[0] for one in found.values())
    y = values[:, :, 0]
    rest = y - np.array([y[group == one].mean(axis=0) for one in group])
    sds, change = np.sqrt((rest**2).sum(axis=0) / 12), y[:, 2] - y[:, 0]
    of_change = np.sqrt(((rest[:, 2] - rest[:, 0]) ** 2).sum() / 12)
    gain = change[group == "y"].mean()
    more = gain - change[group == "x"].mean()
    assert own["d_z"] == pytest.approx(gain / of_change, rel=1e-5)
    assert own["d_av"] == pytest.approx(gain / sds[[0, 2]].mean(), rel=1e-5)
    assert difference["d_z"] == pytest.approx(more / of_change, rel=1e-5)
    assert difference["d_av"] == pytest.approx(more / sds[[0, 2]].mean(), rel=1e-5)
    assert between == {}


def test_a_mean_of_sessions_is_compared_in_units_of_all_three(make_visits):
    values = visits(11, 3)
    contrast = "mean(session=a) - 0.5*mean(session=b) - 0.5*mean(session=c)"
    doubled = "2*mean(session=a) - mean(session=b) - mean(session=c)"
    for formula, more in (("~ session + subject", {}), ("~ session + (1 | subject)", {"estimator": MIXED})):
        found = sizes_of(make_visits(values, formula, contrast, doubled, **more))
        first, second = (one[0] for one in found.values())
        y = values[:, :, 0]
        change = y[:, 0] - y[:, 1:].mean(axis=1)
        assert first["d_z"] == pytest.approx(change.mean() / change.std(ddof=1), rel=1e-5)
        assert first["d_av"] == pytest.approx(change.mean() / y.std(axis=0, ddof=1).mean(), rel=1e-5)
        assert second["d_av"] == pytest.approx(2 * first["d_av"], rel=1e-5)


def test_the_limits_of_d_av_hold_it_in_95_of_100_samples(make_visits):
    n_elements, covariance = 800, np.array([[1.0, 0.7], [0.7, 2.25]])
    rng = np.random.default_rng(4)
    for n, lowest in ((12, 0.91), (40, 0.925)):
        noise = np.einsum("ab,ibj->iaj", np.linalg.cholesky(covariance), rng.normal(size=(n, 2, n_elements)))
        data = make_visits(noise + np.array([[0.0], [0.9]]), "~ session + subject", PAIRED)
        (found,) = sizes_of(data, range(n_elements)).values()
        truth = 0.9 / 1.25
        inside = np.mean([one["d_av_lower"] < truth < one["d_av_upper"] for one in found])
        assert lowest < inside < 0.97


def test_nothing_is_given_where_people_are_weighed_in_several_ways_or_not_seen(make_visits):
    values = visits(9, 3)
    lost = make_visits(values, "~ session + subject", PAIRED, lost=[5])
    assert sizes_of(lost)[PAIRED] == [{}]
    holes = values.copy()
    holes[2, 1, 0] = np.nan
    data = make_visits(holes, "~ session + subject", PAIRED)
    assert [set(one) for one in sizes_of(data, [0, 1])[PAIRED]] == [
        set(),
        {"d_z", "d_av", "d_av_lower", "d_av_upper"},
    ]
    paired = make_visits(visits(9, 2), "~ session + subject", PAIRED, lost=[5])  # who lacks one has no weight
    assert sizes_of(paired)[PAIRED][0].keys() == {"d_z", "d_av", "d_av_lower", "d_av_upper"}


@pytest.fixture
def slopes(people, analyse, join):
    rng = np.random.default_rng(2)
    values = 0.05 * people["n_cigs"].to_numpy()[:, None] + rng.normal(size=(len(people), 3))

    def make(formula, *contrasts):
        return join(analyse(people.iloc[:, :], formula, *contrasts), values)

    return make, people.assign(y=values[:, 1])


def test_a_slope_is_standardised_and_its_partial_correlation_that_of_residuals(slopes):
    make, table = slopes
    data = make(
        "~ group + age + n_cigs", "slope(n_cigs)", "n_cigs", "mean(group=patient) - mean(group=control)"
    )
    first, column, difference = (one[0] for one in sizes_of(data, [1]).values())
    scaled = table.assign(**{name: stats.zscore(table[name]) for name in ("y", "n_cigs")})
    standardised = smf.ols("y ~ group + age + n_cigs", scaled).fit().params["n_cigs"]
    assert first["standardised_slope"] == pytest.approx(standardised, rel=1e-5)
    rest = [smf.ols(f"{name} ~ group + age", table).fit().resid for name in ("y", "n_cigs")]
    r = np.corrcoef(*rest)[0, 1]
    assert first["partial_r"] == pytest.approx(r, rel=1e-5)
    n_others = 3  # group (two columns) and age
    limits = np.tanh(np.arctanh(r) + np.array([-1, 1]) * 1.959964 / np.sqrt(len(table) - n_others - 3))
    assert [first["partial_r_lower"], first["partial_r_upper"]] == pytest.approx(limits, rel=1e-4)
    assert column == first
    assert difference == {}


def test_a_slope_in_one_group_and_units(slopes):
    make, table = slopes
    data = make(
        "~ group * n_cigs",
        "slope(n_cigs, group=patient)",
        "slope(n_cigs, group=patient) - slope(n_cigs, group=control)",
    )
    own, difference = (one[0] for one in sizes_of(data, [1]).values())
    fit = smf.ols("y ~ group * n_cigs", table).fit()
    slope = fit.params["n_cigs"] + fit.params["group[T.patient]:n_cigs"]
    assert own["standardised_slope"] == pytest.approx(
        slope * table["n_cigs"].std() / table["y"].std(), rel=1e-5
    )
    t = fit.tvalues["group[T.patient]:n_cigs"]
    assert difference["partial_r"] == pytest.approx(t / np.sqrt(t**2 + fit.df_resid), rel=1e-5)
    scaled = replace(data, stack=replace(data.stack, data=data.stack.data * np.float32(128)))
    again = [one[0] for one in sizes_of(scaled, [1]).values()]
    for one, other in zip((own, difference), again, strict=True):
        assert one == pytest.approx(other, rel=1e-6)


def test_the_slope_of_a_covariate_alone_is_pearson_s_correlation(slopes):
    make, table = slopes
    (found,) = sizes_of(make("~ age", "slope(age)"), [1])["slope(age)"]
    r = stats.pearsonr(table["age"], table["y"])
    assert found["partial_r"] == pytest.approx(r.statistic, rel=1e-5)
    assert found["standardised_slope"] == pytest.approx(r.statistic, rel=1e-5)
    limits = r.confidence_interval()
    assert [found["partial_r_lower"], found["partial_r_upper"]] == pytest.approx(list(limits), rel=1e-5)
    assert partial_correlation(0.0, 10)["partial_r"] == 0
    X = sm.add_constant(table["age"].to_numpy())
    assert sm.OLS(table["y"].to_numpy(), X).fit().rsquared == pytest.approx(found["partial_r"] ** 2, rel=1e-5)
