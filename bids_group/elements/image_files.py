"""What the name of a map stands for: one file, or several that belong together, and one volume of them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from bids_group.elements.space import Form

FORMATS = (
    "NIfTI (.nii, .nii.gz, or .img with .hdr), SPM's Analyze with its .mat, AFNI (.HEAD with .BRIK), GIFTI "
    "(.gii) of one or both hemispheres, CIFTI (.dscalar.nii, .pscalar.nii), a table of regions "
    "(.tsv, .csv, .txt)"
)

_GZIP = r"(?:\.gz)?"
_IS_CIFTI = re.compile(rf".*\.[dp](?:[dp]?conn|scalar|tseries|label|fan)[a-z]*\.nii{_GZIP}")
_IS_VOLUME = re.compile(rf".*(?:\.(?:nii|img|hdr|BRIK){_GZIP}|\.HEAD)")
_IS_PAIR = re.compile(rf"(?P<stem>.*)\.(?:img|hdr)(?P<gz>{_GZIP})")
_IS_AFNI = re.compile(rf"(?P<stem>.*)\.(?:HEAD|BRIK{_GZIP})")
_AFNI_PREFIX = re.compile(r".*\+(?:orig|acpc|tlrc)")
_BY_NUMBER = re.compile(rf"(?P<file>.*\.(?:(?:nii|img|hdr|gii){_GZIP}|tsv|csv|txt)),(?P<volume>\d+)")
_IS_PAIR_OF = re.compile(r"(?P<start>.*)\{(?P<left>[^{},]+),(?P<right>[^{},]+)\}(?P<end>.*)")
_HEMI = re.compile(
    r"(?:(?<=hemi-)|(?<![A-Za-z0-9]))(?P<hemi>[LR])(?![A-Za-z0-9])|(?<![A-Za-z0-9])(?P<side>[lr])h(?![A-Za-z0-9])"
)
_IN_BRACKETS = re.compile(r"(?P<file>.+)\[(?P<volume>[^\[\]]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFiles:
    """The files of one image: header, numbers (of NIfTI the same file), and SPM's affine where there is one.

    Of two hemispheres ``header`` is the left one, ``data`` the right one.
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


def form_of(name: str) -> Form:
    """Say by the name of a map what its elements are; volumes where it says nothing else."""
    bare = split_volume(name)[0]
    ending = _ENDINGS.search(bare)
    return "volume" if ending is None else _FORMS[ending["kind"]]


_ENDINGS = re.compile(rf"\.(?P<kind>gii|[dp](?:scalar|label|tseries)\.nii|tsv|csv|txt)(?:{_GZIP})$")
_FORMS: dict[str, Form] = {"gii": "gifti", "tsv": "table", "csv": "table", "txt": "table"}
for _kind in ("scalar", "label", "tseries"):
    _FORMS |= {f"d{_kind}.nii": "dscalar", f"p{_kind}.nii": "pscalar"}


def expand(path: Path) -> tuple[Path, ...]:
    """Name the files that ``hemi-{L,R}`` in a path stands for, left and right; any other path itself.

    A map that is named behind it (``,2``) is named behind each.
    """
    name, volume = split_volume(path.name)
    is_surface = name.endswith((".gii", ".gii.gz", ".json"))
    pair = _IS_PAIR_OF.fullmatch(name) if is_surface else None
    if pair is None:
        return (path,)
    ends = pair["end"] + (volume or "")
    return tuple(path.with_name(pair["start"] + pair[side] + ends) for side in ("left", "right"))


def join_pair(left: Path, right: Path) -> Path:
    """Write two files as one path, such as ``sub-01_hemi-{L,R}_thickness.shape.gii``."""
    one, other = left.name, right.name
    start = _n_shared(one, other)
    end = _n_shared(one[start:][::-1], other[start:][::-1])
    middles = (name[start : len(name) - end] for name in (one, other))
    return left.with_name(f"{one[:start]}{{{','.join(middles)}}}{one[len(one) - end :]}")


def _n_shared(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def hemi_of(name: str) -> str | None:
    """Read from a name which hemisphere it is of: ``hemi-L``, ``lh.``, ``.L.``; None where it is unsaid."""
    found = [match["hemi"] or match["side"].upper() for match in _HEMI.finditer(name)]
    return found[0] if len(set(found)) == 1 else None


def find_pair(path: Path) -> Path:
    """Join a GIFTI file with that of the other hemisphere, where this lies beside it under the same name."""
    hemi = hemi_of(path.name)
    if form_of(path.name) != "gifti" or hemi is None:
        return path
    swap = str.maketrans("LRlr", "RLrl")
    other = path.with_name(_HEMI.sub(lambda found: found[0].translate(swap), path.name))
    if not other.exists():
        return path
    return join_pair(path, other) if hemi == "L" else join_pair(other, path)


def is_label_name(name: str) -> bool:
    """Whether a file name is that of labels on a surface or in CIFTI, which are no numbers to be averaged."""
    return re.search(r"(?:\.|[dp])label\.(?:gii|nii)", name) is not None


def is_map_name(name: str) -> bool:
    """Whether a file name is that of a map that can be read: a volume, a surface, CIFTI or a table."""
    return form_of(name) != "volume" or is_volume_name(name)


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
    if path.name.endswith((".nii", ".nii.gz")):  # nearly all
        return ImageFiles(header=path, data=path)
    volume: int | str | None = None
    for match in _selections(path.name):
        if not os.path.lexists(path):
            path, text = path.with_name(match["file"]), match["volume"]
            is_from_1 = match.re is _BY_NUMBER
            volume = int(text) - is_from_1 if text.isdigit() else text
    if len(pair := expand(path)) == 2:
        return ImageFiles(header=pair[0], data=pair[1], volume=volume)
    if _AFNI_PREFIX.fullmatch(path.name) and not path.exists():
        path = path.with_name(f"{path.name}.HEAD")
    if afni := _IS_AFNI.fullmatch(path.name):
        head, brik = (path.with_name(afni["stem"] + end) for end in (".HEAD", ".BRIK"))
        zipped = brik.with_name(f"{brik.name}.gz")
        return ImageFiles(header=head, data=zipped if zipped.exists() else brik, volume=volume)
    if stem := _IS_PAIR.fullmatch(path.name):
        header, data = (path.with_name(stem["stem"] + end + stem["gz"]) for end in (".hdr", ".img"))
        mat = path.with_name(f"{stem['stem']}.mat")
        return ImageFiles(header=header, data=data, mat=mat if mat.exists() else None, volume=volume)
    return ImageFiles(header=path, data=path, volume=volume)


def split_volume(name: str) -> tuple[str, str | None]:
    """Part a name from what says which volume is meant, as it was written: ``,1`` or ``[label]``."""
    for match in _selections(name):
        return match["file"], name[len(match["file"]) :]
    return name, None


def _selections(name: str) -> list[re.Match[str]]:
    if "," not in name and not name.endswith("]"):  # nearly all
        return []
    return [match for pattern in (_BY_NUMBER, _IN_BRACKETS) if (match := pattern.fullmatch(name))][:1]
