from __future__ import annotations

import errno
import gzip
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.elements import Grid, gzip_bytes
from bids_group.errors import OutputError, RunError
from bids_group.output.disk import lock, map_files
from bids_group.output.disk.map_files import write_map
from bids_group.output.disk.publishing import write_bytes
from bids_group.output.disk.writing import json_text, table_text, write_text

GRID = Grid(shape=(4, 5, 6), affine=np.diag([2.0, 2, 2, 1]))


def test_a_table_is_spelled_as_bids_wants_it() -> None:
    table = pd.DataFrame(
        {
            "who": ["sub-01", "a\tb\nc", ""],
            "x": [1.0, np.nan, 0.1],
            "small": np.array([0.1, 1e-30, -0.0], dtype=np.float32),
            "n": [1, 2, 3],
            "is_in": [True, False, True],
            "maybe": [None, "yes", pd.NA],
        }
    )
    assert table_text(table) == (
        "who\tx\tsmall\tn\tis_in\tmaybe\n"
        "sub-01\t1\t0.1\t1\ttrue\tn/a\n"
        "a b c\tn/a\t1e-30\t2\tfalse\tyes\n"
        "n/a\t0.1\t0\t3\ttrue\tn/a\n"
    )


def test_numbers_of_a_table_come_back_exactly() -> None:
    values = np.random.default_rng(0).standard_normal(500) * 10.0 ** np.arange(-250, 250)
    lines = table_text(pd.DataFrame({"x": values})).splitlines()[1:]
    assert [float(line) for line in lines] == values.tolist()


def test_json_holds_plain_types_only() -> None:
    content = {
        "a": np.float32(0.1),
        "b": np.arange(2),
        "c": float("nan"),
        "d": Path("x"),
        "e": np.True_,
        5: {2, 1},
    }
    assert json.loads(json_text(content)) == {
        "a": 0.1,
        "b": [0, 1],
        "c": None,
        "d": "x",
        "e": True,
        "5": [1, 2],
    }


def test_compressed_bytes_are_plain_gzip_and_do_not_vary() -> None:
    payload = np.random.default_rng(0).bytes(100_000) + bytes(100_000)
    first = gzip_bytes(payload)
    time.sleep(1.1)  # a time stamp would count seconds
    assert gzip.decompress(first) == payload
    assert gzip_bytes(payload) == first


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int32])
def test_a_volume_comes_back_with_its_type_and_place(tmp_path: Path, dtype: type) -> None:
    affine = np.array([[-2.0, 0.1, 0, 90], [0.1, 2, 0, -126], [0, 0, 2.5, -72], [0, 0, 0, 1]])
    volume = (np.random.default_rng(0).random(GRID.shape) * 100).astype(dtype)
    write_map(tmp_path / "a.nii.gz", volume, Grid(shape=GRID.shape, affine=affine), name="MNI152Lin")
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == dtype
    assert np.array_equal(np.asarray(image.dataobj), volume)
    assert np.allclose(image.affine, affine, atol=1e-5)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (4, 4)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "u1", "<i4"])
@pytest.mark.parametrize("more", [(), (2,)])
def test_a_volume_is_stored_as_nibabel_stores_it(tmp_path: Path, dtype: str, more: tuple[int, ...]) -> None:
    volume = (np.random.default_rng(0).random((*GRID.shape, *more)) * 100).astype(dtype)
    image = nib.Nifti1Image(volume.astype(volume.dtype.newbyteorder("<")), GRID.affine)
    image.set_sform(GRID.affine, 2)
    image.set_qform(GRID.affine, 2)
    image.header.set_xyzt_units("mm")
    for number, one in enumerate((volume, np.asfortranarray(volume))):
        write_map(tmp_path / f"{number}.nii.gz", one, GRID)
        assert gzip.decompress((tmp_path / f"{number}.nii.gz").read_bytes()) == image.to_bytes()


def test_the_same_volume_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).random(GRID.shape).astype(np.float32)
    for name in ("a", "another_name"):
        write_map(tmp_path / f"{name}.nii.gz", volume, GRID, intent=("t test", (4.0,)))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "another_name.nii.gz").read_bytes()


def test_equal_counts_are_packed_once_and_others_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_packed = []
    monkeypatch.setattr(map_files, "gzip_bytes", lambda *a, **k: n_packed.append(0) or gzip_bytes(*a, **k))
    ones, moved = np.ones(GRID.shape, np.uint8), np.ones(GRID.shape, np.uint8)
    moved[1, 2, 3] = 2
    elsewhere = Grid(shape=GRID.shape, affine=np.diag([3.0, 2, 2, 1]))
    for name, counts, grid in (("a", ones, GRID), ("b", ones.copy(), GRID), ("c", moved, GRID)):
        write_map(tmp_path / f"{name}.nii.gz", counts, grid)
        assert np.array_equal(np.asarray(nib.load(tmp_path / f"{name}.nii.gz").dataobj), counts)
    assert len(n_packed) == 2
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    written = write_map(tmp_path / "d.nii.gz", moved, elsewhere)
    assert np.array_equal(nib.load(tmp_path / "d.nii.gz").affine, elsewhere.affine)
    assert written == hashlib.sha256((tmp_path / "d.nii.gz").read_bytes()).hexdigest()
    assert write_map(tmp_path / "e.nii.gz", moved, elsewhere, is_cache=True) == written  # small: packed alike
    assert len(n_packed) == 4


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a.txt", "earlier")

    def fill_disk(self: Path, payload: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(payload[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    with pytest.raises(RunError, match="no space left") as caught:
        write_bytes(tmp_path / "a.txt", b"later")
    assert caught.value.exit_code == 74
    assert (tmp_path / "a.txt").read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


def test_a_file_in_the_way_of_a_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "group").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / "group" / "a.txt", "text")


def test_files_obey_the_umask_of_the_user(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def rewrite_without_end(path: Path) -> None:
    for number in range(10**9):
        write_bytes(path, bytes([number % 256]) * 8_000_000)


def test_a_process_killed_while_writing_leaves_whole_files_and_parts_that_are_swept(tmp_path: Path) -> None:
    """Rewrites one file without end, is killed, five times over."""
    for wait_s in (0.02, 0.05, 0.08, 0.11, 0.14):
        child = multiprocessing.get_context("fork").Process(
            target=rewrite_without_end, args=(tmp_path / "map.bin",)
        )
        child.start()
        while not (tmp_path / "map.bin").exists():
            time.sleep(0.01)
        time.sleep(wait_s)
        child.kill()
        child.join()
        payload = (tmp_path / "map.bin").read_bytes()
        assert len(payload) == 8_000_000
        assert set(payload) == {payload[0]}
    lock.sweep_parts(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "map.bin"]


def test_parts_of_living_processes_stay_and_of_dead_ones_go(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    mine = tmp_path / f".part-{lock.process_space()}-{os.getpid()}-1"
    dead = tmp_path / f".part-{lock.process_space()}-{child.pid}-1"
    elsewhere = tmp_path / f".part-{'0' * 12}-{child.pid}-1"
    forgotten = tmp_path / f".part-{'1' * 12}-{child.pid}-1"
    for part in (mine, dead, elsewhere, forgotten):
        part.touch()
    os.utime(forgotten, (time.time() - 7200, time.time() - 7200))
    lock.sweep_parts(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, elsewhere])
