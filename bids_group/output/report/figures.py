"""Figures as files with BIDS names, and as parts of the page."""

from __future__ import annotations

import base64
import io
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import matplotlib as mpl
from matplotlib.figure import Figure

from bids_group.output.disk.manifest import record_outputs
from bids_group.output.disk.writing import write_bytes

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": "#5b6675",
    "axes.labelcolor": "#1c2430",
    "xtick.color": "#1c2430",
    "ytick.color": "#1c2430",
    "text.color": "#1c2430",
    "svg.fonttype": "path",
    "svg.hashsalt": "bids_group",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
}


Drawing = Figure | tuple[str, int]
"""A figure, or an SVG with its width in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure on the page: ``alt`` says what is seen, ``caption`` how to read it.

    ``path`` is relative to OUTPUT_DIR. ``ground``: ``dark`` is one of its own, ``page`` that of the page.
    """

    path: Path
    source: str
    alt: str
    caption: str
    ground: Literal["dark", "page"]
    width: int
    kind: ClassVar[str] = "picture"

    @classmethod
    def of(cls, payload: bytes, path: Path, *, alt: str, caption: str, inches: float) -> Picture:
        """Take the bytes of a ``.png`` (on dark ground) or ``.svg``."""
        kind = {".png": "image/png", ".svg": "image/svg+xml"}[path.suffix]
        return cls(
            path=path,
            source=f"data:{kind};base64,{base64.b64encode(payload).decode('ascii')}",
            alt=alt,
            caption=caption,
            ground="dark" if path.suffix == ".png" else "page",
            width=round(inches * 96),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureStore:
    """Where the figures of a report go."""

    root: Path

    def add(self, drawn: Drawing, name: str, *, alt: str, caption: str = "") -> Picture:
        """Write ``group/figures/<name>``: equal figures, equal bytes."""
        path = Path("group") / "figures" / name
        payload = render(drawn, path) if isinstance(drawn, Figure) else drawn[0].encode()
        inches = drawn.get_figwidth() if isinstance(drawn, Figure) else drawn[1] / 96
        record_outputs(self.root, [path])
        write_bytes(self.root / path, payload)
        return Picture.of(payload, path, alt=alt, caption=caption, inches=inches)


def style() -> AbstractContextManager[None]:
    """Return the context in which every figure is made and rendered: no text is read as mathematics."""
    return mpl.rc_context(cast("Any", _STYLE))


def render(figure: Figure, path: Path) -> bytes:
    """Spell a figure in the format of a file name: equal figures, equal bytes."""
    stream = io.BytesIO()
    if path.suffix == ".svg":
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    else:
        figure.savefig(stream, format="png", dpi=125, metadata={"Software": None})
    return stream.getvalue()
