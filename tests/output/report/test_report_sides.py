"""Pictures follow the test: where it is one-sided, negative values are no evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_group.output.report.brains import draw_mosaic
from bids_group.output.report.folder import read_folder
from bids_group.output.report.inputs import read_analysis_inputs, read_contrast_inputs
from bids_group.output.report.sections import FigureStore

NEGATIVE, POSITIVE = (-25.0, 0.0001), (6.0, 0.0002)
"""t and p (two-sided) of the strongest elements of each sign."""


@pytest.fixture(params=[True, False], ids=["two-sided", "one-sided"])
def planted(request: pytest.FixtureRequest, write_outputs: Callable[..., Path], tmp_path: Path) -> tuple:
    """Contrasts with one strong negative and one weaker positive element, judged by either test."""
    root = write_outputs(tmp_path / "out", n_people=8, corrections=("bonferroni",), space="T1w")
    for path in (root / "group").glob("*_stat-t_statmap.nii.gz"):
        image = nib.load(path)
        data = np.zeros(image.shape, dtype=np.float32)
        data[6, 12, 9], data[12, 12, 9] = NEGATIVE[0], POSITIVE[0]
        nib.Nifti1Image(data, image.affine).to_filename(path)
        of_p = path.with_name(path.name.replace("stat-t", "stat-p"))
        p = np.ones(image.shape, dtype=np.float32)
        p[6, 12, 9] = NEGATIVE[1] if request.param else 1
        p[12, 12, 9] = POSITIVE[1] if request.param else POSITIVE[1] / 2
        nib.Nifti1Image(p, image.affine).to_filename(of_p)
        of_correction = path.with_name(path.name.replace("stat-t", "stat-p_desc-bonferroni"))
        nib.Nifti1Image(np.ones_like(p), image.affine).to_filename(of_correction)
        sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
        content = json.loads(sidecar.read_text()) | {"TwoSided": request.param}
        sidecar.write_text(json.dumps(content))
    folder = read_folder(root)
    analysis, contrast = folder.contrasts[0]
    inputs = read_analysis_inputs(folder, analysis, FigureStore(root=root))
    return request.param, read_contrast_inputs(inputs, contrast)


def test_the_strongest_is_that_of_the_test(planted: tuple) -> None:
    is_two_sided, inputs = planted
    voxel = np.linalg.inv(inputs.analysis.brain.layout.grid.affine) @ [*inputs.slices.strongest_mm, 1]
    assert np.rint(voxel[:3]).tolist() == ([6, 12, 9] if is_two_sided else [12, 12, 9])


def test_the_scale_and_full_opacity_are_of_values_that_are_evidence(planted: tuple) -> None:
    is_two_sided, inputs = planted
    look = inputs.slices.layers.look
    assert look.limit == (12 if is_two_sided else POSITIVE[0])
    assert look.opaque_at == POSITIVE[0]


def test_what_is_not_tested_stays_faint_at_any_size(planted: tuple) -> None:
    is_two_sided, inputs = planted
    values = np.array([-1e6, -POSITIVE[0], POSITIVE[0] / 2, POSITIVE[0], 1e6], dtype=np.float32)
    expected = [1, 1, 0.25, 1, 1] if is_two_sided else [0.3, 0.3, 0.25, 1, 1]
    np.testing.assert_allclose(inputs.slices.layers.look.opacity(values), expected, rtol=1e-6)


def test_the_colour_scale_has_a_line_where_evidence_is_full_and_nowhere_else(planted: tuple) -> None:
    """The scale runs over 70 % of the height of the picture, from its limit down to the limit below zero."""
    is_two_sided, inputs = planted
    pixels = draw_mosaic(inputs.slices.layers, inputs.analysis.brain.cuts).pixels
    lines = np.flatnonzero((pixels[:, 1420] == 255).all(axis=1))
    top, bottom = (round(share * len(pixels)) for share in (0.15, 0.85))
    limit, shares = inputs.slices.layers.look.limit, (lines - top) / (bottom - 1 - top)
    expected = [-POSITIVE[0], POSITIVE[0]] if is_two_sided else [POSITIVE[0]]
    assert sorted(limit * (1 - 2 * shares)) == pytest.approx(expected, abs=limit / 100)
