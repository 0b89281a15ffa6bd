"""The literature a report can stand on: as text and as BibTeX."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A publication. ``short`` is how it is cited in a sentence."""

    key: str
    authors: str
    year: int
    title: str
    journal: str
    volume: str
    pages: str
    doi: str

    @property
    def short(self) -> str:
        """Family names and year: ``Freedman & Lane, 1983``."""
        names = [author.split(",")[0].strip() for author in self.authors.split(" and ")]
        if names[-1] == "others" or len(names) > 2:
            return f"{names[0]} et al., {self.year}"
        return f"{' & '.join(names)}, {self.year}"

    @property
    def text(self) -> str:
        """One line of a list of references."""
        names = self.authors.replace(" and others", ", et al.").replace(" and ", "; ")
        where = f"{self.journal}, {self.volume}, {self.pages}. https://doi.org/{self.doi}"
        return f"{names} ({self.year}). {self.title}. {where}"

    @property
    def bibtex(self) -> str:
        """One BibTeX entry."""
        fields = {
            "author": self.authors,
            "title": f"{{{self.title}}}",
            "journal": self.journal,
            "year": str(self.year),
            "volume": self.volume,
            "pages": self.pages.replace("–", "--"),
            "doi": self.doi,
        }
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
        return "\n".join([f"@article{{{self.key},", *lines, "}"])


@cache
def references() -> Mapping[str, Reference]:
    """Return every reference that a methods paragraph can cite, by key."""
    text = files("bids_group.output.report").joinpath("references.json").read_text(encoding="utf-8")
    return {entry["key"]: Reference(**entry) for entry in json.loads(text)}
