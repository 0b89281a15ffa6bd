"""Labels of the sub-bricks of an AFNI dataset that is kept as NIfTI, in an extension of its header."""

from __future__ import annotations

import gzip
import html
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_group.elements.compression import GZIP

_AFNI = 4
"""Code of the header extension that AFNI writes: its attributes as XML."""

_LABELS = re.compile(r'<AFNI_atr\b[^>]*\batr_name="BRICK_LABS"[^>]*>(?P<text>.*?)</AFNI_atr>', re.DOTALL)


def read_nifti_labels(path: Path) -> tuple[str, ...]:
    """Read the labels of the volumes of a ``.nii`` or ``.nii.gz``; none where it holds none."""
    with path.open("rb") as stream:
        is_packed = stream.read(2) == GZIP
    with gzip.open(path) if is_packed else path.open("rb") as stream:
        fixed = stream.read(352)
        kind: Any = nib.Nifti1Header
        if len(fixed) < 352 or fixed[:4] not in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") or not fixed[348]:
            return ()
        size = int(kind(fixed[:348], check=False)["vox_offset"])
        header = kind.from_fileobj(BytesIO(fixed + stream.read(max(size - 352, 0))), check=False)
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
