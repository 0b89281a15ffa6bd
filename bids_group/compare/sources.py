"""Two finished OUTPUT_DIRs as the sides of a comparison, and which contrast is compared with which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bids_group.errors import DataError, MissingInputError, SelectionError, UsageError
from bids_group.json_files import read_json
from bids_group.output.report.folder import (
    AnalysisFiles,
    ContrastFiles,
    Folder,
    entities_of,
    read_folder,
)
from bids_group.words import and_more, list_some, suggest

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
    lists = read_json(manifest, is_optional=True)
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """Two contrasts laid side by side; ``label`` is that of file names, ``A=B`` where they were paired."""

    label: str
    a: Tested
    b: Tested

    @property
    def stem(self) -> str:
        """Beginning of the names of figures."""
        return "contrast-" + self.label.replace("=", "_with-")


def match_contrasts(a: Source, b: Source, pairs: Sequence[str]) -> tuple[Pair, ...]:
    """Match by the labels of file names, or as ``pairs`` (``CONTRAST_A=CONTRAST_B``) say.

    Raises
    ------
    UsageError
        A pair is not written as one.
    DataError
        The maps lie in different spaces.
    SelectionError
        No contrast is in both, or a pair names one that is not there; lists what each has.
    """
    _check_spaces(a, b)
    if pairs:
        return tuple(_read_pair(text, a, b) for text in dict.fromkeys(pairs))
    others = {one.key: one for one in b.tested}
    matched = tuple(Pair(label=one.key, a=one, b=others[one.key]) for one in a.tested if one.key in others)
    if not matched:
        raise SelectionError(
            "The two outputs have no contrast in common.",
            found=f"OUT_A has {_list(a)}; OUT_B has {_list(b)}",
            expected="contrasts of the same label in file names",
            fix=f"Say what belongs together: --pairs {a.tested[0].key}={b.tested[0].key}",
        )
    return matched


def _check_spaces(a: Source, b: Source) -> None:
    spaces = [sorted({one.space or "none named" for one in side.tested}) for side in (a, b)]
    if not set(spaces[0]) & set(spaces[1]):
        raise DataError(
            "The two outputs lie in different spaces; their maps cannot be compared element by element.",
            found=f"OUT_A: {', '.join(spaces[0])}; OUT_B: {', '.join(spaces[1])}",
            expected="maps of one space",
            fix="Run one of the analyses again on maps of the other's space (--space).",
        )


def _read_pair(text: str, a: Source, b: Source) -> Pair:
    left, equals, right = (part.strip() for part in text.partition("="))
    if not (equals and left and right) or "=" in right:
        raise UsageError(
            f"--pairs cannot read {text!r}.",
            expected="CONTRAST_A=CONTRAST_B, labels as in file names",
            fix=f"For example --pairs {a.tested[0].key}={b.tested[0].key}",
        )
    one, other = _find(left, a), _find(right, b)
    if one.space != other.space:
        raise DataError(
            f"The contrasts {one.key} and {other.key} lie in different spaces.",
            found=f"{one.space} and {other.space}",
            expected="maps of one space",
            fix="Pair contrasts of one space.",
        )
    return Pair(label=f"{one.key}={other.key}", a=one, b=other)


def _find(name: str, source: Source) -> Tested:
    """Find a contrast by its label in file names, else by the name that its user gave it."""
    found = [one for one in source.tested if one.key == name] or [
        one for one in source.tested if one.contrast.name == name
    ]
    if len(found) != 1:
        raise SelectionError(
            f"OUT_{source.side} has no contrast {name!r}."
            if not found
            else f"Several contrasts of OUT_{source.side} are called {name!r}.",
            found=_list(source),
            expected="a label as in file names",
            fix=suggest(name, [one.key for one in source.tested], mark=""),
        )
    return found[0]


def _list(source: Source) -> str:
    return list_some((one.key for one in source.tested), len(source.tested))
