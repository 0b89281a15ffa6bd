"""BIDS entities: their names, their keys in file names, and when two labels are the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from typing import Any

OPTION_OF = {
    "task": "--task-label",
    "session": "--session-label",
    "run": "--run-label",
    "space": "--space",
    "res": "--res",
    "den": "--den",
    "node": "--node",
}
"""Entities that an option of the command line selects."""


def read_vocabulary() -> Mapping[str, Any]:
    """Read the entities this program knows: ``file_entities``, ``folder_entities``, ``aliases``."""
    text = files("bids_group.bids").joinpath("entities.json").read_text(encoding="utf-8")
    vocabulary: Mapping[str, Any] = json.loads(text)
    return vocabulary


def bare_label(label: str, key: str) -> str:
    """Take ``sub-`` (or another key) off a label, and blanks around it."""
    return label.strip().removeprefix(f"{key}-")


def same_label(entity: str, one: str | None, other: str | None) -> bool:
    """Whether two labels mean the same. Runs are numbers: ``run-1`` is ``run-01``."""
    if entity == "run" and one is not None and other is not None and one.isdigit() and other.isdigit():
        return int(one) == int(other)
    return one == other


def run_key(run: str | None) -> str | None:
    """Give the run as it is compared: without the zeros in front."""
    return str(int(run)) if run is not None and run.isdigit() else run


def name_some(names: Iterable[str], limit: int = 10) -> str:
    """Join up to ``limit`` names, and say how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def suggest(word: str, known: Iterable[str]) -> str | None:
    """Say what was probably meant, or None where nothing known is close."""
    by_plain = {_plain(name): name for name in known}
    close = get_close_matches(_plain(word), by_plain, n=1)
    return f"Did you mean '{by_plain[close[0]]}'?" if close else None


def _plain(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower()) or word
