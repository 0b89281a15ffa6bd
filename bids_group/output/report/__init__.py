"""The report: one self-contained page, made from OUTPUT_DIR alone; and the names of places in it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(
    __name__, __file__
)  # what is heavy comes with its first use
