"""Names of places: the right region, its share, and each row's mean in it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_group.elements import Elements, Grid
from bids_group.errors import DataError, MissingInputError
from bids_group.output.report import Atlas, read_atlas, region_effects

AFFINE = np.array([[-4.0, 0, 0, 20], [0, 4, 0, -20], [0, 0, 4, -10], [0, 0, 0, 1]])


def _write(
    folder: Path, name: str = "atlas-Mini_dseg.nii.gz", table: str | None = "atlas-Mini_dseg.tsv"
) -> Path:
    labels = np.zeros((10, 10, 6), dtype=np.int16)
    labels[:5], labels[5:8], labels[8:, :5] = 1, 2, 30
    path = folder / name
    nib.Nifti1Image(labels, AFFINE).to_filename(path)
    if table is not None:
        (folder / table).write_text("index\tname\tcolor\n1\tLeft & right\t#fff\n2\tInsula\t#000\n")
    return path


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    return read_atlas(_write(tmp_path))


def test_points_get_the_region_of_the_nearest_voxel(atlas: Atlas) -> None:
    inside = AFFINE @ [5, 3, 2, 1]
    points = np.array([inside[:3] + 1.9, AFFINE[:3, 3], [500, 0, 0], (AFFINE @ [9, 9, 0, 1])[:3]])
    assert atlas.name_points(points) == ["Insula", "Left & right", None, None]


def test_a_label_without_a_name_keeps_its_number(atlas: Atlas) -> None:
    assert atlas.name_points((AFFINE @ [9, 0, 0, 1])[:3]) == ["region 30"]


def test_shares_are_those_of_the_cluster_whatever_its_own_grid(atlas: Atlas) -> None:
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = (-15, -20, -9)
    elements = Elements.from_mask(Grid(shape=(18, 18, 9), affine=affine), np.ones((18, 18, 9), dtype=bool))
    which = np.arange(0, elements.n_elements, 7)
    voxels = np.rint((elements.coordinates_mm(which) - AFFINE[:3, 3]) / np.diag(AFFINE)[:3]).astype(int)
    labels = np.select([voxels[:, 0] < 5, voxels[:, 0] < 8, voxels[:, 1] < 5], [1, 2, 30])
    shares = {"Left & right": (labels == 1).mean(), "Insula": (labels == 2).mean()}
    shares["region 30"] = (labels == 30).mean()
    largest_first = sorted(shares, key=lambda name: -shares[name])
    expected = [f"{name} {100 * shares[name]:.0f} %" for name in largest_first if shares[name] >= 0.05]
    assert atlas.describe_elements(elements, which) == "; ".join(expected)
    assert largest_first[0] == "Left & right"


def test_mean_effects_leave_out_what_was_not_observed(atlas: Atlas) -> None:
    elements = Elements.from_mask(Grid(shape=(10, 10, 6), affine=AFFINE), np.ones((10, 10, 6), dtype=bool))
    labels = atlas.labels.reshape(-1)
    data = np.random.default_rng(0).normal(size=(3, 600)).astype(np.float32)
    data[1, labels == 2] = np.nan
    data[2, np.flatnonzero(labels == 1)[:100]] = np.nan
    table = region_effects(atlas, ["sub-1", "sub-2", "sub-3"], data, elements)
    assert list(table.columns) == ["label", "Left & right", "Insula", "region 30"]
    assert table["Left & right"].to_numpy() == pytest.approx(
        np.nanmean(data[:, labels == 1].astype(float), axis=1)
    )
    assert np.isnan(table["Insula"][1])


def test_a_table_above_the_folder_with_fewer_entities_serves(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "atlas-Mini_dseg.tsv").write_text("index\tname\n1\tA\n2\tB\n30\tC\n")
    (tmp_path / "atlas-Other_dseg.tsv").write_text("index\tname\n1\twrong\n")
    path = _write(tmp_path / "sub", "atlas-Mini_res-02_dseg.nii.gz", None)
    assert dict(read_atlas(path).names) == {1: "A", 2: "B", 30: "C"}


def test_regions_of_one_name_are_told_apart(tmp_path: Path) -> None:
    path = _write(tmp_path)
    (tmp_path / "atlas-Mini_dseg.tsv").write_text("index\tname\n1\tInsula\n2\tInsula\n30\tlabel\n")
    elements = Elements.from_mask(Grid(shape=(10, 10, 6), affine=AFFINE), np.ones((10, 10, 6), dtype=bool))
    table = region_effects(read_atlas(path), ["sub-1"], np.ones((1, 600), dtype=np.float32), elements)
    assert list(table.columns) == ["label", "Insula (1)", "Insula (2)", "label (30)"]


def test_an_image_without_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="has no table of region names"):
        read_atlas(_write(tmp_path, table=None))


def test_a_probabilistic_image_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path)
    nib.Nifti1Image(np.full((3, 3, 3), 0.5, dtype=np.float32), AFFINE).to_filename(path)
    with pytest.raises(DataError, match="is not a labelled image"):
        read_atlas(path)


def test_a_table_without_names_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path)
    (tmp_path / "atlas-Mini_dseg.tsv").write_text("number\ttitle\n1\tA\n")
    with pytest.raises(DataError, match="cannot be used"):
        read_atlas(path)
