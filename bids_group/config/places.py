"""A place in a JSON file: its value, the way to it, and the complaint about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from bids_group.errors import UsageError
from bids_group.words import suggest


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
        return self._place(self.value.get(key), f"{self.where}.{key}" if self.where else key)

    def items(self) -> Iterator[Place]:
        """Go to each item of the list here."""
        for number, item in enumerate(self.value):
            yield self._place(item, f"{self.where}[{number}]")

    def _place(self, value: Any, where: str) -> Place:
        return Place(file=self.file, value=value, where=where, remarks=self.remarks)

    @property
    def is_absent(self) -> bool:
        """Whether nothing is here (no key, or null)."""
        return self.value is None

    def object(self, expected: str = "{…}") -> Place:
        """Check that an object is here."""
        if not isinstance(self.value, Mapping):
            self.refuse("is not an object", expected=expected)
        return self

    def check_keys(self, known: Iterable[str], required: Iterable[str] = ()) -> Place:
        """Refuse what is not an object, and keys that are not known or lack."""
        for key in self.object().value:
            if key not in known:
                self.at(key).refuse(
                    "is not known", expected=", ".join(known), fix=suggest(key, known, mark="")
                )
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

    def list(self) -> Place:
        """Check that a list is here."""
        if not isinstance(self.value, list):
            self.refuse("is not a list", expected="[…]")
        return self

    def lenient_list(self) -> Place:
        """Take a single value for a list of one, with a remark."""
        if isinstance(self.value, list):
            return self
        if isinstance(self.value, Mapping) or self.value is None:
            self.refuse("is not a list", expected="[…]")
        self.remark("should be a list; it was taken as a list of one")
        return self._place([self.value], self.where)

    def label(self) -> str:
        """Read a text or a whole number as a text."""
        if isinstance(self.value, bool) or not isinstance(self.value, str | int):
            self.refuse("is neither a text nor a whole number")
        return str(self.value)

    def labels(self) -> tuple[str, ...]:
        """Read a list of texts and whole numbers, or a single one."""
        return tuple(each.label() for each in self.lenient_list().items())
