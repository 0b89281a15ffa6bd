"""One volume of several: its label, its number, and what its header says that it is.

An AFNI dataset that is kept as NIfTI has the labels of its sub-bricks in an extension of its header.
"""

from __future__ import annotations

import gzip
import html
import re
from collections.abc import Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.brikhead import AFNIHeader

from bids_group.elements.compression import GZIP
from bids_group.elements.image_files import ImageFiles
from bids_group.errors import DataError
from bids_group.input_files import open_file
from bids_group.words import counted

_AFNI = 4
"""Code of the header extension that AFNI writes: its attributes as XML."""

_LONGEST = 2**24
"""Bytes of all extensions of a header."""

_LABELS = re.compile(r'<AFNI_atr\b[^>]*\batr_name="BRICK_LABS"[^>]*>(?P<text>.*?)</AFNI_atr>', re.DOTALL)


def read_nifti_labels(path: Path) -> tuple[str, ...]:
    """Read the labels of the volumes of a ``.nii`` or ``.nii.gz``; none where it holds none."""
    with open_file(path) as raw, ExitStack() as opened:
        is_packed = raw.read(2) == GZIP
        raw.seek(0)
        stream: Any = opened.enter_context(gzip.open(raw)) if is_packed else raw
        fixed = stream.read(352)
        kind: Any = nib.Nifti1Header
        if len(fixed) < 352 or fixed[:4] not in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") or not fixed[348]:
            return ()
        size = min(max(int(kind(fixed[:348], check=False)["vox_offset"]) - 352, 0), _LONGEST)
        header = kind.from_fileobj(BytesIO(fixed + stream.read(size)), check=False)
    contents = (
        np.asarray(one.get_content()).tobytes() for one in header.extensions if one.get_code() == _AFNI
    )
    found = next(
        (match for one in contents if (match := _LABELS.search(one.decode("utf-8", "replace")))), None
    )
    if found is None:
        return ()
    pieces = re.findall(r'"([^"]*)"', found["text"]) or [found["text"].strip()]
    return tuple(label for label in html.unescape("".join(pieces)).split("~") if label)


def labels_of(files: ImageFiles | None, header: Any) -> tuple[str, ...]:
    """Give the labels of an AFNI dataset; those of a NIfTI are read only where a volume is named by one."""
    if isinstance(header, AFNIHeader):
        return tuple(header.get_volume_labels() or ())
    is_named = files is not None and files.volume is not None and files.data is files.header
    return read_nifti_labels(files.header) if files is not None and is_named else ()


def find_volume(files: ImageFiles, shape: tuple[int, ...], labels: Sequence[str]) -> int | None:
    """Find the number of the volume that is named; None where none is."""
    n_volumes = int(np.prod(shape[3:]))
    if files.volume is None or (isinstance(files.volume, int) and 0 <= files.volume < n_volumes):
        return files.volume
    named = [at for at, label in enumerate(labels) if label.casefold() == str(files.volume).casefold()]
    if len(named) == 1:
        return named[0]
    raise DataError(
        f"The image {files.header} has no volume {files.volume!r}."
        if isinstance(files.volume, str)
        else f"The image {files.header} has no volume number {files.volume + 1}.",
        found=", ".join(labels) or counted(n_volumes, "volume"),
        expected="a volume that is there: [number from 0] or [label] (AFNI), ,number from 1 (SPM)",
    )


def statistic_of(header: Any, volume: int | None, labels: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """Code of the statistic (0: none said), and the texts in a header."""
    if isinstance(header, AFNIHeader):
        at = volume or 0
        auxiliary = list(header.info.get("BRICK_STATAUX") or ())
        codes: dict[int, int] = {}
        while len(auxiliary) >= 3:  # number of the brick, code, how many parameters, these
            brick, code, n_parameters = (int(number) for number in auxiliary[:3])
            codes[brick] = code
            auxiliary = auxiliary[3 + n_parameters :]
        return codes.get(at, 0), (*labels[at : at + 1],)
    code = int(header["intent_code"]) if "intent_code" in header else 0
    fields = (header[name].item() for name in ("descrip", "intent_name") if name in header)
    own = () if volume is None else labels[volume : volume + 1]
    return code, (*own, *(bytes(one).decode("latin-1").strip("\0 ") for one in fields))
