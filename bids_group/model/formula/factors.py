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
from bids_group.words import list_some, point_at, quote_column, quote_for_shell, suggest

Role = Literal["bare", "inner", "raw", "factor"]
"""How a factor uses a column: alone, in ``I()``/``poly()``, in another function, or in ``C()``."""

_NUMPY_FUNCTIONS = ("log", "log2", "log10", "log1p", "exp", "sqrt", "abs")
_FUNCTIONS = ("C", "I", *_NUMPY_FUNCTIONS, "center", "scale", "poly", "bs", "cr", "cc")
_CODINGS = tuple(f"contr.{name}" for name in ("treatment", "sum", "helmert", "poly", "diff", "SAS"))
_PATSY_CODINGS = ("Treatment", "Sum", "Helmert", "Poly", "Diff")
_CALLED_ELSEWHERE = {
    **dict.fromkeys(("factor", "as.factor", "as_factor", "categorical", "ordered"), "C(group)"),
    "relevel": "C(group, contr.treatment('control'))",
    **dict.fromkeys(("ns", "rcs", "s"), "cr(age, df=3), a natural cubic spline"),
    **dict.fromkeys(("demean", "mean_center", "centre", "c"), "center(age)"),
    **dict.fromkeys(("zscore", "standardize", "std", "z"), "scale(age)"),
    "pow": "I(age**2)",
}
"""What functions of other languages are called here."""
_OPTIONS = (
    *("degree", "df", "knots", "raw", "include_intercept", "lower_bound", "upper_bound"),
    *("constraints", "extrapolation", "base", "reference"),
)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
_LARGEST_COUNT = 30
"""A larger whole number is a knot or a bound, handed on as a float: as a count, formulaic refuses that."""


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
    def is_column(self) -> bool:
        """Whether the factor is a column, by itself or as ``C(column, …)``."""
        return any(use.role in ("bare", "factor") for use in self.uses)

    @property
    def is_inner(self) -> bool:
        """Whether the factor is arithmetic in ``I()`` on centred columns alone."""
        return self.code.startswith("I(") and all(use.role == "inner" for use in self.uses)


def read_column(column: str, position: int, formula: str, columns: Collection[str]) -> Factor:
    """Read a factor that is a column by itself, which stands at ``position`` of the formula."""
    if column not in columns:
        odd = [name for name in columns if len(name) > len(column) and formula.startswith(name, position)]
        expected, fix = say_columns(column, columns)
        fix = fix or "Correct the name, or add the column to participants.tsv."
        if re.fullmatch(r"\s*[`\w]+\s*~.*", formula, re.DOTALL) and not formula[:position].strip("` "):
            rest = quote_for_shell(formula[formula.index("~") :].strip())
            fix = f"The maps are the data: write --formula {rest}."
        raise FormulaError(
            f"The formula names the column '{column}', which does not exist.",
            found=point_at(formula, position),
            expected=expected,
            fix=f"Write `{odd[0]}` in backticks." if odd else fix,
        )
    use = Use(column=column, role="bare")
    return Factor(text=column, code=use.symbol, uses=(use,))


def say_columns(name: str, columns: Collection[str]) -> tuple[str, str | None]:
    """Name the columns that there are instead of ``name``, and say what to do where that is known."""
    lacks_table = set(columns) <= {"subject", "session"}
    why = " (there is no participants.tsv, or it has no columns)" if lacks_table else ""
    own, fix = _OWN_COLUMNS.get(name.casefold(), name), suggest(name, columns)
    if own == "session" and own not in columns:
        fix = "Sessions are pooled; add --pooling none to keep them as rows (where the maps have sessions)."
    elif own != name and own in columns:
        fix = f"Write {own}: so the column of their labels is called here."
    return f"one of {list_some(columns)}{why}", fix


_OWN_COLUMNS = {
    **dict.fromkeys(("participant_id", "participant", "subject_id", "sub", "id"), "subject"),
    **dict.fromkeys(("session_id", "ses", "visit_id"), "session"),
}
"""What people call the columns that the app makes of labels."""


_BACKTICKED = re.compile(r"`([^`]*)`|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_HIDDEN = re.compile(r"b_((?:[0-9a-f]{2})+)_")
"""What a name in backticks is written as, for Python's parser to read."""


class CallReader:
    """Reads a call such as ``poly(age, 2)``: walks its syntax tree, checks every node, and writes it anew.

    ``position`` is where the call, ``source``, starts in the formula. What is not on the allow-list, or a
    column that does not exist, is a `FormulaError`.
    """

    def __init__(self, source: str, position: int, formula: str, columns: Collection[str]) -> None:
        self.source, self.position, self.formula, self.columns = source, position, formula, columns
        self.uses: list[Use] = []
        self.divisors: list[str] = []

    def read(self) -> Factor:
        """Read the whole call as one factor."""
        hidden = _BACKTICKED.sub(
            lambda m: m[0] if m[1] is None else f"b_{m[1].encode('utf-8', 'surrogatepass').hex()}_",
            self.source,
        )
        try:
            tree = ast.parse(hidden.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            called = _CALLED_ELSEWHERE.get(self.source.partition("(")[0])  # "as" is a word of Python's
            fix = f"Write {called}." if called else "Check the brackets, commas and operators."
            raise self._error(self.source, "cannot be read", fix) from error
        try:
            text = code = ast.unparse(self._visit(tree, "inner"))
        except RecursionError as error:
            fix = "Compute the column beforehand."
            raise self._error(self.source, "is nested too deeply", fix) from error
        if not self.uses:
            raise self._error(self.source, "has no column in it", "Name a column, for example I(age**2).")
        for use in self.uses:
            text = text.replace(use.symbol, quote_column(use.column))
        uses, divisors = tuple(dict.fromkeys(self.uses)), tuple(dict.fromkeys(self.divisors))
        return Factor(text=text, code=code, uses=uses, divisors=divisors)

    def _error(
        self,
        where: ast.AST | str,
        what: str = "is not allowed",
        fix: str = "Compute the column beforehand and add it to participants.tsv.",
        expected: str = f"column names, numbers, arithmetic inside I(), and {', '.join(_FUNCTIONS)}",
    ) -> FormulaError:
        piece = where
        if isinstance(piece, ast.AST):
            piece = _HIDDEN.sub(
                lambda match: f"`{bytes.fromhex(match[1]).decode('utf-8', 'surrogatepass')}`",
                ast.unparse(piece),
            )
        shown = piece if len(piece) <= 60 else piece[:57] + "…"
        found = point_at(self.formula, self.position + max(self.source.find(piece), 0))
        return FormulaError(f"'{shown}' in the formula {what}.", found=found, expected=expected, fix=fix)

    def _visit(self, node: ast.expr, role: Role) -> ast.expr:
        """Write a node anew, with neutral symbols for columns, which are used in this role."""
        if isinstance(node, ast.Call):
            return self._visit_call(node, role)
        if isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
            return self._visit_arithmetic(node, role)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            return ast.UnaryOp(op=node.op, operand=self._visit(node.operand, role))
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return node
        if not isinstance(node, ast.Name):
            raise self._error(node)
        hidden = _HIDDEN.fullmatch(node.id)
        column = bytes.fromhex(hidden[1]).decode("utf-8", "surrogatepass") if hidden else node.id
        offset = max(self.source.find(quote_column(column)), 0)
        read_column(column, self.position + offset, self.formula, self.columns)
        self.uses.append(Use(column=column, role=role))
        return ast.Name(id=self.uses[-1].symbol)

    def _visit_arithmetic(self, node: ast.BinOp, role: Role) -> ast.expr:
        power = _number(node.right) if isinstance(node.op, ast.Pow) else None
        if isinstance(node.op, ast.Pow):
            has_column = any(isinstance(part, ast.Name) for part in ast.walk(node.left))
            if not has_column or power is None or abs(power) > 20:
                raise self._error(node, "has a power that is not allowed", "Use a power between -20 and 20.")
        n_before = len(self.uses)
        left = self._visit(node.left, role)
        n_left = len(self.uses)
        right = self._visit(node.right, role)
        is_divided = power is not None and not (power >= 0 and float(power).is_integer())
        divisors = self.uses[n_before:n_left] if is_divided else []
        divisors = self.uses[n_left:] if isinstance(node.op, ast.Div) else divisors
        self.divisors += [use.column for use in divisors if use.role == "inner"]
        return ast.BinOp(left=left, op=node.op, right=right)

    def _visit_call(self, node: ast.Call, role: Role) -> ast.expr:
        function = ast.unparse(node.func)
        name = function.removeprefix("np.")
        if name not in (_FUNCTIONS if name == function else _NUMPY_FUNCTIONS):
            if function in ("Error", "random", "re"):
                fix = (
                    "Write '+ subject' for what changes within people, or '+ (1 | subject)' (a mixed model)."
                )
                raise self._error(node.func, "is a random term", fix)
            called = _CALLED_ELSEWHERE.get(function)
            said = {} if called is None else {"fix": f"Write {called}."}
            raise self._error(node.func, "is not a function that a formula may call", **said)
        if not node.args or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._error(node, "needs a column", f"Write {name}(age).")
        first, *others = node.args
        if name == "C":
            return self._visit_coding(node, first, others)
        inner: Role = role if name in ("I", "poly") else "raw"
        return self._call(node, [self._visit(first, inner), *map(self._option, others)])

    def _visit_coding(self, node: ast.Call, column: ast.expr, codings: list[ast.expr]) -> ast.expr:
        if not isinstance(column, ast.Name) or len(codings) > 1:
            fix = "Write C(group) or C(group, contr.sum)."
            raise self._error(node, "is not a column and a coding", fix)
        arguments = [self._visit(column, "factor"), *map(self._coding, codings)]
        for keyword in node.keywords:
            if keyword.arg != "contrasts":
                what = f"has the option '{keyword.arg}', which is not allowed"
                fix = "The order of levels stands in participants.json ('Levels')."
                raise self._error(node, what, fix, "a coding alone")
        keywords = [ast.keyword(arg=k.arg, value=self._coding(k.value)) for k in node.keywords]
        return ast.Call(func=node.func, args=arguments, keywords=keywords)

    def _coding(self, node: ast.expr) -> ast.expr:
        called = node if isinstance(node, ast.Call) else None
        name = ast.unparse(node if called is None else called.func)
        if name not in (*_CODINGS, *_PATSY_CODINGS):
            fix = "Use contr.treatment('level'), contr.sum or contr.helmert."
            raise self._error(node, "is not a coding", fix, ", ".join(_CODINGS))
        if called is not None:
            return self._call(called, list(map(self._option, called.args)))
        return ast.parse("contr.treatment", mode="eval").body if name == "Treatment" else node

    def _call(self, node: ast.Call, arguments: list[ast.expr]) -> ast.expr:
        """Write a call anew, with arguments that were checked and the options that are allowed."""
        for keyword in node.keywords:
            if keyword.arg not in _OPTIONS:
                what = f"has the option '{keyword.arg}', which is not allowed"
                fix = suggest(str(keyword.arg), _OPTIONS) or "Leave the option out."
                raise self._error(node, what, fix, ", ".join(_OPTIONS))
        options = [
            ast.keyword(arg=keyword.arg, value=self._option(keyword.value)) for keyword in node.keywords
        ]
        return ast.Call(func=node.func, args=arguments, keywords=options)

    def _option(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.List | ast.Tuple):
            return ast.List(elts=[self._option(element) for element in node.elts])
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | str):
            return node
        value = _number(node)
        if value is None:
            raise self._error(node, "is not a number, a text or a list of numbers")
        is_large = isinstance(value, int) and value > _LARGEST_COUNT
        return ast.Constant(value=float(value)) if is_large else node


def _number(node: ast.expr) -> int | float | None:
    """Value of a number, with a minus or without; None for all else."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    is_number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return sign * node.value if is_number else None  # type: ignore[attr-defined]
