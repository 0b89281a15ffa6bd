"""What is settled before a map is read."""

from dataclasses import replace

import pytest

from bids_group.config import AnalysisSpec
from bids_group.errors import DataError
from bids_group.records import Cohort, FirstLevelMap
from bids_group.workflow.settling import settle_pooling


def test_precision_that_was_asked_for_is_refused_where_a_pooled_map_lacks_its_variance(tmp_path):
    """Nobody gets the plain mean in silence; a map that stands alone needs no variance."""
    maps = [
        FirstLevelMap(
            subject=subject, run=run, contrast="c", effect=tmp_path / f"{subject}{run}.nii.gz",
            variance=None if (subject, run) in lacking else tmp_path / "v.nii.gz", dataset=tmp_path,
        )
        for lacking in [{("01", "2"), ("03", "1")}]
        for subject, run in [("01", "1"), ("01", "2"), ("02", "1"), ("02", "2"), ("03", "1")]
    ]  # fmt: skip
    cohort = Cohort(maps=tuple(maps), tables=(), everyone=("01", "02", "03"))
    asked = AnalysisSpec(pooling="precision")
    with pytest.raises(DataError, match=r"no variance map for \S*012\.nii\.gz\n"):
        settle_pooling(asked, cohort)
    spec, settled, notices = settle_pooling(asked, replace(cohort, maps=tuple(maps[2:])))
    assert (spec.pooling, settled.has_variance_everywhere, notices) == ("precision", True, [])
    spec, _, (told,) = settle_pooling(AnalysisSpec(), cohort)
    assert (spec.pooling, told.severity) == ("mean", "warning")
    assert settle_pooling(AnalysisSpec(pooling="mean"), cohort)[2] == []
    spec, _, (told,) = settle_pooling(AnalysisSpec(pooling="none"), cohort)
    assert (spec.pooling, told.topic) == ("none", "pooling")
    apart = replace(cohort, maps=tuple(replace(one, session=one.run) for one in maps))
    assert settle_pooling(AnalysisSpec(pooling="none"), apart)[2] == []
