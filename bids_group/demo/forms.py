"""Maps of a demo that are no volumes: their numbers at vertices of fsaverage5, or averaged over regions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from bids_group.demo.effects import build_sphere
from bids_group.demo.kinds import CENTRES
from bids_group.elements import HEMISPHERES, Grid, read_fsaverage5
from bids_group.output.disk.writing import write_table

Volumes = Mapping[str, npt.NDArray[np.floating]]
"""Effect and variance, by stat."""

_REGION_RADIUS_MM = 14.0


def save_surfaces(stem: Path, volumes: Volumes, grid: Grid) -> None:
    """Write each stat for both hemispheres, with the value of the voxel in which each vertex lies."""
    inverse = np.linalg.inv(grid.affine)
    for structure, mesh in read_fsaverage5().items():
        places = np.rint(mesh.points @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.intp)
        at = tuple(np.clip(places, 0, np.array(grid.shape) - 1).T)
        name = "".join(word.capitalize() for word in structure.split("_"))
        for stat, volume in volumes.items():
            image = GiftiImage(
                darrays=[GiftiDataArray(volume[at].astype(np.float32))],
                meta=GiftiMetaData({"AnatomicalStructurePrimary": name}),
            )
            file = stem.name.replace("_space-", f"_hemi-{HEMISPHERES[structure]}_space-")
            nib.save(image, stem.with_name(f"{file}_stat-{stat}_statmap.func.gii"))


def save_regions(stem: Path, volumes: Volumes, grid: Grid) -> None:
    """Write a table with the means over spheres: those of the effects, and the same on the other side."""
    centres = {
        name: sign * np.array([1, 0, 0]) * centre[0] + np.array([0, centre[1], centre[2]])
        for region, centre in CENTRES.items()
        for name, sign in ((region, 1), (f"{region}_mirrored", -1))
    }
    insides = [build_sphere(grid, (x, y, z), _REGION_RADIUS_MM) for x, y, z in centres.values()]
    means = {stat: [float(volume[inside].mean()) for inside in insides] for stat, volume in volumes.items()}
    write_table(stem.with_name(f"{stem.name}_statmap.tsv"), pd.DataFrame({"region": list(centres), **means}))
