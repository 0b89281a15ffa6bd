"""Contrasts of a node as expressions over the columns of its design."""

from __future__ import annotations

from collections.abc import Sequence

from bids_group.config import ContrastRequest
from bids_group.config.stats_model import INTERCEPT, Node, NodeContrast, Weight
from bids_group.config.stats_model_settings import parse_contrast
from bids_group.model.factors import quote


def contrast_requests(node: Node) -> tuple[ContrastRequest, ...]:
    """List the contrasts that a Dataset node asks for; empty means the default ones.

    The constant's dummy contrast has no name: its maps are called after the first-level contrast alone.
    """
    by_meaning = tuple(parse_contrast(text) for text in node.settings.get("contrast", ()))
    return by_meaning + tuple(_request(contrast) for contrast in node.all_contrasts)


def _request(contrast: NodeContrast) -> ContrastRequest:
    rows = [_expression(contrast.conditions, row) for row in contrast.weights]
    is_constant = contrast.name == INTERCEPT
    return ContrastRequest(
        name="" if is_constant else contrast.name,
        expression=f"[{', '.join(rows)}]" if contrast.test == "F" else rows[0],
        test=contrast.test,
    )


def _expression(conditions: Sequence[str], weights: Sequence[Weight]) -> str:
    """Write names of columns with their weights: ``A - 1/3*B``."""
    terms = [_term(name, str(weight)) for name, weight in zip(conditions, weights, strict=True)]
    text = " ".join(term for term in terms if term)
    return text.removeprefix("+ ") if text.startswith("+ ") else "-" + text.removeprefix("- ")


def _term(name: str, weight: str) -> str:
    sign, size = ("-", weight[1:]) if weight.startswith("-") else ("+", weight.removeprefix("+"))
    column = "Intercept" if name.lower() in (INTERCEPT, "intercept") else quote(name)
    return f"{sign} {column}" if size in ("1", "1.0") else f"{sign} {size}*{column}"
