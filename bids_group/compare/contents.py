"""What differs between two analyses, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bids_group.compare.agreement import Ground
from bids_group.compare.sources import Pair, Source, Tested
from bids_group.config.corrections import find_correction
from bids_group.config.differences import find_differences
from bids_group.output.report.methods import gather_facts
from bids_group.words import list_some

_MOST = 8
"""Names that are written out."""


def tabulate_settings(pair: Pair, a: Source, b: Source, ground: Ground) -> pd.DataFrame:
    """List every setting of a pair: columns ``what``, ``A``, ``B``; those that differ first."""
    words = [
        dict(_describe(source, one, n))
        for source, one, n in ((a, pair.a, ground.n_a), (b, pair.b, ground.n_b))
    ]
    rows = [(what, words[0].get(what, "–"), words[1].get(what, "–")) for what in {**words[0], **words[1]}]
    rows += _options(a, b)
    table = pd.DataFrame(rows, columns=["what", "A", "B"])
    return table.iloc[(table["A"] == table["B"]).argsort(kind="stable")].reset_index(drop=True)


def _describe(source: Source, one: Tested, n_elements: int) -> Iterator[tuple[str, str]]:
    facts = gather_facts(source.folder, one.analysis, n_elements)
    info, contrast = one.analysis.info, one.contrast
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
        ("degrees of freedom", _spell(contrast.sidecar.degrees_of_freedom)),
        ("smoothing", f"{one.width_mm:g} mm"),
        ("scaled by", info.scaling.column if info.scaling else "nothing"),
        ("mask given", facts["mask_name"] or "none"),
        ("minimum coverage", f"{facts['min_coverage']:g}"),
        ("elements analysed", n_elements),
        ("voxels", info.resolution),
        ("sides", None if facts["is_two_sided"] is None else "two" if facts["is_two_sided"] else "one"),
        ("shuffling", _scheme(facts["schemes"], contrast.name)),
        ("bids-group", facts["version"]),
    ]
    yield from ((what, str(value)) for what, value in found if value is not None)
    for entry in facts["corrections"]:
        yield f"correction: {find_correction(entry['name']).title}", _say_correction(entry)


def _spell(value: Any) -> str:
    return ", ".join(f"{one:g}" for one in value) if isinstance(value, list) else str(value)


def _scheme(schemes: Mapping[str, Sequence[str]], contrast: str) -> str | None:
    return next((words for words, names in schemes.items() if contrast in names), None)


def _say_correction(entry: Mapping[str, Any]) -> str:
    parts = [f"α = {entry['alpha']:g}"]
    if entry["n_permutations"]:
        parts.append(f"{entry['n_permutations']} shuffles")
    if entry["cluster_forming_p"]:
        parts.append(f"clusters formed at p = {entry['cluster_forming_p']:g}")
    if (entry["n_together"] or 1) > 1:
        parts.append(f"counted over {entry['n_together']} contrasts")
    return ", ".join(parts)


def _options(a: Source, b: Source) -> list[tuple[str, str, str]]:
    """List settings of the command or model file that differ and stand in no file of the analysis."""
    told = {"--formula", "--contrast", "--smoothing-fwhm", "--min-coverage", "--one-sided"}
    return [
        (one.name, one.stored, one.wanted)
        for one in find_differences(a.identity, b.identity)
        if one.name not in told
    ]


def say_people(a: Source, b: Source, pair: Pair) -> tuple[str, ...]:
    """Name who is in one analysis only, with the reason that the other's ledger gives."""
    people = set(pair.a.analysis.people), set(pair.b.analysis.people)
    if people[0] == people[1]:
        return (f"The same {len(people[0])} people are in both.",)
    sides = (("A", people[0] - people[1], b), ("B", people[1] - people[0], a))
    shared = len(people[0] & people[1])
    return (
        f"The people differ: {shared} are in both.",
        *(f"Only in {side}: {_name(only, other)}." for side, only, other in sides if only),
    )


def _name(people: set[str], other: Source) -> str:
    reasons = _reasons(other)
    told = (f"{one} (in {other.side}: {reasons[one]})" if one in reasons else one for one in sorted(people))
    return list_some(told, _MOST)


def _reasons(source: Source) -> dict[str, str]:
    ledger = source.folder.ledger
    if ledger is None or not {"participant_id", "reason"} <= set(ledger.columns):
        return {}
    told = ledger.dropna(subset=["reason"])
    return dict(zip(told["participant_id"], told["reason"], strict=True))
