"""Where a map was observed: NaN and out-of-mask zeros are missing, not data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def observed(effect: Volume, variance: Volume | None = None, own_mask: Mask | None = None) -> Mask:
    """Say where an effect map was observed.

    Parameters
    ----------
    effect
        Effect map, any shape; NaN and infinities are missing. Without an own mask an exact 0 is missing
        too: that is what producers write outside a run's mask.
    variance
        Of the same shape; values that are not finite or not positive are missing.
    own_mask
        Of the same shape, where the producer says that the map was observed; 0 is data inside it.

    Returns
    -------
    Boolean array of the same shape.
    """
    is_observed = np.isfinite(effect)
    is_observed &= (effect != 0) if own_mask is None else own_mask
    if variance is not None:
        is_observed &= np.isfinite(variance)
        is_observed &= variance > 0
    return is_observed
