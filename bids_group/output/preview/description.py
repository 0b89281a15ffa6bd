"""What a run would do, before any map is read: all that can be said of it, as one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bids_group.config import AnalysisSpec, InferenceSpec
from bids_group.config.options import options_of
from bids_group.output.disk.writing import plain
from bids_group.output.files.names import shared_entities
from bids_group.output.files.sidecars import contrast_entry, smoothing
from bids_group.records import Cohort, Contrast, Design, Exclusion, GroupAnalysis, Notice, Observation
from bids_group.words import counted, plural

_NO_MAP = "no map of the selection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Seconds that parts of a run take on this machine, about; None: not done, or nothing to go by.

    ``reading`` has smoothing, pooling and writing what is pooled; ``n_maps`` are read for ``n_rows`` pooled
    maps, of which ``n_pooled`` stand in OUTPUT_DIR already. ``n_again``: how often what is significant is
    tested again at most, each time without one person.
    """

    n_maps: int = 0
    n_rows: int = 0
    n_pooled: int = 0
    reading: float | None = None
    fitting: float | None = None
    shuffling: float | None = None
    n_again: int = 0

    @property
    def words(self) -> list[str]:
        """Say how long each part takes that something is known of."""
        pooled = f", {self.n_pooled} of which {plural(self.n_pooled, 'is', 'are')} pooled already"
        what = f"read {counted(self.n_maps, 'map')} for {counted(self.n_rows, 'row')}"
        what += pooled if self.n_pooled else ""
        parts = {what: self.reading, "fit": self.fitting, "shuffle": self.shuffling}
        known = {name: spell_duration(one) for name, one in parts.items() if one is not None}
        said = [f"about {seconds} to {name}" for name, seconds in known.items()]
        again = (
            f"up to {self.n_again} times that again where something is significant (--no-sensitivity: not)"
        )
        return [*said, again] if self.shuffling is not None and self.n_again else said


def spell_duration(seconds: float) -> str:
    """Spell a duration in whole seconds up to a minute and a half, then in minutes, then in hours."""
    unit, name = next((u, n) for u, n in ((3600, "h"), (60, "min"), (1, "s")) if seconds >= 1.5 * u or u == 1)
    return f"{max(round(seconds / unit), 1)} {name}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Preview:
    """What a dry run shows; every part is settled.

    ``exclusions`` are those of the cohort and of the designs; ``pooled`` is what is pooled, where that is not
    the rows of ``planned`` (``participant`` level); ``proposals``: contrasts that each of ``planned`` lets
    one ask, by its place; ``mem_gb``: memory that may be taken; ``stored``: where the maps of each analysis
    will lie.
    """

    cohort: Cohort
    planned: Sequence[tuple[GroupAnalysis, Design]]
    exclusions: Sequence[Exclusion]
    notices: Sequence[Notice]
    spec: AnalysisSpec
    pooled: Sequence[Observation] | None = None
    durations: Durations = Durations()
    mem_gb: float | None = None
    stored: Sequence[str] = ()
    proposals: Sequence[Sequence[Contrast]] = ()

    @property
    def observations(self) -> Sequence[Observation]:
        """What is pooled, or the rows of all analyses."""
        rows = (row for analysis, _ in self.planned for row in analysis.observations)
        return tuple(rows) if self.pooled is None else self.pooled

    @property
    def included(self) -> set[str]:
        """Whoever is in (labels)."""
        return {one.subject for one in self.observations}

    @property
    def everyone(self) -> list[str]:
        """All labels, sorted: in or out."""
        return sorted({*self.cohort.everyone, *self.included, *(one.subject for one in self.exclusions)})

    @property
    def reasons(self) -> dict[str, dict[str, int]]:
        """By reason: whom it keeps out, and how many single maps of them (0: the whole person)."""
        found: dict[str, dict[str, int]] = {}
        for one in dict.fromkeys(self.exclusions):
            maps = found.setdefault(one.reason, {})
            maps[one.subject] = maps.get(one.subject, 0) + (one.path is not None)
        told = self.included.union(*found.values())
        unexplained = dict.fromkeys((who for who in self.everyone if who not in told), 0)
        return {**found, **({_NO_MAP: unexplained} if unexplained else {})}


def describe_dry_run(preview: Preview) -> dict[str, Any]:
    """Gather what can be said before any map is read, JSON-able."""
    spec, durations = preview.spec, preview.durations
    description = {
        "Maps": _describe_maps(preview),
        "Participants": _describe_people(preview),
        "Images": {
            "Smoothing": smoothing(spec),
            "Mask": spec.mask,
            **_given(MaskThreshold=spec.mask_threshold),
            "MinimumCoverage": spec.min_coverage,
        },
        "Inference": {
            **{one.title: getattr(spec.inference, one.attribute) for one in options_of(InferenceSpec)},
            "IsShuffled": spec.inference.needs_shuffling,
            "SecondsOfShuffling": durations.shuffling and round(durations.shuffling, 1),
        },
        "Memory": {"Granted": preview.mem_gb, "Maps": list(preview.stored)},
        "Time": {
            "SecondsOfReading": durations.reading and round(durations.reading, 1),
            "SecondsOfFitting": durations.fitting and round(durations.fitting, 1),
        },
        "Analyses": [
            {**describe_analysis(*pair), "Proposals": _describe_proposals(preview, at)}
            for at, pair in enumerate(preview.planned)
        ],
        "Notices": [
            {name.capitalize(): value for name, value in asdict(one).items()}
            for one in dict.fromkeys(preview.notices)
        ],
    }
    return dict(plain(description))


def _describe_proposals(preview: Preview, at: int) -> list[dict[str, str]]:
    proposed = preview.proposals[at] if preview.proposals else ()
    return [{"Contrast": f"{one.name} = {one.expression}", "Words": one.words} for one in proposed]


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _describe_maps(preview: Preview) -> dict[str, Any]:
    cohort, observations = preview.cohort, preview.observations
    suffix = cohort.maps[0].suffix
    return {
        "Found": len(cohort.maps),
        "Used": len({one.effect for row in observations for one in row.maps}),
        "Pooling": sorted({one.combine for one in observations}),
        "MapsPerRow": sorted({len(one.maps) for one in observations}),
        "WithVariance": sum(one.variance is not None for one in cohort.maps),
        "Contrasts": sorted({one.contrast for one in cohort.maps}),
        **_given(Suffix=None if suffix == "statmap" else suffix),
        "Sessions": sorted({one.session for one in cohort.maps if one.session is not None}),
        "Runs": sorted({one.run for one in cohort.maps if one.run is not None}),
        **_given(**{name.capitalize(): value for name, value in shared_entities(cohort.maps).items()}),
        "Datasets": cohort.dataset_names,
    }


def _describe_people(preview: Preview) -> dict[str, Any]:
    included, everyone = preview.included, preview.everyone
    reasons: dict[str, list[str]] = {}
    for one in dict.fromkeys(preview.exclusions):
        parts = {"ses-": one.session, "contrast ": one.contrast}
        where = ", ".join(f"{prefix}{value}" for prefix, value in parts.items() if value is not None)
        file = one.path.name if one.path else ""
        what = f"{where} ({file})" if where and file else where or file
        reasons.setdefault(one.subject, []).append(f"{what}: {one.reason}" if what else one.reason)
    return {
        "Listed": len(everyone),
        "Analysed": len(included),
        "In": sorted(included),
        "Out": {who: reasons.get(who, [_NO_MAP]) for who in everyone if who not in included},
        "InWithLess": {who: reasons[who] for who in everyone if who in included and who in reasons},
        "Reasons": preview.reasons,
    }


def session_order(analysis: GroupAnalysis) -> tuple[list[str], str] | None:
    """Sessions in the order of their levels, and who says so; None where rows are not several sessions."""
    if "session" not in analysis.rows:
        return None
    levels = list(analysis.rows["session"].astype("category").cat.remove_unused_categories().cat.categories)
    column = analysis.columns.get("session")
    said = "alphabetical, numbers as numbers" if column is None else column.kind_source
    return (levels, said) if len(levels) > 1 else None


def describe_analysis(analysis: GroupAnalysis, design: Design) -> dict[str, Any]:
    """Describe a group model: rows, design, contrasts and checks."""
    details, scaling = design.details, analysis.scaling
    sessions = session_order(analysis)
    return {
        "FirstLevelContrast": analysis.first_level_contrast,
        "Node": analysis.node,
        "GroupBy": analysis.group_labels,
        "Formula": design.formula,
        "Estimator": analysis.estimator.name,
        **_given(
            EstimatorVariant=analysis.estimator.variant or None,
            RandomTerms=design.random and design.random.text,
        ),
        "Sessions": sessions and dict(zip(("Levels", "Order"), sessions, strict=True)),
        "Pooling": sorted({one.combine for one in analysis.observations}),
        "MapsPerRow": {one.label: len(one.maps) for one in analysis.observations},
        "Centering": {"Method": design.centering, "Values": design.centers},
        "Columns": list(design.matrix.columns),
        "Terms": design.terms,
        "Rows": list(design.matrix.index),
        "Matrix": design.matrix.to_numpy(),
        "Rank": design.rank,
        "DegreesOfFreedom": design.dof,
        "ConditionNumber": details.get("condition_number"),
        "VIF": details.get("vif", {}),
        "DependentColumns": details.get("dependent_columns", []),
        "NPerCell": details.get("n_per_cell", []),
        "Covariates": details.get("covariates", []),
        **_given(Scaling=scaling and {"Column": scaling.column, "Mean": scaling.mean}),
        "Contrasts": [
            contrast_entry(analysis, one).but(estimable=True)
            for one in (*design.contrasts, *design.conjunctions)
        ],
    }
