"""What stands beside a map of SPM, FSL or AFNI: variance, dof, mask, contrast, the way to standard space."""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.config.typed import is_pattern
from bids_group.elements import MapHeader, locate, read_header, split_volume
from bids_group.errors import BidsGroupError, GridError
from bids_group.input_files import has_disk_failed, read_file
from bids_group.records import FirstLevelMap, Notice, warn
from bids_group.words import os_failure

_ENDING = r"(?P<ending>\.(?:nii|img|hdr)(?:\.gz)?)"
_COPE = re.compile(rf"cope(?P<number>\d+){_ENDING}")
_CON = re.compile(rf"con_(?P<number>\d+){_ENDING}")
_DESCRIBED = re.compile(r"(?:SPM contrast - \d+: |spm_spm:.*? - )(?P<name>.+)")
_SMOOTHED = re.compile(r" - conv\([^()]*\)$")
_LONGEST = 79
"""Characters that the description in a NIfTI header holds: a longer name is cut off there."""

_CONTRAST_LINE = re.compile(r"/ContrastName(\d+)\s+(.*\S)")
_FSF_LINE = re.compile(r'set fmri\(conname_real\.(\d+)\)\s+"(.*)"')
_FEAT_FILE = re.compile(r'set feat_files\(\d+\)\s+"(.*)"')
_COEFFICIENT = re.compile(r"(?P<name>.+?)#\d+_Coef", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Siblings:
    """What belongs to one effect map, as far as it is there.

    ``name``: of its contrast, as the program that made it was told. The variance is that file times
    ``variance_scale``. ``remark``: what is odd, and why something was not taken, with its ``fix``;
    ``several_names``: those of the runs behind it, where they are not the same.
    """

    name: str | None = None
    variance: Path | None = None
    variance_scale: float | None = None
    dof: Path | float | None = None
    mask: Path | None = None
    remark: str | None = None
    fix: str | None = None
    several_names: tuple[str, ...] = ()


def find_siblings(effect: Path) -> Siblings:
    """Look beside an effect map for what FSL (``cope1``) or SPM (``con_0001``) write there."""
    file, volume = split_volume(effect.name)
    path = effect.with_name(file)
    if cope := _COPE.fullmatch(file):
        return _beside_cope(path, int(cope["number"]), cope["ending"])
    text = _describe(effect)
    if locate(path).is_afni or (volume is not None and volume.startswith("[")):
        label = text if volume is None or volume[1:-1].isdigit() else volume[1:-1]
        named = _COEFFICIENT.fullmatch(label)
        return Siblings(name=named["name"] if named else label or None)
    described = _DESCRIBED.fullmatch(text)
    name = None if described is None else _plain(_SMOOTHED.sub("", described["name"]))
    con = _CON.fullmatch(file)
    if con is None or _SMOOTHED.search(text):  # smoothed or warped: not what ResMS and mask belong to
        return Siblings(name=name)
    return _beside_con(path, int(con["number"]), name, is_cut=len(text) >= _LONGEST)


def _describe(effect: Path) -> str:
    """Read the description in a header; none where it is damaged, which is told where it is used."""
    try:
        return (*read_header(effect).texts, "")[0]
    except BidsGroupError as error:
        if has_disk_failed(error.__cause__):
            raise
        return ""


def _plain(name: str) -> str:
    return " ".join(name.split()).strip('"')


def _first_there(paths: Iterator[Path] | Sequence[Path]) -> Path | None:
    return next((path for path in paths if os.path.lexists(path)), None)


# --------------------------------------------------------------------------------------------
# FSL


def _beside_cope(cope: Path, number: int, ending: str) -> Siblings:
    folder = cope.parent
    feat = folder.parent.parent if folder.parent.name == "reg_standard" else folder.parent
    dof: Path | float | None = _first_there([folder / f"tdof_t{number}{ending}"])
    names = _name_cope(feat, number) if folder.name == "stats" else ()
    return Siblings(
        name=names[0] if len(names) == 1 else None,
        several_names=names if len(names) > 1 else (),
        variance=_first_there([folder / f"varcope{number}{ending}"]),
        dof=_read_dof(feat / "stats" / "dof") if dof is None and folder.name == "stats" else dof,
        mask=_first_there([folder.parent / f"mask{ending}"]) if folder.name == "stats" else None,
    )


def _read_dof(path: Path) -> float | None:
    """Read the degrees of freedom that ``film_gls`` writes as text."""
    try:
        value = float(_read(path))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _read(path: Path) -> str:
    try:
        return read_file(path).decode("utf-8", "replace")
    except OSError as error:
        if has_disk_failed(error):
            raise os_failure(error) from error
        return ""


def _name_cope(feat: Path, number: int) -> tuple[str, ...]:
    """Name the contrast of ``cope<number>`` of a FEAT folder; in a ``.gfeat`` as the runs below call it.

    Its own design is that of the runs. Only where this has several contrasts, its name is added.
    """
    gfeat, of_runs = feat.parent, re.fullmatch(r"cope(\d+)\.feat", feat.name)
    if gfeat.suffix != ".gfeat" or of_runs is None:
        name = _contrast_names(feat).get(number)
        return () if name is None else (name,)
    names = sorted({name for name in _names_of_runs(gfeat, int(of_runs[1])) if name})
    names = [name for name in names or [_plain(_read(feat / "design.lev"))] if name]
    above = _contrast_names(feat)
    return tuple(f"{name} {above.get(number, number)}" if len(above) > 1 else name for name in names)


def _names_of_runs(gfeat: Path, number: int) -> Iterator[str | None]:
    """Look up a contrast in the first levels that a ``.gfeat`` was made of: FEAT folders, or their copes."""
    for text in _FEAT_FILE.findall(_read(gfeat / "design.fsf")):
        first = Path(text)
        own = number
        if cope := re.fullmatch(r"cope(\d+)(?:\..*)?", first.name):
            first, own = first.parent.parent, int(cope[1])
        moved = gfeat.parent / first.name  # the study may have been copied from elsewhere
        yield _contrast_names(first if first.is_dir() else moved).get(own)


def _contrast_names(feat: Path) -> dict[int, str]:
    """Read the names of contrasts, by number, from ``design.con``, else ``design.fsf``."""
    for file, line in (("design.con", _CONTRAST_LINE), ("design.fsf", _FSF_LINE)):
        if found := line.findall(_read(feat / file)):
            return {int(number): _plain(name) for number, name in found if _plain(name)}
    return {}


# --------------------------------------------------------------------------------------------
# SPM


_NO_SPM = (
    *(OSError, EOFError, zlib.error),  # cut short, broken
    *(AttributeError, LookupError, TypeError, ValueError),  # no design, or one without its parts
)
"""What reading SPM.mat raises where it is not what SPM writes."""

_SAVE_AGAIN = "In MATLAB, in each such folder: load('SPM.mat'); save('SPM.mat', 'SPM', '-v7')"


def _beside_con(con: Path, number: int, name: str | None, *, is_cut: bool) -> Siblings:
    folder = con.parent
    endings = (".nii", ".img", ".nii.gz")
    mask = _first_there([folder / f"mask{ending}" for ending in endings])
    residual = _first_there([folder / f"ResMS{ending}" for ending in endings])
    spm = folder / "SPM.mat"
    if not spm.is_file():
        return Siblings(name=name, mask=mask)
    try:
        contrasts, covariance, dof = _read_spm(spm, spm.stat().st_mtime_ns, spm.stat().st_size)
        said, weights = contrasts[number - 1]
        scale = float(weights @ covariance @ weights)
    except NotImplementedError:  # of MATLAB's version 7.3
        remark = f"{spm} is of MATLAB's format 7.3 (HDF5), which is not read, so there is no variance"
        return Siblings(name=name, mask=mask, remark=remark, fix=_SAVE_AGAIN)
    except _NO_SPM as error:
        remark = f"{spm} cannot be read ({type(error).__name__}: {error}), so there is no variance"
        return Siblings(name=name, mask=mask, remark=remark)
    if name is not None and not (said.startswith(name) if is_cut else said == name):
        remark = f"{con} says that it is '{name}', SPM.mat beside it that contrast {number} is '{said}': "
        return Siblings(name=name, mask=mask, remark=f"{remark}its variance is not taken")
    has_variance = residual is not None and math.isfinite(scale) and scale > 0
    return Siblings(
        name=said or name,
        mask=mask,
        variance=residual if has_variance else None,
        variance_scale=scale if has_variance else None,
        dof=dof if math.isfinite(dof) and dof > 0 else None,
    )


@lru_cache(maxsize=2)
def _read_spm(
    path: Path, mtime_ns: int, size: int
) -> tuple[list[tuple[str, npt.NDArray[np.float64]]], npt.NDArray[np.float64], float]:
    """Read of SPM.mat name and weights of each contrast, (X'X)⁻ as covariance, and the error dof.

    Once for all contrasts of a person; time and size tell whether it is still the same.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        spm: Any = loadmat(str(path), squeeze_me=True, struct_as_record=False, variable_names=["SPM"])["SPM"]
    except MatReadError as error:
        raise ValueError(str(error)) from error
    contrasts = [
        (_plain(str(one.name)), np.asarray(_dense(one.c), dtype=np.float64))
        for one in np.atleast_1d(spm.xCon)
    ]
    n = int(np.asarray(_dense(spm.xX.Bcov)).size ** 0.5)
    flat = [(name, c.reshape(-1) if c.size == n else c) for name, c in contrasts]
    return flat, np.asarray(_dense(spm.xX.Bcov), dtype=np.float64).reshape(n, n), float(spm.xX.erdf)


def _dense(values: Any) -> Any:
    return values.toarray() if hasattr(values, "toarray") else values


# --------------------------------------------------------------------------------------------
# Native space


def check_native(
    maps: Sequence[FirstLevelMap], headers: Mapping[Path, MapHeader], named: Path | None
) -> list[Notice]:
    """Refuse copes that FEAT left in the space of each person's own scan, before anything else is judged.

    They are known by their grids, which differ; where these are the same, by the transforms beside them,
    which differ, with a warning. ``named``: what ``--maps`` said.
    """
    feats = {m.effect: feat for m in maps if (feat := _native_feat(m.effect)) is not None}
    those = [m for m in maps if m.effect in feats]
    others = [m for m in those if m.subject != those[0].subject]
    if not others:
        return []
    first, grid = those[0], headers[those[0].effect].space
    odd = next((m for m in others if not headers[m.effect].space.is_same(grid)), None)
    standard = (feats[m.effect] / "reg_standard" / "stats" / m.effect.name for m in those)
    line = "name those of reg_standard/stats"
    if named is not None and is_pattern(named):
        line = f'--maps "{str(named).replace(".feat/stats/", ".feat/reg_standard/stats/")}"'
    fix = f"Take those in standard space: {line}"
    if not all(map(Path.exists, standard)):
        fix = f"featregapply {feats[first.effect]} (and so for each person) writes reg_standard/stats; then "
        fix += f"{line}. Or applywarp (flirt -applyxfm) each cope and varcope to the standard image."
    if odd is not None:
        raise GridError(
            "The copes lie in the space of each person's own scan, not in standard space.",
            found=f"{headers[odd.effect].space.describe()} in {odd.effect}; {grid.describe()} in "
            f"{first.effect}",
            expected="one grid in all people",
            fix=fix,
        )
    read = [_read_registration(feats[m.effect]) for m in (first, *others)]
    transforms = [one for one in read if one is not None]
    if any(not np.allclose(one, transforms[0], atol=1e-3) for one in transforms):
        sentence = (
            "The copes have one grid, but each person's FEAT folder has another transform to standard space: "
        )
        return [warn("maps", f"{sentence}they seem to lie in the space of each person's own scan.", fix)]
    return []


def _native_feat(effect: Path) -> Path | None:
    """Find the first-level FEAT folder in whose own space a map lies; None elsewhere."""
    if f"{os.sep}stats{os.sep}" not in str(effect):  # nearly all
        return None
    feat = effect.parent.parent
    is_native = effect.parent.name == "stats" and feat.suffix == ".feat" and feat.parent.suffix != ".gfeat"
    return feat if is_native else None


def _read_registration(feat: Path) -> npt.NDArray[np.float64] | None:
    """Read the transform of a FEAT folder to standard space, 4 × 4; None where there is none."""
    text = _read(feat / "reg" / "example_func2standard.mat")
    try:
        matrix = np.loadtxt(text.splitlines() if text.strip() else ["nan"], ndmin=2)
    except ValueError:
        return None
    return matrix if matrix.shape == (4, 4) else None
