"""Names of the regions of an atlas, in the formats that people have them in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel as nib
import pandas as pd

from bids_group.errors import DataError, MissingInputError, printable
from bids_group.input_files import open_file
from bids_group.output.report.folder import entities_of

_ENDINGS = (".tsv", ".csv", ".xml", ".niml.lt", ".txt", ".lut", ".ctab", ".nii.txt")
"""Of tables of names, those that say most of themselves first."""
_VARIANT = re.compile(r"[-_](maxprob|prob|thr\d+|\d+(\.\d+)?mm)(?=[-_.]|$)", re.IGNORECASE)
"""What FSL adds to the name of an image beside the one that its table lists."""
_MOST_BYTES, _MOST_COLUMNS, _LONGEST_LINE = 2**22, 1000, 1000
_QUOTING = "\"'\\"
_LABEL = re.compile(r"\d{1,9}")
_PAIR = re.compile(r"\"(\d{1,9})\"\s+\"([^\"]*)\"")
"""A row of AFNI's table of values: ``"12" "Left-Hippocampus"``."""


def find_names(path: Path) -> Mapping[int, str]:
    """Find the names of the regions of a labelled image, by label.

    Parameters
    ----------
    path
        The image. Names stand inside of it (AFNI), or in a file beside it or above it: of the same name, else
        with no other entities than the image has (BIDS inheritance), else an XML file that lists the image
        (FSL), else a list whose name begins that of the image.

    Raises
    ------
    MissingInputError
        There is no table of names.
    DataError
        The table has no labels or no names.
    """
    if names := _read_pairs(_read_extensions(path)):
        return names
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    folders = (path.parent, path.parent.parent)
    files = [one for folder in folders for one in sorted(folder.glob("*")) if one.name.endswith(_ENDINGS)]
    for table in (
        *_same_name(stem, files),
        *_inherited(stem, files),
        *_listing(stem, files),
        *_begun(stem, files),
    ):
        return read_names(table)
    raise MissingInputError(
        f"The atlas {path} has no table of region names.",
        expected=f"{stem}.tsv beside it, with the columns index and name; or .xml (FSL, SPM), .niml.lt "
        "(AFNI), .txt (a label and a name in each line)",
        fix="Put the table beside the image.",
    )


def read_names(path: Path) -> Mapping[int, str]:
    """Read a table of names of regions, by label."""
    try:
        content = _read(path)
    except OSError as error:
        sentence = f"The table of regions {path} cannot be read."
        raise MissingInputError(sentence, found=error.strerror) from error
    if path.suffix in (".tsv", ".csv"):
        return _shown(_read_table(path, content))
    text = content.decode("utf-8-sig", errors="replace")
    if path.suffix == ".xml":
        names = _read_xml(text)
    else:
        names = _read_pairs(text) if path.name.endswith(".niml.lt") else _read_list(text)
    if not names:
        raise _useless(path, "no line with a label and a name")
    return _shown(names)


def _read(path: Path) -> bytes:
    """Read a table of names; one that is too long, or no text, is refused."""
    with open_file(path) as stream:
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES or b"\0" in content:
        raise _useless(path, "NUL: it is no text" if b"\0" in content else f"more than {_MOST_BYTES} bytes")
    return content


def _useless(path: Path, found: str) -> DataError:
    return DataError(
        f"The table of regions {path} cannot be used.",
        found=found,
        expected="a whole number and a name for each region",
        fix="Mend it, or put a .tsv with the columns index and name beside the image.",
    )


def _shown(names: Mapping[int, str | None]) -> dict[int, str]:
    """Give each region a name that can be shown anywhere."""
    return {label: printable(name or f"region {label}") for label, name in names.items()}


def read_label_names(path: Path) -> Mapping[int, str]:
    """Read the names that stand in a file of labels, GIFTI or CIFTI, by label."""
    try:
        image: Any = nib.load(path)
    except (OSError, nib.filebasedimages.ImageFileError) as error:
        raise DataError(f"The atlas {path} cannot be read.", found=str(error)) from error
    if isinstance(image, nib.GiftiImage):
        return _shown({int(one.key): getattr(one, "label", None) for one in image.labeltable.labels})
    return _shown({int(label): name for label, (name, _) in image.header.get_axis(0).label[0].items()})


def _stem_of(table: Path) -> str:
    ending = next(one for one in sorted(_ENDINGS, key=len, reverse=True) if table.name.endswith(one))
    return table.name.removesuffix(ending)


def _same_name(stem: str, files: Sequence[Path]) -> list[Path]:
    return sorted((one for one in files if _stem_of(one) == stem), key=_rank)


def _rank(table: Path) -> int:
    return next(rank for rank, ending in enumerate(_ENDINGS) if table.name.endswith(ending))


def _inherited(stem: str, files: Sequence[Path]) -> list[Path]:
    """Find tables with the most entities in common with the image, and no others than it has."""
    own, suffix = entities_of(stem).items(), stem.rsplit("_", 1)[-1]
    found = [
        one
        for one in files
        if own and one.suffix in (".tsv", ".csv") and one.stem.rsplit("_", 1)[-1] == suffix
        if entities_of(one.stem).items() <= own
    ]
    return sorted(found, key=lambda one: -len(entities_of(one.stem)))


def _listing(stem: str, files: Sequence[Path]) -> Iterator[Path]:
    """Find XML files of FSL that list the image, or another threshold or resolution of it."""
    for one in (each for each in files if each.suffix == ".xml"):
        text = ""
        with suppress(OSError, DataError):  # not this atlas's, if it cannot be read
            text = _read(one).decode(errors="replace")
        listed = re.findall(r"<(?:summary)?imagefile>([^<]*)<", text)
        if _VARIANT.sub("", stem) in {_VARIANT.sub("", Path(each.strip()).name) for each in listed}:
            yield one


def _begun(stem: str, files: Sequence[Path]) -> list[Path]:
    """Find lists whose names begin that of the image, the longest first (``…_order.txt`` of Schaefer)."""
    lists = [one for one in files if one.name.endswith(_ENDINGS[4:]) and stem.startswith(f"{_stem_of(one)}_")]
    return sorted(lists, key=lambda one: -len(_stem_of(one)))


def _read_extensions(path: Path) -> str:
    """Read the table of values that AFNI keeps in the header of a NIfTI file; empty without one."""
    try:
        extensions = getattr(nib.load(path).header, "extensions", ())
    except (OSError, nib.filebasedimages.ImageFileError):  # a part of a file, which has none of its own
        return ""
    texts = [one.get_content() for one in extensions]
    texts = [text.decode(errors="replace") if isinstance(text, bytes) else str(text) for text in texts]
    return " ".join(text for text in texts if "VALUE_LABEL_DTABLE" in text).replace("&quot;", '"')


def _read_pairs(text: str) -> dict[int, str]:
    return {int(label): name for label, name in _PAIR.findall(text)}


def _read_xml(text: str) -> dict[int, str]:
    """Read labels of FSL (attributes; of probabilistic atlases images hold one more) or SPM (elements)."""
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  # a file that the user names; nothing is fetched
    except ElementTree.ParseError:
        return {}
    is_of_values = (root.findtext(".//type") or "").strip().lower() == "label"
    names = {}
    for one in root.iter("label"):
        inner, outer = one.findtext("index"), one.get("value") or one.get("index")
        label = (inner or outer or "").strip()
        if _LABEL.fullmatch(label):
            is_one_less = inner is None and not is_of_values and one.get("value") is None
            name = one.text if inner is None else one.findtext("name")
            names[int(label) + is_one_less] = (name or "").strip()
    return names


def _read_list(text: str) -> dict[int, str]:
    """Read lines with a label first (FreeSurfer, Schaefer, ITK-SNAP) or last (AAL), or names alone."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    words = [_split(line) for line in lines]
    if words and all(_LABEL.fullmatch(line[0]) and len(line) > 1 for line in words):
        return {int(line[0]): _name_in(line[1:]) for line in words}
    if words and all(_LABEL.fullmatch(line[-1]) and len(line) > 1 for line in words):
        return {int(line[-1]): line[-2] for line in words}
    first = 0 if lines and lines[0].lower() in ("background", "unknown", "???") else 1
    return dict(enumerate(lines, start=first))


def _split(line: str) -> list[str]:
    if "\t" in line:
        return [one.strip() for one in line.split("\t")]
    if len(line) < _LONGEST_LINE and any(mark in line for mark in _QUOTING):
        with suppress(ValueError):  # an apostrophe
            return shlex.split(line)
    return line.split()


def _name_in(words: Sequence[str]) -> str:
    """Leave out the numbers around a name, which are its colour."""
    is_number = [re.fullmatch(r"-?\d+(\.\d+)?", word) is not None for word in words]
    return " ".join(word for word, number in zip(words, is_number, strict=True) if not number)


def _read_table(path: Path, content: bytes) -> dict[int, str]:
    separator = "\t" if path.suffix == ".tsv" else ","
    if content.partition(b"\n")[0].count(separator.encode()) > _MOST_COLUMNS:
        raise _useless(path, f"more than {_MOST_COLUMNS} columns")
    try:
        table = pd.read_csv(
            BytesIO(content), sep=separator, dtype=str, encoding="utf-8-sig", keep_default_na=False
        )
    except ValueError as error:
        raise DataError(f"The table of regions {path} is no table.", found=str(error)) from error
    table.columns = pd.Index([str(name).strip().lower() for name in table.columns])
    index = next((name for name in ("index", "label", "value", "id") if name in table), None)
    name = next((one for one in ("name", "region", "label") if one in table and one != index), None)
    if index is None or name is None or not table[index].str.strip().str.fullmatch(r"\d{1,10}(\.0)?").all():
        raise DataError(
            f"The table of regions {path} cannot be used.",
            found=f"columns {', '.join(table.columns)}",
            expected="index (whole numbers) and name",
            fix="Rename its columns.",
        )
    return {int(float(label)): text.strip() for label, text in zip(table[index], table[name], strict=True)}
