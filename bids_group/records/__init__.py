"""The records that packages hand to each other: what each is called, and which axes it has.

Frozen, without input/output and without algorithms; a record checks its own invariant. By the package that
makes them: `people` (`bids`), `numbers` (`model`), `significance` (`inference`); `notices` by all.
"""

from bids_group.records.notices import Notice as Notice
from bids_group.records.notices import note as note
from bids_group.records.notices import warn as warn
from bids_group.records.numbers import LEAST_SQUARES as LEAST_SQUARES
from bids_group.records.numbers import Contrast as Contrast
from bids_group.records.numbers import ContrastResult as ContrastResult
from bids_group.records.numbers import Design as Design
from bids_group.records.numbers import Estimator as Estimator
from bids_group.records.numbers import GroupAnalysis as GroupAnalysis
from bids_group.records.numbers import GroupData as GroupData
from bids_group.records.numbers import MapStack as MapStack
from bids_group.records.numbers import Observation as Observation
from bids_group.records.numbers import PooledMap as PooledMap
from bids_group.records.numbers import Scaling as Scaling
from bids_group.records.numbers import are_told_apart as are_told_apart
from bids_group.records.people import Cohort as Cohort
from bids_group.records.people import Column as Column
from bids_group.records.people import Exclusion as Exclusion
from bids_group.records.people import FirstLevelMap as FirstLevelMap
from bids_group.records.people import Table as Table
from bids_group.records.significance import Cluster as Cluster
from bids_group.records.significance import Peak as Peak
from bids_group.records.significance import Significance as Significance
from bids_group.records.significance import UncorrectedP as UncorrectedP
