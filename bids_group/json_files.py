"""JSON files that hold an object: one reader, with one set of errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_group.errors import BidsGroupError, DataError, MissingInputError
from bids_group.input_files import has_disk_failed, read_file

_DEEPEST = 100
"""Levels of objects within objects; what people write has a few."""

_LONGEST_INTEGER = 300
"""Digits; beyond, a number is infinite, as in other programs."""


def read_json(
    path: Path,
    *,
    what: str = "file",
    wrong: type[BidsGroupError] = DataError,
    unreadable: type[BidsGroupError] = MissingInputError,
    expected: str = '{"…": …}',
    fix: str = "Mend the file.",
    is_optional: bool = False,
    has_keys_once: bool = False,
) -> dict[str, Any]:
    """Read a JSON file that holds an object; of one that ``is_optional`` and is not there, an empty one.

    Integers of more than 300 digits are infinite, as ``1e999`` is: who needs a number refuses both. Halves of
    characters (a lone surrogate), which no file can hold, become the replacement character.

    Parameters
    ----------
    what, expected, fix
        For messages: what the file is called, what should stand in it, and what to do.
    wrong, unreadable
        Classes of the errors where the file is not JSON, no object or too deep; and where it cannot
        be read.
    has_keys_once
        Refuse an object that has a key twice: of a file that people write, nothing is to go unread.

    Raises
    ------
    MissingInputError
        The file cannot be read (a link that points nowhere is named with ``datalad get``).
    """
    try:
        text = read_file(path).decode("utf-8-sig")
        pairs_hook = _read_once if has_keys_once else None
        content = json.loads(text, parse_int=_read_integer, object_pairs_hook=pairs_hook)
        if text.count("{") + text.count("[") > _DEEPEST:
            _check_depth(content)
        if "\\ud" in text.lower():
            content = _replace_surrogates(content)
    except OSError as error:
        if is_optional and isinstance(error, FileNotFoundError):
            return {}
        get = f"datalad get {path}" if path.is_symlink() else None
        sentence = f"The {what} {path} cannot be read."
        raise unreadable(sentence, found=error.strerror, fix=get) from error
    except _KeyTwiceError as error:
        sentence = f"The {what} {path} has the key {error} twice in one object, of which one would go unread."
        raise wrong(sentence, fix="Join the two, or remove one.") from error
    except ValueError as error:
        raise wrong(f"The {what} {path} is not JSON.", found=str(error), fix=fix) from error
    except RecursionError as error:
        sentence = f"The {what} {path} is nested too deeply."
        raise wrong(sentence, expected=f"at most {_DEEPEST} levels", fix=fix) from error
    if not isinstance(content, dict):
        sentence = f"The {what} {path} is not a JSON object."
        raise wrong(sentence, found=type(content).__name__, expected=expected, fix=fix)
    return content


class _KeyTwiceError(ValueError):
    """An object has a key twice."""


def _read_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _KeyTwiceError(repr(next(key for key in content if keys.count(key) > 1)))
    return content


def _read_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _replace_surrogates(content: Any) -> Any:
    """Put U+FFFD for each half of a character in all texts and keys."""
    halves = json.dumps(content, ensure_ascii=False).encode("utf-16", "surrogatepass")
    return json.loads(halves.decode("utf-16", "replace"))


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(_DEEPEST):
        inner = [list(one.values()) if isinstance(one, dict) else one for one in level]
        level = [one for parts in inner for one in parts if isinstance(one, dict | list)]
        if not level:
            return
    raise RecursionError


def peek_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON file that holds an object; None where it is missing or is no such file.

    One that is there and cannot be read is refused (`MissingInputError`): nobody knows what it says.
    """
    try:
        return read_json(path)
    except (DataError, MissingInputError) as error:
        if has_disk_failed(error.__cause__):
            raise
        return None


def generated_by(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the programs that made a dataset, as its ``dataset_description.json`` says."""
    entries = description.get("GeneratedBy")
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
