"""Two analyses that differ: said in the words of the command line."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bids_group.config import AnalysisSpec, ContrastRequest, InferenceSpec, Inputs, Selection
from bids_group.config.differences import find_differences
from bids_group.config.stats_model import write_model_json
from bids_group.config.stats_model_request import compile_request

MANY = tuple(f"{number:02d}" for number in range(1, 31))


def identity(**changes: Any) -> dict[str, Any]:
    """What is stored of a command line."""
    inputs = Inputs(bids_dir=Path(), **changes.pop("inputs", {}))
    selection = Selection(**changes.pop("selection", {}))
    datasets = changes.pop("datasets", ["firstlevel", "raw"])
    spec = replace(AnalysisSpec(), **changes)
    return {**write_model_json(compile_request(spec, selection, None, inputs)), "Datasets": datasets}


def said(stored: dict[str, Any], wanted: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(one.name, one.stored, one.wanted) for one in find_differences(stored, wanted)]


@pytest.mark.parametrize(
    ("changes", "name", "stored", "wanted"),
    [
        ({"formula": "~ age * sex"}, "--formula", '--formula "~ 1"', '--formula "~ age * sex"'),
        ({"formula": "~ 1 + (1|site)"}, "--formula", '--formula "~ 1"', '--formula "~ 1 + (1|site)"'),
        ({"estimator": "sandwich"}, "--estimator", "no --estimator", "--estimator sandwich"),
        (
            {"contrasts": (ContrastRequest(name="a", expression="slope(age)"),)},
            "--contrast",
            "no --contrast (the default contrasts)",
            '--contrast "a = slope(age)"',
        ),
        (
            {"inference": InferenceSpec(corrections=("fwe-voxel",))},
            "--correction",
            "--correction fdr bonferroni",
            "--correction fwe-voxel",
        ),
        ({"inference": InferenceSpec(is_two_sided=False)}, "--one-sided", "--two-sided", "--one-sided"),
        (
            {"inference": InferenceSpec(block_scheme="whole")},
            "--within-blocks",
            "no --within-blocks",
            "--whole-blocks",
        ),
        (
            {"inference": InferenceSpec(has_tail_approximation=True)},
            "--tail-approximation",
            "no --tail-approximation",
            "--tail-approximation",
        ),
        ({"smoothing_fwhm_mm": 6.0}, "--smoothing-fwhm", "--smoothing-fwhm 0.0", "--smoothing-fwhm 6.0"),
        ({"mask": Path("gm.nii.gz")}, "--mask", "no --mask", "--mask gm.nii.gz"),
        ({"pooling": "none"}, "--pooling", "--pooling precision", "--pooling none"),
        ({"pooling": "mean"}, "--pooling", "--pooling precision", "--pooling mean"),
        ({"centering": "none"}, "--center", "--center grand", "--center none"),
        (
            {"selection": {"participant_labels": MANY}},
            "--participant-label",
            "no --participant-label",
            "--participant-label (30 entries, with 01 02 03 04 05 06 07 08)",
        ),
        (
            {"inputs": {"categorical": ("site",)}},
            "--categorical",
            "no --categorical",
            "--categorical site",
        ),
        ({"datasets": ["other"]}, "--derivatives", "--derivatives firstlevel raw", "--derivatives other"),
    ],
)
def test_a_setting_is_named_by_its_option_with_both_values(
    changes: dict[str, Any], name: str, stored: str, wanted: str
) -> None:
    assert said(identity(), identity(**changes)) == [(name, stored, wanted)]


def test_two_differences_are_both_told_the_formula_first() -> None:
    other = identity(formula="~ age", inference=InferenceSpec(alpha=0.01))
    assert [one[0] for one in said(identity(), other)] == ["--formula", "--alpha"]


def test_of_long_lists_the_difference_is_told() -> None:
    one, other = (identity(selection={"participant_labels": labels}) for labels in (MANY, MANY[1:]))
    assert said(one, other) == [
        (
            "--participant-label",
            "--participant-label (30 entries, with 01)",
            "--participant-label (29 entries)",
        )
    ]


def test_of_a_model_file_the_key_and_the_node_are_told() -> None:
    one = {**identity(), "Name": "mine"}
    other = deepcopy(one)
    other["Nodes"][1]["Model"]["X"] = [1, "age"]
    other["Nodes"][1]["Model"]["Software"]["bids_group"] |= {"alpha": 0.01, "contrast": ["age"]}
    assert said(one, other) == [
        ("Model.X of the node group", "Model.X of the node group 1", "Model.X of the node group 1 age"),
        ("--alpha", "--alpha 0.05", "--alpha 0.01"),
        (
            "--contrast of the node group",
            "no --contrast of the node group (the default contrasts)",
            "--contrast of the node group age",
        ),
    ]
    assert said(identity(), one) == [("--model", "no --model (a formula)", "--model with the name 'mine'")]


def test_what_has_no_name_is_a_difference_all_the_same() -> None:
    one, other = ({**identity(), "Nodes": [{"Name": "a", "X": 1}, {"Name": "a", "X": x}]} for x in (1, 2))
    assert len(find_differences(one, other)) == 1
    twice = {**identity(), "Nodes": [{"Name": "a", "X": 2}, {"Name": "a", "X": 1}]}
    assert said(one, twice) == [("--model", "another model", "this model")]
    assert not find_differences(one, deepcopy(one))


def test_a_setting_that_an_earlier_version_did_not_know_is_at_its_default() -> None:
    stored, wanted = identity(), identity()
    for node in stored["Nodes"]:
        settings = node["Model"].get("Software", {}).get("bids_group", {})
        settings.pop("permutation_p", None)
    assert stored != wanted
    assert said(stored, wanted) == []
    asked = identity(inference=InferenceSpec(has_permutation_p=True))
    assert said(stored, asked) == [("--permutation-p", "no --permutation-p", "--permutation-p")]
