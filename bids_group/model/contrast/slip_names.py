"""Names of a design as people write them from memory: levels with or without their factor, in any case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from bids_group.model.contrast.regressor_names import find_regressor
from bids_group.model.formula.coding import CodedDesign
from bids_group.words import closest
from bids_group.words import quote_column as quote

NO_COLUMN = "0 * Intercept"
"""What is written for the coefficient of a reference level: it has none, so the term weighs nothing."""
_END = r"(?![^\W_])"
_CONSTANT = ("intercept", "(intercept)", "const", "constant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A name of the design that was found in a text, up to (not including) character number ``end``.

    ``kind``: a level of ``factor`` (or a value of a covariate), a covariate, a factor, or a column of the
    design. ``is_column``: the level was written as columns are named (``group[patient]``, ``grouppatient``).
    ``is_guess``: it is only near to what was typed.
    """

    kind: Literal["level", "covariate", "factor", "column"]
    name: str
    factor: str = ""
    end: int = 0
    is_column: bool = False
    is_guess: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Finds the names of a design in a text; ``owners``: the factor of each level that stands alone."""

    design: CodedDesign
    owners: Mapping[str, str]
    patterns: list[tuple[re.Pattern[str], str, str, bool]] = field(init=False)

    def __post_init__(self) -> None:
        """Make the patterns: (pattern, kind, factor or covariate, whether written as a column)."""
        object.__setattr__(self, "patterns", list(_patterns(self.design, self.owners)))

    @staticmethod
    def choices(design: CodedDesign) -> Iterator[dict[str, str]]:
        """Give the factor of every level, once for each choice where several have a level of one name."""
        factors: dict[str, list[str]] = {}
        for factor, levels in design.levels.items():
            for level in levels if factor != "subject" else ():
                factors.setdefault(level, []).append(factor)
        several = dict.fromkeys(one for owners in factors.values() if len(owners) > 1 for one in owners)
        for first in several or [""]:
            yield {level: first if first in owners else owners[0] for level, owners in factors.items()}

    def is_level(self, text: str, sign: re.Match[str]) -> bool:
        """Whether a sign stands between a factor and its level: ``group == patient``."""
        starts = (one.start() for one in re.finditer(r"[\w`]+", text[: sign.start()]))
        parts = (self.part_at(text, start) for start in starts)
        return any(part is not None and part.kind == "level" and part.end > sign.end() - 1 for part in parts)

    def end_of_column(self, text: str, start: int) -> int | None:
        """Find where a column of the design ends that stands at ``start``."""
        found = find_regressor(text, start, self.design.columns)
        return None if found is None else found.end

    def part_at(self, text: str, start: int, *, is_all: bool = False) -> Part | None:
        """Find the longest name at ``start``; with ``is_all`` one that is all of the text."""
        best: Part | None = None
        for pattern, kind, owner, is_column in self.patterns:
            match = pattern.match(text, start)
            if match is None or (best is not None and match.end() <= best.end):
                continue
            name = owner
            if kind == "level":
                name = _same(match["level"], self.design.levels[owner]) or match["level"]
            best = Part(kind=kind, name=name, factor=owner, end=match.end(), is_column=is_column)  # type: ignore[arg-type]
        return None if best is None or (is_all and best.end < len(text)) else best

    def as_column(self, levels: Mapping[str, str], covariate: str | None) -> str | None:
        """Write one level as its coefficient, a reference level as nothing; None where there is no such."""
        if len(levels) != 1 or "Intercept" not in self.design.columns:
            return None
        [(factor, level)] = levels.items()
        own = f"{factor}[T.{level}]"
        wanted = {own} if covariate is None else {f"{own}:{covariate}", f"{covariate}:{own}"}
        for column in self.design.columns:
            if column.replace(f"C({factor})", factor) in wanted:
                return column
        reference, *others = self.design.levels[factor]
        is_treated = (
            any(self.as_column({factor: one}, None) for one in others) if level == reference else False
        )
        return NO_COLUMN if is_treated else None

    def place(self, argument: str) -> Part | None:
        """Read what stands in the brackets of a mean or slope."""
        part = self.part_at(argument, 0, is_all=True)
        if part is not None:
            return part
        name, *rest = re.split(r"\s*(?:==?|:)\s*", argument, maxsplit=1)
        value = rest[0] if rest else ""
        if not rest:
            guess = self.guess(argument)
            return None if guess is None or guess.kind == "column" else replace(guess, is_guess=True)
        covariate, factor = _same(name, self.design.covariates), _same(value, self.design.levels)
        if covariate is not None and re.fullmatch(r"[+-]?[\d.]+", value):
            return Part(kind="level", name=value, factor=covariate)
        if factor is not None and (level := _same(name, self.design.levels[factor])) is not None:
            return Part(kind="level", name=level, factor=factor)  # mean(patient=group)
        return self.guess_place(name, value.strip(" '\"`"))

    def guess_place(self, name: str, value: str) -> Part | None:
        """Guess a factor or level that is misspelt."""
        factor = _same(name, self.design.levels) or closest(name, self.design.levels)
        owner = next(
            (own for level, own in self.owners.items() if level.casefold() == value.casefold()), None
        )
        if factor is None and owner is None:
            return None
        known = self.design.levels[factor or str(owner)]
        level = _same(value, known) or closest(value, known)
        if level is None:
            return None
        return Part(kind="level", name=level, factor=factor or str(owner), is_guess=True)

    def word(self, word: str) -> str | None:
        """Read a word that is a column in another case, the constant, or a call without its brackets."""
        columns, folded = self.design.columns, word.casefold()
        if folded in _CONSTANT and "Intercept" in columns:
            return "Intercept"
        if (column := _same(word, columns)) is not None:
            return quote(column) if " " in column else column
        if folded == "mean":
            return "mean()"
        covariates = list(self.design.covariates)
        is_only = folded == "slope" and len(covariates) == 1
        return f"slope({quote(covariates[0])})" if is_only else None

    def guess(self, word: str) -> Part | None:
        """Guess the level, covariate, factor or column that a word is nearest to."""
        known: dict[str, Part] = {one: Part(kind="column", name=one) for one in self.design.columns}
        known |= {one: Part(kind="covariate", name=one) for one in self.design.covariates}
        known |= {one: Part(kind="factor", name=one) for one in self.design.levels}
        known |= {level: Part(kind="level", name=level, factor=own) for level, own in self.owners.items()}
        close = closest(word, known)
        return None if close is None else known[close]


def _patterns(
    design: CodedDesign, owners: Mapping[str, str]
) -> Iterator[tuple[re.Pattern[str], str, str, bool]]:
    for factor, levels in design.levels.items():
        name = re.escape(factor)
        spelled = rf"(?:C\(\s*`?{name}`?\s*(?:,[^()]*(?:\([^()]*\))?[^()]*)?\)|`{name}`|{name})"
        yield _compiled(rf"{spelled}(?!\w)"), "factor", factor, False
        if factor == "subject":
            continue
        choices = "|".join(map(re.escape, sorted(levels, key=len, reverse=True)))
        one = rf"['\"]?(?P<level>{choices})['\"]?"
        yield _compiled(rf"{spelled}\s*\[\s*(?:[TSHPD]\.)?\s*{one}\s*\]"), "level", factor, True
        yield _compiled(rf"{spelled}\s*(?:==?|:|\.)\s*{one}{_END}"), "level", factor, False
        yield _compiled(rf"{name}_?(?P<level>{choices}){_END}"), "level", factor, True
        own = [one for one in levels if owners.get(one) == factor and re.search(r"[^\W\d]", one)]
        if own:
            choices = "|".join(map(re.escape, sorted(own, key=len, reverse=True)))
            prefix = r"(?:ses-)?" if factor == "session" else ""
            yield _compiled(rf"['\"]?{prefix}(?P<level>{choices})['\"]?{_END}"), "level", factor, False
    for covariate in design.covariates:
        name = re.escape(covariate)
        yield _compiled(rf"(?:`{name}`|{name})(?!\w)"), "covariate", covariate, False


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _same(typed: str, known: Iterable[str]) -> str | None:
    """Find a name, or the only one that is the same but for case; None where there is none."""
    typed, names = typed.strip(" '\"`"), list(known)
    folded = [one for one in names if one.casefold() == typed.casefold()]
    return typed if typed in names else folded[0] if len(folded) == 1 else None
