from .disk.lock import check_output_dir, claim_output
from .disk.manifest import (
    CITATIONS,
    COMMAND,
    OPTION_FILE,
    REPORT,
    TABLES,
    check_names,
    check_same_analysis,
    confirm_outputs,
    find_other_analysis,
    finish_outputs,
    record_outputs,
)
from .disk.writing import json_text
from .files.analysis import print_design, write_group
from .files.contrasts import describe_sensitivity, spell_clusters
from .files.dataset import (
    read_description,
    write_command,
    write_crash,
    write_dataset,
    write_ledger,
    write_named,
    write_participants,
)
from .files.drafts import write_described
from .files.names import check_output_names, model_path, pooled_path
from .files.pooled import check_pooled_names, is_pooled, marks_of, pooling_key, read_pooled, write_pooled
from .files.sidecars import Context
from .files.surfaces import write_surfaces
from .preview.description import Durations, Preview, describe_dry_run, spell_duration
from .preview.page import print_dry_run

__all__ = [
    "CITATIONS",
    "COMMAND",
    "OPTION_FILE",
    "REPORT",
    "TABLES",
    "Context",
    "Durations",
    "Preview",
    "check_names",
    "check_output_dir",
    "check_output_names",
    "check_pooled_names",
    "check_same_analysis",
    "claim_output",
    "confirm_outputs",
    "describe_dry_run",
    "describe_sensitivity",
    "find_other_analysis",
    "finish_outputs",
    "is_pooled",
    "json_text",
    "marks_of",
    "model_path",
    "pooled_path",
    "pooling_key",
    "print_design",
    "print_dry_run",
    "read_description",
    "read_pooled",
    "record_outputs",
    "spell_clusters",
    "spell_duration",
    "write_command",
    "write_crash",
    "write_dataset",
    "write_described",
    "write_group",
    "write_ledger",
    "write_named",
    "write_participants",
    "write_pooled",
    "write_surfaces",
]
