"""Edges of a model: which maps a node receives."""

from __future__ import annotations

from collections.abc import Mapping

from bids_group.config.stats_model import Node, StatsModel
from bids_group.errors import SelectionError
from bids_group.model.signals import Signal, map_signals
from bids_group.records import Cohort


def receive(
    node: Node, model: StatsModel, outputs: Mapping[str, tuple[Signal, ...]], cohort: Cohort
) -> tuple[Signal, ...]:
    """Collect what the edges into a node hand on; the first node receives every first-level map."""
    edges = [edge for edge in model.edges if edge.destination == node.name]
    if not edges:
        return map_signals(cohort.maps)
    received = tuple(signal for edge in edges for signal in outputs[edge.source])
    if not received:
        raise SelectionError(f"The node {node.name!r} receives no map.")
    return received
