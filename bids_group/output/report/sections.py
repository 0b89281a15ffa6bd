"""What the page is made of: sections, and what stands in them, in order; figures are files, too."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

from bids_group.output.disk.manifest import record_outputs
from bids_group.output.disk.publishing import Batch
from bids_group.output.report.folder import Folder
from bids_group.output.report.tables import PageTable

if TYPE_CHECKING:  # text alone (`references`) needs nothing that is drawn
    from bids_group.output.report.inputs import AnalysisInputs


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


@dataclass(frozen=True, slots=True)
class Part:
    """Something in a section that is no picture or table: ``kind`` is its macro in ``parts.html.j2``."""

    kind: str
    content: Any = None


@dataclass(frozen=True, slots=True)
class Details:
    """Something that the reader unfolds."""

    summary: str
    part: Any
    is_open: bool = False
    kind: ClassVar[str] = "details"


class Answer(NamedTuple):
    """What one correction says of a contrast; ``short`` is for one glance.

    ``verdict`` counts the clusters; ``strongest`` says where, which way and how large.
    """

    sentence: str
    short: str
    is_found: bool
    verdict: str = ""
    strongest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """A contrast of the analysis whose stem is ``of``; ``title`` is the analysis's where there are several.

    ``name`` is what the user called it, else its words, and ``words`` say the other. ``without``: whether it
    holds without single people; ``volume`` (or ``surface``) is what the viewer shows.
    """

    id: str
    of: str
    title: str
    name: str
    words: str
    answers: Sequence[Answer]
    without: str
    thumbnail: Picture | None
    parts: Sequence[Any]
    volume: Mapping[str, Any] | None
    surface: Mapping[str, Any] | None
    kind: ClassVar[str] = "article"


Shown: TypeAlias = Part | Picture | PageTable | Details | Article


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its anchor, and what stands under it."""

    id: str
    title: str
    parts: Sequence[Shown]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """What sections are made of: OUTPUT_DIR, its analyses, and their contrasts as they stand on the page."""

    folder: Folder
    analyses: Sequence[AnalysisInputs]
    articles: Sequence[Article]

    def of_analyses(self, *makers: Callable[[AnalysisInputs], Iterable[Shown]]) -> Iterator[Shown]:
        """Make the parts about each analysis, under its title where there are several."""
        for one in self.analyses:
            if len(self.analyses) > 1:
                yield Part("heading", one.files.title)
            for make in makers:
                yield from make(one)
