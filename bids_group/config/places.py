"""A place in a JSON file: its value, the way to it, and the complaint about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from bids_group.errors import UsageError
from bids_group.words import suggest

T = TypeVar("T")
Default = TypeVar("Default")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """``value`` stands in ``file`` at ``where`` (``Nodes[1].X``); ``remarks``: what was read leniently."""

    file: Path
    value: Any
    where: str = ""
    remarks: list[str] = field(default_factory=list)

    def refuse(self, sentence: str, *, expected: str | None = None, fix: str | None = None) -> NoReturn:
        """Refuse the value here, quoting it."""
        found = repr(self.value)
        raise UsageError(
            f"{self.where or 'The model'} in {self.file} {sentence}.",
            found=found if len(found) <= 200 else f"{found[:200]} …",
            expected=expected,
            fix=fix,
        )

    def remark(self, sentence: str) -> None:
        """Note that the value was understood although it is not as the standard has it."""
        self.remarks.append(f"{self.where} in {self.file.name} {sentence}.")

    def at(self, key: str) -> Place:
        """Go to the value of a key (None where it is absent or null)."""
        return replace(self, value=self.value.get(key), where=f"{self.where}.{key}" if self.where else key)

    def items(self) -> Iterator[Place]:
        """Go to each item of the list here."""
        for number, item in enumerate(self.value):
            yield replace(self, value=item, where=f"{self.where}[{number}]")

    @property
    def is_absent(self) -> bool:
        """Whether nothing is here (no key, or null)."""
        return self.value is None

    def read(self, key: str, reader: Callable[[Place], T], default: Default) -> T | Default:
        """Read what stands at a key; ``default`` where nothing does."""
        place = self.at(key)
        return default if place.is_absent else reader(place)

    def object(self, expected: str = "{…}") -> Place:
        """Check that an object is here."""
        if not isinstance(self.value, Mapping):
            self.refuse("is not an object", expected=expected)
        return self

    def check_keys(self, known: Iterable[str], required: Iterable[str] = ()) -> Place:
        """Refuse what is not an object, and keys that are not known or lack."""
        for key in self.object().value:
            if key not in known:
                fix = suggest(key, known, mark="")
                self.at(key).refuse("is not known", expected=", ".join(known), fix=fix)
        for key in required:
            if self.at(key).is_absent:
                self.at(key).refuse("is missing")
        return self

    def text(self) -> str:
        """Read a text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            self.refuse("is not a text", expected='"…"')
        return self.value

    def choice(self, *choices: str, assumed: str | None = None) -> str:
        """Read one of several texts; ``assumed``, with a remark, where nothing is said."""
        if self.is_absent and assumed is not None:
            self.remark(f'is missing; "{assumed}" was assumed')
            return assumed
        if self.value not in choices:
            fix = suggest(self.value, choices, mark="") if isinstance(self.value, str) else None
            self.refuse("is not known", expected=" or ".join(choices), fix=fix)
        return str(self.value)

    def list(self, *, is_lenient: bool = False) -> Iterator[Place]:
        """Go to each item of the list that must be here; a single value is one, with a remark, if allowed."""
        if isinstance(self.value, list):
            return self.items()
        if not is_lenient or isinstance(self.value, Mapping) or self.value is None:
            self.refuse("is not a list", expected="[…]")
        self.remark("should be a list; it was taken as a list of one")
        return replace(self, value=[self.value]).items()

    def label(self) -> str:
        """Read a text or a whole number as a text."""
        if isinstance(self.value, bool) or not isinstance(self.value, str | int):
            self.refuse("is neither a text nor a whole number")
        return str(self.value)

    def labels(self) -> tuple[str, ...]:
        """Read a list of texts and whole numbers, or a single one."""
        return tuple(each.label() for each in self.list(is_lenient=True))
