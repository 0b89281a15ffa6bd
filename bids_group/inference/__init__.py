"""What is significant, and under which null."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(
    __name__, __file__
)  # what is heavy comes with its first use
