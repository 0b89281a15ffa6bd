"""In which order? The story of the app, from the request to the report."""

from bids_group.workflow.run import run

__all__ = ["run"]
