"""Hostile inputs: each is answered in time, with the right exit code, in words, and in the memory of a run.

``BIDS_GROUP_FAULTS=every`` (``./run faults``) tries them all, else every sixth; ``HOSTILE`` names some by a
pattern, such as ``maps/*bomb*``.
"""

import fnmatch
import os
import shutil

import pytest

from tests.faults.conftest import IS_LONG
from tests.faults.hostile.of_atlases import ATLASES
from tests.faults.hostile.of_folders import LEFT, TREES
from tests.faults.hostile.of_gifti import GIFTI, SURFACES
from tests.faults.hostile.of_json import CONFIG, JSON
from tests.faults.hostile.of_maps import MAPS
from tests.faults.hostile.of_masks import MASKS
from tests.faults.hostile.of_structures import CIFTI, REGIONS
from tests.faults.hostile.of_text import TABLES
from tests.faults.hostile.of_words import WORDS
from tests.faults.hostile.trials import HANGS_AFTER_S, Study, find_faults, fingerprint

GROUPS = {
    "maps": MAPS,
    "masks": MASKS,
    "atlases": ATLASES,
    "gifti": GIFTI,
    "cifti": CIFTI,
    "regions": REGIONS,
    "surfaces": SURFACES,
    "tables": TABLES,
    "json": JSON,
    "config": CONFIG,
    "words": WORDS,
    "trees": TREES,
    "left": LEFT,
}
NAMED = os.environ.get("HOSTILE")


def choose(group):
    """Name the inputs of a group that are tried."""
    names = list(GROUPS[group])
    if NAMED:
        return [one for one in names if any(fnmatch.fnmatch(f"{group}/{one}", by) for by in NAMED.split(";"))]
    return names if IS_LONG else names[::6]


def test_there_are_many_kinds():
    assert sum(map(len, GROUPS.values())) >= 150


@pytest.mark.parametrize("group", GROUPS)
def test_hostile_inputs_are_answered(group, good, run, usual, tmp_path, record_property):
    failed = []
    names = choose(group)
    for name in names:
        one, study = GROUPS[group][name], Study(folder=tmp_path / "trial")
        shutil.copytree(good.data, study.data)
        if group == "left":
            shutil.copytree(good.out, study.out)
        more = one.spoil(study) or ()
        before = fingerprint(study.data)
        done = run(study.data, study.out, *one.job, *one.options, *more, limit_s=HANGS_AFTER_S)
        faults = find_faults(done, one, usual)
        faults += ["the dataset is changed"] if fingerprint(study.data) != before else []
        if faults:
            failed.append(f"{name}: {'; '.join(faults)}: {done.said[:2000]}")
        shutil.rmtree(study.folder)
    record_property("faults", (f"hostile {group}", len(names), len(names) - len(failed)))
    assert not failed, "\n\n".join(failed)
