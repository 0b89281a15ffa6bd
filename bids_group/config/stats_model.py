"""A BIDS Stats Model: nodes that estimate, and edges that hand their contrasts on.

The records are what is left of the JSON once it was read (`stats_model_reading`) or compiled from the command
line (`stats_model_request`); `write_model_json` turns them back into JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Literal

from bids_group.errors import UsageError

Level = Literal["run", "session", "subject", "dataset"]
Test = Literal["t", "F", "pass"]
Weight = int | float | str
_LONGEST_WEIGHT = 60
_LONGEST_FORMULA = 10_000
"""Characters; longer ones are no formulas, and slow to read."""

INTERCEPT = "1"
"""The name of the constant in ``X`` and ``ConditionList``."""

COMMAND_LINE = "commandLine"
"""The name of a model that was compiled from options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContrast:
    """A contrast of a node: a row of weights over ``conditions``, or several for F; weights as written."""

    name: str
    conditions: tuple[str, ...]
    weights: tuple[tuple[Weight, ...], ...]
    test: Test = "t"

    @property
    def is_constant(self) -> bool:
        """Whether this is the constant itself, as a dummy contrast is; maps of it need no other name."""
        return self.name == INTERCEPT and self.conditions == (INTERCEPT,) and self.numbers == ((1.0,),)

    @property
    def numbers(self) -> tuple[tuple[float, ...], ...]:
        """The weights as numbers, ``"1/3"`` read as a fraction."""
        return _numbers_of(self.weights)


@cache
def _numbers_of(rows: tuple[tuple[Weight, ...], ...]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(read_fraction(weight)) for weight in row) for row in rows)


def read_fraction(weight: Weight) -> Fraction:
    """Read a weight exactly.

    Raises
    ------
    ValueError, ArithmeticError
        It is no number, or none that a computer would have at once (``1e999999999``).
    """
    text = str(weight).replace(" ", "")
    if len(text) > _LONGEST_WEIGHT or re.search(r"(?i)e[+-]?\d{4}", text):
        raise ValueError(f"{text[:20]}… is too long")
    exact = Fraction(text)
    float(exact)
    return exact


@dataclass(frozen=True, slots=True, kw_only=True)
class DummyContrasts:
    """One contrast for each of ``conditions`` (None: for every variable of ``X``), named after it."""

    test: Test = "t"
    conditions: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One estimator: the maps it receives are split by ``group_by``, each part is fitted by itself."""

    name: str
    level: Level
    group_by: tuple[str, ...] = ()
    type: str = "glm"
    x: tuple[str, ...] = (INTERCEPT,)
    formula: str | None = None
    instructions: tuple[Mapping[str, Any], ...] = ()
    contrasts: tuple[NodeContrast, ...] = ()
    dummy_contrasts: DummyContrasts | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    """The node as it stood in its file (empty where it was compiled): what is written out again."""

    @property
    def design_matrix(self) -> Path | None:
        """The table of the design that the settings name."""
        return Path(table) if (table := self.settings.get("design_matrix")) is not None else None

    @property
    def random_terms(self) -> tuple[str, ...]:
        """The random terms that the settings add to the formula."""
        return tuple(self.settings.get("random_terms", ()))

    @property
    def all_contrasts(self) -> tuple[NodeContrast, ...]:
        """The named contrasts and, before them, the dummy contrasts spelled out."""
        if (own := self.dummy_contrasts) is None:
            return self.contrasts
        names = self.x if own.conditions is None else own.conditions
        dummies = (NodeContrast(name=n, conditions=(n,), weights=((1,),), test=own.test) for n in names)
        return (*dummies, *self.contrasts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What ``source`` hands on: maps that have, for every key of ``filter``, one of its values."""

    source: str
    destination: str
    filter: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsModel:
    """A hierarchical model.

    ``remarks`` are sentences about what was read leniently; ``settings`` hold for the whole run.
    """

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()
    description: str = ""
    input: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    version: str = "1.0.0"
    settings: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def dataset_nodes(self) -> tuple[Node, ...]:
        """The nodes that end in a group analysis."""
        return tuple(node for node in self.nodes if node.level == "dataset")

    @property
    def nodes_in_order(self) -> tuple[Node, ...]:
        """The nodes, each after those whose contrasts it receives."""
        waiting, ordered = list(self.nodes), list[Node]()
        while waiting:
            names = {node.name for node in waiting}
            held = {edge.destination for edge in self.edges if edge.source in names}
            ready = [node for node in waiting if node.name not in held]
            if not ready:
                raise UsageError(
                    f"The edges of the model {self.name!r} run in a circle.",
                    found=", ".join(node.name for node in waiting),
                    fix="Let every edge lead up to a Dataset node.",
                )
            ordered.extend(ready)
            waiting = [node for node in waiting if node not in ready]
        return tuple(ordered)


_RANDOM = re.compile(r"\s*(?P<sign>[+~])?\s*\((?P<inside>[^()|]*\|[^()]*)\)")


def split_random(formula: str) -> tuple[str, tuple[str, ...]]:
    """Part a formula and its random terms: ``~ age + (1 | subject)`` into ``~ age`` and ``(1 | subject)``."""
    if len(formula) > _LONGEST_FORMULA:
        raise UsageError("The formula is too long.", found=f"{len(formula)} characters")
    terms = tuple(f"({match['inside'].strip()})" for match in _RANDOM.finditer(formula))
    fixed = _RANDOM.sub(lambda match: "~ 1" if match["sign"] == "~" else "", formula)
    return (fixed.strip() or "~ 1", terms) if terms else (formula, ())


_NAME = re.compile(r"`(?P<quoted>[^`]+)`|(?<![\w.])(?P<plain>[^\W\d]\w*)(?![\w.]*\s*\()(?!\w|\s*=[^=])")


def formula_names(formula: str) -> tuple[str, ...]:
    """Names of variables in a formula, in order of appearance, without functions and their keywords."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "", formula)
    found = [match["quoted"] or match["plain"] for match in _NAME.finditer(text)]
    return tuple(dict.fromkeys(found))


def write_model_json(model: StatsModel) -> dict[str, Any]:
    """Write a model as a BIDS Stats Models object that, given as ``--model``, does the same again."""
    edges = []
    for edge in model.edges:
        own: dict[str, Any] = {"Source": edge.source, "Destination": edge.destination}
        kept = {key: list(some) for key, some in edge.filter.items()}
        edges.append({**own, "Filter": kept} if kept else own)
    parts = {
        "Description": model.description,
        "Input": {key: list(values) for key, values in model.input.items()},
        "Nodes": [_node_json(node) for node in model.nodes],
        "Edges": edges,
    }
    said = {key: value for key, value in parts.items() if value or key == "Nodes"}
    return {"Name": model.name, "BIDSModelVersion": model.version, **said}


def _node_json(node: Node) -> dict[str, Any]:
    """Write a node as it stood in its file, or as it was compiled, with its settings."""
    written = dict(node.source)
    if not written:
        variables = [1 if name == INTERCEPT else name for name in node.x]
        formula = {} if node.formula is None else {"Formula": node.formula}
        model = {"X": variables, "Type": node.type, **formula}
        level = node.level.capitalize()
        written = {"Level": level, "Name": node.name, "GroupBy": list(node.group_by), "Model": model}
        if node.dummy_contrasts is not None:
            written["DummyContrasts"] = {"Test": node.dummy_contrasts.test}
    if node.settings:
        software = {**written["Model"].get("Software", {}), "bids_group": dict(node.settings)}
        written["Model"] = {**written["Model"], "Software": software}
    return written
