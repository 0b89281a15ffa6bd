"""Names of maps inside files of several maps, where these are chosen by number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bids_group.bids.index import group_by
from bids_group.bids.map_files import Headers
from bids_group.records import FirstLevelMap, Notice, warn
from bids_group.words import list_some


def tell_other_names(maps: Sequence[FirstLevelMap], headers: Headers) -> list[Notice]:
    """Say where one number stands for maps of different names in people's files (``all.dscalar.nii,2``).

    Labels of the person, session, run and task in a name do not count, nor names that tell people apart.
    """
    numbered = [m for m in maps if isinstance(headers[m.effect].files.volume, int) and _name(m, headers)]
    said = []
    for contrast, those in group_by(numbered, lambda m: m.contrast).items():
        if len({headers[m.effect].texts[0] for m in those}) == 1:
            continue
        names = group_by(those, lambda m: _name(m, headers))
        if 1 < len(names) <= max(2, len({m.subject for m in those}) // 2):
            shown = list_some(
                (f"'{name}' in sub-{found[0].subject} ({len(found)})" for name, found in names.items()), 3
            )
            sentence = f"The numbers of contrast {contrast} stand for maps of different names: {shown}."
            fix = "Look at the order of the maps in these files, or choose by name: FILE[name]"
            said.append(warn("maps", sentence, fix))
    return said


def _name(m: FirstLevelMap, headers: Headers) -> str:
    """Name a map without the labels in it."""
    header = headers[m.effect]
    text = header.texts[0] if header.labels and header.texts else ""
    return without_words(text, (m.subject, m.session, m.run, m.task))


def without_words(text: str, labels: Iterable[str | None]) -> str:
    """Take labels, with their keys (``sub-``), out of the name of a map where they stand as words."""
    for label in filter(None, labels):
        text = re.sub(rf"(?<![A-Za-z0-9])(?:[a-z]+-)?{re.escape(label)}(?![A-Za-z0-9])", "", text)
    return re.sub(r"[_.-]{2,}", "_", text).strip("_.- ")
