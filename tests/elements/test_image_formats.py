"""Formats beside single NIfTI files: pairs, SPM's Analyze with its affine, AFNI; one volume of several."""

import gzip
import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.io import savemat

from bids_group.elements import is_volume_name, locate, read_header, read_map
from bids_group.errors import DataError, MissingInputError, UsageError

AFFINE = np.array([[-3.0, 0, 0, 78], [0, 3, 0, -112], [0, 0, 3, -50], [0, 0, 0, 1]])
NIBABEL = Path(nib.__file__).parent / "tests" / "data"


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)


def write_afni(head, volumes, labels, *, codes=(), scales=None, gzipped=False):
    """An AFNI dataset of floats on AFFINE (which AFNI stores as DICOM: x and y turned)."""
    shape = volumes[0].shape
    dicom = AFFINE.copy()
    dicom[:2] *= -1
    kinds = "1" if scales else "3"
    entries = {
        "integer-attribute DATASET_RANK": [3, len(volumes)],
        "integer-attribute DATASET_DIMENSIONS": [*shape, 0, 0],
        "integer-attribute BRICK_TYPES": [kinds] * len(volumes),
        "integer-attribute ORIENT_SPECIFIC": [0, 3, 4],
        "integer-attribute SCENE_DATA": [2, 0, 1],
        "float-attribute DELTA": [3.0, 3.0, 3.0],
        "float-attribute ORIGIN": list(dicom[:3, 3]),
        "float-attribute BRICK_FLOAT_FACS": scales or [0.0] * len(volumes),
        "float-attribute IJK_TO_DICOM_REAL": list(dicom[:3].ravel()),
    }
    if codes:
        entries["integer-attribute BRICK_STATAUX"] = list(codes)
    text = ""
    for key, numbers in entries.items():
        kind, name = key.split()
        text += f"\ntype = {kind}\nname = {name}\ncount = {len(numbers)}\n {' '.join(map(str, numbers))}\n"
    for name, words in (("BYTEORDER_STRING", "LSB_FIRST~"), ("BRICK_LABS", "~".join(labels) + "~")):
        text += f"\ntype = string-attribute\nname = {name}\ncount = {len(words)}\n'{words}\n"
    head.write_text(text)
    dtype = "<i2" if scales else "<f4"
    data = b"".join(volume.astype(dtype).tobytes(order="F") for volume in volumes)
    brik = head.with_suffix(".BRIK.gz" if gzipped else ".BRIK")
    brik.write_bytes(gzip.compress(data) if gzipped else data)
    return head


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_pair_is_read_by_either_name(tmp_path, values, kind, ending):
    nib.save(kind(values, AFFINE), tmp_path / f"con.img{ending}")
    for name in ("con.img", "con.hdr"):
        loaded = read_map(tmp_path / f"{name}{ending}")
        np.testing.assert_array_equal(loaded.data, values)
        np.testing.assert_allclose(loaded.grid.affine, AFFINE)
        header = read_header(tmp_path / f"{name}{ending}")
        assert header.shape == values.shape
        np.testing.assert_array_equal(header.space.affine, loaded.grid.affine)
    parts = [(tmp_path / f"con.{one}{ending}").read_bytes() for one in ("hdr", "img")]
    assert loaded.sha256 == hashlib.sha256(b"".join(parts)).hexdigest()


def test_a_pair_without_one_of_its_files_names_the_other(tmp_path, values):
    nib.save(nib.Nifti1Pair(values, AFFINE), tmp_path / "con.img")
    (tmp_path / "con.hdr").unlink()
    with pytest.raises(MissingInputError, match=r"con\.hdr"):
        read_map(tmp_path / "con.img")


@pytest.mark.parametrize("kind", [nib.Spm2AnalyzeImage, nib.Spm99AnalyzeImage])
def test_analyze_of_spm_has_the_affine_of_its_mat(tmp_path, kind):
    values = np.arange(60, dtype=np.int16).reshape(4, 5, 3)
    nib.save(kind(values, AFFINE), tmp_path / "con_0001.img")
    assert (tmp_path / "con_0001.mat").exists()
    loaded, header = read_map(tmp_path / "con_0001.img"), read_header(tmp_path / "con_0001.img")
    np.testing.assert_allclose(loaded.data, values)
    np.testing.assert_allclose(loaded.grid.affine, AFFINE)
    np.testing.assert_allclose(header.space.affine, AFFINE)
    assert header.is_integer
    savemat(
        tmp_path / "con_0001.mat",
        {"M": np.diag([-1, 1, 1, 1]) @ AFFINE @ shift(-1), "mat": AFFINE @ shift(-1)},
    )
    np.testing.assert_allclose(read_map(tmp_path / "con_0001.img").grid.affine, AFFINE)


def shift(by):
    """From voxels counted from 0 to those counted from 1, or back."""
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return matrix


@pytest.mark.parametrize("read", [read_map, read_header])
def test_bare_analyze_is_refused_as_its_left_and_right_are_a_guess(tmp_path, read):
    nib.save(nib.AnalyzeImage(np.ones((4, 5, 3), np.int16), AFFINE), tmp_path / "con.img")
    assert not (tmp_path / "con.mat").exists()
    with pytest.raises(DataError, match=r"con\.hdr is an Analyze image") as caught:
        read(tmp_path / "con.img")
    assert "left and right" in caught.value.sentence
    assert "con.mat" in caught.value.found


def test_a_mat_that_contradicts_a_nifti_pair_is_refused(tmp_path, values):
    nib.save(nib.Nifti1Pair(values, AFFINE), tmp_path / "con.img")
    savemat(tmp_path / "con.mat", {"mat": AFFINE @ shift(-1)})
    np.testing.assert_allclose(read_map(tmp_path / "con.img").grid.affine, AFFINE)
    savemat(tmp_path / "con.mat", {"mat": shift(5) @ AFFINE @ shift(-1)})
    for read in (read_map, read_header):
        with pytest.raises(DataError, match="different affines") as caught:
            read(tmp_path / "con.hdr")
        assert "up to 5 apart" in caught.value.found


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize(
    ("volume", "at"), [("[faces#0_Coef]", 1), ("[FACES#0_COEF]", 1), ("[0]", 0), ("[2]", 2)]
)
def test_a_sub_brick_of_afni_is_read_by_label_or_number(tmp_path, values, gzipped, volume, at):
    volumes = [values, values + 1, values * 2]
    labels = ["Full_Fstat", "faces#0_Coef", "faces#0_Tstat"]
    head = write_afni(tmp_path / "stats+tlrc.HEAD", volumes, labels, gzipped=gzipped)
    for name in (head.name, "stats+tlrc", "stats+tlrc.BRIK.gz" if gzipped else "stats+tlrc.BRIK"):
        loaded = read_map(tmp_path / f"{name}{volume}")
        np.testing.assert_array_equal(loaded.data, volumes[at])
        np.testing.assert_allclose(loaded.grid.affine, AFFINE)
    header = read_header(tmp_path / f"{head.name}{volume}")
    assert header.shape == values.shape
    assert header.texts == (labels[at],)
    np.testing.assert_allclose(header.space.affine, AFFINE)


def test_all_sub_bricks_without_a_choice_are_several_volumes(tmp_path, values):
    head = write_afni(tmp_path / "stats+tlrc.HEAD", [values, values + 1], ["a", "b"])
    assert read_map(head).data.shape == (*values.shape, 2)
    assert read_header(head).labels == ("a", "b")
    one = write_afni(tmp_path / "one+tlrc.HEAD", [values], ["a"])
    np.testing.assert_array_equal(read_map(one).data, values)


def test_scales_of_sub_bricks_are_their_own(tmp_path):
    volumes = [np.full((4, 5, 3), 10), np.full((4, 5, 3), 10)]
    head = write_afni(tmp_path / "s+orig.HEAD", volumes, ["a", "b"], scales=[0.5, 0.25])
    assert read_map(tmp_path / "s+orig.HEAD[a]").data.max() == 5
    assert read_map(tmp_path / "s+orig.HEAD[b]").data.min() == 2.5
    assert read_header(head).is_integer


def test_the_statistics_of_sub_bricks_are_found(tmp_path, values):
    codes = [1, 3, 1, 30, 2, 4, 2, 2, 30]
    head = write_afni(tmp_path / "s+orig.HEAD", [values] * 3, ["c", "t", "F"], codes=codes)
    assert [read_header(tmp_path / f"{head.name}[{at}]").statistic for at in range(3)] == [0, 3, 4]


@pytest.mark.parametrize("name", ["example4d+orig.HEAD[0]", "scaled+tlrc.HEAD"])
def test_real_afni_files_equal_nibabel(name):
    path = NIBABEL / name
    if not locate(path).header.exists():
        pytest.skip("nibabel is installed without its example files")
    theirs = nib.load(locate(path).header)
    numbers = theirs.get_fdata(dtype=np.float32)
    expected = numbers[..., 0] if numbers.ndim == 4 else numbers
    np.testing.assert_allclose(read_map(path).data, expected, rtol=1e-6)
    np.testing.assert_allclose(read_header(path).space.affine, theirs.affine)


@pytest.mark.parametrize("name", ["x+orig.HEAD[none]", "x+orig.HEAD[2]", "x+orig.HEAD[1..2]"])
@pytest.mark.parametrize("read", [read_map, read_header])
def test_a_sub_brick_that_is_not_there_is_told_with_those_that_are(tmp_path, values, name, read):
    write_afni(tmp_path / "x+orig.HEAD", [values] * 2, ["faces_Coef", "houses_Coef"])
    with pytest.raises(DataError, match="has no volume") as caught:
        read(tmp_path / name)
    assert "faces_Coef, houses_Coef" in caught.value.found


def test_volumes_of_nifti_are_counted_from_1_as_spm_does_or_from_0_as_afni_does(tmp_path, values):
    many = np.stack([values, values + 1, values + 2], axis=-1)
    nib.save(nib.Nifti1Image(many, AFFINE), tmp_path / "all.nii.gz")
    for at in range(3):
        for name in (f"all.nii.gz,{at + 1}", f"all.nii.gz[{at}]"):
            np.testing.assert_array_equal(read_map(tmp_path / name).data, many[..., at])
            assert read_header(tmp_path / name).shape == values.shape
    for name in ("all.nii.gz,0", "all.nii.gz,4", "all.nii.gz[3]"):
        with pytest.raises(DataError, match="has no volume number"):
            read_map(tmp_path / name)


def test_the_only_volume_may_be_named(tmp_path, values):
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "con_0001.nii")
    np.testing.assert_array_equal(read_map(tmp_path / "con_0001.nii,1").data, values)
    assert read_header(tmp_path / "con_0001.nii,1").shape == values.shape
    with pytest.raises(DataError, match="no volume number 2"):
        read_map(tmp_path / "con_0001.nii,2")


def test_volumes_behind_an_axis_of_one_are_counted_too(tmp_path, values):
    nib.save(
        nib.Nifti1Image(np.stack([values, values + 1], axis=-1)[:, :, :, None], AFFINE), tmp_path / "b.nii"
    )
    np.testing.assert_array_equal(read_map(tmp_path / "b.nii[1]").data, values + 1)


def test_a_file_that_is_really_called_so_comes_first(tmp_path, values):
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "plain.nii")
    (tmp_path / "plain.nii").rename(tmp_path / "map[1].nii")
    np.testing.assert_array_equal(read_map(tmp_path / "map[1].nii").data, values)


@pytest.mark.parametrize("read", [read_map, read_header])
def test_a_cifti_file_is_refused_as_one_whatever_its_name(tmp_path, read):
    brain = nib.cifti2.BrainModelAxis.from_mask(np.ones(50, bool), "CIFTI_STRUCTURE_CORTEX_LEFT")
    image = nib.Cifti2Image(np.ones((1, 50), np.float32), (nib.cifti2.ScalarAxis(["c"]), brain))
    image.to_filename(tmp_path / "c.dscalar.nii")
    (tmp_path / "c.dscalar.nii").rename(tmp_path / "c.nii")
    with pytest.raises(UsageError, match="is a CIFTI file"):
        read(tmp_path / "c.nii")


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz"])
def test_the_header_of_a_single_file_equals_nibabels(tmp_path, values, kind, name):
    image = kind(values[..., None], AFFINE)
    image.header.set_intent("t test", (12,), name="faces")
    image.header["descrip"] = b"SPM{T_[12.0]} - contrast 1"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 5000))
    nib.save(image, tmp_path / name)
    header = read_header(tmp_path / name)
    np.testing.assert_array_equal(header.space.affine, nib.load(tmp_path / name).affine)
    assert (header.shape, header.statistic, header.is_integer) == (values.shape, 3, False)
    assert header.texts == ("SPM{T_[12.0]} - contrast 1", "faces")


@pytest.mark.parametrize(
    "payload", [b"", b"hello", b"\x1f\x8bhello", gzip.compress(b"hello", mtime=0), bytes(400)]
)
def test_what_is_no_image_is_named(tmp_path, payload):
    path = tmp_path / "notes.nii.gz"
    path.write_bytes(payload)
    with pytest.raises(DataError, match=r"notes\.nii\.gz"):
        read_header(path)


@pytest.mark.parametrize(
    ("content", "fix"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"/annex/objects/MD5E-s1--0.nii.gz\n", "datalad get"),
    ],
)
@pytest.mark.parametrize("read", [read_map, read_header])
def test_a_pointer_in_place_of_the_content_says_how_to_fetch_it(tmp_path, content, fix, read):
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(content)
    with pytest.raises(MissingInputError, match="is not here") as caught:
        read(path)
    assert caught.value.fix.startswith(fix)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a.nii", True), ("a.nii.gz", True), ("a.img", True), ("a.hdr.gz", True), ("a+orig.HEAD", True),
        ("a+tlrc.BRIK.gz", True), ("a+tlrc", True), ("a+orig.HEAD[x#0_Coef]", True), ("a.nii,1", True),
        ("a.nii.gz[3]", True), ("a.dscalar.nii", False), ("a.dtseries.nii.gz", False), ("a.func.gii", False),
        ("a.mgz", False), ("a.txt", False), ("many", False), ("a.nii,x", False), ("a.scaled.nii", True),
        ("a.preproc.nii", True), ("a.pdconn.nii", False), ("a.ptseries.nii", False),
    ],
)  # fmt: skip
def test_names_of_volumes(name, is_one):
    assert is_volume_name(name) == is_one


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Pair])
@pytest.mark.parametrize("order", ["<", ">"])
def test_lengths_in_metres_are_refused_and_voxels_of_metres_are_mm(tmp_path, values, kind, order):
    header = kind.header_class(endianness=order)
    ending = "img" if kind is nib.Nifti1Pair else "nii"
    for unit, factor, is_read in (
        ("mm", 1, True),
        ("meter", 1, True),
        ("meter", 1e-3, False),
        ("micron", 1, False),
    ):
        image = kind(values, AFFINE * [[factor], [factor], [factor], [1]], header)
        image.header.set_xyzt_units(unit, "sec")
        path = tmp_path / f"{unit}{factor}.{ending}"
        nib.save(image, path)
        if is_read:
            np.testing.assert_allclose(read_map(path).grid.affine, AFFINE)
            continue
        for read in (read_header, read_map):
            with pytest.raises(DataError, match="not in mm") as caught:
                read(path)
            assert {"meter": "0.003 metres", "micron": "3 micrometres"}[unit] in caught.value.found
