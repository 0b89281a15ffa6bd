"""Whole runs of tests of equivalence, Bayes factors and conjunctions: files, sidecars, refusals."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bids_group.cli import main
from tests.studies import inside

QUIET = ["--no-report", "--no-sensitivity", "-q"]
ASKED = [
    *("--formula", "~ age", "--bayes-factor", "--contrast", "m = mean()", "near = equivalent(m, 0.5)"),
    *("nearG = equivalent(m, 2 g)", "both = conjunction(m, 2*mean(age=50))", "joint = [Intercept, age]"),
]


@pytest.fixture(scope="module")
def out(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence") / "out"
    assert main([str(small), str(folder), "group", *ASKED, *QUIET]) == 0
    return folder


@pytest.fixture(scope="module")
def read(out):
    return lambda contrast, ending: inside(out, f"_contrast-*{contrast}_stat-{ending}")


def test_equivalence_is_the_larger_of_two_one_sided_p(read):
    effect, error = read("Near", "effect")[0], np.sqrt(read("Near", "variance")[0])
    p, sidecar = read("Near", "p")
    two = stats.t.sf((effect + 0.5) / error, 10), stats.t.cdf((effect - 0.5) / error, 10)
    np.testing.assert_allclose(p, np.maximum(*two), rtol=2e-5)
    assert sidecar["EquivalenceBounds"] == [-0.5, 0.5]
    assert sidecar["TwoSided"] is False
    assert "one-sided" in sidecar["Description"]
    inner = p < 0.99
    np.testing.assert_allclose(read("Near", "z")[0][inner], stats.norm.isf(p[inner]), atol=2e-5)
    t = read("M", "t")[0]
    p, sidecar = read("NearG", "p")
    np.testing.assert_allclose(p, stats.nct.cdf(np.abs(t), 10, 2 * np.sqrt(12)), rtol=2e-4)
    assert "non-central t" in sidecar["EquivalenceMethod"]
    p_fdr = read("NearG", "p_desc-fdr")[0]
    np.testing.assert_allclose(p_fdr, stats.false_discovery_control(p), rtol=1e-5)


def test_a_conjunction_is_the_largest_p_of_contrasts_that_are_written_beside_it(read):
    one, other, both = (read(name, "t")[0] for name in ("M", "2MeanAge50", "Both"))
    is_same = np.sign(one) == np.sign(other)
    for ending in ("p", "p_desc-fdr", "p_desc-bonferroni"):
        parts = [read(name, ending)[0] for name in ("M", "2MeanAge50")]
        found, sidecar = read("Both", ending)
        np.testing.assert_array_equal(found, np.where(is_same, np.maximum(*parts), 1))
        assert sidecar["Conjunction"] == ["m", "2*mean(age=50)"]
    np.testing.assert_array_equal(both[~is_same], 0)


def test_a_bayes_factor_says_on_what_it_stands(read, out):
    values, sidecar = read("M", "bf10")
    assert (values > 0).all()
    assert sidecar["CauchyScale"] == pytest.approx(np.sqrt(0.5))
    assert sidecar["EffectiveSampleSize"] == pytest.approx(12)
    assert sidecar["CovariateStandardDeviation"] is None
    assert not [*Path(out, "group").glob("*Joint_stat-bf10*")]
    assert not [*Path(out, "group").glob("*Both_stat-bf10*")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--correction", "fwe-voxel"], "cannot be judged by shuffling"),
        (["--permutation-p"], "cannot be judged by shuffling"),
        (["--estimator", "sandwich"], "ordinary least squares"),
        (["--variance-groups", "age"], "ordinary least squares"),
    ],
)
def test_what_cannot_judge_equivalence_is_refused_before_anything_is_read(
    small, tmp_path, capsys, options, said
):
    words = [
        str(small),
        str(tmp_path / "out"),
        "group",
        "--contrast",
        "e = equivalent(mean(), 0.3)",
        *options,
    ]
    with pytest.raises(SystemExit) as caught:
        raise SystemExit(main([*words, *QUIET]))
    assert caught.value.code == 64
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_bayes_factors_of_other_estimators_are_refused(small, tmp_path, capsys):
    words = [str(small), str(tmp_path / "out"), "group", "--bayes-factor", "--estimator", "sandwich", *QUIET]
    with pytest.raises(SystemExit) as caught:
        raise SystemExit(main(words))
    assert caught.value.code == 64
    assert "--bayes-factor is for ordinary least squares" in capsys.readouterr().err
