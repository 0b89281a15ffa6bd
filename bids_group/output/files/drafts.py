"""Files to be written, each with its sidecar: all are named before the first one is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from bids_group.output.disk.manifest import record_outputs
from bids_group.output.disk.writing import write_json, write_table, write_volume
from bids_group.output.files.names import shared_entities
from bids_group.output.files.sidecars import Context
from bids_group.output.files.texts import COLUMNS
from bids_group.records import OutputFile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draft:
    """A file to be written, with its sidecar. ``write`` makes the content when its turn has come."""

    path: Path
    write: Callable[[Path], object]
    sidecar: Mapping[str, Any]
    stat: str | None = None
    contrast: str | None = None

    @property
    def sidecar_path(self) -> Path:
        """The JSON beside the file."""
        name = self.path.name.removesuffix(".gz")
        return self.path.with_name(name[: name.rindex(".")] + ".json")


def write_drafts(output_dir: Path, drafts: Sequence[Draft]) -> tuple[OutputFile, ...]:
    """Note every name first: what a killed run wrote is known. Of two drafts of one name the later counts."""
    last = {draft.path: draft for draft in drafts}
    own = (path for draft in last.values() for path in (draft.path, draft.sidecar_path))
    record_outputs(output_dir, (path.relative_to(output_dir) for path in own))
    written = []
    for draft in last.values():
        draft.write(draft.path)
        write_json(draft.sidecar_path, draft.sidecar)
        sources = tuple(draft.sidecar.get("Sources", ()))
        path = draft.path.relative_to(output_dir)
        written.append(OutputFile(path=path, stat=draft.stat, contrast=draft.contrast, sources=sources))
    return tuple(written)


def draft_volume(
    context: Context,
    path: str,
    make: Callable[[], npt.NDArray[Any]],
    sidecar: Mapping[str, Any],
    *,
    stat: str | None = None,
    contrast: str | None = None,
    intent: tuple[str, tuple[float, ...]] | None = None,
) -> Draft:
    """Draft a volume on the grid of the analysis; ``intent``: its NIfTI intent and parameters."""
    grid, space = context.data.elements.grid, shared_entities(context.maps)["space"]
    return Draft(
        path=Path(path),
        write=lambda target: write_volume(target, make(), grid, space=space, intent=intent),
        sidecar=sidecar,
        stat=stat,
        contrast=contrast,
    )


def draft_table(
    path: str, table: pd.DataFrame, sidecar: Mapping[str, Any], *, contrast: str | None = None
) -> Draft:
    """Draft a table; its sidecar describes the columns that we have words for."""
    meanings = {str(name): COLUMNS[str(name)] for name in table.columns if str(name) in COLUMNS}
    described = {
        name: {"Description": text} if isinstance(text, str) else text for name, text in meanings.items()
    }
    return Draft(
        path=Path(path),
        write=lambda target: write_table(target, table),
        sidecar={**sidecar, **described},
        contrast=contrast,
    )
