"""A sentence for the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A sentence the user must see in the log, the dry run and the report.

    ``topic`` is one word for programs (``rank``, ``pooling``, ``centering`` …).
    """

    severity: Literal["note", "warning"]
    topic: str
    sentence: str
    fix: str | None = None


def note(topic: str, sentence: str, fix: str | None = None) -> Notice:
    """Tell what a user may want to know."""
    return Notice(severity="note", topic=topic, sentence=sentence, fix=fix)


def warn(topic: str, sentence: str, fix: str | None = None) -> Notice:
    """Tell what a user must see before believing the numbers."""
    return Notice(severity="warning", topic=topic, sentence=sentence, fix=fix)
