"""The gallery: every command of it does what its page says.

Built here on coarser maps, with those pictures alone that the pages show: their numbers are compared with
others below, those of the pages are not.
"""

import functools
import importlib.util
import json
import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import bids_group.compare.page
import bids_group.demo.cli

SIZE_MM = 8
GALLERY = Path(__file__).parents[1] / "docs" / "gallery"


def _load():
    spec = importlib.util.spec_from_file_location("gallery_build", GALLERY / "build.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


BUILD = _load()


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Give a function of a question's name: the folder its commands ran in, and its page."""

    @functools.cache
    def build(name):
        (question,) = [one for one in BUILD.QUESTIONS if one.name == name]
        work, into = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("gallery")
        with pytest.MonkeyPatch.context() as patched:
            write_demo = functools.partial(bids_group.demo.cli.write_demo, size_mm=SIZE_MM)
            patched.setattr(bids_group.demo.cli, "write_demo", write_demo)
            for program, run in BUILD.PROGRAMS.items():
                patched.setitem(BUILD.PROGRAMS, program, _without_unseen_reports(run, question))
            for picture in ("picture_agreement", "picture_difference"):
                draw = getattr(bids_group.compare.page, picture)
                patched.setattr(bids_group.compare.page, picture, _only_shown(draw, question))
            BUILD.build_page(question, work, into)
        return work, into / f"{name}.md"

    return build


def _without_unseen_reports(program, question):
    """Let a run whose pictures are not on the page do without a report."""

    def run(words):
        is_run = "group" in words and "--no-report" not in words
        is_seen = is_run and any(one.pattern.startswith(f"{words[1]}/") for one in question.figures)
        return program([*words, "--no-report"] if is_run and not is_seen else words)

    return run


def _only_shown(draw, question):
    def run(one, *more):
        ending = f"_stat-{one.stat}_" if one.correction is None else f"_desc-{one.correction}_"
        return draw(one, *more) if any(ending in shown.pattern for shown in question.figures) else None

    return run


@pytest.mark.parametrize("question", BUILD.QUESTIONS, ids=lambda one: one.name)
def test_every_command_and_picture_of_a_page_is_there(built, question):
    _, page = built(question.name)
    text = page.read_text()
    for command in question.commands:
        assert command.words[0] in text
    pictures = re.findall(r"\]\((images/[^)]+)\)", text)
    assert len(pictures) == len(question.figures)
    assert all((page.parent / name).stat().st_size > 1000 for name in pictures)


@pytest.mark.parametrize("name", [one.name for one in BUILD.QUESTIONS])
def test_the_page_that_stands_in_the_repository_is_of_these_commands(built, name):
    """Commands, words and pictures are: numbers and rows of tables are other ones, of the coarser maps."""
    _, page = built(name)
    stands = (GALLERY / page.name).read_text()
    number = re.compile(r"-?\d[\d.]*(e[-+]?\d+)?|n/a")
    kinds = [dict.fromkeys(number.sub("#", text).splitlines()) for text in (stands, page.read_text())]
    assert list(kinds[0]) == list(kinds[1])
    for name in re.findall(r"\]\((images/[^)]+)\)", stands):
        assert (GALLERY / name).is_file()
    assert f"({page.name})" in (GALLERY / "README.md").read_text()


def _read(folder, pattern):
    (path,) = (folder / "group").glob(pattern)
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


def test_sessions_as_rows_are_differences_within_people(built):
    work, _ = built("sessions")
    rows, differences = work / "rows", work / "differences"
    t = _read(rows, "*Change_stat-t_statmap.nii.gz"), _read(differences, "*change_stat-t_statmap.nii.gz")
    np.testing.assert_allclose(*t, rtol=1e-6, atol=1e-6)
    inside = _read(rows, "*_desc-analysis_mask.nii.gz") > 0
    a, b = (one[inside] for one in t)
    table = pd.read_csv(work / "same-question" / "comparison.tsv", sep="\t", dtype=str, keep_default_na=False)
    (row,) = table.query("stat == 't'").itertuples()
    spread = 1.96 * np.std(b - a, ddof=1)
    wanted = [np.corrcoef(a, b)[0, 1], np.mean(b - a), np.mean(b - a) - spread, np.mean(b - a) + spread]
    found = [float(row.r), float(row.bias), float(row.limit_lower), float(row.limit_upper)]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-15)
    page = (work / "same-question" / "report.html").read_text()
    shown = {float(value) for value in re.findall(r'data-value="(-?\d+(?:\.\d+)?(?:e[-+]\d+)?)"', page)}
    assert shown >= set(found[:3])
    said = [
        json.loads((work / name / "comparison.json").read_text())["Expectations"]
        for name in ("same-question", "other-question")
    ]
    assert said[0]["facesVsHousesChange=change"]["StatisticMustAgree"]
    assert not said[1]["facesVsHousesChange=facesVsHouses"]["StatisticMustAgree"]


def test_the_slope_difference_is_one_t_both_ways_and_the_trap_names_its_formula(built):
    work, page = built("slopes")
    t = [_read(work / one, "*SlopeDiff_stat-t_statmap.nii.gz") for one in ("meaning", "vector", "python")]
    np.testing.assert_allclose(t[0], t[1], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(t[0], t[2])
    assert '--formula "~ group + n_cigs + age + group:n_cigs"' in page.read_text()


def test_grey_matter_is_larger_in_men_all_over_until_it_is_scaled(built):
    work, _ = built("vbm")
    scaled, unscaled = (
        (
            _read(work / one, "*Sex_stat-effect_statmap.nii.gz"),
            _read(work / one, "*Sex_stat-p_desc-bonferroni_statmap.nii.gz") < 0.05,
        )
        for one in ("scaled", "unscaled")
    )
    inside = _read(work / "scaled", "*GMProbseg_desc-analysis_mask.nii.gz") > 0
    assert abs(np.median(scaled[0][inside])) < 0.01 < 0.03 < np.median(unscaled[0][inside])
    assert 20 < scaled[1].sum() < 100
    assert (unscaled[1] & ~scaled[1]).sum() > 20


def test_the_corrections_are_the_ones_of_the_page_and_true_discoveries_are_where_the_slope_is(built):
    work, page = built("association")
    corrected = {
        name: _read(work / "answer", f"*Speed_stat-p_desc-{name}_statmap.nii.gz") < 0.05
        for name in ("fdr", "bonferroni", "fweVoxel")
    }
    assert 0 < corrected["bonferroni"].sum() < 100
    assert not (corrected["bonferroni"] & ~corrected["fdr"]).any()
    differ = corrected["bonferroni"] ^ corrected["fweVoxel"]
    assert differ.sum() <= 0.2 * corrected["bonferroni"].sum()
    share = _read(work / "answer", "*Speed_stat-tdp_desc-ari_statmap.nii.gz")
    assert share[corrected["bonferroni"]].min() > 0.5
    assert "true_discovery_proportion" in page.read_text()
