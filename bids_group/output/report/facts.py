"""What was done, read from the sidecars of one analysis: the facts of the methods paragraph."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bids_group.output.report.folder import UNCORRECTED, AnalysisFiles, ContrastFiles, Folder, sidecar_of

_KEPT_APART = {"session": "sessions", "contrast": "first-level contrasts"}
"""What makes several rows of a person, by key of the design's list of observations."""


def gather_facts(folder: Folder, analysis: AnalysisFiles, n_elements: int) -> dict[str, Any]:
    """Gather the facts of `bids_group.output.report.methods.methods_text`; what no file says is None."""
    info = analysis.info
    corrections = _corrections(analysis)
    coverage, rows = info.get("MinimumCoverage"), info.get("Observations") or []
    return {
        "version": folder.command.get("Version") or _generator_version(folder),
        "versions": dict(folder.command.get("Versions") or {}),
        "title": analysis.title,
        "first_level_contrast": info.get("FirstLevelContrast"),
        "n_rows": len(analysis.matrix),
        "n_people": len(analysis.people),
        "kept_apart": [words for key, words in _KEPT_APART.items() if any(row.get(key) for row in rows)],
        "pooling": info.get("Pooling"),
        "has_pooled_maps": any(int(row.get("n_maps") or 1) > 1 for row in rows),
        "input_stat": info.get("InputStatistic"),
        "input_suffix": info.get("InputSuffix"),
        "scaling": info.get("Scaling"),
        "estimator": info.get("Estimator"),
        "formula": info.get("Formula"),
        "design_matrix": info.get("DesignMatrix"),
        "columns": list(info.get("Columns") or []),
        "dof": info.get("DegreesOfFreedom"),
        "centering": dict(info.get("Centering") or {}).get("Method"),
        "centers": dict(info.get("Centers") or {}),
        "contrasts": [contrast.words for contrast in analysis.contrasts],
        "has_marginal_means": any(
            re.search(r"\b(mean|slope)\(", contrast.expression) for contrast in analysis.contrasts
        ),
        "has_t": any(contrast.test == "t" for contrast in analysis.contrasts),
        "n_elements": n_elements,
        "min_coverage": 1.0 if coverage is None else float(coverage),
        "mask_name": _mask_name(folder.model),
        "mask_threshold": info.get("MaskThreshold"),
        "smoothing_mm": dict(info.get("Smoothing") or {}).get("FullWidthAtHalfMaximum"),
        "is_two_sided": _is_two_sided(analysis),
        "corrections": corrections,
        "schemes": _schemes(analysis),
        "permutation_p": _permutation_p(analysis),
        "variance_groups": _of_fit(analysis, "VarianceGroups"),
        "ignored_blocks": _of_fit(analysis, "IgnoredExchangeabilityBlocks"),
        "has_g": any("g" in contrast.maps for contrast in analysis.contrasts),
        "standardisers": {
            contrast.name: sidecar_of(contrast.maps["g"]).get("Standardiser")
            for contrast in analysis.contrasts
            if "g" in contrast.maps
        },
        "has_partial_r2": any("partialR2" in contrast.maps for contrast in analysis.contrasts),
    }


def _corrections(analysis: AnalysisFiles) -> list[dict[str, Any]]:
    """One entry per correction, from the first contrast that has it."""
    found: dict[str, dict[str, Any]] = {}
    for contrast in analysis.contrasts:
        for name in contrast.corrections:
            found.setdefault(name, _correction(name, sidecar_of(contrast.clusters[name])))
    return list(found.values())


def _schemes(analysis: AnalysisFiles) -> dict[str, list[str]]:
    """How the data were shuffled, in words, and for which contrasts."""
    found: dict[str, list[str]] = {}
    for contrast in analysis.contrasts:
        sidecars = [sidecar_of(path) for path in (*contrast.clusters.values(), *_uncorrected(contrast))]
        words = next((one["ShufflingScheme"] for one in sidecars if one.get("ShufflingScheme")), None)
        if words:
            found.setdefault(str(words), []).append(contrast.name)
    return found


def _correction(name: str, sidecar: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "alpha": sidecar.get("Alpha"),
        "n_permutations": sidecar.get("NumberOfPermutations"),
        "cluster_forming_p": sidecar.get("ClusterFormingP"),
        "cluster_extent_mm3": sidecar.get("ClusterExtentMm3"),
        "cluster_forming_z": sidecar.get("ClusterFormingZ"),
        "connectivity": sidecar.get("Connectivity"),
        "blocks": sidecar.get("ExchangeabilityBlocks"),
        "variance_groups": sidecar.get("VarianceGroups"),
        "n_together": sidecar.get("NumberOfContrastsTogether"),
        "has_tail_approximation": bool(sidecar.get("TailApproximation")),
    }


def _permutation_p(analysis: AnalysisFiles) -> dict[str, Any] | None:
    """Say how uncorrected p by shuffling came about; None where there are none."""
    found = (sidecar_of(path) for contrast in analysis.contrasts for path in _uncorrected(contrast))
    return next((_correction(UNCORRECTED, sidecar) for sidecar in found), None)


def _uncorrected(contrast: ContrastFiles) -> tuple[Path, ...]:
    path = contrast.maps.get(UNCORRECTED)
    return () if path is None else (path,)


def _is_two_sided(analysis: AnalysisFiles) -> bool | None:
    sides = [contrast.sidecar.get("TwoSided") for contrast in analysis.contrasts if contrast.test == "t"]
    return None if not sides or sides[0] is None else bool(sides[0])


def _of_fit(analysis: AnalysisFiles, key: str) -> str | None:
    """Find what the sidecars of the contrasts' statistics say."""
    return next((str(one.sidecar[key]) for one in analysis.contrasts if one.sidecar.get(key)), None)


def _generator_version(folder: Folder) -> str | None:
    generators = folder.description.get("GeneratedBy") or [{}]
    return dict(generators[0]).get("Version")


def _mask_name(model: Mapping[str, Any]) -> str | None:
    """File name of the mask that the user gave, from the settings in the resolved model."""
    masks = [settings.get("mask") for settings in _settings(model)]
    return next((Path(str(mask)).name for mask in masks if mask), None)


def _settings(model: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for node in model.get("Nodes") or []:
        software = dict(dict(node.get("Model") or {}).get("Software") or {})
        yield dict(software.get("bids_group") or {})
