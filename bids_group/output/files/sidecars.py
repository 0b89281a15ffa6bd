"""What stands beside each map and table: how it came about, in the keys of the manual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_group.config import AnalysisSpec
from bids_group.elements import Grid
from bids_group.labels import camel_label
from bids_group.output.files.names import analysis_stem, pooled_path
from bids_group.records import (
    Contrast,
    ContrastResult,
    FirstLevelMap,
    GroupAnalysis,
    GroupData,
    Observation,
    PooledMap,
    Significance,
    are_told_apart,
)
from bids_group.words import bids_uri, plural

STAT_WORDS = {
    "effect": "Effect (contrast estimate), in the units of the input maps",
    "variance": "Variance of the effect",
    "t": "t statistic",
    "F": "F statistic",
    "z": "Statistic as a signed normal deviate (does not depend on sidedness)",
    "p": "Uncorrected p-value",
    "dof": "Residual degrees of freedom at each element",
    "n": "Number of rows used at each element",
    "g": "Hedges' g",
    "gLower": "Lower 95 % confidence limit of Hedges' g",
    "gUpper": "Upper 95 % confidence limit of Hedges' g",
    "partialR2": "Partial R squared",
    "partialR2Lower": "Lower 95 % confidence limit of partial R squared",
    "partialR2Upper": "Upper 95 % confidence limit of partial R squared",
}
ESTIMATORS = {
    "ols": "ordinary least squares",
    "meta": "weighted least squares with known variances",
}
POOLINGS = {
    "precision": "fixed effects, weighted by precision (1/variance)",
    "mean": "fixed effects, unweighted mean",
    "weights": "weighted sum",
}


_DOF_DIFFERS = "differs between elements: see stat-dof"
_DOF_NONE = "none that hold: an F of several rows with variance groups is judged by shuffling alone"
_DOF_INFINITE = "infinite: variances are known, the reference is normal"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Context:
    """Everything that the files of one analysis have in common."""

    output_dir: Path
    analysis: GroupAnalysis
    data: GroupData
    spec: AnalysisSpec
    dataset_names: Mapping[str, Path]

    @property
    def stem(self) -> Path:
        """Start of the analysis' file names."""
        return analysis_stem(self.output_dir, self.analysis)

    @property
    def maps(self) -> tuple[FirstLevelMap, ...]:
        """All first-level maps below the analysis."""
        return tuple(one for observation in self.analysis.observations for one in observation.maps)

    @property
    def roots(self) -> dict[str, Path]:
        """Datasets by their names in BIDS URIs; the output dataset has none."""
        return {**self.dataset_names, "": self.output_dir}


def analysis_sidecar(context: Context, description: str) -> dict[str, Any]:
    """Keys of every file of an analysis; those of a contrast are null."""
    data, spec, analysis = context.data, context.spec, context.analysis
    design = data.design
    sources = [pooled_path(context.output_dir, one, "effect") for one in analysis.observations]
    pooling = sorted({one.combine for one in analysis.observations})
    first_levels = sorted({one.contrast for one in context.maps})
    return {
        "Description": description,
        "Sources": [bids_uri(path, context.roots) for path in sources],
        "SpatialReference": spatial_reference(context.maps, context.dataset_names),
        "Resolution": describe_resolution(data.elements.grid, context.maps),
        "FirstLevelContrast": analysis.first_level_contrast,
        **({"FirstLevelContrasts": first_levels} if first_levels != [analysis.first_level_contrast] else {}),
        "GroupContrast": None,
        "Test": None,
        "Weights": None,
        "Columns": list(design.matrix.columns),
        "Formula": design.formula,
        **({} if (own := analysis.design_matrix) is None else {"DesignMatrix": own.name}),
        "Estimator": ESTIMATORS[data.estimator],
        "DegreesOfFreedom": _analysis_dof(data),
        "SampleSize": len(design.matrix),
        "NumberOfParticipants": len({one.subject for one in analysis.observations}),
        "Smoothing": describe_smoothing(spec.smoothing_fwhm_mm),
        **_scaling(analysis),
        "Mask": bids_uri(Path(f"{context.stem}_desc-analysis_mask.nii.gz"), context.roots),
        **mask_threshold(context.maps, spec),
        "MinimumCoverage": spec.min_coverage,
        "Pooling": ", ".join(pooling),
        "Centering": {"Method": design.centering, "Values": dict(design.centers)},
        **_participant_groups(analysis),
        **_input_stat(context.maps),
        **_input_suffix(context.maps),
    }


def say_center(value: Any) -> str:
    """Say with four digits that matter what a covariate is centred at (by level of a factor, or once)."""
    if isinstance(value, Mapping):
        return ", ".join(f"{say_center(center)} in {level}" for level, center in value.items())
    if isinstance(value, str):  # in the files of an earlier version
        return value
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _scaling(analysis: GroupAnalysis) -> dict[str, Any]:
    """Say in every sidecar what each map was multiplied by, where that is not 1."""
    if (scaling := analysis.scaling) is None:
        return {}
    return {
        "Scaling": {
            "Column": scaling.column,
            "Mean": scaling.mean,
            "Method": "each map times Mean / its value of Column; variance times the square",
        }
    }


def describe_smoothing(fwhm_mm: float) -> dict[str, Any]:
    """Describe the kernel, of no width where nothing is smoothed."""
    return {"Kernel": "Gaussian", "FullWidthAtHalfMaximum": fwhm_mm, "Units": "mm"}


def contrast_sidecar(context: Context, result: ContrastResult, description: str) -> dict[str, Any]:
    """Keys of every map of a group contrast."""
    contrast = result.contrast
    return {
        **analysis_sidecar(context, f"{description}; {contrast.words or contrast.name}"),
        "GroupContrast": contrast.name,
        "GroupContrastExpression": contrast.expression,
        "GroupContrastWords": contrast.words,
        "Test": contrast.test,
        "Weights": contrast.weights.tolist(),
        "DegreesOfFreedom": degrees_of_freedom(result),
        "TwoSided": context.spec.inference.is_two_sided if contrast.test == "t" else False,
    }


def fit_sidecar(context: Context) -> dict[str, Any]:
    """Say what the fit, and what needs no shuffling, makes of variance groups and blocks."""
    groups, blocks = context.data.variance_groups, context.data.blocks
    said: dict[str, Any] = {}
    if groups is not None and context.data.has_group_variances:
        said["VarianceGroups"] = str(groups.name)
        said["VarianceEstimate"] = (
            "each variance group's own residual variance: t = effect / sqrt(sum of a_g) on "
            "(sum of a_g)^2 / sum(a_g^2 / dof_g) degrees of freedom (Satterthwaite)"
        )
    if blocks is not None and are_told_apart(blocks):
        said["IgnoredExchangeabilityBlocks"] = str(blocks.name)
    return said


def corrected_sidecar(
    context: Context, result: ContrastResult, significance: Significance, description: str
) -> dict[str, Any]:
    """Keys of one correction of one contrast; those of shuffling are null where nothing was shuffled."""
    return {
        **contrast_sidecar(context, result, description),
        "TwoSided": significance.is_two_sided,
        "Correction": significance.correction,
        "Alpha": significance.alpha,
        "Threshold": significance.threshold,
        "ThresholdStatistic": significance.threshold_stat,
        "NumberOfPermutations": None,
        "RandomSeed": None,
        "Shuffling": None,
        "NumberOfSignificantElements": int(significance.is_significant.sum()),
        "NumberOfClusters": len(significance.clusters),
        "Notices": [one.sentence for one in significance.notices],
        **({} if "ShufflingScheme" in significance.details else fit_sidecar(context)),
        **significance.details,
    }


def pooled_sidecar(
    pooled: PooledMap, stats: Mapping[str, Any], dataset_names: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """Sidecars of a pooled map's files, by stat; keys of the group level are null."""
    observation, maps = pooled.observation, pooled.observation.maps
    base = {
        "SpatialReference": spatial_reference(maps, dataset_names),
        "Resolution": describe_resolution(pooled.grid, maps),
        "FirstLevelContrast": observation.contrast,
        "GroupContrast": None,
        "Test": None,
        "Weights": list(observation.weights) or None,
        "Columns": None,
        "Formula": None,
        "Estimator": POOLINGS[observation.combine] if len(maps) > 1 else "the only map, unchanged",
        "DegreesOfFreedom": _pooled_dof(pooled),
        "SampleSize": len(maps),
        "Smoothing": None,
        "Mask": None,
        **mask_threshold(maps),
        "Pooling": observation.combine,
        "Centering": None,
        **_input_stat(maps),
        **_input_suffix(maps),
        "InputHashes": {
            bids_uri(Path(path), dataset_names): digest for path, digest in pooled.input_hashes.items()
        },
    }
    words = {
        **STAT_WORDS,
        "n": "Number of maps observed at each element; 0 = missing in every other map of this set",
    }
    kind = "first-level" if maps[0].suffix == "statmap" else maps[0].suffix
    return {
        stat: {
            "Description": f"{words[stat]}; pooled over {len(maps)} {kind} {plural(len(maps), 'map')}",
            "Sources": _pooled_sources(observation, stat, dataset_names),
            **base,
        }
        for stat in stats
    }


def _pooled_dof(pooled: PooledMap) -> float | str | None:
    if pooled.dof is None:
        return None
    return float(pooled.dof) if pooled.dof.ndim == 0 else "see stat-dof"


def _pooled_sources(observation: Observation, stat: str, dataset_names: Mapping[str, Path]) -> list[str]:
    """List the maps of the same kind where there are such, else the effects."""
    own = {"variance": "variance", "dof": "dof"}.get(stat, "effect")
    paths = [getattr(one, own) for one in observation.maps]
    files = [path for path in paths if isinstance(path, Path)] or [one.effect for one in observation.maps]
    return [bids_uri(path, dataset_names) for path in files]


def spatial_reference(maps: tuple[FirstLevelMap, ...], dataset_names: Mapping[str, Path]) -> str:
    """Name the first input map: its grid and its space are those of every map here."""
    return bids_uri(maps[0].effect, dataset_names)


def describe_resolution(grid: Grid, maps: tuple[FirstLevelMap, ...]) -> str:
    """Voxel size in words, with the label of the file names."""
    sizes = " x ".join(f"{size:.4g}" for size in grid.element_sizes_mm)
    return f"Voxels of {sizes} mm" + (f" (res-{maps[0].res})" if maps[0].res else "")


def degrees_of_freedom(result: ContrastResult) -> float | list[float] | str:
    """One number for t, numerator and denominator for F; words where it differs or variances are known."""
    if result.dof is None:
        return _DOF_DIFFERS if "p" in result.maps else _DOF_NONE
    if not np.isfinite(result.dof):
        return _DOF_INFINITE
    dof = float(result.dof)
    return [float(result.dof_numerator), dof] if result.contrast.test == "F" else dof


def correction_label(correction: str) -> str:
    """Label of a correction in file names: ``fwe-voxel`` → ``fweVoxel``."""
    return camel_label(correction)


def contrast_entry(contrast: Contrast, file_label: str) -> dict[str, Any]:
    """Describe a group contrast in the design's sidecar."""
    return {
        "Name": contrast.name,
        "Label": contrast.label,
        "FileLabel": file_label,
        "Test": contrast.test,
        "Expression": contrast.expression,
        "Words": contrast.words,
        "Weights": contrast.weights.tolist(),
    }


def _analysis_dof(data: GroupData) -> int | str:
    if data.estimator == "meta":
        return _DOF_INFINITE
    return data.design.dof if data.is_complete else _DOF_DIFFERS


def _participant_groups(analysis: GroupAnalysis) -> dict[str, Any]:
    return {"GroupBy": dict(analysis.group_labels)} if analysis.group_labels else {}


def mask_threshold(maps: Iterable[FirstLevelMap], spec: AnalysisSpec | None = None) -> dict[str, Any]:
    """Say above which value voxels were inside masks that are not of two values; nothing without masks."""
    of_maps = next((one.mask_threshold for one in maps if one.mask is not None), None)
    threshold = spec.mask_threshold if spec is not None and spec.mask is not None else of_maps
    return {} if threshold is None else {"MaskThreshold": threshold}


def _input_stat(maps: tuple[FirstLevelMap, ...]) -> dict[str, Any]:
    """Say in every sidecar that z or t maps were taken for effects."""
    stat = maps[0].input_stat
    if stat == "effect":
        return {}
    return {
        "InputStatistic": stat,
        "InputStatisticWarning": f"{stat} maps were analysed in place of effects: effects have no units",
    }


def _input_suffix(maps: tuple[FirstLevelMap, ...]) -> dict[str, Any]:
    """Say in every sidecar that the maps are no contrasts."""
    return {} if maps[0].suffix == "statmap" else {"InputSuffix": maps[0].suffix}
