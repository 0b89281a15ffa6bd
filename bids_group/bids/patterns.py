"""Files by a pattern of their paths: ``spm/sub-{subject}/stats/con_{contrast}.nii``."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from bids_group.bids.index import MOST_WAYS, group_by, list_inside, path_order
from bids_group.elements import is_volume_name, join_pair, read_labels, split_volume
from bids_group.errors import BidsGroupError, MissingInputError, SelectionError, UsageError
from bids_group.words import and_more, closest, list_some, suggest

KEYS = {"subject": "sub", "session": "ses", "run": "run", "task": "task", "hemi": "hemi", "contrast": None}
"""Placeholders, and the key that may stand before their labels in names."""

_ALIASES = {"sub": "subject", "subj": "subject", "participant": "subject", "ses": "session"}
_ALIASES |= {"id": "subject", "con": "contrast", "cope": "contrast", "hemisphere": "hemi"}
_ALIASES |= {"l,r": "hemi", "lh,rh": "hemi"}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}|(\*+)|(\?)")
_AFNI_PREFIX = re.compile(r".*\+(?:orig|acpc|tlrc)")
LABEL_MARK, STAR_MARK = "\0", "\1"
"""Characters that no name has."""
LABEL = r"[A-Za-z0-9+]+"
"""What a label in a BIDS name is made of."""
_SHOWN = 10
_MANY_PLACES = 1000

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternFile:
    """A file (or one volume of it) that a pattern matches, and the labels that its path has.

    ``rest`` and ``volume``: its name and that of the volume, with ``LABEL_MARK`` in place of each label, and
    a ``STAR_MARK`` on both sides of what a ``*`` or ``?`` stands for.
    """

    path: Path
    labels: Labels
    rest: str = ""
    volume: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """What a pattern matches below ``base``, and people whose folder is there without a file of it."""

    pattern: str
    base: Path
    files: tuple[PatternFile, ...]
    people_without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _DeadEnd:
    """Where a pattern ends without a match: no name in ``folder`` is part number ``depth``."""

    base: Path
    depth: int
    folder: Path
    names: tuple[str, ...] = ()


def match_pattern(pattern: Path, bids_dir: Path) -> Matches:
    """Find the files of a pattern: in the working directory, else below BIDS_DIR, else its derivatives.

    ``{subject}``, ``{session}``, ``{run}``, ``{task}``, ``{hemi}`` and ``{contrast}`` stand for labels, all
    but the last with or without their key (``sub-``); two files that differ in ``{hemi}`` are one map. One
    that stands twice has one value. ``*`` and ``?`` stand for any text between two slashes. A name may be
    followed by the volume that is meant: ``[faces#0_Coef]``, ``,1``; in the label of an AFNI sub-brick there
    may be a ``{contrast}``.

    Raises
    ------
    UsageError
        The pattern names no ``{subject}``, or a placeholder that there is not.
    MissingInputError, SelectionError
        It matches nothing: a folder of it is not there; no name is like a part of it.
    """
    here = Path.cwd()
    relative = pattern.relative_to(here) if pattern.is_relative_to(here) else pattern
    _check_placeholders(relative)
    parts, bases = list(relative.parts), [here, bids_dir, bids_dir / "derivatives"]
    if relative.is_absolute() or parts[0] == "~":
        bases = [Path(relative.anchor) if relative.is_absolute() else Path.home()]
        parts = parts[1:]
    parts[-1], volume = split_volume(parts[-1])
    parts[-1] += ".HEAD" if _AFNI_PREFIX.fullmatch(parts[-1]) else ""
    ends = []
    for base in dict.fromkeys(bases):
        found = _walk(base, parts)
        if isinstance(found, _DeadEnd):
            ends.append(found)
            continue
        files = [one for file in found[0] for one in _name_volumes(file, volume)]
        if not files:
            first = found[0][0].path
            labels = read_labels(first)
            like = [
                one.replace(one.split("#")[0], "{contrast}", 1) for one in labels if one.endswith("_Coef")
            ]
            raise SelectionError(
                f"No sub-brick is like {volume} of the pattern of --maps: {relative}",
                found=f"{first}: {list_some(labels, _SHOWN, none='sub-bricks without labels')}",
                expected="the label of a sub-brick, in which {contrast} may stand",
                fix=f'--maps "{str(relative).removesuffix(volume or "")}[{like[0]}]"' if like else None,
            )
        files = sorted(_pair(files), key=lambda one: path_order(one.path))
        with_maps = {one.labels["subject"] for one in files}
        without = sorted({label for label in found[1] if label not in with_maps})
        return Matches(pattern=str(relative), base=base, files=tuple(files), people_without=tuple(without))
    raise _no_match(relative, parts, ends)


def _pair(files: Sequence[PatternFile]) -> Iterator[PatternFile]:
    """Make one of the files of two hemispheres: left and right by their first letter."""
    rest = [{name: label for name, label in one.labels.items() if name != "hemi"} for one in files]
    groups = group_by(zip(files, rest, strict=True), lambda pair: tuple(sorted(pair[1].items())))
    for those in groups.values():
        sides = {one.labels.get("hemi", "")[:1].upper(): one for one, _ in those}
        if len(those) == 2 and {*sides} == {"L", "R"}:
            path = join_pair(sides["L"].path, sides["R"].path)
            yield replace(those[0][0], path=path, labels=those[0][1])
        else:
            yield from (replace(one, labels=labels) for one, labels in those)


def _check_placeholders(pattern: Path) -> None:
    names = [found[1] for found in _PLACEHOLDER.finditer(str(pattern)) if found[1] is not None]
    expected = "{subject}, and where wanted {session}, {run}, {task}, {hemi} and {contrast}"
    for name in (name for name in names if name not in KEYS):
        meant = _ALIASES.get(name.casefold())
        raise UsageError(
            f"The pattern of --maps has an unknown placeholder {{{name}}}.",
            found=str(pattern),
            expected=expected,
            fix=f"Write {{{meant}}}." if meant else suggest(name, KEYS),
        )
    if "{" in _PLACEHOLDER.sub("", str(pattern)) or "}" in _PLACEHOLDER.sub("", str(pattern)):
        raise UsageError(
            f"The pattern of --maps has a brace without its partner: {pattern}", expected=expected
        )
    if "**" in str(pattern):
        raise UsageError(
            "The pattern of --maps has **.", found=str(pattern), expected="* for a text without a slash"
        )
    if close := re.search(r"\}\{|[?*]\{|\}\?", str(pattern)):
        raise UsageError(
            "The pattern of --maps does not say where a label begins or ends.",
            found=f"{close[0]} in {pattern}",
            expected="a character of the names between two placeholders, and between {…} and the * before it "
            "or the ? beside it",
            fix="Write the characters that stand there, such as sub-{subject}_ses-{session} or *_{subject}.",
        )
    if "subject" not in names:
        line = str(pattern).replace("sub-*", "sub-{subject}")
        line = line if line != str(pattern) else str(pattern).replace("*", "{subject}", 1)
        raise UsageError(
            "The pattern of --maps does not say where the label of the person stands.",
            found=str(pattern),
            expected=expected,
            fix=f'--maps "{line}"' if "*" in str(pattern) else "Write {subject} in its place.",
        )


def _walk(base: Path, parts: Sequence[str]) -> tuple[list[PatternFile], set[str]] | _DeadEnd:
    """Follow the parts of a pattern; also give the labels of all folders that are called ``sub-…``."""
    alive = [PatternFile(path=base, labels={})]
    people: set[str] = set()
    for depth, part in enumerate(parts):
        is_last = depth == len(parts) - 1
        steps = (one for each in alive for one in _step(each, part, is_file=is_last))
        following = list(steps)
        if not is_last and len(following) > _MANY_PLACES:
            ways = Counter((found.st_dev, found.st_ino) for found in (one.path.stat() for one in following))
            if max(ways.values()) > MOST_WAYS:
                raise UsageError(
                    f"By links the pattern of --maps leads to one place in more than {MOST_WAYS} ways.",
                    found=f"{part}, such as {following[-1].path}",
                    fix="Write more of the names in place of the *.",
                )
        if not following:
            folder = alive[0].path
            return _DeadEnd(base=base, depth=depth, folder=folder, names=tuple(_list(folder)))
        alive = following
        if "{subject}" in part and not is_last:
            people |= {one.labels["subject"] for one in alive if one.path.name.startswith("sub-")}
    return alive, people


def _step(here: PatternFile, part: str, *, is_file: bool) -> Iterator[PatternFile]:
    """Go on to the files (or folders) whose names are a part of the pattern."""
    if not _PLACEHOLDER.search(part):
        path = here.path / part
        if os.path.lexists(path) if is_file else path.is_dir():
            yield PatternFile(path=path, labels=here.labels, rest=part)
        return
    bound, known = tuple(here.labels), "/".join([*here.labels.values(), ""])
    strict, loose = (_compile(part, bound, label) for label in (LABEL, "[^/]+?"))
    short = _compile(part, bound, LABEL, star="[^/]*?") if "*" in part else strict
    for name in _list(here.path):
        if found := strict.fullmatch(known + name) or loose.fullmatch(known + name):
            other = short.fullmatch(known + name)
            if other is not None and other.groupdict() != found.groupdict():
                read = [one.groupdict().items() for one in (found, other)]
                ways = (str(dict(own - rest)).replace("'", "") for own, rest in (read, read[::-1]))
                raise UsageError(
                    f"The pattern of --maps can be read in two ways: {part}.",
                    found=f"{here.path / name}: {' or '.join(ways)}",
                    expected="a pattern whose * leaves one way",
                    fix="Write more of the names in place of the *.",
                )
            path = here.path / name
            if is_file != path.is_dir() or (is_file and is_volume_name(name)):
                yield PatternFile(path=path, labels=found.groupdict(), rest=_mark(part, found))


def _mark(part: str, match: re.Match[str]) -> str:
    """Mark in a name that a part matches where its labels stood, and what stands for ``*`` and ``?``."""
    texts = iter(match.groups()[-len(_PLACEHOLDER.findall(part)) :])

    def mark(found: re.Match[str]) -> str:
        text = next(texts)
        return LABEL_MARK if found[1] is not None else f"{STAR_MARK}{text}{STAR_MARK}"

    return _PLACEHOLDER.sub(mark, part)


def _list(folder: Path) -> list[str]:
    return sorted(one.name for those in list_inside(folder) for one in those)


@lru_cache(maxsize=64)
def _compile(part: str, bound: tuple[str, ...], label: str, star: str = "[^/]*") -> re.Pattern[str]:
    """Make a regular expression of a part, one for all files, with a group for each placeholder.

    It matches the labels that are ``bound``, each before a slash, and a name in which these stand again, and
    a ``label`` for each of the others.
    """
    text, at, seen = "".join(f"(?P<{name}>[^/]*)/" for name in bound), 0, set(bound)
    for found in _PLACEHOLDER.finditer(part):
        text += re.escape(part[at : found.start()])
        at, name = found.end(), found[1]
        if name is None:
            text += f"({star})" if found[2] else "([^/])"
            continue
        text += f"(?:{KEYS[name]}-)?" if KEYS[name] else ""
        text += f"((?P={name}))" if name in seen else f"(?P<{name}>{label})"
        seen.add(name)
    return re.compile(text + re.escape(part[at:]))


def _name_volumes(file: PatternFile, volume: str | None) -> Iterator[PatternFile]:
    """Name the volume of a file that is meant; with a placeholder in it, each whose label is like it."""
    if volume is None:
        yield file
        return
    name = file.path.name
    if volume.startswith(",") or not _PLACEHOLDER.search(volume):
        yield replace(file, path=file.path.with_name(f"{name}{volume}"))
        return
    wanted = _compile(volume[1:-1], tuple(file.labels), "[^/]+?")
    for label in read_labels(file.path):
        if found := wanted.fullmatch("/".join([*file.labels.values(), label])):
            path, marks = file.path.with_name(f"{name}[{label}]"), _mark(volume[1:-1], found)
            yield replace(file, path=path, labels=found.groupdict(), volume=marks)


def _no_match(pattern: Path, parts: Sequence[str], ends: Sequence[_DeadEnd]) -> BidsGroupError:
    """Say how far a pattern leads, what stands there, and what was probably meant."""
    end = max(ends, key=lambda one: one.depth)  # the first of equal ones
    part, is_literal = parts[end.depth], not _PLACEHOLDER.search(parts[end.depth])
    meant = _guess(part, end.names)
    kind = MissingInputError if is_literal else SelectionError
    sides = "" if len(ends) == 1 else f" (looked for below {list_some(one.base for one in ends)})"
    names = list_some(end.names[:_SHOWN], none="nothing") + and_more(len(end.names) - _SHOWN)
    fix = None
    if meant is not None:
        whole = "/".join([*parts[: end.depth], meant, *parts[end.depth + 1 :]])
        fix = f'Did you mean --maps "{pattern.anchor}{whole}{split_volume(pattern.name)[1] or ""}"?'
    return kind(
        f"The pattern of --maps matches no file: {pattern}{sides}.",
        found=f"in {end.folder}: {names}",
        expected=f"{part} there",
        fix=fix or suggest(_PLACEHOLDER.sub("", part), end.names) or "Mend the pattern.",
    )


def _guess(part: str, names: Sequence[str]) -> str | None:
    """Guess how a part of a pattern should have been written, so that one of the names is like it."""
    variants = [part.removesuffix(".gz"), f"{part}.gz", part.replace("sub-{", "{").replace("ses-{", "{")]
    for one, other in ((".nii", ".img"), (".nii.gz", ".img"), (".img", ".nii"), (".img", ".nii.gz")):
        variants.append(part.replace(one, other))
    for variant in (one for one in variants if one != part):
        if any(_compile(variant, (), LABEL).fullmatch(name) for name in names):
            return variant
    if _PLACEHOLDER.search(part) is None:
        return closest(part, names)
    for name in names:  # upper and lower case
        if re.fullmatch(_compile(part, (), LABEL).pattern, name, re.IGNORECASE):
            literal = _PLACEHOLDER.split(part)[0]
            return name[: len(literal)] + part[len(literal) :]
    return None
