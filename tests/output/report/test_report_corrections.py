"""Corrections side by side: what is drawn and counted is what the files of each correction say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from bids_group.config.corrections import find_correction
from bids_group.output.report import brains, build_report, corrections
from bids_group.output.report.canvas import Pixels, cuts_through
from bids_group.output.report.folder import read_folder
from bids_group.output.report.inputs import read_analysis_inputs, read_contrast_inputs
from bids_group.output.report.sections import FigureStore

CORRECTIONS = ("fweVoxel", "bonferroni", "fdr", "none")


def drawn(root: Path, monkeypatch: pytest.MonkeyPatch, **info: Any) -> tuple[Any, list[Any], Any]:
    """Inputs of the first contrast, rows and cuts of its picture."""
    folder = read_folder(root)
    analysis = folder.analyses[0]
    vars(analysis.info).update(info)
    of_analysis = read_analysis_inputs(folder, analysis, FigureStore(root=root))
    inputs = read_contrast_inputs(of_analysis, analysis.contrasts[0])
    seen: list[Any] = []

    def remember(layers: Any, rows: Any, cuts: Any) -> Any:
        seen.extend((rows, cuts))
        return brains.draw_rows(layers, rows[:1], cuts[:1])

    monkeypatch.setattr(corrections, "draw_rows", remember)
    list(corrections.side_by_side(inputs))
    return inputs, *seen


def colour_of(share: float) -> np.ndarray:
    """Colour on the way through the signed colours, from −1 to 1, in steps of a 256th."""
    at = min(int((share + 1) / 2 * 256), 255) / 255 * (len(brains.SIGNED) - 1)
    low, high = (
        np.array([int(brains.SIGNED[k][at : at + 2], 16) for at in (1, 3, 5)]) / 255
        for k in (int(at), int(np.ceil(at)))
    )
    return low + (at - int(at)) * (high - low)


@pytest.mark.parametrize("corrections", [CORRECTIONS, ("fdr",)])
def test_each_row_has_the_voxels_and_clusters_of_its_correction(
    write_outputs: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    corrections: tuple[str, ...],
) -> None:
    root = write_outputs(tmp_path / "out", n_people=8, corrections=corrections, space="T1w")
    inputs, rows, _ = drawn(root, monkeypatch)
    stem = root / inputs.files.stem
    p = np.asarray(nib.load(f"{stem}_stat-p_statmap.nii.gz").dataobj)
    t = np.asarray(nib.load(f"{stem}_stat-t_statmap.nii.gz").dataobj)
    expected = []
    if "none" not in corrections:
        is_in = p <= np.float32(0.001)
        n = sum(ndimage.label(is_in & (t * sign > 0))[1] for sign in (1, -1))
        expected.append(("uncorrected, p ≤ 0.001", is_in, n))
    for name in ("none", "fdr", "bonferroni", "fweVoxel"):
        if name in corrections:
            own = p if name == "none" else nib.load(f"{stem}_stat-p_desc-{name}_statmap.nii.gz").get_fdata()
            table = pd.read_csv(f"{stem}_desc-{name}_clusters.tsv", sep="\t", na_values="n/a")
            title = find_correction(name).title + (", p ≤ 0.05" if name == "none" else "")
            expected.append((title, own <= np.float32(0.05), table["cluster"].nunique()))
    assert [row.words[0] for row in rows] == [title for title, _, _ in expected]
    for row, (_, is_in, n_clusters) in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(row.significant.data > 0, is_in)
        n_voxels = int(is_in.sum())
        voxels = f"{n_voxels} voxel{'s' * (n_voxels != 1)}"
        assert row.words[1] == f"{voxels}, {n_clusters} cluster{'s' * (n_clusters != 1)}"


def test_only_what_is_significant_is_drawn_on_the_scale_of_all(
    write_outputs: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_outputs(tmp_path / "out", n_people=8, corrections=("none",), space="T1w")
    inputs, rows, cuts = drawn(root, monkeypatch)
    look = replace(inputs.look, is_thresholded=True)
    layers = replace(inputs.slices.layers, significant=rows[0].significant, look=look)
    x, y = (
        layers.mask.origin_mm[axis] + layers.mask.step_mm[axis] * np.arange(layers.mask.data.shape[axis])
        for axis in (0, 1)
    )
    for at_mm in cuts:
        pixels = Pixels(2, x, y)
        ground = brains._paint_grey(layers.anatomy, layers.mask, pixels, at_mm)
        image = brains._paint_found(ground, layers, pixels, at_mm)
        is_in = rows[0].significant.cut(2, at_mm) > 0
        values = layers.statistic.cut(2, at_mm)[is_in]
        colours = [colour_of(value / look.limit) for value in values]
        np.testing.assert_allclose(image[is_in], colours, atol=1 / 255)
        greys = image[~is_in & ~ndimage.binary_dilation(is_in)]
        assert {tuple(grey) for grey in greys.astype(float).round(3)} <= {
            (0.25, 0.25, 0.25),
            (0.027, 0.035, 0.051),
        }


def test_pictures_go_through_the_point_that_was_asked_for(
    write_outputs: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    root = write_outputs(tmp_path / "out", n_people=8, corrections=("fdr",), space="T1w")
    inputs, _, cuts = drawn(root, monkeypatch, cut_coordinates=[-42.0, 10.0, 3.0])
    assert inputs.slices.focus_mm == (-42.0, 10.0, 3.0)
    assert inputs.slices.strongest_mm != inputs.slices.focus_mm
    assert 3.0 in cuts
    for axis, at_mm in enumerate(inputs.slices.focus_mm):
        assert at_mm in inputs.analysis.brain.cuts[axis]
        assert len(inputs.analysis.brain.cuts[axis]) == 8
    inputs, _, cuts = drawn(root, monkeypatch, cut_coordinates=[-42.0, 10.0, 3000.0])
    assert inputs.slices.focus_mm == inputs.slices.strongest_mm
    assert "--cut-coords -42,10,3000 lies outside the maps" in caplog.text


@pytest.mark.usefixtures("placeholders")
def test_the_page_can_be_built_again_with_another_point(
    write_outputs: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_outputs(tmp_path / "out", n_people=6, corrections=("fdr",), space="T1w", step_mm=16.0)
    before = build_report(root).read_text()
    assert '"start": [-40.0, 8.0, 4.0]' not in before
    moved = build_report(root, (-40.0, 8.0, 4.0)).read_text()
    assert re.search(r'"start":\s*\[-40\.0,\s*8\.0,\s*4\.0\]', moved)
    assert build_report(root).read_text() == before


def test_an_extent_is_called_uncontrolled(
    write_outputs: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_outputs(tmp_path / "out", n_people=8, corrections=("none",), space="T1w")
    for path in (root / "group").glob("*_desc-none_clusters.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"ClusterExtentMm3": 600.0}))
    inputs, _, _ = drawn(root, monkeypatch)
    said = corrections.answer(inputs, "none").sentence
    assert said.startswith("Uncorrected, at least 600 mm³ (no error rate is controlled), α = 0.05: ")


def test_one_cut_of_the_same_number_moves_to_the_point() -> None:
    assert cuts_through((-20.0, 0.0, 20.0), 7.0) == (-20.0, 7.0, 20.0)
    assert cuts_through((-20.0, 0.0, 20.0), 90.0) == (-20.0, 0.0, 90.0)
