"""What the files of an analysis are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from bids_group.errors import UsageError
from bids_group.labels import camel_label, upper_first
from bids_group.records import Design, FirstLevelMap, GroupAnalysis, Observation


def pooled_path(output_dir: Path, observation: Observation, stat: str) -> Path:
    """Name a pooled map: ``sub-01/func/sub-01_task-T_space-S_contrast-C_stat-effect_statmap.nii.gz``.

    Entities that the maps below the observation do not agree on (``run``, mostly) or do not carry are left
    out. The folder below the person is that of the input where maps are no contrasts.
    """
    return Path(output_dir, f"{_pooled_stem(observation)}_stat-{stat}_statmap.nii.gz")


@lru_cache(maxsize=1000)
def _pooled_stem(observation: Observation) -> str:
    maps, session = observation.maps, observation.session
    folder = maps[0].effect.parent.name if maps and maps[0].suffix != "statmap" else "func"
    entities = {
        "sub": observation.subject,
        "ses": session,
        **shared_entities(maps),
        "contrast": _need_label(observation.contrast),
    }
    person = f"sub-{observation.subject}/{'' if session is None else f'ses-{session}/'}"
    folder = folder if folder in ("func", "anat", "dwi", "perf", "pet") else "anat"
    return f"{person}{folder}/{_spell(entities)}"


def shared_entities(maps: Iterable[FirstLevelMap]) -> dict[str, str | None]:
    """Find task, space, resolution and density, each where all maps agree."""
    listed = tuple(maps)
    return {name: _agreed({getattr(one, name) for one in listed}) for name in ("task", "space", "res", "den")}


def analysis_stem(output_dir: Path, analysis: GroupAnalysis, contrast_part: str = "") -> Path:
    """Start of the names of an analysis or a contrast in ``group/`` (``group/node-N/`` of several nodes)."""
    node = "" if analysis.node is None else f"node-{_need_label(analysis.node, 'node')}"
    session = _agreed({observation.session for observation in analysis.observations})
    label = contrast_label(analysis, contrast_part)
    entities = {"ses": session, **shared_entities(analysis.maps), "contrast": label}
    return Path(output_dir, "group", node, _spell(entities))


def contrast_label(analysis: GroupAnalysis, contrast_part: str) -> str:
    """Join first-level contrast, group contrast, and the levels of a GroupBy on participants columns."""
    words = [word for pair in analysis.group_labels.items() for word in pair]
    levels = "".join(upper_first(camel_label(word)) for word in words)
    return _need_label(analysis.first_level_contrast) + upper_first(contrast_part) + levels


def check_output_names(planned: Sequence[tuple[GroupAnalysis, Design]]) -> None:
    """Refuse results whose files would have the same names (compared without case, as some disks do)."""
    owners: dict[str, str] = {}
    for analysis, design in planned:
        for contrast in (*design.contrasts, *design.conjunctions):
            stem = analysis_stem(Path(), analysis, contrast.label)
            owner = f"'{contrast.name}' of '{analysis.first_level_contrast}'"
            earlier = owners.setdefault(str(stem).casefold(), owner)
            if earlier is not owner:
                raise UsageError(
                    f"The contrasts {earlier} and {owner} would be written to the same files.",
                    found=f"{stem}… for both (label '{contrast.label}')",
                    expected="names that differ in their letters and digits, not in case or signs alone",
                    fix="Rename one of them.",
                )


def _spell(entities: Mapping[str, str | None]) -> str:
    return "_".join(f"{key}-{value}" for key, value in entities.items() if value is not None)


def _agreed(values: set[str | None]) -> str | None:
    return values.pop() if len(values) == 1 else None


def _need_label(name: str, what: str = "first-level contrast") -> str:
    label = camel_label(name)
    if not label:
        raise UsageError(
            f"The {what} '{name}' has no letter or digit, so no file can be named after it.", fix="Rename it."
        )
    return label


def sidecar_path(path: Path) -> Path:
    """Name the JSON beside a map or a table."""
    name = path.name.removesuffix(".gz")
    return path.with_name(name[: name.rindex(".")] + ".json")
