"""Options as a mapping: of a call in Python, of a file (``--config``), and the file that repeats a run."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_group.config.options import Option, options_of
from bids_group.config.request import OPTIONS, Execution
from bids_group.config.typed import MAPS_FILE, is_pattern, read_named_folders
from bids_group.errors import MissingInputError, UsageError
from bids_group.words import suggest


def spell_options(options: Mapping[str, Any], *, expected: str, more: tuple[str, ...] = ()) -> list[str]:
    """Write options, named with underscores or hyphens, as the words of a command line.

    None and False say nothing. ``expected`` says in an error which names there are, ``more`` are further
    names to guess from.

    Raises
    ------
    UsageError
        There is no such option, or its value is of the wrong kind.
    """
    flags = [(flag, one) for one in OPTIONS for flag in one.spellings]
    known = {flag.removeprefix("--").replace("-", "_"): (flag, one) for flag, one in flags}
    words: list[str] = []
    for typed, value in options.items():
        name = typed.replace("-", "_")
        if name not in known:
            fix = suggest(name, [*known, *more])
            raise UsageError(f"There is no option {typed!r}.", expected=expected, fix=fix)
        if value is not None and value is not False:
            words += _spell(name, *known[name], value)
    return words


def _spell(name: str, flag: str, option: Option, value: Any) -> list[str]:
    what = f"The option {name!r}"
    if option.takes_none:
        if value is not True and not (option.kind == "count" and isinstance(value, int)):
            raise UsageError(f"{what} is switched on or off.", found=repr(value), expected="True or False")
        return [flag] * int(value)
    if value is True:
        raise UsageError(f"{what} needs a value.", found="True")
    values = _listed(value, " = " if name == "contrast" else "=")
    if not option.is_list and len(values) != 1:
        raise UsageError(f"{what} takes one value.", found=repr(value))
    if any(not one or one.startswith("-") for one in values):  # not to be taken for options
        return [f"{flag}={one}" for one in values]
    return [flag, *values] if values else []


def _listed(value: Any, equals: str) -> list[str]:
    """List the values of an option as text; a mapping names them (contrasts, derivatives)."""
    if isinstance(value, str | Path) or not hasattr(value, "__iter__"):
        return [str(value)]
    named = {f"{name}{equals}": one for name, one in value.items()} if isinstance(value, Mapping) else {}
    pairs = named.items() or (("", one) for one in value)
    return [f"{name}{one.tolist() if hasattr(one, 'tolist') else one}" for name, one in pairs]  # arrays too


def read_option_file(path: Path) -> list[str]:
    """Read a file of options (YAML, or TOML by its ending) into words; its paths are relative to its folder.

    Raises
    ------
    MissingInputError, UsageError
        The file cannot be read; it is no mapping of options, names one that there is not (with a guess), or
        gives it a value of the wrong kind.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        sentence = f"The file of options {path} cannot be read."
        raise MissingInputError(sentence, found=error.strerror, fix="Check --config.") from error
    except ValueError as error:
        raise UsageError(f"The file of options {path} is no text.", found=str(error)) from error
    content = _parse(path, text)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UsageError(
            f"The file of options {path} is no list of options.",
            found=type(content).__name__,
            expected='lines such as  formula: "~ group + age"  (YAML) or  formula = "~ group + age"  (TOML)',
        )
    places = {name: one for one in OPTIONS for name in (one.name,) if _is_path(one)}
    for name, value in content.items():
        if places.get(name.replace("-", "_")) is not None and value is not None:
            content[name] = _beside(path.absolute().parent, value)
    try:
        return spell_options(content, expected="the options of bids-group --help, with - or _")
    except UsageError as error:
        raise UsageError(
            f"{path.name}: {error.sentence}", found=error.found, expected=error.expected, fix=error.fix
        ) from error


def _parse(path: Path, text: str) -> Any:
    import yaml

    try:
        return tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        kind = "TOML" if path.suffix == ".toml" else "YAML"
        raise UsageError(
            f"The file of options {path} is not {kind}.", found=" ".join(str(error).split())
        ) from error


def _is_path(option: Option) -> bool:
    return option.kind in ("path", "paths") or option.read is read_named_folders


def _beside(folder: Path, value: Any) -> Any:
    """Take paths of a file relative to its folder; ``NAME=PATH`` keeps its name."""
    if isinstance(value, Mapping):
        return {name: _beside(folder, one) for name, one in value.items()}
    if isinstance(value, list):
        return [_beside(folder, one) for one in value]
    name, equals, place = str(value).rpartition("=")
    is_named = bool(equals) and "/" not in name
    path = folder / (place if is_named else str(value))
    path = path.resolve() if ".." in path.parts else path  # steps back are taken from where links point to
    return f"{name}={path}" if is_named else str(path)


def write_options(said: Mapping[str, Any]) -> str:
    """Write what was said of the options that change results as TOML; `read_option_file` reads it again."""
    idle = {one.name for one in options_of(Execution)}
    lines = []
    for one in (one for one in OPTIONS if one.name in said and one.name not in idle):
        value = said[one.name]
        if one.flags:
            lines.append(f"{one.flag_of(value).removeprefix('--').replace('-', '_')} = true")
            continue
        if one.name == "maps" and is_pattern(value):
            value = f"../{MAPS_FILE}"  # which stands beside this file
        elif _is_path(one):
            value = _beside(Path.cwd(), value)
        lines.append(f"{one.name} = {json.dumps(value, ensure_ascii=False, default=str)}")
    return "\n".join(["# bids-group BIDS_DIR OUTPUT_DIR group --config this-file.toml", *lines, ""])
