"""Drawing and writing the first-level maps of a demo."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from bids_group.demo.effects import Signal
from bids_group.demo.plan import CONTRAST, MapPlan
from bids_group.demo.truth import DemoTruth
from bids_group.demo.volumes import build_variance, draw_noise
from bids_group.elements import Grid

_RUN_SD = (0.35, 0.65)
_MAP_DOF = 180
_NOISE_FWHM_MM = 7.0
_COVERED_ABOVE_MM = -20.0


def write_maps(truth: DemoTruth, signal: Signal, plans: Iterable[MapPlan], rng: np.random.Generator) -> None:
    """Draw every person, then every map of that person, and write effect, variance and sidecar."""
    for _, of_person in groupby(plans, key=lambda plan: plan.subject):
        person = signal.draw_person(rng)
        for plan in of_person:
            write = _write_map if plan.suffix == "statmap" else _write_tissue
            write(truth, signal, plan, person, rng)


def _write_map(
    truth: DemoTruth, signal: Signal, plan: MapPlan, person: npt.NDArray[np.float64], rng: np.random.Generator
) -> None:
    variance = build_variance(signal.grid, rng.uniform(*_RUN_SD) ** 2).astype(np.float32)
    noise = np.sqrt(variance) * draw_noise(rng, signal.grid, _NOISE_FWHM_MM)
    effect = signal.effect(plan.subject, plan.session) + person + noise
    observed = signal.mask & _covered(signal.grid) if plan.is_reduced else signal.mask
    stem = truth.derivative_dir / plan.stem(truth.res)
    stem.parent.mkdir(parents=True, exist_ok=True)
    _save(Path(f"{stem}_stat-effect_statmap.nii.gz"), signal.grid, np.where(observed, effect, 0))
    _save(Path(f"{stem}_stat-variance_statmap.nii.gz"), signal.grid, np.where(observed, variance, 0))
    sidecar = {"Contrast": CONTRAST, "DegreesOfFreedom": _MAP_DOF, "Units": "percent signal change"}
    _write_sidecar(Path(f"{stem}_stat-effect_statmap.json"), sidecar)


def _write_tissue(
    truth: DemoTruth, signal: Signal, plan: MapPlan, person: npt.NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Write a map of grey matter, in proportion to the person's total volume; ``person`` is all its noise."""
    share = np.clip(signal.effect(plan.subject, plan.session) + person, 0.01, 0.8)
    path = truth.derivative_dir / f"{plan.stem(truth.res)}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(path, signal.grid, np.where(signal.mask, share * signal.scales[plan.subject], 0))
    sidecar = {
        "Description": "Simulated share of grey matter in each voxel, times total volume over its mean",
        "SpatialReference": f"https://templateflow.s3.amazonaws.com/tpl-{truth.space}",
        "Resolution": f"Voxels of {signal.grid.element_sizes_mm[0]:g} mm",
    }
    _write_sidecar(Path(f"{truth.derivative_dir / plan.stem(truth.res)}.json"), sidecar)


def _covered(grid: Grid) -> npt.NDArray[np.bool_]:
    z_mm = grid.affine[2, 3] + grid.affine[2, 2] * np.arange(grid.shape[2])
    return np.broadcast_to(z_mm >= _COVERED_ABOVE_MM, grid.shape)


def _write_sidecar(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _save(path: Path, grid: Grid, volume: npt.NDArray[np.floating]) -> None:
    image = nib.Nifti1Image(volume.astype(np.float32), grid.affine)
    image.set_sform(grid.affine, code="mni")
    image.set_qform(grid.affine, code="mni")
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
