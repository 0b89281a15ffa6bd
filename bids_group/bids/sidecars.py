"""JSON sidecars of maps, by the inheritance principle, opened only where they are asked for."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bids_group.bids.index import IndexedFile
from bids_group.errors import DataError, MissingInputError

_NOT_IN_NAME = {"extension", "subject_folder", "session_folder"}


class Sidecars:
    """The sidecars of one dataset. Those nearer to a file, and with more entities, speak last."""

    def __init__(self, root: Path, files: Iterable[IndexedFile]) -> None:
        self._root = root
        self._by_folder: dict[Path, dict[frozenset[str], dict[frozenset[tuple[str, str]], Path]]] = (
            defaultdict(dict)
        )
        self._contents: dict[Path, Mapping[str, Any]] = {}
        self._above: dict[Path, tuple[Path, ...]] = {}
        for file in files:
            named = _named(file.entities)
            self._by_folder[file.path.parent].setdefault(frozenset(named), {})[frozenset(named.items())] = (
                file.path
            )

    def metadata(self, file: IndexedFile) -> dict[str, Any]:
        """Merge all sidecars that apply to a file."""
        merged: dict[str, Any] = {}
        for path in self._applying(file):
            merged.update(self._read(path))
        return merged

    def _applying(self, file: IndexedFile) -> Iterable[Path]:
        named = _named(file.entities)
        for folder in self._folders_down_to(file.path.parent):
            shapes = self._by_folder[folder]
            for shape in sorted(shapes, key=lambda names: (len(names), sorted(names))):
                label_set = frozenset((name, named[name]) for name in shape if name in named)
                if label_set in shapes[shape]:
                    yield shapes[shape][label_set]

    def _folders_down_to(self, folder: Path) -> tuple[Path, ...]:
        """Find the folders with sidecars from the dataset down to a folder."""
        if folder not in self._above:
            folders = [folder, *folder.parents]
            depth = folders.index(self._root) if self._root in folders else 0
            with_sidecars = [one for one in reversed(folders[: depth + 1]) if one in self._by_folder]
            self._above[folder] = tuple(with_sidecars)
        return self._above[folder]

    def _read(self, path: Path) -> Mapping[str, Any]:
        if path not in self._contents:
            self._contents[path] = read_json_object(path)
        return self._contents[path]


def read_json_object(path: Path) -> Mapping[str, Any]:
    """Read a JSON file that holds an object.

    Raises
    ------
    MissingInputError
        The file cannot be read (a link that points nowhere is named with ``datalad get``).
    DataError
        It is not JSON, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        fix = f"datalad get {path}" if path.is_symlink() else None
        raise MissingInputError(f"The file {path} cannot be read.", found=error.strerror, fix=fix) from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON.", found=str(error), fix="Mend the file.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object.", found=type(content).__name__, expected='{"…": …}')
    return content


def read_dof(sidecars: Sidecars, effect: IndexedFile) -> float | None:
    """Take ``DegreesOfFreedom`` from the sidecars of an effect; None where they do not tell.

    Raises
    ------
    DataError
        It is there, but is no positive number.
    """
    value = sidecars.metadata(effect).get("DegreesOfFreedom")
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise DataError(
            f"DegreesOfFreedom in the sidecar of {effect.path} is no positive number.",
            found=json.dumps(value),
            expected="a number above 0",
            fix="Mend the sidecar, or take the entry out.",
        )
    return float(value)


def _named(entities: Mapping[str, str]) -> dict[str, str]:
    return {name: label for name, label in entities.items() if name not in _NOT_IN_NAME}
