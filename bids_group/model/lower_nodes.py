"""Nodes below the group: fixed effects and contrasts within a person, as observations of observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bids_group.config.stats_model import INTERCEPT, Node
from bids_group.errors import UsageError
from bids_group.model.signals import Signal, split
from bids_group.records import Cohort, Observation


def lower_outputs(node: Node, signals: Sequence[Signal], cohort: Cohort) -> tuple[Signal, ...]:
    """Make the output maps of a Run, Session or Subject node."""
    if node.level == "run":
        return tuple(signals)
    _check_groups(node)
    values = [tuple((name, signal.entities.get(name, "")) for name in node.group_by) for signal in signals]
    combine = _combine(node, cohort)
    return tuple(_pooled(node, group, combine) for group in split(signals, values).values())


def _combine(node: Node, cohort: Cohort) -> Literal["precision", "mean"]:
    """``meta`` weighs by precision where every map of the dataset has a variance."""
    return "precision" if node.type == "meta" and cohort.has_variance_everywhere else "mean"


def _check_groups(node: Node) -> None:
    if "subject" not in node.group_by:
        raise UsageError(
            f"The node {node.name!r} of Level {node.level.capitalize()} would mix people.",
            found=f"GroupBy {list(node.group_by)}",
            fix='Add "subject" to GroupBy.',
        )
    if node.x != (INTERCEPT,):
        raise UsageError(
            f"The node {node.name!r} has regressors, which are not yet available below the group."
        )


def _pooled(node: Node, group: Sequence[Signal], combine: Literal["precision", "mean"]) -> Signal:
    first = group[0]
    entities = {name: first.entities[name] for name in node.group_by if name in first.entities}
    entities["contrast"] = first.entities["contrast"]
    observation = Observation(
        subject=entities["subject"],
        session=entities.get("session"),
        contrast=entities["contrast"],
        sources=tuple(signal.source for signal in group),
        combine=combine,
    )
    return Signal(entities=entities, source=observation, contrast_names=first.contrast_names)
