"""The files of a dataset, the entities of their names (by pybids' patterns), and their labels."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from bids_group.errors import MissingInputError
from bids_group.labels import run_key

LOGGER = logging.getLogger(__name__)

_NOT_MAPS = re.compile(
    r"\.(?:html?|svg|png|jpe?g|gif|pdf|tsv(?:\.gz)?|csv|txt|log|md|h5|mat|npz?|pkl|toml|ya?ml|bib)$",
    re.IGNORECASE,
)
FOLDER_ENTITIES = {
    "subject_folder": "sub-([a-zA-Z0-9+]+)",
    "session_folder": "ses-([a-zA-Z0-9+]+)",
    "node": r"node-([^/\\]+)",
}
"""Entities of folders, and the patterns of their names."""

FILE_ENTITIES = {
    "subject": "sub", "session": "ses",
    **{name: name for name in ("task", "run", "contrast", "stat", "desc")},
    "acquisition": "acq", "ceagent": "ce", "reconstruction": "rec",
    "direction": "dir", "segmentation": "seg", "nucleus": "nuc", "volume": "voi", "staining": "stain",
    "tracer": "trc", "modality": "mod",
    **{name: name for name in ("sample", "tracksys", "echo", "part", "recording", "hemi")},
    **{name: name for name in ("space", "res", "den", "label", "param", "feature", "setting")},
    **{name: name for name in ("model", "taskcontrast", "proc", "flip", "inv", "mt")},
    **{name: name for name in ("chunk", "atlas", "roi", "from", "to", "mode", "subset")},
}  # fmt: skip
"""Entities of file names, and their keys there."""

ALIASES = {key: name for name, key in FILE_ENTITIES.items()} | {"resolution": "res", "density": "den"}
"""What else entities are called."""

_IS_IMAGE = re.compile(r".+\.zarr|sub-[^_]+_.*(?:\.nii|\.nii\.gz|\.gii|_statmap\.tsv|\.json)")
"""Folders that count as files: images over many files, and those named like maps (their reader tells)."""

_NOT_FIRST_LEVEL = {"code", "sourcedata", "stimuli", "logs", "derivatives"}
MOST_WAYS = 16
"""By which links may lead to one folder; in a bush of links, each leads to two, there are millions."""

_FOLDERS_WITHOUT_MAPS = {"figures"}
_SECONDS_UNTOLD = 10.0
_OF_KERNEL = ("/proc", "/sys")

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


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


def index_dataset(root: Path) -> tuple[tuple[IndexedFile, ...], tuple[WalkedFolder, ...]]:
    """List the images and sidecars of one dataset by path, unopened, and the folders that cannot be listed.

    Entities are read from the file name alone, ``node`` and the folders of subject and session from the
    folders below ``root``: what a folder above the dataset is called does not matter.
    """
    found: dict[str, Mapping[str, str]] = {}
    unlisted = []
    for folder in walk(root.absolute()):
        if folder.problem is not None:
            unlisted.append(folder)
        is_of_person = "subject_folder" in folder.entities
        for name in folder.names:
            if not (is_of_person or "sub-" in name or name.endswith(".json")):
                continue  # of nobody; there may be a million of them
            is_map = not _NOT_MAPS.search(name) or name.endswith("_statmap.tsv")  # of regions
            if is_map and (entities := {**folder.entities, **_read_name(name)}):
                found[f"{folder.path}/{name}"] = entities
    listed, place, above = list[IndexedFile](), root, ""
    for text in sorted(found):
        before, (above, _, name) = above, text.rpartition("/")
        place = place if above == before else Path(above)
        listed.append(IndexedFile(path=place / name, entities=found[text]))
    return tuple(listed), tuple(unlisted)


def walk(root: Path) -> Iterator[WalkedFolder]:
    """Walk once through the folders of a dataset, by name; links are followed, but never back up.

    Left out are hidden folders and files, and folders that hold no first-level maps by their name. Who named
    a folder that is no dataset but a whole disk is told every ten seconds where this is.
    """
    n_folders, n_files, told = 0, 0, time.monotonic()
    top = str(root).rstrip("/")
    waiting: list[tuple[str, Mapping[str, str], bool]] = [("", {}, False)]
    ways: Counter[tuple[int, int]] = Counter()
    kernel = {os.stat(one).st_dev for one in _OF_KERNEL if os.path.ismount(one)}  # noqa: PTH116
    while waiting:
        below, entities, is_linked = waiting.pop()
        path = f"{top}{below}" or "/"
        try:
            if is_linked or below.count("/") < 2:
                _refuse_endless(path, kernel, ways if is_linked else None)
            inner, links, names = _list(path)
        except OSError as error:
            yield WalkedFolder(path=path, entities=entities, problem=error.strerror or str(error))
            continue
        yield WalkedFolder(path=path, entities=entities, names=tuple(names))
        n_folders, n_files = n_folders + 1, n_files + len(names)
        if time.monotonic() - told > _SECONDS_UNTOLD:
            said = (
                "Looking for maps in %s: %s folders, %s files, now in %s. Is it the dataset (--derivatives)?"
            )
            LOGGER.info(said, top, f"{n_folders:,}", f"{n_files:,}", path)
            told = time.monotonic()
        left_out = _FOLDERS_WITHOUT_MAPS if below else _FOLDERS_WITHOUT_MAPS | _NOT_FIRST_LEVEL
        for one in (one for one in reversed(inner) if one not in left_out):
            more = _read_folders(one) if "-" in one else {}
            waiting.append((f"{below}/{one}", {**entities, **more}, is_linked or one in links))


def _refuse_endless(path: str, kernel: Collection[int], ways: Counter[tuple[int, int]] | None) -> None:
    """Refuse (`OSError`) what shows processes and devices, and what links lead to again and again.

    ``ways``: those by which links led to each folder, which could have links of its own.
    """
    found = os.stat(path)  # noqa: PTH116 - of thousands of folders
    if found.st_dev in kernel:
        raise OSError(errno.EINVAL, "processes and devices of this machine, no files", path)
    if ways is not None:
        ways[found.st_dev, found.st_ino] += 1
        if ways[found.st_dev, found.st_ino] > MOST_WAYS:
            raise OSError(errno.ELOOP, f"links lead here in more than {MOST_WAYS} ways", path)


def list_inside(path: Path) -> tuple[list[Path], list[Path]]:
    """List folders and files in a folder, without hidden ones; none where there is no such folder.

    One that is there and cannot be listed is refused (`MissingInputError`).
    """
    try:
        folders, _, names = _list(str(path))
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise refuse_unlisted(path, error.strerror or str(error)) from error
    return [path / name for name in folders], [path / name for name in names]


def refuse_unlisted(path: Path | str, problem: str | None, *, fix: str | None = None) -> MissingInputError:
    """Say that a folder cannot be listed."""
    return MissingInputError(
        f"The folder {path} cannot be listed, so what lies in it would be left out.",
        found=problem,
        expected="a folder that may be read",
        fix=fix or f"chmod u+rx {path}, or see what is wrong with the disk.",
    )


def _list(path: str) -> tuple[list[str], set[str], list[str]]:
    """List folders, which of them are links, and files, by name; no links that lead back to it or above."""
    inner: list[str] = []
    links: set[str] = set()
    names: list[str] = []
    with os.scandir(path) as entries:
        for entry in (one for one in entries if not one.name.startswith(".")):
            try:
                is_folder = entry.is_dir() and not _IS_IMAGE.fullmatch(entry.name)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                is_folder = False  # a link to itself points nowhere
            if not is_folder:
                names.append(entry.name)
            elif not (entry.is_symlink() and _leads_back(Path(entry.path))):
                inner.append(entry.name)
                links |= {entry.name} if entry.is_symlink() else set()
    return sorted(inner), links, sorted(names)


def _leads_back(link: Path) -> bool:
    """Whether a link leads to a folder above it, by its real place or on the way that led here: a circle."""
    if link.parent.resolve().is_relative_to(link.resolve()):
        return True
    target = link.stat()
    return any(os.path.samestat(target, above.stat()) for above in link.parents)


def parse_names(names: Iterable[str]) -> dict[str, Mapping[str, str]]:
    """Read the entities of file names with their folders, as they stand in a scans table."""
    return {
        name: {**_read_folders(name.rpartition("/")[0]), **_read_name(name.rpartition("/")[2])}
        for name in names
    }


def _read_name(name: str) -> dict[str, str]:
    """Read the entities of a file name.

    Where it is all keys and labels, they are read without pybids' patterns, which say the same; names of
    people differ in the first label, so that the rest is read once for all.
    """
    begin = _BEGINS.match(name)
    if (rest := _read_labels(name[begin.end() :] if begin else name)) is not None:
        return {**rest, "subject": begin[1]} if begin else {**rest}
    return {entity: match[1] for entity, regex in _patterns() if (match := regex.search(name))}


_BEGINS = re.compile(r"sub-([a-zA-Z0-9+]+)_")
_IS_REGULAR = re.compile(
    r"(?:[a-zA-Z0-9]+_)?((?:[a-zA-Z0-9]+-[a-zA-Z0-9+]+_)*)([a-zA-Z0-9]+)(\.[a-zA-Z0-9.]+)"
)


@lru_cache(maxsize=10_000)
def _read_labels(rest: str) -> Mapping[str, str] | None:
    """Read ``run-1_stat-effect_statmap.nii.gz`` or ``dataset_description.json``; None of other kinds."""
    if (regular := _IS_REGULAR.fullmatch(rest)) is None:
        return None
    labels: dict[str, str] = {}
    for key, _, label in (part.partition("-") for part in regular[1].split("_")):
        labels.setdefault(key, label)
    named = {entity: labels[key] for entity, key in FILE_ENTITIES.items() if key in labels}
    return {**named, "suffix": regular[2], "extension": regular[3]}


def _read_folders(below: str) -> dict[str, str]:
    """Read the entities of folders, ``sub-01/func``: of two that name the same one, the inner counts."""
    patterns = FOLDER_ENTITIES.items()
    parts = re.split(r"[/\\]", below)
    return {entity: match[1] for one in parts for entity, p in patterns if (match := re.fullmatch(p, one))}


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Compile pybids' patterns of file names: entity and regex."""
    home = os.environ.get("HOME")
    os.environ["HOME"] = str(Path(__file__).parent)  # pybids looks there for its settings when imported
    try:
        from bids.layout import Config
    finally:
        del os.environ["HOME"]
        os.environ.update({} if home is None else {"HOME": home})
    every = Config.load(layout_config(Path("/"))).entities.values()
    return [(one.name, one.regex) for one in every if one.name not in FOLDER_ENTITIES]


def layout_config(root: Path) -> dict[str, Any]:
    """Spell our vocabulary as a configuration of pybids, for a dataset at ``root``."""
    below = rf"^{re.escape(str(root).rstrip(os.sep))}[/\\](?:.*[/\\])?"
    in_file = {name: rf"(?:^|[_/\\]){key}-([a-zA-Z0-9+]+)(?=[^/\\]*$)" for name, key in FILE_ENTITIES.items()}
    rest = r"(?=(?:_[a-zA-Z0-9]+-[a-zA-Z0-9+]+)*_[a-zA-Z0-9]+\.[^/\\]+$)"  # a label cut short is no label
    for name in ("contrast", "taskcontrast"):
        in_file[name] = rf"(?:^|[_/\\]){name}-([a-zA-Z0-9+]+){rest}"
    in_folder = {name: rf"{below}{pattern}[/\\]" for name, pattern in FOLDER_ENTITIES.items()}
    whole = {"suffix": r"(?:^|[_/\\])([a-zA-Z0-9+]+)\.[^/\\]+$", "extension": r"[^./\\](\.[^/\\]+)$"}
    patterns = {**in_file, **in_folder, **whole}
    entities = [{"name": name, "pattern": pattern} for name, pattern in patterns.items()]
    return {"name": "bids_group", "entities": entities}


def path_order(path: Path) -> str:
    """Give what sorts paths as they compare, folder by folder, in a fraction of the time."""
    return str(path).replace(os.sep, "\0")


def name_row(label: object) -> str:
    """Name a row of a table by its label: ``sub-01``, or ``sub-01_ses-pre``."""
    return f"sub-{label[0]}_ses-{label[1]}" if isinstance(label, tuple) else f"sub-{label}"


def same_label(entity: str, one: str | None, other: str | None) -> bool:
    """Whether two labels mean the same. Runs are numbers: ``run-1`` is ``run-01``."""
    if entity == "hemi" and one is not None:  # a map of both has LR
        return one in (other or "")
    return run_key(one) == run_key(other) if entity == "run" else one == other


def group_by(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Gather items under their keys, in the order in which they come."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
