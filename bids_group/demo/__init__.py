"""Small datasets of first-level maps with known effects: for a first look, for teaching and for the tests.

The truth (where an effect lies, how large it is, which contrast finds it) is written into the dataset and
returned. Importing this package is cheap; numpy and nibabel are imported when a dataset is written.
"""

import sys

try:
    from bids_group.demo.cli import main
    from bids_group.demo.dataset import write_demo
    from bids_group.demo.kinds import KINDS, DemoTruth, EffectSphere, Irregularity
except KeyboardInterrupt:  # Ctrl-C in the first moment: as later, without a traceback
    sys.exit(130)

__all__ = ["KINDS", "DemoTruth", "EffectSphere", "Irregularity", "main", "write_demo"]
