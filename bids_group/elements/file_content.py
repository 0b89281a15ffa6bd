"""Bytes of image files: their beginning, all of them, and whether they hold what the header promises."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BufferedReader
from pathlib import Path
from xml.parsers.expat import ExpatError

from bids_group.config.machine import granted_memory_gb
from bids_group.elements.compression import GZIP, MOST_FOLD, inflate_start, longest_file
from bids_group.elements.image_files import ImageFiles
from bids_group.errors import DataError, MissingInputError
from bids_group.input_files import open_file

NIFTI2_SIZES = (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
HEADER_BYTES = 544
"""Header of NIfTI-2 with the flag of extensions; that of NIfTI-1 is shorter."""
_SHORTEST_HEADER = 348
_CHUNK_BYTES = 4096
_PIECE_BYTES = 2**22
_FARTHEST_BYTES = 2**20
"""How far into a gzip file a header may begin (it may have members, or much in front, that hold nothing)."""
_CHECKSUM_BYTES = 8
DAMAGED = (
    *(EOFError, OSError, ValueError, OverflowError, LookupError, TypeError),
    *(zlib.error, ExpatError),
)
"""What nibabel, zlib and the parser of XML raise where a file is damaged."""
_POINTERS = {b"/annex/objects/": "git-annex", b"version https://git-lfs": "Git LFS"}


def check_promise(
    files: ImageFiles, n_bytes: int, *, size: int | None = None, is_packed: bool = False
) -> None:
    """Refuse a header that promises more numbers than the file, or the machine, can hold; and much fewer.

    ``size`` of the file of the numbers in bytes, and whether it is gzip: where it has been opened already.
    """
    if size is None:
        with _reading(files.data) as stream:
            size, is_packed = os.fstat(stream.fileno()).st_size, stream.read(2) == GZIP
    most, memory = size * (MOST_FOLD if is_packed else 1), machine_memory()
    if n_bytes > min(most, memory) or (not is_packed and size > longest_file(n_bytes)):
        raise DataError(
            f"The image {files.header} cannot be what its header says.",
            found=f"{size} bytes{' of gzip' if is_packed else ''}, and a header that promises {n_bytes}"
            + (f"; this machine has {memory / 1e9:.3g} GB of memory" if n_bytes > memory else ""),
            expected="a file that holds what its header promises"
            + (f" (gzip packs up to {MOST_FOLD} bytes into one)" if is_packed else ""),
            fix="Copy or compute the file again.",
        )


@cache
def machine_memory() -> float:
    """Count the bytes of memory that this machine (or container) has."""
    return granted_memory_gb({}) * 1024**3


def find_pointer(start: bytes) -> str | None:
    """Whose pointer stands in place of a file's content: git-annex, Git LFS, or nobody's (None)."""
    return next((name for mark, name in _POINTERS.items() if start.startswith(mark)), None)


def read_start(path: Path) -> tuple[bytes, bytes | None, int]:
    """Read as much of a file as a NIfTI header is long, inflated; what ends a gzip file; and its size."""
    with _reading(path) as stream:
        start = stream.read(_CHUNK_BYTES)
        size = stream.seek(0, os.SEEK_END)
        end = start if size == len(start) else b""
        if not end and start[:2] == GZIP:
            stream.seek(-_CHECKSUM_BYTES, os.SEEK_END)
            end = stream.read(_CHECKSUM_BYTES)
    if start[:2] != GZIP:
        _refuse_pointer(path, start)
        return start, None, size
    unzipped = zlib.decompressobj(wbits=31)
    header = unzipped.decompress(start, _SHORTEST_HEADER)
    if header[:4] in NIFTI2_SIZES:
        header += unzipped.decompress(unzipped.unconsumed_tail, HEADER_BYTES - _SHORTEST_HEADER)
    if len(header) < _SHORTEST_HEADER:
        with _reading(path) as stream:  # several members, or one that begins with much beside its data
            header = inflate_start(stream.read(_FARTHEST_BYTES), HEADER_BYTES)
    return header, end[-_CHECKSUM_BYTES:], size


def read_beginning(path: Path, n_bytes: int) -> bytes:
    """Read up to ``n_bytes`` of the content of a file, of gzip unpacked."""
    with _reading(path) as stream:
        start = stream.read(_CHUNK_BYTES)
        stream.seek(0)
        _refuse_pointer(path, start)
        if start[:2] != GZIP:
            return stream.read(n_bytes)
        with gzip.GzipFile(fileobj=stream) as members:
            return members.read(n_bytes)


def read_bytes(path: Path) -> bytes:
    """Read a file."""
    with _reading(path) as stream:
        payload = stream.read()
    _refuse_pointer(path, payload)
    return payload


def read_text(path: Path) -> bytes:
    """Read a file of text; one that is none (a NUL is in it) is refused (`ValueError`) where that is seen."""
    pieces = []
    with _reading(path) as stream:
        while piece := stream.read(_PIECE_BYTES):
            if b"\0" in piece:
                raise ValueError("NUL characters: it is no text")
            pieces.append(piece)
    payload = b"".join(pieces)
    _refuse_pointer(path, payload)
    return payload


def size_of(path: Path) -> int:
    """Tell how many bytes a file has."""
    with _reading(path) as stream:
        return os.fstat(stream.fileno()).st_size


@contextmanager
def _reading(path: Path) -> Iterator[BufferedReader]:
    """Open a file; say why it cannot be read."""
    try:
        with open_file(path) as stream:
            yield stream
    except FileNotFoundError as error:
        if path.is_symlink():
            raise MissingInputError(
                f"The file {path} is a link that points nowhere.",
                found=f"a link to {path.readlink()}",
                expected="the file's content (DataLad and git-annex keep it elsewhere until it is fetched)",
                fix=f"datalad get {path}",
            ) from error
        raise MissingInputError(
            f"There is no file {path}.", expected="an image", fix="Correct the path."
        ) from error
    except OSError as error:
        raise MissingInputError(
            f"The file {path} cannot be read.", found=error.strerror, expected="an image"
        ) from error


def _refuse_pointer(path: Path, payload: bytes) -> None:
    """Refuse what git-annex or Git LFS left in place of a file."""
    pointer = find_pointer(payload)
    if pointer is not None:
        raise MissingInputError(
            f"The file {path} is not here.",
            found=f"a pointer of {pointer}",
            expected="the file's content",
            fix="git lfs pull" if pointer == "Git LFS" else f"datalad get {path}",
        )
