"""The options of the command line and a model file as one request.

An option is a setting of the file (``Model.Software.bids_group``): ``smoothing_fwhm`` or ``smoothing-fwhm``
for ``--smoothing-fwhm``. What only one of file and command line says is taken; what both say must agree.
Labels are the exception: those of the command line narrow the selection of the file, so that one file serves
the jobs of single participants. A command line alone is compiled into a model of two nodes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bids_group.config.inference import InferenceSpec
from bids_group.config.options import Option, options_of
from bids_group.config.places import Place
from bids_group.config.request import SETTINGS, AnalysisSpec, Inputs, RunConfig, Selection
from bids_group.config.stats_model import (
    COMMAND_LINE,
    INTERCEPT,
    DummyContrasts,
    Edge,
    Level,
    Node,
    StatsModel,
    formula_names,
    split_random,
)
from bids_group.config.typed import file_of, read_contrasts
from bids_group.errors import UsageError
from bids_group.words import suggest

OF_NODE = tuple(name for name, option in SETTINGS.items() if option.stands == "node")
"""Settings that each Dataset node has for itself; the others hold for the whole run."""

FLAGS = {
    flag.removeprefix("--").replace("-", "_"): (option, value)
    for option in SETTINGS.values()
    for flag, (value, _) in option.flags.items()
}
"""Options without a value may be said like settings: the setting of each, and what it is where it is true."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "number": (int, float),
    "integer": (int,),
    "flag": (bool,),
    "text": (str,),
    "path": (str,),
    "filter": (dict,),
}
"""What JSON holds for a kind of option."""


_EXCLUDED = "exclude_participant_label"
LABELS: Mapping[str, Option] = {
    one.entity: one
    for one in SETTINGS.values()
    if one.entity and one.kind == "texts" and one.name != _EXCLUDED
}
"""Keys of ``Input`` that select by labels, and their options."""

SINGLE = tuple(one.name for one in SETTINGS.values() if one.entity and one.kind == "text")
"""Keys of ``Input`` that have one value, and the name of their option."""

OF_RAW_IMAGES = ("datatype", "desc", "suffix", "extension", "scope", "part", "echo", "acquisition", "acq")
"""Keys of ``Input`` that describe the images of the run level, not the maps made from them."""


def list_settings(
    analysis: AnalysisSpec, selection: Selection, inputs: Inputs | None = None
) -> dict[str, Any]:
    """List everything that changes a number, under the names of the manual and as JSON can hold it.

    Of selection and tables, only what differs from the default is listed. Contrasts are not among it.
    """
    listed = {}
    for record in (analysis, analysis.inference, selection, inputs):
        is_whole = isinstance(record, AnalysisSpec | InferenceSpec)
        for option in options_of(type(record)) if record is not None else ():
            value = getattr(record, option.attribute)
            is_said = value is not None if is_whole and not option.is_late else value != option.default
            if option.name in SETTINGS and is_said and option.read is not read_contrasts:
                listed[option.name] = _plain(value)
    return listed


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def read_settings(place: Place) -> dict[str, Any]:
    """Read and check the settings of a node; underscores and hyphens in names are the same."""
    if place.is_absent:
        return {}
    settings: dict[str, Any] = {}
    for key in place.object('{"alpha": 0.05}').value:
        name, own = key.replace("-", "_"), place.at(key)
        if name in SETTINGS:
            value = _read_value(own, SETTINGS[name])
        elif name in FLAGS:
            option, meant = FLAGS[name]
            is_on, name = _read_single(own, "flag"), option.name
            value = meant if is_on else not meant if option.kind == "flag" else None
        else:
            own.refuse("is not known", expected=", ".join(SETTINGS), fix=suggest(name, SETTINGS, mark=""))
        if settings.setdefault(name, value) != value:
            own.refuse(f"contradicts what is said of {name} beside it")
    return settings


def _read_value(place: Place, option: Option) -> Any:
    """Read the value of a setting as JSON holds it; paths are relative to the file."""
    if option.read is read_contrasts:
        return [each.text() for each in place.list(is_lenient=True)]
    single = None if option.is_list else _read_single(place, option.kind)
    values = [each.label() for each in place.list()] if option.is_list else [single]
    if option.kind == "paths":  # what is not beside the file is a name in BIDS_DIR
        beside = {text: (place.file.parent / text).absolute() for text in map(str, values)}
        values = [str(path) if file_of(path).is_file() else text for text, path in beside.items()]
    if option.choices and not set(values) <= {*option.choices}:
        place.refuse("is not known", expected=" or ".join(str(one) for one in option.choices))
    return values if option.is_list else single


def _read_single(place: Place, kind: str) -> Any:
    if not isinstance(place.value, _TYPES[kind]) or (kind != "flag" and isinstance(place.value, bool)):
        place.refuse(f"is not a {kind}")
    return str((place.file.parent / str(place.value)).absolute()) if kind == "path" else place.value


def compile_request(
    analysis: AnalysisSpec,
    selection: Selection,
    pooling: Literal["precision", "mean", "none"] | None = None,
    inputs: Inputs | None = None,
    cell_factors: Collection[str] = (),
) -> StatsModel:
    """Turn the options of the command line into a model of two nodes: pooling, and the group.

    ``pooling``: what it was settled to in this run; None: what ``analysis`` says. Where neither says
    ``mean``, the lower node is of type ``meta`` (weights of precision; the mean without variances).
    ``cell_factors``: columns that tell first-level contrasts apart; a formula of them needs these as rows.
    """
    settled = pooling or analysis.pooling
    level: Level = "session" if settled == "none" else "subject"
    lower = Node(
        name=level,
        level=level,
        group_by=("subject", "session", "contrast") if settled == "none" else ("subject", "contrast"),
        type="glm" if settled == "mean" else "meta",
        dummy_contrasts=DummyContrasts(test="t"),
    )
    formula, random_terms = split_random(analysis.formula)
    names = formula_names(formula)
    has_constant = not re.search(r"(?:^|~|\+)\s*0(?![\w.])|-\s*1(?![\w.])", formula)
    dataset = Node(
        name="group",
        level="dataset",
        group_by=() if {"contrast", *cell_factors} & {*names} else ("contrast",),
        x=((INTERCEPT,) if has_constant else ()) + names,
        formula=formula,
        settings={
            **list_settings(replace(analysis, random_terms=random_terms), selection, inputs),
            "contrast": [str(request) for request in analysis.contrasts],  # without any: the default ones
        },
    )
    return StatsModel(
        name=COMMAND_LINE,
        description="The options of a command line, as a model.",
        nodes=(lower, dataset),
        edges=(Edge(source=lower.name, destination=dataset.name),),
        settings=dataset.settings,
    )


def settle_request(model: StatsModel, config: RunConfig) -> tuple[StatsModel, RunConfig]:
    """Make one request of a model file and a command line.

    Returns the model with all settings written into its Dataset nodes (what `write_model_json` makes of it
    runs the same again), and the request with what the file says; refuses what both say differently.
    """
    analysis = config.analysis
    if analysis.formula != "~ 1" or analysis.contrasts or config.typed & {"formula", "contrast"}:
        raise UsageError(
            "A model file was given, and a formula or contrasts beside it.",
            expected="either --model, or --formula and --contrast",
            fix="Write the formula and the contrasts into the model file.",
        )
    of_input = {name: model.input[name][0] for name in SINGLE if len(model.input.get(name, ())) == 1}
    said = {**of_input, **model.settings}
    fill = partial(_fill, said=said, typed=config.typed)
    inputs, selection = fill(config.inputs), fill(_narrow(config.selection, model))
    analysis = replace(fill(analysis), inference=fill(analysis.inference))
    merged = replace(config, inputs=inputs, selection=selection, analysis=analysis)
    _check_pooling(model, analysis.pooling)
    nodes = tuple(_settle_node(node, merged) for node in model.nodes)
    settled = replace(model, nodes=nodes, remarks=model.remarks + _input_remarks(model))
    first = settled.dataset_nodes[0].settings["center"]
    return settled, replace(merged, analysis=replace(analysis, centering=first))


def _fill(record: Any, said: Mapping[str, Any], typed: Collection[str]) -> Any:
    """Put what the file says into a record of the request; labels are narrowed, settings of nodes theirs."""
    changed = {}
    for option in options_of(type(record)):
        name, given = option.name, getattr(record, option.attribute)
        if name not in said or name in OF_NODE or (option.entity and option.kind == "texts"):
            continue
        value = option.convert(said[name])
        if (given != option.default or name in typed) and given != value:
            raise _contradiction("model file", option, said[name], given)
        changed[option.attribute] = value
    return replace(record, **changed)


def _contradiction(who: str, option: Option, said: object, given: object) -> UsageError:
    return UsageError(
        f"The {who} and the command line contradict each other about {option.name}.",
        found=f"{said} in the file, {given} on the command line",
        fix=f"Leave out {option.flag}, or change the file.",
    )


def _settle_node(node: Node, config: RunConfig) -> Node:
    """Write the settings of the run, and the node's own, into a Dataset node.

    Columns of a model file are taken as they are, unless a centring is asked for.
    """
    if node.level != "dataset":
        return replace(node, settings={})
    own = {name: node.settings[name] for name in OF_NODE if name in node.settings}
    asked = config.analysis.centering
    is_asked = asked != "grand" or "center" in config.typed
    if is_asked and own.get("center", asked) != asked:
        raise _contradiction(f"node {node.name!r}", SETTINGS["center"], own["center"], asked)
    whole = list_settings(config.analysis, config.selection, config.inputs)
    return replace(node, settings={**whole, "center": asked if is_asked else "none", **own})


def _check_pooling(model: StatsModel, pooling: str | None) -> None:
    """Refuse a pooling that the nodes below the group contradict."""
    for node in model.nodes:
        is_wrong = {
            "precision": node.type != "meta",
            "mean": node.type == "meta",
            "none": node.level == "subject",
        }.get(pooling or "", False)
        if node.level in ("session", "subject") and is_wrong:
            raise UsageError(
                f"The pooling {pooling!r} and the node {node.name!r} of the model contradict each other.",
                expected="Type meta for precision, Type glm for mean, no node of Level Subject for none",
                fix="Leave out the pooling: the nodes below the group say it.",
            )


def _narrow(selection: Selection, model: StatsModel) -> Selection:
    """Keep the labels that ``Input``, the settings and the command line all allow; exclusions add up."""
    changed: dict[str, Any] = {}
    for entity, option in LABELS.items():
        of_file = (model.input.get(entity, ()), model.settings.get(option.name, ()))
        every = (*map(option.convert, of_file), getattr(selection, option.attribute))
        given = [labels for labels in every if labels]  # without any: all
        last = given[-1] if given else ()
        common = tuple(label for label in last if all(label in labels for labels in given))
        if given and not common:
            raise UsageError(
                f"The model file and the command line have no {option.name} in common.",
                found=" and ".join(", ".join(labels) for labels in given),
            )
        changed[option.attribute] = common
    option = SETTINGS[_EXCLUDED]
    excluded = (*model.settings.get(_EXCLUDED, ()), *getattr(selection, option.attribute))
    return replace(selection, **changed, **{option.attribute: option.convert(excluded)})


def _input_remarks(model: StatsModel) -> tuple[str, ...]:
    """Say which keys of ``Input`` are about raw images; refuse those that are not known."""
    known = (*LABELS, *SINGLE)
    for key, values in model.input.items():
        if key in SINGLE and len(values) != 1:
            raise UsageError(
                f"Input.{key} of the model {model.name!r} has {len(values)} values.",
                expected="one: maps of two cannot be analysed together",
            )
        if key not in (*known, *OF_RAW_IMAGES):
            raise UsageError(
                f"Input.{key} of the model {model.name!r} is not known.",
                expected=", ".join(known),
                fix="Use bids_filter in Model.Software.bids_group for other entities.",
            )
    ignored = [key for key in model.input if key in OF_RAW_IMAGES]
    return tuple(f"Input.{key} describes the images of the run level and was not applied." for key in ignored)
