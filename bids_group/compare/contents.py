"""What differs between two analyses, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bids_group.compare.agreement import Ground
from bids_group.compare.sources import Pair, Source, Tested
from bids_group.config.corrections import find_correction
from bids_group.config.differences import find_differences
from bids_group.output.report.analysis_facts import gather_facts
from bids_group.words import list_some

_MOST = 8
"""Names that are written out."""
_TOLD = {"--formula", "--contrast", "--smoothing-fwhm", "--min-coverage", "--one-sided"}
"""Options whose values stand in the files of the analysis."""


def tabulate_settings(pair: Pair, a: Source, b: Source, ground: Ground) -> pd.DataFrame:
    """List every setting of a pair: columns ``what``, ``A``, ``B``; those that differ first.

    The last are settings of the command or model file that differ and stand in no file of the analysis.
    """
    both = zip((a, b), pair.sides, ground.n_own, strict=True)
    one, other = (dict(_describe(*side)) for side in both)
    rows = [(what, one.get(what, "–"), other.get(what, "–")) for what in {**one, **other}]
    differences = find_differences(a.identity, b.identity)
    rows += [(each.name, each.stored, each.wanted) for each in differences if each.name not in _TOLD]
    table = pd.DataFrame(rows, columns=["what", "A", "B"])
    return table.iloc[(table["A"] == table["B"]).argsort(kind="stable")].reset_index(drop=True)


def _describe(source: Source, one: Tested, n_elements: int) -> Iterator[tuple[str, str]]:
    facts = gather_facts(source.folder, one.analysis, n_elements)
    info, contrast = one.analysis.info, one.contrast
    dof, sides = contrast.sidecar.degrees_of_freedom, facts["is_two_sided"]
    found: list[tuple[str, Any]] = [
        ("participants", facts["n_people"]),
        ("rows of the design", facts["n_rows"]),
        ("first-level contrast", ", ".join(one.analysis.first_level_contrasts)),
        ("maps of the rows", facts["first_level_contrast"]),
        ("input statistic", facts["input_stat"] or "effect"),
        ("pooling within people", facts["pooling"]),
        ("formula", facts["formula"]),
        ("centring", facts["centering"]),
        ("contrast", contrast.words),
        ("test", contrast.test),
        ("estimator", facts["estimator"]),
        ("degrees of freedom", ", ".join(f"{one:g}" for one in dof) if isinstance(dof, list) else str(dof)),
        ("smoothing", f"{one.width_mm:g} mm"),
        ("scaled by", info.scaling.column if info.scaling else "nothing"),
        ("mask given", facts["mask_name"] or "none"),
        ("minimum coverage", f"{facts['min_coverage']:g}"),
        ("elements analysed", n_elements),
        ("voxels", info.resolution),
        ("sides", None if sides is None else "two" if sides else "one"),
        ("shuffling", next((how for how, of in facts["schemes"].items() if contrast.name in of), None)),
        ("bids-group", facts["version"]),
    ]
    yield from ((what, str(value)) for what, value in found if value is not None)
    for entry in facts["corrections"]:
        yield f"correction: {find_correction(entry['name']).title}", _say_correction(entry)


def _say_correction(entry: Mapping[str, Any]) -> str:
    parts = [f"α = {entry['alpha']:g}"]
    if entry["n_permutations"]:
        parts.append(f"{entry['n_permutations']} shuffles")
    if entry["cluster_forming_p"]:
        parts.append(f"clusters formed at p = {entry['cluster_forming_p']:g}")
    if (entry["n_together"] or 1) > 1:
        parts.append(f"counted over {entry['n_together']} contrasts")
    return ", ".join(parts)


def say_people(pair: Pair, a: Source, b: Source) -> Iterator[str]:
    """Name who is in one analysis only, with the reason that the other's ledger gives."""
    of_a, of_b = (set(one.analysis.people) for one in pair.sides)
    if of_a == of_b:
        yield f"The same {len(of_a)} people are in both."
        return
    yield f"The people differ: {len(of_a & of_b)} are in both."
    for side, only, other in (("A", of_a - of_b, b), ("B", of_b - of_a, a)):
        reasons, ledger = {}, other.folder.ledger
        if ledger is not None and {"participant_id", "reason"} <= set(ledger.columns):
            told = ledger.dropna(subset=["reason"])
            reasons = dict(zip(told["participant_id"], told["reason"], strict=True))
        names = [
            f"{one} (in {other.side}: {reasons[one]})" if one in reasons else one for one in sorted(only)
        ]
        if only:
            yield f"Only in {side}: {list_some(names, _MOST)}."
