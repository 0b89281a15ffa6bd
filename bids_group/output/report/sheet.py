"""Sheets of pixels with words on them; colours of numbers; how wide words are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Colours: TypeAlias = npt.NDArray[np.float32]
"""RGB from 0 to 1, along the last axis."""

DPI = 125
"""Pixels of sheets per inch; a page has 96."""
BACKDROP = "#07090d"
"""Ground of brains; words have an edge of it, so that they are read on light tissue too."""
_FONT = "mpl-data/fonts/ttf/DejaVuSans.ttf"
_COMPRESSION = 3
"""Of zlib: for brains on a dark ground it gives smaller files than 6, in half the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A line of text at pixels from the left and from above; ``anchor`` as Pillow spells it."""

    x: float
    y: float
    text: str
    colour: str
    size: int = 14
    anchor: str = "ls"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sheet:
    """A picture of shape ``(height, width, 3)``, or 4 with opacity, with words on it."""

    pixels: npt.NDArray[np.uint8]
    words: Sequence[Words]

    @property
    def width(self) -> int:
        """Width on the page."""
        return round(int(self.pixels.shape[1]) / DPI * 96)

    def render(self) -> bytes:
        """Spell it as PNG: equal sheets, equal bytes."""
        image, stream = Image.fromarray(self.pixels), io.BytesIO()
        draw = ImageDraw.Draw(image)
        for one in self.words:
            at, font = (one.x, one.y), _font(one.size)
            draw.text(at, one.text, one.colour, font, one.anchor, stroke_width=2, stroke_fill=BACKDROP)
        image.save(stream, "png", compress_level=_COMPRESSION, dpi=(DPI, DPI))
        return stream.getvalue()


def measure(text: str, size: int) -> float:
    """Width of a line of text in pixels."""
    return _font(size).getlength(text)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans; it comes with matplotlib."""
    return ImageFont.truetype(find_file("matplotlib", _FONT), size, layout_engine=ImageFont.Layout.BASIC)


def find_file(package: str, name: str) -> Path:
    """Find a file that comes with a package, which is not imported for it."""
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / name


def rgb(colour: str) -> Colours:
    """Turn ``#rrggbb`` into numbers."""
    return np.array([level / 255 for level in bytes.fromhex(colour[1:])], dtype=np.float32)


@cache
def ramp(*colours: str) -> Colours:
    """Lead from one colour to the next in 256 steps: shape ``(256, 3)``."""
    known = np.array([rgb(colour) for colour in colours])
    at, steps = np.linspace(0, 1, len(known)), np.linspace(0, 1, 256)
    return np.stack([np.interp(steps, at, channel) for channel in known.T], axis=1).astype(np.float32)


def tint(values: npt.NDArray[np.floating], low: float, high: float, colours: Colours) -> Colours:
    """Colour values by a `ramp` that runs from ``low`` to ``high``; beyond them as at them."""
    shares = (values - low) * (256 / (high - low))
    found: Colours = colours[np.clip(shares, 0, 255).astype(np.uint8)]
    return found
