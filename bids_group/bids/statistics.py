"""What kind of numbers a map holds, as its file name and header say: t and z are no effects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from bids_group.bids.entities import name_some
from bids_group.config import Selection
from bids_group.elements import MapHeader, locate
from bids_group.errors import DataError
from bids_group.records import FirstLevelMap, Notice

INPUT_STATS = ("effect", "z", "t")

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
    r"|_(?P<end>[tz])$",
    re.IGNORECASE,
)
_ENDING = re.compile(r"\.(?:nii|img|hdr|HEAD|BRIK)(?:\.gz)?$")


class Statistic(NamedTuple):
    """``kind``: t, z, F, p or variance; ``why``: what says so."""

    kind: str
    why: str


def find_statistic(header: MapHeader, *, is_name_free: bool) -> Statistic | None:
    """Find what an image says that it is, if that is no effect.

    ``is_name_free``: its name is none of BIDS, so it says something too.
    """
    if header.statistic in _CODES:
        return Statistic(_CODES[header.statistic], f"intent code {header.statistic} in its header")
    for text in header.texts:
        if match := _IN_TEXT.match(text):
            kind = match["kind"]
            return Statistic(
                _KINDS[kind.lower()] if kind else _NILEARN[match["nilearn"]], f"'{text}' in its header"
            )
        if header.labels and (match := _IN_LABEL.fullmatch(text)):
            return Statistic(_KINDS[match["kind"].lower()], f"the label {text}")
    name = _ENDING.sub("", locate(header.path).header.name)
    if is_name_free and (match := _IN_NAME.search(name)):
        return Statistic(_KINDS[next(filter(None, match.groups())).lower()], "its name")
    return None


def check_statistics(
    maps: Iterable[FirstLevelMap],
    headers: Mapping[Path, MapHeader],
    selection: Selection,
    *,
    is_name_free: bool,
) -> list[Notice]:
    """Refuse maps whose names or headers say that they are another statistic than what is asked for.

    Raises
    ------
    DataError
        t or z maps (F, p, variances) among effects, or others than ``--input-stat`` says. Where it says
        ``effect``, they are taken as effects, with a warning.
    """
    found: dict[str, list[tuple[Path, Statistic]]] = {}
    for m in maps:
        statistic = find_statistic(headers[m.effect], is_name_free=is_name_free)
        if statistic is not None and statistic.kind != m.input_stat:
            found.setdefault(statistic.kind, []).append((m.effect, statistic))
    if not found:
        return []
    kind, those = next(iter(found.items()))
    names = name_some((f"{path} ({statistic.why})" for path, statistic in those), 3)
    if selection.input_stat == "effect":
        sentence = (
            f"{len(those)} maps look like maps of {kind} and are taken as effects (--input-stat effect): "
        )
        return [Notice(severity="warning", topic="maps", sentence=f"{sentence}{names}.")]
    raise DataError(
        f"{len(those)} of the selected maps hold {kind}, not "
        f"{'effects' if selection.input_stat is None else selection.input_stat}.",
        found=names,
        expected="maps of effects (SPM con_*, FSL cope*, AFNI ..._Coef): t and z mix the size of an effect "
        "with its precision, and F and p have no direction"
        if selection.input_stat is None
        else f"maps of {selection.input_stat} (--input-stat {selection.input_stat})",
        fix="Give the maps of effects"
        + (f", or insist with --input-stat {kind} (said in every sidecar)" if kind in INPUT_STATS else "")
        + "; --input-stat effect if these are effects all the same.",
    )
