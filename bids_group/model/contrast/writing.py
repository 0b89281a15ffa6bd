"""Contrasts written in the grammar: ``mean(group=patient) - 0.5*slope(age, sex=F)``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bids_group.words import quote_column, quote_level


def write_meaning(places: Mapping[str, str], covariate: str | None = None) -> str:
    """Write a mean, or the slope of a covariate, that is held at ``places``: level or value by column."""
    held = [f"{quote_column(name)}={quote_level(value)}" for name, value in places.items()]
    own = [] if covariate is None else [quote_column(covariate)]
    return f"{'mean' if covariate is None else 'slope'}({', '.join([*own, *held])})"


def write_sum(parts: Iterable[tuple[str, str]]) -> str:
    """Write a sum of parts, each behind its weight (``1/3``, ``-2``)."""
    text = ""
    for weight, what in parts:
        sign, size = ("-", weight[1:]) if weight.startswith("-") else ("+", weight.removeprefix("+"))
        times = "" if size in ("1", "1.0") else f"{size}*"
        text += f" {sign} {times}{what}" if text else f"{sign.strip('+')}{times}{what}"
    return text
