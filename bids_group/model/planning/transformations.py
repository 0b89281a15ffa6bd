"""Transformations of a Stats Model (``pybids-transforms-v1``) above the run level, on the rows of a design.

A missing value stays missing in everything that is computed from it. Means, standard deviations and
regressions are over the rows at hand, which are the analysed ones. What each instruction does:

* ``Factor``: a column of 0 and 1 for each level, ``sex.F``; ``Constraint`` ``drop_one`` leaves out
  ``RefLevel`` (default: the first), ``mean_zero`` also makes its rows −1/(k − 1) for k levels that occur, as
  pybids does
* ``Demean``: x − mean. ``Scale``: (x − mean) / SD with N − 1; ``Demean`` and ``Rescale`` switch parts off
* ``Product``, ``Sum``: of the inputs; ``Weights`` for the sum
* ``Threshold``: 0 where x is below ``Threshold`` (default 0); ``Above`` false: where above; ``Signed`` false:
  by the absolute value; ``Binarize`` makes the rest 1
* ``And``, ``Or``, ``Not``: of what differs from 0, as 0 and 1
* ``Orthogonalize``: x minus its regression on ``Wrt`` (pybids: ``Other``; slopes only: the mean stays)
* ``Replace``: values by others, ``{"2": "1"}``; null is missing
* ``Copy``, ``Rename``, ``Select``, ``Delete``: columns. ``Assign``: values of ``Input`` to ``Target``
* ``Filter``, ``DropNA``: leave out rows: where ``Query`` is not true, where an input is missing
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from bids_group.config.stats_model import read_fraction
from bids_group.errors import DataError, UsageError
from bids_group.model.planning.node_maps import ENTITIES, level_text
from bids_group.model.planning.queries import judge_rows
from bids_group.words import list_some, suggest

Columns = dict[str, pd.Series]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transformed:
    """Rows after some instructions.

    ``dropped``: label and reason of each row that was left out; ``made_by``: name of each new or changed
    column, and the instruction that made it; ``remarks``: sentences that the user should read.
    """

    rows: pd.DataFrame
    dropped: Mapping[str, str] = field(default_factory=dict)
    made_by: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def transform(rows: pd.DataFrame, instructions: Sequence[Mapping[str, Any]], node: str) -> Transformed:
    """Apply the instructions of a node (as the model file has them), one after the other.

    ``rows``: one per observation, numeric and categorical columns, missing = NaN; ``node``: its name, for
    messages.
    """
    state = Transformed(rows=rows)
    for number, instruction in enumerate(instructions):
        call = _Call(
            node=node,
            number=number,
            name=str(instruction["Name"]),
            given=instruction,
            state=state,
            rows=state.rows,
        )
        name = "DropNA" if call.name == "DropNa" else call.name
        if name not in INSTRUCTIONS:
            fix = suggest(name, INSTRUCTIONS) or "Remove it, or add the finished column to participants.tsv."
            if name.lower() == "split":
                by = str(call.given.get("By", "group"))
                fix = f"{say_factor(by, ['A', 'B'])}: split is of an old draft."
            call.refuse("is not supported above the run level", expected=", ".join(INSTRUCTIONS), fix=fix)
        function, parameters = INSTRUCTIONS[name]
        known = ("Name", "Input", "Output", "Description", *parameters)
        for key in call.given:
            if key not in known:
                call.refuse(f"has {key}, which is not known or not supported", fix=suggest(key, known))
        state = function(call)
    return state


def say_factor(name: str, levels: Sequence[str]) -> str:
    """Say how a column of categories becomes variables of ``X``."""
    made = ", ".join(f'"{name}.{level}"' for level in levels[:4]) + (", …" if len(levels) > 4 else "")
    return f'Add {{"Name": "Factor", "Input": ["{name}"]}} to the Instructions and write "X": [{made}]'


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Call:
    """One instruction with the state it is applied to, whose rows are ``rows``."""

    node: str
    number: int
    name: str
    given: Mapping[str, Any]
    state: Transformed
    rows: pd.DataFrame

    def refuse(self, sentence: str, *, expected: str | None = None, fix: str | None = None) -> NoReturn:
        """Refuse the instruction."""
        where = f"Transformation {self.number + 1} ({self.name}) of the node {self.node!r}"
        raise UsageError(f"{where} {sentence}.", found=str(dict(self.given)), expected=expected, fix=fix)

    def names(self, key: str, *, default: Sequence[str] | None = None) -> list[str]:
        """Read names of columns: a text, or a list of texts."""
        value = self.given.get(key)
        if value is None and default is not None:
            return list(default)
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            self.refuse(f"needs {key}: a list of names")
        return list(names)

    def inputs(self, key: str = "Input") -> list[str]:
        """Read names of columns that exist."""
        names, known = self.names(key), list(map(str, self.rows.columns))
        for name in names:
            if name not in self.rows.columns:
                said = f"names the column '{name}', which does not exist"
                self.refuse(said, expected=f"one of {list_some(known)}", fix=suggest(name, known))
        return names

    def outputs(self, n: int) -> list[str]:
        """Read the names of the results: as many as there are; without ``Output``, the inputs change."""
        names = self.names("Output", default=self.names("Input"))
        if len(names) != n:
            self.refuse(f"has {len(names)} outputs for {n} results")
        return names

    def pairs(self) -> list[tuple[str, str]]:
        """Read inputs that exist, each with the name of its result."""
        inputs = self.inputs()
        return list(zip(inputs, self.outputs(len(inputs)), strict=True))

    def numbers(self, name: str) -> pd.Series:
        """Values of a column as numbers; labels that are whole numbers count as such."""
        values = self.rows[name]
        if pd.api.types.is_numeric_dtype(values):
            return values.astype(float)
        as_numbers = pd.to_numeric(values.astype(object), errors="coerce").astype(float)
        if bool((as_numbers.isna() & values.notna()).any()):
            said = f"computes with the column '{name}', which holds text"
            self.refuse(said, fix="Make a Factor of it first.")
        return as_numbers

    def flag(self, key: str, default: bool) -> bool:
        """Read true or false."""
        value = self.given.get(key, default)
        if not isinstance(value, bool):
            self.refuse(f"needs true or false for {key}")
        return value

    def assign(self, columns: Columns) -> Transformed:
        """Put new columns into the rows; entities of the maps are not overwritten."""
        for name in columns:
            if name in ENTITIES:
                self.refuse(f"would overwrite '{name}', which says what a row is", fix="Name another Output.")
        others = self.rows.drop(columns=[name for name in columns if name in self.rows.columns])
        rows = pd.concat([others, pd.DataFrame(columns, index=self.rows.index)], axis=1)
        made_by = {**self.state.made_by, **dict.fromkeys(columns, self.name)}
        return replace(self.state, rows=rows, made_by=made_by)

    def remove(self, names: Sequence[str], state: Transformed | None = None) -> Transformed:
        """Take columns away; entities of the maps stay."""
        for name in names:
            if name in ENTITIES:
                self.refuse(f"would remove '{name}', which says what a row is")
        state = state or self.state
        return replace(state, rows=state.rows.drop(columns=list(names)))

    def keep(self, is_kept: pd.Series, reason: str) -> Transformed:
        """Leave out the other rows."""
        out = {str(label): f"{reason}, node {self.node}" for label in self.rows.index[~is_kept]}
        return replace(self.state, rows=self.rows[is_kept], dropped={**self.state.dropped, **out})


def _elementwise(compute: Callable[[_Call, pd.Series], pd.Series]) -> Callable[[_Call], Transformed]:
    """Make an instruction that turns each input into one output."""
    return lambda call: call.assign({to: compute(call, call.numbers(name)) for name, to in call.pairs()})


def _joined(compute: Callable[[_Call, pd.DataFrame], pd.Series]) -> Callable[[_Call], Transformed]:
    """Make an instruction that turns all inputs into one output."""

    def instruction(call: _Call) -> Transformed:
        inputs = pd.concat([call.numbers(name) for name in call.inputs()], axis=1)
        if "Output" not in call.given:
            call.refuse("needs Output: the name of the result")
        return call.assign({call.outputs(1)[0]: compute(call, inputs)})

    return instruction


def _factor(call: _Call) -> Transformed:
    """Levels stand in their declared order, else sorted; whole numbers without a decimal point."""
    constraint = call.given.get("Constraint", "none")
    if constraint not in ("none", "drop_one", "mean_zero"):
        call.refuse("has a Constraint that is not known", expected="none, drop_one or mean_zero")
    if "Output" in call.given:
        call.refuse("has Output, but names its columns after the levels")
    columns: Columns = {}
    for name in call.inputs():
        given = call.rows[name]
        known = getattr(given.dtype, "categories", None)
        found = sorted(given.dropna().unique()) if known is None else known
        spell = "{:.15g}".format if pd.api.types.is_numeric_dtype(given) else str
        levels = {spell(level): given == level for level in found}
        reference = str(call.given.get("RefLevel", next(iter(levels), "")))
        if constraint != "none" and reference not in levels:
            call.refuse(f"has the RefLevel {reference!r}, which '{name}' lacks", expected=", ".join(levels))
        n_levels = sum(bool(one.any()) for one in levels.values())
        for level in (one for one in levels if constraint == "none" or one != reference):
            values = levels[level].astype(float)
            if constraint == "mean_zero":
                values = values.mask(levels[reference], -1.0 / max(n_levels - 1, 1))
            columns[f"{name}{call.given.get('Sep', '.')}{level}"] = values.mask(given.isna())
    return call.assign(columns)


def _scale(call: _Call, values: pd.Series) -> pd.Series:
    if call.given.get("ReplaceNa") not in (None, False, "none", "off"):
        call.refuse("has ReplaceNa, which would invent values", fix="Use --missing drop to leave people out.")
    scaled = values - values.mean() if call.flag("Demean", True) else values
    deviation = float(values.std(ddof=1)) if call.flag("Rescale", True) else 1.0
    if not deviation > 0:
        raise DataError(
            f"The column '{values.name}' cannot be scaled in the node {call.node!r}.",
            found=f"the same value in all {int(values.notna().sum())} rows",
            fix="Leave it out of the model.",
        )
    return scaled / deviation


def _threshold(call: _Call, values: pd.Series) -> pd.Series:
    limit = call.given.get("Threshold", 0.0)
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        call.refuse("needs a number for Threshold")
    if not call.flag("Signed", True):
        values, limit = values.abs(), abs(limit)
    passes = values >= float(limit) if call.flag("Above", True) else values <= float(limit)
    kept = values.where(passes, 0.0)
    if call.flag("Binarize", False):
        kept = kept.mask(passes, 1.0)
    return kept.mask(values.isna())


def _orthogonalize(call: _Call, values: pd.Series) -> pd.Series:
    key = "Other" if "Other" in call.given else "Wrt"
    if "Wrt" in call.given and key == "Other":
        call.refuse("has both Wrt and Other, which are two names of one thing")
    others = pd.DataFrame({other: call.numbers(other) for other in call.inputs(key)})
    known = values.notna() & others.notna().all(axis=1)
    X = np.column_stack([np.ones(int(known.sum())), others[known].to_numpy()])
    slopes = np.linalg.lstsq(X, values[known].to_numpy(), rcond=None)[0][1:]
    explained: pd.Series = others @ slopes
    return values - explained


def _sum(call: _Call, inputs: pd.DataFrame) -> pd.Series:
    weights = call.given.get("Weights", [1] * inputs.shape[1])
    if not isinstance(weights, list) or len(weights) != inputs.shape[1]:
        call.refuse("needs one of Weights for each input")
    try:
        numbers = [float(read_fraction(weight)) for weight in weights]
    except (ValueError, ArithmeticError):
        call.refuse("has Weights that are no numbers", expected='numbers, or fractions such as "1/3"')
    return (inputs * np.array(numbers)).sum(axis=1, skipna=False)


def _replace(call: _Call) -> Transformed:
    """Look values up by their text; a column is numeric where all its values are numbers in the end."""
    table = call.given.get("Replace")
    if not isinstance(table, Mapping) or not table:
        call.refuse('needs Replace: an object such as {"2": "1"}')
    if call.given.get("Attribute", "amplitude") not in ("amplitude", "all"):
        call.refuse("has an Attribute of events, which rows do not have")
    columns: Columns = {}
    for name, to in call.pairs():
        values = call.rows[name]
        is_number = pd.api.types.is_numeric_dtype(values)
        by_text = {_spell_number(key) if is_number else key: new for key, new in table.items()}
        pairs = ((level_text(value) or "n/a", value) for value in values.astype(object))
        new = [by_text.get(key, value) for key, value in pairs]
        new = [None if value is None or pd.isna(value) else value for value in new]
        if all(isinstance(value, int | float | None) and not isinstance(value, bool) for value in new):
            columns[to] = pd.Series(new, index=values.index, dtype=float)
            continue
        words = [level_text(value) for value in new]
        levels = [level for level in map(str, getattr(values.dtype, "categories", [])) if level in words]
        levels += sorted({word for word in words if word is not None} - set(levels))
        columns[to] = pd.Series(pd.Categorical(words, categories=levels), index=values.index)
    return call.assign(columns)


def _spell_number(text: str) -> str:
    """Write a number as `level_text` does (``-99.0`` as ``-99``); other text stays."""
    try:
        return level_text(float(text)) or text
    except ValueError:
        return text


def _copy(call: _Call) -> Transformed:
    if "Output" not in call.given:
        call.refuse("needs Output: the names of the copies")
    return call.assign({to: call.rows[name] for name, to in call.pairs()})


def _rename(call: _Call) -> Transformed:
    copied = _copy(call)
    return call.remove([name for name in call.inputs() if name not in call.names("Output")], copied)


def _assign(call: _Call) -> Transformed:
    for key in ("InputAttr", "TargetAttr"):
        if call.given.get(key, "amplitude") != "amplitude":
            call.refuse(f"has {key} of events, which rows do not have", expected="amplitude")
    inputs, targets = call.inputs(), call.names("Target")
    outputs = call.names("Output", default=targets)
    if not len(inputs) == len(targets) == len(outputs):
        call.refuse("needs as many targets and outputs as inputs")
    return call.assign({to: call.rows[name] for name, to in zip(inputs, outputs, strict=True)})


def _select(call: _Call) -> Transformed:
    kept = (*call.inputs(), *ENTITIES)
    return call.remove([name for name in call.rows.columns if name not in kept])


def _filter(call: _Call) -> Transformed:
    query = call.given.get("Query")
    if not isinstance(query, str):
        call.refuse("needs Query: a condition")
    call.inputs()
    for name in call.names("By", default=()):
        if name not in call.rows.columns:
            call.refuse(f"names the column '{name}', which does not exist")
    is_kept, texts = judge_rows(call.rows, query)
    remarks = _check_texts(call, query, texts)
    kept = call.keep(is_kept, f"left out by the Filter {query!r}")
    return replace(kept, remarks=(*kept.remarks, *remarks))


def _check_texts(call: _Call, query: str, texts: Sequence[tuple[str, str]]) -> list[str]:
    """Refuse labels with their key (``sub-01``), and remark on a text that no row of the analysis has.

    Of a column of a table, all rows count, not those of one group of GroupBy.
    """
    remarks = []
    for name, text in texts:
        key = {"subject": "sub", "session": "ses", "run": "run"}.get(name, "")
        if key and text.startswith(f"{key}-"):
            call.refuse(f"asks for '{text}'", fix=f"Labels stand without {key}-: '{text[4:]}'.")
        levels = list(map(str, getattr(call.rows[name].dtype, "categories", [text])))
        if text not in levels and name not in call.state.made_by:
            said = f"The query {query!r} of the node {call.node!r} names {text!r}, which no row has as {name}"
            remarks.append(f"{said}: {list_some(levels)}.")
    return remarks


def _drop_na(call: _Call) -> Transformed:
    inputs = call.inputs()
    return call.keep(call.rows[inputs].notna().all(axis=1), f"no value (n/a) of {', '.join(inputs)} (DropNA)")


INSTRUCTIONS: Mapping[str, tuple[Callable[[_Call], Transformed], tuple[str, ...]]] = {
    "Factor": (_factor, ("Constraint", "RefLevel", "Sep")),
    "Demean": (_elementwise(lambda _, x: x - x.mean()), ()),
    "Scale": (_elementwise(_scale), ("Demean", "Rescale", "ReplaceNa")),
    "Product": (_joined(lambda _, x: x.prod(axis=1, skipna=False)), ()),
    "Sum": (_joined(_sum), ("Weights",)),
    "Threshold": (_elementwise(_threshold), ("Threshold", "Binarize", "Above", "Signed")),
    "Filter": (_filter, ("Query", "By")),
    "DropNA": (_drop_na, ()),
    "Replace": (_replace, ("Replace", "Attribute")),
    "Rename": (_rename, ()),
    "Copy": (_copy, ()),
    "Select": (_select, ()),
    "Delete": (lambda call: call.remove(call.inputs()), ()),
    "Orthogonalize": (_elementwise(_orthogonalize), ("Wrt", "Other")),
    "And": (_joined(lambda _, x: (x != 0).all(axis=1).astype(float).mask(x.isna().any(axis=1))), ()),
    "Or": (_joined(lambda _, x: (x != 0).any(axis=1).astype(float).mask(x.isna().any(axis=1))), ()),
    "Not": (_elementwise(lambda _, x: (x == 0).astype(float).mask(x.isna())), ()),
    "Assign": (_assign, ("Target", "InputAttr", "TargetAttr")),
}
"""Each instruction, and the parameters it takes beside Name, Input and Output."""
