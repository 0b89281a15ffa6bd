"""Which first-level maps a demo has, what they are called, drawing and writing them."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, product
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from bids_group.demo.effects import Signal, build_sphere, build_variance, draw_noise
from bids_group.demo.kinds import CENTRES, CONTRAST, LABEL, SPACE, TASK, DemoTruth, Kind
from bids_group.elements import HEMISPHERES, Grid, read_fsaverage5
from bids_group.output.disk.writing import write_json, write_table

_RUN_SD = (0.35, 0.65)
_MAP_DOF = 180
_NOISE_FWHM_MM, _BETWEEN_FWHM_MM = 7.0, 10.0
_COVERED_ABOVE_MM = -20.0
_REGION_RADIUS_MM = 14.0

Plan = tuple[str, str | None, str | None, bool]
"""One map to be written: subject, session, run, and whether it does not cover the whole brain."""
Volumes = Mapping[str, npt.NDArray[np.floating]]
"""Effect and variance, by stat."""


def plan_maps(recipe: Kind, labels: Sequence[str]) -> Iterator[Plan]:
    """All maps in the order in which they are drawn; of an irregular person the last one is odd."""
    odd = {position: what for what, position in recipe.irregular}
    sessions, runs = recipe.sessions or (None,), recipe.runs or (None,)
    for position, subject in enumerate(labels):
        for session, run in product(sessions, runs):
            what = odd.get(position) if (session, run) == (sessions[-1], runs[-1]) else None
            if what != "missing run":
                yield subject, session, run, what == "reduced coverage"


def write_maps(
    truth: DemoTruth, recipe: Kind, signal: Signal, plans: Iterable[Plan], rng: np.random.Generator
) -> None:
    """Draw every person, then every map of that person, and write effect, variance and sidecar.

    A map of grey matter is in proportion to the person's total volume, and all its noise is the person's.
    """
    grid = signal.grid
    for subject, of_person in groupby(plans, key=lambda plan: plan[0]):
        person = recipe.between_sd * draw_noise(rng, grid, _BETWEEN_FWHM_MM)
        for _, session, run, is_reduced in of_person:
            weights = signal.loadings[subject, session]
            effect = recipe.baseline + np.tensordot(weights, signal.spheres, axes=1) + person
            stem = truth.derivative_dir / _stem(recipe, truth.res, subject, session, run)
            stem.parent.mkdir(parents=True, exist_ok=True)
            if not recipe.is_contrast:
                share = np.clip(effect, 0.01, 0.8) * signal.scales[subject]
                _save(Path(f"{stem}.nii.gz"), grid, np.where(signal.mask, share, 0))
                write_json(
                    Path(f"{stem}.json"),
                    _TISSUE | {"Resolution": f"Voxels of {grid.element_sizes_mm[0]:g} mm"},
                )
                continue
            variance = build_variance(grid, rng.uniform(*_RUN_SD) ** 2).astype(np.float32)
            effect = effect + np.sqrt(variance) * draw_noise(rng, grid, _NOISE_FWHM_MM)
            z_mm = grid.affine[2, 3] + grid.affine[2, 2] * np.arange(grid.shape[2])
            observed = signal.mask & (z_mm >= _COVERED_ABOVE_MM) if is_reduced else signal.mask
            if recipe.form != "volume":
                save = _save_surfaces if recipe.form == "surface" else _save_regions
                save(stem, {"effect": effect, "variance": variance}, grid)
                continue
            for stat, volume in (("effect", effect), ("variance", variance)):
                _save(Path(f"{stem}_stat-{stat}_statmap.nii.gz"), grid, np.where(observed, volume, 0))
            write_json(Path(f"{stem}_stat-effect_statmap.json"), _EFFECT)


_EFFECT = {"Contrast": CONTRAST, "DegreesOfFreedom": _MAP_DOF, "Units": "percent signal change"}
_TISSUE = {
    "Description": "Simulated share of grey matter in each voxel, times total volume over its mean",
    "SpatialReference": f"https://templateflow.s3.amazonaws.com/tpl-{SPACE}",
}


def _stem(recipe: Kind, res: str, subject: str, session: str | None, run: str | None) -> Path:
    """File name up to the ``stat`` entity (all but the extension: no contrast), with its folders."""
    who = [f"sub-{subject}", *([f"ses-{session}"] if session else [])]
    is_contrast = recipe.is_contrast
    parts = [
        *who,
        *([f"task-{TASK}"] if is_contrast else []),
        *([f"run-{run}"] if run else []),
        *([f"space-{recipe.space}"] if recipe.space else []),
        *([f"res-{res}"] if recipe.form == "volume" else []),
        f"contrast-{CONTRAST}" if is_contrast else f"label-{LABEL}_{recipe.suffix}",
    ]
    return Path(*who, "func" if is_contrast else "anat", "_".join(parts))


def _save(path: Path, grid: Grid, volume: npt.NDArray[np.floating]) -> None:
    image = nib.Nifti1Image(volume.astype(np.float32), grid.affine)
    image.set_sform(grid.affine, code="mni")
    image.set_qform(grid.affine, code="mni")
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def _save_surfaces(stem: Path, volumes: Volumes, grid: Grid) -> None:
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


def _save_regions(stem: Path, volumes: Volumes, grid: Grid) -> None:
    """Write a table with the means over spheres: those of the effects, and the same on the other side."""
    centres = {
        name: sign * np.array([1, 0, 0]) * centre[0] + np.array([0, centre[1], centre[2]])
        for region, centre in CENTRES.items()
        for name, sign in ((region, 1), (f"{region}_mirrored", -1))
    }
    insides = [build_sphere(grid, (x, y, z), _REGION_RADIUS_MM) for x, y, z in centres.values()]
    means = {stat: [float(volume[inside].mean()) for inside in insides] for stat, volume in volumes.items()}
    write_table(stem.with_name(f"{stem.name}_statmap.tsv"), pd.DataFrame({"region": list(centres), **means}))
