"""Files to be written, each with its sidecar: all are named before the first one is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from bids_group.output.disk.manifest import record_outputs
from bids_group.output.disk.writing import write_json, write_table, write_volume
from bids_group.output.files.names import sidecar_path
from bids_group.output.files.sidecars import Context
from bids_group.records.sidecars import Sidecar

Intent = tuple[str, tuple[float, ...]]
"""What the numbers of a NIfTI file are, for viewers, and the parameters of that."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draft:
    """A table, or a volume that is made when its turn has come, with its sidecar.

    ``is_described``: the sidecar also says what the columns of the table mean, as far as we have words.
    """

    path: str
    content: pd.DataFrame | Callable[[], npt.NDArray[Any]]
    sidecar: Sidecar
    intent: Intent | None = None
    is_described: bool = True


def write_drafts(context: Context, drafts: Sequence[Draft]) -> None:
    """Note every name first: what a killed run wrote is known. Of two drafts of one name the later counts."""
    last = {Path(draft.path): draft for draft in drafts}
    own = (one.relative_to(context.output_dir) for path in last for one in (path, sidecar_path(path)))
    record_outputs(context.output_dir, own)
    meanings = json.loads(Path(__file__).with_name("columns.json").read_text(encoding="utf-8"))
    for path, draft in last.items():
        sidecar = draft.sidecar.to_json()
        if isinstance(draft.content, pd.DataFrame):
            write_table(path, draft.content)
            columns = map(str, draft.content.columns) if draft.is_described else ()
            sidecar |= {name: meanings[name] for name in columns if name in meanings}
        else:
            grid = context.data.elements.grid
            write_volume(path, draft.content(), grid, space=context.space, intent=draft.intent)
        write_json(sidecar_path(path), sidecar)
