"""Colours that people with any colour vision tell apart.

Categories: Okabe & Ito (2008). Signed maps: orange to yellow above zero, blue to pale cyan below, so that
hue says the sign and lightness the size on a dark ground.
"""

from __future__ import annotations

from matplotlib.colors import Colormap, LinearSegmentedColormap

CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F6A00", "#555555")
INK, FAINT = "#1c2430", "#8a94a3"
ABOVE, BELOW = "#D55E00", "#0072B2"

POSITIVE = ("#8f1d00", "#e4521b", "#ff9a2e", "#ffe68a")
NEGATIVE = ("#0b3c8f", "#1f78d1", "#46b4f0", "#c3f2ff")
SIGNED = tuple(reversed(NEGATIVE)) + POSITIVE


def signed_colours() -> LinearSegmentedColormap:
    """From pale cyan (most negative) through dark blue and dark red to pale yellow (most positive)."""
    return LinearSegmentedColormap.from_list("signed", SIGNED, N=256)


def positive_colours() -> LinearSegmentedColormap:
    """From dark red (zero) to pale yellow (largest), for F."""
    return LinearSegmentedColormap.from_list("positive", POSITIVE, N=256)


def effect_colours() -> Colormap:
    """From blue over light grey to orange, for effects of single people; not observed is nearly black."""
    colours = LinearSegmentedColormap.from_list(
        "effect", ("#08519c", "#6baed6", "#e8e8e8", "#fd8d3c", "#a63603"), N=256
    )
    return colours.with_extremes(bad="#07090d")
