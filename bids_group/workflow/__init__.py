"""In which order? The story of the app, from the request to the report."""

from bids_group.workflow.run import run, write_crash

__all__ = ["run", "write_crash"]
