"""Studies written to disk by tests of several packages, runs of them, and what these left in a folder."""

import hashlib
import json

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from bids_group.cli import main

SIDES = {"L": "CortexLeft", "R": "CortexRight"}


def begin_study(root, people, *, program="first", name="first"):
    """Describe a dataset and its derivatives, whose folder is given; ``people``: their table, or names."""
    first = root / "derivatives" / name
    first.mkdir(parents=True)
    made = {"DatasetType": "derivative", "GeneratedBy": [{"Name": program}]}
    for folder, more in ((root, {}), (first, made)):
        described = {"Name": folder.name, "BIDSVersion": "1.10.0", **more}
        (folder / "dataset_description.json").write_text(json.dumps(described))
    table = people if isinstance(people, pd.DataFrame) else pd.DataFrame({"participant_id": list(people)})
    table.to_csv(root / "participants.tsv", sep="\t", index=False)
    return first


def write_gifti(path, arrays, structure):
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = GiftiMetaData({"AnatomicalStructurePrimary": structure})
    nib.save(GiftiImage(darrays=arrays, meta=meta), path)


def write_surface(path, mesh, structure, kind="Anatomical"):
    points = GiftiDataArray(
        np.float32(mesh.points), intent=1008, datatype=16, meta=GiftiMetaData({"GeometricType": kind})
    )
    write_gifti(path, [points, GiftiDataArray(mesh.triangles, intent=1009, datatype=8)], structure)


def contents(folder, *, leave_out=("logs", "code/command.json")):
    """Hash every file below a folder but those that hold times; links and other kinds by what they are."""
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and not (name := path.relative_to(folder).as_posix()).startswith(leave_out)
    }


def run_group(data, out, *options):
    return main([str(data), str(out), "group", "-q", *map(str, options)])


def clusters(out, correction):
    return pd.read_csv(next(out.glob(f"group/*desc-{correction}_clusters.tsv")), sep="\t")


def sidecar(out, ending):
    return json.loads(next(out.glob(f"group/*{ending}.json")).read_text())


def inside(out, ending):
    """Numbers of a map where the analysis has elements, and its sidecar."""
    (path,), (mask,) = (
        out.glob(f"group/*{ending}_statmap.nii.gz"),
        out.glob("group/*_desc-analysis_mask.nii.gz"),
    )
    values = np.asarray(nib.load(path).dataobj, dtype=np.float64)
    return values[np.asarray(nib.load(mask).dataobj) > 0], sidecar(out, f"{ending}_statmap")
