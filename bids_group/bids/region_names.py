"""What the names of regions tell: what is no region, two spellings of one, other members, a strange mask."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256
from typing import Any

import numpy as np

from bids_group.bids.index import group_by
from bids_group.elements import Parcels, Space
from bids_group.records import Cohort, Notice, warn
from bids_group.words import counted, list_some, listed, plural

_WHOLE = re.compile(
    r"(?i)(?:[lr]h_?)?(?:(?:brainseg|cortex|cerebralwhitematter|corticalwhitematter|subcortgray|totalgray"
    r"|supratentorial|mask|estimatedtotalintracranial)vol(?:notvent(?:surf|vox)?)?(?:-to-etiv)?"
    r"|(?:mean|[lr])?thickness(?:_thickness)?|(?:white|full|[lr])?surfarea(?:_area)?|surfaceholes|e?tiv|icv)"
)
"""Measures of a whole hemisphere or head in tables of FreeSurfer and ENIGMA."""

_SUMMARY = re.compile(r"(?i)(.*_)(?:mean|total)(?:[lr]h)?")
"""How ABCD calls them, after what all names begin with; at the end of many, it says what was measured."""

_OF_PEOPLE = frozenset(("age", "sex", "gender", "site", "scanner", "group", "diagnosis", "dx", "handedness"))
_OF_PEOPLE |= {"bmi", "iq", "education", "visit", "wave", "timepoint", "eventname", "qc"}
_SIDES = {"l": "l", "lh": "l", "left": "l", "r": "r", "rh": "r", "right": "r"}


def tell_regions(cohort: Cohort, of_mask: Space | None) -> Iterator[Notice]:
    """Say what is odd about the regions of the maps, and about those inside the mask, if there is one."""
    found: dict[tuple[tuple[str, ...], int], tuple[str, Parcels]] = {}
    for m in cohort.maps:
        space = cohort.spaces[m.effect]
        for part in space.parts if space.form in ("table", "pscalar") else ():
            if isinstance(part, Parcels):
                found.setdefault((part.names, id(part.axis)), (m.subject, part))
    if not found:
        return
    names = dict.fromkeys(name for _, part in found.values() for name in part.names)
    columns = {name for table in cohort.tables if table.level != "map" for name in table.columns}
    yield from _tell_no_regions(names, columns)
    yield from _tell_spellings({part.names: None for _, part in found.values()})
    yield from _tell_members(found.values())
    masked = () if of_mask is None else of_mask.parts
    inside = [one for part in masked if isinstance(part, Parcels) for one in part.names]
    if strange := [name for name in inside if name not in names]:
        sentence = f"No map has {counted(len(strange), 'region')} of the mask: {list_some(strange, 5)}."
        yield warn("mask", sentence, f"Write them as in the maps: {list_some(names, 5)}.")


def _tell_no_regions(names: Collection[str], columns: Collection[str]) -> Iterator[Notice]:
    """Name what stands among the regions and is a measure of the whole, or of people."""
    begins = {one: found[1] for one in names if (found := _SUMMARY.fullmatch(one))}
    shared = {
        begin for begin in {*begins.values()} if 2 * sum(one.startswith(begin) for one in names) > len(names)
    }
    is_rare = len(begins) <= 2 and 2 * len(begins) < len(names)
    whole = {*filter(_WHOLE.fullmatch, names), *(one for one in begins if is_rare or begins[one] in shared)}
    odd = [one for one in names if one in whole or one in columns or one.lower() in _OF_PEOPLE]
    if odd:
        is_said = f"{plural(len(odd), 'stands', 'stand')} among the {len(names)} regions of the maps"
        counts = f"{plural(len(odd), 'is', 'are')} tested and counted in the corrections as a region is"
        sentence = f"{list_some(odd, 8)} {is_said}, and {counts}."
        fix = "Take such columns out of the tables of regions; covariates belong into participants.tsv."
        yield warn("maps", sentence, fix)


def _tell_spellings(of_files: Collection[Collection[str]]) -> Iterator[Notice]:
    """Name regions that are called alike but for case, signs and how hemispheres are written.

    Names that stand beside each other in a file are those of two regions.
    """
    every = dict.fromkeys(name for names in of_files for name in names)
    alike = [those for those in group_by(every, _plain).values() if len(those) > 1]
    odd = [those for those in alike if all(len({*those} & {*names}) < 2 for names in of_files)]
    if odd:
        said = list_some((listed(those) for those in odd), 3)
        sentence = f"Regions are spelled in several ways ({said}), and are taken as different ones."
        yield warn("maps", sentence, "Write each region alike in the files of all people.")


def _plain(name: str) -> tuple[str, ...]:
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    sides = [_SIDES[word] for word in words if word in _SIDES]
    return (*sides, "".join(word for word in words if word not in _SIDES))


def _tell_members(found: Iterable[tuple[str, Parcels]]) -> Iterator[Notice]:
    """Say where a region of one name has other vertices or voxels in the files of others."""
    known: dict[str, tuple[str, object]] = {}
    odd: dict[str, list[str]] = {}
    seen: set[str] = set()
    for subject, part in found:
        if part.axis is None or (own := _digest(part.axis)) in seen:
            continue
        is_settled = True
        for name, voxels, vertices in zip(part.axis.name, part.axis.voxels, part.axis.vertices, strict=True):
            where = {key: np.sort(those).tobytes() for key, those in sorted(vertices.items()) if len(those)}
            members = (where, sorted(map(tuple, np.asarray(voxels).tolist())))
            whose, first = known.setdefault(str(name), (subject, members))
            is_settled &= members == first or whose != subject
            if members != first and whose != subject:
                odd.setdefault(str(name), [whose, subject])
        if is_settled:
            seen.add(own)
    if odd:
        name, (one, other) = next(iter(odd.items()))
        which = counted(len(odd), "region has", "regions have")
        sentence = (
            f"{which} other vertices or voxels in some maps, such as {name} of sub-{other} and of sub-{one}: "
            "regions are matched by name."
        )
        yield warn("maps", sentence, "Check that all maps are of one parcellation (people's own may differ).")


def _digest(axis: Any) -> str:
    """Hash the names and members of parcels: those of two people are most often the same, read twice."""
    keys = [key for vertices in axis.vertices for key in vertices]
    members = [*axis.voxels, *(those for vertices in axis.vertices for those in vertices.values())]
    known = sha256("\0".join([*axis.name, *keys]).encode())
    known.update(np.array([*map(len, axis.vertices), *map(len, members)]).tobytes())
    known.update(np.concatenate([np.zeros(0), *map(np.ravel, members)]).astype(np.int32).tobytes())
    return known.hexdigest()
