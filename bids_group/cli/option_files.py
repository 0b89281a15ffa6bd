"""Options as a mapping: of a call in Python, of a file (``--config``), and the file that repeats a run."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bids_group.config.options import Option, options_of
from bids_group.config.request import OPTIONS, Execution
from bids_group.config.typed import MAPS_FILE, file_of, is_pattern, part_name, read_named_folders
from bids_group.errors import MissingInputError, UsageError
from bids_group.input_files import check_brackets, read_file
from bids_group.words import suggest

_MOST_NODES = 100_000


def spell_options(options: Mapping[str, Any], *, more: tuple[str, ...] = ()) -> list[str]:
    """Write options, named with underscores or hyphens, as the words of a command line.

    None and False say nothing; ``more`` are further names to guess from. Refused (`UsageError`) is an option
    that there is not, and a value of the wrong kind.
    """
    flags = [(flag, one) for one in OPTIONS for flag in one.spellings]
    known = {_key(flag): (flag, one) for flag, one in flags}
    words: list[str] = []
    seen: set[str] = set()
    for typed, value in options.items():
        name = typed.replace("-", "_")
        if name not in known:
            fix = suggest(name, [*known, *more])
            expected = "the options of bids-group --help, with underscores or hyphens"
            raise UsageError(f"There is no option {typed!r}.", expected=expected, fix=fix)
        if name in seen:
            raise UsageError(f"The option {name!r} is said twice.", fix="Keep one of the two.")
        seen.add(name)
        if value is not None and value is not False:
            words += _spell(name, *known[name], value)
    return words


def _key(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _spell(name: str, flag: str, option: Option, value: Any) -> list[str]:
    what = f"The option {name!r}"
    if option.takes_none:
        is_count = option.kind == "count" and re.fullmatch(r"\d+", str(value))
        if value is not True and not is_count:
            raise UsageError(f"{what} is switched on or off.", found=repr(value), expected="True or False")
        return [flag] * int(value)
    if value is True:
        raise UsageError(f"{what} needs a value.", found="True")
    if isinstance(value, Mapping) and name not in ("contrast", "derivatives"):
        raise UsageError(f"{what} takes no names with values.", found=repr(value))
    values = _listed(value, " = " if name == "contrast" else "=")
    if not option.is_list and len(values) != 1:
        raise UsageError(f"{what} takes one value.", found=repr(value))
    if any(not one or one.startswith("-") for one in values):  # not to be taken for options
        return [f"{flag}={one}" for one in values]
    return [flag, *values] if values else []


def _listed(value: Any, equals: str) -> list[str]:
    """List the values of an option as text; a mapping names them (contrasts, derivatives)."""
    if isinstance(value, Mapping):
        return [f"{name}{equals}{_written(one)}" for name, one in value.items()]
    if isinstance(value, str | Path) or not hasattr(value, "__iter__"):
        return [str(value)]
    return [
        text for one in value for text in (_listed(one, equals) if hasattr(one, "items") else [_written(one)])
    ]


def _written(value: Any) -> str:
    """Write a value as the command line has it: a list (or array) in brackets, its parts without quotes."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, list | tuple) else str(value)


def read_option_file(path: Path) -> list[str]:
    """Read a file of options (YAML, or TOML by its ending) into words; its paths are relative to its folder.

    Raises
    ------
    MissingInputError, UsageError
        The file cannot be read; it is no mapping of options, names one that there is not (with a guess), or
        gives it a value of the wrong kind.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
    except OSError as error:
        sentence = f"The file of options {path} cannot be read."
        raise MissingInputError(sentence, found=error.strerror, fix="Check --config.") from error
    except ValueError as error:
        raise UsageError(f"The file of options {path} is no text.", found=str(error)) from error
    try:
        return spell_options(_read_content(path, text))
    except UsageError as error:
        raise error.within(path.name) from error


def _read_content(path: Path, text: str) -> dict[str, Any]:
    """Read what a file says, by name, with its paths relative to its folder."""
    content = _parse(path, text)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UsageError(
            "A file of options is a list of options by name.",
            found=type(content).__name__,
            expected='lines such as  formula: "~ group + age"  (YAML) or  formula = "~ group + age"  (TOML)',
        )
    if content.get("config") is not None:
        fix = "Put all options into one file."
        raise UsageError("A file of options names another one.", found="config", fix=fix)
    places = {_key(one.flag): one for one in OPTIONS if _is_path(one)}
    for name, value in content.items():
        place = places.get(name.replace("-", "_"))
        if place is not None and value is not None and not isinstance(value, bool):
            content[name] = _beside(path.absolute().parent, value, place)
    return content


def _parse(path: Path, text: str) -> Any:
    import tomllib

    import yaml

    kind = "TOML" if path.suffix.lower() == ".toml" else "YAML"
    try:
        if kind == "TOML":
            return tomllib.loads(text)
        check_brackets(text)
        return _plain(yaml.compose(text, Loader=yaml.BaseLoader) or {}, itertools.count())
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"The file of options is not {kind}.", found=" ".join(str(error).split())) from error
    except RecursionError as error:
        raise UsageError("The file of options is nested too deeply.") from error


def _plain(node: Any, n_before: Iterator[int]) -> Any:
    """Read a node of YAML: all but ``true``, ``false`` and ``null`` is text: ``010`` is not the number 8.

    ``n_before`` counts nodes: a few that repeat each other by aliases can stand for billions.
    """
    if next(n_before) > _MOST_NODES:
        raise UsageError(
            f"The file of options has more than {_MOST_NODES} values, or repeats them by aliases."
        )
    if not hasattr(node, "value"):
        return node
    if node.id == "mapping":
        names = [str(key.value) for key, _ in node.value]
        for name in (name for name in names if names.count(name) > 1):
            raise UsageError(f"{name!r} stands twice.", fix="Keep one of the two.")
        return {name: _plain(value, n_before) for name, (_, value) in zip(names, node.value, strict=True)}
    if node.id == "sequence":
        return [_plain(one, n_before) for one in node.value]
    words = {"true": True, "false": False, "null": None, "~": None, "": None}
    return words.get(node.value.lower(), node.value) if node.style is None else node.value


def _is_path(option: Option) -> bool:
    return option.kind in ("path", "paths", "filter") or option.read is read_named_folders


def _beside(folder: Path, value: Any, option: Option) -> Any:
    """Take paths of a file relative to its folder; ``NAME=PATH`` of derivatives keeps its name."""
    if isinstance(value, Mapping):
        return {name: _beside(folder, one, option) for name, one in value.items()}
    if isinstance(value, list):
        return [_beside(folder, one, option) for one in value]
    name, place = part_name(str(value)) if option.read is read_named_folders else (None, str(value))
    path = folder / place
    if option.kind == "paths" and not file_of(path).is_file():
        return str(value)  # the name of a phenotype table in BIDS_DIR
    path = path.resolve() if ".." in path.parts else path  # steps back are taken from where links point to
    return str(path) if name is None else f"{name}={path}"


def write_options(said: Mapping[str, Any]) -> str:
    """Write what was said of the options that change results as TOML; `read_option_file` reads it again."""
    idle = {one.name for one in options_of(Execution)}
    lines = []
    for one in (one for one in OPTIONS if one.name in said and one.name not in idle):
        value = said[one.name]
        if one.flags:
            lines.append(f"{_key(one.flag_of(value))} = true")
            continue
        if one.name == "maps" and is_pattern(value):
            value = f"../{MAPS_FILE}"  # which stands beside this file
        elif _is_path(one):
            value = _beside(Path.cwd(), value, one)
        lines.append(f"{_key(one.flag)} = {json.dumps(value, ensure_ascii=False, default=str)}")
    return "\n".join(["# bids-group BIDS_DIR OUTPUT_DIR group --config this-file.toml", *lines, ""])
