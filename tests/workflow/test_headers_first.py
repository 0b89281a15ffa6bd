"""A dry run reads the headers of all maps and tells what the run would; neither writes before that."""

import nibabel as nib
import numpy as np
import pytest

from bids_group.cli import main


def effects(data):
    return sorted(data.rglob("*stat-effect_statmap.nii.gz"))


def shift(path):
    image = nib.load(path)
    nib.save(nib.Nifti1Image(image.get_fdata().astype(np.float32), image.affine + np.eye(4, k=3)), path)


def say_lfs(path):
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def add_mask_of_another_grid(path):
    name = path.name.replace("_stat-effect_statmap", "_desc-brain_mask")
    for each in [*path.name.split("_")]:
        if each.startswith("contrast-"):
            name = name.replace(f"_{each}", "")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), path.with_name(name))


def double_variance(path):
    image = nib.load(path)
    many = np.stack([np.ones(image.shape, np.float32)] * 2, axis=-1)
    nib.save(nib.Nifti1Image(many, image.affine), path.with_name(path.name.replace("effect", "variance")))


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (shift, 65, "differs from that of"),
        (say_lfs, 66, "git lfs pull"),
        (add_mask_of_another_grid, 65, "The grid of the mask"),
        (double_variance, 65, "several volumes"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), 65, "cannot be read"),
    ],
)
@pytest.mark.parametrize("options", [["--dry-run"], []])
def test_what_headers_tell_is_told_before_anything_is_computed(
    small_copy, tmp_path, capfd, spoil, code, said, options
):
    spoil(effects(small_copy)[5])
    assert main([str(small_copy), str(tmp_path / "out"), "group", *options]) == code
    assert said in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_somebody_who_is_not_analysed_may_lie_on_another_grid(small_copy, tmp_path):
    shift(effects(small_copy)[5])
    label = next(part for part in effects(small_copy)[5].name.split("_") if part.startswith("sub-"))
    options = ["--exclude-participant-label", label, "--dry-run"]
    assert main([str(small_copy), str(tmp_path / "out"), "group", *options]) == 0
