"""The files of a dataset and their entities, as pybids sees them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from bids_group.bids.entities import read_vocabulary

_NOT_MAPS = r"\.(?:html?|svg|png|jpe?g|gif|pdf|tsv(?:\.gz)?|csv|txt|log|md|h5|mat|npz?|pkl|toml|ya?ml|bib)$"
_NOT_FIRST_LEVEL = r"^/(?:code|sourcedata|stimuli|logs)(?:/|$)"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedFile:
    """A file and the entities of its name and folders (labels without key)."""

    path: Path
    entities: Mapping[str, str]


def index_dataset(root: Path) -> tuple[IndexedFile, ...]:
    """List the images and sidecars of one dataset, sorted by path.

    Entities are read from the file name alone, ``node`` and the folders of subject and session from the
    folders below ``root``: what a folder above the dataset is called does not matter.
    Sidecars are not opened; links that point nowhere are listed like any file.
    """
    with _readable_home():
        from bids.layout import BIDSLayout, BIDSLayoutIndexer, Tag

    root = root.absolute()
    indexer = BIDSLayoutIndexer(
        validate=False,
        index_metadata=False,
        config_filename=".no-settings-of-pybids-inside-a-dataset",
        ignore=[re.compile(_NOT_MAPS, re.IGNORECASE), re.compile(_NOT_FIRST_LEVEL)],
    )
    layout = BIDSLayout(str(root), validate=False, config=[_layout_config(root)], indexer=indexer)
    rows = layout.session.query(Tag.file_path, Tag.entity_name, Tag._value).all()
    by_path: dict[str, dict[str, str]] = {}
    for path, entity, value in rows:
        by_path.setdefault(path, {})[entity] = value
    return tuple(IndexedFile(path=Path(path), entities=by_path[path]) for path in sorted(by_path))


def parse_names(names: Iterable[str]) -> dict[str, Mapping[str, str]]:
    """Read the entities of file names, as they stand in a scans table."""
    with _readable_home():
        from bids.layout import Config, parse_file_entities

    entities = list(Config.load(_layout_config(Path("/"))).entities.values())
    return {name: {k: str(v) for k, v in parse_file_entities(f"/{name}", entities).items()} for name in names}


def _layout_config(root: Path) -> dict[str, Any]:
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
