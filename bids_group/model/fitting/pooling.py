"""Fixed effects below the group: several maps of one person (or session) become one; maps are scaled.

At each element the maps *observed* there are pooled; an element observed in none is missing (NaN). Algebra in
float64, storage in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.elements import (
    LoadedMap,
    Space,
    align,
    check_same_space,
    join,
    observed,
    read_map,
    read_mask,
    select,
)
from bids_group.errors import DataError, RunError
from bids_group.model.fitting.scaling import SMALLEST
from bids_group.records import (
    FirstLevelMap,
    GroupAnalysis,
    Notice,
    Observation,
    PooledMap,
    warn,
)
from bids_group.words import list_some, plural

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

LARGEST_SHARE = 0.9
"""A map with more of the weight leaves the others next to nothing."""
_N_SAMPLED = 20_000
"""Weights of maps are compared at about so many elements of the first map, equally spaced in the file."""

_SMALL, _MOST_NEGATIVE = 0.2, 0.1
"""Of a variance's values larger than 0.2 times the median of those above 0, a tenth may be below 0.

Resampling by splines leaves many small ones around the brain; of a map of effects many are large.
"""

_UNDERFLOW = f"numbers below {SMALLEST:.0e} become 0 in float32"


def pool(observation: Observation, structures: Sequence[str] = ()) -> PooledMap:
    """Read the maps that an observation stands on, and pool them; observations are pooled first.

    ``precision``: e = Σ(e/v) / Σ(1/v), v = 1/Σ(1/v). ``mean``: e = Σe/S, v = Σv/S² (where all maps have a
    variance), over the S maps observed at the element. ``weights``: e = Σ w e, v = Σ w² v where every map
    with a weight other than 0 is observed. Degrees of freedom add up where all are known. A single map is
    returned unchanged, bit for bit, but for its unobserved elements, which become NaN. ``structures`` are
    those that are kept of surfaces and CIFTI files (none: all).

    Raises
    ------
    MissingInputError, GridError, DataError
        A file is missing or unreadable; grids of maps that belong together differ; a map is 4D, corrupt, or
        observed nowhere, has no variance to weigh it by, or a weighted sum is too large for float32.
    """
    sources, weights = observation.sources, observation.weights
    if not sources:
        raise DataError(f"There is no map to pool for {observation.label}, {observation.contrast}.")
    if observation.combine != "weights":
        weights = (1.0,) * len(sources)
    elif len(weights) != len(sources) or not any(weights):
        raise DataError(
            f"The weights of {observation.label}, {observation.contrast} do not fit its maps.",
            found=f"weights {weights} for {len(sources)} maps",
            expected="one weight per map, not all 0",
        )
    parts = [(part, weight) for part, weight in zip(sources, weights, strict=True) if weight != 0]
    if len(parts) == 1 and parts[0][1] == 1:
        return replace(_load(parts[0][0], structures), observation=observation)
    total = _Total(observation, len(parts))
    for part, weight in parts:
        total.add(_load(part, structures), weight)
    return total.result()


def _load(part: FirstLevelMap | Observation, structures: Sequence[str]) -> PooledMap:
    return pool(part, structures) if isinstance(part, Observation) else _read(part, structures)


def _read(source: FirstLevelMap, structures: Sequence[str]) -> PooledMap:
    """Read one first-level map with its variance, dof and mask; set NaN where it was not observed."""
    effect = _read_one(source.effect, structures)
    paths = {
        "variance": source.variance if source.input_stat == "effect" else None,
        "dof": source.dof if isinstance(source.dof, Path) else None,
    }
    others = {name: _read_one(path, structures) for name, path in paths.items() if path is not None}
    mask = None if source.mask is None else read_mask(source.mask, source.mask_threshold, is_own=True)
    masks = () if mask is None else (mask,)
    for other in (*others.values(), *masks):
        check_same_space(effect.path, effect.space, other.path, other.space, is_mask=other is mask)
    beside = {name: align(one.data, one.space, effect.space, np.nan) for name, one in others.items()}
    inside = None if mask is None else align(mask.inside, mask.space, effect.space, False)
    variance = beside.get("variance")
    if variance is not None:
        _check_variance(source, variance if inside is None else variance[inside])
    if variance is not None and source.variance_scale != 1:
        variance = (variance.astype(np.float64) * source.variance_scale).astype(np.float32)
    if mask is None and effect.space.form == "table":  # where there is nothing it says n/a: 0 is data
        inside = np.ones(effect.space.shape, dtype=bool)
    is_observed = observed(effect.data, variance, inside)
    if not is_observed.any():
        raise _nowhere_observed(effect, list(others.values()), source.mask)
    dof = None
    if isinstance(source.dof, Path):
        dof = _missing_outside(is_observed, beside["dof"])
    elif source.dof is not None:
        dof = np.asarray(source.dof, dtype=np.float32)
    return PooledMap(
        observation=Observation(subject=source.subject, contrast=source.contrast, sources=(source,)),
        space=effect.space,
        effect=_missing_outside(is_observed, effect.data),
        variance=None if variance is None else _missing_outside(is_observed, variance),
        dof=dof,
        n_maps=is_observed.view(np.uint8),
        input_hashes={str(one.path): one.sha256 for one in (effect, *others.values(), *masks)},
    )


def _read_one(path: Path, structures: Sequence[str]) -> LoadedMap:
    loaded = read_map(path)
    if loaded.data.shape != loaded.space.shape:
        raise DataError(
            f"The map {path} holds several volumes.",
            found=f"shape {' × '.join(map(str, loaded.data.shape))}",
            expected="one volume (the effect of a t contrast)",
            fix="Leave this contrast out (--first-level-contrast); effects of F tests cannot be pooled.",
        )
    kept = select(loaded.space, structures)
    return replace(loaded, space=kept, data=align(loaded.data, loaded.space, kept, np.nan))


def _check_variance(source: FirstLevelMap, values: npt.NDArray[np.float32]) -> None:
    """Refuse what cannot be a variance: of the values that are not small, many are below 0."""
    above = values[values > 0]
    limit = _SMALL * float(np.median(above)) if above.size and (values < 0).any() else np.inf
    n_below, n_above = np.count_nonzero(values < -limit), np.count_nonzero(above > limit)
    if n_below > _MOST_NEGATIVE * (n_below + n_above):
        raise DataError(
            f"The map {source.variance} is no variance.",
            found=f"{100 * n_below / (n_below + n_above):.0f} % of its values that are not small are below 0",
            expected=f"variances of the effect {source.effect}: squares of standard errors",
            fix="Name the variance (FSL: varcope): effect and variance may be swapped.",
        )


def put_into(one: PooledMap, space: Space) -> PooledMap:
    """Put a pooled map into a space that has all its elements; what it lacks there is not observed."""
    if one.space is space or one.space.is_same(space):
        return one

    def moved(values: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | None:
        return values if values is None or values.ndim == 0 else align(values, one.space, space, np.nan)

    return replace(
        one,
        space=space,
        effect=align(one.effect, one.space, space, np.nan),
        variance=moved(one.variance),
        dof=moved(one.dof),
        n_maps=align(one.n_maps, one.space, space, 0),
    )


def _nowhere_observed(effect: LoadedMap, others: list[LoadedMap], mask: Path | None) -> DataError:
    finite = effect.data[np.isfinite(effect.data)]
    empty = [one.path.name for one in others if not (np.nan_to_num(one.data) > 0).any()]
    if finite.size == 0:
        found = "no finite value"
    elif not finite.any():
        found = "zeros only"
    elif empty:
        found = f"no value above 0 in {', '.join(empty)} ({_UNDERFLOW})"
    else:
        names = [one.path.name for one in others] + ([mask.name] if mask else [])
        found = f"no overlap with {', '.join(names)}"
    return DataError(
        f"The map {effect.path} is observed nowhere.",
        found=found,
        expected="finite effects that are not 0, with finite variances above 0 and inside the map's own mask",
        fix="Leave this map out, or compute it again.",
    )


def _missing_outside(is_observed: Mask, data: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    kept = np.full_like(data, np.nan)
    np.copyto(kept, data, where=is_observed)
    return kept


def _name_source(source: Observation) -> str:
    """Name a map that is pooled with others by session and run, else by its file."""
    first = source.maps[0]
    parts = (("ses", first.session), ("run", first.run if len(source.maps) == 1 else None))
    return "_".join(f"{key}-{label}" for key, label in parts if label) or first.effect.name


def tell_dominance(
    analysis: GroupAnalysis, found: Mapping[tuple[str, str], tuple[str, float]]
) -> list[Notice]:
    """Warn of rows that stand on one of their maps; ``found``: its name and share, by label and contrast."""
    rows = {
        one.label: found[one.label, one.contrast]
        for one in analysis.observations
        if (one.label, one.contrast) in found
    }
    if not rows:
        return []
    named = list_some(f"{label} ({name}: {share:.0%})" for label, (name, share) in rows.items())
    n_rows, has = len(analysis.observations), plural(len(rows), "row has", "rows have")
    sentence = (
        f"{len(rows)} of {n_rows} {has} one map with over {LARGEST_SHARE:.0%} of the weight in its fixed "
        f"effects (median over elements), so that the other maps hardly count: {named}."
    )
    fix = "See whether the variance of that map is right; leave the map out, or use --pooling mean."
    return [warn("weights", sentence, fix)]


class _Total:
    """Running sums over the maps of one observation, so that one map is in memory at a time."""

    def __init__(self, observation: Observation, n_sources: int) -> None:
        self._observation, self._n_sources = observation, n_sources
        self._first: PooledMap | None = None
        self._space: Space | None = None
        self._has_variance = self._is_dof_known = True
        self._hashes: dict[str, str] = {}
        self._sampled: list[tuple[str, Doubles]] = []

    def add(self, source: PooledMap, weight: float) -> None:
        """Add one map; NaN adds nothing. One file that was read twice must have had the same bytes."""
        if self._first is None:
            self._first, self._space, shape = source, source.space, source.space.shape
            self._effect, self._variance, self._dof = (np.zeros(shape, order="F") for _ in range(3))
            self._n_observed, self._n_maps = (np.zeros(shape, np.uint16, order="F") for _ in range(2))
        first, path = self._first, source.observation.maps[0].effect
        check_same_space(first.observation.maps[0].effect, first.space, path, source.space)
        source = self._widen(source)
        self._has_variance &= source.variance is not None
        if self._observation.combine == "precision" and source.variance is None:
            raise DataError(
                f"The maps of {self._observation.label} cannot be weighted by their precision.",
                found=f"{path} has no variance map beside it",
                expected="a variance map for every effect map",
                fix="Use --pooling mean.",
            )
        is_observed = ~np.isnan(source.effect)
        self._add_values(source, weight, is_observed)
        self._n_observed += is_observed
        self._n_maps += source.n_maps
        self._is_dof_known &= source.dof is not None
        self._dof += 0 if source.dof is None else np.where(is_observed, source.dof, 0)
        for name in self._hashes.keys() & source.input_hashes.keys():
            if self._hashes[name] != source.input_hashes[name]:
                raise RunError(
                    f"The file {name} changed while it was read.",
                    found=f"two contents for maps of {self._observation.label}",
                    fix="Wait until nothing writes to the inputs, then run the same command again.",
                )
        self._hashes.update(source.input_hashes)

    def _widen(self, source: PooledMap) -> PooledMap:
        """Make room for the elements that a map has and those before had not, and put it into this space."""
        assert self._space is not None
        space = join([self._space, source.space])
        if space is not self._space:
            for name in ("_effect", "_variance", "_dof", "_n_observed", "_n_maps"):
                setattr(self, name, align(getattr(self, name), self._space, space, 0))
            self._space = space
        return put_into(source, space)

    def _add_values(self, source: PooledMap, weight: float, is_observed: Mask) -> None:
        effect = source.effect.astype(np.float64)
        variance = None if source.variance is None else source.variance.astype(np.float64)
        if self._observation.combine == "precision" and variance is not None:
            effect, variance = effect / variance, 1 / variance
            assert self._first is not None
            shared = align(variance, source.space, self._first.space, np.nan)  # maps may have more elements
            step = shared.size // _N_SAMPLED | 1  # odd: no column of the grid
            sample = np.nan_to_num(shared.reshape(-1, order="F")[::step])
            self._sampled.append((_name_source(source.observation), sample))
        else:
            effect, variance = weight * effect, None if variance is None else weight**2 * variance
        np.add(self._effect, effect, out=self._effect, where=is_observed)
        if variance is not None:
            np.add(self._variance, variance, out=self._variance, where=is_observed)

    def result(self) -> PooledMap:
        """Divide the sums and set NaN where nothing was observed; one dof where it is the same everywhere."""
        space, combine = self._space, self._observation.combine
        assert space is not None
        is_kept = self._n_observed >= (self._n_sources if combine == "weights" else 1)
        if not is_kept.any():
            raise DataError(
                f"The {self._n_sources} maps of {self._observation.label} have no element in common.",
                found=f"contrast {self._observation.contrast}: nothing observed in all of them",
            )
        effect, variance = self._effect, self._variance
        with np.errstate(divide="ignore", invalid="ignore"):
            if combine == "precision":
                effect, variance = effect / variance, 1 / variance
            elif combine == "mean":
                n_observed = self._n_observed.astype(np.float64)
                effect, variance = effect / n_observed, variance / n_observed**2
        dof = None
        if self._is_dof_known:
            kept, whole = self._dof[is_kept], self._dof.astype(np.float32)
            is_one = (kept == kept[0]).all()
            dof = np.asarray(kept[0], np.float32) if is_one else _missing_outside(is_kept, whole)
        n_maps = np.where(is_kept, self._n_maps, 0)
        is_small = n_maps.max(initial=0) <= np.iinfo(np.uint8).max
        return PooledMap(
            observation=self._observation,
            space=space,
            effect=self._stored(effect, is_kept),
            variance=self._stored(np.maximum(variance, SMALLEST), is_kept) if self._has_variance else None,
            dof=dof,
            n_maps=n_maps.astype(np.uint8) if is_small else n_maps,
            input_hashes=self._hashes,
            dominant=self._find_dominant(),
        )

    def _find_dominant(self) -> tuple[str, float] | None:
        """Find a map whose median share of the weight, where several are observed, is above the limit."""
        weights = np.array([sample for _, sample in self._sampled])
        weights = weights[:, np.count_nonzero(weights, axis=0) > 1] if len(weights) else weights
        if not weights.size:
            return None
        shares = np.median(weights / weights.sum(axis=0), axis=1)
        largest = int(shares.argmax())
        is_most = shares[largest] > LARGEST_SHARE
        return (self._sampled[largest][0], float(shares[largest])) if is_most else None

    def _stored(self, sums: Doubles, is_kept: Mask) -> npt.NDArray[np.float32]:
        """Turn into float32, NaN where not kept."""
        with np.errstate(over="ignore"):
            numbers = _missing_outside(is_kept, sums.astype(np.float32))
        is_over = np.isinf(numbers)
        if np.count_nonzero(is_over):
            one = self._observation
            raise DataError(
                f"The maps of {one.label}, {one.contrast} add up to numbers that are too large.",
                found=f"up to {np.abs(sums[is_over]).max():.3g} at {int(is_over.sum())} elements",
                expected=f"effects and variances up to {np.finfo(np.float32).max:.1e} (float32)",
                fix="Look at these maps, and leave out what is not right.",
            )
        return numbers
