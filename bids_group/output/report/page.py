"""The page: assembled from OUTPUT_DIR alone, written whole."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group.output.disk.writing import write_text
from bids_group.output.report.analysis_view import AnalysisView, view_analysis
from bids_group.output.report.canvas import read_anatomy
from bids_group.output.report.figures import FigureStore, style
from bids_group.output.report.folder import Folder, entities_of, read_folder
from bids_group.output.report.inputs import read_analysis_inputs
from bids_group.output.report.markup import fill_template
from bids_group.output.report.methods import citations, gather_facts, methods_text
from bids_group.output.report.palette import SIGNED
from bids_group.output.report.provenance import plain_command
from bids_group.output.report.references import Reference
from bids_group.output.report.tables import PageTable, page_table
from bids_group.output.report.viewer import pack_anatomy
from bids_group.output.report.volumes import set_stage


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """Everything on the page."""

    title: str
    version: str
    analyses: tuple[AnalysisView, ...]
    notices: tuple[Mapping[str, Any], ...]
    ledger: PageTable | None
    references: tuple[Reference, ...]
    bibtex: str
    provenance: tuple[tuple[str, str], ...]
    command: str
    hashes: PageTable | None
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
    with style():
        figures = FigureStore(root=output_dir)
        views = tuple(
            view_analysis(read_analysis_inputs(folder, analysis, figures)) for analysis in folder.analyses
        )
    _write_citations(output_dir, [analysis.facts for analysis in views])
    page = output_dir / "report.html"
    write_text(page, fill_template("report.html.j2", page=_view_page(folder, views)))
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
        else page_table(folder.ledger, name="ledger.tsv", caption="Every participant and map."),
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


def _hashes(folder: Folder) -> PageTable | None:
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
    return page_table(
        table, name="input_hashes.tsv", caption="Files that were read, with the hash of their bytes."
    )


def _anatomy(folder: Folder) -> Mapping[str, Any] | None:
    spaces = {entities_of(Path(analysis.stem).name).get("space") for analysis in folder.analyses}
    found = [box for box in map(read_anatomy, sorted(space for space in spaces if space)) if box is not None]
    return pack_anatomy(found[0]) if found else None


def _as_uri(text: str) -> str:
    return f"data:application/x-bibtex;base64,{base64.b64encode(text.encode()).decode('ascii')}"
