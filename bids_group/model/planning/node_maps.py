"""Maps on their way up the graph of a model: what is known of each, and which of them edges let through."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bids_group.config.stats_model import Edge, Node, StatsModel
from bids_group.errors import DataError, SelectionError, UsageError
from bids_group.labels import natural_order, run_key
from bids_group.records import Cohort, Column, Exclusion, FirstLevelMap, Notice, Observation, Table, warn
from bids_group.words import list_some, suggest

ENTITIES = ("subject", "session", "run", "contrast")
"""Entities that a design can use as factors."""

KEYS = ("subject", "session", "run", "task", "contrast", "space", "res", "den", "node")
"""Entities by which maps can be split and filtered."""

_IN_LABELS = {"subject": "sub", "session": "ses", "task": "task", "run": "run", "contrast": "contrast"}
"""Entities that label a map, in this order, with their keys."""

_OTHER_NAMES = {
    "subject": ("participant_id", "participant", "sub"),
    "session": ("session_id", "ses"),
    "run": ("run_id",),
    "contrast": (),
}
"""What people call the entities of a design."""

Labels = tuple[tuple[str, str], ...]
"""Names of entities or columns with the value of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMap:
    """One map, first-level or made below the group, or one row of a design.

    ``entities`` has ``subject``, and ``contrast`` unless all rows of the design are of one; ``made_as`` is
    the name of the contrast in the node that made the map, where that is another.
    """

    entities: Mapping[str, str]
    source: FirstLevelMap | Observation
    made_as: str | None = None

    @property
    def contrast(self) -> str:
        """Name of the contrast."""
        return self.entities["contrast"]

    @property
    def maps(self) -> tuple[FirstLevelMap, ...]:
        """The first-level maps below."""
        return self.source.maps if isinstance(self.source, Observation) else (self.source,)

    @property
    def label(self) -> str:
        """``sub-01_ses-a_contrast-faces``: the entities that it carries."""
        named = self.entities
        return "_".join([f"{short}-{named[key]}" for key, short in _IN_LABELS.items() if key in named])

    def exclude(self, reason: str) -> list[Exclusion]:
        """Say of all maps below why they are left out."""
        return [one.exclude(reason) for one in self.maps]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMaps:
    """Maps at one place of the graph, and what was said and left out on the way to it."""

    maps: tuple[NodeMap, ...]
    exclusions: tuple[Exclusion, ...] = ()
    notices: tuple[Notice, ...] = ()


def receive(node: Node, model: StatsModel, outputs: Mapping[str, NodeMaps], cohort: Cohort) -> NodeMaps:
    """Collect what the edges into a node hand on; the first node receives every first-level map.

    The order of first-level maps does not depend on that of the cohort.
    """
    edges = [edge for edge in model.edges if edge.destination == node.name]
    if not edges:
        maps = [
            NodeMap(entities={k: label for k in KEYS if (label := getattr(one, k)) is not None}, source=one)
            for one in cohort.maps
        ]
        return NodeMaps(maps=tuple(sorted(maps, key=lambda one: (one.label, str(one.maps[0].effect)))))
    whole = NodeMaps(maps=())
    for edge in edges:
        given = outputs[edge.source]
        for key, wanted in edge.filter.items():
            given = _filter(given, edge, key, wanted, cohort)
        _check_once(node, whole, given)
        whole = NodeMaps(
            maps=whole.maps + given.maps,
            exclusions=whole.exclusions + given.exclusions,
            notices=whole.notices + given.notices,
        )
    return whole


def _check_once(node: Node, earlier: NodeMaps, given: NodeMaps) -> None:
    """Refuse a map that two edges hand to one node: it would count twice."""
    known = {id(one) for one in earlier.maps}
    twice = [one for one in given.maps if id(one) in known]
    if twice:
        raise UsageError(
            f"Two edges hand the same maps to the node {node.name!r}, where they would count twice.",
            found=list_some((one.label for one in twice), 4),
            expected="each map by one edge",
            fix="Let the Filter of one of the edges leave them out, or remove that edge.",
        )


def _filter(given: NodeMaps, edge: Edge, key: str, wanted: Sequence[str], cohort: Cohort) -> NodeMaps:
    """Keep the maps whose value of ``key`` is one of those wanted; n/a is none of them."""
    if not given.maps:
        return given
    where = f"Filter of the edge from {edge.source!r} to {edge.destination!r}"
    if key == "contrast":
        values: list[str | None] = [one.contrast for one in given.maps]
        found = {one: _meant_contrasts(one, given.maps) for one in wanted}
    else:
        values = values_of(key, given.maps, cohort, f"the {where}")
        found = {one: _meant_labels(key, one, values) for one in wanted}
    kept = {value for each in found.values() for value in each}
    if not kept:
        there = sorted({value for value in values if value is not None})
        guesses = filter(None, (suggest(one, there) for one in wanted))
        raise SelectionError(
            f"The {where} lets no map through.",
            found=f"{key} {list_some(there)}",
            expected=f"{key} {list_some(wanted)}",
            fix=next(guesses, "Correct the Filter in the model file."),
        )
    homes = (table.columns[key] for table in cohort.tables if key in table.columns)
    odd = dict.fromkeys(notice for column in homes for notice in column.notices)
    pairs = list(zip(given.maps, values, strict=True))
    reasons = {value: f"{key} is {value or 'n/a'}: not let through by the {where}" for value in values}
    out = (left for one, value in pairs if value not in kept for left in one.exclude(reasons[value]))
    absent = [f"The {where} names the {key} {one!r}, which no map has." for one in found if not found[one]]
    fix = "Correct the name, or add the maps."
    return NodeMaps(
        maps=tuple(one for one, value in pairs if value in kept),
        exclusions=(*given.exclusions, *out),
        notices=(*given.notices, *(warn("model", sentence, fix) for sentence in absent), *odd),
    )


def _meant_contrasts(wanted: str, maps: Sequence[NodeMap]) -> tuple[str, ...]:
    """Names of the contrasts that are meant: by their own name, or by that of the node that made them."""
    found = find_contrast(wanted, (one.contrast for one in maps))
    made = (one.contrast for one in maps if one.made_as == wanted)
    return tuple(dict.fromkeys(made)) if found is None else (found,)


def _meant_labels(key: str, wanted: str, values: Sequence[str | None]) -> tuple[str, ...]:
    """Values that are meant: that one; of entities also without its key (``sub-01``), runs by number."""
    if key in _IN_LABELS and wanted not in values:
        wanted = wanted.removeprefix(f"{_IN_LABELS[key]}-")
    spell = run_key if key == "run" else str
    return tuple(dict.fromkeys(one for one in values if one and spell(one) == spell(wanted)))


def split(values: Mapping[int, Labels]) -> dict[Labels, list[int]]:
    """Split positions by the values of each, groups in sorted order."""
    groups: dict[Labels, list[int]] = {}
    for position, value in values.items():
        groups.setdefault(value, []).append(position)
    return dict(sorted(groups.items()))


def values_of(name: str, maps: Sequence[NodeMap], cohort: Cohort, where: str) -> list[str | None]:
    """Value of an entity or of a column for each map, as text; None where it is missing."""
    is_column = any(name in table.columns for table in cohort.tables)
    if (name in KEYS and not is_column) or any(name in one.entities for one in maps):
        return [one.entities.get(name) for one in maps]
    frame, _ = join_covariates(maps, cohort.tables, required=(name,))
    if name not in frame.columns:
        raise unknown_column(name, (*KEYS, *frame.columns), where)
    return [level_text(value) for value in frame[name].astype(object)]


def find_contrast(name: str, available: Iterable[str]) -> str | None:
    """Find a contrast by its name in a model: exactly, else by its letters and digits alone.

    Producers write ``trial_type.word`` as ``trialTypeWord`` into file names. None where there is no match, or
    no single one.
    """
    names = tuple(dict.fromkeys(available))
    if name in names:
        return name
    near = [one for one in names if _bare(one) == _bare(name)]
    return near[0] if len(near) == 1 else None


def find_contrasts(pattern: str, available: Iterable[str]) -> list[str]:
    """Find contrasts by a name with wildcards, as `find_contrast` finds one by its name."""
    names = tuple(dict.fromkeys(available))
    near = [one for one in names if fnmatch.fnmatchcase(_bare(one), _bare(pattern))]
    return fnmatch.filter(names, pattern) or near


def _bare(name: str) -> str:
    """Letters and digits of a name, and wildcards."""
    return re.sub(r"[^\w*?]|_", "", name).lower()


def join_covariates(
    rows: Sequence[NodeMap],
    tables: Sequence[Table],
    *,
    required: Iterable[str] = (),
    sessions: Column | None = None,
) -> tuple[pd.DataFrame, dict[str, Column]]:
    """Join the tables to the rows, by person or by person and session; also give what is known of columns.

    A session's column is a covariate of a row of several sessions only where it is the same in all of them;
    a column that is ``required`` and has no one value in each row, or another problem, is refused; one of two
    tables has one value where they say the same. A missing value stays missing. Rows of equal labels are
    allowed. ``sessions`` gives the order of their labels; else, as for all entities, it is alphabetical with
    numbers as numbers.
    """
    entities = pd.DataFrame(index=range(len(rows)))
    for entity in ENTITIES:
        labels = [row.entities.get(entity) for row in rows]
        levels = natural_order({label for label in labels if label is not None})
        if entity == "session" and sessions is not None and set(levels) <= set(sessions.levels):
            levels = [level for level in sessions.levels if level in levels]
        if levels:
            entities[entity] = pd.Categorical(labels, categories=levels)
    values, refusals = {}, {}
    columns = {"session": sessions} if sessions is not None and "session" in entities else {}
    # an entity of the maps goes before a column of the same name
    for name in dict.fromkeys(n for table in tables for n in table.frame.columns if n not in entities):
        homes = [table for table in tables if name in table.frame.columns]
        found = [_column_values(rows, table, name) for table in homes]
        series, sentence = found[0]
        fix = "Use --pooling none to have a row per session, or leave the column out."
        if any(_write(series) != _write(other) for other, _ in found[1:]):
            named = " and ".join(str(table.columns[name].source) for table in homes)
            sentence = f"The column {name!r} stands in two tables, with other values: {named}."
            series, fix = None, "Rename it in one of them, so that the name says which is meant."
        if series is None:
            refusals[name] = DataError(sentence, fix=fix)
        else:
            values[name], columns[name] = series, homes[0].columns[name]
    for name in required:
        if name in columns:
            columns[name].check_usable()
        if name in refusals:
            raise refusals[name]
    frame = pd.concat([entities, pd.DataFrame(values, index=entities.index)], axis=1)
    return frame.set_axis(pd.Index([row.label for row in rows], name="observation"), axis=0), columns


def _column_values(rows: Sequence[NodeMap], table: Table, name: str) -> tuple[pd.Series | None, str]:
    """Values by position of the row; None and the reason where a row has no single value."""
    column = table.frame[name]
    if table.level == "subject":
        return column.reindex([row.entities["subject"] for row in rows]).reset_index(drop=True), ""
    below: list[list[Any]] = [
        [str(one.effect) for one in row.maps]
        if table.level == "map"
        else [
            (row.entities["subject"], session or "")
            for session in sorted({one.session for one in row.maps}, key=str)
        ]
        for row in rows
    ]
    pairs = pd.Index([part for parts in below for part in parts])
    owners = [position for position, parts in enumerate(below) for _ in parts]
    by_row = column.reindex(pairs).set_axis(pd.Index(owners))
    n_values = by_row.groupby(level=0, observed=True).nunique(dropna=False)
    varying = n_values.index[n_values > 1]
    if len(varying):
        return None, (
            f"The column {name!r} of {table.columns[name].source} varies between the {table.level}s of "
            f"{rows[varying[0]].label}, and a row of this design stands for several {table.level}s."
        )
    return by_row[~by_row.index.duplicated()].reindex(range(len(rows))), ""


def _write(values: pd.Series | None) -> list[str | None] | None:
    """Write values as labels, whatever their kind; None where there are none."""
    return None if values is None else [level_text(value) for value in values.astype(object)]


def level_text(value: object) -> str | None:
    """Write a value as a label: text, whole numbers without a decimal point; None where it is missing."""
    if value is None or value is pd.NA or value != value:
        return None
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def unknown_column(name: str, known: Iterable[str], where: str, fix: str | None = None) -> UsageError:
    """Make the error about a name that is no column, with what exists; ``fix``: None to guess one."""
    available = sorted(set(known))
    entity = next((full for full in ENTITIES if name in _OTHER_NAMES[full]), None)
    meant = f"Write {entity}." if entity in available else suggest(name, available)
    return UsageError(
        f"There is no column {name!r}, which {where} names.",
        found=list_some(available, 20, none="no columns"),
        fix=fix or meant,
    )
