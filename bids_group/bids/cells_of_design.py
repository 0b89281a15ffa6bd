"""Further columns of the table of maps: covariates of single maps, and factors that tell contrasts apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bids_group.bids.columns import Typing, type_column
from bids_group.records import FirstLevelMap, Notice, Table


def name_cells(maps: Sequence[FirstLevelMap]) -> tuple[list[FirstLevelMap], tuple[Notice, ...]]:
    """Name lines about the same map after the factors that tell them apart: ``faces`` as ``faces A1 B2``.

    All lines of such a contrast are named so, by as few columns as do, in their order.
    """
    renamed, notices = list(maps), []
    for contrast in dict.fromkeys(m.contrast for m in maps):
        at = [position for position, m in enumerate(maps) if m.contrast == contrast]
        cells = _telling_columns([maps[position] for position in at])
        if cells:
            sentence = (
                f"The lines of contrast {contrast} are told apart by {', '.join(cells)}: each cell is a "
            )
            fix = f"Use them in the formula to compare cells, such as '~ {' * '.join(cells)} + subject'."
            sentence += "first-level contrast of its own."
            notices.append(Notice(severity="warning", topic="maps", sentence=sentence, fix=fix))
        for position in at if cells else ():
            values = dict(maps[position].factors)
            parts = (f"{name}{values[name] or ''}" for name in cells)
            renamed[position] = replace(maps[position], contrast=" ".join([contrast, *parts]))
    return renamed, tuple(notices)


def _telling_columns(maps: Sequence[FirstLevelMap]) -> list[str]:
    """Choose columns one after the other while lines of one label are parted by them."""

    def n_groups(names: Sequence[str]) -> int:
        return len({(*_labels(m), *(dict(m.factors)[name] for name in names)) for m in maps})

    chosen: list[str] = []
    for name, _ in maps[0].factors:
        if n_groups(chosen) == len(maps):
            break
        if n_groups([*chosen, name]) > n_groups(chosen):
            chosen.append(name)
    return chosen if n_groups(chosen) == len(maps) else []


def _labels(m: FirstLevelMap) -> tuple[str | None, ...]:
    return m.subject, m.session, m.run, m.task, m.space, m.res, m.den


def find_cell_factors(maps: Sequence[FirstLevelMap]) -> tuple[str, ...]:
    """Find the columns that have one value in each first-level contrast, and several over them."""
    by_column: dict[str, dict[str, set[str | None]]] = {}
    for m in maps:
        for name, value in m.factors:
            by_column.setdefault(name, {}).setdefault(m.contrast, set()).add(value)
    return tuple(
        name
        for name, values in by_column.items()
        if all(len(each) == 1 for each in values.values()) and len(set().union(*values.values())) > 1
    )


def type_factors(maps: Sequence[FirstLevelMap], typing: Typing, source: Path | None) -> Table | None:
    """Type the further columns over the maps; what tells contrasts apart is a factor unless ``--numeric``."""
    if source is None or not maps[0].factors:
        return None
    cells = set(find_cell_factors(maps)) - set(typing.numeric)
    typing = replace(typing, categorical=(*typing.categorical, *sorted(cells)))
    index = pd.Index([str(m.effect) for m in maps], dtype=object)
    series, columns = {}, {}
    for name, _ in maps[0].factors:
        texts = pd.Series([dict(m.factors)[name] for m in maps], index=index, name=name, dtype=object)
        series[name], column = type_column(texts, None, typing, source)
        said = "a factor of the first-level contrasts, in the table of maps"
        columns[name] = replace(column, kind_source=said) if name in cells else column
    return Table(level="map", frame=pd.DataFrame(series, index=index), columns=columns)
