"""What the files of an analysis are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_group.elements import Form, Space, Vertices, expand, find_pair
from bids_group.errors import UsageError
from bids_group.labels import camel_label, upper_first
from bids_group.records import Design, FirstLevelMap, GroupAnalysis, Observation

_LONGEST_NAME = 255
"""Bytes; what file systems take."""

_LONGEST_ENDING = 60
"""What stands behind the label of a contrast: ``_stat-p_desc-fweVoxel_statmap.nii.gz`` and longer ones."""


def model_path(model: Mapping[str, Any]) -> Path:
    """Name the file of the resolved model."""
    return Path("code") / f"model-{camel_label(str(model.get('Name', ''))) or 'unnamed'}_smdl.json"


def pooled_path(output_dir: Path, observation: Observation, stat: str) -> Path:
    """Name a pooled map: ``sub-01/func/sub-01_task-T_space-S_contrast-C_stat-effect_statmap.nii.gz``.

    Surfaces, CIFTI and tables have their own endings (`map_path`).

    Entities that the maps below the observation do not agree on (``run``, mostly) or do not carry are left
    out. The folder below the person is that of the input where maps are no contrasts.
    """
    maps, session = observation.maps, observation.session
    form: Form = maps[0].form if maps else "volume"
    hemi = maps[0].entities.get("hemi", "") if maps else ""
    folder = maps[0].effect.parent.name if maps and maps[0].suffix != "statmap" else "func"
    folder = folder if folder in ("func", "anat", "dwi", "perf", "pet") else "anat"
    person = f"sub-{observation.subject}/{'' if session is None else f'ses-{session}/'}"
    entities = {
        "sub": observation.subject,
        "ses": session,
        **shared_entities(maps),
        "contrast": _need_label(observation.contrast),
    }
    stem = f"{person}{folder}/{_spell(entities)}"
    return map_path(output_dir / stem, f"stat-{stat}_statmap", form, hemi)


_ENDINGS: Mapping[Form, Mapping[str, str]] = {
    "volume": {"": ".nii.gz"},
    "gifti": {"": ".func.gii", "mask": ".shape.gii", "dseg": ".label.gii"},
    "dscalar": {"": ".dscalar.nii", "dseg": ".dlabel.nii"},
    "pscalar": {"": ".pscalar.nii"},
    "table": {"": ".tsv"},
}
"""By what a map is made of and its suffix (else that of '')."""


def map_path(stem: Path | str, ending: str, form: Form, hemi: str = "") -> Path:
    """Name a map: the stem of its analysis, ``stat-t_statmap``, and what its kind adds.

    Surfaces have ``hemi`` behind person, session and task; for both hemispheres (``LR``) it is
    ``hemi-{L,R}``, which stands for two files (`expand`).
    """
    stem, endings = Path(stem), _ENDINGS[form]
    name = f"{stem.name}_{ending}{endings.get(ending.rpartition('_')[2], endings[''])}"
    if form == "gifti":
        letters = f"{{{','.join(hemi)}}}" if len(hemi) > 1 else hemi
        name = re.sub(r"^((?:(?:sub|ses|task)-[^_]+_)*)", rf"\g<1>hemi-{letters}_", name)
    return stem.with_name(name)


_HEMI = re.compile(r"hemi-[LR]_")
_MAP = re.compile(
    r"(_(?:statmap|dseg|mask|map))\.(?:nii\.gz|(?:func|shape|label)\.gii|[dp](?:scalar|label)\.nii|tsv)$"
)


def list_maps(folder: Path, stem: str) -> Iterator[tuple[str, Path]]:
    """List the files in a folder whose names begin with a stem, each with the rest of its name, in order.

    Of maps this rest is without their kind (``stat-t_statmap``), and two hemispheres are one path.
    """
    for file in sorted(path.name for path in folder.iterdir()):
        name = _HEMI.sub("", file)
        if not name.startswith(f"{stem}_"):
            continue
        path = folder / file
        pair = find_pair(path)
        if len(both := expand(pair)) < 2 or path == both[0]:
            yield _MAP.sub(r"\1", name).removeprefix(f"{stem}_"), pair


def hemispheres_of(space: Space) -> str:
    """Letters of the hemispheres of a space, for the names of its files."""
    return "".join(part.hemi or "" for part in space.parts if isinstance(part, Vertices))


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


def check_output_names(
    planned: Sequence[tuple[GroupAnalysis, Design]],
    observations: Iterable[Observation] = (),
    model: Path = Path(),
) -> None:
    """Refuse results whose files would have names that no disk takes, or the same (compared without case).

    ``observations``: those whose pooled maps are written; ``model``: the name of the resolved model's file.
    """
    _check_length(model, "The name of the model")
    for one in observations:
        _check_length(pooled_path(Path(), one, "variance"), f"Of {one.label} a name")
    owners: dict[str, str] = {}
    for analysis, design in planned:
        for contrast in (*design.contrasts, *design.conjunctions):
            stem = analysis_stem(Path(), analysis, contrast.label)
            owner = f"'{contrast.name}' of '{analysis.first_level_contrast}'"
            _check_length(stem.with_name(f"{stem.name}{'x' * _LONGEST_ENDING}"), f"The name of {owner}")
            earlier = owners.setdefault(str(stem).casefold(), owner)
            if earlier is not owner:
                raise UsageError(
                    f"The contrasts {earlier} and {owner} would be written to the same files.",
                    found=f"{stem}… for both (label '{contrast.label}')",
                    expected="names that differ in their letters and digits, not in case or signs alone",
                    fix="Rename one of them.",
                )


def _check_length(path: Path, what: str) -> None:
    for part in str(path).split("/"):
        if len(part.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
            raise UsageError(
                f"{what} is too long for the name of a file.",
                found=f"{part[:60]}… of {len(part)} characters",
                expected=f"at most {_LONGEST_NAME} bytes, with all that stands before and behind it",
                fix="Use a shorter name.",
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
    return path.with_name(_KINDS.sub("", name[: name.rindex(".")]) + ".json")


_KINDS = re.compile(r"\.(?:func|shape|label|surf|[dp]scalar|dlabel)$")
