"""Group-level analysis of first-level statistical maps, as a BIDS App."""

__version__ = "0.1.0"
