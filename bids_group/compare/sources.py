"""Two finished OUTPUT_DIRs as the sides of a comparison, and which contrast is compared with which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bids_group.errors import DataError, MissingInputError, SelectionError, UsageError
from bids_group.json_files import read_json
from bids_group.output.files.names import list_maps
from bids_group.output.report.folder import AnalysisFiles, ContrastFiles, Folder, entities_of, read_folder
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

    @property
    def listed(self) -> str:
        """The keys of its contrasts."""
        return list_some((one.key for one in self.tested), len(self.tested))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """Two contrasts laid side by side; ``label`` is that of file names, ``A=B`` where they were paired."""

    label: str
    sides: tuple[Tested, Tested]

    @property
    def stem(self) -> str:
        """Beginning of the names of figures."""
        return "contrast-" + self.label.replace("=", "_with-")


def read_source(side: Side, path: Path) -> Source:
    """Read what a finished group run left in a folder; refuse any other folder, and unfinished runs."""

    def refusal(sentence: str, found: str, fix: str) -> MissingInputError:
        expected = "the OUTPUT_DIR of a finished group run"
        return MissingInputError(f"{sentence}: {path}.", found=found, expected=expected, fix=fix)

    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise refusal(f"OUT_{side} is not a folder", found, "Correct the path.")
    identity = path / "code" / "analysis.json"
    if not identity.is_file() or not any((path / "group").rglob("*_design.tsv")):
        raise refusal(
            f"OUT_{side} holds no group analysis of bids-group",
            f"{'no' if identity.is_file() else 'neither code/analysis.json nor a'} design under group/",
            "Name the OUTPUT_DIR that was given to 'bids-group BIDS_DIR OUTPUT_DIR group'.",
        )
    if unfinished := _find_unfinished(path):
        again = "Run the same bids-group command again: it goes on from what is there."
        raise refusal(f"The analysis in OUT_{side} is not finished", unfinished, again)
    folder = read_folder(path)
    tested = _key_contrasts(path, folder)
    return Source(side=side, path=path, folder=folder, identity=read_json(identity), tested=tested)


def find_map(root: Path, stem: str, ending: str) -> Path | None:
    """Find a map by what its name begins and ends with (``stat-t_statmap``), of whichever kind it is."""
    start = root / stem
    return next((path for rest, path in list_maps(start.parent, start.name) if rest == ending), None)


def _find_unfinished(path: Path) -> str | None:
    """Say what shows that a run did not come to its end; None for a finished one."""
    lists = read_json(path / "code" / "outputs.json", is_optional=True)
    listed = [*lists.get("Files", []), *lists.get("Planned", [])]
    planned = [name for name in listed if not name.startswith("group/figures/")]
    lacking = [name for name in planned if name != "report.html" and not (path / name).exists()]
    if lacking:
        return f"no {lacking[0]}{and_more(len(lacking) - 1, 'files')}"
    is_open = lists.get("Earlier") or not (path / "code" / "command.json").is_file()
    return "a run that wrote files and did not come to its end" if is_open else None


def _key_contrasts(root: Path, folder: Folder) -> tuple[Tested, ...]:
    """Name each contrast by its label; where several have it, by what tells their files apart, too."""
    paths = [Path(contrast.stem).relative_to("group") for _, contrast in folder.contrasts]
    words = [
        [word for word in (*path.parts[:-1], *path.name.split("_")) if not word.startswith("contrast-")]
        for path in paths
    ]
    labels = Counter(contrast.label for _, contrast in folder.contrasts)
    common = set(words[0]).intersection(*words) if words else set()
    found = []
    for own, (analysis, contrast) in zip(words, folder.contrasts, strict=True):
        apart = [word for word in own if word not in common] if labels[contrast.label] > 1 else []
        key = "_".join([*apart, contrast.label])
        found.append(Tested(key=key, root=root, analysis=analysis, contrast=contrast))
    return tuple(found)


def match_contrasts(a: Source, b: Source, pairs: Sequence[str]) -> tuple[Pair, ...]:
    """Match by the labels of file names, or as ``pairs`` (``CONTRAST_A=CONTRAST_B``) say.

    Refused are maps of different spaces, and outputs without any contrast in common.
    """
    spaces = [sorted({one.space or "none named" for one in side.tested}) for side in (a, b)]
    if not set(spaces[0]) & set(spaces[1]):
        raise DataError(
            "The two outputs lie in different spaces; their maps cannot be compared element by element.",
            found=f"OUT_A: {', '.join(spaces[0])}; OUT_B: {', '.join(spaces[1])}",
            expected="maps of one space",
            fix="Run one of the analyses again on maps of the other's space (--space).",
        )
    if pairs:
        return tuple(_read_pair(text, a, b) for text in dict.fromkeys(pairs))
    others = {one.key: one for one in b.tested}
    matched = tuple(
        Pair(label=one.key, sides=(one, others[one.key])) for one in a.tested if one.key in others
    )
    if not matched:
        raise SelectionError(
            "The two outputs have no contrast in common.",
            found=f"OUT_A has {a.listed}; OUT_B has {b.listed}",
            expected="contrasts of the same label in file names",
            fix=f"Say what belongs together: --pairs {a.tested[0].key}={b.tested[0].key}",
        )
    return matched


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
    return Pair(label=f"{one.key}={other.key}", sides=(one, other))


def _find(name: str, source: Source) -> Tested:
    """Find a contrast by its label in file names, else by the name that its user gave it."""
    by_key = [one for one in source.tested if one.key == name]
    found = by_key or [one for one in source.tested if one.contrast.name == name]
    if len(found) != 1:
        out = f"OUT_{source.side}"
        raise SelectionError(
            f"Several contrasts of {out} are called {name!r}."
            if found
            else f"{out} has no contrast {name!r}.",
            found=source.listed,
            expected="a label as in file names",
            fix=suggest(name, [one.key for one in source.tested], mark=""),
        )
    return found[0]
