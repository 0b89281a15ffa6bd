"""Must two tests give the same numbers? Answered from what each does with the first-level maps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from bids_group.compare.agreement import Comparison, Ground
from bids_group.compare.sources import Pair, Tested, find_map
from bids_group.elements import expand, find_pair
from bids_group.errors import GridError
from bids_group.output.report.folder import entities_of, sidecar_of, weights_of
from bids_group.output.report.tables import show_number
from bids_group.records import LEAST_SQUARES
from bids_group.records.sidecars import JsonRecord, Sidecar
from bids_group.words import counted, own_file

Unit = tuple[str, ...]
"""A first-level map (file name, hash), or maps that are pooled with weights of their own at each element."""

N_TRIALS = 5
_TOLERANCE = 1e-9
_ROUNDING = 1e-5
"""Relative difference that float32 maps may show where the tests are the same."""
_PRECISION = "precision"


class Expectation(JsonRecord):
    """Whether effect and statistic must agree, why, and what was checked: an object of comparison.json."""

    effect_must_agree: bool = False
    statistic_must_agree: bool = False
    sentence: str = ""
    facts: Sequence[str] = ()
    alarm: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """Rows of a design as sums of units, ``weights[row][unit]``; ``maps``: names and hashes of theirs."""

    weights: tuple[Mapping[Unit, float], ...]
    maps: frozenset[tuple[str, str]]
    is_complete: bool

    @property
    def files(self) -> set[str]:
        return {name for name, _ in self.maps}

    @property
    def units(self) -> set[Unit]:
        return {unit for row in self.weights for unit in row}


def expect(pair: Pair, ground: Ground, comparisons: Sequence[Comparison]) -> Expectation:
    """Derive from designs, pooling and coverage whether the two tests are the same function of the maps.

    Both least-squares fits are put to the same random numbers in place of first-level maps: two such
    functions that give one result for those give it for all maps (but for sets of measure zero).
    """
    a, b = (_read_rows(one, side, ground) for side, one in enumerate(pair.sides))
    effect = statistic = False
    facts: list[str] = []
    if a is None or b is None:
        unknown = " and OUT_".join(side for side, one in (("A", a), ("B", b)) if one is None)
        sentence = (
            f"Whether the two tests must agree is not known: OUT_{unknown} lacks files below sub-* that say "
            "which maps its rows stand on."
        )
    else:
        facts = [*_list_facts(pair, a, b), _say_maps(a, b)]
        if obstacles := "; ".join(_find_obstacles(pair, a, b)):
            sentence = f"The two tests need not agree: {obstacles}."
        else:
            effect, statistic = _try_random_maps(pair, a, b)
            sentence = _say(pair, a.units, b.units, effect, statistic)
    return Expectation(
        effect_must_agree=effect,
        statistic_must_agree=statistic,
        sentence=f"{sentence} {_say_found(comparisons)}",
        facts=facts,
        alarm=_find_alarm(comparisons, effect, statistic),
    )


def _say(pair: Pair, a: set[Unit], b: set[Unit], effect: bool, statistic: bool) -> str:
    if effect and statistic:
        more = f"; {counted(len(a ^ b), 'map')} that only one of them has can change neither"
        return (
            "The two tests must agree to rounding, effect and statistic: both are the same function of the "
            f"same {counted(len(a & b), 'map')} (least squares, the same weights, the same residual "
            f"variance{more if a != b else ''}), shown by putting both to the same random numbers."
        )
    if effect:
        dof = [one.contrast.sidecar.degrees_of_freedom for one in pair.sides]
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


def _say_found(comparisons: Sequence[Comparison]) -> str:
    """Say how large the differences are."""
    largest = [
        f"of {one.stat} {show_number(str(float(np.abs(one.difference).max())))}"
        for one in comparisons
        if one.correction is None and one.difference is not None and one.difference.size
    ]
    return f"The largest difference found: {', '.join(largest)}." if largest else "No map is in both."


def _find_alarm(comparisons: Sequence[Comparison], effect: bool, statistic: bool) -> str | None:
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


def _read_rows(one: Tested, side: int, ground: Ground) -> _Rows | None:
    """Read on which maps each row stands; None where the files that say so are not all there."""
    info = one.analysis.info
    files = [own_file(uri, one.root) for uri in info.sources or []]
    maps = dict.fromkeys(file if file is None else find_pair(file) for file in files)  # hemispheres are one
    listed = {entry.label: path for entry, path in zip(info.observations or [], maps, strict=False)}
    paths = [path for label in one.analysis.matrix.index if (path := listed.get(label)) is not None]
    sidecars = [sidecar for path in paths if (sidecar := sidecar_of(path)).sources]
    if len(sidecars) < len(one.analysis.matrix):
        return None
    n_used = ground.read(side, find_map(one.root, one.analysis.stem, "stat-n_statmap"))
    return _Rows(
        weights=tuple(map(_weigh, sidecars)),
        maps=frozenset(one for sidecar in sidecars for one in _hashed(sidecar)),
        is_complete=n_used is not None
        and bool((n_used >= len(one.analysis.matrix)).all())
        and all(_is_whole(path, row, side, ground) for path, row in zip(paths, sidecars, strict=True)),
    )


def _is_whole(path: Path, sidecar: Sidecar, side: int, ground: Ground) -> bool:
    """Whether each of the maps pooled into a row is observed at every common element."""
    n_maps = len(_maps_of(sidecar))
    counts = path.with_name(path.name.replace("_stat-effect_", "_stat-n_"))
    if n_maps < 2 or not all(one.is_file() for one in expand(counts)):
        return True
    try:
        values = ground.read(side, counts)
    except GridError:
        return False
    return values is not None and bool((values >= n_maps).all())


def _weigh(sidecar: Sidecar) -> dict[Unit, float]:
    """Spell a row as a sum of maps; precision weights differ between elements, so their sum is a unit."""
    maps = _hashed(sidecar)
    if sidecar.pooling == "weights":
        return dict(zip(maps, map(float, sidecar.weights or ()), strict=True))
    if sidecar.pooling == "mean" or len(maps) == 1:
        return {unit: 1 / len(maps) for unit in maps}
    return {(_PRECISION, *(part for unit in sorted(maps) for part in unit)): 1.0}


def _hashed(sidecar: Sidecar) -> list[tuple[str, str]]:
    """List the maps of a row: the name of each and its hash."""
    hashes = sidecar.input_hashes or {}
    return [(_name(uri), str(hashes.get(uri))) for uri in _maps_of(sidecar)]


def _maps_of(sidecar: Sidecar) -> list[str]:
    """List the maps of a row; two hemispheres are one, as their hash is."""
    pairs: dict[str, str] = {}
    for uri in sidecar.input_hashes or {}:
        folder, _, name = uri.rpartition("/")
        pairs |= {f"{folder}/{half.name}": uri for half in expand(Path(unquote(name)))}
    return list(dict.fromkeys(pairs.get(unquote(uri), uri) for uri in sidecar.sources or ()))


def _name(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]


def _find_obstacles(pair: Pair, a: _Rows, b: _Rows) -> Iterator[str]:
    """Say what stands in the way of deriving equality from the designs."""
    tests = [one.contrast.test for one in pair.sides]
    if tests[0] != tests[1]:
        yield f"one is a {tests[0]} test, the other a {tests[1]} test"
    estimators = [str(one.analysis.info.estimator) for one in pair.sides]
    weights = [weights_of(one.contrast, one.analysis.matrix.shape[1]) for one in pair.sides]
    if set(estimators) != {LEAST_SQUARES.title} or weights[0] is None or weights[1] is None:
        yield f"not both are least squares over rows of equal weight (A: {estimators[0]}; B: {estimators[1]})"
    if any(one.contrast.sidecar.variance_estimate for one in pair.sides):
        yield "groups have residual variances of their own"
    scalings = [one.analysis.info.scaling for one in pair.sides]
    if scalings[0] != scalings[1]:
        yield "the maps are not scaled alike"
    widths = [one.width_mm for one in pair.sides]
    if widths[0] != widths[1]:
        yield f"the smoothing differs ({widths[0]:g} mm and {widths[1]:g} mm)"
    if not (a.is_complete and b.is_complete):
        yield "the data are not complete: not every map is observed at every element"


def _try_random_maps(pair: Pair, a: _Rows, b: _Rows) -> tuple[bool, bool]:
    """Fit both designs to random numbers in place of maps; say whether effects and statistics are equal."""
    units = sorted(a.units | b.units)
    values = np.random.default_rng(0).standard_normal((len(units), N_TRIALS))
    fits = []
    for one, side in zip(pair.sides, (a, b), strict=True):
        pooling = np.array([[row.get(unit, 0.0) for unit in units] for row in side.weights])
        fits.append(_fit(one, pooling @ values))
    (effect_a, statistic_a), (effect_b, statistic_b) = fits
    is_equal = partial(np.allclose, rtol=_TOLERANCE, atol=_TOLERANCE)
    is_alike = effect_a.shape == effect_b.shape
    return is_alike and is_equal(effect_a, effect_b), is_equal(statistic_a, statistic_b)


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


def _list_facts(pair: Pair, a: _Rows, b: _Rows) -> Iterator[str]:
    """Say when rows for each session and one row per person are the same test, and what holds here."""
    repeats = [not one.analysis.people_of_rows.is_unique for one in pair.sides]
    if repeats[0] != repeats[1]:
        one, other = ("A", "B") if repeats[0] else ("B", "A")
        yield (
            f"{one} has several rows per person, {other} has one. For a difference between two sessions, "
            "least squares gives the same t on rows for each session and on differences within people where "
            "everybody has both (balanced), every map is observed at every element (complete), runs are "
            "weighted alike, and the rows' design holds the people and no other term that varies within "
            "them. Elsewhere it differs."
        )
    if all("sub" in entities_of(file) for file in a.files | b.files):  # not lines of one table
        yield _say_balance(a.files | b.files)
    partial = " and ".join(side for side, rows in (("A", a), ("B", b)) if not rows.is_complete)
    if partial:
        yield f"Not complete: in {partial}, maps do not cover all elements that are compared."
    else:
        yield "Complete: every map is observed at every element that is compared."


def _say_balance(files: set[str]) -> str:
    """Say whether everybody has the same sessions and runs."""
    sets: dict[str, list[str]] = defaultdict(list)
    for entities in map(entities_of, sorted(files)):
        what = [f"{key}-{entities[key]}" for key in ("ses", "run", "contrast") if key in entities]
        sets[entities.get("sub", "?")].append(" ".join(what))
    kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for person, own in sets.items():
        kinds[tuple(own)].append(person)
    usual = max(kinds, key=lambda kind: len(kinds[kind]))
    others = [person for kind, people in kinds.items() if kind != usual for person in people]
    maps = f"people have {counted(len(usual), 'map')} ({'; '.join(usual)})"
    if not others:
        return f"Balanced: all {len(sets)} {maps}."
    some = ", ".join(f"sub-{one}" for one in others[:5]) + (" …" if len(others) > 5 else "")
    return f"Not balanced: {len(kinds[usual])} of {len(sets)} {maps}; not so {some}."


def _say_maps(a: _Rows, b: _Rows) -> str:
    if a.files == b.files and a.units == b.units:
        return f"The same maps: {counted(len(a.files), 'map')}, equal to the byte."
    shared = f"{counted(len(a.files & b.files), 'map')} of one name in both"
    other = {name for name, _ in a.maps ^ b.maps} & a.files & b.files
    content = f", {len(other)} of them with other content" if other else ""
    only = len(a.files - b.files), len(b.files - a.files)
    return f"First-level maps: {shared}{content}; {only[0]} only in A, {only[1]} only in B."
