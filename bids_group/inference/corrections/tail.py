"""The tail of a null distribution as a generalised Pareto distribution, so that few shuffles can do for many.

Winkler et al. 2016 (doi:10.1016/j.neuroimage.2016.05.068): the largest maxima are fitted by moments
(Hosking & Wallis 1987); the tail starts at the upper quarter and is shortened until a Cramér–von Mises test,
by parametric bootstrap, no longer rejects the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

_LONGEST, _SHORTEST, _STEP = 0.25, 0.05, 0.02
_FEWEST = 25
_N_DRAWS = 499
_REJECTED = 0.05
FURTHEST = 20
"""p is never made smaller than that of this many times as many shuffles: far out the fit is too confident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Beyond ``start`` lies the share ``share`` of the null: P(X > start + y) = share·(1 − k y/scale)^(1/k).

    ``goodness_p``: of the Cramér–von Mises test. ``n``: number of shuffles. No p is below ``smallest_p``.
    """

    start: float
    share: float
    k: float
    scale: float
    goodness_p: float
    n: int
    smallest_p: float

    def p(self, values: npt.ArrayLike) -> Doubles:
        """Tail probability of values beyond ``start``."""
        beyond = np.maximum(np.asarray(values, dtype=np.float64) - self.start, 0)
        return np.maximum(self.share * _survival(beyond, self.k, self.scale), self.smallest_p)

    def value_at(self, p: float) -> float:
        """Value that is exceeded with probability ``p`` (at most ``share``)."""
        ratio = p / self.share
        beyond = -np.log(ratio) if self.k == 0 else (1 - ratio**self.k) / self.k
        return float(self.start + self.scale * beyond)


def fit_tail(maxima: Doubles, n_distinct: float = np.inf) -> Tail | None:
    """Fit the tail of null maxima (without the unshuffled data); None where no tail fits.

    ``maxima`` ``(n,)`` are on a scale without an end that the data come close to (z rather than a
    correlation). No p is below that of one of the ``n_distinct`` shuffles that can differ.
    """
    ranked = np.sort(maxima)
    for share in np.arange(_LONGEST, _SHORTEST - 1e-9, -_STEP):
        n_beyond = int(share * ranked.size)
        if n_beyond < _FEWEST:
            return None
        start = float((ranked[-n_beyond] + ranked[-n_beyond - 1]) / 2)
        beyond = ranked[-n_beyond:] - start
        if beyond[0] <= 0 or beyond[-1] == beyond[0]:
            continue  # ties at the start, or nothing but ties: a discrete statistic
        k, scale = _moments(beyond)
        if _survival(beyond[-1:], k, scale)[0] <= 0:
            continue  # the fit ends before the data do
        goodness = _goodness(beyond, k, scale)
        if goodness > _REJECTED:
            n = ranked.size
            return Tail(
                start=start, share=n_beyond / n, k=k, scale=scale, goodness_p=goodness, n=n,
                smallest_p=max(1 / (FURTHEST * n), float(1 / n_distinct)),
            )  # fmt: skip
    return None


def _moments(beyond: Doubles) -> tuple[float, float]:
    """Fit shape and scale of a generalised Pareto distribution by its moments (Hosking & Wallis 1987)."""
    mean, variance = float(beyond.mean()), float(beyond.var(ddof=1))
    ratio = mean**2 / variance
    return 0.5 * (ratio - 1), 0.5 * mean * (ratio + 1)


def _survival(beyond: Doubles, k: float, scale: float) -> Doubles:
    """Probability of more than each excess under the fitted distribution."""
    if abs(k) < 1e-9:
        return np.exp(-beyond / scale)
    return np.asarray(np.maximum(1 - k * beyond / scale, 0) ** (1 / k))


def _goodness(beyond: Doubles, k: float, scale: float) -> float:
    """Share of samples from the fit that lie at least as far (Cramér–von Mises) from their own fit."""
    random = np.random.Generator(np.random.Philox(key=beyond.size))
    middles = (2 * np.arange(1, beyond.size + 1) - 1) / (2 * beyond.size)

    def distance(ordered: Doubles, k: float, scale: float) -> float:
        return float(1 / (12 * ordered.size) + ((1 - _survival(ordered, k, scale) - middles) ** 2).sum())

    observed, n_further = distance(beyond, k, scale), 0
    for _ in range(_N_DRAWS):
        uniform = random.random(beyond.size)
        drawn = -np.log(uniform) * scale if abs(k) < 1e-9 else scale * (1 - uniform**k) / k
        drawn.sort()
        n_further += distance(drawn, *_moments(drawn)) >= observed
    return (1 + n_further) / (1 + _N_DRAWS)
