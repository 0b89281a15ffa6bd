"""One factor of a formula, such as ``age``, ``C(site)`` or ``I(age ** 2)``, read behind an allow-list.

Nothing of a formula is ever evaluated as typed. Each factor is read into a syntax tree, every node of the
tree must be on the list below, and what formulaic gets is written anew from the tree, with each column
under a neutral symbol: no name that a user typed reaches the evaluation.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from bids_group.errors import FormulaError
from bids_group.model.formula.pointing import fix_column, point_at, say_columns, suggest

Role = Literal["bare", "inner", "raw", "factor"]
"""How a factor uses a column: alone, in ``I()``/``poly()``, in another function, or in ``C()``."""

FUNCTIONS = (
    *("C", "I", "log", "log2", "log10", "log1p", "exp", "sqrt", "abs"),
    *("center", "scale", "poly", "bs", "cr", "cc"),
)
NUMPY_FUNCTIONS = ("log", "log2", "log10", "log1p", "exp", "sqrt", "abs")
CODINGS = ("treatment", "sum", "helmert", "poly", "diff", "SAS")
PATSY_CODINGS = ("Treatment", "Sum", "Helmert", "Poly", "Diff")
OPTIONS = (
    *("degree", "df", "knots", "raw", "include_intercept", "lower_bound", "upper_bound"),
    *("constraints", "extrapolation", "base", "reference"),
)
_LARGEST_COUNT = 30
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One column in one role; ``symbol`` is the neutral name that stands for it in the evaluated code."""

    column: str
    role: Role

    @property
    def symbol(self) -> str:
        """Neutral identifier, unique per column and role."""
        return f"v_{self.column.encode().hex()}_{self.role}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A factor as people read it (``text``), as it is evaluated (``code``), and the columns it uses.

    ``divisors`` are the columns, centred where centring is on, that it divides by or raises to a power
    that is no natural number.
    """

    text: str
    code: str
    uses: tuple[Use, ...]
    divisors: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that the factor uses, each once."""
        return tuple(dict.fromkeys(use.column for use in self.uses))

    @property
    def is_bare(self) -> bool:
        """Whether the factor is a column by itself."""
        return len(self.uses) == 1 and self.uses[0].role == "bare"

    @property
    def is_coded(self) -> bool:
        """Whether the factor is ``C(column, …)``."""
        return any(use.role == "factor" for use in self.uses)

    @property
    def is_inner(self) -> bool:
        """Whether the factor is arithmetic in ``I()`` on centred columns alone."""
        return self.code.startswith("I(") and all(use.role == "inner" for use in self.uses)


def quote(column: str) -> str:
    """Write a column name as a formula needs it: in backticks unless it is a plain name."""
    return column if column.isidentifier() else f"`{column}`"


def read_column(column: str, position: int, formula: str, columns: Collection[str]) -> Factor:
    """Read a factor that is a column by itself."""
    _check_column(column, position, formula, columns)
    use = Use(column=column, role="bare")
    return Factor(text=column, code=use.symbol, uses=(use,))


def read_call(source: str, position: int, formula: str, columns: Collection[str]) -> Factor:
    """Read a factor that is a call, such as ``poly(age, 2)``; ``position`` is where it starts in the formula.

    Raises
    ------
    FormulaError
        Anything that is not on the allow-list, or a column that does not exist.
    """
    return _Reader(source, position, formula, columns).read()


def _check_column(column: str, position: int, formula: str, columns: Collection[str]) -> None:
    if column in columns:
        return
    odd = next(
        (name for name in columns if len(name) > len(column) and formula.startswith(name, position)), None
    )
    raise FormulaError(
        f"The formula names the column '{column}', which does not exist.",
        found=point_at(formula, position),
        expected=say_columns(columns),
        fix=f"Write `{odd}` in backticks."
        if odd
        else fix_column(column, columns) or "Correct the name, or add the column to participants.tsv.",
    )


_BACKTICKED = re.compile(r"`([^`]*)`|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def _hide_backticks(source: str) -> str:
    def hide(match: re.Match[str]) -> str:
        return match[0] if match[1] is None else f"b_{match[1].encode().hex()}_"

    return _BACKTICKED.sub(hide, source)


def _unhide(name: str) -> str:
    match = re.fullmatch(r"b_((?:[0-9a-f]{2})+)_", name)
    return bytes.fromhex(match[1]).decode() if match else name


class _Reader:
    """Walks the syntax tree of one call, checks every node, and writes it anew."""

    def __init__(self, source: str, position: int, formula: str, columns: Collection[str]) -> None:
        self.source, self.position, self.formula, self.columns = source, position, formula, columns
        self.uses: list[Use] = []
        self.divisors: list[str] = []

    def read(self) -> Factor:
        try:
            code = ast.unparse(self._visit(self._parse(), "inner"))
        except RecursionError as error:
            raise self._error(
                "is nested too deeply", self.source, "Compute the column beforehand."
            ) from error
        if not self.uses:
            raise self._error("has no column in it", self.source, "Name a column, for example I(age**2).")
        text = code
        for use in self.uses:
            text = text.replace(use.symbol, quote(use.column))
        uses, divisors = tuple(dict.fromkeys(self.uses)), tuple(dict.fromkeys(self.divisors))
        return Factor(text=text, code=code, uses=uses, divisors=divisors)

    def _parse(self) -> ast.expr:
        try:
            return ast.parse(_hide_backticks(self.source).strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            fix = "Check the brackets, commas and operators."
            raise self._error("cannot be read", self.source, fix) from error

    def _error(self, what: str, piece: str, fix: str, expected: str | None = None) -> FormulaError:
        offset = self.source.find(piece)
        return FormulaError(
            f"'{_shorten(piece)}' in the formula {what}.",
            found=point_at(self.formula, self.position + max(offset, 0)),
            expected=expected or f"column names, numbers, arithmetic inside I(), and {', '.join(FUNCTIONS)}",
            fix=fix,
        )

    def _node_error(
        self, node: ast.AST, what: str = "is not allowed", fix: str | None = None, expected: str | None = None
    ) -> FormulaError:
        piece = re.sub(r"b_(?:[0-9a-f]{2})+_", lambda match: f"`{_unhide(match[0])}`", ast.unparse(node))
        fix = fix or "Compute the column beforehand and add it to participants.tsv."
        return self._error(what, piece, fix, expected)

    def _option_error(self, node: ast.AST, option: str | None) -> FormulaError:
        known = ", ".join(OPTIONS)
        fix = suggest(str(option), OPTIONS) or "Leave the option out."
        return self._node_error(node, f"has the option '{option}', which is not allowed", fix, known)

    def _visit(self, node: ast.expr, role: Role) -> ast.expr:
        if isinstance(node, ast.Call):
            return self._visit_call(node, role)
        if isinstance(node, ast.Name):
            return self._visit_name(node, role)
        if isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
            return self._visit_arithmetic(node, role)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return ast.UnaryOp(op=node.op, operand=self._visit(node.operand, role))
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return node
        raise self._node_error(node)

    def _visit_name(self, node: ast.Name, role: Role) -> ast.expr:
        column = _unhide(node.id)
        piece = quote(column)
        offset = max(self.source.find(piece), 0)
        _check_column(column, self.position + offset, self.formula, self.columns)
        self.uses.append(Use(column=column, role=role))
        return ast.Name(id=self.uses[-1].symbol)

    def _visit_arithmetic(self, node: ast.BinOp, role: Role) -> ast.expr:
        if isinstance(node.op, ast.Pow) and not self._is_tame_power(node):
            raise self._node_error(node, "has a power that is not allowed", "Use a power between -20 and 20.")
        n_uses = len(self.uses)
        left = self._visit(node.left, role)
        if isinstance(node.op, ast.Pow) and not _is_natural(node.right):
            self._divide_by(self.uses[n_uses:])
        n_uses = len(self.uses)
        right = self._visit(node.right, role)
        if isinstance(node.op, ast.Div):
            self._divide_by(self.uses[n_uses:])
        return ast.BinOp(left=left, op=node.op, right=right)

    def _divide_by(self, uses: list[Use]) -> None:
        self.divisors += [use.column for use in uses if use.role == "inner"]

    @staticmethod
    def _is_tame_power(node: ast.BinOp) -> bool:
        has_column = any(isinstance(part, ast.Name) for part in ast.walk(node.left))
        value = _number(node.right)
        return has_column and value is not None and abs(value) <= 20

    def _visit_call(self, node: ast.Call, role: Role) -> ast.expr:
        name = self._function_name(node.func)
        if not node.args or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._node_error(node, "needs a column", f"Write {name}(age).")
        if name == "C":
            return self._visit_coding(node)
        inner: Role = role if name in ("I", "poly") else "raw"
        first, *others = node.args
        arguments = [self._visit(first, inner), *map(self._option, others)]
        return ast.Call(func=node.func, args=arguments, keywords=self._keywords(node))

    def _function_name(self, func: ast.expr) -> str:
        if isinstance(func, ast.Name) and func.id in FUNCTIONS:
            return func.id
        is_numpy = (
            isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "np"
        )
        if is_numpy and isinstance(func, ast.Attribute) and func.attr in NUMPY_FUNCTIONS:
            return func.attr
        if isinstance(func, ast.Name) and func.id in ("Error", "random", "re"):
            fix = "There are no mixed models: write '+ subject' for what changes within people."
            raise self._node_error(func, "is a random term", fix)
        raise self._node_error(func, "is not a function that a formula may call")

    def _visit_coding(self, node: ast.Call) -> ast.expr:
        column, *coding = node.args
        if not isinstance(column, ast.Name) or len(coding) > 1:
            raise self._node_error(
                node, "is not a column and a coding", "Write C(group) or C(group, contr.sum)."
            )
        arguments = [self._visit_name(column, "factor"), *map(self._coding, coding)]
        for keyword in node.keywords:
            if keyword.arg != "contrasts":
                fix = "The order of levels stands in participants.json ('Levels')."
                raise self._node_error(
                    node, f"has the option '{keyword.arg}', which is not allowed", fix, "a coding alone"
                )
        keywords = [ast.keyword(arg=k.arg, value=self._coding(k.value)) for k in node.keywords]
        return ast.Call(func=node.func, args=arguments, keywords=keywords)

    def _coding(self, node: ast.expr) -> ast.expr:
        func = node.func if isinstance(node, ast.Call) else node
        is_short = isinstance(func, ast.Name) and func.id in PATSY_CODINGS
        is_long = (
            isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "contr"
        )
        if not (is_short or (is_long and isinstance(func, ast.Attribute) and func.attr in CODINGS)):
            raise self._node_error(
                node,
                "is not a coding",
                "Use contr.treatment('level'), contr.sum or contr.helmert.",
                ", ".join(f"contr.{name}" for name in CODINGS),
            )
        if isinstance(node, ast.Call):
            arguments = [self._option(argument) for argument in node.args]
            return ast.Call(func=func, args=arguments, keywords=self._keywords(node))
        is_bare_treatment = isinstance(func, ast.Name) and func.id == "Treatment"
        return ast.parse("contr.treatment", mode="eval").body if is_bare_treatment else node

    def _keywords(self, node: ast.Call) -> list[ast.keyword]:
        for keyword in node.keywords:
            if keyword.arg not in OPTIONS:
                raise self._option_error(node, keyword.arg)
        return [ast.keyword(arg=keyword.arg, value=self._option(keyword.value)) for keyword in node.keywords]

    def _option(self, node: ast.expr) -> ast.expr:
        if isinstance(node, (ast.List, ast.Tuple)):
            return ast.List(elts=[self._option(element) for element in node.elts])
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, str)):
            return node
        value = _number(node)
        if value is None:
            raise self._node_error(node, "is not a number, a text or a list of numbers")
        if isinstance(value, int) and value > _LARGEST_COUNT and isinstance(node, ast.Constant):
            return ast.Constant(
                value=float(value)
            )  # a knot or a bound; a count this large is refused by formulaic
        return node


def _number(node: ast.expr) -> int | float | None:
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and not isinstance(node.value, bool)
    ):
        return sign * node.value
    return None


def _is_natural(node: ast.expr) -> bool:
    value = _number(node)
    return value is not None and value >= 0 and float(value).is_integer()


def _shorten(piece: str) -> str:
    return piece if len(piece) <= 60 else piece[:57] + "…"
