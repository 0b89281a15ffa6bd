"""BIDS entities: their names, their keys in file names, and when two labels are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def read_vocabulary() -> Mapping[str, Any]:
    """Read the entities this program knows: ``file_entities``, ``folder_entities``, ``aliases``."""
    text = files("bids_group.bids").joinpath("entities.json").read_text(encoding="utf-8")
    vocabulary: Mapping[str, Any] = json.loads(text)
    return vocabulary


def bare_label(label: str, key: str) -> str:
    """Take ``sub-`` (or another key) off a label, and blanks around it."""
    return label.strip().removeprefix(f"{key}-")


def name_row(label: object) -> str:
    """Name a row of a table by its label: ``sub-01``, or ``sub-01_ses-pre``."""
    return f"sub-{label[0]}_ses-{label[1]}" if isinstance(label, tuple) else f"sub-{label}"


def same_label(entity: str, one: str | None, other: str | None) -> bool:
    """Whether two labels mean the same. Runs are numbers: ``run-1`` is ``run-01``."""
    return run_key(one) == run_key(other) if entity == "run" else one == other


def run_key(run: str | None) -> str | None:
    """Give the run as it is compared: without the zeros in front."""
    return str(int(run)) if run is not None and run.isdigit() else run
