"""Map files, unread but for their headers: are they there, on one grid, and are two the same."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from bids_group.bids.entities import name_some
from bids_group.elements import MapHeader, check_same_grid, find_pointer, locate, read_header
from bids_group.errors import DataError, MissingInputError
from bids_group.records import FirstLevelMap, Notice

_SAMPLE_BYTES = 65_536
_POINTER_BYTES = 32

Headers = Mapping[Path, MapHeader]


def check_presence(maps: Iterable[FirstLevelMap]) -> None:
    """Refuse maps whose content is not here: broken links, annex pointers, unreadable or absent files.

    Raises
    ------
    MissingInputError
        Names up to ten of them, and how many there are.
    """
    absent: dict[Path, str] = {}
    for path in sorted({one for m in maps for named in _files_of(m) for one in locate(named).all}):
        try:
            with path.open("rb") as stream:
                pointer = find_pointer(stream.read(_POINTER_BYTES))
        except OSError:
            pointer = "git-annex"
        if pointer is not None:
            absent[path] = pointer
    if absent:
        raise _not_fetched(absent)


def _files_of(m: FirstLevelMap) -> list[Path]:
    return [path for path in (m.effect, m.variance, m.dof, m.mask) if isinstance(path, Path)]


def _not_fetched(absent: Mapping[Path, str]) -> MissingInputError:
    plural = "files are" if len(absent) > 1 else "file is"
    in_annex = [path for path, pointer in absent.items() if pointer == "git-annex"]
    are_links = all(path.is_symlink() or path.exists() for path in in_annex)
    commands = [f"datalad get {' '.join(str(path) for path in in_annex[:10])}"] if in_annex else []
    found = ["links that point nowhere, or unreadable files" if are_links else "no such files"]
    if len(in_annex) < len(absent):
        found = [*(found if in_annex else []), "pointers of Git LFS"]
        commands.append("git lfs pull")
    return MissingInputError(
        f"{len(absent)} selected {plural} not here or unreadable: {name_some(str(path) for path in absent)}",
        found="; ".join(found),
        expected="the content of the files (DataLad, git-annex and Git LFS keep it elsewhere)",
        fix="; ".join(commands),
    )


def read_headers(maps: Iterable[FirstLevelMap]) -> dict[Path, MapHeader]:
    """Read the header of every file that belongs to these maps; one that cannot be read is refused."""
    return {path: read_header(path) for path in sorted({one for m in maps for one in _files_of(m)})}


def find_many_volumes(maps: Iterable[FirstLevelMap], headers: Headers) -> dict[Path, tuple[int, ...]]:
    """Find effect maps with more than one volume (F contrasts of several rows), and their shapes."""
    shapes = {m.effect: headers[m.effect].shape for m in maps}
    return {path: shape for path, shape in shapes.items() if len(shape) > 3}


def check_volumes(maps: Iterable[FirstLevelMap], headers: Headers) -> None:
    """Refuse variances, masks and degrees of freedom of several volumes."""
    for path in (one for m in maps for one in _files_of(m)):
        if len(headers[path].shape) > 3:
            raise DataError(
                f"The image {path} holds several volumes.",
                found=f"shape {' × '.join(map(str, headers[path].shape))}",
                expected="one volume, as its effect has",
                fix="Give the volume that belongs to the effect.",
            )


def check_grids(groups: Iterable[tuple[Sequence[FirstLevelMap], Path | None]]) -> None:
    """Refuse what is pooled or analysed together and lies on different grids, by the headers.

    Parameters
    ----------
    groups
        Maps whose effects, variances, masks and degrees of freedom must lie on one grid; the mask of the
        analysis, if there is one.
    """
    read: dict[Path, MapHeader] = {}
    for maps, mask in groups:
        files = dict.fromkeys((path, path == m.mask) for m in maps for path in _files_of(m))
        for path, is_mask in (*files, *(() if mask is None else ((mask, True),))):
            if path not in read:
                read[path] = read_header(path)
            first = read[maps[0].effect]
            check_same_grid(first.path, first.grid, path, read[path].grid, is_mask=is_mask)


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
        if locate(first_level.effect).volume is None:  # two volumes of one file: the rows are compared later
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


def _fingerprint(effect: Path) -> bytes:
    path = locate(effect).data
    size = path.stat().st_size
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == b"\x1f\x8b"
        stream.seek(max(0, size - 8) if is_gzip else size // 2)
        sample = stream.read(8 if is_gzip else _SAMPLE_BYTES)
    return sample if is_gzip else size.to_bytes(8, "big") + hashlib.sha256(sample).digest()


def _content_hash(effect: Path) -> str:
    path = locate(effect).data
    try:
        payload = path.read_bytes()
        content = gzip.decompress(payload) if payload[:2] == b"\x1f\x8b" else payload
    except (EOFError, OSError, zlib.error):
        return str(path)
    return hashlib.sha256(content).hexdigest()
