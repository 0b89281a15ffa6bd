"""What ran, on what, with which seed, for how long: the content of ``code/command.json``."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from bids_group import __version__
from bids_group.config import RunConfig
from bids_group.records.sidecars import RunRecord

PACKAGES = ("numpy", "scipy", "pandas", "nibabel", "nilearn", "pybids", "formulaic", "numba", "matplotlib")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Provenance:
    """The start of a run, and what it noted of the files that it has read so far.

    ``hashes``: by path; ``remarks`` on coverage: by (subject label, first-level contrast).
    """

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock_s: float = field(default_factory=time.monotonic)
    hashes: dict[str, str] = field(default_factory=dict)
    remarks: dict[tuple[str, str], str] = field(default_factory=dict)

    def finish(self, config: RunConfig) -> RunRecord:
        """Sum up the run: its time from the known request to here, its memory up to here."""
        peak = max(
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return RunRecord(
            command=["bids-group", *config.command],
            version=__version__,
            versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            container=os.environ.get("BIDS_GROUP_CONTAINER"),
            platform=f"{platform.system()} {platform.machine()}",
            random_seed=config.analysis.inference.random_seed,
            start_time=self.started.isoformat(timespec="seconds"),
            run_time_seconds=round(time.monotonic() - self.clock_s, 2),
            peak_memory_mb=round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1),
            input_hashes=dict(sorted(self.hashes.items())),
        )
