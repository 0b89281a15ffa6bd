"""Fixed effects below the group: several maps of one person (or session) become one.

At each element the maps *observed* there are pooled; an element observed in none is missing (NaN). Algebra in
float64, storage in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.elements import Grid, LoadedMap, check_same_grid, observed, read_map, read_mask
from bids_group.errors import DataError, RunError
from bids_group.records import FirstLevelMap, Observation, PooledMap

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_SMALLEST = np.finfo(np.float32).smallest_subnormal
"""A pooled variance is at least this: 0 would say that nothing was observed."""

_UNDERFLOW = f"numbers below {_SMALLEST:.0e} become 0 in float32"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Source:
    """A map to be pooled: NaN where not observed. ``path`` is for messages."""

    path: Path
    grid: Grid
    effect: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32] | None
    dof: npt.NDArray[np.float32] | None
    n_maps: Counts
    input_hashes: dict[str, str]


def pool(observation: Observation) -> PooledMap:
    """Read the maps an observation stands on and pool them.

    ``precision``: e = Σ(e/v) / Σ(1/v), v = 1/Σ(1/v). ``mean``: e = Σe/S, v = Σv/S² (where all maps have a
    variance), over the S maps observed at the element. ``weights``: e = Σ w e, v = Σ w² v where every map
    with a weight other than 0 is observed. Degrees of freedom add up where all are known. A single map is
    returned unchanged, bit for bit, but for its unobserved elements, which become NaN.

    Parameters
    ----------
    observation
        A person (or session) and its maps, or other observations (pooled first, by their own rule).

    Raises
    ------
    MissingInputError
        A file is missing or unreadable.
    GridError
        Maps of one observation, or the parts of one map, do not lie on the same grid.
    DataError
        A map is 4D, corrupt, or observed nowhere; precision weights are asked of maps without variance; or
        a weighted sum is too large for float32.
    """
    source = _pool(observation)
    return PooledMap(
        observation=observation,
        grid=source.grid,
        effect=source.effect,
        variance=source.variance,
        dof=source.dof,
        n_maps=source.n_maps,
        input_hashes=source.input_hashes,
    )


def _pool(observation: Observation) -> _Source:
    weights = _weights(observation)
    parts = [part for part, weight in zip(observation.sources, weights, strict=True) if weight != 0]
    weights = tuple(weight for weight in weights if weight != 0)
    if len(parts) == 1 and weights == (1.0,):
        return _load(parts[0])
    total = _Total(observation, weights)
    for part, weight in zip(parts, weights, strict=True):
        total.add(_load(part), weight)
    return total.result()


def _weights(observation: Observation) -> tuple[float, ...]:
    if not observation.sources:
        raise DataError(f"There is no map to pool for {observation.label}, {observation.contrast}.")
    if observation.combine != "weights":
        return (1.0,) * len(observation.sources)
    if len(observation.weights) != len(observation.sources) or not any(observation.weights):
        raise DataError(
            f"The weights of {observation.label}, {observation.contrast} do not fit its maps.",
            found=f"weights {observation.weights} for {len(observation.sources)} maps",
            expected="one weight per map, not all 0",
        )
    return observation.weights


def _load(part: FirstLevelMap | Observation) -> _Source:
    return _pool(part) if isinstance(part, Observation) else _read(part)


# --------------------------------------------------------------------------------------------
# One map


def _read(source: FirstLevelMap) -> _Source:
    """Read one first-level map with its variance, dof and mask; set NaN where it was not observed."""
    effect = _read_volume(source.effect)
    paths = {
        "variance": source.variance if source.input_stat == "effect" else None,
        "dof": source.dof if isinstance(source.dof, Path) else None,
    }
    others = {name: _read_volume(path) for name, path in paths.items() if path is not None}
    mask = None if source.mask is None else read_mask(source.mask, source.mask_threshold, is_own=True)
    masks = () if mask is None else (mask,)
    for other in (*others.values(), *masks):
        check_same_grid(effect.path, effect.grid, other.path, other.grid, is_mask=other is mask)
    variance = others["variance"].data if "variance" in others else None
    is_observed = observed(effect.data, variance, None if mask is None else mask.inside)
    if not is_observed.any():
        raise _nowhere_observed(effect, list(others.values()), source.mask)
    dof = others["dof"].data if "dof" in others else source.dof
    return _Source(
        path=source.effect,
        grid=effect.grid,
        effect=_missing_outside(is_observed, effect.data),
        variance=None if variance is None else _missing_outside(is_observed, variance),
        dof=_dof(dof, is_observed),
        n_maps=is_observed.view(np.uint8),
        input_hashes={str(one.path): one.sha256 for one in (effect, *others.values(), *masks)},
    )


def _read_volume(path: Path) -> LoadedMap:
    loaded = read_map(path)
    if loaded.data.ndim != 3:
        raise DataError(
            f"The map {path} holds several volumes.",
            found=f"shape {' × '.join(map(str, loaded.data.shape))}",
            expected="one volume (the effect of a t contrast)",
            fix="Leave this contrast out (--first-level-contrast); effects of F tests cannot be pooled.",
        )
    return loaded


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
    return np.where(is_observed, data, np.float32(np.nan))


def _dof(
    dof: float | npt.NDArray[np.float32] | Path | None, is_observed: Mask
) -> npt.NDArray[np.float32] | None:
    """Take a number as it is; a map only where the effect was observed."""
    if dof is None or isinstance(dof, Path):
        return None
    values = np.asarray(dof, dtype=np.float32)
    return values if values.ndim == 0 else _missing_outside(is_observed, values)


# --------------------------------------------------------------------------------------------
# Several maps


class _Total:
    """Running sums over the maps of one observation, so that one map is in memory at a time."""

    def __init__(self, observation: Observation, weights: tuple[float, ...]) -> None:
        self._observation = observation
        self._is_precision = observation.combine == "precision"
        self._n_sources = len(weights)
        self._first: _Source | None = None
        self._has_variance = True
        self._is_dof_known = True
        self._hashes: dict[str, str] = {}

    def add(self, source: _Source, weight: float) -> None:
        """Add one map; NaN adds nothing."""
        first = self._start(source) if self._first is None else self._first
        check_same_grid(first.path, first.grid, source.path, source.grid)
        self._has_variance &= source.variance is not None
        if self._is_precision and source.variance is None:
            raise _no_variance(self._observation, source)
        is_observed = ~np.isnan(source.effect)
        self._add_values(source, weight, is_observed)
        self._n_observed += is_observed
        self._n_maps += source.n_maps
        self._is_dof_known &= source.dof is not None
        self._dof += 0 if source.dof is None else np.where(is_observed, source.dof, 0)
        self._note(source.input_hashes)

    def _note(self, hashes: dict[str, str]) -> None:
        """Keep the hashes of the files; one file that was read twice must have had the same bytes."""
        for path in self._hashes.keys() & hashes.keys():
            if self._hashes[path] != hashes[path]:
                raise RunError(
                    f"The file {path} changed while it was read.",
                    found=f"two contents for maps of {self._observation.label}",
                    fix="Wait until nothing writes to the inputs, then run the same command again.",
                )
        self._hashes.update(hashes)

    def _start(self, source: _Source) -> _Source:
        shape = source.grid.shape
        self._first = source
        self._effect, self._variance, self._dof = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._n_observed, self._n_maps = np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)
        return source

    def _add_values(self, source: _Source, weight: float, is_observed: Mask) -> None:
        effect = source.effect[is_observed].astype(np.float64)
        variance = None if source.variance is None else source.variance[is_observed].astype(np.float64)
        if self._is_precision and variance is not None:
            self._effect[is_observed] += effect / variance
            self._variance[is_observed] += 1 / variance
            return
        self._effect[is_observed] += weight * effect
        if variance is not None:
            self._variance[is_observed] += weight**2 * variance

    def result(self) -> _Source:
        """Divide the sums and set NaN where nothing was observed."""
        first = self._first
        assert first is not None
        is_kept = self._n_observed >= (self._n_sources if self._observation.combine == "weights" else 1)
        if not is_kept.any():
            raise DataError(
                f"The {self._n_sources} maps of {self._observation.label} have no element in common.",
                found=f"contrast {self._observation.contrast}: nothing observed in all of them",
            )
        effect, variance = self._divided()
        return _Source(
            path=first.path,
            grid=first.grid,
            effect=self._stored(effect, is_kept),
            variance=self._stored(np.maximum(variance, _SMALLEST), is_kept) if self._has_variance else None,
            dof=self._summed_dof(is_kept),
            n_maps=_counts(np.where(is_kept, self._n_maps, 0)),
            input_hashes=self._hashes,
        )

    def _divided(self) -> tuple[Doubles, Doubles]:
        with np.errstate(divide="ignore", invalid="ignore"):
            if self._is_precision:
                return self._effect / self._variance, 1 / self._variance
            if self._observation.combine == "mean":
                n_observed = self._n_observed.astype(np.float64)
                return self._effect / n_observed, self._variance / n_observed**2
        return self._effect, self._variance

    def _stored(self, sums: Doubles, is_kept: Mask) -> npt.NDArray[np.float32]:
        """Turn into float32, NaN where not kept."""
        with np.errstate(over="ignore"):
            numbers = _missing_outside(is_kept, sums.astype(np.float32))
        is_over = np.isinf(numbers)
        if is_over.any():
            one = self._observation
            raise DataError(
                f"The maps of {one.label}, {one.contrast} add up to numbers that are too large.",
                found=f"up to {np.abs(sums[is_over]).max():.3g} at {int(is_over.sum())} elements",
                expected=f"effects and variances up to {np.finfo(np.float32).max:.1e} (float32)",
                fix="Look at these maps, and leave out what is not right.",
            )
        return numbers

    def _summed_dof(self, is_kept: Mask) -> npt.NDArray[np.float32] | None:
        """Sum over the maps observed at each element; one number where that is the same everywhere."""
        if not self._is_dof_known:
            return None
        distinct = np.unique(self._dof[is_kept])
        if distinct.size == 1:
            return np.asarray(distinct[0], dtype=np.float32)
        return _missing_outside(is_kept, self._dof.astype(np.float32))


def _counts(n_maps: npt.NDArray[np.uint16]) -> Counts:
    return n_maps.astype(np.uint8) if n_maps.max(initial=0) <= np.iinfo(np.uint8).max else n_maps


def _no_variance(observation: Observation, source: _Source) -> DataError:
    return DataError(
        f"The maps of {observation.label} cannot be weighted by their precision.",
        found=f"{source.path} has no variance map beside it",
        expected="a variance map for every effect map",
        fix="Use --pooling mean.",
    )
