"""Files (made by `output`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file that was written; ``path`` is relative to OUTPUT_DIR."""

    path: Path
    stat: str | None = None
    contrast: str | None = None
    sources: tuple[str, ...] = ()
