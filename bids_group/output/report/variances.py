"""How much people differ: variance components of mixed models, heterogeneity of weighted fits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from bids_group.elements import read_map
from bids_group.output.files.names import list_maps
from bids_group.output.files.sidecars import SHARED_STATS
from bids_group.output.report import brains
from bids_group.output.report.folder import entities_of
from bids_group.output.report.inputs import AnalysisInputs
from bids_group.output.report.sections import Part, Shown

_NAMES = {
    "icc": "intraclass correlation (rows of one {group})",
    "I2": "I² (%)",
    "tau2": "τ²: variance between people",
    "residual": "variance of rows of one {group}",
}
_SHARES = {
    "icc": (1.0, "ICC", "share of the variance that rows of one {group} have in common"),
    "I2": (100.0, "I² (%)", "share of the variance that is between people, in percent"),
}
"""Maps that are drawn: the end of their scale, its name, and what they are."""
_GROUPING = re.compile(r"[|/]\s*`?([^|/`]+?)`?\s*\)")
"""Whose rows a random term takes for alike; the inner ones of groups within groups."""


def variances(inputs: AnalysisInputs) -> Iterator[Shown]:
    """Draw what share of the variance is between people, and list the estimator's variances over voxels."""
    found = _find_maps(inputs)
    if not found:
        return
    yield Part("subheading", "How much people differ")
    grouping, rows = _GROUPING.search(inputs.facts["random_terms"] or ""), []
    for name, path in found.items():
        stat, _, level = name.partition("_desc-")
        group = level or (grouping[1] if grouping else "group")
        volume = read_map(path).data
        values = volume[inputs.inside].astype(np.float64)
        quantiles = dict(zip(("5 %", "median", "95 %"), np.quantile(values, (0.05, 0.5, 0.95)), strict=True))
        zero = {f"{inputs.elements_word} where it is 0": f"{100 * (values == 0).mean():.1f} %"}
        numbers = {key: str(one) for key, one in quantiles.items()}
        what = _NAMES.get(stat, f"variance of {name}").format(group=group)
        rows.append({"what": what, **numbers, **zero})
        if stat in _SHARES and (brain := inputs.brain) is not None:
            limit, short, words = _SHARES[stat]
            amounts, cuts = brain.layout.place(np.where(inputs.inside, volume, 0)), brain.cuts[2]
            yield inputs.picture(
                brains.draw_amounts(amounts, brain.mask, brain.anatomy, cuts, limit, short),
                f"stat-{name}_statmap.png",
                alt=f"Slices of the map of {short}; its median is {quantiles['median']:.2g}.",
                caption=f"{short}: the {words.format(group=group)}. Where it is 0 the anatomy is seen.",
            )
    yield from inputs.table(
        rows, "variances", f"Variances that the estimator found, over the analysed {inputs.elements_word}."
    )


def _find_maps(inputs: AnalysisInputs) -> Mapping[str, Path]:
    """Find the estimator's maps that belong to no contrast, shares first, by ``stat`` or ``desc``."""
    stem = inputs.folder.root / inputs.files.stem
    there = dict(list_maps(stem.parent, stem.name))
    shares = {name: f"stat-{name}_statmap" for name in SHARED_STATS}
    by_level = [name for name in there if re.fullmatch(r"stat-icc_desc-[A-Za-z0-9]+_statmap", name)]
    shares |= {f"icc_desc-{entities_of(name)['desc']}": name for name in by_level}
    found = {name: there[ending] for name, ending in shares.items() if ending in there}
    parts = {name: path for name, path in there.items() if name.startswith("stat-variance_desc-")}
    named = {entities_of(name)["desc"]: path for name, path in parts.items() if name.endswith("_statmap")}
    return found | {name: named[name] for name in sorted(named, key=lambda one: one == "residual")}
