"""Designs: the matrix and contrasts of a group analysis, checked and described before anything is fitted."""
