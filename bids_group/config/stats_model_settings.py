"""The options of the command line as settings in a model file (``Model.Software.bids_group``), and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from bids_group.config.request import AnalysisSpec, ContrastRequest, InferenceSpec, Inputs, Selection
from bids_group.errors import UsageError

ANALYSIS = {
    "center": "centering",
    "missing": "missing",
    "pooling": "pooling",
    "mask": "mask",
    "min_coverage": "min_coverage",
    "smoothing_fwhm": "smoothing_fwhm_mm",
    "atlas": "atlas",
}
"""Name of each setting, and of the field of `AnalysisSpec` that it fills."""

INFERENCE = {
    "alpha": "alpha",
    "two_sided": "is_two_sided",
    "correction": "corrections",
    "cluster_forming_p": "cluster_forming_p",
    "n_permutations": "n_permutations",
    "random_seed": "random_seed",
    "connectivity": "connectivity",
    "exchangeability_blocks": "exchangeability_blocks",
    "block_scheme": "block_scheme",
    "variance_groups": "variance_groups",
    "shuffle": "shuffle",
    "familywise": "familywise",
    "tail_approximation": "has_tail_approximation",
}
"""The same for `InferenceSpec`."""

SELECTION = {
    "participant_label": "participant_labels",
    "exclude_participant_label": "exclude_participant_labels",
    "session_label": "session_labels",
    "task_label": "task_labels",
    "run_label": "run_labels",
    "space": "space",
    "res": "res",
    "den": "den",
    "node": "node",
    "first_level_contrast": "first_level_contrasts",
    "bids_filter": "bids_filter",
    "exclude_where": "exclude_where",
    "input_stat": "input_stat",
}
"""The same for `Selection`."""

INPUTS = {
    "participants_tsv": "participants_tsv",
    "phenotype": "phenotype",
    "categorical": "categorical",
    "numeric": "numeric",
}
"""The same for `Inputs`: the tables; which folders hold the maps is not the model's to say."""


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


def _listed(record: AnalysisSpec | InferenceSpec, names: Mapping[str, str]) -> dict[str, Any]:
    values = {setting: getattr(record, name) for setting, name in names.items()}
    return {setting: _plain(value) for setting, value in values.items() if value is not None}


def _changed(record: Selection | Inputs, names: Mapping[str, str]) -> dict[str, Any]:
    usual = {item.name: item.default for item in fields(record)}
    usual["bids_filter"] = {}
    values = {setting: (getattr(record, name), usual[name]) for setting, name in names.items()}
    return {setting: _plain(value) for setting, (value, default) in values.items() if value != default}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def parse_contrast(text: str) -> ContrastRequest:
    """Read ``NAME = EXPR`` or ``EXPR``: the first ``=`` outside of brackets parts them."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if character == "=" and depth == 0:
            name, expression = text[:position].strip(), text[position + 1 :].strip()
            if not name or not expression:
                raise UsageError(
                    f"The contrast {text!r} lacks its name or its expression.", expected="NAME = EXPR"
                )
            return ContrastRequest(name=name, expression=expression)
    return ContrastRequest(expression=text.strip())
