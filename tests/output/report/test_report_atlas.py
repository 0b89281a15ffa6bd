"""Names of places: the right region, its share, and each row's mean in it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_group.elements import Elements, Grid
from bids_group.errors import DataError, MissingInputError
from bids_group.output.report import OWN_ATLAS, Atlas, read_atlas, region_effects
from bids_group.output.report.atlas_names import read_names
from bids_group.output.report.methods import OWN_TITLE

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


def name_points(atlas: Atlas, xyz_mm: np.ndarray) -> list[str | None]:
    return [atlas.names.get(int(label)) for label in atlas.label_points(xyz_mm.reshape(-1, 3))]


def test_points_get_the_region_of_the_nearest_voxel(atlas: Atlas) -> None:
    inside = AFFINE @ [5, 3, 2, 1]
    points = np.array([inside[:3] + 1.9, AFFINE[:3, 3], [500, 0, 0], (AFFINE @ [9, 9, 0, 1])[:3]])
    assert name_points(atlas, points) == ["Insula", "Left & right", None, None]


def test_a_label_without_a_name_keeps_its_number(atlas: Atlas) -> None:
    assert name_points(atlas, (AFFINE @ [9, 0, 0, 1])[:3]) == ["region 30"]


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


FSL = """<atlas version="1.0"><header><name>Mini</name><type>{kind}</type>
<images><imagefile>/Mini/Mini-prob-2mm</imagefile><summaryimagefile>/Mini/Mini-maxprob-thr25-2mm</summaryimagefile>
</images></header><data><label index="{a}" x="1" y="2" z="3">A &amp; a</label>
<label index="{b}" x="1" y="2" z="3">B</label></data></atlas>"""
SPM = (
    "<atlas><data><label><index>1</index><name>A &amp; a</name></label><label><index>2</index><name>B</name>"
)
LISTS = {
    "freesurfer.txt": "#No. Label R G B A\n\n1   A-left  70 130 180 0\n2   B  245 245 245 0\n",
    "schaefer.txt": "1\tA-left\t120\t18\t131\t0\n2\tB\t120\t18\t131\t0\n",
    "itksnap.txt": '    1   255  0  0  1  1  1    "A-left"\n    2   0  255  0  1  1  1    "B"\n',
    "aal.txt": "FAG\tA-left\t1\nFAD\tB\t2\n",
    "nilearn.txt": "Background\nA-left\nB\n",
    "names.txt": "A-left\nB\n",
    "afni.niml.lt": '<VALUE_LABEL_DTABLE\n ni_dimen="2" >\n"1" "A-left"\n"2" "B"\n</VALUE_LABEL_DTABLE>',
    "excel.csv": "label,region\n1,A-left\n2,B\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_names_are_read_from_what_people_have(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(LISTS[name])
    assert read_names(tmp_path / name) == {1: "A-left", 2: "B"} | ({0: "Background"} if "nil" in name else {})


def test_names_of_more_words_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("4 Left Brodmann's area 4 left 0 0 0\n7 Crus 1\n")
    assert read_names(tmp_path / "x.txt")[4].startswith("Left Brodmann's area")


@pytest.mark.parametrize(("kind", "first"), [("Label", 1), ("Probabalistic", 0), ("Probabilistic", 0)])
def test_the_table_of_fsl_is_found_above_its_image(tmp_path: Path, kind: str, first: int) -> None:
    """Of probabilistic atlases the images of the largest probability hold one more than the table's index."""
    (tmp_path / "Mini").mkdir()
    (tmp_path / "Mini-Other.xml").write_text(
        FSL.format(kind=kind, a=5, b=6).replace("Mini/Mini", "Mini/Other")
    )
    (tmp_path / "Mini-Cortical.xml").write_text(FSL.format(kind=kind, a=first, b=first + 1))
    path = _write(tmp_path / "Mini", "Mini-maxprob-thr0-1mm.nii.gz", None)
    assert dict(read_atlas(path).names) == {1: "A & a", 2: "B", 30: "region 30"}


def test_the_table_of_spm_stands_beside_its_image(tmp_path: Path) -> None:
    (tmp_path / "labels_Mini.xml").write_text(f"{SPM}</label></data></atlas>")
    path = _write(tmp_path, "labels_Mini.nii", None)
    assert dict(read_atlas(path).names) == {1: "A & a", 2: "B", 30: "region 30"}


def test_the_table_of_afni_inside_of_an_image(tmp_path: Path) -> None:
    path = _write(tmp_path, "mini.nii.gz", None)
    image = nib.load(path)
    text = f"<AFNI_attributes>{LISTS['afni.niml.lt'].replace(chr(34), '&quot;')}</AFNI_attributes>"
    image.header.extensions.append(nib.nifti1.Nifti1Extension(4, text.encode()))
    image.to_filename(tmp_path / "with.nii.gz")
    assert dict(read_atlas(tmp_path / "with.nii.gz").names) == {1: "A-left", 2: "B", 30: "region 30"}


def test_a_list_whose_name_begins_that_of_the_image_serves(tmp_path: Path) -> None:
    (tmp_path / "Mini_order.txt").write_text(LISTS["schaefer.txt"])
    (tmp_path / "README.txt").write_text("1 nothing\n")
    path = _write(tmp_path, "Mini_order_FSLMNI152_2mm.nii.gz", None)
    assert read_atlas(path).names[1] == "A-left"


def test_a_table_of_nothing_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, "mini.nii.gz", None)
    for name, text in (
        ("mini.xml", "<html><p>not found</html>"),
        ("mini.niml.lt", "nothing"),
        ("mini.txt", "\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="cannot be used"):
            read_atlas(path)
        (tmp_path / name).unlink()


def test_the_atlas_of_the_app_names_what_every_textbook_does() -> None:
    """Landmarks in MNI space, chosen without it; left is left."""
    atlas = read_atlas(OWN_ATLAS)
    places = {
        (24, -4, -18): "amygdala R",
        (-8, -90, 2): "pericalcarine L",
        (-38, -24, 58): "precentral L",
        (26, 4, 0): "putamen R",
        (-10, -18, 8): "thalamus L",
        (40, -50, -20): "fusiform R",
        (-50, 32, 8): "pars triangularis L",
        (0, -24, -22): "brainstem",
        (28, -22, -14): "hippocampus R",
        (30, -60, -40): None,  # cerebellum
    }
    assert dict(zip(places, name_points(atlas, np.array([*places])), strict=True)) == places
    assert len(atlas.names) == 83
    assert not any(name.startswith("region") for name in atlas.names.values())
    assert atlas.title == OWN_TITLE
    about = json.loads(OWN_ATLAS.with_name("atlas-DesikanKilliany_dseg.json").read_text())
    assert about["License"] == "BSD-3-Clause"
    assert "Redistribution and use" in " ".join(about["LicenseText"])
    assert OWN_ATLAS.stat().st_size < 100_000
