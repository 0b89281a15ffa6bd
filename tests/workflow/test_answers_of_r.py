"""What R answers to the same questions (``validation/r``: emmeans, car, metafor), by whole runs."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.cli import main
from tests.studies import begin_study

R = Path(__file__).parents[2] / "validation" / "r"
ELEMENTS = 5
META = {
    "Level": "Dataset",
    "Name": "dataset",
    "GroupBy": ["contrast"],
    "Transformations": {
        "Transformer": "pybids-transforms-v1",
        "Instructions": [{"Name": "Demean", "Input": ["age"]}],
    },
    "Model": {"X": [1, "age"], "Type": "meta"},
    "Contrasts": [
        {"Name": "mean", "ConditionList": [1], "Weights": [1], "Test": "t"},
        {"Name": "slope", "ConditionList": ["age"], "Weights": [1], "Test": "t"},
    ],
}
RUNS = {
    "": ["--formula", "~ group * age + sex"],
    "curve: ": ["--formula", "~ poly(age, 2) + sex"],
    "welch: ": ["--formula", "~ group", "--variance-groups", "group", "--exclude-where", "group == 'b'"],
}


@pytest.fixture(scope="module")
def people():
    return pd.read_csv(R / "people.csv")


@pytest.fixture(scope="module")
def answers():
    return pd.read_csv(R / "contrasts.csv").groupby("question", sort=False)


@pytest.fixture(scope="module")
def results(people, answers, tmp_path_factory):
    """Each question's maps, by its name: stat → values of the five elements."""
    folder = tmp_path_factory.mktemp("answers-of-r")
    data, found = _write_dataset(people, folder / "data"), {}
    for kind, options in RUNS.items():
        asked = [
            name
            for name in answers.groups
            if name.partition(": ")[0] + ": " == kind or (not kind and ": " not in name)
        ]
        named = {f"q{number}": name for number, name in enumerate(asked)}
        contrasts = [f"{short} = {name.removeprefix(kind)}" for short, name in named.items()]
        _run(data, folder / (kind.strip(": ") or "ols"), *options, "--contrast", *contrasts)
        found |= {name: _maps(folder / (kind.strip(": ") or "ols"), short) for short, name in named.items()}
    model = {"Name": "meta", "BIDSModelVersion": "1.0.0", "Input": {}, "Nodes": [META]}
    (folder / "model.json").write_text(json.dumps(model))
    _run(data, folder / "meta", "--model", str(folder / "model.json"))
    return found | {
        "meta: mean()": _maps(folder / "meta", "mean"),
        "meta: slope(age)": _maps(folder / "meta", "slope"),
    }


def test_every_question_has_r_s_answer(answers, results):
    assert set(answers.groups) == set(results)
    for question, told in answers:
        maps = results[question]
        is_f = told["effect"].isna().all()
        if is_f and "F" in maps:
            expected = {"F": told["statistic"], "p": told["p"]}
        elif is_f:
            expected = {"t": told["statistic"] ** 0.5, "p": told["p"]}
        else:
            expected = {
                "effect": told["effect"],
                "variance": told["se"] ** 2,
                "t": told["statistic"],
                "p": told["p"],
            }
        for stat, values in expected.items():
            ours = np.abs(maps[stat]) if is_f else maps[stat]
            np.testing.assert_allclose(
                ours, values, rtol=2e-6, atol=0 if stat == "p" else 1e-6, err_msg=f"{question}, {stat}"
            )


def _write_dataset(people, root):
    derivative = begin_study(root, people[["participant_id", "group", "sex", "age"]], name="firstlevel")
    for row in people.to_dict("records"):
        func = derivative / row["participant_id"] / "func"
        func.mkdir(parents=True)
        for stat, letter in (("effect", "y"), ("variance", "v")):
            values = np.array([row[f"{letter}{one}"] for one in range(1, ELEMENTS + 1)])
            image = nib.Nifti1Image(values[:, None, None], np.diag([2.0, 2.0, 2.0, 1.0]))
            nib.save(image, func / f"{row['participant_id']}_task-r_contrast-c_stat-{stat}_statmap.nii.gz")
    return root


def _run(data, output, *options):
    code = main([str(data), str(output), "group", *options, "--correction", "none", "--no-report"])
    assert code == 0, output


def _maps(output, contrast):
    label = contrast[0].upper() + contrast[1:]
    found = {}
    for path in output.glob(f"group/*_contrast-c{label}_stat-*_statmap.nii.gz"):
        if "_desc-" not in path.name:
            stat = path.name.partition("_stat-")[2].partition("_")[0]
            found[stat] = nib.load(path).get_fdata()[:, 0, 0]
    return found
