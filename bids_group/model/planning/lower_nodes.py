"""Nodes below the group: what a Run node declares, and Session and Subject nodes person by person."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from bids_group.config import AnalysisSpec
from bids_group.config.stats_model import INTERCEPT, Node
from bids_group.errors import SelectionError
from bids_group.model.planning.node_maps import NodeMap, NodeMaps, find_contrast, split, values_of
from bids_group.model.planning.person_fit import NodeDesigns, PersonError, PersonFit
from bids_group.records import Cohort, warn
from bids_group.words import list_some


def lower_outputs(node: Node, received: NodeMaps, cohort: Cohort, spec: AnalysisSpec) -> NodeMaps:
    """Make the output maps of a Run, Session or Subject node.

    A Session or Subject node takes its maps group by group of GroupBy; an entity that the maps do not carry
    does not split them.
    """
    given = received.maps
    if not given:
        return received
    if node.level == "run":
        return _declared(node, received)
    where = f"GroupBy of the node {node.name!r}"
    by_name = {name: values_of(name, given, cohort, where) for name in node.group_by}
    values = {
        position: tuple((name, str(each[position])) for name, each in by_name.items() if each[position])
        for position in range(len(given))
    }
    designs = NodeDesigns(node, given, cohort)
    made: list[NodeMap] = []
    exclusions = list(received.exclusions)
    for labels, positions in split(values).items():
        fit = PersonFit(
            node=node,
            designs=designs,
            labels=labels,
            positions=positions,
            maps=tuple(given[position] for position in positions),
            has_variance=cohort.has_variance_everywhere,
            n_contrasts=len({one.contrast for one in given}),
        )
        try:
            made.extend(fit.outputs())
        except PersonError as error:
            if spec.missing == "error":
                raise error.error from None
            exclusions.extend(left for one in fit.maps for left in one.exclude(error.reason))
    return NodeMaps(maps=tuple(made), exclusions=tuple(exclusions), notices=received.notices)


def _declared(node: Node, received: NodeMaps) -> NodeMaps:
    """Hand on the maps of the contrasts that a Run node declares (every map where it declares none).

    The node itself was carried out by the program that made the maps. F contrasts end at their node.
    """
    declared = node.all_contrasts
    if not declared:
        return received
    available = sorted({one.contrast for one in received.maps})
    found = {one.name: _find_declared(one.name, available) for one in declared if one.test != "F"}
    kept = {name for names in found.values() for name in names}
    if not kept:
        raise SelectionError(
            f"No map is of a contrast of the node {node.name!r}.",
            found=list_some(available),
            expected=list_some(found),
        )
    reason = f"not a contrast that the node {node.name!r} hands on"
    out = (left for one in received.maps if one.contrast not in kept for left in one.exclude(reason))
    absent = [name for name, names in found.items() if not names and name != INTERCEPT]
    said = f"The node {node.name!r} declares the contrast"
    return NodeMaps(
        maps=tuple(one for one in received.maps if one.contrast in kept),
        exclusions=(*received.exclusions, *out),
        notices=(
            *received.notices,
            *(warn("model", f"{said} {name!r}, of which there is no map.") for name in absent),
        ),
    )


def _find_declared(name: str, available: Sequence[str]) -> tuple[str, ...]:
    if any(character in name for character in "*?"):
        return tuple(one for one in available if fnmatch.fnmatchcase(one, name))
    found = find_contrast("intercept" if name == INTERCEPT else name, available)
    return () if found is None else (found,)
