from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_group.elements import Grid
from bids_group.errors import BidsGroupError, MissingInputError, OutputError
from bids_group.output import (
    check_pooled_names,
    confirm_outputs,
    marks_of,
    pooled_path,
    pooling_key,
    read_pooled,
    record_outputs,
    write_pooled,
)
from bids_group.output.files.names import sidecar_path
from bids_group.records import FirstLevelMap, Observation, PooledMap

MakeMap = Callable[..., FirstLevelMap]
MakePooled = Callable[..., PooledMap]


def bytes_below(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def roots(tmp_path: Path) -> dict[str, Path]:
    return {"firstlevel": tmp_path / "firstlevel"}


@pytest.mark.parametrize("dof", ["map", None, np.asarray(np.float32(37.5))])
def test_pooled_maps_come_back_bit_for_bit(tmp_path: Path, make_pooled: MakePooled, dof: object) -> None:
    pooled = make_pooled(dof=dof)
    odd = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0] * 2.1
    affine = np.eye(4)
    affine[:3, :3] = odd
    pooled = replace(pooled, space=Grid(shape=pooled.grid.shape, affine=affine))
    key = pooling_key(pooled.observation)
    write_pooled(tmp_path / "out", pooled, key, dataset_names=roots(tmp_path))
    again = read_pooled(tmp_path / "out", pooled.observation, key, dataset_names=roots(tmp_path))
    assert again is not None
    for stat in ("effect", "variance", "n_maps", "dof"):
        one, other = getattr(pooled, stat), getattr(again, stat)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            assert one.shape == other.shape
            assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    assert again.grid.affine.tobytes() == affine.tobytes()  # not rounded to float32
    assert dict(again.input_hashes) == dict(pooled.input_hashes)


def test_files_hold_zero_where_a_map_is_missing(tmp_path: Path, make_pooled: MakePooled) -> None:
    pooled = make_pooled()
    write_pooled(tmp_path, pooled, "key", dataset_names={})
    missing = pooled.n_maps == 0
    assert missing.any()
    for stat in ("effect", "variance", "dof", "n"):
        data = np.asarray(nib.load(pooled_path(tmp_path, pooled.observation, stat)).dataobj)
        assert data.dtype == (np.uint8 if stat == "n" else np.float32)
        assert np.isfinite(data).all()
        assert not data[missing].any()
        assert data[~missing].all()


def test_more_than_255_maps_are_counted(tmp_path: Path, make_pooled: MakePooled) -> None:
    pooled = make_pooled()
    pooled = replace(pooled, n_maps=pooled.n_maps.astype(np.uint16) * 200)
    write_pooled(tmp_path, pooled, "key", dataset_names={})
    again = read_pooled(tmp_path, pooled.observation, "key", dataset_names={})
    assert again is not None
    assert again.n_maps.max() == 400


def test_names_leave_out_the_run_and_keep_what_all_maps_share(make_map: MakeMap) -> None:
    one = make_map("01", run="1", session="a", res="2")
    two = make_map("01", run="2", session="b", res="2")
    observation = Observation(subject="01", contrast="faces > houses", sources=(one, two))
    assert pooled_path(Path("out"), observation, "effect") == Path(
        "out/sub-01/func/sub-01_task-faces_space-MNI152NLin2009cAsym_res-2_contrast-facesGtHouses_stat-effect_statmap.nii.gz"
    )
    nested = Observation(subject="01", contrast="faces", sources=(observation,), session="a")
    assert pooled_path(Path("out"), nested, "variance").name.startswith("sub-01_ses-a_task-faces_space")
    assert pooled_path(Path("out"), nested, "variance").parts[:4] == ("out", "sub-01", "ses-a", "func")


def test_entities_that_maps_lack_are_left_out(make_map: MakeMap) -> None:
    bare = make_map("01", task=None, space=None)
    observation = Observation(subject="01", contrast="faces", sources=(bare,))
    assert (
        pooled_path(Path(), observation, "effect").name == "sub-01_contrast-faces_stat-effect_statmap.nii.gz"
    )


def test_the_key_knows_every_byte_every_weight_and_every_setting(make_map: MakeMap, tmp_path: Path) -> None:
    maps = (make_map("01", run="1"), make_map("01", run="2"))
    observation = Observation(subject="01", contrast="faces", sources=maps)
    variants = [
        observation,
        replace(observation, combine="mean"),
        replace(observation, combine="weights", weights=(1.0, -1.0)),
        replace(observation, combine="weights", weights=(1.0, 1.0)),
        replace(observation, sources=maps[::-1]),
        replace(observation, sources=maps[:1]),
        replace(observation, sources=(replace(maps[0], dof=10.0), maps[1])),
        replace(observation, sources=(replace(maps[0], mask=maps[0].variance), maps[1])),
        replace(observation, sources=(replace(maps[0], variance=None), maps[1])),
        replace(observation, sources=(replace(observation, sources=maps[:1]), maps[1])),
    ]
    keys = [pooling_key(one) for one in variants]
    assert len(set(keys)) == len(variants)
    assert pooling_key(observation, {str(maps[0].effect): "a" * 64}) != keys[0]
    maps[0].effect.write_text("other bytes")
    assert pooling_key(observation) != keys[0]


def test_the_key_does_not_know_where_the_dataset_lies(make_map: MakeMap, tmp_path: Path) -> None:
    one = make_map("01", run="1")
    key = pooling_key(Observation(subject="01", contrast="faces", sources=(one,)))
    (tmp_path / "firstlevel").rename(tmp_path / "moved")
    moved = replace(
        one,
        effect=tmp_path / "moved/sub-01" / one.effect.name,
        variance=tmp_path / "moved/sub-01" / one.variance.name,
    )  # type: ignore[union-attr]
    assert pooling_key(Observation(subject="01", contrast="faces", sources=(moved,))) == key


def test_a_dangling_link_is_named_with_its_fix(make_map: MakeMap) -> None:
    one = make_map("01", run="1")
    one.effect.unlink()
    one.effect.symlink_to("nowhere")
    with pytest.raises(MissingInputError, match="datalad get"):
        pooling_key(Observation(subject="01", contrast="faces", sources=(one,)))


def test_another_key_or_a_changed_file_is_no_cache(tmp_path: Path, make_pooled: MakePooled) -> None:
    pooled = make_pooled()
    observation = pooled.observation
    write_pooled(tmp_path, pooled, "key", dataset_names={})
    assert read_pooled(tmp_path, observation, "other", dataset_names={}) is None
    for stat in ("effect", "variance", "dof", "n"):
        path = pooled_path(tmp_path, observation, stat)
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])
        assert read_pooled(tmp_path, observation, "key", dataset_names={}) is None
        path.unlink()
        assert read_pooled(tmp_path, observation, "key", dataset_names={}) is None
        path.write_bytes(whole)
    assert read_pooled(tmp_path, observation, "key", dataset_names={}) is not None


@pytest.mark.parametrize("has_earlier", [True, False])
@pytest.mark.parametrize("n_files", range(10))
def test_a_write_that_dies_between_files_is_no_cache_and_can_be_repeated(
    tmp_path: Path,
    make_pooled: MakePooled,
    monkeypatch: pytest.MonkeyPatch,
    n_files: int,
    has_earlier: bool,
) -> None:
    """Writing the second version of the maps is interrupted after each of its eight files."""
    first, second = make_pooled(seed=1), make_pooled(seed=2)
    if has_earlier:
        write_pooled(tmp_path / "out", first, "first", dataset_names={})
    original, written = Path.replace, []

    def die_later(self: Path, target: Path) -> Path:
        if len(written) == n_files:
            raise KeyboardInterrupt
        written.append(target)
        return original(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die_later)
        try:
            write_pooled(tmp_path / "out", second, "second", dataset_names={})
        except KeyboardInterrupt:
            is_whole = read_pooled(tmp_path / "out", second.observation, "second", dataset_names={})
            assert is_whole is None
            stale = read_pooled(tmp_path / "out", first.observation, "first", dataset_names={})
            assert stale is None
    write_pooled(tmp_path / "out", second, "second", dataset_names={})
    write_pooled(tmp_path / "undisturbed", second, "second", dataset_names={})
    assert bytes_below(tmp_path / "out") == bytes_below(tmp_path / "undisturbed")


def test_the_same_person_pooled_twice_gives_the_same_bytes(tmp_path: Path, make_pooled: MakePooled) -> None:
    for folder in ("a", "b"):
        write_pooled(tmp_path / folder, make_pooled(), "key", dataset_names=roots(tmp_path))
    assert bytes_below(tmp_path / "a") == bytes_below(tmp_path / "b")
    assert len(bytes_below(tmp_path / "a")) == 8


def test_maps_without_variance_remove_the_variance_of_an_earlier_run(
    tmp_path: Path, make_pooled: MakePooled
) -> None:
    pooled = make_pooled()
    write_pooled(tmp_path / "out", pooled, "key", dataset_names={})
    write_pooled(tmp_path / "out", replace(pooled, variance=None), "other", dataset_names={})
    assert not list((tmp_path / "out").rglob("*variance*"))


def test_a_map_of_another_program_is_never_overwritten(tmp_path: Path, make_pooled: MakePooled) -> None:
    pooled = make_pooled()
    path = pooled_path(tmp_path, pooled.observation, "effect")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"of another program")
    with pytest.raises(OutputError, match="another program"):
        check_pooled_names(tmp_path, [pooled.observation])


@pytest.mark.parametrize(
    "noted, mark, is_ours",
    [
        (True, b"", True),  # what a loss of power leaves of a file that was written
        (True, b'{"EstimationMethod": "Fix', True),
        (True, bytes(100), True),
        (True, None, False),  # the sidecar is written first: a map without one is of another program
        (True, b'{"Description": "of another program"}', False),
        (False, b"", False),
        (False, bytes(100), False),
    ],
)
def test_a_damaged_sidecar_is_ours_where_a_run_had_noted_it(
    tmp_path: Path, make_pooled: MakePooled, noted: bool, mark: bytes | None, is_ours: bool
) -> None:
    pooled = make_pooled()
    (name,) = marks_of([pooled.observation])
    if noted:
        record_outputs(tmp_path, (), [name])
    write_pooled(tmp_path, pooled, "key", dataset_names={})
    (tmp_path / name).unlink()
    if mark is not None:
        (tmp_path / name).write_bytes(mark)
    if is_ours:
        check_pooled_names(tmp_path, [pooled.observation])
    else:
        with pytest.raises(OutputError, match="another program"):
            check_pooled_names(tmp_path, [pooled.observation])


def test_a_sidecar_is_noted_until_the_disk_holds_it(
    tmp_path: Path, make_pooled: MakePooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooled, synced = make_pooled(), []
    (name,) = marks_of([pooled.observation])
    listed = tmp_path / "code" / "outputs.json"
    record_outputs(tmp_path, (), [name])
    assert json.loads(listed.read_text())["Pooling"] == [name.as_posix()]
    write_pooled(tmp_path, pooled, "key", dataset_names={})

    def sync(opened: int) -> None:
        if os.fstat(opened).st_ino == (tmp_path / name).stat().st_ino:
            synced.append("Pooling" in json.loads(listed.read_text()))

    monkeypatch.setattr(os, "fsync", sync)
    confirm_outputs(tmp_path, [name])
    assert synced == [True]
    assert "Pooling" not in json.loads(listed.read_text())


def test_an_input_is_never_overwritten(tmp_path: Path, make_map: MakeMap, make_pooled: MakePooled) -> None:
    pooled = make_pooled()
    path = pooled_path(tmp_path, pooled.observation, "effect")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"input")
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text('{"PoolingKey": "x"}')
    source = replace(pooled.observation.maps[0], effect=path)
    with pytest.raises(OutputError):
        check_pooled_names(tmp_path, [replace(pooled.observation, sources=(source,))])


def test_numbers_that_are_none_inside_the_observed_elements_are_refused(
    tmp_path: Path, make_pooled: MakePooled
) -> None:
    pooled = make_pooled()
    effect = pooled.effect.copy()
    effect[pooled.n_maps > 0] = np.inf
    with pytest.raises(BidsGroupError, match="effect"):
        write_pooled(tmp_path / "out", replace(pooled, effect=effect), "key", dataset_names={})
    assert not (tmp_path / "out").exists()


def test_sidecars_name_their_sources_and_no_place_on_this_machine(
    tmp_path: Path, make_pooled: MakePooled
) -> None:
    pooled = make_pooled()
    write_pooled(tmp_path / "out", pooled, "key", dataset_names=roots(tmp_path))
    for kind in ("effect", "variance", "dof", "n"):
        path = sidecar_path(pooled_path(tmp_path / "out", pooled.observation, kind))
        sidecar = json.loads(path.read_text())
        stat = "variance" if kind == "variance" else "effect"
        expected = [f"bids:firstlevel:sub-01/sub-01_run-{run}_stat-{stat}_statmap.nii.gz" for run in (1, 2)]
        assert sidecar["Sources"] == expected
        assert str(tmp_path) not in path.read_text()
