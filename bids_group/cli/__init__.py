"""What did the user type? Command line, exit codes, log set-up."""

from bids_group.cli.main import main

__all__ = ["main"]
