"""Conditions on columns, such as ``fd_mean > 0.5 and site == "a"``: read, never run as Python."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bids_group.bids.entities import name_some, suggest
from bids_group.errors import UsageError
from bids_group.records import Column

Value = str | float | None
Row = Mapping[str, Value]

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
}
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
        return _judge(self.tree, {name: row[column] for name, column in self.names.items()})


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
    quoted: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        name = f"quoted_column_{len(quoted)}"
        quoted[name] = match[1]
        return name

    plain = re.sub(r"`([^`]*)`", stand_in, text)
    if len(text) > _LONGEST:
        raise _refuse(
            text[:40] + "…", f"{len(text)} characters", "Add a column to the table, and compare that."
        )
    try:
        tree = ast.parse(plain.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refuse(text, getattr(error, "msg", None) or "it cannot be read", _hint(plain)) from error
    return tree, quoted


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
        for operation, side in zip(node.ops, node.comparators, strict=True):
            if type(operation) not in _COMPARISONS:
                raise _refuse(self.text, f"'{ast.unparse(node)}'", "Compare with == or !=.")
            is_listing = isinstance(operation, ast.In | ast.NotIn)
            is_order = isinstance(operation, ast.Lt | ast.LtE | ast.Gt | ast.GtE)
            if is_order and any(column.kind == "categorical" for column in columns):
                raise _refuse(
                    self.text, f"'{ast.unparse(node)}' asks for an order of text", "Compare with == or in."
                )
            if is_listing != isinstance(side, ast.List | ast.Tuple | ast.Set):
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
        value = _constant(node)
        if value is None:
            fix = f'Put text in quotes: "{node.id}"' if isinstance(node, ast.Name) else None
            found = f"'{ast.unparse(node)}' is neither a column, a number nor quoted text"
            raise _refuse(self.text, found, fix)
        return [value]

    def _check_value(self, column: Column, value: Value) -> None:
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


def _constant(node: ast.expr) -> Value:
    """Value of a number (with a sign) or a text; None for everything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _constant(node.operand)
        return (
            None
            if value is None or isinstance(value, str)
            else -value
            if isinstance(node.op, ast.USub)
            else value
        )
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return None
    if isinstance(node.value, str):
        return node.value
    return float(node.value) if isinstance(node.value, int | float) else None


def _judge(node: ast.expr, row: Row) -> bool | None:
    if isinstance(node, ast.BoolOp):
        verdicts = [_judge(value, row) for value in node.values]
        decisive = isinstance(node.op, ast.Or)
        if decisive in verdicts:
            return decisive
        return None if None in verdicts else not decisive
    if isinstance(node, ast.UnaryOp):
        verdict = _judge(node.operand, row)
        return None if verdict is None else not verdict
    assert isinstance(node, ast.Compare)
    return _judge_compare(node, row)


def _judge_compare(node: ast.Compare, row: Row) -> bool | None:
    left = _value(node.left, row)
    verdicts: list[bool | None] = []
    for operation, side in zip(node.ops, node.comparators, strict=True):
        right = _value(side, row)
        is_open = left is None or right is None
        verdicts.append(None if is_open else _COMPARISONS[type(operation)](left, right))
        left = right
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _value(node: ast.expr, row: Row) -> object:
    if isinstance(node, ast.Name):
        return row[node.id]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_constant(item) for item in node.elts]
    return _constant(node)
