"""From maps to group models: which observations are the rows of which design.

A model's nodes are walked from the maps up. Nodes below the group make observations of observations
(`lower_nodes`); each Dataset node makes one `GroupAnalysis` for each group of its GroupBy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import pandas as pd

from bids_group.config import AnalysisSpec
from bids_group.config.stats_model import Node, StatsModel
from bids_group.errors import DataError, SelectionError, UsageError
from bids_group.labels import camel_label
from bids_group.model.planning.estimators import choose_estimator
from bids_group.model.planning.lower_nodes import lower_outputs
from bids_group.model.planning.node_design import (
    build_node_rows,
    check_one_contrast,
    contrast_requests,
    node_formula,
)
from bids_group.model.planning.node_maps import (
    Labels,
    NodeMap,
    NodeMaps,
    join_covariates,
    receive,
    split,
    values_of,
)
from bids_group.model.planning.transformations import Transformed, transform
from bids_group.records import Cohort, FirstLevelMap, GroupAnalysis, Observation, warn

UNNAMED = ("contrast", "task", "space", "res", "den", "node")
"""Keys of GroupBy that the names of output files carry anyway, or that have one value in an analysis."""


def plan_analyses(cohort: Cohort, model: StatsModel, spec: AnalysisSpec) -> tuple[GroupAnalysis, ...]:
    """Plan every group model that a Stats Model (or a command line, compiled to one) asks for.

    Rows are sorted by label, analyses by node and group: nothing depends on the order of maps and tables. A
    missing value stays missing; a value that the model needs is asked for later (`keep_complete`).

    Raises
    ------
    UsageError, DataError, SelectionError
        A node, filter or contrast names what does not exist or is not supported; a row has no single value or
        map, or none by which GroupBy splits; a person's maps do not settle a contrast; a node receives none.
    """
    analyses = _walk(cohort, model, spec, lambda node, received: _analyses(node, received, cohort, spec))
    remarks = tuple(warn("model", one) for one in model.remarks)
    has_names = len(model.dataset_nodes) > 1
    return tuple(
        replace(one, node=one.node if has_names else None, notices=remarks + one.notices) for one in analyses
    )


def plan_pooling(cohort: Cohort, model: StatsModel, spec: AnalysisSpec) -> tuple[GroupAnalysis, ...]:
    """Plan what enters the group models, without the models: the work of the participant level.

    Tables are read only as far as the nodes below the group and the Filters need them, so that the job of one
    person does not depend on the others; a Filter may let none of the maps of a job through. Gives for each
    Dataset node and contrast its observations, with no covariates and the formula ``~ 1``.
    """

    def bare(node: Node, received: NodeMaps) -> Iterator[GroupAnalysis]:
        for contrast in sorted({one.contrast for one in received.maps}):
            maps = [one for one in received.maps if one.contrast == contrast]
            observations = _observations(node, maps, is_mixed=False)
            yield GroupAnalysis(
                first_level_contrast=contrast,
                observations=observations,
                rows=join_covariates([_row_of(one) for one in observations], ())[0],
                formula="~ 1",
                contrasts=(),
                node=node.name,
                exclusions=received.exclusions,
            )

    return tuple(_walk(cohort, model, spec, bare, is_lenient=True))


def _walk(
    cohort: Cohort,
    model: StatsModel,
    spec: AnalysisSpec,
    plan: Callable[[Node, NodeMaps], Iterable[GroupAnalysis]],
    *,
    is_lenient: bool = False,
) -> list[GroupAnalysis]:
    """Walk the nodes from the maps up and plan each Dataset node; ``is_lenient``: a node may receive no map.

    Two different maps of a person that would be written to one file are refused.
    """
    outputs: dict[str, NodeMaps] = {}
    analyses: list[GroupAnalysis] = []
    for node in model.nodes_in_order:
        try:
            received = receive(node, model, outputs, cohort)
            if node.level == "dataset":
                analyses.extend(plan(node, received))
            else:
                outputs[node.name] = lower_outputs(node, received, cohort, spec)
        except SelectionError:
            if not is_lenient:
                raise
            outputs[node.name] = NodeMaps(maps=())
    seen: dict[tuple[str, str | None, str], Observation] = {}
    for one in (row for each in analyses for row in each.observations):
        other = seen.setdefault((one.subject, one.session, camel_label(one.contrast).casefold()), one)
        if other != one:
            raise UsageError(
                f"Two different maps of {one.label} would have the same name.",
                found=f"{other.contrast!r} ({len(other.maps)} maps) and {one.contrast!r} ({len(one.maps)})",
                expected="contrasts below the group whose names differ in letters and digits",
                fix="Rename a contrast of a Session or Subject node, or run the Dataset nodes one by one.",
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
    return _with_rows(analysis, observations, transformed, raw)


def _with_rows(
    analysis: GroupAnalysis, observations: Sequence[Observation], transformed: Transformed, raw: pd.DataFrame
) -> GroupAnalysis:
    """Join observations and transformed rows, and say why others were left out."""
    reasons = transformed.dropped
    left = [one for one in observations if one.label in reasons]
    out = [each.exclude(reasons[one.label]) for one in left for each in one.maps]
    stay = tuple(one for one in observations if one.label not in reasons)
    labels = [one.label for one in stay]
    return replace(
        analysis,
        observations=stay,
        rows=transformed.rows.loc[labels],
        raw_rows=raw.loc[labels],
        exclusions=(*analysis.exclusions, *out),
    )


def _analyses(node: Node, received: NodeMaps, cohort: Cohort, spec: AnalysisSpec) -> list[GroupAnalysis]:
    """Plan one analysis for each group of a Dataset node's GroupBy; who lacks a value is in no group."""
    given, where = received.maps, f"GroupBy of the node {node.name!r}"
    by_name = {name: values_of(name, given, cohort, where) for name in node.group_by}
    # entities that no map carries do not split them (FitLins' maps have neither task nor space)
    by_name = {
        name: values
        for name, values in by_name.items()
        if name not in (*UNNAMED, "session", "run") or any(value is not None for value in values)
    }
    labels: dict[int, Labels] = {}
    exclusions = list(received.exclusions)
    for position, one in enumerate(given):
        lacking = [name for name, values in by_name.items() if values[position] is None]
        if not lacking:
            labels[position] = tuple((name, str(values[position])) for name, values in by_name.items())
            continue
        if spec.missing == "error":
            raise DataError(
                f"The node {node.name!r} has a model for each {lacking[0]}, "
                f"but sub-{one.entities['subject']} has no value of it.",
                found="n/a",
                fix="Leave such participants out with --missing drop, or fill in the table.",
            )
        exclusions += one.exclude(f"no value (n/a) of {lacking[0]} for GroupBy (--missing drop)")
    if not labels:
        raise SelectionError(f"The node {node.name!r} receives no map that it could analyse.")
    whole = replace(received, exclusions=tuple(exclusions))
    return [
        _analysis(node, dict(names), replace(whole, maps=tuple(given[at] for at in positions)), cohort, spec)
        for names, positions in split(labels).items()
    ]


def _analysis(
    node: Node, labels: dict[str, str], received: NodeMaps, cohort: Cohort, spec: AnalysisSpec
) -> GroupAnalysis:
    """Make the group model of one first-level contrast (and part of a GroupBy)."""
    contrasts = sorted({one.contrast for one in received.maps})
    check_one_contrast(node, received.maps, cohort.cell_factors)
    observations = _observations(node, received.maps, is_mixed=len(contrasts) > 1)
    others = (spec.inference.exchangeability_blocks, spec.inference.variance_groups, spec.scale_by)
    judged = [name for name in others if name]
    rows = [_row_of(one) for one in observations]
    raw, transformed, columns = build_node_rows(node, rows, cohort, judged_by=judged)
    requests = contrast_requests(node)
    notices = (*received.notices, *(warn("model", one) for one in transformed.remarks))
    if not requests and "contrast" not in node.settings:
        sentence = f"The node {node.name!r} has no contrasts; the mean and each term are tested."
        notices += (warn("model", sentence),)
    # several first-level contrasts are named together, briefly enough for a file name
    together = " and ".join(contrasts) if len(contrasts) <= 3 else f"{len(contrasts)} contrasts"
    analysis = GroupAnalysis(
        first_level_contrast=together,
        observations=observations,
        rows=raw,
        formula=node_formula(node, map(str, transformed.rows.columns)),
        contrasts=requests,
        centering=node.settings.get("center", "none"),
        has_default_contrasts=not requests,
        estimator=choose_estimator(node, spec),
        node=node.name,
        group_labels={name: value for name, value in labels.items() if name not in UNNAMED},
        columns=columns,
        notices=notices,
        exclusions=received.exclusions,
        instructions=node.instructions,
        design_matrix=node.design_matrix,
    )
    return _with_rows(analysis, observations, transformed, raw) if node.instructions else analysis


def _observations(node: Node, maps: Sequence[NodeMap], *, is_mixed: bool) -> tuple[Observation, ...]:
    """Make a row of the design of each map; refuse two maps for one row."""
    found: dict[str, Observation] = {}
    for given in maps:
        one = given.source
        if isinstance(one, FirstLevelMap):
            one = Observation(
                subject=given.entities["subject"],
                session=given.entities.get("session"),
                contrast=given.contrast,
                sources=(one,),
                combine="mean",
            )
        if one.is_one_of_several != is_mixed:
            one = replace(one, is_one_of_several=is_mixed)
        if one.label in found:
            raise DataError(
                f"The node {node.name!r} has two maps for the row {one.label}.",
                found=" and ".join(str(each.effect) for each in (*found[one.label].maps[:1], *one.maps[:1])),
                expected="one map per person (and session, and contrast)",
                fix="Pool the runs by a node of Level Subject or Session and Type meta before this one.",
            )
        found[one.label] = one
    return tuple(found[label] for label in sorted(found))


def _row_of(one: Observation) -> NodeMap:
    contrast = one.contrast if one.is_one_of_several else None
    named = {"subject": one.subject, "session": one.session, "contrast": contrast}
    return NodeMap(entities={name: value for name, value in named.items() if value is not None}, source=one)
