"""A Wilkinson formula, read into its terms without evaluating anything (Wilkinson & Rogers 1973).

The grammar is that of formulaic (``+ - * / : %in% ** ^`` and parentheses) for one right-hand side.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from bids_group.errors import FormulaError, UsageError
from bids_group.model.formula.factors import CallReader, Factor, Use, read_column, say_columns
from bids_group.model.formula.tokens import DEEPEST, UNCLOSED, Token, tokenize
from bids_group.words import point_at, quote_column

_MOST_TERMS = 500  # a power of a long sum has thousands of terms, more than any study has rows
_LONGEST = 10_000  # characters; longer ones are no formulas, and slow to read


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Term:
    """A product of factors; the intercept is the term without factors. ``a:b`` and ``b:a`` are equal."""

    factors: tuple[Factor, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Term) and {f.code for f in self.factors} == {f.code for f in other.factors}

    def __hash__(self) -> int:
        return hash(frozenset(factor.code for factor in self.factors))

    @property
    def name(self) -> str:
        """``group:age``; ``Intercept`` for the term without factors."""
        return ":".join(factor.text for factor in self.factors) or "Intercept"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that the term uses."""
        return tuple(dict.fromkeys(column for factor in self.factors for column in factor.columns))


class RandomPart(NamedTuple):
    """A random term as it was read: ``(1 + time | subject)`` has an intercept, ``time`` and ``subject``.

    With ``||`` its effects are not correlated. ``outer``: groups that hold these groups, ``family`` of
    ``(1 | family/subject)``; with ``is_found`` the two are written as terms of their own, and it is for the
    rows to show which holds which. ``is_product``: ``(1 | family:subject)``, which needs the outer one.
    """

    text: str
    has_intercept: bool
    slopes: tuple[str, ...]
    group: str
    is_correlated: bool = True
    outer: str | None = None
    is_found: bool = False
    is_product: bool = False

    @property
    def grouping(self) -> tuple[str, ...]:
        """Columns of the groups, the outer one first."""
        return (self.group,) if self.outer is None else (self.outer, self.group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """The terms of a formula, intercept first, then by number of factors (as formulaic orders them).

    ``terms`` are the fixed ones; ``random``: what varies between groups of rows, if anything.
    """

    text: str
    terms: tuple[Term, ...]
    random: RandomPart | None = None

    @property
    def has_intercept(self) -> bool:
        """Whether there is an explicit constant."""
        return any(not term.factors for term in self.terms)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the fixed terms use, in the order of their first appearance."""
        return tuple(dict.fromkeys(column for term in self.terms for column in term.columns))

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Columns that fixed and random terms use."""
        random = () if self.random is None else (*self.random.slopes, *self.random.grouping)
        return tuple(dict.fromkeys((*self.columns, *random)))

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Every factor, each once."""
        return tuple({factor.code: factor for term in self.terms for factor in term.factors}.values())

    @property
    def uses(self) -> tuple[Use, ...]:
        """Every column in every role, each once."""
        return tuple(dict.fromkeys(use for factor in self.factors for use in factor.uses))

    def display(self, name: str) -> str:
        """Put the names of columns in place of their symbols."""
        for use in self.uses:
            shown = use.column if use.role == "bare" else quote_column(use.column)
            name = name.replace(use.symbol, shown)
        return name


def needed_variables(formula: str, columns: Iterable[str], *, centering: str = "grand") -> tuple[str, ...]:
    """Name those of ``columns`` that a formula needs, and the factor by which one of them is centred.

    ``centering`` is ``grand``, ``none`` or ``within:FACTOR``.

    Raises
    ------
    FormulaError
        The formula cannot be read, asks for what is not allowed, or names a column that does not exist.
    UsageError
        ``centering`` is none of the three, or its factor does not exist.
    """
    known = tuple(columns)
    needed = read_formula(formula, known).all_columns
    factor = centering_factor(centering, known)
    return needed if factor is None or factor in needed or not needed else (*needed, factor)


def add_columns(columns: Iterable[str]) -> str:
    """Write the formula whose design has these columns as they are, in their order, without a constant."""
    return " + ".join(["~ 0", *map(quote_column, columns)])


def centering_factor(centering: str, columns: Collection[str]) -> str | None:
    """Check ``centering`` and give the factor of ``within:FACTOR`` (None for ``grand`` and ``none``)."""
    kind, _, factor = centering.partition(":")
    if centering in ("grand", "none"):
        return None
    if kind != "within" or not factor:
        expected = "grand, none, or within: and a factor"
        raise UsageError(f"The centring '{centering}' is not known.", expected=expected)
    if factor not in columns:
        expected, fix = say_columns(factor, columns)
        sentence = f"The centring 'within:{factor}' names the column '{factor}', which does not exist."
        raise UsageError(sentence, expected=expected, fix=fix)
    return factor


def read_formula(text: str, columns: Collection[str]) -> Formula:
    """Read a formula into terms; nothing is evaluated. See `needed_variables` for the errors."""
    if len(text) > _LONGEST:
        raise FormulaError("The formula is too long.", found=f"{len(text)} characters")
    return _FormulaParser(text, columns).parse()


_GROUPS = re.compile(r"([/:])(?=(?:[^`]*`[^`]*`)*[^`]*$)")
"""What stands between columns of groups, outside backticks."""


def _join_random(parts: list[RandomPart]) -> RandomPart | None:
    """Make one random term of what was read: of two intercepts, one for groups that hold the other's."""
    if not parts or (len(parts) == 1 and not parts[0].is_product):
        return parts[0] if parts else None
    said, first = " + ".join(one.text for one in parts), parts[0]
    if len(parts) == 1:
        raise FormulaError(
            f"The random term {said} stands without its outer groups.",
            fix=f"Write (1 | {'/'.join(map(quote_column, first.grouping))}), or "
            f"(1 | {quote_column(first.group)}).",
        )
    if len(parts) == 2 and not any(one.slopes for one in parts):
        outer, inner = sorted(parts, key=lambda one: one.is_product)
        if outer.outer is None and inner.is_product and outer.group in inner.grouping:
            [group] = (name for name in inner.grouping if name != outer.group)
            return inner._replace(text=said, group=group, outer=outer.group, is_product=False)
        if outer.outer is None and inner.outer is None and outer.group != inner.group:
            return inner._replace(text=said, outer=outer.group, is_found=True)
    raise FormulaError(
        "The formula has random terms that cannot be fitted together.",
        found=said,
        expected="one random term, such as (1 | subject) or (1 + time | subject), or (1 | family/subject)",
        fix="Join them: intercept and slope of one group are (1 + time | group)."
        if len({one.group for one in parts}) == 1
        else "Make one of the groups a fixed factor, or use --estimator sandwich with the largest one as "
        "--exchangeability-blocks.",
    )


_Terms = dict[Term, None]
"""Terms, each once, in the order of their first appearance."""
_INTERCEPT = Term(factors=())


def _product(*terms: Term) -> Term:
    factors = {factor.code: factor for term in terms for factor in term.factors}
    return Term(factors=tuple(factors.values()))


class _FormulaParser:
    """Recursive descent; each method reads one level of precedence and returns its terms."""

    def __init__(self, text: str, columns: Collection[str]) -> None:
        self.text, self.columns = text, columns
        self.tokens = tokenize(text)
        self.index = self.depth = 0
        self.random: list[RandomPart] = []

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def take(self, *texts: str) -> Token | None:
        token = self.token
        if token.kind != "operator" or token.text not in texts:
            return None
        self.index += 1
        return token

    def error(self, sentence: str, fix: str | None = None, at: int | None = None) -> FormulaError:
        """Make an error that points at the next token, or at character number ``at``."""
        found = point_at(self.text, self.token.position if at is None else at)
        return FormulaError(sentence, found=found, fix=fix)

    def parse(self) -> Formula:
        self.take("~")
        terms = self.read_sum({_INTERCEPT: None} if self.token.kind != "end" else {})
        if self.token.text == "~":
            fix = "Leave out what stands before '~': the maps are the data."
            raise self.error("The formula has something before '~'.", fix)
        if self.token.kind != "end":
            raise self.error(f"The formula cannot be read at '{self.token.text}'.")
        if not terms:
            raise self.error("The formula has no term.", "Write '~ 1' for the mean of all rows.", 0)
        ordered = sorted(terms, key=lambda term: len(term.factors))
        return Formula(text=self.text.strip(), terms=tuple(ordered), random=_join_random(self.random))

    def read_random(self) -> None:
        """Read ``(1 + time | subject)``: an intercept, slopes of numbers, and the column of the groups."""
        token = self.token
        inside, _, right = token.text[1:-1].partition("|")
        is_apart, groups = right.startswith("|"), _GROUPS.split(right.strip("| "))
        if self.depth:
            raise self.error("A random term stands inside parentheses.", "Write it as a term of its own.")
        if len(groups) > 3:
            raise self.error(
                f"The random term {token.text} has more than two levels of groups, which cannot be fitted.",
                f"Keep two, such as (1 | {groups[0].strip()}/{groups[-1].strip()}).",
            )
        names = [one.strip().strip("`") for one in groups[::2]]
        *outer, group = (
            read_column(name, token.position, self.text, self.columns).columns[0] for name in names
        )
        parts = _FormulaParser(inside, self.columns).parse() if inside.strip() else None
        slopes = [term for term in parts.terms if term.factors] if parts else []
        odd = [term.name for term in slopes if len(term.factors) != 1 or not term.factors[0].is_bare]
        if odd or (parts and parts.random) or parts is None:
            raise self.error(
                f"The random term {token.text} has {odd[0] if odd else 'no effect before the bar'}.",
                "Write 1 for the intercept and bare columns for slopes: (1 + time | subject).",
            )
        if outer and slopes:
            raise self.error(
                f"The random term {token.text} has slopes of groups within groups, which cannot be fitted.",
                f"Write (1 | {'/'.join(map(quote_column, (*outer, group)))}), or the slope of one group.",
            )
        self.random.append(
            RandomPart(
                " ".join(token.text.split()), parts.has_intercept, tuple(term.columns[0] for term in slopes),
                group, not is_apart, outer=outer[0] if outer else None, is_product=":" in groups[1:2],
            )
        )  # fmt: skip
        self.index += 1

    def read_sum(self, terms: _Terms) -> _Terms:
        """Read ``a + b - c``; ``terms`` is what the sum starts from (the implied intercept at the top)."""
        sign = self.take("+", "-")
        while True:
            start, is_minus = self.token, sign is not None and sign.text == "-"
            is_zero = (
                start.kind == "number" and start.text == "0" and self.depth == 0
            )  # "- 0" adds a constant
            self.index += is_zero
            if start.kind == "random":
                if is_minus:
                    raise self.error("A random term cannot be taken away.", "Leave it out.")
                self.read_random()
                sign = self.take("+", "-")
                if sign is None:
                    return terms
                continue
            for term in {_INTERCEPT: None} if is_zero else self.read_product():
                if is_minus == is_zero:
                    terms.setdefault(term)
                elif term in terms:
                    del terms[term]
                elif term.factors:
                    fix = "Remove the '-' and the term; subtracting what is not there does nothing."
                    sentence = f"The formula takes away '{term.name}', which it does not have."
                    raise self.error(sentence, fix, start.position)
            if len(terms) > _MOST_TERMS:
                raise self.error(f"The formula has more than {_MOST_TERMS} terms.")
            sign = self.take("+", "-")
            if sign is None:
                return terms

    def read_product(self) -> _Terms:
        """Read ``a * b``, ``a / b`` and ``b %in% a``."""
        left = self.read_interaction()
        while operator := self.take("*", "/", "%in%"):
            right = self.read_interaction()
            self.refuse_square(left, right, operator)
            if operator.text == "*":
                left = dict.fromkeys([*left, *right, *self.cross(left, right)])
            else:
                outer, inner = (left, right) if operator.text == "/" else (right, left)
                left = dict.fromkeys([*outer, *(_product(*outer, term) for term in inner)])
        return left

    def read_interaction(self) -> _Terms:
        """Read ``a:b``."""
        left = self.read_power()
        while operator := self.take(":"):
            right = self.read_power()
            self.refuse_square(left, right, operator)
            left = dict.fromkeys(self.cross(left, right))
        return left

    def refuse_square(self, left: _Terms, right: _Terms, operator: Token) -> None:
        """Refuse ``age:age`` and ``age*age``, which are ``age``; other languages mean its square."""
        if len(left) == 1 and left == right and (name := next(iter(left)).name):
            typed = f"{name}{operator.text}{name}"
            fix = f"Write it once, or I({name}**2) for the square of a number."
            raise self.error(f"'{typed}' would silently mean '{name}' in a formula.", fix, operator.position)

    def cross(self, left: _Terms, right: _Terms) -> list[Term]:
        if len(left) * len(right) > _MOST_TERMS:
            raise self.error(f"The formula has more than {_MOST_TERMS} terms.")
        return [_product(a, b) for a, b in itertools.product(left, right)]

    def read_power(self) -> _Terms:
        """Read ``(a + b + c) ** 2``: all interactions up to that order."""
        start = self.token
        base = self.read_atom()
        while operator := self.take("**", "^"):
            exponent = self.token
            if len(base) < 2:
                piece = self.text[start.position : operator.position].strip()
                typed = f"{piece}{operator.text}{exponent.text}"
                fix = f"Write I({piece}**{exponent.text}) for the power of the number."
                sentence = f"'{typed}' would silently mean '{piece}' in a formula."
                raise self.error(sentence, fix, operator.position)
            if exponent.kind != "number" or not re.fullmatch(r"[1-9]", exponent.text):
                raise self.error("A power of terms must be a number from 1 to 9.")
            self.index += 1
            whole = base
            for _ in range(int(exponent.text) - 1):
                whole = dict.fromkeys([*whole, *self.cross(whole, base)])
            base = whole
        return base

    def read_atom(self) -> _Terms:
        """Read a column, a call, ``1``, or a sum in parentheses."""
        token = self.token
        if token.kind == "number" and token.text != "1":
            fix = "Put arithmetic inside I(), for example I(2*age); 0 and 1 stand for the intercept."
            raise self.error(f"The formula has the number {token.text} as a term.", fix)
        if token.kind == "name" and "." in token.text:
            fix = "Attributes are not allowed; a column with a dot in its name needs `backticks`."
            fix = f"Write `{token.text}` in backticks." if token.text in self.columns else fix
            raise self.error(f"'{token.text}' in the formula is not a column name.", fix)
        if token.kind in ("operator", "end") and token.text != "(":
            what = f"'{token.text}'" if token.text else "the end of the formula"
            raise self.error(f"The formula has {what} where a column should be.", "Name a column there.")
        self.index += 1
        if token.kind == "number":
            return {_INTERCEPT: None}
        if token.kind != "operator":
            where = token.position, self.text, self.columns
            is_call, name = token.kind == "call", token.text.strip("`")
            factor = CallReader(token.text, *where).read() if is_call else read_column(name, *where)
            return {Term(factors=(factor,)): None}
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.error("The formula has too many nested parentheses.", at=token.position)
        terms = self.read_sum({})
        if self.take(")") is None:
            raise self.error(*UNCLOSED, token.position)
        self.depth -= 1
        return terms
