"""A finished OUTPUT_DIR as one side of a comparison, and its contrasts by the names that pairs use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bids_group.errors import MissingInputError
from bids_group.output.report.folder import (
    AnalysisFiles,
    ContrastFiles,
    Folder,
    entities_of,
    read_folder,
    read_json,
)
from bids_group.words import and_more

Side = Literal["A", "B"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tested:
    """A contrast of one side, with the analysis it belongs to; ``key`` is unique in its folder."""

    key: str
    root: Path
    analysis: AnalysisFiles
    contrast: ContrastFiles

    @property
    def width_mm(self) -> float:
        """Full width at half maximum that the maps were smoothed with."""
        smoothing = self.analysis.info.smoothing
        return float(smoothing.full_width_at_half_maximum) if smoothing else 0.0

    @property
    def space(self) -> str | None:
        """Space in the file names; None where they carry none."""
        return entities_of(Path(self.contrast.stem).name).get("space")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """One of the two outputs; ``identity`` is the resolved model with its settings."""

    side: Side
    path: Path
    folder: Folder
    identity: Mapping[str, Any]
    tested: tuple[Tested, ...]


def read_source(side: Side, path: Path) -> Source:
    """Read what a finished group run left in a folder.

    Raises
    ------
    MissingInputError
        There is no such folder, it is not an output of this app, or its run is not finished.
    """
    if not path.is_dir():
        raise MissingInputError(
            f"OUT_{side} is not a folder: {path}.",
            found="a file" if path.exists() else "nothing",
            expected="the OUTPUT_DIR of a finished group run",
            fix="Correct the path.",
        )
    identity = path / "code" / "analysis.json"
    if not identity.is_file() or not any((path / "group").rglob("*_design.tsv")):
        raise MissingInputError(
            f"OUT_{side} holds no group analysis of bids-group: {path}.",
            found="neither code/analysis.json nor a design under group/"
            if not identity.is_file()
            else "no design under group/",
            expected="the OUTPUT_DIR of a finished group run",
            fix="Name the OUTPUT_DIR that was given to 'bids-group BIDS_DIR OUTPUT_DIR group'.",
        )
    _check_finished(side, path)
    folder = read_folder(path)
    return Source(
        side=side, path=path, folder=folder, identity=read_json(identity), tested=_tested(path, folder)
    )


def _check_finished(side: Side, path: Path) -> None:
    manifest = path / "code" / "outputs.json"
    lists = read_json(manifest) if manifest.is_file() else {}
    planned = [name for name in lists.get("Files", []) if not name.startswith("group/figures/")]
    lacking = [name for name in planned if name != "report.html" and not (path / name).exists()]
    if lacking:
        found = f"no {lacking[0]}{and_more(len(lacking) - 1, 'files')}"
    elif lists.get("Earlier") or not (path / "code" / "command.json").is_file():
        found = "a run that wrote files and did not come to its end"
    else:
        return
    raise MissingInputError(
        f"The analysis in OUT_{side} is not finished: {path}.",
        found=found,
        expected="the OUTPUT_DIR of a finished group run",
        fix="Run the same bids-group command again: it goes on from what is there.",
    )


def _tested(root: Path, folder: Folder) -> tuple[Tested, ...]:
    words = [_words(contrast.stem) for _, contrast in folder.contrasts]
    labels = Counter(contrast.label for _, contrast in folder.contrasts)
    common = set(words[0]).intersection(*words) if words else set()
    return tuple(
        Tested(
            key=contrast.label
            if labels[contrast.label] == 1
            else "_".join([*(word for word in own if word not in common), contrast.label]),
            root=root,
            analysis=analysis,
            contrast=contrast,
        )
        for own, (analysis, contrast) in zip(words, folder.contrasts, strict=True)
    )


def _words(stem: str) -> list[str]:
    """Folder and entities of a name but its contrast: what tells contrasts of one label apart."""
    path = Path(stem).relative_to("group")
    return [word for word in (*path.parts[:-1], *path.name.split("_")) if not word.startswith("contrast-")]
