"""What differs between two analyses, in the words of the command line and of the model file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bids_group.config.request import SETTINGS
from bids_group.config.stats_model import COMMAND_LINE
from bids_group.config.stats_model_settings import OF_NODE

_ABSENT = object()
_SOFTWARE = ("Model", "Software", "bids_group")
_MOST = 8
"""Entries of a list that are written out."""
_OFF_UNLESS_SAID = tuple(name for name, option in SETTINGS.items() if option.default is False)
"""Settings that say nothing where they are False, as in runs of versions that did not know them."""


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
    found = tuple(
        Difference(
            name=_name(setting),
            stored=_say(setting, one.get(setting, _ABSENT), other.get(setting, _ABSENT)),
            wanted=_say(setting, other.get(setting, _ABSENT), one.get(setting, _ABSENT)),
        )
        for setting in {**other, **one}
        if one.get(setting, _ABSENT) != other.get(setting, _ABSENT)
    )
    return found or (Difference(name="--model", stored="another model", wanted="this model"),)


def _without_idle_flags(value: Any, key: str = "") -> Any:
    """Leave out what is False by default and here; ``key``: under which the value stands."""
    if isinstance(value, Mapping):
        return {
            name: _without_idle_flags(each, name)
            for name, each in value.items()
            if not (key == _SOFTWARE[-1] and name in _OFF_UNLESS_SAID and each is False)
        }
    return [_without_idle_flags(each) for each in value] if isinstance(value, list) else value


def _options(model: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the options back from a model that was compiled from them; None for any other model."""
    try:
        lower, group = model["Nodes"]
        settings = dict(group["Model"]["Software"]["bids_group"])
        by_type = "mean" if lower["Model"]["Type"] == "glm" else "precision"
        pooling = settings.pop("pooling", "none" if lower["Name"] == "session" else by_type)
        formula = group["Model"]["Formula"]
    except (KeyError, TypeError, ValueError):
        return None
    if model.get("Name") != COMMAND_LINE:
        return None
    contrasts = settings.pop("contrast", [])
    named = {"formula": formula, "contrast": contrasts, "pooling": pooling}
    return {**named, **settings, "Datasets": model.get("Datasets")}


def _flatten(value: Any, where: tuple[str, ...] = ()) -> dict[str, Any]:
    """Give every value a name of its own: ``Model.X of the node group``; settings those of their options."""
    if where[2:5] == _SOFTWARE and len(where) == 6:
        name = where[5]
        return {f"{name} of the node {where[1]}" if name in OF_NODE else name: value}
    are_named = isinstance(value, list) and [isinstance(one, Mapping) and "Name" in one for one in value]
    if isinstance(value, Mapping):
        parts = [_flatten(each, (*where, str(key))) for key, each in value.items()]
    elif are_named and all(are_named):
        parts = [_flatten(one, (*where, str(one["Name"]))) for one in value]
    else:
        is_of_node = where[:1] == ("Nodes",) and len(where) > 2
        return {f"{'.'.join(where[2:])} of the node {where[1]}" if is_of_node else ".".join(where): value}
    flat: dict[str, Any] = {}
    for part in parts:
        flat |= part
    return flat


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


def _write(value: Any, other: Any) -> str:
    if not isinstance(value, list):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return json.dumps(text, ensure_ascii=False) if isinstance(value, str) and " " in value else text
    if len(value) > _MOST:
        own = [one for one in value if not isinstance(other, list) or one not in other]
        beyond = f", with {_write(own[:_MOST], None)}" if own else ""
        return f"({len(value)} entries{beyond})"
    return " ".join(_write(one, None) for one in value)


def _say_model(model: Mapping[str, Any]) -> str:
    if not model:
        return "an analysis that is not known"
    is_command_line = model.get("Name") == COMMAND_LINE
    return "no --model (a formula)" if is_command_line else f"--model with the name {model.get('Name')!r}"
