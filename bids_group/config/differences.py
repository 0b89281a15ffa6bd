"""What differs between two analyses, in the words of the command line and of the model file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bids_group.config.request import SETTINGS
from bids_group.config.stats_model import COMMAND_LINE
from bids_group.config.stats_model_request import OF_NODE

_ABSENT = object()
_SOFTWARE = ("Model", "Software", "bids_group")
_MOST = 8
"""Entries of a list that are written out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting that two analyses have differently: its name, and both values, written for people."""

    name: str
    stored: str
    wanted: str


def find_differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Compare two analyses (Stats Models, as JSON holds them, with the names of the input datasets).

    Returns
    -------
    Settings in the order of ``wanted``: options where both are command lines, else also keys of the model.
    Empty exactly where both are equal; a flag that is off is the same as one that is not there.
    """
    stored, wanted = _without_idle_flags(stored), _without_idle_flags(wanted)
    if stored == wanted:
        return ()
    if stored.get("Name") != wanted.get("Name"):
        return (Difference(name="--model", stored=_say_model(stored), wanted=_say_model(wanted)),)
    one, other = _options(stored), _options(wanted)
    if one is None or other is None or one == other:
        one, other = _flatten(stored), _flatten(wanted)
    pairs = {name: (one.get(name, _ABSENT), other.get(name, _ABSENT)) for name in {**other, **one}}
    found = tuple(
        Difference(name=_name(setting), stored=_say(setting, old, new), wanted=_say(setting, new, old))
        for setting, (old, new) in pairs.items()
        if old != new
    )
    return found or (Difference(name="--model", stored="another model", wanted="this model"),)


def _without_idle_flags(value: Any, key: str = "") -> Any:
    """Leave out settings that are False by default and here, as in runs of versions that knew them not.

    ``key``: under which the value stands.
    """
    if isinstance(value, list):
        return [_without_idle_flags(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    off = {name for name, one in SETTINGS.items() if one.default is False} if key == _SOFTWARE[-1] else ()
    said = {name: each for name, each in value.items() if not (name in off and each is False)}
    return {name: _without_idle_flags(each, name) for name, each in said.items()}


def _options(model: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the options back from a model that was compiled from them; None for any other model."""
    try:
        lower, group = model["Nodes"]
        settings = dict(group["Model"]["Software"]["bids_group"])
        by_type = "mean" if lower["Model"]["Type"] == "glm" else "precision"
        pooling = settings.pop("pooling", "none" if lower["Name"] == "session" else by_type)
        formula = " + ".join([group["Model"]["Formula"], *settings.pop("random_terms", [])])
        named = {"formula": formula, "contrast": settings.pop("contrast", [])}
    except (KeyError, TypeError, ValueError):
        return None
    if model.get("Name") != COMMAND_LINE:
        return None
    return {**named, "pooling": pooling, **settings, "Datasets": model.get("Datasets")}


def _flatten(value: Any, where: tuple[str, ...] = ()) -> dict[str, Any]:
    """Give every value a name of its own: ``Model.X of the node group``; settings those of their options."""
    if where[2:5] == _SOFTWARE and len(where) == 6:
        name = where[5]
        return {f"{name} of the node {where[1]}" if name in OF_NODE else name: value}
    parts: Mapping[str, Any] | None = value if isinstance(value, Mapping) else None
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "Name" in one for one in value):
        parts = {str(one["Name"]): one for one in value}
    if parts is None:
        is_of_node = where[:1] == ("Nodes",) and len(where) > 2
        return {f"{'.'.join(where[2:])} of the node {where[1]}" if is_of_node else ".".join(where): value}
    flat = [_flatten(each, (*where, str(key))) for key, each in parts.items()]
    return {name: each for part in flat for name, each in part.items()}


def _name(setting: str) -> str:
    """Write a setting as its option; keys of a model (which begin with a capital) stay as they are."""
    if setting == "Datasets":
        return "--derivatives"
    option, blank, node = setting.partition(" ")
    if option not in SETTINGS:
        return setting if setting[:1].isupper() else f"--{option.replace('_', '-')}{blank}{node}"
    return f"{SETTINGS[option].flag}{blank}{node}"


def _say(setting: str, value: Any, other: Any) -> str:
    name = _name(setting)
    if value is _ABSENT:
        return f"no {name}"
    if setting in SETTINGS and SETTINGS[setting].flags:
        return SETTINGS[setting].flag_of(value) or f"no {name}"
    if value == [] and setting.startswith("contrast"):
        return f"no {name} (the default contrasts)"
    return f"{name} {_write(value, other)}"


def _write(value: Any, other: Any = None) -> str:
    if isinstance(value, list) and len(value) > _MOST:
        own = [one for one in value if not isinstance(other, list) or one not in other]
        return f"({len(value)} entries{f', with {_write(own[:_MOST])}' if own else ''})"
    if isinstance(value, list):
        return " ".join(map(_write, value))
    return value if isinstance(value, str) and " " not in value else json.dumps(value, ensure_ascii=False)


def _say_model(model: Mapping[str, Any]) -> str:
    if not model:
        return "an analysis that is not known"
    is_command_line = model.get("Name") == COMMAND_LINE
    return "no --model (a formula)" if is_command_line else f"--model with the name {model.get('Name')!r}"
