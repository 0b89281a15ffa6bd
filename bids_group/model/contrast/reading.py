"""From what was typed to a contrast read and weighed; slips are told, or refused with the line to write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bids_group.config import ContrastRequest
from bids_group.errors import ContrastError, DesignError
from bids_group.model.contrast.grammar import Combination, Expression, read_expression
from bids_group.model.contrast.saying import say_combination, say_test, say_weights
from bids_group.model.contrast.weights import (
    as_number,
    find_term,
    mistakes_constant,
    settle,
    term_rows,
    weigh_combination,
)
from bids_group.model.contrast.writing import write_meaning
from bids_group.model.formula.coding import Array, CodedDesign
from bids_group.records import Notice, note, warn
from bids_group.words import counted, list_some, quote_for_shell, say_number

_ROUNDED = 1e-5
"""Share of the largest weight to which a sum is 0: thirds are written with six digits (0.333333)."""


class ReadContrast(NamedTuple):
    """A contrast in the words of the grammar (``text``), read, weighed ``(q, n_regressors)`` and said."""

    text: str
    expression: Expression
    weights: Array
    words: str


def read_contrast(request: ContrastRequest, design: CodedDesign) -> ReadContrast:
    """Read a contrast; one that is not of the grammar as what alone it can mean, else show what it may."""
    typed = request.expression.strip()

    def weigh(text: str) -> Array:
        return _read_strictly(text, design).weights

    try:
        read = _read_strictly(typed, design)
    except ContrastError as error:
        from bids_group.model.contrast.slips import find_readings

        is_zero = request.name is not None and re.fullmatch(r"0*\.?0*", typed)  # slope(age) = 0
        meant = str(request.name) if is_zero else typed
        found = find_readings(meant, design, weigh)
        if (whole := _without_name(request, design)) and (held := find_readings(whole, design, weigh)).lines:
            request = replace(request, name=None, expression=whole)
            found = replace(held, is_certain=False)
        swapped = None if request.name is None else _find_sides(request.name, found.lines, design)
        if swapped is None and found.is_certain and not is_zero:
            return _read_strictly(found.lines[0], design)
        lines = found.lines if swapped is None else (swapped,)
        if not lines and request.name is not None:  # scanner = 3
            lines = find_readings(f"{request.name} == {typed}", design, weigh).lines
        if not lines:
            raise
        name = None if swapped or is_zero else request.name
        fix = f"Write {_say_lines(name, lines, design)}"
        fix += ", with --one-sided for positive effects only." if found.is_compared else "."
        raise ContrastError(error.sentence, found=error.found, expected=error.expected, fix=fix) from None
    _check_name(request, read, design)
    return read


def _read_strictly(text: str, design: CodedDesign) -> ReadContrast:
    """Read an expression of the grammar."""
    columns = design.columns
    expression = read_expression(text, columns)
    meanings = [meaning for row in expression.rows for _, meaning in row]
    if design.is_own and (expression.term or any(meaning.kind != "coefficient" for meaning in meanings)):
        raise ContrastError(
            f"The contrast '{text}' asks for a mean, slope or term, which only a formula tells.",
            found="a design matrix of your own, of which nothing but its columns is known",
            expected=f"a sum of columns or a vector over: {list_some(columns, 30)}",
            fix="Name columns ('a - b', '[a, b]' for a joint F test), or use --formula.",
        )
    return ReadContrast(text, expression, *_weigh(text, expression, design))


def _say_lines(name: str | None, lines: Sequence[str], design: CodedDesign) -> str:
    """Write contrasts as they can be pasted; where there are several, with what each is."""
    own = "" if name is None else f"{name} = "
    ends = ("=" if (own + line).startswith("-") else " " for line in lines)  # else it is taken for an option
    said = [f"--contrast{end}{quote_for_shell(own + line)}" for end, line in zip(ends, lines, strict=True)]
    if len(lines) > 1:
        said = [f"{a} ({_read_strictly(b, design).words})" for a, b in zip(said, lines, strict=True)]
    return ", or ".join(said)


def _without_name(request: ContrastRequest, design: CodedDesign) -> str | None:
    """Write ``patient - control in sex=F`` as one: the name ends in a factor, of which F is a level."""
    last, level = re.search(r"\W(\w+)$", request.name or ""), request.expression.strip(" '\"")
    levels = () if last is None else design.levels.get(last[1], ())
    is_level = level.removeprefix("ses-").casefold() in map(str.casefold, levels)
    return f"{request.name}=={level}" if is_level else None


def _find_sides(name: str, lines: Sequence[str], design: CodedDesign) -> str | None:
    """Find the difference that ``patient = control`` means, where the name before the sign is a level too."""
    for factor, levels in design.levels.items():
        means = {write_meaning({factor: level}): level for level in levels}
        for line in (one for one in lines if one in means):
            sides = [one for one in levels if one.casefold() == name.strip(" '\"").casefold()]
            if sides and sides[0] != means[line]:
                return f"{write_meaning({factor: sides[0]})} - {line}"
    return None


def _check_name(request: ContrastRequest, read: ReadContrast, design: CodedDesign) -> None:
    """Refuse ``mean(group=a) = mean(group=b)``: what stands before the sign would be but a name."""
    if request.name is None or not re.match(r"\s*-?\s*(mean|slope)\s*\(", request.name):
        return
    try:
        left = _read_strictly(request.name, design)
    except (ContrastError, DesignError):
        return
    if not np.array_equal(left.weights, read.weights):
        right = f"({read.text})" if re.search(r"\s[+-]", read.text) else read.text
        raise ContrastError(
            f"The contrast named '{request.name}' is another one: '{read.text}'.",
            found=str(request),
            expected="NAME = EXPRESSION, where the name is a word of your own",
            fix=f"Write --contrast {quote_for_shell(f'{request.name} - {right}')}, or another name.",
        )


def _weigh(text: str, expression: Expression, design: CodedDesign) -> tuple[Array, str]:
    """Weigh the columns, ``(q, n_regressors)``, and say the contrast in words."""
    if expression.term is not None:
        rows = term_rows(design, expression.term)
        return np.array(rows), say_test(find_term(design, expression.term), design)
    columns = design.columns
    for row in expression.vectors:
        if len(row) != len(columns):
            glued = re.search(r"[\d.]+\s+[+-][\d.]+", text)
            raise ContrastError(
                f"The contrast '{text.strip()}' does not have one weight per column of the design.",
                found=counted(len(row), "weight"),
                expected=f"one weight for each of: {list_some(columns, 30)}",
                fix=f"Put a comma between the weights: '{glued[0]}' without one is a sum or difference."
                if glued
                else "Run --dry-run to see the columns and their order, or name them in the contrast.",
            )
    rows = [settle(np.array(row)) for row in expression.vectors]
    rows += [weigh_combination(text, row, design) for row in expression.rows]
    said = [say_weights(row, columns) for row in expression.vectors]
    said += [say_combination(row, design) for row in expression.rows]
    return np.array(rows), said[0] if len(said) == 1 else f"joint test: {'; '.join(said)}"


def remark(typed: str, text: str, design: CodedDesign) -> Iterator[Notice]:
    """Tell how slips and names were read, and which values lie beyond the analysed range.

    ``text`` is what was ``typed`` in the words of the grammar.
    """
    expression = read_expression(text, design.columns)
    rows = expression.rows
    if text != typed:
        sided = "; both directions are tested, unless --one-sided" if re.search("[<>≤≥]", typed) else ""
        yield note("names", f"The contrast '{typed}' is read as '{text}'{sided}.")
    if any(mistakes_constant(row, design.columns) for row in expression.vectors):
        yield warn(
            "names",
            f"The weights of '{typed}' are of {list_some(design.columns)}, in this order: the constant is "
            "the mean of the reference level, so this is no difference of two groups.",
            "Name what you compare: mean(FACTOR=LEVEL) - mean(FACTOR=LEVEL).",
        )
    for what, total in dict(filter(None, map(_find_unbalanced, rows))).items():
        yield warn(
            "contrasts",
            f"The weights of the {what} in '{typed}' have both signs and sum to {say_number(total)}, not 0: "
            f"it is no difference, and not 0 where all {what} are the same.",
            "To compare, let them sum to 0: A - B, or A - 0.5*B - 0.5*C.",
        )
    for meaning in (meaning for row in rows for _, meaning in row):
        if re.sub(r"[\s`]", "", meaning.typed) not in ("", re.sub(r"[\s`]", "", meaning.name)):
            what = ", a difference from the reference level" if "[T." in meaning.name else ""
            said = f"'{meaning.typed}' is read as the column '{meaning.name}' of the design{what}."
            yield note("names", said)
        for place in meaning.places:
            covariate, value = design.covariates.get(place.name), as_number(place.value)
            if covariate and value is not None and not covariate.minimum <= value <= covariate.maximum:
                yield warn(
                    "extrapolation",
                    f"A contrast is evaluated at {place.name} = {place.value}, beyond the analysed rows "
                    f"({say_number(covariate.minimum)} to {say_number(covariate.maximum)}).",
                    f"Ask at a value of {place.name} that was observed.",
                )


def _find_unbalanced(row: Combination) -> tuple[str, float] | None:
    """Find means (or slopes) whose weights have both signs but do not sum to 0; give the sum too."""
    for kind, name in {(one.kind, one.name): None for _, one in row if one.kind != "coefficient"}:
        weights = [weight for weight, one in row if (one.kind, one.name) == (kind, name)]
        if min(weights) < 0 < max(weights) and abs(sum(weights)) > _ROUNDED * max(map(abs, weights)):
            return f"{kind}s", sum(weights)
    return None
