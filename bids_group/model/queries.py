"""Queries of a Filter, such as ``age > 18 and sex == "F"``: read by ``ast``, never run as Python."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from bids_group.errors import UsageError
from bids_group.model.pointing import list_some, suggest

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
        The query cannot be read, or names a column that does not exist.
    """
    quoted: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        quoted[f"quoted_{len(quoted)}"] = match[1]
        return f"quoted_{len(quoted) - 1}"

    try:
        tree = ast.parse(re.sub(r"`([^`]*)`", stand_in, text).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refusal(text, str(error)) from error
    return _Judge(text, frame, quoted).judge(tree)


def _refusal(text: str, found: str) -> UsageError:
    return UsageError(f"The query {text!r} cannot be used.", found=found, expected=ALLOWED)


class _Judge:
    """Walks through a query; what it does not know it refuses."""

    def __init__(self, text: str, frame: pd.DataFrame, quoted: Mapping[str, str]) -> None:
        self.text, self.frame, self.quoted = text, frame, quoted

    def judge(self, node: ast.expr) -> pd.Series:
        if isinstance(node, ast.BoolOp):
            parts = [self.judge(each) for each in node.values]  # noqa: PD011
            return self._join(parts, isinstance(node.op, ast.And))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
            return self._join(
                [self.judge(node.left), self.judge(node.right)], isinstance(node.op, ast.BitAnd)
            )
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
            return ~self.judge(node.operand)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            return self._join([self._compare(*pair) for pair in pairs], True)
        raise _refusal(self.text, f"{ast.unparse(node)!r} is no comparison")

    @staticmethod
    def _join(parts: list[pd.Series], is_and: bool) -> pd.Series:
        joined = parts[0]
        for part in parts[1:]:
            joined = joined & part if is_and else joined | part
        return joined

    def _compare(self, operation: ast.cmpop, left: ast.expr, right: ast.expr) -> pd.Series:
        if type(operation) not in COMPARISONS:
            raise _refusal(self.text, f"{type(operation).__name__} is no comparison")
        compare = COMPARISONS[type(operation)]
        verdicts = [
            pd.NA if pd.isna(one) is True or other is None or (not isinstance(other, list) and pd.isna(other))
            else self._apply(compare, one, other)
            for one, other in zip(self._values(left), self._values(right), strict=True)
        ]  # fmt: skip
        return pd.Series(verdicts, index=self.frame.index, dtype="boolean")

    def _apply(self, compare: Callable[[Any, Any], bool], one: Any, other: Any) -> bool:
        others = other if isinstance(other, list) else [other]
        for each in others:
            if isinstance(one, str) != isinstance(each, str):
                raise _refusal(self.text, f"{one!r} and {each!r} are text and number")
        return bool(compare(one, other))

    def _values(self, node: ast.expr) -> list[Any]:
        if isinstance(node, ast.Name):
            return self._column(self.quoted.get(node.id, node.id))
        return [self._constant(node)] * len(self.frame)

    def _column(self, name: str) -> list[Any]:
        if name not in self.frame.columns:
            known = list(map(str, self.frame.columns))
            raise UsageError(
                f"The query {self.text!r} names the column '{name}', which does not exist.",
                found=list_some(known),
                fix=suggest(name, known),
            )
        return list(self.frame[name].astype(object))

    def _constant(self, node: ast.expr) -> Any:
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
            raise _refusal(self.text, f"{ast.unparse(node)!r} is no value") from error
        values = list(value) if isinstance(value, list | tuple | set) else [value]
        if not all(isinstance(one, str | int | float) for one in values):
            raise _refusal(self.text, f"{ast.unparse(node)!r} is no value")
        return values if isinstance(value, list | tuple | set) else value
