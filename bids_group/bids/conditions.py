"""Conditions on columns, such as ``fd_mean > 0.5 and site == "a"``: read, never run as Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bids_group.bids.entities import name_some, suggest
from bids_group.errors import UsageError
from bids_group.predicates import COMPARISONS, Row, Value, constant, is_listing, judge, read_expression
from bids_group.records import Column

_SYMBOLS: Mapping[type[ast.cmpop], str] = {ast.Eq: "==", ast.NotEq: "!="}
_LONGEST = 2_000
_ALLOWED = "comparisons of columns with numbers or quoted text (== != < <= > >= in), joined by and, or, not"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition that was checked against the columns it names."""

    text: str
    tree: ast.expr
    names: Mapping[str, str]
    """Names in the tree, and the columns they stand for."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs, in the order of their first use."""
        return tuple(dict.fromkeys(self.names.values()))

    def holds(self, row: Row) -> bool | None:
        """Judge one row; None where a missing value leaves it open."""
        return judge(self.tree, {name: row[column] for name, column in self.names.items()})


def parse_condition(text: str, columns: Mapping[str, Column]) -> Condition:
    """Read a condition; names with odd characters stand in backticks.

    A missing value makes a comparison unknown, neither true nor false (Kleene's logic).

    Raises
    ------
    UsageError
        Syntax, unknown columns or levels, text compared with numbers, or anything but a comparison.
    """
    tree, quoted = _parse_tree(text)
    reader = _Reader(text=text, columns=columns, quoted=quoted, used={})
    reader.check(tree)
    return Condition(text=text, tree=tree, names=reader.used)


def names_in(text: str) -> set[str]:
    """Collect the names in a condition, columns or not.

    Raises
    ------
    UsageError
        The condition cannot be read.
    """
    tree, quoted = _parse_tree(text)
    return {quoted.get(node.id, node.id) for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _parse_tree(text: str) -> tuple[ast.expr, dict[str, str]]:
    """Read a condition as a syntax tree; names in backticks get a stand-in."""
    if len(text) > _LONGEST:
        raise _refuse(
            text[:40] + "…", f"{len(text)} characters", "Add a column to the table, and compare that."
        )
    try:
        return read_expression(text)
    except ValueError as error:
        raise _refuse(text, str(error), _hint(re.sub(r"`[^`]*`", "", text))) from error


def _refuse(text: str, found: str, fix: str | None = None) -> UsageError:
    return UsageError(f"The condition '{text}' cannot be used.", found=found, expected=_ALLOWED, fix=fix)


def _hint(plain: str) -> str | None:
    return "Compare with == (two equal signs)." if re.search(r"(?<![=!<>])=(?!=)", plain) else None


@dataclass(slots=True)
class _Reader:
    """Walks through a condition and refuses what is not allowed."""

    text: str
    columns: Mapping[str, Column]
    quoted: Mapping[str, str]
    used: dict[str, str]

    def check(self, node: ast.expr) -> None:
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self.check(value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.check(node.operand)
        elif isinstance(node, ast.Compare):
            self._check_compare(node)
        else:
            fix = (
                "Join comparisons by and, or, not, instead of & and |."
                if isinstance(node, ast.BinOp)
                else None
            )
            raise _refuse(self.text, f"'{ast.unparse(node)}' is no comparison", fix)

    def _check_compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        columns = [self._column(side, node) for side in sides if isinstance(side, ast.Name)]
        if not columns:
            raise _refuse(self.text, f"'{ast.unparse(node)}' names no column")
        for operation, left, side in zip(node.ops, sides, sides[1:], strict=False):
            if type(operation) not in COMPARISONS:
                raise _refuse(self.text, f"'{ast.unparse(node)}'", "Compare with == or !=.")
            wants_list = isinstance(operation, ast.In | ast.NotIn)
            is_order = isinstance(operation, ast.Lt | ast.LtE | ast.Gt | ast.GtE)
            if is_order:
                for column in columns:
                    column.check_usable()
            if is_order and any(column.kind == "categorical" for column in columns):
                raise _refuse(
                    self.text, f"'{ast.unparse(node)}' asks for an order of text", "Compare with == or in."
                )
            if wants_list != is_listing(side) or is_listing(left):
                raise _refuse(
                    self.text, f"'{ast.unparse(node)}'", 'After in stands a list: site in ["a", "b"]'
                )
        for value in (
            value for side in sides if not isinstance(side, ast.Name) for value in self._values(side)
        ):
            for column in columns:
                self._check_value(column, value)
        kinds = {column.kind for column in columns}
        if len(kinds) > 1:
            raise _refuse(
                self.text, f"'{ast.unparse(node)}' compares a column of text with a column of numbers"
            )

    def _column(self, node: ast.Name, comparison: ast.Compare) -> Column:
        name = self.quoted.get(node.id, node.id)
        if name not in self.columns:
            raise UsageError(
                f"The condition '{self.text}' names a column '{name}' that no table has.",
                found=", ".join(self.columns) or "no columns",
                fix=self._quoting(node, comparison)
                or suggest(name, self.columns)
                or f"If '{name}' is a value, put it in quotes: \"{name}\"",
            )
        self.used[node.id] = name
        return self.columns[name]

    def _quoting(self, node: ast.Name, comparison: ast.Compare) -> str | None:
        """Tell how to write a word that is compared with a column of text: in quotes."""
        left, symbol = comparison.left, _SYMBOLS.get(type(comparison.ops[0]))
        if symbol is None or comparison.comparators != [node] or not isinstance(left, ast.Name):
            return None
        column = self.quoted.get(left.id, left.id)
        if column not in self.columns or self.columns[column].kind != "categorical":
            return None
        written = f"`{column}`" if left.id in self.quoted else column
        return f'Put text in quotes: {written} {symbol} "{self.quoted.get(node.id, node.id)}"'

    def _values(self, node: ast.expr) -> list[Value]:
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return [value for item in node.elts for value in self._values(item)]
        value = constant(node)
        if value is None:
            fix = f'Put text in quotes: "{node.id}"' if isinstance(node, ast.Name) else None
            found = f"'{ast.unparse(node)}' is neither a column, a number nor quoted text"
            raise _refuse(self.text, found, fix)
        return [value]

    def _check_value(self, column: Column, value: Value) -> None:
        if not isinstance(value, str):
            column.check_usable()
        if (column.kind == "numeric") == isinstance(value, str):
            is_number = column.kind == "numeric"
            raise _refuse(
                self.text,
                f"column '{column.name}' holds {'numbers' if is_number else 'text'}; compared with {value!r}",
                "Write the number without quotes." if is_number else f'Put the value in quotes: "{value}"',
            )
        if isinstance(value, str) and value not in column.levels:
            raise UsageError(
                f"The condition '{self.text}' names a value '{value}' that column '{column.name}' never has.",
                found=name_some(column.levels, 20),
                fix=suggest(value, column.levels),
            )
