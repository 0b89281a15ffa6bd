"""Which first-level maps a demo has, what they are called, drawing and writing them."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from bids_group.demo.effects import Signal, build_variance, draw_noise
from bids_group.demo.kinds import CONTRAST, LABEL, SPACE, TASK, DemoTruth, Kind
from bids_group.elements import Grid
from bids_group.output.disk.writing import write_json

_RUN_SD = (0.35, 0.65)
_MAP_DOF = 180
_NOISE_FWHM_MM = 7.0
_COVERED_ABOVE_MM = -20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPlan:
    """One first-level map to be written."""

    subject: str
    session: str | None
    run: str | None
    is_reduced: bool
    suffix: str = "statmap"

    def stem(self, res: str) -> str:
        """File name up to the ``stat`` entity (all but the extension: no contrast), with its folders."""
        session = f"_ses-{self.session}" if self.session else ""
        run = f"_run-{self.run}" if self.run else ""
        is_contrast = self.suffix == "statmap"
        datatype = "func" if is_contrast else "anat"
        folder = f"sub-{self.subject}/" + (f"ses-{self.session}/" if self.session else "") + f"{datatype}/"
        who = f"sub-{self.subject}{session}"
        if not is_contrast:
            return f"{folder}{who}{run}_space-{SPACE}_res-{res}_label-{LABEL}_{self.suffix}"
        return f"{folder}{who}_task-{TASK}{run}_space-{SPACE}_res-{res}_contrast-{CONTRAST}"


def plan_maps(recipe: Kind, labels: Sequence[str]) -> Iterator[MapPlan]:
    """All maps in the order in which they are drawn; of an irregular person the last one is odd."""
    odd = {position: what for what, position in recipe.irregular}
    sessions, runs = recipe.sessions or (None,), recipe.runs or (None,)
    for position, subject in enumerate(labels):
        for session, run in product(sessions, runs):
            is_last = (session, run) == (sessions[-1], runs[-1])
            if is_last and odd.get(position) == "missing run":
                continue
            is_reduced = is_last and odd.get(position) == "reduced coverage"
            yield MapPlan(
                subject=subject, session=session, run=run, is_reduced=is_reduced, suffix=recipe.suffix
            )


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
    write_json(Path(f"{stem}_stat-effect_statmap.json"), sidecar)


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
    write_json(Path(f"{truth.derivative_dir / plan.stem(truth.res)}.json"), sidecar)


def _covered(grid: Grid) -> npt.NDArray[np.bool_]:
    z_mm = grid.affine[2, 3] + grid.affine[2, 2] * np.arange(grid.shape[2])
    return np.broadcast_to(z_mm >= _COVERED_ABOVE_MM, grid.shape)


def _save(path: Path, grid: Grid, volume: npt.NDArray[np.floating]) -> None:
    image = nib.Nifti1Image(volume.astype(np.float32), grid.affine)
    image.set_sform(grid.affine, code="mni")
    image.set_qform(grid.affine, code="mni")
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
