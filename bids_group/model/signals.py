"""Maps on their way up the graph of a model: each knows what it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bids_group.model.covariates import RowKey
from bids_group.records import FirstLevelMap, Observation

Labels = tuple[tuple[str, str], ...]
"""Names of entities or columns with the value of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One map, first-level or made below the group. ``entities`` always has ``subject`` and ``contrast``."""

    entities: Mapping[str, str]
    source: FirstLevelMap | Observation
    contrast_names: tuple[str, ...]
    """The names by which a model may call the contrast: its own, and the one of the node that made it."""

    @property
    def maps(self) -> tuple[FirstLevelMap, ...]:
        """The first-level maps below."""
        return self.source.maps if isinstance(self.source, Observation) else (self.source,)

    @property
    def key(self) -> RowKey:
        """What a row of this map is about; its label tells it from all others of a model."""
        sessions = tuple(sorted({one.session for one in self.maps}, key=str))
        label = "_".join(f"{entity}-{value}" for entity, value in sorted(self.entities.items()))
        return RowKey(label=label, entities=self.entities, sessions=sessions)


def map_signals(maps: Iterable[FirstLevelMap]) -> tuple[Signal, ...]:
    """Make a signal of each first-level map, in an order that does not depend on that of ``maps``."""
    signals = [_map_signal(one) for one in maps]
    return tuple(sorted(signals, key=lambda signal: (signal.key.label, str(signal.maps[0].effect))))


def _map_signal(one: FirstLevelMap) -> Signal:
    named = {
        "subject": one.subject,
        "session": one.session,
        "run": one.run,
        "task": one.task,
        "contrast": one.contrast,
    }
    entities = {name: value for name, value in named.items() if value is not None}
    return Signal(entities=entities, source=one, contrast_names=(one.contrast,))


def split(signals: Sequence[Signal], values: Sequence[Labels]) -> dict[Labels, list[Signal]]:
    """Split signals by the values of each, groups in sorted order."""
    groups: dict[Labels, list[Signal]] = {}
    for signal, value in zip(signals, values, strict=True):
        groups.setdefault(value, []).append(signal)
    return dict(sorted(groups.items()))
