"""Cohorts without files, and models as Python dictionaries."""

import json
import random
from pathlib import Path

import pandas as pd

from bids_group.config import AnalysisSpec, Inputs, RunConfig, Selection
from bids_group.config.stats_model_reading import read_model
from bids_group.config.stats_model_request import settle_request
from bids_group.model import plan_analyses
from bids_group.records import Cohort, Column, FirstLevelMap, Table

PEOPLE = pd.DataFrame(
    {
        "sex": list("MFMFMFMF"),
        "age": [20.0, 22, 31, 35, 40, 44, 47, 61],
        "patient_grp": [1.0, 1, 2, 2, 3, 3, 4, 4],
        "task_pres": [1.0, 1, 2, 2, 2, 1, 1, 2],
        "group": ["range", "range", "indifference", "range", "indifference"]
        + ["range"] * 2
        + ["indifference"],
    },
    index=[f"{number:02d}" for number in range(1, 9)],
)


def table_of(frame, name="participants.tsv"):
    """Text becomes categories in alphabetical order, as in a table without a sidecar."""
    columns, typed = {}, {}
    for column in frame.columns:
        is_number = pd.api.types.is_numeric_dtype(frame[column])
        values = frame[column].astype(float) if is_number else frame[column].astype(object)
        typed[column] = values if is_number else pd.Series(pd.Categorical(values), index=frame.index)
        columns[column] = Column(
            name=column,
            kind="numeric" if is_number else "categorical",
            kind_source="its values",
            source=Path(name),
            levels=() if is_number else tuple(typed[column].cat.categories),
        )
    level = "session" if isinstance(frame.index, pd.MultiIndex) else "subject"
    return Table(level=level, frame=pd.DataFrame(typed, index=frame.index), columns=columns)


def cohort_of(
    people=PEOPLE,
    *,
    contrasts=("negLossParametric",),
    runs=("1", "2", "3"),
    sessions=(None,),
    session_table=None,
    has_variance=True,
    without=(),
    shuffled_by=None,
):
    """Make a map for each person, session, run and contrast but those of ``without``."""
    maps = [
        FirstLevelMap(
            subject=subject,
            session=session,
            run=run,
            task="gamble",
            contrast=contrast,
            effect=Path(f"{subject}_{session}_{run}_{contrast}_effect.nii"),
            variance=Path(f"{subject}_{session}_{run}_{contrast}_variance.nii") if has_variance else None,
            dataset=Path(),
        )
        for subject in people.index
        for session in sessions
        for run in runs
        for contrast in contrasts
        if (subject, session, run) not in without
    ]
    if shuffled_by is not None:
        random.Random(shuffled_by).shuffle(maps)
        people = people.sample(frac=1, random_state=shuffled_by)
    tables = [table_of(people)]
    if session_table is not None:
        tables.append(table_of(session_table, "sessions.tsv"))
    return Cohort(
        maps=tuple(maps),
        tables=tuple(tables),
        everyone=tuple(sorted(people.index)),
        has_variance_everywhere=has_variance,
    )


class Bench:
    """Reads a model and plans its analyses."""

    def __init__(self, folder):
        self.folder = folder

    def read(self, model, **analysis):
        path = self.folder / "model-x_smdl.json"
        path.write_text(json.dumps(model))
        config = RunConfig(
            output_dir=self.folder / "out",
            level="group",
            inputs=Inputs(bids_dir=self.folder),
            selection=Selection(),
            analysis=AnalysisSpec(model_file=path, **analysis),
        )
        return settle_request(read_model(path), config)

    def plan(self, model, cohort, **analysis):
        settled, config = self.read(model, **analysis)
        return plan_analyses(cohort, settled, config.analysis)


def run_node(*contrasts, name="run"):
    return {
        "Level": "Run",
        "Name": name,
        "GroupBy": ["subject", "run"],
        "Transformations": {
            "Transformer": "pybids-transforms-v1",
            "Instructions": [{"Name": "Convolve", "Input": ["gain", "loss"]}],
        },
        "Model": {"X": ["gain", "loss", 1], "Type": "glm"},
        "Contrasts": [
            {"Name": name, "ConditionList": ["loss"], "Weights": [-1], "Test": "t"} for name in contrasts
        ],
    }


def subject_node(**changes):
    node = {
        "Level": "Subject",
        "Name": "subject",
        "GroupBy": ["subject"],
        "Model": {"X": [1], "Type": "meta"},
        "DummyContrasts": {"Test": "t"},
    }
    return {**node, **changes}


def dataset_node(x, *, steps=(), **changes):
    node = {
        "Level": "Dataset",
        "Name": "group",
        "GroupBy": ["contrast"],
        "Model": {"X": list(x), "Type": "glm"},
    }
    if steps:
        node["Transformations"] = {"Transformer": "pybids-transforms-v1", "Instructions": list(steps)}
    formula = changes.pop("formula", None)
    if formula is not None:
        node["Model"]["Formula"] = formula
    return {**node, **changes}


def node_contrast(name, conditions, weights, test="t"):
    return {"Name": name, "ConditionList": list(conditions), "Weights": list(weights), "Test": test}


def model_of(*nodes, edges=None):
    model = {"Name": "test", "BIDSModelVersion": "1.0.0", "Nodes": list(nodes)}
    if edges is not None:
        model["Edges"] = list(edges)
    return model
