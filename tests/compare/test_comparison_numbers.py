"""The numbers of a comparison against numpy on the maps themselves, and the page against its table."""

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.cli import main as run_group
from bids_group.compare.agreement import Comparison
from tests.compare.conftest import OPTIONS, PAIR, pooled, rows

COLUMNS = ["contrast", "stat", "correction", "n", "r", "bias", "limit_lower", "limit_upper", "n_a", "n_b", "n_both", "dice"]  # fmt: skip # noqa: E501


def table_of(folder):
    return pd.read_csv(folder / "comparison.tsv", sep="\t", na_values=["n/a"], keep_default_na=False)


def read(out, ending):
    (path,) = (out / "group").glob(f"*{ending}")
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


def expected(a, b, label_a, label_b, stat, correction):
    inside = (read(a, "_desc-analysis_mask.nii.gz") > 0) & (read(b, "_desc-analysis_mask.nii.gz") > 0)
    desc = "" if correction in (None, "none") else f"_desc-{correction}"
    x, y = (
        read(out, f"contrast-{label}_stat-{stat}{desc}_statmap.nii.gz")[inside]
        for out, label in ((a, label_a), (b, label_b))
    )
    spread = 1.96 * np.std(y - x, ddof=1)
    found = {"n": inside.sum(), "r": np.corrcoef(x, y)[0, 1], "bias": (y - x).mean()}
    found |= {"limit_lower": found["bias"] - spread, "limit_upper": found["bias"] + spread}
    if correction is not None:
        alpha = np.float32(0.001 if correction == "none" else 0.05)
        in_a, in_b = x <= alpha, y <= alpha
        found |= {"n_a": in_a.sum(), "n_b": in_b.sum(), "n_both": (in_a & in_b).sum()}
        found["dice"] = 2 * found["n_both"] / (found["n_a"] + found["n_b"])
    return found


@pytest.fixture
def both_contrasts(out_mean, out_all, compare):
    code, _, folder = compare(out_all, out_mean)
    assert code == 0
    return folder


def test_numbers_are_those_of_numpy_on_the_maps(out_all, out_mean, both_contrasts):
    table = table_of(both_contrasts)
    assert list(table.columns) == COLUMNS
    assert set(table["contrast"]) == {"facesVsHouses"}
    pairs = table[["stat", "correction"]].astype(object)
    kinds = set(pairs.where(pairs.notna(), "n/a").itertuples(index=False, name=None))
    assert kinds == {("effect", "n/a"), ("t", "n/a"), ("z", "n/a"), ("p", "none"), ("p", "fdr"), ("p", "bonferroni"), ("tdp", "ari")}  # fmt: skip # noqa: E501
    for row in table[table["correction"] != "ari"].itertuples():
        correction = None if pd.isna(row.correction) else row.correction
        wanted = expected(out_all, out_mean, "facesVsHouses", "facesVsHouses", row.stat, correction)
        for name, value in wanted.items():
            np.testing.assert_allclose(getattr(row, name), value, rtol=1e-9, err_msg=f"{row} {name}")
        if correction is None:
            assert pd.isna([row.n_a, row.n_b, row.n_both, row.dice]).all()


def test_true_discoveries_are_clusters_that_hold_some(out_all, out_mean, both_contrasts):
    (row,) = table_of(both_contrasts).query("correction == 'ari'").itertuples()
    counts = []
    for out in (out_all, out_mean):
        (path,) = (out / "group").glob("*_desc-ari_clusters.tsv")
        clusters = pd.read_csv(path, sep="\t").drop_duplicates("cluster")
        counts.append(clusters.loc[clusters["true_discovery_proportion"] > 0, "n_elements"].sum())
    assert [row.n_a, row.n_b] == counts
    maps = [read(out, "_stat-tdp_desc-ari_statmap.nii.gz") for out in (out_all, out_mean)]
    inside = read(out_all, "_desc-analysis_mask.nii.gz") * read(out_mean, "_desc-analysis_mask.nii.gz") > 0
    assert row.bias == pytest.approx((maps[1] - maps[0])[inside].mean(), rel=1e-9)


def test_the_page_shows_the_numbers_of_its_table(both_contrasts):
    page = (both_contrasts / "report.html").read_text()
    shown = re.search(r'data-name="comparison.tsv".*?<tbody>(.*?)</tbody>', page, re.DOTALL)[1]
    cells = [re.findall(r'data-value="([^"]*)"', row) for row in shown.split("<tr")[1:]]
    lines = (both_contrasts / "comparison.tsv").read_text().splitlines()
    # columns without any value are not shown
    table = pd.read_csv(both_contrasts / "comparison.tsv", sep="\t", dtype=str, keep_default_na=False)
    kept = [i for i, name in enumerate(table.columns) if (table[name] != "n/a").any()]
    assert cells == [[line.split("\t")[i] for i in kept] for line in lines[1:]]
    assert "http://" not in re.sub(r"http://www.w3.org/\S+", "", page)
    assert not re.search(r'(src|href)="https?:', page)


def test_what_differs_is_said_and_who(out_all, out_mean, both_contrasts):
    page = (both_contrasts / "report.html").read_text()
    assert "The people differ: 6 are in both." in page
    assert re.search(r"Only in A: sub-02 \(in B: .*exclude-participant-label\)\), sub-05", page)
    differs = re.search(r'_differences.tsv".*?</table>', page, re.DOTALL)[0]
    for what in ("participants", "smoothing", "degrees of freedom"):
        assert f">{what}<" in differs
    assert ">formula<" not in differs


def test_sessions_as_rows_and_differences_within_people_agree(out_rows, out_pooled, compare):
    code, _, folder = compare(out_rows, out_pooled, "--pairs", PAIR)
    assert code == 0
    t_rows, t_pooled = (
        read(out_rows, "Change_stat-t_statmap.nii.gz"),
        read(out_pooled, "stat-t_statmap.nii.gz"),
    )
    np.testing.assert_allclose(t_rows, t_pooled, rtol=1e-6, atol=1e-6)
    assert np.abs(t_rows).max() > 5
    table = table_of(folder)
    assert set(table["contrast"]) == {PAIR}
    for row in table[table["correction"] != "ari"].itertuples():
        correction = None if pd.isna(row.correction) else row.correction
        wanted = expected(out_rows, out_pooled, "facesVsHousesChange", "change", row.stat, correction)
        np.testing.assert_allclose(row.bias, wanted["bias"], rtol=1e-6, atol=1e-15)
        np.testing.assert_allclose(row.limit_upper, wanted["limit_upper"], rtol=1e-6, atol=1e-15)
    page = (folder / "report.html").read_text()
    assert "The two tests must agree to rounding" in page
    assert "Balanced: all 8 people have 2 maps" in page
    assert "Complete: every map" in page


@pytest.fixture
def lacking(data, copy):
    """The data with one session of one person gone."""
    spoiled = copy(data, "data")
    for path in (spoiled / "derivatives").rglob("sub-03_ses-followup_*"):
        path.unlink()
    return spoiled


def test_a_map_that_can_change_nothing_is_told_from_one_that_can(lacking, compare, tmp_path):
    """With a term for each person, somebody with one session has no say in their difference."""
    b = pooled(lacking, tmp_path / "b", "--missing", "drop")
    a = rows(lacking, tmp_path / "a")
    code, _, folder = compare(a, b, "--pairs", PAIR)
    page = (folder / "report.html").read_text()
    assert code == 0
    np.testing.assert_allclose(read(a, "Change_stat-t_statmap.nii.gz"), read(b, "stat-t_statmap.nii.gz"), rtol=2e-6, atol=1e-6)  # fmt: skip # noqa: E501
    assert "1 map that only one of them has can change neither" in page
    assert "not so sub-03" in page
    assert "The people differ" in page
    a = rows(lacking, tmp_path / "c", formula="~ session * group + subject")
    code, _, folder = compare(a, b, "--pairs", PAIR)
    assert code == 0
    assert (
        "need not agree: they weigh the maps differently (1 only in A" in (folder / "report.html").read_text()
    )
    assert np.abs(read(a, "Change_stat-t_statmap.nii.gz") - read(b, "stat-t_statmap.nii.gz")).max() > 0.01


def test_another_residual_variance_is_told_from_another_effect(data, out_pooled, compare, tmp_path):
    out = rows(data, tmp_path / "a", formula="~ session * group + subject")
    code, _, folder = compare(out, out_pooled, "--pairs", PAIR)
    page = (folder / "report.html").read_text()
    assert code == 0
    assert "The effects must agree to rounding" in page
    assert "degrees of freedom 6.0 in A, 7.0 in B" in page


def test_people_are_complete_whatever_the_estimator(data, out_rows, compare, tmp_path):
    out = rows(data, tmp_path / "a", "--estimator", "sandwich", formula="~ session")
    code, _, folder = compare(out, out_rows)
    page = (folder / "report.html").read_text()
    assert code == 0
    assert "Complete: every map" in page
    assert "not complete" not in page
    assert re.search(r">degrees of freedom</td>\s*<td[^>]*>7</td>", page)


def test_maps_that_do_not_belong_to_their_design_raise_an_alarm(out_rows, out_pooled, copy, compare):
    spoiled = copy(out_pooled)
    (path,) = (spoiled / "group").glob("*stat-t_statmap.nii.gz")
    image = nib.load(path)
    nib.Nifti1Image(np.asarray(image.dataobj) * np.float32(1.01), image.affine, image.header).to_filename(
        path
    )
    code, log, folder = compare(out_rows, spoiled, "--pairs", PAIR)
    assert code == 0
    assert "must agree and differ" in log
    assert "must agree and differ" in (folder / "report.html").read_text()


def test_differing_grids_are_compared_where_centres_lie(out_all, out_mean, copy, compare):
    """The same maps on a cropped grid: another first voxel, the same places."""
    cropped = copy(out_mean)
    for path in (cropped / "group").glob("*.nii.gz"):
        image = nib.load(path)
        image.slicer[2:, 1:-1, :].to_filename(path)
    code, log, folder = compare(out_all, cropped)
    assert code == 0
    assert "grids differ" in log
    assert "grids differ" in (folder / "report.html").read_text()
    inside = (read(out_all, "_desc-analysis_mask.nii.gz") > 0) & (
        read(out_mean, "_desc-analysis_mask.nii.gz") > 0
    )
    inside[:2] = inside[:, :1] = inside[:, -1:] = False
    x, y = (read(out, "_stat-t_statmap.nii.gz")[inside] for out in (out_all, out_mean))
    (row,) = table_of(folder).query("stat == 't'").itertuples()
    assert row.n == inside.sum()
    np.testing.assert_allclose([row.r, row.bias], [np.corrcoef(x, y)[0, 1], (y - x).mean()], rtol=1e-9)


def test_without_the_pooled_maps_nothing_is_said_on_what_must_agree(out_rows, out_pooled, copy, compare):
    bare = copy(out_pooled)
    for folder in bare.glob("sub-*"):
        shutil.rmtree(folder)
    code, _, folder = compare(out_rows, bare, "--pairs", PAIR)
    page = (folder / "report.html").read_text()
    assert code == 0
    assert "must agree is not known: OUT_B lacks files" in page


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([1e-6, 1.0, 1e4]))
def test_agreement_is_that_of_numpy(seed, share, scale):
    rng = np.random.default_rng(seed)
    values = (scale * rng.standard_normal((2, 9))).astype(np.float32)
    flags = rng.random((2, 9)) < share
    one = Comparison(stat="p", correction="fdr", n=9, a=values[0], b=values[1], is_a=flags[0], is_b=flags[1])
    row = one.row("c")
    a, b = values.astype(float)
    assert row["bias"] == pytest.approx(np.mean(b - a), abs=1e-9 * scale)
    half = 1.96 * np.sqrt(np.sum((b - a - np.mean(b - a)) ** 2) / 8)
    assert row["limit_upper"] - row["bias"] == pytest.approx(half, rel=1e-9)
    assert row["n_both"] == sum(p and q for p, q in flags.T)
    n = sum(flags[0]) + sum(flags[1])
    assert row["dice"] == (None if n == 0 else pytest.approx(2 * row["n_both"] / n))
    assert row["r"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)


def test_maps_without_variation_have_no_correlation():
    flat = np.zeros(5, dtype=np.float32)
    row = Comparison(stat="t", correction=None, n=5, a=flat, b=flat).row("c")
    assert row["r"] is None
    assert (row["bias"], row["limit_lower"], row["limit_upper"]) == (0, 0, 0)


def test_variance_groups_are_another_test(data, out_all, compare, tmp_path):
    out = tmp_path / "welch"
    words = ["group", "--formula", "~ 0 + group", "--contrast", "mean = mean()"]
    assert run_group([str(data), str(out), *words, *OPTIONS, "--variance-groups", "group"]) == 0
    code, _, folder = compare(out_all, out, "--pairs", "facesVsHouses=facesVsHousesMean")
    assert code == 0
    assert "groups have residual variances of their own" in (folder / "report.html").read_text()


def test_the_same_fit_under_another_coding_must_agree(data, compare, tmp_path):
    """Two spellings of one model, t and F: other columns, the same tests."""
    outs = []
    for number, formula in enumerate(("~ group + age", "~ 0 + C(group, contr.sum) + scale(age)")):
        outs.append(tmp_path / str(number))
        words = ["group", "--formula", formula, "--contrast", "d = mean(group=treated) - mean(group=control)"]
        joint = "both = [mean(group=treated), mean(group=control)]"
        assert run_group([str(data), str(outs[-1]), *words, joint, *OPTIONS]) == 0
    code, _, folder = compare(*outs)
    assert code == 0
    said = json.loads((folder / "comparison.json").read_text())["Expectations"]
    assert {name: (one["StatisticMustAgree"], one["Alarm"]) for name, one in said.items()} == {
        "facesVsHousesBoth": (True, None),
        "facesVsHousesD": (True, None),
    }
    assert set(table_of(folder)["stat"]) >= {"t", "F"}


def test_what_estimators_add_is_compared_too(out_all, copy, compare):
    """Of a contrast, or of its analysis: planted into two copies, as both have to have it."""
    rng, added = np.random.default_rng(1), {}
    sides = copy(out_all, "first"), copy(out_all, "second")
    (mask,) = (out_all / "group").glob("*_desc-analysis_mask.nii.gz")
    image = nib.load(mask)
    for stat in ("dTotal", "dof", "icc", "tau2"):
        for side in sides[: 1 if stat == "tau2" else 2]:
            volume = rng.gamma(3, 1, image.shape).astype(np.float32)
            path = side / "group" / mask.name.replace("_desc-analysis_mask", f"_stat-{stat}_statmap")
            nib.Nifti1Image(volume, image.affine).to_filename(path)
            added.setdefault(stat, []).append(volume[image.get_fdata() > 0].astype(float))
    code, _, folder = compare(*sides)
    assert code == 0
    table = table_of(folder).set_index("stat")
    assert "tau2" not in table.index
    for stat in ("dTotal", "dof", "icc"):
        a, b = added[stat]
        assert table.loc[stat, "bias"] == pytest.approx((b - a).mean())
        assert table.loc[stat, "r"] == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_other_maps_and_other_values_of_one_name_are_told(data, compare, copy, tmp_path):
    """Another first level, and a table whose rows were sorted without their people."""
    spoiled = copy(data, "data")
    later, baseline = (
        next((spoiled / "derivatives").rglob(f"sub-08_ses-{session}_*_stat-effect_statmap.nii.gz"))
        for session in ("followup", "baseline")
    )
    baseline.write_bytes(later.read_bytes())
    people = pd.read_csv(spoiled / "participants.tsv", sep="\t")
    assert people["age"].tolist() == [46, 58, 21, 46, 33, 33, 58, 21]
    people["age"] = people["age"].to_numpy()[::-1]
    people.to_csv(spoiled / "participants.tsv", sep="\t", index=False)
    command = ["group", "--formula", "~ age", "--session-label", "baseline", *OPTIONS]
    a, b = tmp_path / "a", tmp_path / "b"
    assert run_group([str(data), str(a), *command, "--exclude-participant-label", "01"]) == 0
    assert run_group([str(spoiled), str(b), *command]) == 0
    page = (compare(a, b)[2] / "report.html").read_text()
    differs = re.search(r'_differences.tsv".*?</table>', page, re.DOTALL)[0]
    told = re.findall(r"values of (\w+)<.*?>(other in [^<]*)<", differs, re.DOTALL)
    assert told == [("age", "other in 5 of 7 rows that both have")]
    assert "7 maps of one name in both, 1 of them with other content; 0 only in A, 1 only in B." in page
