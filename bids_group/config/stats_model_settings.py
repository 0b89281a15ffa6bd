"""The options of the command line as settings in a model file (``Model.Software.bids_group``), and back.

A setting has the name of its option: ``smoothing_fwhm`` or ``smoothing-fwhm`` for ``--smoothing-fwhm``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from bids_group.config.places import Place, suggest
from bids_group.config.request import (
    CORRECTIONS,
    AnalysisSpec,
    ContrastRequest,
    InferenceSpec,
    Inputs,
    Selection,
)
from bids_group.errors import UsageError

Kind = Literal["number", "integer", "flag", "text", "texts", "path", "paths", "filter"]

ANALYSIS: Mapping[str, tuple[str, Kind]] = {
    "center": ("centering", "text"),
    "missing": ("missing", "text"),
    "pooling": ("pooling", "text"),
    "mask": ("mask", "path"),
    "mask_threshold": ("mask_threshold", "number"),
    "min_coverage": ("min_coverage", "number"),
    "smoothing_fwhm": ("smoothing_fwhm_mm", "number"),
    "scale_by": ("scale_by", "text"),
    "atlas": ("atlas", "path"),
}
"""Name of each setting, the field of `AnalysisSpec` that it fills, and what it holds."""

INFERENCE: Mapping[str, tuple[str, Kind]] = {
    "alpha": ("alpha", "number"),
    "two_sided": ("is_two_sided", "flag"),
    "correction": ("corrections", "texts"),
    "cluster_forming_p": ("cluster_forming_p", "number"),
    "cluster_extent": ("cluster_extent_mm3", "number"),
    "n_permutations": ("n_permutations", "integer"),
    "random_seed": ("random_seed", "integer"),
    "connectivity": ("connectivity", "integer"),
    "exchangeability_blocks": ("exchangeability_blocks", "text"),
    "block_scheme": ("block_scheme", "text"),
    "variance_groups": ("variance_groups", "text"),
    "shuffle": ("shuffle", "text"),
    "familywise": ("familywise", "text"),
    "tail_approximation": ("has_tail_approximation", "flag"),
    "permutation_p": ("has_permutation_p", "flag"),
    "log10_p": ("has_log10_p", "flag"),
}
"""The same for `InferenceSpec`."""

SELECTION: Mapping[str, tuple[str, Kind]] = {
    "participant_label": ("participant_labels", "texts"),
    "exclude_participant_label": ("exclude_participant_labels", "texts"),
    "session_label": ("session_labels", "texts"),
    "task_label": ("task_labels", "texts"),
    "run_label": ("run_labels", "texts"),
    "space": ("space", "text"),
    "res": ("res", "text"),
    "den": ("den", "text"),
    "node": ("node", "text"),
    "first_level_contrast": ("first_level_contrasts", "texts"),
    "bids_filter": ("bids_filter", "filter"),
    "exclude_where": ("exclude_where", "text"),
    "input_stat": ("input_stat", "text"),
    "input_suffix": ("input_suffix", "text"),
}
"""The same for `Selection`."""

INPUTS: Mapping[str, tuple[str, Kind]] = {
    "participants_tsv": ("participants_tsv", "path"),
    "phenotype": ("phenotype", "paths"),
    "categorical": ("categorical", "texts"),
    "numeric": ("numeric", "texts"),
    "design_matrix": ("design_matrix", "path"),
}
"""The same for `Inputs`: the tables; which folders hold the maps is not the model's to say."""

OF_NODE = ("center", "contrast")
"""Settings that each Dataset node has for itself; the others hold for the whole run."""

CHOICES: Mapping[str, tuple[Any, ...]] = {
    "missing": ("error", "drop"),
    "pooling": ("precision", "mean", "none"),
    "correction": CORRECTIONS,
    "connectivity": (6, 18, 26),
    "block_scheme": ("within", "whole"),
    "shuffle": ("auto", "flips", "permutations", "both"),
    "familywise": ("within-contrast", "across-contrasts"),
    "input_stat": ("effect", "z", "t"),
}

FLAGS: Mapping[str, tuple[str, Any, Any]] = {
    "one_sided": ("two_sided", False, True),
    "within_blocks": ("block_scheme", "within", None),
    "whole_blocks": ("block_scheme", "whole", None),
}
"""Options that are flags: the setting each stands for, and what it is where the flag is true, or false."""

_LISTED_WHERE_ON = ("log10_p",)
"""Flags that earlier versions did not know: the model of a run without them stays as it was."""

NAMES = (*ANALYSIS, *INFERENCE, *SELECTION, *INPUTS, "contrast")


def list_settings(
    analysis: AnalysisSpec, selection: Selection, inputs: Inputs | None = None
) -> dict[str, Any]:
    """List everything that changes a number, under the names of the manual and as JSON can hold it.

    Of selection and tables, only what differs from the default is listed.
    """
    listed = {**_listed(analysis, ANALYSIS), **_listed(analysis.inference, INFERENCE)}
    chosen = _changed(selection, SELECTION)
    tables = {} if inputs is None else _changed(inputs, INPUTS)
    return {**listed, **chosen, **tables}


def _listed(record: AnalysisSpec | InferenceSpec, names: Mapping[str, tuple[str, Kind]]) -> dict[str, Any]:
    values = {setting: getattr(record, name) for setting, (name, _) in names.items()}
    return {
        setting: _plain(value)
        for setting, value in values.items()
        if value is not None and (value is not False or setting not in _LISTED_WHERE_ON)
    }


def _changed(record: Selection | Inputs, names: Mapping[str, tuple[str, Kind]]) -> dict[str, Any]:
    usual = defaults_of(record)
    values = {setting: (getattr(record, name), usual[name]) for setting, (name, _) in names.items()}
    return {setting: _plain(value) for setting, (value, default) in values.items() if value != default}


def defaults_of(record: Any) -> dict[str, Any]:
    """Give the value that each field of a record of the request has where nothing was said."""
    return {item.name: item.default for item in fields(record)} | {"bids_filter": {}}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


_EQUALS = re.compile(r"(?<![<>=!])=(?!=)")


def parse_contrast(text: str) -> ContrastRequest:
    """Read ``NAME = EXPR`` or ``EXPR``: the first ``=`` outside of brackets parts them.

    ``==``, ``>=`` and the like are left to the expression, which refuses them.
    """
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0 and _EQUALS.match(text, position):
            name, expression = text[:position].strip(), text[position + 1 :].strip()
            if not name or not expression:
                raise UsageError(
                    f"The contrast {text!r} lacks its name or its expression.", expected="NAME = EXPR"
                )
            return ContrastRequest(name=name, expression=expression)
    return ContrastRequest(expression=text.strip())


# --------------------------------------------------------------------------------------------
# Reading


def read_settings(place: Place) -> dict[str, Any]:
    """Read and check the settings of a node; underscores and hyphens in names are the same."""
    if place.is_absent:
        return {}
    if not isinstance(place.value, Mapping):
        place.refuse("is not an object", expected='{"alpha": 0.05}')
    settings: dict[str, Any] = {}
    for key in place.value:
        name = key.replace("-", "_")
        if name not in NAMES and name not in FLAGS:
            place.at(key).refuse("is not known", expected=", ".join(NAMES), fix=suggest(name, NAMES))
        name, value = _setting(place.at(key), name)
        if settings.setdefault(name, value) != value:
            place.at(key).refuse(f"contradicts what is said of {name} beside it")
    return settings


def _setting(place: Place, name: str) -> tuple[str, Any]:
    if name in FLAGS:
        name, value, otherwise = FLAGS[name]
        return name, value if _single(place, "flag") else otherwise
    return name, _value(place, name)


def _value(place: Place, name: str) -> Any:
    if name == "contrast":
        return [each.text() for each in place.lenient_list().items()]
    _, kind = {**ANALYSIS, **INFERENCE, **SELECTION, **INPUTS}[name]
    if kind in ("texts", "paths"):
        values = [each.label() for each in place.list().items()]
    else:
        values = [_single(place, kind)]
    for value in values:
        if value not in CHOICES.get(name, (value,)):
            place.refuse("is not known", expected=" or ".join(str(one) for one in CHOICES[name]))
    return values if kind in ("texts", "paths") else values[0]


def _single(place: Place, kind: Kind) -> Any:
    expected: dict[str, tuple[type, ...]] = {
        "number": (int, float),
        "integer": (int,),
        "flag": (bool,),
        "text": (str,),
        "path": (str,),
        "filter": (dict,),
    }
    is_right = isinstance(place.value, expected[kind]) and (
        kind == "flag" or not isinstance(place.value, bool)
    )
    if not is_right:
        place.refuse(f"is not a {kind}")
    return str((place.file.parent / place.value).absolute()) if kind == "path" else place.value
