"""From maps to group models: which observations are the rows of which design.

A model's nodes are walked from the maps up. Nodes below the group make observations of observations
(`lower_nodes`); each Dataset node makes one `GroupAnalysis` for each group of its GroupBy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bids_group.config import AnalysisSpec
from bids_group.config.stats_model import Node, StatsModel
from bids_group.errors import DataError, SelectionError, UsageError
from bids_group.labels import camel_label
from bids_group.model.planning.covariates import RowKey, join_covariates
from bids_group.model.planning.edges import Flow, receive
from bids_group.model.planning.lower_nodes import lower_outputs
from bids_group.model.planning.node_contrasts import contrast_requests
from bids_group.model.planning.node_maps import Labels, Signal, split, values_of
from bids_group.model.planning.node_rows import build_node_rows, check_one_contrast, node_formula
from bids_group.model.planning.transformations import transform
from bids_group.records import Cohort, Exclusion, GroupAnalysis, Notice, Observation

UNNAMED = ("contrast", "task", "space", "res", "den", "node")
"""Keys of GroupBy that the names of output files carry anyway, or that have one value in an analysis."""


def plan_analyses(cohort: Cohort, model: StatsModel, spec: AnalysisSpec) -> tuple[GroupAnalysis, ...]:
    """Plan every group model that a Stats Model (or a command line, compiled to one) asks for.

    Rows are sorted by label, analyses by node and group: nothing depends on the order of maps and tables. A
    missing value stays missing; a value that the model needs is asked for later (`keep_complete`).

    Raises
    ------
    UsageError
        A node, filter or contrast names what does not exist, or asks for what is not supported.
    DataError
        A covariate has no single value in a row; two maps stand for one row; a person's maps do not settle a
        contrast below the group; a value by which GroupBy splits is missing (``spec.missing`` ``error``).
    SelectionError
        A node receives no map.
    """
    outputs: dict[str, Flow] = {}
    analyses: list[GroupAnalysis] = []
    for node in model.nodes_in_order:
        received = receive(node, model, outputs, cohort)
        if node.level == "dataset":
            analyses.extend(_Planning(node=node, received=received, cohort=cohort, spec=spec).analyses())
        else:
            outputs[node.name] = lower_outputs(node, received, cohort, spec)
    _check_names(one for analysis in analyses for one in analysis.observations)
    remarks = tuple(Notice(severity="warning", topic="model", sentence=one) for one in model.remarks)
    has_names = len(model.dataset_nodes) > 1
    return tuple(
        replace(one, node=one.node if has_names else None, notices=remarks + one.notices) for one in analyses
    )


def plan_pooling(cohort: Cohort, model: StatsModel, spec: AnalysisSpec) -> tuple[GroupAnalysis, ...]:
    """Plan what enters the group models, without the models: the work of the participant level.

    Tables are read only as far as the nodes below the group and the Filters need them, so that the job of one
    person does not depend on the others; a Filter may let none of the maps of a job through.

    Returns
    -------
    For each Dataset node and contrast its observations, with no covariates and the formula ``~ 1``.
    """
    outputs: dict[str, Flow] = {}
    analyses: list[GroupAnalysis] = []
    for node in model.nodes_in_order:
        try:
            received = receive(node, model, outputs, cohort)
            if node.level == "dataset":
                analyses.extend(_bare_analyses(node, received))
            else:
                outputs[node.name] = lower_outputs(node, received, cohort, spec)
        except SelectionError:
            outputs[node.name] = Flow(signals=())
    _check_names(one for analysis in analyses for one in analysis.observations)
    return tuple(analyses)


def _bare_analyses(node: Node, received: Flow) -> list[GroupAnalysis]:
    by_contrast: dict[str, list[Signal]] = {}
    for signal in received.signals:
        by_contrast.setdefault(signal.contrast, []).append(signal)
    analyses = []
    for contrast, signals in sorted(by_contrast.items()):
        observations = _observations(node, signals, is_mixed=False)
        rows = join_covariates([_row_key(one) for one in observations], ()).frame
        analyses.append(
            GroupAnalysis(
                first_level_contrast=contrast,
                observations=observations,
                rows=rows,
                formula="~ 1",
                contrasts=(),
                node=node.name,
                exclusions=received.exclusions,
            )
        )
    return analyses


def restrict(analysis: GroupAnalysis, labels: Sequence[str]) -> GroupAnalysis:
    """Keep the rows named by ``labels``, in the analysis' own order, and transform them anew.

    Means and the like are over the rows that are left, so that nobody who is not analysed counts in them.
    """
    kept = set(labels)
    unknown = kept - set(analysis.rows.index)
    if unknown:
        raise DataError(
            f"The analysis of {analysis.first_level_contrast} has no row {min(unknown)}.",
            fix="This is a bug; please report it.",
        )
    observations = tuple(one for one in analysis.observations if one.label in kept)
    wanted = [one.label for one in observations]
    if analysis.raw_rows is None:
        return replace(analysis, observations=observations, rows=analysis.rows.loc[wanted])
    raw = analysis.raw_rows.loc[wanted]
    transformed = transform(raw, analysis.instructions, analysis.node or "group")
    return _with_rows(analysis, observations, transformed.rows, transformed.dropped, raw)


def _with_rows(
    analysis: GroupAnalysis,
    observations: Sequence[Observation],
    rows: pd.DataFrame,
    reasons: Mapping[str, str],
    raw: pd.DataFrame,
) -> GroupAnalysis:
    """Join observations and transformed rows; ``reasons``, by label, say why others were left out."""
    exclusions = [
        exclusion
        for one in observations
        if one.label in reasons
        for exclusion in _excluded(one, reasons[one.label])
    ]
    stay = tuple(one for one in observations if one.label not in reasons)
    return replace(
        analysis,
        observations=stay,
        rows=rows.loc[[one.label for one in stay]],
        raw_rows=raw.loc[[one.label for one in stay]],
        exclusions=(*analysis.exclusions, *exclusions),
    )


def _excluded(one: Observation, reason: str) -> list[Exclusion]:
    entities = {"subject": one.subject, "contrast": one.contrast}
    return Signal(entities=entities, source=one).exclude(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planning:
    """One Dataset node and the maps that it receives."""

    node: Node
    received: Flow
    cohort: Cohort
    spec: AnalysisSpec

    def analyses(self) -> list[GroupAnalysis]:
        groups, exclusions = self._groups()
        if not groups:
            raise SelectionError(f"The node {self.node.name!r} receives no map that it could analyse.")
        return [self._analysis(dict(labels), group, exclusions) for labels, group in groups.items()]

    def _groups(self) -> tuple[dict[Labels, list[Signal]], tuple[Exclusion, ...]]:
        """Split the maps by GroupBy; who lacks a value is in no group."""
        signals, where = self.received.signals, f"GroupBy of the node {self.node.name!r}"
        by_name = {name: values_of(name, signals, self.cohort, where) for name in self.node.group_by}
        by_name = {name: values for name, values in by_name.items() if not _is_absent(name, values)}
        complete, exclusions = [], []
        for position, signal in enumerate(signals):
            lacking = [name for name, values in by_name.items() if values[position] is None]
            if lacking:
                self._refuse_missing(signal, lacking[0])
                exclusions += signal.exclude(f"no value (n/a) of {lacking[0]} for GroupBy (--missing drop)")
            else:
                complete.append(position)
        labels = {
            position: tuple((name, str(values[position])) for name, values in by_name.items())
            for position in complete
        }
        groups = {one: [signals[position] for position in at] for one, at in split(labels).items()}
        return groups, (*self.received.exclusions, *exclusions)

    def _refuse_missing(self, signal: Signal, name: str) -> None:
        if self.spec.missing == "error":
            raise DataError(
                f"The node {self.node.name!r} has a model for each {name}, "
                f"but sub-{signal.entities['subject']} has no value of it.",
                found="n/a",
                fix="Leave such participants out with --missing drop, or fill in the table.",
            )

    def _analysis(
        self, labels: dict[str, str], signals: Sequence[Signal], exclusions: tuple[Exclusion, ...]
    ) -> GroupAnalysis:
        node = self.node
        contrasts = sorted({signal.contrast for signal in signals})
        check_one_contrast(node, contrasts, self.cohort.cell_factors)
        observations = _observations(node, signals, is_mixed=len(contrasts) > 1)
        inference = self.spec.inference
        others = (inference.exchangeability_blocks, inference.variance_groups, self.spec.scale_by)
        judged = [name for name in others if name]
        rows = build_node_rows(node, [_row_key(one) for one in observations], self.cohort, judged_by=judged)
        requests = contrast_requests(node)
        analysis = GroupAnalysis(
            first_level_contrast=_join(contrasts),
            observations=observations,
            rows=rows.raw,
            formula=node_formula(node, map(str, rows.transformed.rows.columns)),
            contrasts=requests,
            centering=node.settings.get("center", "none"),
            has_default_contrasts=not requests,
            estimator="meta" if node.type == "meta" else "ols",
            node=node.name,
            group_labels={name: value for name, value in labels.items() if name not in UNNAMED},
            columns=rows.columns,
            notices=(*self.received.notices, *self._say_defaults(requests)),
            exclusions=exclusions,
            instructions=node.instructions,
            design_matrix=Path(matrix) if (matrix := node.settings.get("design_matrix")) else None,
        )
        transformed = rows.transformed
        if not node.instructions:
            return analysis
        return _with_rows(analysis, observations, transformed.rows, transformed.dropped, rows.raw)

    def _say_defaults(self, requests: Sequence[object]) -> tuple[Notice, ...]:
        if requests or "contrast" in self.node.settings:
            return ()
        sentence = f"The node {self.node.name!r} has no contrasts; the mean and each term are tested."
        return (Notice(severity="warning", topic="model", sentence=sentence),)


def _join(contrasts: Sequence[str]) -> str:
    """Name several first-level contrasts together, briefly enough for a file name."""
    return " and ".join(contrasts) if len(contrasts) <= 3 else f"{len(contrasts)} contrasts"


def _is_absent(name: str, values: Sequence[str | None]) -> bool:
    """Whether no map carries an entity at all (FitLins' maps have neither task nor space)."""
    return name in (*UNNAMED, "session", "run") and all(value is None for value in values)


def _observations(node: Node, signals: Sequence[Signal], *, is_mixed: bool) -> tuple[Observation, ...]:
    found: dict[str, Observation] = {}
    for signal in signals:
        one = _observation(signal, is_mixed=is_mixed)
        if one.label in found:
            raise DataError(
                f"The node {node.name!r} has two maps for the row {one.label}.",
                found=" and ".join(str(each.effect) for each in (*found[one.label].maps[:1], *one.maps[:1])),
                expected="one map per person (and session, and contrast)",
                fix="Pool the runs by a node of Level Subject or Session and Type meta before this one.",
            )
        found[one.label] = one
    return tuple(found[label] for label in sorted(found))


def _observation(signal: Signal, *, is_mixed: bool) -> Observation:
    if isinstance(signal.source, Observation):
        return replace(signal.source, is_one_of_several=is_mixed)
    return Observation(
        subject=signal.entities["subject"],
        session=signal.entities.get("session"),
        contrast=signal.contrast,
        sources=(signal.source,),
        combine="mean",
        is_one_of_several=is_mixed,
    )


def _row_key(one: Observation) -> RowKey:
    named = {"subject": one.subject, "session": one.session}
    entities = {name: value for name, value in named.items() if value is not None}
    if one.is_one_of_several:
        entities["contrast"] = one.contrast
    sessions = tuple(sorted({each.session for each in one.maps}, key=str))
    effects = tuple(str(each.effect) for each in one.maps)
    return RowKey(label=one.label, entities=entities, sessions=sessions, effects=effects)


def _check_names(observations: Iterable[Observation]) -> None:
    """Refuse two different maps of a person that would be written to one file."""
    seen: dict[tuple[str, str | None, str], Observation] = {}
    for one in observations:
        one = replace(one, is_one_of_several=False)
        other = seen.setdefault((one.subject, one.session, camel_label(one.contrast).casefold()), one)
        if other != one:
            raise UsageError(
                f"Two different maps of {one.label} would have the same name.",
                found=f"{other.contrast!r} ({len(other.maps)} maps) and {one.contrast!r} ({len(one.maps)})",
                expected="contrasts below the group whose names differ in letters and digits",
                fix="Rename a contrast of a Session or Subject node, or run the Dataset nodes one by one.",
            )
