"""Conditions such as ``fd_mean > 0.5 and site == "a"``: read, never run as Python; judged row by row.

``--exclude-where`` asks them of tables, the Filter of a model file asks them of its rows.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bids_group.errors import UsageError
from bids_group.words import list_some, suggest

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
_LONGEST = 3_000
_DEEPEST = 100
_ALLOWED = "comparisons of columns with numbers or quoted text (== != < <= > >= in), joined by and, or, not"


class Asked(Protocol):
    """What must be known of a column to ask something of it; ``levels`` None: any text may be asked for."""

    @property
    def kind(self) -> str:
        """``numeric`` or ``categorical``."""

    @property
    def levels(self) -> tuple[str, ...] | None:
        """The values of a categorical column."""

    def check_usable(self) -> None:
        """Raise the column's problem where its numbers are needed."""


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
        """Judge one row; None where a missing value leaves it open (Kleene's logic)."""
        return _judge(self.tree, {name: row[column] for name, column in self.names.items()})


def parse_condition(
    text: str, columns: Mapping[str, Asked], *, what: str = "condition", as_pandas: bool = False
) -> Condition:
    """Read a condition; names with odd characters stand in backticks.

    Parameters
    ----------
    what
        What it is called in messages.
    as_pandas
        ``&``, ``|`` and ``~`` may stand for ``and``, ``or`` and ``not``, and text has an order.

    Raises
    ------
    UsageError
        Syntax, unknown columns or levels, text compared with numbers, or anything but a comparison.
    """
    tree, quoted = _parse_tree(text, what)
    reader = _Reader(text=text, what=what, as_pandas=as_pandas, columns=columns, quoted=quoted, used={})
    reader.check(tree)
    return Condition(text=text, tree=tree, names=reader.used)


def names_in(text: str) -> set[str]:
    """Collect the names in a condition, columns or not.

    Raises
    ------
    UsageError
        The condition cannot be read.
    """
    tree, quoted = _parse_tree(text, "condition")
    return {quoted.get(node.id, node.id) for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _parse_tree(text: str, what: str) -> tuple[ast.expr, dict[str, str]]:
    """Read a text as a syntax tree; names in backticks get a stand-in there, which the dict resolves."""
    if len(text) > _LONGEST:
        fix = "Add a column to the table, and compare that."
        raise _refusal(what, text[:40] + "…", f"{len(text)} characters", fix)
    quoted: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        name = f"quoted_column_{len(quoted)}"
        quoted[name] = match[1]
        return name

    plain = re.sub(r"`([^`]*)`", stand_in, text)
    try:
        tree = ast.parse(plain.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        is_assigned = re.search(r"(?<![=!<>])=(?!=)", plain)
        hint = "Compare with == (two equal signs)." if is_assigned else None
        raise _refusal(what, text, getattr(error, "msg", None) or "it cannot be read", hint) from error
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST):  # level by level: what follows walks through the tree by recursion
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise _refusal(what, text, f"nested more than {_DEEPEST} levels deep")
    return tree, quoted


def _refusal(what: str, text: str, found: str, fix: str | None = None) -> UsageError:
    return UsageError(f"The {what} '{text}' cannot be used.", found=found, expected=_ALLOWED, fix=fix)


@dataclass(slots=True)
class _Reader:
    """Walks through a condition and refuses what is not allowed; ``used``: names and their columns."""

    text: str
    what: str
    as_pandas: bool
    columns: Mapping[str, Asked]
    quoted: Mapping[str, str]
    used: dict[str, str]

    def refuse(self, node: ast.expr, found: str, fix: str | None = None) -> UsageError:
        return _refusal(self.what, self.text, f"'{ast.unparse(node)}' {found}".rstrip(), fix)

    def check(self, node: ast.expr) -> None:
        if isinstance(node, ast.Compare):
            self._check_compare(node)
        elif isinstance(node, ast.BoolOp):
            for value in node.values:
                self.check(value)
        elif isinstance(node, ast.UnaryOp) and (
            isinstance(node.op, ast.Not) or (self.as_pandas and isinstance(node.op, ast.Invert))
        ):
            self.check(node.operand)
        elif isinstance(node, ast.BinOp) and self.as_pandas and isinstance(node.op, ast.BitAnd | ast.BitOr):
            self.check(node.left)
            self.check(node.right)
        else:
            is_joined = isinstance(node, ast.BinOp)
            fix = "Join comparisons by and, or, not, instead of & and |." if is_joined else None
            raise self.refuse(node, "is no comparison", fix)

    def _check_compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        columns = {self._name(side, node): side for side in sides if isinstance(side, ast.Name)}
        if not columns:
            raise self.refuse(node, "names no column")
        for operation, left, side in zip(node.ops, sides, sides[1:], strict=False):
            if type(operation) not in _COMPARISONS:
                raise self.refuse(node, "", "Compare with == or !=.")
            if isinstance(operation, ast.Lt | ast.LtE | ast.Gt | ast.GtE) and not self.as_pandas:
                self._check_order(node, columns)
            if isinstance(operation, ast.In | ast.NotIn) != _is_listing(side) or _is_listing(left):
                found = "is not so: a list stands after in, and nowhere else"
                raise self.refuse(node, found, 'After in stands a list: site in ["a", "b"]')
        for value in (one for side in sides if not isinstance(side, ast.Name) for one in self._values(side)):
            for name in columns:
                self._check_value(name, value)
        if len({self.columns[name].kind for name in columns}) > 1:
            raise self.refuse(node, "compares a column of text with a column of numbers")

    def _check_order(self, node: ast.Compare, names: Mapping[str, ast.expr]) -> None:
        for name in names:
            self.columns[name].check_usable()
        if any(self.columns[name].kind == "categorical" for name in names):
            raise self.refuse(node, "asks for an order of text", "Compare with == or in.")

    def _name(self, node: ast.Name, comparison: ast.Compare) -> str:
        name = self.quoted.get(node.id, node.id)
        if name not in self.columns:
            absent = (
                f"the column '{name}', which does not exist"
                if self.as_pandas
                else f"a column '{name}' that no table has"
            )
            raise UsageError(
                f"The {self.what} '{self.text}' names {absent}.",
                found=list_some(self.columns, 1000, none="no columns"),
                fix=self._quoting(node, comparison)
                or suggest(name, self.columns)
                or f"If '{name}' is a value, put it in quotes: \"{name}\"",
            )
        self.used[node.id] = name
        return name

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
            raise self.refuse(node, "is neither a column, a number nor quoted text", fix)
        return [value]

    def _check_value(self, name: str, value: Value) -> None:
        column = self.columns[name]
        if not isinstance(value, str):
            column.check_usable()
        if (column.kind == "numeric") == isinstance(value, str):
            is_number = column.kind == "numeric"
            found = f"column '{name}' holds {'numbers' if is_number else 'text'}; compared with {value!r}"
            fix = "Write the number without quotes." if is_number else f'Put the value in quotes: "{value}"'
            raise _refusal(self.what, self.text, found, fix)
        if isinstance(value, str) and column.levels is not None and value not in column.levels:
            raise UsageError(
                f"The {self.what} '{self.text}' names a value '{value}' that column '{name}' never has.",
                found=list_some(column.levels, 20),
                fix=suggest(value, column.levels),
            )


def _is_listing(node: ast.expr) -> bool:
    return isinstance(node, ast.List | ast.Tuple | ast.Set)


def _constant(node: ast.expr) -> Value:
    """Value of a number (with a sign) or a text; None for everything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _constant(node.operand)
        if value is None or isinstance(value, str):
            return None
        return -value if isinstance(node.op, ast.USub) else value
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return None
    try:
        return float(node.value) if isinstance(node.value, int | float) else _text(node.value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _judge(node: ast.expr, row: Row) -> bool | None:
    """Judge one row by a tree that was checked; None where a missing value leaves it open."""
    if isinstance(node, ast.UnaryOp):
        verdict = _judge(node.operand, row)
        return None if verdict is None else not verdict
    if isinstance(node, ast.BoolOp):
        return _joined([_judge(value, row) for value in node.values], isinstance(node.op, ast.Or))
    if isinstance(node, ast.BinOp):
        return _joined([_judge(node.left, row), _judge(node.right, row)], isinstance(node.op, ast.BitOr))
    assert isinstance(node, ast.Compare)
    sides = [_side(side, row) for side in (node.left, *node.comparators)]
    pairs = zip(node.ops, sides, sides[1:], strict=False)
    return _joined([_compare(*pair) for pair in pairs], decisive=False)


def _joined(verdicts: list[bool | None], decisive: bool) -> bool | None:
    """Join by ``or`` where True is decisive, by ``and`` where False is."""
    if decisive in verdicts:
        return decisive
    return None if None in verdicts else not decisive


def _compare(operation: ast.cmpop, left: object, right: object) -> bool | None:
    return None if left is None or right is None else bool(_COMPARISONS[type(operation)](left, right))


def _side(node: ast.expr, row: Row) -> object:
    if isinstance(node, ast.Name):
        return row[node.id]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_constant(item) for item in node.elts]
    return _constant(node)
