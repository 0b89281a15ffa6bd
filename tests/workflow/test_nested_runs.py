"""Whole runs of visits of people of families: maps, sidecars, the report's words, and what is refused."""

import re

import numpy as np
import pandas as pd
import pytest

from bids_group.cli import main
from tests.visits import design_of, image, reml, sidecar_of, write_visits

SHAPE = (3, 2, 2)
HOLES = {(0, 0, 0): 4, (1, 1, 0): 7}
FORMULA = "~ group * months + (1 | family/subject)"
STARTS = ([0.8, 0.8], [0.1, 1.0], [1.0, 0.1])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Nine families of one to three people with two or three visits; some elements lack rows."""
    root = tmp_path_factory.mktemp("families") / "data"
    draw = np.random.default_rng(16)
    rows, values = [], []
    for family in range(9):
        common = draw.normal(0, 0.8, SHAPE)
        for _ in range(1 + family % 3):
            own, number = draw.normal(0, 0.7, SHAPE), len({row["participant_id"] for row in rows}) + 1
            person = {"participant_id": f"sub-{number:02d}", "group": ["control", "patient"][number % 2]}
            for visit in range(1, 3 + number % 2):
                months = 6.0 * (visit - 1) + number % 3
                values.append((0.02 * months + common + own + draw.normal(0, 0.6, SHAPE)).astype(np.float32))
                rows.append(person | {"session_id": f"ses-{visit}", "months": months, "family": f"f{family}"})
    for place, n_missing in HOLES.items():
        for row in draw.choice(len(rows), n_missing, replace=False):
            values[row][place] = np.nan
    table = pd.DataFrame(rows)
    write_visits(root, table, {"effect": values})
    return root, table, np.array(values, dtype=np.float64).reshape(len(rows), -1)


@pytest.fixture(scope="module")
def output(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nested") / "out"
    asked = ("--pooling", "none", "--correction", "fdr", "--min-coverage", "0.1", "--formula", FORMULA)
    assert main([str(study[0]), str(folder), "group", *asked]) == 0
    return folder


def test_maps_are_those_of_dense_matrices_over_the_rows_observed(study, output):
    _, table, values = study
    X, groups = design_of(table), [table[name].to_numpy() for name in ("family", "participant_id")]
    t, n = image(output / "group", "t", "GroupByMonths"), image(output / "group", "n", "GroupByMonths")
    family, person, residual = (
        image(output / "group", "variance", desc=f"_desc-{name}")
        for name in ("familyIntercept", "subjectIntercept", "residual")
    )
    for element in range(values.shape[1]):
        here = np.isfinite(values[:, element])
        assert n[element] == here.sum()
        own_t, own, rest = reml(
            values[here, element], X[here], [one[here, None] == one[here] for one in groups], STARTS
        )
        assert t[element] == pytest.approx(own_t, rel=1e-4, abs=1e-5)
        np.testing.assert_allclose([family[element], person[element]], own, rtol=2e-3, atol=1e-5)
        assert residual[element] == pytest.approx(rest, rel=1e-4)
    total = family + person + residual
    np.testing.assert_allclose(image(output / "group", "icc", desc="_desc-family"), family / total, rtol=1e-5)
    np.testing.assert_allclose(
        image(output / "group", "icc", desc="_desc-subject"), (family + person) / total, rtol=1e-5
    )
    assert (image(output / "group", "dof", "GroupByMonths") > 2).all()
    stats = {
        path.name.split("_stat-")[1].split("_")[0] for path in (output / "group").glob("*ByMonths_stat*.gz")
    }
    assert not stats & {"g", "dTotal", "icc"}  # effects have no one unit; two correlations are named


def test_sidecars_and_the_report_name_both_levels(output):
    said = sidecar_of(output / "group", "t", "GroupByMonths")
    assert (said["Estimator"], said["RandomTerms"]) == ("mixed", "(1 | family/subject)")
    assert "(rows of one family)" in sidecar_of(output / "group", "icc", desc="_desc-family")["Description"]
    assert (
        "(familyIntercept)"
        in sidecar_of(output / "group", "variance", desc="_desc-familyIntercept")["Description"]
    )
    page = (output / "report.html").read_text()
    assert f"linear mixed model '{FORMULA}'" in page.replace("&#39;", "'").replace("&#x27;", "'")
    for words in ("rows of one family", "rows of one subject", "variance of familyIntercept"):
        assert words in page
    table = page.split('_variances.tsv"')[1].split("</table>")[0].split("<tbody>")[1]
    assert re.findall(r"<tr>\s*<t[hd][^>]*>([^<]+)<", table) == [
        "intraclass correlation (rows of one family)", "intraclass correlation (rows of one subject)",
        "variance of familyIntercept", "variance of subjectIntercept", "variance of rows of one subject",
    ]  # fmt: skip


def test_the_model_that_is_written_does_the_same_again(study, output, tmp_path):
    [model] = (output / "code").glob("*smdl.json")
    assert main([str(study[0]), str(tmp_path / "again"), "group", "--no-report", "--model", str(model)]) == 0
    for stat, label in (("t", "GroupByMonths"), ("dof", "GroupByMonths"), ("variance", "")):
        desc = "" if label else "_desc-familyIntercept"
        assert (
            image(output / "group", stat, label, desc)
            == image(tmp_path / "again" / "group", stat, label, desc)
        ).all()


def test_terms_apart_are_the_same_model_and_the_dry_run_says_which(study, output, tmp_path, capsys):
    folder, apart = tmp_path / "out", "~ group * months + (1 | subject) + (1 | family)"
    asked = ("--pooling", "none", "--correction", "fdr", "--min-coverage", "0.1", "--formula", apart)
    assert main([str(study[0]), str(folder), "group", *asked, "--dry-run"]) == 0
    assert "the random term (1 | family/subject)" in " ".join(capsys.readouterr().out.split())
    assert main([str(study[0]), str(folder), "group", "--no-report", *asked]) == 0
    for stat in ("t", "dof", "p"):
        assert (
            image(output / "group", stat, "GroupByMonths") == image(folder / "group", stat, "GroupByMonths")
        ).all()


@pytest.mark.parametrize(
    ("bars", "options", "code", "words"),
    [
        ("(1 | group/subject)", (), 65, "too few groups"),
        ("(1 | session/subject)", (), 64, "+ session + (1 | subject)"),
        ("(1 + months | family/subject)", (), 64, "slopes of groups within groups"),
        ("(1 | family/subject)", ("--correction", "fwe-voxel"), 64, "--estimator sandwich"),
    ],
)
def test_what_cannot_be_fitted_is_refused_and_nothing_is_written(
    bars, options, code, words, study, tmp_path, capsys
):
    formula = f"~ months + {bars}"
    asked = ("--pooling", "none", "--formula", formula, *options)
    assert main([str(study[0]), str(tmp_path / "out"), "group", *asked]) == code
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out" / "group").exists()
