"""Surfaces, CIFTI and regions side by side: matched by structure and number or by name, checked by numpy."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ScalarAxis
from nibabel.gifti import GiftiDataArray

from bids_group.cli import main
from bids_group.output.results import Results
from tests.studies import SIDES, begin_study, write_gifti, write_surface

N, N_VERTICES = 8, 162
PEOPLE = [f"sub-{number:02d}" for number in range(1, N + 1)]
OPTIONS = ["--no-report", "--no-sensitivity", "-q", "--nprocs", "1", "--correction", "none", "fdr"]


def group(root, out, *options):
    assert main([str(root), str(out), "group", *OPTIONS, *map(str, options)]) == 0
    return out


@pytest.fixture(scope="module")
def effects():
    random = np.random.default_rng(3)
    found = random.normal(size=(N, 2 * N_VERTICES)) + 2.0 * (np.arange(2 * N_VERTICES) % 9 < 3)
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory, effects, make_sphere):
    """A with everybody and a mesh, B without two people."""
    root = tmp_path_factory.mktemp("surfaces")
    first, mesh = begin_study(root / "data", PEOPLE, program="FitLins"), make_sphere(2)
    for side, structure in SIDES.items():
        write_surface(root / f"hemi-{side}_midthickness.surf.gii", mesh, structure)
        for person, row in zip(PEOPLE, effects.reshape(N, 2, N_VERTICES)[:, "LR".index(side)], strict=True):
            name = f"{person}_hemi-{side}_space-x_contrast-a_stat-effect_statmap.func.gii"
            write_gifti(first / person / "func" / name, [GiftiDataArray(row)], structure)
    meshes = [root / f"hemi-{side}_midthickness.surf.gii" for side in SIDES]
    out_a = group(root / "data", root / "a", "--surfaces", *meshes)
    out_b = group(root / "data", root / "b", "--exclude-participant-label", "02", "05")
    return out_a, out_b


def numbers(folder):
    table = pd.read_csv(folder / "comparison.tsv", sep="\t", na_values="n/a")
    return table.set_index(table["correction"].fillna(table["stat"]))


def t_of(rows):
    return rows.mean(axis=0) / (rows.std(axis=0, ddof=1) / np.sqrt(len(rows)))


def check(table, a, b):
    """Compare the table with one-sample t of the rows of A and of B."""
    a, b = t_of(a.astype(float)), t_of(b.astype(float))
    row, difference = table.loc["t"], b - a
    assert row["n"] == a.size
    assert row["r"] == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-5)
    assert row["bias"] == pytest.approx(difference.mean(), rel=1e-4)
    half = 1.96 * difference.std(ddof=1)
    assert row["limit_lower"] == pytest.approx(difference.mean() - half, rel=1e-4)
    assert row["limit_upper"] == pytest.approx(difference.mean() + half, rel=1e-4)


def test_hemispheres_are_compared_as_one_map(surfaces, effects, compare):
    code, log, place = compare(*surfaces)
    assert code == 0, log
    table = numbers(place)
    check(table, effects, np.delete(effects, [1, 4], axis=0))
    found = []
    for out in surfaces:
        pair = Results(output_dir=out).image("mean", "p", "fdr")
        found.append(np.concatenate([one.darrays[0].data for one in pair]) <= np.float32(0.05))
    a, b = found
    assert a.any()
    row = table.loc["fdr"]
    assert (row["n_a"], row["n_b"], row["n_both"]) == (a.sum(), b.sum(), (a & b).sum())
    assert row["dice"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "The same 8 people" not in page
    assert "voxel" not in re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)


def test_a_surface_against_itself_must_agree_and_does(surfaces, compare, tmp_path):
    import shutil

    code, log, place = compare(surfaces[0], shutil.copytree(surfaces[0], tmp_path / "copy"))
    assert code == 0, log
    said = json.loads((place / "comparison.json").read_text())
    (expected,) = said["Expectations"].values() if "Expectations" in said else said["Contrasts"].values()
    assert expected["StatisticMustAgree"]
    assert "all 8 people have 1 map" in " ".join(expected["Facts"])
    assert numbers(place).loc["t", "r"] == pytest.approx(1)


def test_surfaces_are_drawn_where_a_has_a_mesh(surfaces, compare, pictures):
    code, log, place = compare(*surfaces)
    assert code == 0, log
    drawn = {path.name for path in (place / "figures").iterdir()}
    assert {"contrast-a_stat-t_difference.png", "contrast-a_stat-t_agreement.svg"} <= drawn
    assert "contrast-a_desc-fdr_overlap.png" in drawn
    code, log, place = compare(*surfaces[::-1])
    assert code == 0, log
    drawn = {path.name for path in (place / "figures").iterdir()}
    assert "contrast-a_stat-t_agreement.svg" in drawn
    assert not [name for name in drawn if name.endswith(".png")]
    assert "OUT_A has no surface of them" in log


def write_ciftis(root, effects, wall, order):
    first = begin_study(root, PEOPLE, program="FitLins")
    parts = {}
    for number, structure in enumerate(("CORTEX_LEFT", "CORTEX_RIGHT")):
        own = np.setdiff1d(np.arange(N_VERTICES), wall)
        name = f"CIFTI_STRUCTURE_{structure}"
        parts[number] = BrainModelAxis.from_surface(own, N_VERTICES, name=name), own + number * N_VERTICES
    (one, here), (other, there) = (parts[number] for number in order)
    for person, row in zip(PEOPLE, effects, strict=True):
        (first / person).mkdir()
        values = row[np.concatenate([here, there])]
        image = Cifti2Image(values[None], (ScalarAxis(["a"]), one + other))
        nib.save(image, first / person / f"{person}_space-x_contrast-a_stat-effect_statmap.dscalar.nii")


def test_cifti_is_matched_by_structure_and_number(surfaces, effects, compare, tmp_path):
    """Another order and another medial wall; and a file of GIFTI has the same vertices."""
    write_ciftis(tmp_path / "x", effects, np.arange(5), (0, 1))
    write_ciftis(tmp_path / "y", effects + np.float32(0.5), np.arange(3, 9), (1, 0))
    a = group(tmp_path / "x", tmp_path / "a")
    b = group(tmp_path / "y", tmp_path / "b")
    code, log, place = compare(a, b)
    assert code == 0, log
    kept = np.tile(np.arange(N_VERTICES) >= 9, 2)
    check(numbers(place), effects[:, kept], effects[:, kept] + 0.5)
    assert "of the same structure and number" in log
    code, log, place = compare(surfaces[0], a)
    assert code == 0, log
    kept = np.tile(np.arange(N_VERTICES) >= 5, 2)
    check(numbers(place), effects[:, kept], effects[:, kept])


def test_regions_are_matched_by_name(effects, compare, tmp_path):
    outs = []
    for name, columns, shift in (("a", [0, 1, 2, 3, 4], 0.0), ("b", [3, 7, 1, 0], 0.5)):
        begin_study(tmp_path / name, PEOPLE, program="FitLins")
        table = pd.DataFrame(effects[:, columns] + shift, columns=[f"region {k}" for k in columns])
        table.insert(0, "participant_id", PEOPLE)
        table.insert(1, "contrast", "thick")
        table.to_csv(tmp_path / name / "thick.tsv", sep="\t", index=False)
        outs.append(group(tmp_path / name, tmp_path / f"out-{name}", "--maps", tmp_path / name / "thick.tsv"))
    code, log, place = compare(*outs)
    assert code == 0, log
    check(numbers(place), effects[:, [0, 1, 3]], effects[:, [0, 1, 3]] + 0.5)
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "Maps of regions are not drawn." in page
    assert [line for line in log.splitlines() if "not drawn" in line and "WARNING" not in line]
    assert not [line for line in log.splitlines() if "not drawn" in line and "WARNING" in line]
    assert "Balanced" not in page


def test_what_lies_on_other_meshes_is_refused(surfaces, make_sphere, compare, tmp_path):
    first, n = begin_study(tmp_path / "data", PEOPLE, program="FitLins"), 42
    random = np.random.default_rng(0)
    for person in PEOPLE:
        for side, structure in SIDES.items():
            name = f"{person}_hemi-{side}_space-x_contrast-a_stat-effect_statmap.func.gii"
            row = GiftiDataArray(random.normal(size=n).astype(np.float32))
            write_gifti(first / person / "func" / name, [row], structure)
    other = group(tmp_path / "data", tmp_path / "out")
    code, log, place = compare(surfaces[0], other)
    assert code == 65
    assert "are of different elements" in log
    assert "162 of 162 vertices" in log
    assert "42 of 42 vertices" in log
    assert not place.exists()
