"""The maps of one person in a node below the group: fixed effects, and contrasts as weighted sums of maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.config.stats_model import INTERCEPT, Node, NodeContrast
from bids_group.errors import ContrastError, DataError, UsageError
from bids_group.model.contrast.regressor_names import find_regressor
from bids_group.model.formula.coding import build_coding
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
from bids_group.model.planning.node_maps import Labels, NodeMap
from bids_group.model.planning.transformations import transform
from bids_group.records import Cohort, FirstLevelMap, Observation
from bids_group.row_space import RowSpace
from bids_group.words import list_some

Doubles = npt.NDArray[np.float64]
AnyMap = FirstLevelMap | Observation


class PersonError(Exception):
    """The maps or values of one person do not settle a node; ``reason`` is for the ledger."""

    def __init__(self, sentence: str, reason: str, found: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        fix = "Leave such participants out with --missing drop, or with --exclude-participant-label."
        self.error = DataError(sentence, found=found, fix=fix)


class NodeDesigns:
    """The design matrices of a node below the group: one for each set of maps that go into one model."""

    def __init__(self, node: Node, maps: Sequence[NodeMap], cohort: Cohort) -> None:
        self.node = node
        self.is_constant = node.x == (INTERCEPT,) and node.formula is None
        if node.formula is None:
            check_conditions(node)
        self._raw = pd.DataFrame() if self.is_constant else self._join(maps, cohort)
        self._made: dict[tuple[object, ...], pd.DataFrame] = {}

    def _join(self, maps: Sequence[NodeMap], cohort: Cohort) -> pd.DataFrame:
        """Join the covariates of all maps, check every name once against all columns, and keep those used."""
        raw, _ = join_node_rows(self.node, [one.key for one in maps], cohort)
        raw = raw.set_axis(range(len(raw)), axis=0)
        check_variables(self.node, transform(raw, self.node.instructions, self.node.name).rows)
        if any("Query" in step for step in self.node.instructions):
            return raw
        used = used_names(self.node)
        return raw[[name for name in raw.columns if name in used]]

    def matrix(self, positions: Sequence[int], who: str) -> pd.DataFrame:
        """Build the design matrix of the maps at some positions, ``(n_maps, n_regressors)``."""
        raw = self._raw.iloc[list(positions)]
        key = tuple(tuple(raw[name]) for name in raw)
        if key not in self._made:
            self._made[key] = self._build(raw, who)
        return self._made[key]

    def _build(self, raw: pd.DataFrame, who: str) -> pd.DataFrame:
        transformed = transform(raw, self.node.instructions, self.node.name)
        if transformed.dropped:
            raise UsageError(
                f"The node {self.node.name!r} leaves out rows below the group, which is not supported.",
                fix="Use the Filter of an Edge.",
            )
        rows = transformed.rows.reset_index(drop=True)
        formula = read_formula(node_formula(self.node, rows.columns), tuple(rows.columns))
        variables = rows[list(formula.columns)]
        missing = [name for name in variables if variables[name].isna().any()]
        if missing:
            raise PersonError(
                f"The node {self.node.name!r} lacks a value of {missing[0]!r} for {who}.",
                reason=f"no value (n/a) of {missing[0]} in the node {self.node.name}",
                found="n/a",
            )
        return build_coding(formula, variables, "none")[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFit:
    """One group of a lower node: the maps of a person that go into one model.

    ``n_contrasts``: how many the whole node receives; with several, the names of new ones begin with theirs.
    """

    node: Node
    designs: NodeDesigns
    labels: Labels
    positions: Sequence[int]
    maps: tuple[NodeMap, ...]
    has_variance: bool
    n_contrasts: int

    def outputs(self) -> list[NodeMap]:
        """Make the maps that the node hands on for this person."""
        contrasts = self.node.all_contrasts
        check_one_contrast(self.node, {one.contrast for one in self.maps})
        for contrast in contrasts:
            if contrast.test == "F":
                raise ContrastError(
                    f"The node {self.node.name!r} has the F contrast {contrast.name!r}, which is not "
                    "supported below the group.",
                    fix="Test it in a Dataset node.",
                )
        if not contrasts:
            raise UsageError(
                f"The node {self.node.name!r} has no contrasts, so that it hands nothing on.",
                fix='Add "DummyContrasts": {"Test": "t"}.',
            )
        if self.designs.is_constant:
            return [self._from_constant(contrast) for contrast in contrasts]
        matrix = self.designs.matrix(self.positions, self.who)
        parts: list[AnyMap] = [one.source for one in self.maps]
        if self.node.type == "meta":
            parts, matrix = self._pool_cells(matrix)
        return [self._weighted(contrast, parts, matrix) for contrast in contrasts]

    @property
    def who(self) -> str:
        """Say whose maps these are."""
        return ", ".join(f"{name} {value}" for name, value in self.labels)

    def _pool(self, maps: Sequence[NodeMap]) -> Observation:
        """Pool maps: ``meta`` weighs by precision where every map of the dataset has a variance."""
        is_weighed = self.node.type == "meta" and self.has_variance
        return Observation(
            subject=maps[0].entities["subject"],
            session=dict(self.labels).get("session"),
            contrast=maps[0].contrast,
            sources=tuple(one.source for one in maps),
            combine="precision" if is_weighed else "mean",
        )

    def _node_map(self, observation: Observation, made_as: str | None) -> NodeMap:
        entities = {"subject": observation.subject, "contrast": observation.contrast}
        if observation.session is not None:
            entities["session"] = observation.session
        return NodeMap(entities=entities, source=observation, made_as=made_as)

    def _name(self, contrast: str) -> str:
        """Name a new contrast; where the node receives several, it begins with the name of its own."""
        names = {one.contrast for one in self.maps}
        return f"{next(iter(names))} {contrast}" if self.n_contrasts > 1 and len(names) == 1 else contrast

    def _weigh(self, name: str, parts: Sequence[tuple[AnyMap, float]]) -> NodeMap:
        observation = replace(
            self._pool(self.maps),
            contrast=self._name(name),
            sources=tuple(part for part, _ in parts),
            combine="weights",
            weights=tuple(weight for _, weight in parts),
        )
        return self._node_map(observation, name)

    def _from_constant(self, contrast: NodeContrast) -> NodeMap:
        """Make fixed effects: the pooled maps, times the weight of the constant."""
        pooled, weight = self._pool(self.maps), contrast.numbers[0][0]
        if contrast.name == INTERCEPT:
            return self._node_map(pooled, self.maps[0].made_as)
        if weight == 1:
            return self._node_map(replace(pooled, contrast=self._name(contrast.name)), contrast.name)
        return self._weigh(contrast.name, [(pooled, weight)])

    def _pool_cells(self, matrix: pd.DataFrame) -> tuple[list[AnyMap], pd.DataFrame]:
        """Pool the maps by cells of equal rows of the design, and give a row for each cell."""
        cells = matrix.drop_duplicates(ignore_index=True)
        if RowSpace.of(cells.to_numpy(dtype=np.float64)).rank < len(cells):
            raise UsageError(
                f"The node {self.node.name!r} of Type meta has regressors that overlap, which is not "
                "supported below the group.",
                found=f"{list_some(model_names(self.node))}: {len(cells)} different rows for {self.who}",
                expected="as many regressors as different rows (a mean per condition)",
                fix='Use "Type": "glm", or one column of 0 and 1 per condition.',
            )
        members = [
            [one for one, is_in in zip(self.maps, matrix.eq(cell).all(axis=1), strict=True) if is_in]
            for _, cell in cells.iterrows()
        ]
        return [own[0].source if len(own) == 1 else self._pool(own) for own in members], cells

    def _weighted(self, contrast: NodeContrast, parts: Sequence[AnyMap], design: pd.DataFrame) -> NodeMap:
        """Solve the node's model: a contrast is a weighted sum of the person's maps."""
        X = design.to_numpy(dtype=np.float64)
        row = _contrast_row(self.node, contrast, list(design.columns))
        if not RowSpace.of(X).is_estimable(row).all():
            n_maps = len(self.maps)
            raise PersonError(
                f"The contrast {contrast.name!r} cannot be estimated for {self.who}.",
                reason=f"the contrast {contrast.name!r} cannot be estimated from these {n_maps} maps",
                found=f"{n_maps} maps, which lack a condition that it compares",
            )
        pairs = zip(parts, _solve(X, row).tolist(), strict=True)
        name = "intercept" if contrast.name == INTERCEPT else contrast.name
        return self._weigh(name, [(part, weight) for part, weight in pairs if weight != 0])


def _solve(X: Doubles, row: Doubles) -> Doubles:
    """Weights of the maps whose sum is the contrast, on columns of unit norm, to 12 digits."""
    weights = RowSpace.of(X).weights_of_rows(row)[0]
    weights[np.abs(weights) <= 1e-12 * np.abs(weights).max()] = 0.0
    return np.array([float(f"{weight:.12g}") for weight in weights])


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
