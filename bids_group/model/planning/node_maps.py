"""Maps on their way up the graph of a model: each knows what it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bids_group.model.planning.covariates import RowKey, join_covariates, level_text, unknown_column
from bids_group.records import Cohort, Exclusion, FirstLevelMap, Observation

KEYS = ("subject", "session", "run", "task", "contrast", "space", "res", "den", "node")
"""Entities by which maps can be split and filtered."""

Labels = tuple[tuple[str, str], ...]
"""Names of entities or columns with the value of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One map, first-level or made below the group. ``entities`` always has ``subject`` and ``contrast``.

    ``made_as`` is the name of the contrast in the node that made the map, where that is another.
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
    def key(self) -> RowKey:
        """What a row of this map is about; its label is for messages."""
        words = (f"{prefix}-{self.entities[name]}" for name, prefix in PREFIXES if name in self.entities)
        sessions = tuple(sorted({one.session for one in self.maps}, key=str))
        effects = tuple(str(one.effect) for one in self.maps)
        return RowKey(label="_".join(words), entities=self.entities, sessions=sessions, effects=effects)

    def exclude(self, reason: str) -> list[Exclusion]:
        """Say of all maps below why they are left out."""
        return [
            Exclusion(
                subject=one.subject,
                session=one.session,
                run=one.run,
                task=one.task,
                contrast=one.contrast,
                path=one.effect,
                reason=reason,
            )
            for one in self.maps
        ]


PREFIXES = (
    ("subject", "sub"),
    ("session", "ses"),
    ("task", "task"),
    ("run", "run"),
    ("contrast", "contrast"),
)


def map_signals(maps: Iterable[FirstLevelMap]) -> tuple[Signal, ...]:
    """Make a signal of each first-level map, in an order that does not depend on that of ``maps``."""
    signals = [_map_signal(one) for one in maps]
    return tuple(sorted(signals, key=lambda signal: (signal.key.label, str(signal.maps[0].effect))))


def _map_signal(one: FirstLevelMap) -> Signal:
    named = {key: getattr(one, key) for key in KEYS}
    return Signal(entities={key: value for key, value in named.items() if value is not None}, source=one)


def split(values: Mapping[int, Labels]) -> dict[Labels, list[int]]:
    """Split positions by the values of each, groups in sorted order."""
    groups: dict[Labels, list[int]] = {}
    for position, value in values.items():
        groups.setdefault(value, []).append(position)
    return dict(sorted(groups.items()))


def values_of(name: str, signals: Sequence[Signal], cohort: Cohort, where: str) -> list[str | None]:
    """Value of an entity or of a column for each map, as text; None where it is missing.

    Raises
    ------
    UsageError
        There is neither such an entity nor such a column.
    DataError
        A map of several sessions has no single value.
    """
    if name in KEYS and not any(name in table.columns for table in cohort.tables):
        return [signal.entities.get(name) for signal in signals]
    if any(name in signal.entities for signal in signals):
        return [signal.entities.get(name) for signal in signals]
    covariates = join_covariates([signal.key for signal in signals], cohort.tables)
    covariates.require((name,))
    if name not in covariates.frame.columns:
        raise unknown_column(name, (*KEYS, *covariates.frame.columns), where)
    return [level_text(value) for value in covariates.frame[name].astype(object)]


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


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
