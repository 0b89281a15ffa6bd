"""Comparisons such as ``age > 18 and site == "a"``: read by ``ast``, never run as Python, judged row by row.

What conditions on tables (`bids`) and queries of model files (`model`) have in common; each refuses in its
own words what it does not take.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

Value = str | float | None
Row = Mapping[str, Value]

COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
}
_DEEPEST = 100


def read_expression(text: str) -> tuple[ast.expr, dict[str, str]]:
    """Read a text as a syntax tree; names in backticks get a stand-in there.

    Returns
    -------
    The tree, and the quoted name of each stand-in.

    Raises
    ------
    ValueError
        It is no expression, or deeper than any that people write; the message says so.
    """
    quoted: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        name = f"quoted_column_{len(quoted)}"
        quoted[name] = match[1]
        return name

    plain = re.sub(r"`([^`]*)`", stand_in, text)
    try:
        tree = ast.parse(plain.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(getattr(error, "msg", None) or "it cannot be read") from error
    if _is_deep(tree):
        raise ValueError(f"nested more than {_DEEPEST} levels deep")
    return tree, quoted


def _is_deep(tree: ast.AST) -> bool:
    """Look level by level: what follows walks through the tree by recursion."""
    level = [tree]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return bool(level)


def is_listing(node: ast.expr) -> bool:
    """Whether a list of values stands there."""
    return isinstance(node, ast.List | ast.Tuple | ast.Set)


def constant(node: ast.expr) -> Value:
    """Value of a number (with a sign) or a text; None for everything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = constant(node.operand)
        if value is None or isinstance(value, str):
            return None
        return -value if isinstance(node.op, ast.USub) else value
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return None
    if isinstance(node.value, str):
        return node.value
    return _as_float(node.value) if isinstance(node.value, int | float) else None


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf


def judge(node: ast.expr, row: Row) -> bool | None:
    """Judge one row by a tree that was checked; None where a missing value leaves it open (Kleene's logic).

    ``&``, ``|`` and ``~`` are ``and``, ``or`` and ``not``.
    """
    if isinstance(node, ast.UnaryOp):
        verdict = judge(node.operand, row)
        return None if verdict is None else not verdict
    if isinstance(node, ast.BoolOp):
        return _joined([judge(value, row) for value in node.values], isinstance(node.op, ast.Or))
    if isinstance(node, ast.BinOp):
        return _joined([judge(node.left, row), judge(node.right, row)], isinstance(node.op, ast.BitOr))
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
    return None if left is None or right is None else bool(COMPARISONS[type(operation)](left, right))


def _side(node: ast.expr, row: Row) -> object:
    if isinstance(node, ast.Name):
        return row[node.id]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [constant(item) for item in node.elts]
    return constant(node)
