"""Where the maps will lie is said before the work starts, and so is a disk without room for them."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from bids_group import work_files
from bids_group.cli import main
from bids_group.errors import BidsGroupError, OutputError

SHUFFLED = ["group", "--correction", "fwe-voxel", "--n-permutations", "20"]


def dry_run(small, tmp_path, capsys, *more):
    assert main([str(small), str(tmp_path / "out"), *SHUFFLED, "--dry-run", *more]) == 0
    return capsys.readouterr()


@pytest.fixture
def full_disk(monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(work_files.shutil, "disk_usage", lambda _: usage)


def test_a_dry_run_says_where_the_maps_will_lie_and_how_large_they_are(small, tmp_path, capsys):
    page = dry_run(small, tmp_path, capsys, "--mem-gb", "4").out
    assert "at most 4 GB for the whole run" in page
    assert "12 rows × about" in page
    assert "for shuffling again" in page
    assert page.count("in memory") == 2


def test_maps_beyond_half_of_the_memory_are_announced_in_the_work_folder(small, tmp_path, capsys):
    work = tmp_path / "work"
    shown = dry_run(
        small, tmp_path, capsys, "--mem-gb", "1e-5", "--work-dir", str(work), "--output-format", "json"
    )
    memory = json.loads(shown.out)["Memory"]
    assert memory["Granted"] == 1e-5
    assert f"in a file in {work}" in memory["Maps"][0]
    assert memory["Maps"][0].endswith("in a file too")
    assert "--mem-gb is 1e-05" in " ".join(shown.err.split())


def test_each_worker_of_a_cluster_here_counts_and_so_does_the_process_that_reports(small, tmp_path, capsys):
    pytest.importorskip("dask")
    for more, is_warned in (
        (["--nprocs", "2"], False),
        (["--nprocs", "2", "--executor", "dask"], True),
        (["--nprocs", "1", "--executor", "dask"], False),
        (["--executor", "dask", "--dask-scheduler", "tcp://127.0.0.1:1"], False),
    ):
        said = " ".join(dry_run(small, tmp_path, capsys, "--mem-gb", "1", *more).err.split())
        assert ("The work needs about 1.2" in said) == is_warned, more


def test_a_disk_without_room_is_refused_before_a_map_is_read(small, tmp_path, capsys, full_disk):
    few = ["--mem-gb", "1e-5"]
    assert "The run would be refused" in dry_run(small, tmp_path, capsys, *few).err
    assert main([str(small), str(tmp_path / "out"), *SHUFFLED, *few]) == 73
    said = capsys.readouterr().err
    assert "no room" in said
    assert "0.00 GB free" in said
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_files_of_a_killed_run_are_room_for_the_same_run(small, tmp_path, capsys, full_disk):
    few, out = ["--mem-gb", "1e-5"], tmp_path / "out"
    left = out / ".work" / "bids_group" / "stack_effects.float32"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(2_000_000))
    assert main([str(small), str(out), *SHUFFLED, *few, "--no-report"]) == 0


def test_without_a_mask_a_relaxed_coverage_keeps_the_whole_grid(small, tmp_path, capsys):
    asked = [str(small), str(tmp_path / "out"), "group", "--dry-run", "--output-format", "json"]
    sizes = []
    for more in ([], ["--min-coverage", "0.9"]):
        assert main([*asked, *more]) == 0
        sizes.append(int(json.loads(capsys.readouterr().out)["Memory"]["Maps"][0].split()[5]))
    volume = np.asarray(nib.load(min(small.rglob("*effect_statmap.nii.gz"))).dataobj)
    assert sizes == [np.count_nonzero(np.nan_to_num(volume)), volume.size]


def test_a_work_folder_that_cannot_be_made_is_not_called_full(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BidsGroupError) as refused:
        work_files.reserve(tmp_path / "file" / "work" / "maps", (3, 5))
    assert "room" not in str(refused.value)


def test_a_file_takes_its_place_on_the_disk_at_once(tmp_path, monkeypatch):
    values = work_files.reserve(tmp_path / "work" / "maps", (3, 5))
    assert not values.any()
    values[1] = 2.0
    work_files.drop_pages(values)
    np.testing.assert_array_equal(work_files.read_columns(values, slice(3, 9)), values[:, 3:])
    np.testing.assert_array_equal(values.sum(axis=1), [0, 10, 0])

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(work_files.os, "posix_fallocate", refuse)
    with pytest.raises(OutputError, match="no room"):
        work_files.reserve(tmp_path / "work" / "more", (3, 5))
    assert not (tmp_path / "work" / "more").exists()


@pytest.mark.parametrize(
    ("mem_gb", "places"), [("4", ["in memory", "in memory"]), ("1e-5", ["in a file", "in a file too"])]
)
def test_weighted_shuffles_take_what_was_said_an_array_for_each_direction(
    small, tmp_path, capsys, monkeypatch, mem_gb, places
):
    made, reserve = {}, work_files.reserve

    def note(path, shape):
        made[path.name] = 4 * int(np.prod(shape))
        return reserve(path, shape)

    monkeypatch.setattr(work_files, "reserve", note)
    words = [
        str(small),
        str(tmp_path / "out"),
        *SHUFFLED,
        "--mem-gb",
        mem_gb,
        "--no-report",
        "--no-sensitivity",
    ]
    words += ["--estimator", "weighted", "--formula", "~ age"]
    assert main([*words, "--dry-run", "--output-format", "json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["Memory"]["Maps"]
    maps, _, shuffled = said.partition("; for shuffling again ")
    assert places[0] in maps
    assert shuffled.endswith(places[1])
    n_maps, n_shuffled = (float(text.partition(" MB")[0].split()[-1]) for text in (maps, shuffled))
    assert n_shuffled == pytest.approx(n_maps, rel=0.1)  # effects and variances; the mean and the slope
    assert main(words) == 0
    found = [size for name, size in made.items() if "residuals" in name]
    assert len(found) == (mem_gb == "1e-5")
    assert found == [] or found[0] / 1e6 == pytest.approx(n_shuffled, rel=0.2)  # in whole tiles


@pytest.mark.parametrize("share", [1.5, 2.5])
def test_weighted_shuffles_go_into_a_file_where_memory_holds_the_maps_alone(small, tmp_path, capsys, share):
    words = [
        str(small),
        str(tmp_path / "out"),
        *SHUFFLED,
        "--estimator",
        "weighted",
        "--formula",
        "~ age + I(age**2)",
    ]
    shown = [*words, "--dry-run", "--output-format", "json"]
    assert main(shown) == 0
    (said,) = json.loads(capsys.readouterr().out)["Memory"]["Maps"]
    n_maps = float(said.partition(" MB")[0].split()[-1])
    assert main([*shown, "--mem-gb", str(2 * share * n_maps / 1e3 * 1.05)]) == 0
    (said,) = json.loads(capsys.readouterr().out)["Memory"]["Maps"]
    assert said.endswith("in memory" if share == 2.5 else "in a file")
    assert "in memory; for shuffling" in said
