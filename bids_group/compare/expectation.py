"""Must two tests give the same numbers? Answered from what each does with the first-level maps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.compare.agreement import Comparison, Ground
from bids_group.compare.sources import Pair, Tested
from bids_group.errors import GridError
from bids_group.output.report.folder import entities_of, sidecar_of, weights_of
from bids_group.output.report.tables import show_number
from bids_group.records import LEAST_SQUARES
from bids_group.records.sidecars import Sidecar
from bids_group.words import counted, own_file

Unit = tuple[str, ...]
"""A first-level map (file name, hash), or maps that are pooled with weights of their own at each element."""

N_TRIALS = 5
_TOLERANCE = 1e-9
_ROUNDING = 1e-5
"""Relative difference that float32 maps may show where the tests are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Whether effect and statistic must agree, why, and what was checked."""

    effect: bool
    statistic: bool
    sentence: str
    facts: tuple[str, ...]
    alarm: str | None = None

    @property
    def is_certain(self) -> bool:
        """Whether both must agree."""
        return self.effect and self.statistic

    @property
    def sidecar(self) -> dict[str, Any]:
        """What comparison.json says of it."""
        return {
            "EffectMustAgree": self.effect,
            "StatisticMustAgree": self.statistic,
            "Sentence": self.sentence,
            "Facts": list(self.facts),
            "Alarm": self.alarm,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """Rows of a design as sums of units: ``weights[row][unit]``; what stands in the way of knowing them."""

    weights: tuple[Mapping[Unit, float], ...]
    files: tuple[str, ...]
    is_complete: bool

    @property
    def units(self) -> set[Unit]:
        return {unit for row in self.weights for unit in row}


def expect(pair: Pair, ground: Ground, comparisons: tuple[Comparison, ...]) -> Expectation:
    """Derive from designs, pooling and coverage whether the two tests are the same function of the maps.

    Both least-squares fits are put to the same random numbers in place of first-level maps: two such
    functions that give one result for those give it for all maps (but for sets of measure zero).
    """
    rows = _read_rows(pair.a, ground.read_a), _read_rows(pair.b, ground.read_b)
    unknown = [side for side, one in zip("AB", rows, strict=True) if one is None]
    if rows[0] is None or rows[1] is None:
        sentence = (
            f"Whether the two tests must agree is not known: OUT_{' and OUT_'.join(unknown)} lacks files "
            f"below sub-* that say which maps its rows stand on. {_found(comparisons)}"
        )
        return Expectation(effect=False, statistic=False, facts=(), sentence=sentence)
    return _derive(pair, (rows[0], rows[1]), comparisons)


def _derive(pair: Pair, rows: tuple[_Rows, _Rows], comparisons: tuple[Comparison, ...]) -> Expectation:
    facts = (*_rule(pair), _balance(rows), _completeness(rows), _maps(rows))
    obstacles = tuple(_obstacles(pair, rows))
    if obstacles:
        return Expectation(
            effect=False, statistic=False, facts=facts,
            sentence=f"The two tests need not agree: {'; '.join(obstacles)}. {_found(comparisons)}",
        )  # fmt: skip
    effect, statistic = _try_random_maps(pair, rows)
    return Expectation(
        effect=effect,
        statistic=statistic,
        sentence=f"{_say(pair, rows, effect, statistic)} {_found(comparisons)}",
        facts=facts,
        alarm=_alarm(comparisons, effect, statistic),
    )


def _say(pair: Pair, rows: tuple[_Rows, _Rows], effect: bool, statistic: bool) -> str:
    (a, b) = (one.units for one in rows)
    if effect and statistic:
        idle = (
            f"; {counted(len(a ^ b), 'map')} that only one of them has can change neither" if a != b else ""
        )
        return (
            "The two tests must agree to rounding, effect and statistic: both are the same function of the "
            f"same {counted(len(a & b), 'map')} (least squares, the same weights, the same residual "
            f"variance{idle}), shown by putting both to the same random numbers."
        )
    if effect:
        dof = [one.contrast.sidecar.degrees_of_freedom for one in (pair.a, pair.b)]
        return (
            "The effects must agree to rounding (the same weights on the same maps), the statistics need "
            f"not: the residual variance is another (degrees of freedom {dof[0]} in A, {dof[1]} in B)."
        )
    if statistic:
        return "The statistics must agree to rounding, the effects need not: they are in other units."
    if any(unit[0] == _PRECISION for unit in a ^ b):
        why = "rows pool several maps by precision (weights differ between elements), not alike in both"
    elif a != b:
        why = f"they weigh the maps differently ({len(a - b)} only in A, {len(b - a)} only in B)"
    else:
        why = "they weigh the same maps differently"
    return f"The two tests need not agree: {why}."


def _found(comparisons: tuple[Comparison, ...]) -> str:
    """Say how large the differences are."""
    largest = [
        f"of {one.stat} {show_number(str(float(np.abs(one.difference).max())))}"
        for one in comparisons
        if one.correction is None and one.difference is not None and one.difference.size
    ]
    return f"The largest difference found: {', '.join(largest)}." if largest else "No map is in both."


def _alarm(comparisons: tuple[Comparison, ...], effect: bool, statistic: bool) -> str | None:
    """Look whether what must agree does."""
    for one in comparisons:
        must = one.correction is None and (effect if one.stat == "effect" else statistic)
        if not must or one.difference is None or one.a is None or not one.difference.size:
            continue
        size = np.sqrt(np.mean(np.square(one.a[np.isfinite(one.a)], dtype=float)))
        largest = float(np.abs(one.difference).max())
        if largest > _ROUNDING * max(1.0 if one.stat != "effect" else 0.0, 10 * size):
            return (
                f"The {one.stat} maps must agree and differ by up to {largest:.3g}: the files in one of the "
                "folders are not those of its design. Run both analyses again."
            )
    return None


# ------------------------------------------------------------------------------- rows and maps

_Reader = Callable[[Path], npt.NDArray[np.float32] | None]


def _read_rows(one: Tested, read: _Reader) -> _Rows | None:
    info = one.analysis.info
    listed = {
        entry.label: own_file(uri, one.root)
        for entry, uri in zip(info.observations or [], info.sources or [], strict=False)
    }
    paths = [path for label in one.analysis.matrix.index if (path := listed.get(label)) is not None]
    sidecars = [sidecar for path in paths if (sidecar := sidecar_of(path)).sources]
    if len(sidecars) < len(one.analysis.matrix):
        return None
    return _Rows(
        weights=tuple(map(_weigh, sidecars)),
        files=tuple(sorted({_name(uri) for sidecar in sidecars for uri in sidecar.sources or ()})),
        is_complete=isinstance(info.degrees_of_freedom, int | float)
        and all(_is_whole(path, sidecar, read) for path, sidecar in zip(paths, sidecars, strict=True)),
    )


def _is_whole(path: Path, sidecar: Sidecar, read: _Reader) -> bool:
    """Whether each of the maps pooled into a row is observed at every common element."""
    n_maps, counts = (
        len(sidecar.sources or ()),
        path.with_name(path.name.replace("_stat-effect_", "_stat-n_")),
    )
    if n_maps < 2 or not counts.is_file():
        return True
    try:
        values = read(counts)
    except GridError:
        return False
    return values is not None and bool((values >= n_maps).all())


def _weigh(sidecar: Sidecar) -> dict[Unit, float]:
    """Spell a row as a sum of maps; precision weights differ between elements, so their sum is a unit."""
    hashes = sidecar.input_hashes or {}
    maps = [(_name(uri), str(hashes.get(uri))) for uri in sidecar.sources or ()]
    if sidecar.pooling == "weights":
        return dict(zip(maps, map(float, sidecar.weights or ()), strict=True))
    if sidecar.pooling == "mean" or len(maps) == 1:
        return {unit: 1 / len(maps) for unit in maps}
    return {(_PRECISION, *(part for unit in sorted(maps) for part in unit)): 1.0}


_PRECISION = "precision"


def _name(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]


# ------------------------------------------------------------------------------------- verdict


def _obstacles(pair: Pair, rows: tuple[_Rows, _Rows]) -> Iterator[str]:
    """Say what stands in the way of deriving equality from the designs."""
    (a, b), sides = rows, (pair.a, pair.b)
    tests = [one.contrast.test for one in sides]
    if tests[0] != tests[1]:
        yield f"one is a {tests[0]} test, the other a {tests[1]} test"
    estimators = [str(one.analysis.info.estimator) for one in sides]
    weights = [weights_of(one.contrast, one.analysis.matrix.shape[1]) for one in sides]
    if set(estimators) != {LEAST_SQUARES.title} or weights[0] is None or weights[1] is None:
        yield f"not both are least squares over rows of equal weight (A: {estimators[0]}; B: {estimators[1]})"
    if any(one.contrast.sidecar.variance_estimate for one in sides):
        yield "groups have residual variances of their own"
    scalings = [one.analysis.info.scaling for one in sides]
    if scalings[0] != scalings[1]:
        yield "the maps are not scaled alike"
    widths = [one.width_mm for one in sides]
    if widths[0] != widths[1]:
        yield f"the smoothing differs ({widths[0]:g} mm and {widths[1]:g} mm)"
    if not (a.is_complete and b.is_complete):
        yield "the data are not complete: not every map is observed at every element"


def _try_random_maps(pair: Pair, rows: tuple[_Rows, _Rows]) -> tuple[bool, bool]:
    """Fit both designs to random numbers in place of maps; say whether effects and statistics are equal."""
    units = sorted(rows[0].units | rows[1].units)
    values = np.random.default_rng(0).standard_normal((len(units), N_TRIALS))
    (effect_a, statistic_a), (effect_b, statistic_b) = (
        _fit(one, _stack(side, units) @ values) for one, side in zip((pair.a, pair.b), rows, strict=True)
    )
    return (
        effect_a.shape == effect_b.shape and _is_equal(effect_a, effect_b),
        _is_equal(statistic_a, statistic_b),
    )


def _is_equal(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    return bool(np.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE))


def _stack(rows: _Rows, units: list[Unit]) -> npt.NDArray[np.float64]:
    """Pooling as a matrix of shape ``(n_rows, n_units)``."""
    return np.array([[row.get(unit, 0.0) for unit in units] for row in rows.weights])


def _fit(
    one: Tested, values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fit by least squares: effect of shape ``(q, n_trials)``, t or F of shape ``(n_trials,)``."""
    X = one.analysis.matrix.to_numpy()
    weights = weights_of(one.contrast, X.shape[1])
    assert weights is not None
    inverse = np.linalg.pinv(X)
    effect = weights @ inverse @ values
    residuals = values - X @ (inverse @ values)
    variance = (residuals**2).sum(axis=0) / (len(X) - np.linalg.matrix_rank(X))
    spread = weights @ inverse @ inverse.T @ weights.T
    if one.contrast.test == "t":
        return effect, effect[0] / np.sqrt(spread[0, 0] * variance)
    numerator = (effect * (np.linalg.pinv(spread) @ effect)).sum(axis=0)
    return effect, numerator / (np.linalg.matrix_rank(weights) * variance)


# --------------------------------------------------------------------------------------- facts


def _rule(pair: Pair) -> Iterator[str]:
    """Say when rows for each session and one row per person are the same test."""
    repeats = [not one.analysis.people_of_rows.is_unique for one in (pair.a, pair.b)]
    if repeats[0] != repeats[1]:
        one, other = ("A", "B") if repeats[0] else ("B", "A")
        yield (
            f"{one} has several rows per person, {other} has one. For a difference between two sessions, "
            "least squares gives the same t on rows for each session and on differences within people where "
            "everybody has both (balanced), every map is observed at every element (complete), runs are "
            "weighted alike, and the rows' design holds the people and no other term that varies within "
            "them. Elsewhere it differs."
        )


def _balance(rows: tuple[_Rows, _Rows]) -> str:
    """Say whether everybody has the same sessions and runs."""
    sets: dict[str, list[str]] = defaultdict(list)
    for name in sorted({name for side in rows for name in side.files}):
        entities = entities_of(name)
        what = [f"{key}-{entities[key]}" for key in ("ses", "run", "contrast") if key in entities]
        sets[entities.get("sub", "?")].append(" ".join(what))
    kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for person, own in sets.items():
        kinds[tuple(own)].append(person)
    usual = max(kinds, key=lambda kind: len(kinds[kind]))
    others = [person for kind, people in kinds.items() if kind != usual for person in people]
    head = f"{len(kinds[usual])} of {len(sets)} people have {counted(len(usual), 'map')} ({'; '.join(usual)})"
    if not others:
        return f"Balanced: all {head.replace(' of ' + str(len(sets)), '', 1)}."
    some = ", ".join(f"sub-{one}" for one in others[:5]) + (" …" if len(others) > 5 else "")
    return f"Not balanced: {head}; not so {some}."


def _completeness(rows: tuple[_Rows, _Rows]) -> str:
    whole = [side.is_complete for side in rows]
    if all(whole):
        return "Complete: every map is observed at every element that is compared."
    where = " and ".join(side for side, one in zip("AB", whole, strict=True) if not one)
    return f"Not complete: in {where}, maps do not cover all elements that are compared."


def _maps(rows: tuple[_Rows, _Rows]) -> str:
    a, b = (set(side.files) for side in rows)
    if a == b and rows[0].units == rows[1].units:
        return f"The same maps: {counted(len(a), 'map')}, equal to the byte."
    shared = f"{counted(len(a & b), 'map')} of one name in both"
    return f"First-level maps: {shared}, {len(a - b)} only in A, {len(b - a)} only in B."
