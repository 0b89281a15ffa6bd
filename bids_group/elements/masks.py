"""Where maps are: masks (images of two values, one of which is 0), and the elements a map was observed at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.elements.reading import read_map
from bids_group.elements.space import Space
from bids_group.errors import DataError
from bids_group.words import counted

_ROUNDING = 1e-6
"""Share of the other value up to which one is 0: scaled integers miss 0 by the rounding of their scale."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedMask:
    """Where a mask is: ``inside``, boolean of the space's shape. ``words``: what was made of its values."""

    path: Path
    space: Space
    inside: npt.NDArray[np.bool_]
    sha256: str
    words: str | None = None


def read_mask(path: Path, threshold: float | None = None, *, is_own: bool = False) -> LoadedMask:
    """Read a mask, once.

    A mask of two values is 0 outside (NaN is 0) and anything above 0 inside; one value alone, above 0, is
    inside everywhere. Any other image needs a ``threshold`` of at least 0: voxels above it are inside. It
    holds for masks of two values too, but for those that were made beside a map (``is_own``).

    Raises
    ------
    MissingInputError
        The file is not there.
    DataError
        It is no image of one volume, nothing is inside, or it has other values than two and no threshold
        was given.
    """
    loaded = read_map(path)
    if loaded.data.shape != loaded.space.shape:
        raise DataError(
            f"The mask {path} holds several volumes.",
            found=f"shape {' × '.join(map(str, loaded.data.shape))}",
            expected="one volume",
            fix="Take one volume of it, or make one mask of them.",
        )
    values = np.where(np.isnan(loaded.data), np.float32(0), loaded.data)
    inside, words = _inside_of_two(values), None
    if threshold is not None and (inside is None or not is_own):
        inside = values > threshold
        words = f"{describe_values(values)}; the {int(inside.sum())} above {threshold:g} are inside"
    if inside is None:
        raise _not_two(path, values)
    if not inside.any():
        raise DataError(
            f"The mask {path} is empty.",
            found=f"no value above {threshold or 0:g} ({describe_values(values)})",
            fix="Give another mask" + ("." if threshold is None else ", or lower --mask-threshold."),
        )
    return LoadedMask(path=path, space=loaded.space, inside=inside, sha256=loaded.sha256, words=words)


def _inside_of_two(values: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_] | None:
    """Find the inside of an image of the values 0 and v > 0; None where it has others."""
    low, high = float(values.min()), float(values.max())
    if not 0 < high < np.inf:
        return np.zeros(values.shape, dtype=bool) if low == high == 0 else None
    inside = np.asarray(values == high)
    is_low_zero = low == high or abs(low) <= _ROUNDING * high
    return inside if is_low_zero and bool((inside | (values == low)).all()) else None


def describe_values(values: npt.NDArray[np.float32]) -> str:
    """Say how many values there are, and their range."""
    distinct = np.unique(values)
    n_values = counted(distinct.size, "value")
    what = "voxels" if values.ndim == 3 else "elements"
    return f"{values.size} {what} of {n_values}, {distinct[0]:.4g} to {distinct[-1]:.4g}"


def _not_two(path: Path, values: npt.NDArray[np.float32]) -> DataError:
    """Make the error about a mask of more than two values that came without a threshold."""
    high = float(values.max())
    half = 0.5 if 0.5 < high <= 1.5 or not 0 < high < np.inf else high / 2
    counts = (f"{int((values > at).sum())} above {at:.3g}" for at in dict.fromkeys((0.0, 0.5, half)))
    return DataError(
        f"The mask {path} is not of two values.",
        found=f"{describe_values(values)}; {', '.join(counts)}",
        expected="0 outside (NaN is 0) and one value above 0 inside",
        fix=f"Say above which value voxels are inside, such as --mask-threshold {half:.3g}, or make a mask "
        "of two values (one that was resampled: with nearest neighbours)."
        if high > 0
        else "Make a mask of two values (--mask-threshold is at least 0).",
    )


def is_same_mask(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> bool:
    """Whether two masks are equal; compared in the order of memory, which is faster than by three axes."""
    return np.array_equal(one.ravel("K"), other.ravel("K"))


def observed(
    effect: npt.NDArray[np.float32],
    variance: npt.NDArray[np.float32] | None = None,
    own_mask: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_]:
    """Say where an effect map was observed; all arrays, the result too, have one (any) shape.

    Missing are effects that are not finite, variances that are not finite or not positive, and what lies
    outside the producer's ``own_mask``. Without one an exact 0 is missing too: that is what producers write
    outside a run's mask; inside a mask 0 is data.
    """
    is_observed = np.isfinite(effect)
    is_observed &= (effect != 0) if own_mask is None else own_mask
    if variance is not None:
        is_observed &= np.isfinite(variance)
        is_observed &= variance > 0
    return is_observed
