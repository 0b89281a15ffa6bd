"""Conditions such as ``fd_mean > 0.5 and site == "a"``: read, never run as Python; judged row by row.

``--exclude-where`` asks them of tables, the Filter of a model file asks them of its rows.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bids_group.errors import UsageError
from bids_group.words import list_some, suggest

Value = str | float | None
Row = Mapping[str, Value]
Judge = Callable[[Row], bool | None]
"""Judges one row; None where a missing value leaves it open (Kleene's logic)."""

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
_LISTING = ast.List | ast.Tuple | ast.Set
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
    """A condition that was checked against the columns it names, in the order of their first use.

    ``texts``: columns, and the texts that they are compared with; ``named``: columns, and what ``==`` or
    ``in`` asks of them.
    """

    text: str
    columns: tuple[str, ...]
    texts: tuple[tuple[str, str], ...]
    named: tuple[tuple[str, Value], ...]
    holds: Judge


def parse_condition(text: str, columns: Mapping[str, Asked], *, as_pandas: bool = False) -> Condition:
    """Read a condition; names with odd characters stand in backticks.

    ``as_pandas``: ``&``, ``|`` and ``~`` may stand for ``and``, ``or`` and ``not``, text has an order, and
    messages call it a query.

    Raises
    ------
    UsageError
        Syntax, unknown columns or levels, text compared with numbers, or anything but a comparison.
    """
    what = "query" if as_pandas else "condition"
    tree, quoted = _parse_tree(text, what)
    reader = _Reader(text=text, what=what, as_pandas=as_pandas, columns=columns, quoted=quoted)
    judge = reader.read(tree)
    columns_used, texts = tuple(dict.fromkeys(reader.used)), tuple(dict.fromkeys(reader.texts))
    return Condition(text=text, columns=columns_used, texts=texts, named=tuple(reader.named), holds=judge)


def names_in(text: str) -> set[str]:
    """Collect the names in a condition, columns or not; one that cannot be read is a `UsageError`."""
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
        hint = next((fix for sign, fix in _SLIPS.items() if re.search(sign, plain)), None)
        raise _refusal(what, text, getattr(error, "msg", None) or "it cannot be read", hint) from error
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST):  # level by level: what follows walks through the tree by recursion
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise _refusal(what, text, f"nested more than {_DEEPEST} levels deep")
    return tree, quoted


_GAPS = ("", "n/a", "na", "nan", "none", "null")
_NO_GAPS = (
    "No condition asks for missing values: --missing drop leaves out who lacks what the model needs; name "
    "others with --exclude-participant-label."
)
_SLIPS = {
    "=>": "Write >= for 'at least'.",
    "=<": "Write <= for 'at most'.",
    "<>": "Write != for 'not equal'.",
    r"(?<![=!<>])=(?!=)": "Compare with == (two equal signs).",
    r"\b0\d": "Put labels in quotes.",
    r"\b(AND|OR|NOT|IN)\b": "Write and, or, not, in with small letters.",
    r"\b(and|or)\s*[<>=!]|\bbetween\b": "Name the column on both sides: age > 20 and age < 30.",
}


def _refusal(what: str, text: str, found: str, fix: str | None = None) -> UsageError:
    return UsageError(f"The {what} '{text}' cannot be used.", found=found, expected=_ALLOWED, fix=fix)


@dataclass(slots=True)
class _Reader:
    """Turns the tree of a condition into its judge, and refuses what is not allowed.

    ``used``: columns; ``texts``, ``named``: as a condition holds them.
    """

    text: str
    what: str
    as_pandas: bool
    columns: Mapping[str, Asked]
    quoted: Mapping[str, str]
    used: list[str] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    named: list[tuple[str, Value]] = field(default_factory=list)

    def refuse(self, node: ast.expr, found: str, fix: str | None = None) -> UsageError:
        return _refusal(self.what, self.text, f"'{ast.unparse(node)}' {found}".rstrip(), fix)

    def read(self, node: ast.expr) -> Judge:
        operation = getattr(node, "op", None)
        if isinstance(node, ast.Compare):
            return self._compare(node)
        if isinstance(operation, ast.And | ast.Or | ast.Not) or (
            self.as_pandas and isinstance(operation, ast.BitAnd | ast.BitOr | ast.Invert)
        ):
            judges = [self.read(part) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
            if isinstance(operation, ast.Not | ast.Invert):
                return lambda row: None if (verdict := judges[0](row)) is None else not verdict
            decisive = isinstance(operation, ast.Or | ast.BitOr)
            return lambda row: _join([judge(row) for judge in judges], decisive)
        is_joined = isinstance(node, ast.BinOp)
        fix = "Join comparisons by and, or, not, instead of & and |." if is_joined else None
        if isinstance(node, ast.Tuple):
            last = ast.unparse(node.elts[-1]) if node.elts else ""
            fix = "Write numbers with a decimal point." if re.match(r"\d", last) else None
        elif ".isna" in ast.unparse(node) or ".isnull" in ast.unparse(node):
            fix = _NO_GAPS
        raise self.refuse(node, "is no comparison", fix)

    def _compare(self, node: ast.Compare) -> Judge:
        sides = [node.left, *node.comparators]
        names = [self._name(side, node) if isinstance(side, ast.Name) else None for side in sides]
        asked = [name for name in names if name is not None]
        kinds = {self.columns[name].kind for name in asked}
        if not asked:
            raise self.refuse(node, "names no column")
        for operation, left, right in zip(node.ops, sides, sides[1:], strict=False):
            if type(operation) not in _COMPARISONS:
                is_gap = isinstance(right, ast.Constant) and right.value is None
                raise self.refuse(node, "", _NO_GAPS if is_gap else "Compare with == or !=.")
            if isinstance(operation, ast.Lt | ast.LtE | ast.Gt | ast.GtE) and not self.as_pandas:
                for name in asked:
                    self.columns[name].check_usable()
                if "categorical" in kinds:
                    raise self.refuse(node, "asks for an order of text", "Compare with == or in.")
            is_among = isinstance(operation, ast.In | ast.NotIn)
            if is_among != isinstance(right, _LISTING) or isinstance(left, _LISTING):
                found = "is not so: a list stands after in, and nowhere else"
                raise self.refuse(node, found, 'After in stands a list: site in ["a", "b"]')
        values = [
            self._value(side, asked) if name is None else None
            for name, side in zip(names, sides, strict=True)
        ]
        if len(kinds) > 1:
            raise self.refuse(node, "compares a column of text with a column of numbers")
        compare = [_COMPARISONS[type(operation)] for operation in node.ops]
        if all(isinstance(operation, ast.Eq | ast.In) for operation in node.ops):
            each = [one for value in values for one in (value if isinstance(value, list) else [value])]
            self.named += [(name, one) for name in asked for one in each if one is not None]

        def judge(row: Row) -> bool | None:
            cells = [value if name is None else row[name] for name, value in zip(names, values, strict=True)]
            pairs = zip(compare, cells, cells[1:], strict=False)
            return _join(
                [None if a is None or b is None else bool(holds(a, b)) for holds, a, b in pairs], False
            )

        return judge

    def _name(self, node: ast.Name, comparison: ast.Compare) -> str:
        name = self.quoted.get(node.id, node.id)
        if name in self.columns:
            self.used.append(name)
            return name
        none = f"a column '{name}' that no table has"
        absent = f"the column '{name}', which does not exist" if self.as_pandas else none
        own = "subject" if self.as_pandas else "participant_id"
        is_person = name in {"subject", "sub", "participant", "participant_id"} - {own}
        fix = f"Write {own}." if is_person else suggest(name, self.columns)
        if name in {"session", "session_id", "ses"} and not self.as_pandas:
            fix = "Choose sessions with --session-label."
        fix = fix or f"If '{name}' is a value, put it in quotes: \"{name}\""
        left, symbol = comparison.left, _SYMBOLS.get(type(comparison.ops[0]))
        if symbol is not None and comparison.comparators == [node] and isinstance(left, ast.Name):
            column = self.quoted.get(left.id, left.id)
            if column in self.columns and self.columns[column].kind == "categorical":
                written = f"`{column}`" if left.id in self.quoted else column
                fix = f'Put text in quotes: {written} {symbol} "{name}"'
        raise UsageError(
            f"The {self.what} '{self.text}' names {absent}.",
            found=list_some(self.columns, 1000, none="no columns"),
            fix=fix,
        )

    def _value(self, node: ast.expr, names: Sequence[str]) -> Any:
        """Read a number, a text or a list of them, and check it against the columns it is compared with."""
        if isinstance(node, _LISTING) and not any(isinstance(item, _LISTING) for item in node.elts):
            return [self._value(item, names) for item in node.elts]
        value = _constant(node)
        if value is None:
            fix = f'Put text in quotes: "{node.id}"' if isinstance(node, ast.Name) else None
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
                fix = "Join comparisons by and, or, not, instead of & and |."
            raise self.refuse(node, "is neither a column, a number nor quoted text", fix)
        for name in names:
            column, is_text = self.columns[name], isinstance(value, str)
            if not is_text:
                column.check_usable()
            if (column.kind == "numeric") == is_text:
                found = f"column '{name}' holds {'numbers' if is_text else 'text'}; compared with {value!r}"
                fix = "Write the number without quotes."
                if not isinstance(value, str):
                    fix = f'Put the value in quotes: "{value:.15g}"'
                fix = _NO_GAPS if str(value).lower() in _GAPS else fix
                raise _refusal(self.what, self.text, found, fix)
            if isinstance(value, str):
                self.texts.append((name, value))
            if isinstance(value, str) and column.levels is not None and value not in column.levels:
                whole = f"sub-{value}"
                fix = f"Did you mean '{whole}'?" if whole in column.levels else suggest(value, column.levels)
                raise UsageError(
                    f"The {self.what} '{self.text}' names a value '{value}' that column '{name}' never has.",
                    found=list_some(column.levels, 20),
                    fix=_NO_GAPS if value.lower() in _GAPS else fix,
                )
        return value


def _join(verdicts: list[bool | None], decisive: bool) -> bool | None:
    """Join by ``or`` where True is decisive, by ``and`` where False is."""
    if decisive in verdicts:
        return decisive
    return None if None in verdicts else not decisive


def _constant(node: ast.expr) -> Value:
    """Value of a number (with a sign) or a text; None for everything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _constant(node.operand)
        if value is None or isinstance(value, str):
            return None
        return -value if isinstance(node.op, ast.USub) else value
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return None
    if not isinstance(node.value, int | float):
        return node.value if isinstance(node.value, str) else None
    try:
        return float(node.value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf
