"""Contrasts that are made of contrasts: tests of equivalence, and conjunctions.

::

    equivalent(A, 0.3)    equivalent(A, -0.2, 0.5)    equivalent(A, 0.3 g)    conjunction(A, B, ...)

A part is an expression of the grammar, or the name of another contrast that was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bids_group.config import ContrastRequest
from bids_group.errors import ContrastError
from bids_group.labels import camel_label, upper_first
from bids_group.model.contrast.build import build_contrast
from bids_group.model.contrast.reading import remark
from bids_group.model.formula.coding import CodedDesign
from bids_group.model.formula.tokens import find_closing
from bids_group.records import Bounds, Contrast, Notice

_CALL = re.compile(r"\s*(equivalent|conjunction)\s*\(")
_PIECE = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|.", re.DOTALL)
_BOUND = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(g?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """What stands in the brackets of ``equivalent``, which has bounds, or of ``conjunction``."""

    parts: tuple[str, ...]
    bounds: Bounds | None = None


def build_contrasts(
    requests: Sequence[ContrastRequest], design: CodedDesign
) -> tuple[list[Contrast], list[Contrast], list[Notice]]:
    """Build what was asked for: contrasts that are fitted, conjunctions of them, and what is to be told.

    Parts of a conjunction that were not asked for by themselves become contrasts too, after the others.
    """
    named = {_name(request): request for request in requests}
    calls = [_read_call(request.expression) for request in requests]
    joined = [(one, call) for one, call in zip(requests, calls, strict=True) if call and not call.bounds]
    alone = [one for one, call in zip(requests, calls, strict=True) if not call or call.bounds]
    fitted = [_build(request, design, named) for request in alone]
    conjunctions = []
    for request, call in joined:
        parts: list[Contrast] = []
        for part in (_find(text, named) for text in call.parts):
            made = _build(part, design, named)
            same = (one for one in fitted if one.name == made.name or _are_same(one, made))
            known = next(same, made)
            if known is made:
                fitted.append(made)
                alone.append(part)
            parts += [known] if known not in parts else []
        conjunctions.append(_join(request, parts))
    made_of = zip(alone, fitted, strict=True)
    return fitted, conjunctions, [notice for pair in made_of for notice in _remark(*pair, design, named)]


def _name(request: ContrastRequest) -> str:
    return request.name or request.expression.strip()


def _find(text: str, named: Mapping[str, ContrastRequest]) -> ContrastRequest:
    """Find the contrast that a part names; else the part is an expression."""
    return named.get(text) or ContrastRequest(expression=text)


def _are_same(one: Contrast, other: Contrast) -> bool:
    return (
        np.array_equal(one.weights, other.weights) and one.test == other.test and one.bounds == other.bounds
    )


def _remark(
    request: ContrastRequest, made: Contrast, design: CodedDesign, named: Mapping[str, ContrastRequest]
) -> Iterator[Notice]:
    typed, read = _read_call(request.expression), _read_call(made.expression)
    if typed is None or read is None:
        return remark(request.expression.strip(), made.expression, design)
    is_named = typed.parts[0] in named  # and is remarked on by itself
    return iter(()) if is_named else remark(typed.parts[0], read.parts[0], design)


def _build(request: ContrastRequest, design: CodedDesign, named: Mapping[str, ContrastRequest]) -> Contrast:
    """Build a contrast that is fitted: as it is, or with the bounds of a test of equivalence."""
    call = _read_call(request.expression)
    if call is None:
        return build_contrast(request, design)
    part = _find(call.parts[0], named)
    if call.bounds is None or _read_call(part.expression) is not None:
        raise ContrastError(
            f"The contrast '{_name(request)}' is made of a contrast that has parts or bounds itself.",
            found=request.expression if call.bounds is None else part.expression,
            expected="effects as parts: conjunction(A, B, C), equivalent(mean(), 0.3)",
        )
    inner = build_contrast(part, design)
    if inner.test != "t":
        raise ContrastError(
            f"The contrast '{_name(request)}' is about a joint test, which has no one effect.",
            found=part.expression,
            expected="a t contrast",
            fix="Write one test of equivalence for each row.",
        )
    low, high, slope = f"{call.bounds.lower:g}", f"{call.bounds.upper:g}", inner.slope
    unit = "residual SDs" if call.bounds.is_standardised else "in units of the effect"
    unit += f" per unit of {slope.covariate}" if slope and call.bounds.is_standardised else ""
    text = request.expression.strip()
    if inner.expression != part.expression.strip():  # as it was read
        text = text.replace(call.parts[0], inner.expression, 1)
    return replace(
        inner,
        name=_name(request),
        label=upper_first(camel_label(_name(request))),
        expression=text,
        words=f"whether this lies between {low} and {high} {unit}: {inner.words}",
        bounds=call.bounds,
    )


def _join(request: ContrastRequest, parts: Sequence[Contrast]) -> Contrast:
    """Make the conjunction of t contrasts, each of which has a direction."""
    wrong = [one for one in parts if not one.has_two_tails]
    if wrong or len(parts) < 2:
        what = "joins what has no direction" if wrong else "has one part only"
        raise ContrastError(
            f"The contrast '{_name(request)}' {what}.",
            found=(wrong or parts)[0].expression,
            expected="two or more different t contrasts: conjunction(mean(group=a), mean(group=b))",
        )
    return Contrast(
        name=_name(request),
        label=upper_first(camel_label(_name(request))),
        weights=np.concatenate([one.weights for one in parts]),
        test="t",
        expression=request.expression.strip(),
        words=f"all of these, with one sign: {'; '.join(one.words for one in parts)}",
        parts=tuple(one.name for one in parts),
    )


def _read_call(text: str) -> _Call | None:
    """Read a test of equivalence or a conjunction; None of everything else."""
    match = _CALL.match(text)
    if match is None:
        return None
    end = find_closing(text, match.end() - 1)
    if end is None or text[end:].strip():
        raise ContrastError(
            f"{match[1]}(...) stands alone.",
            found=text.strip(),
            expected="a contrast that ends with its closing bracket",
            fix=f"Put what is added or subtracted into the brackets: {match[1]}(A - B, …).",
        )
    parts = _split(text[match.end() : end - 1])
    if match[1] == "conjunction":
        return _Call(parts=tuple(parts))
    found = [_BOUND.fullmatch(part) for part in parts[1:]]
    numbers, units = [float(one[1]) for one in found if one], {one[2] for one in found if one}
    if len(numbers) == 1:
        numbers = [-numbers[0], numbers[0]]
    is_read = all(found) and len(units) == 1 and len(numbers) == 2 and numbers[0] < numbers[1]
    if not is_read or not np.isfinite(numbers).all():
        raise ContrastError(
            "A test of equivalence needs an effect, and the bounds that it is to lie between.",
            found=text.strip(),
            expected="equivalent(A, 0.3) or equivalent(A, -0.2, 0.5) in units of the effect, or "
            "equivalent(A, 0.3 g) in residual standard deviations; the lower bound first",
        )
    bounds = Bounds(lower=numbers[0], upper=numbers[1], is_standardised=units == {"g"})
    return _Call(parts=(parts[0],), bounds=bounds)


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets and quotes."""
    parts, depth = [""], 0
    for piece in _PIECE.findall(text):
        depth += (piece in "([") - (piece in ")]")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts]
