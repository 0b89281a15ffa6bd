"""Folders without maps of effects: which option finds the maps of SPM, FSL, AFNI or another suffix there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bids_group.bids.patterns import KEYS
from bids_group.elements import read_labels
from bids_group.errors import BidsGroupError
from bids_group.words import closest, list_some

_MOST_NAMES = 50_000
_DEEPEST = 8
_KINDS = {
    "FSL's .gfeat": re.compile(
        r"(?P<start>.*\.gfeat/cope)\d+(?P<end>\.feat/stats/cope1\.(?:nii|img)(?:\.gz)?)"
    ),
    "FSL's reg_standard": re.compile(
        r"(?P<start>.*\.feat/reg_standard/stats/cope)\d+(?P<end>\.(?:nii|img)(?:\.gz)?)"
    ),
    "FSL's .feat": re.compile(
        r"(?P<start>(?!.*\.gfeat/).*\.feat/stats/cope)\d+(?P<end>\.(?:nii|img)(?:\.gz)?)"
    ),
    "SPM's con_*": re.compile(r"(?P<start>(?:.*/)?con_)\d{4}(?P<end>\.(?:nii|img)(?:\.gz)?)"),
    "AFNI's +tlrc": re.compile(r"(?P<start>.*\+(?:tlrc|orig|acpc)\.HEAD)(?P<end>)"),
}
_OF_PERSON = re.compile(r"sub-(?P<person>[^_]+)_(?:.*_)?(?P<suffix>[A-Za-z0-9]+)\.(?P<end>.+)")
_NO_MAPS = re.compile(
    r"T1w|T2\w*|PD\w*|FLA\w+|inplane\w+|angio|defacemask|UNIT1|MP2RAGE|\w*bold\w*|cbv|sbref|phase\w*|pet|"
    r"magnitude\w*|fieldmap|epi|dwi|dwiref|asl|m0scan|mask|dseg|timeseries"
)
"""Suffixes of raw images, series, masks and labels: nothing to be averaged over people."""

_ENDINGS = ("nii", "nii.gz", "gii", "shape.gii", "func.gii", "dscalar.nii", "pscalar.nii")


def propose_option(roots: Iterable[Path], suffix: str) -> str | None:
    """Say which ``--maps`` or ``--input-suffix`` finds maps below folders that have none of ``suffix``.

    None where there are none of SPM, FSL, AFNI, and none of people by their BIDS names.
    """
    listed = {root: list(_list_below(root)) for root in roots}
    for root, names in listed.items():
        for kind, form in _KINDS.items():
            fitting = [one for one in names if form.fullmatch(one)]
            pattern = _generalise(root, fitting, form) if fitting else None
            if pattern is not None:
                shown = root.absolute()
                shown = shown.relative_to(Path.cwd()) if shown.is_relative_to(Path.cwd()) else shown
                return f'{kind} maps are there: --maps "{shown / pattern}"'
    return _propose_suffix([Path(name).name for names in listed.values() for name in names], suffix)


def _propose_suffix(names: Iterable[str], suffix: str) -> str | None:
    """Say which ``--input-suffix`` finds maps of people; what most people have, first."""
    people: dict[str, set[str]] = {}
    named = (found for found in map(_OF_PERSON.fullmatch, names) if found and found["end"] in _ENDINGS)
    for found in named:
        if found["suffix"] != suffix and not _NO_MAPS.fullmatch(found["suffix"]):
            people.setdefault(found["suffix"], set()).add(found["person"])
    there = sorted(people, key=lambda one: (-len(people[one]), one))
    if not there:
        return None
    meant = closest(suffix, there) or there[0]
    said = f"Maps of {list_some(there, 6)} are there: "
    return said + f"{'' if len(there) == 1 else 'choose one, such as '}--input-suffix {meant}"


def _list_below(root: Path) -> Iterator[str]:
    """List files below a folder, by name, up to a depth and a number."""
    n = 0
    for folder, inner, names in os.walk(root, followlinks=True):
        below = os.path.relpath(folder, root)
        inner[:] = (
            sorted(one for one in inner if not one.startswith(".")) if below.count("/") < _DEEPEST else []
        )
        n += 1
        for name in sorted(names):
            n += 1
            yield name if below == "." else f"{below}/{name}"
        if n > _MOST_NAMES:
            return


def _generalise(root: Path, names: Sequence[str], form: re.Pattern[str]) -> str | None:
    """Write placeholders into a path: for the labels of BIDS keys, or else the folder that differs."""
    found = form.fullmatch(names[0])
    assert found is not None
    start, end = found["start"], found["end"]
    placed = "{contrast}" if not start.endswith(".HEAD") else ""
    if not placed:
        try:
            labels = read_labels(root / names[0])
        except BidsGroupError:
            return None
        coefficient = next((one for one in labels if re.search(r"#\d+_Coef$", one)), None)
        if coefficient is None:
            return None
        end = f"[{{contrast}}{re.sub(r'.*?(#[0-9]+_Coef)$', lambda m: m[1], coefficient)}]"
    for name, key in KEYS.items():
        if key is not None:
            start = re.sub(rf"(?<![A-Za-z0-9]){key}-[A-Za-z0-9]+", f"{key}-{{{name}}}", start)
    if "{subject}" not in start:
        start = _place_subject(start, names)
    return f"{start}{placed}{end}" if "{subject}" in start else None


def _place_subject(start: str, names: Sequence[str]) -> str:
    """Write ``{subject}`` for the folder with the most names; other folders that differ become ``*``."""
    rows = [one.split("/")[:-1] for one in names]
    rows = [row for row in rows if len(row) == len(rows[0])]
    if not rows[0]:
        return start
    counts = [len({*parts}) for parts in zip(*rows, strict=True)]
    at = counts.index(max(counts))
    parts = start.split("/")
    for place, n in enumerate(counts):
        if n > 1 and place != at and "{" not in parts[place]:
            parts[place] = "*"
    label = re.sub(r"\.g?feat$", "", rows[0][at])
    word = rf"(?<![A-Za-z0-9]){re.escape(label)}(?![A-Za-z0-9])"
    return "/".join(re.sub(word, "{subject}", part) if part != "*" else part for part in parts)
