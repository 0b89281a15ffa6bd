"""The participant level: one pooled map per participant and contrast, and no group model."""

from __future__ import annotations

import logging
import os

from bids_group import output
from bids_group.bids import build_ledger
from bids_group.workflow.coverage import Remarks, remark_on_coverage
from bids_group.workflow.pooling import pooled_maps
from bids_group.workflow.preparation import Job, counted
from bids_group.workflow.provenance import Provenance

LOGGER = logging.getLogger(__name__)


def pool_participants(job: Job, provenance: Provenance) -> None:
    """Pool every observation of the job that is not in OUTPUT_DIR yet; safe beside other participant jobs."""
    config, names = job.config, job.cohort.dataset_names
    output.write_dataset(config.output_dir, job.cohort)
    maps = pooled_maps(
        job.observations, config.output_dir, dataset_names=names, n_procs=config.execution.n_procs
    )
    remarks: Remarks = {}
    n_pooled = sum(1 for _ in remark_on_coverage(provenance.watch(maps), remarks))
    people = sorted({one.subject for one in job.cohort.maps})  # a Filter may leave no map of them to pool
    ledger = build_ledger(job.cohort, job.analyses, job.exclusions, remarks)
    output.write_ledger(config.output_dir, ledger, labels=people)
    output.write_participants(config.output_dir)
    label = f"sub-{people[0]}_pid-{os.getpid()}"
    output.write_command(config.output_dir, provenance.finish(config), label=label)
    LOGGER.info("Pooled: %s of %s", counted(n_pooled, "map"), counted(len(people), "participant"))
