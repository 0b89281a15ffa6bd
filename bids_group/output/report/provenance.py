"""How the outputs came about, as far as it does not differ between two runs of one analysis."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from bids_group.config import Execution
from bids_group.config.options import options_of
from bids_group.output.report.sections import Details, Part, Report, Section
from bids_group.output.report.tables import page_table

_LEVELS = ("group", "participant")
_EXECUTION_OPTIONS = {
    spelling: 0 if one.flags or one.kind == "count" else 1
    for one in options_of(Execution)
    for spelling in (one.flag, one.short)
}
"""Options that change no number, and how many words each takes."""
_LOUDNESS = re.compile(r"-[vq]+")


def provenance(report: Report) -> Section:
    """Show programs, the command and the hashes of what was read."""
    record = report.folder.command
    found = {
        "bids_group": record.version,
        "Container": record.container or "none noted",
        "Random seed": record.random_seed,
        **(record.versions or {}),
        "Platform": record.platform,
    }
    parts = [
        Part("facts", {name: value for name, value in found.items() if value is not None}),
        Part("command", plain_command(record.command or [])),
    ]
    hashes = record.input_hashes or {}
    if not hashes:
        return Section("provenance", "Provenance", [*parts, Part("log_links")])
    base = os.path.commonpath([Path(path).parent for path in hashes])
    rows = [{"file": os.path.relpath(path, base), "sha256": digest} for path, digest in hashes.items()]
    caption = "Files that were read, with the hash of their bytes."
    table = page_table(pd.DataFrame(rows), name="input_hashes.tsv", caption=caption)
    folded = Details(f"Input files and their SHA-256 ({len(table.rows)})", table)
    return Section("provenance", "Provenance", [*parts, folded, Part("log_links")])


def plain_command(words: Sequence[str]) -> str:
    """Spell the command: folders by their role, without options that cannot change a number.

    Empty where the folders do not stand before the level, so that no path is taken for something else.
    """
    plain = [str(word) for word in words]
    level = next((at for at, word in enumerate(plain) if at > 2 and word in _LEVELS), None)
    if level is None or any(word.startswith("-") for word in plain[level - 2 : level]):
        return ""
    if _takes_value(plain[level - 3]):
        return ""
    plain[level - 2 : level] = ["BIDS_DIR", "OUTPUT_DIR"]
    return shlex.join(_without_execution(plain))


def _takes_value(word: str) -> bool:
    """Whether the next word may belong to this one."""
    is_flag = _EXECUTION_OPTIONS.get(word) == 0 or _LOUDNESS.fullmatch(word)
    return word.startswith("-") and "=" not in word and not is_flag


def _without_execution(words: Sequence[str]) -> Iterator[str]:
    """Pass on the words that are not options of execution or their values."""
    skip = 0
    for word in words:
        option = word.split("=", 1)[0].replace("_", "-")
        if skip:
            skip -= 1
        elif _LOUDNESS.fullmatch(option):
            continue
        elif option in _EXECUTION_OPTIONS:
            skip = 0 if "=" in word else _EXECUTION_OPTIONS[option]
        else:
            yield word
