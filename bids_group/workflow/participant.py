"""The participant level: one pooled map per participant and contrast, and no group model."""

from __future__ import annotations

import logging

from bids_group import output
from bids_group.workflow.pooling import pool_one, read_ahead
from bids_group.workflow.preparation import Job

LOGGER = logging.getLogger(__name__)


def pool_participants(job: Job) -> None:
    """Pool every observation of the job that is not in OUTPUT_DIR yet; safe beside other participant jobs."""
    config = job.config
    output.write_dataset(config.output_dir, job.cohort)
    done = 0
    for _ in read_ahead(
        lambda one: pool_one(one, config.output_dir), job.observations, n_procs=config.execution.n_procs
    ):
        done += 1
    output.write_participants(config.output_dir, job.cohort)
    LOGGER.info("Pooled maps: %d of %d participants", done, len({one.subject for one in job.observations}))
