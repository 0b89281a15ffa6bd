"""Queries of a Filter, such as ``age > 18 and sex == "F"``: read by ``ast``, never run as Python."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bids_group.errors import UsageError
from bids_group.predicates import COMPARISONS, constant, is_listing, judge, read_expression
from bids_group.words import list_some, suggest

ALLOWED = "comparisons (== != < <= > >= in) of columns with numbers or quoted text, joined by and, or, not"


def evaluate_query(text: str, frame: pd.DataFrame) -> pd.Series:
    """Judge each row: True, False, or missing where a missing value leaves it open (Kleene's logic).

    Parameters
    ----------
    text
        The query; names with odd characters stand in backticks, ``&``, ``|`` and ``~`` may stand for words.
    frame
        One row per observation.

    Returns
    -------
    Series of dtype ``boolean`` with the index of ``frame``.

    Raises
    ------
    UsageError
        The query cannot be read, names a column that does not exist, or compares text with numbers.
    """
    try:
        tree, quoted = read_expression(text)
    except ValueError as error:
        raise _refusal(text, str(error)) from error
    reader = _Reader(text=text, frame=frame, quoted=quoted, used={})
    reader.check(tree)
    cells = zip(*reader.used.values(), strict=True) if reader.used else [()] * len(frame)
    verdicts = [judge(tree, dict(zip(reader.used, row, strict=True))) for row in cells]
    return pd.Series(verdicts, index=frame.index, dtype="boolean")


def _refusal(text: str, found: str) -> UsageError:
    return UsageError(f"The query {text!r} cannot be used.", found=found, expected=ALLOWED)


@dataclass(slots=True)
class _Reader:
    """Walks through a query and refuses what it does not know.

    ``used``: by name in the tree, the values of its column, None where missing.
    """

    text: str
    frame: pd.DataFrame
    quoted: Mapping[str, str]
    used: dict[str, list[Any]]

    def check(self, node: ast.expr) -> None:
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for operation, left, right in zip(node.ops, sides, sides[1:], strict=False):
                self._check_pair(node, operation, left, right)
            return
        for part in self._parts(node):
            self.check(part)

    def _parts(self, node: ast.expr) -> list[ast.expr]:
        if isinstance(node, ast.BoolOp):
            return list(node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
            return [node.left, node.right]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
            return [node.operand]
        raise _refusal(self.text, f"{ast.unparse(node)!r} is no comparison")

    def _check_pair(self, node: ast.expr, operation: ast.cmpop, left: ast.expr, right: ast.expr) -> None:
        if type(operation) not in COMPARISONS:
            raise _refusal(self.text, f"{type(operation).__name__} is no comparison")
        if is_listing(left) or is_listing(right) != isinstance(operation, ast.In | ast.NotIn):
            raise _refusal(self.text, f"{ast.unparse(node)!r}: a list stands after in, and nowhere else")
        values = [value for value in (*self._values(left), *self._values(right)) if value is not None]
        if len({isinstance(value, str) for value in values}) > 1:
            one, other = (
                next(v for v in values if isinstance(v, str) == is_text) for is_text in (True, False)
            )
            raise _refusal(self.text, f"{one!r} and {other!r} are text and number")

    def _values(self, node: ast.expr) -> list[Any]:
        if isinstance(node, ast.Name):
            return self.used.setdefault(node.id, self._column(self.quoted.get(node.id, node.id)))
        items = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else [node]
        values = [constant(item) for item in items]
        if None in values:
            raise _refusal(self.text, f"{ast.unparse(node)!r} is no value")
        return values

    def _column(self, name: str) -> list[Any]:
        if name not in self.frame.columns:
            known = list(map(str, self.frame.columns))
            raise UsageError(
                f"The query {self.text!r} names the column '{name}', which does not exist.",
                found=list_some(known),
                fix=suggest(name, known),
            )
        column = self.frame[name]
        return list(column.astype(object).where(column.notna(), None))
