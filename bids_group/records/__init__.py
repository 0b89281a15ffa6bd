"""The records that packages hand to each other: what each is called, and which axes it has.

Frozen, without input/output and without algorithms; a record checks its own invariant. By the package that
makes them: `people` (`bids`), `numbers` (`model`), `significance` (`inference`); `notices` by all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
