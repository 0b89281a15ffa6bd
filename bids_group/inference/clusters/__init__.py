"""Clusters: connected elements, their peaks, and the largest size, mass and TFCE of a map."""
