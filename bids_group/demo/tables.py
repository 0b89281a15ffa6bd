"""Writing everything of a demo that is not a map: descriptions, tables, behaviour, the truth."""

from __future__ import annotations

from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_group import __version__
from bids_group.demo.kinds import TASK, DemoTruth, Kind
from bids_group.demo.people import People
from bids_group.output.disk.writing import write_json, write_table, write_text

_BIDS_VERSION = "1.10.0"
_DESCRIPTIONS = {
    "group": (
        "Group of the participant",
        {
            "control": "does not have the condition",
            "patient": "has the condition",
            "treated": "was treated between the sessions",
        },
    ),
    "sex": ("Sex at birth", {"F": "female", "M": "male"}),
}
_COVARIATES = {
    "age": {"Description": "Age at the first session", "Units": "year"},
    "n_cigs": {"Description": "Cigarettes smoked per day", "Units": "cigarettes per day"},
    "reading_speed": {"Description": "Words read aloud", "Units": "words per minute"},
    "tiv": {"Description": "Total intracranial volume", "Units": "mL"},
}
_N_TRIALS = 8


def write_tables(truth: DemoTruth, recipe: Kind, people: People, rng: np.random.Generator) -> None:
    """Write the descriptions, participants.tsv/.json, a few responses per person, README.md and the truth."""
    root = truth.bids_dir
    write_json(root / "dataset_description.json", _describe(f"bids-group demo, {truth.kind}", "raw"))
    name = "First-level maps" if recipe.suffix == "statmap" else "Maps of grey matter"
    write_json(truth.derivative_dir / "dataset_description.json", _describe(name, "derivative"))
    write_text(truth.derivative_dir / ".bidsignore", "*_statmap.*\n")
    _write_participants(root, recipe, people)
    for subject in people.table.index:
        _write_behaviour(root, subject, recipe.sessions, rng)
    write_json(root / f"task-{TASK}_beh.json", _RESPONSES)
    write_text(root / "README.md", describe_truth(truth, recipe))
    write_json(root / "code" / "truth.json", _truth_of(truth))


def describe_truth(truth: DemoTruth, recipe: Kind) -> str:
    """Write the truth in words, as Markdown."""
    places = "\n".join(
        f"| {place.name} | {place.words} | `{place.contrast}` | {place.value:g} {place.units} "
        f"| {', '.join(f'{mm:g}' for mm in place.centre_mm)} | {place.radius_mm:g} |"
        for place in truth.places
    )
    irregular = "\n".join(f"* sub-{odd.subject} {odd.words}" for odd in truth.irregular) or "* nobody"
    return _README.format(
        kind=truth.kind,
        words=recipe.words,
        about=(_CONTRASTS if recipe.suffix == "statmap" else _TISSUE).format(
            n_subjects=len(truth.subjects), n_maps=truth.n_maps, between_sd=truth.between_sd
        ),
        places=places,
        irregular=irregular,
        seed=truth.seed,
    )


def _write_participants(root: Path, recipe: Kind, people: People) -> None:
    table = people.table.astype(str)
    for what, position in recipe.irregular:
        if what == "missing value":
            table.loc[table.index[position], recipe.covariates[-1]] = "n/a"
    table.insert(0, "participant_id", [f"sub-{label}" for label in table.index])
    write_table(root / "participants.tsv", table)
    write_json(
        root / "participants.json", {name: _describe_column(name, recipe) for name in table.columns[1:]}
    )


def _describe_column(name: str, recipe: Kind) -> dict[str, Any]:
    levels = dict(recipe.factors).get(name)
    if levels is None:
        return dict(_COVARIATES[name])
    words, meanings = _DESCRIPTIONS[name]
    return {"Description": words, "Levels": {level: meanings[level] for level in levels}}


def _write_behaviour(root: Path, subject: str, sessions: tuple[str, ...], rng: np.random.Generator) -> None:
    """Write response times: BIDS wants a folder for each person in participants.tsv."""
    for session in sessions or (None,):
        parts = [f"sub-{subject}"] + ([f"ses-{session}"] if session else [])
        path = root.joinpath(*parts, "beh", "_".join([*parts, f"task-{TASK}", "beh.tsv"]))
        kinds = [word for word, _ in product(("face", "house"), range(_N_TRIALS // 2))]
        times = np.round(0.35 + 0.4 * rng.random(_N_TRIALS), 3)
        write_table(path, pd.DataFrame({"trial_type": kinds, "response_time": times}))


def _describe(name: str, dataset_type: str) -> dict[str, Any]:
    described: dict[str, Any] = {"Name": name, "BIDSVersion": _BIDS_VERSION, "DatasetType": dataset_type}
    described |= {"License": "CC0", "GeneratedBy": [{"Name": "bids-group-demo", "Version": __version__}]}
    if dataset_type == "derivative":
        described["GeneratedBy"][0]["Name"] = "firstlevel"
        described["GeneratedBy"][0]["Description"] = "Simulated by bids-group-demo"
    return described


def _truth_of(truth: DemoTruth) -> dict[str, Any]:
    record = asdict(truth)
    del record["bids_dir"]
    record["derivative_dir"] = truth.derivative_dir.relative_to(truth.bids_dir).as_posix()
    for place, written in zip(truth.places, record["places"], strict=True):
        written["size_mm3"] = round(place.size_mm3, 1)
    return record


_RESPONSES = {
    "TaskName": TASK,
    "trial_type": {"Description": "What was shown", "Levels": {"face": "a face", "house": "a house"}},
    "response_time": {"Description": "Time from the picture to the button press", "Units": "s"},
}

_CONTRASTS = """\
{n_subjects} people have first-level maps ({n_maps} pairs of effect and variance) of the contrast
faces − houses, in `derivatives/firstlevel`. An effect is the person's true effect plus smooth noise whose
variance at each voxel is what the variance map says. The true effects of people differ with a
standard deviation of {between_sd:g}."""

_TISSUE = """\
{n_subjects} people have a map of grey matter in `derivatives/firstlevel`, one value for each voxel: the share
of grey matter, which differs between people with a standard deviation of {between_sd:g}, times the person's
total volume (`tiv`) over its mean. Men have larger heads: without scaling they have more of everything."""

_README = """\
# bids-group demo: {kind}

Simulated data: {words}.

{about}

## What is true

An effect lies in every voxel whose centre is within the radius of the centre, and is 0 elsewhere.

| name | effect | contrast that finds it | true value | centre (mm) | radius (mm) |
|---|---|---|---|---|---|
{places}

## Who is not like the others

{irregular}

`code/truth.json` says the same for programs. Written by `bids-group-demo --kind {kind}` with seed {seed}.
"""
