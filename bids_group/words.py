"""The sentences that messages share: lists, counts, guesses, names of files, failures of the disk."""

from __future__ import annotations

import difflib
import errno
import math
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from bids_group.errors import BidsGroupError, MissingInputError, OutputError, RunError

_LONGEST_GUESS = 200
"""Characters: to compare longer texts takes minutes."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def list_some(names: Iterable[object], limit: int = 12, *, none: str = "none") -> str:
    """Join names by commas; beyond ``limit`` the rest is counted. Says ``none`` where there is no name."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:limit]) + and_more(len(texts) - limit) if texts else none


def and_more(n: int, noun: str = "") -> str:
    """Continue a list by what it leaves out: `` and 3 more``; nothing where nothing is left out."""
    return f" and {n} more {noun}".rstrip() if n > 0 else ""


def listed(names: Iterable[object], last: str = "and") -> str:
    """Join names as a sentence does: ``a``, ``a and b``, ``a, b and c``."""
    *others, end = map(str, names)
    return f"{', '.join(others)} {last} {end}" if others else end


def plural(n: int, one: str, many: str | None = None) -> str:
    """Choose the word for ``n`` things; ``many`` is ``one`` with an s where not given."""
    return one if n == 1 else many or f"{one}s"


def counted(n: int, one: str, many: str | None = None) -> str:
    """Say how many: ``1 map``, ``2 maps``, ``3 people``."""
    return f"{n} {plural(n, one, many)}"


def say_number(value: float) -> str:
    """Write a number with four digits that matter."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def suggest(typed: str, known: Iterable[str], *, mark: str = "'") -> str | None:
    """Say what was probably meant, between two ``mark``; None where nothing known is close."""
    meant = closest(typed, known)
    return None if meant is None else f"Did you mean {mark}{meant}{mark}?"


def closest(typed: str, known: Iterable[str]) -> str | None:
    """Find the name that is nearest to what was typed, but for case and signs between words."""
    by_plain = {_plain(name): name for name in known if len(name) <= _LONGEST_GUESS}
    close = difflib.get_close_matches(_plain(typed), by_plain, n=1) if len(typed) <= _LONGEST_GUESS else []
    return by_plain[close[0]] if close else None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold()) or name


def quote_column(column: str) -> str:
    """Write a column name as a formula needs it: in backticks unless it is a plain name."""
    return column if column.isidentifier() else f"`{column}`"


def quote_level(level: str) -> str:
    """Write a level as a mean or slope has it: in quotes where it has signs of the grammar."""
    return f'"{level}"' if re.search(r"[(),=]", level) else level


def quote_for_shell(text: str) -> str:
    """Write text as one word for a shell: in double quotes where nothing inside has a meaning there."""
    return shlex.quote(text) if re.search(r'["$`\\!]', text) else f'"{text}"'


def singular(word: str) -> str:
    """Name one of ``voxels``, ``vertices``, ``grayordinates``, ``regions`` or ``elements``."""
    return "vertex" if word == "vertices" else word.removesuffix("s")


def bids_uri(path: Path, roots: Mapping[str, Path]) -> str:
    """Spell a file as a BIDS URI of the innermost dataset that holds it, or as a file URI outside all.

    ``roots`` maps names of datasets to folders; '' names OUTPUT_DIR.
    """
    for name, root in sorted(roots.items(), key=lambda item: -len(item[1].parts)):
        above = f"{str(root).rstrip('/')}/"
        if f"{path}/".startswith(above):
            return f"bids:{name}:{str(path)[len(above) :] or '.'}"
    return path.resolve().as_uri()


def own_file(uri: str, root: Path) -> Path | None:
    """Find the file of a BIDS URI of the dataset ``root`` itself; None where it names another dataset."""
    return root / uri.removeprefix("bids::") if uri.startswith("bids::") else None


def os_failure(error: OSError, written: Path | None = None) -> BidsGroupError:
    """Name the file of an error of the operating system, what happened to it, and what to do.

    ``written`` is the file that was being written; where it is not given, the error names its file.
    """
    place, reason = written or error.filename or "a file", error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(
            f"There is no space left to write {place}.",
            found=reason,
            fix="Free some space, then run the same command again: finished parts are used.",
        )
    denied = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)
    if error.errno in (errno.EROFS, *(denied if written else ())):
        return OutputError(
            f"The file {place} cannot be written.",
            found=reason,
            expected="a folder that you may write to",
            fix="Give another OUTPUT_DIR or --work-dir, or change its permissions.",
        )
    if error.errno in (
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EINVAL,
    ):
        return MissingInputError(f"{place} cannot be opened.", found=reason)
    return RunError(f"{'Writing' if written else 'Reading or writing'} {place} failed.", found=reason)


def compose(text: str) -> str:
    """Write accents in one way (NFC): the ü of a Mac's file may be u and a mark, which look like one."""
    return unicodedata.normalize("NFC", text)


def point_at(text: str, position: int) -> str:
    """Repeat ``text`` with a caret under character number ``position``, as the ``found`` of an error.

    Line breaks and tabs become spaces, and the caret's line has the width of ``"  found    "`` before it, so
    that the caret stands under its character in the printed error.
    """
    line = "".join(" " if character.isspace() else character for character in text)
    start, end = max(position - _LONGEST_GUESS, 0), position + _LONGEST_GUESS
    before, after = "…" * (start > 0), "…" * (end < len(line))
    return f"{before}{line[start:end]}{after}\n{' ' * (11 + len(before) + position - start)}^"


def is_number(text: str) -> bool:
    """Whether a text is a number as BIDS writes it: decimal point, no blanks, no nan."""
    return _NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


def plain_number(text: str) -> str | float:
    """Read a number that is written in one of several ways (20, 20.0); other texts stay as they are."""
    return float(text) if is_number(text) else text
