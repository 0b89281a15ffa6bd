"""Nodes below the group: what a Run node declares, and Session and Subject nodes person by person."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence

from bids_group.config import AnalysisSpec
from bids_group.config.stats_model import INTERCEPT, Node
from bids_group.errors import SelectionError
from bids_group.model.planning.edges import Flow
from bids_group.model.planning.node_maps import Signal, find_contrast, split, values_of
from bids_group.model.planning.person_fit import NodeDesigns, PersonError, PersonFit
from bids_group.records import Cohort, Notice
from bids_group.words import list_some


def lower_outputs(node: Node, received: Flow, cohort: Cohort, spec: AnalysisSpec) -> Flow:
    """Make the output maps of a Run, Session or Subject node."""
    if not received.signals:
        return received
    if node.level == "run":
        return _declared(node, received)
    signals: list[Signal] = []
    exclusions = list(received.exclusions)
    for fit in _fits(node, received.signals, cohort):
        try:
            signals.extend(fit.outputs())
        except PersonError as error:
            if spec.missing == "error":
                raise error.as_data_error() from None
            exclusions.extend(one for signal in fit.signals for one in signal.exclude(error.reason))
    return Flow(signals=tuple(signals), exclusions=tuple(exclusions), notices=received.notices)


# --------------------------------------------------------------------------------------------
# Run nodes


def _declared(node: Node, received: Flow) -> Flow:
    """Hand on the maps of the contrasts that a Run node declares (every map where it declares none).

    The node itself was carried out by the program that made the maps. F contrasts end at their node.
    """
    declared = node.all_contrasts
    if not declared:
        return received
    available = sorted({signal.contrast for signal in received.signals})
    found = {one.name: _find_declared(one.name, available) for one in declared if one.test != "F"}
    kept = {name for names in found.values() for name in names}
    if not kept:
        raise SelectionError(
            f"No map is of a contrast of the node {node.name!r}.",
            found=list_some(available),
            expected=list_some(found),
        )
    reason = f"not a contrast that the node {node.name!r} hands on"
    out = (s.exclude(reason) for s in received.signals if s.contrast not in kept)
    return Flow(
        signals=tuple(signal for signal in received.signals if signal.contrast in kept),
        exclusions=(*received.exclusions, *(one for each in out for one in each)),
        notices=(
            *received.notices,
            *(_no_map(node, name) for name, names in found.items() if not names and name != INTERCEPT),
        ),
    )


def _find_declared(name: str, available: Sequence[str]) -> tuple[str, ...]:
    if any(character in name for character in "*?"):
        return tuple(one for one in available if fnmatch.fnmatchcase(one, name))
    found = find_contrast("intercept" if name == INTERCEPT else name, available)
    return () if found is None else (found,)


def _no_map(node: Node, name: str) -> Notice:
    return Notice(
        severity="warning",
        topic="model",
        sentence=f"The node {node.name!r} declares the contrast {name!r}, of which there is no map.",
    )


# --------------------------------------------------------------------------------------------
# Session and Subject nodes


def _fits(node: Node, signals: Sequence[Signal], cohort: Cohort) -> Iterator[PersonFit]:
    """Take the maps group by group of GroupBy; an entity that the maps do not carry does not split them."""
    where = f"GroupBy of the node {node.name!r}"
    by_name = {name: values_of(name, signals, cohort, where) for name in node.group_by}
    values = {
        position: tuple((name, str(each[position])) for name, each in by_name.items() if each[position])
        for position in range(len(signals))
    }
    designs = NodeDesigns(node, signals, cohort)
    n_contrasts = len({signal.contrast for signal in signals})
    for labels, positions in split(values).items():
        yield PersonFit(
            node=node,
            designs=designs,
            labels=labels,
            positions=positions,
            signals=tuple(signals[position] for position in positions),
            has_variance=cohort.has_variance_everywhere,
            n_contrasts=n_contrasts,
        )
