"""The command ``bids-group-demo``: what it prints, its exit codes, and the official validator's verdict."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bids_group.demo import KINDS, main, write_demo
from bids_group.demo.cli import name_program


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_official_validator_finds_no_error(kind: str, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("bids-validator-deno")
    if not command.exists():
        pytest.skip("bids-validator-deno is not installed")
    truth = write_demo(tmp_path / "demo", kind=kind)
    for folder in (truth.bids_dir, truth.derivative_dir):
        verdict = subprocess.run([command, folder], capture_output=True, text=True, check=False)
        assert verdict.returncode == 0, verdict.stdout
        assert "[ERROR]" not in verdict.stdout


def test_the_command_writes_within_20_s_and_prints_commands_that_name_the_folder(tmp_path: Path) -> None:
    before = os.times()
    done = run_python("-m", "bids_group.demo", str(tmp_path / "my demo"))
    assert os.times().children_user - before.children_user < 20  # of a processor: the machine may be busy
    assert done.returncode == 0, done.stderr
    folder = f"'{tmp_path / 'my demo'}'"
    assert f"bids-group {folder} '{tmp_path / 'my demo'}-out' group" in done.stdout
    assert (tmp_path / "my demo" / "participants.tsv").read_text().count("\n") == 26


def test_the_printed_commands_can_be_pasted_where_the_program_is_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / ".venv" / "bin" / "bids-group"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    assert name_program() == str(Path(".venv", "bin", "bids-group"))
    monkeypatch.setenv("PATH", str(program.parent))
    assert name_program() == "bids-group"


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from bids_group.demo.cli import build_parser; build_parser(); print(*sys.modules)"
    modules = run_python("-c", code).stdout.split()
    assert "bids_group.demo.cli" in modules
    assert not {"numpy", "nibabel", "pandas", "scipy"} & set(modules)


def test_an_unknown_option_exits_64(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["somewhere", "--sort", "slopes"])
    assert left.value.code == 64
    assert "--sort" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_exits_73(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file" / "demo")]) == 73
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_the_console_script_is_installed() -> None:
    """The console script is declared and finds its function."""
    script = shutil.which("bids-group-demo", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("bids-group is not installed as a package here")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("bids-group-demo ")
