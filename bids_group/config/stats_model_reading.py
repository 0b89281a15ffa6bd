"""Reading a BIDS Stats Models file: what it may say, and what is refused by name.

The package `bsmschema` knows the standard's types but lets unknown keys pass; every key is checked here
instead, so that nothing in a file is skipped but what ``Software`` holds for other programs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from bids_group.config.estimators import NODE_ESTIMATORS
from bids_group.config.places import Place
from bids_group.config.request import SETTINGS
from bids_group.config.stats_model import (
    INTERCEPT,
    DummyContrasts,
    Edge,
    Level,
    Node,
    NodeContrast,
    StatsModel,
    Test,
    Weight,
    read_fraction,
)
from bids_group.config.stats_model_request import FLAGS, OF_NODE, read_settings
from bids_group.errors import UsageError
from bids_group.json_files import read_json

MODEL_KEYS = ("Name", "BIDSModelVersion", "Description", "Input", "Nodes", "Edges")
NODE_KEYS = (
    "Level", "Name", "Description", "GroupBy", "Transformations", "Model", "Contrasts", "DummyContrasts",
)  # fmt: skip
ESTIMATOR_KEYS = ("Type", "X", "Formula", "HRF", "Options", "Software", "Description")
CONTRAST_KEYS = ("Name", "ConditionList", "Weights", "Test", "Description")
DUMMY_KEYS = ("Contrasts", "Conditions", "Test", "Description")
EDGE_KEYS = ("Source", "Destination", "Filter", "Description")
LEVELS = ("Run", "Session", "Subject", "Dataset")
ORDER = tuple(level.lower() for level in LEVELS)
TRANSFORMER = "pybids-transforms-v1"
_FROM_DRAFT = (
    "Write Steps as Nodes, each with a Name and GroupBy (Run: run, subject; Subject: subject, contrast; "
    "Dataset: contrast). Transformations are {'Transformer': 'pybids-transforms-v1', 'Instructions': […]}; "
    "split by a column is Factor of it, whose columns (group.patient, group.control) stand in X and in the "
    "ConditionList; Type of a contrast is Test, AutoContrasts is DummyContrasts."
)


def read_model(path: Path) -> StatsModel:
    """Read a BIDS Stats Models file.

    Single values where the standard has a list, a missing ``Type``, ``Test`` or ``BIDSModelVersion``, and
    levels in lower case are understood; `StatsModel.remarks` says where.

    Raises
    ------
    MissingInputError
        The file cannot be read.
    UsageError
        It is not JSON, lacks a key, has one that is not known (with a guess at what was meant), or asks for
        what is not supported.
    """
    place = Place(file=path, value=read_json(path, what="model file", wrong=UsageError, has_keys_once=True))
    for key in ("Steps", "steps", "Blocks", "blocks"):
        if key in place.value:
            place.at(key).refuse(
                "is of a draft of BIDS Stats Models (before 2021) and cannot be read",
                expected='"Nodes", each with Level, Name, GroupBy and Model',
                fix=_FROM_DRAFT,
            )
    place.check_keys(MODEL_KEYS, required=("Name", "Nodes"))
    if place.at("BIDSModelVersion").is_absent:
        place.at("BIDSModelVersion").remark("is missing; 1.0.0 was assumed")
    nodes = tuple(_read_node(each) for each in place.at("Nodes").list())
    settings = _merge_settings(place.at("Nodes"), nodes)
    model = StatsModel(
        name=place.at("Name").text(),
        description=place.value.get("Description") or "",
        version=str(place.value.get("BIDSModelVersion", "1.0.0")),
        input=_read_input(place.at("Input")),
        nodes=nodes,
        edges=_read_edges(place.at("Edges"), nodes),
        settings=settings,
        remarks=tuple(place.remarks),
    )
    _check_graph(place.at("Edges"), model)
    return model


def _read_node(place: Place) -> Node:
    place.check_keys(NODE_KEYS, required=("Level", "Name", "GroupBy", "Model"))
    level = _read_level(place.at("Level"))
    model = place.at("Model").check_keys(ESTIMATOR_KEYS, required=("X",))
    is_done = level == "run" and model.at("Type").is_absent
    types = NODE_ESTIMATORS if level == "dataset" else ("glm", "meta")
    type_ = "glm" if is_done else model.at("Type").choice(*types, assumed="glm")
    node = Node(
        name=place.at("Name").text(),
        level=level,
        group_by=tuple(each.text() for each in place.at("GroupBy").list(is_lenient=True)),
        type=type_,
        x=_read_variables(model.at("X")),
        formula=model.read("Formula", Place.text, None),
        instructions=() if level == "run" else place.read("Transformations", _read_instructions, ()),
        contrasts=place.read("Contrasts", lambda own: tuple(map(_read_contrast, own.list())), ()),
        dummy_contrasts=place.read("DummyContrasts", _read_dummy_contrasts, None),
        settings=model.read("Software", _read_software, {}),
        source=place.value,
    )
    _check_node(place, node)
    return node


def _read_software(place: Place) -> dict[str, Any]:
    """Read the settings of this program; those of others are theirs, a wrong name of its own is refused."""
    for key in (key for key in place.object('{"bids_group": {…}}').value if key != "bids_group"):
        own = place.at(key)
        inside = own.value if isinstance(own.value, Mapping) else {}
        has_ours = inside and all(name.replace("-", "_") in {*SETTINGS, *FLAGS} for name in inside)
        if has_ours or re.sub(r"[\W_]", "", key.lower()) == "bidsgroup":
            own.refuse("is not known", expected="bids_group", fix="Did you mean bids_group?")
        if key.replace("-", "_") in {*SETTINGS, *FLAGS}:
            own.refuse("stands beside bids_group", fix=f'Write "Software": {{"bids_group": {{"{key}": …}}}}.')
    return read_settings(place.at("bids_group"))


def _read_level(place: Place) -> Level:
    if isinstance(place.value, str) and place.value not in LEVELS and place.value.capitalize() in LEVELS:
        place.remark("should be capitalised")
        return cast(Level, place.value.lower())
    return cast(Level, place.choice(*LEVELS).lower())


def _read_variables(place: Place) -> tuple[str, ...]:
    return tuple(INTERCEPT if name.lower() == "intercept" else name for name in place.labels())


def _read_instructions(place: Place) -> tuple[Mapping[str, Any], ...]:
    """Instructions above the run level; those of runs were carried out by the program that made the maps."""
    place.check_keys(("Transformer", "Instructions", "Description"), required=("Transformer", "Instructions"))
    place.at("Transformer").choice(TRANSFORMER)
    instructions = tuple(place.at("Instructions").list())
    for each in instructions:
        each.object('{"Name": …, "Input": […]}').at("Name").text()
    return tuple(dict(each.value) for each in instructions)


def _check_node(place: Place, node: Node) -> None:
    """Refuse what is written well but cannot be done above the run level, or says nothing where it stands."""
    model, group_by = place.at("Model"), place.at("GroupBy")
    for name in OF_NODE:
        if node.level != "dataset" and name in node.settings:
            sentence = f"has the setting {name}, which belongs to Dataset nodes"
            model.at("Software").refuse(sentence, fix="Move it there.")
    if node.level == "run":
        return
    for key in ("HRF", "Options"):
        if not model.at(key).is_absent:
            model.at(key).refuse(
                f"is not supported at the {node.level} level",
                fix="Remove it; a mask is given by --mask or the setting mask of Model.Software.bids_group.",
            )
    for name in node.x:
        if {*name} & {*"*?"}:
            sentence = f"has the wildcard {name!r}, which is not supported above the run level"
            product = " A product is made by the transformation Product, or by the Formula (age:sex)."
            model.at("X").refuse(sentence, fix="Name the variables." + product * ("*" in name))
    if node.level == "dataset" and "subject" in node.group_by:
        group_by.refuse("has a model for each subject, which is no group analysis")
    if node.level != "dataset" and "subject" not in node.group_by:
        sentence = f"would mix people in a node of Level {node.level.capitalize()}"
        group_by.refuse(sentence, fix='Add "subject".')


def _merge_settings(place: Place, nodes: tuple[Node, ...]) -> dict[str, Any]:
    """Check the nodes together, and join their settings: one run has one alpha, one mask and so on."""
    names = [node.name for node in nodes]
    for name in names:
        if names.count(name) > 1:
            place.refuse(f"has two nodes of the name {name!r}", fix="Give each node a name of its own.")
    if not any(node.level == "dataset" for node in nodes):
        place.refuse("has no node of Level Dataset, so that there is no group analysis")
    merged: dict[str, Any] = {}
    for name, value in (item for node in nodes for item in node.settings.items()):
        if name not in OF_NODE and merged.setdefault(name, value) != value:
            place.refuse(
                f"has two values of the setting {name}",
                expected="one value for the whole run",
                fix="Run the nodes one by one, each into an output folder of its own.",
            )
    return merged


def _read_contrast(place: Place) -> NodeContrast:
    place.check_keys(CONTRAST_KEYS, required=("Name", "ConditionList", "Weights"))
    conditions = _read_variables(place.at("ConditionList"))
    contrast = NodeContrast(
        name=place.at("Name").label(),
        conditions=conditions,
        weights=_read_weights(place.at("Weights"), len(conditions)),
        test=_read_test(place),
    )
    if len(set(conditions)) < len(conditions):
        place.at("ConditionList").refuse("names a condition twice")
    if contrast.test != "F" and len(contrast.weights) != 1:
        sentence = f"has {len(contrast.weights)} rows for a {contrast.test} contrast"
        place.at("Weights").refuse(sentence, fix='Use "Test": "F".')
    return contrast


def _read_test(place: Place) -> Test:
    return cast(Test, place.at("Test").choice("t", "F", "pass", assumed="t"))


def _read_weights(place: Place, n_conditions: int) -> tuple[tuple[Weight, ...], ...]:
    """Read a row of weights, or a list of rows."""
    rows = list(place.list(is_lenient=True))
    if not rows or not all(isinstance(row.value, list) for row in rows):
        rows = [replace(place, value=[each.value for each in rows])]
    weights = []
    for row in rows:
        weights.append(tuple(_read_weight(each) for each in row.items()))
        if len(weights[-1]) != n_conditions:
            row.refuse(f"has {len(weights[-1])} weights for {n_conditions} conditions")
        if not any(map(read_fraction, weights[-1])):
            row.refuse("has no weight but 0")
    return tuple(weights)


def _read_weight(place: Place) -> Weight:
    value = place.value
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(value)
        read_fraction(value)
    except (ValueError, ArithmeticError):
        place.refuse("is not a weight", expected='a number, or a fraction such as "1/3"')
    return value.replace(" ", "") if isinstance(value, str) else value


def _read_dummy_contrasts(place: Place) -> DummyContrasts:
    listed = place.check_keys(DUMMY_KEYS).at("Contrasts")
    if listed.is_absent and not place.at("Conditions").is_absent:
        listed = place.at("Conditions")
        listed.remark('is an old name of "Contrasts"')
    conditions = None if listed.is_absent else _read_variables(listed)
    return DummyContrasts(test=_read_test(place), conditions=conditions)


def _read_filter(place: Place) -> dict[str, tuple[str, ...]]:
    return {key: place.at(key).labels() for key in place.object('{"contrast": ["faces"]}').value}


def _read_input(place: Place) -> dict[str, tuple[str, ...]]:
    """``Input``, with ``Task`` and ``Subject`` read as ``task`` and ``subject``."""
    read: dict[str, tuple[str, ...]] = {}
    for key, values in ({} if place.is_absent else _read_filter(place)).items():
        if key != key.lower():
            place.at(key).remark(f"should be {key.lower()}")
        if key.lower() in read:
            place.refuse(f"has {key.lower()} twice, in capitals and without", fix="Keep one of the two.")
        read[key.lower()] = values
    return read


def _read_edges(place: Place, nodes: tuple[Node, ...]) -> tuple[Edge, ...]:
    """Edges as written; without any, each node hands on to the next."""
    names = [node.name for node in nodes]
    if place.is_absent:
        return tuple(Edge(source=one, destination=two) for one, two in itertools.pairwise(names))
    edges = [each.check_keys(EDGE_KEYS, required=("Source", "Destination")) for each in place.list()]
    return tuple(
        Edge(
            source=each.at("Source").choice(*names),
            destination=each.at("Destination").choice(*names),
            filter=each.read("Filter", _read_filter, {}),
        )
        for each in edges
    )


def _check_graph(place: Place, model: StatsModel) -> None:
    """One node receives the maps, every other the contrasts of another; results of a group go nowhere."""
    levels = {node.name: node.level for node in model.nodes}
    for edge in model.edges:
        if levels[edge.source] == "dataset":
            place.refuse(
                f"hands on results of the Dataset node {edge.source!r}, which is not supported",
                fix="Give Edges that start at nodes of Level Run, Session or Subject.",
            )
        if levels[edge.destination] == "run":
            name = edge.destination
            place.refuse(f"has an edge into the node {name!r} of Level Run, which receives the maps")
        if ORDER.index(levels[edge.source]) > ORDER.index(levels[edge.destination]):
            place.refuse(f"leads down from the node {edge.source!r} to {edge.destination!r}")
    starts, ends = ({getattr(edge, side) for edge in model.edges} for side in ("source", "destination"))
    roots = [name for name in levels if name not in ends]
    if len(roots) > 1:
        place.refuse(
            f"leaves {len(roots)} nodes without inputs: {', '.join(roots)}",
            expected="one first node, and edges into all others",
        )
    idle = [name for name, level in levels.items() if level != "dataset" and name not in starts]
    if idle:
        place.refuse(f"has no edge out of {', '.join(idle)}", fix="Remove the node, or add the edge.")
    _ = model.nodes_in_order
