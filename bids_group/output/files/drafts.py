"""Tables and maps of an analysis on their way to their files, each with its sidecar."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from bids_group.elements import expand
from bids_group.output.disk.manifest import record_outputs
from bids_group.output.disk.map_files import Intent, write_map
from bids_group.output.disk.publishing import Batch
from bids_group.output.disk.writing import write_json, write_table
from bids_group.output.files.names import shared_entities, sidecar_path
from bids_group.output.files.sidecars import Context
from bids_group.records.sidecars import Sidecar


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draft:
    """A table, or a volume that is made when its turn has come, with its sidecar.

    ``is_described``: the sidecar also says what the columns of the table mean, as far as we have words.
    ``is_inside``: the numbers are about the analysed elements; a table of regions says n/a elsewhere.
    """

    path: str | Path
    content: pd.DataFrame | Callable[[], npt.NDArray[Any]]
    sidecar: Sidecar
    intent: Intent | None = None
    is_described: bool = True
    is_inside: bool = False


def write_described(output_dir: Path, path: str, table: pd.DataFrame, sidecar: Sidecar) -> None:
    """Write a table and its sidecar, which also says what its columns mean."""
    beside = sidecar_path(Path(path))
    record_outputs(output_dir, [one.relative_to(output_dir) for one in (Path(path), beside)])
    with Batch(output_dir) as batch:
        write_table(Path(path), table, batch.write)
        write_json(beside, sidecar.to_json() | _meanings(table), batch.write)


def _meanings(table: pd.DataFrame) -> dict[str, Any]:
    known = json.loads(Path(__file__).with_name("columns.json").read_text(encoding="utf-8"))
    return {name: known[name] for name in map(str, table.columns) if name in known}


def write_drafts(context: Context, drafts: Sequence[Draft]) -> None:
    """Note every name first: what a killed run wrote is known. Of two drafts of one name the later counts."""
    last = {Path(draft.path): draft for draft in drafts}
    named = (one for path in last for both in (path, sidecar_path(path)) for one in expand(both))
    record_outputs(context.output_dir, (one.relative_to(context.output_dir) for one in named))
    elements, name = context.data.elements, shared_entities(context.analysis.maps)["space"]
    with Batch(context.output_dir) as batch:
        for path, draft in last.items():
            sidecar = draft.sidecar.to_json()
            if isinstance(draft.content, pd.DataFrame):
                write_table(path, draft.content, batch.write)
                sidecar |= _meanings(draft.content) if draft.is_described else {}
            else:
                where = elements.mask if draft.is_inside and elements.space.form == "table" else None
                kept: dict[str, Any] = {"intent": draft.intent, "where": where, "write": batch.write}
                write_map(path, draft.content(), elements.space, name=name, **kept)
            for beside in expand(sidecar_path(path)):
                write_json(beside, sidecar, batch.write)
