"""Corrections: from the statistics of a contrast, or their null distribution, to what is significant."""
