"""A model file and a command line as one request.

What only one of them says is taken; what both say must agree. Labels are the exception: those of the command
line narrow the selection of the file, so that one file serves the jobs of single participants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_group.config.request import RunConfig, Selection
from bids_group.config.stats_model import Node, StatsModel
from bids_group.config.stats_model_settings import (
    ANALYSIS,
    INFERENCE,
    INPUTS,
    OF_NODE,
    SELECTION,
    Kind,
    defaults_of,
    list_settings,
)
from bids_group.errors import UsageError

LABELS: Mapping[str, str] = {
    "subject": "participant_label",
    "session": "session_label",
    "task": "task_label",
    "run": "run_label",
    "contrast": "first_level_contrast",
}
"""Keys of ``Input`` that select by labels, and their options."""

SINGLE = ("space", "res", "den", "node")
"""Keys of ``Input`` that have one value, and the name of their option."""

OF_RAW_IMAGES = ("datatype", "desc", "suffix", "extension", "scope", "part", "echo", "acquisition", "acq")
"""Keys of ``Input`` that describe the images of the run level, not the maps made from them."""


def settle_request(model: StatsModel, config: RunConfig) -> tuple[StatsModel, RunConfig]:
    """Make one request of a model file and a command line.

    Returns
    -------
    model
        The model with all settings written into its Dataset nodes: what `write_model_json` makes of it runs
        the same again.
    config
        The request with what the file says.

    Raises
    ------
    UsageError
        Both say something, and not the same; or the file contradicts itself.
    """
    _refuse_formula(config)
    said = {**_said_by_input(model), **_without_labels(model.settings)}
    merged = replace(
        config,
        inputs=_fill(config.inputs, INPUTS, said, config),
        selection=_fill(_narrow(config.selection, model), SELECTION, said, config),
        analysis=replace(
            _fill(config.analysis, {k: v for k, v in ANALYSIS.items() if k not in OF_NODE}, said, config),
            inference=_fill(config.analysis.inference, INFERENCE, said, config),
        ),
    )
    _check_pooling(model, merged.analysis.pooling)
    nodes = tuple(_settle_node(node, merged) for node in model.nodes)
    settled = replace(model, nodes=nodes, remarks=model.remarks + _input_remarks(model))
    first = settled.dataset_nodes[0].settings["center"]
    return settled, replace(merged, analysis=replace(merged.analysis, centering=first))


def _typed(config: RunConfig) -> set[str]:
    """Names of the options that were typed."""
    options = (token for token in config.command if token.startswith("--"))
    return {token.partition("=")[0].removeprefix("--").replace("-", "_") for token in options}


def _refuse_formula(config: RunConfig) -> None:
    analysis = config.analysis
    if analysis.formula != "~ 1" or analysis.contrasts or _typed(config) & {"formula", "contrast"}:
        raise UsageError(
            "A model file was given, and a formula or contrasts beside it.",
            expected="either --model, or --formula and --contrast",
            fix="Write the formula and the contrasts into the model file.",
        )


# --------------------------------------------------------------------------------------------
# Settings


def _without_labels(settings: Mapping[str, Any]) -> dict[str, Any]:
    labels = {*LABELS.values(), "exclude_participant_label"}
    return {name: value for name, value in settings.items() if name not in labels}


def _fill(
    record: Any, names: Mapping[str, tuple[str, Kind]], said: Mapping[str, Any], config: RunConfig
) -> Any:
    """Put what the file says into a record of the request."""
    defaults, typed, changed = defaults_of(record), _typed(config), {}
    for setting, (item, kind) in names.items():
        if setting not in said:
            continue
        value, given = _value(said[setting], kind), getattr(record, item)
        is_given = given != defaults[item] or setting in typed
        if is_given and given != value:
            raise UsageError(
                f"The model file and the command line contradict each other about {setting}.",
                found=f"{said[setting]} in the file, {given} on the command line",
                fix=f"Leave out --{setting.replace('_', '-')}, or change the file.",
            )
        changed[item] = value
    return replace(record, **changed)


def _value(value: Any, kind: Kind) -> Any:
    if value is None or kind in ("number", "integer", "flag", "text"):
        return float(value) if kind == "number" and value is not None else value
    if kind == "filter":
        return {key: tuple(each) if isinstance(each, list) else each for key, each in value.items()}
    if kind == "path":
        return Path(value)
    return tuple(Path(each) if kind == "paths" else each for each in value)


def _settle_node(node: Node, config: RunConfig) -> Node:
    """Write the settings of the run, and the node's own, into a Dataset node."""
    if node.level != "dataset":
        return replace(node, settings={})
    whole = list_settings(config.analysis, config.selection, config.inputs)
    whole["center"] = _centering(node, config)
    own = {"contrast": node.settings["contrast"]} if "contrast" in node.settings else {}
    return replace(node, settings={**whole, **own})


def _centering(node: Node, config: RunConfig) -> str:
    """Columns of a model file are taken as they are, unless a centring is asked for."""
    asked = config.analysis.centering
    is_asked = asked != "grand" or "center" in _typed(config)
    said = node.settings.get("center")
    if is_asked and said is not None and said != asked:
        raise UsageError(
            f"The node {node.name!r} and the command line contradict each other about center.",
            found=f"{said} in the file, {asked} on the command line",
            fix="Leave out --center, or change the file.",
        )
    return str(said if said is not None else asked if is_asked else "none")


def _check_pooling(model: StatsModel, pooling: str | None) -> None:
    """Refuse a pooling that the nodes below the group contradict."""
    lower = [node for node in model.nodes if node.level in ("session", "subject")]
    wrong = {
        "precision": [node.name for node in lower if node.type != "meta"],
        "mean": [node.name for node in lower if node.type == "meta"],
        "none": [node.name for node in lower if node.level == "subject"],
    }.get(pooling or "", [])
    if wrong:
        raise UsageError(
            f"The pooling {pooling!r} and the node {wrong[0]!r} of the model contradict each other.",
            expected="Type meta for precision, Type glm for mean, no node of Level Subject for none",
            fix="Leave out the pooling: the nodes below the group say it.",
        )


# --------------------------------------------------------------------------------------------
# Selection


def _said_by_input(model: StatsModel) -> dict[str, Any]:
    return {name: model.input[name][0] for name in SINGLE if len(model.input.get(name, ())) == 1}


def _narrow(selection: Selection, model: StatsModel) -> Selection:
    """Keep the labels that ``Input``, the settings and the command line all allow; exclusions add up."""
    changed: dict[str, Any] = {}
    for entity, setting in LABELS.items():
        item = SELECTION[setting][0]
        prefix = {"subject": "sub-", "session": "ses-"}.get(entity, f"{entity}-")
        lists = (model.input.get(entity, ()), model.settings.get(setting, ()), getattr(selection, item))
        changed[item] = _common(
            [tuple(label.removeprefix(prefix) for label in each) for each in lists], setting
        )
    excluded = (*model.settings.get("exclude_participant_label", ()), *selection.exclude_participant_labels)
    changed["exclude_participant_labels"] = tuple(dict.fromkeys(excluded))
    return replace(selection, **changed)


def _common(lists: list[tuple[str, ...]], setting: str) -> tuple[str, ...]:
    """Intersect lists of labels; an empty one means all."""
    given = [labels for labels in lists if labels]
    if not given:
        return ()
    common = tuple(label for label in given[-1] if all(label in labels for labels in given))
    if not common:
        raise UsageError(
            f"The model file and the command line have no {setting} in common.",
            found=" and ".join(", ".join(labels) for labels in given),
        )
    return common


def _input_remarks(model: StatsModel) -> tuple[str, ...]:
    """Say which keys of ``Input`` are about raw images; refuse those that are not known."""
    for key, values in model.input.items():
        if key in SINGLE and len(values) != 1:
            raise UsageError(
                f"Input.{key} of the model {model.name!r} has {len(values)} values.",
                expected="one: maps of two cannot be analysed together",
            )
        if key not in (*LABELS, *SINGLE, *OF_RAW_IMAGES):
            raise UsageError(
                f"Input.{key} of the model {model.name!r} is not known.",
                expected=", ".join((*LABELS, *SINGLE)),
                fix="Use bids_filter in Model.Software.bids_group for other entities.",
            )
    ignored = [key for key in model.input if key in OF_RAW_IMAGES]
    return tuple(f"Input.{key} describes the images of the run level and was not applied." for key in ignored)
