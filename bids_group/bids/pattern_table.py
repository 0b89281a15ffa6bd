"""The table that a pattern of ``--maps`` stands for, and which pattern a folder of maps needs."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bids_group.bids.index import group_by
from bids_group.bids.patterns import (
    KEYS,
    LABEL,
    LABEL_MARK,
    STAR_MARK,
    Matches,
    PatternFile,
    match_pattern,
)
from bids_group.bids.selection import wanted_labels
from bids_group.bids.siblings import Siblings, find_siblings
from bids_group.config import Selection
from bids_group.elements import locate, split_volume
from bids_group.errors import DataError, UsageError
from bids_group.labels import natural_order, run_key, without_words
from bids_group.records import Notice, warn
from bids_group.words import counted, list_some, plural

LOGGER = logging.getLogger(__name__)

_ENDING = r"\.(?:(?:(?:func|shape)\.)?gii|(?:[dp](?:scalar|tseries)\.)?nii|img|hdr|tsv|csv|txt)(?:\.gz)?$"
_STAR = f"{STAR_MARK}([^{STAR_MARK}]*){STAR_MARK}"
_LABELS = ("participant_id", "session", "run", "task", "contrast")
_FILES = ("effect", "variance", "variance_scale", "dof", "mask")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A file with what belongs to it; ``number``: what its path says of the contrast."""

    file: PatternFile
    beside: Siblings
    number: str
    contrast: str = ""

    @property
    def person(self) -> str:
        """Whose map it is, as a BIDS name has it."""
        said = {key: self.file.labels.get(name) for name, key in KEYS.items() if key not in (None, "task")}
        return "_".join(f"{key}-{label}" for key, label in said.items() if label is not None)


def resolve_pattern(
    pattern: Path, bids_dir: Path, selection: Selection, folder: Path
) -> tuple[pd.DataFrame, list[Notice]]:
    """Find the maps of a pattern with what stands beside them, as the table that would list them.

    Gives its cells as text (None: n/a), by the number of their line, and what to tell of it. Paths are
    relative to ``folder``, where the table is kept. A contrast is called as SPM's header or FSL's design
    calls it, else by its label in the path.

    Raises
    ------
    UsageError
        Labels that cannot stand in names; several files for one person, session, run and contrast; a ``*``
        that stands for several contrasts.
    DataError
        One number stands for different contrasts in people who are selected.
    BidsGroupError
        As `match_pattern`.
    """
    matches = match_pattern(pattern, bids_dir)
    rests = {one.path: _without_ending(one.rest) for one in matches.files}
    stems, volumes = _stems(matches, rests), _name_volumes(matches)
    lines = [_look_beside(file, stems[file.path], volumes.get(file.path)) for file in matches.files]
    _check_twins(lines, matches)
    notices = _check_stars(lines, matches, rests)
    _check_numbers(lines, selection)
    lines, remarks_on_names = _name_contrasts(lines)
    notices += remarks_on_names
    _tell(matches, lines)
    is_effect = (selection.input_stat or "effect") == "effect"
    cells = [_write_line(one, folder, has_variance=is_effect) for one in lines]
    frame = pd.DataFrame(cells, columns=[*_LABELS, *_FILES], index=range(2, len(cells) + 2), dtype=object)
    frame = frame.loc[:, frame.notna().any()]
    if matches.people_without:
        names = list_some((f"sub-{label}" for label in natural_order(matches.people_without)), 10)
        n = len(matches.people_without)
        sentence = (
            f"{counted(n, 'person', 'people')} with a folder {plural(n, 'has', 'have')} no map of the pattern"
        )
        notices.append(warn("maps", f"{sentence}: {names}."))
    if remarks := list(dict.fromkeys(one.beside.remark for one in lines if one.beside.remark)):
        fixes = dict.fromkeys(one.beside.fix for one in lines if one.beside.fix)
        notices.append(warn("maps", f"{list_some(remarks, 3)}.", "; ".join(fixes) or None))
    return frame, notices


def _stems(matches: Matches, rests: Mapping[Path, str]) -> dict[Path, str]:
    """Give what the name of each file says of its contrast; ``rests``: its name without the ending.

    It is that without labels, else the name of a folder. What a ``*`` stands for belongs to it only where it
    is the same in all files.
    """
    stems = {path: _without_labels(rest.replace(STAR_MARK, "")) for path, rest in rests.items()}
    if len({*stems.values()}) > 1:
        stems = {path: _without_labels(re.sub(_STAR, "", rest)) for path, rest in rests.items()}
    folders = reversed(Path(matches.pattern).parts[:-1])
    unnamed = next((part for part in folders if re.fullmatch(r"[\w.+-]*\w[\w.+-]*", part)), "map")
    return {path: stem or unnamed for path, stem in stems.items()}


def _without_ending(rest: str) -> str:
    """Take the ending off the name of a file; a ``*`` may stand for a part of it."""
    length = len(re.sub(_ENDING, "", rest.replace(STAR_MARK, "")))
    kept = re.match(f"(?:{STAR_MARK}*[^{STAR_MARK}]){{{length}}}(?:{STAR_MARK}{{2}})?", rest)
    text = "" if kept is None else kept[0]
    return text + STAR_MARK * (text.count(STAR_MARK) % 2)


def _check_stars(lines: Sequence[_Line], matches: Matches, rests: Mapping[Path, str]) -> list[Notice]:
    """Refuse (or tell of) a ``*`` that may stand for contrasts where nothing else names them.

    A number behind it (``,1``) names none, but what it stands for is seldom a contrast then: that is told.
    """
    volumes = [split_volume(one.file.path.name)[1] or "" for one in lines]
    named = (
        one.beside.name or one.file.labels.get("contrast") or volume.startswith("[")
        for one, volume in zip(lines, volumes, strict=True)
    )
    if all(named) or len({_without_labels(rest.replace(STAR_MARK, "")) for rest in rests.values()}) == 1:
        return []
    texts = natural_order({text for rest in rests.values() for text in re.findall(_STAR, rest)})
    people = {one.file.labels["subject"] for one in lines}
    are_people = all(one.file.labels["subject"] in re.findall(_STAR, rests[one.file.path]) for one in lines)
    are_numbers = all(re.fullmatch(r"00\d\d", text) for text in texts) and not are_people
    fix = "If these are different contrasts, write {contrast} in place of the *."
    sentence = "The * of the pattern of --maps stands for other texts in people"
    if all(volumes) or (2 * len(texts) > len(people) and not are_numbers):
        return [warn("maps", f"{sentence}: {list_some(texts, 6)}.", fix)]
    raise UsageError(
        f"{sentence}: {matches.pattern}",
        found=f"{list_some(texts, 6)} in {counted(len(people), 'participant')}",
        expected="one contrast in everybody",
        fix=f"{fix[:-1]}; else list the maps in a table (--maps maps.tsv).",
    )


def _name_volumes(matches: Matches) -> dict[Path, str]:
    """Name the contrast of volumes chosen by a name: without labels, but as it is where all have it."""
    typed = (split_volume(Path(matches.pattern).name)[1] or "")[1:-1]
    names = {one.path: (split_volume(one.path.name)[1] or "")[1:-1] for one in matches.files}
    if len({*names.values()}) == 1 and "{" not in typed:
        return names
    for file in matches.files:
        words = [label for name, label in file.labels.items() if name != "contrast"]
        pieces = file.volume.split(STAR_MARK)  # every second stands for a *
        pieces[1::2] = [without_words(piece, words) for piece in pieces[1::2]]
        names[file.path] = _without_labels("".join(pieces)).strip()
    return names


def _look_beside(file: PatternFile, stem: str, volume_name: str | None) -> _Line:
    """Find what belongs to a file.

    ``stem``: what its name says of the contrast; ``volume_name``: what that of a volume says.
    """
    for name, key in KEYS.items():
        label = file.labels.get(name)
        if key is not None and label is not None and not re.fullmatch(LABEL, label):
            plain = re.sub(r"[^A-Za-z0-9+]", "", label) or "01"
            raise UsageError(
                f"By the pattern of --maps a {name} is '{label}', which cannot be part of a BIDS name.",
                found=str(file.path),
                expected="letters and digits",
                fix="Rename the folder or file, or list the maps in a table (--maps maps.tsv) and write "
                f"'{plain}' there and in participants.tsv.",
            )
    volume = split_volume(file.path.name)[1]
    number = file.labels.get("contrast") or (stem if volume is None else volume.strip("[],"))
    beside = find_siblings(file.path)
    if volume is not None and volume.startswith("[") and not locate(file.path).is_afni:  # a name of people's
        beside = replace(beside, name=file.labels.get("contrast") or volume_name or stem)
    return _Line(file=file, beside=beside, number=number)


def _without_labels(rest: str) -> str:
    """Take the places of labels, and the letters before them that only say so, out of the name of a file."""
    keys = "|".join(key for key in KEYS.values() if key is not None)
    said = rf"(?<![A-Za-z0-9])(?:(?:{keys})-|[A-Za-z]{{1,2}}|subj?|ses|run|subject|session|participant)"
    plain = re.sub(rf"(?i:{said})?{LABEL_MARK}(?:h(?![A-Za-z0-9]))?", "", rest)
    return re.sub(r"[_.-]{2,}", "_", plain).strip("_.-")


def _by_number(lines: Iterable[_Line]) -> Mapping[str, Sequence[_Line]]:
    """Group lines by the contrast that the path names; without ``{contrast}`` it names one."""
    return group_by(lines, lambda one: one.file.labels.get("contrast", ""))


def _check_numbers(lines: Sequence[_Line], selection: Selection) -> None:
    """Refuse one number that stands for different contrasts in people (and contrasts) that are selected."""
    people, contrasts = (set(wanted_labels(selection, name)) for name in ("subject", "contrast"))
    unwanted = {label.removeprefix("sub-") for label in selection.exclude_participant_labels}
    kept = [
        one
        for one in lines
        if one.file.labels["subject"] not in unwanted and (not people or one.file.labels["subject"] in people)
    ]
    for one in (one for one in kept if one.beside.several_names):
        raise DataError(
            f"The runs of {one.person} call a contrast differently: {one.file.path}.",
            found=list_some(one.beside.several_names),
            expected="one contrast under one number in all runs",
            fix="Put the same contrasts in the same order into the first levels and run them again, or leave "
            f"this person out: --exclude-participant-label {one.file.labels['subject']}",
        )
    for number, those in _by_number(kept).items():
        names = group_by((one for one in those if one.beside.name), lambda one: one.beside.name or "")
        if len(names) < 2 or (contrasts and not contrasts & {*names}):
            continue
        usual, *others = sorted(names, key=lambda name: -len(names[name]))
        said = (
            f"'{name}' in {list_some((one.person for one in names[name]), 5)}" for name in (usual, *others)
        )
        odd = {one.file.labels["subject"] for name in others for one in names[name]}
        elsewhere = [
            f"{one.person} has '{usual}' in {one.file.path.name if not number else one.number}"
            for one in kept
            if one.beside.name == usual and one.file.labels["subject"] in odd
            if one.file.labels.get("contrast", "") != number
        ]
        which = f"Contrast {number}" if number else those[0].file.path.name
        raise DataError(
            f"{which} of the pattern of --maps is not the same contrast in everybody.",
            found="; ".join(said) + (f" ({list_some(elsewhere, 3)})" if elsewhere else ""),
            expected="one contrast under one number: else people are compared by different questions",
            fix="List the maps in a table (--maps maps.tsv) with the right file for each person, or leave "
            f"people out: --exclude-participant-label {' '.join(natural_order(odd))}",
        )


def _name_contrasts(lines: Sequence[_Line]) -> tuple[list[_Line], list[Notice]]:
    """Name the contrast of each line; numbers of one name keep their number behind it."""
    named, notices = [], []
    names = {
        number: Counter(one.beside.name for one in those if one.beside.name)
        for number, those in _by_number(lines).items()
    }
    shared = Counter(name for counts in names.values() for name in counts)
    for one in lines:
        number = one.file.labels.get("contrast", "")
        counts = names[number]
        name = one.beside.name or (next(iter(counts)) if len(counts) == 1 else None)
        if name is not None and shared[name] > 1:
            name = f"{name} {one.number}"
        named.append(replace(one, contrast=name or one.number))
    for number, those in _by_number(named).items():
        unsaid = [one.person for one in those if one.beside.name is None]
        if names[number] and unsaid:
            sentence = (
                f"Nothing says which contrast {number or those[0].file.path.name} is in "
                f"{list_some(unsaid, 10)}; it is taken for that of the others, {list_some(names[number], 3)}."
            )
            notices.append(warn("maps", sentence, "Check that their first levels have the same contrasts."))
    return named, notices


def _check_twins(lines: Sequence[_Line], matches: Matches) -> None:
    rows = group_by(
        lines,
        lambda one: (
            *(one.file.labels.get(name) for name in ("subject", "session", "task")),
            run_key(one.file.labels.get("run")),
            one.file.labels.get("contrast"),
        ),
    )
    for twins in (those for those in rows.values() if len(those) > 1):
        raise UsageError(
            f"The pattern of --maps matches {len(twins)} files of {twins[0].person} for one contrast.",
            found=list_some((one.file.path for one in twins), 5),
            expected="one file for each person, session, run and contrast",
            fix="Write {run}, {session}, {task} or {contrast} where these differ, or narrow the * of the "
            f"pattern: {matches.pattern}",
        )


def _tell(matches: Matches, lines: Sequence[_Line]) -> None:
    n_people = len({one.file.labels["subject"] for one in lines})
    sizes = {
        name: sum(getattr(one.beside, name) is not None for one in lines) for name in ("variance", "mask")
    }
    beside = ", ".join(f"{n} with a {name}" for name, n in sizes.items() if n) or "nothing beside them"
    LOGGER.info(
        "The pattern of --maps matches %s of %s below %s (%s)",
        counted(len(lines), "file"),
        counted(n_people, "participant"),
        matches.base,
        beside,
    )
    for number, those in _by_number(lines).items():
        if number and those[0].contrast != number:
            LOGGER.info("Contrast %s is '%s'", number, those[0].contrast)


def _write_line(line: _Line, folder: Path, *, has_variance: bool) -> list[str | None]:
    def spell(what: Path | float | None) -> str | None:
        return (
            os.path.relpath(what, folder) if isinstance(what, Path) else what if what is None else repr(what)
        )

    labels, beside = line.file.labels, line.beside
    return [
        f"sub-{labels['subject']}",
        *(labels.get(name) for name in ("session", "run", "task")),
        line.contrast,
        spell(line.file.path),
        spell(beside.variance) if has_variance else None,
        spell(beside.variance_scale) if has_variance else None,
        spell(beside.dof),
        spell(beside.mask),
    ]
