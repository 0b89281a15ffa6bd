"""Where and how is it written and shown? Files of OUTPUT_DIR, the dry-run page and the report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(
    __name__, __file__
)  # what is heavy comes with its first use
