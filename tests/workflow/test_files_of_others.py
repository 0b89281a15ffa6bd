"""OUTPUT_DIR is shared with others: nothing of theirs is replaced, removed or followed."""

import json
import shutil
from pathlib import Path

import pytest

import bids_group.output
from bids_group.cli import main

MERGED = {"README.md", ".bidsignore", "dataset_description.json"}
FOREIGN = b"of somebody else\n"
JOB = ["group", "-q"]
BARE = [*JOB, "--no-report"]


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): b"link" if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def plant(path: Path, content: bytes = FOREIGN) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    """A folder after a run: never write into it."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert main([str(small), str(out), *JOB]) == 0
    return out


@pytest.fixture
def own(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "out")


@pytest.fixture(scope="module")
def finished_bare(small, tmp_path_factory):
    """A folder after a run without a report: never write into it."""
    out = tmp_path_factory.mktemp("bare") / "out"
    assert main([str(small), str(out), *BARE]) == 0
    return out


@pytest.fixture
def bare(finished_bare, tmp_path):
    return shutil.copytree(finished_bare, tmp_path / "out")


def names_written(finished: Path) -> list[str]:
    """Every name the app wrote but those that hold a time; of people and of ``group/`` a few of each kind."""
    names = [name for name in files_below(finished) if name not in MERGED and not name.endswith(".log")]
    people = [name for name in names if name.startswith("sub-")]
    results = [name for name in names if name.startswith("group/")]
    return [one for one in names if one not in {*people, *results}] + people[:4] + people[-4:] + results[::9]


def test_every_file_that_is_written_is_listed(finished):
    """But pooled maps, which are known by their key, what is joined with others' and logs with a time."""
    listed = set(json.loads((finished / "code" / "outputs.json").read_text())["Files"])
    written = {
        name for name in files_below(finished) if not name.startswith("sub-") and not name.endswith(".log")
    }
    assert written - MERGED - {"code/outputs.json", "code/analysis.json"} == listed


def test_a_foreign_file_of_any_name_of_ours_is_refused_and_kept(small, finished, tmp_path, capsys):
    names = names_written(finished)
    assert {"participants.tsv", "ledger.tsv", "report.html", "code/command.json", "code/outputs.json"} < {
        *names
    }
    assert {"logs/CITATION.md", "code/analysis.json", "participants.json"} < {*names}
    for number, name in enumerate(names):
        out = tmp_path / str(number)
        planted = plant(out / name)
        assert main([str(small), str(out), *JOB]) == 73, name
        assert str(planted) in capsys.readouterr().err
        assert files_below(out) == {name: FOREIGN}, name


@pytest.mark.parametrize("name", ["participants.tsv", "participants.json", "ledger.tsv", "code/outputs.json"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "folder", "JSON"])
def test_participant_jobs_refuse_too(small, tmp_path, name, kind):
    out, elsewhere = tmp_path / "out", plant(tmp_path / "elsewhere")
    path = plant(out / name, b"{}" if kind == "JSON" else FOREIGN)
    if kind in ("link", "dangling link", "folder"):
        path.unlink()
        path.mkdir() if kind == "folder" else path.symlink_to(elsewhere if kind == "link" else "nowhere")
    before = files_below(tmp_path)
    assert main([str(small), str(out), "participant", "--participant-label", "01", "-q"]) == 73
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("stat", ["effect", "variance", "n"])
@pytest.mark.parametrize("ending", ["nii.gz", "json"])
def test_pooled_names_are_refused_before_anything_is_written(small, finished, tmp_path, stat, ending):
    name = next(
        name
        for name in files_below(finished)
        if name.endswith(f"stat-{stat}_statmap.{ending}") and "sub-" in name
    )
    person = name.split("/")[0].removeprefix("sub-")
    plant(tmp_path / "out" / name, b'{"Sources": []}')
    for level in (["participant", "--participant-label", person], ["group"]):
        assert main([str(small), str(tmp_path / "out"), *level, "-q"]) == 73
        assert list(files_below(tmp_path / "out")) == [name]


@pytest.mark.parametrize("name", ["group/notes.txt", "group/figures/mine.png", "group/node-x/a_design.tsv"])
@pytest.mark.parametrize(
    "extra", [[], ["--overwrite"], ["--reports-only"], ["--overwrite", "--formula", "~ age"]]
)
def test_a_foreign_file_among_the_results_is_refused(small, own, name, extra):
    plant(own / name)
    before = files_below(own)
    assert main([str(small), str(own), *JOB, *extra]) == 73
    assert files_below(own) == before


def test_a_hidden_file_among_the_results_is_nobodys_result(small, bare):
    plant(bare / "group" / ".DS_Store")
    assert main([str(small), str(bare), *BARE]) == 0
    assert (bare / "group" / ".DS_Store").read_bytes() == FOREIGN


@pytest.mark.parametrize("folder", ["group", "code", "logs", "group/figures"])
def test_a_folder_that_is_a_link_is_not_followed(small, own, tmp_path, folder):
    """Also where names behind the link are in our list: the folder was moved away and is shared."""
    (own / folder).rename(tmp_path / "elsewhere")
    (own / folder).symlink_to(tmp_path / "elsewhere")
    before = files_below(tmp_path / "elsewhere")
    for extra in ([], ["--overwrite", "--formula", "~ age"]):
        assert main([str(small), str(own), *JOB, *extra]) == 73
    assert files_below(tmp_path / "elsewhere") == before


def test_an_own_file_that_is_a_link_is_replaced_not_followed(small, own, tmp_path):
    """As DataLad leaves them: the content elsewhere is not ours to change."""
    kept = {}
    for number, name in enumerate(["participants.tsv", "report.html", "code/command.json"]):
        kept[tmp_path / str(number)] = (own / name).read_bytes()
        (own / name).rename(tmp_path / str(number))
        (own / name).symlink_to(tmp_path / str(number))
    assert main([str(small), str(own), *JOB]) == 0
    assert {path: path.read_bytes() for path in kept} == kept


def test_output_dir_itself_may_be_a_link(small, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    for _ in range(2):
        assert main([str(small), str(tmp_path / "out"), *JOB, "--no-report"]) == 0


def test_the_same_command_again_and_overwriting_are_no_refusal(small, bare, contents_of):
    before = contents_of(bare)
    assert main([str(small), str(bare), *BARE]) == 0
    assert contents_of(bare) == before
    assert main([str(small), str(bare), *BARE, "--formula", "~ age", "--overwrite"]) == 0
    assert main([str(small), str(bare), *BARE, "--overwrite"]) == 0
    assert contents_of(bare) == before


def test_what_release_0_1_wrote_is_our_own(small, own, contents_of):
    """Its list lacks the common files; its participant jobs left no list at all."""
    before = contents_of(own)
    path = own / "code" / "outputs.json"
    lists = json.loads(path.read_text())
    del lists["Format"]
    lists["Files"] = [name for name in lists["Files"] if name.startswith(("group/", "code/model", "report"))]
    path.write_text(json.dumps(lists))
    assert main([str(small), str(own), "group", "--reports-only", "-q"]) == 0
    assert main([str(small), str(own), *JOB]) == 0
    assert contents_of(own) == before


def test_participant_jobs_of_release_0_1_are_our_own(small, tmp_path, finished_bare, contents_of):
    out = tmp_path / "out"
    assert main([str(small), str(out), "participant", "-q"]) == 0
    shutil.rmtree(out / "code")
    assert main([str(small), str(out), "participant", "--participant-label", "01", "-q"]) == 0
    assert main([str(small), str(out), *BARE]) == 0
    assert contents_of(out) == contents_of(finished_bare)


def test_what_others_keep_in_the_work_folder_stays(small, tmp_path):
    precious = plant(tmp_path / "out" / ".work" / "shuffles-mine" / "precious.npy")
    shuffled = ["--correction", "fwe-voxel", "--n-permutations", "20", "--no-report"]
    assert main([str(small), str(tmp_path / "out"), *JOB, *shuffled]) == 0
    assert files_below(tmp_path / "out" / ".work") == {"shuffles-mine/precious.npy": FOREIGN}
    precious.unlink()
    precious.parent.rmdir()
    assert main([str(small), str(tmp_path / "out"), *JOB, *shuffled]) == 0
    assert not (tmp_path / "out" / ".work").exists()


@pytest.mark.parametrize(
    "content",
    ["[]", "{", '{"GeneratedBy": "me"}', '{"DatasetType": "raw", "Name": "x", "BIDSVersion": "1.8.0"}'],
)
def test_a_description_that_cannot_be_joined_is_kept(small, tmp_path, content):
    plant(tmp_path / "out" / "dataset_description.json", content.encode())
    assert main([str(small), str(tmp_path / "out"), *JOB]) == 73
    assert files_below(tmp_path / "out") == {"dataset_description.json": content.encode()}


@pytest.mark.parametrize(
    "place, code, is_named",
    [
        ("derivatives", 73, False),
        ("derivatives", 73, True),
        ("derivatives/firstlevel/group-out", 73, False),
        ("derivatives/firstlevel/group-out", 73, True),
        ("derivatives/firstlevel/sub-01/out", 73, True),
        ("derivatives/firstlevel", 0, True),
        ("derivatives/firstlevel/derivatives/bids_group", 0, False),
        ("derivatives/bids_group", 0, True),
    ],
)
def test_where_output_dir_may_be(small_copy, place, code, is_named):
    (source,) = [folder for folder in (small_copy / "derivatives").iterdir() if folder.is_dir()]
    source.rename(small_copy / "derivatives" / "firstlevel")
    before = files_below(small_copy)
    named = ["-d", str(small_copy / "derivatives" / "firstlevel")] if is_named else []
    out = small_copy / place
    if place == "derivatives/firstlevel":  # names that differ from those of the inputs
        for path in list(out.rglob("*_statmap.*")):
            path.rename(path.with_name(path.name.replace("_contrast-", "_run-1_contrast-")))
        before = files_below(small_copy)
    assert main([str(small_copy), str(out), "group", "-q", "--no-report", *named]) == code
    after = files_below(small_copy)
    assert {name: after.get(name) for name in before if Path(name).name not in MERGED} == {
        name: content for name, content in before.items() if Path(name).name not in MERGED
    }
    assert code == 0 or after == before


@pytest.mark.parametrize(
    "level, moment, again",
    [
        ("group", "write_dataset", False),
        ("group", "write_group", True),
        ("group", "write_ledger", False),
        ("group", "finish_outputs", True),
        ("participant", "write_dataset", True),
        ("participant", "write_ledger", False),
        ("participant", "write_command", True),
    ],
)
def test_an_output_dir_removed_in_the_middle_is_74(
    small, tmp_path, monkeypatch, capsys, level, moment, again
):
    """``again``: somebody made an empty folder of that name."""
    do = getattr(bids_group.output, moment)

    def after_removal(*arguments, **options):
        shutil.rmtree(tmp_path / "out")
        if again:
            (tmp_path / "out").mkdir()
        return do(*arguments, **options)

    monkeypatch.setattr(bids_group.output, moment, after_removal)
    assert main([str(small), str(tmp_path / "out"), level, "-q", "--no-report"]) == 74
    assert "was removed or moved while the run wrote into it" in capsys.readouterr().err


def test_results_removed_in_the_middle_are_74(small, tmp_path, monkeypatch):
    write = bids_group.output.write_ledger

    def after_removal(output_dir, *arguments, **options):
        next((output_dir / "group").glob("*_stat-t_statmap.nii.gz")).unlink()
        return write(output_dir, *arguments, **options)

    monkeypatch.setattr(bids_group.output, "write_ledger", after_removal)
    assert main([str(small), str(tmp_path / "out"), *JOB, "--no-report"]) == 74


def test_the_report_alone_respects_the_lock_and_what_is_held(small, own):
    before = files_below(own)
    with bids_group.output.claim_output(own, small, level="group"):
        assert main([str(small), str(own), "group", "--reports-only", "-q"]) == 75
    assert files_below(own) == before
    assert main([str(small), str(own), "group", "--reports-only", "-q"]) == 0
    assert files_below(own) == before


def test_the_report_alone_makes_no_folder(small, tmp_path):
    assert main([str(small), str(tmp_path / "out"), "group", "--reports-only", "-q"]) == 66
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["report.html", "logs/CITATION.md"])
def test_the_report_alone_replaces_nothing_of_others(small, tmp_path, name):
    out = tmp_path / "out"
    assert main([str(small), str(out), *BARE]) == 0
    lists = json.loads((out / "code" / "outputs.json").read_text())
    lists["Files"] = [one for one in lists["Files"] if one != name]
    (out / "code" / "outputs.json").write_text(json.dumps(lists))
    plant(out / name)
    assert main([str(small), str(out), "group", "--reports-only", "-q"]) == 73
    assert (out / name).read_bytes() == FOREIGN
