"""The files of a dataset and their entities: folders are walked here, names are read by pybids' patterns."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from bids_group.bids.entities import read_vocabulary
from bids_group.errors import MissingInputError

_NOT_MAPS = re.compile(
    r"\.(?:html?|svg|png|jpe?g|gif|pdf|tsv(?:\.gz)?|csv|txt|log|md|h5|mat|npz?|pkl|toml|ya?ml|bib)$",
    re.IGNORECASE,
)
_NOT_FIRST_LEVEL = {"code", "sourcedata", "stimuli", "logs", "derivatives"}
_FOLDERS_WITHOUT_MAPS = {"figures"}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedFile:
    """A file and the entities of its name and folders (labels without key)."""

    path: Path
    entities: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkedFolder:
    """A folder below a dataset: the names of its files, or the ``problem`` that kept it from being listed.

    ``entities`` are those of the folders from the dataset down to it.
    """

    path: str
    entities: Mapping[str, str]
    names: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The images and sidecars of a dataset, sorted by path, and the folders that could not be listed."""

    files: tuple[IndexedFile, ...]
    unlisted: tuple[WalkedFolder, ...]


def index_dataset(root: Path) -> Index:
    """List the images and sidecars of one dataset, unopened, with links that point nowhere.

    Entities are read from the file name alone, ``node`` and the folders of subject and session from the
    folders below ``root``: what a folder above the dataset is called does not matter.
    """
    found: dict[str, Mapping[str, str]] = {}
    unlisted = []
    for folder in walk(root.absolute()):
        if folder.problem is not None:
            unlisted.append(folder)
        for name in folder.names:
            if not _NOT_MAPS.search(name) and (entities := {**folder.entities, **_read_name(name)}):
                found[os.path.join(folder.path, name)] = entities  # noqa: PTH118
    listed = tuple(IndexedFile(path=Path(path), entities=found[path]) for path in sorted(found))
    return Index(files=listed, unlisted=tuple(unlisted))


def walk(root: Path) -> Iterator[WalkedFolder]:
    """Walk once through the folders of a dataset, by name; links are followed, but never back up.

    Left out are hidden folders and files, and folders that hold no first-level maps by their name.
    """
    waiting = [str(root)]
    while waiting:
        path = waiting.pop()
        below = path[len(str(root)) :]
        entities = _read_folders(f"{below}/")
        try:
            inner, names = _list(path)
        except OSError as error:
            yield WalkedFolder(path=path, entities=entities, problem=error.strerror or str(error))
            continue
        yield WalkedFolder(path=path, entities=entities, names=tuple(sorted(names)))
        left_out = _FOLDERS_WITHOUT_MAPS if below else _FOLDERS_WITHOUT_MAPS | _NOT_FIRST_LEVEL
        waiting += [os.path.join(path, one) for one in sorted(inner, reverse=True) if one not in left_out]  # noqa: PTH118


def list_folders(path: Path) -> list[Path]:
    """List the folders in a folder, by name, hidden ones left out; none where there is no such folder.

    Raises
    ------
    MissingInputError
        The folder is there and cannot be listed.
    """
    return [path / name for name in sorted(_listed(path)[0])]


def list_files(path: Path) -> list[Path]:
    """List the files in a folder as `list_folders` lists the folders."""
    return [path / name for name in sorted(_listed(path)[1])]


def refuse_unlisted(path: Path | str, problem: str, *, fix: str | None = None) -> MissingInputError:
    """Say that a folder cannot be listed."""
    return MissingInputError(
        f"The folder {path} cannot be listed, so what lies in it would be left out.",
        found=problem,
        expected="a folder that may be read",
        fix=fix or f"chmod u+rx {path}, or see what is wrong with the disk.",
    )


def _listed(path: Path) -> tuple[list[str], list[str]]:
    try:
        return _list(str(path))
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise refuse_unlisted(path, error.strerror or str(error)) from error


def _list(path: str) -> tuple[list[str], list[str]]:
    """List folders and files of a folder, without links that lead back to it or above it."""
    inner: list[str] = []
    names: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                names.append(entry.name)
            elif not (entry.is_symlink() and Path(path).resolve().is_relative_to(Path(entry.path).resolve())):
                inner.append(entry.name)
    return inner, names


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and not entry.name.endswith(".zarr")  # one image, spread over files
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself points nowhere
            return False
        raise


def parse_names(names: Iterable[str]) -> dict[str, Mapping[str, str]]:
    """Read the entities of file names with their folders, as they stand in a scans table."""
    return {
        name: {**_read_folders(f"/{name.rpartition('/')[0]}/"), **_read_name(name.rpartition("/")[2])}
        for name in names
    }


def _read_name(name: str) -> dict[str, str]:
    """Read the entities of a file name."""
    found = {}
    for entity, key, pattern in _patterns()[0]:  # most keys are not there, which is seen faster than by it
        if key in name and (match := pattern.search(name)):
            found[entity] = match[1]
    return found


def _read_folders(below: str) -> dict[str, str]:
    """Read the entities of folders, ``/sub-01/func/``."""
    return {entity: match[1] for entity, _, regex in _patterns()[1] if (match := regex.search(below))}


Pattern = tuple[str, str, re.Pattern[str]]
"""An entity, the text that a name with it must have, and how it is read."""


@cache
def _patterns() -> tuple[tuple[Pattern, ...], tuple[Pattern, ...]]:
    """Compile the patterns of pybids once: those of file names, and those of the folders above."""
    with _readable_home():
        from bids.layout import Config

    keys = {name: f"{key}-" for name, key in read_vocabulary()["file_entities"].items()}
    in_folders = read_vocabulary()["folder_entities"]
    every = [(one.name, one.regex) for one in Config.load(layout_config(Path("/"))).entities.values()]
    return (
        tuple((name, keys.get(name, "."), regex) for name, regex in every if name not in in_folders),
        tuple((name, "", regex) for name, regex in every if name in in_folders),
    )


def layout_config(root: Path) -> dict[str, Any]:
    """Spell our vocabulary as a configuration of pybids, for a dataset at ``root``."""
    vocabulary = read_vocabulary()
    below = rf"^{re.escape(str(root).rstrip(os.sep))}[/\\](?:.*[/\\])?"
    in_file = {
        name: rf"(?:^|[_/\\]){key}-([a-zA-Z0-9+]+)(?=[^/\\]*$)"
        for name, key in vocabulary["file_entities"].items()
    }
    rest = r"(?=(?:_[a-zA-Z0-9]+-[a-zA-Z0-9+]+)*_[a-zA-Z0-9]+\.[^/\\]+$)"  # a label cut short is no label
    for name in ("contrast", "taskcontrast"):
        in_file[name] = rf"(?:^|[_/\\]){name}-([a-zA-Z0-9+]+){rest}"
    in_folder = {name: rf"{below}{pattern}[/\\]" for name, pattern in vocabulary["folder_entities"].items()}
    whole = {"suffix": r"(?:^|[_/\\])([a-zA-Z0-9+]+)\.[^/\\]+$", "extension": r"[^./\\](\.[^/\\]+)$"}
    patterns = {**in_file, **in_folder, **whole}
    entities = [{"name": name, "pattern": pattern} for name, pattern in patterns.items()]
    return {"name": vocabulary["name"], "entities": entities}


@contextmanager
def _readable_home() -> Iterator[None]:
    """Let pybids be imported where HOME cannot be read: it looks there for its settings."""
    home = os.environ.get("HOME")
    os.environ["HOME"] = str(files("bids_group.bids"))
    try:
        yield
    finally:
        if home is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = home
