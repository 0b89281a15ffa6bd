"""The page: assembled from OUTPUT_DIR alone, written whole."""

from __future__ import annotations

import base64
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group.config import Execution
from bids_group.config.options import options_of
from bids_group.output.disk.writing import write_text
from bids_group.output.report.analysis_view import AnalysisView, view_analysis
from bids_group.output.report.canvas import read_anatomy
from bids_group.output.report.desk import lay_analysis
from bids_group.output.report.facts import gather_facts
from bids_group.output.report.folder import Folder, entities_of, read_folder
from bids_group.output.report.methods import citations, methods_text
from bids_group.output.report.palette import SIGNED
from bids_group.output.report.paper import Paper
from bids_group.output.report.pictures import Album, style
from bids_group.output.report.references import Reference
from bids_group.output.report.tables import TableView, view_table
from bids_group.output.report.viewer import pack_anatomy
from bids_group.output.report.volumes import set_stage

_LEVELS = ("group", "participant")
_EXECUTION_OPTIONS = {
    spelling: 0 if one.flags or one.kind == "count" else 1
    for one in options_of(Execution)
    for spelling in (one.flag, one.short)
}
"""Options that change no number, and how many words each takes."""
_LOUDNESS = re.compile(r"-[vq]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """Everything on the page."""

    title: str
    version: str
    analyses: tuple[AnalysisView, ...]
    notices: tuple[Mapping[str, Any], ...]
    ledger: TableView | None
    references: tuple[Reference, ...]
    bibtex: str
    provenance: tuple[tuple[str, str], ...]
    command: str
    hashes: TableView | None
    palette: tuple[str, ...]
    has_atlas: bool
    anatomy: Mapping[str, Any] | None


def build_report(output_dir: Path, cut_mm: Sequence[float] | None = None) -> Path:
    """Draw the figures, write ``report.html`` and the list of references, from OUTPUT_DIR alone.

    Nothing that differs between two runs of one analysis is on the page: equal outputs give equal bytes.

    Parameters
    ----------
    cut_mm
        A point that slices go through; None: the one that the run asked for, else the strongest evidence.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    MissingInputError
        OUTPUT_DIR holds no group analysis.
    """
    folder = read_folder(output_dir)
    if cut_mm is not None:
        cut = list(cut_mm)
        analyses = tuple(replace(one, info=one.info.but(cut_coordinates=cut)) for one in folder.analyses)
        folder = replace(folder, analyses=analyses)
    paper = Paper.unroll()
    with style():
        album = Album(root=output_dir)
        views = tuple(
            view_analysis(lay_analysis(folder, analysis, album, paper)) for analysis in folder.analyses
        )
    _write_citations(output_dir, [analysis.facts for analysis in views])
    page = output_dir / "report.html"
    write_text(page, paper.print_page(_view_page(folder, views)))
    return page


def write_citations(output_dir: Path) -> tuple[Path, Path]:
    """Write ``logs/CITATION.md`` (methods text and references) and ``.bib``, from OUTPUT_DIR alone."""
    folder = read_folder(output_dir)
    return _write_citations(
        output_dir,
        [gather_facts(folder, analysis, set_stage(analysis).n_elements) for analysis in folder.analyses],
    )


def _write_citations(output_dir: Path, facts: Sequence[Mapping[str, Any]]) -> tuple[Path, Path]:
    references = _references(facts)
    parts = ["# Methods", *(methods_text(one) for one in facts)]
    parts += ["# References", "\n".join(f"- {entry.text}" for entry in references)]
    markdown, bibtex = (output_dir / "logs" / f"CITATION.{ending}" for ending in ("md", "bib"))
    write_text(markdown, "\n\n".join(parts) + "\n")
    write_text(bibtex, _bibtex(references))
    return markdown, bibtex


def _references(facts: Sequence[Mapping[str, Any]]) -> tuple[Reference, ...]:
    found = {entry for one in facts for entry in citations(one)}
    return tuple(sorted(found, key=lambda entry: (entry.authors, entry.year)))


def _bibtex(references: Sequence[Reference]) -> str:
    return "\n\n".join(entry.bibtex for entry in references) + "\n"


def _view_page(folder: Folder, analyses: Sequence[AnalysisView]) -> PageView:
    references = _references([analysis.facts for analysis in analyses])
    return PageView(
        title=_title(analyses),
        version=str(analyses[0].facts["version"] or ""),
        analyses=tuple(analyses),
        notices=_notices(analyses),
        ledger=None
        if folder.ledger is None
        else view_table(folder.ledger, name="ledger.tsv", caption="Every participant and map."),
        references=references,
        bibtex=_as_uri(_bibtex(references)),
        provenance=tuple(_provenance(folder)),
        command=plain_command(folder.command.command or []),
        hashes=_hashes(folder),
        palette=SIGNED,
        has_atlas=any(analysis.regions is not None for analysis in analyses),
        anatomy=_anatomy(folder),
    )


def _title(analyses: Sequence[AnalysisView]) -> str:
    names = list(dict.fromkeys(analysis.title for analysis in analyses))
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return f"Group analysis: {shown}"


def _notices(analyses: Sequence[AnalysisView]) -> tuple[Mapping[str, Any], ...]:
    """Distinct notices of all analyses, warnings first."""
    keys = ("severity", "sentence", "fix")
    found = [{key: notice.get(key) for key in keys} for analysis in analyses for notice in analysis.notices]
    distinct = [notice for index, notice in enumerate(found) if notice not in found[:index]]
    return tuple(sorted(distinct, key=lambda notice: notice["severity"] != "warning"))


def _provenance(folder: Folder) -> list[tuple[str, str]]:
    command = folder.command
    found = [
        ("bids_group", command.version),
        ("Container", command.container or "none noted"),
        ("Random seed", command.random_seed),
        *(command.versions or {}).items(),
        ("Platform", command.platform),
    ]
    return [(name, str(value)) for name, value in found if value is not None]


def plain_command(words: Sequence[str]) -> str:
    """Spell the command: folders by their role, without options that cannot change a number.

    Empty where the folders do not stand before the level, so that no path is taken for something else.
    """
    plain = [str(word) for word in words]
    level = next((at for at, word in enumerate(plain) if at > 2 and word in _LEVELS), None)
    if level is None or any(word.startswith("-") for word in plain[level - 2 : level]):
        return ""
    if _takes_value(plain[level - 3]):
        return ""
    plain[level - 2 : level] = ["BIDS_DIR", "OUTPUT_DIR"]
    return shlex.join(_without_execution(plain))


def _takes_value(word: str) -> bool:
    """Whether the next word may belong to this one."""
    is_flag = _EXECUTION_OPTIONS.get(word) == 0 or _LOUDNESS.fullmatch(word)
    return word.startswith("-") and "=" not in word and not is_flag


def _without_execution(words: Sequence[str]) -> Iterator[str]:
    """Pass on the words that are not options of execution or their values."""
    skip = 0
    for word in words:
        option = word.split("=", 1)[0].replace("_", "-")
        if skip:
            skip -= 1
        elif _LOUDNESS.fullmatch(option):
            continue
        elif option in _EXECUTION_OPTIONS:
            skip = 0 if "=" in word else _EXECUTION_OPTIONS[option]
        else:
            yield word


def _hashes(folder: Folder) -> TableView | None:
    hashes = folder.command.input_hashes
    if not hashes:
        return None
    base = (
        os.path.commonpath([Path(path).parent for path in hashes])
        if len(hashes) > 1
        else str(Path(next(iter(hashes))).parent)
    )
    rows = [(os.path.relpath(path, base), digest) for path, digest in hashes.items()]
    table = pd.DataFrame(rows, columns=["file", "sha256"])
    return view_table(
        table, name="input_hashes.tsv", caption="Files that were read, with the hash of their bytes."
    )


def _anatomy(folder: Folder) -> Mapping[str, Any] | None:
    spaces = {entities_of(Path(analysis.stem).name).get("space") for analysis in folder.analyses}
    found = [box for box in map(read_anatomy, sorted(space for space in spaces if space)) if box is not None]
    return pack_anatomy(found[0]) if found else None


def _as_uri(text: str) -> str:
    return f"data:application/x-bibtex;base64,{base64.b64encode(text.encode()).decode('ascii')}"
