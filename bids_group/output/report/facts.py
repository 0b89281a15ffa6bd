"""What was done, read from the sidecars of one analysis: the facts of the methods paragraph."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bids_group.output.report.folder import UNCORRECTED, AnalysisFiles, ContrastFiles, Folder, sidecar_of
from bids_group.records.sidecars import Sidecar

_KEPT_APART = {"session": "sessions", "contrast": "first-level contrasts"}
"""What makes several rows of a person, by key of the design's list of observations."""


def gather_facts(folder: Folder, analysis: AnalysisFiles, n_elements: int) -> dict[str, Any]:
    """Gather the facts of `bids_group.output.report.methods.methods_text`; what no file says is None."""
    info = analysis.info
    corrections = _corrections(analysis)
    coverage, rows = info.minimum_coverage, info.observations or []
    return {
        "version": folder.command.version or _generator_version(folder),
        "versions": dict(folder.command.versions or {}),
        "title": analysis.title,
        "first_level_contrast": info.first_level_contrast,
        "n_rows": len(analysis.matrix),
        "n_people": len(analysis.people),
        "kept_apart": [words for key, words in _KEPT_APART.items() if any(getattr(row, key) for row in rows)],
        "pooling": info.pooling,
        "has_pooled_maps": any((row.n_maps or 1) > 1 for row in rows),
        "input_stat": info.input_statistic,
        "input_suffix": info.input_suffix,
        "scaling": info.scaling,
        "estimator": info.estimator,
        "formula": info.formula,
        "design_matrix": info.design_matrix,
        "columns": list(info.columns or []),
        "dof": info.degrees_of_freedom,
        "centering": info.centering and info.centering.method,
        "centers": dict(info.centers or {}),
        "contrasts": [contrast.words for contrast in analysis.contrasts],
        "has_marginal_means": any(
            re.search(r"\b(mean|slope)\(", contrast.expression) for contrast in analysis.contrasts
        ),
        "has_t": any(contrast.test == "t" for contrast in analysis.contrasts),
        "n_elements": n_elements,
        "min_coverage": 1.0 if coverage is None else float(coverage),
        "mask_name": _mask_name(folder.model),
        "mask_threshold": info.mask_threshold,
        "smoothing_mm": info.smoothing and info.smoothing.full_width_at_half_maximum,
        "is_two_sided": _is_two_sided(analysis),
        "corrections": corrections,
        "schemes": _schemes(analysis),
        "permutation_p": _permutation_p(analysis),
        "variance_groups": _of_fit(analysis, "variance_groups"),
        "ignored_blocks": _of_fit(analysis, "ignored_exchangeability_blocks"),
        "has_g": any("g" in contrast.maps for contrast in analysis.contrasts),
        "standardisers": {
            contrast.name: sidecar_of(contrast.maps["g"]).standardiser
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
        words = next((one.shuffling_scheme for one in sidecars if one.shuffling_scheme), None)
        if words:
            found.setdefault(words, []).append(contrast.name)
    return found


def _correction(name: str, sidecar: Sidecar) -> dict[str, Any]:
    return {
        "name": name,
        "alpha": sidecar.alpha,
        "n_permutations": sidecar.number_of_permutations,
        "cluster_forming_p": sidecar.cluster_forming_p,
        "cluster_extent_mm3": sidecar.cluster_extent_mm3,
        "cluster_forming_z": sidecar.cluster_forming_z,
        "connectivity": sidecar.connectivity,
        "blocks": sidecar.exchangeability_blocks,
        "variance_groups": sidecar.variance_groups,
        "n_together": sidecar.number_of_contrasts_together,
        "has_tail_approximation": bool(sidecar.tail_approximation),
    }


def _permutation_p(analysis: AnalysisFiles) -> dict[str, Any] | None:
    """Say how uncorrected p by shuffling came about; None where there are none."""
    found = (sidecar_of(path) for contrast in analysis.contrasts for path in _uncorrected(contrast))
    return next((_correction(UNCORRECTED, sidecar) for sidecar in found), None)


def _uncorrected(contrast: ContrastFiles) -> tuple[Path, ...]:
    path = contrast.maps.get(UNCORRECTED)
    return () if path is None else (path,)


def _is_two_sided(analysis: AnalysisFiles) -> bool | None:
    sides = [contrast.sidecar.two_sided for contrast in analysis.contrasts if contrast.test == "t"]
    return None if not sides or sides[0] is None else bool(sides[0])


def _of_fit(analysis: AnalysisFiles, name: str) -> str | None:
    """Find what the sidecars of the contrasts' statistics say."""
    return next((str(said) for one in analysis.contrasts if (said := getattr(one.sidecar, name))), None)


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
