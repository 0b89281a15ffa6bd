"""Fits: maps pooled, scaled and stacked, estimates and tests of every contrast, and their diagnostics."""
