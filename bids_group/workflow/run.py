"""The whole app in one screen: prepare, then show, pool, or analyse and report."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bids_group import model, output
from bids_group.config import RunConfig
from bids_group.errors import OutputError, printable
from bids_group.executor import Threads, without_collection
from bids_group.output import report
from bids_group.threads import one_thread_each

if TYPE_CHECKING:
    from bids_group.workflow.needs import Needs
    from bids_group.workflow.preparation import RunPlan

LOGGER = logging.getLogger(__name__)


def run(config: RunConfig) -> None:
    """Do what was asked for.

    Raises
    ------
    BidsGroupError
        One of its kinds, for everything that a user can cause.
    """
    if config.execution.is_reports_only:
        _report_again(config)
        return
    with without_collection():
        from bids_group.workflow.needs import foresee  # what a report does without
        from bids_group.workflow.preparation import prepare
    output.check_output_dir(config.output_dir, config.inputs.bids_dir)
    with one_thread_each(), ExitStack() as held:  # sums in one order, whatever the number of processors
        with without_collection():
            plan = prepare(config)
            if config.execution.is_dry_run:
                _show(plan)
                return
            _claim(plan, held)
            needs = foresee(plan)
        _work(plan, needs)


def _show(plan: RunPlan) -> None:
    """Print the page of a dry run; refuse and warn of what the run would refuse in this OUTPUT_DIR."""
    from bids_group.workflow.needs import foresee

    config, other = plan.config, None
    if config.output_dir.is_dir():
        _check_names(plan)
        other = _find_other_analysis(plan)
    needs = foresee(plan)
    for refusal in filter(None, (other, needs.refusal)):
        LOGGER.warning("The run would be refused. %s", refusal)
    _print_design(plan)
    preview = output.Preview(
        cohort=plan.cohort,
        planned=plan.designs,
        exclusions=[*plan.cohort.exclusions, *plan.exclusions],
        notices=plan.notices,
        spec=plan.spec,
        pooled=plan.observations if config.level == "participant" else None,
        durations=needs.durations,
        mem_gb=config.execution.mem_gb,
        stored=[str(one) for one in needs.stored],
        proposals=[model.propose_contrasts(one.analysis) for one in plan.planned],
    )
    output.print_dry_run(preview, output_format=config.execution.output_format)


def _find_other_analysis(plan: RunPlan) -> OutputError | None:
    """Say why the analysis may not take the place of one that OUTPUT_DIR holds."""
    if plan.config.level != "group" or plan.config.execution.is_overwrite:
        return None
    return output.find_other_analysis(plan.config.output_dir, plan.identity)


def _print_design(plan: RunPlan) -> None:
    """Write the design to the file that the user named, before the work begins."""
    execution = plan.config.execution
    if execution.print_design is not None:
        output.print_design(execution.print_design, plan.designs, is_overwrite=execution.is_overwrite)
        LOGGER.info("The design: %s", execution.print_design)


def _claim(plan: RunPlan, held: ExitStack) -> None:
    """Hold OUTPUT_DIR and keep a log until ``held`` is closed; refuse to replace what others wrote."""
    config = plan.config
    held.enter_context(output.claim_output(config.output_dir, config.inputs.bids_dir, level=config.level))
    _check_names(plan)
    _log_into(config, held)
    held.callback(plan.executor.close)


def _check_names(plan: RunPlan) -> None:
    """Refuse, before anything is written, to replace what others wrote."""
    folder, is_group = plan.config.output_dir, plan.config.level == "group"
    output.read_description(folder)
    output.check_pooled_names(folder, plan.observations)
    names = [*plan.names, *(_names_of_report(plan.config) if is_group else [])]
    output.check_names(folder, names, has_results=is_group)


def _work(plan: RunPlan, needs: Needs) -> None:
    """Pool the maps, or analyse them and report."""
    from bids_group.workflow.group import analyse_group, pool_participants  # what a dry run does without

    config = plan.config
    for one in needs.stored:
        LOGGER.info("Memory, %s", one)
    if needs.refusal is not None:
        raise needs.refusal
    LOGGER.info("Time on this machine: %s", "; ".join(needs.durations.words))
    if config.level == "participant":
        pool_participants(plan)
        return
    if other := _find_other_analysis(plan):
        raise other
    _print_design(plan)
    analyse_group(plan)
    output.record_outputs(config.output_dir, _names_of_report(config))
    if config.execution.has_report:
        _build_report(config)
    else:
        report.write_citations(config.output_dir)
        LOGGER.info("Done: %s", config.output_dir)
    output.finish_outputs(config.output_dir)


def _names_of_report(config: RunConfig) -> list[Path]:
    return [*output.CITATIONS, *([output.REPORT] if config.execution.has_report else [])]


def _report_again(config: RunConfig) -> None:
    """Build the report of a folder that no run is writing into."""
    folder, names = config.output_dir, [output.REPORT, *output.CITATIONS]
    if not folder.is_dir():
        report.build_report(folder)  # says what is missing
    with output.claim_output(folder, config.inputs.bids_dir, level="group"):
        output.check_names(folder, names, has_results=True)
        output.record_outputs(folder, names)
        _build_report(config)
        output.confirm_outputs(folder)


def _build_report(config: RunConfig) -> None:
    """Draw the page with threads of this process, also where a cluster did the rest."""
    threads = Threads(n_procs=config.execution.n_procs, mem_gb=config.execution.mem_gb)
    with without_collection():
        page = report.build_report(config.output_dir, config.analysis.cut_coords_mm, threads)
    LOGGER.info("The report: %s", page)


class _RunLog(logging.FileHandler):
    """The log of a run: where it cannot be written any more (a full disk), the run goes on without it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write what any program can show."""
        return printable(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging gave it
        """Say once that the log ends."""
        logging.getLogger("bids_group").removeHandler(self)
        LOGGER.warning("The log of this run ends, it cannot be written: %s.", sys.exc_info()[1])


def _log_into(config: RunConfig, log: ExitStack) -> None:
    """Keep what is said under ``logs/`` too, one file per run, until ``log`` is closed."""
    folder = config.output_dir / "logs"
    name = f"{config.level}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.log"
    try:
        folder.mkdir(exist_ok=True)
        handler = _RunLog(folder / name, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        LOGGER.warning("There will be no log of this run in %s: %s.", folder, error.strerror)
        return
    log.callback(handler.close)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logger = logging.getLogger("bids_group")
    logger.addHandler(handler)
    log.callback(logger.removeHandler, handler)
    logger.info("bids-group %s", shlex.join(config.command))
