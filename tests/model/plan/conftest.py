"""Cohorts without files, and models as Python dictionaries."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bids_group.config import AnalysisSpec, Inputs, RunConfig, Selection
from bids_group.config.stats_model import StatsModel
from bids_group.config.stats_model_reading import read_model
from bids_group.config.stats_model_request import settle_request
from bids_group.model import plan_analyses
from bids_group.records import Cohort, Column, FirstLevelMap, GroupAnalysis, Table

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


def make_table(frame: pd.DataFrame, name: str = "participants.tsv") -> Table:
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


def make_cohort(
    people: pd.DataFrame = PEOPLE,
    *,
    contrasts: Sequence[str] = ("negLossParametric",),
    runs: Sequence[str | None] = ("1", "2", "3"),
    sessions: Sequence[str | None] = (None,),
    session_table: pd.DataFrame | None = None,
    has_variance: bool = True,
    without: Sequence[tuple[str, str | None, str | None]] = (),
    shuffled_by: int | None = None,
) -> Cohort:
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
    tables = [make_table(people)]
    if session_table is not None:
        tables.append(make_table(session_table, "sessions.tsv"))
    return Cohort(
        maps=tuple(maps),
        tables=tuple(tables),
        everyone=tuple(sorted(people.index)),
        has_variance_everywhere=has_variance,
    )


class Bench:
    """Reads a model and plans its analyses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, model: dict[str, Any], **analysis: Any) -> tuple[StatsModel, RunConfig]:
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

    def plan(self, model: dict[str, Any], cohort: Cohort, **analysis: Any) -> tuple[GroupAnalysis, ...]:
        settled, config = self.read(model, **analysis)
        return plan_analyses(cohort, settled, config.analysis)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def cohort_of() -> Callable[..., Cohort]:
    return make_cohort


@pytest.fixture
def people() -> pd.DataFrame:
    return PEOPLE.copy()


@pytest.fixture
def table_of() -> Callable[..., Table]:
    return make_table


def run_node(*contrasts: str, name: str = "run") -> dict[str, Any]:
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


def subject_node(**changes: Any) -> dict[str, Any]:
    node = {
        "Level": "Subject",
        "Name": "subject",
        "GroupBy": ["subject"],
        "Model": {"X": [1], "Type": "meta"},
        "DummyContrasts": {"Test": "t"},
    }
    return {**node, **changes}


def dataset_node(x: Sequence[Any], *, steps: Sequence[dict[str, Any]] = (), **changes: Any) -> dict[str, Any]:
    node: dict[str, Any] = {
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


def contrast(name: str, conditions: Sequence[Any], weights: Sequence[Any], test: str = "t") -> dict[str, Any]:
    return {"Name": name, "ConditionList": list(conditions), "Weights": list(weights), "Test": test}


def model_of(*nodes: dict[str, Any], edges: Sequence[dict[str, Any]] | None = None) -> dict[str, Any]:
    model: dict[str, Any] = {"Name": "test", "BIDSModelVersion": "1.0.0", "Nodes": list(nodes)}
    if edges is not None:
        model["Edges"] = list(edges)
    return model


class Words:
    """The parts of a model, for tests."""

    run_node = staticmethod(run_node)
    subject_node = staticmethod(subject_node)
    dataset_node = staticmethod(dataset_node)
    contrast = staticmethod(contrast)
    model_of = staticmethod(model_of)
    replace = staticmethod(replace)


@pytest.fixture
def write() -> type[Words]:
    return Words
