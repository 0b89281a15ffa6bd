"""Map files: are they here, on one grid, twice, and do header, name and numbers say that they are effects."""

from __future__ import annotations

import errno
import hashlib
import re
import zlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bids_group.bids.index import Item, group_by, path_order
from bids_group.bids.selection import Choice
from bids_group.bids.statmaps import InputStat
from bids_group.config import Selection
from bids_group.elements import (
    MapHeader,
    Space,
    check_same_space,
    find_pointer,
    form_of,
    inflate,
    locate,
    read_header,
    read_map,
)
from bids_group.errors import BidsGroupError, DataError, MissingInputError, UsageError
from bids_group.executor import Executor
from bids_group.input_files import has_disk_failed, open_file
from bids_group.labels import without_words
from bids_group.records import FirstLevelMap, Notice, warn
from bids_group.words import counted, list_some, os_failure, plural

_SAMPLE_BYTES = 65_536
_POINTER_BYTES = 32
_FILES_AT_ONCE = 256
"""Headers that a thread reads in one go: one by one they cost less than to hand them out."""

_LARGE_SHARE = 0.2
"""Of the voxels: a single value in so many is no effect, but what stands outside the brain."""

Headers = Mapping[Path, MapHeader]


def read_headers(maps: Iterable[FirstLevelMap], executor: Executor) -> Headers:
    """Read the header of every file once; refuse what is not here, then the first that cannot be read."""
    maps = tuple(maps)
    paths = sorted({one for m in maps for one in m.files}, key=path_order)
    parts = [paths[at : at + _FILES_AT_ONCE] for at in range(0, len(paths), _FILES_AT_ONCE)]
    found = [one for part in executor.map(_try_headers, parts) for one in part]
    errors = [one for one in found if isinstance(one, BidsGroupError)]
    headers = {one.path: one for one in found if isinstance(one, MapHeader)}
    is_one_file = all(one.files.data is one.files.header for one in headers.values())
    if not is_one_file or any(isinstance(one, MissingInputError) for one in errors):
        check_presence(maps)
    for error in errors:
        raise error
    return headers


def _try_headers(paths: Iterable[Path]) -> list[MapHeader | BidsGroupError]:
    found: list[MapHeader | BidsGroupError] = []
    for path in paths:
        try:
            found.append(read_header(path))
        except BidsGroupError as error:
            found.append(error)
    return found


def check_presence(maps: Iterable[FirstLevelMap]) -> None:
    """Refuse what is no file, and maps whose content is not here: broken links, pointers, absent files."""
    absent: dict[Path, str] = {}
    others: dict[str, str] = {}
    whose = {one: m.subject for m in maps for named in m.files for one in locate(named).all}
    for path in sorted(whose, key=path_order):
        try:
            with open_file(path) as stream:
                pointer = find_pointer(stream.read(_POINTER_BYTES))
        except OSError as error:
            if has_disk_failed(error):
                raise os_failure(OSError(error.errno, error.strerror, str(path))) from error
            pointer = "git-annex"
            if error.errno == errno.EINVAL:
                others[f"{path} (sub-{whose[path]})"], pointer = error.strerror or "", None
        if pointer is not None:
            absent[path] = pointer
    if others:
        raise MissingInputError(
            f"{counted(len(others), 'map is', 'maps are')} not a file: {list_some(others, 10)}",
            found=list_some(dict.fromkeys(others.values())),
            expected="an image",
            fix="Put the image there, or leave the person out with --exclude-participant-label.",
        )
    if not absent:
        return
    in_annex = [path for path, pointer in absent.items() if pointer == "git-annex"]
    are_links = all(path.is_symlink() or path.exists() for path in in_annex)
    commands = [f"datalad get {' '.join(map(str, in_annex[:10]))}"] if in_annex else []
    found = ["links that point nowhere, or unreadable files" if are_links else "no such files"]
    if len(in_annex) < len(absent):
        found = [*(found if in_annex else []), "pointers of Git LFS"]
        commands.append("git lfs pull")
    plural = "files are" if len(absent) > 1 else "file is"
    raise MissingInputError(
        f"{len(absent)} selected {plural} not here or unreadable: {list_some(absent, 10)}",
        found="; ".join(found),
        expected="the content of the files (DataLad, git-annex and Git LFS keep it elsewhere)",
        fix="; ".join(commands),
    )


def leave_many_volumes(choice: Choice, selection: Selection, headers: Headers) -> None:
    """Leave out effects of several volumes (F contrasts); refuse them where nothing else remains.

    Variances, masks and degrees of freedom of several volumes are refused.
    """
    many = {path for path, header in headers.items() if header.n_volumes > 1}
    if not many:
        return
    gone = [m for m in choice.maps if m.effect in many]
    contrasts = list_some(sorted({m.contrast for m in gone}), 10)
    reason = "its effect has several volumes (an F contrast of several rows), not one value per voxel"
    if gone and (selection.first_level_contrasts or len(gone) == len(choice.maps)):
        first = gone[0].effect
        shape, labels = " × ".join(map(str, headers[first].shape)), headers[first].labels
        example = f"{first.name}[{labels[0]}]" if any(labels[:1]) else f"{first.name},1"
        raise UsageError(
            f"First-level contrast {contrasts} cannot be analysed: {reason}.",
            found=f"{first} with {shape}" + (f": {list_some(labels, 10)}" if any(labels) else ""),
            expected="a first-level t contrast",
            fix="Choose other contrasts with --first-level-contrast; of a 4D file that holds the maps of "
            "several people or contrasts, name one volume in each line of the table of --maps, or in its "
            f"pattern: {example}",
        )
    if gone:
        choice.leave({m.effect: reason for m in gone})
        people = list_some(sorted({f"sub-{m.subject}" for m in gone}), 10)
        n_maps = counted(len(gone), "map")
        are = plural(len(gone), "is", "are")
        sentence = f"{n_maps} of contrast {contrasts} ({people}) {are} left out: {reason}."
        odd = {m.contrast for m in gone} & {m.contrast for m in choice.maps}
        fix = f"The others of {list_some(sorted(odd))} have one: look at these files." if odd else None
        choice.notices.append(warn("maps", sentence, fix))
    for path in (one for m in choice.maps for one in m.files if one in many):
        raise DataError(
            f"The image {path} holds several volumes.",
            found=f"shape {' × '.join(map(str, headers[path].shape))}",
            expected="one volume, as its effect has",
            fix="Give the volume that belongs to the effect.",
        )


def check_spaces(
    groups: Iterable[tuple[Sequence[FirstLevelMap], Path | None]], spaces: Mapping[Path, Space]
) -> None:
    """Refuse what is pooled or analysed together and has different elements, by the headers.

    Each of the ``groups``: maps whose effects, variances, masks and degrees of freedom must have the same
    elements (`check_same_space`), and the mask of the analysis, if there is one. ``spaces``: those of the
    maps' files.
    """
    of_masks = {mask: read_header(mask).space for mask in {mask for _, mask in groups} if mask is not None}
    for maps, mask in groups:
        first = maps[0].effect
        for m in maps:
            for path in m.files:
                check_same_space(first, spaces[first], path, spaces[path], is_mask=path is m.mask)
        if mask is not None:
            check_same_space(first, spaces[first], mask, of_masks[mask], is_mask=True)


def check_twins(maps: Sequence[FirstLevelMap], headers: Headers) -> list[Notice]:
    """Refuse the same effect map, by content, under two people; warn of one that a person has twice.

    Warned of is, too, a hemisphere's file that stands twice, beside another half of its map.

    Suspects share the checksum and length that stand at the end of a gzip file (or length and the bytes in
    the middle of an uncompressed one); they are confirmed on the whole decompressed content.
    """
    whole = [m for m in maps if headers[m.effect].files.volume is None]  # else the rows are compared later
    notices = []

    def sample(m: FirstLevelMap) -> bytes:
        return headers[m.effect].checksum or _sample(headers[m.effect].files.data)

    for same in _find_equal(whole, sample, lambda m: _content_hash(m.effect, headers[m.effect].n_bytes)):
        people = sorted({m.subject for m in same})
        paths = list_some(sorted(str(m.effect) for m in same), 10)
        if len(people) > 1:
            raise DataError(
                f"The same map stands under {list_some((f'sub-{subject}' for subject in people), 10)}.",
                found=f"equal content in {paths}",
                expected="a map of its own for each participant",
                fix="Copy the right file, or leave one of them out with --exclude-participant-label.",
            )
        notices.append(warn("twins", f"sub-{people[0]} has the same map {len(same)} times: {paths}."))
    pairs = [headers[m.effect].files.all for m in maps if m.form == "gifti"]
    sides = dict.fromkeys(path for pair in pairs if len(pair) == 2 for path in pair)
    named = [list_some(same, 4) for same in _find_equal(sides, _sample, Path.read_bytes)]
    if named:
        said = named[0] if len(named) < 2 else list_some((f"({one})" for one in named), 3)
        fix = "Find out whose map it is, and of which hemisphere, and copy the right file."
        notices.append(warn("twins", f"Files of single hemispheres hold the same map: {said}.", fix))
    return notices


def _find_equal(
    items: Iterable[Item], sample: Callable[[Item], Hashable], content: Callable[[Item], Hashable]
) -> list[list[Item]]:
    """Find those of equal content, which is read only of those that have one sample."""
    alike = (those for those in group_by(items, sample).values() if len(those) > 1)
    return [same for those in alike for same in group_by(those, content).values() if len(same) > 1]


def _sample(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == b"\x1f\x8b"
        stream.seek(max(0, size - 8) if is_gzip else size // 2)
        sample = stream.read(8 if is_gzip else _SAMPLE_BYTES)
    return sample if is_gzip else size.to_bytes(8, "big") + hashlib.sha256(sample).digest()


def _content_hash(effect: Path, n_bytes: int) -> str:
    paths = locate(effect).all if form_of(effect.name) == "gifti" else [locate(effect).data]
    try:
        content = (inflate(path.read_bytes(), n_bytes) for path in paths)
        return hashlib.sha256(b"".join(content)).hexdigest()
    except (EOFError, OSError, zlib.error):
        return str(effect)


_CODES = {3: "t", 4: "F", 5: "z", 22: "p", 23: "p", 24: "p"}
"""NIfTI's intent codes; AFNI's sub-bricks have the same for t, F and z."""

_KINDS = {"t": "t", "z": "z", "f": "F", "zf": "F", "p": "p", "variance": "variance"}
_NILEARN = {"z_score": "z", "stat": "t", "p_value": "p", "effect_variance": "variance"}
_IN_TEXT = re.compile(r"SPM\{(?P<kind>[TFZ])_|(?P<nilearn>z_score|stat|p_value|effect_variance) of contrast")
_IN_LABEL = re.compile(r".*[_ #-](?P<kind>[tfz])[-_]?(?:stat|scr|score)", re.IGNORECASE)
_IN_NAME = re.compile(
    r"(?:^|_)spm(?P<spm>[tf])_\d"
    r"|(?:^|_)(?P<fsl>zf|f)stats?\d*(?=[_.]|$)"
    r"|(?:^|_)(?P<word>[tz])[_-]?(?:stat|map|score|value)s?\d*(?=[_.]|$)"
    r"|(?:^|_)stat-(?P<stat>t|z|f|p|variance)(?:stat|score|map)?(?=[_.]|$)"
    r"|_(?P<end>[tz])$"
    r"|(?:^|_)(?P<noise>ResMS|RPV|(?:run_)?varcope\d*|sigmasquareds?)(?=[_.]|$)",
    re.IGNORECASE,
)
_ENDING = re.compile(r"\.(?:(?:(?:func|shape)\.)?gii|(?:[dp]scalar\.)?nii|img|hdr|HEAD|BRIK)(?:\.gz)?$")


def _find_statistic(header: MapHeader, *, is_name_free: bool) -> tuple[str, str] | None:
    """Find what an image says that it is (t, z, F, p or variance), and where it says so.

    Its name counts too where it is none of BIDS (``is_name_free``).
    """
    if header.statistic in _CODES:
        return _CODES[header.statistic], f"intent code {header.statistic} in its header"
    for text in header.texts:
        if match := _IN_TEXT.match(text):
            kind = _KINDS[match["kind"].lower()] if match["kind"] else _NILEARN[match["nilearn"]]
            return kind, f"'{text}' in its header"
        if header.labels and (match := _IN_LABEL.fullmatch(text)):
            return _KINDS[match["kind"].lower()], f"the label {text}"
    if is_name_free and (match := _IN_NAME.search(_ENDING.sub("", header.files.header.name))):
        kind = "variance" if match["noise"] else next(filter(None, match.groups()))
        return _KINDS[kind.lower()], "its name"
    return None


def check_statistics(
    maps: Iterable[FirstLevelMap], headers: Headers, stat: InputStat | None, *, is_name_free: bool
) -> list[Notice]:
    """Refuse maps whose names or headers say that they are another statistic than ``stat`` (None: effects).

    Where the user says that they are effects, they are taken as such, with a warning.
    """
    found: dict[str, list[str]] = {}
    for m in maps:
        statistic = _find_statistic(headers[m.effect], is_name_free=is_name_free)
        if statistic is not None and statistic[0] != m.input_stat:
            found.setdefault(statistic[0], []).append(f"{m.effect} ({statistic[1]})")
    if not found:
        return []
    kind, those = next(iter(found.items()))
    names = list_some(those, 3)
    if stat == "effect":
        taken = f"{len(those)} maps look like maps of {kind} and are taken as effects (--input-stat effect)"
        return [warn("maps", f"{taken}: {names}.")]
    expected = f"maps of {stat} (--input-stat {stat})"
    if stat is None:
        expected = "maps of effects (SPM con_*, FSL cope*, AFNI ..._Coef): t and z mix the size of an effect "
        expected += "with its precision, and F and p have no direction"
    insist = f", or insist with --input-stat {kind} (said in every sidecar)" if kind in ("z", "t") else ""
    raise DataError(
        f"{len(those)} of the selected maps hold {kind}, not {'effects' if stat is None else stat}.",
        found=names,
        expected=expected,
        fix=f"Give the maps of effects{insist}; --input-stat effect if these are effects all the same.",
    )


def tell_rounded_effects(maps: Sequence[FirstLevelMap], headers: Headers) -> list[Notice]:
    """Say where maps of integers without a mask of their own are 0 inside the brain: there 0 is missing.

    The brain is where more than half of such maps on one grid are not 0, and what that encloses. Where the
    scale has an intercept, 0 may not be among the numbers: then the background counts as data, which is said.
    """
    by_shape: dict[tuple[int, ...], list[FirstLevelMap]] = {}
    for m in maps:
        if m.mask is None and headers[m.effect].is_integer and m.form == "volume":
            by_shape.setdefault(headers[m.effect].shape, []).append(m)
    if not by_shape:
        return []
    from scipy.ndimage import binary_fill_holes  # takes 0.3 s to import

    holes, backgrounds = [], []
    for shape, those in by_shape.items():
        counted, packed = np.zeros(shape, dtype=np.intp), []
        for m in those:
            data = read_map(m.effect).data
            values, counts = np.unique(data, return_counts=True)
            at = int(counts.argmax())
            if values[at] != 0 and counts[at] > max(1, _LARGE_SHARE * data.size):
                backgrounds.append(f"{values[at]:.3g} in {m.effect.name} of sub-{m.subject}")
            counted += data != 0
            packed.append(np.packbits(data != 0))
        brain = np.packbits(binary_fill_holes(2 * counted > len(those)))
        n_holes = [int(np.bitwise_count(brain & ~bits).sum()) for bits in packed]
        named = zip(those, n_holes, strict=True)
        holes += [f"{n} in {m.effect.name} of sub-{m.subject}" for m, n in named if n]
    stored = "of the maps that are stored as integers"
    rounded = "are exactly 0 at voxels inside the brain, where small effects were rounded away; there they "
    rounded += "count as not observed"
    shifted = "have one value other than 0 at many voxels, as if the background had been rounded to it, "
    shifted += "which counts as data"
    fix = "Write the maps as float32, or give each its mask, inside which 0 is data."
    return [
        warn("maps", f"{len(names)} {stored} {what}: {list_some(names, 5)}.", fix)
        for names, what in ((holes, rounded), (backgrounds, shifted))
        if names
    ]


def tell_other_names(maps: Sequence[FirstLevelMap], headers: Headers) -> list[Notice]:
    """Say where one number stands for maps of different names in people's files (``all.dscalar.nii,2``).

    Labels of the person, session, run and task in a name do not count, nor names that tell people apart.
    """

    def name(m: FirstLevelMap) -> str:
        texts = headers[m.effect].texts if headers[m.effect].labels else ()
        return without_words("".join(texts[:1]), (m.subject, m.session, m.run, m.task))

    numbered = [m for m in maps if isinstance(headers[m.effect].files.volume, int) and name(m)]
    said = []
    for contrast, those in group_by(numbered, lambda m: m.contrast).items():
        if len({headers[m.effect].texts[0] for m in those}) == 1:
            continue
        names = group_by(those, name)
        if 1 < len(names) <= max(2, len({m.subject for m in those}) // 2):
            shown = list_some(
                (f"'{one}' in sub-{found[0].subject} ({len(found)})" for one, found in names.items()), 3
            )
            sentence = f"The numbers of contrast {contrast} stand for maps of different names: {shown}."
            fix = "Look at the order of the maps in these files, or choose by name: FILE[name]"
            said.append(warn("maps", sentence, fix))
    return said
