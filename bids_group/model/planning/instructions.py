"""One instruction of a Stats Model's transformations: its parameters, read and checked against the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import pandas as pd

from bids_group.errors import UsageError
from bids_group.model.planning.covariates import ENTITIES
from bids_group.words import list_some, suggest

Columns = dict[str, pd.Series]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transformed:
    """The rows after all instructions; ``dropped``: label and reason of each row that was left out."""

    rows: pd.DataFrame
    dropped: Mapping[str, str] = field(default_factory=dict)
    made_by: Mapping[str, str] = field(default_factory=dict)
    """Name of each new or changed column, and the instruction that made it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One instruction with the state it is applied to."""

    node: str
    number: int
    given: Mapping[str, Any]
    state: Transformed

    @property
    def rows(self) -> pd.DataFrame:
        """The rows as the instructions before left them."""
        return self.state.rows

    @property
    def name(self) -> str:
        """Name of the instruction."""
        return str(self.given["Name"])

    def refuse(self, sentence: str, *, expected: str | None = None, fix: str | None = None) -> NoReturn:
        """Refuse the instruction."""
        raise UsageError(
            f"Transformation {self.number + 1} ({self.name}) of the node {self.node!r} {sentence}.",
            found=str(dict(self.given)),
            expected=expected,
            fix=fix,
        )

    def names(self, key: str, *, default: Sequence[str] | None = None) -> list[str]:
        """Read names of columns: a text, or a list of texts."""
        value = self.given.get(key)
        if value is None and default is not None:
            return list(default)
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            self.refuse(f"needs {key}: a list of names")
        return list(names)

    def inputs(self, key: str = "Input") -> list[str]:
        """Read names of columns that exist."""
        names = self.names(key)
        for name in names:
            if name not in self.rows.columns:
                known = list(map(str, self.rows.columns))
                self.refuse(
                    f"names the column '{name}', which does not exist",
                    expected=f"one of {list_some(known)}",
                    fix=suggest(name, known),
                )
        return names

    def outputs(self, n: int) -> list[str]:
        """Read the names of the results: as many as there are; without ``Output``, the inputs change."""
        names = self.names("Output", default=self.names("Input"))
        if len(names) != n:
            self.refuse(f"has {len(names)} outputs for {n} results")
        return names

    def pairs(self) -> list[tuple[str, str]]:
        """Read inputs that exist, each with the name of its result."""
        inputs = self.inputs()
        return list(zip(inputs, self.outputs(len(inputs)), strict=True))

    def numbers(self, name: str) -> pd.Series:
        """Values of a column as numbers; labels that are whole numbers count as such."""
        values = self.rows[name]
        if pd.api.types.is_numeric_dtype(values):
            return values.astype(float)
        as_numbers = pd.to_numeric(values.astype(object), errors="coerce").astype(float)
        if bool((as_numbers.isna() & values.notna()).any()):
            self.refuse(
                f"computes with the column '{name}', which holds text", fix="Make a Factor of it first."
            )
        return as_numbers

    def flag(self, key: str, default: bool) -> bool:
        """Read true or false."""
        value = self.given.get(key, default)
        if not isinstance(value, bool):
            self.refuse(f"needs true or false for {key}")
        return value

    def assign(self, columns: Columns) -> Transformed:
        """Put new columns into the rows; entities of the maps are not overwritten."""
        for name in columns:
            if name in ENTITIES:
                self.refuse(f"would overwrite '{name}', which says what a row is", fix="Name another Output.")
        others = self.rows.drop(columns=[name for name in columns if name in self.rows.columns])
        rows = pd.concat([others, pd.DataFrame(columns, index=self.rows.index)], axis=1)
        return replace(
            self.state, rows=rows, made_by={**self.state.made_by, **dict.fromkeys(columns, self.name)}
        )

    def remove(self, names: Sequence[str], state: Transformed | None = None) -> Transformed:
        """Take columns away; entities of the maps stay."""
        for name in names:
            if name in ENTITIES:
                self.refuse(f"would remove '{name}', which says what a row is")
        state = state or self.state
        return replace(state, rows=state.rows.drop(columns=list(names)))

    def keep(self, is_kept: pd.Series, reason: str) -> Transformed:
        """Leave out the other rows."""
        out = {str(label): f"{reason}, node {self.node}" for label in self.rows.index[~is_kept]}
        return replace(self.state, rows=self.rows[is_kept], dropped={**self.state.dropped, **out})


def say_factor(name: str, levels: Sequence[str]) -> str:
    """Say how a column of categories becomes variables of ``X``."""
    made = ", ".join(f'"{name}.{level}"' for level in levels[:4]) + (", …" if len(levels) > 4 else "")
    return f'Add {{"Name": "Factor", "Input": ["{name}"]}} to the Instructions and write "X": [{made}]'
