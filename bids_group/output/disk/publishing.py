"""How files get into their places: whole or not at all, and held by the disk before names point to them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from bids_group.output.disk.durable import make_folder, sync_file, sync_files, sync_folder
from bids_group.output.disk.lock import check_claim, part_of
from bids_group.words import os_failure

Write = Callable[[Path, bytes], None]
"""Puts bytes in place: `write_bytes`, or the verb of a `Batch`."""


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file whole: the earlier one stays till then, and the disk holds the new one on return."""
    with Batch() as batch:
        batch.write(path, payload)


def write_cache(path: Path, payload: bytes) -> None:
    """Write a file whole; after a loss of power its name may stand there, and what was in it be lost."""
    with Batch(is_held=False) as batch:
        batch.write(path, payload)


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise os_failure(error, path) from error


class Batch:
    """Files written beside their places, and moved there together once the disk holds them all.

    To wait for many files at once takes little longer than for one; what is not ``is_held`` is not waited
    for. Nothing is moved where another run took ``output_dir`` over meanwhile, or where something failed.
    """

    def __init__(self, output_dir: Path | None = None, *, is_held: bool = True) -> None:
        self._output_dir, self._is_held = output_dir, is_held
        self._parts: dict[Path, Path] = {}
        self._changed: set[Path] = set()

    def write(self, path: Path, payload: bytes) -> None:
        """Write a file beside its place."""
        part = self._parts.setdefault(path, part_of(path))
        with _telling(path):
            self._changed |= {path.parent, *make_folder(path.parent)}
            part.write_bytes(payload)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._parts:
                self._publish()
        finally:
            for part in self._parts.values():
                with contextlib.suppress(OSError):
                    part.unlink()

    def _publish(self) -> None:
        def sync(path: Path) -> None:
            with _telling(path):
                sync_file(self._parts[path])

        if self._is_held:
            sync_files(self._parts, sync)
        if self._output_dir is not None:
            check_claim(self._output_dir)
        for path in list(self._parts):
            with _telling(path):
                self._parts[path].replace(path)
            del self._parts[path]
        for folder in sorted(self._changed) if self._is_held else ():
            with _telling(folder):
                sync_folder(folder)
