"""Home folders that cannot be used."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from bids_group.cli.main import settle_home


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_home_that_can_be_used_stays(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    settle_home(environment)
    assert environment == {"HOME": str(tmp_path)}


@pytest.mark.parametrize("home", [None, "", "/nonexistent"])
def test_a_missing_home_becomes_a_private_temporary_folder(home: str | None, temporary: Path) -> None:
    environment = {} if home is None else {"HOME": home}
    settle_home(environment)
    place = Path(environment["HOME"])
    assert place.parent == temporary
    assert place.stat().st_mode & 0o777 == 0o700
    assert Path(environment["NUMBA_CACHE_DIR"]).parent == place


def test_the_second_run_finds_the_folder_of_the_first(temporary: Path) -> None:
    first: dict[str, str] = {}
    second: dict[str, str] = {}
    settle_home(first)
    settle_home(second)
    assert first == second


@pytest.mark.parametrize("is_link", [True, False])
def test_a_link_or_a_folder_that_others_can_write_to_is_not_used(temporary: Path, is_link: bool) -> None:
    trap = temporary / f"bids-group-{os.getuid()}"
    if is_link:
        (temporary / "elsewhere").mkdir()
        trap.symlink_to(temporary / "elsewhere")
    else:
        trap.mkdir()
        trap.chmod(0o777)
    environment: dict[str, str] = {}
    settle_home(environment)
    assert Path(environment["HOME"]) != trap
    assert Path(environment["HOME"]).is_dir()
    assert not Path(environment["HOME"]).is_symlink()


def test_a_cache_that_the_user_named_stays(temporary: Path) -> None:
    environment = {"NUMBA_CACHE_DIR": "/kernels"}
    settle_home(environment)
    assert environment["NUMBA_CACHE_DIR"] == "/kernels"
