"""Figures as files with BIDS names, and as parts of the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from bids_group.output.disk.manifest import record_outputs
from bids_group.output.disk.publishing import Batch


class Drawing(Protocol):
    """What can be drawn: a chart, a sheet of pixels, or an SVG that is ready."""

    @property
    def width(self) -> int:
        """Width in pixels of the page."""

    def render(self) -> bytes:
        """Spell it in its format: equal drawings, equal bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure on the page: ``alt`` says what is seen, ``caption`` how to read it.

    ``path`` is relative to OUTPUT_DIR. ``ground``: ``dark`` is one of its own, ``page`` that of the page.
    ``markup``: what stands in the page itself, so that its points tell their names; empty for other pictures.
    """

    path: Path
    source: str
    alt: str
    caption: str
    ground: Literal["dark", "page"]
    width: int
    markup: str = ""
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureStore:
    """Where the figures of a page go; ``payloads``: those that are drawn and not written yet."""

    root: Path
    folder: Path = Path("group/figures")
    payloads: dict[Path, bytes] = field(default_factory=dict)

    def add(self, drawn: Drawing, name: str, *, alt: str, caption: str = "") -> Picture:
        """Draw ``folder/name``, a ``.png`` (on dark ground) or ``.svg``: equal figures, equal bytes."""
        path, payload = self.folder / name, drawn.render()
        self.payloads[path] = payload
        kind = {".png": "image/png", ".svg": "image/svg+xml"}[path.suffix]
        return Picture(
            path=path,
            source=f"data:{kind};base64,{base64.b64encode(payload).decode('ascii')}",
            alt=alt,
            caption=caption,
            ground="dark" if path.suffix == ".png" else "page",
            width=drawn.width,
            markup=payload.decode() if b"<title>" in payload else "",
        )

    def write(self) -> None:
        """Write all figures."""
        record_outputs(self.root, self.payloads)
        with Batch(self.root) as batch:
            for path, payload in self.payloads.items():
                batch.write(self.root / path, payload)
