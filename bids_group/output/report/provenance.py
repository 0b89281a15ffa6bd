"""How the outputs came about, as far as it does not differ between two runs of one analysis."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bids_group.config import AnalysisSpec, Execution, Inputs
from bids_group.config.options import options_of
from bids_group.output.report.sections import Details, Part, Report, Section, Shown
from bids_group.output.report.tables import page_table

_LEVELS = ("group", "participant")
_EXECUTION_OPTIONS = {
    spelling: 0 if one.flags or one.kind == "count" else 1
    for one in options_of(Execution)
    if one.name != "config"
    for spelling in (one.flag, one.short)
}
"""Options that change no number, and how many words each takes."""
_PATH_OPTIONS = {
    one.flag
    for record in (Inputs, AnalysisSpec)
    for one in options_of(record)
    if one.kind in ("path", "paths")
} | {"--derivatives", "-d", "--maps", "--config", "--bids-filter-file"}
"""Options whose values are files or folders, which are shown without the folders they lie in."""
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
    parts: list[Shown] = [Part("facts", {name: value for name, value in found.items() if value is not None})]
    if hashes := record.input_hashes:
        rows = [{"file": _inside(Path(path)), "sha256": digest} for path, digest in hashes.items()]
        caption = "Files that were read, with the hash of their bytes."
        file = "code/command.json"
        table = page_table(pd.DataFrame(rows), name="input_hashes.tsv", caption=caption, file=file)
        parts.append(Details(f"Input files and their SHA-256 ({len(rows)})", table))
    return Section("provenance", "Provenance", [*parts, Part("log_files")])


def _inside(path: Path) -> str:
    """Say where in its dataset a file lies: from the folder above a person's on, else its name alone."""
    folders = path.parts[:-1]
    start = next((at for at, folder in enumerate(folders) if folder.startswith("sub-")), len(folders) + 1)
    return "/".join(path.parts[start - 1 :])


def plain_command(words: Sequence[str]) -> str:
    """Spell the command: folders by their role, without options that cannot change a number.

    Empty where the folders do not stand before the level, so that no path is taken for something else.
    """
    plain = [str(word) for word in words]
    level = next((at for at, word in enumerate(plain) if at > 2 and word in _LEVELS), None)
    if level is None or any(word.startswith("-") for word in plain[level - 2 : level]):
        return ""
    before = plain[level - 3]
    is_flag = _EXECUTION_OPTIONS.get(before) == 0 or _LOUDNESS.fullmatch(before)
    if before.startswith("-") and "=" not in before and not is_flag:  # it may take BIDS_DIR as its value
        return ""
    kept, skip, option = [], 0, ""
    for word in (*plain[: level - 2], "BIDS_DIR", "OUTPUT_DIR", *plain[level:]):
        if skip:
            skip -= 1
            continue
        if word.startswith("-"):
            option = word.split("=", 1)[0].replace("_", "-")
        if word.startswith("-") and option in _EXECUTION_OPTIONS:
            skip = 0 if "=" in word else _EXECUTION_OPTIONS[option]
        elif not _LOUDNESS.fullmatch(word):
            kept.append(_without_folders(word) if option in _PATH_OPTIONS else word)
    return shlex.join(kept)


def _without_folders(word: str) -> str:
    """Leave the name of a file or folder, of a pattern also the folder before its first field."""
    name, sign, path = word.rpartition("=")
    parts = Path(path).parts
    first = next((at for at, part in enumerate(parts) if "{" in part), len(parts))
    start = max(first - 1, 0)
    return f"{name}{sign}{'/'.join(parts[start:])}" if parts else word
