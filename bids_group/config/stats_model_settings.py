"""The options of the command line as settings in a model file (``Model.Software.bids_group``), and back.

A setting has the name of its option: ``smoothing_fwhm`` or ``smoothing-fwhm`` for ``--smoothing-fwhm``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_group.config.inference import InferenceSpec
from bids_group.config.options import Option, options_of
from bids_group.config.places import Place
from bids_group.config.request import SETTINGS, AnalysisSpec, Inputs, Selection
from bids_group.config.typed import read_contrasts
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
    if option.choices and not set(values) <= {*option.choices}:
        place.refuse("is not known", expected=" or ".join(str(one) for one in option.choices))
    return values if option.is_list else single


def _read_single(place: Place, kind: str) -> Any:
    if not isinstance(place.value, _TYPES[kind]) or (kind != "flag" and isinstance(place.value, bool)):
        place.refuse(f"is not a {kind}")
    return str((place.file.parent / str(place.value)).absolute()) if kind == "path" else place.value
