"""The methods paragraph and its references, from what was really done; on the page, and beside the log."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from bids_group.config.corrections import UNCORRECTED as NO_CORRECTION
from bids_group.config.corrections import find_correction
from bids_group.errors import printable
from bids_group.output.disk.writing import write_text
from bids_group.output.files.contrasts import PLAIN
from bids_group.output.files.sidecars import say_center
from bids_group.output.report.analysis_facts import gather_facts
from bids_group.output.report.folder import read_analysis_mask, read_folder
from bids_group.output.report.markup import fill_template
from bids_group.output.report.sections import Part, Report, Section
from bids_group.words import counted, list_some, listed

Facts = Mapping[str, Any]

OWN_TITLE = "Desikan–Killiany atlas"
"""What the atlas that comes with the app is called."""
FOR_A_PAPER = "Text for a paper, made from what was done. Read it, and keep what you need."


def methods(report: Report) -> Section:
    """Show the paragraph of each analysis, and the literature."""
    references = citations(*(one.facts for one in report.analyses))
    bibtex = b64encode(spell_bibtex(references).encode()).decode("ascii")
    parts = [
        Part("text", FOR_A_PAPER),
        *report.of_analyses(lambda one: [Part("quotation", methods_text(one.facts))]),
        Part("heading", "References"),
        Part("references", [one.text for one in references]),
        Part("bibtex", f"data:application/x-bibtex;base64,{bibtex}"),
    ]
    return Section("methods", "Methods", parts)


def spell_bibtex(entries: Iterable[Reference]) -> str:
    """Spell a BibTeX file."""
    return "\n\n".join(entry.bibtex for entry in entries) + "\n"


def methods_text(facts: Facts) -> str:
    """Write the paragraph; a sentence stands only where its fact (see `gather_facts`) is known."""
    return re.sub(r"\{(\w+)\}", lambda match: references()[match[1]].short, _draft(facts))


def citations(*facts: Facts) -> tuple[Reference, ...]:
    """Return what the paragraphs cite, in alphabetical order."""
    used = {key for one in facts for key in re.findall(r"\{(\w+)\}", _draft(one))}
    return tuple(sorted((references()[key] for key in used), key=lambda entry: (entry.authors, entry.year)))


def _draft(facts: Facts) -> str:
    """Write the paragraph with ``{key}`` for citations; braces in names are spelled as parentheses."""
    plain = {name: _without_braces(value) for name, value in facts.items()}
    corrections, centering = list(plain.get("corrections") or []), str(plain.get("centering") or "")
    rules = [find_correction(one["name"]).over(plain.get("elements") or "voxels") for one in corrections]
    centers = dict(plain.get("centers") or {})
    units = dict(plain.get("standardisers") or {}).items()
    prepared = {
        "versions": dict(plain.get("versions") or {}),
        "within": centering.removeprefix("within:") if centering.startswith("within:") else None,
        "center_words": [f"{name}: {say_center(value)}" for name, value in centers.items()],
        "corrections": corrections,
        "judged": [
            rule.sentence.format(alpha=float(one.get("alpha") or 0.05), power=_power(one.get("extent")))
            for rule, one in zip(rules, corrections, strict=True)
        ],
        "unshuffled": [rule for rule in rules if not rule.needs_shuffling],
        "controlling": [rule for rule in rules if not rule.needs_shuffling and rule != NO_CORRECTION],
        "by_clusters": [one for rule, one in zip(rules, corrections, strict=True) if rule.uses_forming_p],
        "other_units": [f"{unit} for {name}" for name, unit in units if unit and unit != PLAIN],
        "own_atlas": OWN_TITLE,
        "counted": counted,
        "list_some": list_some,
        "listed": listed,
    }
    text = fill_template("methods.txt.j2", is_lenient=True, **plain | prepared)
    return " ".join(sentence for sentence in text.split("\n") if sentence)


def _power(extent: Mapping[str, str] | None) -> str:
    """Say to which power TFCE takes extents, by the parts that the brain has."""
    powers = {"1 on surfaces" if part == "cortex" else "0.5 in the subcortex" for part in extent or ()}
    return " and ".join(sorted(powers, reverse=True)) if len(powers) > 1 else "1" if powers else "0.5"


def _without_braces(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("{", "(").replace("}", ")")
    if isinstance(value, Mapping):
        return {_without_braces(key): _without_braces(item) for key, item in value.items()}
    return [_without_braces(item) for item in value] if isinstance(value, (list, tuple)) else value


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


_MARKUP = re.compile(
    r"[\\`]|<(?=[A-Za-z/!?])|(?<!\w)_(?=\S)|(?<=\S)_(?!\w)|\*(?=\S)|(?<=\S)\*|\[(?=[^\]]*\][(\[])|&(?=#?\w+;)"
)
"""What Markdown would not show as it stands: of names and formulas anything may come."""


def write_citations(output_dir: Path) -> tuple[Path, Path]:
    """Write ``logs/CITATION.md`` (methods text and references) and ``.bib``, from OUTPUT_DIR alone."""
    folder = read_folder(output_dir)
    n_elements = [int((read_analysis_mask(one).data > 0).sum()) for one in folder.analyses]
    facts = [gather_facts(folder, one, n) for one, n in zip(folder.analyses, n_elements, strict=True)]
    return write_references(output_dir, facts)


def write_references(output_dir: Path, facts: Sequence[Mapping[str, Any]]) -> tuple[Path, Path]:
    """Write both files from the facts of each analysis."""
    references = citations(*facts)
    parts = ["# Methods", *(_MARKUP.sub(r"\\\g<0>", printable(methods_text(one))) for one in facts)]
    parts += ["# References", "\n".join(f"- {entry.text}" for entry in references)]
    markdown, bibtex = (output_dir / "logs" / f"CITATION.{ending}" for ending in ("md", "bib"))
    write_text(markdown, "\n\n".join(parts) + "\n")
    write_text(bibtex, spell_bibtex(references))
    return markdown, bibtex
