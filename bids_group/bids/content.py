"""Map files, unread: are they there, how many axes do they have, are two the same."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from bids_group.bids.entities import name_some
from bids_group.errors import DataError, MissingInputError
from bids_group.records import FirstLevelMap, Notice

_HEADER_BYTES = 544
_SAMPLE_BYTES = 65_536
_ANNEX_POINTER = b"/annex/objects/"


def check_presence(maps: Iterable[FirstLevelMap]) -> None:
    """Refuse maps whose content is not here: broken links, annex pointers, unreadable or absent files.

    Raises
    ------
    MissingInputError
        Names up to ten of them, and how many there are.
    """
    absent: list[Path] = []
    for path in _all_files(maps):
        try:
            with path.open("rb") as stream:
                is_pointer = stream.read(len(_ANNEX_POINTER)) == _ANNEX_POINTER
        except OSError:
            is_pointer = True
        if is_pointer:
            absent.append(path)
    if absent:
        raise _not_fetched(absent)


def _all_files(maps: Iterable[FirstLevelMap]) -> list[Path]:
    return sorted(
        {path for m in maps for path in (m.effect, m.variance, m.dof, m.mask) if isinstance(path, Path)}
    )


def _not_fetched(absent: Sequence[Path]) -> MissingInputError:
    plural = "files are" if len(absent) > 1 else "file is"
    are_links = all(path.is_symlink() or path.exists() for path in absent)
    return MissingInputError(
        f"{len(absent)} selected {plural} not here or unreadable: {name_some(str(path) for path in absent)}",
        found="links that point nowhere, or unreadable files" if are_links else "no such files",
        expected="the content of the files (DataLad and git-annex keep it elsewhere until it is fetched)",
        fix=f"datalad get {' '.join(str(path) for path in absent[:10])}",
    )


def find_many_volumes(maps: Iterable[FirstLevelMap]) -> dict[Path, tuple[int, ...]]:
    """Find effect maps with more than one volume (F contrasts of several rows), and their shapes.

    A file whose header cannot be read is left to the reader of maps, which says what is wrong with it.
    """
    shapes = ((m.effect, _shape(m.effect)) for m in maps)
    return {path: shape for path, shape in shapes if any(size > 1 for size in shape[3:])}


def _shape(path: Path) -> tuple[int, ...]:
    try:
        return _parse_shape(_read_start(path))
    except (OSError, EOFError, zlib.error, struct.error):
        return ()


def _read_start(path: Path) -> bytes:
    with path.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
    if start[:2] != b"\x1f\x8b":
        return start
    with gzip.open(path) as unzipped:
        return unzipped.read(_HEADER_BYTES)


def _parse_shape(header: bytes) -> tuple[int, ...]:
    """Read ``dim`` of a NIfTI-1 or NIfTI-2 header of either byte order."""
    for order in "<>":
        (size,) = struct.unpack_from(f"{order}i", header)
        if size in (348, 540):
            count, offset = ("8h", 40) if size == 348 else ("8q", 16)
            n_axes, *sizes = struct.unpack_from(order + count, header, offset)
            return tuple(sizes[:n_axes])
    return ()


def check_twins(maps: Iterable[FirstLevelMap]) -> tuple[Notice, ...]:
    """Refuse the same effect map, by content, under two people; warn of one that a person has twice.

    Suspects share the checksum and length that stand at the end of a gzip file (or length and the bytes in
    the middle of an uncompressed one); they are confirmed on the whole decompressed content.

    Raises
    ------
    DataError
        Names the people and the files.
    """
    suspects: dict[bytes, list[FirstLevelMap]] = defaultdict(list)
    for first_level in maps:
        suspects[_fingerprint(first_level.effect)].append(first_level)
    notices: list[Notice] = []
    for group in suspects.values():
        if len(group) > 1:
            notices.extend(_judge(group))
    return tuple(notices)


def _judge(group: Sequence[FirstLevelMap]) -> list[Notice]:
    by_content = sorted((_content_hash(m.effect), m.subject, str(m.effect)) for m in group)
    notices = []
    for _, twins in groupby(by_content, key=lambda item: item[0]):
        same = list(twins)
        people = sorted({subject for _, subject, _ in same})
        paths = [path for _, _, path in same]
        if len(people) > 1:
            raise DataError(
                f"The same map stands under {name_some(f'sub-{subject}' for subject in people)}.",
                found=f"equal content in {name_some(paths)}",
                expected="a map of its own for each participant",
                fix="Copy the right file, or leave one of them out with --exclude-participant-label.",
            )
        if len(same) > 1:
            sentence = f"sub-{people[0]} has the same map {len(same)} times: {name_some(paths)}."
            notices.append(Notice(severity="warning", topic="twins", sentence=sentence))
    return notices


def _fingerprint(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == b"\x1f\x8b"
        stream.seek(max(0, size - 8) if is_gzip else size // 2)
        sample = stream.read(8 if is_gzip else _SAMPLE_BYTES)
    return sample if is_gzip else size.to_bytes(8, "big") + hashlib.sha256(sample).digest()


def _content_hash(path: Path) -> str:
    try:
        payload = path.read_bytes()
        content = gzip.decompress(payload) if payload[:2] == b"\x1f\x8b" else payload
    except (EOFError, OSError, zlib.error):
        return str(path)
    return hashlib.sha256(content).hexdigest()
