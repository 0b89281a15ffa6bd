"""One OUTPUT_DIR, one analysis: what it is, and which files belong to it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bids_group.config.differences import Difference, find_differences
from bids_group.errors import OutputError
from bids_group.output.disk import json_text, plain, write_if_changed

_IDENTITY = Path("code/analysis.json")
_MANIFEST = Path("code/outputs.json")
_MOST = 4
"""Settings that a refusal names."""


def check_same_analysis(output_dir: Path, identity: Mapping[str, Any], *, is_overwrite: bool) -> None:
    """Refuse to mix two analyses in one OUTPUT_DIR; overwriting removes what stands under ``group/``.

    ``identity`` (JSON-able) is everything that changes the result; it is kept in ``code/analysis.json``.
    Files that this app did not write are never touched. An analysis that wrote nothing yet does not bind.

    Raises
    ------
    OutputError
        Another analysis wrote here; names the settings that differ.
    """
    wanted = plain(identity)
    differences = find_differences(_read_json(output_dir / _IDENTITY), wanted)
    own = [path for path in _all_listed(output_dir) if (output_dir / path).exists()]
    results = [path for path in own if path.parts[0] == "group"]
    if differences and results:
        if not is_overwrite:
            raise _other_analysis(output_dir, differences)
        _remove(output_dir, results)
    write_if_changed(output_dir / _IDENTITY, json_text(wanted))
    _store(output_dir, (), own)


def record_outputs(output_dir: Path, paths: Iterable[Path]) -> None:
    """Note files (relative to OUTPUT_DIR) as this run's own, before they are written."""
    _store(output_dir, {*_listed(output_dir, "Files"), *paths}, _listed(output_dir, "Earlier"))


def finish_outputs(output_dir: Path) -> tuple[Path, ...]:
    """Remove what an earlier run of this analysis wrote and this one did not; say what that was."""
    kept = set(_listed(output_dir, "Files"))
    stale = tuple(path for path in _listed(output_dir, "Earlier") if path not in kept)
    _remove(output_dir, stale)
    _store(output_dir, kept, ())
    return stale


def _other_analysis(output_dir: Path, differences: Sequence[Difference]) -> OutputError:
    told, n_more = differences[:_MOST], len(differences) - _MOST
    names = " and ".join(dict.fromkeys(one.name for one in told))
    more = f" and {n_more} more" if n_more > 0 else ""
    return OutputError(
        f"OUTPUT_DIR holds another analysis: {output_dir}; what differs is {names}{more}.",
        found=f"{'; '.join(one.stored for one in told)} (the earlier run: {_IDENTITY})",
        expected=f"{'; '.join(one.wanted for one in told)} (this run)",
        fix="Give another OUTPUT_DIR, or add --overwrite: what the earlier run wrote under group/ goes.",
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise OutputError(
            f"The file {path} is not JSON; somebody changed it.",
            found=str(error),
            fix="Restore it, or give another OUTPUT_DIR.",
        ) from error
    return content if isinstance(content, dict) else {}


def _listed(output_dir: Path, when: Literal["Files", "Earlier"]) -> list[Path]:
    names = _read_json(output_dir / _MANIFEST).get(when, [])
    return [path for path in map(Path, names) if not path.is_absolute() and ".." not in path.parts]


def _all_listed(output_dir: Path) -> list[Path]:
    return sorted({*_listed(output_dir, "Files"), *_listed(output_dir, "Earlier")})


def _store(output_dir: Path, files: Iterable[Path], earlier: Iterable[Path]) -> None:
    """Keep two lists: files of the run that writes (or wrote last), and of those before, until it is done."""
    lists = {"Files": _names(files), "Earlier": _names(earlier)}
    about = "Files of this analysis; --overwrite removes those under group/, and no other file."
    content = {"Description": about, **{when: names for when, names in lists.items() if names}}
    write_if_changed(output_dir / _MANIFEST, json_text(content))


def _names(paths: Iterable[Path]) -> list[str]:
    return sorted({path.as_posix() for path in paths})


def _remove(output_dir: Path, paths: Iterable[Path]) -> None:
    for path in paths:
        (output_dir / path).unlink(missing_ok=True)
        for folder in _folders_above(path):
            with contextlib.suppress(OSError):  # not empty: somebody else's files stay
                (output_dir / folder).rmdir()


def _folders_above(path: Path) -> Iterator[Path]:
    return (folder for folder in path.parents if folder.parts)
