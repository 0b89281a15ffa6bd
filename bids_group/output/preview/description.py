"""What a run would do, before any map is read: everything that can be said, JSON-able."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bids_group.config import AnalysisSpec, InferenceSpec
from bids_group.config.options import options_of
from bids_group.output.disk.writing import plain
from bids_group.output.files.names import shared_entities
from bids_group.output.files.sidecars import contrast_entry, smoothing
from bids_group.records import Cohort, Design, Exclusion, GroupAnalysis, Notice, Observation

_NO_MAP = "no map of the selection"


def describe_dry_run(
    cohort: Cohort,
    analyses: Sequence[GroupAnalysis],
    designs: Sequence[Design],
    exclusions: Sequence[Exclusion],
    notices: Sequence[Notice],
    shuffling_notices: Sequence[Notice] = (),
    *,
    spec: AnalysisSpec,
    observations: Sequence[Observation] | None = None,
    seconds_of_shuffling: float | None = None,
) -> dict[str, Any]:
    """Gather what can be said before any map is read, JSON-able.

    Parameters
    ----------
    analyses, designs
        In the same order.
    exclusions
        Beyond those of the cohort.
    notices, shuffling_notices
        Of all steps; repeated ones are said once.
    spec
        What was asked of images and inference, settled.
    observations
        What is pooled, where that is not the rows of ``analyses`` (``participant`` level).
    seconds_of_shuffling
        What shuffling will take, about; None where nothing is shuffled.
    """
    if observations is None:
        observations = tuple(one for analysis in analyses for one in analysis.observations)
    all_exclusions = tuple(dict.fromkeys([*cohort.exclusions, *exclusions]))
    said = dict.fromkeys([*cohort.notices, *notices, *shuffling_notices])
    description = {
        "Maps": _describe_maps(cohort, observations),
        "Participants": _describe_people(cohort, observations, all_exclusions),
        "Images": _describe_images(spec),
        "Inference": _describe_inference(spec.inference, seconds_of_shuffling),
        "Analyses": [_describe_analysis(*pair) for pair in zip(analyses, designs, strict=True)],
        "Notices": [
            {"Severity": one.severity, "Topic": one.topic, "Sentence": one.sentence, "Fix": one.fix}
            for one in said
        ],
    }
    return dict(plain(description))


def _describe_maps(cohort: Cohort, observations: Sequence[Observation]) -> dict[str, Any]:
    used = {one.effect for observation in observations for one in observation.maps}
    return {
        "Found": len(cohort.maps),
        "Used": len(used),
        "Pooling": sorted({one.combine for one in observations}),
        "MapsPerRow": sorted({len(one.maps) for one in observations}),
        "WithVariance": sum(one.variance is not None for one in cohort.maps),
        "Contrasts": sorted({one.contrast for one in cohort.maps}),
        **({} if cohort.maps[0].suffix == "statmap" else {"Suffix": cohort.maps[0].suffix}),
        "Sessions": sorted({one.session for one in cohort.maps if one.session is not None}),
        "Runs": sorted({one.run for one in cohort.maps if one.run is not None}),
        **{
            name.capitalize(): value
            for name, value in shared_entities(cohort.maps).items()
            if value is not None
        },
        "Datasets": {name: str(root) for name, root in cohort.dataset_names.items()},
    }


def _describe_images(spec: AnalysisSpec) -> dict[str, Any]:
    return {
        "Smoothing": smoothing(spec),
        "Mask": None if spec.mask is None else str(spec.mask),
        **({} if spec.mask_threshold is None else {"MaskThreshold": spec.mask_threshold}),
        "MinimumCoverage": spec.min_coverage,
    }


def _describe_inference(spec: InferenceSpec, seconds: float | None) -> dict[str, Any]:
    said = {one.title: getattr(spec, one.attribute) for one in options_of(InferenceSpec)}
    about = None if seconds is None else round(seconds, 1)
    return {**said, "IsShuffled": spec.needs_shuffling, "SecondsOfShuffling": about}


def _describe_people(
    cohort: Cohort, observations: Sequence[Observation], exclusions: Sequence[Exclusion]
) -> dict[str, Any]:
    included = {one.subject for one in observations}
    reasons: dict[str, list[str]] = {}
    for one in exclusions:
        reasons.setdefault(one.subject, []).append(_reason(one))
    everyone = sorted({*cohort.everyone, *included, *reasons})
    return {
        "Listed": len(everyone),
        "Analysed": len(included),
        "In": sorted(included),
        "Out": {who: reasons.get(who, [_NO_MAP]) for who in everyone if who not in included},
        "InWithLess": {who: reasons[who] for who in everyone if who in included and who in reasons},
        "Reasons": _count_reasons(exclusions, [who for who in everyone if who not in {*included, *reasons}]),
    }


def _count_reasons(exclusions: Sequence[Exclusion], unexplained: Sequence[str]) -> dict[str, dict[str, int]]:
    """By reason: whom it concerns, and how many single maps of them (0: the whole person)."""
    found: dict[str, dict[str, int]] = {}
    for one in exclusions:
        maps = found.setdefault(one.reason, {})
        maps[one.subject] = maps.get(one.subject, 0) + (one.path is not None)
    return {**found, **({_NO_MAP: dict.fromkeys(unexplained, 0)} if unexplained else {})}


def _reason(exclusion: Exclusion) -> str:
    parts = {"ses-": exclusion.session, "contrast ": exclusion.contrast}
    where = ", ".join(f"{prefix}{value}" for prefix, value in parts.items() if value is not None)
    what = f"{where} ({exclusion.path.name})" if where and exclusion.path else where
    what = what or (exclusion.path.name if exclusion.path else "")
    return f"{what}: {exclusion.reason}" if what else exclusion.reason


def _describe_sessions(analysis: GroupAnalysis) -> dict[str, Any] | None:
    """Sessions in the order of their levels, and who says so; None where rows are not several sessions."""
    if "session" not in analysis.rows:
        return None
    levels = list(analysis.rows["session"].astype("category").cat.remove_unused_categories().cat.categories)
    column = analysis.columns.get("session")
    said = "alphabetical, numbers as numbers" if column is None else column.kind_source
    return {"Levels": levels, "Order": said} if len(levels) > 1 else None


def _describe_analysis(analysis: GroupAnalysis, design: Design) -> dict[str, Any]:
    details = design.details
    return {
        "FirstLevelContrast": analysis.first_level_contrast,
        "Node": analysis.node,
        "GroupBy": dict(analysis.group_labels),
        "Formula": design.formula,
        "Estimator": analysis.estimator.name,
        "Sessions": _describe_sessions(analysis),
        "Pooling": sorted({one.combine for one in analysis.observations}),
        "MapsPerRow": {one.label: len(one.maps) for one in analysis.observations},
        "Centering": {"Method": design.centering, "Values": dict(design.centers)},
        "Columns": list(design.matrix.columns),
        "Terms": {term: list(columns) for term, columns in design.terms.items()},
        "Rows": list(design.matrix.index),
        "Matrix": design.matrix.to_numpy().tolist(),
        "Rank": design.rank,
        "DegreesOfFreedom": design.dof,
        "ConditionNumber": details.get("condition_number"),
        "VIF": details.get("vif", {}),
        "DependentColumns": details.get("dependent_columns", []),
        "NPerCell": details.get("n_per_cell", []),
        "Covariates": details.get("covariates", []),
        **(
            {} if (own := analysis.scaling) is None else {"Scaling": {"Column": own.column, "Mean": own.mean}}
        ),
        "Contrasts": [contrast_entry(analysis, one).but(estimable=True) for one in design.contrasts],
    }
