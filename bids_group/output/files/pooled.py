"""Pooled maps on disk: a cache of what runs and sessions add up to, keyed by the bytes that went in."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.elements import Grid, Space, expand, hash_map, read_map
from bids_group.errors import BidsGroupError, OutputError
from bids_group.json_files import peek_json
from bids_group.output.disk.manifest import marks_in_work
from bids_group.output.disk.map_files import write_map
from bids_group.output.disk.publishing import write_cache
from bids_group.output.disk.writing import write_json
from bids_group.output.files.names import pooled_path, shared_entities, sidecar_path
from bids_group.output.files.sidecars import pooled_sidecar
from bids_group.records import FirstLevelMap, Observation, PooledMap
from bids_group.records.sidecars import LargestWeight, Sidecar
from bids_group.words import bids_uri

_FORMAT = 1
"""Raised when the same inputs would give other pooled numbers or files."""

_PENDING = "pending"
"""The key of what a killed run of release 0.1 left."""

_STATS = ("effect", "variance", "dof", "n")
_OF_MANY_DIGITS = ("effect", "variance")


def pooling_key(
    observation: Observation,
    input_hashes: Mapping[str, str] | None = None,
    structures: Sequence[str] = (),
) -> str:
    """Hash what a pooled map depends on: the bytes of its inputs, and how they are combined.

    ``input_hashes``, by path, are those of the very bytes that were pooled; other files are read now.
    """
    inputs = _fingerprint(observation, input_hashes or {})
    content = {
        "format": _FORMAT,
        "observation": inputs,
        "settings": {"structures": list(structures)} if structures else {},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def is_pooled(output_dir: Path, observation: Observation) -> bool:
    """Whether a finished pooled map of some key stands in OUTPUT_DIR: only then is there a key to compare."""
    return _read_sidecar(output_dir, observation).pooling_key not in (None, _PENDING)


def write_pooled(output_dir: Path, pooled: PooledMap, key: str, *, dataset_names: Mapping[str, Path]) -> None:
    """Write effect, variance, dof and number of maps of one observation, each with its sidecar.

    Missing elements are 0 in every map and 0 in ``stat-n``. The effect's sidecar, with the key and the hashes
    of the maps, comes first: it says whose the other names are. Nobody waits for the disk: what is lost is
    found when it is read, and `marks_of` are noted before. No earlier map stands beside a new sidecar.
    """
    observation = pooled.observation
    volumes: dict[str, npt.NDArray[Any]] = {"n": pooled.n_maps}
    is_observed = pooled.n_maps > 0
    for stat in ("dof", "variance", "effect"):
        if (values := getattr(pooled, stat)) is None:
            continue
        if np.count_nonzero(is_observed > np.isfinite(values)):
            raise BidsGroupError(f"The pooled {stat} of {observation.label} has values that are no numbers.")
        volumes = {stat: np.broadcast_to(values, pooled.effect.shape), **volumes}
    paths = {stat: pooled_path(output_dir, observation, stat) for stat in _STATS}
    payloads: dict[Path, bytes] = {}
    hashes = {
        stat: write_map(
            paths[stat],
            volume,
            pooled.space,
            name=shared_entities(observation.maps)["space"],
            where=None if stat == "n" else is_observed,
            is_cache=stat in _OF_MANY_DIGITS,
            write=payloads.__setitem__,
        )
        for stat, volume in volumes.items()
    }
    sidecars = pooled_sidecar(pooled, volumes, dataset_names)
    most = pooled.dominant and LargestWeight(source=pooled.dominant[0], share=pooled.dominant[1])
    affine = pooled.space.affine if isinstance(pooled.space, Grid) else None  # of which NIfTI keeps float32
    own = Sidecar(pooling_key=key, files=hashes, affine=affine, largest_weight=most)
    first, *others = expand(sidecar_path(paths["effect"]))
    for path in (*paths.values(), *map(sidecar_path, paths.values())):
        for one in expand(path):
            if one != first:
                one.unlink(missing_ok=True)
    write_json(first, sidecars["effect"].but(own), write_cache)
    for path, payload in payloads.items():
        write_cache(path, payload)
    for path in others:
        write_json(path, sidecars["effect"].but(own), write_cache)
    for stat in set(volumes) - {"effect"}:
        for path in expand(sidecar_path(paths[stat])):
            write_json(path, sidecars[stat], write_cache)


def read_pooled(
    output_dir: Path, observation: Observation, key: str, *, dataset_names: Mapping[str, Path]
) -> PooledMap | None:
    """Read a pooled map written under the same key, bit for bit; None where none stands as written."""
    sidecar = _read_sidecar(output_dir, observation)
    if sidecar.pooling_key != key:
        return None
    volumes: dict[str, npt.NDArray[np.float32]] = {}
    space: Space | None = None
    for stat, sha256 in (sidecar.files or {}).items():
        path = pooled_path(output_dir, observation, stat)
        try:
            loaded = read_map(path)
        except BidsGroupError:
            return None
        if None in map(peek_json, expand(sidecar_path(path))) or loaded.sha256 != sha256:
            return None
        volumes[stat], space = loaded.data, loaded.space
    if space is None:
        return None
    if sidecar.affine is not None:
        space = Grid(shape=space.grid.shape, affine=np.asarray(sidecar.affine, dtype=np.float64))
    counts = volumes.pop("n")
    n_maps = counts.astype(np.uint8) if counts.max() <= np.iinfo(np.uint8).max else counts.astype(np.uint16)
    missing = n_maps == 0
    maps = {stat: np.where(missing, np.float32(np.nan), volume) for stat, volume in volumes.items()}
    if isinstance(sidecar.degrees_of_freedom, (int, float)):
        maps["dof"] = np.asarray(sidecar.degrees_of_freedom, dtype=np.float32)
    most = sidecar.largest_weight
    files = {bids_uri(path, dataset_names): str(path) for one in observation.maps for path in one.files}
    return PooledMap(
        observation=observation,
        space=space,
        effect=maps["effect"],
        variance=maps.get("variance"),
        dof=maps.get("dof"),
        n_maps=n_maps,
        input_hashes={files.get(uri, uri): one for uri, one in (sidecar.input_hashes or {}).items()},
        dominant=None if most is None else (most.source, most.share),
    )


def _fingerprint(source: Observation | FirstLevelMap, known: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(source, FirstLevelMap):
        files = {"effect": source.effect, "variance": source.variance, "dof": source.dof, "mask": source.mask}
        hashes = {
            stat: known.get(str(file)) or hash_map(file) if isinstance(file, Path) else file
            for stat, file in files.items()
        }
        name = {"name": source.effect.name, "input_stat": source.input_stat}
        has_own = source.mask is not None and source.mask_threshold is not None
        scale = {"variance_scale": source.variance_scale} if source.variance_scale != 1 else {}
        return {**name, **hashes, **({"mask_threshold": source.mask_threshold} if has_own else {}), **scale}
    return {
        "label": source.label,
        "contrast": source.contrast,
        "combine": source.combine,
        "weights": source.weights,
        "sources": [_fingerprint(one, known) for one in source.sources],
    }


def marks_of(observations: Iterable[Observation]) -> list[Path]:
    """Name the sidecars that say whose pooled maps are, relative to OUTPUT_DIR; each is written first."""
    return [_mark_of(Path(), one) for one in observations]


def _mark_of(output_dir: Path, observation: Observation) -> Path:
    return expand(sidecar_path(pooled_path(output_dir, observation, "effect")))[0]


def check_pooled_names(output_dir: Path, observations: Iterable[Observation]) -> None:
    """Refuse to write pooled maps where files of others, or inputs, stand; nothing has been written yet.

    Ours are known by the key in the effect's sidecar, which is written before them, or by a damaged one
    that a run had noted.
    """
    in_work = marks_in_work(output_dir)
    there: dict[Path, frozenset[str]] = {}
    for one in observations:
        folder = pooled_path(output_dir, one, "effect").parent
        if folder not in there:  # which may still have to be made
            nearest = next(above for above in (folder, *folder.parents) if os.path.lexists(above))
            if not nearest.is_dir():
                raise OutputError(f"A folder for pooled maps cannot be made: {nearest} is no folder.")
            there[folder] = frozenset(path.name for path in (folder.iterdir() if nearest == folder else ()))
        if not there[folder]:
            continue
        named = ((pooled_path(output_dir, one, stat), stat) for stat in _STATS)
        images = {file: stat for path, stat in named for file in expand(path)}
        wanted = images | {sidecar_path(path): stat for path, stat in images.items()}
        wanted = {path: stat for path, stat in wanted.items() if path.name in there[folder]}
        sidecar = _read_sidecar(output_dir, one, in_work) if wanted else Sidecar()
        own = _STATS if sidecar.pooling_key == _PENDING else (sidecar.pooling_key and sidecar.files) or ()
        read = (file for each in one.maps for path in each.files for file in expand(path))
        inputs = {file.name: file.resolve() for file in read} if wanted else {}
        for path, stat in wanted.items():
            is_folder = path.is_dir() and not path.is_symlink()
            if stat not in own or is_folder or inputs.get(path.name) == path.resolve():
                raise OutputError(
                    f"The pooled map of {one.label} would overwrite a file of another program: {path}.",
                    expected="an OUTPUT_DIR in which no other program wrote a map of this name",
                    fix="Give another OUTPUT_DIR.",
                )


def _read_sidecar(
    output_dir: Path, observation: Observation, in_work: Collection[Path] = frozenset()
) -> Sidecar:
    """Read what stands beside the effect and marks it as ours; one ``in_work`` may be damaged."""
    path = _mark_of(output_dir, observation)
    found = peek_json(path)
    content = found or {}
    with suppress(AttributeError, TypeError, ValueError):  # of a record in it that is none
        sidecar = Sidecar.read(content)
        affine = np.asarray(np.eye(4) if sidecar.affine is None else sidecar.affine, dtype=np.float64)
        hashes = [{} if one is None else one for one in (sidecar.files, sidecar.input_hashes)]
        are_texts = all(isinstance(v, str) for one in hashes for v in one.values())
        is_lost = found is None and path.relative_to(output_dir) in in_work and path.is_file()
        if affine.shape == (4, 4) and are_texts and not is_lost:
            return sidecar
    is_ours = found is None or Sidecar.key_of("pooling_key") in content
    return Sidecar(pooling_key=_PENDING) if is_ours else Sidecar()  # damaged: pooled again
