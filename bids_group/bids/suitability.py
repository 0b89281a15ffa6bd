"""Suitability: whether the maps that were found and selected can be analysed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from bids_group.bids.content import Headers, find_many_volumes
from bids_group.bids.datasets import Source, name_example, say_maps
from bids_group.bids.entities import name_some
from bids_group.bids.selection import Choice, exclude
from bids_group.bids.statmaps import VOLUMES, Candidate, Found
from bids_group.config import Selection
from bids_group.errors import DataError, SelectionError, UsageError
from bids_group.records import FirstLevelMap, Notice


def check_found(found: Found, sources: Sequence[Source], suffix: str = "statmap") -> None:
    """Refuse datasets without any result of a person, and results that name no contrast."""
    roots = ", ".join(str(source.root) for source in sources)
    if not found.candidates and not found.leftovers:
        is_empty = all(not any(source.root.iterdir()) for source in sources)
        raise SelectionError(
            f"There are no {say_maps(suffix)} in {roots}.",
            found="an empty folder" if is_empty else f"no …_{suffix} file of a person",
            expected=name_example(suffix),
            fix=f"datalad get -n {roots}"
            if is_empty
            else "Check --derivatives, or list the maps with --maps.",
        )
    if not found.candidates and all(leftover.contrast is None for leftover in found.leftovers):
        raise SelectionError(
            f"The maps in {roots} cannot be told apart by contrast.",
            found=f"{found.leftovers[0].path}: {found.leftovers[0].reason}",
            expected="sub-…_contrast-…_stat-effect_statmap.nii.gz",
            fix="Rename the files, or list the maps with --maps.",
        )


def check_effects(found: Found, selection: Selection) -> None:
    """Refuse a dataset, or a contrast that was asked for, that has other stats than effects only."""
    usable = {candidate.map.contrast for candidate in found.candidates}
    asked = {label.removeprefix("contrast-") for label in selection.first_level_contrasts} - usable
    lacking = [one for one in found.leftovers if one.contrast and (one.contrast in asked or not usable)]
    if not lacking:
        return
    example = lacking[0]
    only = (
        "of contrast " + name_some(sorted({str(one.contrast) for one in lacking}))
        if usable
        else "in this dataset"
    )
    wanted = selection.input_stat or "effect"
    others = [stat for stat in ("z", "t") if all(stat in leftover.stats for leftover in lacking)]
    raise DataError(
        f"There is no stat-{wanted} map {only}.",
        found=f"{example.path}: {example.reason}",
        expected="maps of effects (contrast estimates): t and z mix the size of an effect with its precision",
        fix="Let the first-level analysis write stat-effect maps"
        + (
            f", or insist with --input-stat {others[0]}."
            if others and wanted == "effect"
            else ", or list the maps in a table with --maps."
        ),
    )


def check_someone_left(choice: Choice, selection: Selection) -> None:
    """Refuse a selection that leaves no map."""
    if choice.candidates:
        return
    labels = name_some(selection.participant_labels) or "the selection"
    reasons = sorted({exclusion.reason for exclusion in choice.exclusions})
    raise SelectionError(
        f"No first-level map is left of {labels}.",
        found=name_some(reasons) or "these people have no maps",
        fix="Widen the selection.",
    )


def refuse_surfaces(candidates: Iterable[Candidate]) -> None:
    """Refuse surfaces and CIFTI files by name."""
    others = [c for c in candidates if c.entities.get("extension", ".nii.gz") not in VOLUMES]
    if others:
        raise UsageError(
            f"{len(others)} selected maps are no volumes, and only volumes can be analysed so far.",
            found=name_some((c.map.effect.name for c in others), 3),
            expected=" or ".join(VOLUMES),
            fix='Choose volumes with --space, or --bids-filter-file with {"extension": [".nii.gz", ".nii"]}.',
        )


def leave_many_volumes(choice: Choice, selection: Selection, headers: Headers) -> None:
    """Leave out effects of several volumes (F contrasts); refuse them where nothing else remains."""
    shapes = find_many_volumes((c.map for c in choice.candidates), headers)
    gone = [c for c in choice.candidates if c.map.effect in shapes]
    if not gone:
        return
    contrasts = name_some(sorted({c.map.contrast for c in gone}))
    reason = "its effect has several volumes (an F contrast of several rows), not one value per voxel"
    if selection.first_level_contrasts or len(gone) == len(choice.candidates):
        first = gone[0].map.effect
        shape = " × ".join(str(size) for size in shapes[first])
        labels = headers[first].labels
        example = f"{first.name}[{labels[0]}]" if labels else f"{first.name},1"
        raise UsageError(
            f"First-level contrast {contrasts} cannot be analysed: {reason}.",
            found=f"{first} with {shape}" + (f": {name_some(labels)}" if labels else ""),
            expected="a first-level t contrast",
            fix="Choose other contrasts with --first-level-contrast; of a 4D file that holds the maps of "
            f"several people or contrasts, name one volume in each line of the table of --maps: {example}",
        )
    choice.candidates = [c for c in choice.candidates if c.map.effect not in shapes]
    choice.exclusions.extend(exclude(candidate, reason) for candidate in gone)
    sentence = f"{len(gone)} maps of contrast {contrasts} are left out: {reason}."
    choice.notices.append(Notice(severity="warning", topic="maps", sentence=sentence))


def check_producers(maps: Iterable[FirstLevelMap]) -> None:
    """Refuse maps of different programs in one analysis: their effects are not on one scale."""
    by_contrast: dict[str, dict[str | None, FirstLevelMap]] = defaultdict(dict)
    for m in maps:
        by_contrast[m.contrast].setdefault(m.producer, m)
    for contrast, by_producer in by_contrast.items():
        if len(by_producer) > 1:
            raise DataError(
                f"The maps of contrast '{contrast}' were made by different programs.",
                found="; ".join(f"{m.dataset}: {name or 'unknown'}" for name, m in by_producer.items()),
                expected="one program: the effects of two are not on the same scale",
                fix="Name one dataset with --derivatives, or mend GeneratedBy in dataset_description.json.",
            )
