"""Hostile masks of the analysis."""

import nibabel as nib
import numpy as np

from tests.faults.hostile.of_maps import bomb, content, huge, large, special
from tests.faults.hostile.trials import hostile


def as_mask(spoil_effect):
    """What is done to a map, done to ``--mask``."""

    def spoil(study):
        good = study.effect.read_bytes()
        spoil_effect(study)
        study.effect.rename(study.data / "mask.nii.gz")
        study.effect.write_bytes(good)
        return ["--mask", str(study.data / "mask.nii.gz")]

    return spoil


def mask(make):
    def spoil(study):
        numbers, affine = make(study.image.get_fdata(), study.image.affine.copy())
        nib.save(nib.Nifti1Image(numbers, affine), study.data / "mask.nii.gz")
        return ["--mask", str(study.data / "mask.nii.gz")]

    return spoil


MASKS = {
    "mask is a FIFO": hostile(as_mask(special("fifo")), 66, "mask.nii.gz", "not a file"),
    "mask is a device": hostile(as_mask(special("/dev/zero")), 66, "mask.nii.gz", "not a file"),
    "mask is a folder": hostile(as_mask(special("folder")), 66, "mask.nii.gz", "folder"),
    "mask is a link that points nowhere": hostile(as_mask(special("nowhere")), 66, "mask.nii.gz"),
    "mask is a bomb": hostile(as_mask(bomb), 65, "mask.nii.gz"),
    "mask of 1.4 GB of zeros, on another grid": hostile(as_mask(large), 65, "mask.nii.gz", "grid"),
    "mask of 30000 cubed": hostile(as_mask(huge(30_000)), 65, "mask.nii.gz"),
    "mask starts at 1e30": hostile(as_mask(content(vox_offset=1e30)), 65, "mask.nii.gz"),
    "mask with a flat affine": hostile(
        as_mask(content(sform_code=1, srow_x=[0] * 4)), 65, "mask.nii.gz", "affine"
    ),
    "mask of NaN": hostile(mask(lambda n, a: (np.full(n.shape, np.nan, np.float32), a)), 65, "empty"),
    "mask of minus one": hostile(mask(lambda n, a: (np.full(n.shape, -1, np.int16), a)), 65, "mask"),
    "mask of infinity": hostile(mask(lambda n, a: (np.full(n.shape, np.inf, np.float32), a)), (0, 65)),
    "mask of one voxel": hostile(
        mask(lambda n, a: ((np.arange(n.size).reshape(n.shape) == n.size // 2).astype(np.uint8), a)), (0, 65)
    ),
    "mask of several volumes": hostile(
        mask(lambda n, a: (np.ones((*n.shape, 3), np.uint8), a)), 65, "several volumes"
    ),
}
