"""What was done, read from the sidecars of one analysis: the facts of the methods paragraph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_group.output.report.folder import AnalysisFiles, ContrastFiles, Folder, sidecar_of


def gather_facts(folder: Folder, analysis: AnalysisFiles, n_elements: int | None) -> dict[str, Any]:
    """Gather the facts of `bids_group.output.report.methods.methods_text`; what no file says is None or absent."""
    first = analysis.contrasts[0].sidecar if analysis.contrasts else {}
    labels = [str(label) for label in analysis.matrix.index]
    corrections = _corrections(analysis)
    return {
        "version": folder.command.get("Version") or _generator_version(folder),
        "versions": folder.command.get("Versions") or {},
        "n_rows": len(labels),
        "n_people": len({label.split("_ses-")[0] for label in labels}),
        "first_level_contrast": first.get("FirstLevelContrast"),
        "pooling": first.get("Pooling"),
        "has_pooled_maps": _has_pooled_maps(analysis),
        "input_stat": first.get("InputStat"),
        "estimator": _estimator(first),
        "formula": first.get("Formula") or analysis.info.get("Formula"),
        "dof": _number(analysis.info.get("DegreesOfFreedom")),
        "centering": analysis.info.get("Centering"),
        "centers": analysis.info.get("Centers"),
        "contrasts": [words_of(analysis, contrast) for contrast in analysis.contrasts],
        "has_marginal_means": any(_is_by_meaning(analysis, contrast) for contrast in analysis.contrasts),
        "n_elements": n_elements,
        "min_coverage": _number(first.get("MinCoverage")) or 1.0,
        "mask_name": _name_of(first.get("Mask")),
        "smoothing_mm": _number(first.get("Smoothing")),
        "is_two_sided": first.get("TwoSided"),
        "alpha": next((entry["alpha"] for entry in corrections if entry["alpha"]), None),
        "corrections": corrections,
        "has_g": any("g" in contrast.maps for contrast in analysis.contrasts),
    }


def entry_of(analysis: AnalysisFiles, contrast: ContrastFiles) -> Mapping[str, Any]:
    """Return what the design's sidecar says of a contrast; empty where it says nothing."""
    entries = analysis.info.get("Contrasts") or []
    return next((dict(entry) for entry in entries if str(entry.get("Name")) == contrast.name), {})


def words_of(analysis: AnalysisFiles, contrast: ContrastFiles) -> str:
    """Say what a contrast tests, in words."""
    entry = entry_of(analysis, contrast)
    return str(entry.get("Words") or contrast.sidecar.get("Words") or contrast.name)


def _is_by_meaning(analysis: AnalysisFiles, contrast: ContrastFiles) -> bool:
    return bool(re.search(r"\b(mean|slope)\([^)]", str(entry_of(analysis, contrast).get("Expression", ""))))


def _corrections(analysis: AnalysisFiles) -> list[dict[str, Any]]:
    """One entry per correction, from the first contrast that has it."""
    found: dict[str, dict[str, Any]] = {}
    for contrast in analysis.contrasts:
        for name in contrast.corrections:
            path = contrast.corrected.get(name) or contrast.clusters.get(name)
            if name not in found and path is not None:
                found[name] = _correction(name, sidecar_of(path))
    return list(found.values())


def _correction(name: str, sidecar: Mapping[str, Any]) -> dict[str, Any]:
    shuffling = sidecar.get("Shuffling")
    return {
        "name": name,
        "alpha": _number(sidecar.get("Alpha")),
        "threshold": _number(sidecar.get("Threshold")),
        "threshold_stat": sidecar.get("ThresholdStat"),
        "n_permutations": sidecar.get("NumberOfPermutations"),
        "random_seed": sidecar.get("RandomSeed"),
        "shuffling": shuffling,
        "cluster_forming_p": _number(sidecar.get("ClusterFormingP")),
        "connectivity": sidecar.get("Connectivity"),
        "has_blocks": bool(sidecar.get("ExchangeabilityBlocks")),
        "has_tail_approximation": bool(sidecar.get("TailApproximation")),
    }


def _estimator(sidecar: Mapping[str, Any]) -> str | None:
    text = str(sidecar.get("Estimator") or "").lower()
    if not text:
        return None
    return "meta" if "meta" in text or "weighted" in text or "known" in text else "ols"


def _has_pooled_maps(analysis: AnalysisFiles) -> bool:
    return any(
        int(entry.get("NumberOfMaps") or entry.get("n_maps") or 1) > 1
        for entry in analysis.info.get("Observations") or []
    )


def _generator_version(folder: Folder) -> str | None:
    generators = folder.description.get("GeneratedBy") or [{}]
    return generators[0].get("Version")


def _number(value: Any) -> float | None:
    """The number in a sidecar value: itself, or the first number in its text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    match = re.search(r"\d+(\.\d+)?([eE][-+]?\d+)?", str(value)) if isinstance(value, str) else None
    return float(match[0]) if match else None


def _name_of(value: Any) -> str | None:
    return Path(str(value)).name if value else None
