"""What the page is made of: sections, and what stands in them, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

from bids_group.output.report.folder import Folder
from bids_group.output.report.tables import PageTable

if TYPE_CHECKING:  # text alone (`references`) needs no pictures
    from bids_group.output.report.figures import Picture
    from bids_group.output.report.inputs import AnalysisInputs


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


Shown: TypeAlias = "Part | Picture | PageTable | Details | Article"


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
