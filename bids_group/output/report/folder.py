"""OUTPUT_DIR read back: which analyses it holds, and the files of each contrast."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_numeric_dtype

from bids_group.config.corrections import in_order
from bids_group.elements import LoadedMap, expand, read_map
from bids_group.errors import DataError, MissingInputError
from bids_group.input_files import read_file
from bids_group.json_files import read_json
from bids_group.labels import natural_order
from bids_group.output.disk.manifest import own_files
from bids_group.output.files.names import list_maps, sidecar_path
from bids_group.records.sidecars import ContrastEntry, JsonRecord, RunRecord, Sidecar

UNCORRECTED = "permutation"
"""``desc`` of a p map that is by shuffling, but no correction."""

DERIVED = ("log10p", "tdp")
"""Maps that say what others say too."""

_Record = TypeVar("_Record", bound=JsonRecord)
_ENTITY = re.compile(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9+]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastFiles:
    """Files of one group contrast; ``stem`` is their common beginning, relative to OUTPUT_DIR.

    ``name`` is the contrast as the user wrote it, else its ``label`` in file names; ``words`` say what is
    tested, ``expression`` is what was typed; ``test``: ``t`` or ``F``; ``sidecar`` is that of the statistic.

    Keys of ``maps``: ``effect``, ``t`` …, `UNCORRECTED`; of ``corrected`` (p), ``labels`` (clusters in the
    brain), ``clusters`` and ``nulls``: the correction as in file names (``fdr``, ``fweVoxel`` …).
    """

    label: str
    stem: str
    name: str
    words: str
    expression: str
    weights: Sequence[Any]
    test: str
    sidecar: Sidecar
    maps: Mapping[str, Path]
    corrected: Mapping[str, Path]
    labels: Mapping[str, Path]
    clusters: Mapping[str, Path]
    nulls: Mapping[str, Path]
    peaks: Path | None

    @property
    def is_one_sided(self) -> bool:
        """Whether only positive values of t are evidence."""
        return self.test == "t" and self.sidecar.two_sided is False

    @property
    def corrections(self) -> tuple[str, ...]:
        """Corrections that left a map or a cluster table, the strictest first."""
        return in_order({*self.corrected, *self.clusters}, is_strictest_first=True)

    @property
    def outlined(self) -> str | None:
        """The correction whose result is outlined on the pictures: the strictest with a map."""
        return next((name for name in self.corrections if name in self.corrected), None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnalysisFiles:
    """One group model: its design and its contrasts; rows of ``matrix`` are observations."""

    stem: str
    matrix: pd.DataFrame
    info: Sidecar
    mask: Path | None
    coverage: Path | None
    quality: Path | None
    contrasts: tuple[ContrastFiles, ...]

    @property
    def variables(self) -> pd.DataFrame:
        """Raw values of the covariates by row: float64, or categories in the order of their levels."""
        frame = pd.DataFrame(self.info.variables or {}, index=self.matrix.index)
        kinds = self.info.variable_kinds or {}
        for name in frame.columns[[not is_numeric_dtype(kind) for kind in frame.dtypes]]:
            texts = frame[name].astype(str)
            known = [str(level) for level in kinds[name].levels or []] if name in kinds else []
            levels = known if set(texts) <= set(known) else natural_order(set(texts))
            frame[name] = pd.Categorical(texts, categories=levels)
        return frame

    @property
    def people_of_rows(self) -> pd.Series[str]:
        """Whose row each is (``sub-01``), by label of the row, as the design's sidecar says."""
        told = {row.label: row.participant_id for row in self.info.observations or []}
        people = self.matrix.index.to_series().map(told)
        if people.isna().any():
            raise DataError(
                f"The sidecar of {self.stem}_design.tsv does not say whose rows these are.",
                found=", ".join(map(str, people.index[people.isna()][:5])),
                expected="an entry of Observations with label and participant_id for each row",
                fix="Run the group level again.",
            )
        return people

    @property
    def people(self) -> list[str]:
        """Everybody in the analysis (``sub-01``), in the order of the rows."""
        return list(self.people_of_rows.unique())

    @property
    def first_level_contrasts(self) -> list[str]:
        """First-level contrasts of the maps that the rows stand on."""
        return self.info.first_level_contrasts or [str(self.info.first_level_contrast)]

    @property
    def title(self) -> str:
        """The first-level contrast, with the levels and the node that this analysis is about."""
        levels = ", ".join(f"{name} {level}" for name, level in (self.info.group_by or {}).items())
        parts = (self.info.first_level_contrast or Path(self.stem).name, levels, self.info.node)
        return ", ".join(str(part) for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Folder:
    """Everything the report stands on."""

    root: Path
    analyses: tuple[AnalysisFiles, ...]
    ledger: pd.DataFrame | None
    command: RunRecord
    model: Mapping[str, Any]
    description: Mapping[str, Any]

    @property
    def contrasts(self) -> list[tuple[AnalysisFiles, ContrastFiles]]:
        """Every contrast with its analysis, in the order of the page."""
        return [(analysis, contrast) for analysis in self.analyses for contrast in analysis.contrasts]


def read_folder(root: Path) -> Folder:
    """Find the analyses in OUTPUT_DIR.

    Raises
    ------
    MissingInputError
        There is no group analysis in it.
    """
    designs = sorted((root / "group").rglob("*_design.tsv"))
    if not designs:
        raise MissingInputError(
            f"There is no group analysis to report in {root}.",
            found="no group/*_design.tsv",
            expected="the outputs of a finished group run",
            fix="Run the group level first, without --reports-only.",
        )
    ledger, there = root / "ledger.tsv", sorted((root / "code").glob("model-*_smdl.json"))
    own = [path for path in there if path.relative_to(root) in own_files(root)]  # not another program's
    return Folder(
        root=root,
        analyses=tuple(_read_analysis(root, path) for path in designs),
        ledger=_read_ledger(ledger) if ledger.is_file() else None,
        command=_read_record(RunRecord, root / "code" / "command.json"),
        model=next(map(read_json, own or there), {}),
        description=read_json(root / "dataset_description.json", is_optional=True),
    )


def read_table(path: Path) -> pd.DataFrame:
    """Read a BIDS TSV as text; ``n/a`` is the only code for missing (NaN)."""
    try:
        content = io.BytesIO(read_file(path))
        return pd.read_csv(content, sep="\t", dtype=str, na_values=["n/a"], keep_default_na=False)
    except ValueError as error:
        raise DataError(f"The table {path} cannot be read.", found=str(error)) from error


def _read_ledger(path: Path) -> pd.DataFrame:
    table = read_table(path)
    lacking = {"participant_id", "contrast", "file", "used", "reason"} - set(table.columns)
    if lacking:
        raise DataError(f"The ledger {path} has no column {min(lacking)}.", fix="Run the group level again.")
    return table


def read_numbers(path: Path, text_columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a BIDS TSV and turn each column into numbers or booleans where all its values are such."""
    table = read_table(path)
    for name in table.columns.difference(list(text_columns)):
        values = table[name]
        present = [value for value in values if value == value]
        if present and {"true", "false"}.issuperset(present):
            table[name] = values == "true"
        elif (numbers := pd.to_numeric(values, errors="coerce")).notna().sum() == len(present):
            table[name] = numbers
    return table


def sidecar_of(path: Path) -> Sidecar:
    """Return what stands beside a map or table; empty where there is nothing."""
    return _read_record(Sidecar, expand(sidecar_path(path))[0])


def _read_record(kind: type[_Record], path: Path) -> _Record:
    content = read_json(path, is_optional=True)
    try:
        return kind.read(content)
    except ValueError as error:
        raise DataError(
            f"The file {path} is damaged.",
            found=str(error),
            expected="what this program wrote there",
            fix="Run the group level again.",
        ) from error


def alpha_of(sidecar: Sidecar) -> float:
    """Significance level noted in a sidecar; 0.05 where none is noted."""
    return float(sidecar.alpha or 0.05)


def entities_of(name: str) -> dict[str, str]:
    """Entities in a file name, in order."""
    return dict(_ENTITY.findall(name))


def _read_analysis(root: Path, path: Path) -> AnalysisFiles:
    stem, table, info = path.name.removesuffix("_design.tsv"), read_table(path), sidecar_of(path)
    start = re.sub(r"contrast-[a-zA-Z0-9+]+$", "", stem)  # nothing, where the maps have no other entity
    contrasts = [_read_contrast(root, path.parent, start, entry) for entry in info.contrasts or []]

    there = dict(list_maps(path.parent, stem))

    def first(*endings: str) -> Path | None:
        return next((there[one] for one in endings if one in there), None)

    return AnalysisFiles(
        stem=str(path.with_name(stem).relative_to(root)),
        matrix=table.set_index(table.columns[0]).astype(float),
        info=info,
        mask=first("desc-analysis_mask"),
        coverage=first("desc-coverage_map", "stat-n_statmap"),
        quality=first("desc-quality_table.tsv"),
        contrasts=tuple(contrast for contrast in contrasts if contrast is not None),
    )


def _read_contrast(root: Path, folder: Path, start: str, entry: ContrastEntry) -> ContrastFiles | None:
    """Gather the files of a contrast of the design's sidecar; None where it left no statistic (``pass``)."""
    label, found = str(entry.file_label), defaultdict[str, dict[str, Path]](dict)
    stem = folder / f"{start}contrast-{label}"
    for name, path in list_maps(folder, stem.name):
        entities, kind = entities_of(path.name), name.rsplit("_", 1)[-1]
        stat, desc = entities.get("stat", ""), entities.get("desc", "")
        if stat == "p" and desc not in ("", UNCORRECTED):
            kind = f"corrected {kind}"
        if stat not in DERIVED:
            found[kind][desc or stat] = path
    maps = found["statmap"]
    if not maps.keys() & {"t", "F"}:
        return None
    test = "F" if "F" in maps else "t"
    return ContrastFiles(
        label=label,
        stem=str(stem.relative_to(root)),
        name=entry.name or label,
        words=entry.words or entry.name or label,
        expression=entry.expression or "",
        weights=entry.weights or [],
        test=test,
        sidecar=sidecar_of(maps.get("t") or maps["F"]),
        maps=maps,
        corrected=found["corrected statmap"],
        labels=found["dseg"],
        clusters=found["clusters.tsv"],
        nulls=found["null.tsv"],
        peaks=found["data.tsv"].get("peaks"),
    )


def weights_of(contrast: ContrastFiles, n_columns: int) -> npt.NDArray[np.float64] | None:
    """Weights of shape ``(q, n_regressors)``; None where absent or of another shape."""
    weights = np.atleast_2d(np.asarray(contrast.weights, dtype=float))
    return weights if weights.shape[1] == n_columns else None


def read_analysis_mask(analysis: AnalysisFiles) -> LoadedMap:
    """Read the analysis mask; raises DataError where it is not there."""
    if analysis.mask is None:
        raise DataError(
            f"The analysis {analysis.stem} has no analysis mask, so its maps cannot be shown.",
            expected=f"{analysis.stem}_desc-analysis_mask",
            fix="Run the group level again.",
        )
    return read_map(analysis.mask)
