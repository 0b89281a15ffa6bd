"""Draw the peaks and saddles of a small map for ``performance.md``: ``python docs/draw_saddles.py``.

The codes are those of the app's own pass: no bit is a peak, one an ordinary voxel, several a saddle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from bids_group.elements import Elements, Grid
from bids_group.inference.clusters.lattice import Lattice, LatticeWorkspace, encode

PICTURE = Path(__file__).parent / "images" / "saddles.png"
SHAPE = (18, 30, 1)
DARK = "#1b3a4b"


def make_map() -> npt.NDArray[np.float32]:
    """Make a small smooth map of positive values."""
    noise = gaussian_filter(np.random.default_rng(8).standard_normal(SHAPE[:2]), 1.9)
    return (1.5 + noise / noise.std()).astype(np.float32)


def count_pieces(z: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Count the pieces of earlier neighbours around each voxel, by the pass itself."""
    elements = Elements.from_mask(Grid(shape=SHAPE, affine=np.eye(4)), np.ones(SHAPE, dtype=bool))
    lattice = Lattice.of(elements, 6)
    work = LatticeWorkspace(lattice)
    encode(z.reshape(-1), lattice.runs, lattice.spans, lattice.steps, 6, work.volume, work.late)
    codes = work.volume[lattice.places]
    return np.array([int(code).bit_count() for code in codes]).reshape(z.shape)


def draw() -> Figure:
    """Draw heights as shades, voxels above 0 with a dot each, peaks and saddles with their marks."""
    z = make_map()
    pieces = np.where(z > 0, count_pieces(z), -1)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.where(z > 0, z, np.nan), cmap="YlGnBu_r", vmin=-1.5, vmax=4)
    styles = (
        (1, {"marker": ".", "s": 6, "color": "#6c7a89"}, "one piece: takes that label"),
        (0, {"marker": "^", "s": 70, "color": "#d1495b", "edgecolor": "white"}, "peak: a new label"),
        (
            2,
            {"marker": "X", "s": 60, "color": "#edae49", "edgecolor": DARK},
            "several pieces: perhaps a saddle",
        ),
    )
    for n, style, words in styles:
        rows, columns = np.nonzero(pieces >= 2 if n == 2 else pieces == n)
        axes.scatter(columns, rows, linewidth=0.7, label=f"{words} ({rows.size})", **style)
    axes.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, label="z", shrink=0.8)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def main() -> None:
    """Write the picture."""
    draw().savefig(PICTURE, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
