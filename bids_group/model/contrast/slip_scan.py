"""Reads a sum from the left as a newcomer may write it, and writes it in the words of the grammar."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bids_group.model.contrast.slip_names import NO_COLUMN, Names, Part
from bids_group.model.contrast.weights import SEVERAL
from bids_group.model.contrast.writing import write_meaning
from bids_group.model.formula.tokens import find_closing
from bids_group.words import closest
from bids_group.words import quote_column as quote

_CALLS = {
    **dict.fromkeys(("mean", "average", "avg", "emmean"), "mean"),
    **dict.fromkeys(("slope", "trend", "emtrend"), "slope"),
    **dict.fromkeys(("test", "anova", "f", "ftest", "f_test", "interaction"), "test"),
}
_CALL = re.compile(r"(\w+)\s*\(")
_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_PLACE = re.compile(r"\s(?:in|within|among|for)\s")
_JOINER = re.compile(rf"\s*[:&*]\s*|\s+(?:x|by)\s+|\s*{_PLACE.pattern}\s*|[_.]")


@dataclass(slots=True, kw_only=True)
class Scan:
    """Reads a sum from left to right and writes it anew, in three ways side by side.

    ``means``: in the words of the grammar, each level as its marginal mean. ``columns``: the same with each
    level as its coefficient in the design. ``counts``: with 1 in place of each level and 0 in place of every
    other name, so that it sums to zero where levels are compared. ``has_columns``: a level was written as
    columns are (``group[a]``), so that its coefficient may be meant; ``meant``: factors whose reference level
    was written so, which has no coefficient: their levels can only mean means.
    """

    text: str
    names: Names
    is_whole: bool
    as_means: frozenset[str] = frozenset()
    position: int = 0
    means: str = ""
    columns: str = ""
    counts: str = ""
    is_guess: bool = False
    has_columns: bool = False
    meant: frozenset[str] = frozenset()

    def add(self, means: str, columns: str | None = None, *, end: int, count: str = "0") -> bool:
        """Write what was read up to ``end``; gives True."""
        self.means += means
        self.columns += means if columns is None else columns
        self.counts += count
        self.position = end
        return True

    def run(self) -> bool:
        """Read to the end; False where something is not understood."""
        while self.position < len(self.text):
            number, piece = _NUMBER.match(self.text, self.position), self.text[self.position]
            if self.take_call() or self.take_product() or self.take_regressor():
                continue
            if number or piece.isspace() or piece in "+-*/(),[]":
                piece = number[0] if number else piece
                self.add(piece, end=self.position + len(piece), count=piece)
            elif not self.take_word():
                return False
        return True

    def take_regressor(self) -> bool:
        """Take the name of a column."""
        end = self.names.end_of_column(self.text, self.position)
        return end is not None and self.add(self.text[self.position : end], end=end)

    def take_product(self) -> bool:
        """Take levels, covariates and factors that are joined: a mean, a slope, or a term that is tested."""
        parts, end, joiners = [], self.position, ""
        while part := self.names.part_at(self.text, end):
            parts.append(part)
            end, joiner = part.end, _JOINER.match(self.text, part.end)
            if joiner is None or self.names.part_at(self.text, joiner.end()) is None:
                break
            end, joiners = joiner.end(), joiners + joiner[0]
        levels = {one.factor: one.name for one in parts if one.kind == "level"}
        column_end = self.names.end_of_column(self.text, self.position)
        if not parts or (column_end is not None and column_end >= end and not self.as_means & set(levels)):
            return False
        others, rest = [one for one in parts if one.kind != "level"], self.text[end : end + 1]
        if re.match(r"\w", rest):  # patient_x
            return False
        if _PLACE.search(joiners) and any(one.is_column for one in parts):  # group[T.patient] in F
            return False
        if len(parts) == 1 and others and others[0].name in self.names.design.columns:
            return self.add(quote(others[0].name), end=end)
        if len(levels) + len(others) < len(parts) or (others and levels and len(others) > 1):
            return False
        if not levels:
            return self.take_term(parts, end, is_guess="*" in joiners)
        if others and others[0].kind != "covariate":
            return False
        column = self.names.as_column(levels, others[0].name if others else None)
        is_of_r = any(one.is_column for one in parts) and not re.search(
            r"[\[_]", self.text[self.position : end]
        )
        if is_of_r and column and column != NO_COLUMN and not self.as_means & set(levels):
            self.has_columns = True
            return self.add(column, end=end)  # grouppatient
        self.is_guess |= "*" in joiners
        self.note_columns(parts, column_end)
        return self.add(*self.say(levels, others[0].name if others else None), end=end, count="1")

    def note_columns(self, parts: Sequence[Part], column_end: int | None) -> None:
        """Note that levels stand as columns do; one that alone is no column is a guess."""
        of_columns = frozenset(one.factor for one in parts if one.is_column)
        self.has_columns |= bool(of_columns)
        if column_end is None:
            self.meant |= of_columns
            self.is_guess |= (
                bool(of_columns)
                and self.is_whole
                and self.position == 0
                and len(parts) == 1
                and (parts[0].end == len(self.text))
            )

    def say(self, levels: dict[str, str], covariate: str | None) -> tuple[str, str]:
        """Say a mean or slope, and the coefficient that it may be meant as."""
        means = write_meaning(levels, covariate)
        return means, self.names.as_column(levels, covariate) or means

    def take_term(self, parts: Sequence[Part], end: int, *, is_guess: bool) -> bool:
        """Take factors and covariates that are all there is: the test of a term."""
        names = [one.name for one in parts]
        if not self.is_whole or self.position or end < len(self.text) or len({*names}) < len(names):
            return False
        is_curve = len(parts) == 1 and parts[0].kind == "covariate"
        term = ":".join(map(quote, names))
        self.is_guess |= is_guess or is_curve
        return self.add(f"slope({term})" if is_curve else f"test({term})", end=end)

    def take_call(self) -> bool:
        """Take a mean, slope or test, also by another name (``avg``, ``anova``)."""
        call = _CALL.match(self.text, self.position)
        kind = _CALLS.get(call[1].casefold()) if call else None
        if (
            call is not None
            and kind is None
            and call[1] != "C"
            and self.names.part_at(self.text, call.start()) is None
        ):
            meant = closest(call[1], _CALLS)
            kind, self.is_guess = (_CALLS[meant], True) if meant else (None, self.is_guess)
        end = find_closing(self.text, call.end() - 1) if call is not None and kind is not None else None
        if call is None or kind is None or end is None:
            return False
        inner = self.text[call.end() : end - 1].strip()
        may_be_joint = call[1].casefold() != "interaction" and SEVERAL.search(inner) is not None
        said = self.say_test(inner, may_be_joint) if kind == "test" else self.say_call(kind, inner)
        return said is not None and self.add(said, end=end)

    def say_test(self, inner: str, may_be_joint: bool) -> str | None:
        """Say the test of a term; a difference in its brackets is one without it.

        ``may_be_joint``: several terms may be meant, all at once, rather than their interaction.
        """
        named = [one.strip() for one in re.split(rf"[:*]| x | by |{SEVERAL.pattern}", inner)]
        parts = [self.names.part_at(one, 0, is_all=True) for one in named]
        if all(part is not None and part.kind != "level" for part in parts):
            self.is_guess |= may_be_joint or "*" in inner
            return f"test({':'.join(dict.fromkeys(quote(part.name) for part in parts if part))})"
        self.is_guess = True
        terms = [term.name for term in self.names.design.form.blocks if term.factors]
        if guess := closest(inner, terms):
            return f"test({guess})"
        scan = scan_sum(inner, self.names, is_whole=False)
        return None if scan is None else scan.means

    def say_call(self, kind: str, inner: str) -> str | None:
        """Say ``mean(...)`` or ``slope(...)`` with what its brackets hold, in the grammar's order."""
        inner = re.sub(r"(^|[=,]\s*)[\[{(]([^\[\](){}]*)[\]})]", r"\1\2", inner)  # group=[patient, relative]
        arguments = [one.strip() for one in re.split(r"[,;|]", inner) if one.strip()]
        for number, one in enumerate(arguments):
            pieces = re.split(r"\s*([-+])\s*", one)
            if len(pieces) > 1 and all(self.names.part_at(each, 0, is_all=True) for each in pieces[::2]):
                before, after = arguments[:number], arguments[number + 1 :]
                if "-" not in pieces[1::2]:  # several levels
                    return self.say_call(kind, ", ".join([*before, *pieces[::2], *after]))
                said = [self.say_call(kind, ", ".join([each, *before, *after])) for each in pieces[::2]]
                if None in said:
                    return None
                sums = [f"({one})" if " - " in str(one) else str(one) for one in said]  # sex=F-M after it
                signs = ["", *(f" {sign} " for sign in pieces[1::2])]
                return "".join(itertools.chain(*zip(signs, sums, strict=True)))
        places: dict[str, list[str]] = {}
        covariates: list[str] = []
        factors: list[str] = []
        for one in arguments:
            place = self.names.place(one)
            if place is None:
                return None
            self.is_guess |= place.is_guess
            if place.kind == "level":
                places.setdefault(place.factor, []).append(place.name)
            else:
                (covariates if place.kind == "covariate" else factors).append(place.name)
        said = [
            self.write_call(kind, dict(zip(places, each, strict=True)), covariates, factors)
            for each in itertools.product(*places.values())
        ]
        if None in said or len(said) == 1:
            return said[0]
        self.is_guess = True  # the mean over several levels, or something else
        return f"({' + '.join(map(str, said))}) / {len(said)}"

    def write_call(
        self, kind: str, places: dict[str, str], covariates: list[str], factors: list[str]
    ) -> str | None:
        """Write a call in the grammar's order; of a factor without a level, what compares its levels."""
        if len(factors) == 1 and len(covariates) < 2 and not places:
            self.is_guess = True
            [factor], levels = factors, self.names.design.levels[factors[0]]
            calls = [write_meaning({factor: one}, *covariates) for one in levels]
            term = ":".join(map(quote, [factor, *covariates]))
            return f"{calls[1]} - {calls[0]}" if len(calls) == 2 else f"test({term})"
        if kind == "slope" and not covariates and len(self.names.design.covariates) == 1:
            covariates = list(self.names.design.covariates)
        if factors or len(covariates) > 1 or (kind == "slope" and not covariates):
            return None
        self.is_guess |= kind == "mean" and bool(covariates)  # mean(age): the maps have no mean there
        return write_meaning(places, *covariates)

    def take_word(self) -> bool:
        """Take a word that is no name: the constant, a column in another case, or what is nearest."""
        word = re.compile(r"[^\W\d][\w.]*").match(self.text, self.position)
        if word is None:
            return False
        found = self.names.word(word[0])
        if found is None:
            guess = self.names.guess(word[0])
            self.is_guess = True
            if guess is None:
                return False
            is_level = guess.kind == "level"
            said = self.say({guess.factor: guess.name}, None) if is_level else (guess.name, guess.name)
            return self.add(said[0], said[1], end=word.end(), count="1" if guess.kind == "level" else "0")
        return self.add(found, end=word.end())


def scan_sum(
    text: str, names: Names, *, is_whole: bool, as_means: frozenset[str] = frozenset()
) -> Scan | None:
    """Read a sum; None where something in it is not understood.

    Where a reference level is written as a column (``group[control]``, which has no coefficient), every level
    of that factor stands for a mean; so do the levels of the factors ``as_means``.
    """
    scan = Scan(text=text.strip(), names=names, is_whole=is_whole, as_means=as_means)
    if not scan.run():
        return None
    if scan.meant <= as_means:
        return scan
    again = Scan(text=text.strip(), names=names, is_whole=is_whole, as_means=scan.meant | as_means)
    return again if again.run() else None
