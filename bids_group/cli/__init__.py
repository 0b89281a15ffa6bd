"""What did the user type? Command line, exit codes, log set-up."""

import sys

try:
    from bids_group.cli.main import main
except KeyboardInterrupt:  # Ctrl-C in the first moment: as later, without a traceback
    sys.exit(130)

__all__ = ["main"]
