"""The dot plot of regions: effects and limits by scipy, sorted, what is significant in colour."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_group.cli import main
from tests.studies import begin_study

N, ALPHA = 9, 0.1
PEOPLE = [f"sub-{number}" for number in range(1, N + 1)]


@pytest.fixture
def draw(tmp_path):
    """Run a table of regions; give the page and the picture's words."""

    def run(numbers, *options):
        root, out = tmp_path / "data", tmp_path / "out"
        begin_study(root, pd.DataFrame({"participant_id": PEOPLE, "group": ["a", "b", "c"] * (N // 3)}))
        table = pd.DataFrame(numbers, columns=[f"area {k}" for k in range(numbers.shape[1])])
        table.insert(0, "participant_id", PEOPLE)
        table.to_csv(root / "thickness.tsv", sep="\t", index=False)
        words = ["group", "-q", "--no-sensitivity", "--maps", root / "thickness.tsv", "--alpha", ALPHA]
        assert main([str(root), str(out), *map(str, words), *options]) == 0
        pictures = [path.read_text() for path in (out / "group").rglob("*desc-regions_statmap.svg")]
        return (out / "report.html").read_text(encoding="utf-8"), pictures, out

    return run


def test_effects_are_sorted_and_have_their_intervals(draw):
    random = np.random.default_rng(4)
    numbers = random.normal(0.2, 1, size=(N, 7)) + np.array([3, 0, -4, 0, 1, 0, 0])
    page, (picture,), out = draw(numbers, "--correction", "bonferroni")
    told = re.findall(r"<title>area (\d): (\S+) \[(\S+), (\S+)\]</title>", picture)
    effect, error = numbers.mean(axis=0), stats.sem(numbers, axis=0)
    half = stats.t.ppf(1 - ALPHA / 2, N - 1) * error
    assert sorted(int(one[0]) for one in told) == list(range(7))
    for number, *values in told:
        at = int(number)
        expected = effect[at], effect[at] - half[at], effect[at] + half[at]
        np.testing.assert_allclose([float(one) for one in values], expected, rtol=1e-3)
    clusters = pd.read_csv(next((out / "group").glob("*desc-bonferroni_clusters.tsv")), sep="\t")
    limits = {one[0]: (float(one[2]), float(one[3])) for one in told}
    assert 1 < len(clusters) < 7
    for row in clusters.itertuples():
        both = limits[row.region.removeprefix("area ")]
        np.testing.assert_allclose(both, (row.effect_lower, row.effect_upper), rtol=1e-3)
    order = re.findall(r">area (\d)</text>", picture)  # along the axis, from below
    assert [int(one) for one in order] == np.argsort(effect).tolist()
    coloured = picture.count('fill="#D55E00"')
    assert coloured == len(clusters) + 1  # and the legend
    assert "its 90 % confidence interval" in page
    assert "In colour: significant (Bonferroni)." in page
    assert "No picture is drawn" not in page


def test_of_many_regions_the_strongest_are_drawn_and_f_tests_have_none(draw):
    random = np.random.default_rng(4)
    numbers = random.normal(size=(N, 70)) + np.linspace(-4, 4, 70)
    page, pictures, _ = draw(numbers, "--formula", "~ group")
    (picture,) = pictures  # of the mean, not of the F of groups
    told = {int(one) for one in re.findall(r"<title>area (\d+):", picture)}
    assert len(told) == 60
    assert "the 60 of 70 regions with the largest |t|" in page
    assert {0, 69} <= told
    assert "No picture is drawn of regions" in page
