"""What was done in one analysis, read from its sidecars."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_group.output.report.folder import UNCORRECTED, AnalysisFiles, ContrastFiles, Folder, sidecar_of

_OF_DESIGN = (
    *("first_level_contrast", "pooling", "input_suffix", "scaling", "estimator", "formula", "design_matrix"),
    *("columns", "centers", "mask_threshold", "estimator_variant", "random_terms"),
)
_OF_CORRECTION = (
    *("alpha", "number_of_permutations", "number_of_contrasts_together", "tail_approximation"),
    *("cluster_forming_p", "cluster_forming_z", "cluster_extent_mm3", "connectivity"),
    *("exchangeability_blocks", "variance_groups", "extent", "familywise_parts"),
)
"""Fields of sidecars that are told as they are."""
_KEPT_APART = {"session": "sessions", "contrast": "first-level contrasts"}
"""What makes several rows of a person, by field of an observation."""


def gather_facts(folder: Folder, analysis: AnalysisFiles, n_elements: int) -> dict[str, Any]:
    """Gather what files say of one analysis; what none says is None."""
    info, contrasts, command = analysis.info, analysis.contrasts, folder.command
    rows, coverage = info.observations or [], info.minimum_coverage
    generators = folder.description.get("GeneratedBy") or [{}]
    fits = [one.sidecar for one in contrasts]
    sides = [one.two_sided for one in fits if one.test == "t" and not one.equivalence_bounds]
    clusters = {name: one.clusters[name] for one in contrasts[::-1] for name in one.corrections}
    corrections = dict.fromkeys(name for one in contrasts for name in one.corrections)
    by_shuffling = [one.maps[UNCORRECTED] for one in contrasts if UNCORRECTED in one.maps]
    return {
        **{name: getattr(info, name) for name in _OF_DESIGN},
        "version": command.version or dict(generators[0]).get("Version"),
        "versions": dict(command.versions or {}),
        "title": analysis.title,
        "n_rows": len(analysis.matrix),
        "n_people": len(analysis.people),
        "kept_apart": [words for key, words in _KEPT_APART.items() if any(getattr(row, key) for row in rows)],
        "has_pooled_maps": any((row.n_maps or 1) > 1 for row in rows),
        "input_stat": info.input_statistic,
        "dof": info.degrees_of_freedom,
        "centering": info.centering and info.centering.method,
        "contrasts": [one.words for one in contrasts],
        "has_marginal_means": any(re.search(r"\b(mean|slope)\(", one.expression) for one in contrasts),
        "n_elements": n_elements,
        "elements": "voxels" if all(one.density is None for one in fits) else "elements",
        "min_coverage": 1.0 if coverage is None else float(coverage),
        "mask_name": _mask_name(folder.model),
        "smoothing_mm": info.smoothing and info.smoothing.full_width_at_half_maximum,
        "is_two_sided": None if not sides or sides[0] is None else bool(sides[0]),
        "corrections": [_correction(name, clusters[name]) for name in corrections],
        "schemes": _schemes(contrasts),
        "permutation_p": _correction(UNCORRECTED, by_shuffling[0]) if by_shuffling else None,
        "variance_groups": next(filter(None, (one.variance_groups for one in fits)), None),
        "ignored_blocks": next(filter(None, (one.ignored_exchangeability_blocks for one in fits)), None),
        "atlas": next(filter(None, (sidecar_of(path).atlas for path in clusters.values())), None),
        "has_conjunction": any(one.conjunction for one in fits),
        **_effect_sizes(contrasts),
    }


def _effect_sizes(contrasts: Sequence[ContrastFiles]) -> dict[str, Any]:
    """Facts of effect sizes, the bounds of equivalence and the Bayes factor."""
    standardised = {one.name: sidecar_of(one.maps["g"]).standardiser for one in contrasts if "g" in one.maps}
    methods = [one.sidecar.equivalence_method for one in contrasts if one.sidecar.equivalence_bounds]
    bayes = [sidecar_of(one.maps["bf10"]).cauchy_scale for one in contrasts if "bf10" in one.maps]
    return {
        "has_g": bool(standardised),
        "standardisers": standardised,
        "has_d_total": any("dTotal" in one.maps for one in contrasts),
        "has_partial_r2": any("partialR2" in one.maps for one in contrasts),
        "has_equivalence": bool(methods),
        "has_standardised_bounds": any("non-central" in (one or "") for one in methods),
        "cauchy_scale": next(iter(bayes), None),
    }


def _correction(name: str, path: Path) -> dict[str, Any]:
    sidecar = sidecar_of(path)
    return {"name": name, **{field: getattr(sidecar, field) for field in _OF_CORRECTION}}


def _schemes(contrasts: Iterable[ContrastFiles]) -> dict[str, list[str]]:
    """How the data were shuffled, in words, and for which contrasts."""
    found: dict[str, list[str]] = {}
    for one in contrasts:
        paths = filter(None, [*one.clusters.values(), one.maps.get(UNCORRECTED)])
        said = (sidecar_of(path).shuffling_scheme for path in paths)
        if words := next(filter(None, said), None):
            found.setdefault(words, []).append(one.name)
    return found


def _mask_name(model: Mapping[str, Any]) -> str | None:
    """File name of the mask that the user gave, from the settings in the resolved model."""
    nodes = model.get("Nodes")
    masks = []
    for inner in nodes if isinstance(nodes, list) else []:
        for key in ("Model", "Software", "bids_group", "mask"):
            inner = inner.get(key) if isinstance(inner, dict) else None
        masks.append(inner)
    return next((Path(str(mask)).name for mask in masks if mask), None)
