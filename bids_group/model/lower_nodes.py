"""Nodes below the group: fixed effects and contrasts within a person, as observations of observations."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.config import AnalysisSpec
from bids_group.config.stats_model import INTERCEPT, Node, NodeContrast
from bids_group.errors import ContrastError, DataError, SelectionError, UsageError
from bids_group.model.coding import build_coding
from bids_group.model.estimability import RowSpace
from bids_group.model.formula import read_formula
from bids_group.model.graph import Flow
from bids_group.model.node_rows import build_node_rows, check_one_contrast, model_names, node_formula
from bids_group.model.pointing import list_some
from bids_group.model.regressors import find_regressor
from bids_group.model.requests import check_conditions
from bids_group.model.signals import Labels, Signal, find_contrast, split, values_of
from bids_group.records import Cohort, FirstLevelMap, Notice, Observation

Doubles = npt.NDArray[np.float64]
Combine = Literal["precision", "mean"]


def lower_outputs(node: Node, received: Flow, cohort: Cohort, spec: AnalysisSpec) -> Flow:
    """Make the output maps of a Run, Session or Subject node."""
    if not received.signals:
        return received
    if node.level == "run":
        return _declared(node, received)
    signals: list[Signal] = []
    exclusions = list(received.exclusions)
    n_contrasts = len({signal.contrast for signal in received.signals})
    for labels, group in _groups(node, received.signals, cohort).items():
        fit = _NodeFit(node=node, labels=labels, signals=tuple(group), cohort=cohort, n_contrasts=n_contrasts)
        try:
            signals.extend(fit.outputs())
        except _PersonError as error:
            if spec.missing == "error":
                raise error.as_data_error() from None
            exclusions.extend(one for signal in group for one in signal.exclude(error.reason))
    return Flow(signals=tuple(signals), exclusions=tuple(exclusions), notices=received.notices)


# --------------------------------------------------------------------------------------------
# Run nodes


def _declared(node: Node, received: Flow) -> Flow:
    """Hand on the maps of the contrasts that a Run node declares (every map where it declares none).

    The node itself was carried out by the program that made the maps. F contrasts end at their node.
    """
    declared = node.all_contrasts
    if not declared:
        return received
    available = sorted({signal.contrast for signal in received.signals})
    found = {one.name: _find_declared(one.name, available) for one in declared if one.test != "F"}
    kept = {name for names in found.values() for name in names}
    if not kept:
        raise SelectionError(
            f"No map is of a contrast of the node {node.name!r}.",
            found=list_some(available),
            expected=list_some(found),
        )
    reason = f"not a contrast that the node {node.name!r} hands on"
    out = (s.exclude(reason) for s in received.signals if s.contrast not in kept)
    return Flow(
        signals=tuple(signal for signal in received.signals if signal.contrast in kept),
        exclusions=(*received.exclusions, *(one for each in out for one in each)),
        notices=(
            *received.notices,
            *(_no_map(node, name) for name, names in found.items() if not names and name != INTERCEPT),
        ),
    )


def _find_declared(name: str, available: Sequence[str]) -> tuple[str, ...]:
    if any(character in name for character in "*?"):
        return tuple(one for one in available if fnmatch.fnmatchcase(one, name))
    found = find_contrast("intercept" if name == INTERCEPT else name, available)
    return () if found is None else (found,)


def _no_map(node: Node, name: str) -> Notice:
    return Notice(
        severity="warning",
        topic="model",
        sentence=f"The node {node.name!r} declares the contrast {name!r}, of which there is no map.",
    )


# --------------------------------------------------------------------------------------------
# Session and Subject nodes


def _groups(node: Node, signals: Sequence[Signal], cohort: Cohort) -> dict[Labels, list[Signal]]:
    """Split maps by GroupBy; an entity that the maps do not carry does not split them."""
    where = f"GroupBy of the node {node.name!r}"
    by_name = {name: values_of(name, signals, cohort, where) for name in node.group_by}
    values = [
        tuple((name, value) for name in node.group_by if (value := by_name[name][position]) is not None)
        for position in range(len(signals))
    ]
    return split(signals, values)


class _PersonError(Exception):
    """The maps or values of one person do not settle a node; ``reason`` is for the ledger."""

    def __init__(self, sentence: str, reason: str, found: str) -> None:
        super().__init__(sentence)
        self.sentence, self.reason, self.found = sentence, reason, found

    def as_data_error(self) -> DataError:
        fix = "Leave such participants out with --missing drop, or with --exclude-participant-label."
        return DataError(self.sentence, found=self.found, fix=fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class _NodeFit:
    """One group of a lower node: the maps of a person that go into one model."""

    node: Node
    labels: Labels
    signals: tuple[Signal, ...]
    cohort: Cohort
    n_contrasts: int
    """How many contrasts the whole node receives: with several, the names of new ones begin with theirs."""

    def outputs(self) -> list[Signal]:
        check_one_contrast(self.node, {signal.contrast for signal in self.signals})
        if self._is_constant:
            return [self._from_constant(contrast) for contrast in self._contrasts]
        return self._from_model()

    @property
    def who(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.labels)

    @property
    def _is_constant(self) -> bool:
        return self.node.x == (INTERCEPT,) and self.node.formula is None

    @property
    def _combine(self) -> Combine:
        """``meta`` weighs by precision where every map of the dataset has a variance."""
        return "precision" if self.node.type == "meta" and self.cohort.has_variance_everywhere else "mean"

    @property
    def _contrasts(self) -> tuple[NodeContrast, ...]:
        """Contrasts that are handed on; F contrasts would end here."""
        for contrast in self.node.all_contrasts:
            if contrast.test == "F":
                raise ContrastError(
                    f"The node {self.node.name!r} has the F contrast {contrast.name!r}, which is not "
                    "supported below the group.",
                    fix="Test it in a Dataset node.",
                )
        if not self.node.all_contrasts:
            raise UsageError(
                f"The node {self.node.name!r} has no contrasts, so that it hands nothing on.",
                fix='Add "DummyContrasts": {"Test": "t"}.',
            )
        return self.node.all_contrasts

    def _observe(
        self, contrast: str, sources: Iterable[FirstLevelMap | Observation], combine: Combine
    ) -> Observation:
        entities = dict(self.labels)
        return Observation(
            subject=self.signals[0].entities["subject"],
            session=entities.get("session"),
            contrast=contrast,
            sources=tuple(sources),
            combine=combine,
        )

    def _signal(self, observation: Observation, made_as: str | None) -> Signal:
        entities = {"subject": observation.subject, "contrast": observation.contrast}
        if observation.session is not None:
            entities["session"] = observation.session
        return Signal(entities=entities, source=observation, made_as=made_as)

    def _name(self, contrast: str) -> str:
        """Name of a new contrast; where the node receives several, it begins with the name of its own."""
        names = {signal.contrast for signal in self.signals}
        if self.n_contrasts > 1 and len(names) == 1:
            return f"{next(iter(names))} {contrast}"
        return contrast

    def _from_constant(self, contrast: NodeContrast) -> Signal:
        """Make fixed effects: the pooled maps, times the weight of the constant."""
        if contrast.conditions != (INTERCEPT,):
            check_conditions(self.node)
        own = self.signals[0].contrast
        pooled = self._observe(own, (signal.source for signal in self.signals), self._combine)
        if contrast.name == INTERCEPT:
            return self._signal(pooled, self.signals[0].made_as)
        name, weight = self._name(contrast.name), contrast.numbers[0][0]
        if weight == 1:
            return self._signal(replace(pooled, contrast=name), contrast.name)
        weighted = replace(pooled, contrast=name, sources=(pooled,), combine="weights", weights=(weight,))
        return self._signal(weighted, contrast.name)

    def _from_model(self) -> list[Signal]:
        """Solve the node's model: each contrast is a weighted sum of the person's maps."""
        matrix = self._matrix()
        parts, cells = self._parts(matrix)
        return [self._weighted(contrast, parts, cells) for contrast in self._contrasts]

    def _matrix(self) -> pd.DataFrame:
        if self.node.formula is None:
            check_conditions(self.node)
        rows = build_node_rows(self.node, [signal.key for signal in self.signals], self.cohort)
        frame = rows.transformed.rows.set_axis(range(len(rows.transformed.rows)), axis=0)
        if rows.transformed.dropped:
            raise UsageError(
                f"The node {self.node.name!r} leaves out rows below the group, which is not supported.",
                fix="Use the Filter of an Edge.",
            )
        formula = read_formula(node_formula(self.node, frame.columns), tuple(frame.columns))
        variables = frame[list(formula.columns)]
        missing = [name for name in variables if variables[name].isna().any()]
        if missing:
            raise _PersonError(
                f"The node {self.node.name!r} lacks a value of {missing[0]!r} for {self.who}.",
                reason=f"no value (n/a) of {missing[0]} in the node {self.node.name}",
                found="n/a",
            )
        return build_coding(formula, variables, "none")[1]

    def _parts(self, matrix: pd.DataFrame) -> tuple[list[FirstLevelMap | Observation], pd.DataFrame]:
        """Take the maps (``glm``), or pool them by cells of equal rows (``meta``), with their design rows."""
        if self.node.type == "glm":
            return [signal.source for signal in self.signals], matrix
        cells = matrix.drop_duplicates(ignore_index=True)
        if np.linalg.matrix_rank(cells.to_numpy()) < len(cells):
            raise UsageError(
                f"The node {self.node.name!r} of Type meta has regressors that overlap, which is not "
                "supported below the group.",
                found=f"{list_some(model_names(self.node))}: {len(cells)} different rows for {self.who}",
                expected="as many regressors as different rows (a mean per condition)",
                fix='Use "Type": "glm", or one column of 0 and 1 per condition.',
            )
        return [self._cell(matrix.eq(cell).all(axis=1).tolist()) for _, cell in cells.iterrows()], cells

    def _cell(self, is_member: Sequence[bool]) -> FirstLevelMap | Observation:
        members = [signal for signal, is_in in zip(self.signals, is_member, strict=True) if is_in]
        if len(members) == 1:
            return members[0].source
        return self._observe(members[0].contrast, (signal.source for signal in members), self._combine)

    def _weighted(
        self, contrast: NodeContrast, parts: Sequence[FirstLevelMap | Observation], design: pd.DataFrame
    ) -> Signal:
        X = design.to_numpy(dtype=np.float64)
        row = _contrast_row(self.node, contrast, list(design.columns))
        if not RowSpace.of(X).is_estimable(row[None, :])[0]:
            n_maps = len(self.signals)
            raise _PersonError(
                f"The contrast {contrast.name!r} cannot be estimated for {self.who}.",
                reason=f"the contrast {contrast.name!r} cannot be estimated from these {n_maps} maps",
                found=f"{n_maps} maps, which lack a condition that it compares",
            )
        weights = np.round(row @ np.linalg.pinv(X), 12)
        kept = [(part, float(weight)) for part, weight in zip(parts, weights, strict=True) if weight != 0]
        name = "intercept" if contrast.name == INTERCEPT else contrast.name
        observation = replace(
            self._observe(self._name(name), (part for part, _ in kept), "mean"),
            combine="weights",
            weights=tuple(weight for _, weight in kept),
        )
        return self._signal(observation, name)


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
