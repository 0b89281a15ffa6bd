"""Surfaces and CIFTI: hemispheres that belong together, and the structures that are wanted."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_group.bids.index import IndexedFile, group_by
from bids_group.config import Selection
from bids_group.elements import (
    BY_LETTER,
    HEMISPHERES,
    Parcels,
    Space,
    Structures,
    expand,
    hemi_of,
    join_pair,
    read_header,
    select,
)
from bids_group.errors import DataError, SelectionError, UsageError
from bids_group.records import FirstLevelMap
from bids_group.words import counted, list_some, suggest

BOTH = "LR"
"""The label of ``hemi`` of two files that are one map."""


def wanted_structures(selection: Selection) -> tuple[str, ...]:
    """Name the structures of ``--structures`` as CIFTI does: ``CortexLeft`` is ``CORTEX_LEFT``."""
    return tuple(
        dict.fromkeys(_plain(one) for name in selection.structures for one in name.split(",") if one)
    )


def _plain(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removeprefix("hemi-"))
    text = re.sub(r"[^A-Za-z0-9]+", "_", spaced).upper().removeprefix("CIFTI_STRUCTURE_")
    return BY_LETTER.get(text, text)


def wanted_hemispheres(selection: Selection) -> str:
    """Letters of the hemispheres whose files are wanted, by ``--structures`` and by a filter of ``hemi``."""
    structures, filtered = wanted_structures(selection), selection.bids_filter.get("hemi", "*")
    letters = [letter for name, letter in HEMISPHERES.items() if not structures or name in structures]
    asked = filtered if isinstance(filtered, tuple | list) else (filtered,)
    return "".join(one for one in letters if one in asked or "*" in asked)


def pair_hemispheres(files: Iterable[IndexedFile], wanted: str) -> list[IndexedFile]:
    """Make one file of the two of a map, which differ in ``hemi`` alone; leave those that are not ``wanted``.

    Sidecars stay as they are.
    """
    found: list[IndexedFile] = []
    sided: list[IndexedFile] = []
    for file in files:
        is_sided = file.entities.get("hemi") in ("L", "R")
        (sided if is_sided and file.entities.get("extension", "").endswith(".gii") else found).append(file)
    kept = (one for one in sided if one.entities["hemi"] in wanted)
    pairs = group_by(kept, lambda one: (one.path.parent, *sorted({**one.entities, "hemi": BOTH}.items())))
    for those in pairs.values():
        by_letter = {one.entities["hemi"]: one for one in those}
        if len(those) == len(by_letter) == 2:
            path = join_pair(by_letter["L"].path, by_letter["R"].path)
            found.append(IndexedFile(path=path, entities={**those[0].entities, "hemi": BOTH}))
        else:
            found += those
    return found


def name_hemispheres(maps: Sequence[FirstLevelMap]) -> tuple[FirstLevelMap, ...]:
    """Say of maps that are listed by path which hemispheres they are of."""
    return tuple(
        replace(m, entities={**m.entities, "hemi": letter})
        if m.form == "gifti" and (letter := _hemispheres_of(m.effect))
        else m
        for m in maps
    )


def keep_hemispheres(maps: Iterable[FirstLevelMap], wanted: str) -> tuple[FirstLevelMap, ...]:
    """Keep of listed maps of both hemispheres the files of the one that is ``wanted``, where it is one."""
    kept = []
    for m in maps:
        is_of_both = m.entities.get("hemi") == BOTH and len(wanted) == 1
        sides = [_hemispheres_of(one) for one in expand(m.effect)] if is_of_both else []
        of_one: dict[str, Any] = {}
        if wanted in sides:  # else the structures are no halves of the cortex
            files = {name: getattr(m, name) for name in ("effect", "variance", "dof", "mask")}
            both = {name: expand(file) for name, file in files.items() if isinstance(file, Path)}
            of_one = {name: pair[sides.index(wanted)] for name, pair in both.items() if len(pair) == 2}
            of_one["entities"] = {**m.entities, "hemi": wanted}
        kept.append(replace(m, **of_one))
    return tuple(kept)


def _hemispheres_of(effect: Path) -> str | None:
    """Read from the name of a GIFTI map, or else in it, which hemisphere it is of; two files are both."""
    if len(expand(effect)) == 2:
        return BOTH
    (part,) = read_header(effect).space.parts
    return hemi_of(effect.name) or HEMISPHERES.get(part.structure or "")


def check_hemispheres(maps: Iterable[FirstLevelMap], wanted: Collection[str]) -> None:
    """Refuse surfaces of one hemisphere where the other one is missing and was not left out by request."""
    alone = [m for m in maps if m.entities.get("hemi") in ("L", "R") and m.form == "gifti"]
    if not alone or len(wanted) < 2:
        return
    first = alone[0]
    other = "R" if first.entities["hemi"] == "L" else "L"
    raise DataError(
        f"{counted(len(alone), 'surface map lacks', 'surface maps lack')} the other hemisphere.",
        found=list_some((f"{m.effect} (hemi-{m.entities['hemi']})" for m in alone), 3),
        expected=f"a file of hemi-{other} beside it, of the same name but for hemi",
        fix=f"Add it, leave this person out (--exclude-participant-label {first.subject}), or analyse one of "
        f"them: --structures {BY_LETTER[first.entities['hemi']]}",
    )


def select_structures(spaces: Mapping[Path, Space], selection: Selection) -> dict[Path, Space]:
    """Keep the wanted structures of the files' elements; refuse a name that no file has."""
    wanted = wanted_structures(selection)
    if not wanted:
        return dict(spaces)
    known = dict.fromkeys(
        part.structure
        for space in spaces.values()
        if isinstance(space, Structures)
        for part in space.parts
        if part.structure is not None
    )
    if not known:
        kinds = {type(part) for space in spaces.values() for part in space.parts}
        what = "regions without structures" if Parcels in kinds else "volumes"
        raise UsageError(
            "--structures chooses from surfaces and CIFTI files, and the maps are others.",
            found=what,
            fix="Leave --structures out; --mask says which voxels are analysed.",
        )
    for name in (name for name in wanted if name not in known):
        raise SelectionError(
            f"No map has the structure {name}.",
            found=list_some(known, 30),
            fix=f"--structures {' '.join(those)}"
            if (those := [one for one in known if name in one.split("_")])
            else suggest(name, known) or "Choose one of these with --structures.",
        )
    return {path: select(space, wanted) for path, space in spaces.items()}
