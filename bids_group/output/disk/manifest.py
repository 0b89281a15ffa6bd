"""One OUTPUT_DIR, one analysis: what it is, and which files belong to it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bids_group.config.differences import Difference, find_differences
from bids_group.errors import OutputError, RunError
from bids_group.json_files import generated_by, read_json
from bids_group.output.disk.durable import sync_files, sync_folder
from bids_group.output.disk.lock import check_claim, take_turn
from bids_group.output.disk.writing import json_text, plain, write_if_changed
from bids_group.records.sidecars import OutputList
from bids_group.words import and_more, os_failure

_IDENTITY = Path("code/analysis.json")
_MANIFEST = Path("code/outputs.json")
_ABOUT = "Files of this analysis; --overwrite removes those under group/, and no other file."
_FORMAT = 2
"""Since then every file outside ``sub-*`` is listed before it is written, apart from those that are there."""

TABLES = (Path("participants.tsv"), Path("participants.json"), Path("ledger.tsv"))
COMMAND = Path("code/command.json")
OPTION_FILE = Path("logs/config.toml")
CITATIONS = (Path("logs/CITATION.md"), Path("logs/CITATION.bib"))
REPORT = Path("report.html")


def check_names(output_dir: Path, names: Iterable[Path], *, has_results: bool) -> None:
    """Refuse to write where somebody else's file stands; nothing has been written yet.

    ``names`` are relative to OUTPUT_DIR; files of ours stand in ``code/outputs.json``, and no folder of ours
    is a link. With ``has_results`` no other file may stand below ``group/`` either (hidden ones may).
    """
    wanted = {*names, _MANIFEST, *([_IDENTITY] if has_results else [])}
    folders = {folder for path in wanted for folder in _folders_above(path)} | {Path("logs")}
    for folder in sorted(folders | ({Path("group")} if has_results else set())):
        path = output_dir / folder
        if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
            raise _foreign(path, "a link" if path.is_symlink() else "no folder")
    there = [name for name in sorted(wanted) if os.path.lexists(output_dir / name)]
    there += _list_results(output_dir) if has_results else []
    own = set(own_files(output_dir))  # after looking: a job beside this one lists a name, then writes it
    own |= {_IDENTITY, _MANIFEST} if (output_dir / _MANIFEST).is_file() else set()
    for name in there:
        path = output_dir / name
        if name not in own or (path.is_dir() and not path.is_symlink()):
            raise _foreign(path, f"a file that is not in {_MANIFEST}")


def _list_results(output_dir: Path) -> Iterator[Path]:
    """List what stands below ``group/``: files, and links to folders; hidden ones are nobody's results."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for folder, inner, names in os.walk(output_dir / "group", onerror=refuse):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        links = (name for name in inner if Path(folder, name).is_symlink())
        for name in sorted([*names, *links]):
            if not name.startswith("."):
                yield Path(folder, name).relative_to(output_dir)


def _foreign(path: Path, what: str) -> OutputError:
    return OutputError(
        f"OUTPUT_DIR holds what this program did not write, where it would write: {path}.",
        found=what,
        expected="none of our file names taken, and nothing of others below group/",
        fix="Move it away, or give another OUTPUT_DIR.",
    )


def check_same_analysis(
    output_dir: Path,
    identity: Mapping[str, Any],
    *,
    is_overwrite: bool,
    planned: Iterable[Path] = (),
    pooling: Iterable[Path] = (),
) -> None:
    """Refuse to mix two analyses in one OUTPUT_DIR; overwriting removes what stands under ``group/``.

    ``identity`` (JSON-able) is everything that changes the result; it is kept in ``code/analysis.json``, the
    new one before anything of the old one is removed. Files that this app did not write are never touched.
    An analysis that wrote nothing yet does not bind. ``planned``, ``pooling``: as in `record_outputs`.
    """
    with take_turn(output_dir):
        other = find_other_analysis(output_dir, identity)
        if other is not None and not is_overwrite:
            raise other
        own = {path for path in own_files(output_dir) if os.path.lexists(output_dir / path)}
        is_same = not _differences(output_dir, identity)
        _store(output_dir, _Lists(planned={*planned}, earlier=own, pooling={*pooling}))
        write_if_changed(output_dir / _IDENTITY, json_text(identity))
    if not is_same:
        _remove(output_dir, [path for path in own if path.parts[0] == "group"])


def find_other_analysis(output_dir: Path, identity: Mapping[str, Any]) -> OutputError | None:
    """Say what `check_same_analysis` would refuse, and touch nothing."""
    differences = _differences(output_dir, identity)
    results = (path for path in own_files(output_dir) if path.parts[0] == "group")
    if not differences or not any(os.path.lexists(output_dir / path) for path in results):
        return None
    told = differences[:4]
    names = " and ".join(dict.fromkeys(one.name for one in told)) + and_more(len(differences) - len(told))
    return OutputError(
        f"OUTPUT_DIR holds another analysis: {output_dir}; what differs is {names}.",
        found=f"{'; '.join(one.stored for one in told)} (the earlier run: {_IDENTITY})",
        expected=f"{'; '.join(one.wanted for one in told)} (this run)",
        fix="Give another OUTPUT_DIR, or add --overwrite: what the earlier run wrote under group/ goes.",
    )


def _differences(output_dir: Path, identity: Mapping[str, Any]) -> Sequence[Difference]:
    return find_differences(_read_own(output_dir / _IDENTITY), plain(identity))


def record_outputs(output_dir: Path, paths: Iterable[Path], pooling: Iterable[Path] = ()) -> None:
    """Note files (relative to OUTPUT_DIR) as this run's own, before they are written.

    ``pooling``: sidecars that will mark pooled maps as ours, and that are written without waiting for the
    disk. One of these that stands there damaged, after a loss of power, is ours too; one that is missing is
    not, as it is written before the maps. They are noted until the disk holds them.
    """
    added, marks = set(paths), set(pooling)
    lists = _read_lists(output_dir)
    if added <= lists.files | lists.planned and marks <= lists.pooling:
        return
    with take_turn(output_dir):
        lists = _read_lists(output_dir)
        planned = (lists.planned | added) - lists.files
        _store(output_dir, replace(lists, planned=planned, pooling=lists.pooling | marks))


def confirm_outputs(output_dir: Path, pooling: Iterable[Path] = ()) -> None:
    """List those files as there that are, and leave all else as it is; ``pooling`` is written."""
    marks = set(pooling)
    _hold_marks(output_dir, marks)
    with take_turn(output_dir):
        lists = _read_lists(output_dir)
        there = {path for path in lists.planned if os.path.lexists(output_dir / path)}
        files, planned = lists.files | there, lists.planned - there
        _store(output_dir, replace(lists, files=files, planned=planned, pooling=lists.pooling - marks))


def _hold_marks(output_dir: Path, marks: Iterable[Path]) -> None:
    """Wait until the disk holds the sidecars of pooled maps, all together."""
    try:
        sync_files([path for one in marks if (path := output_dir / one).is_file()])
    except OSError as error:
        raise os_failure(error) from error


def finish_outputs(output_dir: Path) -> None:
    """List what this run wrote, which must be there; remove what earlier runs wrote and this one did not."""
    check_claim(output_dir)
    with take_turn(output_dir):
        lists = _read_lists(output_dir)
        _hold_marks(output_dir, lists.pooling)
        files = lists.files | lists.planned
        if lost := [path for path in (_IDENTITY, *sorted(files)) if not os.path.lexists(output_dir / path)]:
            raise RunError(
                f"Files of this run were removed while it went on: {output_dir / lost[0]}.",
                found=f"{len(lost)} missing",
                fix="Run the same command again.",
            )
        _remove(output_dir, lists.earlier - files)
        _store(output_dir, _Lists(files=files))


def _read_own(path: Path) -> dict[str, Any]:
    """Read a JSON file of ours, which nobody else should have changed; empty where there is none."""
    fix = "Restore it, or give another OUTPUT_DIR."
    return read_json(path, wrong=OutputError, unreadable=OutputError, fix=fix, is_optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lists:
    """Our own files: those that are there, those that will be, and those of earlier runs, which may go.

    ``pooling``: sidecars of pooled maps which the disk may not hold yet.
    """

    files: Set[Path] = frozenset()
    planned: Set[Path] = frozenset()
    earlier: Set[Path] = frozenset()
    pooling: Set[Path] = frozenset()


def _read_lists(output_dir: Path) -> _Lists:
    """Read the lists of own files.

    Release 0.1 wrote some without listing them, and its ``participant`` jobs left no list at all.
    """
    path = output_dir / _MANIFEST
    is_there = os.path.lexists(path)  # before reading: a job beside this one may write the first one now
    as_read = {} if path.is_dir() else _read_own(path)
    if is_there and as_read.get(OutputList.key_of("description")) != _ABOUT:
        raise _foreign(path, "a file of another program")
    try:
        content = OutputList.read(as_read)
        found = (content.files, content.planned, content.earlier, content.pooling)
        if odd := [one for listed in found for one in listed or [] if not isinstance(one, str)]:
            raise ValueError(repr(odd[0]))
    except ValueError as error:
        raise OutputError(
            f"The list of own files is damaged: {path}.",
            found=str(error),
            expected="names of files",
            fix="Restore it, or give another OUTPUT_DIR.",
        ) from error
    files, planned, earlier, pooling = (
        {
            path
            for path in map(Path, listed or [])
            if not path.is_absolute() and ".." not in path.parts and "\0" not in str(path)
        }
        for listed in found
    )
    if content.format is None:
        made_by = generated_by(_read_own(output_dir / "dataset_description.json"))
        if content.description or any(one.get("Name") == "bids_group" for one in made_by):
            unlisted = (*TABLES, COMMAND, OPTION_FILE, *CITATIONS, REPORT)
            files |= {path for path in unlisted if os.path.lexists(output_dir / path)}
    return _Lists(files=files, planned=planned, earlier=earlier, pooling=pooling)


def marks_in_work(output_dir: Path) -> Set[Path]:
    """Tell which sidecars of pooled maps a run is writing, or was when it ended; relative to OUTPUT_DIR."""
    return _read_lists(output_dir).pooling


def own_files(output_dir: Path) -> list[Path]:
    """List the files of this run and of earlier ones, relative to OUTPUT_DIR; pooled maps are not listed."""
    lists = _read_lists(output_dir)
    return sorted(lists.files | lists.planned | lists.earlier)


def _store(output_dir: Path, lists: _Lists) -> None:
    names = ("files", "planned", "earlier", "pooling")
    spelled = {name: sorted(path.as_posix() for path in getattr(lists, name)) or None for name in names}
    content = OutputList(description=_ABOUT, format=_FORMAT, **spelled)
    write_if_changed(output_dir / _MANIFEST, json_text(content))


def _remove(output_dir: Path, paths: Iterable[Path]) -> None:
    """Remove files, not what lies behind a link to a folder, and the folders that are empty then.

    They are gone for good on return: the list no longer names them then.
    """
    folders = set()
    for path in paths:
        if any((output_dir / folder).is_symlink() for folder in _folders_above(path)):
            continue
        (output_dir / path).unlink(missing_ok=True)
        folders |= {path.parent, *path.parent.parents}
        for folder in _folders_above(path):
            with contextlib.suppress(OSError):  # not empty: somebody else's files stay
                (output_dir / folder).rmdir()
    for folder in folders:
        if (output_dir / folder).is_dir():
            sync_folder(output_dir / folder)


def _folders_above(path: Path) -> list[Path]:
    return [folder for folder in path.parents if folder.parts]
