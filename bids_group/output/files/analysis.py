"""The files of one group analysis: what all its contrasts share, then those of each contrast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.errors import OutputError, UsageError
from bids_group.output.disk.writing import table_text, write_text
from bids_group.output.files.contrasts import RegionNamer, draft_contrast
from bids_group.output.files.drafts import Draft, write_drafts
from bids_group.output.files.sidecars import (
    ESTIMATOR_WORDS,
    STAT_WORDS,
    Context,
    analysis_sidecar,
    design_sidecar,
)
from bids_group.records import ContrastResult, Design, GroupAnalysis, Notice, Significance
from bids_group.records.sidecars import SphericityFacts


def write_group(
    context: Context,
    results: Sequence[ContrastResult],
    significances: Sequence[Significance],
    *,
    coverage: npt.NDArray[np.integer[Any]],
    notices: Sequence[Notice] = (),
    sphericity: SphericityFacts | None = None,
    quality: pd.DataFrame | None = None,
    peaks: Mapping[str, pd.DataFrame] | None = None,
    regions: pd.DataFrame | None = None,
    maps: Mapping[str, npt.NDArray[np.float32]] | None = None,
    atlas: RegionNamer | None = None,
) -> None:
    """Write every file of one group analysis under ``group/``.

    ``coverage``: number of rows observed at each element of the space, of its shape. ``quality``
    (index = labels) and ``regions`` (mean effects, labels in a column) have a row for each observation,
    ``peaks`` holds by group contrast the values of each observation at peaks. ``maps``: those of the
    estimator that belong to no contrast, by the end of their names. ``atlas`` names clusters and peaks.
    """
    drafts = [*_draft_shared(context, coverage, notices, sphericity)]
    for ending, row in (maps or {}).items():
        drafts.append(
            Draft(
                path=context.name_map(f"{ending}_statmap"),
                content=partial(context.data.elements.unpack, row),
                sidecar=analysis_sidecar(context, _words_of(ending)),
                is_inside=True,
            )
        )
    for ending, table, words in (
        ("desc-quality_table", quality, "Quality of the map of each row"),
        ("desc-regions_effects", regions, "Mean effect of each row in each region of the atlas"),
    ):
        if table is not None:
            own = table.attrs.get("compared_within") or None
            content = table if "label" in table.columns else table.rename_axis("label").reset_index()
            sidecar = analysis_sidecar(context, words).but(outliers_within=own)
            drafts.append(Draft(path=f"{context.stem()}_{ending}.tsv", content=content, sidecar=sidecar))
    for result in results:
        name = result.contrast.name
        own = [one for one in significances if one.contrast == name]
        drafts += draft_contrast(context, result, own, atlas, (peaks or {}).get(name))
    write_drafts(context, drafts)


def _words_of(ending: str) -> str:
    """Say what a map of the estimator is: ``stat-variance_desc-subjectIntercept``."""
    stat, _, desc = ending.removeprefix("stat-").partition("_desc-")
    what = f" ({'rows of one ' if stat == 'icc' else ''}{desc})" if desc else ""
    return f"{ESTIMATOR_WORDS[stat]}{what}"


def _draft_shared(
    context: Context,
    coverage: npt.NDArray[np.integer[Any]],
    notices: Sequence[Notice],
    sphericity: SphericityFacts | None,
) -> Iterator[Draft]:
    elements, stem, matrix = context.data.elements, context.stem(), context.data.design.matrix
    yield Draft(
        path=f"{stem}_design.tsv",
        content=matrix.rename_axis("label").reset_index(),
        sidecar=design_sidecar(context, notices, sphericity),
        is_described=False,
    )
    words = "Analysed elements: observed in enough rows and inside the mask that was given"
    yield Draft(
        path=context.name_map("desc-analysis_mask"),
        content=lambda: elements.mask.astype(np.uint8),
        sidecar=analysis_sidecar(context, words).but(type="Brain", number_of_elements=elements.n_elements),
    )
    yield Draft(
        path=context.name_map("stat-n_statmap"),
        content=lambda: np.where(elements.mask, coverage, 0).astype(np.float32),
        sidecar=analysis_sidecar(context, STAT_WORDS["n"]),
    )
    words = "Number of rows observed at each element, also outside the analysis mask"
    yield Draft(
        path=context.name_map("desc-coverage_map"),
        content=lambda: np.asarray(coverage, dtype=np.float32),
        sidecar=analysis_sidecar(context, words),
    )


def print_design(
    path: Path, planned: Sequence[tuple[GroupAnalysis, Design]], *, is_overwrite: bool = False
) -> None:
    """Write labels and columns of the one design of these analyses, with every digit.

    What is there and holds something else is replaced with ``is_overwrite`` only.
    """
    texts = []
    for analysis, design in planned:
        rows = analysis.observations
        if any(one.is_one_of_several for one in rows):
            raise UsageError(
                "A design with rows of several first-level contrasts cannot be printed for --design-matrix.",
                expected="a row per person, or per person and session",
                fix="The design stands in the output of --dry-run --output-format json.",
            )
        table = design.matrix.rename(columns=lambda name: name.replace("`", ""))
        if any(one.session for one in rows):
            table.insert(0, "session_id", [f"ses-{one.session}" for one in rows], allow_duplicates=True)
        table.insert(0, "participant_id", [f"sub-{one.subject}" for one in rows], allow_duplicates=True)
        texts.append(table_text(table))
    if len(set(texts)) > 1:
        raise UsageError(
            f"The designs of this run differ, so that {path.name} cannot hold them.",
            found="; ".join(f"{one.first_level_contrast}: {len(one.rows)} rows" for one, _ in planned),
            expected="one design",
            fix="Choose one analysis, for example with --first-level-contrast.",
        )
    if path.exists() and not is_overwrite and (not path.is_file() or path.read_bytes() != texts[0].encode()):
        raise OutputError(
            f"The file {path} is there already.",
            expected="a new name for the design",
            fix="Give --print-design another name, remove the file, or say --overwrite.",
        )
    write_text(path, texts[0])
