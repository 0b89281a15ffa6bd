"""Scans tables: what is known of each functional image, such as its motion."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from bids_group.bids.columns import Typing, type_column
from bids_group.bids.index import list_files, list_folders
from bids_group.bids.tables import index_by_label, read_tsv
from bids_group.records import Table

_FUNCTIONAL = ("_bold.nii", "_bold.nii.gz", "_cbv.nii", "_cbv.nii.gz", "_bold.dtseries.nii")


def read_scans(bids_dir: Path, people: Iterable[str]) -> Table | None:
    """Read the scans tables of these people, rows of functional images only. None where there are none.

    The index is (participant, file name); columns of all people are typed together.
    """
    frames = []
    source = bids_dir
    for label in people:
        for path in _scans_tables(bids_dir / f"sub-{label}", label):
            frame = index_by_label(read_tsv(path), path, [("filename", "file")])
            frame = frame[[str(name).endswith(_FUNCTIONAL) for name in frame.index]]
            frames.append(frame.set_axis(pd.MultiIndex.from_product([[label], frame.index]), axis=0))
            source = path
    if not frames:
        return None
    text = pd.concat(frames).astype(object)
    text = text.where(text.notna(), None)
    typed = {str(name): type_column(text[name], None, Typing(), source) for name in text.columns}
    frame = pd.DataFrame({name: values for name, (values, _) in typed.items()}, index=text.index)
    return Table(level="session", frame=frame, columns={name: column for name, (_, column) in typed.items()})


def _scans_tables(folder: Path, label: str) -> list[Path]:
    sessions = [one for one in list_folders(folder) if one.name.startswith("ses-")]
    found = [path for place in (folder, *sessions) for path in list_files(place)]
    names = re.compile(rf"sub-{re.escape(label)}(?:_ses-.*)?_scans\.tsv")
    return sorted(path for path in found if names.fullmatch(path.name))
