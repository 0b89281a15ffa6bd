"""What the name of a map stands for: one file, or several that belong together, and one volume of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FORMATS = "NIfTI (.nii, .nii.gz, or .img with .hdr), SPM's Analyze with its .mat, AFNI (.HEAD with .BRIK)"

_GZIP = r"(?:\.gz)?"
_IS_CIFTI = re.compile(rf".*\.[dp](?:[dp]?conn|scalar|tseries|label|fan)[a-z]*\.nii{_GZIP}")
_IS_VOLUME = re.compile(rf".*(?:\.(?:nii|img|hdr|BRIK){_GZIP}|\.HEAD)")
_IS_PAIR = re.compile(rf"(?P<stem>.*)\.(?:img|hdr)(?P<gz>{_GZIP})")
_IS_AFNI = re.compile(rf"(?P<stem>.*)\.(?:HEAD|BRIK{_GZIP})")
_AFNI_PREFIX = re.compile(r".*\+(?:orig|acpc|tlrc)")
_BY_NUMBER = re.compile(rf"(?P<file>.*\.(?:nii|img|hdr){_GZIP}),(?P<volume>\d+)")
_IN_BRACKETS = re.compile(r"(?P<file>.+)\[(?P<volume>[^\[\]]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFiles:
    """The files of one image: header, numbers (of NIfTI the same file), and SPM's affine where there is one.

    ``volume`` is what follows the name: a number from 0 on, the label of an AFNI sub-brick, or nothing.
    """

    header: Path
    data: Path
    mat: Path | None = None
    volume: int | str | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        """Each file once, the header first."""
        return tuple(dict.fromkeys(one for one in (self.header, self.data, self.mat) if one is not None))

    @property
    def is_afni(self) -> bool:
        """Whether this is an AFNI dataset."""
        return self.header.name.endswith(".HEAD")


def is_cifti_name(name: str) -> bool:
    """Whether a file name is that of a CIFTI file (``.dscalar.nii``)."""
    return _IS_CIFTI.fullmatch(name) is not None


def is_volume_name(name: str) -> bool:
    """Whether a file name, with or without a volume behind it, is that of a volume that can be read."""
    bare = next((match["file"] for match in _selections(name)), name)
    return any(pattern.fullmatch(bare) for pattern in (_IS_VOLUME, _AFNI_PREFIX)) and not is_cifti_name(bare)


def locate(path: Path) -> ImageFiles:
    """Find the files that a name stands for, without opening them.

    One volume of several is named as SPM does (``con_0001.nii,1``, from 1 on), or as AFNI does (from 0 on, or
    by the label of a sub-brick): ``stats+tlrc.HEAD[faces#0_Coef]``. A file that is called so comes first.
    """
    volume: int | str | None = None
    for match in _selections(path.name):
        if not path.exists() and not path.is_symlink():
            path, text = path.with_name(match["file"]), match["volume"]
            is_from_1 = match.re is _BY_NUMBER
            volume = int(text) - is_from_1 if text.isdigit() else text
    if _AFNI_PREFIX.fullmatch(path.name) and not path.exists():
        path = path.with_name(f"{path.name}.HEAD")
    if afni := _IS_AFNI.fullmatch(path.name):
        head, brik = (path.with_name(afni["stem"] + end) for end in (".HEAD", ".BRIK"))
        zipped = brik.with_name(f"{brik.name}.gz")
        return ImageFiles(header=head, data=zipped if zipped.exists() else brik, volume=volume)
    if pair := _IS_PAIR.fullmatch(path.name):
        header, data = (path.with_name(pair["stem"] + end + pair["gz"]) for end in (".hdr", ".img"))
        mat = path.with_name(f"{pair['stem']}.mat")
        return ImageFiles(header=header, data=data, mat=mat if mat.exists() else None, volume=volume)
    return ImageFiles(header=path, data=path, volume=volume)


def split_volume(name: str) -> tuple[str, str | None]:
    """Part a name from what says which volume is meant, as it was written: ``,1`` or ``[label]``."""
    for match in _selections(name):
        return match["file"], name[len(match["file"]) :]
    return name, None


def _selections(name: str) -> list[re.Match[str]]:
    return [match for pattern in (_BY_NUMBER, _IN_BRACKETS) if (match := pattern.fullmatch(name))][:1]
