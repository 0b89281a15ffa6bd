"""From maps to group models: which observations are the rows of which design.

A model's nodes are walked from the maps up. Nodes below the group make observations of observations
(`bids_group.model.lower_nodes`); each Dataset node makes one `GroupAnalysis` for each group of its GroupBy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bids_group.config import AnalysisSpec
from bids_group.config.stats_model import INTERCEPT, Node, StatsModel, formula_names
from bids_group.errors import DataError, UsageError
from bids_group.model.covariates import Covariates, RowKey, join_covariates
from bids_group.model.factors import quote
from bids_group.model.graph import receive
from bids_group.model.lower_nodes import lower_outputs
from bids_group.model.requests import contrast_requests
from bids_group.model.signals import Labels, Signal, split
from bids_group.records import Cohort, GroupAnalysis, Notice, Observation


def plan_analyses(cohort: Cohort, model: StatsModel, spec: AnalysisSpec) -> tuple[GroupAnalysis, ...]:
    """Plan every group model that a Stats Model (or a command line, compiled to one) asks for.

    Rows are sorted by label, analyses by node and group: nothing depends on the order of maps and tables.

    Raises
    ------
    UsageError
        A node, filter or contrast names what does not exist, or asks for what is not supported.
    DataError
        A covariate has no single value in a row; two maps stand for one row.
    SelectionError
        A node receives no map.
    """
    outputs: dict[str, tuple[Signal, ...]] = {}
    analyses: list[GroupAnalysis] = []
    for node in model.nodes_in_order:
        received = receive(node, model, outputs, cohort)
        if node.level == "dataset":
            analyses.extend(_dataset_analyses(node, received, cohort, spec))
        else:
            outputs[node.name] = lower_outputs(node, received, cohort)
    if len(model.dataset_nodes) < 2:
        analyses = [replace(analysis, node=None) for analysis in analyses]
    remarks = tuple(Notice(severity="warning", topic="model", sentence=one) for one in model.remarks)
    return tuple(replace(analysis, notices=remarks + analysis.notices) for analysis in analyses)


def restrict(analysis: GroupAnalysis, labels: Sequence[str]) -> GroupAnalysis:
    """Keep the rows named by ``labels`` (their own order stays)."""
    kept = set(labels)
    unknown = kept - set(analysis.rows.index)
    if unknown:
        raise DataError(
            f"The analysis of {analysis.first_level_contrast} has no row {min(unknown)}.",
            fix="This is a bug; please report it.",
        )
    observations = tuple(one for one in analysis.observations if one.label in kept)
    rows = analysis.rows.loc[[one.label for one in observations]]
    return replace(analysis, observations=observations, rows=rows)


def _dataset_analyses(
    node: Node, signals: Sequence[Signal], cohort: Cohort, spec: AnalysisSpec
) -> list[GroupAnalysis]:
    groups = _split_by(node, signals, cohort)
    return [_analysis(node, group, dict(labels), cohort, spec) for labels, group in groups.items()]


def _split_by(node: Node, signals: Sequence[Signal], cohort: Cohort) -> dict[Labels, list[Signal]]:
    values = [tuple((name, signal.entities[name]) for name in node.group_by) for signal in signals]
    return split(signals, values)


def _analysis(
    node: Node, signals: Sequence[Signal], labels: dict[str, str], cohort: Cohort, spec: AnalysisSpec
) -> GroupAnalysis:
    contrasts = sorted({signal.entities["contrast"] for signal in signals})
    _check_one_contrast(node, contrasts)
    observations = _observations(node, signals, is_mixed=len(contrasts) > 1)
    covariates = _covariates(observations, cohort)
    covariates.require(_used_names(node, spec))
    requests = contrast_requests(node)
    return GroupAnalysis(
        first_level_contrast=" and ".join(contrasts),
        observations=observations,
        rows=covariates.frame,
        formula=node.formula or _formula(node),
        contrasts=requests,
        centering=node.settings.get("center", "none"),
        has_default_contrasts=not requests,
        estimator="meta" if node.type == "meta" else "ols",
        node=node.name,
        group_labels={name: value for name, value in labels.items() if name != "contrast"},
        columns=covariates.columns,
    )


def _formula(node: Node) -> str:
    """``X`` as a formula: its variables as they are, with the constant only where it is named."""
    terms = [quote(name) for name in node.x if name != INTERCEPT]
    return "~ " + " + ".join(["1" if INTERCEPT in node.x else "0", *terms])


def _check_one_contrast(node: Node, contrasts: Sequence[str]) -> None:
    used = {"contrast", *contrasts} & set(_model_names(node))
    if len(contrasts) > 1 and not used:
        raise UsageError(
            f"The node {node.name!r} would mix {len(contrasts)} first-level contrasts in one model.",
            found=", ".join(contrasts),
            expected="one contrast, or a model in which the contrast is a variable",
            fix='Add "contrast" to GroupBy.',
        )


def _model_names(node: Node) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*node.x, *formula_names(node.formula or ""))))


def _used_names(node: Node, spec: AnalysisSpec) -> tuple[str, ...]:
    judged = (spec.inference.exchangeability_blocks, spec.inference.variance_groups)
    return (*_model_names(node), *(name for name in judged if name))


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
        contrast=signal.entities["contrast"],
        sources=(signal.source,),
        combine="mean",
        is_one_of_several=is_mixed,
    )


def _covariates(observations: Sequence[Observation], cohort: Cohort) -> Covariates:
    return join_covariates([_row_key(one) for one in observations], cohort.tables)


def _row_key(one: Observation) -> RowKey:
    named = {"subject": one.subject, "session": one.session}
    entities = {name: value for name, value in named.items() if value is not None}
    if one.is_one_of_several:
        entities["contrast"] = one.contrast
    sessions = tuple(sorted({each.session for each in one.maps}, key=str))
    return RowKey(label=one.label, entities=entities, sessions=sessions)
