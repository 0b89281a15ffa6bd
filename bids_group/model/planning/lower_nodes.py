"""Nodes below the group: what a Run node declares, and Session and Subject nodes person by person.

The maps of a person are pooled by fixed effects; contrasts are weighted sums of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.config import AnalysisSpec
from bids_group.config.stats_model import INTERCEPT, Node, NodeContrast
from bids_group.errors import ContrastError, DataError, SelectionError, UsageError
from bids_group.model.contrast.regressor_names import find_regressor
from bids_group.model.formula.coding import code_design
from bids_group.model.formula.parser import read_formula
from bids_group.model.planning.node_design import (
    check_conditions,
    check_one_contrast,
    check_variables,
    join_node_rows,
    model_names,
    node_formula,
    used_names,
)
from bids_group.model.planning.node_maps import (
    Labels,
    NodeMap,
    NodeMaps,
    find_contrast,
    find_contrasts,
    split,
    values_of,
)
from bids_group.model.planning.transformations import Transformed, transform
from bids_group.records import Cohort, FirstLevelMap, Observation, warn
from bids_group.row_space import RowSpace
from bids_group.words import list_some

Doubles = npt.NDArray[np.float64]
AnyMap = FirstLevelMap | Observation


class PersonError(DataError):
    """The maps or values of one person do not settle a node; ``reason`` is for the ledger."""

    def __init__(self, sentence: str, reason: str, found: str) -> None:
        fix = "Leave such participants out with --missing drop, or with --exclude-participant-label."
        super().__init__(sentence, found=found, fix=fix)
        self.reason = reason


def lower_outputs(node: Node, received: NodeMaps, cohort: Cohort, spec: AnalysisSpec) -> NodeMaps:
    """Make the output maps of a Run, Session or Subject node.

    A Session or Subject node takes its maps group by group of GroupBy; an entity that the maps do not carry
    does not split them.
    """
    given = received.maps
    if not given:
        return received
    if node.level == "run":
        return _declared(node, received)
    where = f"GroupBy of the node {node.name!r}"
    by_name = {name: values_of(name, given, cohort, where) for name in node.group_by}
    values = {
        position: tuple((name, str(each[position])) for name, each in by_name.items() if each[position])
        for position in range(len(given))
    }
    lower = _LowerNode(node, given, cohort)
    made: list[NodeMap] = []
    exclusions = list(received.exclusions)
    for labels, positions in split(values).items():
        try:
            made.extend(lower.outputs(labels, positions))
        except PersonError as error:
            if spec.missing == "error":
                raise
            exclusions.extend(left for at in positions for left in given[at].exclude(error.reason))
    notices = (*received.notices, *(warn("model", one) for one in lower.remarks))
    return replace(received, maps=tuple(made), exclusions=tuple(exclusions), notices=notices)


def _declared(node: Node, received: NodeMaps) -> NodeMaps:
    """Hand on the maps of the contrasts that a Run node declares (every map where it declares none).

    The node itself was carried out by the program that made the maps. F contrasts end at their node.
    """
    if not node.all_contrasts:
        return received
    available = sorted({one.contrast for one in received.maps})
    found: dict[str, list[str]] = {}
    for name in (one.name for one in node.all_contrasts if one.test != "F"):
        if any(character in name for character in "*?"):
            found[name] = find_contrasts(name, available)
        else:
            match = find_contrast("intercept" if name == INTERCEPT else name, available)
            found[name] = [] if match is None else [match]
    kept = {name for names in found.values() for name in names}
    if not kept:
        raise SelectionError(
            f"No map is of a contrast of the node {node.name!r}.",
            found=list_some(available),
            expected=list_some(found),
        )
    reason = f"not a contrast that the node {node.name!r} hands on"
    out = (left for one in received.maps if one.contrast not in kept for left in one.exclude(reason))
    absent = [name for name, names in found.items() if not names and name != INTERCEPT]
    said = f"The node {node.name!r} declares the contrast"
    notices = (warn("model", f"{said} {name!r}, of which there is no map.") for name in absent)
    return NodeMaps(
        maps=tuple(one for one in received.maps if one.contrast in kept),
        exclusions=(*received.exclusions, *out),
        notices=(*received.notices, *notices),
    )


class _Person(NamedTuple):
    """Maps of one person (or session) that go into one model, what they give pooled, and whose they are."""

    maps: list[NodeMap]
    pooled: Observation
    who: str


class _LowerNode:
    """A Session or Subject node with the maps that it receives: it makes new ones, person by person."""

    def __init__(self, node: Node, given: Sequence[NodeMap], cohort: Cohort) -> None:
        """Join the covariates of all maps, check every name once against all columns, and keep those used."""
        self._node, self._given = node, given
        self._has_variance, self._cell_factors = cohort.has_variance_everywhere, cohort.cell_factors
        self._has_several = len({one.contrast for one in given}) > 1
        self._is_constant = node.x == (INTERCEPT,) and node.formula is None
        self._contrasts = node.all_contrasts
        self._designs: dict[tuple[object, ...], pd.DataFrame] = {}
        if node.formula is None:
            check_conditions(node)
        self.remarks: tuple[str, ...] = ()
        if not self._is_constant or node.instructions:
            raw = join_node_rows(node, given, cohort)[0]
            raw = raw.set_axis(range(len(raw)), axis=0)
            made = transform(raw, node.instructions, node.name)
            check_variables(node, made.rows)
            if self._is_constant:  # else they are carried out person by person
                self._check_rows_stay(made)
            self.remarks = made.remarks
            has_query, used = any("Query" in step for step in node.instructions), used_names(node)
            self._raw = raw[[name for name in raw.columns if has_query or name in used]]
        for contrast in self._contrasts:
            if contrast.test == "F":
                raise ContrastError(
                    f"The node {node.name!r} has the F contrast {contrast.name!r}, which is not "
                    "supported below the group.",
                    fix="Test it in a Dataset node.",
                )
        if not self._contrasts:
            raise UsageError(
                f"The node {node.name!r} has no contrasts, so that it hands nothing on.",
                fix='Add "DummyContrasts": {"Test": "t"}.',
            )

    def outputs(self, labels: Labels, positions: Sequence[int]) -> list[NodeMap]:
        """Make the maps that the node hands on from those of one person (and session).

        ``meta`` pools by precision where every map of the dataset has a variance.
        """
        node, maps = self._node, [self._given[position] for position in positions]
        check_one_contrast(node, maps, self._cell_factors)
        pooled = Observation(
            subject=maps[0].entities["subject"],
            session=dict(labels).get("session"),
            contrast=maps[0].contrast,
            sources=tuple(one.source for one in maps),
            combine="precision" if node.type == "meta" and self._has_variance else "mean",
        )
        person = _Person(maps, pooled, ", ".join(f"{name} {value}" for name, value in labels))
        if self._is_constant:
            return [self._times_constant(contrast, person) for contrast in self._contrasts]
        matrix, parts = self._matrix(positions, person.who), list(pooled.sources)
        if node.type == "meta":
            parts, matrix = self._pool_cells(matrix, person)
        return [self._weighted(contrast, matrix, parts, person) for contrast in self._contrasts]

    def _matrix(self, positions: Sequence[int], who: str) -> pd.DataFrame:
        """Build the design matrix of the maps at some positions, ``(n_maps, n_regressors)``."""
        raw, node = self._raw.iloc[list(positions)], self._node
        key = tuple(tuple(raw[name]) for name in raw)
        if key in self._designs:
            return self._designs[key]
        transformed = transform(raw, node.instructions, node.name)
        self._check_rows_stay(transformed)
        rows = transformed.rows.reset_index(drop=True)
        formula = read_formula(node_formula(node, rows.columns), tuple(rows.columns))
        variables = rows[list(formula.columns)]
        missing = [name for name in variables if variables[name].isna().any()]
        if missing:
            raise PersonError(
                f"The node {node.name!r} lacks a value of {missing[0]!r} for {who}.",
                reason=f"no value (n/a) of {missing[0]} in the node {node.name}",
                found="n/a",
            )
        self._designs[key] = code_design(formula, variables, "none").matrix
        return self._designs[key]

    def _check_rows_stay(self, transformed: Transformed) -> None:
        if transformed.dropped:
            raise UsageError(
                f"The node {self._node.name!r} leaves out rows below the group, which is not supported.",
                fix="Leave rows out in the Dataset node, or runs and sessions by the Filter of an Edge.",
            )

    def _hand_on(self, observation: Observation, name: str, maps: Sequence[NodeMap]) -> NodeMap:
        """Name a new contrast; where the node receives several, the name begins with that of its maps."""
        is_of_one = self._has_several and len({one.contrast for one in maps}) == 1
        contrast = f"{maps[0].contrast} {name}" if is_of_one else name
        return _node_map(replace(observation, contrast=contrast), name)

    def _times_constant(self, contrast: NodeContrast, person: _Person) -> NodeMap:
        """Make fixed effects: the pooled maps, times the weight of the constant."""
        pooled, weight = person.pooled, contrast.numbers[0][0]
        if contrast.is_constant:
            return _node_map(pooled, person.maps[0].made_as)
        if weight != 1:
            pooled = replace(pooled, sources=(pooled,), combine="weights", weights=(weight,))
        return self._hand_on(pooled, contrast.name, person.maps)

    def _pool_cells(self, matrix: pd.DataFrame, person: _Person) -> tuple[list[AnyMap], pd.DataFrame]:
        """Pool the maps by cells of equal rows of the design, and give a row for each cell."""
        cells = matrix.drop_duplicates(ignore_index=True)
        if RowSpace.of(cells.to_numpy(dtype=np.float64)).rank < len(cells):
            raise UsageError(
                f"The node {self._node.name!r} of Type meta has regressors that overlap, which is not "
                "supported below the group.",
                found=f"{list_some(model_names(self._node))}: {len(cells)} different rows for {person.who}",
                expected="as many regressors as different rows (a mean per condition)",
                fix='Use "Type": "glm", or one column of 0 and 1 per condition.',
            )
        parts: list[AnyMap] = []
        for _, cell in cells.iterrows():
            is_in = matrix.eq(cell).all(axis=1)
            own = [one for one, is_own in zip(person.maps, is_in, strict=True) if is_own]
            sources = tuple(one.source for one in own)
            whole = replace(person.pooled, contrast=own[0].contrast, sources=sources)
            parts.append(sources[0] if len(own) == 1 else whole)
        return parts, cells

    def _weighted(
        self, contrast: NodeContrast, design: pd.DataFrame, parts: Sequence[AnyMap], person: _Person
    ) -> NodeMap:
        """Solve the node's model: a contrast is a weighted sum of the person's maps."""
        row = _contrast_row(self._node, contrast, list(design.columns))
        weights = solve(design.to_numpy(dtype=np.float64), row)
        if weights is None:
            n_maps = len(person.maps)
            raise PersonError(
                f"The contrast {contrast.name!r} cannot be estimated for {person.who}.",
                reason=f"the contrast {contrast.name!r} cannot be estimated from these {n_maps} maps",
                found=f"{n_maps} maps, which lack a condition that it compares",
            )
        pairs = [(part, weight) for part, weight in zip(parts, weights, strict=True) if weight != 0]
        sources, weights = tuple(part for part, _ in pairs), [weight for _, weight in pairs]
        weighted = replace(person.pooled, sources=sources, combine="weights", weights=tuple(weights))
        name = "intercept" if contrast.is_constant else contrast.name
        return self._hand_on(weighted, name, person.maps)


def _node_map(observation: Observation, made_as: str | None) -> NodeMap:
    named = {"subject": observation.subject, "contrast": observation.contrast, "session": observation.session}
    entities = {name: value for name, value in named.items() if value is not None}
    return NodeMap(entities=entities, source=observation, made_as=made_as)


def solve(X: Doubles, row: Doubles) -> list[float] | None:
    """Weigh the maps so that their sum is the contrast, to 12 digits; None where X does not determine it."""
    space = RowSpace.of(X)
    if not space.is_estimable(row).all():
        return None
    weights = space.weights_of_rows(row)[0]
    weights[np.abs(weights) <= 1e-12 * np.abs(weights).max()] = 0.0
    return [float(f"{weight:.12g}") for weight in weights]


def _contrast_row(node: Node, contrast: NodeContrast, columns: Sequence[str]) -> Doubles:
    """Weights of a contrast over the columns of the design."""
    row = np.zeros(len(columns))
    for condition, weight in zip(contrast.conditions, contrast.numbers[0], strict=True):
        name = "Intercept" if condition == INTERCEPT else condition
        found = find_regressor(name, 0, columns)
        if found is None or found.end < len(name):
            raise ContrastError(
                f"The contrast {contrast.name!r} of the node {node.name!r} names {condition!r}, "
                "which is not a column of its design.",
                found=list_some(columns),
            )
        row[list(columns).index(found.column)] += weight
    return row
