"""The design of a node: its rows and covariates, transformed; its variables as a formula; its contrasts.

Contrasts become expressions over the columns of the design.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bids_group.config import ContrastRequest
from bids_group.config.stats_model import INTERCEPT, Node, Weight, formula_names
from bids_group.config.typed import parse_contrast
from bids_group.errors import ContrastError, UsageError
from bids_group.labels import factor_word, natural_order
from bids_group.model.contrast.writing import write_sum
from bids_group.model.formula.coding import is_numeric, levels_of
from bids_group.model.planning.node_maps import (
    ENTITIES,
    NodeMap,
    find_contrast,
    join_covariates,
    unknown_column,
)
from bids_group.model.planning.transformations import Transformed, say_factor, transform
from bids_group.records import Cohort, Column
from bids_group.words import list_some, listed, quote_column, quote_for_shell, suggest


def build_node_rows(
    node: Node, maps: Sequence[NodeMap], cohort: Cohort, *, judged_by: Iterable[str] = ()
) -> tuple[pd.DataFrame, Transformed, dict[str, Column]]:
    """Join the covariates to rows and transform them; refuse what ``X`` cannot take.

    Gives the rows before and after, and what is known of each column. ``judged_by``: further columns that the
    analysis needs (blocks, variance groups).
    """
    raw, columns = join_node_rows(node, maps, cohort, judged_by=judged_by)
    transformed = transform(raw, node.instructions, node.name)
    rows = transformed.rows
    check_variables(node, rows)
    sources = (table.columns[name].source for table in cohort.tables for name in table.columns)
    source = next(sources, None)
    made = {
        name: Column(
            name=name,
            kind="numeric" if pd.api.types.is_numeric_dtype(rows[name]) else "categorical",
            kind_source=f"made by the transformation {instruction} of the model",
            source=source,
        )
        for name, instruction in transformed.made_by.items()
        if source is not None and name in rows.columns
    }
    return raw, transformed, {**columns, **made}


def _say_product(node: Node, name: str) -> str:
    """Say how an interaction becomes a variable of ``X``."""
    inputs = ", ".join(f'"{part.strip()}"' for part in name.split(":"))
    formula = " + ".join(["1" if INTERCEPT in node.x else "0", *(n for n in node.x if n != INTERCEPT)])
    return (
        f'Add {{"Name": "Product", "Input": [{inputs}], "Output": "…"}} to the Instructions and name its '
        f'Output in X, or add "Formula": "{formula}" to the Model.'
    )


def _no_number(node: Node, name: str, levels: Sequence[str]) -> UsageError:
    """Refuse categories in ``X``: it takes numbers, as pybids has it, and nothing is coded in silence."""
    formula = " + ".join(["1" if INTERCEPT in node.x else "0", *(n for n in node.x if n != INTERCEPT)])
    fix = f'{say_factor(name, levels)}, or add "Formula": "{formula}" to the Model.'
    if all(re.fullmatch(r"[-+]?\d+\.?\d*", level) for level in levels):
        as_number = f"say --numeric {name}"
        if name in ENTITIES:
            as_number = f'add {{"Name": "Sum", "Input": ["{name}"], "Output": "{name}_number"}}'
        fix += f" Where it is a number, {as_number}."
    return UsageError(
        f"X of the node {node.name!r} has the column {name!r}, which holds categories: X takes numbers.",
        found=f"levels {list_some(levels, 6)}",
        expected="numbers, or a column of 0 and 1 for each level",
        fix=fix,
    )


def join_node_rows(
    node: Node, maps: Sequence[NodeMap], cohort: Cohort, *, judged_by: Iterable[str] = ()
) -> tuple[pd.DataFrame, dict[str, Column]]:
    """Join the covariates to rows, before transformations; also give what is known of each column.

    Each first-level contrast that the model uses as a variable becomes a column of 0 and 1.
    """
    names = used_names(node)
    required = (*names, *judged_by)
    frame, columns = join_covariates(maps, cohort.tables, required=required, sessions=cohort.sessions)
    made = pd.DataFrame(index=frame.index)
    contrasts = {row.contrast for row in maps if "contrast" in row.entities}  # a table may have such a column
    for name in names:
        found = find_contrast(name, natural_order(contrasts))
        if found is not None and name not in frame.columns:
            made[name] = (frame["contrast"] == found).astype(float)
    return pd.concat([frame, made], axis=1), columns


def check_one_contrast(node: Node, maps: Iterable[NodeMap], cell_factors: Collection[str]) -> None:
    """Refuse a model of several first-level contrasts in which neither they nor their factors vary.

    Factors do where they tell the contrasts apart, whichever of them the model has: not ``cond`` alone those
    of faces and of houses.
    """
    cells: dict[str, tuple[str | None, ...]] = {}
    for one in maps:
        if one.contrast not in cells:
            factors = dict(one.maps[0].factors)
            cells[one.contrast] = tuple(factors.get(name) for name in cell_factors)
    used = used_names(node)
    if len(cells) < 2 or any(name == "contrast" or find_contrast(name, cells) for name in used):
        return
    is_of_factors = any(name in cell_factors for name in used)
    if is_of_factors and len({*cells.values()}) == len(cells):
        return
    fix = 'Add "contrast" to its GroupBy.'
    if is_of_factors:
        alike = next(one for one in sorted(cells) if list(cells.values()).count(cells[one]) > 1)
        others = [one for one in sorted(cells) if cells[one] == cells[alike]]
        values = [pair for each in cells.values() for pair in zip(cell_factors, each, strict=True)]
        words = {factor_word(name, value) for name, value in values}
        stem = [word for word in alike.split(" ") if word not in words]
        of_one = [one for one in sorted(cells) if one.split(" ")[: len(stem)] == stem]
        fix = (
            f"Nothing tells {listed(others)} apart: analyse contrasts one by one, such as "
            f"--first-level-contrast {' '.join(map(quote_for_shell, of_one))}, or add a column to the table "
            "that names the contrast, and use it."
        )
    raise UsageError(
        f"The node {node.name!r} would mix {len(cells)} first-level contrasts in one model.",
        found=list_some(sorted(cells)),
        expected="one contrast, or a model in which the contrast is a variable",
        fix=fix,
    )


def model_names(node: Node) -> tuple[str, ...]:
    """Variables that ``X`` and the formula name."""
    random = " + ".join(node.random_terms)
    return tuple(dict.fromkeys((*node.x, *formula_names(node.formula or ""), *formula_names(random))))


def used_names(node: Node) -> tuple[str, ...]:
    """Variables of the model, and columns that its transformations read."""
    return (*model_names(node), *input_names(node.instructions))


def node_formula(node: Node, columns: Iterable[str]) -> str:
    """Write the node's formula, or ``X`` as one: its variables, and the constant only where it is named.

    Random terms come last. Names that are no plain words get backticks: formulas of the standard have
    ``sex.F`` bare. A bare number is a number (``1`` the constant), also where a column is called so.
    """
    random = "".join(f" + {term}" for term in node.random_terms)
    if node.formula is None:
        terms = [quote_column(name) for name in node.x if name != INTERCEPT]
        return "~ " + " + ".join(["1" if INTERCEPT in node.x else "0", *terms]) + random
    odd = [
        name
        for name in columns
        if not name.isidentifier() and not re.fullmatch(r"[-+.\d]+(?:[eE][-+]?\d+)?", name)
    ]
    odd.sort(key=len, reverse=True)
    if not odd:
        return node.formula + random
    names = "|".join(re.escape(name) for name in odd)
    pattern = re.compile(rf"`[^`]*`|(?<![\w.])(?P<odd>{names})(?![\w.(])")
    return pattern.sub(lambda match: f"`{match[0]}`" if match["odd"] else match[0], node.formula) + random


def input_names(instructions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns that the transformations read."""
    values = [step.get(key, ()) for step in instructions for key in ("Input", "By", "Wrt", "Other")]
    values += [formula_names(str(step["Query"])) for step in instructions if "Query" in step]
    lists = ([value] if isinstance(value, str) else value for value in values)
    named = (name for each in lists if isinstance(each, list | tuple) for name in each)
    return [name for name in named if isinstance(name, str)]


def check_variables(node: Node, rows: pd.DataFrame) -> None:
    """Refuse variables of ``X`` that do not exist or are no numbers; a formula checks its own."""
    for name in node.x if node.formula is None else ():
        if name == INTERCEPT:
            continue
        if name not in rows.columns:
            fix = _say_product(node, name) if re.search(r"\w\s*:\s*\w", name) else None
            raise unknown_column(name, map(str, rows.columns), f"X of the node {node.name!r}", fix)
        if not is_numeric(rows[name]):
            raise _no_number(node, name, levels_of(rows[name].dropna()))


def contrast_requests(node: Node) -> tuple[ContrastRequest, ...]:
    """List the contrasts that a Dataset node asks for; empty means the default ones.

    The constant's dummy contrast has an empty name: its maps are called after the first-level contrast alone.
    Conditions are checked here where there is no Formula; else the columns of the design are known later.
    """
    requests = [parse_contrast(text) for text in node.settings.get("contrast", ())]
    if node.formula is None:
        check_conditions(node)
    for contrast in node.all_contrasts:
        rows = [_expression(contrast.conditions, row) for row in contrast.weights]
        request = ContrastRequest(
            name="" if contrast.is_constant else contrast.name,
            expression=f"[{', '.join(rows)}]" if contrast.test == "F" else rows[0],
            test=contrast.test,
        )
        requests.append(request)
    return tuple(requests)


def check_conditions(node: Node) -> None:
    """Refuse a contrast of what is not in ``X``; guess what was meant (``Group.blind`` is made by Factor)."""
    pairs = [(contrast, condition) for contrast in node.all_contrasts for condition in contrast.conditions]
    for contrast, condition in pairs:
        if condition in node.x:
            continue
        name, _, level = condition.rpartition(".")
        fix = "Add 1 to X." if condition == INTERCEPT else suggest(condition, node.x)
        if name and any(one.startswith(f"{name}.") for one in node.x):
            is_respelt = find_contrast(condition, node.x) is not None  # but for case, blanks and signs
            fix = fix if is_respelt else f'Add "{condition}" to X.'
        if name and not any(one.startswith(f"{name}.") for one in node.x):
            siblings = dict.fromkeys(each for _, each in pairs)
            levels = [one.rpartition(".")[2] for one in siblings if one.rpartition(".")[0] == name]
            fix = f"{say_factor(name, levels or [level])}, or use a Formula and mean({name}={level})."
        raise ContrastError(
            f"The contrast {contrast.name!r} of the node {node.name!r} names {condition!r}, "
            "which is not in X.",
            found=list_some(node.x),
            fix=fix,
        )


def _expression(conditions: Sequence[str], weights: Sequence[Weight]) -> str:
    """Write names of columns with their weights: ``A - 1/3*B``; what has no weight is left out.

    Names with brackets stay as they are: they are read tolerantly (``C(group)[T.b]`` is ``C(group)[b]`` where
    there is no constant).
    """
    parts = []
    for name, weight in zip(conditions, map(str, weights), strict=True):
        if not re.fullmatch(r"[+-]?0*\.?0*", weight):
            column = "Intercept" if name == INTERCEPT else name
            is_as_it_is = column.isidentifier() or re.search(r"[\[(`]", column)
            parts.append((weight, column if is_as_it_is else f"`{column}`"))
    return write_sum(parts) or "-"
