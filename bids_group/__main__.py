"""``python -m bids_group``."""

import sys

from bids_group.cli import main

if __name__ == "__main__":
    sys.exit(main())
