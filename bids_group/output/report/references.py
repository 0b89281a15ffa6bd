"""Methods text and references beside the log; they need no pictures, which take half a second to import."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_group.errors import printable
from bids_group.output.disk.writing import write_text
from bids_group.output.report.analysis_facts import gather_facts
from bids_group.output.report.folder import read_analysis_mask, read_folder
from bids_group.output.report.methods import citations, methods_text, spell_bibtex

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
