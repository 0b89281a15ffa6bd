"""Rows that change places: the design split for a contrast, schemes, shuffles, statistics, batches."""
