"""What an option is: one record says everything about it, and stands where its value goes.

A field of a record of the request (`bids_group.config.request`) is made with `option`; its type and its
default are the option's. `options_of` collects them; the parser, model files, the identity of an analysis,
"what differs" and the Boutiques descriptor are loops over what it returns.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bids_group.config.typed import file_of
from bids_group.errors import UsageError
from bids_group.words import compose

Kind = Literal["number", "integer", "flag", "text", "texts", "path", "paths", "filter", "count"]

SECTIONS = {
    **dict.fromkeys(("maps", "labels", "filter", "tables", "rows"), "inputs"),
    **dict.fromkeys(("formula", "design", "model"), "model"),
    "images": "images",
    "inference": "inference",
    "report": "report",
    **dict.fromkeys(("execution", "checks", "cluster"), "execution (none of these changes a number)"),
}
"""Sections of the manual in their order, and the group of ``--help`` that each is part of."""

_LARGEST = 1e300
_RELATIONS = {"above": operator.gt, "at least": operator.ge, "below": operator.lt, "at most": operator.le}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of the command line, and a setting of a model file where it ``stands`` in one.

    Parameters
    ----------
    section
        Of the manual; where not given, that of its record (``section``).
    name
        Of the setting, and of the keyword in Python; the option is the same with hyphens unless ``flag`` or
        ``flags`` say another.
    attribute, default
        The field of the request that holds its value, and what that is by default.
    kind, choices
        What it takes, and the values that it may have; from the type of the field.
    flags
        For options without a value: each spelling, the value that it stands for, and its help.
    bounds, one_only
        Where a number must lie (``above 0 and at most 1``); why several columns are refused.
    entity
        The BIDS entity that it selects by: ``sub-`` and the like may stand before labels.
    stands
        In a model file: among the settings of the ``run``, of each Dataset ``node``, or (None) not there.
    is_late
        Versions before did not know it, so that a model has it only where it is not at its default.
    is_typed
        False: a setting of model files alone, which the command line says as a part of ``flag``.
    is_made
        A path that the run makes: that of every other option is there before.
    needs
        What of the record must be true, or else the option changes nothing.
    read, grant
        From the words typed to the value, where the kind does not say how; the value where nothing is typed.
    """

    help: str
    section: str = ""
    name: str = ""
    attribute: str = ""
    default: Any = None
    kind: Kind = "text"
    choices: tuple[Any, ...] = ()
    metavar: str | None = None
    short: str | None = None
    flag: str = ""
    flags: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    bounds: str = ""
    one_only: str | None = None
    entity: str | None = None
    stands: Literal["run", "node"] | None = "run"
    is_signed: bool = False
    is_late: bool = False
    is_typed: bool = True
    is_made: bool = False
    needs: str = ""
    read: Callable[[Any], Any] | None = None
    grant: Callable[[], Any] | None = None

    @property
    def is_list(self) -> bool:
        """Whether it takes several words."""
        return self.kind in ("texts", "paths")

    @property
    def takes_none(self) -> bool:
        """Whether it is typed without a value."""
        return bool(self.flags) or self.kind == "count"

    @property
    def spellings(self) -> Mapping[str, str]:
        """Each way to write it on the command line, and its help."""
        return {flag: help_ for flag, (_, help_) in self.flags.items()} or {self.flag: self.help}

    def flag_of(self, value: Any) -> str:
        """Say what is typed for a value, of an option that takes none; empty where nothing is typed."""
        return next((flag for flag, (meant, _) in self.flags.items() if meant == value), "")

    @property
    def title(self) -> str:
        """The name of its value where settings are shown as JSON: ``ClusterFormingP``, ``NumberOf…``."""
        words = re.sub(r"^(is|has)_", "", self.attribute).split("_")
        return "".join("NumberOf" if word == "n" else word.capitalize() for word in words)

    def convert(self, typed: Any) -> Any:
        """Turn what was typed, or stands in a model file, into the value of the field."""
        prefix = (
            f"{ {'subject': 'sub', 'session': 'ses'}.get(self.entity, self.entity) }-" if self.entity else ""
        )
        match self.kind:
            case _ if typed is None:
                return None
            case "texts":
                texts = tuple(
                    compose(text.strip().removeprefix(prefix) if prefix else text) for text in typed
                )
                return tuple(dict.fromkeys(texts)) if self.entity or self.choices else texts
            case "text":
                return compose(typed.strip().removeprefix(prefix) if prefix else typed)
            case "paths":
                paths = (Path(text) for text in typed)  # what is none here is a name in BIDS_DIR
                return tuple(path.absolute() if file_of(path).is_file() else path for path in paths)
            case "path":
                return Path(typed).absolute()
            case "filter":
                return {key: tuple(one) if isinstance(one, list) else one for key, one in typed.items()}
        return float(typed) if self.kind == "number" else typed


def option(help_: str, default: Any = None, **facts: Any) -> Any:
    """Make a field of a record of the request that is an option; ``facts``: see `Option`."""
    metadata = {"option": Option(help=help_, **facts)}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def check_bounds(record: Any) -> None:
    """Refuse a number of a record of the request that is out of range, or infinite."""
    for one in options_of(type(record)):
        value = getattr(record, one.attribute)
        if one.bounds and value is not None and not _is_within(value, one.bounds):
            is_huge = not -_LARGEST < value < _LARGEST
            meant = 0 if is_huge else -value if value < 0 else value / 100  # a hyphen, or percent
            fix = f"Write {one.flag} {meant:g}." if meant and _is_within(meant, one.bounds) else None
            found = f"{value}"[:60] if is_huge else f"{value:g}"
            raise UsageError(f"{one.flag} is out of range.", found=found, expected=one.bounds, fix=fix)


def _is_within(value: float, bounds: str) -> bool:
    parts = [part.rpartition(" ") for part in bounds.split(" and ")]
    is_number = -_LARGEST < value < _LARGEST
    return is_number and all(_RELATIONS[how](value, float(bound)) for how, _, bound in parts)


def options_of(record: Any) -> tuple[Option, ...]:
    """Collect the options that a record holds, in the order of its fields.

    ``is_``, ``has_``, units and the s of a list are part of a field's name, but not of its option's.
    """
    if record not in _COLLECTED:
        _COLLECTED[record] = tuple(_collect(record))
    return _COLLECTED[record]


_COLLECTED: dict[Any, tuple[Option, ...]] = {}


def _collect(record: Any) -> Iterator[Option]:
    hints = get_type_hints(record)
    for one in fields(record):
        if "option" not in one.metadata:
            continue
        own: Option = one.metadata["option"]
        default = {} if one.default is MISSING else one.default
        kind, choices = (own.kind, ()) if own.kind == "count" else _kind(hints[one.name])
        plain = re.sub(r"^(is|has)_|_mm3?$", "", one.name)
        name = own.name or (plain.removesuffix("s") if kind == "texts" else plain)
        flag = own.flag or f"--{name.replace('_', '-')}"
        flags = own.flags or ({flag: (True, own.help)} if kind == "flag" else {})
        changing = [spelling for spelling, (value, _) in flags.items() if value != default]
        facts: dict[str, Any] = {"name": name, "attribute": one.name, "default": default, "kind": kind}
        facts |= {
            "section": own.section or record.section,
            "flag": changing[0] if changing else flag,
            "flags": flags,
        }
        yield replace(own, choices=own.choices or choices, **facts)


def _kind(hint: Any) -> tuple[Kind, tuple[Any, ...]]:
    """Say what a field of this type takes, and its choices."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = [one for one in get_args(hint) if one is not NoneType]
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return ("integer" if isinstance(arguments[0], int) else "text"), arguments
    if get_origin(hint) is tuple and arguments[-1] is ...:
        return ("paths" if arguments[0] is Path else "texts"), ()
    if arguments:
        return ("text" if get_origin(hint) is tuple else "filter"), ()
    kinds: dict[type, Kind] = {bool: "flag", int: "integer", float: "number", str: "text", Path: "path"}
    return kinds[hint], ()
