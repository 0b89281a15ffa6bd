"""Contrasts of a node as expressions over the columns of its design."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bids_group.config import ContrastRequest
from bids_group.config.stats_model import INTERCEPT, Node, NodeContrast, Weight
from bids_group.config.typed import parse_contrast
from bids_group.errors import ContrastError
from bids_group.model.planning.instructions import say_factor
from bids_group.words import list_some, suggest


def contrast_requests(node: Node) -> tuple[ContrastRequest, ...]:
    """List the contrasts that a Dataset node asks for; empty means the default ones.

    The constant's dummy contrast has an empty name: its maps are called after the first-level contrast alone.

    Raises
    ------
    ContrastError
        A condition is not among the variables of ``X`` (with a Formula, the columns of the design are known
        later, and checked there).
    """
    by_meaning = tuple(parse_contrast(text) for text in node.settings.get("contrast", ()))
    if node.formula is None:
        check_conditions(node)
    return by_meaning + tuple(_request(contrast) for contrast in node.all_contrasts)


def check_conditions(node: Node) -> None:
    """Refuse a contrast of what is not in ``X``."""
    for contrast in node.all_contrasts:
        for condition in contrast.conditions:
            if condition not in node.x:
                raise ContrastError(
                    f"The contrast {contrast.name!r} of the node {node.name!r} names {condition!r}, "
                    "which is not in X.",
                    found=list_some(node.x),
                    fix=_advise(condition, node),
                )


def _advise(condition: str, node: Node) -> str | None:
    """Guess what was meant by a condition; ``Group.blind`` is made of ``Group`` by Factor."""
    name, _, level = condition.rpartition(".")
    if name and not any(one.startswith(f"{name}.") for one in node.x):
        siblings = dict.fromkeys(c for one in node.all_contrasts for c in one.conditions)
        levels = [one.rpartition(".")[2] for one in siblings if one.rpartition(".")[0] == name]
        return f"{say_factor(name, levels or [level])}, or use a Formula and mean({name}={level})."
    return suggest(condition, node.x)


def _request(contrast: NodeContrast) -> ContrastRequest:
    rows = [_expression(contrast.conditions, row) for row in contrast.weights]
    return ContrastRequest(
        name="" if contrast.name == INTERCEPT else contrast.name,
        expression=f"[{', '.join(rows)}]" if contrast.test == "F" else rows[0],
        test=contrast.test,
    )


def _expression(conditions: Sequence[str], weights: Sequence[Weight]) -> str:
    """Write names of columns with their weights: ``A - 1/3*B``; what has no weight is left out.

    Names with brackets stay as they are: they are read tolerantly (``C(group)[T.b]`` is ``C(group)[b]`` where
    there is no constant).
    """
    text = ""
    for name, weight in zip(conditions, map(str, weights), strict=True):
        if re.fullmatch(r"[+-]?0*\.?0*", weight):
            continue
        column = "Intercept" if name == INTERCEPT else name
        column = column if column.isidentifier() or re.search(r"[\[(`]", column) else f"`{column}`"
        sign, size = ("-", weight[1:]) if weight.startswith("-") else ("+", weight.removeprefix("+"))
        times = "" if size in ("1", "1.0") else f"{size}*"
        text += f" {sign} {times}{column}" if text else f"{sign.strip('+')}{times}{column}"
    return text or "-"
