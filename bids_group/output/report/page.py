"""The page: a list of sections, made from OUTPUT_DIR alone and written whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_group.executor import ONE_THREAD, Executor
from bids_group.output.disk.writing import write_text
from bids_group.output.report.brains import SIGNED
from bids_group.output.report.canvas import pack_anatomy, read_anatomy
from bids_group.output.report.design import design
from bids_group.output.report.folder import ContrastFiles, Folder, entities_of, read_folder
from bids_group.output.report.inputs import AnalysisInputs, read_analysis_inputs, read_contrast_inputs
from bids_group.output.report.markup import fill_template
from bids_group.output.report.methods import methods, write_references
from bids_group.output.report.participants import participants
from bids_group.output.report.provenance import plain_command, provenance
from bids_group.output.report.quality import quality
from bids_group.output.report.results import draw_contrast, results
from bids_group.output.report.sections import Article, FigureStore, Part, Report, Section


def glance(report: Report) -> Section:
    """Say in one glance what was asked, what each correction answers, and what to know, warnings first."""
    questions = []
    for facts in (one.facts for one in report.analyses):
        rows = f" ({facts['n_rows']} rows)" if facts["n_rows"] != facts["n_people"] else ""
        about = f"{facts['title']} in {facts['n_people']} participants{rows}, model {facts['formula']}."
        questions.append(Part("question", f"{about} Asked: {'; '.join(facts['contrasts'])}."))
    told = [dict(notice) for one in report.analyses for notice in one.files.info.notices or []]
    found = [{key: notice.get(key) for key in ("severity", "sentence", "fix")} for notice in told]
    distinct = [notice for index, notice in enumerate(found) if notice not in found[:index]]
    notices = Part("notices", sorted(distinct, key=lambda notice: notice["severity"] != "warning"))
    return Section("glance", "In one glance", [*questions, Part("cards", report.articles), notices])


SECTIONS: tuple[Callable[[Report], Section], ...] = (
    glance,
    participants,
    quality,
    design,
    results,
    methods,
    provenance,
)
"""The sections of the page, in order."""

_ARTICLE_BYTES, _PROGRAM_BYTES = 80_000_000, 300_000_000
"""Memory that a contrast takes while it is drawn (at 1 mm), and that of everything else."""


def build_report(
    output_dir: Path, cut_mm: Sequence[float] | None = None, executor: Executor = ONE_THREAD
) -> Path:
    """Draw the figures, write ``report.html`` and the list of references, from OUTPUT_DIR alone.

    Nothing that differs between two runs of one analysis is on the page: equal outputs give equal bytes.

    Parameters
    ----------
    cut_mm
        A point that slices go through; None: the one that the run asked for, else the strongest evidence.
    executor
        Draws contrasts, and reads maps of people, side by side.

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
    page = output_dir / "report.html"
    store, is_one_of_many = FigureStore(root=output_dir), len(folder.analyses) > 1
    inputs = [read_analysis_inputs(folder, analysis, store, executor) for analysis in folder.analyses]

    def draw(pair: tuple[AnalysisInputs, ContrastFiles]) -> Article:
        return draw_contrast(read_contrast_inputs(*pair), is_one_of_many=is_one_of_many)

    pairs = [(one, contrast) for one in inputs for contrast in one.files.contrasts]
    articles = list(executor.map(draw, pairs, item_bytes=_ARTICLE_BYTES, held_bytes=_PROGRAM_BYTES))
    report = Report(folder=folder, analyses=inputs, articles=articles)
    sections = [make(report) for make in SECTIONS]
    store.write()
    write_references(output_dir, [one.facts for one in inputs])
    text = fill_template(
        "report.html.j2",
        title=_title(folder),
        about=_describe(report),
        command=plain_command(folder.command.command or []),
        version=str(inputs[0].facts["version"] or ""),
        sections=sections,
        articles=articles,
        palette=SIGNED,
        anatomy=_anatomy(folder),
        elements=_name_elements(inputs),
        meshes={one.cortex.id: one.cortex.pack() for one in inputs if one.cortex is not None},
    )
    write_text(page, text)
    return page


def _name_elements(inputs: Sequence[AnalysisInputs]) -> str:
    """Say what maps are made of; where analyses differ in this: elements."""
    words = {one.elements_word for one in inputs}
    return words.pop() if len(words) == 1 else "elements"


def _title(folder: Folder) -> str:
    names = list(dict.fromkeys(analysis.title for analysis in folder.analyses))
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return f"Group analysis: {shown}"


def _describe(report: Report) -> Mapping[str, str]:
    """Say whose data this is, how many people, and which programs made it; what is not noted is left out."""
    record, ledger = report.folder.command, report.folder.ledger
    counts = sorted({one.facts["n_people"] for one in report.analyses})
    people = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    estimators = dict.fromkeys(one.facts["estimator"] for one in report.analyses if one.facts["estimator"])
    found = {
        "Dataset": record.dataset,
        "Participants": people + (f" of {ledger['participant_id'].nunique()}" if ledger is not None else ""),
        "First level": ", ".join(record.first_level_programs or []) or "program not noted",
        "Group level": f"bids_group {report.analyses[0].facts['version'] or ''}; {', '.join(estimators)}",
    }
    return {name: value for name, value in found.items() if value}


def _anatomy(folder: Folder) -> Mapping[str, Any] | None:
    """Pack the first anatomy that any analysis is drawn on."""
    spaces = {entities_of(Path(analysis.stem).name).get("space") for analysis in folder.analyses}
    found = (read_anatomy(space) for space in sorted(space for space in spaces if space))
    return next((pack_anatomy(box) for box in found if box is not None), None)
