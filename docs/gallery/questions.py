"""The questions of the gallery."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Command:
    """A command as it is typed; ``is_answer``: the page shows what it says."""

    line: str
    exit_code: int = 0
    is_answer: bool = False

    @property
    def words(self) -> list[str]:
        """The line as the shell hands it on."""
        return shlex.split(self.line)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture of the page: which file of the work folder (one that fits ``pattern``), and what it shows."""

    name: str
    pattern: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """A page: ``files`` are written into the work folder before its commands run there.

    ``tables``: columns of a TSV there, by its pattern. ``reading``: three sentences on how to read it.
    """

    name: str
    title: str
    asked: str
    commands: tuple[Command, ...]
    reading: tuple[str, str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    figures: tuple[Shown, ...] = ()
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_DIFFERENCES = {
    "Name": "differences",
    "BIDSModelVersion": "1.0.0",
    "Nodes": [
        {
            "Level": "Subject",
            "Name": "subject",
            "GroupBy": ["subject", "contrast"],
            "Transformations": {
                "Transformer": "pybids-transforms-v1",
                "Instructions": [{"Name": "Factor", "Input": ["session"]}],
            },
            "Model": {"Type": "glm", "X": ["session.baseline", "session.followup"]},
            "Contrasts": [
                {
                    "Name": "change",
                    "ConditionList": ["session.baseline", "session.followup"],
                    "Weights": [-1, 1],
                    "Test": "t",
                }
            ],
        },
        {
            "Level": "Dataset",
            "Name": "group",
            "GroupBy": ["contrast"],
            "Model": {"Type": "glm", "X": [1]},
            "DummyContrasts": {"Test": "t"},
        },
    ],
}

_SESSIONS_PYTHON = """
import bids_group
import numpy as np

rows = bids_group.analyse(
    "data",
    "rows-python",
    formula="~ session + subject",
    pooling="none",
    contrasts={"change": "mean(session=followup) - mean(session=baseline)"},
    no_report=True,
)
differences = bids_group.analyse("data", "differences-python", model="differences.json", no_report=True)
t_rows = rows.image("change", "t").get_fdata()
t_differences = differences.image("Intercept", "t").get_fdata()
np.testing.assert_allclose(t_rows, t_differences, rtol=1e-6, atol=1e-6)
"""

_NUMBERS = (
    "contrast",
    "stat",
    "correction",
    "n",
    "r",
    "bias",
    "limit_lower",
    "limit_upper",
    "n_a",
    "n_b",
    "dice",
)

SESSIONS = Question(
    name="sessions",
    title="Pool the sessions, or model them?",
    asked=(
        "Everybody was measured twice. Should sessions be rows of the group model, or be put together within "
        "people first? Here is the change between two sessions both ways, and beside it the test of a "
        "different question that is easily taken for the same."
    ),
    files={"differences.json": json.dumps(_DIFFERENCES, indent=1)},
    commands=(
        Command("bids-group-demo data --kind paired"),
        Command(
            "bids-group data rows group --formula '~ session + subject' --pooling none "
            "--contrast 'change = mean(session=followup) - mean(session=baseline)'"
        ),
        Command("bids-group data differences group --model differences.json"),
        Command("bids-group-compare rows differences same-question --pairs facesVsHousesChange=change"),
        Command("bids-group data pooled group"),
        Command("bids-group-compare rows pooled other-question --pairs facesVsHousesChange=facesVsHouses"),
    ),
    reading=(
        "The first pair must agree and does, t to 1e-6: everybody has both sessions (balanced), every map is "
        "observed at every element (complete), and the rows' design holds the people and no other term that "
        "varies within them, so that both are the paired t test.",
        "They need not agree where runs within sessions are weighted by precision in one and not in the "
        "other, where a further term (such as session by group) takes its share of the variance within "
        "people, or where sessions lack in a design of more than two; the page of the comparison finds this "
        "out from the designs and the maps below them, and says it.",
        "The second pair looks alike and is another question: the mean of both sessions against zero instead "
        "of their difference, so that neither effects nor t have to do with each other, and a scatter off "
        "the line of identity says nothing against either way.",
    ),
    python=_SESSIONS_PYTHON,
    figures=(
        Shown(
            name="same-t",
            pattern="same-question/figures/*_stat-t_agreement.svg",
            caption="The same question both ways: t against t, and their differences.",
        ),
        Shown(
            name="same-fdr",
            pattern="same-question/figures/*_desc-fdr_overlap.png",
            caption="Significant by FDR both ways: all outlined, nothing in one alone.",
        ),
        Shown(
            name="other-t",
            pattern="other-question/figures/*_stat-t_agreement.svg",
            caption="Change of the sessions against their mean: two questions, no agreement to expect.",
        ),
        Shown(
            name="other-fdr",
            pattern="other-question/figures/*_desc-fdr_overlap.png",
            caption="Significant by FDR: the change (cold) and the mean (warm) lie in different places.",
        ),
    ),
    tables={
        "same-question/comparison.tsv": _NUMBERS,
        "other-question/comparison.tsv": _NUMBERS,
    },
)

QUESTIONS = (SESSIONS,)
