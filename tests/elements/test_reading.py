"""Reading map files."""

import gzip
import hashlib

import nibabel as nib
import numpy as np
import pytest
from nibabel.gifti import GiftiDataArray, GiftiImage

from bids_group.elements import read_map
from bids_group.errors import DataError, MissingInputError

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_values_grid_and_hash_are_those_of_the_file(tmp_path, values, suffix, kind):
    path = tmp_path / f"map{suffix}"
    nib.save(kind(values, AFFINE), path)
    loaded = read_map(path)
    np.testing.assert_array_equal(loaded.data, values)
    assert loaded.data.flags.f_contiguous
    np.testing.assert_array_equal(loaded.grid.affine, AFFINE)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_scaled_integers_are_read_as_their_real_values(tmp_path):
    path = tmp_path / "map.nii.gz"
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), AFFINE)
    image.header.set_slope_inter(0.5, 3)
    nib.save(image, path)
    np.testing.assert_allclose(read_map(path).data, nib.load(path).get_fdata(), rtol=1e-6)


def test_a_file_of_several_gzip_members_is_read_whole(tmp_path, values):
    path = tmp_path / "map.nii.gz"
    raw = nib.Nifti1Image(values, AFFINE).to_bytes()
    path.write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]))
    np.testing.assert_array_equal(read_map(path).data, values)


def test_trailing_axes_of_one_are_dropped_and_others_kept(tmp_path, values):
    path = tmp_path / "map.nii.gz"
    nib.save(nib.Nifti1Image(values[..., None], AFFINE), path)
    assert read_map(path).data.shape == values.shape
    nib.save(nib.Nifti1Image(np.stack([values] * 2, axis=-1), AFFINE), path)
    assert read_map(path).data.shape == (*values.shape, 2)


def test_nan_and_infinity_survive(tmp_path, values):
    values[0, 0, :2] = np.nan, np.inf
    path = tmp_path / "map.nii.gz"
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    assert np.isnan(read_map(path).data[0, 0, 0])
    assert np.isposinf(read_map(path).data[0, 0, 1])


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (1e40, "1 number that is beyond 3.4e+38, such as 1e+40 at voxel (1, 2, 3)"),
        (-4e38, "1 number that is beyond 3.4e+38, such as -4e+38 at voxel (1, 2, 3)"),
        (1e-50, "1 number that is not 0 but below 1.4e-45, such as 1e-50 at voxel (1, 2, 3)"),
        (-5e-46, "1 number that is not 0 but below 1.4e-45, such as -5e-46 at voxel (1, 2, 3)"),
    ],
)
def test_a_number_that_float32_cannot_hold_is_named_and_not_lost(tmp_path, values, number, found):
    path = tmp_path / "map.nii.gz"
    wide = values.astype(np.float64)
    wide[0, 0, :3], wide[1, 2, 3] = (0, np.nan, np.inf), number
    nib.save(nib.Nifti1Image(wide, AFFINE), path)
    with pytest.raises(DataError, match=r"map\.nii\.gz") as caught:
        read_map(path)
    assert caught.value.found == found


def test_float64_is_rounded_where_float32_can_hold_it(tmp_path, values):
    path = tmp_path / "map.nii.gz"
    wide = values.astype(np.float64) / 3
    wide[0, 0, :6] = 0, np.nan, np.inf, -np.inf, 3.4e38, 1e-45
    nib.save(nib.Nifti1Image(wide, AFFINE), path)
    np.testing.assert_array_equal(read_map(path).data, wide.astype(np.float32))


@pytest.mark.parametrize(("dtype", "slope"), [(np.int16, 1e36), (np.float32, 1e38), (np.float32, 1e-44)])
def test_a_scale_beyond_float32_is_noticed(tmp_path, dtype, slope):
    path = tmp_path / "map.nii"
    image = nib.Nifti1Image(np.array([0, 1000, 1e-3]).astype(dtype).reshape(1, 1, 3), AFFINE)
    image.header.set_slope_inter(slope, 0)
    nib.save(image, path)
    header = nib.load(path).dataobj
    assert header.slope == pytest.approx(slope, rel=0.1)
    with pytest.raises(DataError, match="cannot be kept"):
        read_map(path)


def test_a_scaled_number_that_is_0_but_for_rounding_is_0(tmp_path):
    path = tmp_path / "map.nii"
    image = nib.Nifti1Image(np.array([30, 60], dtype=np.int16).reshape(1, 1, 2), AFFINE)
    image.header.set_slope_inter(0.1, -3)
    nib.save(image, path)
    assert read_map(path).data[0, 0, 0] == 0
    assert read_map(path).data[0, 0, 1] == pytest.approx(3)


@pytest.mark.parametrize("slope", [0.1, 1 / 3, 1e-3, -0.7, 1e4])
@pytest.mark.parametrize("stored", [1, 30, 32000])
def test_zeros_stay_zeros_in_integers_with_an_intercept(tmp_path, slope, stored):
    image = nib.Nifti1Image(np.array([stored, stored - 1, 0], dtype=np.int16).reshape(1, 1, 3), AFFINE)
    image.header.set_slope_inter(slope, -slope * stored)
    nib.save(image, tmp_path / "map.nii")
    data = read_map(tmp_path / "map.nii").data.ravel()
    assert data[0] == 0
    np.testing.assert_allclose(data[1:], [-slope, -slope * stored], rtol=1e-2)


DAMAGE = {
    "nothing": lambda payload: b"",
    "a third": lambda payload: payload[: int(0.3 * len(payload))],
    "nearly all": lambda payload: payload[: int(0.99 * len(payload))],
    "all but the last bytes": lambda payload: payload[:-6],
    "text": lambda payload: b"hello",
    "another byte": lambda payload: payload[:900] + bytes([payload[900] ^ 0xFF]) + payload[901:],
}


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [*((".nii.gz", damage) for damage in DAMAGE), *((".nii", damage) for damage in list(DAMAGE)[:-1])],
)
def test_a_damaged_file_is_named(tmp_path, values, suffix, damage):
    path = tmp_path / f"broken{suffix}"
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(DataError, match=f"broken{suffix}"):
        read_map(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingInputError, match="nothing"):
        read_map(tmp_path / "nothing.nii.gz")


def test_a_link_that_points_nowhere_says_how_to_fetch_it(tmp_path):
    link = tmp_path / "annexed.nii.gz"
    link.symlink_to(tmp_path / ".git" / "annex" / "key")
    with pytest.raises(MissingInputError) as raised:
        read_map(link)
    assert raised.value.fix == f"datalad get {link}"


@pytest.mark.parametrize("dtype", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_complex_numbers_and_colours_are_refused(tmp_path, dtype):
    path = tmp_path / "map.nii"
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), dtype), AFFINE), path)
    with pytest.raises(DataError, match=r"map\.nii holds no real numbers"):
        read_map(path)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("encoding", ["ASCII", "B64BIN", "B64GZ"])
def test_a_long_surface_map_is_read_however_its_numbers_are_written(tmp_path, encoding, dtype):
    """Longer than what is sure not to unpack to too much; whole numbers in ASCII look like base64."""
    values = (np.random.default_rng(0).normal(size=163_842) * 10_000).astype(dtype)
    kind = {np.float32: "NIFTI_TYPE_FLOAT32", np.int32: "NIFTI_TYPE_INT32"}[dtype]
    path = tmp_path / "sub-01_hemi-L_thickness.shape.gii"
    GiftiImage(darrays=[GiftiDataArray(abs(values), encoding=encoding, datatype=kind)]).to_filename(path)
    np.testing.assert_allclose(read_map(path).data, abs(values), rtol=1e-5, atol=1e-5)


def test_a_region_is_the_same_however_its_accent_is_written(tmp_path):
    spaces = []
    for number, name in enumerate(("r\u00e9gion", "re\u0301gion")):
        path = tmp_path / f"sub-{number}_statmap.tsv"
        path.write_text(f"region\teffect\n{name}\t1\nother\t2\n", encoding="utf-8")
        spaces.append(read_map(path).space)
    assert spaces[0].is_same(spaces[1])
