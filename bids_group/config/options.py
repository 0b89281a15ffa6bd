"""What an option is: one record says everything about it, and stands where its value goes.

A field of a record of the request (`bids_group.config.request`) is made with `option`; its type and its
default are the option's. `options_of` collects them; the parser, model files, the identity of an analysis,
"what differs" and the Boutiques descriptor are loops over what it returns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bids_group.errors import UsageError

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Where a number lies; never at infinity."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    def check(self, flag: str, value: float) -> None:
        """Refuse a value out of range, and what is no number."""
        if not (
            math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        ):
            said = ((name.replace("_", " "), getattr(self, name)) for name in self.__slots__)
            expected = " and ".join(f"{word} {bound:g}" for word, bound in said if bound is not None)
            raise UsageError(f"{flag} is out of range.", found=f"{value:g}", expected=expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of the command line, and a setting of a model file where it ``stands`` in one.

    Parameters
    ----------
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
        Where a number must lie; why several columns are refused.
    entity
        The BIDS entity that it selects by: ``sub-`` and the like may stand before labels.
    stands
        In a model file: among the settings of the ``run``, of each Dataset ``node``, or (None) not there.
    is_late
        Versions before did not know it, so that a model has it only where it is not at its default.
    is_made
        A path that the run makes: that of every other option is there before.
    needs
        What of the record must be true, or else the option changes nothing.
    read
        From the words typed to the value, where the kind does not say how.
    """

    help: str
    section: str
    name: str = ""
    attribute: str = ""
    default: Any = None
    kind: Kind = "text"
    choices: tuple[Any, ...] = ()
    metavar: str | None = None
    short: str | None = None
    flag: str = ""
    flags: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    bounds: Bounds | None = None
    one_only: str | None = None
    entity: str | None = None
    stands: Literal["run", "node"] | None = "run"
    is_signed: bool = False
    is_late: bool = False
    is_made: bool = False
    needs: str = ""
    read: Callable[[Any], Any] | None = None

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
        if typed is None:
            return None
        if self.kind == "texts":
            texts = tuple(self._without_entity(text) for text in typed)
            return tuple(dict.fromkeys(texts)) if self.entity or self.choices else texts
        if self.kind == "text":
            return self._without_entity(typed)
        if self.kind == "paths":
            return tuple(Path(text) for text in typed)
        if self.kind == "path":
            return Path(typed).absolute()
        if self.kind == "filter":
            return {key: tuple(one) if isinstance(one, list) else one for key, one in typed.items()}
        return float(typed) if self.kind == "number" else typed

    def _without_entity(self, text: str) -> str:
        prefix = {"subject": "sub", "session": "ses"}.get(self.entity or "", self.entity)
        return text.removeprefix(f"{prefix}-") if self.entity else text


def option(help_: str, section: str, default: Any = None, **facts: Any) -> Any:
    """Make a field of a record of the request that is an option; ``facts``: see `Option`."""
    metadata = {"option": Option(help=help_, section=section, **facts)}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def check_bounds(record: Any) -> None:
    """Refuse a number of a record of the request that is out of range."""
    for one in options_of(type(record)):
        if one.bounds is not None and (value := getattr(record, one.attribute)) is not None:
            one.bounds.check(one.flag, value)


def options_of(record: type) -> tuple[Option, ...]:
    """Collect the options that a record holds, in the order of its fields."""
    hints = get_type_hints(record)
    return tuple(
        _complete(one.metadata["option"], one.name, default, hints[one.name])
        for one in fields(record)
        if "option" in one.metadata
        for default in [{} if one.default is MISSING else one.default]
    )


def _complete(option: Option, attribute: str, default: Any, hint: Any) -> Option:
    """Read what the field says; ``is_``, ``has_``, units and the s of a list are not part of a name."""
    kind, choices = (option.kind, ()) if option.kind == "count" else _kind(hint)
    plain = re.sub(r"^(is|has)_|_mm3?$", "", attribute)
    name = option.name or (plain.removesuffix("s") if kind == "texts" else plain)
    flag = option.flag or f"--{name.replace('_', '-')}"
    flags = option.flags or ({flag: (True, option.help)} if kind == "flag" else {})
    changing = [spelling for spelling, (value, _) in flags.items() if value != default]
    return replace(
        option,
        name=name,
        attribute=attribute,
        default=default,
        kind=kind,
        choices=option.choices or choices,
        flag=changing[0] if changing else flag,
        flags=flags,
    )


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
