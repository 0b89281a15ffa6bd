"""Edges of a model: which maps a node receives, and which are left out on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bids_group.config.stats_model import Edge, Node, StatsModel
from bids_group.errors import SelectionError
from bids_group.model.planning.node_maps import Signal, find_contrast, map_signals, values_of
from bids_group.records import Cohort, Exclusion, Notice
from bids_group.words import list_some


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Maps at one place of the graph, and what was said and left out on the way to it."""

    signals: tuple[Signal, ...]
    exclusions: tuple[Exclusion, ...] = ()
    notices: tuple[Notice, ...] = ()


def receive(node: Node, model: StatsModel, outputs: Mapping[str, Flow], cohort: Cohort) -> Flow:
    """Collect what the edges into a node hand on; the first node receives every first-level map."""
    edges = [edge for edge in model.edges if edge.destination == node.name]
    if not edges:
        return Flow(signals=map_signals(cohort.maps))
    flows = [_filtered(outputs[edge.source], edge, cohort) for edge in edges]
    return Flow(
        signals=tuple(signal for flow in flows for signal in flow.signals),
        exclusions=tuple(one for flow in flows for one in flow.exclusions),
        notices=tuple(one for flow in flows for one in flow.notices),
    )


def _filtered(flow: Flow, edge: Edge, cohort: Cohort) -> Flow:
    for key, wanted in edge.filter.items():
        flow = _keep(flow, edge, key, wanted, cohort)
    return flow


def _keep(flow: Flow, edge: Edge, key: str, wanted: Sequence[str], cohort: Cohort) -> Flow:
    """Keep the maps whose value of ``key`` is one of those wanted; n/a is none of them."""
    if not flow.signals:
        return flow
    name = f"the edge from {edge.source!r} to {edge.destination!r}"
    if key == "contrast":
        values: list[str | None] = [signal.contrast for signal in flow.signals]
        found = [_find(one, flow.signals) for one in wanted]
    else:
        values = values_of(key, flow.signals, cohort, f"the Filter of {name}")
        found = [(one,) if one in values else () for one in wanted]
    kept = {value for each in found for value in each}
    absent = [one for one, each in zip(wanted, found, strict=True) if not each]
    if not kept:
        raise SelectionError(
            f"The Filter of {name} lets no map through.",
            found=f"{key} {list_some(sorted({str(value) for value in values if value is not None}))}",
            expected=f"{key} {list_some(wanted)}",
            fix="Correct the Filter in the model file.",
        )
    out = [
        one
        for signal, value in zip(flow.signals, values, strict=True)
        if value not in kept
        for one in signal.exclude(f"{key} is {value or 'n/a'}: not let through by the Filter of {name}")
    ]
    return Flow(
        signals=tuple(s for s, value in zip(flow.signals, values, strict=True) if value in kept),
        exclusions=(*flow.exclusions, *out),
        notices=(*flow.notices, *(_absent(one, key, name) for one in absent)),
    )


def _find(wanted: str, signals: Sequence[Signal]) -> tuple[str, ...]:
    """Names of the contrasts that are meant: by their own name, or by that of the node that made them."""
    found = find_contrast(wanted, (signal.contrast for signal in signals))
    if found is not None:
        return (found,)
    return tuple(dict.fromkeys(signal.contrast for signal in signals if signal.made_as == wanted))


def _absent(value: str, key: str, edge: str) -> Notice:
    return Notice(
        severity="warning",
        topic="model",
        sentence=f"The Filter of {edge} names the {key} {value!r}, which no map has.",
        fix="Correct the name, or add the maps.",
    )
