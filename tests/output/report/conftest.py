"""An OUTPUT_DIR as a group run leaves it, computed here from scratch so that every number is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, stats

from bids_group.output.report import build_report


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the example holds. ``names`` replaces ordinary names by others (hostile ones)."""

    n_people: int = 16
    step_mm: float = 8.0
    space: str | None = "MNI152NLin2009cAsym"
    first_level: str = "facesVsHouses"
    group: str = "group"
    levels: tuple[str, str] = ("control", "patient")
    covariate: str = "n_cigs"
    contrast: str = "slopeDiff"
    reason: str = "no first-level map"
    corrections: tuple[str, ...] = ("fweVoxel", "bonferroni", "fdr", "none")
    seed: int = 1


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An example with its report."""
    root = _write(tmp_path_factory.mktemp("example") / "out", Recipe())
    build_report(root)
    return root


@pytest.fixture(scope="session")
def write_outputs() -> Callable[..., Path]:
    """Give a function ``(root, **recipe)`` that writes an example into ``root`` and returns it."""
    return lambda root, **changes: _write(root, Recipe(**changes))


def _write(root: Path, recipe: Recipe) -> Path:
    world = _World(recipe)
    (root / "group").mkdir(parents=True)
    for folder in ("code", "logs"):
        (root / folder).mkdir()
    _write_people(root, world)
    _write_design(root, world)
    for name, weights in world.contrasts.items():
        _write_contrast(root, world, name, weights)
    _write_common(root, world)
    return root


class _World:
    """Maps, design and truth of the example."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        generator = np.random.default_rng(recipe.seed)
        self.affine = np.diag([recipe.step_mm] * 3 + [1.0])
        self.affine[:3, 3] = (-72, -108, -72)
        self.shape = tuple(int(size / recipe.step_mm) + 1 for size in (144, 184, 152))
        x, y, z = np.indices(self.shape) * recipe.step_mm + self.affine[:3, 3][:, None, None, None]
        self.mask = (x / 66) ** 2 + ((y + 18) / 84) ** 2 + ((z - 6) / 62) ** 2 < 1
        self.labels = [f"sub-{index:02d}" for index in range(1, recipe.n_people + 1)]
        half = recipe.n_people // 2
        group = np.array([recipe.levels[0]] * half + [recipe.levels[1]] * (recipe.n_people - half))
        numbers = np.round(generator.uniform(2, 30, recipe.n_people), 1)
        self.variables = {recipe.group: group, recipe.covariate: numbers}
        centred, patient = numbers - numbers.mean(), (group == recipe.levels[1]).astype(float)
        columns = ["Intercept", f"{recipe.group}[T.{recipe.levels[1]}]", recipe.covariate]
        columns.append(f"{columns[1]}:{recipe.covariate}")
        self.matrix = pd.DataFrame(
            np.column_stack([np.ones_like(centred), patient, centred, patient * centred]),
            columns=columns,
            index=self.labels,
        )
        noise = generator.normal(size=(recipe.n_people, *self.shape))
        noise = ndimage.gaussian_filter(noise, (0, 1, 1, 1)) * 3
        mean = 2.5 * np.exp(-(((x - 40) ** 2 + (y + 20) ** 2 + (z - 10) ** 2) / 400))
        slope = 0.35 * np.exp(-(((x + 40) ** 2 + (y - 10) ** 2 + (z - 6) ** 2) / 400))
        self.data = (noise + mean + (patient * centred)[:, None, None, None] * slope).astype(np.float32)
        self.contrasts = {"": np.array([[1, 0.5, 0, 0]]), recipe.contrast: np.array([[0, 0, 0, 1.0]])}

    def stem(self, contrast: str = "") -> str:
        letters = "".join(filter(str.isalnum, self.recipe.first_level))
        extra = "".join(filter(str.isalnum, contrast))
        space = f"_space-{self.recipe.space}" if self.recipe.space else ""
        return f"task-faces{space}_contrast-{letters}{extra[:1].upper()}{extra[1:]}"

    def fit(
        self, weights: np.ndarray, rows: np.ndarray | None = None, elements: slice = slice(None)
    ) -> dict[str, np.ndarray]:
        """Least squares by hand over all voxels, or over some voxels and rows."""
        X = self.matrix.to_numpy()
        Y = self.data[:, self.mask][:, elements].astype(float)
        if rows is not None:
            X, Y = X[rows], Y[rows]
        inverse = np.linalg.inv(X.T @ X)
        beta = inverse @ X.T @ Y
        dof = len(X) - X.shape[1]
        variance = ((Y - X @ beta) ** 2).sum(0) / dof * (weights @ inverse @ weights.T)[0, 0]
        effect = (weights @ beta)[0]
        t = effect / np.sqrt(variance)
        return {
            "effect": effect,
            "variance": variance,
            "t": t,
            "z": np.sign(t) * stats.norm.isf(np.clip(stats.t.sf(np.abs(t), dof), 1e-300, 1)),
            "p": 2 * stats.t.sf(np.abs(t), dof),
            "g": t * np.sqrt((weights @ inverse @ weights.T)[0, 0]),
            "fitted": X @ beta,
        }


def _save(
    world: _World, path: Path, values: np.ndarray, fill: float = 0.0, sidecar: dict[str, Any] | None = None
) -> None:
    volume = np.full(world.shape, fill, dtype=np.float32)
    volume[world.mask] = values
    nib.Nifti1Image(volume, world.affine).to_filename(path)
    if sidecar is not None:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))


def _save_table(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")


def _write_people(root: Path, world: _World) -> None:
    rows = []
    for label, volume in zip(world.labels, world.data, strict=True):
        folder = root / label / "func"
        folder.mkdir(parents=True)
        _save(world, folder / f"{label}_{world.stem()}_stat-effect_statmap.nii.gz", volume[world.mask])
        _save(world, folder / f"{label}_{world.stem()}_stat-n_statmap.nii.gz", np.full(world.mask.sum(), 2))
        rows += [
            (label, world.recipe.first_level, f"{label}/run-{run}.nii.gz", "yes", None) for run in (1, 2)
        ]
    rows[1] = (*rows[1][:3], "no", "second run is all zero")
    rows.append(("sub-99", None, None, "no", world.recipe.reason))
    _save_table(
        pd.DataFrame(rows, columns=["participant_id", "contrast", "file", "used", "reason"]),
        root / "ledger.tsv",
    )


def _write_design(root: Path, world: _World) -> None:
    recipe, stem = world.recipe, root / "group" / world.stem()
    _save_table(world.matrix.reset_index(names="label"), Path(f"{stem}_design.tsv"))
    hat = world.matrix.to_numpy() @ np.linalg.pinv(world.matrix.to_numpy())
    info = {
        "FirstLevelContrast": recipe.first_level,
        "Sources": [
            f"bids::{label}/func/{label}_{world.stem()}_stat-effect_statmap.nii.gz" for label in world.labels
        ],
        "Formula": f"~ {recipe.group} * {recipe.covariate}",
        "Columns": list(world.matrix.columns),
        "Terms": {
            "1": ["Intercept"],
            recipe.group: [world.matrix.columns[1]],
            recipe.covariate: [recipe.covariate],
            f"{recipe.group}:{recipe.covariate}": [world.matrix.columns[3]],
        },
        "Variables": {
            name: dict(zip(world.labels, values.tolist(), strict=True))
            for name, values in world.variables.items()
        },
        "Estimator": "ordinary least squares",
        "Pooling": "precision",
        "MinimumCoverage": 1.0,
        "Smoothing": {"Kernel": "Gaussian", "FullWidthAtHalfMaximum": 6.0, "Units": "mm"},
        "Centering": {"Method": "grand", "Values": {}},
        "Centers": {recipe.covariate: f"{world.variables[recipe.covariate].mean():.4g}"},
        "Rank": 4,
        "DegreesOfFreedom": recipe.n_people - 4,
        "Details": {
            "condition_number": 12.5,
            "vif": {recipe.group: 1.2, recipe.covariate: 2.3},
            "leverage": dict(zip(world.labels, np.diag(hat).tolist(), strict=True)),
            "n_per_cell": [{recipe.group: level, "n": recipe.n_people // 2} for level in recipe.levels],
            "covariates": [
                {
                    "name": recipe.covariate,
                    "group": {},
                    "n": recipe.n_people,
                    "mean": 15.25,
                    "sd": 7.5,
                    "min": 2.0,
                    "max": 30.0,
                }
            ],
        },
        "Contrasts": [
            {
                "Name": name or "mean",
                "FileLabel": world.stem(name).split("_contrast-")[1],
                "Test": "t",
                "Words": f"{name or 'mean'} in words",
                "Expression": f"slope({recipe.covariate}) for {name or 'mean'}",
                "Weights": weights.tolist(),
            }
            for name, weights in world.contrasts.items()
        ],
        "Notices": [
            {"severity": "warning", "topic": "rank", "sentence": f"Mind the {recipe.covariate}.", "fix": None}
        ],
        "Observations": [{"label": label, "participant_id": label, "n_maps": 2} for label in world.labels],
    }
    Path(f"{stem}_design.json").write_text(json.dumps(info))
    _save(world, Path(f"{stem}_desc-analysis_mask.nii.gz"), np.ones(world.mask.sum()))
    _save(world, Path(f"{stem}_stat-n_statmap.nii.gz"), np.full(world.mask.sum(), recipe.n_people))
    generator = np.random.default_rng(2)
    quality = pd.DataFrame({"label": world.labels, "n_elements_observed": int(world.mask.sum())})
    for name in ("mean_effect", "correlation_loo", "mahalanobis", "cooks_at_peak"):
        quality[name] = generator.uniform(0.1, 0.9, len(quality))
    quality["is_outlier"] = ["true" if index == 3 else "false" for index in range(len(quality))]
    quality["outlier_reasons"] = [
        f"far off in {recipe.covariate}" if index == 3 else None for index in range(len(quality))
    ]
    _save_table(quality, Path(f"{stem}_desc-quality_table.tsv"))


def _write_contrast(root: Path, world: _World, name: str, weights: np.ndarray) -> None:
    recipe, stem = world.recipe, root / "group" / world.stem(name)
    maps = world.fit(weights)
    common = {
        "FirstLevelContrast": recipe.first_level,
        "GroupContrast": name or "mean",
        "Test": "t",
        "Weights": weights.tolist(),
        "Columns": list(world.matrix.columns),
        "Formula": f"~ {recipe.group} * {recipe.covariate}",
        "Estimator": "ordinary least squares",
        "DegreesOfFreedom": recipe.n_people - 4,
        "SampleSize": recipe.n_people,
        "TwoSided": True,
    }
    for stat in ("effect", "variance", "t", "z", "p", "g"):
        _save(world, Path(f"{stem}_stat-{stat}_statmap.nii.gz"), maps[stat], float(stat == "p"), common)
    for correction in recipe.corrections:
        _write_correction(world, stem, correction, maps, common)
    _write_points(world, stem, maps, weights)


def _write_correction(
    world: _World, stem: Path, correction: str, maps: dict[str, np.ndarray], common: dict[str, Any]
) -> None:
    adjusted = {
        "none": maps["p"],
        "fdr": stats.false_discovery_control(maps["p"]),
        "bonferroni": np.minimum(maps["p"] * maps["p"].size, 1),
        "fweVoxel": np.minimum(maps["p"] * 60, 1),
    }[correction]
    n_significant = int((adjusted <= 0.05).sum())
    common = {**common, "NumberOfSignificantElements": n_significant}
    sidecar = {**common, "Correction": correction, "Alpha": 0.05, "Threshold": 4.5, "ThresholdStatistic": "t"}
    if correction.startswith("fwe"):
        sidecar |= {"NumberOfPermutations": 500, "RandomSeed": 7, "Shuffling": "permutations"}
        sidecar["ShufflingScheme"] = "permutations of rows: 500 drawn at random (seed 7)"
        null = np.abs(np.random.default_rng(5).normal(4, 0.5, 501))
        _save_table(pd.DataFrame({"t": null}), Path(f"{stem}_desc-{correction}_null.tsv"))
    if correction != "none":
        _save(world, Path(f"{stem}_stat-p_desc-{correction}_statmap.nii.gz"), adjusted, 1.0, sidecar)
    else:
        kept = np.zeros(world.shape, dtype=bool)
        kept[world.mask] = adjusted <= 0.05
        labelled = ndimage.label(kept)[0][world.mask]
        _save(world, Path(f"{stem}_desc-{correction}_dseg.nii.gz"), labelled, 0.0, sidecar)
    table = _clusters(world, maps, adjusted)
    _save_table(table, Path(f"{stem}_desc-{correction}_clusters.tsv"))
    Path(f"{stem}_desc-{correction}_clusters.json").write_text(json.dumps(sidecar))


def _clusters(world: _World, maps: dict[str, np.ndarray], adjusted: np.ndarray) -> pd.DataFrame:
    kept = np.zeros(world.shape, dtype=bool)
    kept[world.mask] = adjusted <= 0.05
    labelled, n_clusters = ndimage.label(kept)
    labels, rows = labelled[world.mask], []
    places = np.argwhere(world.mask)
    for cluster in range(1, n_clusters + 1):
        members = np.flatnonzero(labels == cluster)
        order = members[np.argsort(-np.abs(maps["t"][members]))]
        for peak, element in enumerate(order[:2], start=1):
            x, y, z = places[element] * world.recipe.step_mm + world.affine[:3, 3]
            rows.append(
                {
                    "cluster": cluster,
                    "peak": peak,
                    "sign": "positive" if maps["t"][element] > 0 else "negative",
                    "x": x,
                    "y": y,
                    "z": z,
                    "t": maps["t"][element],
                    "z_score": maps["z"][element],
                    "p_uncorrected": maps["p"][element],
                    "p_corrected": adjusted[element],
                    "size_mm3": len(members) * world.recipe.step_mm**3,
                    "effect": maps["effect"][element],
                    "g": maps["g"][element],
                }
            )
    columns = [
        "cluster",
        "peak",
        "sign",
        "x",
        "y",
        "z",
        "t",
        "z_score",
        "p_uncorrected",
        "p_corrected",
        "size_mm3",
        "effect",
        "g",
    ]
    return pd.DataFrame(rows, columns=columns)


def _write_points(world: _World, stem: Path, maps: dict[str, np.ndarray], weights: np.ndarray) -> None:
    element = int(np.abs(maps["t"]).argmax())
    x, y, z = np.argwhere(world.mask)[element] * world.recipe.step_mm + world.affine[:3, 3]
    values = world.data[:, world.mask][:, element]
    everyone = np.arange(len(values))
    here = slice(element, element + 1)
    without = [world.fit(weights, everyone[everyone != row], here)["t"][0] for row in everyone]
    table = pd.DataFrame(
        {"peak": 1, "x": x, "y": y, "z": z, "label": world.labels, "is_significant": "true", "effect": values}
    )
    table["fitted"] = maps["fitted"][:, element]
    table["partial_residual"] = values
    table["statistic_without_row"] = without
    _save_table(table, Path(f"{stem}_desc-peaks_data.tsv"))


def _write_common(root: Path, world: _World) -> None:
    command = {
        "Command": [
            "bids-group",
            "/data/bids",
            "/data/out",
            "group",
            "--nprocs",
            "4",
            "--formula",
            "~ group * n_cigs",
        ],
        "Version": "0.1.0",
        "Versions": {"python": "3.12.1", "nilearn": "0.14.1"},
        "Container": None,
        "RandomSeed": 7,
        "RunTimeSeconds": 12.3,
        "PeakMemoryMb": 512.0,
        "Dataset": "Faces & houses",
        "FirstLevelPrograms": ["SPM12 7771", "fMRIPrep 23.1"],
        "InputHashes": {f"/data/bids/derivatives/{label}/run-1.nii.gz": "0" * 64 for label in world.labels},
    }
    (root / "code" / "command.json").write_text(json.dumps(command))
    (root / "dataset_description.json").write_text(json.dumps({"Name": "example", "BIDSVersion": "1.11.0"}))
