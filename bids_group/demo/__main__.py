"""``python -m bids_group.demo``."""

import sys

from bids_group.demo.cli import main

if __name__ == "__main__":
    sys.exit(main())
